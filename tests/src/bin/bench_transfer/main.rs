//! `just bench-transfer`: how fast bytes go from node to node, what they cost, and how others do in the same minute.
//!
//! A tracker and nodes as separate release programs, the files in memory (`/dev/shm`), so that no disk is what is measured.
//! Each case runs ours and its rivals in turn, round by round, so that a machine that slows down slows all of them; what
//! came is compared with what was sent after every run. Cases on lines and with several machines make network namespaces,
//! which takes root. Prints one JSON object a run to stdout, and a table of medians to stderr at the end.
//!
//! | file | what |
//! |---|---|
//! | `cases.rs` | what is moved, over what, against whom |
//! | `ground.rs` | the machines: loopback, two ends of a line, a switch |
//! | `link.rs` | the line: delay, rate, queue, loss |
//! | `ours.rs` | our programs in a case |
//! | `rivals.rs` | other programs in a case |
//! | `meter.rs` | time, processor time and memory of process trees |
//! | `report.rs` | JSON lines, medians, ratios |
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program is for people and scripts")]

mod cases;
mod ground;
mod link;
mod meter;
mod ours;
mod report;
mod rivals;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use potluck_common::search::query::parse_size;
use potluck_tests::programs::Programs;
use potluck_tests::{Failure, Result};

use cases::{CASES, Case, Stock};
use ground::{Between, Ground, is_root};
use link::Line;
use report::{OURS, Results};
use rivals::{Contest, Rival};

const HELP: &str = "\
Moves files between nodes on this machine, and by other programs; one JSON line a result.

Usage: just bench-transfer [OPTIONS] [CASE…]

  --size SIZE    bytes of the large file [default: 2GiB]
  --rounds N     how often [default: 3]
  --ours         without the other programs

Cases (all that this user can run, if none is named; lines and several machines take root):
  large small one one-wan wan wan-large wan-bbr wan-loss-bbr wan-loss-cubic small-wan
  multi3 multi3-large multi3-loss swarm-one swarm resume";

/// How long one transfer may take.
const LIMIT: Duration = Duration::from_secs(300);

struct Options {
    size: u64,
    rounds: u32,
    only_ours: bool,
    cases: Vec<&'static Case>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((link::VERB, rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return finish(Line::run(rest));
    }
    match Options::read(&args) {
        Ok(Some(options)) => finish(run(&options)),
        Ok(None) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("error: {}\n\n{HELP}", failure.message());
            ExitCode::from(2)
        }
    }
}

fn finish(outcome: Result) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message());
            ExitCode::FAILURE
        }
    }
}

impl Options {
    /// `None` when help was asked for.
    fn read(args: &[String]) -> Result<Option<Self>> {
        let mut options = Self { size: 2 << 30, rounds: 3, only_ours: false, cases: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| Failure::new(format!("{arg} needs a value")));
            match arg.as_str() {
                "--size" => options.size = parse_size(value()?).ok_or_else(|| Failure::new("a size looks like 512MiB"))?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--ours" => options.only_ours = true,
                "--help" | "-h" => return Ok(None),
                other => {
                    let case = CASES.iter().find(|case| case.name == other);
                    options.cases.push(case.ok_or_else(|| Failure::new(format!("there is no option and no case {other}")))?);
                }
            }
        }
        if options.cases.is_empty() {
            let can = |case: &&Case| is_root() || (case.between == Between::Nothing && !case.is_cut);
            options.cases.extend(CASES.iter().filter(can));
        }
        Ok(Some(options))
    }
}

fn run(options: &Options) -> Result {
    Programs::get()?;
    if let Some(missing) = options.cases.iter().find_map(|case| case.between.missing()) {
        return Err(Failure::new(format!("lines and switches are made with {missing}, which is not installed")));
    }
    let memory = Path::new("/dev/shm");
    let files = tempfile::Builder::new().prefix("potluck-bench").tempdir_in(if memory.is_dir() { memory } else { Path::new("/tmp") })?;
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for case in &options.cases {
            let rivals = if options.only_ours { &[] } else { case.rivals };
            for rival in [None].into_iter().chain(rivals.iter().copied().map(Some)) {
                let who = rival.map_or(OURS, Rival::name);
                let stock = case.load_of(rival).make(files.path(), options.size)?;
                if let Some(missing) = rival.and_then(Rival::missing) {
                    eprintln!("{who} is left out: {missing} is not installed");
                    continue;
                }
                let mut about = report::about();
                about["round"] = round.into();
                match measure(case, &stock, rival, files.path()) {
                    Ok(measured) => println!("{}", results.add(case, &stock, who, &measured, &about)),
                    // One that cannot do a case does not stop the others; ours must do all.
                    Err(failure) if rival.is_some() => eprintln!("{} by {who}: {}", case.name, failure.message()),
                    Err(failure) => return Err(Failure::new(format!("{}: {}", case.name, failure.message()))),
                }
            }
        }
    }
    eprintln!("{}", results.table());
    Ok(())
}

/// Moves the files of a case once, on new ground.
fn measure(case: &Case, stock: &Stock, rival: Option<Rival>, files: &Path) -> Result<report::Measured> {
    let ground = Ground::new(case.between)?;
    let dir = tempfile::Builder::new().prefix("run").tempdir_in(files)?;
    match rival {
        None => {
            let swarm = ours::Swarm::start(case, stock, &ground, dir.path())?;
            meter::touch_memory(dir.path(), stock.bytes)?;
            swarm.measure(LIMIT)
        }
        Some(rival) => {
            let contest = Contest::start(rival, case, stock, &ground, dir.path())?;
            meter::touch_memory(dir.path(), stock.bytes)?;
            contest.measure(LIMIT)
        }
    }
}
