//! faceledger: Tencent Cloud FaceID results in, columnar attempts and daily charges out.
//!
//! The rooms, in reading order. Rooms know [`model`], never each other; [`run`] is the one that sees
//! them all.
//!
//! - [`model`]: the nouns: days, attempts, rejects, tallies.
//! - [`cli`]: flags as typed.
//! - [`pipeline`]: the pipeline file: as written, then as checked.
//! - [`storage`]: everything that awaits: object stores behind a plain blocking face.
//! - [`sources`]: which objects count, and in what shards they are read.
//! - [`decode`]: bytes to attempts and rejects. No I/O.
//! - [`classify`]: routes, billing tags, settlement dates: tables, not branches.
//! - [`mod@write`]: attempts to sorted Parquet, published by one commit.
//! - [`settle`]: rows to daily charges.
//! - [`reconcile`]: where ours and the bill disagree, and why.
//! - [`run`]: the order of the steps: threads, resume, tallies, exit codes.
//! - [`report`]: the only room that prints.

pub mod model;

pub mod cli;
pub mod pipeline;
pub mod storage;

pub mod sources;

pub mod decode;

pub mod classify;

pub mod write;

pub mod settle;

pub mod reconcile;

pub mod run;

#[allow(clippy::print_stdout, clippy::print_stderr)]
pub mod report;
