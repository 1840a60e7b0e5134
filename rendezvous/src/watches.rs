//! Saved searches: who waits for what, and what was published lately. Pure: the time is an argument.
//!
//! A watch is a request that waits. What is published is remembered for a while, numbered in order; a watcher names the
//! number up to which it has heard, so that nothing is missed between two of its requests, and nothing is kept for one
//! that does not ask. Everything that came is held against all watches at each tick, several times a second.
//!
//! Ten thousand watches would be ten thousand comparisons for each file. So they are looked up by three bytes of their longest
//! word: a file is compared only with those whose three bytes it holds.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::search::answer::{PageBudget, is_named};
use potluck_common::search::{Matcher, Query, fold};
use potluck_common::share_path::SharePath;
use potluck_common::wire::index::{Answer, Change, Cursor, Entry, Hit, Holder, Kind, MAX_PAGE, Nickname, Publish, Watch, Watched};
use potluck_common::wire::{Bounded, Refusal, Text};

/// How long a request waits for a hit: half of what an exchange may take.
pub const HOLD: Duration = Duration::from_secs(10);
/// How long what is published is remembered after the last watcher asked: the longest pause between two of its requests.
const MEMORY: Duration = Duration::from_secs(30);
/// Files that are remembered (some 10 MB): a third of a second at the highest rate, minutes at a usual one.
const MAX_NEWS: usize = 32 << 10;
/// Watches that wait at a time. One costs about 1 KB.
const MAX_WAITING: usize = 10_000;
/// Watches of one peer that wait at a time: half of the requests that it may have on its way.
const MAX_WAITING_PER_PEER: usize = 8;
/// Comparisons of one tick: some 10 ms. Who is not served by then is told that something was missed.
const MAX_COMPARISONS: usize = 100_000;

/// Who waits for what, and what there was. `W` is whoever gets the answer.
#[derive(Debug)]
pub struct Watches<W> {
    news: VecDeque<News>,
    /// The number of the first of `news`.
    first: u64,
    waiting: Vec<Waiting<W>>,
    asked_at: Option<Instant>,
}

/// A file that was published.
#[derive(Debug)]
struct News {
    namespace: Namespace,
    peer: PeerKey,
    nickname: Nickname,
    entry: Entry,
}

#[derive(Debug)]
struct Waiting<W> {
    peer: PeerKey,
    namespace: Namespace,
    matcher: Matcher,
    /// The number of the next news that it has not heard.
    from: u64,
    until: Instant,
    waiter: W,
}

/// What a watch has found in one tick.
#[derive(Debug)]
struct Heard {
    hits: Vec<Hit>,
    budget: PageBudget,
    /// Where it has to go on: there is no room for more.
    full_at: Option<u64>,
    missed: bool,
}

impl<W> Default for Watches<W> {
    fn default() -> Self {
        Self { news: VecDeque::new(), first: 0, waiting: Vec::new(), asked_at: None }
    }
}

impl<W> Watches<W> {
    /// A peer watches: it waits from now on, or is answered at once.
    pub fn handle_ask(&mut self, peer: PeerKey, watch: &Watch, waiter: W, now: Instant) -> Option<(W, Answer)> {
        self.asked_at = Some(now);
        let newest = self.newest();
        let Some(from) = watch.after.as_ref() else { return Some((waiter, watched(Vec::new(), false, newest))) };
        let of_peer = self.waiting.iter().filter(|waiting| waiting.peer == peer).count();
        if of_peer >= MAX_WAITING_PER_PEER || self.waiting.len() >= MAX_WAITING {
            return Some((waiter, Answer::Refused { why: Refusal::Busy }));
        }
        // A cursor of another run, or one that is no longer remembered.
        let Some(from) = from.parse().ok().filter(|from| (self.first..=newest).contains(from)) else {
            return Some((waiter, watched(Vec::new(), true, newest)));
        };
        let matcher = Matcher::new(Query::parse(&watch.text));
        self.waiting.push(Waiting { peer, namespace: watch.namespace.clone(), matcher, from, until: now + HOLD, waiter });
        None
    }

    /// A peer has published.
    pub fn handle_published(&mut self, peer: PeerKey, publish: &Publish, now: Instant) {
        if self.asked_at.is_none_or(|asked| now.saturating_duration_since(asked) > MEMORY) {
            self.first = self.newest() + 1; // who asks from before has missed something
            self.news.clear();
            return;
        }
        for change in publish.changes.iter() {
            let Change::Put(entry) = change else { continue };
            if self.news.len() == MAX_NEWS {
                self.news.pop_front();
                self.first += 1;
            }
            let (namespace, nickname) = (publish.namespace.clone(), publish.nickname.clone());
            self.news.push_back(News { namespace, peer, nickname, entry: entry.clone() });
        }
    }

    /// A peer's last connection was closed.
    pub fn handle_lost(&mut self, peer: &PeerKey) {
        self.waiting.retain(|waiting| waiting.peer != *peer);
    }

    /// Time has passed: who has a hit or has waited long enough is answered. `unix_now` is the calendar, for `newer:7d`.
    pub fn handle_tick(&mut self, now: Instant, unix_now: i64) -> Vec<(W, Answer)> {
        let newest = self.newest();
        let mut heard = self.compare(unix_now);
        let mut answers = Vec::new();
        for (place, mut waiting) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            match heard.remove(&place) {
                Some(Heard { hits, full_at, missed, .. }) => {
                    answers.push((waiting.waiter, watched(hits, missed, full_at.unwrap_or(newest))));
                }
                None if waiting.until <= now => answers.push((waiting.waiter, watched(Vec::new(), false, newest))),
                None => {
                    waiting.from = newest;
                    self.waiting.push(waiting);
                }
            }
        }
        answers
    }

    /// Holds what each watch has not heard yet against it; what was found, by the place of the watch.
    fn compare(&self, unix_now: i64) -> HashMap<usize, Heard> {
        let mut heard: HashMap<usize, Heard> = HashMap::new();
        let Some(from) = self.waiting.iter().map(|waiting| waiting.from).min() else { return heard };
        let (by_key, keyless) = self.by_key();
        let mut comparisons = 0;
        let unheard = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        for (news, number) in self.news.iter().zip(self.first..).skip(unheard) {
            let folded = fold(news.entry.path.as_str());
            let mut near: Vec<usize> = keyless.clone();
            near.extend(folded.as_bytes().windows(3).filter_map(|three| by_key.get(three)).flatten());
            near.sort_unstable();
            near.dedup();
            for place in near {
                let Some(waiting) = self.waiting.get(place).filter(|waiting| waiting.from <= number) else { continue };
                comparisons += 1;
                if comparisons > MAX_COMPARISONS {
                    heard.entry(place).or_default().missed = true;
                } else if waiting.fits(news, &folded, unix_now) {
                    heard.entry(place).or_default().take(news, number);
                }
            }
        }
        heard
    }

    /// The places of the watches by three bytes of what they look for, and of those that look for less.
    fn by_key(&self) -> (HashMap<&[u8], Vec<usize>>, Vec<usize>) {
        let (mut by_key, mut keyless): (HashMap<&[u8], Vec<usize>>, _) = (HashMap::new(), Vec::new());
        for (place, waiting) in self.waiting.iter().enumerate() {
            match waiting.matcher.key() {
                Some(key) => by_key.entry(key).or_default().push(place),
                None => keyless.push(place),
            }
        }
        (by_key, keyless)
    }

    /// The number that the next news gets.
    fn newest(&self) -> u64 {
        self.first + self.news.len() as u64
    }
}

impl<W> Waiting<W> {
    fn fits(&self, news: &News, folded: &str, unix_now: i64) -> bool {
        let peers = &self.matcher.query().peers;
        self.namespace == news.namespace
            && (peers.is_empty() || peers.iter().any(|name| is_named(name, &news.peer, &news.nickname)))
            && self.matcher.fits(folded, &news.entry, unix_now)
    }
}

impl Default for Heard {
    fn default() -> Self {
        Self { hits: Vec::new(), budget: PageBudget::new(), full_at: None, missed: false }
    }
}

impl Heard {
    fn take(&mut self, news: &News, number: u64) {
        if self.full_at.is_some() {
            return;
        }
        let hit = news.hit();
        if self.hits.len() < MAX_PAGE && self.budget.take(&hit) {
            self.hits.push(hit);
        } else {
            self.full_at = Some(number);
        }
    }
}

impl News {
    fn hit(&self) -> Hit {
        let path: SharePath = self.entry.path.clone();
        let holder = Holder { peer: self.peer, nickname: self.nickname.clone(), path: path.clone() };
        Hit {
            content_id: self.entry.content_id,
            path,
            kind: Kind::File,
            size: self.entry.size,
            mtime: self.entry.mtime,
            sources: 1,
            holders: Bounded::truncated([holder]),
        }
    }
}

fn watched(hits: Vec<Hit>, more: bool, next: u64) -> Answer {
    let next: Cursor = Text::truncated(&next.to_string());
    Answer::Watched(Watched { hits: Bounded::truncated(hits), more, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::some_time;

    fn peer(n: u8) -> PeerKey {
        PeerKey::from_bytes(&[&[0x12, 32], [n; 32].as_slice()].concat()).unwrap()
    }

    fn publish(files: impl IntoIterator<Item = String>) -> Publish {
        let put = |path: String| Change::Put(Entry { path: SharePath::parse(&path).unwrap(), size: 1, mtime: 0, content_id: None });
        Publish {
            namespace: Namespace::default(),
            nickname: Nickname::truncated("ada"),
            addresses: Bounded::default(),
            epoch: 1,
            base: 0,
            revision: 1,
            changes: Bounded::truncated(files.into_iter().map(put)),
        }
    }

    fn watch(text: &str, after: Option<&Cursor>) -> Watch {
        Watch { namespace: Namespace::default(), text: Text::truncated(text), after: after.cloned() }
    }

    fn answered(answer: Option<((), Answer)>) -> Watched {
        match answer {
            Some(((), Answer::Watched(watched))) => watched,
            other => panic!("{other:?}"),
        }
    }

    /// Watches of nothing, and the cursor of now.
    fn watches(now: Instant) -> (Watches<()>, Cursor) {
        let mut watches = Watches::default();
        let begun = answered(watches.handle_ask(peer(9), &watch("x", None), (), now));
        assert!(begun.hits.is_empty() && !begun.more);
        (watches, begun.next)
    }

    fn paths(watched: &Watched) -> Vec<&str> {
        watched.hits.iter().map(|hit| hit.path.as_str()).collect()
    }

    #[test]
    fn a_hit_is_told_at_the_next_tick_and_between_two_requests_nothing_is_missed() {
        let now = some_time();
        let (mut watches, cursor) = watches(now);
        watches.handle_published(peer(1), &publish(["s/Blue 1".into(), "s/red".into()]), now);
        assert!(watches.handle_ask(peer(9), &watch("blue", Some(&cursor)), (), now).is_none());
        watches.handle_published(peer(1), &publish(["s/blue 2".into()]), now);
        let first = answered(watches.handle_tick(now, 0).pop());
        assert_eq!(paths(&first), ["s/Blue 1", "s/blue 2"]);
        assert_eq!(first.hits[0].holders[0].nickname.as_str(), "ada");
        assert!(watches.handle_tick(now, 0).is_empty(), "told once");
        watches.handle_published(peer(1), &publish(["s/blue 3".into()]), now);
        assert!(watches.handle_ask(peer(9), &watch("blue", Some(&first.next)), (), now).is_none());
        assert_eq!(paths(&answered(watches.handle_tick(now, 0).pop())), ["s/blue 3"]);
    }

    #[test]
    fn who_waits_in_vain_is_answered_in_time_and_who_is_gone_not_at_all() {
        let now = some_time();
        let (mut watches, cursor) = watches(now);
        assert!(watches.handle_ask(peer(8), &watch("blue", Some(&cursor)), (), now).is_none());
        assert!(watches.handle_ask(peer(9), &watch("a", Some(&cursor)), (), now).is_none());
        watches.handle_lost(&peer(8));
        assert!(watches.handle_tick(now + HOLD - Duration::from_millis(1), 0).is_empty());
        let answers = watches.handle_tick(now + HOLD, 0);
        assert_eq!(answers.len(), 1);
        assert!(answered(answers.into_iter().next()).hits.is_empty());
    }

    #[test]
    fn only_what_fits_in_its_namespace_and_of_its_peers_is_told() {
        let now = some_time();
        let (mut watches, cursor) = watches(now);
        for text in ["peer:bob e", "blue ext:mp3", "blue -song", "bl"] {
            assert!(watches.handle_ask(peer(9), &watch(text, Some(&cursor)), (), now).is_none());
        }
        watches.handle_published(peer(1), &publish(["s/blue song.ogg".into()]), now);
        let elsewhere = Publish { namespace: Namespace::new("other").unwrap(), ..publish(["s/blue.mp3".into()]) };
        watches.handle_published(peer(1), &elsewhere, now);
        assert_eq!(watches.handle_tick(now, 0).len(), 1, "the two letters fit");
        assert_eq!(watches.handle_tick(now + HOLD, 0).len(), 3);
    }

    #[test]
    fn watches_and_what_is_remembered_are_bounded_and_who_missed_something_is_told() {
        let now = some_time();
        let (mut watches, cursor) = watches(now);
        for _ in 0..MAX_WAITING_PER_PEER {
            assert!(watches.handle_ask(peer(9), &watch("blue", Some(&cursor)), (), now).is_none());
        }
        let refused = watches.handle_ask(peer(9), &watch("blue", Some(&cursor)), (), now);
        assert_eq!(refused, Some(((), Answer::Refused { why: Refusal::Busy })));
        for page in 0..=MAX_NEWS / 1024 {
            watches.handle_published(peer(1), &publish((0..1024).map(|file| format!("s/{page}/{file}"))), now);
        }
        assert_eq!(watches.news.len(), MAX_NEWS);
        assert!(answered(watches.handle_ask(peer(8), &watch("blue", Some(&cursor)), (), now)).more);
        let later = now + MEMORY + Duration::from_secs(1);
        watches.handle_published(peer(1), &publish(["s/blue".into()]), later);
        assert!(watches.news.is_empty(), "nobody asks any more");
    }

    #[test]
    fn more_hits_than_fit_in_a_message_come_with_the_next_requests() {
        let now = some_time();
        let (mut watches, mut cursor) = watches(now);
        let long = "x".repeat(200);
        watches.handle_published(peer(1), &publish((0..2000).map(|file| format!("s/{long}/{file}"))), now);
        let mut seen = 0;
        while seen < 2000 {
            assert!(watches.handle_ask(peer(9), &watch("xx", Some(&cursor)), (), now).is_none());
            let page = answered(watches.handle_tick(now, 0).pop());
            assert!(
                potluck_common::codec::encode(&Answer::Watched(page.clone())).unwrap().len()
                    <= potluck_common::wire::MAX_INDEX_MESSAGE_BYTES
            );
            assert!(!page.more && page.hits[0].path.name() == seen.to_string());
            seen += page.hits.len();
            cursor = page.next;
        }
        assert_eq!(seen, 2000);
    }
}
