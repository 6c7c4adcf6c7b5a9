//! Isolation forests on the traits of [`linfa`].
//!
//! A point that few random cuts separate from all others is strange. The forest needs no distances, no distribution and
//! no labels; it tells how strange a point is, and which columns made it so.
//!
//! ```text
//! Dataset ── fit ──> IsolationForest ── scores ────> 0..1 per row, 1 is strangest
//!   rows x columns     trees in one array ── predict ─> true where a row is stranger than the threshold
//!   NaN: missing                         └─ explain ──> how much each column did to that
//! ```
//!
//! ```
//! use isotree::IsolationForest;
//! use linfa::DatasetBase;
//! use linfa::traits::{Fit, Predict};
//! use ndarray::{Array1, Array2};
//!
//! let mut rows = Array2::from_shape_fn((200, 2), |(row, column)| ((row * 7 + column * 3) % 10) as f64);
//! rows[[42, 0]] = 40.0;
//! let forest = IsolationForest::params().seed(7).fit(&DatasetBase::from(rows.view()))?;
//! let strange: Array1<bool> = forest.predict(&rows);
//! assert!(strange[42] && !strange[0]);
//! let why = forest.explain(&[40.0, 5.0])?;
//! assert!(why.columns[0] > why.columns[1]);
//! # Ok::<(), isotree::Error>(())
//! ```
//!
//! The same seed gives the same forest and the same scores on every platform: randomness is `ChaCha8`, and what is not
//! exact arithmetic comes from `libm`, not from the system. Nothing here reads a clock, a file or the system's randomness,
//! and no input makes it panic but a matrix with another number of columns (see [`IsolationForest::scores`] for one that
//! answers with an error).

mod bits;
mod error;
mod forest;
mod grow;
mod key;
mod params;
mod path;
mod stored;
mod tree;

pub use error::Error;
pub use forest::{Explanation, IsolationForest};
pub use params::{Cut, IsolationForestParams, IsolationForestValidParams, Threshold};
pub use stored::FORMAT;

/// So that the README's example is one that works.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
