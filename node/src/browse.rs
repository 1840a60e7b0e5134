//! Answers what other nodes ask of our own shares: the index protocol as a node serves it.

use std::sync::Arc;

use libp2p::PeerId;
use potluck_common::codec::Malformed;
use potluck_common::limits::{Stop, Tally};
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::search::PeerNo;
use potluck_common::search::answer::{Card, Directory, is_named};
use potluck_common::transport::key_of;
use potluck_common::wire::index::{Address, Answer, List, ListPage, Nickname, PeerInfo, PeersPage, Request, Search, Sources};
use potluck_common::wire::{Bounded, MAX_ADDRESSES, Refusal};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use crate::core::audience::Reader;
use crate::indexer::Indexer;
use crate::net::{IndexReply, NetHandle};
use crate::shares::{ME, Shares};

/// Files of one listing that are hashed before others: a peer cannot reorder all the hashing.
const MAX_HURRIED: usize = 16;

/// Serves the index protocol over the node's own shares.
#[derive(Clone)]
pub(crate) struct Browse {
    setup: Arc<Setup>,
    searches: Searches,
}

/// The searches and listings that run: so many at a time.
#[derive(Clone, Debug)]
struct Searches {
    free: Arc<Semaphore>,
    tally: Tally,
}

/// What the answers are made from.
pub(crate) struct Setup {
    pub(crate) shares: Arc<Shares>,
    pub(crate) indexer: Indexer,
    pub(crate) net: NetHandle,
    pub(crate) tally: Tally,
    pub(crate) namespace: Namespace,
    pub(crate) nickname: Nickname,
    pub(crate) me: PeerKey,
    pub(crate) addresses: watch::Receiver<Vec<Address>>,
}

/// The only peer in a node's own index.
struct Myself {
    me: PeerKey,
    nickname: Nickname,
    addresses: Bounded<Address, MAX_ADDRESSES>,
}

impl Directory for Myself {
    fn peer_no(&self, peer: &PeerKey) -> Option<PeerNo> {
        (*peer == self.me).then_some(ME)
    }

    fn card(&self, peer: PeerNo) -> Option<Card<'_>> {
        (peer == ME).then_some(Card { peer: self.me, nickname: &self.nickname, addresses: &self.addresses })
    }

    fn peers_named(&self, name: &str) -> Vec<PeerNo> {
        is_named(name, &self.me, &self.nickname).then_some(ME).into_iter().collect()
    }

    fn unix_now(&self) -> Option<i64> {
        Some(crate::clock::unix_seconds())
    }
}

impl Searches {
    fn new(most: u64, tally: Tally) -> Self {
        let most = usize::try_from(most.max(1)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(most)), tally }
    }

    /// Begins one, which runs until what is returned is dropped; `None` when as many run as may.
    fn begin(&self) -> Option<SemaphorePermit<'_>> {
        let begun = self.free.try_acquire().ok();
        if begun.is_none() {
            self.tally.count(Stop::Requests);
        }
        begun
    }
}

impl Browse {
    /// Answers; `most` at a time, those beyond are told that we are busy.
    pub(crate) fn new(setup: Setup, most: u64) -> Self {
        let searches = Searches::new(most, setup.tally.clone());
        Self { setup: Arc::new(setup), searches }
    }

    /// Answers a request in a task of its own. Never waits.
    pub(crate) fn handle(&self, peer: PeerId, request: Result<Request, Malformed>, reply: IndexReply) {
        let this = self.clone();
        tokio::spawn(async move {
            let answer = match request {
                Ok(request) => this.answer(peer, request).await,
                Err(error) => {
                    tracing::debug!(%peer, %error, "event=malformed_request");
                    Answer::Refused { why: Refusal::Unsupported }
                }
            };
            this.setup.net.answer_index(reply, answer).await;
        });
    }

    async fn answer(self: &Browse, peer: PeerId, request: Request) -> Answer {
        let refused = |why| Answer::Refused { why };
        let Some(reader) = key_of(&peer).map(Reader::Peer) else { return refused(Refusal::NotFound) };
        let namespace = match &request {
            Request::List(List { namespace, .. })
            | Request::Search(Search { namespace, .. })
            | Request::Sources(Sources { namespace, .. }) => namespace,
            Request::Peers(ask) => &ask.namespace,
            Request::Publish(_) | Request::Withdraw(_) | Request::Watch(_) => return refused(Refusal::Unsupported),
        };
        if *namespace != self.setup.namespace {
            return refused(Refusal::NotFound);
        }
        let Some(_running) = self.searches.begin() else { return refused(Refusal::Busy) };
        let this = self.clone();
        let answered = tokio::task::spawn_blocking(move || this.look_up(&reader, &request)).await;
        answered.unwrap_or(Answer::Refused { why: Refusal::Unavailable })
    }

    /// Reads the tables; may take milliseconds.
    fn look_up(&self, reader: &Reader, request: &Request) -> Answer {
        let setup = &self.setup;
        let addresses = Bounded::truncated(setup.addresses.borrow().iter().cloned());
        if let Request::Peers(_) = request {
            let (files, bytes, _) = setup.shares.totals(reader);
            let myself = PeerInfo { peer: setup.me, nickname: setup.nickname.clone(), addresses, files, bytes };
            return Answer::Peers(PeersPage { peers: Bounded::truncated([myself]), next: None });
        }
        let myself = Myself { me: setup.me, nickname: setup.nickname.clone(), addresses };
        let answered = setup.shares.lock().answer_for(reader, &myself, request);
        if let Some(Answer::List(page)) = &answered {
            self.hurry(page);
        }
        answered.unwrap_or(Answer::Refused { why: Refusal::Unsupported })
    }

    /// Whoever looks at files may want them: those that are not hashed yet come first.
    fn hurry(&self, page: &ListPage) {
        let unhashed = page.entries.iter().filter(|entry| entry.content_id.is_none());
        unhashed.take(MAX_HURRIED).for_each(|entry| self.setup.indexer.hurry(&entry.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G053.
    #[test]
    fn as_many_searches_run_as_may_and_one_more_is_refused_and_counted() {
        let tally = Tally::default();
        let refused = || tally.counts().into_iter().find_map(|(name, count)| (name == "requests").then_some(count));
        let searches = Searches::new(4, tally.clone());
        let mut running: Vec<_> = (0..4).map_while(|_| searches.begin()).collect();
        assert_eq!((running.len(), refused()), (4, Some(0)));
        assert!(searches.begin().is_none());
        assert_eq!(refused(), Some(1));
        running.pop();
        assert!(searches.begin().is_some(), "one has ended");
    }
}
