//! Watching metrics, comparing them and finding changes, driven through the public functions.

mod bad_input;
mod behaviour;
mod change_point;
mod compare;
mod peers;
mod rate;
mod series;
mod stored;
