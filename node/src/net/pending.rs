//! Who waits for what: requests and dials that are under way.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use potluck_common::transport::INDEX_STREAMS;
use tokio::sync::oneshot;

use super::handle::{AskError, DialError};

/// Requests of one protocol that wait for their answers.
pub(super) struct Asks<Id, A>(HashMap<Id, oneshot::Sender<Result<A, AskError>>>);

impl<Id: Eq + Hash, A> Default for Asks<Id, A> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<Id: Eq + Hash, A> Asks<Id, A> {
    pub(super) fn wait(&mut self, id: Id, reply: oneshot::Sender<Result<A, AskError>>) {
        self.0.insert(id, reply);
    }

    /// Hands the answer over. Who asked may have gone; then it is dropped.
    pub(super) fn settle(&mut self, id: &Id, answer: Result<A, AskError>) {
        if let Some(reply) = self.0.remove(id) {
            let _ = reply.send(answer);
        }
    }
}

impl<Id: Eq + Hash, A> Asks<Id, A> {
    /// Hands the answer over, or back if nobody asked for it by a command.
    pub(super) fn settle_or_return(&mut self, id: &Id, answer: Result<A, AskError>) -> Option<Result<A, AskError>> {
        match self.0.remove(id) {
            Some(reply) => {
                let _ = reply.send(answer);
                None
            }
            None => Some(answer),
        }
    }
}

/// Requests that may be in flight to one party: what the other side takes on a connection, half of it left for what it asks.
const MAX_IN_FLIGHT: usize = INDEX_STREAMS / 2;
/// Requests to one party that may wait for their turn: as many downloads may begin at once.
const MAX_IN_LINE: usize = 4096;

/// Keeps requests to a party in line when it takes no more at once: a stream too many would be reset, and its request lost.
pub(super) struct Turns<T>(HashMap<PeerId, Line<T>>);

/// Requests to one party.
struct Line<T> {
    in_flight: usize,
    waiting: VecDeque<T>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Turns<T> {
    /// Gives a request back that is to be sent now; keeps it for later, or says that there is no room for it.
    ///
    /// # Errors
    /// The request, when too many wait.
    pub(super) fn begin(&mut self, party: PeerId, request: T) -> Result<Option<T>, T> {
        let line = self.0.entry(party).or_insert_with(|| Line { in_flight: 0, waiting: VecDeque::new() });
        if line.in_flight < MAX_IN_FLIGHT {
            line.in_flight += 1;
            return Ok(Some(request));
        }
        if line.waiting.len() >= MAX_IN_LINE {
            return Err(request);
        }
        line.waiting.push_back(request);
        Ok(None)
    }

    /// A request is settled: gives the next one, which is to be sent now.
    pub(super) fn end(&mut self, party: &PeerId) -> Option<T> {
        let line = self.0.get_mut(party)?;
        let next = line.waiting.pop_front();
        if next.is_none() {
            line.in_flight = line.in_flight.saturating_sub(1);
            if line.in_flight == 0 {
                self.0.remove(party);
            }
        }
        next
    }
}

type Waiting = Vec<oneshot::Sender<Result<PeerId, DialError>>>;

/// Dials that are under way. Those to one peer share one attempt.
#[derive(Default)]
pub(super) struct Dials {
    attempts: HashMap<ConnectionId, Attempt>,
}

/// One of them.
struct Attempt {
    peer: Option<PeerId>,
    begun: Instant,
    waiting: Waiting,
}

impl Dials {
    /// Joins the attempt to reach a peer, if there is one; else gives the sender back.
    pub(super) fn join(
        &mut self,
        peer: PeerId,
        reply: oneshot::Sender<Result<PeerId, DialError>>,
    ) -> Option<oneshot::Sender<Result<PeerId, DialError>>> {
        match self.attempts.values_mut().find(|attempt| attempt.peer == Some(peer)) {
            Some(attempt) => {
                attempt.waiting.push(reply);
                None
            }
            None => Some(reply),
        }
    }

    pub(super) fn begin(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        reply: oneshot::Sender<Result<PeerId, DialError>>,
        now: Instant,
    ) {
        self.attempts.insert(id, Attempt { peer, begun: now, waiting: vec![reply] });
    }

    /// An attempt has reached somebody, who is not admitted yet. Tells how long it took; `None` of one that is not ours.
    pub(super) fn reached(&mut self, id: ConnectionId, peer: PeerId, now: Instant) -> Option<Duration> {
        let attempt = self.attempts.get_mut(&id)?;
        attempt.peer = Some(peer);
        Some(now.saturating_duration_since(attempt.begun))
    }

    /// Ends all attempts to reach a peer.
    pub(super) fn settle_peer(&mut self, peer: PeerId, outcome: &Result<PeerId, DialError>) {
        for (_, attempt) in self.attempts.extract_if(|_, attempt| attempt.peer == Some(peer)) {
            attempt.waiting.into_iter().for_each(|reply| drop(reply.send(outcome.clone())));
        }
    }

    pub(super) fn settle(&mut self, id: ConnectionId, outcome: &Result<PeerId, DialError>) {
        for reply in self.attempts.remove(&id).map(|attempt| attempt.waiting).unwrap_or_default() {
            let _ = reply.send(outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_requests_are_in_flight_as_a_party_takes_and_the_others_follow_in_turn() {
        let (mut turns, party, other) = (Turns::default(), PeerId::random(), PeerId::random());
        let sent: Vec<_> = (0..MAX_IN_FLIGHT + 2).filter_map(|number| turns.begin(party, number).unwrap()).collect();
        assert_eq!(sent.len(), MAX_IN_FLIGHT);
        assert_eq!(turns.begin(other, 99), Ok(Some(99)), "nobody waits for another party");
        assert_eq!((turns.end(&party), turns.end(&party), turns.end(&party)), (Some(MAX_IN_FLIGHT), Some(MAX_IN_FLIGHT + 1), None));
        (0..MAX_IN_FLIGHT).for_each(|_| assert_eq!(turns.end(&party), None));
        turns.end(&other);
        assert!(turns.0.is_empty(), "what is settled is forgotten");
    }

    #[test]
    fn one_more_than_may_wait_is_refused() {
        let (mut turns, party) = (Turns::default(), PeerId::random());
        assert!((0..MAX_IN_FLIGHT + MAX_IN_LINE).all(|number| turns.begin(party, number).is_ok()));
        assert_eq!(turns.begin(party, 0), Err(0));
    }
}
