//! The replicated state for programs: records, locks, sessions and watches, at whichever member answers.
//!
//! ```text
//! program ─> Session ── lease of a slot ─> Members ── attempt ─> member 1 ─ silent ─┐
//!               ▲ signs of life, settling      ▲ who leads                          │ the same request (session, slot,
//!               └── tasks of the session       └── `leader`, Status ── member 2 <───┘ sequence), so it is done once
//! ```
//!
//! Every call has a deadline and ends in one of these ways:
//!
//! | Answer | What happened |
//! |---|---|
//! | `Ok` | done, and on the disks of a majority |
//! | [`Error::Refused`] | nothing changed, and sending it again changes nothing: a word for programs, a text for people |
//! | [`Error::NotDone`], [`Error::SessionLost`] | certainly not done, now or later |
//! | [`Error::Unknown`] | it may have been done; what is not done by then may still be, until it is settled |
//! | [`Error::Compacted`] | (watch) changes were missed: list again |
//!
//! - Expected flow: one [`Client`] for a program; one [`Session`] for what it changes, kept for as long as it runs.
//! - Guarantees: a change is done at most once, however often it was sent. Between attempts, members and leaders may
//!   change. A slot whose outcome is unknown takes no other request until it is settled (`settle` says how). A lost
//!   session is told at the latest when its locks may be given to others, by this machine's monotonic clock.
//! - Assumptions: clocks run at most a thousandth too fast or too slow. What pauses a whole process can make it act after its
//!   session ended: what it writes elsewhere must carry the [`Lock::fence`], and whoever takes it must refuse a smaller one.
//!   Nothing between here and the members answers in their place; TLS sees to that, and [`Connect`] is the caller's.
//! - Bounds: [`Settings`], and [`SLOTS`] changes of a session under way at a time; more wait, up to their deadline.
//!
//! It never makes a new request of one whose outcome is unknown, never hides a refusal, and keeps nothing on disk.
//!
//! ```no_run
//! use regraft_client::{Client, Consistency, Error, LockRequest, Settings};
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//! use tonic::transport::Endpoint;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let members = BTreeMap::from([
//!     (1, "eu-1:7203".to_owned()),
//!     (2, "eu-2:7203".to_owned()),
//!     (3, "eu-3:7203".to_owned()),
//! ]);
//! // Members take mutual TLS only: a real program gives `connect_with_connector` a connector that checks who answers.
//! let connect = |_member: u64, address: String| async move {
//!     let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
//!     Ok::<_, regraft_client::ConnectError>(endpoint.connect().await?)
//! };
//! let client = Client::new(members, connect, Settings::default());
//! let session = client.open_session(Duration::from_secs(10)).await?;
//!
//! // Count something. Somebody else may do so at the same time.
//! let visits = loop {
//!     let found = client.get(b"visits", Consistency::Linearizable).await?.value;
//!     let (count, revision) = match found {
//!         Some(record) => (String::from_utf8(record.value)?.parse()?, record.revision),
//!         None => (0_u64, 0),
//!     };
//!     let value = (count + 1).to_string();
//!     match session.compare_and_swap("visits", value, revision).await {
//!         Ok(written) => break written,
//!         Err(Error::Refused(refusal)) if refusal.reason == "RevisionChanged" => continue,
//!         Err(error) => return Err(error.into()),
//!     }
//! };
//!
//! // Do something alone; wait at most a minute for it.
//! let patient = session.within(Duration::from_secs(60));
//! let lock = patient.acquire(&LockRequest::new("named/nightly-report")).await?;
//! println!("fence {}, after revision {}", lock.fence(), visits.revision);
//! lock.release().await?;
//! session.close().await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod change;
mod client;
mod clock;
mod connect;
mod error;
mod lock;
mod members;
mod record;
mod session;
mod settings;
mod settle;
mod slots;
mod verdict;
mod watch;

pub use client::{Client, Start};
pub use connect::{Connect, ConnectError, Connecting};
pub use error::{Error, Loss, Refusal};
pub use lock::{Lock, LockRequest};
pub use record::{Changed, Consistency, Page, Range, Read, Record, Written};
pub use session::Session;
pub use settings::Settings;
pub use slots::SLOTS;
pub use watch::{Told, Watch};
