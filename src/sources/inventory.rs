//! Inventories: the listing of a bucket that the store itself writes once a day or a week, as CSV files
//! and a `manifest.json` that names them.
//!
//! Takes decompressed CSV and the bytes of a manifest; gives what a listing would give. It opens nothing
//! and never prints a value of a row. A row that cannot be read fails the whole read: an inventory with
//! holes would lose objects without a word.
//!
//! What is known of the two flavours, and from where:
//!
//! - S3 (Amazon S3 user guide, "Cataloging and analyzing your data with S3 Inventory"): CSV without a header row,
//!   columns named by `fileSchema`; keys are URL-encoded. A space comes as `+` and a plus sign as `%2B`, as in
//!   forms (met by its users: cloud-custodian/cloud-custodian issue 1997). ETags come without quotes.
//! - COS (Tencent Cloud document 436/33703 and its English copies): alike; `fileSchema` begins with `Appid`, the
//!   numbers of the manifest are strings, keys are URL-encoded. The document does not say whether a space
//!   comes as `+` or as `%20`, nor how `LastModifiedDate` is written: both are taken to be as S3's, **not
//!   verified** against a real COS inventory. A plus sign left bare would be misread as a space, and the
//!   object would then not be found when it is read.
//! - Both are eventually consistent: what was written shortly before the inventory may be missing.

use crate::storage::ObjectInfo;
use chrono::DateTime;
use csv::{ByteRecord, ReaderBuilder, Terminator};
use serde::Deserialize;
use std::borrow::Cow;
use std::io::Read;

/// The columns of a file that neither a manifest nor a header row describes, in this order.
const PLAIN_COLUMNS: [&str; 4] = ["key", "size", "last-modified", "etag"];

/// What cannot be read of an inventory. No value of a row is ever in the text.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// `line` counts from 1: where the row begins, with the empty lines before it.
    #[error(
        "inventory, line {line}, column {column}: {fault}. It is not used, since an inventory with holes would lose \
         objects: have the store write it again, or list the store instead"
    )]
    Row { line: u64, column: String, fault: String },
    #[error(
        "inventory: no column {missing} among {found}. Let the inventory hold the key, Size, LastModifiedDate and \
         ETag of each object"
    )]
    Column { missing: &'static str, found: String },
    #[error("inventory, after line {line}: {source}")]
    Read { line: u64, source: std::io::Error },
    #[error("inventory manifest: {0}")]
    Manifest(String),
}

/// What the rows of one file came to: `rows` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InventoryCount {
    pub rows: u64,
    /// Given to the caller.
    pub objects: u64,
    /// Of keys that do not begin with the prefix.
    pub outside: u64,
    /// Versions that have been written over.
    pub not_latest: u64,
    pub delete_markers: u64,
    /// Keys that end with `/`: folders as consoles make them, no data.
    pub folders: u64,
}

/// Reads one CSV file and gives each object, in the order of the file, its key relative to `prefix`.
///
/// `columns` are those of the manifest; without them they are those of a header row, or else
/// key, size, last-modified, etag. `prefix` is a folder, with or without its last `/`; empty is the whole bucket.
/// `encoded` says that keys are URL-encoded, as those of S3 and COS are. An ETag is given in quotes, as a
/// listing through `object_store` gives it, so that an object is known whichever way it was listed.
/// A key that comes twice is given twice. After an error the caller throws away what it was given before.
pub fn read(
    input: impl Read,
    columns: Option<&[String]>,
    prefix: &str,
    encoded: bool,
    each: &mut dyn FnMut(ObjectInfo),
) -> Result<InventoryCount, InventoryError> {
    let prefix = match prefix.trim_end_matches('/') {
        "" => String::new(),
        folder => format!("{folder}/"),
    };
    // Rows of another length are found below, where the fault can be told with its place. Lines end with the line
    // feed alone, a `\r` before it is dropped below: by its own rule for `\r\n` csv counts lines one short.
    let mut rows = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .terminator(Terminator::Any(b'\n'))
        .from_reader(input);
    let mut count = InventoryCount::default();
    let mut layout = columns.map(Layout::of).transpose()?;
    let mut record = ByteRecord::new();
    while next(&mut rows, &mut record)? {
        let layout = match &layout {
            Some(layout) => layout,
            None => {
                let header = header_row(&record);
                let names =
                    header.clone().unwrap_or_else(|| PLAIN_COLUMNS.map(str::to_owned).into());
                let named = layout.insert(Layout::of(&names)?);
                if header.is_some() {
                    continue;
                }
                named
            }
        };
        let row = Row { layout, record: &record };
        row.has_every_column()?;
        count.rows += 1;
        if row.flag(layout.is_delete_marker, false)? {
            count.delete_markers += 1;
            continue;
        }
        if !row.flag(layout.is_latest, true)? {
            count.not_latest += 1;
            continue;
        }
        let written = row.text(layout.key)?;
        let key = match encoded {
            true => decoded(written).map_err(|fault| row.fault(layout.key, fault))?,
            false => Cow::Borrowed(written),
        };
        let Some(key) = key.strip_prefix(&prefix) else {
            count.outside += 1;
            continue;
        };
        if key.is_empty() && prefix.is_empty() {
            return Err(row.fault(layout.key, "is empty".to_owned()));
        }
        if key.is_empty() || key.ends_with('/') {
            count.folders += 1;
            continue;
        }
        count.objects += 1;
        each(ObjectInfo {
            key: key.to_owned(),
            size: row.size()?,
            etag: row.etag()?,
            last_modified_ms: row.last_modified_ms()?,
        });
    }
    Ok(count)
}

/// The next row that is not an empty line; false at the end.
fn next<R: Read>(
    rows: &mut csv::Reader<R>,
    record: &mut ByteRecord,
) -> Result<bool, InventoryError> {
    loop {
        let line = rows.position().line();
        let more = rows.read_byte_record(record).map_err(|error| {
            let source = match error.into_kind() {
                csv::ErrorKind::Io(error) => error,
                other => std::io::Error::other(format!("{other:?}")),
            };
            InventoryError::Read { line, source }
        })?;
        if !(more && record.len() == 1 && &record[0] == b"\r") {
            return Ok(more);
        }
    }
}

/// The names in a row that names columns. An object has no size called "size", so a key and a size are
/// enough to tell.
fn header_row(record: &ByteRecord) -> Option<Vec<String>> {
    let cells: Vec<String> =
        record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
    let names = |name: &str| cells.iter().any(|cell| plain(cell) == name);
    (names("key") && names("size")).then_some(cells)
}

/// A column's name without case, spaces and punctuation: `Last-Modified`, `last_modified` and `LastModified` are one.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Where in a row what stands.
struct Layout {
    names: Vec<String>,
    key: usize,
    size: usize,
    last_modified: usize,
    etag: usize,
    /// Only in inventories of all versions.
    is_latest: Option<usize>,
    is_delete_marker: Option<usize>,
}

impl Layout {
    fn of(names: &[String]) -> Result<Layout, InventoryError> {
        let at = |spellings: &[&str]| {
            names.iter().position(|name| spellings.contains(&plain(name).as_str()))
        };
        let must = |missing: &'static str, spellings: &[&str]| {
            at(spellings).ok_or_else(|| InventoryError::Column { missing, found: names.join(", ") })
        };
        Ok(Layout {
            key: must("Key", &["key"])?,
            size: must("Size", &["size"])?,
            last_modified: must("LastModifiedDate", &["lastmodifieddate", "lastmodified"])?,
            etag: must("ETag", &["etag"])?,
            is_latest: at(&["islatest"]),
            is_delete_marker: at(&["isdeletemarker"]),
            names: names.iter().map(|name| name.trim().to_owned()).collect(),
        })
    }
}

/// One row and what its columns are.
struct Row<'r> {
    layout: &'r Layout,
    record: &'r ByteRecord,
}

impl Row<'_> {
    fn fault(&self, column: usize, fault: String) -> InventoryError {
        let column = self.layout.names.get(column).cloned().unwrap_or_default();
        InventoryError::Row { line: self.line(), column, fault }
    }

    fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    /// A row cut short, or one in which an unquoted comma stands, would be read as something else.
    fn has_every_column(&self) -> Result<(), InventoryError> {
        let (has, wants) = (self.record.len(), self.layout.names.len());
        if has == wants {
            return Ok(());
        }
        let names = self.layout.names.join(", ");
        let fault = format!("the row has {has} columns instead of {wants} ({names})");
        Err(self.fault(has.min(wants - 1), fault))
    }

    fn text(&self, column: usize) -> Result<&str, InventoryError> {
        let cell = &self.record[column];
        let last = column + 1 == self.record.len();
        let cell = cell.strip_suffix(b"\r").filter(|_| last).unwrap_or(cell);
        std::str::from_utf8(cell).map_err(|_| self.fault(column, "is not valid UTF-8".to_owned()))
    }

    /// `absent` is what a row says that says nothing: buckets without versions leave these empty.
    fn flag(&self, column: Option<usize>, absent: bool) -> Result<bool, InventoryError> {
        let Some(column) = column else { return Ok(absent) };
        match self.text(column)?.trim() {
            "" => Ok(absent),
            word if word.eq_ignore_ascii_case("true") => Ok(true),
            word if word.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(self.fault(column, "is neither true nor false".to_owned())),
        }
    }

    fn size(&self) -> Result<u64, InventoryError> {
        let column = self.layout.size;
        let text = self.text(column)?.trim();
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits
            .then(|| text.parse().ok())
            .flatten()
            .ok_or_else(|| self.fault(column, "is not a number of bytes".to_owned()))
    }

    fn last_modified_ms(&self) -> Result<i64, InventoryError> {
        let column = self.layout.last_modified;
        DateTime::parse_from_rfc3339(self.text(column)?.trim())
            .map(|time| time.timestamp_millis())
            .map_err(|_| {
                let fault = "is not a time as 2024-11-01T08:00:00.000Z (RFC 3339)";
                self.fault(column, fault.to_owned())
            })
    }

    fn etag(&self) -> Result<Option<String>, InventoryError> {
        let text = self.text(self.layout.etag)?.trim();
        let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        Ok((!bare.is_empty()).then(|| format!("\"{bare}\"")))
    }
}

/// Undoes the encoding of forms: `%XX` is a byte, `+` a space.
fn decoded(text: &str) -> Result<Cow<'_, str>, String> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |b: &u8| char::from(*b).to_digit(16);
                let (Some(high), Some(low)) =
                    (rest.first().and_then(digit), rest.get(1).and_then(digit))
                else {
                    return Err("has a % that two hexadecimal digits do not follow; if keys \
                                are not URL-encoded, say so"
                        .to_owned());
                };
                bytes.push((high * 16 + low) as u8);
                rest = &rest[2..];
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| "is not valid UTF-8 once it is URL-decoded".to_owned())
}

/// A `manifest.json`: which files make up an inventory, and what their columns are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The bucket that was listed.
    pub source_bucket: String,
    /// The bucket in which the files are: its name alone.
    pub destination_bucket: String,
    /// For [`read`].
    pub columns: Vec<String>,
    pub files: Vec<ManifestFile>,
    /// When the store began to list, milliseconds since the epoch. S3 says it; COS's example does not.
    pub created_ms: Option<i64>,
}

/// One file of an inventory, usually gzip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// In the destination bucket, from its root; not URL-encoded.
    pub key: String,
    /// As stored.
    pub size: Option<u64>,
    /// MD5 of the bytes as stored, in lower-case hexadecimal digits.
    pub md5: Option<String>,
}

/// As written. Stores add members of their own, so unknown ones are no mistakes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenManifest {
    source_bucket: String,
    destination_bucket: String,
    file_format: String,
    file_schema: String,
    #[serde(default)]
    creation_timestamp: Option<NumberOrText>,
    files: Vec<WrittenFile>,
}

#[derive(Deserialize)]
struct WrittenFile {
    key: String,
    #[serde(default)]
    size: Option<NumberOrText>,
    /// S3 writes the first, COS the second.
    #[serde(default, rename = "MD5checksum", alias = "md5Checksum", alias = "MD5Checksum")]
    md5: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl NumberOrText {
    fn number(&self, name: &str) -> Result<u64, InventoryError> {
        match self {
            NumberOrText::Number(number) => Ok(*number),
            NumberOrText::Text(text) => text
                .parse()
                .map_err(|_| InventoryError::Manifest(format!("{name} is not a number"))),
        }
    }
}

impl Manifest {
    /// Reads the bytes of a `manifest.json` of S3 or COS.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, InventoryError> {
        let fault = InventoryError::Manifest;
        let written: WrittenManifest =
            serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
        if !written.file_format.eq_ignore_ascii_case("csv") {
            return Err(fault(format!(
                "fileFormat is {}, and only CSV can be read: set the format of the inventory to CSV",
                written.file_format
            )));
        }
        let columns: Vec<String> =
            written.file_schema.split(',').map(|name| name.trim().to_owned()).collect();
        // Found now, and not after the files have been fetched.
        Layout::of(&columns)?;
        let files = written
            .files
            .into_iter()
            .map(|file| {
                if file.key.is_empty() {
                    return Err(fault("files: an empty key".to_owned()));
                }
                let size = file.size.map(|size| size.number("files: size")).transpose()?;
                let md5 = file.md5.map(|md5| md5.to_ascii_lowercase());
                Ok(ManifestFile { key: file.key, size, md5 })
            })
            .collect::<Result<_, _>>()?;
        let created_ms = written
            .creation_timestamp
            .map(|time| {
                i64::try_from(time.number("creationTimestamp")?)
                    .map_err(|_| fault("creationTimestamp is no time".to_owned()))
            })
            .transpose()?;
        Ok(Manifest {
            source_bucket: bucket_name(&written.source_bucket),
            destination_bucket: bucket_name(&written.destination_bucket),
            columns,
            files,
            created_ms,
        })
    }
}

/// `arn:aws:s3:::name`, `qcs::cos:ap-guangzhou::name` and `name` are one bucket.
fn bucket_name(written: &str) -> String {
    written.rsplit(':').next().unwrap_or(written).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(
        csv: &[u8],
        columns: Option<&str>,
        prefix: &str,
        encoded: bool,
    ) -> Result<(Vec<ObjectInfo>, InventoryCount), InventoryError> {
        let columns: Option<Vec<String>> =
            columns.map(|c| c.split(',').map(str::to_owned).collect());
        let mut objects = Vec::new();
        let count =
            read(csv, columns.as_deref(), prefix, encoded, &mut |object| objects.push(object))?;
        Ok((objects, count))
    }

    /// Line, column and whole text of the fault of a file.
    #[track_caller]
    fn fault(csv: &[u8], columns: Option<&str>) -> (u64, String, String) {
        let error = all(csv, columns, "", true).expect_err("a file that cannot be read");
        let text = error.to_string();
        match error {
            InventoryError::Row { line, column, .. } => (line, column, text),
            other => panic!("{other}"),
        }
    }

    const S3_COLUMNS: &str = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass";

    /// As S3 writes them: every cell in quotes, no header row. 2024-11-01T08:00:00Z is 1730448000 by
    /// `date -u -d 2024-11-01T08:00:00Z +%s`.
    #[test]
    fn an_s3_inventory_of_all_versions() {
        let csv = concat!(
            "\"b\",\"results/wx+mini/dt%3D2024-11-01/a%2Bb.json\",\"v2\",\"true\",\"false\",\"1234\",",
            "\"2024-11-01T08:00:00.000Z\",\"9b2cf535f27731c974343645a3985328\",\"STANDARD\"\n",
            "\"b\",\"results/wx+mini/dt%3D2024-11-01/a%2Bb.json\",\"v1\",\"false\",\"false\",\"1000\",",
            "\"2024-10-31T08:00:00.000Z\",\"00000000000000000000000000000001\",\"STANDARD\"\n",
            "\"b\",\"results/gone.json\",\"v9\",\"true\",\"true\",\"\",\"2024-11-01T08:00:00.000Z\",\"\",\"\"\n",
            "\"b\",\"results/\",\"v1\",\"true\",\"false\",\"0\",\"2024-11-01T08:00:00.000Z\",\"e\",\"STANDARD\"\n",
            "\"b\",\"results/wx/\",\"v1\",\"true\",\"false\",\"0\",\"2024-11-01T08:00:00.000Z\",\"e\",\"STANDARD\"\n",
            "\"b\",\"results-old/x.json\",\"v1\",\"true\",\"false\",\"5\",\"2024-11-01T08:00:00.000Z\",\"e\",\"STANDARD\"\n",
            "\"b\",\"results/%E4%B8%AD.json\",\"v1\",\"TRUE\",\"FALSE\",\"0\",\"2024-11-01T16:00:00.5+08:00\",",
            "\"d41d8cd98f00b204e9800998ecf8427e-2\",\"STANDARD\"\n",
        );
        for prefix in ["results", "results/"] {
            let (objects, count) =
                all(csv.as_bytes(), Some(S3_COLUMNS), prefix, true).expect("reads");
            assert_eq!(
                objects,
                [
                    ObjectInfo {
                        key: "wx mini/dt=2024-11-01/a+b.json".to_owned(),
                        size: 1234,
                        etag: Some("\"9b2cf535f27731c974343645a3985328\"".to_owned()),
                        last_modified_ms: 1_730_448_000_000,
                    },
                    ObjectInfo {
                        key: "中.json".to_owned(),
                        size: 0,
                        etag: Some("\"d41d8cd98f00b204e9800998ecf8427e-2\"".to_owned()),
                        last_modified_ms: 1_730_448_000_500,
                    },
                ]
            );
            let expected = InventoryCount {
                rows: 7,
                objects: 2,
                outside: 1,
                not_latest: 1,
                delete_markers: 1,
                folders: 2,
            };
            assert_eq!(count, expected);
        }
    }

    /// The columns of COS's own example; ETags in quotes within quotes, lines that end as on Windows.
    #[test]
    fn a_cos_inventory() {
        let columns = "Appid, Bucket, Key, Size, LastModifiedDate, ETag, StorageClass, IsMultipartUploaded, ReplicationStatus";
        let csv = concat!(
            "1250000000,examplebucket,r%2Fa.json,7,2024-11-01T08:00:00Z,\"\"\"abc\"\"\",Standard,false,\r\n",
            "1250000000,examplebucket,r%2Fb.json,8,2024-11-01T08:00:00Z,abc,Standard,false,\r\n",
            "1250000000,examplebucket,r%2Fc.json,9,2024-11-01T08:00:00Z,,Standard,false,\r\n",
        );
        let (objects, count) = all(csv.as_bytes(), Some(columns), "", true).expect("reads");
        let seen: Vec<_> =
            objects.iter().map(|o| (o.key.as_str(), o.size, o.etag.as_deref())).collect();
        assert_eq!(
            seen,
            [
                ("r/a.json", 7, Some("\"abc\"")),
                ("r/b.json", 8, Some("\"abc\"")),
                ("r/c.json", 9, None)
            ]
        );
        assert_eq!(count, InventoryCount { rows: 3, objects: 3, ..InventoryCount::default() });
    }

    #[test]
    fn a_header_row_names_the_columns_in_any_order_and_spelling() {
        for header in [
            "ETag,Last-Modified,SIZE,Key",
            "etag,last_modified,size,key",
            "\u{feff}eTag,LastModified,Size,Key",
            "\"e-tag\",\"LastModifiedDate\",\"Size\",\"KEY\"",
        ] {
            let csv = format!("{header}\nabc,2024-11-01T08:00:00Z,7,a b+c%20.json\n");
            let (objects, count) = all(csv.as_bytes(), None, "", false).expect("reads");
            assert_eq!(objects.len(), 1, "{header}");
            assert_eq!(objects[0].key, "a b+c%20.json", "not encoded, so nothing is decoded");
            assert_eq!((objects[0].size, objects[0].last_modified_ms), (7, 1_730_448_000_000));
            assert_eq!(objects[0].etag.as_deref(), Some("\"abc\""));
            assert_eq!(count.rows, 1);
        }
    }

    #[test]
    fn without_a_header_there_are_four_columns() {
        let csv = b"key,7,2024-11-01T08:00:00Z,abc\nb.json,0,2024-11-01T08:00:00Z,abc";
        let (objects, _) = all(csv, None, "", true).expect("reads");
        // An object may be called "key"; that alone makes no header.
        assert_eq!(objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["key", "b.json"]);
        // Lines that end as on Windows, an empty one among them, the key in the last column.
        let csv = b"etag,size,last-modified,key\r\n\r\nabc,7,2024-11-01T08:00:00Z,\"a.json\"\r\n";
        let (objects, _) = all(csv, None, "", true).expect("reads");
        assert_eq!(objects[0].key, "a.json");
        let (objects, count) = all(b"", None, "", true).expect("reads");
        assert_eq!((objects.len(), count), (0, InventoryCount::default()));
    }

    #[test]
    fn a_fault_names_line_and_column_and_no_value() {
        let good = "a.json,7,2024-11-01T08:00:00Z,abc\n";
        for (row, column, word) in [
            ("secret,seven,2024-11-01T08:00:00Z,abc", "size", "number of bytes"),
            ("secret,,2024-11-01T08:00:00Z,abc", "size", "number of bytes"),
            ("secret,-1,2024-11-01T08:00:00Z,abc", "size", "number of bytes"),
            ("secret,+1,2024-11-01T08:00:00Z,abc", "size", "number of bytes"),
            ("secret,18446744073709551616,2024-11-01T08:00:00Z,abc", "size", "number of bytes"),
            ("secret,7,2024-11-01 08:00,abc", "last-modified", "RFC 3339"),
            ("secret,7,,abc", "last-modified", "RFC 3339"),
            ("secret%2,7,2024-11-01T08:00:00Z,abc", "key", "hexadecimal"),
            ("secret%zz,7,2024-11-01T08:00:00Z,abc", "key", "hexadecimal"),
            ("secret%FF,7,2024-11-01T08:00:00Z,abc", "key", "UTF-8"),
            (",7,2024-11-01T08:00:00Z,abc", "key", "empty"),
            ("secret,7,2024-11-01T08:00:00Z", "etag", "3 columns instead of 4"),
            ("secret", "size", "1 columns instead of 4"),
            ("secret,x,7,2024-11-01T08:00:00Z,abc", "etag", "5 columns instead of 4"),
        ] {
            let csv = format!("{good}{good}{row}\n{good}");
            let (line, at, text) = fault(csv.as_bytes(), None);
            assert_eq!((line, at.as_str()), (3, column), "{row}: {text}");
            assert!(text.contains(word), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
        let (line, at, _) = fault(b"a\xff,7,2024-11-01T08:00:00Z,abc", None);
        assert_eq!((line, at.as_str()), (1, "key"));
        // Lines are those of the file, though a cell may hold a line break, and lines may end as on Windows.
        for (csv, line) in [
            ("\"a\nb\",7,2024-11-01T08:00:00Z,e\nc,x,2024-11-01T08:00:00Z,e\n", 3),
            (
                "a,7,2024-11-01T08:00:00Z,e\r\nb,7,2024-11-01T08:00:00Z,e\r\nc,x,2024-11-01T08:00:00Z,e\r\n",
                3,
            ),
            // Empty lines belong to the row after them.
            ("a,7,2024-11-01T08:00:00Z,e\n\nc,x,2024-11-01T08:00:00Z,e\n", 2),
        ] {
            assert_eq!(fault(csv.as_bytes(), None).0, line, "{csv:?}");
        }
        let versions = "Key, Size, LastModifiedDate, ETag, IsLatest";
        let (_, at, text) = fault(b"k,7,2024-11-01T08:00:00Z,e,maybe", Some(versions));
        assert_eq!(at, "IsLatest");
        assert!(text.contains("neither true nor false"), "{text}");
    }

    #[test]
    fn a_column_that_is_needed_must_be_there() {
        for (columns, missing) in [
            ("Bucket, Size, LastModifiedDate, ETag", "Key"),
            ("Bucket, Key, LastModifiedDate, ETag", "Size"),
            ("Bucket, Key, Size, ETag", "LastModifiedDate"),
            ("Bucket, Key, Size, LastModifiedDate", "ETag"),
        ] {
            let error = all(b"", Some(columns), "", true).expect_err("a column is missing");
            assert!(error.to_string().contains(&format!("no column {missing} among")), "{error}");
        }
        let error = all(b"key,size\na,1\n", None, "", true).expect_err("a short header");
        assert!(matches!(error, InventoryError::Column { missing: "LastModifiedDate", .. }));
    }

    /// A file that breaks off is an error, not a shorter inventory.
    #[test]
    fn a_read_that_fails_is_told() {
        struct Breaks<'b>(&'b [u8]);
        impl Read for Breaks<'_> {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                match self.0.read(into)? {
                    0 => Err(std::io::Error::other("corrupt gzip stream")),
                    n => Ok(n),
                }
            }
        }
        let input = Breaks(b"a,7,2024-11-01T08:00:00Z,e\nb,7,2024");
        let error = read(input, None, "", true, &mut |_| {}).expect_err("breaks off");
        assert!(matches!(error, InventoryError::Read { line: 2, .. }), "{error:?}");
        assert!(error.to_string().contains("corrupt gzip stream"), "{error}");
    }

    /// The shape of the S3 user guide's example.
    #[test]
    fn a_manifest_of_s3() {
        let manifest = Manifest::parse(
            br#"{"sourceBucket": "src", "destinationBucket": "arn:aws:s3:::dst", "version": "2016-11-30",
                "creationTimestamp": "1730448000000", "fileFormat": "CSV",
                "fileSchema": "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag",
                "files": [{"key": "inv/src/daily/data/a.csv.gz", "size": 2147483647,
                           "MD5checksum": "F11166069F1990ABEB9C97ACE9CDFABC"}]}"#,
        )
        .expect("parses");
        let expected = Manifest {
            source_bucket: "src".to_owned(),
            destination_bucket: "dst".to_owned(),
            columns: [
                "Bucket",
                "Key",
                "VersionId",
                "IsLatest",
                "IsDeleteMarker",
                "Size",
                "LastModifiedDate",
                "ETag",
            ]
            .map(str::to_owned)
            .into(),
            files: vec![ManifestFile {
                key: "inv/src/daily/data/a.csv.gz".to_owned(),
                size: Some(2_147_483_647),
                md5: Some("f11166069f1990abeb9c97ace9cdfabc".to_owned()),
            }],
            created_ms: Some(1_730_448_000_000),
        };
        assert_eq!(manifest, expected);
    }

    /// The shape of COS's own example: numbers as texts, no timestamp, another spelling of the digest.
    #[test]
    fn a_manifest_of_cos() {
        let manifest = Manifest::parse(
            br#"{"sourceAppid": "1250000000", "sourceBucket": "src", "destinationAppid": "1250000000",
                "destinationBucket": "dst", "fileFormat": "CSV", "listObjectCount": "13",
                "listStorageSize": "7212835", "filterObjectCount": "13", "filterStorageSize": "7212835",
                "fileSchema": "Appid, Bucket, Key, Size, LastModifiedDate, ETag, StorageClass",
                "files": [{"key": "inv/1250000000/src/daily/a.csv.gz", "size": "502",
                           "md5Checksum": "7d40288a09c25b302ad6cb5fced54f35"}]}"#,
        )
        .expect("parses");
        assert_eq!(manifest.columns[..3], ["Appid", "Bucket", "Key"]);
        assert_eq!(manifest.destination_bucket, "dst");
        assert_eq!(manifest.created_ms, None);
        let file = &manifest.files[0];
        assert_eq!(file.size, Some(502));
        assert_eq!(file.md5.as_deref(), Some("7d40288a09c25b302ad6cb5fced54f35"));
    }

    #[test]
    fn a_manifest_that_cannot_be_used_says_why() {
        let manifest = |format: &str, schema: &str, file: &str| {
            Manifest::parse(
                format!(
                    r#"{{"sourceBucket":"s","destinationBucket":"qcs::cos:ap-guangzhou::d","fileFormat":"{format}",
                        "fileSchema":"{schema}","files":[{file}]}}"#
                )
                .as_bytes(),
            )
        };
        let good = "Key, Size, LastModifiedDate, ETag";
        assert_eq!(manifest("CSV", good, "").expect("parses").destination_bucket, "d");
        for (found, word) in [
            (manifest("Parquet", good, ""), "only CSV"),
            (manifest("CSV", "Key, LastModifiedDate, ETag", ""), "no column Size"),
            (manifest("CSV", good, r#"{"key":"a","size":"many"}"#), "files: size is not a number"),
            (manifest("CSV", good, r#"{"key":""}"#), "empty key"),
            (Manifest::parse(b"{}"), "missing field"),
            (Manifest::parse(b"<html>"), "expected value"),
        ] {
            let error = found.expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
