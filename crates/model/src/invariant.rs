//! The promises no change may break. Code that guards one cites its id.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! invariants {
    ($($id:ident $text:literal),* $(,)?) => {
        /// An invariant of the whole system.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum InvariantId {
            $(#[doc = $text] $id,)*
        }

        impl InvariantId {
            /// All of them, in order.
            pub const ALL: &[InvariantId] = &[$(InvariantId::$id),*];

            /// The promise in words.
            pub fn promise(self) -> &'static str {
                match self { $(InvariantId::$id => $text,)* }
            }
        }
    };
}

invariants! {
    I1 "a cluster changes only through a commit on the tracked branch, or drift back to it",
    I2 "at most one live plan per scope; fences only rise; a stale fence writes nothing",
    I3 "the parent of our commit is the plan's parent",
    I4 "equal applied index means equal state",
    I5 "prune touches only our inventory, never after a render with problems, never more than the delete cap without a confirmation",
    I6 "same commit, same world: no writes",
    I7 "no plan from stale, missing or too little evidence",
    I8 "repairs of an application and in a cluster are bounded, and every incident ends",
    I9 "a person's revert of our commit is a veto",
    I10 "during a storm nothing is touched",
    I11 "nothing acknowledged is lost, and no action happens twice",
}

impl fmt::Display for InvariantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
