//! What the client promises, at members that lose answers, break connections, fall silent and change leaders by a script.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod calls;
mod locks;
mod members;
mod sessions;
mod watches;
