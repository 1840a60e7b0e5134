//! `cargo demo`: a whole swarm on this machine in under a minute.
//!
//! Starts a tracker and three nodes as real programs on free ports, shares real folders, searches, downloads a large file
//! from two nodes at once and a folder from the third, compares everything with hashes that our code did not make, and
//! cleans up. What it does is printed as what a person would type.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program is for people")]

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use potluck_tests::clock::{PATIENCE, eventually, now};
use potluck_tests::town::{NAMESPACE, Node, Town, Tracker, VERB_LIMIT};
use potluck_tests::{Failure, Result, tree};
use serde_json::Value;

const HELP: &str = "\
A whole swarm on this machine: a tracker and three nodes that share real folders.

Usage: cargo demo [--keep] [DIR…]

  DIR…      folders to share: the first by two nodes, the others by the third
            [default: the Rust toolchain's libraries; documentation and sources of this machine]
  --keep    leave the swarm running until Ctrl-C, and print how to join it";

/// Enough files to be a real share; folders are added until there are as many.
const ENOUGH_FILES: u64 = 20_000;
/// Largest folder that is taken by default: more takes a small machine longer to hash than a demonstration should.
const MAX_TREE_BYTES: u64 = 2 << 30;
/// How many files and bytes the folder has that is downloaded.
const FOLDER_FILES: std::ops::RangeInclusive<u64> = 20..=1000;
const MAX_FOLDER_BYTES: u64 = 100 << 20;

/// A folder under the name of its share.
type Share = (String, PathBuf);

/// What was asked for.
struct Plan {
    keep: bool,
    /// Shared by two nodes.
    both: Share,
    /// Shared by the third.
    third: Vec<Share>,
}

/// The programs that run.
struct Swarm {
    tracker: Tracker,
    ada: Node,
    bob: Node,
    cleo: Node,
}

/// Prints what happens with the time since the start.
struct Teller {
    start: Instant,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if let Some(option) = args.iter().find(|arg| arg.starts_with('-') && *arg != "--keep") {
        eprintln!("error: there is no option {option}\n\n{HELP}");
        return ExitCode::from(2);
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message());
            ExitCode::FAILURE
        }
    }
}

/// Plays the demonstration in a thread, so that Ctrl-C can end it and still clean up.
fn run(args: &[String]) -> Result {
    let tell = Teller { start: now() };
    println!("A potluck swarm on this machine: one tracker and three nodes, each a program of its own.\n");
    tell.step("looking for folders to share");
    let plan = Plan::read(args)?;
    tell.step("building the programs where they are out of date");
    let town = Town::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (folder, keep) = (town.path(""), plan.keep);
    runtime.block_on(async {
        let (done, finished) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = done.send(play(&tell, &plan, town)); // nobody listens after Ctrl-C
        });
        tokio::select! {
            ended = finished => ended?,
            _ = tokio::signal::ctrl_c() => {
                let _ = std::fs::remove_dir_all(folder); // Ctrl-C ends the programs of the swarm too
                if keep { Ok(()) } else { Err(Failure::new("interrupted; the swarm is stopped and removed")) }
            }
        }
    })
}

fn play(tell: &Teller, plan: &Plan, town: Town) -> Result {
    let swarm = Swarm::start(tell, plan, &town)?;
    swarm.search_and_download_from_two(tell, plan)?;
    swarm.download_folder(tell, plan)?;
    tell.step("all of it is right");
    if plan.keep {
        swarm.tell_how_to_join()?;
        loop {
            std::thread::park(); // until Ctrl-C
        }
    }
    drop(swarm);
    drop(town);
    tell.step("everything is stopped and removed; `cargo demo --keep` leaves it running");
    Ok(())
}

impl Plan {
    fn read(args: &[String]) -> Result<Self> {
        let mut given = Vec::new();
        for dir in args.iter().filter(|arg| !arg.starts_with('-')) {
            let dir = Path::new(dir).canonicalize().map_err(|error| Failure::new(format!("{dir} cannot be shared: {error}")))?;
            let name = dir.file_name().map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
            given.push((name, dir));
        }
        let (both, third) = match given.split_first() {
            Some((first, [])) => (first.clone(), vec![first.clone()]),
            Some((first, others)) => (first.clone(), others.to_vec()),
            None => Self::folders_of_this_machine()?,
        };
        Ok(Self { keep: args.iter().any(|arg| arg == "--keep"), both, third })
    }

    /// What every machine that can build this has: the compiler's libraries, documentation, sources.
    fn folders_of_this_machine() -> Result<(Share, Vec<Share>)> {
        let output = Command::new("rustc").args(["--print", "sysroot"]).output()?;
        let toolchain = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"))).unwrap_or_default();
        let candidates = [
            ("documentation", PathBuf::from("/usr/share/doc")),
            ("rust-documentation", toolchain.join("share/doc")),
            ("rust-sources", home.join("registry/src")),
            ("manuals", PathBuf::from("/usr/share/man")),
            ("python", PathBuf::from("/usr/lib/python3")),
        ];
        let (mut files, mut third) = (0, Vec::new());
        for (name, dir) in candidates {
            let size = tree::measure(&dir);
            if files < ENOUGH_FILES && size.0 > 0 && size.1 <= MAX_TREE_BYTES {
                files += size.0;
                third.push((name.to_owned(), dir));
            }
        }
        if third.is_empty() {
            return Err(Failure::new("this machine has no documentation to share; name some folders: cargo demo DIR DIR"));
        }
        Ok((("rust-libraries".to_owned(), toolchain.join("lib")), third))
    }
}

impl Swarm {
    fn start(tell: &Teller, plan: &Plan, town: &Town) -> Result<Self> {
        let began = now();
        let tracker = town.tracker("tracker")?;
        tell.typed("potluck-tracker");
        tell.note(&format!("listens at {}", tracker.address()));
        let (name, dir) = &plan.both;
        let node = |who: &str, shares: &[Share]| {
            let planned = shares.iter().fold(town.node(who), |node, (name, dir)| node.share_as(name, dir));
            let node = planned.tracker(&tracker).start()?;
            let shared: String = shares.iter().map(|(name, dir)| format!(" --share {name}={}", dir.display())).collect();
            tell.typed(&format!("potluck node --nickname {who}{shared} --tracker {}", tracker.address()));
            Ok::<_, Failure>(node)
        };
        let shared_by_two = [(name.clone(), dir.clone())];
        let (ada, bob, cleo) = (node("ada", &shared_by_two)?, node("bob", &shared_by_two)?, node("cleo", &plan.third)?);
        for node in [&ada, &bob, &cleo] {
            let listed = node.process().event("listed", VERB_LIMIT)?;
            node.process().event("registered", PATIENCE)?;
            let what = format!("{} is registered and has listed {}", node.name(), files(listed["files"].as_u64().unwrap_or(0)));
            tell.note(&format!("{what}, {}, after {:.1} s", bytes(&listed["bytes"]), began.elapsed().as_secs_f64()));
        }
        for node in [&ada, &bob, &cleo] {
            node.process().event("indexed", VERB_LIMIT)?;
        }
        tell.step(&format!("every file is hashed, {:.1} s after the start of the tracker", began.elapsed().as_secs_f64()));
        Ok(Self { tracker, ada, bob, cleo })
    }

    fn search_and_download_from_two(&self, tell: &Teller, plan: &Plan) -> Result {
        let file = largest_file(&plan.both.1)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hash = tree::b3sum(&file)?;
        let hit = eventually(PATIENCE, "the file is found at two nodes", || {
            let found = self.cleo.verb(&["search", &name])?;
            Ok(found.lines.into_iter().find(|hit| hit["content_id"] == hash.as_str() && hit["sources"].as_u64() >= Some(2)))
        })?;
        tell.typed(&format!("potluck search {name}"));
        tell.note(&format!("{name}, {}, at {} nodes: {hash}", bytes(&hit["size"]), hit["sources"]));
        tell.typed(&format!("potluck download {hash}"));
        let done = self.follow(tell, &self.cleo, &hash)?;
        let done = done.first().ok_or_else(|| Failure::new("the download ended without a file"))?;
        let copy = PathBuf::from(done["path"].as_str().unwrap_or_default());
        tree::same_bytes(&file, &copy)?;
        let sha = tree::sha256sum(&copy)?.map_or_else(String::new, |sha| format!("; sha256sum agrees: {sha}"));
        tell.note(&format!("came from {} nodes, and b3sum agrees{sha}", done["sources"]));
        Ok(())
    }

    fn download_folder(&self, tell: &Teller, plan: &Plan) -> Result {
        let (share, root) = plan.third.first().ok_or_else(|| Failure::new("the third node shares nothing"))?;
        let folder = some_folder(root);
        let within = folder.strip_prefix(root).unwrap_or(Path::new("")).to_string_lossy().into_owned();
        let reference = format!("cleo:{share}/{within}").trim_end_matches('/').to_owned();
        tell.typed(&format!("potluck download {reference}"));
        let done = self.follow(tell, &self.bob, &reference)?;
        let name = if within.is_empty() { share.into() } else { folder.file_name().unwrap_or_default().to_owned() };
        let copy = self.bob.download_dir().join(&name);
        let copied = tree::look(&copy)?;
        for path in copied.keys() {
            tree::same_bytes(&folder.join(path), &copy.join(path))?;
        }
        if copied.is_empty() || copied.len() != done.len() {
            return Err(Failure::new(format!("{} files were announced and {} are there", done.len(), copied.len())));
        }
        tell.note(&format!("{}, compared with the source by b3sum and sha256sum", files(copied.len() as u64)));
        Ok(())
    }

    /// Downloads and shows how it goes; returns the files that came.
    fn follow(&self, tell: &Teller, node: &Node, reference: &str) -> Result<Vec<Value>> {
        let began = now();
        let mut process = node.begin(&["download", reference])?;
        let live = std::io::stdout().is_terminal();
        eventually(VERB_LIMIT, "the download", || {
            if let Some(line) = process.lines().iter().rfind(|line| line["event"] == "progress").filter(|_| live) {
                print!(
                    "\r           {} of {}, {}/s from {} nodes   ",
                    bytes(&line["bytes"]),
                    bytes(&line["total"]),
                    bytes(&line["rate"]),
                    line["sources"]
                );
                std::io::stdout().flush()?;
            }
            Ok((!process.is_running()?).then_some(()))
        })?;
        if live {
            print!("\r{:79}\r", "");
        }
        let finished = process.finish(PATIENCE)?.ok()?;
        let done: Vec<Value> = finished.done().into_iter().cloned().collect();
        let total: u64 = done.iter().filter_map(|file| file["bytes"].as_u64()).sum();
        let seconds = began.elapsed().as_secs_f64().max(0.001);
        tell.note(&format!(
            "{}, {} in {seconds:.1} s: {}/s",
            files(done.len() as u64),
            human(total),
            human((total as f64 / seconds) as u64)
        ));
        Ok(done)
    }

    fn tell_how_to_join(&self) -> Result {
        let programs = potluck_tests::programs::Programs::get()?;
        let potluck = programs.node.display();
        println!("\nThe swarm runs until you press Ctrl-C. From another terminal:\n");
        println!("  {potluck} --data-dir {} search rust", self.cleo.data_dir().display());
        println!("  {potluck} node --share . --namespace {NAMESPACE} --tracker {}", self.tracker.address());
        println!("  {potluck} --data-dir {} status", self.ada.data_dir().display());
        Ok(())
    }
}

impl Teller {
    fn step(&self, what: &str) {
        println!("[{:5.1} s] {what}", self.start.elapsed().as_secs_f64());
    }

    fn typed(&self, command: &str) {
        self.step(&format!("$ {command}"));
    }

    fn note(&self, what: &str) {
        println!("           {what}");
    }
}

/// The largest file below a folder.
fn largest_file(dir: &Path) -> Result<PathBuf> {
    let mut largest = (0, None);
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)?.flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) if about.is_file() && about.len() > largest.0 => largest = (about.len(), Some(entry.path())),
                _ => {}
            }
        }
    }
    largest.1.ok_or_else(|| Failure::new(format!("there is no file in {}", dir.display())))
}

/// A folder of a pleasant size below `root`, or `root` itself.
fn some_folder(root: &Path) -> PathBuf {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let (files, bytes) = tree::measure(&folder);
        if FOLDER_FILES.contains(&files) && bytes <= MAX_FOLDER_BYTES {
            return folder;
        }
        let mut inner: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().flatten().collect();
        inner.retain(|entry| files > *FOLDER_FILES.end() && entry.file_type().is_ok_and(|kind| kind.is_dir()));
        inner.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
        folders.extend(inner.into_iter().map(|entry| entry.path()));
    }
    root.to_owned()
}

fn bytes(value: &Value) -> String {
    human(value.as_u64().unwrap_or(0))
}

fn human(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn files(number: u64) -> String {
    if number == 1 { "1 file".to_owned() } else { format!("{} files", grouped(number)) }
}

/// A number with commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
