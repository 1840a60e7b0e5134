//! [`Load`] and [`freest`]: by which of several connections to a peer the next request goes.
//!
//! Connections to one peer are not alike: where packets are lost, one may bring ten times as much as its neighbour. Dealt out in
//! turn, requests gather at the slowest, and the end of a file waits for it. A request therefore goes where it will be
//! through first, judged by the bytes that are owed there and by what the connection brought of late. On a long path it waits until
//! a connection has room, so that those that come later have their share of what was wanted before.

use std::time::{Duration, Instant};

use potluck_common::geometry::PIECE_BYTES;

/// The shortest time over which a pace is measured: shorter ones see single frames.
const INTERVAL: Duration = Duration::from_millis(200);
/// A connection is asked for so many seconds of its pace ahead: many round trips, so that it can get as much faster meanwhile.
const AHEAD_SECONDS: f64 = 0.5;
/// And for one part behind the rest of another, however slow it is.
const LEAST_AHEAD: f64 = PART_BYTES as f64 / 2.0;
/// As long as its pace is unknown, for two parts: what a connection begins with is seen before they have come.
const FIRST_AHEAD: f64 = 2.0 * PART_BYTES as f64;
/// Paths of less delay are short.
pub const LONG_DELAY: Duration = Duration::from_millis(20);
/// Bytes of a part of a piece: an eighth, which a connection of a line that loses packets brings in less than half a second.
pub const PART_BYTES: u32 = PIECE_BYTES / 8;
/// Bytes in flight on one connection: one that loses no packets has three times as many after some round trips, unless the line is
/// slow.
pub const TINY_WINDOW: f64 = 48.0 * 1024.0;
/// How long a pace is remembered of a connection that was asked for nothing: its line may have become another.
const MEMORY: Duration = Duration::from_secs(2);

/// What a connection owes us, and how fast it brings it.
#[derive(Debug, Default)]
pub struct Load {
    /// Bytes that were asked for and have not come.
    owed: u64,
    /// Bytes per second, of late.
    pace: Option<f64>,
    /// Since when bytes are counted, and how many came.
    interval: Option<(Instant, u64)>,
    /// When nothing was owed any more.
    idle_since: Option<Instant>,
    /// The shortest time from a request to the first byte of its answer.
    delay: Option<Duration>,
}

impl Load {
    /// So many bytes are owed beside those that are.
    pub fn handle_asked(&mut self, bytes: u64, now: Instant) {
        if let Some(since) = self.idle_since.take() {
            self.pace = self.pace.filter(|_| now.saturating_duration_since(since) <= MEMORY);
            // A gap between two answers is part of the pace, an idle time is not.
            self.interval = self.interval.filter(|_| now.saturating_duration_since(since) < INTERVAL);
        }
        self.owed = self.owed.saturating_add(bytes);
    }

    /// The first byte of an answer came so long after its request.
    pub fn handle_begun(&mut self, took: Duration) {
        self.delay = Some(self.delay.map_or(took, |delay| delay.min(took)));
    }

    /// Bytes came. They are still owed until [`handle_settled`](Self::handle_settled) says so.
    pub fn handle_bytes(&mut self, bytes: u64, now: Instant) {
        // The way there and back before the first byte is no part of the pace.
        let (began, counted) = self.interval.get_or_insert((now, 0));
        *counted += bytes;
        let elapsed = now.saturating_duration_since(*began);
        if elapsed >= INTERVAL {
            let sample = *counted as f64 / elapsed.as_secs_f64();
            self.pace = Some(self.pace.map_or(sample, |pace| (pace + sample) / 2.0));
            self.interval = Some((now, 0));
        }
    }

    /// So many bytes are owed no longer: they came, or will not.
    pub fn handle_settled(&mut self, bytes: u64, now: Instant) {
        self.owed = self.owed.saturating_sub(bytes);
        if self.owed == 0 {
            self.idle_since.get_or_insert(now);
        }
    }

    /// Whether requests should be kept back until this connection, or another to the same peer, has room for them: on a long path
    /// connections differ, and more of them may come.
    #[must_use]
    pub fn is_far(&self) -> bool {
        self.delay.is_some_and(|delay| delay >= LONG_DELAY)
    }

    /// Whether the connection brings so little in a round trip that packets must be lost; `None` as long as nothing is known.
    #[must_use]
    pub fn is_losing(&self) -> Option<bool> {
        Some(self.pace? * self.delay?.as_secs_f64() < TINY_WINDOW)
    }

    /// Whether it is worth asking for more by this connection now.
    #[must_use]
    pub fn has_room(&self, now: Instant) -> bool {
        (self.owed as f64) < self.pace_at(now).map_or(FIRST_AHEAD, |pace| (pace * AHEAD_SECONDS).max(LEAST_AHEAD))
    }

    /// What the connection brings: what it brought of late, or less where it brings nothing now.
    fn pace_at(&self, now: Instant) -> Option<f64> {
        let pace = self.pace.filter(|_| self.idle_since.is_none_or(|since| now.saturating_duration_since(since) <= MEMORY))?;
        let elapsed = self.interval.map(|(began, counted)| (now.saturating_duration_since(began), counted));
        Some(match elapsed {
            Some((elapsed, counted)) if self.owed > 0 && elapsed > 2 * INTERVAL => pace.min(counted as f64 / elapsed.as_secs_f64()),
            _ => pace,
        })
    }

    /// Seconds until `bytes` more would be there, by a connection that is as fast as `otherwise` if its pace is unknown.
    fn seconds_for(&self, bytes: u64, otherwise: f64, now: Instant) -> f64 {
        self.owed.saturating_add(bytes) as f64 / self.pace_at(now).unwrap_or(otherwise).max(1.0)
    }
}

/// Whether packets are lost on a path, given whether each of the connections by it of which that is known [is losing](Load::is_losing): if half
/// of them are, for of forty there is always one that has been lucky. `None` as long as nothing is known of any.
pub fn is_lossy(losing: impl Iterator<Item = bool>) -> Option<bool> {
    let (losing, known) = losing.fold((0, 0), |(losing, known), is_losing| (losing + usize::from(is_losing), known + 1));
    (known > 0).then_some(losing * 2 >= known)
}

/// Which of these connections will be through with `bytes` more first. One whose pace is unknown counts as the fastest of the
/// others: it deserves a try. `None` of none.
#[must_use]
pub fn freest(loads: &[&Load], bytes: u64, now: Instant) -> Option<usize> {
    choose(loads, |_| true, bytes, now)
}

/// The same of those that have not enough to do.
#[must_use]
pub fn freest_with_room(loads: &[&Load], bytes: u64, now: Instant) -> Option<usize> {
    choose(loads, |load| load.has_room(now), bytes, now)
}

/// One that has nothing to do at all: the fastest of those.
#[must_use]
pub fn idle(loads: &[&Load], bytes: u64, now: Instant) -> Option<usize> {
    choose(loads, |load| load.owed == 0, bytes, now)
}

fn choose(loads: &[&Load], may_be: impl Fn(&Load) -> bool, bytes: u64, now: Instant) -> Option<usize> {
    let fastest = loads.iter().filter_map(|load| load.pace_at(now)).fold(1.0, f64::max);
    let candidates = loads.iter().enumerate().filter(|(_, load)| may_be(load));
    let seconds = candidates.map(|(at, load)| (at, load.seconds_for(bytes, fastest, now)));
    seconds.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::beginning;

    const MIB: u64 = 1 << 20;

    /// A connection that brought `pace` bytes a second for a second, and owes nothing.
    fn measured(pace: u64, start: Instant) -> Load {
        let mut load = Load::default();
        load.handle_asked(pace, start);
        (0..=10).for_each(|tenth: u32| load.handle_bytes(pace / 10, start + Duration::from_millis(100) * tenth));
        load.handle_settled(pace, start + Duration::from_secs(1));
        load
    }

    fn all(loads: &[Load]) -> Vec<&Load> {
        loads.iter().collect()
    }

    fn choose(loads: &[Load], now: Instant) -> usize {
        freest(&all(loads), MIB, now).unwrap()
    }

    #[test]
    fn a_path_loses_packets_where_half_of_its_connections_do() {
        let path = |losing: usize, fine: usize| is_lossy(std::iter::repeat_n(true, losing).chain(std::iter::repeat_n(false, fine)));
        assert_eq!((path(0, 0), path(1, 0), path(0, 1)), (None, Some(true), Some(false)));
        assert_eq!((path(39, 1), path(20, 20), path(19, 21)), (Some(true), Some(true), Some(false)));
    }

    #[test]
    fn of_unknown_connections_the_one_that_owes_least_is_chosen() {
        let (mut loads, now) = ([Load::default(), Load::default()], beginning());
        assert_eq!(choose(&loads, now), 0);
        loads[0].handle_asked(MIB, now);
        assert_eq!(choose(&loads, now), 1);
        assert_eq!(freest(&[], MIB, now), None);
    }

    #[test]
    fn a_fast_connection_is_given_as_many_times_more() {
        let start = beginning();
        let mut loads = [measured(10 * MIB, start), measured(MIB, start)];
        let now = start + Duration::from_secs(1);
        let mut given = [0; 2];
        for _ in 0..22 {
            let chosen = choose(&loads, now);
            loads[chosen].handle_asked(MIB, now);
            given[chosen] += 1;
        }
        assert!(given == [20, 2], "{given:?}");
    }

    #[test]
    fn a_connection_that_was_never_measured_is_tried() {
        let start = beginning();
        let (mut loads, now) = ([measured(10 * MIB, start), Load::default()], start + Duration::from_secs(1));
        loads[0].handle_asked(MIB, now);
        assert_eq!(choose(&loads, now), 1);
    }

    #[test]
    fn a_slow_one_gets_another_chance_after_a_while() {
        let start = beginning();
        let mut loads = [measured(10 * MIB, start), measured(MIB / 4, start)];
        let now = start + Duration::from_secs(1);
        (0..8).for_each(|_| loads[0].handle_asked(MIB, now));
        let mut chosen_after = |time: Duration| {
            (0..=10).for_each(|tenth| loads[0].handle_bytes(MIB, now + time - Duration::from_secs(1) + Duration::from_millis(100) * tenth));
            choose(&loads, now + time)
        };
        assert_eq!((chosen_after(MEMORY / 2), chosen_after(MEMORY * 2)), (0, 1));
    }

    #[test]
    fn a_connection_is_asked_for_what_it_brings_soon_and_no_more() {
        let (start, now) = (beginning(), beginning() + Duration::from_secs(1));
        let mut loads = [measured(8 * MIB, start), Load::default()];
        let mut given = [0; 2];
        while let Some(chosen) = freest_with_room(&all(&loads), u64::from(PART_BYTES), now) {
            loads[chosen].handle_asked(PART_BYTES.into(), now);
            given[chosen] += 1;
        }
        assert!((32..=36).contains(&given[0]) && given[1] == 2, "{given:?}");
        assert_eq!(idle(&all(&loads), MIB, now), None);
        loads[1].handle_settled(2 * u64::from(PART_BYTES), now);
        assert_eq!(freest_with_room(&all(&loads), u64::from(PART_BYTES), now), Some(1));
        assert_eq!(idle(&all(&loads), MIB, now), Some(1));
    }

    #[test]
    fn a_connection_that_brings_nothing_any_more_is_not_chosen() {
        let start = beginning();
        let mut loads = [measured(8 * MIB, start), measured(MIB, start)];
        let now = start + Duration::from_secs(1);
        loads[0].handle_asked(MIB, now);
        loads[0].handle_bytes(MIB / 8, now);
        assert_eq!(choose(&loads, now), 0);
        assert_eq!(choose(&loads, now + Duration::from_secs(1)), 1);
    }

    #[test]
    fn the_shortest_delay_says_whether_a_path_is_long() {
        let mut load = Load::default();
        assert!(!load.is_far());
        load.handle_begun(LONG_DELAY);
        assert!(load.is_far());
        load.handle_begun(LONG_DELAY / 2);
        load.handle_begun(LONG_DELAY);
        assert!(!load.is_far());
    }

    #[test]
    fn a_connection_that_brings_little_in_a_round_trip_loses_packets() {
        let mut loads = [measured(MIB / 4, beginning()), measured(4 * MIB, beginning())];
        assert_eq!(loads.each_ref().map(Load::is_losing), [None, None]);
        loads.iter_mut().for_each(|load| load.handle_begun(Duration::from_millis(50)));
        assert_eq!(loads.each_ref().map(Load::is_losing), [Some(true), Some(false)]);
    }

    #[test]
    fn what_will_not_come_is_owed_no_longer() {
        let (mut load, now) = (Load::default(), beginning());
        load.handle_asked(MIB, now);
        load.handle_bytes(MIB / 2, now);
        load.handle_settled(MIB, now);
        load.handle_settled(MIB, now);
        assert_eq!(load.owed, 0);
    }
}
