//! `potluck-tracker`: arguments → configuration → [`potluck_rendezvous::run`] → exit code.

mod cli;
mod output;
mod verbs;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use potluck_rendezvous::{AdminError, AdminRequest, Config, TrackerError, administer, run};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use cli::{Cli, LogFormat};
use output::Output;
use verbs::Task;

/// glibc's allocator gives memory back after each message and asks for it again: a fifth of the time of a busy tracker.
/// mimalloc keeps a third more of what an index no longer needs (docs/BENCHMARKS.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Threads: one for the event loop, one for connections to be served meanwhile. More only wake each other.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    let mut cli = Cli::parse(); // ends the program with 2 when the arguments make no sense
    let output = Output::new(cli.json);
    start_log(cli.verbose, cli.log_format);
    raise_file_limit();
    let done = match cli.verb.take() {
        Some(verb) => match verb.into_task() {
            Task::Ask(request) => cli.data_dir().map_err(Failure::Usage).and_then(|data_dir| ask(&data_dir, request, &output)),
            Task::Print(text) => {
                output::print(&text);
                Ok(())
            }
        },
        None => cli.into_config().map_err(Failure::Usage).and_then(|config| serve(config, output)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Why the program ended badly.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// The tracker did not start, or ended.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// What was asked of a private tracker was not done.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The system refuses threads or signals.
    #[error("the system does not let the tracker start: {0}")]
    System(#[from] std::io::Error),
}

impl Failure {
    /// The exit code that stands for it in all programs of this project.
    fn exit_code(&self) -> u8 {
        match self {
            Failure::System(_) | Failure::Tracker(TrackerError::StoreEnded) => 1,
            Failure::Usage(_) => 2,
            Failure::Admin(error) => error.exit_code,
            Failure::Tracker(
                TrackerError::DataDir { .. }
                | TrackerError::InUse(_)
                | TrackerError::Ledger { .. }
                | TrackerError::Identity(_)
                | TrackerError::Store(_),
            ) => 7,
            Failure::Tracker(
                TrackerError::Network(_)
                | TrackerError::Database(_)
                | TrackerError::Page { .. }
                | TrackerError::Taken { .. }
                | TrackerError::Listen { .. }
                | TrackerError::Unreachable,
            ) => 8,
        }
    }
}

/// Asks the tracker of a data folder, running or not.
fn ask(data_dir: &Path, request: AdminRequest, output: &Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(administer(data_dir, request))?;
    output.answer(&answer);
    Ok(())
}

fn serve(config: Config, mut output: Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // A quota on the size of files ends a program that does not listen; to us it is a full disk like any other.
        let _full_disk = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let has_terminal = std::io::stdin().is_terminal();
        let shutdown = async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => return,
                    _ = terminate.recv() => return,
                    _ = hang_up.recv() => {
                        if has_terminal {
                            return; // it is gone
                        }
                        tracing::warn!("SIGHUP: a tracker has no configuration file; restart it to change its options, peers come back by themselves");
                    }
                }
            }
        };
        Box::pin(run(config, shutdown, |event| output.tell(&event))).await?; // large: the whole tracker is in it
        Ok(())
    })
}

/// Logs to stderr: warnings, or with `-v` what happens, or what `RUST_LOG` asks for.
fn start_log(verbose: bool, format: LogFormat) {
    let default = if verbose { "warn,potluck_rendezvous=debug,potluck_common=debug" } else { "error,potluck_rendezvous=warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(colour).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// Lets the process have as many open files as the system allows it: each connection is one, and 1,024 is the usual
/// start.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::info!(%error, "the limit of open files stays as it is");
    }
}
