//! The piece protocol between two nodes: our own behaviour, because libp2p's request-response opens a stream a request and
//! deals the requests of a peer out to its connections in turn.
//!
//! | file | what |
//! |---|---|
//! | `behaviour.rs` | chooses the connection of a request ([`core::load`](crate::core::load)); hands requests of peers up |
//! | `parts.rs` | a piece that several connections bring together |
//! | `handler.rs` | one connection: which stream a request goes by, how many there may be of them |
//! | `asking.rs` | one request of ours on a stream; the streams that wait for the next |
//! | `serving.rs` | one stream of a peer, request after request |
//! | `protocol.rs` | what is negotiated |
//!
//! A stream begins with a receive window of 256 KiB, which grows as it is read; on a long path a piece alone takes four
//! round trips by a new one. `/potluck/pieces/1` therefore keeps a stream for the next request, and the window that it has got. A
//! peer that does not list it is spoken to by `/potluck/piece/1`, where each request has a stream of its own.
//!
//! An answer comes to whoever asked without passing the task that owns the swarm; if a connection closes, all that it owed
//! is told as lost by being dropped.

mod asking;
mod behaviour;
mod handler;
mod parts;
mod protocol;
mod serving;

#[cfg(test)]
mod tests;

pub(super) use asking::Call;
pub(super) use behaviour::{Behaviour, Event};
pub use serving::PieceReply;

use std::time::Duration;

/// Streams of one connection that a peer may have open with us; those beyond are reset.
const MAX_SERVED: usize = 64;
/// Requests of ours in flight on one connection: what a peer lets us have.
const MAX_ASKED: usize = 64;
/// Requests of ours that wait for room on a connection: several windows of pieces in parts.
const MAX_WAITING: usize = 512;
/// Parts of pieces that are asked for once more at a time; beyond that, later.
const MAX_LATE: usize = 64;
/// How long a part may take before another connection that has nothing to do is asked for it too: twice what it takes where one packet
/// of a hundred is lost.
const PATIENCE: Duration = Duration::from_millis(700);
/// Streams that wait for a request of ours: as many as the requests that a peer is asked at once.
const MAX_IDLE: usize = 32;
/// How long a stream waits for a request of ours.
const IDLE_TIME: Duration = Duration::from_secs(20);
/// How long a peer's stream may be silent, or a request take to come: longer than [`IDLE_TIME`], so that it is who asks that
/// closes.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// The whole answer, with the wait for an upload slot: a slow line needs 60 s for 1 MiB at 17 KiB/s. Stalled ones are given
/// up long before.
const ANSWER_TIME: Duration = Duration::from_secs(120);
