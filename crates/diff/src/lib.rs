//! Desired against live: changes, ignore rules, health of one object
