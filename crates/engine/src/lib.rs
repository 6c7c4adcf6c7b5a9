//! Chains the stages: on(event, now) to effects
