//! The one integration test crate: everything here uses the program as its users do, or the library's
//! public face.

mod pipeline;
mod random;
mod recount;
mod world;
mod calendar;
mod sample;
mod verify;
mod windows;
mod golden;
mod tables;
mod pieces;
mod privacy;
mod readme;
mod memory;
mod interop;
mod tidy;
mod commands;
mod formats;
