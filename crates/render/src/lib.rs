//! File tree to objects, configuration and problems.
//!
//! ```text
//! SourceTree --yaml--> located documents --manifests--> Rendered { objects, problems }
//!                                      \--config-----> Fleet, problems
//! workload + what its pods read --inputs--> digest
//! ```
//!
//! It never follows links, never guesses what an invalid file meant, and never lets one bad object take its siblings
//! with it: what is wrong becomes a [`regraft_model::Problem`] with file, line, column and one next action.

mod closest;
mod config;
mod fields;
mod inputs;
mod manifests;
mod policy;
mod scopes;
mod yaml;

pub use closest::closest;
pub use config::configuration;
pub use inputs::inputs_of;
pub use manifests::{MAX_OBJECTS, Rendered, RenderedObject, manifests};
pub use scopes::KindScopes;
