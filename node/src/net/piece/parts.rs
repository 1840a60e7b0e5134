//! A piece in parts, each of which comes by the connection that has room for it.

use futures::future::join_all;
use libp2p::PeerId;
use potluck_common::buffer::BufferPool;
use potluck_common::codec::{Meter, PieceAnswer};
use potluck_common::content_id::ContentId;
use potluck_common::geometry::PIECE_BYTES;
use potluck_common::wire::piece::{Header, Request};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::PATIENCE;
use super::asking::Call;
use crate::core::load::PART_BYTES;
use crate::net::handle::AskError;

type Answer = Result<PieceAnswer, AskError>;

/// A part that was asked for.
struct Part {
    peer: PeerId,
    request: Request,
    meter: Meter,
    sent: oneshot::Receiver<()>,
    answer: oneshot::Receiver<Answer>,
    /// Where it is asked for once more.
    late: mpsc::Sender<(PeerId, Call)>,
}

/// The requests that a request for a piece becomes, in order. They are given up when whoever asked has gone.
pub(super) fn split(
    peer: PeerId,
    call: Call,
    (content_id, piece): (ContentId, u32),
    buffers: &BufferPool,
    late: &mpsc::Sender<(PeerId, Call)>,
) -> Vec<Call> {
    let Call { meter, mut reply, .. } = call;
    let (calls, parts): (Vec<Call>, Vec<Part>) = (0..PIECE_BYTES)
        .step_by(PART_BYTES as usize)
        .map(|offset| {
            let request = Request::Part { content_id, piece, offset, length: PART_BYTES };
            let (call, sent, answer) = call_for(&request, &meter);
            (call, Part { peer, request, meter: meter.clone(), sent, answer, late: late.clone() })
        })
        .unzip();
    let buffers = buffers.clone();
    tokio::spawn(async move {
        let answer = tokio::select! {
            answers = join_all(parts.into_iter().map(Part::answer)) => join(answers, &buffers),
            () = reply.closed() => return,
        };
        let _ = reply.send(answer); // whoever asked may have gone
    });
    calls
}

fn call_for(request: &Request, meter: &Meter) -> (Call, oneshot::Receiver<()>, oneshot::Receiver<Answer>) {
    let ((reply, answer), (sent, was_sent)) = (oneshot::channel(), oneshot::channel());
    (Call { request: request.clone(), meter: meter.clone(), reply, sent: Some(sent) }, was_sent, answer)
}

impl Part {
    /// Waits for it; when it takes too long, for what another connection brings as well.
    async fn answer(mut self) -> Answer {
        let lost = |answer: Result<Answer, _>| answer.unwrap_or(Err(AskError::Lost)); // dropped with its connection
        let _ = self.sent.await; // or will never be, and the answer tells
        loop {
            if let Ok(answer) = timeout(PATIENCE, &mut self.answer).await {
                return lost(answer);
            }
            let (call, _, again) = call_for(&self.request, &self.meter);
            let _ = self.late.try_send((self.peer, call)); // or a little later
            tokio::select! {
                answer = &mut self.answer => return lost(answer),
                answer = again => if let Ok(Ok(answer)) = answer { return Ok(answer) },
            }
        }
    }
}

/// Puts the parts together; what is no part is the answer to the whole.
fn join(parts: Vec<Answer>, buffers: &BufferPool) -> Answer {
    let nonsense = || AskError::Broken("parts that do not make a piece".into());
    let mut body = buffers.take(PIECE_BYTES as usize).ok_or_else(nonsense)?;
    let mut filled = 0;
    for (start, part) in (0..).step_by(PART_BYTES as usize).zip(parts) {
        let part = part?;
        let Header::Piece { .. } = part.header else { return Ok(part) };
        if part.body.is_empty() {
            continue; // behind the end of the last piece
        }
        let room = body.get_mut(start..start + part.body.len()).filter(|_| start == filled).ok_or_else(nonsense)?;
        room.copy_from_slice(&part.body);
        filled += part.body.len();
    }
    body.truncate(filled);
    Ok(PieceAnswer { header: Header::Piece { length: filled as u32 }, body })
}

#[cfg(test)]
mod tests {
    use potluck_common::wire::Refusal;

    use super::*;

    const PART: usize = PART_BYTES as usize;
    const PARTS: usize = (PIECE_BYTES / PART_BYTES) as usize;

    /// What parts of these lengths make; those that are not named are empty.
    fn joined(lengths: &[usize]) -> Answer {
        let lengths = lengths.iter().copied().chain(std::iter::repeat(0)).take(PARTS);
        let part =
            |(length, byte): (usize, u8)| PieceAnswer { header: Header::Piece { length: length as u32 }, body: vec![byte; length].into() };
        join(lengths.zip(1..).map(part).map(Ok).collect(), &BufferPool::new(1))
    }

    #[test]
    fn parts_make_a_piece_and_the_last_piece_of_a_file() {
        let whole = joined(&[PART; PARTS]).unwrap();
        assert_eq!(whole.header, Header::Piece { length: PIECE_BYTES });
        assert!(whole.body.chunks(PART).zip(1..).all(|(part, byte)| part.iter().all(|is| *is == byte)));
        assert_eq!(joined(&[PART, 7]).unwrap().body.len(), PART + 7);
        assert_eq!(joined(&[]).unwrap().body.len(), 0);
    }

    #[test]
    fn parts_with_a_gap_or_too_long_are_refused() {
        for lengths in [&[PART, 0, 1][..], &[1, 1], &[PIECE_BYTES as usize + 1], &[PART, PART + 1, PART]] {
            assert!(matches!(joined(lengths), Err(AskError::Broken(_))), "{lengths:?}");
        }
    }

    #[test]
    fn a_piece_whose_part_is_lost_or_refused_is() {
        let busy = Header::Refused { why: Refusal::Busy, queue: None };
        assert_eq!(join(vec![Err(AskError::Lost)], &BufferPool::new(1)).unwrap_err(), AskError::Lost);
        assert_eq!(join(vec![Ok(busy.clone().into())], &BufferPool::new(1)).unwrap().header, busy);
    }

    #[tokio::test]
    async fn a_part_that_lets_us_wait_is_asked_for_once_more() {
        let (late, mut asked_again) = mpsc::channel(1);
        let (reply, _answer) = oneshot::channel();
        let call = Call { request: Request::Have { content_id: ContentId::of(b"x"), from: 0 }, meter: Meter::default(), reply, sent: None };
        let mut calls = split(PeerId::random(), call, (ContentId::of(b"x"), 0), &BufferPool::new(1), &late);
        assert_eq!(calls.len(), PARTS);
        let slow = calls.pop().unwrap();
        slow.sent.unwrap().send(()).unwrap();
        for _ in 0..2 {
            let (_, again) = asked_again.recv().await.unwrap(); // dropped: nobody has time
            assert_eq!(again.request, slow.request);
        }
        assert!(asked_again.try_recv().is_err(), "the others were not sent");
    }
}
