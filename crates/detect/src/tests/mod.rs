//! Symptoms, evidence, dwell and redaction, driven through the public functions.

mod dwell;
mod redact;
mod symptom;
mod world;
