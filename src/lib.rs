//! faceledger: Tencent Cloud FaceID results in, columnar attempts and daily charges out.
//!
//! The rooms, in the order the data walks through them. Rooms know [`model`], never each other;
//! [`run`] is the one place that sees them all.

/// Routes, billing tags, settlement dates: tables, not branches.
pub mod classify;
/// Flags as typed.
pub mod cli;
/// Bytes to attempts and rejects. No I/O.
pub mod decode;
/// The nouns: days, attempts, rejects, tallies.
pub mod model;
/// The pipeline file: as written, then as checked.
pub mod pipeline;
/// The only room that prints.
#[allow(clippy::print_stdout, clippy::print_stderr)]
pub mod report;
/// The order of the steps: threads, resume, tallies, exit codes.
pub mod run;
/// Rows to daily charges.
pub mod settle;
/// Which objects count, and in what shards they are read.
pub mod sources;
/// Everything that awaits: object stores behind a plain blocking face.
pub mod storage;
/// Attempts to sorted Parquet, published by one commit.
pub mod write;
