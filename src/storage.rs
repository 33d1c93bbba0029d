//! Takes URLs and keys; gives listings, bytes and streams. `object_store` and all async live here,
//! behind a blocking face that any plain thread may call. Never looks into the bytes, and never
//! prints a URL's user info, query or options.
//!
//! Local folders are read and written with `std::fs` directly: a hundred thousand small files must not
//! each cost a trip through the runtime. What those paths answer (keys, etags, times) is the same
//! as `object_store`'s, and a test holds them together.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::future::Future;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Component, Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::UNIX_EPOCH;

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, WriteMultipart,
};
use url::{Position, Url};

/// Above this, a remote object is uploaded in parts, so that a lost connection costs one part.
const PUT_WHOLE_BYTES_MAX: usize = 16 << 20;
/// One part of an upload. S3 and its kin want at least 5 MiB and at most 10,000 parts: 80 GiB.
const PUT_PART_BYTES: usize = 8 << 20;
/// Parts in flight at once.
const PUT_PARTS_MAX: usize = 4;
/// Buffer of a local reader: large enough that a decoder's small reads cost no system call each.
const LOCAL_READ_BYTES: usize = 256 << 10;
/// Objects per page of a listing, as S3, GCS and COS page; used for counting requests only.
const LIST_PAGE_OBJECTS: u64 = 1000;
/// Threads of the runtime. They wait on sockets; the work is done by the caller's own threads.
const RUNTIME_THREADS: usize = 2;
/// The object that [`Place::probe_write`] writes and deletes.
const PROBE_KEY: &str = "_faceledger_probe";

/// One object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Relative to the place that listed it, decoded: as its owner wrote it.
    pub key: String,
    pub size: u64,
    /// None where the store gives none in its listings.
    pub etag: Option<String>,
    /// Milliseconds since 1970-01-01 UTC.
    pub last_modified_ms: i64,
}

/// An opened URL: a store and a folder in it. Cheap to clone. `Display` and `Debug` print the URL
/// without user info, query or fragment.
#[derive(Clone)]
pub struct Place {
    /// Without user info, query and fragment; the path ends with `/`.
    url: Url,
    /// The whole bucket, container or file system.
    root: Arc<dyn ObjectStore>,
    /// The folder in it; empty for all of it.
    prefix: Path,
    /// The folder on disk, absolute, for `file` URLs and plain paths.
    local: Option<PathBuf>,
}

impl Place {
    /// Opens a folder of a store. Nothing is contacted, and nothing needs to be there yet.
    ///
    /// `url` is a relative or absolute local path, or a URL with one of the schemes `file`, `s3`, `gs`,
    /// `az`, `http`, `https`, `memory` (with `object_store`'s other spellings of them). `memory://name/…`
    /// is a store of this process: the same name gives the same store. Credentials and options come
    /// from the environment as `object_store` reads it (`AWS_*`, `GOOGLE_*`, `AZURE_*`), then
    /// from `options`, by `object_store`'s names; an unknown name is an error.
    pub fn open(url: &str, options: &BTreeMap<String, String>) -> Result<Place, StorageError> {
        if url.is_empty() {
            return Err(StorageError::other("open", "\"\"", "an empty URL; use . for this folder"));
        }
        let parsed = match url.contains("://") || url.starts_with("file:") {
            true => Some(Url::parse(url).map_err(|error| {
                // The text itself is not shown: what does not parse may still hold a password.
                StorageError::other("open", "the URL", format!("not a valid URL: {error}"))
            })?),
            false => None,
        };
        let Some(parsed) = parsed else {
            if url == "~" || url.starts_with("~/") {
                let cause = "~ is not expanded here; write ${HOME}/… or the whole path";
                return Err(StorageError::other("open", url, cause));
            }
            return Place::open_local(FsPath::new(url), options);
        };
        let shown = without_secrets(&parsed);
        if parsed.query().is_some() || parsed.fragment().is_some() {
            let cause = "a storage URL takes no ? or #; put tokens into options or the environment, \
                         and write a local folder with such a name as a plain path";
            return Err(StorageError::other("open", &shown, cause));
        }
        if parsed.scheme() == "file" {
            let path = parsed.to_file_path().map_err(|()| {
                let cause = "a file URL is file:///absolute/path; a plain path may be relative";
                StorageError::other("open", &shown, cause)
            })?;
            return Place::open_local(&path, options);
        }
        let (root, prefix) = open_remote(&parsed, options).map_err(|error| {
            let error = StorageError::from_error("open", &shown, &error);
            // object_store quotes a value it cannot parse; any of them may be a secret.
            let cause = options.values().fold(error.cause().to_owned(), |cause, value| match value
                .is_empty()
            {
                true => cause,
                false => cause.replace(value, "[value]"),
            });
            StorageError::other("open", &shown, cause)
        })?;
        Ok(Place { url: as_folder(shown), root, prefix, local: None })
    }

    /// Opens a folder that must be there already when it is local: a source with a misspelt path is a
    /// mistake, not an empty listing.
    pub fn open_source(
        url: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Place, StorageError> {
        let place = Place::open(url, options)?;
        place.local_folder_is_there()?;
        Ok(place)
    }

    fn open_local(
        path: &FsPath,
        options: &BTreeMap<String, String>,
    ) -> Result<Place, StorageError> {
        let shown = path.display();
        if let Some(name) = options.keys().next() {
            let cause = format!("a local folder takes no options; remove {name}");
            return Err(StorageError::other("open", shown, cause));
        }
        let path =
            absolute_folder(path).map_err(|error| StorageError::from_io("open", &shown, &error))?;
        let url = Url::from_directory_path(&path)
            .map_err(|()| StorageError::other("open", &shown, "not an absolute path"))?;
        let Some(text) = path.to_str() else {
            return Err(StorageError::other("open", &shown, "the path is not valid UTF-8"));
        };
        let prefix =
            Path::parse(text).map_err(|error| StorageError::from_error("open", &shown, &error))?;
        let root = Arc::new(Counted { inner: Arc::new(LocalFileSystem::new()) });
        Ok(Place { url, root, prefix, local: Some(path) })
    }

    /// A folder inside this one. `folder` may hold `/`; `.` and `..` are no folders.
    pub fn at(&self, folder: &str) -> Place {
        let parts = folder.split('/').filter(|part| !part.is_empty());
        let mut place = self.clone();
        for part in parts {
            assert!(part != "." && part != "..", "a folder below a place, not {part}");
            place.prefix = Path::parse(join_key(place.prefix.as_ref(), part))
                .unwrap_or_else(|_| place.prefix.clone().join(part));
            if let Ok(mut segments) = place.url.path_segments_mut() {
                segments.pop_if_empty().push(part).push("");
            }
            if let Some(local) = &mut place.local {
                local.push(part);
            }
        }
        place
    }

    /// Every object below this place (below `prefix`, a whole folder, when given), sorted by key. Keys
    /// that start with `.` or `_` are included. A folder that is not there is empty.
    pub fn list(&self, prefix: Option<&str>) -> Result<Vec<ObjectInfo>, StorageError> {
        let prefix = prefix.unwrap_or("").trim_matches('/');
        let mut objects = match &self.local {
            Some(root) => {
                COUNTS.list.fetch_add(1, Ordering::Relaxed);
                let folder = match prefix {
                    "" => root.clone(),
                    _ => root.join(self.checked_key("list", prefix)?),
                };
                let mut walk = LocalWalk { objects: Vec::new(), above: Vec::new() };
                walk.folder(&folder, prefix)?;
                walk.objects
            }
            None => self.list_remote(prefix)?,
        };
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    fn list_remote(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StorageError> {
        let folder = match prefix {
            "" => self.prefix.clone(),
            _ => self.path("list", prefix)?,
        };
        let listed: Result<Vec<ObjectMeta>, _> =
            block_on(self.root.list(Some(&folder)).try_collect());
        match listed {
            Ok(metas) => Ok(metas.into_iter().map(|meta| self.info(meta)).collect()),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(StorageError::from_error("list", self.shown(prefix), &error)),
        }
    }

    /// The whole object.
    pub fn read_all(&self, key: &str) -> Result<Bytes, StorageError> {
        if let Some(path) = self.local_path("read", key)? {
            COUNTS.get.fetch_add(1, Ordering::Relaxed);
            return match fs::read(&path) {
                Ok(bytes) => Ok(Bytes::from(bytes)),
                Err(error) => Err(StorageError::from_io("read", self.shown(key), &error)),
            };
        }
        let path = self.path("read", key)?;
        block_on(async { self.root.get(&path).await?.bytes().await })
            .map_err(|error| StorageError::from_error("read", self.shown(key), &error))
    }

    /// The bytes of `range`, cut at the object's end. A range that starts at or after the end is an
    /// error, except an empty one, which is empty.
    pub fn read_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        if let Some(path) = self.local_path("read", key)? {
            COUNTS.get.fetch_add(1, Ordering::Relaxed);
            return read_local_range(&path, &range)
                .map_err(|error| StorageError::from_io("read", self.shown(key), &error));
        }
        let path = self.path("read", key)?;
        block_on(self.root.get_range(&path, range))
            .map_err(|error| StorageError::from_error("read", self.shown(key), &error))
    }

    /// The object from byte `from` to its end, as a stream of bounded memory. Starting at or after the
    /// end gives an empty stream. Remote readers wait on the runtime: read them on plain threads.
    pub fn reader(&self, key: &str, from: u64) -> Result<Box<dyn Read + Send>, StorageError> {
        if let Some(path) = self.local_path("read", key)? {
            COUNTS.get.fetch_add(1, Ordering::Relaxed);
            let open = || {
                let mut file = File::open(&path)?;
                if file.metadata()?.is_dir() {
                    return Err(io::Error::new(io::ErrorKind::NotFound, "it is a folder"));
                }
                if from > 0 {
                    file.seek(SeekFrom::Start(from))?;
                }
                Ok(file)
            };
            return match open() {
                Ok(file) => Ok(Box::new(BufReader::with_capacity(LOCAL_READ_BYTES, file))),
                Err(error) => Err(StorageError::from_io("read", self.shown(key), &error)),
            };
        }
        let path = self.path("read", key)?;
        let range = (from > 0).then_some(GetRange::Offset(from));
        let options = GetOptions { range, ..GetOptions::default() };
        match block_on(self.root.get_opts(&path, options)) {
            Ok(result) => {
                Ok(Box::new(RemoteReader { chunks: result.into_stream(), chunk: Bytes::new() }))
            }
            // Stores refuse a range that starts at the end; a local file just has no more bytes.
            Err(_) if from > 0 && self.head(key)?.is_some_and(|object| object.size <= from) => {
                Ok(Box::new(io::empty()))
            }
            Err(error) => Err(StorageError::from_error("read", self.shown(key), &error)),
        }
    }

    /// What a listing would say of one object; None when it is not there.
    pub fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StorageError> {
        if let Some(path) = self.local_path("look up", key)? {
            COUNTS.get.fetch_add(1, Ordering::Relaxed);
            return match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    Ok(Some(local_info(key.to_owned(), &metadata)))
                }
                Ok(_) => Ok(None),
                Err(error) if not_there(&error) => Ok(None),
                Err(error) => Err(StorageError::from_io("look up", self.shown(key), &error)),
            };
        }
        let path = self.path("look up", key)?;
        match block_on(self.root.head(&path)) {
            Ok(meta) => Ok(Some(self.info(meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(StorageError::from_error("look up", self.shown(key), &error)),
        }
    }

    /// Writes an object whole or not at all, over one that is there. Local folders are created as
    /// needed; local files are renamed into place and not synced to the disk.
    pub fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        if let Some(path) = self.local_path("write", key)? {
            COUNTS.put.fetch_add(1, Ordering::Relaxed);
            return write_local(&path, &bytes)
                .map_err(|error| StorageError::from_io("write", self.shown(key), &error));
        }
        let path = self.path("write", key)?;
        block_on(async {
            if bytes.len() <= PUT_WHOLE_BYTES_MAX {
                return self.root.put(&path, bytes.into()).await.map(drop);
            }
            let upload = self.root.put_multipart(&path).await?;
            let mut upload = WriteMultipart::new_with_chunk_size(upload, PUT_PART_BYTES);
            for at in (0..bytes.len()).step_by(PUT_PART_BYTES) {
                upload.wait_for_capacity(PUT_PARTS_MAX).await?;
                upload.put(bytes.slice(at..bytes.len().min(at + PUT_PART_BYTES)));
            }
            upload.finish().await.map(drop)
        })
        .map_err(|error| StorageError::from_error("write", self.shown(key), &error))
    }

    /// Deletes objects; those that are not there are fine.
    pub fn delete(&self, keys: &[String]) -> Result<(), StorageError> {
        if self.local.is_some() {
            for key in keys {
                COUNTS.delete.fetch_add(1, Ordering::Relaxed);
                let path = self.local_path("delete", key)?.unwrap_or_default();
                match fs::remove_file(&path) {
                    Err(error) if !not_there(&error) => {
                        return Err(StorageError::from_io("delete", self.shown(key), &error));
                    }
                    _ => {}
                }
            }
            return Ok(());
        }
        let paths =
            keys.iter().map(|key| self.path("delete", key)).collect::<Result<Vec<_>, _>>()?;
        let deleted = self.root.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        let failed = block_on(
            deleted
                .filter_map(async |outcome| match outcome {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => None,
                    Err(error) => Some(error),
                })
                .collect::<Vec<_>>(),
        );
        match failed.first() {
            None => Ok(()),
            Some(error) => Err(StorageError::from_error("delete from", self.shown(""), error)),
        }
    }

    /// Whether this place can be listed at all. A local folder must be there.
    pub fn probe(&self) -> Result<(), StorageError> {
        self.local_folder_is_there()?;
        if let Some(local) = &self.local {
            return match fs::read_dir(local) {
                Ok(_) => Ok(()),
                Err(error) => Err(StorageError::from_io("list", self.shown(""), &error)),
            };
        }
        // The first page answers the question; a bucket of millions is not walked for it.
        match block_on(self.root.list(Some(&self.prefix)).next()) {
            None | Some(Ok(_) | Err(object_store::Error::NotFound { .. })) => Ok(()),
            Some(Err(error)) => Err(StorageError::from_error("list", self.shown(""), &error)),
        }
    }

    /// Whether this place can be listed, written and deleted from: one small object is written, read
    /// back and deleted, and folders made for it are removed again.
    pub fn probe_write(&self) -> Result<(), StorageError> {
        let made = self.local.as_deref().map(missing_folders).unwrap_or_default();
        let key = format!("{PROBE_KEY}-{}", std::process::id());
        let written = Bytes::from_static(b"faceledger check");
        self.put(&key, written.clone())?;
        self.probe()?;
        let read = self.read_all(&key)?;
        self.delete(std::slice::from_ref(&key))?;
        for folder in made {
            // Another process may have begun to use the folder: then it stays.
            let _ = fs::remove_dir(folder);
        }
        match read == written {
            true => Ok(()),
            false => {
                Err(StorageError::other("check", self.shown(&key), "it read back differently"))
            }
        }
    }

    /// Without user info, query and fragment; the path ends with `/`.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The folder on disk, for local places.
    pub fn local_folder(&self) -> Option<&FsPath> {
        self.local.as_deref()
    }

    /// Keeps every other process of this host from locking the same place until the lock is dropped, or
    /// this process ends, however it ends. `None` when another holds it. Places that are not local
    /// folders give a lock that locks nothing: there the commit alone tells writers apart.
    pub fn lock(&self) -> Result<Option<Lock>, StorageError> {
        let Some(folder) = self.local_folder() else { return Ok(Some(Lock { _file: None })) };
        let failed = |error: std::io::Error| StorageError::other("lock", self, error.to_string());
        std::fs::create_dir_all(folder).map_err(failed)?;
        let file = std::fs::File::create(folder.join("_lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: Some(file) })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The store with this place as its root, for the Delta log.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new(Arc::clone(&self.root), self.prefix.clone()))
    }

    /// This place and a key in it, for messages.
    pub(crate) fn shown(&self, key: &str) -> String {
        match key {
            "" => self.to_string(),
            _ => format!("{self}/{key}"),
        }
    }

    fn local_folder_is_there(&self) -> Result<(), StorageError> {
        let Some(local) = &self.local else {
            return Ok(());
        };
        match fs::metadata(local) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => {
                let cause = "a file, not a folder; name its folder, and pick the file with keys";
                Err(StorageError::other("open", self.shown(""), cause))
            }
            Err(error) => Err(StorageError::from_io("open", self.shown(""), &error)),
        }
    }

    fn info(&self, meta: ObjectMeta) -> ObjectInfo {
        let location = meta.location.as_ref();
        let key = location
            .strip_prefix(self.prefix.as_ref())
            .map(|key| key.trim_start_matches('/'))
            .unwrap_or(location);
        ObjectInfo {
            key: key.to_owned(),
            size: meta.size,
            etag: meta.e_tag,
            last_modified_ms: meta.last_modified.timestamp_millis(),
        }
    }

    /// A key that names something below this place, and nothing above it.
    fn checked_key<'a>(
        &self,
        operation: &'static str,
        key: &'a str,
    ) -> Result<&'a str, StorageError> {
        match key.split('/').all(|part| !part.is_empty() && part != "." && part != "..") {
            true => Ok(key),
            false => {
                let cause = "a key has no empty, . or .. part";
                Err(StorageError::other(operation, self.shown(key), cause))
            }
        }
    }

    fn local_path(
        &self,
        operation: &'static str,
        key: &str,
    ) -> Result<Option<PathBuf>, StorageError> {
        let Some(local) = &self.local else {
            return Ok(None);
        };
        Ok(Some(local.join(self.checked_key(operation, key)?)))
    }

    /// `parse`, not `from`: keys are raw, and `from` would percent-encode `%`, `#` and others.
    fn path(&self, operation: &'static str, key: &str) -> Result<Path, StorageError> {
        let key = self.checked_key(operation, key)?;
        Path::parse(join_key(self.prefix.as_ref(), key))
            .map_err(|error| StorageError::from_error(operation, self.shown(key), &error))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.local {
            // As typed in a shell: a percent-encoded folder name is nobody's name for it.
            Some(local) => write!(f, "file://{}", local.display()),
            None => f.write_str(self.url.as_str().trim_end_matches('/')),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

/// Runs a future on the process's one runtime and waits for it. For plain threads (main, rayon
/// workers); panics when called from inside the runtime itself.
pub fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(RUNTIME_THREADS)
                .thread_name("faceledger-io")
                .enable_all()
                .build()
                .expect("the operating system starts two threads for storage")
        })
        .block_on(future)
}

/// What a store could not do. The message names the operation, the URL with its key, and the causes.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The object or folder is not there.
    #[error("cannot {operation} {place}: it is not there")]
    NotFound { operation: &'static str, place: String },
    /// Failed after the client's own retries; trying again later may help (exit 75).
    #[error("cannot {operation} {place}: {cause} (gave up after retries; try again later)")]
    Transient { operation: &'static str, place: String, cause: String },
    /// Everything else: a wrong URL, denied access, a full disk.
    #[error("cannot {operation} {place}: {cause}")]
    Other { operation: &'static str, place: String, cause: String },
}

impl StorageError {
    /// Whether the same call may succeed later (exit 75).
    pub fn is_transient(&self) -> bool {
        matches!(self, StorageError::Transient { .. })
    }

    /// Whether the object or folder is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, StorageError::NotFound { .. })
    }

    fn cause(&self) -> &str {
        match self {
            StorageError::NotFound { .. } => "it is not there",
            StorageError::Transient { cause, .. } | StorageError::Other { cause, .. } => cause,
        }
    }

    fn other(operation: &'static str, place: impl fmt::Display, cause: impl Into<String>) -> Self {
        StorageError::Other { operation, place: place.to_string(), cause: cause.into() }
    }

    fn from_io(operation: &'static str, place: impl fmt::Display, error: &io::Error) -> Self {
        if not_there(error) {
            return StorageError::NotFound { operation, place: place.to_string() };
        }
        StorageError::from_error(operation, place, error)
    }

    /// Sorts an error of `object_store`, or of a client that wraps one, by what the caller can do.
    pub(crate) fn from_error(
        operation: &'static str,
        place: impl fmt::Display,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        let place = place.to_string();
        let mut cause = String::new();
        let mut transient = false;
        let mut next = Some(error);
        while let Some(error) = next {
            match error.downcast_ref::<object_store::Error>() {
                Some(object_store::Error::NotFound { .. }) => {
                    return StorageError::NotFound { operation, place };
                }
                _ => transient |= is_passing(error),
            }
            let text = error.to_string();
            // Most errors print their source too: only what is new is added.
            if !cause.contains(&text) {
                if !cause.is_empty() {
                    cause.push_str(": ");
                }
                cause.push_str(&text);
            }
            next = error.source();
        }
        let cause = scrubbed(&cause);
        match transient || reads_as_passing(&cause) {
            true => StorageError::Transient { operation, place, cause },
            false => StorageError::Other { operation, place, cause },
        }
    }
}

/// Held by the one writer of a place; see [`Place::lock`].
#[derive(Debug)]
pub struct Lock {
    _file: Option<std::fs::File>,
}

/// Requests made by this process so far, over all places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Listings, one per page of 1,000 objects; a local listing is one.
    pub list: u64,
    /// Reads, ranges and look-ups.
    pub get: u64,
    /// Objects and parts written.
    pub put: u64,
    /// Objects deleted.
    pub delete: u64,
}

/// Requests made by this process so far, retries not counted; subtract two readings for a phase.
pub fn request_counts() -> RequestCounts {
    RequestCounts {
        list: COUNTS.list.load(Ordering::Relaxed),
        get: COUNTS.get.load(Ordering::Relaxed),
        put: COUNTS.put.load(Ordering::Relaxed),
        delete: COUNTS.delete.load(Ordering::Relaxed),
    }
}

/// Makes `memory://name` mean `store` from now on, in this process: tests put a store there that
/// fails, delays or counts.
pub fn mount(name: &str, store: Arc<dyn ObjectStore>) {
    let mut mounts = mounts().lock().unwrap_or_else(PoisonError::into_inner);
    mounts.insert(name.to_owned(), store);
}

/// The stores behind `memory://name`.
fn mounts() -> &'static Mutex<HashMap<String, Arc<dyn ObjectStore>>> {
    static MOUNTS: OnceLock<Mutex<HashMap<String, Arc<dyn ObjectStore>>>> = OnceLock::new();
    MOUNTS.get_or_init(Mutex::default)
}

struct Counters {
    list: AtomicU64,
    get: AtomicU64,
    put: AtomicU64,
    delete: AtomicU64,
}

static COUNTS: Counters = Counters {
    list: AtomicU64::new(0),
    get: AtomicU64::new(0),
    put: AtomicU64::new(0),
    delete: AtomicU64::new(0),
};

/// The URL as it may be shown. Azure writes the container where others write a user: that part stays.
fn without_secrets(url: &Url) -> Url {
    let mut shown = url.clone();
    // These fail only for URLs without a host, which have nothing to hide there.
    let _ = shown.set_password(None);
    if !matches!(url.scheme(), "az" | "adl" | "azure" | "abfs" | "abfss") {
        let _ = shown.set_username("");
    }
    shown.set_query(None);
    shown.set_fragment(None);
    shown
}

/// The URL with a path that ends with `/`.
fn as_folder(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

fn open_remote(
    url: &Url,
    options: &BTreeMap<String, String>,
) -> Result<(Arc<dyn ObjectStore>, Path), object_store::Error> {
    /// The environment first, the options over it, the URL last: it says which bucket is meant.
    macro_rules! build {
        ($builder:expr, $url:expr) => {{
            let mut builder = $builder;
            for (name, value) in options {
                builder = builder.with_config(name.to_ascii_lowercase().parse()?, value);
            }
            Arc::new(builder.with_url($url).build()?)
        }};
    }
    if url.scheme() == "memory" {
        if let Some(name) = options.keys().next() {
            let key = name.clone();
            return Err(object_store::Error::UnknownConfigurationKey { store: "memory", key });
        }
        let name = url.host_str().unwrap_or("").to_owned();
        let mut mounts = mounts().lock().unwrap_or_else(PoisonError::into_inner);
        let store = mounts.entry(name).or_insert_with(|| Arc::new(InMemory::new()));
        let inner = Arc::clone(store);
        return Ok((Arc::new(Counted { inner }), Path::from_url_path(url.path())?));
    }
    let (scheme, prefix) = ObjectStoreScheme::parse(url)?;
    let inner: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::AmazonS3 => build!(AmazonS3Builder::from_env(), url.as_str()),
        ObjectStoreScheme::GoogleCloudStorage => {
            build!(GoogleCloudStorageBuilder::from_env(), url.as_str())
        }
        ObjectStoreScheme::MicrosoftAzure => {
            build!(MicrosoftAzureBuilder::from_env(), url.as_str())
        }
        ObjectStoreScheme::Http => build!(HttpBuilder::new(), &url[..Position::BeforePath]),
        _ => {
            let operation = format!("storage with the scheme {}", url.scheme());
            let implementer = "faceledger".to_owned();
            return Err(object_store::Error::NotImplemented { operation, implementer });
        }
    };
    Ok((Arc::new(Counted { inner }), prefix))
}

/// The folder's absolute path with links resolved as far as it exists; it need not exist.
fn absolute_folder(path: &FsPath) -> io::Result<PathBuf> {
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
fn missing_folders(folder: &FsPath) -> Vec<PathBuf> {
    let missing = folder.ancestors().take_while(|folder| !folder.exists());
    missing.map(FsPath::to_path_buf).collect()
}

fn join_key(prefix: &str, key: &str) -> String {
    match prefix {
        "" => key.to_owned(),
        _ => format!("{prefix}/{key}"),
    }
}

/// A path through something that is no folder is as absent as a missing file.
fn not_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The walk of one local listing.
struct LocalWalk {
    objects: Vec<ObjectInfo>,
    /// Device and inode of the folders we are in, so that a link back up ends in an error.
    above: Vec<(u64, u64)>,
}

impl LocalWalk {
    /// Adds the files of `folder`, whose key is `key`, and of the folders below it. Links are followed;
    /// links that lead nowhere, and what is neither file nor folder, are no objects; nor is a file
    /// that vanishes meanwhile.
    fn folder(&mut self, folder: &FsPath, key: &str) -> Result<(), StorageError> {
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
        for entry in entries {
            let entry = entry.map_err(|error| failed(&error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let cause = "a name in this folder is not valid UTF-8; rename it";
                return Err(StorageError::other("list", folder.display(), cause));
            };
            let key = join_key(key, name);
            let file_type = entry.file_type().map_err(|error| failed(&error))?;
            if file_type.is_dir() {
                self.folder(&entry.path(), &key)?;
                continue;
            }
            let metadata = match file_type.is_symlink() {
                true => fs::metadata(entry.path()),
                false => entry.metadata(),
            };
            match metadata {
                Ok(metadata) if metadata.is_dir() => self.folder(&entry.path(), &key)?,
                Ok(metadata) if metadata.is_file() => {
                    self.objects.push(local_info(key, &metadata));
                }
                Ok(_) => {}
                Err(error) if not_there(&error) => {}
                Err(error) => {
                    return Err(StorageError::from_io("list", entry.path().display(), &error));
                }
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
fn local_info(key: String, metadata: &fs::Metadata) -> ObjectInfo {
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
    let etag = Some(format!("{inode:x}-{micros:x}-{size:x}"));
    ObjectInfo { key, size, etag, last_modified_ms }
}

fn read_local_range(path: &FsPath, range: &Range<u64>) -> io::Result<Bytes> {
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
fn write_local(path: &FsPath, bytes: &[u8]) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = path.parent().unwrap_or(FsPath::new("/"));
    let staged = folder.join(format!(".faceledger-{}-{number}.tmp", std::process::id()));
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

/// A remote object as a blocking stream: one chunk of the transfer in memory at a time.
struct RemoteReader {
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for RemoteReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !buffer.is_empty() {
            match block_on(self.chunks.next()) {
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Whether an error is of the kind that passes: the network's, or the machine's.
fn is_passing(error: &(dyn std::error::Error + 'static)) -> bool {
    use io::ErrorKind::*;
    if error.downcast_ref::<object_store::client::HttpError>().is_some() {
        return true;
    }
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            TimedOut
                | Interrupted
                | WouldBlock
                | ConnectionRefused
                | ConnectionReset
                | ConnectionAborted
                | NotConnected
                | BrokenPipe
                | HostUnreachable
                | NetworkUnreachable
                | NetworkDown
                | StaleNetworkFileHandle
        )
    })
}

/// The same by the words of `object_store`'s retry error, whose type is private, and which the Delta
/// client passes on as text.
fn reads_as_passing(cause: &str) -> bool {
    const STATUS: &str = "Server returned non-2xx status code: ";
    let status = cause.split(STATUS).nth(1).unwrap_or("");
    status.starts_with('5')
        || status.starts_with("408")
        || status.starts_with("429")
        || cause.contains("Server returned error response: ")
        || cause.contains("HTTP error: ")
}

/// The text with user info and queries cut out of every URL in it: signatures live there.
fn scrubbed(text: &str) -> String {
    let ends_url = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')' | '`');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let (url, tail) = after.split_at(after.find(ends_url).unwrap_or(after.len()));
        let host_end = url.find(['/', '?', '#']).unwrap_or(url.len());
        let host_start = url[..host_end].rfind('@').map_or(0, |at| at + 1);
        let url = &url[host_start..];
        out.push_str(&url[..url.find(['?', '#']).unwrap_or(url.len())]);
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Counts requests, and gives listings from an offset in order: the Delta log's reader relies on
/// that order, which local folders do not have.
#[derive(Debug)]
struct Counted {
    inner: Arc<dyn ObjectStore>,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Counts a listing by its pages as they arrive.
fn count_pages<T: Send + 'static>(listed: BoxStream<'static, T>) -> BoxStream<'static, T> {
    COUNTS.list.fetch_add(1, Ordering::Relaxed);
    let mut seen = 0_u64;
    listed
        .inspect(move |_| {
            seen += 1;
            if seen > LIST_PAGE_OBJECTS && seen % LIST_PAGE_OBJECTS == 1 {
                COUNTS.list.fetch_add(1, Ordering::Relaxed);
            }
        })
        .boxed()
}

// Written without the `async_trait` macro, which would be one more dependency for six methods.
impl ObjectStore for Counted {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'c, object_store::Result<PutResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        COUNTS.put.fetch_add(1, Ordering::Relaxed);
        self.inner.put_opts(location, payload, options)
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'c, object_store::Result<Box<dyn MultipartUpload>>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        COUNTS.put.fetch_add(1, Ordering::Relaxed);
        async {
            let upload = self.inner.put_multipart_opts(location, options).await?;
            Ok(Box::new(CountedUpload(upload)) as Box<dyn MultipartUpload>)
        }
        .boxed()
    }

    fn get_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: GetOptions,
    ) -> BoxFuture<'c, object_store::Result<GetResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        COUNTS.get.fetch_add(1, Ordering::Relaxed);
        self.inner.get_opts(location, options)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let counted = locations.inspect(|_| _ = COUNTS.delete.fetch_add(1, Ordering::Relaxed));
        self.inner.delete_stream(counted.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        count_pages(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let listed = count_pages(self.inner.list_with_offset(prefix, offset));
        listed
            .try_collect::<Vec<_>>()
            .map_ok(|mut metas| {
                metas.sort_unstable_by(|a, b| a.location.cmp(&b.location));
                stream::iter(metas.into_iter().map(Ok))
            })
            .try_flatten_stream()
            .boxed()
    }

    fn list_with_delimiter<'a, 'b, 'c>(
        &'a self,
        prefix: Option<&'b Path>,
    ) -> BoxFuture<'c, object_store::Result<ListResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        COUNTS.list.fetch_add(1, Ordering::Relaxed);
        self.inner.list_with_delimiter(prefix)
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b Path,
        to: &'d Path,
        options: CopyOptions,
    ) -> BoxFuture<'c, object_store::Result<()>>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
        Self: 'c,
    {
        COUNTS.put.fetch_add(1, Ordering::Relaxed);
        self.inner.copy_opts(from, to, options)
    }

    fn rename_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b Path,
        to: &'d Path,
        options: RenameOptions,
    ) -> BoxFuture<'c, object_store::Result<()>>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
        Self: 'c,
    {
        COUNTS.put.fetch_add(1, Ordering::Relaxed);
        self.inner.rename_opts(from, to, options)
    }
}

/// Counts the parts of an upload and its completion.
#[derive(Debug)]
struct CountedUpload(Box<dyn MultipartUpload>);

impl MultipartUpload for CountedUpload {
    fn put_part(&mut self, data: PutPayload) -> object_store::UploadPart {
        COUNTS.put.fetch_add(1, Ordering::Relaxed);
        self.0.put_part(data)
    }

    fn complete<'a, 'c>(&'a mut self) -> BoxFuture<'c, object_store::Result<PutResult>>
    where
        'a: 'c,
        Self: 'c,
    {
        COUNTS.put.fetch_add(1, Ordering::Relaxed);
        self.0.complete()
    }

    fn abort<'a, 'c>(&'a mut self) -> BoxFuture<'c, object_store::Result<()>>
    where
        'a: 'c,
        Self: 'c,
    {
        self.0.abort()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use object_store::client::{HttpError, HttpErrorKind};

    use super::*;

    /// Names that some layer would like to encode, decode or hide.
    const ODD_KEYS: [&str; 16] = [
        ".hidden/y.json",
        "100%.json",
        "A/same prefix.json",
        "AB/same prefix.json",
        "_log/x.json",
        "back\\slash.json",
        "d=2024-11-01/c d.json",
        "h#1.json",
        "half#12",
        "p+q%41&r.json",
        "q?a=b.json",
        "x",
        "~t[1]{x}^`'\".json",
        "é.json",
        "中文/文件 1.json",
        "😀.json",
    ];

    fn no_options() -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn open(url: &str) -> Place {
        Place::open(url, &no_options()).expect("the place opens")
    }

    fn keys(place: &Place) -> Vec<String> {
        let objects = place.list(None).expect("lists");
        objects.into_iter().map(|object| object.key).collect()
    }

    fn contents(key: &str) -> Bytes {
        Bytes::from(format!("the object {key}"))
    }

    /// A local folder with an odd name of its own, and a place in memory.
    fn places(name: &str) -> (tempfile::TempDir, [Place; 2]) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let local = folder.path().join("源 100% #1 a+b%41");
        let local = open(local.to_str().expect("UTF-8"));
        (folder, [local, open(&format!("memory://{name}/in/a%20b"))])
    }

    #[test]
    fn every_key_comes_back_as_written() {
        let (_folder, places) = places("storage-keys");
        for place in places {
            assert_eq!(keys(&place), [""; 0], "a folder that is not there is empty");
            for key in ODD_KEYS {
                place.put(key, contents(key)).expect("writes");
            }
            assert_eq!(keys(&place), ODD_KEYS, "{place}");
            for object in place.list(None).expect("lists") {
                let whole = contents(&object.key);
                assert_eq!(object.size, whole.len() as u64);
                assert_eq!(place.read_all(&object.key).expect("reads"), whole);
                assert_eq!(place.read_range(&object.key, 4..10).expect("reads"), whole[4..10]);
                let mut rest = Vec::new();
                let mut reader = place.reader(&object.key, 4).expect("opens");
                reader.read_to_end(&mut rest).expect("reads");
                assert_eq!(rest, whole[4..]);
                assert_eq!(place.head(&object.key).expect("looks up"), Some(object));
            }
            let in_a: Vec<ObjectInfo> = place.list(Some("A")).expect("lists");
            assert_eq!(in_a.len(), 1, "a prefix is a whole folder");
            assert_eq!(in_a[0].key, "A/same prefix.json");
            assert_eq!(keys(&place.at("中文")), ["文件 1.json"]);
            assert_eq!(
                place.at("中文").read_all("文件 1.json").expect("reads"),
                contents("中文/文件 1.json")
            );

            let some = ["100%.json".to_owned(), "never was.json".to_owned()];
            place.delete(&some).expect("what is not there is fine");
            assert_eq!(keys(&place).len(), ODD_KEYS.len() - 1);
            assert_eq!(place.head("100%.json").expect("looks up"), None);
        }
    }

    #[cfg(unix)]
    #[test]
    fn keys_written_by_others_are_listed_as_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for key in ODD_KEYS {
            let path = folder.path().join(key);
            fs::create_dir_all(path.parent().expect("has one")).expect("creates");
            fs::write(path, contents(key)).expect("writes");
        }
        let place = open(folder.path().to_str().expect("UTF-8"));
        assert_eq!(keys(&place), ODD_KEYS);

        // object_store hides names that end in # and digits; what it shows must be the same.
        let shown = block_on(place.store().list(None).try_collect::<Vec<_>>()).expect("lists");
        let mut theirs: Vec<ObjectInfo> = shown
            .into_iter()
            .map(|meta| ObjectInfo {
                key: meta.location.to_string(),
                size: meta.size,
                etag: meta.e_tag,
                last_modified_ms: meta.last_modified.timestamp_millis(),
            })
            .collect();
        theirs.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut ours = place.list(None).expect("lists");
        ours.retain(|object| object.key != "half#12");
        assert_eq!(ours, theirs);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_loops_are_told() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("real")).expect("creates");
        fs::write(at("real/a.json"), "[]").expect("writes");
        symlink("real/a.json", at("b.json")).expect("links");
        symlink("real", at("linked")).expect("links");
        symlink("nowhere", at("broken.json")).expect("links");
        let place = open(folder.path().to_str().expect("UTF-8"));
        assert_eq!(keys(&place), ["b.json", "linked/a.json", "real/a.json"]);
        assert_eq!(place.read_all("b.json").expect("reads"), "[]");
        assert_eq!(place.head("b.json").expect("looks up").expect("is there").size, 2);
        // The place itself may be a link.
        assert_eq!(keys(&open(at("linked").to_str().expect("UTF-8"))), ["a.json"]);

        symlink("..", at("real/up")).expect("links");
        let error = place.list(None).expect_err("a loop").to_string();
        assert!(error.contains("leads back to a folder above it"), "{error}");
    }

    #[test]
    fn what_vanishes_after_the_listing_is_not_found() {
        let (_folder, places) = places("storage-vanish");
        for place in places {
            place.put("a/b.json", Bytes::from_static(b"{}")).expect("writes");
            assert_eq!(keys(&place), ["a/b.json"]);
            place.delete(&["a/b.json".to_owned()]).expect("deletes");
            assert!(place.read_all("a/b.json").expect_err("gone").is_not_found());
            assert!(place.read_range("a/b.json", 0..1).expect_err("gone").is_not_found());
            assert!(place.reader("a/b.json", 0).err().expect("gone").is_not_found());
            assert!(place.reader("a/b.json", 5).err().expect("gone").is_not_found());
            let error = place.read_all("a/b.json").expect_err("gone").to_string();
            assert_eq!(error, format!("cannot read {place}/a/b.json: it is not there"));
            assert_eq!(keys(&place), [""; 0]);
        }
    }

    #[test]
    fn ranges_end_with_the_object() {
        let (_folder, places) = places("storage-ranges");
        for place in places {
            place.put("k", Bytes::from_static(b"0123456789")).expect("writes");
            assert_eq!(place.read_range("k", 8..100).expect("reads"), "89");
            assert_eq!(place.read_range("k", 3..3).expect("reads"), "");
            assert!(!place.read_range("k", 10..11).expect_err("too far").is_not_found());
            for (from, expected) in [(0, "0123456789"), (9, "9"), (10, ""), (99, "")] {
                let mut text = String::new();
                let mut reader = place.reader("k", from).expect("opens");
                reader.read_to_string(&mut text).expect("reads");
                assert_eq!(text, expected, "{place} from {from}");
            }
            place.put("k", Bytes::from_static(b"short")).expect("overwrites");
            assert_eq!(place.read_all("k").expect("reads"), "short");
            place.put("empty", Bytes::new()).expect("writes");
            assert_eq!(place.read_all("empty").expect("reads"), "");
        }
    }

    #[test]
    fn large_objects_go_up_in_parts() {
        let place = open("memory://storage-parts");
        let bytes: Vec<u8> = (0..PUT_WHOLE_BYTES_MAX + 12_345).map(|at| (at / 251) as u8).collect();
        let before = request_counts();
        place.put("big", Bytes::from(bytes.clone())).expect("writes");
        // The opening, three parts of 8 MiB or less, the completion; other tests count too.
        assert!(request_counts().put - before.put >= 5);
        assert_eq!(place.read_all("big").expect("reads"), bytes);
        let mut read = Vec::new();
        place.reader("big", 1).expect("opens").read_to_end(&mut read).expect("reads");
        assert_eq!(read, bytes[1..]);
    }

    #[test]
    fn one_name_in_memory_is_one_store() {
        open("memory://storage-same/a").put("k", Bytes::from_static(b"1")).expect("writes");
        assert_eq!(keys(&open("memory://storage-same")), ["a/k"]);
        assert_eq!(keys(&open("memory://storage-same/").at("a")), ["k"]);
        assert_eq!(keys(&open("memory://storage-other")), [""; 0]);
    }

    #[test]
    fn a_missing_source_is_told_and_a_missing_output_is_made() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let missing = folder.path().join("no/such");
        let missing = missing.to_str().expect("UTF-8");
        let error = Place::open_source(missing, &no_options()).expect_err("is missing");
        assert!(error.is_not_found());
        assert!(error.to_string().ends_with("no/such: it is not there"), "{error}");
        let place = open(missing);
        assert!(place.probe().expect_err("is missing").is_not_found());
        place.probe_write().expect("can be written");
        assert!(!folder.path().join("no").exists(), "the probe leaves nothing");
        place.put("deep/k", Bytes::from_static(b"1")).expect("creates");
        assert_eq!(keys(&place), ["deep/k"]);
        place.probe().expect("lists");
        place.probe_write().expect("can be written");
        assert_eq!(keys(&place), ["deep/k"]);
        let file = folder.path().join("no/such/deep/k");
        let error = Place::open_source(file.to_str().expect("UTF-8"), &no_options());
        assert!(error.expect_err("a file").to_string().contains("name its folder"));
        open("memory://storage-probe/x").probe_write().expect("can be written");
    }

    #[test]
    fn relative_paths_and_file_urls_are_folders() {
        let here = std::env::current_dir().expect("there is one");
        let here = fs::canonicalize(here).expect("it exists");
        assert_eq!(open("out/../out").local_folder(), Some(here.join("out").as_path()));
        assert_eq!(open(".").local_folder(), Some(here.as_path()));
        let url = Url::from_directory_path(here.join("a b%")).expect("absolute");
        assert_eq!(open(url.as_str()).local_folder(), Some(here.join("a b%").as_path()));
        assert_eq!(open(url.as_str()).to_string(), format!("file://{}/a b%", here.display()));
        assert!(Place::open("file://relative/path", &no_options()).is_err());
        assert!(Place::open("", &no_options()).is_err());
        assert!(Place::open("~/data", &no_options()).is_err());
        assert!(Place::open("ftp://host/x", &no_options()).is_err());
    }

    #[test]
    fn remote_places_open_without_contact() {
        let options = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let keys = options(&[
            ("aws_region", "ap-guangzhou"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("aws_secret_access_key", "secret"),
        ]);
        let place = Place::open("s3://bucket/a/b", &keys).expect("opens");
        assert_eq!(place.to_string(), "s3://bucket/a/b");
        assert_eq!(place.at("c").url().as_str(), "s3://bucket/a/b/c/");
        assert_eq!(place.path("read", "k").expect("is a key").as_ref(), "a/b/k");
        let azure = options(&[("azure_storage_account_name", "acc")]);
        Place::open("az://container/a", &azure).expect("opens");
        Place::open("https://example.com/a", &no_options()).expect("opens");
        let error = Place::open("s3://bucket/a", &options(&[("no_such_option", "hidden")]));
        let error = error.expect_err("unknown").to_string();
        assert!(error.contains("no_such_option") && !error.contains("hidden"), "{error}");
        let error = Place::open("s3://bucket/a", &options(&[("aws_allow_http", "hidden")]));
        let error = error.expect_err("no boolean").to_string();
        assert!(error.contains("[value]") && !error.contains("hidden"), "{error}");
        let error = Place::open("out", &options(&[("aws_region", "x")])).expect_err("takes none");
        assert!(error.to_string().contains("remove aws_region"), "{error}");
    }

    #[test]
    fn secrets_of_a_url_are_never_shown() {
        let place = open("https://user:hidden@example.com/a");
        let shown = format!("{place} {place:?} {} {}", place.url(), place.shown("k"));
        assert!(!shown.contains("hidden") && !shown.contains("user"), "{shown}");
        for url in ["s3://user:hidden@bucket/a?sig=hidden", "memory://x/y#hidden"] {
            let error = Place::open(url, &no_options()).expect_err("not taken").to_string();
            assert!(!error.contains("hidden"), "{error}");
        }
        let error = Place::open("http://user:hidden@:port/", &no_options()).expect_err("is none");
        assert!(!error.to_string().contains("hidden"), "{error}");
        assert_eq!(
            scrubbed("GET https://u:p@h/a?sig=x failed, see (http://h2/b?c) and s3://b/k."),
            "GET https://h/a failed, see (http://h2/b) and s3://b/k."
        );
        assert_eq!(scrubbed("a@b? no URL"), "a@b? no URL");
    }

    #[test]
    fn keys_cannot_leave_their_place() {
        let (_folder, places) = places("storage-escape");
        for place in places {
            for key in ["", "..", "a/../../b", "/etc/passwd", "a//b", "./a", "a/"] {
                let read = place.read_all(key).expect_err("is no key");
                assert!(read.to_string().contains("no empty, . or .. part"), "{read}");
                assert!(place.put(key, Bytes::new()).is_err());
                assert!(place.delete(&[key.to_owned()]).is_err());
            }
        }
    }

    #[test]
    fn errors_are_sorted_by_what_to_do() {
        let generic = |source: Box<dyn std::error::Error + Send + Sync>| {
            let error = object_store::Error::Generic { store: "S3", source };
            StorageError::from_error("list", "s3://b", &error)
        };
        let timeout = io::Error::from(io::ErrorKind::TimedOut);
        assert!(generic(Box::new(timeout)).is_transient());
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(generic(Box::new(HttpError::new(HttpErrorKind::Connect, refused))).is_transient());
        assert!(
            generic("Server returned non-2xx status code: 503 Slow Down: x".into()).is_transient()
        );
        assert!(generic("Server returned non-2xx status code: 429 : x".into()).is_transient());
        assert!(
            !generic("Server returned non-2xx status code: 403 Forbidden: x".into()).is_transient()
        );
        let full = generic(Box::new(io::Error::from(io::ErrorKind::StorageFull)));
        assert!(!full.is_transient() && !full.is_not_found());
        let source = "x".into();
        let missing = object_store::Error::NotFound { path: "k".to_owned(), source };
        assert!(StorageError::from_error("read", "s3://b/k", &missing).is_not_found());
        assert_eq!(
            generic("the cause".into()).to_string(),
            "cannot list s3://b: Generic S3 error: the cause"
        );
    }

    #[test]
    fn any_plain_thread_may_wait() {
        let (_folder, places) = places("storage-threads");
        for place in places {
            let written: BTreeSet<String> = (0..64).map(|at| format!("k{at}.json")).collect();
            std::thread::scope(|scope| {
                for key in &written {
                    let place = &place;
                    scope.spawn(move || {
                        place.put(key, contents(key)).expect("writes");
                        assert_eq!(place.read_all(key).expect("reads"), contents(key));
                    });
                }
            });
            assert_eq!(keys(&place).into_iter().collect::<BTreeSet<_>>(), written);
        }
    }
}
