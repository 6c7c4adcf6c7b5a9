//! Seeded fake worlds around the real engine and state
