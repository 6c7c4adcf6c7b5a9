//! `cargo xtask demo`: the whole promise with real parts, told as a story.
//!
//! ```text
//! World (three clusters, Git, three members) -> acts (start, first repair, second repair) -> Facts -> story, report
//! ```
//!
//! It ends with success only when everything that it tells held.
#![expect(clippy::print_stdout, reason = "a story is told on standard output")]

mod acts;
mod facts;
mod repair;
mod story;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use regraft_testbed::{TestDir, end_cleanly_on_signals};

use crate::facts::Facts;
use crate::story::Story;
use crate::world::World;

/// Three clusters, a Git repository, three members, and a bad commit that is healed by a commit
#[derive(Parser)]
#[command(name = "demo")]
struct Options {
    /// Leave everything running until Enter or Ctrl-C, and print how to look at it
    #[arg(long)]
    keep: bool,
    /// Write the facts as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe demo FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let mut dir = TestDir::new("demo")?;
    end_cleanly_on_signals(dir.path().to_path_buf())?;
    let story = Story::begin();
    let mut facts = Facts::default();
    let result = tell(&dir, &story, &mut facts, options);
    facts.seconds = story.seconds();
    facts.held = result.is_ok();
    if let Some(file) = &options.report {
        let text = serde_json::to_string_pretty(&facts).context("write the facts as JSON")?;
        std::fs::write(file, format!("{text}\n"))
            .with_context(|| format!("write {}", file.display()))?;
    }
    if result.is_err() {
        dir.keep();
        println!("\nLogs and data are kept in {}", dir.path().display());
    }
    result
}

fn tell(dir: &TestDir, story: &Story, facts: &mut Facts, options: &Options) -> Result<()> {
    let mut world = World::start(dir.path(), story, facts)?;
    acts::everything_gets_healthy(&mut world, story, facts)?;
    acts::a_bad_commit_is_healed(&mut world, story, facts)?;
    acts::a_repair_survives_the_leader(&mut world, story, facts)?;
    world.measure(facts)?;
    story.conclude(&world, facts)?;
    if options.keep {
        story.invite(&world);
        // Whatever comes, Enter or the end of the input, is the wish to end.
        let mut line = String::new();
        let read = std::io::stdin()
            .read_line(&mut line)
            .context("wait for Enter")?;
        if read == 0 {
            loop {
                // Without a terminal a signal ends it.
                std::thread::park();
            }
        }
    }
    Ok(())
}
