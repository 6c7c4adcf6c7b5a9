//! The cluster edge against a real API server, etcd, controllers and nodes played by KWOK.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is tests, and a test ends by panicking"
)]

mod applying;
mod connection;
mod letting_go;
mod watching;
mod world;
