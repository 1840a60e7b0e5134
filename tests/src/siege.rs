//! What must hold after every attack, whatever it was: the program is alive and has not panicked, its memory and its handles are back where
//! they were, and an honest peer is served at half its speed or better.

use std::path::Path;
use std::time::Duration;

use crate::clock::{PATIENCE, eventually, now};
use crate::failure::{Failure, Result};
use crate::process::{Process, Vitals};
use crate::town::{Node, Town, Tracker};
use crate::tree;

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
    let fetch = |name: &str| {
        let honest = town.node(&format!("honest {name}")).start_ready()?;
        honest.verb(&["dial", node.address()])?.ok()?;
        let began = now();
        honest.download(&[hash])?.ok()?;
        Ok(began.elapsed())
    };
    holds(node.process(), growth, fetch, attack).map(drop)
}

/// Attacks a tracker, and sees that all is as it was, for the tracker and for honest peers, one of whom finds and fetches what another shares.
/// To a private tracker they come with an invitation. Returns what the attack has told, and by how many bytes the tracker grew.
///
/// # Errors
/// When something is not, or a part of the attack fails that should not.
#[track_caller]
pub fn tracker_endures<T>(
    town: &Town,
    tracker: &Tracker,
    invitation: Option<&str>,
    growth: u64,
    attack: impl FnOnce() -> Result<T>,
) -> Result<(T, u64)> {
    let come = |name: &str, share: Option<&Path>| {
        let plan = town.node(name);
        let plan = if let Some(dir) = share { plan.share(dir) } else { plan };
        let plan = if let Some(invitation) = invitation {
            town.potluck(name, &["join", invitation])?.ok()?;
            plan
        } else {
            plan.tracker(tracker)
        };
        let node = plan.start_ready()?;
        node.process().event("registered", PATIENCE)?;
        Ok::<_, Failure>(node)
    };
    let hash = tree::file(&town.path("honest share/a fair copy"), 98, HONEST_BYTES)?;
    let _source = come("honest source", Some(&town.path("honest share")))?;
    let fetch = |name: &str| {
        let honest = come(&format!("honest {name}"), None)?;
        let began = now();
        honest.find("a fair copy", 1)?;
        honest.download(&[&hash])?.ok()?;
        Ok(began.elapsed())
    };
    holds(tracker.process(), growth, fetch, attack)
}

/// Attacks a program by which honest transfers take a time.
#[track_caller]
fn holds<T>(
    process: &Process,
    growth: u64,
    mut fetch: impl FnMut(&str) -> Result<Duration>,
    attack: impl FnOnce() -> Result<T>,
) -> Result<(T, u64)> {
    let quiet = fetch("before")?;
    let siege = Siege::begin(process)?;
    let told = attack()?;
    let grown = siege.lifted(growth)?;
    let mut after = Vec::new();
    for number in 0..TRANSFERS {
        after.push(fetch(&format!("after {number}"))?);
        if after.iter().any(|taken| *taken <= quiet * 2 + SLACK) {
            return Ok((told, grown));
        }
    }
    Err(Failure::new(format!("an honest transfer took {quiet:?} before and {after:?} after")))
}
