//! [`Registration`]: this node's presence at one tracker, and what to send next to keep it.
//!
//! There are two leases at a tracker: the one of the file index (`Publish`), by which our files are found, and the one
//! of libp2p's rendezvous protocol, by which any libp2p program finds us. They are asked for and renewed apart, so that a
//! tracker that serves one of them only is still of use. Both need the connection, which is therefore looked after first.

use std::time::{Duration, Instant};

use potluck_common::wire::Refusal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The first retry comes within this: most interruptions are a tracker that restarts.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait in the first two minutes of an outage, so that a tracker that comes back sees its nodes within ten
/// seconds; they come back spread over this time.
const LONGEST_RETRY_AT_FIRST: Duration = Duration::from_secs(5);
/// The longest wait of all.
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// Later, the wait is at most this part of the outage: what has been gone for an hour may be missed for minutes.
const PART_OF_OUTAGE: u32 = 24;
/// The first wait after a refusal that will not change by itself: not a member, over quota.
const REFUSED_RETRY: Duration = Duration::from_secs(30);
/// An answer that has not come by then will not come: a page of changes takes a tracker milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Changes that come within this of each other go out together.
const GATHER: Duration = Duration::from_millis(250);
/// Answers in a row that brought the tracker no further, before we rest: it does not do what it says.
const MOST_ROUNDS_WITHOUT_PROGRESS: u32 = 3;
/// A lease is renewed after this part of it, less up to a fifth of that as jitter: two renewals may be lost.
const RENEW_AFTER: f64 = 0.5;
/// The shortest lease that is believed: a tracker cannot make us ask more often than every other second.
const SHORTEST_LEASE: Duration = Duration::from_secs(5);

/// One lease at a tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To be asked for as soon as it can be.
    Idle,
    /// Asked for, not answered yet.
    Asked {
        /// When.
        since: Instant,
    },
    /// There.
    Held {
        /// When to ask again.
        renew_at: Instant,
        /// When it ends if that does not succeed.
        lapses_at: Instant,
    },
    /// It failed or was refused.
    Resting {
        /// When to try again.
        until: Instant,
        /// How often it failed in a row.
        failures: u32,
    },
    /// The user does not want it.
    Left,
}

/// The connection to a tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// To be made.
    Down,
    Dialling {
        since: Instant,
    },
    Up,
    /// It broke, or could not be made.
    Resting {
        until: Instant,
    },
}

/// Which of the two leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Of the file index: `Publish`.
    Index,
    /// Of the rendezvous protocol: `register`.
    Rendezvous,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Dial the tracker. Ends in `handle_connected` or `handle_disconnected`.
    Connect,
    /// Publish: from [`Registration::tracker_revision`] on, or, when that is `None`, without changes to learn whether the
    /// tracker is in step. Ends in `handle_published`, `handle_refused` or `handle_failed`.
    Publish,
    /// Register by the rendezvous protocol. Ends in `handle_registered`, `handle_refused` or `handle_failed`.
    Register,
    /// Withdraw and unregister. Nothing waits for the answer.
    Leave,
}

/// What the user should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The tracker tells others of us now.
    Registered,
    /// The tracker holds all that we offer now.
    InStep,
    /// The tracker does not tell others of us any more.
    Lost,
    /// The tracker will not have us.
    Refused(Refusal),
}

/// This node's presence at one tracker.
///
/// The user's wishes: [`register`](Self::register), [`deregister`](Self::deregister). What happened: the `handle_…` methods.
/// What to do: [`poll_action`](Self::poll_action) until it gives none, [`poll_event`](Self::poll_event), then again when
/// something happened or at [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Registration {
    random: StdRng,
    link: Link,
    index: State,
    rendezvous: State,
    /// Failures in a row of each part; a state that is asked again has lost them.
    failures: Failures,
    /// Since when the tracker has not held what we offer.
    gone_since: Option<Instant>,
    tracker_revision: Option<u64>,
    our_revision: u64,
    published_at: Option<Instant>,
    rounds_without_progress: u32,
    is_known: bool,
    is_in_step: bool,
    must_say_farewell: bool,
    events: std::collections::VecDeque<Event>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    link: u32,
    index: u32,
    rendezvous: u32,
}

impl Registration {
    /// A registration that is wanted, at a tracker that is not connected. The seed spreads what many nodes do at once.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            link: Link::Down,
            index: State::Idle,
            rendezvous: State::Idle,
            failures: Failures::default(),
            gone_since: None,
            tracker_revision: None,
            our_revision: 0,
            published_at: None,
            rounds_without_progress: 0,
            is_known: false,
            is_in_step: false,
            must_say_farewell: false,
            events: std::collections::VecDeque::new(),
        }
    }

    /// The state of a lease.
    #[must_use]
    pub fn state(&self, part: Part) -> State {
        match part {
            Part::Index => self.index,
            Part::Rendezvous => self.rendezvous,
        }
    }

    /// Whether the tracker is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link == Link::Up
    }

    /// Whether the tracker holds all that we offer.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        self.is_in_step
    }

    /// The revision that the tracker holds of us; `None` when it must be asked.
    #[must_use]
    pub fn tracker_revision(&self) -> Option<u64> {
        self.tracker_revision
    }

    /// The user wants to be registered. Asks at once, also when we rest.
    pub fn register(&mut self) {
        for state in [&mut self.index, &mut self.rendezvous] {
            if matches!(state, State::Left | State::Resting { .. }) {
                *state = State::Idle;
            }
        }
        if matches!(self.link, Link::Resting { .. }) {
            self.link = Link::Down;
        }
        self.must_say_farewell = false;
    }

    /// The user does not want to be registered. The connection stays: searching needs it.
    pub fn deregister(&mut self) {
        let is_new = self.index != State::Left;
        self.must_say_farewell |= is_new && self.is_connected();
        (self.index, self.rendezvous) = (State::Left, State::Left);
        self.tracker_revision = None;
        self.lose();
    }

    /// What we offer changed: this is its revision now.
    pub fn handle_changed(&mut self, our_revision: u64, now: Instant) {
        self.our_revision = our_revision;
        self.is_in_step &= self.tracker_revision == Some(our_revision);
        if let State::Held { renew_at, lapses_at } = self.index {
            let soon = self.published_at.map_or(now, |at| now.max(at + GATHER));
            self.index = State::Held { renew_at: renew_at.min(soon), lapses_at };
        }
    }

    /// There is a connection to the tracker.
    pub fn handle_connected(&mut self) {
        if self.is_connected() {
            return;
        }
        self.link = Link::Up;
        if self.index == State::Left {
            self.handle_useful();
        }
        self.tracker_revision = None;
        for state in [&mut self.index, &mut self.rendezvous] {
            if *state != State::Left {
                *state = State::Idle; // a tracker that restarted knows nothing of the leases
            }
        }
    }

    /// The connection is gone, or could not be made.
    pub fn handle_disconnected(&mut self, now: Instant) {
        self.failures.link = self.failures.link.saturating_add(1);
        self.link = Link::Resting { until: now + self.wait(self.failures.link, FIRST_RETRY, now) };
        self.tracker_revision = None;
        for state in [&mut self.index, &mut self.rendezvous] {
            if *state != State::Left {
                *state = State::Idle;
            }
        }
        self.lose();
    }

    /// The tracker holds this revision of what we offer, for so long.
    pub fn handle_published(&mut self, revision: u64, lease: Duration, now: Instant) {
        if !matches!(self.index, State::Asked { .. }) {
            return;
        }
        let is_further = self.tracker_revision != Some(revision);
        self.rounds_without_progress = if is_further { 0 } else { self.rounds_without_progress + 1 };
        self.tracker_revision = Some(revision);
        if !std::mem::replace(&mut self.is_known, true) {
            self.events.push_back(Event::Registered);
        }
        if revision == self.our_revision {
            self.failures.index = 0;
            self.handle_useful();
            self.rounds_without_progress = 0;
            if !std::mem::replace(&mut self.is_in_step, true) {
                self.events.push_back(Event::InStep);
            }
            self.index = self.held(lease, now);
        } else if self.rounds_without_progress >= MOST_ROUNDS_WITHOUT_PROGRESS {
            self.rounds_without_progress = 0;
            self.handle_failed(Part::Index, now);
        } else {
            self.index = State::Idle; // the next changes at once
        }
    }

    /// The tracker registered us by the rendezvous protocol, for so long.
    pub fn handle_registered(&mut self, lease: Duration, now: Instant) {
        if matches!(self.rendezvous, State::Asked { .. }) {
            self.failures.rendezvous = 0;
            self.rendezvous = self.held(lease, now);
        }
    }

    /// The tracker refused.
    pub fn handle_refused(&mut self, part: Part, why: Refusal, now: Instant) {
        if self.state(part) == State::Left {
            return;
        }
        let first = match why {
            Refusal::Busy | Refusal::Unavailable => FIRST_RETRY,
            Refusal::Unsupported | Refusal::NotFound | Refusal::Changed | Refusal::OverQuota | Refusal::NotPermitted => REFUSED_RETRY,
        };
        if part == Part::Index {
            self.lose();
            self.events.push_back(Event::Refused(why));
        }
        self.fail(part, first, now);
    }

    /// There will be no answer.
    pub fn handle_failed(&mut self, part: Part, now: Instant) {
        if self.state(part) != State::Left {
            self.fail(part, FIRST_RETRY, now);
        }
    }

    /// What to do next; the answer counts as done. Call it until it gives none.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        self.handle_time(now);
        if std::mem::take(&mut self.must_say_farewell) {
            return Some(Action::Leave);
        }
        if self.link == Link::Down {
            self.link = Link::Dialling { since: now };
            return Some(Action::Connect);
        }
        if !self.is_connected() {
            return None;
        }
        if self.index == State::Idle {
            self.index = State::Asked { since: now };
            self.published_at = Some(now);
            return Some(Action::Publish);
        }
        if self.rendezvous == State::Idle {
            self.rendezvous = State::Asked { since: now };
            return Some(Action::Register);
        }
        None
    }

    /// The next thing that the user should know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`poll_action`](Self::poll_action) may have something to do though nothing happened.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.link_due(), due(self.index), due(self.rendezvous)].into_iter().flatten().min()
    }

    fn handle_time(&mut self, now: Instant) {
        if self.link_due().is_some_and(|at| at <= now) {
            match self.link {
                Link::Dialling { .. } => self.handle_disconnected(now),
                Link::Down | Link::Up | Link::Resting { .. } => self.link = Link::Down,
            }
        }
        for part in [Part::Index, Part::Rendezvous] {
            if due(self.state(part)).is_none_or(|at| at > now) {
                continue;
            }
            match self.state(part) {
                State::Asked { .. } => self.handle_failed(part, now),
                State::Idle | State::Held { .. } | State::Resting { .. } | State::Left => *self.state_mut(part) = State::Idle,
            }
        }
    }

    fn state_mut(&mut self, part: Part) -> &mut State {
        match part {
            Part::Index => &mut self.index,
            Part::Rendezvous => &mut self.rendezvous,
        }
    }

    fn held(&mut self, lease: Duration, now: Instant) -> State {
        let lease = lease.max(SHORTEST_LEASE);
        let jitter: f64 = self.random.random_range(0.8..1.0);
        State::Held { renew_at: now + lease.mul_f64(RENEW_AFTER * jitter), lapses_at: now + lease }
    }

    fn fail(&mut self, part: Part, first: Duration, now: Instant) {
        let failures = match part {
            Part::Index => &mut self.failures.index,
            Part::Rendezvous => &mut self.failures.rendezvous,
        };
        *failures = failures.saturating_add(1);
        let failures = *failures;
        if part == Part::Index {
            self.tracker_revision = None; // it may have taken what it did not answer
        }
        *self.state_mut(part) = State::Resting { until: now + self.wait(failures, first, now), failures };
    }

    /// How long to wait: twice as long after each failure. It is drawn from the second half of that, the first from the
    /// whole, so that the nodes of a tracker that restarts come back spread out.
    fn wait(&mut self, failures: u32, first: Duration, now: Instant) -> Duration {
        let outage = now.saturating_duration_since(*self.gone_since.get_or_insert(now));
        let most = (outage / PART_OF_OUTAGE).clamp(LONGEST_RETRY_AT_FIRST.max(first), LONGEST_RETRY);
        let least = if failures <= 1 { 0.05 } else { 0.5 };
        first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most).mul_f64(self.random.random_range(least..1.0))
    }

    /// The connection served its purpose: only now is an outage over, so that a tracker that takes connections and drops
    /// them is left alone for longer and longer as well.
    fn handle_useful(&mut self) {
        self.failures.link = 0;
        self.gone_since = None;
    }

    fn link_due(&self) -> Option<Instant> {
        match self.link {
            Link::Down | Link::Up => None,
            Link::Dialling { since } => Some(since + PATIENCE),
            Link::Resting { until } => Some(until),
        }
    }

    fn lose(&mut self) {
        self.is_in_step = false;
        if std::mem::take(&mut self.is_known) {
            self.events.push_back(Event::Lost);
        }
    }
}

/// When a state is to be looked at again.
fn due(state: State) -> Option<Instant> {
    match state {
        State::Idle | State::Left => None,
        State::Asked { since } => Some(since + PATIENCE),
        State::Held { renew_at, .. } => Some(renew_at),
        State::Resting { until, .. } => Some(until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::beginning;
    use proptest::prelude::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn all(registration: &mut Registration, now: Instant) -> Vec<Action> {
        std::iter::from_fn(|| registration.poll_action(now)).collect()
    }

    /// A registration that holds both leases at revision 7.
    fn held(seed: u64, now: Instant) -> Registration {
        let mut registration = Registration::new(seed);
        registration.handle_changed(7, now);
        assert_eq!(all(&mut registration, now), [Action::Connect]);
        registration.handle_connected();
        assert_eq!(all(&mut registration, now), [Action::Publish, Action::Register]);
        registration.handle_published(7, LEASE, now);
        registration.handle_registered(LEASE, now);
        assert_eq!(all(&mut registration, now), []);
        assert_eq!(std::iter::from_fn(|| registration.poll_event()).collect::<Vec<_>>(), [Event::Registered, Event::InStep]);
        registration
    }

    #[test]
    fn a_lease_is_renewed_before_half_of_it_is_over() {
        let start = beginning();
        for seed in 0..100 {
            let mut registration = held(seed, start);
            let renew_at = registration.poll_timeout().unwrap();
            assert!((24..=30).contains(&(renew_at - start).as_secs()), "{:?}", renew_at - start);
            assert_eq!(all(&mut registration, renew_at - Duration::from_millis(1)), []);
            assert_eq!(all(&mut registration, renew_at).len(), 1);
        }
    }

    #[test]
    fn a_tracker_that_is_behind_is_brought_into_step_without_a_pause() {
        let now = beginning();
        let mut registration = Registration::new(1);
        registration.handle_changed(30, now);
        all(&mut registration, now);
        registration.handle_connected();
        assert_eq!((registration.poll_action(now), registration.tracker_revision()), (Some(Action::Publish), None));
        for revision in [0, 10, 20] {
            registration.handle_published(revision, LEASE, now);
            assert_eq!(registration.tracker_revision(), Some(revision));
            assert!(all(&mut registration, now).contains(&Action::Publish));
        }
        registration.handle_published(30, LEASE, now);
        assert!(registration.is_in_step() && !all(&mut registration, now).contains(&Action::Publish));
    }

    #[test]
    fn a_tracker_that_never_takes_anything_is_not_asked_without_end() {
        let mut now = beginning();
        let mut registration = Registration::new(1);
        registration.handle_changed(30, now);
        all(&mut registration, now);
        registration.handle_connected();
        let (start, mut asked) = (now, 0);
        while now < start + Duration::from_secs(600) {
            if all(&mut registration, now).contains(&Action::Publish) {
                asked += 1;
                registration.handle_published(3, LEASE, now);
            } else {
                now = registration.poll_timeout().unwrap();
            }
        }
        assert!(asked < 600, "{asked}");
    }

    #[test]
    fn changes_that_come_together_go_out_together_and_soon() {
        let now = beginning();
        let mut registration = held(1, now);
        registration.handle_changed(8, now);
        registration.handle_changed(9, now);
        assert!(!registration.is_in_step());
        assert_eq!(all(&mut registration, now), []);
        assert_eq!(all(&mut registration, now + GATHER), [Action::Publish]);
    }

    #[test]
    fn a_tracker_that_comes_back_within_two_minutes_sees_its_nodes_within_ten_seconds_spread_out() {
        for outage in [1, 10, 60, 119] {
            let start = beginning();
            let back = start + Duration::from_secs(outage);
            let mut seconds = [0; 10];
            for seed in 0..1_000 {
                let mut registration = held(seed, start);
                registration.handle_disconnected(start);
                assert_eq!(registration.poll_event(), Some(Event::Lost));
                let first = registration.poll_timeout().unwrap();
                assert!(first <= start + FIRST_RETRY);
                let connected = loop {
                    let now = registration.poll_timeout().unwrap();
                    match all(&mut registration, now)[..] {
                        [Action::Connect] if now >= back => break now,
                        [Action::Connect] => registration.handle_disconnected(now),
                        _ => {}
                    }
                };
                seconds[(connected - back).as_secs() as usize] += 1;
            }
            assert!(seconds[6..].iter().all(|nodes| *nodes == 0), "after {outage} s: {seconds:?}");
            assert!(outage < 10 || seconds.iter().all(|nodes| *nodes < 500), "after {outage} s: {seconds:?}");
        }
    }

    #[test]
    fn a_tracker_that_is_gone_for_a_day_is_asked_every_few_minutes() {
        let start = beginning();
        let mut registration = held(1, start);
        registration.handle_disconnected(start);
        let mut dials = 0;
        while let Some(now) = registration.poll_timeout().filter(|now| *now < start + Duration::from_secs(86_400)) {
            if all(&mut registration, now) == [Action::Connect] {
                dials += 1;
                registration.handle_disconnected(now);
            }
        }
        assert!((288..800).contains(&dials), "{dials}");
    }

    #[test]
    fn a_tracker_that_drops_every_connection_is_left_alone_for_longer_and_longer() {
        let start = beginning();
        let mut registration = held(1, start);
        registration.handle_disconnected(start);
        let mut dials = 0;
        while let Some(now) = registration.poll_timeout().filter(|now| *now < start + Duration::from_secs(86_400)) {
            if all(&mut registration, now) == [Action::Connect] {
                dials += 1;
                registration.handle_connected();
                all(&mut registration, now);
                registration.handle_disconnected(now);
            }
        }
        assert!((288..800).contains(&dials), "{dials}");
    }

    #[test]
    fn who_deregisters_says_so_once_and_stays_out_until_it_registers() {
        let start = beginning();
        let mut registration = held(1, start);
        registration.deregister();
        registration.deregister();
        assert_eq!(all(&mut registration, start), [Action::Leave]);
        assert_eq!(registration.poll_event(), Some(Event::Lost));
        assert_eq!(all(&mut registration, start + LEASE), []);
        registration.handle_disconnected(start);
        registration.handle_connected();
        assert_eq!(all(&mut registration, start), []);
        registration.register();
        assert_eq!(all(&mut registration, start), [Action::Publish, Action::Register]);
    }

    #[test]
    fn who_is_not_permitted_is_told_and_asks_rarely() {
        let start = beginning();
        let mut registration = held(1, start);
        let now = registration.poll_timeout().unwrap();
        all(&mut registration, now);
        registration.handle_refused(Part::Index, Refusal::NotPermitted, now);
        assert_eq!(registration.poll_event(), Some(Event::Lost));
        assert_eq!(registration.poll_event(), Some(Event::Refused(Refusal::NotPermitted)));
        let State::Resting { failures: 1, .. } = registration.state(Part::Index) else { panic!("{registration:?}") };
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_registered_again_once_the_tracker_answers(
            steps in prop::collection::vec((0u8..9, 0u64..400), 0..60), seed: u64,
        ) {
            let mut now = beginning();
            let mut registration = Registration::new(seed);
            for (step, wait) in steps {
                now += Duration::from_secs(wait);
                all(&mut registration, now);
                match step {
                    0 => registration.handle_connected(),
                    1 => registration.handle_disconnected(now),
                    2 => registration.handle_published(wait, LEASE, now),
                    3 => registration.handle_registered(LEASE, now),
                    4 => registration.handle_refused(Part::Index, Refusal::Busy, now),
                    5 => registration.handle_failed(Part::Rendezvous, now),
                    6 => registration.handle_changed(wait, now),
                    7 => registration.deregister(),
                    _ => registration.register(),
                }
            }
            registration.register();
            registration.handle_changed(5, now);
            for _ in 0..50 {
                while let Some(action) = registration.poll_action(now) {
                    match action {
                        Action::Connect => registration.handle_connected(),
                        Action::Publish => registration.handle_published(5, LEASE, now),
                        Action::Register => registration.handle_registered(LEASE, now),
                        Action::Leave => prop_assert!(false, "it wants to be registered"),
                    }
                }
                if registration.is_in_step() && matches!(registration.state(Part::Rendezvous), State::Held { .. }) {
                    return Ok(());
                }
                now = now.max(registration.poll_timeout().expect("it waits for something"));
            }
            prop_assert!(false, "{:?}", registration);
        }
    }
}
