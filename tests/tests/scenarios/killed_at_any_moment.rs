//! The power fails at any moment, over and over: whatever was going on, the download ends complete and correct, and little
//! is fetched twice. Ten times here; `just gauntlet` plays it two hundred times for those who fetch and fifty for those
//! who send, and prints what was fetched twice.
#![allow(clippy::print_stdout, reason = "the figures of the long run are its purpose")]

use std::time::Duration;

use potluck_tests::clock::{PATIENCE, pause};
use potluck_tests::town::{Node, Town, Tracker};
use potluck_tests::{Failure, Result, tree};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Pairs of a sender and a receiver that are played with at the same time.
const LANES: u64 = 5;
/// What each pair moves, how fast, and how long that takes at the least: the kill comes within that time.
const SIZE: u64 = 16 << 20;
const RATE: &str = "16MiB/s";
const SPAN: Duration = Duration::from_millis(1100);
/// What may be fetched twice: all that was fetched since the last checkpoint, which is five seconds apart at this rate, and
/// what was on its way.
const TWICE: u64 = SIZE + (8 << 20);

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Sender,
    Receiver,
}

#[test]
fn ten_kills_of_those_who_fetch_lose_nothing() -> Result {
    play(Victim::Receiver, 10)
}

#[test]
fn five_kills_of_those_who_send_lose_nothing() -> Result {
    play(Victim::Sender, 5)
}

#[test]
#[ignore = "two minutes: `just gauntlet`"]
fn two_hundred_kills_of_those_who_fetch_lose_nothing() -> Result {
    play(Victim::Receiver, 200)
}

#[test]
#[ignore = "a minute: `just gauntlet`"]
fn fifty_kills_of_those_who_send_lose_nothing() -> Result {
    play(Victim::Sender, 50)
}

/// Kills so many times in all, spread over the lanes.
fn play(victim: Victim, kills: u64) -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let played = std::thread::scope(|scope| {
        let (town, tracker) = (&town, &tracker);
        let begin = |number| scope.spawn(move || Lane::open(town, tracker, number)?.play(victim, kills / LANES));
        let lanes: Vec<_> = (0..LANES).map(begin).collect();
        lanes.into_iter().map(|lane| lane.join().map_err(|_| Failure::new("a lane panicked"))?).collect::<Result<Vec<Vec<u64>>>>()
    })?;
    let twice: Vec<u64> = played.into_iter().flatten().collect();
    assert_eq!(twice.len() as u64, kills);
    let (most, all) = (twice.iter().max().copied().unwrap_or(0), twice.iter().sum::<u64>());
    println!("{kills} of {kills} complete; fetched twice: {all} bytes of {}, at most {most} of {SIZE}", kills * SIZE);
    assert!(most <= TWICE, "{most} bytes were fetched twice");
    Ok(())
}

/// A sender and a receiver.
struct Lane {
    hash: String,
    name: String,
    source: std::path::PathBuf,
    sender: Node,
    receiver: Node,
    random: StdRng,
}

impl Lane {
    fn open(town: &Town, tracker: &Tracker, number: u64) -> Result<Self> {
        let (folder, name) = (town.path(&format!("share {number}")), format!("file {number}"));
        let hash = tree::file(&folder.join(&name), number, SIZE)?;
        let sender = town.node(&format!("ada {number}")).share(&folder).tracker(tracker).arg("--limit-up").arg(RATE).start_ready()?;
        let receiver = town.node(&format!("bob {number}")).tracker(tracker).start_ready()?;
        receiver.find(&name, 1)?;
        Ok(Self { hash, source: folder.join(&name), name, sender, receiver, random: StdRng::seed_from_u64(number) })
    }

    /// Plays rounds; gives back what was fetched twice in each.
    fn play(mut self, victim: Victim, rounds: u64) -> Result<Vec<u64>> {
        (0..rounds).map(|_| self.round(victim)).collect()
    }

    /// One download with one kill, at a moment that the seed decides.
    fn round(&mut self, victim: Victim) -> Result<u64> {
        let before = self.sent()?;
        let running = self.receiver.begin(&["download", &self.hash])?;
        pause(self.random.random_range(Duration::ZERO..SPAN));
        let finished = match victim {
            Victim::Receiver => {
                self.receiver.kill9()?;
                drop(running); // the verb as well: one that found no node any more would be a node of its own
                self.receiver.restart()?;
                // who asks again gets what the node goes on with, or has done
                self.receiver.download(&[&self.hash])?.ok()?
            }
            Victim::Sender => {
                self.sender.restart()?;
                self.sender.process().event("registered", PATIENCE)?; // the next round asks the tracker for it
                running.finish(PATIENCE)?.ok()?
            }
        };
        assert_eq!(finished.done().len(), 1, "{:?}", finished.lines);
        let target = self.receiver.download_dir().join(&self.name);
        tree::same_bytes(&self.source, &target)?;
        let left = tree::look(self.receiver.download_dir())?;
        assert_eq!(left.len(), 1, "something is left beside the file: {left:?}");
        std::fs::remove_file(target)?;
        Ok(match victim {
            Victim::Receiver => (self.sent()? - before).saturating_sub(SIZE),
            // what a sender had sent is gone with it; what its receiver verified is not
            Victim::Sender => finished.done()[0]["fetched"].as_u64().unwrap_or(u64::MAX).saturating_sub(SIZE),
        })
    }

    /// Bytes that the sender has sent since it was started.
    fn sent(&self) -> Result<u64> {
        Ok(self.sender.status()?["bytes_up"].as_u64().unwrap_or(0))
    }
}
