//! Asking trackers and dialled peers, and joining their answers.
//!
//! Nothing that is told here is believed further than it must be: names are hints, sizes and sources are proven by the
//! transfer, and a party that pages without end is cut off.

mod in_time;
mod reaching;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use libp2p::{Multiaddr, PeerId};
use potluck_common::content_id::ContentId;
use potluck_common::namespace::Namespace;
use potluck_common::nearness::Nearness;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::SharePath;
use potluck_common::transport::{ip_of, key_of, peer_of};
use potluck_common::wire::index::{
    Address, Answer, Cursor, Entry, Hit, List, MAX_PAGE, PeerInfo, Peers, Request, Search, SearchPage, SourcePeer, Sources,
};
use potluck_common::wire::{Bounded, Refusal, Text, index::MAX_SOURCE_IDS};
use tokio::sync::{Semaphore, mpsc};

use crate::clock::now;
use crate::contacts::Contacts;
use crate::dialling::{DialBudget, STRANGERS_AT_ONCE, may_dial, nearness};
use crate::error::{CommandError, Failure};
use crate::net::{AskError, NetHandle};
use crate::trackers::NOT_A_MEMBER;
use crate::whereabouts::Whereabouts;
use in_time::in_time;

/// Most pages that are read of one listing: two million entries. A peer that goes on is cut off.
const MAX_PAGES: usize = 2000;
/// Most hits of a search whose sources are looked up before anybody asks: who finds so few has found it.
const MAX_LOOKED_AHEAD: usize = 8;
/// How long a search waits for one party.
const SEARCH_PATIENCE: Duration = Duration::from_secs(4);
/// How long after a party said that it is busy it is asked again: as long as it takes to serve 50 others, for who asks on is cut off.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Asks whoever should know.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) net: NetHandle,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) namespace: Namespace,
    /// What keeps us from dialling a victim of who lies to us.
    pub(crate) budget: Arc<Mutex<DialBudget>>,
    /// The same for machines on the Internet, all together.
    strangers: Arc<Semaphore>,
    /// What the last searches found.
    pub(crate) whereabouts: Arc<Whereabouts>,
}

/// Why one party did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("{0}")]
    Ask(#[from] AskError),
    #[error("{0}")]
    Refused(Refusal),
    #[error("it took too long")]
    TooSlow,
    #[error("it answered something else")]
    Nonsense,
}

/// The answers of all parties to a search, joined.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    pub(crate) hits: Vec<Hit>,
    pub(crate) total: u64,
    pub(crate) more: bool,
    pub(crate) corrected: Option<String>,
    pub(crate) unanswered: Vec<String>,
    /// How many parties answered.
    pub(crate) answered: usize,
    /// Whether those who did not answer all belong to a private swarm that we are not in.
    pub(crate) is_outside: bool,
}

impl Unanswered {
    /// Whether the party speaks to members only, and we are none.
    fn is_closed_door(&self) -> bool {
        matches!(self, Self::Ask(AskError::Unsupported) | Self::Refused(Refusal::NotPermitted))
    }
}

/// Where a content can be had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) size: Option<u64>,
    /// Where one of them has it: a proposal for a name.
    pub(crate) path: Option<SharePath>,
    pub(crate) peers: Vec<PeerId>,
}

/// The answers of all parties to a question for sources, joined.
#[derive(Debug, Default)]
struct Sourced {
    found: HashMap<ContentId, Found>,
    /// Who did not answer, and why; without those who speak to members only.
    unanswered: Vec<String>,
}

impl Asking {
    /// Asks in one namespace.
    pub(crate) fn new(net: NetHandle, contacts: Arc<Contacts>, namespace: Namespace) -> Self {
        Self {
            net,
            contacts,
            namespace,
            budget: Arc::default(),
            strangers: Arc::new(Semaphore::new(STRANGERS_AT_ONCE)),
            whereabouts: Arc::default(),
        }
    }

    pub(crate) async fn ask(&self, party: PeerId, request: Request) -> Result<Answer, Unanswered> {
        match self.net.ask_index(party, request).await {
            Ok(Answer::Refused { why }) => Err(Unanswered::Refused(why)),
            Ok(answer) => Ok(answer),
            // a request that is sent along with the proposal of its protocol may be cut off before it is refused
            Err(AskError::Lost) if self.is_closed(&party) => Err(AskError::Unsupported.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a party is in a private swarm and does not have us as a member.
    pub(crate) fn is_closed(&self, party: &PeerId) -> bool {
        let identity = self.contacts.get(party).and_then(|contact| contact.identity);
        identity.is_some_and(|identity| identity.is_closed)
    }

    fn parties(&self) -> Vec<PeerId> {
        let mut parties = self.contacts.trackers();
        parties.extend(self.contacts.direct_peers());
        parties
    }

    /// Searches at every tracker and every dialled peer at once; best hits first, one hit a content.
    pub(crate) async fn search(&self, text: &str, limit: u32) -> Joined {
        let parties = self.parties();
        let answers = in_time(parties.iter().map(|party| self.search_one(*party, text, limit))).await;
        let mut joined = Joined { is_outside: true, ..Joined::default() };
        let mut places: HashMap<ContentId, usize> = HashMap::new();
        for (party, answer) in parties.into_iter().zip(answers) {
            match answer {
                Ok(page) => joined.add(page, &mut places),
                Err(why) => {
                    joined.is_outside &= why.is_closed_door();
                    joined.unanswered.push(format!("{party}: {why}"));
                }
            }
        }
        joined.hits.truncate(limit as usize);
        joined
    }

    async fn search_one(&self, party: PeerId, text: &str, limit: u32) -> Result<SearchPage, Unanswered> {
        let mut all = SearchPage::default();
        let mut hits = Vec::new();
        let mut after = None;
        while hits.len() < limit as usize {
            let wanted = (limit as usize - hits.len()).min(MAX_PAGE) as u32;
            let request = Search { namespace: self.namespace.clone(), text: Text::truncated(text), after, limit: wanted };
            let Answer::Search(mut page) = self.ask(party, Request::Search(request)).await? else { return Err(Unanswered::Nonsense) };
            let got = page.hits.len();
            hits.extend(std::mem::take(&mut page.hits));
            after = page.next.take().filter(|_| got > 0);
            all = page;
            if after.is_none() {
                break;
            }
        }
        Ok(SearchPage { hits: Bounded::truncated(hits), ..all })
    }

    /// All peers that the trackers know and those that were dialled, without this node.
    ///
    /// # Errors
    /// When nobody could be asked.
    pub(crate) async fn peers(&self) -> Result<Vec<PeerInfo>, CommandError> {
        let mut all: HashMap<PeerKey, PeerInfo> = HashMap::new();
        let (parties, own) = (self.parties(), self.own_ips().await);
        let answers = join_all(parties.iter().map(|party| self.peers_one(*party))).await;
        if !answers.is_empty() && answers.iter().all(|answer| answer.as_ref().is_err_and(Unanswered::is_closed_door)) {
            return Err(CommandError::new(Failure::NotPermitted, NOT_A_MEMBER));
        }
        if !answers.is_empty() && answers.iter().all(Result::is_err) {
            return Err(CommandError::new(Failure::Unreachable, "no tracker answered; `potluck status` shows what they say"));
        }
        let told = parties.into_iter().zip(answers).flat_map(|(party, peers)| peers.into_iter().flatten().map(move |peer| (party, peer)));
        for (party, peer) in told {
            if let Some(id) = peer_of(&peer.peer) {
                self.contacts.learn(id, &self.dialable(party, &own, &peer.addresses));
                self.contacts.name(id, &peer.nickname);
            }
            all.entry(peer.peer).or_insert(peer);
        }
        let mut all: Vec<PeerInfo> = all.into_values().collect();
        all.sort_by(|a, b| (&a.nickname, a.peer).cmp(&(&b.nickname, b.peer)));
        Ok(all)
    }

    async fn peers_one(&self, party: PeerId) -> Result<Vec<PeerInfo>, Unanswered> {
        let mut peers = Vec::new();
        let mut after = None;
        for _ in 0..MAX_PAGES {
            let request = Peers { namespace: self.namespace.clone(), peer: None, after, limit: MAX_PAGE as u32 };
            let Answer::Peers(page) = self.ask(party, Request::Peers(request)).await? else { return Err(Unanswered::Nonsense) };
            let got = page.peers.len();
            peers.extend(page.peers);
            after = page.next.filter(|_| got > 0);
            if after.is_none() {
                break;
            }
        }
        Ok(peers)
    }

    /// The peer that a user means by a PeerId, its last letters, or a nickname.
    ///
    /// # Errors
    /// When nobody or more than one has that name, or nobody could be asked.
    pub(crate) async fn resolve_peer(&self, name: &str) -> Result<PeerKey, CommandError> {
        if let Ok(peer) = name.parse() {
            return Ok(peer);
        }
        let peers = self.peers().await?;
        let by_nickname: Vec<&PeerInfo> = peers.iter().filter(|peer| &*peer.nickname == name).collect();
        let by_letters: Vec<&PeerInfo> = peers.iter().filter(|peer| name.len() >= 4 && peer.peer.to_string().ends_with(name)).collect();
        match (by_nickname.as_slice(), by_letters.as_slice()) {
            ([peer], _) | ([], [peer]) => Ok(peer.peer),
            ([], []) => Err(CommandError::new(Failure::NotFound, format!("no peer is called {name}; `potluck query` lists them"))),
            (several, others) => {
                let ids: Vec<String> = several.iter().chain(others).map(|peer| peer.peer.to_string()).collect();
                Err(CommandError::new(Failure::Usage, format!("{} peers are called {name}; use a PeerId: {}", ids.len(), ids.join(", "))))
            }
        }
    }

    /// Reads a peer's files at or below a path, page by page: from the peer itself if it is connected, else from a
    /// tracker. `pages` is given each page, and the reading waits for whoever takes them.
    ///
    /// # Errors
    /// When nobody who knows the peer answers.
    pub(crate) async fn list(&self, peer: PeerKey, under: Option<&SharePath>, pages: mpsc::Sender<Vec<Entry>>) -> Result<(), CommandError> {
        let mut parties: Vec<PeerId> =
            peer_of(&peer).into_iter().filter(|id| self.contacts.get(id).is_some_and(|contact| contact.connected.is_some())).collect();
        parties.extend(self.contacts.trackers());
        let mut last = None;
        for party in parties {
            let mut told = 0;
            match self.list_at(party, peer, under, &pages, &mut told).await {
                Ok(()) if told > 0 => return Ok(()),
                Ok(()) => {}
                Err(why) => last = Some(why),
            }
            if told > 0 {
                break; // another party would tell the same entries again
            }
        }
        match last {
            None | Some(Unanswered::Refused(Refusal::NotFound)) => Ok(()),
            Some(why) => Err(CommandError::new(Failure::Unreachable, format!("the files of {peer} cannot be listed: {why}; try again"))),
        }
    }

    /// Reads a listing at one party; counts the entries in `told`.
    async fn list_at(
        &self,
        party: PeerId,
        peer: PeerKey,
        under: Option<&SharePath>,
        pages: &mpsc::Sender<Vec<Entry>>,
        told: &mut u64,
    ) -> Result<(), Unanswered> {
        let mut after: Option<Cursor> = None;
        for _ in 0..MAX_PAGES {
            let request =
                List { namespace: self.namespace.clone(), peer, under: under.cloned(), after: after.clone(), limit: MAX_PAGE as u32 };
            let Answer::List(page) = self.ask(party, Request::List(request)).await? else { return Err(Unanswered::Nonsense) };
            let got = page.entries.len();
            *told += got as u64;
            let unread = pages.send(page.entries.into_vec()).await.is_err();
            if unread || page.next.is_none() || got == 0 || page.next == after {
                break;
            }
            after = page.next;
        }
        Ok(())
    }

    /// Who has these contents, as the trackers and the dialled peers say. Remembers the addresses.
    pub(crate) async fn sources(&self, ids: &[ContentId]) -> HashMap<ContentId, Found> {
        self.ask_for_sources(ids).await.found
    }

    async fn ask_for_sources(&self, ids: &[ContentId]) -> Sourced {
        let mut all = Sourced::default();
        let me = self.net.me();
        for ids in ids.chunks(MAX_SOURCE_IDS) {
            let request = Sources { namespace: self.namespace.clone(), content_ids: Bounded::truncated(ids.iter().copied()) };
            let (parties, own) = (self.parties(), self.own_ips().await);
            let asks = parties.clone().into_iter().map(|party| {
                let request = Request::Sources(request.clone());
                async move { tokio::time::timeout(SEARCH_PATIENCE, self.ask_until_free(party, request)).await }
            });
            for (party, answer) in parties.into_iter().zip(join_all(asks).await) {
                let found = match answer.unwrap_or(Err(Unanswered::TooSlow)) {
                    Ok(Answer::Sources(found)) => found,
                    Err(why) if why.is_closed_door() => continue,
                    unanswered => {
                        all.unanswered.push(format!("{party}: {}", unanswered.err().unwrap_or(Unanswered::Nonsense)));
                        continue;
                    }
                };
                let peers: Vec<Option<PeerId>> = found.peers.iter().map(|source| self.learn_source(party, &own, source)).collect();
                for content in found.found {
                    let known = all.found.entry(content.content_id).or_default();
                    known.size = known.size.or(Some(content.size));
                    known.path = known.path.take().or(content.path);
                    for peer in content.peers.iter().filter_map(|place| peers.get(usize::from(*place)).copied().flatten()) {
                        if peer != me && !known.peers.contains(&peer) {
                            known.peers.push(peer);
                        }
                    }
                }
            }
        }
        all
    }

    /// Asks a party again for as long as it says that it is busy: whoever calls this ends it.
    async fn ask_until_free(&self, party: PeerId, request: Request) -> Result<Answer, Unanswered> {
        loop {
            match self.ask(party, request.clone()).await {
                Err(Unanswered::Refused(Refusal::Busy)) => tokio::time::sleep(BUSY_PAUSE).await,
                answer => return answer,
            }
        }
    }

    /// Who has a content: as found out right after the last search, which may be going on, or by asking.
    ///
    /// # Errors
    /// When nobody is known to have it and somebody who might know did not answer.
    pub(crate) async fn sources_of(&self, id: ContentId) -> Result<Found, CommandError> {
        self.whereabouts.await_expected(id).await;
        if let Some(found) = self.whereabouts.recall(id, now()) {
            return Ok(found);
        }
        let mut sourced = self.ask_for_sources(&[id]).await;
        match sourced.found.remove(&id) {
            None if !sourced.unanswered.is_empty() => Err(CommandError::new(
                Failure::Unreachable,
                format!("who has {id} is not known: {}; try again, or see `potluck status`", sourced.unanswered.join("; ")),
            )),
            found => Ok(found.unwrap_or_default()),
        }
    }

    /// Finds out who has the few contents of a short list of hits: one of them is likely to be downloaded next.
    pub(crate) fn look_ahead(&self, hits: &[Hit]) {
        let ids: Vec<ContentId> = hits.iter().filter_map(|hit| hit.content_id).collect();
        if hits.len() > MAX_LOOKED_AHEAD || ids.is_empty() {
            return;
        }
        let (asking, expected) = (self.clone(), self.whereabouts.expect(&ids));
        tokio::spawn(async move {
            let found = asking.sources(&ids).await;
            asking.whereabouts.remember(found, now());
            drop(expected);
        });
    }

    fn learn_source(&self, party: PeerId, own: &[IpAddr], source: &SourcePeer) -> Option<PeerId> {
        let peer = peer_of(&source.peer)?;
        self.contacts.learn(peer, &self.dialable(party, own, &source.addresses));
        self.contacts.name(peer, &source.nickname);
        Some(peer)
    }

    /// Of the addresses that a party tells, those that it may make us dial.
    fn dialable(&self, party: PeerId, own: &[IpAddr], told: &[Address]) -> Vec<Multiaddr> {
        let at = self.contacts.get(&party).and_then(|contact| contact.connected);
        let teller = at.as_ref().map_or(Nearness::World, nearness);
        addresses(told).into_iter().filter(|address| may_dial(address, teller, own)).collect()
    }

    /// Where this node listens.
    async fn own_ips(&self) -> Vec<IpAddr> {
        self.net.addresses().await.iter().filter_map(ip_of).collect()
    }
}

impl Joined {
    fn add(&mut self, page: SearchPage, places: &mut HashMap<ContentId, usize>) {
        self.answered += 1;
        self.total = self.total.max(page.total);
        self.more |= page.more;
        if let Some(corrected) = page.corrected {
            self.corrected.get_or_insert(corrected.as_str().to_owned());
        }
        for hit in page.hits {
            let place = hit.content_id.and_then(|id| places.get(&id).copied());
            match place.and_then(|place| self.hits.get_mut(place)) {
                Some(known) => known.merge(hit),
                None => {
                    if let Some(id) = hit.content_id {
                        places.insert(id, self.hits.len());
                    }
                    self.hits.push(hit);
                }
            }
        }
        self.total = self.total.max(self.hits.len() as u64);
    }
}

/// Joins what two parties say of one content.
trait Merge {
    fn merge(&mut self, other: Self);
}

impl Merge for Hit {
    fn merge(&mut self, other: Self) {
        let mut holders = std::mem::take(&mut self.holders).into_vec();
        let known = holders.len();
        let new: Vec<_> = other.holders.into_iter().filter(|holder| !holders.iter().any(|one| one.peer == holder.peer)).collect();
        holders.extend(new);
        let union = self.sources + (holders.len() - known) as u32;
        self.sources = union.max(other.sources);
        self.holders = Bounded::truncated(holders);
    }
}

/// The multiaddrs among texts that a remote sent.
pub(crate) fn addresses(texts: &[Address]) -> Vec<Multiaddr> {
    texts.iter().filter_map(|text| text.as_str().parse().ok()).collect()
}

/// Whether a peer is the node itself.
pub(crate) fn is_me(net: &NetHandle, peer: &PeerKey) -> bool {
    key_of(&net.me()).as_ref() == Some(peer)
}
