//! Whole operations against real repositories, made and judged by the `git` command: over `file://`, and over http and
//! ssh with the servers of the testbed.

mod commit;
mod history;
mod http;
mod read;
mod remote;
mod ssh;
mod store;
mod world;
