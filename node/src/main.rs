//! The program `potluck`: from arguments to an exit code. What it does is in the library.

use std::io::IsTerminal;
use std::process::ExitCode;

use potluck_node::cli::{Cli, Launch, LogFormat, Unreadable, Verb};
use potluck_node::console::Console;
use potluck_node::error::{CommandError, Failure};
use potluck_node::executor::Broken;
use potluck_node::run::Next;
use potluck_node::{again, fast_copies, one_arena, output, run};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Gives freed megabytes back to the next piece instead of to the system: the default allocator trims and faults them in again.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Most threads for the network. Encryption, which bounds a transfer, runs in one task a connection: a second thread for it
/// only adds wake-ups from core to core, and more than a few would encrypt faster than any line carries.
const MOST_NETWORK_THREADS: usize = 4;
/// Overrides what is logged, in the notation of `tracing_subscriber::EnvFilter`: `potluck_node=debug,libp2p_swarm=trace`.
const LOG_VARIABLE: &str = "POTLUCK_LOG";

fn main() -> ExitCode {
    fast_copies::ensure();
    let console = Console::of_process();
    match read().and_then(|(launch, cli)| Ok(start(launch, cli, &console)?)) {
        Ok(Next::End) | Err(Ended::Run(Broken::NobodyReads)) => ExitCode::SUCCESS,
        Ok(Next::Again) => {
            let why = again::start_again(None);
            output::error(&console, &CommandError::new(Failure::Other, format!("the node could not start itself again ({why}); start it")));
            ExitCode::from(Failure::Other.exit_code())
        }
        Err(Ended::Words(error)) => {
            let _ = error.print(); // help into a pipe that is closed
            ExitCode::from(if error.use_stderr() { Failure::Usage.exit_code() } else { 0 })
        }
        Err(Ended::Run(Broken::Failed(error))) => {
            output::error(&console, &error);
            ExitCode::from(error.failure.exit_code())
        }
    }
}

/// Why the program ended, other than well.
enum Ended {
    /// clap prints something.
    Words(clap::Error),
    /// It was begun.
    Run(Broken),
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        Self::Run(broken)
    }
}

fn read() -> Result<(Launch, Cli), Ended> {
    let launch = Launch::of_process().map_err(Broken::from)?;
    match launch.read() {
        Ok(cli) => Ok((launch, cli)),
        Err(Unreadable::Words(error)) => Err(Ended::Words(error)),
        Err(Unreadable::File(error)) => Err(Ended::Run(error.into())),
    }
}

fn start(launch: Launch, cli: Cli, console: &Console) -> Result<Next, Broken> {
    log_to(console, &cli)?;
    if matches!(cli.verb, Verb::Node(_)) {
        one_arena::ensure();
        give_back_memory();
    }
    let threads = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, MOST_NETWORK_THREADS));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let result = runtime.block_on(run::run(launch, cli, console.clone()));
    runtime.shutdown_background(); // a disk that hangs must not keep the program
    result
}

/// Has a thread give freed memory back to the system while the node idles; without one that happens at the next allocations, of which
/// there are few then. A node that idles takes some MiB less.
fn give_back_memory() {
    // Where there is no such thread, memory comes back later.
    let _ = tikv_jemalloc_ctl::max_background_threads::write(1).and_then(|()| tikv_jemalloc_ctl::background_thread::write(true));
}

/// Lets log messages go to stderr, beside the prompt and the bars. By default what a user should know: what is printed as events
/// is not repeated.
fn log_to(console: &Console, cli: &Cli) -> Result<(), CommandError> {
    let default = match (cli.global.verbose, cli.global.quiet, &cli.verb) {
        (0, true, _) => "error",
        (0, false, Verb::Node(_)) => "warn,potluck_node=info,potluck_common=info",
        (0, false, _) => "error,potluck_node=warn,potluck_common=warn",
        (1, ..) => "info,potluck_node=debug,potluck_common=debug",
        _ => "debug,potluck_node=trace,potluck_common=trace",
    };
    let wrong = |error: ParseError| {
        CommandError::new(Failure::Usage, format!("{LOG_VARIABLE} is no filter ({error}); one looks like potluck_node=debug"))
    };
    let chosen = std::env::var(LOG_VARIABLE).ok().filter(|text| !text.trim().is_empty());
    let filter = EnvFilter::try_new(chosen.as_deref().unwrap_or(default)).map_err(wrong)?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(console.clone());
    if cli.global.log_format == LogFormat::Json {
        log.json().flatten_event(true).init();
        return Ok(());
    }
    let log = log.with_ansi(colour).compact();
    if cli.global.verbose > 0 || chosen.is_some() {
        log.init();
    } else {
        log.without_time().with_target(false).init();
    }
    Ok(())
}
