//! What must hold after every attack, whatever it was: the program is alive and has not panicked, its memory and its handles are back where
//! they were, and an honest peer is served at half its speed or better.

use std::time::Duration;

use crate::clock::{eventually, now};
use crate::failure::{Failure, Result};
use crate::process::{Process, Vitals};
use crate::town::{Node, Town};

/// How long a program may take to come back to what it was.
const RECOVERY: Duration = Duration::from_secs(30);
/// Handles that it may keep: a connection that was made meanwhile and is honest.
const HANDLES: usize = 5;
/// Bytes of the file that honest peers fetch before and after an attack: enough that its transfer counts, beside the start of the verb.
pub const HONEST_BYTES: u64 = 64 << 20;
/// What an honest transfer may take beside twice what it took before: the verb is started in that time.
const SLACK: Duration = Duration::from_secs(1);
/// Honest transfers after an attack of which one has to be fast enough: what else a machine does may slow some down, what an attack
/// leaves behind slows down all.
const TRANSFERS: usize = 5;

/// A program before it is attacked.
///
/// That it did not panic is seen when its [`Process`] is dropped.
#[derive(Debug)]
pub struct Siege<'a> {
    process: &'a Process,
    before: Vitals,
}

impl<'a> Siege<'a> {
    /// Remembers what the program costs now.
    ///
    /// # Errors
    /// When it does not run.
    pub fn begin(process: &'a Process) -> Result<Self> {
        Ok(Self { process, before: process.vitals()? })
    }

    /// Sees that the program is what it was: no more than `growth` bytes larger, and with as many handles. Returns by how many bytes it grew.
    ///
    /// # Errors
    /// When it is not within half a minute.
    #[track_caller]
    pub fn lifted(&self, growth: u64) -> Result<u64> {
        let what = format!("memory within {growth} bytes and handles within {HANDLES} of {:?}", self.before);
        eventually(RECOVERY, &what, || {
            let after = self.process.vitals()?;
            let grown = after.memory.saturating_sub(self.before.memory);
            Ok((grown <= growth && after.open_files <= self.before.open_files + HANDLES).then_some(grown))
        })
    }
}

/// Attacks a node that shares the file of [`HONEST_BYTES`] with this hash, and sees that all is as it was, for the node and for an honest peer.
///
/// # Errors
/// When something is not, or a part of the attack fails that should not.
#[track_caller]
pub fn endures(town: &Town, node: &Node, hash: &str, growth: u64, attack: impl FnOnce() -> Result) -> Result {
    let quiet = fetch(town, node, hash, "before")?;
    let siege = Siege::begin(node.process())?;
    attack()?;
    siege.lifted(growth)?;
    let mut after = Vec::new();
    for number in 0..TRANSFERS {
        after.push(fetch(town, node, hash, &format!("after {number}"))?);
        if after.iter().any(|taken| *taken <= quiet * 2 + SLACK) {
            return Ok(());
        }
    }
    Err(Failure::new(format!("an honest transfer took {quiet:?} before and {after:?} after")))
}

/// How long a new node takes to fetch a file from another.
fn fetch(town: &Town, from: &Node, hash: &str, name: &str) -> Result<Duration> {
    let honest = town.node(&format!("honest {name}")).start_ready()?;
    honest.verb(&["dial", from.address()])?.ok()?;
    let began = now();
    honest.download(&[hash])?.ok()?;
    Ok(began.elapsed())
}
