//! Symptoms, evidence and dwell, driven through the public functions.

mod dwell;
mod forecast;
mod peers;
mod symptom;
mod world;
