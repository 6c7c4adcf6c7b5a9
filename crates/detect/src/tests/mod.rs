//! Symptoms, evidence and dwell, driven through the public functions; noise for the tests of all modules.

mod dwell;
pub(crate) mod noise;
mod symptom;
mod world;
