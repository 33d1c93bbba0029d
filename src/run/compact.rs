//! `compact`: what many loads leave behind, put in order.
//!
//! A day of `liveness_detail` and a month of `daily_charge` are written whole by every load that changes them:
//! they are compact already. Here the files of `rejects` and `inputs`, of which each load adds some, become
//! one a partition, each log gets a checkpoint, and files that were superseded or left behind go.

use super::publish::stage_small;
use super::{RunError, Tables, in_pool, new_run_id, now_ms, rows_of, take_lease};
use crate::pipeline::Pipeline;
use crate::storage::Place;
use crate::write::small;
use crate::write::{Commit, OpenTable, WriteError, Writer};
use arrow::array::RecordBatch;
use std::collections::BTreeSet;

/// What a compaction did.
#[derive(Debug, serde::Serialize)]
pub struct Compacted {
    pub commits: Vec<Commit>,
    /// Tables whose log got a checkpoint: it had grown by ten entries or more.
    pub checkpoints: u64,
    /// Files deleted that were no longer live.
    pub deleted: u64,
    /// Superseded files that stay until `output.retain` is over.
    pub retained: u64,
}

/// Compacts an output. Readers see the same rows before, while and after.
pub fn compact(pipeline: &Pipeline) -> Result<Compacted, RunError> {
    in_pool(pipeline, |_| {
        let now_ms = now_ms();
        let run_id = new_run_id(now_ms);
        let output = Place::open(&pipeline.output.url, &pipeline.output.options)?;
        Tables::open_existing(&output)?;
        let (output, lease) = take_lease(pipeline, &output, &run_id)?;
        // Opened under the lease: nobody else commits from here on.
        let mut tables = Tables::open(&output)?;
        let writer = Writer {
            txn: tables.last_runs()?.next_txn(now_ms),
            run_id,
            retain_ms: pipeline.output.retain_ms,
            now_ms,
        };
        let mut commits = Vec::new();
        lease.check()?;
        let (rejects, inputs) = (&mut tables.rejects, &mut tables.inputs);
        commits.push(merge_files(rejects, &writer, small::rejects, small::rejects_batch)?);
        lease.check()?;
        commits.push(merge_files(inputs, &writer, small::inputs, small::inputs_batch)?);
        let (mut deleted, mut retained, mut checkpoints) = (0, 0, 0);
        for table in tables.each_mut() {
            lease.check()?;
            deleted += table.delete_litter(&writer)?.len() as u64;
            checkpoints += u64::from(table.checkpoint_if_due(&writer)?);
            if writer.retain_ms > 0 {
                let stored: BTreeSet<String> = table.stored_files()?.into_iter().collect();
                retained += table.superseded()?.intersection(&stored).count() as u64;
            }
        }
        deleted += commits
            .iter()
            .map(|c| if writer.retain_ms == 0 { c.files_removed } else { 0 })
            .sum::<u64>();
        Ok(Compacted { commits, checkpoints, deleted, retained })
    })
}

/// Makes one file of each partition that has several.
fn merge_files<T: Ord>(
    table: &mut OpenTable,
    writer: &Writer,
    rows: fn(&RecordBatch) -> Result<Vec<T>, WriteError>,
    batch: fn(&[T]) -> Result<RecordBatch, WriteError>,
) -> Result<Commit, RunError> {
    let partitions: BTreeSet<Option<String>> =
        table.files().iter().map(|f| f.partition.clone()).collect();
    let (mut staged, mut remove) = (Vec::new(), Vec::new());
    for partition in partitions {
        let files = table.files_of(partition.as_deref());
        if files.len() > 1 {
            let mut all = Vec::new();
            for file in files {
                all.extend(rows_of(table, file, rows)?);
                remove.push(file.path.clone());
            }
            all.sort();
            staged.extend(stage_small(table, partition.as_deref(), all.len(), || batch(&all))?);
        }
    }
    Ok(table.commit(staged, remove, writer)?)
}
