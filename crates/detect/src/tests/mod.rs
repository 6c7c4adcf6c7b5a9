//! Symptoms, evidence and dwell, driven through the public functions; noise and JSON for the tests of all modules.

mod dwell;
pub(crate) mod json;
pub(crate) mod noise;
mod symptom;
mod words;
mod world;
