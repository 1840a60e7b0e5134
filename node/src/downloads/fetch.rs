//! One request of a download: ask the peer, verify what comes, write it.
//!
//! Each runs in a task of its own; hashing and writing run on the disk threads. What came of it goes to the engine.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use libp2p::PeerId;
use potluck_common::codec::{Meter, PieceAnswer};
use potluck_common::content_id::{ContentId, PieceHash};
use potluck_common::geometry::{Geometry, PieceIndex};
use potluck_common::transport::peer_of;
use potluck_common::wire::piece::{FileAnswer, Header, Request};
use potluck_common::wire::{Bounded, Refusal};
use tokio::sync::mpsc;

use super::file::Shelf;
use crate::asking::{Asking, Found};
use crate::core::piece_set::PieceSet;
use crate::core::scheduler::{Ask, AskId, FileNo, What};
use crate::disk_threads::DiskThreads;
use crate::net::AskError;
use crate::store::{Finished, StoreError};

/// What came of a request, or of other work that the engine waits for.
pub(super) enum Outcome {
    /// A page of piece hashes; not verified.
    Hashes { ask: AskId, size: u64, hashes: Vec<PieceHash> },
    /// Which pieces a peer has.
    Have { ask: AskId, bitmap: Option<Vec<u8>> },
    /// A piece came: verified and written, wrong, or not written.
    Piece { ask: AskId, file: FileNo, piece: PieceIndex, bytes: u64, result: Result<(), Spoiled> },
    /// Small files came, each for itself; those that are not named did not fit.
    Files { ask: AskId, files: Vec<(FileNo, u64, Result<Finished, Spoiled>)> },
    /// The peer said no.
    Refused { ask: AskId, why: Refusal, queue: Option<u32> },
    /// The peer could not be reached, or was lost.
    Failed { ask: AskId },
    /// The peer broke the protocol.
    Nonsense { ask: AskId },
    /// Files were looked for on the disk: where each is, if it is there.
    Checked { files: Vec<(FileNo, Result<There, StoreError>)> },
    /// The temporary file is there.
    Opened { file: FileNo },
    /// A checkpoint was written.
    Saved { file: FileNo, result: Result<(), String> },
    /// A file was put in its place.
    Finished { file: FileNo, result: Result<Finished, StoreError> },
    /// Who has what.
    Sources { wanted: Vec<FileNo>, found: HashMap<ContentId, Found> },
}

/// What is there of a file before anything is fetched.
pub(super) enum There {
    /// Nothing.
    Nothing,
    /// All of it, in its place.
    Whole(PathBuf),
    /// These pieces; they are in the temporary file now.
    Pieces { hashes: Arc<[PieceHash]>, verified: PieceSet },
}

/// Why bytes that came are of no use.
pub(super) enum Spoiled {
    /// They have another hash.
    Wrong,
    /// The peer refuses this file.
    Refused(Refusal),
    /// They could not be written.
    Disk(StoreError),
}

/// A request and everything that its answer is checked against.
pub(super) struct Fetch {
    pub(super) ask: Ask,
    pub(super) meter: Meter,
    pub(super) asking: Asking,
    pub(super) disk: DiskThreads,
    pub(super) outcomes: mpsc::Sender<Outcome>,
    /// Where the bytes go: one item a file of the request.
    pub(super) goals: Vec<Goal>,
}

/// What one file of a request must look like, and where it goes.
pub(super) struct Goal {
    pub(super) shelf: Arc<Shelf>,
    /// How the file is cut, once that is known.
    pub(super) geometry: Option<Geometry>,
    /// The hash of the piece that is asked for.
    pub(super) expected: Option<PieceHash>,
    pub(super) mtime: i64,
}

impl Fetch {
    /// Runs to its end. Dropping the future loses the answer, never what was written.
    pub(super) async fn run(self) {
        let outcomes = self.outcomes.clone();
        let outcome = self.outcome().await;
        let _ = outcomes.send(outcome).await;
    }

    async fn outcome(mut self) -> Outcome {
        let ask = self.ask.id;
        let Some(peer) = peer_of(&self.ask.peer) else { return Outcome::Nonsense { ask } };
        let answer = match self.send(peer).await {
            Ok(answer) => answer,
            Err(AskError::Broken(_) | AskError::Unsupported) => return Outcome::Nonsense { ask },
            Err(_) => return Outcome::Failed { ask },
        };
        let PieceAnswer { header, body } = answer;
        match (&self.ask.what, header) {
            (_, Header::Refused { why, queue }) => Outcome::Refused { ask, why, queue },
            (What::Hashes { .. }, Header::Hashes { size, .. }) => {
                let hashes = body.as_chunks::<32>().0.iter().map(|hash| PieceHash::from_bytes(*hash)).collect();
                Outcome::Hashes { ask, size, hashes }
            }
            (What::Have { .. }, Header::Have { bitmap, .. }) => Outcome::Have { ask, bitmap },
            (What::Piece { file, piece, .. }, Header::Piece { .. }) => {
                let (file, piece, bytes) = (*file, *piece, body.len() as u64);
                let Some(goal) = self.goals.pop() else { return Outcome::Nonsense { ask } };
                let written = self.disk.run(move || goal.write_piece(piece, &body)).await;
                Outcome::Piece { ask, file, piece, bytes, result: written.unwrap_or(Err(Spoiled::Wrong)) }
            }
            (What::Files(_), Header::Files { files }) => {
                let goals = std::mem::take(&mut self.goals);
                match self.disk.run(move || write_files(goals, &files, &body)).await {
                    Some(files) => Outcome::Files { ask, files },
                    None => Outcome::Nonsense { ask },
                }
            }
            _ => Outcome::Nonsense { ask },
        }
    }

    /// Sends the request, connecting first where there is no connection.
    async fn send(&self, peer: PeerId) -> Result<PieceAnswer, AskError> {
        let request = match &self.ask.what {
            What::Hashes { content_id, from, .. } => Request::Hashes { content_id: *content_id, from: *from },
            What::Piece { content_id, piece, .. } => Request::Piece { content_id: *content_id, piece: piece.number() },
            What::Files(files) => Request::Files { content_ids: Bounded::truncated(files.iter().map(|(_, id)| *id)) },
            What::Have { content_id, from, .. } => Request::Have { content_id: *content_id, from: *from },
        };
        let answer = self.asking.net.ask_piece(peer, request.clone(), self.meter.clone()).await;
        if !matches!(answer, Err(AskError::NotConnected)) {
            return answer;
        }
        self.asking.connect(peer).await.map_err(|error| {
            tracing::debug!(%peer, %error, "a source cannot be reached");
            AskError::Lost
        })?;
        self.asking.net.ask_piece(peer, request, self.meter.clone()).await
    }
}

impl Goal {
    /// Verifies a piece, then writes it.
    fn write_piece(&self, piece: PieceIndex, body: &[u8]) -> Result<(), Spoiled> {
        let (Some(geometry), Some(expected)) = (self.geometry, self.expected) else { return Err(Spoiled::Wrong) };
        if body.len() != geometry.length(piece) as usize || PieceHash::of(geometry, piece, body) != expected {
            return Err(Spoiled::Wrong);
        }
        self.shelf.part(geometry).and_then(|part| part.write_piece(piece, body)).map_err(Spoiled::Disk)
    }

    /// Verifies a file of one piece, writes it and puts it in its place.
    fn write_file(&self, body: &[u8]) -> Result<Finished, Spoiled> {
        if ContentId::of(body) != self.shelf.content_id {
            return Err(Spoiled::Wrong);
        }
        let geometry = Geometry::new(body.len() as u64).map_err(|_| Spoiled::Wrong)?;
        if geometry.piece_count() != 1 {
            return Err(Spoiled::Wrong);
        }
        self.shelf.finish_whole(geometry, body, self.mtime).map_err(Spoiled::Disk)
    }
}

/// Takes the files of an answer apart: they lie in the body one after the other, in the order of the request.
fn write_files(goals: Vec<Goal>, answers: &[FileAnswer], mut body: &[u8]) -> Vec<(FileNo, u64, Result<Finished, Spoiled>)> {
    let mut results = Vec::with_capacity(answers.len());
    for (goal, answer) in goals.into_iter().zip(answers) {
        let (bytes, result) = match answer {
            FileAnswer::Refused(why) => (0, Err(Spoiled::Refused(*why))),
            FileAnswer::Length(length) => {
                let Some((file, rest)) = body.split_at_checked(*length as usize) else { break };
                body = rest;
                (u64::from(*length), goal.write_file(file))
            }
        };
        results.push((goal.shelf.file, bytes, result));
    }
    results
}
