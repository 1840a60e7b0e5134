//! Our programs in a case: a tracker, those who have the files, those who fetch them; each a process on a machine of the
//! ground. What is measured is the verb `download` at a node that runs, from the start of the verb to its end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::process::{Finished, Process};
use potluck_tests::programs::Programs;
use potluck_tests::town::isolated;
use potluck_tests::{Failure, Result};
use serde_json::Value;

use super::cases::{Case, Stock};
use super::ground::{Ground, Place};
use super::meter::{self, Meter, Ran};
use super::report::Measured;

/// The ports on each machine; nodes that are on one machine get one each.
const TRACKER_PORT: u16 = 9470;
const NODE_PORT: u16 = 9500;

/// All programs of a case.
pub(crate) struct Swarm<'a> {
    case: &'a Case,
    stock: &'a Stock,
    tracker: Resident,
    seeders: Vec<Resident>,
    sinks: Vec<Resident>,
}

/// One program that stays.
struct Resident {
    place: Place,
    data_dir: PathBuf,
    /// Where downloads go.
    into: PathBuf,
    arguments: Vec<String>,
    process: Process,
    /// Its address, with its PeerId.
    address: String,
}

impl<'a> Swarm<'a> {
    /// Starts all programs, and waits until those who fetch can find everything.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub(crate) fn start(case: &'a Case, stock: &'a Stock, ground: &Ground, dir: &Path) -> Result<Self> {
        let programs = Programs::get()?;
        let home = ground.place(0)?;
        let listen = format!("/ip4/{}/tcp/{TRACKER_PORT}", home.ip);
        let tracker = Resident::start(home, &programs.tracker, &dir.join("tracker"), vec!["--listen".to_owned(), listen])?;
        let node = |number: usize, name: &str, share: bool| -> Result<Resident> {
            let place = ground.place(number)?;
            let data_dir = dir.join(format!("{name}{number}"));
            let into = data_dir.join("into");
            std::fs::create_dir_all(&into)?;
            let listen = format!("/ip4/{}/tcp/{}", place.ip, usize::from(NODE_PORT) + number);
            let mut arguments: Vec<String> = ["node", "--listen", &listen, "--tracker", &tracker.address].map(str::to_owned).to_vec();
            arguments.extend(["--download-dir".to_owned(), into.display().to_string()]);
            if share {
                arguments.extend(["--share".to_owned(), stock.folder.display().to_string()]);
            }
            Resident::start(place, &programs.node, &data_dir, arguments)
        };
        let seeders = (0..case.sources).map(|number| node(number, "seeder", true)).collect::<Result<Vec<_>>>()?;
        let sinks = (0..case.sinks).map(|number| node(case.sources + number, "sink", false)).collect::<Result<Vec<_>>>()?;
        for seeder in &seeders {
            seeder.process.event("indexed", PATIENCE)?;
        }
        let swarm = Self { case, stock, tracker, seeders, sinks };
        swarm.sinks.iter().try_for_each(|sink| swarm.await_sources(sink))?;
        Ok(swarm)
    }

    /// Waits until a node finds all files at all sources.
    fn await_sources(&self, sink: &Resident) -> Result {
        let (files, sources) = (self.stock.contents.len() as u64, self.case.sources as u64);
        eventually(PATIENCE, "everything is found", || {
            let found = match self.stock.load.file() {
                Some(file) => {
                    sink.verb(&["search", file])?.lines.iter().any(|hit| hit["sources"] == sources && hit["content_id"].is_string())
                }
                None => self.seeders.iter().try_fold(true, |all, seeder| -> Result<bool> {
                    let entries = sink.verb(&["query", seeder.peer_id()])?.lines;
                    Ok(all && entries.len() as u64 >= files && entries.iter().all(|entry| entry["content_id"].is_string()))
                })?,
            };
            Ok(found.then_some(()))
        })
    }

    /// What a user would ask for.
    fn reference(&self) -> String {
        match (self.stock.load.file(), self.stock.contents.first(), self.seeders.first()) {
            (None, _, Some(seeder)) => format!("{}:{}", seeder.peer_id(), self.stock.load.folder()),
            (_, Some((_, content_id)), _) => content_id.clone(),
            _ => String::new(),
        }
    }

    /// Moves the files, looks what came and tells what it cost.
    ///
    /// # Errors
    /// When something did not come, or is not what was sent.
    pub(crate) fn measure(mut self, limit: Duration) -> Result<Measured> {
        let reference = self.reference();
        let (senders, receivers) = (Meter::start(ids(&self.seeders)), Meter::start(ids(&self.sinks)));
        let (idle_senders, idle_receivers) = (senders.peak_bytes(), receivers.peak_bytes());
        let (sent_for, received_for) = (senders.cpu_seconds(), receivers.cpu_seconds());
        let wire = self.sinks.first().and_then(|sink| sink.place.received());
        let cut = if self.case.is_cut { Some(self.cut(&reference)?) } else { None };
        let again = cut.is_some().then(|| Meter::start(ids(&self.sinks)));
        let watcher = if self.case.loses_source { Some(self.lose_source()?) } else { None };
        let ran = self.fetch(&reference, limit)?;
        if watcher.is_some_and(|watcher| !watcher.join().unwrap_or(false)) {
            return Err(Failure::new("all came before a source could be killed"));
        }
        let seconds = ran.iter().map(|ran| ran.seconds).fold(0.0, f64::max) + cut.map_or(0.0, |cut| cut.seconds);
        if !ran.iter().all(|ran| ran.status.success()) {
            return Err(Failure::new(format!("a download failed:\n{}", self.complaints())));
        }
        for sink in &self.sinks {
            if !self.stock.has_come(&sink.into)? {
                return Err(Failure::new("what came is not what was sent"));
            }
        }
        let verbs: f64 = ran.iter().chain(&cut).map(|ran| ran.cpu_seconds).sum();
        let received = self.sinks.first().and_then(|sink| sink.place.received());
        Ok(Measured {
            seconds,
            sender_cpu_s: senders.cpu_seconds() - sent_for,
            // the processor time of a node that was killed is gone with it
            receiver_cpu_s: again.map_or_else(|| receivers.cpu_seconds() - received_for, |again| again.cpu_seconds()) + verbs,
            sender_peak_bytes: senders.peak_bytes(),
            receiver_peak_bytes: receivers.peak_bytes(),
            sender_idle_bytes: Some(idle_senders),
            receiver_idle_bytes: Some(idle_receivers),
            wire_bytes: received.zip(wire).map(|(after, before)| after - before),
        })
    }

    /// Runs the verb at all who fetch, at the same time.
    fn fetch(&self, reference: &str, limit: Duration) -> Result<Vec<Ran>> {
        std::thread::scope(|scope| {
            let begin = |sink: &'_ Resident| {
                let mut command = sink.command();
                command.args(["download", reference]);
                scope.spawn(move || meter::run(&mut command, limit, || false))
            };
            let running: Vec<_> = self.sinks.iter().map(begin).collect();
            let joined = running.into_iter().map(|verb| verb.join().map_err(|_| Failure::new("a measurement panicked"))?);
            joined.collect()
        })
    }

    /// Kills the first source when one half has come; the thread tells whether it did before the time was over.
    fn lose_source(&self) -> Result<JoinHandle<bool>> {
        let (Some(sink), Some(seeder)) = (self.sinks.first(), self.seeders.first()) else { return Err(Failure::new("nobody fetches")) };
        let is_half = half_has_come(sink, self.stock)?;
        let id = seeder.process.id().to_string();
        Ok(std::thread::spawn(move || {
            let half = eventually(PATIENCE, "one half", || Ok(is_half().then_some(())));
            half.is_ok() && Command::new("kill").args(["-9", &id]).status().is_ok_and(|status| status.success())
        }))
    }

    /// Fetches one half, then kills the node that fetches, and starts it again.
    fn cut(&mut self, reference: &str) -> Result<Ran> {
        let Some(sink) = self.sinks.first_mut() else { return Err(Failure::new("nobody fetches")) };
        let (is_half, pid) = (half_has_come(sink, self.stock)?, sink.process.id());
        let is_over = move || {
            let there = is_half();
            if there {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status(); // the verb is killed by who asks
            }
            there
        };
        let mut command = sink.command();
        command.args(["download", reference]);
        let ran = meter::run(&mut command, PATIENCE, is_over)?;
        sink.restart()?;
        Ok(ran)
    }

    /// What the programs said last.
    fn complaints(&self) -> String {
        let all = self.sinks.iter().chain(&self.seeders).chain([&self.tracker]);
        all.map(|one| one.process.stderr()).collect::<Vec<_>>().join("\n")
    }
}

/// Looks whether one half of the bytes has come to a machine, from now on.
fn half_has_come(sink: &Resident, stock: &Stock) -> Result<impl Fn() -> bool + Send + use<>> {
    let (place, half) = (sink.place.clone(), stock.bytes / 2);
    let before = place.received().ok_or_else(|| Failure::new("what comes is only counted in a namespace: be root"))?;
    Ok(move || place.received().is_some_and(|now| now - before >= half))
}

impl Resident {
    fn start(place: &Place, program: &Path, data_dir: &Path, arguments: Vec<String>) -> Result<Self> {
        let (process, address) = launch(place, program, data_dir, &arguments)?;
        let into = data_dir.join("into");
        Ok(Self { place: place.clone(), data_dir: data_dir.to_owned(), into, arguments, process, address })
    }

    fn restart(&mut self) -> Result {
        self.process.kill9()?;
        (self.process, self.address) = launch(&self.place, &Programs::get()?.node, &self.data_dir, &self.arguments)?;
        Ok(())
    }

    fn peer_id(&self) -> &str {
        self.address.rsplit('/').next().unwrap_or_default()
    }

    /// The node's program, to speak to it.
    fn command(&self) -> Command {
        let program = Programs::get().map(|programs| programs.node.clone()).unwrap_or_default(); // it runs, so it is there
        isolated(self.place.command(program), &self.data_dir, &self.data_dir)
    }

    fn verb(&self, arguments: &[&str]) -> Result<Finished> {
        Process::start(arguments.join(" "), self.command().args(arguments))?.finish(PATIENCE)
    }
}

fn launch(place: &Place, program: &Path, data_dir: &Path, arguments: &[String]) -> Result<(Process, String)> {
    let name = data_dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let process = Process::start(name, isolated(place.command(program), data_dir, data_dir).args(arguments))?;
    let listening: Value = process.event("listening", PATIENCE)?;
    let address = listening["address"].as_str().ok_or_else(|| Failure::new("`listening` without an address"))?.to_owned();
    Ok((process, address))
}

fn ids(residents: &[Resident]) -> Vec<u32> {
    residents.iter().map(|resident| resident.process.id()).collect()
}
