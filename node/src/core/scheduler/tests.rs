//! The scheduler, played against peers that are fast, slow, silent, dying and lying, on a clock that is only a number.

mod far;
mod simulator;
mod swarm;

use std::time::Duration;

use potluck_common::content_id::ContentId;
use potluck_common::wire::Refusal;
use proptest::prelude::*;

use super::*;
use crate::core::testing::{beginning, peer};
use simulator::{Kind, PeerPlan, Simulator, check, file_of};
use swarm::Swarm;

const MB: f64 = 1e6;
const MIB: u64 = 1 << 20;

fn plan(rate: f64, delay_ms: u64) -> PeerPlan {
    PeerPlan { rate, delay: Duration::from_millis(delay_ms), kind: Kind::Honest, has: None }
}

fn want(content_id: ContentId, size: Option<u64>) -> Want {
    Want { content_id, size, hashes: None, verified: None, priority: Priority::Normal, in_order: false }
}

fn with_hashes(size: u64) -> Want {
    let (content_id, hashes) = file_of(size, 7);
    Want { hashes: Some(hashes), ..want(content_id, Some(size)) }
}

/// Everything that can be asked for now.
fn all(scheduler: &mut Scheduler, now: Instant) -> Vec<Ask> {
    let asks = std::iter::from_fn(|| scheduler.poll_request(now)).collect();
    check(scheduler);
    asks
}

fn events(scheduler: &mut Scheduler) -> Vec<Event> {
    std::iter::from_fn(|| scheduler.poll_event()).collect()
}

fn piece_of(ask: &Ask) -> PieceIndex {
    let What::Piece { piece, .. } = ask.what else { panic!("{ask:?} is not for a piece") };
    piece
}

/// A scheduler with one file, of which some connected peers have all.
fn one_file(size: u64, peers: u32, now: Instant) -> Scheduler {
    let mut scheduler = Scheduler::new(Config::default(), 1);
    scheduler.add(FileNo(0), with_hashes(size));
    for number in 0..peers {
        scheduler.handle_connected(peer(number));
        scheduler.handle_source(FileNo(0), peer(number), now);
    }
    scheduler
}

// How fast.

#[test]
fn a_long_fat_pipe_is_filled() {
    let done = Simulator::run(1, &[plan(100.0 * MB, 100)], &[1000 * MIB]);
    let link = 1000.0 * MIB as f64 / (100.0 * MB);
    assert!(done.seconds < link * 1.1, "{:.2} s instead of {link:.2} s", done.seconds);
    assert_eq!(done.wasted, 0);
}

#[test]
fn three_sources_give_the_sum_of_their_rates() {
    let done = Simulator::run(1, &[plan(12.5 * MB, 10), plan(12.5 * MB, 20), plan(12.5 * MB, 30)], &[256 * MIB]);
    let link = 256.0 * MIB as f64 / (37.5 * MB);
    assert!(done.seconds < link * 1.05, "{:.2} s instead of {link:.2} s", done.seconds);
    assert!(done.wasted < 256 * MIB / 50, "{} bytes twice", done.wasted);
}

#[test]
fn four_who_begin_together_need_little_longer_than_one_alone() {
    for (size, rate, delay_ms) in [(64, 12.5 * MB, 2), (64, 12.5 * MB, 50), (64, 1.25 * MB, 20), (512, 50.0 * MB, 2)] {
        for seed in 0..5 {
            let delay = Duration::from_millis(delay_ms);
            let alone = Swarm::run(seed, 1, size * MIB, rate, delay);
            let together = Swarm::run(seed, 4, size * MIB, rate, delay);
            let ratio = together.seconds / alone.seconds;
            assert!(ratio < 1.6 && together.seed_sent < 1.6, "{size} MiB, {rate}, {delay_ms} ms, seed {seed}: {alone:?}, {together:?}");
        }
    }
}

#[test]
fn unequal_sources_waste_less_than_two_percent() {
    for seed in 0..20 {
        let done = Simulator::run(seed, &[plan(20.0 * MB, 10), plan(7.0 * MB, 40), plan(1.5 * MB, 80)], &[300 * MIB]);
        let link = 300.0 * MIB as f64 / (28.5 * MB);
        assert!(done.seconds < link * 1.1, "{:.2} s instead of {link:.2} s", done.seconds);
        assert!(done.wasted < 300 * MIB / 50, "{} bytes twice", done.wasted);
    }
}

#[test]
fn a_slow_silent_or_dripping_peer_does_not_hold_a_file_up() {
    for size in [20 * MIB, 300 * MIB] {
        let alone = Simulator::run(1, &[plan(30.0 * MB, 20)], &[size]).seconds;
        let companions = [
            plan(0.1 * MB, 20),
            plan(1.0 * MB, 300),
            PeerPlan { kind: Kind::Silent, ..plan(30.0 * MB, 20) },
            PeerPlan { kind: Kind::SilentAfter(3), ..plan(30.0 * MB, 20) },
            plan(0.2, 20), // a byte in five seconds
        ];
        for companion in companions {
            for seed in 0..10 {
                let kind = companion.kind.clone();
                let together = Simulator::run(seed, &[companion.clone(), plan(30.0 * MB, 20)], &[size]);
                let most = if size < 100 * MIB { alone * 1.3 + 1.2 } else { alone * 1.3 };
                assert!(together.seconds < most, "{kind:?}, seed {seed}: {:.2} s, alone {alone:.2} s", together.seconds);
                assert!(together.wasted < size / 50, "{kind:?}, seed {seed}: {} bytes twice", together.wasted);
            }
        }
    }
}

#[test]
fn small_files_come_in_a_handful_of_round_trips() {
    let sizes: Vec<u64> = (0..5000).map(|number| 1000 + number * 13 % 60_000).collect();
    let done = Simulator::run(1, &[plan(125.0 * MB, 50)], &sizes);
    let bytes: u64 = sizes.iter().sum();
    let link = bytes as f64 / (125.0 * MB);
    assert!(done.seconds < link + 0.6, "{:.2} s, the link alone takes {link:.2} s", done.seconds);
    assert!(done.asks < 350, "{} requests", done.asks);
}

#[test]
fn a_small_file_behind_a_large_one_does_not_wait_for_it() {
    let now = beginning();
    let mut scheduler = one_file(MIB << 10, 1, now);
    let (content_id, _) = file_of(1000, 1);
    scheduler.add(FileNo(1), want(content_id, Some(1000)));
    scheduler.handle_source(FileNo(1), peer(0), now);
    assert!(all(&mut scheduler, now).iter().any(|ask| matches!(ask.what, What::Files(_))));
}

#[test]
fn a_file_of_high_priority_comes_first() {
    let now = beginning();
    let mut scheduler = one_file(MIB << 10, 1, now);
    scheduler.add(FileNo(1), Want { priority: Priority::High, ..with_hashes(100 * MIB) });
    scheduler.handle_source(FileNo(1), peer(0), now);
    let asks = all(&mut scheduler, now);
    assert!(asks.iter().all(|ask| matches!(ask.what, What::Piece { file: FileNo(1), .. })), "{asks:?}");
}

#[test]
fn the_order_of_files_changes_when_the_user_says_so() {
    let now = beginning();
    let mut scheduler = one_file(MIB << 10, 1, now);
    scheduler.add(FileNo(1), with_hashes(100 * MIB));
    scheduler.handle_source(FileNo(1), peer(0), now);
    let first_asked = |scheduler: &mut Scheduler| {
        scheduler.handle_disconnected(peer(0), now); // what was asked for is asked for again
        scheduler.handle_connected(peer(0));
        let What::Piece { file, .. } = all(scheduler, now)[0].what else { panic!("a piece is asked for") };
        file
    };
    assert_eq!(first_asked(&mut scheduler), FileNo(0), "who was wanted first comes first");
    scheduler.prioritise(FileNo(1), Priority::High);
    assert_eq!(first_asked(&mut scheduler), FileNo(1));
    scheduler.prioritise(FileNo(1), Priority::Normal);
    assert_eq!(first_asked(&mut scheduler), FileNo(0), "back in its turn");
    scheduler.prioritise(FileNo(0), Priority::Low);
    assert_eq!(first_asked(&mut scheduler), FileNo(1));
}

#[test]
fn a_file_that_is_read_as_it_comes_is_asked_for_in_order() {
    let now = beginning();
    let mut scheduler = Scheduler::new(Config::default(), 1);
    scheduler.add(FileNo(0), Want { in_order: true, ..with_hashes(100 * MIB) });
    for number in 0..3 {
        scheduler.handle_connected(peer(number));
        scheduler.handle_source(FileNo(0), peer(number), now);
    }
    let pieces: Vec<u32> = all(&mut scheduler, now).iter().map(|ask| piece_of(ask).number()).collect();
    assert_eq!(pieces, (0..12).collect::<Vec<_>>());
}

#[test]
fn a_reader_who_jumps_gets_the_pieces_from_there_on_next() {
    let now = beginning();
    let mut scheduler = one_file(100 * MIB, 1, now);
    scheduler.read_from(FileNo(0), Geometry::new(100 * MIB).unwrap().piece(98).unwrap());
    let pieces: Vec<u32> = all(&mut scheduler, now).iter().map(|ask| piece_of(ask).number()).collect();
    assert_eq!(pieces, [98, 99, 0, 1]);
    assert_eq!(scheduler.in_flight_pieces(FileNo(0)).map(|piece| piece.number()).collect::<Vec<_>>(), [0, 1, 98, 99]);
}

#[test]
fn fifty_thousand_small_files_at_three_peers_are_scheduled_in_a_second() {
    let now = beginning();
    let mut scheduler = Scheduler::new(Config::default(), 1);
    for number in 0..3 {
        scheduler.handle_connected(peer(number));
    }
    for file in 0..50_000 {
        let content_id = ContentId::of(&u64::from(file).to_be_bytes());
        scheduler.add(FileNo(file), want(content_id, Some(3000)));
        (0..3).for_each(|number| scheduler.handle_source(FileNo(file), peer(number), now));
    }
    let first = Geometry::new(3000).unwrap().piece(0).unwrap();
    let (mut asked, mut at) = (0, now);
    while scheduler.downloads.values().any(|download| !download.is_complete()) {
        at += Duration::from_millis(1);
        let asks: Vec<Ask> = std::iter::from_fn(|| scheduler.poll_request(at)).collect();
        for ask in asks {
            asked += 1;
            let What::Files(files) = ask.what else { panic!("{ask:?}") };
            files.iter().for_each(|(file, _)| scheduler.handle_verified(ask.id, *file, first, at));
        }
    }
    let spent = now.elapsed();
    println!("50,000 files, {asked} requests, {spent:?}");
    assert!(asked <= 50_000_usize.div_ceil(MAX_FILES) + 10, "{asked} requests");
    assert!(spent < Duration::from_secs(10), "{spent:?}: a few hundred milliseconds, unless a scan has crept in");
}

#[test]
fn a_file_of_a_tebibyte_is_scheduled_piece_by_piece() {
    let now = beginning();
    let size = 1 << 40;
    let mut scheduler = one_file(size, 3, now);
    let mut at = now;
    let mut asked = 0_u64;
    while scheduler.progress(FileNo(0)).unwrap().verified < size {
        at += Duration::from_millis(1);
        while let Some(ask) = scheduler.poll_request(at) {
            asked += 1;
            scheduler.handle_verified(ask.id, FileNo(0), piece_of(&ask), at);
        }
    }
    println!("1 TiB, {asked} requests, {:?}", now.elapsed());
    assert_eq!(asked, 1 << 20);
    assert!(now.elapsed() < Duration::from_secs(60));
}

// Who lies, fails, refuses.

#[test]
fn a_piece_with_the_wrong_hash_is_asked_from_another_peer() {
    let now = beginning();
    let mut scheduler = one_file(4 * MIB, 2, now);
    let asks = all(&mut scheduler, now);
    assert_eq!(asks.len(), 4);
    let liar = asks[0].peer;
    scheduler.handle_bad(asks[0].id, FileNo(0), Misdeed::WrongBytes, now);
    let banned = events(&mut scheduler).into_iter().find(|event| matches!(event, Event::PeerBanned { .. }));
    assert_eq!(
        banned,
        Some(Event::PeerBanned { peer: liar, file: FileNo(0), why: Misdeed::WrongBytes, until: now + Duration::from_secs(86_400) })
    );
    let again = all(&mut scheduler, now);
    let of_liar = asks.iter().filter(|ask| ask.peer == liar).map(piece_of).collect::<BTreeSet<_>>();
    assert_eq!(again.iter().map(piece_of).collect::<BTreeSet<_>>(), of_liar);
    assert!(again.iter().all(|ask| ask.peer != liar));
    let later = now + Duration::from_secs(86_399);
    assert!(all(&mut scheduler, later).iter().all(|ask| ask.peer != liar));
}

#[test]
fn a_list_of_hashes_that_does_not_combine_is_asked_elsewhere() {
    let now = beginning();
    let (content_id, hashes) = file_of(5 * MIB, 1);
    let (_, others) = file_of(5 * MIB, 2);
    for (size, page) in [(5 * MIB, &others[..]), (4 * MIB, &hashes[..4]), (4 * MIB, &hashes[..]), (u64::MAX, &hashes[..]), (5 * MIB, &[])] {
        let mut scheduler = Scheduler::new(Config::default(), 1);
        scheduler.add(FileNo(0), want(content_id, None));
        (0..2).for_each(|number| scheduler.handle_connected(peer(number)));
        (0..2).for_each(|number| scheduler.handle_source(FileNo(0), peer(number), now));
        let asks = all(&mut scheduler, now);
        assert_eq!(asks.len(), 1, "no piece before the hashes are proven");
        assert_eq!(scheduler.handle_hashes(asks[0].id, size, page, now), Verdict::Lie);
        let again = all(&mut scheduler, now);
        assert_eq!(again.len(), 1);
        assert_ne!(again[0].peer, asks[0].peer);
        assert_eq!(scheduler.handle_hashes(again[0].id, 5 * MIB, &hashes, now), Verdict::Proven);
        assert_eq!(scheduler.handle_hashes(again[0].id, 5 * MIB, &hashes, now), Verdict::Late);
        assert_eq!(all(&mut scheduler, now).len(), 4, "the window of the honest peer");
    }
}

#[test]
fn a_long_list_of_hashes_comes_in_pages_from_one_peer() {
    let now = beginning();
    let size = 70_000 * MIB;
    let (content_id, hashes) = file_of(size, 1);
    let mut scheduler = Scheduler::new(Config::default(), 1);
    scheduler.add(FileNo(0), want(content_id, Some(size)));
    (0..2).for_each(|number| scheduler.handle_connected(peer(number)));
    (0..2).for_each(|number| scheduler.handle_source(FileNo(0), peer(number), now));
    let mut first = None;
    for (number, page) in hashes.chunks(32_768).enumerate() {
        let asks = all(&mut scheduler, now);
        let [Ask { id, peer, what: What::Hashes { from, .. } }] = asks[..] else { panic!("{asks:?}") };
        assert_eq!(from, 32_768 * number as u32);
        assert_eq!(*first.get_or_insert(peer), peer);
        let verdict = scheduler.handle_hashes(id, size, page, now);
        assert_eq!(verdict, if number == 2 { Verdict::Proven } else { Verdict::More });
    }
    assert!(events(&mut scheduler).contains(&Event::HashesKnown(FileNo(0))));
}

#[test]
fn the_pieces_of_a_source_that_dies_are_asked_elsewhere_at_once() {
    let now = beginning();
    let mut scheduler = one_file(8 * MIB, 3, now);
    let asks = all(&mut scheduler, now);
    assert_eq!(asks.len(), 8);
    let of_dead: BTreeSet<_> = asks.iter().filter(|ask| ask.peer == peer(0)).map(piece_of).collect();
    scheduler.handle_disconnected(peer(0), now);
    let again = all(&mut scheduler, now);
    assert_eq!(again.iter().map(piece_of).collect::<BTreeSet<_>>(), of_dead);
    assert!(!again.is_empty() && again.iter().all(|ask| ask.peer != peer(0)));
}

#[test]
fn a_peer_that_fails_is_asked_again_later_and_later_and_at_once_when_it_connects() {
    let now = beginning();
    let mut scheduler = one_file(MIB * 100, 1, now);
    let mut at = now;
    let mut waits = Vec::new();
    for _ in 0..12 {
        let asks = all(&mut scheduler, at);
        assert_eq!(asks.len(), 4);
        asks.iter().for_each(|ask| scheduler.handle_failed(ask.id, at));
        assert!(all(&mut scheduler, at).is_empty());
        let until = scheduler.resting.first().unwrap().0;
        waits.push((until - at).as_secs_f64());
        at = until;
    }
    assert!(waits[0] <= 1.0 && waits[11] > 150.0 && waits[11] <= 300.0, "{waits:?}");
    all(&mut scheduler, at).iter().for_each(|ask| scheduler.handle_failed(ask.id, at));
    scheduler.handle_disconnected(peer(0), at);
    scheduler.handle_connected(peer(0));
    assert_eq!(all(&mut scheduler, at).len(), 4);
}

#[test]
fn a_busy_peer_is_asked_again_and_its_queue_is_known() {
    let now = beginning();
    let mut scheduler = one_file(MIB * 100, 1, now);
    let asks = all(&mut scheduler, now);
    for ask in &asks {
        scheduler.handle_refused(ask.id, Refusal::Busy, Some(17), now);
    }
    assert_eq!(scheduler.sources(FileNo(0)).next().unwrap().queue, Some(17));
    assert!(all(&mut scheduler, now).is_empty());
    let soon = now + Duration::from_secs(1);
    assert_eq!(all(&mut scheduler, soon).len(), 1, "one request until it is served again");
}

#[test]
fn a_source_that_has_lost_the_file_is_let_go_and_more_are_looked_for() {
    let now = beginning();
    let mut scheduler = one_file(MIB * 100, 1, now);
    let asks = all(&mut scheduler, now);
    events(&mut scheduler);
    for ask in &asks {
        scheduler.handle_refused(ask.id, Refusal::NotFound, None, now);
    }
    let again = all(&mut scheduler, now);
    assert!(matches!(again.as_slice(), [Ask { what: What::Have { .. }, .. }]), "it may have a part of it: {again:?}");
    scheduler.handle_refused(again[0].id, Refusal::NotFound, None, now);
    let lost = Event::SourceLost { file: FileNo(0), peer: peer(0), why: Refusal::NotFound };
    assert_eq!(events(&mut scheduler).first(), Some(&lost));
    let mut searches = Vec::new();
    let mut at = now;
    while at < now + Duration::from_secs(86_400) {
        assert!(all(&mut scheduler, at).is_empty());
        searches.extend(events(&mut scheduler).iter().map(|_| at));
        at = scheduler.poll_timeout().expect("it goes on for days");
    }
    assert!(searches[0] < now + Duration::from_secs(5), "{:?}", searches[0] - now);
    let waits: Vec<_> = searches.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(waits.iter().all(|wait| *wait <= 302) && searches.len() < 700, "{waits:?}");
    scheduler.handle_source(FileNo(0), peer(1), at);
    assert_eq!(all(&mut scheduler, at).len(), 1, "a source that turns up after a day is dialled at once");
}

#[test]
fn a_file_that_is_larger_than_somebody_said_is_asked_for_piece_by_piece() {
    let now = beginning();
    let (content_id, hashes) = file_of(3 * MIB, 1);
    let mut scheduler = Scheduler::new(Config::default(), 1);
    scheduler.add(FileNo(0), want(content_id, Some(1000)));
    scheduler.handle_connected(peer(0));
    scheduler.handle_source(FileNo(0), peer(0), now);
    let asks = all(&mut scheduler, now);
    assert_eq!(asks[0].what, What::Files(vec![(FileNo(0), content_id)]));
    scheduler.handle_file_refused(asks[0].id, FileNo(0), Refusal::Unsupported, now);
    let asks = all(&mut scheduler, now);
    assert!(matches!(asks[..], [Ask { what: What::Hashes { .. }, .. }]), "{asks:?}");
    assert_eq!(scheduler.handle_hashes(asks[0].id, 3 * MIB, &hashes, now), Verdict::Proven);
    assert_eq!(all(&mut scheduler, now).len(), 3);
}

#[test]
fn files_that_did_not_fit_into_an_answer_are_asked_for_again() {
    let now = beginning();
    let mut scheduler = Scheduler::new(Config::default(), 1);
    scheduler.handle_connected(peer(0));
    for file in 0..10 {
        scheduler.add(FileNo(file), want(ContentId::of(&[file as u8]), Some(1)));
        scheduler.handle_source(FileNo(file), peer(0), now);
    }
    let asks = all(&mut scheduler, now);
    assert_eq!(asks.len(), 1);
    let first = Geometry::new(1).unwrap().piece(0).unwrap();
    (0..4).for_each(|file| scheduler.handle_verified(asks[0].id, FileNo(file), first, now));
    scheduler.handle_finished(asks[0].id, now);
    let again = all(&mut scheduler, now);
    let What::Files(files) = &again[0].what else { panic!("{again:?}") };
    assert_eq!(files.len(), 6);
    scheduler.handle_finished(again[0].id, now);
    assert!(all(&mut scheduler, now).is_empty(), "an empty answer is a failure");
}

// Partial sources.

#[test]
fn a_partial_source_is_asked_only_for_what_it_has_and_again_what_it_has() {
    let now = beginning();
    let mut scheduler = Scheduler::new(Config::default(), 1);
    scheduler.add(FileNo(0), with_hashes(16 * MIB));
    scheduler.handle_connected(peer(0));
    scheduler.handle_partial_source(FileNo(0), peer(0), &[0b0010_0100, 0], now);
    let pieces: BTreeSet<u32> = all(&mut scheduler, now).iter().map(|ask| piece_of(ask).number()).collect();
    assert_eq!(pieces, BTreeSet::from([2, 5]));
    let later = now + Duration::from_secs(4);
    let asks = all(&mut scheduler, later);
    let [Ask { id, what: What::Have { from: 0, .. }, .. }] = asks[..] else { panic!("{asks:?}") };
    scheduler.handle_have(id, Some(&[0b0010_0100, 1]), later);
    let asks = all(&mut scheduler, later);
    assert_eq!(asks.iter().map(|ask| piece_of(ask).number()).collect::<Vec<_>>(), [8]);
}

#[test]
fn what_few_partial_sources_have_is_asked_for_first() {
    let now = beginning();
    let mut scheduler = Scheduler::new(Config::default(), 1);
    scheduler.add(FileNo(0), with_hashes(16 * MIB));
    for (number, have) in [(1, [0xff, 0x7f]), (2, [0xff, 0x3f]), (3, [0xff, 0x7f])] {
        scheduler.handle_partial_source(FileNo(0), peer(number), &have, now);
    }
    scheduler.handle_connected(peer(0));
    scheduler.handle_source(FileNo(0), peer(0), now);
    let asks = all(&mut scheduler, now);
    let of_full: Vec<u32> = asks.iter().filter(|ask| ask.peer == peer(0)).map(|ask| piece_of(ask).number()).collect();
    assert!(of_full.contains(&15), "nobody else has it: {of_full:?}");
}

#[test]
fn nodes_that_share_what_they_have_ask_the_only_full_source_for_different_pieces() {
    let now = beginning();
    let first_pieces = |seed| {
        let mut scheduler = Scheduler::new(Config::default(), seed);
        scheduler.add(FileNo(0), with_hashes(1000 * MIB));
        scheduler.handle_connected(peer(0));
        scheduler.handle_source(FileNo(0), peer(0), now);
        (1..4).for_each(|number| scheduler.handle_partial_source(FileNo(0), peer(number), &[], now));
        let asks = all(&mut scheduler, now);
        asks.iter().filter(|ask| ask.peer == peer(0)).map(piece_of).collect::<BTreeSet<_>>()
    };
    let together: BTreeSet<_> = (0..4).flat_map(first_pieces).collect();
    assert!(together.len() >= 14, "{together:?}");
}

// Bounds.

#[test]
fn only_so_many_peers_are_dialled_at_a_time() {
    let now = beginning();
    let mut scheduler = Scheduler::new(Config::default(), 1);
    scheduler.add(FileNo(0), with_hashes(1000 * MIB));
    (0..60).for_each(|number| scheduler.handle_source(FileNo(0), peer(number), now));
    assert_eq!(all(&mut scheduler, now).len(), Config::default().max_dials);
}

#[test]
fn slow_peers_leave_half_of_the_memory_to_fast_ones() {
    let now = beginning();
    let mut scheduler = one_file(1000 * MIB, 40, now);
    assert_eq!(all(&mut scheduler, now).len(), 12, "nothing is known of any of them yet");
}

#[test]
fn pausing_and_removing_cancel_what_is_in_flight() {
    let now = beginning();
    let mut scheduler = one_file(100 * MIB, 1, now);
    let asks = all(&mut scheduler, now);
    scheduler.pause(FileNo(0));
    assert_eq!(std::iter::from_fn(|| scheduler.poll_cancel()).count(), asks.len());
    assert!(all(&mut scheduler, now).is_empty());
    scheduler.resume(FileNo(0));
    assert_eq!(all(&mut scheduler, now).len(), 4);
    scheduler.remove(FileNo(0));
    assert_eq!(std::iter::from_fn(|| scheduler.poll_cancel()).count(), 4);
    assert_eq!((scheduler.in_flight(), scheduler.in_flight_bytes()), (0, 0));
    check(&scheduler);
}

#[test]
fn what_is_on_the_disk_already_is_not_asked_for() {
    let now = beginning();
    let geometry = Geometry::new(4 * MIB).unwrap();
    let mut verified = PieceSet::full(geometry);
    verified.remove(geometry.piece(2).unwrap());
    let mut scheduler = Scheduler::new(Config::default(), 1);
    scheduler.add(FileNo(0), Want { verified: Some(verified), ..with_hashes(4 * MIB) });
    scheduler.handle_connected(peer(0));
    scheduler.handle_source(FileNo(0), peer(0), now);
    let asks = all(&mut scheduler, now);
    assert_eq!(asks.iter().map(|ask| piece_of(ask).number()).collect::<Vec<_>>(), [2]);
    scheduler.add(FileNo(1), Want { verified: Some(PieceSet::full(geometry)), ..with_hashes(4 * MIB) });
    scheduler.add(FileNo(2), want(ContentId::of(b""), None));
    let done: Vec<_> = events(&mut scheduler).into_iter().filter(|event| matches!(event, Event::FileComplete(_))).collect();
    assert_eq!(done, [Event::FileComplete(FileNo(1)), Event::FileComplete(FileNo(2))]);
}

// Everything at once.

#[test]
fn a_thousand_swarms_finish_while_one_honest_source_stays() {
    for seed in 0..1_000 {
        Simulator::random(seed);
    }
}

proptest! {
    #[test]
    fn no_order_of_events_breaks_the_books(seed: u64, steps in prop::collection::vec((0u8..16, 0u32..6, 0u32..6, 0u64..4000), 0..150)) {
        simulator::play_nonsense(seed, steps);
    }
}
