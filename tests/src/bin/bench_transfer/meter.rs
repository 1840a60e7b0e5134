//! What a tree of processes costs, read from `/proc`: the same way for our programs and for all others.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use potluck_tests::clock::now;
use potluck_tests::{Failure, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// How often memory is looked at: more often, and the looking would be a part of what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often it is asked whether a program is to be ended.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Bytes that are written at once.
const BLOCK: usize = 1 << 20;
/// Ticks of processor time in `/proc` (`USER_HZ`, 100 for programs whatever the kernel's own is).
const TICKS_PER_SECOND: f64 = 100.0;

/// Watches the memory of process trees until it is dropped.
#[derive(Debug)]
pub(crate) struct Meter {
    roots: Vec<u32>,
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a program did that ran to its end, or to the moment when it was killed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
}

impl Meter {
    /// Begins to watch these processes and all that descends from them.
    pub(crate) fn start(roots: Vec<u32>) -> Self {
        let (peak, stop) = (Arc::new(AtomicU64::new(memory(&roots))), Arc::new(AtomicBool::new(false)));
        let (watched, seen, over) = (roots.clone(), Arc::clone(&peak), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                seen.fetch_max(memory(&watched), Ordering::Relaxed);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Self { roots, peak, stop, thread: Some(thread) }
    }

    /// The most memory so far, all processes together, in bytes.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Processor time so far, that of ended children with it.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let all = processes();
        tree(&all, &self.roots).iter().filter_map(|id| all.get(id)).map(|one| one.cpu_seconds).sum()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // one that panicked has said so
        }
    }
}

/// Writes so many bytes and some more into a folder in memory, and deletes them. The host of a virtual machine takes free memory back after
/// some seconds, and gives it again page by page, which may take several times as long as what is measured: so each run begins with memory
/// that is there.
pub(crate) fn touch_memory(dir: &Path, bytes: u64) -> Result {
    let mut file = tempfile::tempfile_in(dir)?;
    let block = vec![1; BLOCK];
    for _ in 0..(bytes + bytes / 4) / BLOCK as u64 {
        file.write_all(&block)?;
    }
    Ok(())
}

/// One line of `/proc`.
struct Seen {
    parent: u32,
    cpu_seconds: f64,
}

fn processes() -> HashMap<u32, Seen> {
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    ids.filter_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // After the name in parentheses, which may hold anything: state, parent, …, and from the 12th on four times.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: f64 = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        Some((id, Seen { parent: fields.get(1)?.parse().ok()?, cpu_seconds: ticks / TICKS_PER_SECOND }))
    })
    .collect()
}

/// The roots and all that descends from them.
fn tree(all: &HashMap<u32, Seen>, roots: &[u32]) -> Vec<u32> {
    let mut found: Vec<u32> = roots.to_vec();
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(all.iter().filter(|(_, one)| one.parent == parent).map(|(id, _)| *id));
        at += 1;
    }
    found
}

/// Resident bytes of the trees.
fn memory(roots: &[u32]) -> u64 {
    let resident = |id: &u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default(); // it may have ended
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
    };
    tree(&processes(), roots).iter().map(resident).sum()
}

/// Runs a program to its end, with its output thrown away, and measures it. `until` is asked now and then; when it says
/// yes, or when `limit` is over, the program is killed with all that it started.
///
/// # Errors
/// When it cannot be started or waited for.
pub(crate) fn run(command: &mut Command, limit: Duration, until: impl Fn() -> bool + Send + 'static) -> Result<Ran> {
    use std::os::unix::process::CommandExt;
    let start = now();
    let mut child = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let group = pid(&child)?;
    let meter = Meter::start(vec![child.id()]);
    let (over, watchdog) = watch(group, limit, until);
    // Waits without taking its leave of the process, whose times are still to be read.
    waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let seconds = start.elapsed().as_secs_f64();
    drop(over);
    let _ = watchdog.join(); // one that panicked has said so
    let (cpu_seconds, peak_bytes) = (meter.cpu_seconds(), meter.peak_bytes());
    Ok(Ran { status: child.wait()?, seconds, cpu_seconds, peak_bytes })
}

/// Kills a process group when its time has come, unless the sender is dropped before.
fn watch(group: Pid, limit: Duration, until: impl Fn() -> bool + Send + 'static) -> (SyncSender<()>, JoinHandle<()>) {
    let (over, is_over) = sync_channel::<()>(0);
    let start = now();
    let thread = std::thread::spawn(move || {
        while let Err(RecvTimeoutError::Timeout) = is_over.recv_timeout(ASK_EVERY) {
            if until() || start.elapsed() > limit {
                let _ = kill_process_group(group, Signal::KILL); // it may have ended by itself
                return;
            }
        }
    });
    (over, thread)
}

fn pid(child: &Child) -> Result<Pid> {
    Pid::from_raw(i32::try_from(child.id())?).ok_or_else(|| Failure::new("a process without number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_processes_is_measured_as_one() {
        let mut shell = Command::new("sh");
        let ran =
            run(shell.args(["-c", "sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; true"]), Duration::from_secs(60), || false);
        let ran = ran.unwrap();
        assert!(ran.status.success() && ran.cpu_seconds > 0.0 && ran.peak_bytes > 0, "{ran:?}");
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        let ran = run(Command::new("sh").args(["-c", "sleep 1000; true"]), Duration::ZERO, || false).unwrap();
        assert!(!ran.status.success() && ran.seconds < 100.0, "{ran:?}");
    }
}
