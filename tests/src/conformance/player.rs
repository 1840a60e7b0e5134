//! [`Peer`]: who plays a case, and the words in which cases are written.

use std::time::Duration;

use libp2p::identity::Keypair;
use potluck_common::content_id::ContentId;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::SharePath;
use potluck_common::wire::index::{
    Address, Answer, Change, Entry, List, Nickname, PeerInfo, Peers, Publish, Request, Search, SearchPage, Sources,
};
use potluck_common::wire::{Bounded, Refusal, Text};

use super::Place;
use crate::failure::{Failure, Result};
use crate::publisher::Publisher;

/// How long a tracker that is busy is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// A peer that a case plays.
pub(super) struct Peer {
    pub(super) publisher: Publisher,
    pub(super) identity: Keypair,
    pub(super) place: Place,
    pub(super) nickname: String,
    pub(super) epoch: u64,
    pub(super) revision: u64,
}

/// Fails unless two things are alike.
#[track_caller]
pub(super) fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T, what: &str) -> Result {
    if found == wanted { Ok(()) } else { Err(Failure::new(format!("{what}: {found:?} instead of {wanted:?}"))) }
}

pub(super) fn path(text: &str) -> Result<SharePath> {
    SharePath::parse(text).map_err(|error| Failure::new(format!("{text}: {error}")))
}

/// A hashed file whose content is its name for everybody.
pub(super) fn file(text: &str, size: u64) -> Result<Change> {
    copy(text, text, size, 1_000)
}

pub(super) fn copy(text: &str, content: &str, size: u64, mtime: i64) -> Result<Change> {
    Ok(Change::Put(Entry { path: path(text)?, size, mtime, content_id: Some(ContentId::of(content.as_bytes())) }))
}

impl Peer {
    pub(super) async fn join(place: &Place, nickname: &str) -> Result<Self> {
        Self::join_as(place, nickname, Keypair::generate_ed25519()).await
    }

    pub(super) async fn join_as(place: &Place, nickname: &str, identity: Keypair) -> Result<Self> {
        let publisher = Publisher::connect(identity.clone(), &place.tracker).await?;
        Ok(Self { publisher, identity, place: place.clone(), nickname: nickname.to_owned(), epoch: 7, revision: 0 })
    }

    pub(super) fn key(&self) -> PeerKey {
        self.publisher.key()
    }

    pub(super) fn message(&self, base: u64, revision: u64, changes: impl IntoIterator<Item = Change>) -> Publish {
        Publish {
            namespace: self.place.namespace.clone(),
            nickname: Nickname::truncated(&self.nickname),
            addresses: Bounded::truncated([Address::truncated("/ip4/10.0.0.1/tcp/4001")]),
            epoch: self.epoch,
            base,
            revision,
            changes: Bounded::truncated(changes),
        }
    }

    /// Publishes on from where it stands.
    pub(super) async fn publish(&mut self, changes: impl IntoIterator<Item = Change>) -> Result {
        let message = self.message(self.revision, self.revision + 1, changes);
        let held = self.publisher.publish(&message).await?;
        self.revision += 1;
        same(held, self.revision, "the revision that is held")
    }

    pub(super) async fn ask(&mut self, request: Request) -> Result<Answer> {
        loop {
            match self.publisher.ask(request.clone()).await? {
                Answer::Refused { why: Refusal::Busy } => self.publisher.stay(PAUSE).await,
                answer => return Ok(answer),
            }
        }
    }

    pub(super) async fn search_page(&mut self, text: &str, after: Option<&str>, limit: u32) -> Result<SearchPage> {
        let after = after.map(Text::truncated);
        let ask = Search { namespace: self.place.namespace.clone(), text: Text::truncated(text), after, limit };
        match self.ask(Request::Search(ask)).await? {
            Answer::Search(page) => Ok(page),
            other => Err(Failure::new(format!("{text}: {other:?}"))),
        }
    }

    /// The paths that a search finds, in order.
    pub(super) async fn search(&mut self, text: &str) -> Result<Vec<String>> {
        let page = self.search_page(text, None, 1000).await?;
        same(page.total, page.hits.len() as u64, text)?;
        Ok(page.hits.iter().map(|hit| hit.path.to_string()).collect())
    }

    pub(super) async fn peers(&mut self) -> Result<Vec<PeerInfo>> {
        let ask = Peers { namespace: self.place.namespace.clone(), peer: None, after: None, limit: 1000 };
        match self.ask(Request::Peers(ask)).await? {
            Answer::Peers(page) => Ok(page.peers.into_vec()),
            other => Err(Failure::new(format!("{other:?}"))),
        }
    }

    pub(super) async fn list(
        &mut self,
        peer: PeerKey,
        under: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Option<(Vec<String>, Option<String>)>> {
        let under = under.map(path).transpose()?;
        let ask = List { namespace: self.place.namespace.clone(), peer, under, after: after.map(Text::truncated), limit };
        match self.ask(Request::List(ask)).await? {
            Answer::List(page) => {
                let paths = page.entries.iter().map(|entry| entry.path.to_string()).collect();
                Ok(Some((paths, page.next.map(|next| next.to_string()))))
            }
            Answer::Refused { why: Refusal::NotFound } => Ok(None),
            other => Err(Failure::new(format!("{other:?}"))),
        }
    }

    /// The peers that have a content.
    pub(super) async fn sources(&mut self, content: &str) -> Result<Vec<PeerKey>> {
        let content_ids = Bounded::truncated([ContentId::of(content.as_bytes())]);
        match self.ask(Request::Sources(Sources { namespace: self.place.namespace.clone(), content_ids })).await? {
            Answer::Sources(found) => {
                let places = found.found.iter().flat_map(|of| of.peers.iter());
                Ok(places.filter_map(|place| found.peers.get(usize::from(*place))).map(|peer| peer.peer).collect())
            }
            other => Err(Failure::new(format!("{other:?}"))),
        }
    }
}
