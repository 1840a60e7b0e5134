//! G005, G006, G008, G009, G012, G016, G017: bytes that are no messages, at the tracker and at a node. Both live on, small.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use futures::future::try_join;
use potluck_common::codec::encode;
use potluck_common::content_id::ContentId;
use potluck_common::geometry::PIECE_BYTES;
use potluck_common::namespace::Namespace;
use potluck_common::share_path::SharePath;
use potluck_common::transport::key_of;
use potluck_common::wire::index::{self, Answer, List};
use potluck_common::wire::{Bounded, MAX_INDEX_MESSAGE_BYTES, MAX_PIECE_REQUEST_BYTES, Refusal, piece::Header, piece::Request};
use potluck_tests::clock::{PATIENCE, now};
use potluck_tests::negotiation::{ask_in_the_clear, ask_on_a_stream};
use potluck_tests::process::Process;
use potluck_tests::siege::{HONEST_BYTES, endures, tracker_endures};
use potluck_tests::stranger::{Door, Reply, Stranger};
use potluck_tests::town::{NAMESPACE, Town, split_address};
use potluck_tests::{Failure, Result, tree};

/// What the memory of a program may grow by while it is thrown at.
const GROWTH: u64 = 24 << 20;

fn frames(door: Door) -> Vec<(&'static str, Vec<u8>)> {
    let most = if door == Door::Index { MAX_INDEX_MESSAGE_BYTES } else { MAX_PIECE_REQUEST_BYTES };
    let map = |key: &str, rest: &[u8]| [&[0xa1, 0x60 | key.len() as u8], key.as_bytes(), rest].concat();
    vec![
        ("nothing", Vec::new()),
        ("noise", tree::content(1, 5000)),
        ("an array of 2^32 - 1 items", vec![0x9a, 0xff, 0xff, 0xff, 0xff]),
        ("a text of 2^63 bytes", vec![0x7b, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("a byte string of 2^64 - 1 bytes", vec![0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("100,000 nested arrays", vec![0x81; 100_000]),
        ("an array without end", [&[0x9f][..], &[0x01; 10_000]].concat()),
        ("a break and nothing else", vec![0xff]),
        ("a number that is no message", vec![0x18, 0x2a]),
        ("an unknown request", map("fly", &[0xa0])),
        ("a request without its keys", map("search", &[0xa0])),
        ("a request with NaN for a name", map("search", &[0xa1, 0x62, b'n', b's', 0xf9, 0x7e, 0x00])),
        ("a request with a tag", [&[0xc0][..], &map("peers", &[0xa0])].concat()),
        ("one byte more than allowed", vec![0x60; most + 1]),
    ]
}

/// Throws everything at one program and sees that it stays what it was.
fn survives(program: &Process, address: &str) -> Result {
    let mut stranger = Stranger::connect(address)?;
    stranger.say(Door::Index, &[0xa0])?;
    let before = program.vitals()?;
    for door in [Door::Index, Door::Piece] {
        for (what, bytes) in frames(door) {
            let reply = stranger.say(door, &bytes).map_err(|failure| Failure::new(format!("{what} at {door:?}: {failure}")))?;
            let refused = match reply {
                Reply::Index(Answer::Refused { why }) => why == Refusal::Unsupported,
                Reply::Piece(answer) => matches!(answer.header, Header::Refused { why: Refusal::Unsupported, .. }),
                Reply::Closed(_) => true,
                Reply::Index(_) => false,
            };
            assert!(refused, "{what} got an answer at {door:?}");
        }
    }
    for door in [Door::Index, Door::Piece] {
        stranger.say_without_end(door, &[0x9f])?;
    }
    drop(stranger);
    raw_noise(address)?;
    let after = program.vitals()?;
    assert!(after.memory < before.memory + GROWTH, "grew from {} to {} bytes", before.memory, after.memory);
    Stranger::connect(address)?;
    Ok(())
}

/// Below libp2p: what is no handshake at all.
fn raw_noise(address: &str) -> Result {
    let (place, _) = split_address(address)?;
    let port: u16 = place.rsplit('/').next().unwrap_or_default().parse()?;
    for bytes in [tree::content(2, 100_000), vec![0xff; 70_000], b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0x13; 3]] {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let _ = stream.write_all(&bytes); // it may be cut off in the middle, as it should
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new()); // what a handshake begins with, or a reset
    }
    Ok(())
}

#[test]
fn a_tracker_survives_bytes_that_are_no_messages() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    tracker_endures(&town, &tracker, None, GROWTH, || survives(tracker.process(), tracker.address()))?;
    let ada = town.node("ada").tracker(&tracker).start_ready()?;
    assert_eq!(ada.peers()?.iter().filter(|peer| peer["peer_id"] == ada.peer_id()).count(), 1);
    Ok(())
}

#[test]
fn a_node_survives_bytes_that_are_no_messages() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 32, HONEST_BYTES)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    endures(&town, &ada, &hash, GROWTH, || survives(ada.process(), ada.address()))
}

#[test]
fn a_node_gives_nothing_that_it_does_not_share() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 33, 3 << 20)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    let mut stranger = Stranger::connect(ada.address())?;
    let known: ContentId = hash.parse()?;
    let passwd = ContentId::of(&std::fs::read("/etc/passwd")?);
    let requests = [
        (Request::Piece { content_id: known, piece: 3 }, "a piece after the end"),
        (Request::Piece { content_id: known, piece: u32::MAX }, "the last piece of all"),
        (Request::Piece { content_id: passwd, piece: 0 }, "a file outside"),
        (Request::Hashes { content_id: passwd, from: 0 }, "hashes of a file outside"),
        (Request::Have { content_id: passwd, from: 0 }, "a bitmap of a file outside"),
    ];
    for (request, what) in requests {
        let Reply::Piece(answer) = stranger.say(Door::Piece, &encode(&request)?)? else { panic!("{what}: no answer") };
        assert!(matches!(answer.header, Header::Refused { why: Refusal::NotFound, .. }), "{what}: {:?}", answer.header);
        assert!(answer.body.is_empty(), "{what} has a body");
    }
    let files = Request::Files { content_ids: Bounded::truncated([passwd]) };
    let Reply::Piece(answer) = stranger.say(Door::Piece, &encode(&files)?)? else { panic!("no answer to files") };
    assert!(answer.body.is_empty(), "{:?}", answer.header);

    // Parts that are empty, end outside, or begin there: what lies in the piece comes, and no more.
    let ends = [(0, 0, 0), (0, u32::MAX, PIECE_BYTES), (PIECE_BYTES - 1, u32::MAX, 1), (PIECE_BYTES, 1, 0), (u32::MAX, u32::MAX, 0)];
    for (offset, length, comes) in ends {
        let part = Request::Part { content_id: known, piece: 1, offset, length };
        let Reply::Piece(answer) = stranger.say(Door::Piece, &encode(&part)?)? else { panic!("no answer to {part:?}") };
        assert_eq!((&answer.header, answer.body.len() as u32), (&Header::Piece { length: comes }, comes), "{part:?}");
    }
    Ok(())
}

/// G016: whoever asks which protocols there are, and takes none, is left after a while.
#[test]
fn who_never_settles_on_a_protocol_is_left() -> Result {
    const TIMES: usize = 100_000;
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 39, HONEST_BYTES)?;
    let (tracker, ada) = (town.tracker("tracker")?, town.node("ada").share(&town.path("music")).start_ready()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let attack = || {
        let (tracker, ada) = (tracker.address().parse()?, ada.address().parse()?);
        let both = |address| try_join(ask_in_the_clear(address, TIMES), ask_on_a_stream(address, TIMES));
        let answered = runtime.block_on(async { try_join(both(&tracker), both(&ada)).await })?;
        let ((one, two), (three, four)) = answered;
        assert!([one, two, three, four].iter().all(|bytes| *bytes > 0), "{answered:?} bytes of answers: the attack did not even begin");
        Ok(())
    };
    tracker_endures(&town, &tracker, None, GROWTH, || endures(&town, &ada, &hash, GROWTH, attack)).map(drop)
}

/// G012: the time that an answer takes does not tell whether there is such a file beside the shares.
#[test]
fn what_is_not_shared_is_refused_as_fast_as_what_is_not_there() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 34, 3 << 20)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    let mut stranger = Stranger::connect(ada.address())?;
    let passwd = ContentId::of(&std::fs::read("/etc/passwd")?);
    let mut ask = |content_id| -> Result<_> {
        let (request, began) = (encode(&Request::Piece { content_id, piece: 0 })?, now());
        stranger.say(Door::Piece, &request)?;
        Ok(began.elapsed())
    };
    let mut ratio = 0.0;
    for round in 0..5_u32 {
        let (mut there, mut nowhere) = (Vec::new(), Vec::new());
        for number in 0..200_u32 {
            there.push(ask(passwd)?);
            nowhere.push(ask(ContentId::of(&[round, number].map(u32::to_le_bytes).concat()))?);
        }
        let [there, nowhere] = [there, nowhere].map(|mut times| *times.select_nth_unstable(100).1);
        ratio = there.as_secs_f64() / nowhere.as_secs_f64();
        if (0.8..=1.25).contains(&ratio) {
            return Ok(());
        }
    }
    panic!("five times in a row, what is there was refused in another time than what is not: {ratio:.2} times as long")
}

/// G017: datagrams that are no QUIC, or only its beginning.
#[test]
fn datagrams_that_are_no_quic_cost_little() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 37, HONEST_BYTES)?;
    let ada = town.node("ada").share(&town.path("music")).arg("--listen").arg("/ip4/127.0.0.1/udp/0/quic-v1").start_ready()?;
    let listening =
        ada.process().line("listening by QUIC", PATIENCE, |line| line["address"].as_str().is_some_and(|at| at.contains("/quic-v1")))?;
    let port: u16 = listening["address"].as_str().and_then(|address| address.split('/').nth(4)).unwrap_or_default().parse()?;
    endures(&town, &ada, &hash, GROWTH, || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(("127.0.0.1", port))?;
        for number in 0..20_000_u32 {
            let mut datagram = tree::content(u64::from(number), 1200);
            // noise; the first packet of a connection in version 1, in one that there is not, and of an endless connection id
            let head: &[u8] = match number % 4 {
                0 => &[],
                1 => &[0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x80],
                2 => &[0xc3, 0xfa, 0xce, 0xb0, 0x0c, 8],
                _ => &[0xc3, 0, 0, 0, 1, 255],
            };
            datagram.iter_mut().zip(head).for_each(|(byte, said)| *byte = *said);
            let _ = socket.send(&datagram); // the other side may be behind
        }
        Ok(())
    })
}

/// G013: what lies beside a share is not given, by whatever name or content id it is asked for.
#[test]
fn what_lies_beside_a_share_is_not_there() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 35, 3 << 20)?;
    let diary = tree::file(&town.path("diary/secret.txt"), 36, 1000)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    let mut stranger = Stranger::connect(ada.address())?;
    let key = key_of(&ada.peer_id().parse()?).ok_or_else(|| Failure::new("no key"))?;
    let list = |under: &str| -> Result<_> {
        let under = Some(SharePath::parse(under)?);
        let list = List { namespace: Namespace::new(NAMESPACE)?, peer: key, under, after: None, limit: 1000 };
        Ok(encode(&index::Request::List(list))?)
    };
    for (under, files) in [("music", 1), ("diary", 0), ("diary/secret.txt", 0), ("music/live.flac/secret.txt", 0), ("downloads", 0)] {
        let Reply::Index(Answer::List(page)) = stranger.say(Door::Index, &list(under)?)? else { panic!("{under}: no list") };
        assert_eq!(page.entries.len(), files, "{under}: {:?}", page.entries);
    }
    let request = Request::Files { content_ids: Bounded::truncated([diary.parse()?]) };
    let Reply::Piece(answer) = stranger.say(Door::Piece, &encode(&request)?)? else { panic!("no answer to files") };
    assert!(answer.body.is_empty(), "{:?}", answer.header);
    Ok(())
}
