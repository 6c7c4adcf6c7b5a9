//! States over time to symptoms that held long enough to count
