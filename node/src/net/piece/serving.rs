//! One stream that a peer opened: its requests, one after the other.

use std::io;

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use potluck_common::codec::{Malformed, PieceAnswer, read_next_request, read_only_request, write_answer};
use potluck_common::wire::Refusal;
use potluck_common::wire::piece::{Header, Request};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::protocol::Carries;
use super::{ANSWER_TIME, REQUEST_TIME};

/// Where the answer to a piece request goes. Dropping it ends the request, and its stream, without an answer.
#[derive(Debug)]
pub struct PieceReply(oneshot::Sender<Owed>);

/// An answer, and who wants to know that all of it is sent; dropped if it was not.
#[derive(Debug)]
pub(super) struct Owed {
    answer: PieceAnswer,
    sent: oneshot::Sender<()>,
}

impl PieceReply {
    /// A reply, and where its answer comes out.
    pub(super) fn new() -> (Self, oneshot::Receiver<Owed>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Whether the peer still waits.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    /// Sends the answer, and waits until all of it is sent. Tells whether it was. Once polled, dropping the future does not take
    /// the answer back.
    pub async fn send(self, answer: PieceAnswer) -> bool {
        let (sent, was_sent) = oneshot::channel();
        self.0.send(Owed { answer, sent }).is_ok() && was_sent.await.is_ok()
    }

    /// Tells the peer to come back later, without waiting until it is told.
    pub(crate) fn refuse(self, why: Refusal) {
        let (sent, _) = oneshot::channel();
        let _ = self.0.send(Owed { answer: Header::Refused { why, queue: None }.into(), sent }); // it may have gone
    }
}

/// What became of a stream.
pub(super) enum Served<S> {
    /// A request came.
    Asked { stream: S, carries: Carries, request: Result<Request, Malformed> },
    /// An answer was sent, and the stream carries more.
    Sent { stream: S },
    /// It ended, or was ended.
    Over,
}

/// Reads the next request.
pub(super) async fn read<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, carries: Carries) -> Served<S> {
    let read = async {
        match carries {
            Carries::One => read_only_request(&mut stream).await.map(Some),
            Carries::Many => read_next_request(&mut stream).await,
        }
    };
    match timeout(REQUEST_TIME, read).await {
        Ok(Ok(Some(request))) => Served::Asked { stream, carries, request },
        Ok(Ok(None)) => {
            let _ = timeout(REQUEST_TIME, stream.close()).await; // it is gone either way
            Served::Over
        }
        Ok(Err(_)) | Err(_) => Served::Over, // dropping the stream resets it
    }
}

/// Waits for the answer, and sends it.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, carries: Carries, owed: oneshot::Receiver<Owed>) -> Served<S> {
    let send = async {
        let Ok(Owed { answer, sent }) = owed.await else { return Ok(false) };
        write_answer(&mut stream, &answer).await?;
        match carries {
            Carries::One => stream.close().await?,
            Carries::Many => stream.flush().await?,
        }
        let _ = sent.send(()); // nobody may want to know
        Ok::<_, io::Error>(carries == Carries::Many)
    };
    match timeout(ANSWER_TIME, send).await {
        Ok(Ok(true)) => Served::Sent { stream },
        _ => Served::Over,
    }
}
