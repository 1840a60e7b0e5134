//! [`Window`]: how many asks a peer may have in flight, learnt from how fast it answers.
//!
//! A piece is in flight for some round trips, as its stream's window opens; rate × that time is asked for, a quarter more
//! so that the window grows while the rate does, and some pieces more so that a fast peer with next to no delay never waits for us: a piece is in flight until it is
//! hashed and written, and another is read and sent meanwhile. The delay is the shortest round trip
//! that was seen, which is the path without our own queue in it. As a full window shows a
//! higher rate, the window follows, doubling at most once an interval: a slow start that ends where the rate ends.
//!
//! The window is counted in pieces; smaller answers count by their bytes, so that there can be more of them.

use std::time::{Duration, Instant};

use potluck_common::geometry::PIECE_BYTES;

use super::load::LONG_DELAY;

/// Pieces in flight at a peer of which nothing is known yet: fills 60 MB/s at a delay of 60 ms from the first moment.
const FIRST_LIMIT: u32 = 4;
/// The same at a far peer: what waits for room on a connection is not lost to others that come later.
const FIRST_LIMIT_FAR: u32 = 8;
/// The same when it is asked for small files and is the only one who has them: none of these requests is answered before most of the others are.
const FIRST_LIMIT_OF_FILES: u32 = 12;
/// Pieces in flight at a peer that is known to be slow: one that comes, and the next.
const LEAST_LIMIT: u32 = 2;
/// Pieces in flight beside those in the pipe: one each that is read, sent, received, hashed and written.
const AT_WORK: f64 = 5.0;
/// How long these take at most, together. At a rate at which fewer pieces come in that time, more in flight only wait for each other:
/// those who fetch the same file, and could have the first of them from us, wait with them.
const WORK_SECONDS: f64 = 0.25;
/// Round trips in which a piece comes on a line that is full: one there and back, and some in which the windows of new streams
/// grow, and wait for each other.
const TRIPS_A_PIECE: f64 = 4.0;
/// A connection takes two round trips to make; a third is left for what the handshake costs on slow machines.
const TRIPS_A_DIAL: u32 = 3;
/// How much more is asked for than the pipe is seen to hold.
const GROWTH: f64 = 1.25;
/// The shortest interval over which a rate is measured: shorter ones see single pieces instead of a rate.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// At a slower rate (128 KiB/s: 8 s a piece) a second piece would only wait where another source could have had it.
const ONE_AT_A_TIME_RATE: f64 = 131_072.0;
/// What a peer is asked for at most, in seconds of its own rate: what is in flight there is lost to other sources.
const MOST_SECONDS_IN_FLIGHT: f64 = 2.0;

/// After so many answers, a peer that would not take more asks at once is tried with one more.
const ANSWERS_BEFORE_ONE_MORE: u32 = 32;

/// How many asks a peer may have in flight.
#[derive(Debug)]
pub(super) struct Window {
    /// Pieces, each of [`PIECE_BYTES`].
    limit: u32,
    /// Asks, whatever they are for: what the peer was seen to take.
    asks: u32,
    answers: u32,
    /// Most that either of them may be.
    most: u32,
    /// Connections that share the asks.
    lanes: u32,
    rate: Option<f64>,
    delay: Option<Duration>,
    /// What the delay is thought to be as long as none was measured.
    supposed: Duration,
    interval: Option<Interval>,
}

/// Bytes that came in since some time.
#[derive(Clone, Copy, Debug)]
struct Interval {
    began: Instant,
    bytes: u64,
    /// Whether the window was full at some time in it: only then does the peer's rate show what the peer can do.
    was_full: bool,
}

impl Window {
    /// A window for a peer of which nothing is known, which will never grow over `most`.
    pub(super) fn new(most: u32) -> Self {
        Self {
            limit: FIRST_LIMIT.min(most),
            asks: most,
            answers: 0,
            most,
            lanes: 1,
            rate: None,
            delay: None,
            supposed: Duration::ZERO,
            interval: None,
        }
    }

    /// Most pieces in flight now.
    #[cfg(test)]
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether one more ask fits beside `asks` of `bytes` in all.
    pub(super) fn has_room(&self, asks: usize, bytes: u64) -> bool {
        asks < self.asks as usize && bytes < u64::from(self.limit) * u64::from(PIECE_BYTES)
    }

    /// Bytes per second when the peer was last kept busy; `None` before the first measurement.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Seconds that `bytes` would take from now on, when `in_flight` asks share the peer; `None` when nothing is known.
    pub(super) fn seconds_for(&self, bytes: u64, in_flight: usize) -> Option<f64> {
        let rate = self.rate.filter(|rate| *rate > 0.0)?;
        Some(self.delay.unwrap_or_default().as_secs_f64() + bytes as f64 * (in_flight as f64 + 1.0) / rate)
    }

    /// Seconds that `bytes` take by one of the connections that share the peer; `None` when nothing is known.
    pub(super) fn seconds_by_one_lane(&self, bytes: u64) -> Option<f64> {
        let rate = self.rate.filter(|rate| *rate > 0.0)?;
        Some(self.delay().as_secs_f64() * TRIPS_A_PIECE + bytes as f64 * f64::from(self.lanes) / rate)
    }

    /// An ask went out; with it, `asks` of `bytes` in all are out.
    pub(super) fn handle_asked(&mut self, asks: usize, bytes: u64, now: Instant) {
        let interval = self.interval.get_or_insert(Interval { began: now, bytes: 0, was_full: false });
        if asks <= 1 {
            *interval = Interval { began: now, bytes: 0, was_full: false }; // the time before was idle
        }
        interval.was_full |= is_full(self.limit, bytes);
    }

    /// It took so long to connect.
    pub(super) fn handle_dialled(&mut self, took: Duration) {
        self.supposed = took / TRIPS_A_DIAL;
        self.begin_far();
    }

    /// A round trip, or the first bytes of an answer, took so long.
    pub(super) fn handle_round_trip(&mut self, took: Duration) {
        self.delay = Some(self.delay.map_or(took, |delay| delay.min(took)));
        self.begin_far();
    }

    /// A far peer of which nothing else is known is asked for more.
    fn begin_far(&mut self) {
        if self.rate.is_none() && self.supposed_delay() >= LONG_DELAY {
            self.limit = self.limit.max(FIRST_LIMIT_FAR).min(self.most);
        }
    }

    /// The peer is asked for small files by several connections that are being opened, and is the only one who has them.
    pub(super) fn begin_files(&mut self) {
        if self.rate.is_none() {
            self.limit = self.limit.max(FIRST_LIMIT_OF_FILES).min(self.most);
        }
    }

    /// The shortest round trip, or what it is thought to be before any.
    pub(super) fn supposed_delay(&self) -> Duration {
        self.delay.unwrap_or(self.supposed)
    }

    /// The shortest round trip; zero before any.
    pub(super) fn delay(&self) -> Duration {
        self.delay.unwrap_or_default()
    }

    /// So many connections share the asks: each is to have one at least.
    pub(super) fn set_lanes(&mut self, lanes: u32) {
        self.lanes = lanes;
        if lanes > 1 {
            self.limit = self.limit.max(shared(lanes)).min(self.most);
        }
    }

    /// Bytes came in, while asks for `in_flight` bytes were out, these included. Returns whether they end an interval in which the
    /// peer was kept busy: its rate was measured.
    pub(super) fn handle_bytes(&mut self, bytes: u64, in_flight: u64, now: Instant) -> bool {
        let delay = self.delay();
        let Some(interval) = self.interval.as_mut() else { return false };
        interval.was_full |= is_full(self.limit, in_flight);
        if self.rate.is_none() && interval.bytes == 0 {
            interval.began = now; // connecting, and the way there and back, are no part of the peer's rate
        }
        interval.bytes += bytes;
        let elapsed = now.saturating_duration_since(interval.began);
        if elapsed < SHORTEST_INTERVAL.max(delay) {
            return false;
        }
        let closed = *interval;
        *interval = Interval { began: now, bytes: 0, was_full: false };
        self.learn(closed.bytes as f64 / elapsed.as_secs_f64(), closed.was_full);
        closed.was_full
    }

    /// The peer let an ask lie: it gets half as many.
    pub(super) fn handle_stall(&mut self) {
        self.limit = (self.limit / 2).max(1);
    }

    /// The peer answered an ask in full.
    pub(super) fn handle_answered(&mut self) {
        self.answers += 1;
        if self.answers >= ANSWERS_BEFORE_ONE_MORE {
            self.answers = 0;
            self.asks = (self.asks + 1).min(self.most);
        }
    }

    /// The peer would not take more than `asks` at once.
    pub(super) fn handle_refused(&mut self, asks: usize) {
        self.asks = self.asks.min(u32::try_from(asks).unwrap_or(u32::MAX)).max(1);
        self.answers = 0;
    }

    /// Nothing that was learnt holds on a new connection.
    pub(super) fn handle_connected(&mut self) {
        *self = Self::new(self.most);
    }

    fn learn(&mut self, sample: f64, was_full: bool) {
        let rate = match self.rate {
            Some(rate) if was_full => (rate + sample) / 2.0,
            Some(rate) => rate.max(sample),
            None if was_full || sample >= ONE_AT_A_TIME_RATE => sample,
            None => return, // it was asked for little
        };
        self.rate = Some(rate);
        if was_full {
            self.limit = self.limit_at(rate).min(self.limit.saturating_mul(2)).clamp(1, self.most);
        }
    }

    fn limit_at(&self, rate: f64) -> u32 {
        if rate < ONE_AT_A_TIME_RATE {
            return self.lanes;
        }
        let pieces_per_second = rate / f64::from(PIECE_BYTES);
        let at_work = AT_WORK.min(1.0 + pieces_per_second * WORK_SECONDS);
        let pipe = GROWTH * TRIPS_A_PIECE * pieces_per_second * self.delay.unwrap_or_default().as_secs_f64() + at_work;
        let patience = pieces_per_second * MOST_SECONDS_IN_FLIGHT + 1.0;
        let least = f64::from(LEAST_LIMIT);
        let shared = if self.lanes > 1 { shared(self.lanes) } else { 0 };
        pipe.max(least).min(patience).max(f64::from(shared)).ceil() as u32
    }
}

/// Pieces in flight that keep several connections busy, each of which has a part or two of them.
fn shared(lanes: u32) -> u32 {
    lanes / 2 + 4
}

/// Whether so many bytes in flight keep a peer busy, in a window of `limit` pieces.
fn is_full(limit: u32, in_flight: u64) -> bool {
    in_flight >= u64::from(limit) * u64::from(PIECE_BYTES) * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::beginning;

    const MIB: u64 = PIECE_BYTES as u64;

    /// Plays a peer that is kept busy for ten seconds: a pipe of `rate` bytes per second behind `delay`.
    fn busy(window: &mut Window, rate: f64, delay: Duration, start: Instant) -> Instant {
        let mut now = start;
        for _ in 0..1_000 {
            window.handle_asked(window.limit() as usize, u64::from(window.limit()) * MIB, now);
            window.handle_round_trip(delay);
            let in_flight = f64::from(window.limit()) * MIB as f64;
            let reached = rate.min(in_flight / (3.7 * delay.as_secs_f64()));
            now += Duration::from_millis(10);
            window.handle_bytes((reached / 100.0) as u64, in_flight as u64, now);
        }
        now
    }

    #[test]
    fn a_long_fat_pipe_is_filled() {
        let mut window = Window::new(32);
        busy(&mut window, 62.5e6, Duration::from_millis(50), beginning());
        assert!((18..=21).contains(&window.limit()), "{}", window.limit());
        assert!((window.rate().unwrap() - 62.5e6).abs() < 1e6, "{:?}", window.rate());
    }

    #[test]
    fn a_slow_peer_is_asked_for_one_piece_at_a_time() {
        let mut window = Window::new(32);
        busy(&mut window, 100e3, Duration::from_millis(20), beginning());
        assert_eq!(window.limit(), 1);
    }

    #[test]
    fn the_window_follows_a_rate_that_falls_and_never_passes_its_most() {
        let mut window = Window::new(8);
        let now = busy(&mut window, 1e9, Duration::from_millis(100), beginning());
        assert_eq!(window.limit(), 8);
        busy(&mut window, 2e6, Duration::from_millis(100), now);
        assert!(window.limit() <= 6, "{}", window.limit());
    }

    #[test]
    fn an_idle_time_does_not_lower_the_rate() {
        let mut window = Window::new(32);
        let now = busy(&mut window, 50e6, Duration::from_millis(10), beginning());
        let before = window.rate().unwrap();
        let later = now + Duration::from_secs(60);
        window.handle_asked(1, MIB, later);
        window.handle_bytes(MIB, MIB, later + Duration::from_millis(150));
        assert!(window.rate().unwrap() >= before);
    }

    #[test]
    fn the_time_before_the_first_byte_does_not_make_a_peer_look_slow() {
        let (mut window, start) = (Window::new(32), beginning());
        window.handle_asked(4, 4 * MIB, start);
        assert!(!window.handle_bytes(0, 4 * MIB, start + Duration::from_millis(250)));
        assert!(!window.handle_bytes(MIB / 4, 4 * MIB, start + Duration::from_millis(400)));
        assert!(window.handle_bytes(MIB, 4 * MIB, start + Duration::from_millis(500)));
        assert!(window.limit() >= FIRST_LIMIT && window.rate().unwrap() > 10e6, "{window:?}");
    }

    #[test]
    fn small_asks_do_not_make_a_peer_look_slow() {
        let mut window = Window::new(32);
        let mut now = beginning();
        for asks in (1..=32).cycle().take(1000) {
            window.handle_asked(asks, asks as u64 * 3000, now);
            now += Duration::from_millis(20);
            window.handle_bytes(3000, asks as u64 * 3000, now);
        }
        assert_eq!(window.limit(), FIRST_LIMIT);
        assert!(window.has_room(31, 31 * 3000) && !window.has_room(32, 32 * 3000));
    }

    #[test]
    fn a_peer_that_is_busy_is_tried_with_one_more_after_a_while() {
        let mut window = Window::new(32);
        window.handle_refused(2);
        assert!(window.has_room(1, MIB) && !window.has_room(2, 0));
        (0..ANSWERS_BEFORE_ONE_MORE).for_each(|_| window.handle_answered());
        assert!(window.has_room(2, 0) && !window.has_room(3, 0));
    }
}
