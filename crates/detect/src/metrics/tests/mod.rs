//! Watching metrics, starting from peers, comparing them and finding changes, driven through the public functions.

mod bad_input;
mod behaviour;
mod change_point;
mod chart;
mod compare;
mod grades;
mod odd_peers;
mod peers;
mod rate;
mod series;
mod stored;
