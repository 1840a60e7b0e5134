//! [`Publisher`]: a peer that speaks the index protocol to a tracker, with our transport and any number of them in one
//! process; and [`Story`], what it publishes, so that anybody can tell what has to be there.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::request_response::{Event, Message};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, ping};
use potluck_common::content_id::ContentId;
use potluck_common::handshakes::Handshakes;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::SharePath;
use potluck_common::transport::{IndexBehaviour, build_swarm, index_behaviour, key_of, split_peer};
use potluck_common::wire::index::{Answer, Change, Entry, List, Nickname, Publish, Request};
use potluck_common::wire::{Bounded, Refusal};

use crate::failure::{Failure, Result};

/// The longest pause between two tries to reach a tracker, or to be served by one that is busy.
const PAUSE: Duration = Duration::from_millis(50);
/// Files that a story has at any time.
const STORY_FILES: u64 = 400;

/// A connected peer. It answers pings only while one of its methods runs.
pub struct Publisher {
    swarm: Swarm<Behaviour>,
    tracker: PeerId,
    key: PeerKey,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    index: IndexBehaviour,
    ping: ping::Behaviour,
}

/// What a peer publishes: at revision `r` one file is added, and one that is old by then is removed or changed.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// Tells it from the stories of other peers.
    pub number: u64,
}

impl Publisher {
    /// Connects to a tracker's address, which ends in its PeerId.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn connect(identity: Keypair, address: &str) -> Result<Self> {
        let address: Multiaddr = address.parse()?;
        let tracker = split_peer(address.clone()).1.ok_or_else(|| Failure::new("the address names no peer"))?;
        let behaviour = |_: &Keypair, _: &Handshakes| Behaviour { index: index_behaviour(), ping: ping::Behaviour::default() };
        let mut swarm = build_swarm(identity, behaviour)?;
        let key = key_of(swarm.local_peer_id()).ok_or_else(|| Failure::new("a strange identity"))?;
        swarm.dial(address)?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => return Ok(Self { swarm, tracker, key }),
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(Failure::new(error.to_string())),
                _ => {}
            }
        }
    }

    /// Connects to a tracker that may be starting, as often as it takes. Never ends when it does not come up.
    pub async fn connect_at_last(identity: &Keypair, address: &str) -> Self {
        loop {
            match Self::connect(identity.clone(), address).await {
                Ok(connected) => return connected,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Who it is.
    #[must_use]
    pub fn key(&self) -> PeerKey {
        self.key
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When the connection is lost, or no answer comes.
    pub async fn ask(&mut self, request: Request) -> Result<Answer> {
        let id = self.swarm.behaviour_mut().index.send_request(&self.tracker, Ok(request));
        loop {
            let SwarmEvent::Behaviour(BehaviourEvent::Index(event)) = self.swarm.select_next_some().await else { continue };
            match event {
                Event::Message { message: Message::Response { request_id, response }, .. } if request_id == id => return Ok(response),
                Event::OutboundFailure { request_id, error, .. } if request_id == id => return Err(Failure::new(error.to_string())),
                _ => {}
            }
        }
    }

    /// Publishes, as often as the tracker is busy or starting, and returns the revision that it holds then.
    ///
    /// # Errors
    /// When the connection is lost, or the tracker refuses for good.
    pub async fn publish(&mut self, publish: &Publish) -> Result<u64> {
        loop {
            match self.ask(Request::Publish(publish.clone())).await? {
                Answer::Published(held) => return Ok(held.revision),
                Answer::Refused { why: Refusal::Busy | Refusal::Unavailable } => self.stay(PAUSE).await,
                other => return Err(Failure::new(format!("not published: {other:?}"))),
            }
        }
    }

    /// All paths of a peer, in order, with their content ids.
    ///
    /// # Errors
    /// When the connection is lost, or the tracker refuses.
    pub async fn list(&mut self, namespace: &Namespace, peer: PeerKey) -> Result<BTreeMap<String, Option<ContentId>>> {
        let mut ask = List { namespace: namespace.clone(), peer, under: None, after: None, limit: 1000 };
        let mut all = BTreeMap::new();
        loop {
            match self.ask(Request::List(ask.clone())).await? {
                Answer::List(page) => {
                    all.extend(page.entries.iter().map(|entry| (entry.path.to_string(), entry.content_id)));
                    ask.after = page.next;
                }
                Answer::Refused { why: Refusal::Busy } => self.stay(PAUSE).await,
                other => return Err(Failure::new(format!("not listed: {other:?}"))),
            }
            if ask.after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Is there for some time, and answers pings.
    pub async fn stay(&mut self, time: Duration) {
        let _time_is_up = tokio::time::timeout(time, self.stay_for_ever()).await;
    }

    /// Is there, and answers pings, until the future is dropped.
    pub async fn stay_for_ever(&mut self) -> std::convert::Infallible {
        loop {
            self.swarm.select_next_some().await;
        }
    }
}

impl Story {
    /// The message from one revision to another. From a revision to itself it only asks.
    #[must_use]
    pub fn publish(&self, namespace: &Namespace, base: u64, revision: u64) -> Publish {
        Publish {
            namespace: namespace.clone(),
            nickname: Nickname::truncated(&format!("peer {}", self.number)),
            addresses: Bounded::default(),
            epoch: self.number + 1,
            base,
            revision,
            changes: Bounded::truncated((base + 1..=revision).flat_map(|revision| self.changes(revision))),
        }
    }

    /// What is there at a revision: paths with their content ids.
    #[must_use]
    pub fn told_until(&self, revision: u64) -> BTreeMap<String, Option<ContentId>> {
        let mut all = BTreeMap::new();
        for change in (1..=revision).flat_map(|revision| self.changes(revision)) {
            match change {
                Change::Put(entry) => drop(all.insert(entry.path.to_string(), entry.content_id)),
                Change::Remove(path) => drop(all.remove(path.as_str())),
            }
        }
        all
    }

    fn changes(&self, revision: u64) -> Vec<Change> {
        let put = |file: u64| {
            let path = self.path(file)?;
            let content_id = Some(ContentId::of(&[self.number, file, revision].map(u64::to_be_bytes).concat()));
            Some(Change::Put(Entry { path, size: revision, mtime: 0, content_id }))
        };
        let old = revision.checked_sub(STORY_FILES);
        let second = match old {
            Some(old) if old % 3 == 0 => put(old),
            Some(old) => self.path(old).map(Change::Remove),
            None => None,
        };
        put(revision).into_iter().chain(second).collect()
    }

    fn path(&self, file: u64) -> Option<SharePath> {
        SharePath::parse(&format!("story {}/chapter {}/file {file:06}.txt", self.number, file % 7)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_the_same_in_any_pages() {
        let story = Story { number: 3 };
        let all = story.told_until(1000);
        assert!(all.len() > STORY_FILES as usize && all.len() < 1000, "{} files", all.len());
        let namespace = Namespace::default();
        assert_eq!(story.publish(&namespace, 0, 10).changes.len(), 10);
        assert_eq!(story.publish(&namespace, 990, 1000).changes.len(), 20);
        assert!(story.publish(&namespace, 7, 7).changes.is_empty());
    }
}
