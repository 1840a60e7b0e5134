//! Looks for what keeps a node from others: what was found becomes a sentence each, with the next step where there is one.

use std::path::Path;
use std::time::{Duration, SystemTime};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::commands::Lines;
use crate::error::{CommandError, Failure};
use crate::human;
use crate::node::Node;
use crate::store::{Findings, Owned};
use crate::types::{CheckLine, CheckState, Item, TrackerLine};

/// Below this, downloads will soon have no room.
const LITTLE_BYTES: u64 = 1 << 30;
/// Below this, not even the node's own state may be saved.
const NO_BYTES: u64 = 32 << 20;
/// How far the clock may be behind what was written: file systems and time servers differ by as much.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(120);
/// Programs of a user that may watch folders: a desktop alone has dozens.
const FEW_WATCHERS: u64 = 16;

/// A check that is as it should be.
fn good(check: &str, message: impl Into<String>) -> CheckLine {
    CheckLine { check: check.to_owned(), state: CheckState::Good, message: message.into(), code: 0 }
}

fn warning(check: &str, message: impl Into<String>) -> CheckLine {
    CheckLine { state: CheckState::Warning, ..good(check, message) }
}

fn failed(check: &str, failure: Failure, message: impl Into<String>) -> CheckLine {
    CheckLine { state: CheckState::Failed, code: failure.exit_code(), ..good(check, message) }
}

/// Whether the configuration could be read.
pub(crate) fn configuration(error: Option<&CommandError>, path: &Path) -> CheckLine {
    match error {
        Some(error) => failed("configuration", error.failure, &error.message),
        None if path.exists() => good("configuration", format!("{} makes sense", path.display())),
        None => good("configuration", "no configuration file: options, variables and defaults hold; `potluck config set` makes one"),
    }
}

/// Judges what the disk and the system say.
pub(crate) fn judge(found: &Findings, data_dir: &Path, now: SystemTime) -> Vec<CheckLine> {
    let mut lines = vec![data_folder(found, data_dir), identity(found, data_dir)];
    lines.extend(found.free.iter().map(|(dir, free)| disk(dir, *free)));
    lines.extend([watches(found), clock(found.written, now)]);
    lines
}

fn data_folder(found: &Findings, dir: &Path) -> CheckLine {
    let shown = dir.display();
    match found.data_dir {
        None => good("data_folder", format!("{shown} is made at the first start")),
        Some(Err(error)) => {
            failed("data_folder", Failure::LocalFile, format!("{shown} cannot be used: {error}; name another with --data-dir DIR"))
        }
        Some(Ok(Owned { is_ours: false, .. })) => {
            failed("data_folder", Failure::NotPermitted, format!("{shown} belongs to another user; name another with --data-dir DIR"))
        }
        Some(Ok(Owned { mode, .. })) if mode & 0o022 != 0 => failed(
            "data_folder",
            Failure::NotPermitted,
            format!("others can write to {shown}; run `chmod go-w {shown}` if you trust what is in it"),
        ),
        Some(Ok(_)) => good("data_folder", format!("{shown} is yours alone to change")),
    }
}

fn identity(found: &Findings, dir: &Path) -> CheckLine {
    let path = dir.join("identity");
    let shown = path.display();
    match found.identity {
        None => good("identity", "there is none yet; the first start makes it"),
        Some(Err(error)) => failed("identity", Failure::LocalFile, format!("{shown} cannot be read: {error}; restore it from a backup")),
        Some(Ok(Owned { mode, is_ours })) if mode & 0o077 != 0 || !is_ours => {
            let message = format!("others can read the key {shown} (mode {mode:o}); run `chmod 600 {shown}` if nobody copied it");
            failed("identity", Failure::NotPermitted, message)
        }
        Some(Ok(_)) => good("identity", format!("the key {shown} is yours alone to read; keep a copy of it")),
    }
}

fn disk(dir: &Path, free: Option<u64>) -> CheckLine {
    let shown = dir.display();
    match free {
        None => warning("disk", format!("cannot tell how much is free at {shown}; look with `df -h {shown}`")),
        Some(free) if free < NO_BYTES => {
            failed("disk", Failure::LocalFile, format!("{shown} is full ({} free); make room, then `potluck retry all`", human::size(free)))
        }
        Some(free) if free < LITTLE_BYTES => warning(
            "disk",
            format!("only {} are free at {shown}; make room, or name another folder with --download-dir", human::size(free)),
        ),
        Some(free) => good("disk", format!("{} are free at {shown}", human::size(free))),
    }
}

fn watches(found: &Findings) -> CheckLine {
    let folders = human::some(found.folders, "shared folder");
    match (found.watches, found.watchers) {
        (Some(watches), _) if watches <= found.folders => {
            let needed = (watches + found.folders + found.folders / 4).next_multiple_of(1024);
            let message = format!(
                "the system lets you watch {watches} folders and there are {folders}: changes are found by sweeps only; run \
                 `sudo sysctl fs.inotify.max_user_watches={needed}` to have them at once"
            );
            warning("watches", message)
        }
        (_, Some(watchers)) if watchers < FEW_WATCHERS => {
            let message = format!(
                "the system lets only {watchers} of your programs watch folders; run `sudo sysctl fs.inotify.max_user_instances=128` if \
                 changes come late"
            );
            warning("watches", message)
        }
        (Some(watches), _) => good("watches", format!("{folders} of the {} that you may watch", human::count(watches))),
        (None, _) => good("watches", format!("{folders}; this system does not limit how many are watched")),
    }
}

fn clock(written: Option<SystemTime>, now: SystemTime) -> CheckLine {
    match written.and_then(|written| written.duration_since(now).ok()) {
        Some(behind) if behind > CLOCK_TOLERANCE => {
            let behind = humantime::format_duration(Duration::from_secs(behind.as_secs()));
            let message = format!(
                "the clock is {behind} behind what was written here before; set it, or memberships and leases lapse at the wrong time"
            );
            failed("clock", Failure::Other, message)
        }
        _ => good("clock", format!("it is {} UTC", humantime::format_rfc3339_seconds(now))),
    }
}

impl Node {
    /// What the network looks like from here.
    pub(crate) async fn doctor(&self, out: &Lines) -> Result<(), CommandError> {
        let runs = !self.config().one_shot;
        if runs {
            self.trackers().up_to_date().await;
        } else {
            self.trackers().settled().await;
        }
        let peers = self.asking().net.connections().await.len() as u64;
        let nobody = self.trackers().nobody();
        let lines = [
            addresses(&self.addresses().await, runs),
            trackers(&self.trackers().lines(), &nobody, runs),
            match peers {
                0 => warning("peers", "connected to nobody; `potluck dial ADDRESS` reaches a peer without any tracker"),
                some => good("peers", format!("connected to {}", human::some(some, "peer"))),
            },
        ];
        for line in lines {
            out.send(Item::Check(line)).await;
        }
        Ok(())
    }
}

fn addresses(all: &[String], runs: bool) -> CheckLine {
    if !runs {
        return warning("addresses", "no node runs on this data folder; start it with `potluck node --share DIR`");
    }
    let parsed: Vec<Multiaddr> = all.iter().filter_map(|text| text.parse().ok()).collect();
    let from_outside = parsed.iter().find(|address| {
        address.iter().all(|part| match part {
            Protocol::Ip4(ip) => !ip.is_loopback(),
            Protocol::Ip6(ip) => !ip.is_loopback(),
            _ => true,
        })
    });
    match from_outside {
        Some(address) => {
            good("addresses", format!("others on your network reach it at {address}; forward that port on your router for those outside"))
        }
        None if all.is_empty() => failed("addresses", Failure::Unreachable, "it listens nowhere; name an address with --listen"),
        None => warning("addresses", "only programs of this machine reach it; listen elsewhere with --listen /ip4/0.0.0.0/tcp/9471"),
    }
}

fn trackers(lines: &[TrackerLine], nobody: &CommandError, runs: bool) -> CheckLine {
    let is_well = |line: &&TrackerLine| line.registered || (!runs && line.state == "connected");
    let well = lines.iter().filter(is_well).count();
    match lines.iter().find(|line| !is_well(line)) {
        _ if well == 0 => failed("trackers", nobody.failure, &nobody.message),
        None => good("trackers", format!("{} of {} reached", well, human::some(lines.len() as u64, "tracker"))),
        Some(line) => {
            let why = line.error.as_deref().unwrap_or("it does not answer");
            warning("trackers", format!("{} is not reached: {why}; {well} of {} are", line.tracker, lines.len()))
        }
    }
}

/// The end of a whole examination: the failure of the first check that failed.
pub(crate) fn verdict(lines: &[CheckLine]) -> Result<(), CommandError> {
    let bad: Vec<&CheckLine> = lines.iter().filter(|line| line.state == CheckState::Failed).collect();
    let Some(first) = bad.first() else { return Ok(()) };
    let all = [Failure::Usage, Failure::NotPermitted, Failure::LocalFile, Failure::Unreachable, Failure::NoSource];
    let failure = all.into_iter().find(|failure| failure.exit_code() == first.code).unwrap_or(Failure::Other);
    Err(CommandError::new(failure, format!("{} failed; the first is {}", human::some(bad.len() as u64, "check"), first.check)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn healthy() -> Findings {
        let ours = |mode| Some(Ok(Owned { mode, is_ours: true }));
        Findings {
            data_dir: ours(0o700),
            identity: ours(0o600),
            free: vec![(PathBuf::from("/d"), Some(1 << 40))],
            written: Some(SystemTime::UNIX_EPOCH + NOW),
            folders: 10,
            watches: Some(8192),
            watchers: Some(128),
        }
    }

    fn worst(found: &Findings) -> (CheckState, String, u8) {
        let lines = judge(found, Path::new("/d"), SystemTime::UNIX_EPOCH + NOW);
        let worst = lines.into_iter().max_by_key(|line| line.state).unwrap();
        (worst.state, worst.message, worst.code)
    }

    #[test]
    fn each_thing_that_is_wrong_is_told_with_the_next_step() {
        assert_eq!(worst(&healthy()).0, CheckState::Good);
        assert_eq!(
            worst(&Findings { data_dir: None, identity: None, written: None, ..healthy() }).0,
            CheckState::Good,
            "before the first start"
        );
        let theirs = |mode| Some(Ok(Owned { mode, is_ours: false }));
        let ours = |mode| Some(Ok(Owned { mode, is_ours: true }));
        let free = |bytes| vec![(PathBuf::from("/d"), Some(bytes))];
        let later = Some(SystemTime::UNIX_EPOCH + NOW + Duration::from_secs(86_400));
        for (found, state, part, code) in [
            (Findings { data_dir: theirs(0o700), ..healthy() }, CheckState::Failed, "--data-dir", 6),
            (Findings { data_dir: ours(0o777), ..healthy() }, CheckState::Failed, "chmod go-w", 6),
            (Findings { identity: ours(0o644), ..healthy() }, CheckState::Failed, "chmod 600", 6),
            (Findings { free: free(1 << 20), ..healthy() }, CheckState::Failed, "make room", 7),
            (Findings { free: free(1 << 29), ..healthy() }, CheckState::Warning, "--download-dir", 0),
            (Findings { folders: 10_000, ..healthy() }, CheckState::Warning, "max_user_watches=21504", 0),
            (Findings { watchers: Some(2), ..healthy() }, CheckState::Warning, "max_user_instances", 0),
            (Findings { written: later, ..healthy() }, CheckState::Failed, "1day behind", 1),
        ] {
            let (worst, message, exit) = worst(&found);
            assert_eq!((worst, exit), (state, code), "{message}");
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn the_exit_code_is_that_of_the_first_failure() {
        let lines = [good("a", ""), warning("b", ""), failed("c", Failure::NotPermitted, ""), failed("d", Failure::Unreachable, "")];
        assert_eq!(verdict(&lines).unwrap_err().failure, Failure::NotPermitted);
        assert!(verdict(&lines[..2]).is_ok());
    }

    #[test]
    fn an_address_is_only_good_where_others_can_reach_it() {
        let of = |addresses: &[&str]| addresses.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(super::addresses(&of(&["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1"]), true).state, CheckState::Good);
        assert_eq!(super::addresses(&of(&["/ip4/127.0.0.1/tcp/1"]), true).state, CheckState::Warning);
        assert_eq!(super::addresses(&[], true).code, 8);
    }
}
