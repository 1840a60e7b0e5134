//! The task that owns the scheduler: it routes what happens to it, and does what it says.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use potluck_common::codec::Meter;
use potluck_common::content_id::{ContentId, PieceHash};
use potluck_common::geometry::{Geometry, PieceIndex};
use potluck_common::limits::Stop;
use potluck_common::peer::PeerKey;
use potluck_common::transport::{key_of, peer_of};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::begin::Restored;
use super::control::Failed;
use super::fetch::{Fetch, Goal, Outcome, Spoiled};
use super::file::{File, Phase};
use super::job::Job;
use super::keep::Keepsakes;
use super::{Board, Command, MAX_IN_FLIGHT_BYTES, Purpose, Setup, lock};
use crate::asking::Found;
use crate::clock::{now, unix_seconds};
use crate::core::scheduler::{Ask, AskId, Config, Event as Decided, FileNo, Misdeed, Scheduler, Verdict, What};
use crate::net::NetEvent;
use crate::store::Finished;
use crate::types::{DownloadLine, Event};

/// Outcomes that may wait for the engine; a request that finds no place waits, and so does its peer.
const OUTCOME_QUEUE: usize = 256;
/// How often progress is measured: as often as it is shown.
const TICK: Duration = Duration::from_millis(250);

/// All downloads under way.
pub(super) struct Engine {
    pub(super) setup: Setup,
    pub(super) board: Arc<Board>,
    /// How readers of streams speak to this task.
    pub(super) commands: mpsc::WeakSender<Command>,
    pub(super) scheduler: Scheduler,
    pub(super) files: BTreeMap<FileNo, File>,
    /// The same files by content: a folder of thousands finds those that are under way without looking at each.
    pub(super) by_content: HashMap<ContentId, Vec<FileNo>>,
    pub(super) jobs: HashMap<u64, Job>,
    /// Requests that are out, each with what follows its answer.
    meters: HashMap<AskId, Out>,
    /// What the database remembers and nobody has asked for in this run.
    pub(super) remembered: HashMap<ContentId, Vec<Restored>>,
    /// Downloads that failed, oldest first.
    pub(super) failed: Vec<Failed>,
    /// Downloads that are done, as they are listed; oldest first.
    pub(super) done: Vec<DownloadLine>,
    outcomes: mpsc::Receiver<Outcome>,
    pub(super) outcome_sender: mpsc::Sender<Outcome>,
    /// Files whose sources are to be looked for.
    pub(super) wanting: HashSet<FileNo>,
    is_looking: bool,
    pub(super) next_file: u32,
    pub(super) next_id: u64,
    pub(super) next_job: u64,
    /// Records of finished downloads that are still in the database.
    pub(super) forgotten: Vec<u64>,
    /// Downloads that are done, until that is written down and they are offered.
    pub(super) keepsakes: Keepsakes,
    /// Verified bytes in this run.
    pub(super) bytes: u64,
    /// Ends what reads and hashes in the background.
    pub(super) cancel: Arc<AtomicBool>,
}

/// A request that is out.
struct Out {
    meter: Meter,
    peer: PeerKey,
    first: FileNo,
}

impl Engine {
    pub(super) fn new(setup: Setup, board: Arc<Board>, commands: mpsc::WeakSender<Command>) -> Self {
        let (outcome_sender, outcomes) = mpsc::channel(OUTCOME_QUEUE);
        let me = key_of(&setup.asking.net.me());
        let config = Config { max_in_flight_bytes: MAX_IN_FLIGHT_BYTES, me, ..Config::default() };
        Self {
            setup,
            board,
            commands,
            scheduler: Scheduler::new(config, rand::random()),
            files: BTreeMap::new(),
            by_content: HashMap::new(),
            jobs: HashMap::new(),
            meters: HashMap::new(),
            remembered: HashMap::new(),
            failed: Vec::new(),
            done: Vec::new(),
            outcomes,
            outcome_sender,
            wanting: HashSet::new(),
            is_looking: false,
            next_file: 0,
            next_id: 1,
            next_job: 0,
            forgotten: Vec::new(),
            keepsakes: Keepsakes::default(),
            bytes: 0,
            cancel: Arc::default(),
        }
    }

    pub(super) fn insert(&mut self, no: FileNo, file: File) {
        self.by_content.entry(file.shelf.content_id).or_default().push(no);
        self.files.insert(no, file);
    }

    pub(super) fn take(&mut self, no: FileNo) -> Option<File> {
        let file = self.files.remove(&no)?;
        if let Some(numbers) = self.by_content.get_mut(&file.shelf.content_id) {
            numbers.retain(|known| *known != no);
            if numbers.is_empty() {
                self.by_content.remove(&file.shelf.content_id);
            }
        }
        Some(file)
    }

    /// Runs until it is told to stop, or nobody can tell it any more.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.remember().await;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.pump();
            let timeout = self.scheduler.poll_timeout().unwrap_or_else(|| now() + TICK);
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop(reply)) => { self.stop().await; let _ = reply.send(()); return },
                    Some(command) => self.on_command(command),
                    None => return,
                },
                Some(outcome) = self.outcomes.recv() => self.on_outcome(outcome),
                Ok(event) = self.setup.net_events.recv() => self.on_net(&event),
                _ = tick.tick() => self.on_tick(),
                () = sleep_until(timeout.into()) => self.scheduler.handle_timeout(now()),
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Wish { wishes, reply } => {
                let _ = reply.send(self.wish(wishes));
            }
            Command::Stream { wish, reply } => {
                let _ = reply.send(self.stream(&wish)); // who does not wait any more is noticed at the next tick
            }
            Command::Expect(peer) => {
                if let Some(peer) = key_of(&peer) {
                    self.scheduler.expect_much(peer, now());
                }
            }
            Command::Consumed { file, pieces } => self.on_consumed(file, pieces),
            Command::List(reply) => {
                let _ = reply.send(self.lines());
            }
            Command::Control { action, which, reply } => {
                let _ = reply.send(self.control(action, &which));
            }
            Command::Look { id, reply } => {
                let _ = reply.send(self.look_into(id));
            }
            Command::ReadFrom { id, piece } => self.read_from(id, piece),
            Command::Settle(reply) => self.settle(reply),
            Command::Stop(_) => {}
        }
    }

    fn on_net(&mut self, event: &NetEvent) {
        match event {
            NetEvent::Connected(peer, _) => {
                if let Some(peer) = key_of(peer) {
                    self.scheduler.handle_connected(peer);
                }
            }
            NetEvent::Disconnected(peer) => {
                if let Some(peer) = key_of(peer) {
                    self.scheduler.handle_disconnected(peer, now());
                }
            }
            NetEvent::Connections(peer, count) => {
                if let Some(peer) = key_of(peer) {
                    self.scheduler.handle_connections(peer, *count, now());
                }
            }
            NetEvent::Dialled(peer, took) => {
                if let Some(peer) = key_of(peer) {
                    self.scheduler.handle_dialled(peer, *took, now());
                }
            }
            NetEvent::RoundTrip(peer, took) => {
                if let Some(peer) = key_of(peer) {
                    self.scheduler.handle_round_trip(peer, *took, now());
                }
            }
            _ => {}
        }
    }

    /// Does everything that the scheduler wants done.
    fn pump(&mut self) {
        while let Some(ask) = self.scheduler.poll_cancel() {
            if let Some(out) = self.meters.remove(&ask) {
                out.meter.give_up();
            }
        }
        while let Some(ask) = self.scheduler.poll_request(now()) {
            self.send(ask);
        }
        while let Some(event) = self.scheduler.poll_event() {
            self.on_decided(event);
        }
        self.look_for_sources();
    }

    /// Sends a request in a task of its own.
    fn send(&mut self, ask: Ask) {
        let files: Vec<(FileNo, Option<PieceIndex>)> = match &ask.what {
            What::Piece { file, piece, .. } => vec![(*file, Some(*piece))],
            What::Files(files) => files.iter().map(|(file, _)| (*file, None)).collect(),
            What::Hashes { file, .. } | What::Have { file, .. } => vec![(*file, None)],
        };
        let goals: Option<Vec<Goal>> = files.iter().map(|(file, piece)| self.goal(*file, *piece)).collect();
        let (Some(goals), Some((first, _))) = (goals, files.first()) else {
            // The file is gone from our books and not from the scheduler's, which must not happen.
            self.scheduler.handle_failed(ask.id, now());
            return;
        };
        tracing::trace!(peer = %ask.peer, what = ?ask.what, ask = ask.id.0, "event=asked");
        let meter = Meter::default();
        self.meters.insert(ask.id, Out { meter: meter.clone(), peer: ask.peer, first: *first });
        let fetch = Fetch {
            ask,
            meter,
            asking: self.setup.asking.clone(),
            disk: self.setup.disk.clone(),
            outcomes: self.outcome_sender.clone(),
            goals,
        };
        tokio::spawn(fetch.run());
    }

    /// What the bytes of a file, or of one piece of it, must look like.
    fn goal(&self, file: FileNo, piece: Option<PieceIndex>) -> Option<Goal> {
        let known = self.files.get(&file)?;
        let geometry = self.scheduler.geometry(file);
        let expected: Option<PieceHash> = match piece {
            Some(piece) => self.scheduler.hashes(file).and_then(|hashes| hashes.get(piece.number() as usize).copied()),
            None => None,
        };
        Some(Goal { shelf: Arc::clone(&known.shelf), geometry, expected, mtime: known.mtime.unwrap_or_else(unix_seconds) })
    }

    fn on_decided(&mut self, event: Decided) {
        match event {
            Decided::HashesKnown(file) => {
                self.keep_hashes(file);
                self.open_early(file);
            }
            Decided::FileComplete(file) => self.complete(file),
            Decided::SourcesWanted(file) => {
                self.wanting.insert(file);
            }
            Decided::ConnectionsWanted { peer, more } => self.widen(&peer, more),
            Decided::SourceLost { file, peer, why } => tracing::debug!(?file, %peer, %why, "a source does not have a file after all"),
            Decided::PeerBanned { peer, file, why, .. } => {
                let peer_id = peer_of(&peer).map_or_else(|| peer.to_string(), |peer| peer.to_string());
                tracing::info!(peer = %peer_id, reason = %why, "event=bad_proof");
                self.setup.tally.count(Stop::Lie);
                let _ = self.setup.events.send(Event::PeerBanned { peer_id, error: why.to_string() });
                let jobs = self.files.get(&file).map(|file| file.jobs.clone()).unwrap_or_default();
                jobs.iter().filter_map(|job| self.jobs.get(job)).for_each(Job::lied_to);
            }
        }
    }

    /// Opens more connections to a peer, at where it is connected and what else is known of it.
    fn widen(&self, peer: &PeerKey, more: u32) {
        let Some(peer) = peer_of(peer) else { return };
        let asking = self.setup.asking.clone();
        tracing::debug!(%peer, more, "event=more_connections");
        tokio::spawn(async move { asking.widen(peer, more).await });
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Hashes { ask, size, hashes } => {
                self.meters.remove(&ask);
                if self.scheduler.handle_hashes(ask, size, &hashes, now()) == Verdict::Lie {
                    tracing::debug!("a peer sent piece hashes of something else");
                }
            }
            Outcome::Have { ask, bitmap } => {
                self.meters.remove(&ask);
                self.scheduler.handle_have(ask, bitmap.as_deref(), now());
            }
            Outcome::Piece { ask, file, piece, bytes, result } => self.on_piece(ask, file, piece, bytes, result),
            Outcome::Files { ask, files } => self.on_files(ask, files),
            Outcome::Refused { ask, why, queue } => {
                self.meters.remove(&ask);
                self.scheduler.handle_refused(ask, why, queue, now());
            }
            Outcome::Failed { ask } => {
                self.meters.remove(&ask);
                self.scheduler.handle_failed(ask, now());
            }
            Outcome::Nonsense { ask } => {
                if let Some(out) = self.meters.remove(&ask) {
                    self.scheduler.handle_bad(ask, out.first, Misdeed::Nonsense, now());
                }
            }
            Outcome::Checked { files } => files.into_iter().for_each(|(file, there)| self.on_checked(file, there)),
            Outcome::Opened { file } => self.share_from_now(file),
            Outcome::Saved { file, result } => self.on_saved(file, result),
            Outcome::Finished { file, result } => self.on_finished(file, result),
            Outcome::Sources { wanted, found } => self.on_sources(&wanted, &found),
        }
    }

    fn on_piece(&mut self, ask: AskId, file: FileNo, piece: PieceIndex, bytes: u64, result: Result<(), Spoiled>) {
        let peer = self.meters.remove(&ask).map(|out| out.peer);
        match result {
            Ok(()) => {
                self.scheduler.handle_progress(ask, bytes, now());
                self.scheduler.handle_verified(ask, file, piece, now());
                self.count(file, peer, bytes);
                self.share_piece(file, piece);
                self.flow(file);
                self.save_if_due(file);
            }
            Err(Spoiled::Wrong) => self.scheduler.handle_bad(ask, file, Misdeed::WrongBytes, now()),
            Err(Spoiled::Refused(why)) => self.scheduler.handle_refused(ask, why, None, now()),
            Err(Spoiled::Disk(error)) => self.on_disk_error(file, &error),
        }
    }

    /// Lets others fetch a piece that has come.
    fn share_piece(&self, file: FileNo, piece: PieceIndex) {
        let Some(known) = self.files.get(&file) else { return };
        if let Some(partial) = lock(&self.board.partial).get_mut(&known.shelf.content_id) {
            partial.verified.insert(piece);
            return;
        }
        self.share_from_now(file);
    }

    /// Lets others fetch what there is of a file, and what will come.
    fn share_from_now(&self, file: FileNo) {
        let Some(known) = self.files.get(&file).filter(|known| known.shelf.purpose != Purpose::Stream) else { return };
        if !lock(&self.board.partial).contains_key(&known.shelf.content_id) {
            self.publish(file);
        }
    }

    fn on_files(&mut self, ask: AskId, files: Vec<(FileNo, u64, Result<Finished, Spoiled>)>) {
        let peer = self.meters.remove(&ask).map(|out| out.peer);
        for (file, bytes, result) in files {
            match result {
                Ok(finished) => {
                    self.count(file, peer, bytes);
                    if let Some(known) = self.files.get_mut(&file) {
                        known.phase = Phase::Done(finished.path);
                        known.size = Some(bytes);
                    }
                    if let Some(piece) = Geometry::new(bytes).ok().and_then(|geometry| geometry.piece(0)) {
                        self.scheduler.handle_verified(ask, file, piece, now());
                    }
                }
                Err(Spoiled::Wrong) => self.scheduler.handle_bad(ask, file, Misdeed::WrongBytes, now()),
                Err(Spoiled::Refused(why)) => self.scheduler.handle_file_refused(ask, file, why, now()),
                Err(Spoiled::Disk(error)) => self.on_disk_error(file, &error),
            }
        }
        self.scheduler.handle_finished(ask, now());
    }

    /// Counts verified bytes for who sent them.
    fn count(&mut self, file: FileNo, peer: Option<PeerKey>, bytes: u64) {
        self.bytes += bytes;
        let Some(file) = self.files.get_mut(&file) else { return };
        if let Some(peer) = peer {
            *file.came_from.entry(peer).or_default() += bytes;
        }
        file.unsaved += bytes;
        file.unsaved_since.get_or_insert_with(now);
    }

    /// Asks the trackers for sources of all files that want some, one question at a time.
    fn look_for_sources(&mut self) {
        if self.is_looking || self.wanting.is_empty() {
            return;
        }
        self.is_looking = true;
        let wanted: Vec<FileNo> = self.wanting.drain().collect();
        let mut ids: Vec<ContentId> = wanted.iter().filter_map(|file| self.files.get(file).map(|file| file.shelf.content_id)).collect();
        ids.sort_unstable();
        ids.dedup();
        let (asking, outcomes) = (self.setup.asking.clone(), self.outcome_sender.clone());
        tokio::spawn(async move {
            let found = asking.sources(&ids).await;
            let _ = outcomes.send(Outcome::Sources { wanted, found }).await;
        });
    }

    fn on_sources(&mut self, wanted: &[FileNo], found: &HashMap<ContentId, Found>) {
        self.is_looking = false;
        for no in wanted {
            let Some(sources) = self.files.get(no).and_then(|file| found.get(&file.shelf.content_id)) else { continue };
            for peer in sources.peers.iter().filter_map(key_of) {
                self.scheduler.handle_source(*no, peer, now());
            }
        }
    }

    fn on_tick(&mut self) {
        let now = now();
        for (ask, out) in &self.meters {
            self.scheduler.handle_progress(*ask, out.meter.bytes(), now);
        }
        self.retry_disks(now);
        self.drop_unread();
        self.measure(now);
        self.offer_finished(now);
        self.look_after_offers(now);
        let due: Vec<FileNo> = self.files.iter().filter(|(_, file)| file.is_save_due(now)).map(|(no, _)| *no).collect();
        due.into_iter().for_each(|file| self.save(file));
    }

    /// Saves how far everything is. What is in flight is lost.
    async fn stop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        let unsaved: Vec<FileNo> = self.files.iter().filter(|(_, file)| file.unsaved > 0).map(|(no, _)| *no).collect();
        unsaved.into_iter().for_each(|file| self.save(file));
        self.forget_records().await;
        while self.files.values().any(|file| file.is_saving) {
            match self.outcomes.recv().await {
                Some(Outcome::Saved { file, result }) => self.on_saved(file, result),
                Some(_) => {}
                None => return,
            }
        }
    }
}
