//! Symptoms, evidence and dwell, driven through the public functions.

mod dwell;
mod peers;
mod symptom;
mod world;
