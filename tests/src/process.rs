//! [`Process`]: one running program, with the events that it prints, its end, and what it costs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::clock::{eventually, now};
use crate::failure::{Failure, Result};

/// Lines of stderr that a failure shows: enough for a message and what led to it.
const SHOWN_LINES: usize = 30;
/// Ticks of processor time in `/proc`: `USER_HZ`, which Linux keeps at 100 for programs whatever the kernel's own is.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running program whose stdout is JSON lines. Dropping it kills it.
///
/// Dropping also panics when the program has panicked: no scenario is passed by a program that did.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    feed: Arc<Feed>,
    readers: Vec<JoinHandle<()>>,
}

/// What a program printed until it ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What the failure of a check calls it.
    pub name: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its stdout, line by line.
    pub lines: Vec<Value>,
    /// Its stderr.
    pub stderr: String,
}

/// What a process costs now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vitals {
    /// Resident memory in bytes.
    pub memory: u64,
    /// Its most since the start, in bytes.
    pub peak_memory: u64,
    /// Open files and sockets.
    pub open_files: usize,
    /// Processor time so far, with that of ended children.
    pub cpu: Duration,
}

/// What the reading threads have seen. Grows with what the program prints: as much as a test makes it print.
#[derive(Debug, Default)]
struct Feed {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    lines: Vec<Value>,
    no_json: Option<String>,
    stdout_ended: bool,
    stderr: String,
}

impl Process {
    /// Starts a program with stdin closed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: impl Into<String>, command: &mut Command) -> Result<Self> {
        let name = name.into();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::new(format!("{name} cannot be started: {error}")))?;
        let feed = Arc::new(Feed::default());
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let feed = Arc::clone(&feed);
            readers.push(std::thread::spawn(move || feed.read_stdout(stdout)));
        }
        if let Some(stderr) = child.stderr.take() {
            let feed = Arc::clone(&feed);
            readers.push(std::thread::spawn(move || feed.read_stderr(stderr)));
        }
        Ok(Self { name, child, feed, readers })
    }

    /// The number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first line whose `event` is `kind`, also one that came long ago.
    ///
    /// # Errors
    /// When it does not come, or the program ends without.
    #[track_caller]
    pub fn event(&self, kind: &str, limit: Duration) -> Result<Value> {
        self.line(&format!("the event `{kind}`"), limit, |line| line["event"] == kind)
    }

    /// Waits for the first line that fits, also one that came long ago.
    ///
    /// # Errors
    /// When it does not come, or the program ends without.
    #[track_caller]
    pub fn line(&self, what: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let start = now();
        let mut seen = self.feed.lock();
        loop {
            if let Some(line) = seen.lines.iter().find(|line| fits(line)) {
                return Ok(line.clone());
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() || seen.stdout_ended {
                let why = if seen.stdout_ended { "it ended without".to_owned() } else { format!("not within {limit:?}") };
                return Err(Failure::new(format!("{} did not print {what}: {why}\n{}", self.name, seen.describe())));
            }
            seen = self.feed.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Value> {
        self.feed.lock().lines.clone()
    }

    /// What went to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.feed.lock().stderr.clone()
    }

    /// Whether the program still runs.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for the end of the program.
    ///
    /// # Errors
    /// When it does not end in time (it is killed then), or has printed a line that is no JSON.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Result<Finished> {
        let ended = eventually(limit, &format!("the end of {}", self.name), || Ok(self.child.try_wait()?));
        let code = match ended {
            Ok(status) => status.code(),
            Err(failure) => {
                let seen = self.feed.lock().describe();
                return Err(Failure::new(format!("{}\n{seen}", failure.message())));
            }
        };
        self.join_readers();
        let seen = self.feed.lock();
        if let Some(text) = &seen.no_json {
            return Err(Failure::new(format!("{} printed a line that is no JSON: {text}", self.name)));
        }
        Ok(Finished { name: self.name.clone(), code, lines: seen.lines.clone(), stderr: seen.stderr.clone() })
    }

    /// Ends the program as a power cut would: SIGKILL. Returns when it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill9(&mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> Result {
        let id = i32::try_from(self.child.id())?;
        let id = Pid::from_raw(id).ok_or_else(|| Failure::new("a process without number"))?;
        Ok(kill_process(id, signal)?)
    }

    /// Asks the program to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time.
    #[track_caller]
    pub fn terminate(self, limit: Duration) -> Result<Finished> {
        self.signal(Signal::TERM)?;
        self.finish(limit)
    }

    /// What the process costs now, from `/proc`.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn vitals(&self) -> Result<Vitals> {
        let folder = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0)
        };
        let stat = fs::read_to_string(format!("{folder}/stat"))?;
        // After the name in parentheses, which may hold anything: fields 14 to 17 are the ticks of processor time.
        let ticks: u64 = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().skip(11).take(4).filter_map(|ticks| ticks.parse::<u64>().ok()).sum())
            .unwrap_or(0);
        Ok(Vitals {
            memory: kib("VmRSS") << 10,
            peak_memory: kib("VmHWM") << 10,
            open_files: fs::read_dir(format!("{folder}/fd"))?.count(),
            cpu: Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND),
        })
    }

    /// Its TCP connections that are open to both sides, as the kernel writes them: where they begin and where they end. A listening
    /// socket is none, nor is a connection that one side has closed.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn connections(&self) -> Result<BTreeSet<String>> {
        const ESTABLISHED: &str = "01";
        let folder = format!("/proc/{}", self.child.id());
        let open = fs::read_dir(format!("{folder}/fd"))?.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let sockets: BTreeSet<String> =
            open.filter_map(|file| Some(file.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect();
        let tables =
            [fs::read_to_string(format!("{folder}/net/tcp"))?, fs::read_to_string(format!("{folder}/net/tcp6")).unwrap_or_default()];
        let rows = tables.iter().flat_map(|table| table.lines()).map(|row| row.split_whitespace().collect::<Vec<_>>());
        let ours = rows.filter_map(|row| match row.as_slice() {
            [_, from, to, ESTABLISHED, _, _, _, _, _, socket, ..] if sockets.contains(*socket) => Some(format!("{from}-{to}")),
            _ => None,
        });
        Ok(ours.collect())
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join(); // a reader that panicked has already said so
        }
    }
}

impl Drop for Process {
    #[allow(clippy::panic, reason = "a program that panicked fails the test that ran it")]
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
        self.join_readers();
        let seen = self.feed.lock();
        if seen.stderr.contains("panicked at") && !std::thread::panicking() {
            panic!("{} panicked\n{}", self.name, seen.describe());
        }
    }
}

impl Finished {
    /// Fails unless the exit code is this one.
    ///
    /// # Errors
    /// When it is another, with all that the program said.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Result<Self> {
        if self.code == Some(code) {
            return Ok(self);
        }
        let stdout: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        Err(Failure::new(format!("{} ended with {:?} instead of {code}\n{stdout}{}", self.name, self.code, self.stderr)))
    }

    /// Fails unless the program succeeded.
    ///
    /// # Errors
    /// When it did not, with all that it said.
    #[track_caller]
    pub fn ok(self) -> Result<Self> {
        self.expect_code(0)
    }

    /// Fails unless the program ended with this code and said why in a sentence, without a panic.
    ///
    /// # Errors
    /// When the code is another, or nobody could understand why.
    #[track_caller]
    pub fn refused(self, code: i32) -> Result<Self> {
        let this = self.expect_code(code)?;
        if this.stderr.trim().is_empty() || this.stderr.contains("panicked") {
            return Err(Failure::new(format!("{} ended with {code} and did not say why: {:?}", this.name, this.stderr)));
        }
        Ok(this)
    }

    /// The only line.
    ///
    /// # Errors
    /// When there are none or several.
    #[track_caller]
    pub fn only(&self) -> Result<&Value> {
        match self.lines.as_slice() {
            [line] => Ok(line),
            lines => Err(Failure::new(format!("{} printed {} lines instead of one: {lines:?}\n{}", self.name, lines.len(), self.stderr))),
        }
    }

    /// The `done` events of a download.
    #[must_use]
    pub fn done(&self) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["event"] == "done").collect()
    }
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_stdout(&self, stdout: impl Read) {
        for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
            let mut seen = self.lock();
            match serde_json::from_str(&line) {
                Ok(value) => seen.lines.push(value),
                Err(_) => seen.no_json = Some(line),
            }
            self.changed.notify_all();
        }
        self.lock().stdout_ended = true;
        self.changed.notify_all();
    }

    fn read_stderr(&self, stderr: impl Read) {
        let mut lines = BufReader::new(stderr);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            self.lock().stderr.push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
}

impl Seen {
    /// The ends of both streams.
    fn describe(&self) -> String {
        let mut text = String::new();
        for line in self.lines.iter().skip(self.lines.len().saturating_sub(SHOWN_LINES)) {
            let _ = writeln!(text, "  stdout: {line}"); // writing to a string cannot fail
        }
        let stderr: Vec<&str> = self.stderr.lines().collect();
        for line in stderr.iter().skip(stderr.len().saturating_sub(SHOWN_LINES)) {
            let _ = writeln!(text, "  stderr: {line}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::PATIENCE;

    fn shell(script: &str) -> Process {
        Process::start("the shell", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn events_are_read_as_they_come_and_the_end_tells_the_code() {
        let process = shell(r#"echo '{"event":"a","n":1}'; echo '{"event":"b"}'; echo why >&2; exit 3"#);
        assert_eq!(process.event("b", PATIENCE).unwrap()["event"], "b");
        assert_eq!(process.event("a", PATIENCE).unwrap()["n"], 1);
        assert!(process.event("c", PATIENCE).unwrap_err().message().contains("ended without"));
        let finished = process.finish(PATIENCE).unwrap().refused(3).unwrap();
        assert_eq!((finished.lines.len(), finished.stderr.as_str()), (2, "why\n"));
        assert!(finished.ok().is_err());
    }

    #[test]
    fn a_line_that_is_no_json_fails_the_end() {
        assert!(shell("echo hello").finish(PATIENCE).unwrap_err().message().contains("no JSON"));
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_one_that_runs_tells_what_it_costs() {
        let process = shell("echo '{\"event\":\"up\"}'; exec sleep 1000");
        process.event("up", PATIENCE).unwrap();
        let vitals = process.vitals().unwrap();
        assert!(vitals.memory > 0 && vitals.open_files >= 3, "{vitals:?}");
        assert!(process.finish(Duration::ZERO).is_err());
        let mut process = shell("exec sleep 1000");
        process.kill9().unwrap();
        assert!(!process.is_running().unwrap());
    }

    #[test]
    #[should_panic(expected = "the shell panicked")]
    fn a_program_that_panicked_fails_the_test() {
        let process = shell("echo \"thread 'main' panicked at src/main.rs:1\" >&2");
        process.finish(PATIENCE).unwrap();
    }
}
