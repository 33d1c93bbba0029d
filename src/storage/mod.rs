//! Takes URLs and keys; gives listings, bytes and streams. `object_store` and all async live here,
//! behind a blocking face that any plain thread may call. Never looks into the bytes, and never
//! prints a URL's user info, query or options.
//!
//! Local folders are read and written with `std::fs` directly: a hundred thousand small files must not
//! each cost a trip through the runtime. What those paths answer (keys, etags, times) is the same
//! as `object_store`'s, and a test holds them together.

mod create;
mod error;
mod fetch;
mod guard;
mod http;
mod lease;
mod local;
mod pieces;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::future::Future;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientConfigKey, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt,
    ObjectStoreScheme, RetryConfig, UploadPart,
};
use url::{Position, Url};

pub(crate) use create::random_name;
pub use create::{Abilities, CreateOnly};
pub use error::StorageError;
use error::not_there;
pub use fetch::{Body, Fetch, FetchError, Fetched, WHOLE_BYTES_MAX, Want};
use guard::{COUNTS, Guarded};
pub use guard::{RequestCounts, request_counts, stop, stopped};
use http::{Connector, Gate, UNREADABLE};
pub use lease::{Lease, LeaseError};
pub use local::is_unfinished;
use local::{
    LocalWalk, absolute_folder, local_info, missing_folders, read_local_range, write_local,
};
pub use pieces::Pieces;

/// Above this, a remote object is uploaded in parts, so that a lost connection costs one part.
const PUT_WHOLE_BYTES_MAX: usize = 16 << 20;
/// One part of an upload. S3 and its kin want at least 5 MiB and at most 10,000 parts: 80 GiB.
const PUT_PART_BYTES: usize = 8 << 20;
/// Parts in flight at once.
const PUT_PARTS_MAX: usize = 4;
/// How often a deletion is tried that gets no answer, and the pause before it is tried again.
const DELETES_MAX: u32 = 3;
const DELETE_PAUSE: Duration = Duration::from_millis(200);
/// Threads of the runtime. They wait on sockets; the work is done by the caller's own threads.
const RUNTIME_THREADS: usize = 2;
/// What the names of all that a probe writes begin with.
const PROBE_PREFIX: &str = "_faceledger_probe-";

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

impl ObjectInfo {
    /// Whether both have an etag and it is the same, whatever quotes stand around it; None where one has none.
    pub fn same_etag(&self, other: &ObjectInfo) -> Option<bool> {
        Some(bare(self.etag.as_deref()?) == bare(other.etag.as_deref()?))
    }
}

/// One level of a listing, sorted. Names are relative to the place that listed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    pub folders: Vec<String>,
    pub objects: Vec<ObjectInfo>,
    /// As [`Listing::unreadable`]; folders end with `/`.
    pub unreadable: BTreeSet<String>,
}

/// All that a listing showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by key.
    pub objects: Vec<ObjectInfo>,
    /// Keys that cannot be asked for, because a part of them is empty, `.` or `..` or holds a control
    /// character: whole, as the store names them. What they hold is not among the objects.
    pub unreadable: BTreeSet<String>,
}

/// An opened URL: a store and a folder in it. Cheap to clone. `Display` and `Debug` print the URL
/// without user info, query or fragment.
#[derive(Clone)]
pub struct Place {
    /// Without user info, query and fragment; the path ends with `/`.
    url: Url,
    /// The whole bucket, container or file system.
    root: Arc<Guarded>,
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
        Place::open_within(url, options, &Limits::of_process())
    }

    fn open_within(
        url: &str,
        options: &BTreeMap<String, String>,
        limits: &Limits,
    ) -> Result<Place, StorageError> {
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
        let (root, prefix) = open_remote(&parsed, options, limits).map_err(|error| {
            let error = StorageError::from_error("open", &shown, &error);
            // object_store quotes a value it cannot parse; any of them may be a secret.
            let cause =
                options.values().fold(error.cause(), |cause, value| match value.is_empty() {
                    true => cause,
                    false => cause.replace(value, "[value]"),
                });
            StorageError::other("open", &shown, cause)
        })?;
        Ok(Place { url: as_folder(shown), root: Arc::new(root), prefix, local: None })
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
        let root = Arc::new(Guarded::new(Arc::new(LocalFileSystem::new()), true));
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

    /// The objects of a [`listing`](Place::listing). For folders of our own, where nothing is unreadable:
    /// whoever lists what others wrote must look at all of the listing.
    pub fn list(&self, prefix: Option<&str>) -> Result<Vec<ObjectInfo>, StorageError> {
        Ok(self.listing(prefix)?.objects)
    }

    /// Every object below this place (below `prefix`, a whole folder, when given), sorted by key. Keys
    /// that start with `.` or `_` are included; empty objects whose key ends with `/`, which consoles write
    /// for folders, are not. A folder that is not there is empty.
    pub fn listing(&self, prefix: Option<&str>) -> Result<Listing, StorageError> {
        let prefix = prefix.unwrap_or("").trim_matches('/');
        let mut listing = match &self.local {
            Some(root) => {
                guard::count(&COUNTS.list);
                let folder = match prefix {
                    "" => root.clone(),
                    _ => root.join(self.checked_key("list", prefix)?),
                };
                let mut walk = LocalWalk { objects: Vec::new(), above: Vec::new() };
                walk.folder(&folder, prefix)?;
                Listing { objects: walk.objects, ..Listing::default() }
            }
            None => self.list_remote(prefix)?,
        };
        listing.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(listing)
    }

    fn list_remote(&self, prefix: &str) -> Result<Listing, StorageError> {
        let folder = match prefix {
            "" => self.prefix.clone(),
            _ => self.path("list", prefix)?,
        };
        let listed = self.root.list(Some(&folder)).try_collect::<Vec<ObjectMeta>>();
        let (listed, unreadable) = with_unreadable(listed);
        match listed {
            Ok(metas) => {
                let objects = metas.into_iter().map(|meta| self.info(meta)).collect();
                Ok(Listing { objects, unreadable })
            }
            Err(object_store::Error::NotFound { .. }) if self.has_folders() => {
                Ok(Listing::default())
            }
            Err(error) => Err(StorageError::from_error("list", self.shown(prefix), &error)),
        }
    }

    /// What is directly in this place, or in the folder `folder` of it: the folders there and the objects.
    /// A folder that is not there is empty.
    pub fn list_level(&self, folder: Option<&str>) -> Result<Level, StorageError> {
        let folder = folder.unwrap_or("").trim_matches('/');
        let mut level = match &self.local {
            Some(root) => {
                guard::count(&COUNTS.list);
                let path = match folder {
                    "" => root.clone(),
                    _ => root.join(self.checked_key("list", folder)?),
                };
                local::local_level(&path, folder)?
            }
            None => self.remote_level(folder)?,
        };
        level.folders.sort_unstable();
        level.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(level)
    }

    fn remote_level(&self, folder: &str) -> Result<Level, StorageError> {
        let path = match folder {
            "" => self.prefix.clone(),
            _ => self.path("list", folder)?,
        };
        let (listed, unreadable) = with_unreadable(self.root.list_with_delimiter(Some(&path)));
        match listed {
            Ok(listed) => Ok(Level {
                folders: listed.common_prefixes.iter().map(|path| self.key_of(path)).collect(),
                objects: listed.objects.into_iter().map(|meta| self.info(meta)).collect(),
                unreadable,
            }),
            Err(object_store::Error::NotFound { .. }) if self.has_folders() => Ok(Level::default()),
            Err(error) => Err(StorageError::from_error("list", self.shown(folder), &error)),
        }
    }

    /// The whole object.
    pub fn read_all(&self, key: &str) -> Result<Bytes, StorageError> {
        if let Some(path) = self.local_path("read", key)? {
            guard::count(&COUNTS.get);
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
            guard::count(&COUNTS.get);
            return read_local_range(&path, &range)
                .map_err(|error| StorageError::from_io("read", self.shown(key), &error));
        }
        let path = self.path("read", key)?;
        block_on(self.root.get_range(&path, range))
            .map_err(|error| StorageError::from_error("read", self.shown(key), &error))
    }

    /// The object from byte `from` to its end, as [`open_object`](Place::open_object) gives it, whatever
    /// version it is.
    pub fn reader(&self, key: &str, from: u64) -> Result<Box<dyn Read + Send>, StorageError> {
        Ok(self.open_object(key, from, None)?.1)
    }

    /// The object from byte `from` to its end, as a stream of bounded memory, with what the store says of
    /// the very version that is read. With an etag it must be that version, else the error
    /// [is changed](StorageError::is_changed). Starting at or after the end gives an empty stream.
    ///
    /// A connection that breaks off is taken up again where it broke, as long as the object stays the
    /// same. Errors of the stream hold a [`StorageError`]: see [`StorageError::of_read`].
    /// Remote readers wait on the runtime: read them on plain threads.
    pub fn open_object(
        &self,
        key: &str,
        from: u64,
        etag: Option<&str>,
    ) -> Result<(ObjectInfo, Box<dyn Read + Send>), StorageError> {
        self.open_from(key, from, None, etag)
    }

    /// As [`open_object`](Place::open_object), and no byte beyond `range` is asked for; it may end after the
    /// object.
    pub fn open_range(
        &self,
        key: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<(ObjectInfo, Box<dyn Read + Send>), StorageError> {
        self.open_from(key, range.start, Some(range.end), etag)
    }

    fn open_from(
        &self,
        key: &str,
        from: u64,
        to: Option<u64>,
        etag: Option<&str>,
    ) -> Result<(ObjectInfo, Box<dyn Read + Send>), StorageError> {
        let operation = "read";
        if let Some(path) = self.local_path(operation, key)? {
            guard::count(&COUNTS.get);
            return match local::open_local(&path, key, from) {
                Ok((info, _)) if !is_version(etag, &info) => Err(self.changed(key)),
                Ok((info, reader)) => match to {
                    Some(to) => Ok((info, Box::new(reader.take(to.saturating_sub(from))))),
                    None => Ok((info, reader)),
                },
                Err(error) => Err(StorageError::from_io(operation, self.shown(key), &error)),
            };
        }
        let (info, reader) = block_on(self.open_remote_from(key, from, to, etag))?;
        Ok(match reader {
            Some(reader) => (info, Box::new(reader)),
            None => (info, Box::new(io::empty())),
        })
    }

    /// The reader is None when there is nothing to be read.
    async fn open_remote_from(
        &self,
        key: &str,
        from: u64,
        to: Option<u64>,
        etag: Option<&str>,
    ) -> Result<(ObjectInfo, Option<RemoteReader>), StorageError> {
        let operation = "read";
        let path = self.path(operation, key)?;
        let range = match to {
            // Nothing asked for: the object itself is still looked at, through its next byte.
            Some(to) => Some(GetRange::Bounded(from..to.max(from + 1))),
            None => (from > 0).then_some(GetRange::Offset(from)),
        };
        let if_match = etag.and_then(|etag| self.matchable(etag));
        let options = GetOptions { range, if_match, ..GetOptions::default() };
        match self.root.get_opts(&path, options).await {
            Ok(result) => {
                let info = self.info(result.meta.clone());
                if !is_version(etag, &info) {
                    return Err(self.changed(key));
                }
                if to.is_some_and(|to| to <= from) {
                    return Ok((info, None));
                }
                let reader = RemoteReader {
                    etag: info.etag.as_deref().and_then(|etag| self.matchable(etag)),
                    store: Arc::clone(&self.root),
                    path,
                    shown: self.shown(key),
                    at: result.range.start,
                    end: result.range.end,
                    resumed_at: None,
                    chunks: result.into_stream(),
                    chunk: Bytes::new(),
                };
                Ok((info, Some(reader)))
            }
            Err(error) => {
                let error = StorageError::from_error(operation, self.shown(key), &error);
                // Stores refuse a range that starts at the end; a local file just has no more bytes.
                if (from > 0 || to.is_some())
                    && matches!(error, StorageError::Other { .. })
                    && let Some(info) =
                        self.head_remote(key).await?.filter(|info| info.size <= from)
                {
                    return match is_version(etag, &info) {
                        true => Ok((info, None)),
                        false => Err(self.changed(key)),
                    };
                }
                Err(error)
            }
        }
    }

    fn changed(&self, key: &str) -> StorageError {
        StorageError::Changed { operation: "read", place: self.shown(key) }
    }

    /// The etag as `If-Match` takes it; None when it is a weak one, which matches nothing by definition.
    /// Listings of some stores leave out the quotes that a header must have.
    fn matchable(&self, etag: &str) -> Option<String> {
        if etag.starts_with("W/") {
            return None;
        }
        match self.url.scheme() == "memory" || etag.starts_with('"') {
            true => Some(etag.to_owned()),
            false => Some(format!("\"{etag}\"")),
        }
    }

    /// What a listing would say of one object; None when it is not there.
    pub fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StorageError> {
        if let Some(path) = self.local_path("look up", key)? {
            guard::count(&COUNTS.get);
            return match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    Ok(Some(local_info(key.to_owned(), &metadata)))
                }
                Ok(_) => Ok(None),
                Err(error) if not_there(&error) => Ok(None),
                Err(error) => Err(StorageError::from_io("look up", self.shown(key), &error)),
            };
        }
        block_on(self.head_remote(key))
    }

    async fn head_remote(&self, key: &str) -> Result<Option<ObjectInfo>, StorageError> {
        let path = self.path("look up", key)?;
        match self.root.head(&path).await {
            Ok(meta) => Ok(Some(self.info(meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(StorageError::from_error("look up", self.shown(key), &error)),
        }
    }

    /// Writes an object whole or not at all, over one that is there. Local folders are created as
    /// needed; local files are renamed into place and not synced to the disk.
    pub fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        if let Some(path) = self.local_path("write", key)? {
            guard::count(&COUNTS.put);
            return write_local(&path, &bytes)
                .map_err(|error| StorageError::from_io("write", self.shown(key), &error));
        }
        let path = self.path("write", key)?;
        block_on(async {
            if bytes.len() <= PUT_WHOLE_BYTES_MAX {
                return self.root.put(&path, bytes.into()).await.map(drop);
            }
            let mut upload = self.root.put_multipart(&path).await?;
            let parts = (0..bytes.len()).step_by(PUT_PART_BYTES);
            let parts: Vec<UploadPart> = parts
                .map(|at| bytes.slice(at..bytes.len().min(at + PUT_PART_BYTES)))
                .map(|part| upload.put_part(part.into()))
                .collect();
            // Each of them is begun when its turn comes.
            let sent: object_store::Result<()> =
                stream::iter(parts).buffer_unordered(PUT_PARTS_MAX).try_collect().await;
            let ended = match sent {
                Ok(()) => upload.complete().await.map(drop),
                Err(error) => Err(error),
            };
            if ended.is_err() {
                // Parts of an upload that nobody ends are stored, and paid for, for ever. One that was
                // completed all the same, by a request without an answer, is no upload any more.
                let _ = upload.abort().await;
            }
            ended
        })
        .map_err(|error| StorageError::from_error("write", self.shown(key), &error))
    }

    /// Deletes objects; those that are not there are fine.
    pub fn delete(&self, keys: &[String]) -> Result<(), StorageError> {
        if self.local.is_some() {
            for key in keys {
                guard::count(&COUNTS.delete);
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
        // A request for many is not repeated by the client, though what is gone may be deleted again.
        let mut tries = 1;
        loop {
            let paths = stream::iter(paths.clone().into_iter().map(Ok)).boxed();
            let failed = block_on(
                self.root
                    .delete_stream(paths)
                    .filter_map(async |outcome| match outcome {
                        Ok(_) | Err(object_store::Error::NotFound { .. }) => None,
                        Err(error) => Some(error),
                    })
                    .collect::<Vec<_>>(),
            );
            let Some(error) = failed.first() else { return Ok(()) };
            let error = StorageError::from_error("delete from", self.shown(""), error);
            if tries == DELETES_MAX || !error.is_transient() {
                return Err(error);
            }
            tries += 1;
            let paused = block_on(lease::pause(DELETE_PAUSE));
            paused.map_err(|error| StorageError::from_error("delete from", self, &error))?;
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
            None | Some(Ok(_)) => Ok(()),
            Some(Err(object_store::Error::NotFound { .. })) if self.has_folders() => Ok(()),
            Some(Err(error)) => Err(StorageError::from_error("list", self.shown(""), &error)),
        }
    }

    /// Whether this place can be listed, written and deleted from: one small object is written, read
    /// back and deleted, and folders made for it are removed again.
    pub fn probe_write(&self) -> Result<(), StorageError> {
        let made = self.local.as_deref().map(missing_folders).unwrap_or_default();
        let key = format!("{PROBE_PREFIX}{}", std::process::id());
        let written = Bytes::from_static(b"faceledger check");
        self.put(&key, written.clone())?;
        self.probe()?;
        let read = self.read_all(&key)?;
        self.delete(std::slice::from_ref(&key))?;
        local::remove_made(made);
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

    /// The store with this place as its root, for the Delta log.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(PrefixStore::new((*self.root).clone(), self.prefix.clone()))
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
        ObjectInfo {
            key: self.key_of(&meta.location),
            size: meta.size,
            etag: meta.e_tag,
            last_modified_ms: meta.last_modified.timestamp_millis(),
        }
    }

    /// Whether the store knows folders, so that one may be missing. In a bucket there are none: a listing
    /// that is "not found" lacks the bucket.
    fn has_folders(&self) -> bool {
        matches!(self.url.scheme(), "http" | "https" | "memory")
    }

    /// A path of the store as a key of this place.
    fn key_of(&self, path: &Path) -> String {
        let path = path.as_ref();
        let key = path.strip_prefix(self.prefix.as_ref()).map(|key| key.trim_start_matches('/'));
        key.unwrap_or(path).to_owned()
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

/// Waits for a listing, and gives what it left out.
fn with_unreadable<F: Future>(listing: F) -> (F::Output, BTreeSet<String>) {
    block_on(UNREADABLE.scope(RefCell::default(), async {
        let listed = listing.await;
        (listed, UNREADABLE.with(RefCell::take))
    }))
}

/// Runs a future on the process's one runtime and waits for it. For plain threads (main, rayon
/// workers); panics when called from inside the runtime itself. What it waits for ends by itself
/// when the process is asked to stop: every store that a [`Place`] gives sees to that.
pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .thread_name("faceledger-io")
            .enable_all()
            .build()
            .expect("the operating system starts two threads for storage")
    })
}

/// Sets how long a request is tried again, with growing pauses, before its failure is told; 3 minutes
/// unless set. For the whole process, and for places opened from now on. Requests are signed
/// once: beyond 5 minutes their signatures end before they do.
pub fn set_retry_for(time: Duration) {
    let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    RETRY_FOR_MS.store(time_ms, Ordering::Relaxed);
}

static RETRY_FOR_MS: AtomicU64 = AtomicU64::new(3 * 60 * 1000);

/// The time alone ends the retries: with pauses that grow to 15 s this number is never reached.
const RETRIES_MAX: usize = 10_000;

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

/// What every request to a remote store is bound by.
#[derive(Clone, Debug)]
struct Limits {
    retry_for: Duration,
    /// Overrides the time without an answer, for tests.
    idle: Option<Duration>,
}

impl Limits {
    fn of_process() -> Limits {
        let retry_for = Duration::from_millis(RETRY_FOR_MS.load(Ordering::Relaxed));
        Limits { retry_for, idle: None }
    }
}

/// A limit for whole requests that ends none: [`http`] bounds the silence in them instead.
const WHOLE_REQUEST_UNLIMITED: &str = "30 days";

/// Whether options, or the variables that `object_store` reads for them, limit whole requests.
fn names_timeout(prefix: &str, options: &BTreeMap<String, String>) -> bool {
    let is_it = |name: &str| {
        let name = name.to_ascii_lowercase();
        name == "timeout" || !prefix.is_empty() && name == format!("{prefix}timeout")
    };
    let variable = format!("{}TIMEOUT", prefix.to_ascii_uppercase());
    options.keys().any(|name| is_it(name))
        || !prefix.is_empty() && std::env::var_os(variable).is_some()
}

fn open_remote(
    url: &Url,
    options: &BTreeMap<String, String>,
    limits: &Limits,
) -> Result<(Guarded, Path), object_store::Error> {
    if url.scheme() == "memory" {
        if let Some(name) = options.keys().next() {
            let key = name.clone();
            return Err(object_store::Error::UnknownConfigurationKey { store: "memory", key });
        }
        let name = url.host_str().unwrap_or("").to_owned();
        let mut mounts = mounts().lock().unwrap_or_else(PoisonError::into_inner);
        let store = mounts.entry(name).or_insert_with(|| Arc::new(InMemory::new()));
        return Ok((Guarded::new(Arc::clone(store), true), Path::from_url_path(url.path())?));
    }
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES_MAX,
        retry_timeout: limits.retry_for,
    };
    let connector = |limited: bool| {
        let mut connector = Connector::new(gate_of(url), url.scheme(), limited);
        connector.idle = limits.idle.or(connector.idle);
        connector
    };
    /// The environment first, the options over it, the URL last: it says which bucket is meant.
    macro_rules! build {
        ($builder:expr, $prefix:literal, $timeout:expr, $url:expr) => {{
            let mut builder = $builder;
            let limited = names_timeout($prefix, options);
            if !limited {
                builder = builder.with_config($timeout, WHOLE_REQUEST_UNLIMITED);
            }
            for (name, value) in options {
                builder = builder.with_config(name.to_ascii_lowercase().parse()?, value);
            }
            let builder = builder.with_retry(retry).with_http_connector(connector(limited));
            Arc::new(builder.with_url($url).build()?)
        }};
    }
    const TIMEOUT: ClientConfigKey = ClientConfigKey::Timeout;
    let (scheme, prefix) = ObjectStoreScheme::parse(url)?;
    let inner: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::AmazonS3 => {
            let timeout = AmazonS3ConfigKey::Client(TIMEOUT);
            build!(AmazonS3Builder::from_env(), "aws_", timeout, url.as_str())
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let timeout = GoogleConfigKey::Client(TIMEOUT);
            build!(GoogleCloudStorageBuilder::from_env(), "google_", timeout, url.as_str())
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let timeout = AzureConfigKey::Client(TIMEOUT);
            build!(MicrosoftAzureBuilder::from_env(), "azure_", timeout, url.as_str())
        }
        ObjectStoreScheme::Http => {
            build!(HttpBuilder::new(), "", TIMEOUT, &url[..Position::BeforePath])
        }
        _ => {
            let operation = format!("storage with the scheme {}", url.scheme());
            let implementer = "faceledger".to_owned();
            return Err(object_store::Error::NotImplemented { operation, implementer });
        }
    };
    let gate = Some(gate_of(url));
    Ok((Guarded { gate, ..Guarded::new(inner, false) }, prefix))
}

/// One gate for all places in one bucket.
fn gate_of(url: &Url) -> Arc<Gate> {
    static GATES: OnceLock<Mutex<HashMap<String, Arc<Gate>>>> = OnceLock::new();
    let mut gates =
        GATES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let bucket = url[..Position::BeforePath].to_owned();
    Arc::clone(gates.entry(bucket).or_default())
}

fn join_key(prefix: &str, key: &str) -> String {
    match prefix {
        "" => key.to_owned(),
        // Once for every object listed: the formatting machinery would cost several times as much.
        _ => [prefix, "/", key].concat(),
    }
}

/// An etag without its quotes: listings of some stores give none.
fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

/// Whether an object is the version that was asked for; any is, where one of them has no etag.
fn is_version(asked: Option<&str>, info: &ObjectInfo) -> bool {
    match (asked, &info.etag) {
        (Some(asked), Some(etag)) => bare(asked) == bare(etag),
        _ => true,
    }
}

/// A remote object as a blocking stream: one chunk of the transfer in memory at a time.
///
/// `object_store` takes up a broken transfer itself, but only within the time for retries since the
/// request was made: a download of ten minutes that breaks in the ninth is lost. So it is asked for
/// anew, once for every bit of progress.
struct RemoteReader {
    store: Arc<Guarded>,
    path: Path,
    shown: String,
    /// None where the store gives no usable one: then nothing tells that the rest is of the same object.
    etag: Option<String>,
    at: u64,
    end: u64,
    /// Where the transfer was last taken up.
    resumed_at: Option<u64>,
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
}

impl RemoteReader {
    fn bytes_left(&self) -> u64 {
        self.end - self.at
    }

    /// All that is left. The memory is for what was asked for: who asks sees to it that it is not too much.
    async fn rest(mut self) -> Result<Vec<u8>, StorageError> {
        let mut bytes = Vec::with_capacity(self.bytes_left() as usize);
        loop {
            match self.next().await {
                Ok(Some(chunk)) => {
                    self.at += chunk.len() as u64;
                    bytes.extend_from_slice(&chunk);
                }
                Ok(None) => return Ok(bytes),
                Err(error) => return Err(StorageError::from_error("read", &self.shown, &error)),
            }
        }
    }

    async fn next(&mut self) -> object_store::Result<Option<Bytes>> {
        loop {
            let broken = match self.chunks.next().await {
                Some(Ok(chunk)) => return Ok(Some(chunk)),
                // All of it: a body that is too short ends in an error.
                None => return Ok(None),
                Some(Err(error)) => error,
            };
            let passing = StorageError::from_error("read", &self.shown, &broken).is_transient();
            let progress = self.resumed_at.is_none_or(|at| self.at > at);
            if self.etag.is_none() || !passing || !progress {
                return Err(broken);
            }
            self.resumed_at = Some(self.at);
            let options = GetOptions {
                range: Some(GetRange::Bounded(self.at..self.end)),
                if_match: self.etag.clone(),
                ..GetOptions::default()
            };
            self.chunks = self.store.get_opts(&self.path, options).await?.into_stream();
        }
    }
}

impl Read for RemoteReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !buffer.is_empty() {
            match block_on(self.next()) {
                Ok(Some(chunk)) => {
                    self.at += chunk.len() as u64;
                    self.chunk = chunk;
                }
                Ok(None) => return Ok(0),
                Err(error) => {
                    let error = StorageError::from_error("read", &self.shown, &error);
                    return Err(io::Error::other(error));
                }
            }
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
