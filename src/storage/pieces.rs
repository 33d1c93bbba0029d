//! Takes the ranges that a reader wants of one object; gives their bytes, all of one version. A local file is
//! opened once and read at its places; the ranges of a remote object are asked for side by side.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path as FsPath;

use super::error::StorageError;
use super::guard::{self, COUNTS};
use super::local::local_info;
use super::{ObjectInfo, Place};

/// Pieces of one object.
pub struct Pieces<'p> {
    place: &'p Place,
    key: &'p str,
    /// Of a local object, from its first piece on.
    file: Option<File>,
    /// The version that all pieces are of.
    opened: Option<ObjectInfo>,
    /// What a remote version is asked for by.
    etag: Option<String>,
}

impl Place {
    /// Opens an object to read pieces of it. Nothing is asked for before the first. A remote object must be of the
    /// version of the etag, if one is given, and of one version in all pieces, else the error [is
    /// changed](StorageError::is_changed).
    pub fn pieces<'p>(&'p self, key: &'p str, etag: Option<&str>) -> Pieces<'p> {
        Pieces { place: self, key, file: None, opened: None, etag: etag.map(str::to_owned) }
    }
}

impl Pieces<'_> {
    /// What the store says of the version; None before the first piece.
    pub fn opened(&self) -> Option<&ObjectInfo> {
        self.opened.as_ref()
    }

    /// The bytes of each range, fewer where the object ends in it.
    pub fn read(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>, StorageError> {
        match self.place.local_path("read", self.key)? {
            Some(path) => self
                .read_local(&path, ranges)
                .map_err(|error| StorageError::from_io("read", self.place.shown(self.key), &error)),
            None => self.read_remote(ranges),
        }
    }

    fn read_local(&mut self, path: &FsPath, ranges: &[Range<u64>]) -> io::Result<Vec<Vec<u8>>> {
        let file = match &self.file {
            Some(file) => file,
            None => {
                guard::count(&COUNTS.get);
                let file = File::open(path)?;
                self.opened = Some(local_info(self.key.to_owned(), &file.metadata()?));
                self.file.insert(file)
            }
        };
        ranges.iter().map(|range| read_at(file, range)).collect()
    }

    fn read_remote(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>, StorageError> {
        let (this, [first, others @ ..]) = (&*self, ranges) else { return Ok(Vec::new()) };
        // Each waits for the store, and none needs the other's answer: a thread for each but the first.
        let read: Vec<_> = std::thread::scope(|scope| {
            let others: Vec<_> =
                others.iter().map(|range| scope.spawn(|| this.remote_piece(range))).collect();
            let first = std::iter::once(this.remote_piece(first));
            let joined = others.into_iter().map(|thread| match thread.join() {
                Ok(piece) => piece,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            first.chain(joined).collect()
        });
        let mut pieces = Vec::with_capacity(read.len());
        for piece in read {
            let (info, bytes) = piece?;
            let opened = self.opened.get_or_insert_with(|| info.clone());
            if *opened != info {
                let place = self.place.shown(self.key);
                return Err(StorageError::Changed { operation: "read", place });
            }
            pieces.push(bytes);
        }
        self.etag = self.opened.as_ref().and_then(|info| info.etag.clone()).or(self.etag.take());
        Ok(pieces)
    }

    fn remote_piece(&self, range: &Range<u64>) -> Result<(ObjectInfo, Vec<u8>), StorageError> {
        let etag = self.etag.as_deref();
        let (info, mut input) = self.place.open_range(self.key, range.clone(), etag)?;
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        match input.read_to_end(&mut bytes) {
            Ok(_) => Ok((info, bytes)),
            // As whoever opens the object finds it.
            Err(error) => Err(match error.downcast::<StorageError>() {
                Ok(error) => error,
                Err(error) => StorageError::from_io("read", self.place.shown(self.key), &error),
            }),
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, range: &Range<u64>) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], range.start + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, range: &Range<u64>) -> io::Result<Vec<u8>> {
    use std::io::{Seek, SeekFrom};
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
    file.take(range.end - range.start).read_to_end(&mut bytes)?;
    Ok(bytes)
}
