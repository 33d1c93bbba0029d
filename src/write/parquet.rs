//! Record batches to Parquet bytes and back.
//!
//! Takes rows in their final order; gives the bytes of a data file and its name, both functions of the
//! rows and the schema version alone: no clock, host, run or thread count goes into them.

use super::chunk::Chunk;
use super::column::Column;
use super::schema::Table;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, SchemaRef};
use bytes::{Buf, Bytes};
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions,
    compute_leaves,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    KeyValue, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData, SortingColumn,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::sync::Arc;

use super::WriteError;

/// Rows of a row group at most: small enough that a reader with a filter skips, large enough to compress,
/// and near the 122,880 rows that DuckDB gives to one thread.
pub const ROW_GROUP_ROWS_MAX: usize = 131_072;

/// Rows of a data file at most; a larger day is several files. A file is held until it is whole, because its
/// name is made of its bytes: some 50 MB.
pub const FILE_ROWS_MAX: usize = 8 * ROW_GROUP_ROWS_MAX;

/// Bytes of a row in a file, mostly less.
const ROW_BYTES: usize = 96;

/// One data file, encoded.
pub struct Encoded {
    pub bytes: Bytes,
    /// First 16 hex digits of the SHA-256 of the bytes.
    pub digest: String,
    pub rows: u64,
}

/// What the key-value metadata says besides the schema version and the time zone.
pub type FileFacts = Vec<(&'static str, String)>;

/// The rows of a row group, a column at a time: a column is made only when it is encoded, by the thread that
/// encodes it.
pub trait Columns: Sync {
    fn rows(&self) -> usize;
    /// The column at a place of the table's file schema; an array is of the type it has there.
    fn column(&self, place: usize) -> Result<Column<'_>, WriteError>;
}

impl Columns for RecordBatch {
    fn rows(&self) -> usize {
        self.num_rows()
    }

    fn column(&self, place: usize) -> Result<Column<'_>, WriteError> {
        Ok(Column::Array(self.columns()[place].clone()))
    }
}

/// Encodes the rows of one file, a row group after the other.
pub struct Encoder<'t> {
    table: &'t Table,
    writer: SerializedFileWriter<Vec<u8>>,
    groups: ArrowRowGroupWriterFactory,
    written: usize,
    rows: u64,
}

impl<'t> Encoder<'t> {
    pub fn new(table: &'t Table) -> Result<Encoder<'t>, WriteError> {
        Encoder::with_room(table, 0)
    }

    /// For about so many rows: bytes that grow by doubling are there twice while they are moved. Room that is not
    /// used is no memory.
    pub fn with_room(table: &'t Table, rows: u64) -> Result<Encoder<'t>, WriteError> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(table))
            // Plain types for every reader: a dictionary is an encoding here, not a type.
            .with_skip_arrow_metadata(true);
        let rows = (rows as usize).min(FILE_ROWS_MAX);
        let sink = Vec::with_capacity((1 << 20) + rows * ROW_BYTES);
        let writer = ArrowWriter::try_new_with_options(sink, table.file_schema.clone(), options)?;
        let (writer, groups) = writer.into_serialized_writer()?;
        Ok(Encoder { table, writer, groups, written: 0, rows: 0 })
    }

    /// Adds a row group, its columns encoded side by side.
    pub fn write(&mut self, group: &impl Columns) -> Result<(), WriteError> {
        let fields = self.table.file_schema.fields();
        let (descr, properties) = (self.writer.schema_descr(), self.writer.properties());
        let mut writers = self.groups.create_column_writers(self.written)?.into_iter();
        let of_fields: Vec<Vec<ArrowColumnWriter>> = fields
            .iter()
            .map(|field| writers.by_ref().take(leaves(field.data_type())).collect())
            .collect();
        let count = |next: &mut usize, writers: &Vec<ArrowColumnWriter>| {
            Some(std::mem::replace(next, *next + writers.len()))
        };
        let firsts: Vec<usize> = of_fields.iter().scan(0, count).collect();
        let chunks: Vec<Vec<EncodedColumn>> = of_fields
            .into_par_iter()
            .zip(fields.par_iter().zip(firsts))
            .enumerate()
            .map(|(place, (writers, (field, first)))| {
                let column = group.column(place)?;
                if let Some(chunk) = column.chunk(&descr.column(first), properties)? {
                    return Ok(vec![EncodedColumn::Here(chunk)]);
                }
                let leaves = compute_leaves(field, &column.into_array(field.data_type())?)?;
                let each = writers.into_iter().zip(leaves).map(|(mut writer, leaf)| {
                    writer.write(&leaf)?;
                    Ok(EncodedColumn::There(writer.close()?))
                });
                each.collect()
            })
            .collect::<Result<_, WriteError>>()?;
        let mut row_group = self.writer.next_row_group()?;
        for chunk in chunks.into_iter().flatten() {
            match chunk {
                EncodedColumn::Here(chunk) => {
                    row_group.append_column(&chunk.bytes, chunk.close)?;
                }
                EncodedColumn::There(chunk) => chunk.append_to_row_group(&mut row_group)?,
            }
        }
        row_group.close()?;
        self.written += 1;
        self.rows += group.rows() as u64;
        Ok(())
    }

    /// Ends the file with what its key-value metadata says besides the schema version and the time zone.
    pub fn finish(mut self, facts: &FileFacts) -> Result<Encoded, WriteError> {
        let fixed = [
            ("faceledger.table", self.table.name.clone()),
            ("faceledger.schema_version", self.table.version.to_string()),
            ("faceledger.time_zone", "+08:00".to_owned()),
        ];
        for (key, value) in fixed.iter().chain(facts) {
            self.writer.append_key_value_metadata(KeyValue::new((*key).into(), value.clone()));
        }
        let bytes = self.writer.into_inner()?;
        let digest = digest(&bytes);
        Ok(Encoded { bytes: Bytes::from(bytes), digest, rows: self.rows })
    }
}

/// A column of a row group, by who encoded it: this room, or the parquet crate.
enum EncodedColumn {
    Here(Chunk),
    There(ArrowColumnChunk),
}

/// First 16 hex digits of the SHA-256.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Name of a data file within its table.
pub fn file_name(table: &Table, partition: Option<&str>, digest: &str) -> String {
    let (folder, value) = match (&table.partition, partition) {
        (Some(column), Some(value)) => (format!("{column}={value}/"), value),
        // As Hive and everybody after it writes null.
        (Some(column), None) => (format!("{column}=__HIVE_DEFAULT_PARTITION__/"), "none"),
        (None, _) => (String::new(), "all"),
    };
    format!("{folder}{}-{value}-v{}-{digest}.parquet", table.name, table.version)
}

/// Whether a path within the table's folder is one that [`file_name`] gives.
pub fn is_file_name(table: &Table, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let digest = name
        .strip_prefix(&format!("{}-", table.name))
        .and_then(|rest| rest.strip_suffix(".parquet"))
        .and_then(|rest| rest.rsplit_once(&format!("-v{}-", table.version)));
    digest.is_some_and(|(_, digest)| {
        digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn properties(table: &Table) -> WriterProperties {
    let sorting = table
        .sort
        .iter()
        .map(|name| SortingColumn {
            column_idx: table.position(name) as i32,
            descending: false,
            nulls_first: false,
        })
        .collect();
    let mut builder = WriterProperties::builder()
        .set_created_by("faceledger".into())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        // Level 3 is 12 % slower for nothing on these columns.
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(sorting));
    for column in &table.columns {
        if Some(&column.name) == table.partition.as_ref() {
            continue;
        }
        let path = match column.kind.as_str() {
            "list<pull>" => {
                let parts = [column.name.as_str(), "list", "element", "fetched_at"];
                ColumnPath::new(parts.map(str::to_owned).to_vec())
            }
            _ => ColumnPath::from(column.name.as_str()),
        };
        if column.dictionary {
            // What the service says has no useful least and greatest; finding them costs a comparison a row.
            if column.name.ends_with("msg") {
                builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
            }
            continue;
        }
        // Ids and times do not repeat: a dictionary of them only costs time.
        let encoding = match column.kind.as_str() {
            "utf8" => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            "timestamp_ms_utc" | "int64" | "list<pull>" => Encoding::DELTA_BINARY_PACKED,
            _ => continue,
        };
        builder = builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path.clone(), encoding);
        // Ids in the order of time are in no order: a page's least and greatest exclude nothing.
        if column.kind == "utf8" && column.name != "seq" {
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::Chunk);
        }
    }
    if table.name == "liveness_detail" {
        let seq = ColumnPath::from("seq");
        builder = builder
            .set_column_bloom_filter_enabled(seq.clone(), true)
            .set_column_bloom_filter_fpp(seq.clone(), 0.01)
            .set_column_bloom_filter_max_ndv(seq, ROW_GROUP_ROWS_MAX as u64);
    }
    builder.build()
}

/// Rows of a data file that are read at once: their texts are several times what they were in the file.
pub const READ_ROWS: usize = 16_384;

/// Columns that a file has of a field.
fn leaves(kind: &DataType) -> usize {
    match kind {
        DataType::Struct(parts) => parts.iter().map(|part| leaves(part.data_type())).sum(),
        DataType::List(element) => leaves(element.data_type()),
        _ => 1,
    }
}

/// `rows`, but fewer where a column, of those that are read, has many values for each row, as lists may.
fn rows_at_once(footer: &ParquetMetaData, read: &ProjectionMask, rows: usize) -> usize {
    let values_max = rows * VALUES_OF_ROW;
    let rows_of = |group: &RowGroupMetaData| {
        let columns = group.columns().iter().enumerate().filter(|(n, _)| read.leaf_included(*n));
        let values = columns.map(|(_, column)| column.num_values() as usize).max().unwrap_or(0);
        // A group that fits as a whole asks for nothing.
        let fewer = || values_max * group.num_rows() as usize / values;
        if values > values_max { fewer() } else { rows }
    };
    footer.row_groups().iter().map(rows_of).min().unwrap_or(rows).clamp(1, rows)
}

/// Values of a row, in one column, that have room in what is read at once.
const VALUES_OF_ROW: usize = 4;

/// Reads a data file some rows at a time, dictionaries kept where the schema has them.
pub fn decode(
    table: &Table,
    bytes: Bytes,
) -> Result<impl Iterator<Item = Result<RecordBatch, WriteError>> + use<>, WriteError> {
    let footer = ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new())?.metadata().clone();
    let options = ArrowReaderOptions::new().with_schema(plain_schema(table, &footer));
    let rows = rows_at_once(&footer, &ProjectionMask::all(), READ_ROWS);
    let metadata = ArrowReaderMetadata::try_new(footer, options)?;
    let builder =
        ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata).with_batch_size(rows);
    let all = table.file_schema.clone();
    Ok(builder.build()?.map(move |batch| completed(batch?, &all)))
}

/// A batch of a file that was written before some columns were there has them, too, all null.
fn completed(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, WriteError> {
    if batch.num_columns() == schema.fields().len() {
        return Ok(batch);
    }
    let column = |field: &FieldRef| match batch.column_by_name(field.name()) {
        Some(column) => column.clone(),
        None => new_null_array(field.data_type(), batch.num_rows()),
    };
    let columns = schema.fields().iter().map(column).collect();
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// Bytes at the end of a file that mostly hold its footer.
const TAIL_BYTES: u64 = 64 << 10;

/// Reads some columns of a data file of `size` bytes, fetching no more than its footer and those columns, and gives
/// `rows` at a time at most.
pub fn decode_columns(
    table: &Table,
    size: u64,
    fetch: &dyn Fn(Range<u64>) -> Result<Bytes, WriteError>,
    columns: &[&str],
    rows: usize,
) -> Result<impl Iterator<Item = Result<RecordBatch, WriteError>> + use<>, WriteError> {
    let mut tail_bytes = TAIL_BYTES.min(size);
    let (footer, mut parts) = loop {
        let from = size - tail_bytes;
        let tail = fetch(from..size)?;
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&tail, size) {
            Ok(()) => break (reader.finish()?, vec![(from, tail)]),
            Err(ParquetError::NeedMoreData(bytes)) if (bytes as u64) > tail_bytes => {
                tail_bytes = (bytes as u64).min(size);
            }
            Err(error) => return Err(error.into()),
        }
    };
    let wanted =
        ProjectionMask::columns(footer.file_metadata().schema_descr(), columns.iter().copied());
    for group in footer.row_groups() {
        for (place, column) in group.columns().iter().enumerate() {
            let (from, bytes) = column.byte_range();
            if wanted.leaf_included(place) && from < size - tail_bytes {
                parts.push((from, fetch(from..from + bytes)?));
            }
        }
    }
    parts.sort_by_key(|(from, _)| *from);
    let rows = rows_at_once(&footer, &wanted, rows);
    let options = ArrowReaderOptions::new().with_schema(plain_schema(table, &footer));
    let metadata = ArrowReaderMetadata::try_new(Arc::new(footer), options)?;
    let builder =
        ParquetRecordBatchReaderBuilder::new_with_metadata(Parts { size, parts }, metadata)
            .with_batch_size(rows)
            .with_projection(wanted);
    let places: Vec<usize> = (0..table.file_schema.fields().len())
        .filter(|place| columns.contains(&table.file_schema.field(*place).name().as_str()))
        .collect();
    let asked = Arc::new(table.file_schema.project(&places)?);
    Ok(builder.build()?.map(move |batch| completed(batch?, &asked)))
}

/// A file of which some parts are here, by the byte they start at.
struct Parts {
    size: u64,
    parts: Vec<(u64, Bytes)>,
}

impl Parts {
    /// From a byte to the end of the part that holds it.
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let after = self.parts.partition_point(|(from, _)| *from <= start);
        let part = after.checked_sub(1).map(|at| &self.parts[at]);
        part.filter(|(from, bytes)| start <= from + bytes.len() as u64)
            .map(|(from, bytes)| bytes.slice((start - from) as usize..))
            .ok_or_else(|| ParquetError::EOF(format!("byte {start} was not fetched")))
    }
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Parts {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        match bytes.len() >= length {
            true => Ok(bytes.slice(..length)),
            false => {
                Err(ParquetError::EOF(format!("{length} bytes from {start} were not fetched")))
            }
        }
    }
}

/// The columns of a table that a file has.
fn plain_schema(table: &Table, footer: &ParquetMetaData) -> SchemaRef {
    let root = footer.file_metadata().schema_descr().root_schema_ptr();
    let has = |field: &&FieldRef| root.get_fields().iter().any(|held| held.name() == field.name());
    let fields: Vec<FieldRef> = table.file_schema.fields().iter().filter(has).cloned().collect();
    Arc::new(arrow::datatypes::Schema::new(fields))
}

/// Whole numbers of rows, in row order, as a small file of their own.
pub fn encode_numbers(name: &str, numbers: Vec<i64>) -> Result<Bytes, WriteError> {
    let field = arrow::datatypes::Field::new(name, DataType::Int64, false);
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![field]));
    let properties = WriterProperties::builder()
        .set_created_by("faceledger".into())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::DELTA_BINARY_PACKED)
        .build();
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![Arc::new(Int64Array::from(numbers)) as ArrayRef],
    )?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    writer.write(&batch)?;
    Ok(Bytes::from(writer.into_inner()?))
}

/// What [`encode_numbers`] wrote.
pub fn decode_numbers(bytes: Bytes) -> Result<Vec<i64>, WriteError> {
    let mut numbers = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
        let batch = batch?;
        let column = batch.columns().first().and_then(|c| c.as_primitive_opt::<Int64Type>());
        let column = column.ok_or_else(|| {
            WriteError::Parquet(ParquetError::General("not a column of numbers".into()))
        })?;
        numbers.extend(column.values());
    }
    Ok(numbers)
}

/// The column by name, with its dictionary (if it has one) taken away.
pub fn plain_column(batch: &RecordBatch, name: &str) -> Result<ArrayRef, WriteError> {
    let column = batch.column_by_name(name).ok_or_else(|| {
        WriteError::Arrow(arrow::error::ArrowError::SchemaError(format!("no column {name}")))
    })?;
    Ok(match column.data_type() {
        DataType::Dictionary(_, value) => cast(column, value)?,
        _ => column.clone(),
    })
}
