//! Columns of few texts, encoded by the dictionary they have.
//!
//! Takes an Arrow dictionary; gives a Parquet column chunk: a page of its texts, and data pages of places in it
//! (`RLE_DICTIONARY`; Encodings.md of the Parquet format). The parquet crate would give the same rows, but looks up
//! the text of every row to find the place that is known here.

use super::WriteError;
use arrow::array::{Array, AsArray, DictionaryArray, StringArray};
use arrow::datatypes::Int32Type;
use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Compression, Encoding, EncodingMask, PageType, Type};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use std::collections::HashMap;
use zstd::bulk::Compressor;

/// Stands for the place of a null.
const NULL: u32 = u32::MAX;

/// A column of a row group, encoded: its pages, and what the row group needs to know of them.
pub struct Chunk {
    pub bytes: Bytes,
    pub close: ColumnCloseResult,
}

impl Chunk {
    /// Of a column whose dictionary holds texts. None where they are more than a dictionary page may hold (the
    /// parquet crate then begins with a dictionary and goes on without), or where pages are compressed by another codec.
    pub fn of(
        column: &DictionaryArray<Int32Type>,
        descr: &ColumnDescPtr,
        properties: &WriterProperties,
    ) -> Result<Option<Chunk>, WriteError> {
        let Compression::ZSTD(level) = properties.compression(descr.path()) else {
            return Ok(None);
        };
        let texts = column.values().as_string::<i32>();
        if 4 * texts.len() + texts.value_data().len()
            > properties.column_dictionary_page_size_limit(descr.path())
        {
            return Ok(None);
        }
        let (words, places) = distinct(column, texts);
        let nullable = descr.max_def_level() > 0;
        if !nullable && places.contains(&NULL) {
            let message = format!("a null in column {}, which has none", descr.name());
            return Err(ParquetError::General(message).into());
        }
        let mut pages = Pages::new(level.compression_level())?;
        let mut page = Vec::new();
        for word in &words {
            page.extend_from_slice(&(word.len() as u32).to_le_bytes());
            page.extend_from_slice(word.as_bytes());
        }
        let dictionary_encoding = properties.dictionary_page_encoding();
        let dictionary = pages.add(&page, |buf| Page::DictionaryPage {
            buf,
            num_values: words.len() as u32,
            encoding: dictionary_encoding,
            is_sorted: false,
        })?;

        let order = Order::of(&words);
        let mut extents: Vec<Extent> = Vec::new();
        let mut column_index = ColumnIndexBuilder::new(Type::BYTE_ARRAY);
        let mut offset_index = OffsetIndexBuilder::new();
        let mut first_data = None;
        let width = u32::BITS - (words.len().saturating_sub(1) as u32).leading_zeros();
        for rows in places.chunks(properties.data_page_row_count_limit()) {
            page.clear();
            data_page(rows, nullable, width, &mut page);
            let data = pages.add(&page, |buf| Page::DataPage {
                buf,
                num_values: rows.len() as u32,
                encoding: Encoding::RLE_DICTIONARY,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            })?;
            first_data.get_or_insert(data.offset);
            offset_index.append_row_count(rows.len() as i64);
            offset_index.append_unencoded_byte_array_data_bytes(None);
            offset_index.append_offset_and_size(data.offset as i64, data.compressed_size as i32);
            let extent = order.extent(rows);
            let [least, greatest] = order.bounds(&extent).map(|bound| bound.unwrap_or_default());
            let all_null = extent.ranks.is_none();
            column_index.append(all_null, least.into(), greatest.into(), extent.nulls as i64);
            extents.push(extent);
        }
        column_index.set_boundary_order(boundary_order(&extents));

        let encodings = [dictionary_encoding, Encoding::RLE, Encoding::RLE_DICTIONARY];
        let stats = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut metadata = ColumnChunkMetaData::builder(descr.clone())
            .set_compression(Compression::ZSTD(level))
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(vec![
                stats(PageType::DICTIONARY_PAGE, dictionary_encoding, 1),
                stats(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, extents.len() as i32),
            ])
            .set_total_compressed_size(pages.compressed as i64)
            .set_total_uncompressed_size(pages.uncompressed as i64)
            .set_num_values(places.len() as i64)
            .set_data_page_offset(first_data.unwrap_or_default() as i64)
            .set_dictionary_page_offset(Some(dictionary.offset as i64));
        let statistics = properties.statistics_enabled(descr.path());
        if statistics != EnabledStatistics::None {
            let all = extents.iter().fold(Extent::default(), Extent::and);
            let [least, greatest] = order.bounds(&all).map(|bound| bound.map(Into::into));
            let nulls = Some(all.nulls as u64);
            metadata = metadata
                .set_statistics(Statistics::byte_array(least, greatest, None, nulls, false));
        }
        let column_index = match statistics {
            EnabledStatistics::Page => Some(column_index.build()?),
            _ => None,
        };
        let close = ColumnCloseResult {
            bytes_written: pages.compressed as u64,
            rows_written: places.len() as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index,
            offset_index: Some(offset_index.build()),
        };
        Ok(Some(Chunk { bytes: pages.sink.into_inner()?.into(), close }))
    }
}

/// The texts that rows have, each once, in the order in which rows have them; and of each row the place of its text.
/// A dictionary may hold texts that no row has, and one text twice.
fn distinct<'t>(
    column: &DictionaryArray<Int32Type>,
    texts: &'t StringArray,
) -> (Vec<&'t str>, Vec<u32>) {
    let mut words: Vec<&str> = Vec::new();
    let mut place_of_word: HashMap<&str, u32> = HashMap::new();
    let mut place_of_key: Vec<Option<u32>> = vec![None; texts.len()];
    let mut place = |key: usize| {
        *place_of_key[key].get_or_insert_with(|| match texts.is_valid(key) {
            true => *place_of_word.entry(texts.value(key)).or_insert_with(|| {
                words.push(texts.value(key));
                words.len() as u32 - 1
            }),
            false => NULL,
        })
    };
    let keys = column.keys();
    let places = match keys.nulls() {
        None => keys.values().iter().map(|key| place(*key as usize)).collect(),
        Some(_) => keys.iter().map(|key| key.map_or(NULL, |key| place(key as usize))).collect(),
    };
    (words, places)
}

/// What a data page holds: which of its rows are not null, if any may be, and the places of those.
fn data_page(rows: &[u32], nullable: bool, width: u32, out: &mut Vec<u8>) {
    let held: Vec<u32>;
    let mut places = rows;
    if nullable {
        let levels: Vec<u32> = rows.iter().map(|place| u32::from(*place != NULL)).collect();
        let len_at = out.len();
        out.extend_from_slice(&[0; 4]);
        hybrid(&levels, 1, out);
        let len = (out.len() - len_at - 4) as u32;
        out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
        if levels.contains(&0) {
            held = rows.iter().copied().filter(|place| *place != NULL).collect();
            places = &held;
        }
    }
    out.push(width as u8);
    hybrid(places, width, out);
}

/// Numbers of `width` bits in the RLE and bit-packing hybrid, as one run: of one number if all are the same, else of
/// all of them packed, filled up with zeros to a multiple of eight.
fn hybrid(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    let Some(first) = numbers.first() else { return };
    if numbers.iter().all(|number| number == first) {
        varint((numbers.len() as u64) << 1, out);
        out.extend_from_slice(&first.to_le_bytes()[..width.div_ceil(8) as usize]);
        return;
    }
    let groups = numbers.len().div_ceil(8);
    varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * width as usize;
    let (mut bits, mut filled) = (0u64, 0);
    for number in numbers {
        bits |= u64::from(*number) << filled;
        filled += width;
        if filled >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            filled -= 32;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes()[..filled.div_ceil(8) as usize]);
    out.resize(end, 0);
}

/// LEB128.
fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Pages one after the other.
struct Pages {
    sink: TrackedWrite<Vec<u8>>,
    compressor: Compressor<'static>,
    /// Bytes with headers.
    compressed: usize,
    uncompressed: usize,
}

impl Pages {
    fn new(level: i32) -> Result<Pages, WriteError> {
        let compressor = Compressor::new(level).map_err(external)?;
        Ok(Pages {
            sink: TrackedWrite::new(Vec::new()),
            compressor,
            compressed: 0,
            uncompressed: 0,
        })
    }

    fn add(
        &mut self,
        content: &[u8],
        page: impl FnOnce(Bytes) -> Page,
    ) -> Result<PageWriteSpec, WriteError> {
        let compressed = self.compressor.compress(content).map_err(external)?;
        let page = CompressedPage::new(page(compressed.into()), content.len());
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.compressed += spec.compressed_size;
        self.uncompressed += spec.uncompressed_size;
        Ok(spec)
    }
}

fn external(error: std::io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Texts in the order of their bytes.
struct Order<'w> {
    sorted: Vec<&'w str>,
    /// By the place of a text, its place among the sorted.
    ranks: Vec<u32>,
}

/// The least and the greatest of some rows, as ranks; None if all are null.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    ranks: Option<(u32, u32)>,
    nulls: usize,
}

impl Extent {
    fn and(self, other: &Extent) -> Extent {
        let ranks = match (self.ranks, other.ranks) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, other) => one.or(other),
        };
        Extent { ranks, nulls: self.nulls + other.nulls }
    }
}

impl<'w> Order<'w> {
    fn of(words: &[&'w str]) -> Order<'w> {
        let mut order: Vec<u32> = (0..words.len() as u32).collect();
        order.sort_unstable_by_key(|place| words[*place as usize]);
        let mut ranks = vec![0; words.len()];
        for (rank, place) in order.iter().enumerate() {
            ranks[*place as usize] = rank as u32;
        }
        Order { sorted: order.iter().map(|place| words[*place as usize]).collect(), ranks }
    }

    fn extent(&self, rows: &[u32]) -> Extent {
        let (mut least, mut greatest, mut nulls) = (u32::MAX, 0, 0);
        for place in rows {
            match self.ranks.get(*place as usize) {
                Some(rank) => (least, greatest) = (least.min(*rank), greatest.max(*rank)),
                None => nulls += 1,
            }
        }
        Extent { ranks: (nulls < rows.len()).then_some((least, greatest)), nulls }
    }

    fn bounds(&self, extent: &Extent) -> [Option<&'w str>; 2] {
        let word = |rank: u32| self.sorted[rank as usize];
        [extent.ranks.map(|(least, _)| word(least)), extent.ranks.map(|(_, most)| word(most))]
    }
}

/// How the bounds of pages follow each other, but for pages of nulls.
fn boundary_order(extents: &[Extent]) -> BoundaryOrder {
    let bounds: Vec<(u32, u32)> = extents.iter().filter_map(|extent| extent.ranks).collect();
    if bounds.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1) {
        BoundaryOrder::ASCENDING
    } else if bounds.is_sorted_by(|a, b| a.0 >= b.0 && a.1 >= b.1) {
        BoundaryOrder::DESCENDING
    } else {
        BoundaryOrder::UNORDERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int32Array, RecordBatch};
    use arrow::compute::{cast, concat};
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
    use parquet::file::page_index::column_index::ColumnIndexMetaData;
    use parquet::file::properties::DEFAULT_DATA_PAGE_ROW_COUNT_LIMIT;
    use proptest::prelude::*;
    use std::sync::Arc;

    #[test]
    fn runs_are_as_the_format_tells_them() {
        let encoded = |numbers: &[u32], width| {
            let mut out = Vec::new();
            hybrid(numbers, width, &mut out);
            out
        };
        // The example of Encodings.md: 0 to 7 in three bits each; behind the count of groups, one.
        assert_eq!(encoded(&[0, 1, 2, 3, 4, 5, 6, 7], 3), [0b11, 0x88, 0xC6, 0xFA]);
        // 9 numbers of one bit: two groups, the second filled up.
        assert_eq!(encoded(&[1, 0, 0, 0, 0, 0, 0, 0, 1], 1), [0b101, 1, 1]);
        // 300 times 5: 600 as LEB128 and the number in as many bytes as its bits need.
        assert_eq!(encoded(&[5; 300], 9), [0xD8, 0x04, 5, 0]);
        assert_eq!(encoded(&[0; 3], 0), [6]);
        assert!(encoded(&[], 4).is_empty());
        // 18 bits: more than a word at a time would hold.
        let numbers = [0x2_AAAA, 0x1_5555, 0, 0x3_FFFF, 1, 2, 3, 4];
        let packed = numbers.iter().rev().fold(0u128, |bits, n| bits << 18 | u128::from(*n));
        let top = (u128::from(numbers[7]) >> 2) as u8;
        let mut by_hand = vec![0b11];
        by_hand.extend_from_slice(&packed.to_le_bytes());
        by_hand.extend_from_slice(&[top, 0]);
        assert_eq!(encoded(&numbers, 18), by_hand);
    }

    /// The file of one column, and what is known of it, written by the chunk here or as the parquet crate does.
    fn file(column: &ArrayRef, nullable: bool, ours: bool) -> (Vec<u8>, Arc<ParquetMetaData>) {
        let field = Field::new("text", column.data_type().clone(), nullable);
        let schema = Arc::new(Schema::new(vec![field]));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(Default::default()))
            .build();
        let mut writer =
            ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties)).expect("a writer");
        let bytes = if ours {
            let (mut writer, _) = writer.into_serialized_writer().expect("its writer");
            let descr = writer.schema_descr().column(0);
            let chunk = Chunk::of(column.as_dictionary(), &descr, writer.properties());
            let chunk = chunk.expect("a chunk").expect("not too much text");
            let mut group = writer.next_row_group().expect("a row group");
            group.append_column(&chunk.bytes, chunk.close).expect("the column");
            group.close().expect("the row group");
            writer.into_inner().expect("the file")
        } else {
            writer
                .write(&RecordBatch::try_new(schema, vec![column.clone()]).expect("rows"))
                .expect("written");
            writer.into_inner().expect("the file")
        };
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(
            Bytes::from(bytes.clone()),
            options,
        );
        (bytes, reader.expect("a footer").metadata().clone())
    }

    fn bytes<'t>(text: Option<&&'t str>) -> Option<&'t [u8]> {
        text.map(|text| text.as_bytes())
    }

    fn rows(bytes: Vec<u8>) -> ArrayRef {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).expect("a file");
        let plain: Vec<ArrayRef> = reader
            .build()
            .expect("a reader")
            .map(|batch| cast(batch.expect("rows").column(0), &DataType::Utf8).expect("texts"))
            .collect();
        concat(&plain.iter().map(AsRef::as_ref).collect::<Vec<_>>()).expect("one column")
    }

    fn check(words: Vec<Option<String>>, keys: Vec<Option<i32>>, nullable: bool) {
        let words = StringArray::from(words);
        let column: ArrayRef = Arc::new(
            DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), Arc::new(words))
                .expect("a dictionary"),
        );
        let plain = cast(&column, &DataType::Utf8).expect("texts");
        let ((ours, our_facts), (_, facts)) =
            (file(&column, nullable, true), file(&column, nullable, false));
        assert_eq!(rows(ours).as_string::<i32>(), plain.as_string::<i32>());
        let (of_ours, of_theirs) = (our_facts.row_group(0).column(0), facts.row_group(0).column(0));
        assert_eq!(of_ours.num_values(), of_theirs.num_values());
        assert_eq!(of_ours.statistics(), of_theirs.statistics());
        assert_eq!(
            of_ours.encodings().collect::<Vec<_>>(),
            of_theirs.encodings().collect::<Vec<_>>()
        );
        // Pages are of so many rows; the parquet crate counts a thousand at a time where some are null.
        let pages: Vec<Vec<Option<&str>>> = plain
            .as_string::<i32>()
            .iter()
            .collect::<Vec<_>>()
            .chunks(DEFAULT_DATA_PAGE_ROW_COUNT_LIMIT)
            .map(<[_]>::to_vec)
            .collect();
        let locations = &our_facts.offset_index().expect("locations")[0][0].page_locations;
        let ColumnIndexMetaData::BYTE_ARRAY(index) =
            &our_facts.column_index().expect("bounds")[0][0]
        else {
            panic!("bounds of texts")
        };
        assert_eq!((locations.len(), index.num_pages() as usize), (pages.len(), pages.len()));
        for (place, page) in pages.iter().enumerate() {
            let first_row = place * DEFAULT_DATA_PAGE_ROW_COUNT_LIMIT;
            assert_eq!(locations[place].first_row_index, first_row as i64);
            assert_eq!(index.min_value(place), bytes(page.iter().flatten().min()));
            assert_eq!(index.max_value(place), bytes(page.iter().flatten().max()));
            let nulls = page.iter().filter(|text| text.is_none()).count();
            assert_eq!(index.null_count(place), Some(nulls as i64));
        }
        let bounds: Vec<_> = pages
            .iter()
            .filter_map(|page| page.iter().flatten().min().zip(page.iter().flatten().max()))
            .collect();
        let neighbours = || bounds.iter().zip(bounds.iter().skip(1));
        let order = if neighbours().all(|(a, b)| a.0 <= b.0 && a.1 <= b.1) {
            BoundaryOrder::ASCENDING
        } else if neighbours().all(|(a, b)| a.0 >= b.0 && a.1 >= b.1) {
            BoundaryOrder::DESCENDING
        } else {
            BoundaryOrder::UNORDERED
        };
        assert_eq!(
            our_facts.column_index().expect("bounds")[0][0].get_boundary_order(),
            Some(order)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

        /// Dictionaries with texts that no row has, texts that stand there twice, and nulls; more rows than a page.
        #[test]
        fn the_same_as_the_parquet_crate_writes(
            words in prop::collection::vec("[a-c身]{0,3}", 1..40),
            rows in 1..50_000usize,
            spread in 0..40usize,
            nulls in 0..4u32,
            sorted: bool,
            seed: u64,
        ) {
            let mut state = seed;
            let mut random = move || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as usize
            };
            let spread = spread.min(words.len() - 1) + 1;
            let mut keys: Vec<Option<i32>> = (0..rows)
                .map(|_| {
                    let null = match nulls { 0 | 1 => false, 2 => random() % 3 == 0, _ => true };
                    (!null).then(|| (random() % spread) as i32)
                })
                .collect();
            if sorted {
                keys.sort_unstable();
            }
            let words = words.into_iter().map(Some).collect();
            check(words, keys, nulls > 0);
        }
    }

    #[test]
    fn a_null_in_the_dictionary_is_a_null() {
        let words = vec![Some("b".to_owned()), None, Some("a".to_owned())];
        check(words, vec![Some(0), Some(1), None, Some(2), Some(1)], true);
    }

    #[test]
    fn what_cannot_be_is_told_or_left_to_others() {
        let dictionary = |keys: Vec<Option<i32>>, words: Vec<String>| {
            DictionaryArray::<Int32Type>::try_new(
                Int32Array::from(keys),
                Arc::new(StringArray::from(words)),
            )
            .expect("a dictionary")
        };
        let chunk = |column: &DictionaryArray<Int32Type>| {
            let field = Field::new("text", column.data_type().clone(), false);
            let writer = ArrowWriter::try_new(
                Vec::new(),
                Arc::new(Schema::new(vec![field])),
                Some(
                    WriterProperties::builder()
                        .set_compression(Compression::ZSTD(Default::default()))
                        .build(),
                ),
            );
            let (writer, _) =
                writer.expect("a writer").into_serialized_writer().expect("its writer");
            Chunk::of(column, &writer.schema_descr().column(0), writer.properties())
        };
        let with_null = chunk(&dictionary(vec![Some(0), None], vec!["a".into()]));
        assert!(with_null.err().expect("an error").to_string().contains("a null in column text"));
        // 1 MiB and four bytes of text with the lengths before them.
        let long: Vec<String> = (0..1024).map(|n| format!("{n:01020}")).collect();
        let keys = |n: i32| (0..n).map(Some).collect::<Vec<_>>();
        assert!(chunk(&dictionary(keys(1024), long.clone())).expect("no error").is_some());
        let more = [long, vec![String::new()]].concat();
        assert!(chunk(&dictionary(keys(1025), more)).expect("no error").is_none());
    }
}
