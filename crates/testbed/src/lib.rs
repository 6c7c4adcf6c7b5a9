//! Starts and stops the real things on this machine, for tests and demo
