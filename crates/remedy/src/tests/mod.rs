//! Decisions on small worlds, driven through the public functions.

mod checker;
mod decision;
mod edits;
mod guards;
mod messages;
mod properties;
mod rank;
mod scenario;
mod storms;
