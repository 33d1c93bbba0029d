//! The one integration test crate: everything here uses the program as its users do, or the library's
//! public face.

mod abilities;
mod as_of;
mod backfill;
mod calendar;
mod commands;
mod compact;
mod faults;
mod fetch;
mod focus;
mod formats;
mod golden;
mod interop;
mod kills;
mod memory;
mod object_store;
mod pieces;
mod pipeline;
mod prices;
mod privacy;
mod random;
mod readme;
mod reconcile;
mod recount;
mod report_page;
mod s3;
mod sample;
mod schedulers;
mod skim;
mod soak;
mod spilled;
mod tables;
mod tidy;
mod verify;
mod windows;
mod world;
