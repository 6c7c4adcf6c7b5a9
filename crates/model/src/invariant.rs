//! The promises no change may break. Code that guards one cites its id.

use crate::words;

macro_rules! invariants {
    ($($id:ident $word:literal $promise:literal,)*) => {
        words! {
            /// An invariant of the whole system.
            pub enum InvariantId {
                $(#[doc = $promise] $id => $word,)*
            }
        }

        impl InvariantId {
            /// The promise in words.
            pub fn promise(self) -> &'static str {
                match self { $(InvariantId::$id => $promise,)* }
            }
        }
    };
}

invariants! {
    I1 "I1" "a cluster changes only through a commit on the tracked branch, or drift back to it",
    I2 "I2" "at most one live plan per scope; fences only rise; a stale fence writes nothing",
    I3 "I3" "the parent of our commit is the plan's parent",
    I4 "I4" "equal applied index means equal state",
    I5 "I5" "prune touches only our inventory, never after a render with problems, never more than the delete cap without a confirmation",
    I6 "I6" "same commit, same world: no writes",
    I7 "I7" "no plan from stale, missing or too little evidence",
    I8 "I8" "repairs of an application and in a cluster are bounded, and every incident ends",
    I9 "I9" "a person's revert of our commit is a veto",
    I10 "I10" "during a storm nothing is touched",
    I11 "I11" "nothing acknowledged is lost, and no action happens twice",
}
