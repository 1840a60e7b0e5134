//! [`Load`] and [`freest`]: by which of several connections to a peer the next request goes.
//!
//! Connections to one peer are not alike: where packets are lost, one may bring ten times as much as its neighbour. Dealt out in
//! turn, requests gather at the slowest, and the end of a file waits for it. A request therefore goes where it will be
//! through first, judged by the bytes that are owed there and by what the connection brought of late.

use std::time::{Duration, Instant};

/// The shortest time over which a pace is measured: shorter ones see single frames.
const INTERVAL: Duration = Duration::from_millis(200);
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
}

impl Load {
    /// So many bytes are owed beside those that are.
    pub fn handle_asked(&mut self, bytes: u64, now: Instant) {
        if self.owed == 0 {
            (self.pace, self.interval, self.idle_since) = (self.pace_at(now), None, None); // the time before was idle
        }
        self.owed = self.owed.saturating_add(bytes);
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
            self.idle_since = Some(now);
        }
    }

    fn pace_at(&self, now: Instant) -> Option<f64> {
        self.pace.filter(|_| self.idle_since.is_none_or(|since| now.saturating_duration_since(since) <= MEMORY))
    }

    /// Seconds until `bytes` more would be there, by a connection that is as fast as `otherwise` if its pace is unknown.
    fn seconds_for(&self, bytes: u64, otherwise: f64, now: Instant) -> f64 {
        self.owed.saturating_add(bytes) as f64 / self.pace_at(now).unwrap_or(otherwise).max(1.0)
    }
}

/// Which of these connections will be through with `bytes` more first. One whose pace is unknown counts as the fastest of the
/// others: it deserves a try. `None` of none.
pub fn freest<'a>(loads: impl Iterator<Item = &'a Load> + Clone, bytes: u64, now: Instant) -> Option<usize> {
    let fastest = loads.clone().filter_map(|load| load.pace_at(now)).fold(1.0, f64::max);
    let seconds = loads.map(|load| load.seconds_for(bytes, fastest, now));
    seconds.enumerate().min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(at, _)| at)
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

    fn choose(loads: &[Load], now: Instant) -> usize {
        freest(loads.iter(), MIB, now).unwrap()
    }

    #[test]
    fn of_unknown_connections_the_one_that_owes_least_is_chosen() {
        let (mut loads, now) = ([Load::default(), Load::default()], beginning());
        assert_eq!(choose(&loads, now), 0);
        loads[0].handle_asked(MIB, now);
        assert_eq!(choose(&loads, now), 1);
        assert_eq!(freest([].iter(), MIB, now), None);
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
        assert_eq!(choose(&loads, now + MEMORY / 2), 0);
        assert_eq!(choose(&loads, now + MEMORY * 2), 1);
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
