//! The gRPC messages, clients and servers generated from `proto/`, and nothing else.
//!
//! ```text
//! proto/regraft/<what>/v1/<what>.proto  --xtask codegen-->  src/generated/regraft.<what>.v1.rs
//! ```
//!
//! Never: hand-written types, conversions or logic. They live in the crate that speaks the protocol.
#![forbid(unsafe_code)]

/// What people and programs ask of a member.
pub mod admin {
    /// Version 1.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        reason = "generated; what it triggers changes with the generator"
    )]
    pub mod v1 {
        include!("generated/regraft.admin.v1.rs");
    }
}

/// Between members: log, votes, snapshots.
pub mod raft {
    /// Version 1.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        reason = "generated; what it triggers changes with the generator"
    )]
    pub mod v1 {
        include!("generated/regraft.raft.v1.rs");
    }
}

/// The replicated state as programs use it: records, locks, sessions.
pub mod store {
    /// Version 1.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        reason = "generated; what it triggers changes with the generator"
    )]
    pub mod v1 {
        include!("generated/regraft.store.v1.rs");
    }
}
