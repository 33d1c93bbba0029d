//! Columns of a row group, and how each is encoded.
//!
//! What is known of a column decides who encodes it: few values by the dictionary they have, ids and whole numbers by
//! the delta encodings of the schema, the rest by the parquet crate.

use super::WriteError;
use super::chunk::{Chunk, ChunkWriter, PageFacts, Value};
use super::dictionary::Coded;
use super::encodings::{Bits, delta_binary_packed};
use super::ids::{self, Id};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, DictionaryArray, Int32Array, PrimitiveArray,
    StringArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType,
};
use parquet::basic::{Encoding, Type};
use parquet::bloom_filter::Sbbf;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnDescPtr;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// A column of a row group.
pub enum Column<'c> {
    Array(ArrayRef),
    Texts(Coded<'c, &'c str>),
    /// Of any type that the format holds as a number of 32 bits.
    Numbers(Coded<'c, i32>),
    Ids(IdColumn<'c>),
    /// So many rows, all null.
    Nulls(usize),
}

/// Ids, of which those of a page are put together when it is written: all of a row group are several megabytes.
pub struct IdColumn<'c> {
    pub rows: usize,
    pub of: Box<Gather<'c, Id<'c>>>,
}

/// Adds the values of some rows.
type Gather<'c, V> = dyn Fn(Range<usize>, &mut Vec<Option<V>>) + 'c;

impl Column<'_> {
    /// As Arrow has it, in the type of its field.
    pub fn into_array(self, kind: &DataType) -> Result<ArrayRef, WriteError> {
        Ok(match self {
            Column::Array(array) => array,
            Column::Texts(Coded { values, places }) => {
                // A dictionary holds no null: it is a key that is none.
                let key = |place: &u32| values[*place as usize].map(|_| *place as i32);
                let keys: Int32Array = places.iter().map(key).collect();
                let texts: StringArray = values.iter().map(|text| text.or(Some(""))).collect();
                Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(texts))?)
            }
            Column::Numbers(Coded { values, places }) => {
                let numbers = places.iter().map(|place| values[*place as usize]);
                match kind {
                    DataType::Date32 => Arc::new(numbers.collect::<PrimitiveArray<Date32Type>>()),
                    DataType::Decimal128(precision, scale) => {
                        let numbers = numbers.map(|number| number.map(i128::from));
                        let array = numbers.collect::<PrimitiveArray<Decimal128Type>>();
                        Arc::new(array.with_precision_and_scale(*precision, *scale)?)
                    }
                    _ => cast(&numbers.collect::<Int32Array>(), kind)?,
                }
            }
            Column::Ids(IdColumn { rows, of }) => {
                let mut each = Vec::with_capacity(rows);
                of(0..rows, &mut each);
                Arc::new(ids::array(&each)?)
            }
            Column::Nulls(rows) => new_null_array(kind, rows),
        })
    }

    /// Encodes it. None where that is the parquet crate's to do.
    pub fn chunk(
        &self,
        descr: &ColumnDescPtr,
        properties: &WriterProperties,
    ) -> Result<Option<Chunk>, WriteError> {
        let encoding = properties.encoding(descr.path());
        match self {
            Column::Texts(texts) => texts_chunk(texts, descr, properties),
            Column::Numbers(numbers) => numbers.chunk(descr, properties),
            Column::Ids(ids) => delta_length(ids.rows, &ids.of, BOUNDED, descr, properties),
            Column::Nulls(rows) => match (descr.physical_type(), encoding) {
                (Type::BYTE_ARRAY, Some(Encoding::DELTA_LENGTH_BYTE_ARRAY)) => {
                    let of = |rows: Range<usize>, out: &mut Vec<_>| {
                        out.resize(out.len() + rows.len(), None);
                    };
                    delta_length::<&str>(*rows, &of, BOUNDED, descr, properties)
                }
                (Type::INT64, Some(Encoding::DELTA_BINARY_PACKED)) => {
                    let nulls = new_null_array(&DataType::Int64, *rows);
                    delta::<Int64Type>(&nulls, descr, properties)
                }
                _ => Ok(None),
            },
            Column::Array(array) => match (array.data_type(), encoding) {
                (DataType::Dictionary(_, _), _) => match dictionary(array) {
                    Some(texts) => texts_chunk(&texts, descr, properties),
                    None => Ok(None),
                },
                (DataType::Utf8, Some(Encoding::DELTA_LENGTH_BYTE_ARRAY)) => {
                    let texts = array.as_string::<i32>();
                    let text = |row| texts.is_valid(row).then(|| texts.value(row));
                    let of = |rows: Range<usize>, out: &mut Vec<_>| out.extend(rows.map(text));
                    delta_length(texts.len(), &of, BOUNDED, descr, properties)
                }
                (DataType::Int64, Some(Encoding::DELTA_BINARY_PACKED)) => {
                    delta::<Int64Type>(array, descr, properties)
                }
                (
                    DataType::Timestamp(TimeUnit::Millisecond, _),
                    Some(Encoding::DELTA_BINARY_PACKED),
                ) => delta::<TimestampMillisecondType>(array, descr, properties),
                _ => Ok(None),
            },
        }
    }
}

/// A dictionary of texts whose places are numbers of 32 bits.
fn dictionary(array: &ArrayRef) -> Option<Coded<'_, &str>> {
    let dictionary = array.as_dictionary_opt::<Int32Type>()?;
    let texts = dictionary.values().as_string_opt::<i32>()?;
    let mut values: Vec<Option<&str>> = texts.iter().collect();
    // The place of nulls.
    let null = values.len() as u32;
    values.push(None);
    let places = dictionary.keys().iter().map(|key| key.map_or(null, |key| key as u32)).collect();
    Some(Coded { values, places: Cow::Owned(places) })
}

/// Texts by the dictionary they have or, where they are more than its page may hold (a row of its own for each
/// object), one after the other: then their bounds would exclude nothing, and are not told.
fn texts_chunk(
    texts: &Coded<'_, &str>,
    descr: &ColumnDescPtr,
    properties: &WriterProperties,
) -> Result<Option<Chunk>, WriteError> {
    if let Some(chunk) = texts.chunk(descr, properties)? {
        return Ok(Some(chunk));
    }
    let Coded { values, places } = texts;
    let of = |rows: Range<usize>, out: &mut Vec<_>| {
        out.extend(places[rows].iter().map(|place| values[*place as usize]));
    };
    delta_length(places.len(), &of, None, descr, properties)
}

/// Bytes of the longest text of a column that has bounds: longer ones are cut there, which is the parquet crate's to do.
const BOUNDED: Option<usize> = Some(64);

/// Texts that mostly differ: their lengths, and behind these all of them (`DELTA_LENGTH_BYTE_ARRAY`). None where one is
/// longer than `bounded`.
fn delta_length<V: Value>(
    rows: usize,
    of: &Gather<'_, V>,
    bounded: Option<usize>,
    descr: &ColumnDescPtr,
    properties: &WriterProperties,
) -> Result<Option<Chunk>, WriteError> {
    let writer = ChunkWriter::new(descr, properties, Encoding::DELTA_LENGTH_BYTE_ARRAY)?;
    let Some(mut writer) = writer else { return Ok(None) };
    if bounded.is_none() {
        writer.leave_bounds();
    }
    let bloom = properties.bloom_filter_properties(descr.path());
    let mut filter = bloom.map(|b| Sbbf::new_with_ndv_fpp(b.ndv(), b.fpp())).transpose()?;
    let (mut page, mut lengths) = (Vec::new(), Vec::new());
    let page_rows = properties.data_page_row_count_limit();
    for from in (0..rows).step_by(page_rows) {
        page.clear();
        lengths.clear();
        of(from..rows.min(from + page_rows), &mut page);
        lengths.extend(page.iter().flatten().map(|text| text.byte_len() as i64));
        if bounded.is_some_and(|most| lengths.iter().any(|len| *len > most as i64)) {
            return Ok(None);
        }
        let text_bytes: i64 = lengths.iter().sum();
        let facts = PageFacts {
            rows: page.len(),
            nulls: page.len() - lengths.len(),
            bounds: bounds_of(writer.wants_bounds(), page.iter().flatten()),
            text_bytes: Some(text_bytes),
        };
        writer.page(facts, page.iter().map(Option::is_some), |out| {
            delta_binary_packed(lengths.iter().copied(), Bits::ThirtyTwo, out);
            out.reserve(text_bytes as usize);
            for text in page.iter().flatten() {
                let from = out.len();
                text.append_to(out);
                if let Some(filter) = &mut filter {
                    filter.insert(&out[from..]);
                }
            }
        })?;
        writer.expect_more(page.len(), rows - from - page.len());
    }
    if let (Some(filter), Some(bloom)) = (&mut filter, bloom) {
        filter.fold_to_target_fpp(bloom.fpp());
    }
    Ok(Some(writer.close(filter)?))
}

/// Whole numbers as their distances (`DELTA_BINARY_PACKED`).
fn delta<T: ArrowPrimitiveType<Native = i64>>(
    array: &ArrayRef,
    descr: &ColumnDescPtr,
    properties: &WriterProperties,
) -> Result<Option<Chunk>, WriteError> {
    let array = array.as_primitive::<T>();
    let writer = ChunkWriter::new(descr, properties, Encoding::DELTA_BINARY_PACKED)?;
    let Some(mut writer) = writer else { return Ok(None) };
    let rows_max = properties.data_page_row_count_limit();
    for from in (0..array.len()).step_by(rows_max) {
        let rows = array.slice(from, rows_max.min(array.len() - from));
        let held: Cow<'_, [i64]> = match rows.null_count() {
            0 => Cow::Borrowed(rows.values()),
            _ => rows.iter().flatten().collect(),
        };
        let facts = PageFacts {
            rows: rows.len(),
            nulls: rows.null_count(),
            bounds: bounds_of(writer.wants_bounds(), held.iter()),
            text_bytes: None,
        };
        let valid = (0..rows.len()).map(|row| rows.is_valid(row));
        writer.page(facts, valid, |page| {
            delta_binary_packed(held.iter().copied(), Bits::SixtyFour, page);
        })?;
    }
    Ok(Some(writer.close(None)?))
}

/// The least and the greatest. Those so far are told by where they stand: to copy an id at every step costs more than to
/// compare it.
fn bounds_of<'v, V: Value + 'v>(
    wanted: bool,
    mut values: impl Iterator<Item = &'v V>,
) -> Option<[V; 2]> {
    let first = values.by_ref().next().filter(|_| wanted)?;
    let (mut least, mut greatest) = (first, first);
    for value in values {
        if value < least {
            least = value;
        } else if value > greatest {
            greatest = value;
        }
    }
    Some([*least, *greatest])
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, RecordBatch, TimestampMillisecondArray};
    use arrow::compute::concat;
    use arrow::datatypes::{Field, Schema};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use parquet::basic::{BoundaryOrder, Compression};
    use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
    use parquet::file::page_index::column_index::ColumnIndexMetaData;
    use parquet::file::properties::DEFAULT_DATA_PAGE_ROW_COUNT_LIMIT as PAGE_ROWS;
    use parquet::file::properties::ReaderProperties;
    use parquet::file::reader::FileReader;
    use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
    use parquet::schema::types::ColumnPath;
    use proptest::prelude::*;

    fn properties(encoding: Option<Encoding>, bloom: bool) -> WriterProperties {
        let mut properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(Default::default()));
        if let Some(encoding) = encoding {
            properties = properties.set_dictionary_enabled(false).set_encoding(encoding);
        }
        if bloom {
            let path = ColumnPath::from("c");
            properties = properties
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_max_ndv(path, 131_072);
        }
        properties.build()
    }

    /// The file of one column, written here, or as the parquet crate does; None where it is not written here.
    fn file(
        column: Option<&Column<'_>>,
        array: &ArrayRef,
        nullable: bool,
        properties: WriterProperties,
    ) -> Option<(Bytes, Arc<ParquetMetaData>)> {
        let field = Field::new("c", array.data_type().clone(), nullable);
        let schema = Arc::new(Schema::new(vec![field]));
        let mut writer =
            ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties)).expect("a writer");
        let bytes = match column {
            Some(column) => {
                let (mut writer, _) = writer.into_serialized_writer().expect("its writer");
                let descr = writer.schema_descr().column(0);
                let chunk = column.chunk(&descr, writer.properties()).expect("no error")?;
                let mut group = writer.next_row_group().expect("a row group");
                group.append_column(&chunk.bytes, chunk.close).expect("the column");
                group.close().expect("the row group");
                writer.into_inner().expect("the file")
            }
            None => {
                writer
                    .write(&RecordBatch::try_new(schema, vec![array.clone()]).expect("rows"))
                    .expect("written");
                writer.into_inner().expect("the file")
            }
        };
        let bytes = Bytes::from(bytes);
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options);
        Some((bytes, reader.expect("a footer").metadata().clone()))
    }

    fn rows(bytes: &Bytes, kind: &DataType) -> ArrayRef {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).expect("a file");
        let batches = reader.build().expect("a reader");
        let plain: Vec<ArrayRef> = batches
            .map(|batch| cast(batch.expect("rows").column(0), kind).expect("of the type"))
            .collect();
        concat(&plain.iter().map(AsRef::as_ref).collect::<Vec<_>>()).expect("one column")
    }

    /// Held against what the parquet crate writes of the same rows, and, of pages, against a recount. `bytes` gives of
    /// each row what stands in the bounds of its page, in the order of its value.
    fn check<K: Ord + Clone>(
        column: &Column<'_>,
        array: &ArrayRef,
        (nullable, encoding, bloom): (bool, Option<Encoding>, bool),
        each: &[Option<(K, Vec<u8>)>],
    ) {
        let (ours, our_facts) = file(Some(column), array, nullable, properties(encoding, bloom))
            .expect("a column that is written here");
        let (theirs, facts) =
            file(None, array, nullable, properties(encoding, bloom)).expect("a file");
        let kind = match array.data_type() {
            DataType::Dictionary(_, _) => DataType::Utf8,
            kind => kind.clone(),
        };
        assert_eq!(&rows(&ours, &kind), &cast(array, &kind).expect("plain"));
        let (of_ours, of_theirs) = (our_facts.row_group(0).column(0), facts.row_group(0).column(0));
        assert_eq!(of_ours.num_values(), of_theirs.num_values());
        assert_eq!(of_ours.statistics(), of_theirs.statistics());
        let encodings =
            |facts: &ParquetMetaData| facts.row_group(0).column(0).encodings().collect::<Vec<_>>();
        assert_eq!(encodings(&our_facts), encodings(&facts));
        if encoding == Some(Encoding::DELTA_LENGTH_BYTE_ARRAY) {
            let [ours, theirs] =
                [of_ours, of_theirs].map(|facts| facts.unencoded_byte_array_data_bytes());
            assert_eq!(ours, theirs);
        }
        let filter = |bytes: &Bytes| {
            let options = ReadOptionsBuilder::new()
                .with_reader_properties(
                    ReaderProperties::builder().set_read_bloom_filter(true).build(),
                )
                .build();
            let reader = SerializedFileReader::new_with_options(bytes.clone(), options);
            let reader = reader.expect("a file");
            let group = reader.get_row_group(0).expect("a row group");
            group.get_column_bloom_filter(0).map(|filter| {
                let mut bytes = Vec::new();
                filter.write_bitset(&mut bytes).expect("its bits");
                bytes
            })
        };
        assert_eq!(filter(&ours), filter(&theirs));
        assert_eq!(filter(&ours).is_some(), bloom);

        let pages: Vec<_> = each.chunks(PAGE_ROWS).collect();
        let locations = &our_facts.offset_index().expect("locations")[0][0].page_locations;
        let index = &our_facts.column_index().expect("bounds")[0][0];
        assert_eq!(locations.len(), pages.len());
        let mut bounds: Vec<(K, K)> = Vec::new();
        for (place, page) in pages.iter().enumerate() {
            assert_eq!(locations[place].first_row_index, (place * PAGE_ROWS) as i64);
            let least = page.iter().flatten().min_by_key(|(key, _)| key);
            let greatest = page.iter().flatten().max_by_key(|(key, _)| key);
            let nulls = page.iter().filter(|row| row.is_none()).count();
            assert_eq!(index.null_count(place), Some(nulls as i64));
            let bytes = |bound: Option<&(K, Vec<u8>)>| bound.map(|(_, bytes)| bytes.clone());
            let told = match index {
                ColumnIndexMetaData::BYTE_ARRAY(index) => {
                    let bytes = |bound: Option<&[u8]>| bound.map(<[u8]>::to_vec);
                    [bytes(index.min_value(place)), bytes(index.max_value(place))]
                }
                ColumnIndexMetaData::INT32(index) => {
                    let bytes = |bound: Option<&i32>| bound.map(|n| n.to_le_bytes().to_vec());
                    [bytes(index.min_value(place)), bytes(index.max_value(place))]
                }
                ColumnIndexMetaData::INT64(index) => {
                    let bytes = |bound: Option<&i64>| bound.map(|n| n.to_le_bytes().to_vec());
                    [bytes(index.min_value(place)), bytes(index.max_value(place))]
                }
                _ => panic!("bounds of another type"),
            };
            assert_eq!(told, [bytes(least), bytes(greatest)]);
            bounds.extend(least.zip(greatest).map(|(a, b)| (a.0.clone(), b.0.clone())));
        }
        let neighbours = || bounds.iter().zip(bounds.iter().skip(1));
        let order = if neighbours().all(|(a, b)| a.0 <= b.0 && a.1 <= b.1) {
            BoundaryOrder::ASCENDING
        } else if neighbours().all(|(a, b)| a.0 >= b.0 && a.1 >= b.1) {
            BoundaryOrder::DESCENDING
        } else {
            BoundaryOrder::UNORDERED
        };
        assert_eq!(index.get_boundary_order(), Some(order));
    }

    /// `few`: a dictionary page holds them.
    fn check_texts(texts: &[Option<String>], nullable: bool, few: bool) {
        let array = StringArray::from_iter(texts);
        let bytes = |text: &String| (text.clone(), text.clone().into_bytes());
        let each: Vec<_> = texts.iter().map(|text| text.as_ref().map(bytes)).collect();
        if few {
            let dictionary = cast(&array, &dictionary_of_texts()).expect("a dictionary");
            let column = Column::Array(dictionary.clone());
            check(&column, &dictionary, (nullable, None, false), &each);
        }
        let array: ArrayRef = Arc::new(array);
        let delta = Some(Encoding::DELTA_LENGTH_BYTE_ARRAY);
        check(&Column::Array(array.clone()), &array, (nullable, delta, true), &each);
        let id = |row: usize| texts[row].as_deref().map(Id::of);
        let ids =
            IdColumn { rows: texts.len(), of: Box::new(move |rows, out| out.extend(rows.map(id))) };
        check(&Column::Ids(ids), &array, (nullable, delta, false), &each);
    }

    fn dictionary_of_texts() -> DataType {
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
    }

    fn check_numbers(numbers: &[Option<i64>], nullable: bool) {
        let bytes = |n: &i64| (*n, n.to_le_bytes().to_vec());
        let each: Vec<_> = numbers.iter().map(|n| n.as_ref().map(bytes)).collect();
        let delta = Some(Encoding::DELTA_BINARY_PACKED);
        let longs: ArrayRef = Arc::new(Int64Array::from_iter(numbers));
        check(&Column::Array(longs.clone()), &longs, (nullable, delta, false), &each);
        let times = TimestampMillisecondArray::from_iter(numbers).with_timezone("UTC");
        let times: ArrayRef = Arc::new(times);
        check(&Column::Array(times.clone()), &times, (nullable, delta, false), &each);
        // As wide as a column is of which bounds are told.
        let kinds = [DataType::Int32, DataType::Date32, DataType::Int8, DataType::Decimal128(5, 2)];
        for (kind, most) in kinds.into_iter().zip([i32::MAX, i32::MAX, 127, 99_999]) {
            let few: Vec<Option<i32>> =
                numbers.iter().map(|n| n.map(|n| n as i32).filter(|n| n.abs() <= most)).collect();
            let nullable = few.contains(&None);
            let column = || Column::Numbers(Coded::of_numbers(few.iter().copied()));
            let array = column().into_array(&kind).expect("an array");
            assert_eq!(array.data_type(), &kind);
            let bytes = |n: &i32| (*n, n.to_le_bytes().to_vec());
            let each: Vec<_> = few.iter().map(|n| n.as_ref().map(bytes)).collect();
            check(&column(), &array, (nullable, None, false), &each);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

        /// More rows than a page; few or many different values, some null, in order or not.
        #[test]
        fn the_same_as_the_parquet_crate_writes(
            rows in 1..50_000usize,
            spread in prop::sample::select(vec![1usize, 2, 7, 300, 1 << 40]),
            nulls in 0..4u32,
            sorted: bool,
            seed: u64,
        ) {
            let mut state = seed;
            let mut random = move || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 17) as usize
            };
            let mut numbers: Vec<Option<i64>> = (0..rows)
                .map(|_| {
                    let null = match nulls { 0 | 1 => false, 2 => random() % 3 == 0, _ => true };
                    (!null).then(|| (random() % spread) as i64 - (spread / 3) as i64)
                })
                .collect();
            if sorted {
                numbers.sort_unstable();
            }
            check_numbers(&numbers, nulls > 0);
            let text = |n: i64| match n.rem_euclid(5) {
                0 => format!("{n}身"),
                1 => format!("{n:x}").repeat(3),
                2 => String::new(),
                // As Seqs are.
                _ => format!("{:08x}-0000-4000-8000-{:012x}", n & 0xFFFF_FFFF, n & 0xFFFF_FFFF_FFFF),
            };
            let texts: Vec<Option<String>> = numbers.iter().map(|n| n.map(text)).collect();
            check_texts(&texts, nulls > 0, spread < 1000);
        }
    }

    #[test]
    fn nulls_alone_are_what_nulls_are() {
        for n in [1, 20_001] {
            let texts = new_null_array(&DataType::Utf8, n);
            let delta = Some(Encoding::DELTA_LENGTH_BYTE_ARRAY);
            check::<()>(&Column::Nulls(n), &texts, (true, delta, false), &vec![None; n]);
            let kind = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
            let times = new_null_array(&kind, n);
            let delta = Some(Encoding::DELTA_BINARY_PACKED);
            check::<()>(&Column::Nulls(n), &times, (true, delta, false), &vec![None; n]);
        }
    }

    #[test]
    fn numbers_from_end_to_end_come_back() {
        let ends = [i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN, 1];
        check_numbers(&ends.repeat(100).into_iter().map(Some).collect::<Vec<_>>(), false);
    }

    #[test]
    fn a_dictionary_may_hold_nulls_twins_and_what_no_row_has() {
        let words = StringArray::from(vec![Some("b"), None, Some("a"), Some("b"), Some("z")]);
        let keys = Int32Array::from(vec![Some(0), Some(1), None, Some(2), Some(3)]);
        let column: ArrayRef =
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(words)).expect("one"));
        let each = [Some("b"), None, None, Some("a"), Some("b")];
        let each = each.map(|text| text.map(|text| (text, text.as_bytes().to_vec())));
        check(&Column::Array(column.clone()), &column, (true, None, false), &each);
    }

    #[test]
    fn what_cannot_be_is_told_or_left_to_others() {
        let chunk = |column: &Column<'_>, array: &ArrayRef, encoding: Option<Encoding>| {
            let field = Field::new("c", array.data_type().clone(), false);
            let schema = Arc::new(Schema::new(vec![field]));
            let writer =
                ArrowWriter::try_new(Vec::new(), schema, Some(properties(encoding, false)));
            let (writer, _) =
                writer.expect("a writer").into_serialized_writer().expect("its writer");
            column.chunk(&writer.schema_descr().column(0), writer.properties())
        };
        let told = |column: &Column<'_>, array: &ArrayRef, encoding| {
            let error = chunk(column, array, encoding).err().expect("an error").to_string();
            assert!(error.contains("a null in column c"), "{error}");
        };
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let dictionary = cast(&texts, &dictionary_of_texts()).expect("a dictionary");
        told(&Column::Array(dictionary.clone()), &dictionary, None);
        let lengths = Some(Encoding::DELTA_LENGTH_BYTE_ARRAY);
        told(&Column::Array(texts.clone()), &texts, lengths);
        told(&Column::Nulls(2), &texts, lengths);
        let longs: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        told(&Column::Array(longs.clone()), &longs, Some(Encoding::DELTA_BINARY_PACKED));
        let numbers = Column::Numbers(Coded::of_numbers([Some(1), None].into_iter()));
        let array: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
        told(&numbers, &array, None);

        // 1 MiB of text with the lengths before each, and no more.
        let long: Vec<String> = (0..1024).map(|n| format!("{n:01020}")).collect();
        let encodings = |texts: &[String]| {
            let array: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
            let dictionary = cast(&array, &dictionary_of_texts()).expect("a dictionary");
            let column = Column::Array(dictionary.clone());
            let (bytes, facts) = file(Some(&column), &dictionary, false, properties(None, false))
                .expect("a column that is written here");
            assert_eq!(&rows(&bytes, &DataType::Utf8), &array);
            format!("{:?}", facts.row_group(0).column(0).encodings().collect::<Vec<_>>())
        };
        let dictionary = "RLE_DICTIONARY";
        assert!(encodings(&long).contains(dictionary));
        let longer = [long, vec![String::new()]].concat();
        assert!(!encodings(&longer).contains(dictionary));
        assert!(encodings(&longer).contains("DELTA_LENGTH_BYTE_ARRAY"));
        // Longer than the parquet crate leaves bounds as they are.
        for (len, here) in [(64, true), (65, false)] {
            let array: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(len)]));
            let made = chunk(&Column::Array(array.clone()), &array, lengths).expect("no error");
            assert_eq!(made.is_some(), here);
        }
        // What is not asked to be written by distances.
        assert!(chunk(&Column::Array(longs.clone()), &longs, None).expect("no error").is_none());
    }
}
