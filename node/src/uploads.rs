//! Serves pieces to peers: the task that glues the upload slots to the disk and the network.
//!
//! A request is weighed by the bytes that it asks for; core/upload_slots.rs decides when it is served. Reading runs on
//! disk threads, into buffers that are used again.

mod lagging;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::PeerId;
use potluck_common::buffer::BufferPool;
use potluck_common::codec::{Malformed, PieceAnswer};
use potluck_common::content_id::ContentId;
use potluck_common::geometry::{Geometry, PIECE_BYTES};
use potluck_common::limits::{Stop, Tally};
use potluck_common::transport::key_of;
use potluck_common::wire::piece::{FileAnswer, Header, MAX_HASHES, MAX_HAVE, Request};
use potluck_common::wire::{Bounded, MAX_BODY_BYTES, Refusal};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use self::lagging::Lagging;
use crate::clock::now;
use crate::core::audience::Reader;
use crate::core::upload_ledger::{Upload, UploadKey, UploadLedger};
use crate::core::upload_slots::{self, ServeId, UploadSlots, Verdict};
use crate::disk_threads::DiskThreads;
use crate::downloads::Downloads;
use crate::indexer::Indexer;
use crate::net::{NetEvent, NetHandle, PieceReply};
use crate::shares::{Place, Shares};
use crate::store::{ServeError, SharedFile, State};

/// Requests that may wait for the task.
const REQUEST_QUEUE: usize = 256;
/// Answers that are under way, finished ones that may wait to be counted.
const FINISHED_QUEUE: usize = 64;
/// Files that are kept open, the last used ones: opening one for every piece of it costs more than reading the piece.
const OPEN_FILES: usize = 32;
/// Weight of a request that moves few bytes: what it costs to look up.
const SMALL_BYTES: u64 = 4 << 10;
/// An answer that is not sent after this time makes room for another: who reads slowly must not keep all others waiting.
const SLOT_TIME: Duration = Duration::from_secs(5);
/// How often the rate is measured.
const TICK: Duration = Duration::from_secs(1);

/// What the node has sent, and how fast it may send. Shared by all who show or change it.
pub(crate) struct Uploads {
    bytes: AtomicU64,
    rate: AtomicU64,
    /// Requests that wait for a slot.
    queued: AtomicU64,
    ledger: Mutex<UploadLedger>,
    /// Most bytes per second; `None` for no limit.
    limit: watch::Sender<Option<u64>>,
}

impl Uploads {
    fn new(limit: Option<u64>) -> Self {
        let (bytes, rate, queued) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { bytes, rate, queued, ledger: Mutex::default(), limit: watch::Sender::new(limit) }
    }

    /// Bytes per second, and bytes since the node started.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.rate.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Requests that wait for a slot.
    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// What was sent to whom in the last minutes.
    pub(crate) fn entries(&self) -> Vec<(UploadKey, Upload)> {
        self.ledger().entries()
    }

    /// Most bytes per second.
    pub(crate) fn limit(&self) -> Option<u64> {
        *self.limit.borrow()
    }

    /// Changes the limit; it holds for what is sent from now on.
    pub(crate) fn set_limit(&self, limit: Option<u64>) {
        self.limit.send_replace(limit);
    }

    fn ledger(&self) -> MutexGuard<'_, UploadLedger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request of a peer.
pub(crate) struct PieceRequest {
    pub(crate) peer: PeerId,
    pub(crate) request: Result<Request, Malformed>,
    pub(crate) reply: PieceReply,
}

/// Where what is served is found.
#[derive(Clone)]
pub(crate) struct Larder {
    pub(crate) shares: Arc<Shares>,
    pub(crate) state: Arc<State>,
    pub(crate) downloads: Downloads,
    pub(crate) indexer: Indexer,
    pub(crate) buffers: BufferPool,
    open: Arc<Mutex<OpenFiles>>,
}

/// Files that are open, the last used one last.
type OpenFiles = Vec<(ContentId, Arc<SharedFile>)>;

/// The task.
struct Server {
    net: NetHandle,
    larder: Larder,
    disk: DiskThreads,
    uploads: Arc<Uploads>,
    slots: UploadSlots,
    tally: Tally,
    /// Requests that wait for a slot.
    waiting: HashMap<ServeId, (PeerId, Request, PieceReply)>,
    finished: mpsc::Sender<ServeId>,
    lagging: Arc<Lagging>,
    next: u64,
}

/// Starts the task; requests go to the sender that it gives back.
pub(crate) fn start(
    net: NetHandle,
    larder: Larder,
    disk: DiskThreads,
    slots: upload_slots::Config,
    tally: Tally,
    events: broadcast::Receiver<NetEvent>,
) -> (Arc<Uploads>, mpsc::Sender<PieceRequest>) {
    let (requests, queue) = mpsc::channel(REQUEST_QUEUE);
    let (finished, finished_queue) = mpsc::channel(FINISHED_QUEUE);
    let uploads = Arc::new(Uploads::new(slots.limit_up));
    let slots = UploadSlots::new(slots);
    let server = Server {
        net,
        larder,
        disk,
        uploads: Arc::clone(&uploads),
        slots,
        tally,
        waiting: HashMap::new(),
        finished,
        lagging: Arc::default(),
        next: 0,
    };
    tokio::spawn(server.run(queue, finished_queue, events));
    (uploads, requests)
}

impl Server {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<PieceRequest>,
        mut finished: mpsc::Receiver<ServeId>,
        mut events: broadcast::Receiver<NetEvent>,
    ) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut limit = self.uploads.limit.subscribe();
        let mut last = 0;
        loop {
            while let Some(id) = self.slots.poll_serve(now()) {
                self.serve(id);
            }
            let timeout = self.slots.poll_timeout().unwrap_or_else(|| now() + TICK);
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.take(request),
                    None => return,
                },
                Some(id) = finished.recv() => self.slots.finished(id),
                Ok(event) = events.recv() => self.on_net(&event),
                _ = tick.tick() => self.measure(&mut last),
                Ok(()) = limit.changed() => self.slots.set_limit(*limit.borrow_and_update()),
                () = sleep_until(timeout.into()) => {}
            }
        }
    }

    /// Measures what was sent since `last`.
    fn measure(&self, last: &mut u64) {
        let bytes = self.uploads.bytes.load(Ordering::Relaxed);
        self.uploads.rate.store(bytes - std::mem::replace(last, bytes), Ordering::Relaxed);
        self.uploads.queued.store(self.slots.queued() as u64, Ordering::Relaxed);
        self.uploads.ledger().measure(now());
    }

    fn on_net(&mut self, event: &NetEvent) {
        if let NetEvent::Disconnected(peer) = event
            && let Some(key) = key_of(peer)
        {
            self.slots.peer_gone(&key);
            self.waiting.retain(|_, (waiting, _, _)| waiting != peer);
        }
    }

    fn take(&mut self, PieceRequest { peer, request, reply }: PieceRequest) {
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                tracing::debug!(%peer, %error, "event=malformed_request");
                return self.refuse(reply, Refusal::Unsupported, None);
            }
        };
        let Some(key) = key_of(&peer) else { return };
        self.next += 1;
        let id = ServeId(self.next);
        match self.slots.ask(key, id, weight(&request), now()) {
            Verdict::Serve => {
                self.waiting.insert(id, (peer, request, reply));
                self.serve(id);
            }
            Verdict::Queued { .. } => {
                self.waiting.insert(id, (peer, request, reply));
            }
            Verdict::Refuse(why) => {
                self.tally.count(Stop::Uploads);
                self.refuse(reply, why, Some(self.slots.ahead_of(&key)));
            }
        }
    }

    fn refuse(&self, reply: PieceReply, why: Refusal, queue: Option<u32>) {
        tokio::spawn(reply.send(Header::Refused { why, queue }.into()));
    }

    /// Reads and answers in a task of its own.
    fn serve(&mut self, id: ServeId) {
        let Some((peer, request, reply)) = self.waiting.remove(&id) else {
            return self.slots.finished(id);
        };
        let (net, larder, uploads, finished) = (self.net.clone(), self.larder.clone(), Arc::clone(&self.uploads), self.finished.clone());
        let disk = self.disk.clone();
        let key = key_of(&peer).zip(shown_content(&request)).map(|(peer, content_id)| UploadKey { peer, content_id });
        let (lagging, tally) = (Arc::clone(&self.lagging), self.tally.clone());
        tokio::spawn(async move {
            let mut holds_slot = true;
            if reply.is_open() {
                key.inspect(|key| uploads.ledger().begin(*key, now()));
                let reader = key_of(&peer).map(Reader::Peer);
                let answer = disk.run(move || larder.answer(reader, &request)).await;
                let answer = answer.unwrap_or_else(|| Header::Refused { why: Refusal::Unavailable, queue: None }.into());
                let bytes = answer.body.len() as u64;
                // The slot is held until the last byte is with the system, or for too long; the body stays in memory.
                let mut sending = std::pin::pin!(reply.send(answer));
                let sent = match timeout(SLOT_TIME, &mut sending).await {
                    Ok(sent) => sent,
                    Err(_) => {
                        holds_slot = false;
                        let _ = finished.send(id).await; // the node is stopping
                        if let Some(slowest) = lagging.begin(peer) {
                            tracing::info!(peer = %slowest, "event=slow_reader");
                            tally.count(Stop::SlowReader);
                            net.disconnect(slowest).await;
                        }
                        let sent = sending.await;
                        lagging.end(&peer);
                        sent
                    }
                };
                let sent = if sent { bytes } else { 0 };
                uploads.bytes.fetch_add(sent, Ordering::Relaxed);
                key.inspect(|key| uploads.ledger().end(*key, sent, now()));
            }
            if holds_slot {
                let _ = finished.send(id).await; // the node is stopping
            }
        });
    }
}

/// What the ledger calls a request; `None` for one that moves no file: it is not shown.
fn shown_content(request: &Request) -> Option<Option<ContentId>> {
    match request {
        Request::Piece { content_id, .. } | Request::Part { content_id, .. } => Some(Some(*content_id)),
        Request::Files { content_ids } => Some(match &**content_ids {
            [only] => Some(*only),
            _ => None,
        }),
        Request::Hashes { .. } | Request::Have { .. } => None,
    }
}

/// Bytes that a request may make us send.
fn weight(request: &Request) -> u64 {
    match request {
        Request::Piece { .. } | Request::Files { .. } => u64::from(PIECE_BYTES),
        Request::Part { length, .. } => u64::from(*length).clamp(SMALL_BYTES, u64::from(PIECE_BYTES)),
        Request::Hashes { .. } => SMALL_BYTES * 4,
        Request::Have { .. } => SMALL_BYTES,
    }
}

impl Larder {
    pub(crate) fn new(shares: Arc<Shares>, state: Arc<State>, downloads: Downloads, indexer: Indexer, buffers: BufferPool) -> Self {
        Self { shares, state, downloads, indexer, buffers, open: Arc::default() }
    }

    /// Reads the answer to a request. Blocks.
    fn answer(&self, reader: Option<Reader>, request: &Request) -> PieceAnswer {
        let Some(reader) = reader else { return Header::Refused { why: Refusal::NotFound, queue: None }.into() };
        let answer = match request {
            Request::Hashes { content_id, .. }
            | Request::Piece { content_id, .. }
            | Request::Part { content_id, .. }
            | Request::Have { content_id, .. }
                if self.is_kept_from(content_id, &reader) =>
            {
                Err(Refusal::NotFound)
            }
            Request::Hashes { content_id, from } => self.hashes(content_id, *from),
            Request::Piece { content_id, piece } => self.piece(content_id, *piece, 0, PIECE_BYTES),
            Request::Part { content_id, piece, offset, length } => self.piece(content_id, *piece, *offset, *length),
            Request::Files { content_ids } => Ok(self.files(&reader, content_ids)),
            Request::Have { content_id, from } => self.have(content_id, *from),
        };
        answer.unwrap_or_else(|why| Header::Refused { why, queue: None }.into())
    }

    /// Whether a reader must not know that a content is here: the answer is then that of a content that is not.
    fn is_kept_from(&self, id: &ContentId, reader: &Reader) -> bool {
        self.shares.lock().is_kept_from(id, reader)
    }

    /// Where a content can be read: in a share, or where a download of it is.
    fn place(&self, id: &ContentId) -> Option<Place> {
        let table = self.shares.lock();
        let (shared, offered) = (table.place(id), table.offered(id));
        drop(table); // a folder is opened below
        shared.or_else(|| offered?.place())
    }

    /// How a file that can be served is cut.
    fn geometry(&self, id: &ContentId) -> Result<Geometry, Refusal> {
        let size = self.place(id).map(|place| place.stamp.size);
        let known =
            size.and_then(|size| Geometry::new(size).ok()).or_else(|| self.downloads.partial(id).map(|partial| partial.part.geometry()));
        known.ok_or(Refusal::NotFound)
    }

    fn hashes(&self, id: &ContentId, from: u32) -> Result<PieceAnswer, Refusal> {
        let geometry = self.geometry(id)?;
        geometry.piece(u64::from(from)).ok_or(Refusal::NotFound)?;
        let mut hashes = self.state.pieces_from(*id, geometry, from).map_err(|error| {
            tracing::warn!(%error, "piece hashes cannot be read");
            Refusal::Unavailable
        })?;
        hashes.truncate(MAX_HASHES as usize);
        if hashes.is_empty() {
            return Err(Refusal::Unavailable);
        }
        let body: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
        Ok(PieceAnswer { header: Header::Hashes { size: geometry.size(), count: hashes.len() as u32 }, body: body.into() })
    }

    /// Reads up to `length` bytes of a piece from `offset` on.
    fn piece(&self, id: &ContentId, number: u32, offset: u32, length: u32) -> Result<PieceAnswer, Refusal> {
        let geometry = self.geometry(id)?;
        let piece = geometry.piece(u64::from(number)).ok_or(Refusal::NotFound)?;
        let offset = offset.min(geometry.length(piece));
        let length = length.min(geometry.length(piece) - offset);
        let mut body = self.buffers.take(length as usize).ok_or(Refusal::Unavailable)?;
        if let Some(partial) = self.downloads.partial(id) {
            if !partial.verified.contains(piece) {
                return Err(Refusal::NotFound);
            }
            partial.part.read_part(piece, offset, &mut body).map_err(|_| Refusal::NotFound)?;
        } else {
            self.read(id, geometry.offset(piece) + u64::from(offset), &mut body)?;
        }
        Ok(PieceAnswer { header: Header::Piece { length }, body })
    }

    /// Reads as many of the files, whole and in order, as fit in one body.
    fn files(&self, reader: &Reader, ids: &[ContentId]) -> PieceAnswer {
        let Some(mut body) = self.buffers.take(MAX_BODY_BYTES) else {
            return Header::Refused { why: Refusal::Unavailable, queue: None }.into();
        };
        let mut used = 0;
        let mut files = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(rest) = body.get_mut(used..) else { break };
            let file = if self.is_kept_from(id, reader) { Err(Refusal::NotFound) } else { self.file(id, rest) };
            match file {
                Ok(Some(length)) => {
                    used += length;
                    files.push(FileAnswer::Length(length as u32));
                }
                Ok(None) => break,
                Err(why) => files.push(FileAnswer::Refused(why)),
            }
        }
        body.truncate(used);
        PieceAnswer { header: Header::Files { files: Bounded::truncated(files) }, body }
    }

    /// Reads one small file to the front of `room`; `None` when it does not fit there.
    fn file(&self, id: &ContentId, room: &mut [u8]) -> Result<Option<usize>, Refusal> {
        let place = self.place(id).ok_or(Refusal::NotFound)?;
        if place.stamp.size > u64::from(PIECE_BYTES) {
            return Err(Refusal::Unsupported); // it is not a file of one piece: its hashes are asked for first
        }
        let Some(room) = room.get_mut(..place.stamp.size as usize) else { return Ok(None) };
        self.read(id, 0, room)?;
        Ok(Some(room.len()))
    }

    fn have(&self, id: &ContentId, from: u32) -> Result<PieceAnswer, Refusal> {
        let geometry = self.geometry(id)?;
        let bitmap = self.downloads.partial(id).map(|partial| {
            let bytes = partial.verified.to_bytes();
            let start = (from / 8) as usize;
            let end = bytes.len().min(start + (MAX_HAVE / 8) as usize);
            bytes.get(start..end).unwrap_or_default().to_vec()
        });
        if bitmap.is_some() && !from.is_multiple_of(8) {
            return Err(Refusal::Unsupported);
        }
        Ok(Header::Have { size: geometry.size(), bitmap }.into())
    }

    /// Reads bytes of a shared file, if it is still what was hashed.
    fn read(&self, id: &ContentId, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        let file = match self.opened(id) {
            Some(file) => file,
            None => self.open(id)?,
        };
        file.read_at(offset, buffer).map_err(|error| self.lost(id, &error))
    }

    fn opened(&self, id: &ContentId) -> Option<Arc<SharedFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.iter().position(|(known, _)| known == id)?;
        let entry = open.remove(at);
        let file = Arc::clone(&entry.1);
        open.push(entry);
        Some(file)
    }

    fn open(&self, id: &ContentId) -> Result<Arc<SharedFile>, Refusal> {
        let place = self.place(id).ok_or(Refusal::NotFound)?;
        let file = place.dir.open_file(place.path.within_share()).map_err(|error| self.lost(id, &error))?;
        if file.stamp() != place.stamp {
            return Err(self.lost(id, &ServeError::Changed));
        }
        let file = Arc::new(file);
        if place.stamp.size > u64::from(PIECE_BYTES) {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open.len() == OPEN_FILES {
                open.remove(0);
            }
            open.push((*id, Arc::clone(&file)));
        }
        Ok(file)
    }

    /// A file is not what was published: it is told no more, and its share is listed again.
    fn lost(&self, id: &ContentId, error: &ServeError) -> Refusal {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| known != id);
        if let Some(place) = self.place(id) {
            tracing::info!(path = %place.path, %error, "a shared file is not what it was; it is looked at again");
            self.shares.change(|table| {
                table.remove(&place.path);
                table.withdraw_offer(id);
            });
            self.indexer.list(place.path.share());
        }
        match error {
            ServeError::Changed => Refusal::Changed,
            ServeError::NotFound | ServeError::NotAFile | ServeError::Denied => Refusal::NotFound,
            _ => Refusal::Unavailable,
        }
    }
}
