//! The cluster edge against a real API server, etcd, controllers and nodes played by KWOK.

mod applying;
mod connection;
mod letting_go;
mod rate;
mod watching;
mod world;
