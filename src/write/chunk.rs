//! Column chunks: pages one after the other, and what a row group needs to know of them.
//!
//! Takes pages of values that are encoded already; gives the bytes and the metadata of the column. The page writer,
//! the metadata and the file are the parquet crate's.

use super::WriteError;
use super::encodings::{hybrid, hybrid_run};
use super::ids::Id;
use bytes::Bytes;
use parquet::basic::{
    BoundaryOrder, Compression, Encoding, EncodingMask, PageType, Type, ZstdLevel,
};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

/// A column of a row group, encoded: its pages, and what the row group needs to know of them.
pub struct Chunk {
    pub bytes: Bytes,
    pub close: ColumnCloseResult,
}

/// A value of a column, and how the format writes it.
pub trait Value: Copy + Ord {
    const PHYSICAL: Type;
    /// As it stands in the bounds of a page; of a text its bytes.
    fn append_to(&self, out: &mut Vec<u8>);
    /// How many bytes these are.
    fn byte_len(&self) -> usize;
    fn statistics(bounds: Option<[Self; 2]>, nulls: Option<u64>) -> Statistics;
}

impl Value for i32 {
    const PHYSICAL: Type = Type::INT32;

    fn byte_len(&self) -> usize {
        size_of::<i32>()
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn statistics(bounds: Option<[i32; 2]>, nulls: Option<u64>) -> Statistics {
        let [least, greatest] = each_of(bounds);
        Statistics::int32(least, greatest, None, nulls, false)
    }
}

impl Value for i64 {
    const PHYSICAL: Type = Type::INT64;

    fn byte_len(&self) -> usize {
        size_of::<i64>()
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn statistics(bounds: Option<[i64; 2]>, nulls: Option<u64>) -> Statistics {
        let [least, greatest] = each_of(bounds);
        Statistics::int64(least, greatest, None, nulls, false)
    }
}

impl Value for &str {
    const PHYSICAL: Type = Type::BYTE_ARRAY;

    fn byte_len(&self) -> usize {
        str::len(self)
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn statistics(bounds: Option<[Self; 2]>, nulls: Option<u64>) -> Statistics {
        of_texts(bounds, nulls)
    }
}

impl Value for Id<'_> {
    const PHYSICAL: Type = Type::BYTE_ARRAY;

    fn byte_len(&self) -> usize {
        Id::byte_len(self)
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        Id::append_to(self, out);
    }

    fn statistics(bounds: Option<[Self; 2]>, nulls: Option<u64>) -> Statistics {
        of_texts(bounds, nulls)
    }
}

fn of_texts<V: Value>(bounds: Option<[V; 2]>, nulls: Option<u64>) -> Statistics {
    let bounds = bounds.map(|bounds| bounds.map(|bound| ByteArray::from(bytes_of(&bound))));
    let [least, greatest] = each_of(bounds);
    Statistics::byte_array(least, greatest, None, nulls, false)
}

fn each_of<V>(both: Option<[V; 2]>) -> [Option<V>; 2] {
    both.map_or([None, None], |both| both.map(Some))
}

fn bytes_of(value: &impl Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.append_to(&mut bytes);
    bytes
}

/// What is known of the rows of a page.
pub struct PageFacts<V> {
    pub rows: usize,
    pub nulls: usize,
    /// The least and the greatest; None if all are null, or if nobody asks for it.
    pub bounds: Option<[V; 2]>,
    /// Bytes of texts that stand in the page.
    pub text_bytes: Option<i64>,
}

/// Writes a column of a row group.
pub struct ChunkWriter<'c, V> {
    descr: &'c ColumnDescPtr,
    level: ZstdLevel,
    /// Of the values of data pages.
    encoding: Encoding,
    statistics: EnabledStatistics,
    pages: Pages,
    /// Offsets.
    dictionary: Option<u64>,
    first_data: Option<u64>,
    column_index: ColumnIndexBuilder,
    offset_index: OffsetIndexBuilder,
    facts: Vec<PageFacts<V>>,
    page: Vec<u8>,
}

/// The encoding of dictionaries, and of places in them, as version 1 of the format names it.
const DICTIONARY: Encoding = Encoding::PLAIN;

impl<'c, V: Value> ChunkWriter<'c, V> {
    /// None where pages are compressed by another codec than the one that is used here.
    pub fn new(
        descr: &'c ColumnDescPtr,
        properties: &WriterProperties,
        encoding: Encoding,
    ) -> Result<Option<ChunkWriter<'c, V>>, WriteError> {
        let Compression::ZSTD(level) = properties.compression(descr.path()) else {
            return Ok(None);
        };
        Ok(Some(ChunkWriter {
            descr,
            level,
            encoding,
            statistics: properties.statistics_enabled(descr.path()),
            pages: Pages::new(level.compression_level())?,
            dictionary: None,
            first_data: None,
            column_index: ColumnIndexBuilder::new(V::PHYSICAL),
            offset_index: OffsetIndexBuilder::new(),
            facts: Vec::new(),
            page: Vec::new(),
        }))
    }

    /// Whether the least and the greatest of pages are asked for, or at least those of all of them.
    pub fn wants_bounds(&self) -> bool {
        self.statistics != EnabledStatistics::None
    }

    /// Tells no bounds, whatever is asked for.
    pub fn leave_bounds(&mut self) {
        self.statistics = EnabledStatistics::None;
    }

    /// The page of values that the places in data pages are of; before all others.
    pub fn dictionary(&mut self, words: &[V]) -> Result<(), WriteError> {
        self.page.clear();
        for word in words {
            if V::PHYSICAL == Type::BYTE_ARRAY {
                self.page.extend_from_slice(&(word.byte_len() as u32).to_le_bytes());
            }
            word.append_to(&mut self.page);
        }
        let page = self.pages.add(&self.page, |buf| Page::DictionaryPage {
            buf,
            num_values: words.len() as u32,
            encoding: DICTIONARY,
            is_sorted: false,
        })?;
        self.dictionary = Some(page.offset);
        Ok(())
    }

    /// A data page: `valid` says of each row whether it is not null, and `values` appends those that are not.
    pub fn page(
        &mut self,
        facts: PageFacts<V>,
        valid: impl Iterator<Item = bool>,
        values: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), WriteError> {
        let PageFacts { rows, nulls, bounds, text_bytes } = facts;
        let nullable = self.descr.max_def_level() > 0;
        if nulls > 0 && !nullable {
            let message = format!("a null in column {}, which has none", self.descr.name());
            return Err(ParquetError::General(message).into());
        }
        let page = &mut self.page;
        page.clear();
        if nullable {
            page.extend_from_slice(&[0; 4]);
            match nulls {
                0 => hybrid_run(1, rows, 1, page),
                nulls if nulls == rows => hybrid_run(0, rows, 1, page),
                _ => hybrid(&valid.map(u32::from).collect::<Vec<_>>(), 1, page),
            }
            let len = (page.len() - 4) as u32;
            page[..4].copy_from_slice(&len.to_le_bytes());
        }
        values(page);
        let data = self.pages.add(page, |buf| Page::DataPage {
            buf,
            num_values: rows as u32,
            encoding: self.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })?;
        self.first_data.get_or_insert(data.offset);
        self.offset_index.append_row_count(rows as i64);
        self.offset_index.append_unencoded_byte_array_data_bytes(text_bytes);
        self.offset_index.append_offset_and_size(data.offset as i64, data.compressed_size as i32);
        let [least, greatest] =
            bounds.map_or([Vec::new(), Vec::new()], |bounds| bounds.map(|bound| bytes_of(&bound)));
        self.column_index.append(nulls == rows, least, greatest, nulls as i64);
        self.facts.push(PageFacts { rows, nulls, bounds, text_bytes });
        Ok(())
    }

    /// Makes room for `more` rows like the last, which `rows` were: bytes that grow by doubling are there twice while
    /// they are moved.
    pub fn expect_more(&mut self, rows: usize, more: usize) {
        if self.facts.len() == 1 {
            let bytes = self.pages.compressed * more / rows.max(1);
            self.pages.sink.inner_mut().reserve(bytes + bytes / 16);
        }
    }

    pub fn close(mut self, bloom_filter: Option<Sbbf>) -> Result<Chunk, WriteError> {
        let rows: usize = self.facts.iter().map(|page| page.rows).sum();
        let nulls: usize = self.facts.iter().map(|page| page.nulls).sum();
        let text_bytes = self.facts.iter().map(|page| page.text_bytes).sum();
        let bounds: Vec<[V; 2]> = self.facts.iter().filter_map(|page| page.bounds).collect();
        self.column_index.set_boundary_order(boundary_order(&bounds));
        let mut encodings = vec![Encoding::RLE, self.encoding];
        let stats = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut page_stats =
            vec![stats(PageType::DATA_PAGE, self.encoding, self.facts.len() as i32)];
        if self.dictionary.is_some() {
            encodings.push(DICTIONARY);
            page_stats.insert(0, stats(PageType::DICTIONARY_PAGE, DICTIONARY, 1));
        }
        let mut metadata = ColumnChunkMetaData::builder(self.descr.clone())
            .set_compression(Compression::ZSTD(self.level))
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(page_stats)
            .set_total_compressed_size(self.pages.compressed as i64)
            .set_total_uncompressed_size(self.pages.uncompressed as i64)
            .set_num_values(rows as i64)
            .set_data_page_offset(self.first_data.unwrap_or_default() as i64)
            .set_dictionary_page_offset(self.dictionary.map(|offset| offset as i64))
            .set_unencoded_byte_array_data_bytes(text_bytes);
        if self.statistics != EnabledStatistics::None {
            let least = bounds.iter().map(|[least, _]| *least).min();
            let greatest = bounds.iter().map(|[_, greatest]| *greatest).max();
            let bounds = least.zip(greatest).map(|(least, greatest)| [least, greatest]);
            metadata = metadata.set_statistics(V::statistics(bounds, Some(nulls as u64)));
        }
        let column_index = match self.statistics {
            EnabledStatistics::Page => Some(self.column_index.build()?),
            _ => None,
        };
        let close = ColumnCloseResult {
            bytes_written: self.pages.compressed as u64,
            rows_written: rows as u64,
            metadata: metadata.build()?,
            bloom_filter,
            column_index,
            offset_index: Some(self.offset_index.build()),
        };
        Ok(Chunk { bytes: self.pages.sink.into_inner()?.into(), close })
    }
}

/// How the bounds of pages follow each other, but for pages of nulls.
fn boundary_order<V: Ord>(bounds: &[[V; 2]]) -> BoundaryOrder {
    if bounds.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1]) {
        BoundaryOrder::ASCENDING
    } else if bounds.is_sorted_by(|a, b| a[0] >= b[0] && a[1] >= b[1]) {
        BoundaryOrder::DESCENDING
    } else {
        BoundaryOrder::UNORDERED
    }
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
