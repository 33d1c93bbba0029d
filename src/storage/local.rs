//! Takes paths on this machine's disk; gives what `object_store` would say of them, by `std::fs`
//! directly: a hundred thousand small files must not each cost a trip through the runtime.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Component, Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::error::{StorageError, not_there};
use super::{Level, ObjectInfo, join_key};

/// Buffer of a local reader: large enough that a decoder's small reads cost no system call each.
const READ_BYTES: usize = 256 << 10;

/// The folder's absolute path with links resolved as far as it exists; it need not exist.
pub(super) fn absolute_folder(path: &FsPath) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut known = absolute.as_path();
    loop {
        if let Ok(resolved) = fs::canonicalize(known) {
            let mut folder = resolved;
            // What follows does not exist yet, so `..` in it can only mean the folder before it.
            for part in absolute.strip_prefix(known).unwrap_or(FsPath::new("")).components() {
                match part {
                    Component::ParentDir => _ = folder.pop(),
                    part => folder.push(part),
                }
            }
            return Ok(folder);
        }
        match known.parent() {
            Some(parent) => known = parent,
            None => return Ok(absolute),
        }
    }
}

/// The folders that creating `folder` would make, innermost first.
pub(super) fn missing_folders(folder: &FsPath) -> Vec<PathBuf> {
    let missing = folder.ancestors().take_while(|folder| !folder.exists());
    missing.map(FsPath::to_path_buf).collect()
}

/// Removes folders that were made for a probe, innermost first.
pub(super) fn remove_made(folders: Vec<PathBuf>) {
    for folder in folders {
        // Another process may have begun to use the folder: then it stays.
        let _ = fs::remove_dir(folder);
    }
}

/// Begin and end of the hidden names under which files are written before they are renamed.
const UNFINISHED: (&str, &str) = (".faceledger-", ".tmp");

/// Whether a key is that of a file which a process of ours began to write and did not come to rename.
pub fn is_unfinished(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    name.starts_with(UNFINISHED.0) && name.ends_with(UNFINISHED.1)
}

/// The walk of one local listing.
pub(super) struct LocalWalk {
    pub(super) objects: Vec<ObjectInfo>,
    /// Device and inode of the folders we are in, so that a link back up ends in an error.
    pub(super) above: Vec<(u64, u64)>,
}

impl LocalWalk {
    /// Adds the files of `folder`, whose key is `key`, and of the folders below it. Links are followed;
    /// links that lead nowhere, and what is neither file nor folder, are no objects; nor is a file
    /// that vanishes meanwhile.
    pub(super) fn folder(&mut self, folder: &FsPath, key: &str) -> Result<(), StorageError> {
        let failed = |error: &io::Error| StorageError::from_io("list", folder.display(), error);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if not_there(&error) => return Ok(()),
            Err(error) => return Err(failed(&error)),
        };
        let identity = match fs::metadata(folder) {
            Ok(metadata) => identity(&metadata),
            Err(error) if not_there(&error) => return Ok(()),
            Err(error) => return Err(failed(&error)),
        };
        if self.above.contains(&identity) {
            let cause = "a link that leads back to a folder above it; remove the link";
            return Err(StorageError::other("list", folder.display(), cause));
        }
        self.above.push(identity);
        let mut found = Vec::new();
        for entry in entries {
            found.push(one_entry(folder, key, entry)?);
        }
        // A folder is sorted as what lies in it: after its name comes a `/`. So the walk comes by the keys in
        // their order, and a sort of the whole, which shares long beginnings, finds nothing to do.
        let name_from = key.len();
        found.sort_unstable_by(|a, b| a.order(b, name_from));
        for entry in found {
            match entry {
                Entry::Folder(path, key) => self.folder(&path, &key)?,
                Entry::Object(object) => self.objects.push(object),
                Entry::Nothing => {}
            }
        }
        self.above.pop();
        Ok(())
    }
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> (u64, u64) {
    // No inode to compare: a loop of links then ends with the system's limit on path lengths.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    (u64::MAX, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Etag and time as `object_store` gives them for local files, so that a listing by either is the same.
pub(super) fn local_info(key: String, metadata: &fs::Metadata) -> ObjectInfo {
    #[cfg(unix)]
    let inode = identity(metadata).1;
    #[cfg(not(unix))]
    let inode = 0_u64;
    let size = metadata.len();
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    let (micros, last_modified_ms) = match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_micros(), since.as_millis() as i64),
        // Before 1970: rounded down, as for every other time.
        Err(before) => (0, -(before.duration().as_nanos().div_ceil(1_000_000) as i64)),
    };
    let mut etag = String::with_capacity(32);
    push_hex(&mut etag, u128::from(inode));
    etag.push('-');
    push_hex(&mut etag, micros);
    etag.push('-');
    push_hex(&mut etag, u128::from(size));
    ObjectInfo { key, size, etag: Some(etag), last_modified_ms }
}

/// As `{:x}` writes it, at a tenth of the cost: three of them stand in the etag of every file listed.
fn push_hex(text: &mut String, number: u128) {
    let digits = (128 - number.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = (number >> (4 * place)) as u32 & 15;
        text.extend(char::from_digit(digit, 16));
    }
}

pub(super) fn read_local_range(path: &FsPath, range: &Range<u64>) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if range.start >= size {
        let cause = format!("the range starts at byte {} of {size}", range.start);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, cause));
    }
    let length = range.end.min(size) - range.start;
    let mut bytes = Vec::with_capacity(length as usize);
    file.seek(SeekFrom::Start(range.start))?;
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        let cause = "the file became shorter while it was read";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, cause));
    }
    Ok(Bytes::from(bytes))
}

/// Writes next to the target under a hidden name and renames: no reader sees half a file, and a crash
/// leaves only a hidden one.
pub(super) fn write_local(path: &FsPath, bytes: &[u8]) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = path.parent().unwrap_or(FsPath::new("/"));
    let (begin, end) = UNFINISHED;
    let staged = folder.join(format!("{begin}{}-{number}{end}", std::process::id()));
    let written = match fs::write(&staged, bytes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).and_then(|()| fs::write(&staged, bytes))
        }
        outcome => outcome,
    };
    written.and_then(|()| fs::rename(&staged, path)).inspect_err(|_| {
        // The first error is the one to tell; the litter is hidden and harmless.
        let _ = fs::remove_file(&staged);
    })
}

/// What one name in a folder is. Links are what they lead to.
enum Entry {
    Folder(PathBuf, String),
    Object(ObjectInfo),
    Nothing,
}

impl Entry {
    /// Sorts by the bytes of the key from some place on, a folder's with the `/` that follows.
    fn order(&self, other: &Entry, from: usize) -> std::cmp::Ordering {
        match (self, other) {
            (Entry::Object(a), Entry::Object(b)) => {
                a.key.as_bytes()[from..].cmp(&b.key.as_bytes()[from..])
            }
            _ => self.with_slash(from).cmp(other.with_slash(from)),
        }
    }

    fn with_slash(&self, from: usize) -> impl Iterator<Item = u8> {
        let (key, end) = match self {
            Entry::Folder(_, key) => (key.as_str(), Some(b'/')),
            Entry::Object(object) => (object.key.as_str(), None),
            Entry::Nothing => ("", None),
        };
        key.as_bytes().get(from..).unwrap_or_default().iter().copied().chain(end)
    }
}

fn one_entry(
    folder: &FsPath,
    key: &str,
    entry: io::Result<fs::DirEntry>,
) -> Result<Entry, StorageError> {
    let failed = |error: &io::Error| StorageError::from_io("list", folder.display(), error);
    let entry = entry.map_err(|error| failed(&error))?;
    let name = entry.file_name();
    let Some(name) = name.to_str() else {
        let cause = "a name in this folder is not valid UTF-8; rename it";
        return Err(StorageError::other("list", folder.display(), cause));
    };
    let key = join_key(key, name);
    let file_type = entry.file_type().map_err(|error| failed(&error))?;
    if file_type.is_dir() {
        return Ok(Entry::Folder(entry.path(), key));
    }
    let metadata = match file_type.is_symlink() {
        true => fs::metadata(entry.path()),
        false => entry.metadata(),
    };
    match metadata {
        Ok(metadata) if metadata.is_dir() => Ok(Entry::Folder(entry.path(), key)),
        Ok(metadata) if metadata.is_file() => Ok(Entry::Object(local_info(key, &metadata))),
        Ok(_) => Ok(Entry::Nothing),
        Err(error) if not_there(&error) => Ok(Entry::Nothing),
        Err(error) => Err(StorageError::from_io("list", entry.path().display(), &error)),
    }
}

/// One level of a folder whose key is `key`, not sorted. A folder that is not there is empty, and so
/// is a folder without files in it: it shows all the same, which an object store's does not.
pub(super) fn local_level(folder: &FsPath, key: &str) -> Result<Level, StorageError> {
    let mut level = Level::default();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if not_there(&error) => return Ok(level),
        Err(error) => return Err(StorageError::from_io("list", folder.display(), &error)),
    };
    for entry in entries {
        match one_entry(folder, key, entry)? {
            Entry::Folder(_, key) => level.folders.push(key),
            Entry::Object(object) => level.objects.push(object),
            Entry::Nothing => {}
        }
    }
    Ok(level)
}

/// Opens a file at byte `from`, with what its open handle says of it: a file that is renamed into its
/// place meanwhile is another one.
pub(super) fn open_local(
    path: &FsPath,
    key: &str,
    from: u64,
) -> io::Result<(ObjectInfo, Box<dyn Read + Send>)> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is a folder"));
    }
    if from > 0 {
        file.seek(SeekFrom::Start(from))?;
    }
    let info = local_info(key.to_owned(), &metadata);
    // A byte more than there should be, so that the end is seen.
    let room = metadata.len().saturating_sub(from).saturating_add(1).min(READ_BYTES as u64);
    Ok((info, Box::new(BufReader::with_capacity(room as usize, file))))
}
