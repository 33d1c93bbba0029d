//! Which objects are known: the load history, one date of the keys at a time.
//!
//! An object is known by its key, its size and its etag, or its last-modified time where the store gives no
//! etag. Of each only a digest of 16 bytes is held, and of a date that was dealt with nothing.

use super::RunError;
use crate::model::UsageDay;
use crate::storage::ObjectInfo;
use crate::write::OpenTable;
use crate::write::small::{self, Input};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// The objects of one date that were loaded whole.
#[derive(Default)]
pub struct Loads(HashSet<[u8; 16]>);

impl Loads {
    /// Reads the history of a date; of the keys without one for None.
    pub fn of(inputs: &OpenTable, date: Option<UsageDay>) -> Result<Loads, RunError> {
        let mut lines: Vec<(String, [u8; 16], bool)> = Vec::new();
        for file in inputs.files_of(date.map(|d| d.to_string()).as_deref()) {
            for batch in inputs.read(file, None)? {
                lines.extend(small::inputs(&batch)?.into_iter().map(|input| {
                    let identity = identity_of_input(&input);
                    (input.run_id, identity, input.rows_outside == 0)
                }));
            }
        }
        // The latest load of an object says whether it is known: one of which some rows lay outside the window
        // is not, they are missing. Run ids sort by time.
        lines.sort();
        let mut loads = HashSet::with_capacity(lines.len());
        for (_, identity, whole) in lines {
            match whole {
                true => _ = loads.insert(identity),
                false => _ = loads.remove(&identity),
            }
        }
        Ok(Loads(loads))
    }

    pub fn hold(&self, object: &ObjectInfo) -> bool {
        let etag = object.etag.as_deref();
        self.0.contains(&identity(&object.key, object.size, etag, object.last_modified_ms))
    }
}

fn identity_of_input(input: &Input) -> [u8; 16] {
    identity(&input.key, input.size as u64, input.etag.as_deref(), input.last_modified)
}

fn identity(key: &str, size: u64, etag: Option<&str>, last_modified_ms: i64) -> [u8; 16] {
    let mut digest = Sha256::new();
    digest.update(key);
    // No key holds a NUL: object stores refuse them, and so do file systems.
    digest.update([0]);
    digest.update(size.to_le_bytes());
    match etag {
        Some(etag) => digest.update(etag),
        None => digest.update(last_modified_ms.to_le_bytes()),
    }
    let mut identity = [0; 16];
    identity.copy_from_slice(&digest.finalize()[..16]);
    identity
}
