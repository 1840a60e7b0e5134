//! `just bench-transfer`: how fast bytes go from one node to another on this machine, and what they cost.
//!
//! A tracker, a seeder and a downloader as separate release programs on loopback, the files in memory (`/dev/shm`), so that
//! neither a disk nor a line is what is measured. Prints one JSON object a result; runs the cases in turn, round by round,
//! so that a machine that slows down slows all of them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program is for people and scripts")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use potluck_common::search::query::parse_size;
use potluck_tests::clock::{PATIENCE, now};
use potluck_tests::process::Vitals;
use potluck_tests::programs::{Programs, workspace};
use potluck_tests::town::{Node, Town, Tracker};
use potluck_tests::{Failure, Result, tree};
use serde_json::json;

const HELP: &str = "\
Moves a large file and many small ones between two nodes on this machine; prints one JSON line a result.

Usage: just bench-transfer [--size SIZE] [--rounds N]

  --size SIZE    bytes of the large file [default: 2GiB]
  --rounds N     how often [default: 3]";

/// The small files: as many, and of sizes that make 151 MB.
const SMALL_FILES: u32 = 5000;
const SMALL_SIZES: std::ops::RangeInclusive<u64> = (4 << 10)..=56_400;
/// How long one download may take.
const LIMIT: Duration = Duration::from_secs(600);

struct Options {
    size: u64,
    rounds: u32,
}

/// One thing to move.
struct Case {
    name: &'static str,
    /// The folder that is shared and the name of its share.
    share: &'static str,
    bytes: u64,
    files: u64,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::read(&args) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(failure) => {
            eprintln!("error: {}\n\n{HELP}", failure.message());
            return ExitCode::from(2);
        }
    };
    match run(&options) {
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
        let mut options = Self { size: 2 << 30, rounds: 3 };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| Failure::new(format!("{arg} needs a value")));
            match arg.as_str() {
                "--size" => options.size = parse_size(value()?).ok_or_else(|| Failure::new("a size looks like 512MiB"))?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--help" | "-h" => return Ok(None),
                other => return Err(Failure::new(format!("there is no option {other}"))),
            }
        }
        Ok(Some(options))
    }
}

fn run(options: &Options) -> Result {
    Programs::get()?;
    let memory = Path::new("/dev/shm");
    let files = tempfile::Builder::new().prefix("potluck-bench").tempdir_in(if memory.is_dir() { memory } else { Path::new("/tmp") })?;
    tree::file(&files.path().join("large/file"), 1, options.size)?;
    let small = tree::folder(&files.path().join("small"), 2, SMALL_FILES, SMALL_SIZES)?;
    let cases = [
        Case { name: "large", share: "large", bytes: options.size, files: 1 },
        Case { name: "small", share: "small", bytes: small, files: u64::from(SMALL_FILES) },
    ];
    let machine = machine();
    for round in 1..=options.rounds {
        for case in &cases {
            let mut line = measure(files.path(), case)?;
            line["round"] = round.into();
            line["machine"] = machine.clone();
            println!("{line}");
        }
    }
    Ok(())
}

/// Starts a new swarm, moves the files once, and checks them.
fn measure(files: &Path, case: &Case) -> Result<serde_json::Value> {
    let town = Town::new()?;
    let into = tempfile::Builder::new().prefix("into").tempdir_in(files)?;
    let (_tracker, seeder, downloader) = swarm(&town, &files.join(case.share), into.path())?;
    let before = (seeder.process().vitals()?, downloader.process().vitals()?);
    let began = now();
    let finished = downloader.begin(&["download", &format!("{}:{}", seeder.peer_id(), case.share)])?.finish(LIMIT)?.ok()?;
    let seconds = began.elapsed().as_secs_f64();
    let after = (seeder.process().vitals()?, downloader.process().vitals()?);
    if finished.done().len() as u64 != case.files {
        return Err(Failure::new(format!("{} of {} files came", finished.done().len(), case.files)));
    }
    check(&files.join(case.share), &into.path().join(case.share))?;
    let cpu = |before: &Vitals, after: &Vitals| after.cpu.saturating_sub(before.cpu).as_secs_f64();
    Ok(json!({
        "case": case.name,
        "files": case.files,
        "bytes": case.bytes,
        "seconds": rounded(seconds),
        "mb_per_s": rounded(case.bytes as f64 / 1e6 / seconds),
        "seeder_cpu_s": rounded(cpu(&before.0, &after.0)),
        "downloader_cpu_s": rounded(cpu(&before.1, &after.1)),
        "seeder_peak_bytes": after.0.peak_memory,
        "downloader_peak_bytes": after.1.peak_memory,
        "commit": first_line(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(workspace())),
        "date": first_line(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
    }))
}

fn swarm(town: &Town, share: &Path, into: &Path) -> Result<(Tracker, Node, Node)> {
    let tracker = town.tracker("tracker")?;
    let seeder = town.node("seeder").share(share).tracker(&tracker).start_ready()?;
    let downloader = town.node("downloader").tracker(&tracker).download_dir(into).start_ready()?;
    downloader.sees(seeder.peer_id(), true, PATIENCE)?;
    Ok((tracker, seeder, downloader))
}

/// Compares every file with its source by the reference implementation's plain interface.
fn check(source: &Path, copy: &Path) -> Result {
    let hashes = |dir: &Path| -> Result<Vec<(PathBuf, String)>> {
        Ok(tree::look(dir)?.into_iter().map(|(path, seen)| (path, seen.content)).collect())
    };
    if hashes(source)? == hashes(copy)? { Ok(()) } else { Err(Failure::new("what came is not what was sent")) }
}

fn machine() -> serde_json::Value {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).map(|rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({ "cpu": model, "cores": cores, "kernel": first_line(Command::new("uname").arg("-r")) })
}

/// What a small program says; `None` where it is not there.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// Three digits after the point are more than a measurement tells.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
