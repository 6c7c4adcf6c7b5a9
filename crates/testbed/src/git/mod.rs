//! Git as teams run it: a bare repository behind a server, people with clones.

mod cgi;
mod http;
mod repository;
mod request;
mod ssh;

pub use http::{Credentials, GitServer, HoldPoint, HttpOptions, RequestCounts};
pub use repository::{Author, BareRepository, WorkClone};
pub use ssh::SshServer;
