//! What is different at a far peer: several connections from the start, smaller requests for small files.

use super::*;

const FAR: Duration = Duration::from_millis(50);
/// What connecting to a peer at that distance takes.
const DIAL: Duration = Duration::from_millis(100);

/// A scheduler that wants so many small files of one peer, all of one size.
fn small_files(count: u32, size: u64, now: Instant) -> Scheduler {
    let mut scheduler = Scheduler::new(Config::default(), 1);
    scheduler.handle_connected(peer(0));
    for number in 0..count {
        scheduler.add(FileNo(number), want(ContentId::of(&number.to_be_bytes()), Some(size)));
        scheduler.handle_source(FileNo(number), peer(0), now);
    }
    scheduler
}

/// How many connections are wanted, of all that was decided.
fn wanted(scheduler: &mut Scheduler) -> Option<u32> {
    events(scheduler).into_iter().find_map(|event| match event {
        Event::ConnectionsWanted { more, .. } => Some(more),
        _ => None,
    })
}

#[test]
fn connections_are_opened_while_the_hashes_of_a_large_file_are_on_their_way() {
    for (size, dial, expected) in [(64 * MIB, DIAL, Some(7)), (MIB, DIAL, None), (64 * MIB, Duration::from_millis(5), None)] {
        let now = beginning();
        let mut scheduler = Scheduler::new(Config::default(), 1);
        scheduler.add(FileNo(0), want(file_of(size, 7).0, Some(size)));
        scheduler.handle_source(FileNo(0), peer(0), now);
        let asks = all(&mut scheduler, now);
        assert!(asks.len() <= 1, "{asks:?}");
        scheduler.handle_connected(peer(0));
        scheduler.handle_dialled(peer(0), dial, now + dial);
        assert_eq!(wanted(&mut scheduler), expected, "{size} bytes, {dial:?}");
    }
}

#[test]
fn connections_are_opened_to_a_peer_of_whom_much_will_be_wanted() {
    let now = beginning();
    let mut scheduler = Scheduler::new(Config::default(), 1);
    scheduler.expect_much(peer(0), now);
    scheduler.handle_connected(peer(0));
    scheduler.expect_much(peer(0), now);
    assert_eq!(wanted(&mut scheduler), None, "nobody knows how far it is");
    scheduler.handle_dialled(peer(0), DIAL, now);
    scheduler.expect_much(peer(0), now);
    assert_eq!(wanted(&mut scheduler), Some(7));
    scheduler.expect_much(peer(0), now);
    assert_eq!(wanted(&mut scheduler), None, "they are being opened");
}

#[test]
fn many_small_files_at_a_far_peer_are_worth_several_connections_and_at_a_near_one_are_not() {
    for (trip, expected) in [(FAR, Some(7)), (Duration::from_millis(1), None)] {
        let now = beginning();
        let mut scheduler = small_files(2000, 30_000, now);
        scheduler.handle_round_trip(peer(0), trip, now);
        assert!(all(&mut scheduler, now).len() > 1);
        assert_eq!(wanted(&mut scheduler), expected, "{trip:?}");
    }
}

#[test]
fn a_far_peer_is_asked_for_small_files_in_smaller_portions_and_for_each_at_least() {
    for (size, near, far) in [(30_000, 34, 17), (700_000, 1, 1)] {
        for (trip, files) in [(Duration::from_millis(1), near), (FAR, far)] {
            let now = beginning();
            let mut scheduler = small_files(400, size, now);
            scheduler.handle_round_trip(peer(0), trip, now);
            let asks = all(&mut scheduler, now);
            let most = asks.iter().map(|ask| if let What::Files(files) = &ask.what { files.len() } else { 0 }).max();
            assert_eq!(most, Some(files), "{size} bytes, {trip:?}");
        }
    }
}

#[test]
fn a_small_file_is_not_asked_for_twice_while_others_were_not_asked_for() {
    let now = beginning();
    let mut scheduler = small_files(2000, 30_000, now);
    scheduler.handle_round_trip(peer(0), FAR, now);
    scheduler.handle_connections(peer(0), 8, now);
    let mut asked = Vec::new();
    for tick in 0..400 {
        let now = now + Duration::from_millis(10) * tick;
        asked.extend(all(&mut scheduler, now));
        // The first is never answered; each of the others a while after it was asked for.
        let done = asked.iter().filter(|ask| ask.id.0 > 0 && ask.id.0 < u64::from(tick)).cloned().collect::<Vec<_>>();
        asked.retain(|ask| !done.contains(ask));
        for (ask, file) in done.iter().flat_map(|ask| files_of(ask).into_iter().map(|file| (ask.id, file))) {
            let piece = scheduler.geometry(file).and_then(|geometry| geometry.piece(0)).unwrap();
            scheduler.handle_verified(ask, file, piece, now);
        }
        let twice = asked.iter().filter(|ask| ask.id.0 > 0).any(|ask| files_of(ask).contains(&FileNo(0)));
        let is_waiting = (0..2000).any(|file| scheduler.piece_state(FileNo(file), first_piece()) == Some(PieceState::Missing));
        assert!(!(twice && is_waiting), "tick {tick}");
        if twice {
            return; // at the end
        }
    }
    panic!("what was never answered was not asked for twice");
}

fn files_of(ask: &Ask) -> Vec<FileNo> {
    if let What::Files(files) = &ask.what { files.iter().map(|(file, _)| *file).collect() } else { Vec::new() }
}

fn first_piece() -> PieceIndex {
    Geometry::new(1).unwrap().piece(0).unwrap()
}
