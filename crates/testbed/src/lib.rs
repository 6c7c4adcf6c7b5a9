//! The real things on this machine, for tests and demo alike: Kubernetes
//! control planes, Git servers over http and ssh, members of regraft.
//!
//! ```text
//! TestDir ─┬─ ControlPlane   etcd, apiserver, controller-manager, scheduler, KWOK (one Process each)
//!          ├─ GitServer      bare repository behind http (git http-backend), holdable pushes
//!          ├─ SshServer      the same repository behind sshd
//!          ├─ Member         `regraft serve`, killed and restarted by pid
//!          ├─ Installation   one or three members with their certificates, and a person's command line
//!          └─ Fleet          all of them at once
//! ```
//!
//! Everything listens on 127.0.0.1 only. Dropping a value ends what it started,
//! also while a test panics; what a killed test process leaves behind is ended
//! by the kernel (`setpriv --pdeathsig`). Nothing here fakes a server, and
//! nothing here is part of the product.

mod binaries;
mod clock;
mod controlplane;
mod dir;
mod error;
pub mod fleet;
pub mod git;
mod https;
mod installation;
mod interrupt;
mod member;
mod pki;
mod ports;
mod process;
pub mod wait;

pub use binaries::Binary;
pub use clock::Stopwatch;
pub use controlplane::{ApiRequests, AuditMark, ControlPlane, StartOptions, start_fleet};
pub use dir::TestDir;
pub use error::Error;
pub use fleet::{Fleet, FleetOptions};
pub use git::{
    Author, BareRepository, Credentials, GitServer, HoldPoint, HttpOptions, RequestCounts,
    SshServer, WorkClone,
};
pub use https::{ApiClient, Response};
pub use installation::{Installation, InstallationOptions};
pub use interrupt::end_cleanly_on_signals;
pub use member::{Member, MemberOptions};
pub use ports::Port;
pub use process::{Process, Program, Signal, Usage};
