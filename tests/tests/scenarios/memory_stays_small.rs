//! What a transfer costs in memory, on both sides, whatever is transferred: no file and no list of files is held whole.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::programs::Programs;
use potluck_tests::town::{Node, Town, VERB_LIMIT, isolated};
use potluck_tests::{Failure, Result, tree};

/// What a node may grow by over one that idles.
const GROWTH: u64 = 48 << 20;

/// A seeder and a sink, with the memory that each has before anything is transferred.
struct Pair {
    town: Town,
    _tracker: potluck_tests::town::Tracker,
    ada: Node,
    bob: Node,
    idle: (u64, u64),
}

impl Pair {
    /// Starts both; `ada` shares the folder `share` of the town.
    ///
    /// Who is idle has fetched one small file: of the program's code, more than thirty MiB without optimisation, the system counts what
    /// has been run, and how much of it that is right after a start differs from start to start.
    fn start(town: Town) -> Result<Self> {
        let first = tree::file(&town.path("share/first.txt"), 1_000, 4 << 10)?;
        let tracker = town.tracker("tracker")?;
        let ada = town.node("ada").share(&town.path("share")).tracker(&tracker).start_ready()?;
        ada.process().event("indexed", VERB_LIMIT)?;
        let idle = |name: &str| {
            let node = town.node(name).tracker(&tracker).start_ready()?;
            node.find("first.txt", 1)?;
            let read = read_from(&town, &node, &first, u64::MAX)?;
            assert_eq!(read, 4 << 10);
            let memory = node.process().vitals()?.memory;
            Ok::<_, Failure>((node, memory))
        };
        let ((_carl, idle_seeder), (bob, idle_sink)) = (idle("carl")?, idle("bob")?);
        Ok(Self { town, _tracker: tracker, ada, bob, idle: (idle_seeder, idle_sink) })
    }

    /// What the seeder, hashing with it, and the sink have grown by at the most, in bytes.
    fn growth(&self) -> Result<(u64, u64)> {
        let peak = |node: &Node| Ok::<_, Failure>(node.process().vitals()?.peak_memory);
        Ok((peak(&self.ada)?.saturating_sub(self.idle.0), peak(&self.bob)?.saturating_sub(self.idle.1)))
    }

    #[allow(clippy::print_stdout, reason = "a figure for who plays the long stories")]
    fn assert_small(&self, what: &str) -> Result {
        let (seeder, sink) = self.growth()?;
        println!("{what}: the seeder grew by {} MiB, the sink by {} MiB", seeder >> 20, sink >> 20);
        assert!(seeder < GROWTH && sink < GROWTH, "{what}: the seeder grew by {seeder} bytes, the sink by {sink}");
        Ok(())
    }
}

/// Has a node fetch a file to standard output and reads at most so many bytes of it. How many there were.
fn read_from(town: &Town, node: &Node, hash: &str, most: u64) -> Result<u64> {
    let mut command = isolated(Command::new(&Programs::get()?.node), node.data_dir(), &town.path(""));
    command.args(["download", hash, "-o", "-"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdout = child.stdout.take().ok_or_else(|| Failure::new("no pipe"))?.take(most);
    let read = std::io::copy(&mut stdout, &mut std::io::sink())?;
    drop(stdout);
    assert!(child.wait()?.success());
    Ok(read)
}

#[test]
fn a_hundred_downloads_at_once_take_little_memory() -> Result {
    let town = Town::new()?;
    let hashes = (0..100).map(|number| tree::file(&town.path(&format!("share/{number:03}.bin")), number, 3 << 20));
    let hashes = hashes.collect::<Result<Vec<_>>>()?;
    let pair = Pair::start(town)?;
    eventually(PATIENCE, "all hundred can be found", || {
        let found = pair.bob.verb(&["search", "--limit", "200", "bin"])?;
        Ok((found.lines.iter().filter(|hit| hit["content_id"].is_string()).count() == hashes.len()).then_some(()))
    })?;
    let running = hashes.iter().map(|hash| pair.bob.begin(&["download", hash])).collect::<Result<Vec<_>>>()?;
    for download in running {
        download.finish(VERB_LIMIT)?.ok()?;
    }
    let came = tree::look(pair.bob.download_dir())?;
    assert_eq!(came.len(), hashes.len());
    assert!(came.values().all(|file| hashes.contains(&file.content)));
    pair.assert_small("100 downloads")
}

/// `just gauntlet` plays it: hashing takes a minute.
#[test]
#[ignore = "takes a minute"]
fn a_file_of_64_gib_takes_little_memory_on_both_sides() -> Result {
    const SIZE: u64 = 64 << 30;
    /// As many bytes are read of it.
    const READ: u64 = 4 << 30;
    let town = Town::new()?;
    std::fs::create_dir_all(town.path("share"))?;
    File::create(town.path("share/sparse.img"))?.set_len(SIZE)?;
    let pair = Pair::start(town)?;
    let hit = pair.bob.find("sparse.img", 1)?;
    let hash = hit["content_id"].as_str().ok_or_else(|| Failure::new("a hit without content id"))?;

    assert_eq!(read_from(&pair.town, &pair.bob, hash, READ)?, READ);
    eventually(PATIENCE, "the node fetches nothing more", || Ok((pair.bob.status()?["downloads"] == 0).then_some(())))?;
    pair.assert_small("4 of 64 GiB")
}
