//! Symptoms, evidence and dwell, driven through the public functions.

mod dwell;
mod symptom;
mod world;
