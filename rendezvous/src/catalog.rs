//! Who offers what, in which namespace, until when. Pure: the time is an argument, the answers are return values.
//!
//! A registration is in exactly one presence: online, silent, in grace, or parked. Only of those that are online or in
//! grace anything is told. It ends when its lease lapses or its peer leaves, whatever its presence.
//!
//! | what happens | online | silent | in grace | parked |
//! |---|---|---|---|---|
//! | `publish` that is in step | online | online | online | online |
//! | `handle_lost`: the last connection is closed | in grace | parked | – | – |
//! | `handle_silent`: no ping was answered | silent | – | – | – |
//! | `handle_heard`: a ping was answered after all | – | online | – | – |
//! | `handle_tick` after [`GRACE`] | – | – | parked | – |
//! | `park`: the peer ends and means to come back | parked | parked | parked | parked |
//!
//! A new connection alone brings nobody back who publishes: the same identity may have been started for another
//! purpose. A peer that registered by rendezvous only knows no better, so its connection does.

mod overview;
mod registration;
mod restore;
mod shelves;

pub use restore::Saved;
pub use shelves::ShelfNo;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::search::answer::{Card, Directory, PageBudget, answer, is_named};
use potluck_common::search::{Done, Index, Job, PeerNo, Totals};
use potluck_common::wire::index::{
    Address, Answer, MAX_PAGE, Nickname, PeerInfo, Peers, PeersPage, Publish, Request, SearchPage, SourcesFound,
};
use potluck_common::wire::{Bounded, MAX_ADDRESSES, Refusal, Text};

use crate::numbers::Numbers;
use crate::quota::Limits;
use registration::{Offer, OverQuota, Presence, Registration};
use shelves::Shelves;

/// How long a peer without a connection stays in the answers: a node that changes from Wi-Fi to cable is back by then.
pub const GRACE: Duration = Duration::from_secs(2);

/// All registrations, by namespace.
#[derive(Debug)]
pub struct Catalog {
    limits: Limits,
    lease: Duration,
    groups: HashMap<Namespace, Group>,
    next_serial: u64,
    memberships: HashMap<PeerKey, BTreeSet<Namespace>>,
    held: Held,
    shelves: Shelves,
}

/// What the catalog holds in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Files.
    pub files: u64,
    /// Bytes of their paths.
    pub path_bytes: u64,
}

/// What became of a `Publish`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Published {
    /// Nothing is new but the lease: the peer is at the revision that it named.
    InStep,
    /// The changes were taken: the peer is at the revision that it named. They are to be saved on this shelf, where those of
    /// base 0 are the first.
    Taken(ShelfNo),
    /// The changes do not follow on what is held: the revision that is, of the epoch that was named; 0 for none.
    OutOfStep(u64),
    /// A limit is reached. Changes up to the one that did not fit were taken, under the revision from before: they say
    /// how things are, not how they differ, so that sending them again does no harm.
    OverQuota,
    /// The revisions contradict each other.
    Nonsense,
}

/// The peers and files of one namespace.
#[derive(Debug, Default)]
struct Group {
    /// Tells it from another of the same name, before or after it.
    serial: u64,
    index: Index,
    /// The calendar at the last tick, in seconds since 1970.
    unix_now: Option<i64>,
    numbers: Numbers,
    registrations: BTreeMap<PeerKey, Registration>,
}

/// A registration and what belongs to it.
struct Place<'a> {
    index: &'a mut Index,
    registration: &'a mut Registration,
    held: &'a mut Held,
    shelves: &'a mut Shelves,
}

/// Work on the index of one namespace, or its result.
#[derive(Debug)]
pub struct IndexJob<T> {
    namespace: Namespace,
    serial: u64,
    work: T,
}

impl IndexJob<Job> {
    /// Does the work: up to 100 ms of one core.
    #[must_use]
    pub fn run(self) -> IndexJob<Done> {
        IndexJob { namespace: self.namespace, serial: self.serial, work: self.work.run() }
    }
}

impl Catalog {
    /// A catalog of nothing. `lease` is how long a registration lasts that is not renewed.
    #[must_use]
    pub fn new(limits: Limits, lease: Duration) -> Self {
        Self {
            limits,
            lease,
            groups: HashMap::new(),
            next_serial: 0,
            memberships: HashMap::new(),
            held: Held::default(),
            shelves: Shelves::default(),
        }
    }

    /// How long a registration lasts that is not renewed.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// What is held in all, parked entries included.
    #[must_use]
    pub fn held(&self) -> Held {
        self.held
    }

    /// Takes what a peer offers, or renews its lease.
    pub fn publish(&mut self, peer: PeerKey, publish: &Publish, now: Instant) -> Published {
        let Publish { namespace, epoch, base, revision, changes, .. } = publish;
        if revision < base || (revision == base && !changes.is_empty()) {
            return Published::Nonsense;
        }
        let held = self.revision(namespace, &peer, *epoch);
        if *base != 0 && *base != held {
            return Published::OutOfStep(held);
        }
        let expires_at = now + self.lease;
        let limits = self.limits;
        let Ok(Place { index, registration, held, shelves }) = self.place(namespace, peer, now) else { return Published::OverQuota };
        registration.nickname = publish.nickname.clone();
        registration.addresses = publish.addresses.clone();
        registration.expires_at = expires_at;
        if *base == 0 {
            let shelf = (*revision != 0).then(|| shelves.take());
            registration.start_anew(index, held, shelves, *epoch, shelf);
        }
        registration.presence = Presence::Online;
        index.set_online(registration.no, true);
        if changes.iter().any(|change| registration.take(index, held, &limits, change).is_err()) {
            return Published::OverQuota;
        }
        registration.set_revision(*revision);
        registration.shelf().filter(|_| revision != base).map_or(Published::InStep, Published::Taken)
    }

    /// Changes that were taken could not be saved: what the peer offers goes on being found, but it has to publish it anew,
    /// since what would come next would not follow on what is saved.
    pub fn handle_unsaved(&mut self, namespace: &Namespace, peer: &PeerKey, shelf: ShelfNo) {
        let group = self.groups.get_mut(namespace);
        let registration = group.and_then(|group| group.registrations.get_mut(peer)).filter(|known| known.shelf() == Some(shelf));
        if let Some(registration) = registration {
            registration.set_revision(0);
        }
    }

    /// A peer that is there has changes, which cannot be taken now: what is known of it stays.
    pub fn keep(&mut self, namespace: &Namespace, peer: &PeerKey, now: Instant) {
        let Some(group) = self.groups.get_mut(namespace) else { return };
        if let Some(registration) = group.registrations.get_mut(peer) {
            registration.expires_at = registration.expires_at.max(now + self.lease);
            registration.set_presence(&mut group.index, Presence::Online);
        }
    }

    /// The shelves that nothing is wanted of any more, each told once.
    pub fn take_gone(&mut self) -> Vec<ShelfNo> {
        self.shelves.take_gone()
    }

    /// A peer has registered by rendezvous, for `ttl`. Changes nothing for a peer that publishes.
    pub fn handle_rendezvous(
        &mut self,
        namespace: &Namespace,
        peer: PeerKey,
        addresses: Bounded<Address, MAX_ADDRESSES>,
        ttl: Duration,
        now: Instant,
    ) {
        let Ok(Place { index, registration, .. }) = self.place(namespace, peer, now) else { return };
        if let Offer::Nothing = registration.offer {
            registration.addresses = addresses;
            registration.set_presence(index, Presence::Online);
            registration.expires_at = now + ttl;
        }
    }

    /// A peer leaves a namespace: nothing of it is told or kept any more.
    pub fn withdraw(&mut self, namespace: &Namespace, peer: &PeerKey) {
        if let Some(group) = self.groups.get_mut(namespace) {
            group.drop_registration(peer, &mut self.held, &mut self.shelves);
            if group.registrations.is_empty() {
                self.groups.remove(namespace);
            }
        }
        if let Some(namespaces) = self.memberships.get_mut(peer) {
            namespaces.remove(namespace);
            if namespaces.is_empty() {
                self.memberships.remove(peer);
            }
        }
    }

    /// A peer leaves a namespace and means to come back: nothing of it is told any more; what it offers is kept until its lease
    /// ends.
    pub fn park(&mut self, namespace: &Namespace, peer: &PeerKey) {
        let group = self.groups.get_mut(namespace);
        let known = group.and_then(|group| Some((group.registrations.get_mut(peer)?, &mut group.index)));
        match known {
            Some((registration, index)) if matches!(registration.offer, Offer::Files { .. }) => {
                registration.set_presence(index, Presence::Parked);
            }
            _ => self.withdraw(namespace, peer),
        }
    }

    /// A peer has unregistered by rendezvous: it leaves, unless it is parked.
    pub fn handle_unregistered(&mut self, namespace: &Namespace, peer: &PeerKey) {
        let known = self.groups.get(namespace).and_then(|group| group.registrations.get(peer));
        let is_parked = |known: &Registration| known.presence == Presence::Parked && matches!(known.offer, Offer::Files { .. });
        if !known.is_some_and(is_parked) {
            self.withdraw(namespace, peer);
        }
    }

    /// A peer leaves all its namespaces.
    pub fn withdraw_all(&mut self, peer: &PeerKey) {
        for namespace in self.memberships.get(peer).cloned().unwrap_or_default() {
            self.withdraw(&namespace, peer);
        }
    }

    /// A peer has connected.
    pub fn handle_connected(&mut self, peer: &PeerKey) {
        self.change_presence(peer, |registration| match registration.offer {
            Offer::Nothing => Presence::Online,
            Offer::Files { .. } => registration.presence,
        });
    }

    /// A peer's last connection was closed.
    pub fn handle_lost(&mut self, peer: &PeerKey, now: Instant) {
        self.change_presence(peer, |registration| match registration.presence {
            Presence::Online => Presence::Grace { until: now + GRACE },
            Presence::Silent => Presence::Parked,
            other => other,
        });
    }

    /// A connected peer does not answer pings.
    pub fn handle_silent(&mut self, peer: &PeerKey) {
        self.change_presence(peer, |registration| match registration.presence {
            Presence::Online => Presence::Silent,
            other => other,
        });
    }

    /// A silent peer answers pings again.
    pub fn handle_heard(&mut self, peer: &PeerKey) {
        self.change_presence(peer, |registration| match registration.presence {
            Presence::Silent => Presence::Online,
            other => other,
        });
    }

    /// Time has passed: leases lapse, grace ends. Looks at every registration; ten thousand take well under a millisecond.
    pub fn handle_tick(&mut self, now: Instant) {
        let mut lapsed = Vec::new();
        for (namespace, group) in &mut self.groups {
            for (peer, registration) in &mut group.registrations {
                if registration.expires_at <= now {
                    lapsed.push((namespace.clone(), *peer));
                } else if matches!(registration.presence, Presence::Grace { until } if until <= now) {
                    registration.set_presence(&mut group.index, Presence::Parked);
                }
            }
        }
        for (namespace, peer) in lapsed {
            self.withdraw(&namespace, &peer);
        }
    }

    /// Takes the calendar, in seconds since 1970-01-01 UTC: what is new is told by it.
    pub fn set_calendar(&mut self, unix_now: i64) {
        self.groups.values_mut().for_each(|group| group.unix_now = Some(unix_now));
    }

    /// A few milliseconds of tidying in the indexes. False when there is nothing left to do.
    pub fn tidy(&mut self) -> bool {
        self.groups.values_mut().filter_map(|group| group.index.tidy().then_some(())).count() > 0
    }

    /// Work on an index that takes too long to wait for: run it elsewhere, then give the result to
    /// [`finish_job`](Self::finish_job).
    pub fn next_job(&mut self) -> Option<IndexJob<Job>> {
        self.groups.iter_mut().find_map(|(namespace, group)| {
            let work = group.index.next_job()?;
            Some(IndexJob { namespace: namespace.clone(), serial: group.serial, work })
        })
    }

    /// Takes the result of a job over, unless its index is gone by now.
    pub fn finish_job(&mut self, done: IndexJob<Done>) {
        if let Some(group) = self.groups.get_mut(&done.namespace).filter(|group| group.serial == done.serial) {
            group.index.finish_job(done.work);
        }
    }

    /// Answers a request that reads. A namespace in which nobody is registered is an empty one, not an error.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Answer {
        let namespace = match request {
            Request::Peers(ask) => &ask.namespace,
            Request::List(ask) => &ask.namespace,
            Request::Search(ask) => &ask.namespace,
            Request::Sources(ask) => &ask.namespace,
            Request::Publish(_) | Request::Withdraw(_) | Request::Watch(_) => return Answer::Refused { why: Refusal::Unsupported },
        };
        match (self.groups.get(namespace), request) {
            (Some(group), Request::Peers(ask)) => Answer::Peers(group.peers(ask)),
            (Some(group), _) => answer(&group.index, group, request).unwrap_or(Answer::Refused { why: Refusal::Unsupported }),
            (None, Request::List(_)) => Answer::Refused { why: Refusal::NotFound }, // it names a peer, who is not there
            (None, Request::Search(_)) => Answer::Search(SearchPage::default()),
            (None, Request::Sources(_)) => Answer::Sources(SourcesFound::default()),
            (None, _) => Answer::Peers(PeersPage::default()),
        }
    }

    /// The revision that is held of a peer's epoch; 0 for none.
    fn revision(&self, namespace: &Namespace, peer: &PeerKey, of_epoch: u64) -> u64 {
        match self.groups.get(namespace).and_then(|group| group.registrations.get(peer)).map(|registration| &registration.offer) {
            Some(Offer::Files { epoch, revision, .. }) if *epoch == of_epoch => *revision,
            _ => 0,
        }
    }

    /// The registration of a peer, made when there is none and room for it.
    fn place(&mut self, namespace: &Namespace, peer: PeerKey, now: Instant) -> Result<Place<'_>, OverQuota> {
        if !self.groups.get(namespace).is_some_and(|group| group.registrations.contains_key(&peer)) {
            if self.admit(namespace, &peer).is_err() {
                self.make_room(namespace);
            }
            self.admit(namespace, &peer)?;
        }
        self.memberships.entry(peer).or_default().insert(namespace.clone());
        let serial = self.next_serial;
        let group = self.groups.entry(namespace.clone()).or_insert_with(|| Group { serial, ..Group::default() });
        self.next_serial = serial.max(group.serial + 1);
        let registration = group.registrations.entry(peer).or_insert_with(|| Registration {
            no: group.numbers.give(peer),
            nickname: Nickname::default(),
            addresses: Bounded::default(),
            offer: Offer::Nothing,
            presence: Presence::Parked,
            expires_at: now,
        });
        Ok(Place { index: &mut group.index, registration, held: &mut self.held, shelves: &mut self.shelves })
    }

    /// Whether one more registration is within the limits.
    fn admit(&self, namespace: &Namespace, peer: &PeerKey) -> Result<(), OverQuota> {
        let group_has_room = match self.groups.get(namespace) {
            Some(group) => (group.registrations.len() as u64) < self.limits.peers_per_namespace,
            None => (self.groups.len() as u64) < self.limits.namespaces,
        };
        let peer_has_room = (self.memberships.get(peer).map_or(0, BTreeSet::len) as u64) < self.limits.namespaces_per_peer;
        if group_has_room && peer_has_room { Ok(()) } else { Err(OverQuota) }
    }

    /// Where a namespace, or the list of them, is full: forgets somebody who is away, who has no files before who has some, and who
    /// has been away longest first. So who takes all the room has to stay connected, and connections are limited by where they
    /// come from.
    fn make_room(&mut self, namespace: &Namespace) {
        let is_full = self.groups.get(namespace).is_some_and(|group| group.registrations.len() as u64 >= self.limits.peers_per_namespace);
        let lacks_group = !self.groups.contains_key(namespace) && self.groups.len() as u64 >= self.limits.namespaces;
        let forgotten: Vec<(Namespace, PeerKey)> = if is_full {
            let longest_away = self.groups.get(namespace).and_then(Group::longest_away);
            longest_away.map(|peer| (namespace.clone(), peer)).into_iter().collect()
        } else if lacks_group {
            let deserted = self.groups.iter().find(|(_, group)| group.registrations.values().all(|one| !one.presence.is_told()));
            deserted.into_iter().flat_map(|(name, group)| group.registrations.keys().map(|peer| (name.clone(), *peer))).collect()
        } else {
            Vec::new()
        };
        forgotten.iter().for_each(|(namespace, peer)| self.withdraw(namespace, peer));
    }

    fn change_presence(&mut self, peer: &PeerKey, change: impl Fn(&Registration) -> Presence) {
        for namespace in self.memberships.get(peer).into_iter().flatten() {
            let Some(group) = self.groups.get_mut(namespace) else { continue };
            if let Some(registration) = group.registrations.get_mut(peer) {
                let presence = change(registration);
                registration.set_presence(&mut group.index, presence);
            }
        }
    }
}

impl Group {
    fn drop_registration(&mut self, peer: &PeerKey, held: &mut Held, shelves: &mut Shelves) {
        let Some(mut registration) = self.registrations.remove(peer) else { return };
        registration.drop_files(&mut self.index, held, shelves);
        self.numbers.take_back(registration.no);
    }

    /// Of those that are not there, who is away before whose connection was lost a moment ago, then who has no files before who has some,
    /// and then whose lease ends first.
    fn longest_away(&self) -> Option<PeerKey> {
        let away = self.registrations.iter().filter(|(_, registration)| registration.presence != Presence::Online);
        let order = |(_, registration): &(&PeerKey, &Registration)| {
            (registration.presence.is_told(), self.index.totals(registration.no).files > 0, registration.expires_at)
        };
        away.min_by_key(order).map(|(peer, _)| *peer)
    }

    /// A page of the peers that may be told of, in the order of their keys.
    fn peers(&self, ask: &Peers) -> PeersPage {
        if let Some(only) = ask.peer {
            let found = self.registrations.get(&only).into_iter().filter_map(|registration| self.info(&only, registration));
            return PeersPage { peers: Bounded::truncated(found), next: None };
        }
        let after = ask.after.as_ref().and_then(|cursor| cursor.parse::<PeerKey>().ok());
        let start = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let most = usize::try_from(ask.limit).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let mut budget = PageBudget::new();
        let mut peers: Vec<PeerInfo> = Vec::new();
        for info in self.registrations.range((start, std::ops::Bound::Unbounded)).filter_map(|(peer, known)| self.info(peer, known)) {
            if peers.len() == most || !budget.take(&info) {
                let next = peers.last().map(|last| Text::truncated(&last.peer.to_string()));
                return PeersPage { peers: Bounded::truncated(peers), next };
            }
            peers.push(info);
        }
        PeersPage { peers: Bounded::truncated(peers), next: None }
    }

    /// What is told of a peer; `None` when nothing may be.
    fn info(&self, peer: &PeerKey, registration: &Registration) -> Option<PeerInfo> {
        let Totals { files, bytes } = registration.presence.is_told().then(|| self.index.totals(registration.no))?;
        let (nickname, addresses) = (registration.nickname.clone(), registration.addresses.clone());
        Some(PeerInfo { peer: *peer, nickname, addresses, files, bytes })
    }
}

impl Directory for Group {
    fn peer_no(&self, peer: &PeerKey) -> Option<PeerNo> {
        self.registrations.get(peer).filter(|registration| registration.presence.is_told()).map(|registration| registration.no)
    }

    fn card(&self, peer: PeerNo) -> Option<Card<'_>> {
        let peer = self.numbers.holder(peer)?;
        let Registration { nickname, addresses, .. } = self.registrations.get(&peer)?;
        Some(Card { peer, nickname, addresses })
    }

    fn peers_named(&self, name: &str) -> Vec<PeerNo> {
        let is_meant = |(peer, registration): &(&PeerKey, &Registration)| is_named(name, peer, &registration.nickname);
        self.registrations.iter().filter(is_meant).map(|(_, registration)| registration.no).collect()
    }

    fn unix_now(&self) -> Option<i64> {
        self.unix_now
    }
}

#[cfg(test)]
mod tests {
    use potluck_common::content_id::ContentId;
    use potluck_common::share_path::SharePath;
    use potluck_common::wire::index::{Change, Entry, List, Search, Sources};

    use super::*;
    use crate::clock::some_time;

    const LEASE: Duration = Duration::from_secs(120);
    const SECOND: Duration = Duration::from_secs(1);

    fn peer(n: u8) -> PeerKey {
        PeerKey::from_bytes(&[&[0x12, 32], [n; 32].as_slice()].concat()).unwrap()
    }

    fn group(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    fn path(name: &str) -> SharePath {
        SharePath::parse(name).unwrap()
    }

    fn put(name: &str) -> Change {
        let content_id = Some(ContentId::of(name.as_bytes()));
        Change::Put(Entry { path: path(name), size: 10, mtime: 0, content_id })
    }

    /// Revision `base` to `revision` in the default namespace and epoch 1.
    fn publish(base: u64, revision: u64, changes: impl IntoIterator<Item = Change>) -> Publish {
        Publish {
            namespace: Namespace::default(),
            nickname: Nickname::truncated("nick"),
            addresses: Bounded::default(),
            epoch: 1,
            base,
            revision,
            changes: Bounded::truncated(changes),
        }
    }

    fn catalog(limits: Limits) -> Catalog {
        Catalog::new(limits, LEASE)
    }

    /// Whether the peer is at the revision that it named.
    fn is_taken(published: Published) -> bool {
        matches!(published, Published::InStep | Published::Taken(_))
    }

    /// A catalog with one peer at revision 3 that offers two files.
    fn with_one_peer(now: Instant) -> Catalog {
        let mut catalog = catalog(Limits::default());
        assert!(is_taken(catalog.publish(peer(1), &publish(0, 3, [put("s/a"), put("s/b")]), now)));
        catalog
    }

    fn listed(catalog: &Catalog) -> Vec<PeerInfo> {
        let ask = Peers { namespace: Namespace::default(), peer: None, after: None, limit: 1000 };
        let Answer::Peers(page) = catalog.answer(&Request::Peers(ask)) else { panic!("another answer") };
        page.peers.into_vec()
    }

    fn found(catalog: &Catalog, text: &str) -> u64 {
        let ask = Search { namespace: Namespace::default(), text: Text::truncated(text), after: None, limit: 10 };
        let Answer::Search(page) = catalog.answer(&Request::Search(ask)) else { panic!("another answer") };
        page.total
    }

    fn sources_of(catalog: &Catalog, name: &str) -> usize {
        let content_ids = Bounded::truncated([ContentId::of(name.as_bytes())]);
        let ask = Sources { namespace: Namespace::default(), content_ids };
        let Answer::Sources(found) = catalog.answer(&Request::Sources(ask)) else { panic!("another answer") };
        found.found.first().map_or(0, |of| of.peers.len())
    }

    fn list(catalog: &Catalog, peer: PeerKey) -> Result<Vec<String>, Refusal> {
        let ask = List { namespace: Namespace::default(), peer, under: None, after: None, limit: 1000 };
        match catalog.answer(&Request::List(ask)) {
            Answer::List(page) => Ok(page.entries.iter().map(|entry| entry.path.to_string()).collect()),
            Answer::Refused { why } => Err(why),
            other => panic!("{other:?}"),
        }
    }

    /// Whether anything at all is told of peer 1 of `with_one_peer`.
    fn is_told(catalog: &Catalog) -> bool {
        let told = !listed(catalog).is_empty();
        assert_eq!(told, found(catalog, "s") == 3, "two files and their folder");
        assert_eq!(told, sources_of(catalog, "s/a") == 1);
        assert_eq!(told, list(catalog, peer(1)).is_ok());
        told
    }

    #[test]
    fn what_is_published_is_told_in_every_answer() {
        let catalog = with_one_peer(some_time());
        assert!(is_told(&catalog));
        let info = &listed(&catalog)[0];
        assert_eq!((info.peer, info.nickname.as_str(), info.files, info.bytes), (peer(1), "nick", 2, 20));
        assert_eq!(list(&catalog, peer(1)).unwrap(), ["s/a", "s/b"]);
        assert_eq!(list(&catalog, peer(2)), Err(Refusal::NotFound));
    }

    #[test]
    fn a_peer_without_connection_is_told_of_through_its_grace_and_then_not() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        catalog.handle_lost(&peer(1), now);
        catalog.handle_tick(now + GRACE - Duration::from_millis(1));
        assert!(is_told(&catalog));
        catalog.handle_tick(now + GRACE);
        assert!(!is_told(&catalog));
    }

    #[test]
    fn a_peer_that_comes_back_within_its_lease_is_whole_again_with_one_message_without_changes() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        catalog.handle_lost(&peer(1), now);
        catalog.handle_tick(now + GRACE);
        catalog.handle_connected(&peer(1));
        assert!(!is_told(&catalog), "a connection alone brings nobody back");
        assert!(is_taken(catalog.publish(peer(1), &publish(3, 3, []), now + 60 * SECOND)));
        assert!(is_told(&catalog));
    }

    #[test]
    fn a_reconnect_within_the_grace_was_never_seen_from_outside() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        catalog.handle_lost(&peer(1), now);
        catalog.handle_connected(&peer(1));
        assert!(is_taken(catalog.publish(peer(1), &publish(3, 3, []), now + SECOND)));
        catalog.handle_tick(now + GRACE);
        assert!(is_told(&catalog));
    }

    #[test]
    fn a_silent_peer_is_told_of_again_when_it_is_heard_but_not_when_it_was_lost_meanwhile() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        catalog.handle_silent(&peer(1));
        assert!(!is_told(&catalog));
        catalog.handle_heard(&peer(1));
        assert!(is_told(&catalog));
        catalog.handle_silent(&peer(1));
        catalog.handle_lost(&peer(1), now);
        catalog.handle_heard(&peer(1));
        assert!(!is_told(&catalog));
    }

    #[test]
    fn a_lease_that_is_not_renewed_lapses_and_takes_the_parked_entries_with_it() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        catalog.handle_tick(now + LEASE - SECOND);
        assert!(is_told(&catalog));
        catalog.handle_tick(now + LEASE);
        assert!(!is_told(&catalog));
        assert_eq!(catalog.held(), Held::default());
        assert_eq!(catalog.publish(peer(1), &publish(3, 3, []), now + LEASE), Published::OutOfStep(0));
    }

    #[test]
    fn a_peer_that_renewed_is_still_there_after_its_first_lease() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        assert!(is_taken(catalog.publish(peer(1), &publish(3, 3, []), now + LEASE / 2)));
        catalog.handle_tick(now + LEASE);
        assert!(is_told(&catalog));
        catalog.handle_tick(now + LEASE / 2 + LEASE);
        assert!(!is_told(&catalog));
    }

    #[test]
    fn a_peer_that_is_parked_is_not_told_and_comes_back_with_one_message() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        catalog.park(&Namespace::default(), &peer(1));
        catalog.handle_unregistered(&Namespace::default(), &peer(1));
        assert!(!is_told(&catalog) && catalog.held().files == 2);
        catalog.handle_connected(&peer(1));
        assert!(!is_told(&catalog), "it has not said yet what it offers now");
        assert_eq!(catalog.publish(peer(1), &publish(3, 3, []), now), Published::InStep);
        assert!(is_told(&catalog));
        catalog.handle_unregistered(&Namespace::default(), &peer(1));
        assert!(catalog.groups.is_empty(), "who is not parked leaves");
        catalog.park(&Namespace::default(), &peer(2));
        assert!(catalog.groups.is_empty() && catalog.memberships.is_empty(), "who is not there cannot be parked");
    }

    #[test]
    fn a_peer_that_withdraws_is_gone_at_once_and_stays_in_its_other_namespace() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        let elsewhere = Publish { namespace: group("other"), ..publish(0, 1, [put("s/c")]) };
        assert!(is_taken(catalog.publish(peer(1), &elsewhere, now)));
        catalog.withdraw(&Namespace::default(), &peer(1));
        assert!(!is_told(&catalog));
        assert_eq!(catalog.held(), Held { files: 1, path_bytes: 3 });
        catalog.withdraw(&group("other"), &peer(1));
        assert!(catalog.groups.is_empty() && catalog.memberships.is_empty(), "nothing is left behind");
    }

    #[test]
    fn changes_that_do_not_follow_on_what_is_held_are_not_taken() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        assert_eq!(catalog.publish(peer(1), &publish(2, 4, [put("s/c")]), now), Published::OutOfStep(3));
        assert_eq!(catalog.publish(peer(1), &publish(4, 5, [put("s/c")]), now), Published::OutOfStep(3));
        let other_epoch = Publish { epoch: 2, ..publish(3, 4, [put("s/c")]) };
        assert_eq!(catalog.publish(peer(1), &other_epoch, now), Published::OutOfStep(0));
        assert_eq!(list(&catalog, peer(1)).unwrap(), ["s/a", "s/b"]);
    }

    #[test]
    fn changes_are_chained_and_a_base_of_nothing_starts_anew() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        assert!(is_taken(catalog.publish(peer(1), &publish(3, 4, [put("s/c"), Change::Remove(path("s/a"))]), now)));
        assert_eq!(list(&catalog, peer(1)).unwrap(), ["s/b", "s/c"]);
        let anew = Publish { epoch: 2, ..publish(0, 1, [put("t/x")]) };
        assert!(is_taken(catalog.publish(peer(1), &anew, now)));
        assert_eq!(list(&catalog, peer(1)).unwrap(), ["t/x"]);
        assert_eq!(catalog.held(), Held { files: 1, path_bytes: 3 });
    }

    #[test]
    fn revisions_that_contradict_each_other_are_nonsense() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        assert_eq!(catalog.publish(peer(1), &publish(3, 2, []), now), Published::Nonsense);
        assert_eq!(catalog.publish(peer(1), &publish(3, 3, [put("s/c")]), now), Published::Nonsense);
    }

    #[test]
    fn as_many_files_as_allowed_are_taken_and_one_more_is_not() {
        let now = some_time();
        let mut catalog = catalog(Limits { files_per_peer: 3, ..Limits::default() });
        assert!(is_taken(catalog.publish(peer(1), &publish(0, 1, ["s/1", "s/2", "s/3"].map(put)), now)));
        assert_eq!(catalog.publish(peer(1), &publish(1, 2, [put("s/4")]), now), Published::OverQuota);
        assert_eq!(list(&catalog, peer(1)).unwrap(), ["s/1", "s/2", "s/3"]);
        assert!(is_taken(catalog.publish(peer(1), &publish(1, 2, [put("s/3")]), now)), "a change is none more");
        let swap = [Change::Remove(path("s/1")), put("s/4")];
        assert!(is_taken(catalog.publish(peer(1), &publish(2, 3, swap), now)));
        assert_eq!(list(&catalog, peer(1)).unwrap(), ["s/2", "s/3", "s/4"]);
    }

    #[test]
    fn bytes_of_paths_are_counted_to_the_byte() {
        let now = some_time();
        let mut catalog = catalog(Limits { path_bytes_per_peer: 6, ..Limits::default() });
        assert!(is_taken(catalog.publish(peer(1), &publish(0, 1, [put("s/1"), put("s/2")]), now)));
        assert_eq!(catalog.publish(peer(1), &publish(1, 2, [put("s/3")]), now), Published::OverQuota);
        assert!(is_taken(catalog.publish(peer(1), &publish(1, 2, [Change::Remove(path("s/1")), put("s/3")]), now)));
        assert_eq!(catalog.held(), Held { files: 2, path_bytes: 6 });
    }

    #[test]
    fn the_whole_catalog_is_full_at_its_limit_and_has_room_again_when_a_peer_leaves() {
        let now = some_time();
        for limits in [Limits { files: 2, ..Limits::default() }, Limits { path_bytes: 6, ..Limits::default() }] {
            let mut catalog = catalog(limits);
            assert!(is_taken(catalog.publish(peer(1), &publish(0, 1, [put("s/1"), put("s/2")]), now)));
            assert_eq!(catalog.publish(peer(2), &publish(0, 1, [put("s/3")]), now), Published::OverQuota);
            catalog.withdraw(&Namespace::default(), &peer(1));
            assert!(is_taken(catalog.publish(peer(2), &publish(0, 1, [put("s/3")]), now)));
            assert_eq!(catalog.held(), Held { files: 1, path_bytes: 3 });
        }
    }

    #[test]
    fn as_many_peers_and_namespaces_as_allowed_are_taken_and_one_more_is_not() {
        let now = some_time();
        let mut catalog = catalog(Limits { namespaces: 2, peers_per_namespace: 2, namespaces_per_peer: 1, ..Limits::default() });
        let to = |name: &str| Publish { namespace: group(name), ..publish(0, 1, []) };
        assert!(is_taken(catalog.publish(peer(1), &to("a"), now)));
        assert!(is_taken(catalog.publish(peer(2), &to("a"), now)));
        assert_eq!(catalog.publish(peer(3), &to("a"), now), Published::OverQuota, "a full namespace");
        assert_eq!(catalog.publish(peer(2), &to("b"), now), Published::OverQuota, "a peer in too many");
        assert!(is_taken(catalog.publish(peer(3), &to("b"), now)));
        assert_eq!(catalog.publish(peer(4), &to("c"), now), Published::OverQuota, "too many namespaces");
        assert!(is_taken(catalog.publish(peer(1), &to("a"), now)), "who is there can renew");
    }

    /// G054: throw-away identities do not lock out who comes later.
    #[test]
    fn who_is_away_makes_room_in_a_full_namespace_and_who_is_there_does_not() {
        let now = some_time();
        let mut catalog = catalog(Limits { namespaces: 2, peers_per_namespace: 3, ..Limits::default() });
        let to = |name: &str| Publish { namespace: group(name), ..publish(0, 1, []) };
        for number in 1..4 {
            assert!(is_taken(catalog.publish(peer(number), &to("a"), now)));
        }
        for number in [1, 2] {
            catalog.handle_lost(&peer(number), now);
        }
        assert!(is_taken(catalog.publish(peer(4), &to("a"), now)), "who may come back in a moment is not there either");
        catalog.handle_tick(now + GRACE);
        assert!(is_taken(catalog.publish(peer(5), &to("a"), now + GRACE)));
        assert_eq!(catalog.publish(peer(6), &to("a"), now + GRACE), Published::OverQuota, "all are there");

        assert!(is_taken(catalog.publish(peer(7), &to("b"), now + GRACE)));
        assert_eq!(catalog.publish(peer(8), &to("c"), now + GRACE), Published::OverQuota);
        catalog.handle_lost(&peer(7), now + GRACE);
        catalog.handle_tick(now + GRACE * 2);
        assert!(is_taken(catalog.publish(peer(8), &to("c"), now + GRACE * 2)), "a deserted namespace makes room");
    }

    #[test]
    fn a_peer_that_registered_by_rendezvous_only_is_listed_without_files_while_it_is_connected() {
        let now = some_time();
        let mut catalog = catalog(Limits::default());
        let addresses = Bounded::truncated([Address::truncated("/ip4/192.0.2.1/tcp/1")]);
        catalog.handle_rendezvous(&Namespace::default(), peer(1), addresses.clone(), 60 * SECOND, now);
        let told = listed(&catalog);
        assert_eq!((told.len(), told[0].nickname.as_str(), told[0].files, &told[0].addresses), (1, "", 0, &addresses));
        assert_eq!(list(&catalog, peer(1)).unwrap(), [""; 0]);
        catalog.handle_lost(&peer(1), now);
        catalog.handle_tick(now + GRACE);
        assert!(listed(&catalog).is_empty());
        catalog.handle_connected(&peer(1));
        assert_eq!(listed(&catalog).len(), 1, "its own time to live still lasts");
        catalog.handle_tick(now + 60 * SECOND);
        assert!(listed(&catalog).is_empty());
    }

    #[test]
    fn a_registration_by_rendezvous_changes_nothing_for_a_peer_that_publishes() {
        let now = some_time();
        let mut catalog = with_one_peer(now);
        catalog.handle_rendezvous(&Namespace::default(), peer(1), Bounded::default(), SECOND, now);
        catalog.handle_tick(now + 2 * SECOND);
        assert!(is_told(&catalog));
    }

    #[test]
    fn pages_of_peers_join_to_the_whole_in_a_stable_order() {
        let now = some_time();
        let mut catalog = catalog(Limits::default());
        for n in (1..=5).rev() {
            assert!(is_taken(catalog.publish(peer(n), &publish(0, 1, []), now)));
        }
        let mut ask = Peers { namespace: Namespace::default(), peer: None, after: None, limit: 2 };
        let mut seen = Vec::new();
        loop {
            let Answer::Peers(page) = catalog.answer(&Request::Peers(ask.clone())) else { panic!("another answer") };
            seen.extend(page.peers.iter().map(|info| info.peer));
            ask.after = page.next;
            if ask.after.is_none() {
                break;
            }
        }
        assert_eq!(seen, [1, 2, 3, 4, 5].map(peer));
        ask.peer = Some(peer(4));
        let Answer::Peers(page) = catalog.answer(&Request::Peers(ask)) else { panic!("another answer") };
        assert_eq!(page.peers.iter().map(|info| info.peer).collect::<Vec<_>>(), [peer(4)]);
    }

    #[test]
    fn a_page_of_peers_with_the_longest_addresses_fits_in_a_message() {
        let now = some_time();
        let mut catalog = catalog(Limits::default());
        let address = Address::truncated(&"a".repeat(potluck_common::wire::MAX_ADDRESS_BYTES));
        for n in 0..200 {
            let addresses = Bounded::truncated(std::iter::repeat_n(address.clone(), MAX_ADDRESSES));
            assert!(is_taken(catalog.publish(peer(n), &Publish { addresses, ..publish(0, 1, []) }, now)));
        }
        let ask = Peers { namespace: Namespace::default(), peer: None, after: None, limit: 1000 };
        let answer = catalog.answer(&Request::Peers(ask));
        assert!(potluck_common::codec::encode(&answer).unwrap().len() <= potluck_common::wire::MAX_INDEX_MESSAGE_BYTES);
        let Answer::Peers(page) = answer else { panic!("another answer") };
        assert!(page.peers.len() > 50 && page.next.is_some());
    }

    fn saved(shelf: u64, revision: u64) -> Saved {
        Saved { shelf: ShelfNo(shelf), namespace: Namespace::default(), peer: peer(1), epoch: 1, revision }
    }

    fn entry(name: &str) -> Entry {
        let Change::Put(entry) = put(name) else { panic!("no entry") };
        entry
    }

    #[test]
    fn what_was_restored_is_parked_until_its_peer_comes_back_with_one_message() {
        let now = some_time();
        let mut restored = catalog(Limits::default());
        restored.restore(&saved(4, 2), now);
        restored.restore(&saved(5, 3), now);
        restored.restore_files(&saved(4, 2), ["s/old"].map(entry));
        restored.restore_files(&saved(5, 3), ["s/a", "s/b"].map(entry));
        let mut meanwhile = catalog(Limits::default());
        meanwhile.handle_rendezvous(&Namespace::default(), peer(2), Bounded::default(), 60 * SECOND, now);
        restored.handle_restored(meanwhile, now + SECOND);
        restored.handle_tick(now + SECOND);
        assert_eq!(listed(&restored).iter().map(|info| info.peer).collect::<Vec<_>>(), [peer(2)], "who came meanwhile");
        assert_eq!(restored.take_gone(), [ShelfNo(4)], "the greatest shelf counts");
        assert_eq!(restored.publish(peer(1), &publish(3, 3, []), now + LEASE), Published::InStep);
        assert_eq!(list(&restored, peer(1)).unwrap(), ["s/a", "s/b"]);
        let anew = Publish { epoch: 2, ..publish(0, 1, [put("s/c")]) };
        assert_eq!(restored.publish(peer(1), &anew, now + LEASE), Published::Taken(ShelfNo(6)), "a shelf is never given out twice");
        assert_eq!(restored.take_gone(), [ShelfNo(5)]);
    }

    #[test]
    fn what_was_restored_and_is_not_claimed_is_given_up_with_its_lease() {
        let now = some_time();
        let mut restored = catalog(Limits::default());
        restored.restore(&saved(4, 2), now);
        restored.handle_restored(catalog(Limits::default()), now);
        restored.handle_tick(now + LEASE);
        assert_eq!(restored.take_gone(), [ShelfNo(4)]);
        assert_eq!(restored.publish(peer(1), &publish(2, 2, []), now + LEASE), Published::OutOfStep(0));
    }

    #[test]
    fn changes_that_could_not_be_saved_are_found_and_have_to_be_published_anew() {
        let now = some_time();
        let mut catalog = catalog(Limits::default());
        let Published::Taken(shelf) = catalog.publish(peer(1), &publish(0, 3, [put("s/a"), put("s/b")]), now) else { panic!("not taken") };
        catalog.handle_unsaved(&Namespace::default(), &peer(1), ShelfNo(shelf.0 + 1));
        assert_eq!(catalog.publish(peer(1), &publish(3, 3, []), now), Published::InStep, "it was about another");
        catalog.handle_unsaved(&Namespace::default(), &peer(1), shelf);
        assert_eq!(catalog.publish(peer(1), &publish(3, 3, []), now), Published::OutOfStep(0));
        assert!(is_told(&catalog));
        catalog.keep(&Namespace::default(), &peer(1), now + LEASE / 2);
        catalog.handle_tick(now + LEASE);
        assert!(is_told(&catalog), "a full disk makes nobody vanish");
        let Published::Taken(_) = catalog.publish(peer(1), &publish(0, 3, [put("s/a"), put("s/b")]), now) else { panic!("not taken") };
        assert_eq!(catalog.take_gone(), [shelf]);
    }

    #[test]
    fn a_peer_that_offers_nothing_needs_no_shelf() {
        let now = some_time();
        let mut catalog = catalog(Limits::default());
        assert_eq!(catalog.publish(peer(1), &publish(0, 0, []), now), Published::InStep);
        assert_eq!(catalog.publish(peer(1), &publish(0, 0, []), now), Published::InStep);
        assert_eq!(catalog.take_gone(), []);
    }

    #[test]
    fn a_namespace_that_nobody_is_in_is_empty() {
        let catalog = catalog(Limits::default());
        assert!(listed(&catalog).is_empty());
        assert_eq!((found(&catalog, "x"), sources_of(&catalog, "x")), (0, 0));
        assert_eq!(list(&catalog, peer(1)), Err(Refusal::NotFound));
    }
}
