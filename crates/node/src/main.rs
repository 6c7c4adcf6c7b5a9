//! `regraft`: one binary for members and for the people who talk to them.
//!
//! ```text
//! cli ─┬─ serve ─> replica (Raft) ─ changes ─> engine ─ effects ─> runner ─> git, clusters, proposals
//!      │              ^                           ^                               │
//!      │              └──────── proposals ────────┴──────────── events ───────────┘
//!      └─ everything else ─ gRPC ─> admin of any member
//! ```
//!
//! Deciding happens in `regraft-engine`; this crate reads the clock, starts tasks and performs what the engine
//! asks for. It never decides what is applied, planned or committed.

mod cli;
mod client;
mod clock;
mod config;
mod document;
mod failure;
mod log;
mod serve;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            cli::complain(&failure.to_string());
            ExitCode::from(failure.exit as u8)
        }
    }
}
