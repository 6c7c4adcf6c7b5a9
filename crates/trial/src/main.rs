//! Three real members on trial: `cargo xtask bench raft`, `cargo xtask torture`.
//!
//! ```text
//! Trio (three processes of regraft, or of etcd) <--gRPC, TLS-- clients <-- load
//!   |                                                             |
//!   +--> processor, memory, disk of their pids                    +--> latencies
//!                         \____________ ratios, round by round ___/
//! ```
//!
//! Both kinds are driven by the same clients over the same channels, in turn, on the same disk, so that a machine that is
//! slow for a while is slow for both. Everything listens on loopback.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures are printed on standard output, what went wrong on the other"
)]

mod bench;
mod clock;
mod member;
mod torture;
mod trio;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "trial", about = "Three real members on trial")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Beside three members of etcd, with the same load in turn
    Bench(bench::Options),
    /// How long no write is answered after a leader is killed, beside etcd
    Failover(bench::failover::Options),
    /// A million records, then a large state: memory, disk, restarts, and a new member, beside etcd
    Size(bench::size::Options),
    /// Under a load and real faults: whether anything that was promised is broken
    Torture(torture::Options),
    /// A slow way to a member, as a process of its own
    #[command(hide = true)]
    Delay(torture::delay::Options),
    /// One member's replicated state, without the rest of the product: what is tried, as a process of its own
    Member(member::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the trial cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match cli.what {
            What::Bench(options) => bench::bench(&options).await,
            What::Failover(options) => bench::failover::failover(&options).await,
            What::Size(options) => bench::size::size(&options).await,
            What::Torture(options) => torture::torture(&options).await,
            What::Delay(options) => torture::delay::run(options).await,
            What::Member(options) => member::run(options).await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the trial failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
