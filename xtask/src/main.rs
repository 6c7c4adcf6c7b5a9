//! The one door: build, test, demo, checks.
fn main() {}
