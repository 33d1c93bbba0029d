//! `rejects`: what was set aside, by reason.

use super::{RunError, Tables, read_small};
use crate::storage::Place;
use crate::write::small::{self, RejectRow};
use std::collections::BTreeMap;

/// The rejects of one reason.
#[derive(Debug, serde::Serialize)]
pub struct RejectCount {
    pub reason: String,
    pub count: u64,
    pub objects: u64,
    pub message: String,
}

/// All rejects of the output, by key, and their counts by reason, most first.
pub fn list_rejects(output: &Place) -> Result<(Vec<RejectCount>, Vec<RejectRow>), RunError> {
    let tables = Tables::open_existing(output)?;
    let mut rows = read_small(&tables.rejects, small::rejects)?;
    rows.sort();
    let mut by_reason: BTreeMap<&str, (u64, u64, &str, &str)> = BTreeMap::new();
    for row in &rows {
        let sum = by_reason.entry(&row.reason).or_insert((0, 0, "", &row.message));
        sum.0 += 1;
        // Sorted by key: a new key is a new object.
        if sum.2 != row.source_key {
            sum.1 += 1;
            sum.2 = &row.source_key;
        }
    }
    let mut counts: Vec<RejectCount> = by_reason
        .into_iter()
        .map(|(reason, (count, objects, _, message))| RejectCount {
            reason: reason.to_owned(),
            count,
            objects,
            message: message.to_owned(),
        })
        .collect();
    counts.sort_by_key(|c| std::cmp::Reverse(c.count));
    Ok((counts, rows))
}
