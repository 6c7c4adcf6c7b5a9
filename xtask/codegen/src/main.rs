//! `proto/**/*.proto` to Rust, for `cargo xtask codegen` and `cargo xtask verify`.
//!
//! ```text
//! xtask-codegen PROTO_FOLDER OUTPUT_FOLDER: one file per proto package
//! ```
//!
//! It writes into the output folder and nowhere else.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Fields that are passed on as they came: shared, not copied.
const SHARED: [&str; 3] = [
    ".regraft.raft.v1.Entry.command",
    ".regraft.store.v1.PutRequest",
    ".regraft.store.v1.Record.value",
];
/// Deepest folder below `proto/`: organization, package, version.
const DEPTH_MAX: usize = 8;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [sources, output] = arguments.as_slice() else {
        anyhow::bail!("usage: xtask-codegen PROTO_FOLDER OUTPUT_FOLDER");
    };
    let mut files = Vec::new();
    find(sources, DEPTH_MAX, &mut files)?;
    files.sort();
    let descriptors = protox::compile(&files, [sources]).context("compile the proto files")?;
    let configured = tonic_prost_build::configure();
    SHARED
        .iter()
        .fold(configured, |builder, field| builder.bytes(field))
        .out_dir(output)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .context("generate Rust from the proto files")
}

fn find(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("list {}", folder.display()))?
            .path();
        if path.is_dir() && depth > 0 {
            find(&path, depth - 1, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    Ok(())
}
