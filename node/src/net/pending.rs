//! Who waits for what: requests and dials that are under way.

use std::collections::HashMap;
use std::hash::Hash;

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
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

type Waiting = Vec<oneshot::Sender<Result<PeerId, DialError>>>;

/// Dials that are under way. Those to one peer share one attempt.
#[derive(Default)]
pub(super) struct Dials {
    attempts: HashMap<ConnectionId, (Option<PeerId>, Waiting)>,
}

impl Dials {
    /// Joins the attempt to reach a peer, if there is one; else gives the sender back.
    pub(super) fn join(
        &mut self,
        peer: PeerId,
        reply: oneshot::Sender<Result<PeerId, DialError>>,
    ) -> Option<oneshot::Sender<Result<PeerId, DialError>>> {
        match self.attempts.values_mut().find(|(wanted, _)| *wanted == Some(peer)) {
            Some((_, waiting)) => {
                waiting.push(reply);
                None
            }
            None => Some(reply),
        }
    }

    pub(super) fn begin(&mut self, id: ConnectionId, peer: Option<PeerId>, reply: oneshot::Sender<Result<PeerId, DialError>>) {
        self.attempts.insert(id, (peer, vec![reply]));
    }

    /// An attempt has reached somebody, who is not admitted yet.
    pub(super) fn reached(&mut self, id: ConnectionId, peer: PeerId) {
        if let Some((wanted, _)) = self.attempts.get_mut(&id) {
            *wanted = Some(peer);
        }
    }

    /// Ends all attempts to reach a peer.
    pub(super) fn settle_peer(&mut self, peer: PeerId, outcome: &Result<PeerId, DialError>) {
        for (_, (_, waiting)) in self.attempts.extract_if(|_, (wanted, _)| *wanted == Some(peer)) {
            waiting.into_iter().for_each(|reply| drop(reply.send(outcome.clone())));
        }
    }

    pub(super) fn settle(&mut self, id: ConnectionId, outcome: &Result<PeerId, DialError>) {
        for reply in self.attempts.remove(&id).map(|(_, waiting)| waiting).unwrap_or_default() {
            let _ = reply.send(outcome.clone());
        }
    }
}
