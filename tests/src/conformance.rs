//! What every tracker's index does, whoever keeps it: cases that are played against a tracker over the wire.
//!
//! Each case has a namespace of its own, so that all can be played at once against one tracker. It has to be started with
//! [`TRACKER_ARGS`].

mod player;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, join_all};
use potluck_common::content_id::ContentId;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::search::{PeerNo, Query, Scan};
use potluck_common::wire::index::{Answer, Change, Entry, Kind, Peers, Publish, Request, Withdraw};
use potluck_common::wire::{Refusal, Text};

use crate::clock::now;
use crate::failure::{Failure, Result};
use player::{Peer, copy, file, path, same};

/// How a tracker has to be started for [`play`].
pub const TRACKER_ARGS: &[&str] = &["--max-files-per-peer", "500"];
/// Most files of a peer of such a tracker.
const MAX_FILES: u64 = 500;
/// How long a peer that has gone may still be told of, with some patience for a busy machine.
const GONE: Duration = Duration::from_secs(20);
/// How often it is looked for meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A case: its name as a sentence, and what happens.
type Case = (&'static str, fn(Place) -> BoxFuture<'static, Result>);

const CASES: &[Case] = &[
    ("what is published is listed, found and told as a source", |place| published(place).boxed()),
    ("changes follow on what is held, or are told what is", |place| chained(place).boxed()),
    ("who withdraws is forgotten", |place| withdrawn(place).boxed()),
    ("who is gone is not told of, and is back with one message", |place| gone_and_back(place).boxed()),
    ("every part of the query language finds what it says", |place| query_language(place).boxed()),
    ("typing errors are corrected, and it is said", |place| corrected(place).boxed()),
    ("copies are one hit, and folders are hits", |place| grouped(place).boxed()),
    ("pages join to the whole", |place| paged(place).boxed()),
    ("a quota is a refusal that harms nobody else", |place| over_quota(place).boxed()),
    ("namespaces do not see each other", |place| apart(place).boxed()),
    ("nonsense is refused or finds nothing", |place| nonsense(place).boxed()),
    ("what a scan finds is found, in the same order", |place| as_a_scan(place).boxed()),
];

/// Where a case is played.
#[derive(Clone, Debug)]
struct Place {
    tracker: String,
    namespace: Namespace,
}

/// Plays all cases against the tracker at an address, at the same time.
///
/// # Errors
/// When any fails, with its name.
pub async fn play(tracker: &str) -> Result {
    let all = CASES.iter().enumerate().map(async |(number, (name, case))| {
        let namespace = Namespace::new(format!("case {number}"))?;
        let place = Place { tracker: tracker.to_owned(), namespace };
        case(place).await.map_err(|failure| Failure::new(format!("{name}: {}", failure.message())))
    });
    join_all(all).await.into_iter().collect()
}

async fn published(place: Place) -> Result {
    let mut ada = Peer::join(&place, "ada").await?;
    let mut bob = Peer::join(&place, "bob").await?;
    ada.publish([file("music/joga.flac", 300)?, file("music/notes.txt", 20)?]).await?;
    let listed = bob.peers().await?;
    let [info] = listed.as_slice() else { return Err(Failure::new(format!("{listed:?}"))) };
    same((info.peer, info.nickname.as_str(), info.files, info.bytes), (ada.key(), "ada", 2, 320), "the peer")?;
    same(info.addresses.iter().map(Text::as_str).collect(), vec!["/ip4/10.0.0.1/tcp/4001"], "its addresses")?;
    let files = vec!["music/joga.flac".to_owned(), "music/notes.txt".to_owned()];
    same(bob.list(ada.key(), None, None, 10).await?, Some((files, None)), "its files")?;
    same(bob.search("joga").await?, vec!["music/joga.flac".to_owned()], "what is found")?;
    let page = bob.search_page("joga", None, 10).await?;
    let hit = page.hits.first().ok_or_else(|| Failure::new("no hit"))?;
    same((hit.size, hit.mtime, hit.sources, hit.kind), (300, 1_000, 1, Kind::File), "the hit")?;
    same(hit.holders.iter().map(|holder| holder.peer).collect(), vec![ada.key()], "who has it")?;
    same(bob.sources("music/joga.flac").await?, vec![ada.key()], "the sources")?;
    same(bob.sources("nobody's").await?, vec![], "the sources of what nobody has")
}

async fn chained(place: Place) -> Result {
    let mut ada = Peer::join(&place, "ada").await?;
    ada.publish([file("s/a", 1)?, file("s/b", 2)?, file("s/c", 3)?]).await?;
    ada.publish([copy("s/b", "other", 20, 5)?, Change::Remove(path("s/c")?), Change::Remove(path("s/none")?)]).await?;
    let key = ada.key();
    let files = |names: &[&str]| Some((names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), None::<String>));
    same(ada.list(key, None, None, 10).await?, files(&["s/a", "s/b"]), "after changes")?;
    let info = ada.peers().await?;
    same(info.first().map(|info| (info.files, info.bytes)), Some((2, 21)), "the sum")?;
    let later = ada.message(9, 10, [file("s/d", 1)?]);
    same(ada.publisher.publish(&later).await?, 2, "changes to what is not held")?;
    let question = ada.message(2, 2, []);
    same(ada.publisher.publish(&question).await?, 2, "a question")?;
    let other = Publish { epoch: 8, ..question };
    same(ada.publisher.publish(&other).await?, 0, "a question of another epoch")?;
    let anew = ada.message(0, 1, [file("s/new", 1)?]);
    same(ada.publisher.publish(&anew).await?, 1, "a new beginning")?;
    same(ada.list(key, None, None, 10).await?, files(&["s/new"]), "after a new beginning")?;
    same(ada.search("other").await?, vec![], "what was dropped")?;
    let nothing = ada.message(0, 0, []);
    same(ada.publisher.publish(&nothing).await?, 0, "an offer of nothing")?;
    same(ada.list(key, None, None, 10).await?, files(&[]), "after an offer of nothing")?;
    same(ada.peers().await?.len(), 1, "it is there all the same")
}

async fn withdrawn(place: Place) -> Result {
    let mut ada = Peer::join(&place, "ada").await?;
    let mut bob = Peer::join(&place, "bob").await?;
    ada.publish([file("s/a", 1)?]).await?;
    let answer = ada.ask(Request::Withdraw(Withdraw { namespace: place.namespace.clone(), park: false })).await?;
    same(answer, Answer::Withdrawn {}, "the answer")?;
    same(bob.peers().await?.len(), 0, "peers")?;
    same(bob.search("a").await?, vec![], "hits")?;
    same(bob.list(ada.key(), None, None, 10).await?, None, "files")?;
    let question = ada.message(1, 1, []);
    same(ada.publisher.publish(&question).await?, 0, "nothing is held")
}

async fn gone_and_back(place: Place) -> Result {
    let mut ada = Peer::join(&place, "ada").await?;
    let mut bob = Peer::join(&place, "bob").await?;
    ada.publish([file("s/joga", 1)?]).await?;
    bob.publish([]).await?;
    let (key, identity) = (ada.key(), ada.identity.clone());
    drop(ada); // and with it the connection
    let start = now();
    while bob.peers().await?.iter().any(|info| info.peer == key) {
        if start.elapsed() > GONE {
            return Err(Failure::new("still told of"));
        }
        bob.publisher.stay(LOOK_EVERY).await;
    }
    same(bob.search("joga").await?, vec![], "hits of who is gone")?;
    same(bob.sources("s/joga").await?, vec![], "sources that are gone")?;
    same(bob.list(key, None, None, 10).await?, None, "files of who is gone")?;
    let mut ada = Peer::join_as(&place, "ada", identity.clone()).await?;
    same(bob.search("joga").await?, vec![], "a connection alone brings nobody back")?;
    let question = ada.message(1, 1, []);
    same(ada.publisher.publish(&question).await?, 1, "it is in step")?;
    same(bob.search("joga").await?, vec!["s/joga".to_owned()], "hits of who is back")?;
    let other = Peer::join_as(&place, "ada", identity).await?;
    drop(ada);
    bob.publisher.stay(LOOK_EVERY).await;
    same(bob.search("joga").await?.len(), 1, "who changes connections stays")?;
    drop(other);
    Ok(())
}

/// Names in several scripts, each with its size.
const NAMES: &[(&str, u64)] = &[
    ("music/Abbey Road/01 Come Together.flac", 30 << 20),
    ("music/Abbey Road/02 Something (live).mp3", 5 << 20),
    ("music/Björk - Jóga.flac", 20 << 20),
    ("video/Broadway in Concert.mkv", 900 << 20),
    ("video/東京物語.mkv", 700 << 20),
    ("text/Война и мир.epub", 2 << 20),
    ("text/ألف ليلة وليلة.pdf", 3 << 20),
    ("text/한국 요리.txt", 1 << 10),
    ("text/100% sure_thing.txt", 10),
    ("text/100 percent surething.txt", 11),
    ("text/ひらがなとカタカナ.txt", 12),
];

/// What is typed, and which of [`NAMES`] it finds, by their places there. Folders come beside.
const QUERIES: &[(&str, &[usize])] = &[
    ("road", &[0, 1, 3]),
    ("together abbey", &[0]),
    ("abb roa", &[0, 1]),
    ("\"abbey road\"", &[0, 1]),
    ("\"road abbey\"", &[]),
    ("road -live", &[0, 3]),
    ("road -\"in concert\"", &[0, 1]),
    ("ext:flac", &[0, 2]),
    ("ext:flac,mp3 road", &[0, 1]),
    ("type:video", &[3, 4]),
    ("road type:audio", &[0, 1]),
    ("size:>600MiB", &[3, 4]),
    ("size:<1KiB", &[7, 8, 9, 10]),
    ("road size:>4MiB size:<6MiB", &[1]),
    ("newer:1970-01-02", &[]),
    ("newer:1970-01-01 ext:mp3", &[1]),
    ("BJORK joga", &[2]),
    ("東京", &[4]),
    ("語", &[4]),
    ("война", &[5]),
    ("ми", &[5]),
    ("ليلة", &[6]),
    ("한국", &[7]),
    ("리", &[7]),
    ("がな", &[10]),
    ("100%", &[8]),
    ("sure_thing", &[8]),
    ("e_t", &[8]),
    ("peer:ada road", &[0, 1, 3]),
    ("peer:nobody road", &[]),
    ("nowhere", &[]),
];

async fn query_language(place: Place) -> Result {
    let mut ada = Peer::join(&place, "ada").await?;
    let files: Vec<Change> = NAMES.iter().map(|(name, size)| file(name, *size)).collect::<Result<_>>()?;
    ada.publish(files).await?;
    for (text, wanted) in QUERIES {
        let page = ada.search_page(text, None, 1000).await?;
        let found: BTreeSet<&str> = page.hits.iter().filter(|hit| hit.kind == Kind::File).map(|hit| hit.path.as_str()).collect();
        let wanted = wanted.iter().filter_map(|place| NAMES.get(*place)).map(|(name, _)| *name).collect();
        same(found, wanted, text)?;
        same((page.more, page.corrected), (false, None), text)?;
    }
    let page = ada.search_page("type:folder abbey", None, 10).await?;
    same(page.hits.iter().map(|hit| (hit.path.as_str(), hit.size)).collect(), vec![("music/Abbey Road", 35 << 20)], "folders")
}

async fn corrected(place: Place) -> Result {
    let mut ada = Peer::join(&place, "ada").await?;
    ada.publish([file("music/Metallica - One.mp3", 1)?, file("music/Metallica - Two.mp3", 2)?, file("music/Beatles.mp3", 3)?]).await?;
    for (typed, meant, hits) in [("metalica", "metallica", 2), ("metallcia one", "metallica one", 1), ("beatkes", "beatles", 1)] {
        let page = ada.search_page(typed, None, 10).await?;
        same((page.corrected.as_ref().map(Text::as_str), page.total), (Some(meant), hits), typed)?;
    }
    let page = ada.search_page("metallica", None, 10).await?;
    same((page.corrected, page.total), (None, 2), "what is typed well")
}

async fn grouped(place: Place) -> Result {
    let mut ada = Peer::join(&place, "ada").await?;
    let mut bob = Peer::join(&place, "bob").await?;
    ada.publish([copy("music/live/one.mp3", "one", 10, 5)?, copy("music/live/two.mp3", "two", 20, 5)?, file("music/x.txt", 1)?]).await?;
    bob.publish([copy("songs/other name.mp3", "one", 10, 9)?, copy("backup/live/one.mp3", "one", 10, 9)?]).await?;
    let page = ada.search_page("live", None, 10).await?;
    let hits: Vec<_> = page.hits.iter().map(|hit| (hit.path.as_str(), hit.kind, hit.size, hit.sources)).collect();
    // The content that two have comes before the one that one has.
    let folders = [("music/live", Kind::Folder, 30, 1), ("backup/live", Kind::Folder, 10, 1)];
    same(
        hits.iter().filter(|hit| hit.1 == Kind::File).copied().collect(),
        vec![("music/live/one.mp3", Kind::File, 10, 2), ("music/live/two.mp3", Kind::File, 20, 1)],
        "files",
    )?;
    same(hits.iter().filter(|hit| hit.1 == Kind::Folder).copied().collect(), folders.to_vec(), "folders")?;
    let one = page.hits.iter().find(|hit| hit.path.as_str() == "music/live/one.mp3").ok_or_else(|| Failure::new("no hit"))?;
    let holders: BTreeSet<(PeerKey, &str)> = one.holders.iter().map(|holder| (holder.peer, holder.path.as_str())).collect();
    same(holders, BTreeSet::from([(ada.key(), "music/live/one.mp3"), (bob.key(), "backup/live/one.mp3")]), "who has it, and where")?;
    same(ada.search_page("live peer:bob", None, 10).await?.total, 2, "of one peer only")?;
    same(ada.sources("one").await?.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([ada.key(), bob.key()]), "sources")
}

async fn paged(place: Place) -> Result {
    let mut ada = Peer::join(&place, "ada").await?;
    let mut bob = Peer::join(&place, "bob").await?;
    // Alike in length, so that only their order among equals tells them apart; every third is not hashed yet.
    let change = |number: u64| -> Result<Change> {
        let content_id = (!number.is_multiple_of(3)).then(|| ContentId::of(&number.to_be_bytes()));
        Ok(Change::Put(Entry { path: path(&format!("s/page {number:03}.txt"))?, size: number, mtime: 0, content_id }))
    };
    ada.publish((0..60).map(change).collect::<Result<Vec<_>>>()?).await?;
    bob.publish((0..60).map(change).collect::<Result<Vec<_>>>()?).await?;
    // Of the twenty that are not hashed each peer has its own.
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = ada.search_page("page", after.as_deref(), 7).await?;
        same((page.total, page.hits.len() <= 7), (80, true), "a page of hits")?;
        found.extend(page.hits.iter().map(|hit| (hit.path.to_string(), hit.content_id, hit.holders.first().map(|holder| holder.peer))));
        after = page.next.map(|next| next.to_string());
        if after.is_none() {
            break;
        }
    }
    let distinct: BTreeSet<_> = found.iter().cloned().collect();
    same((found.len(), distinct.len()), (80, 80), "all pages of hits")?;
    let key = bob.key();
    let (mut listed, mut after) = (Vec::new(), None::<String>);
    loop {
        let (paths, next) = ada.list(key, Some("s"), after.as_deref(), 7).await?.ok_or_else(|| Failure::new("not listed"))?;
        listed.extend(paths);
        after = next;
        if after.is_none() {
            break;
        }
    }
    same(listed, (0..60).map(|number| format!("s/page {number:03}.txt")).collect::<Vec<_>>(), "all pages of files")?;
    same(ada.list(key, Some("s/page 001.txt"), None, 7).await?, Some((vec!["s/page 001.txt".to_owned()], None)), "a file")?;
    let ask = |after| Peers { namespace: place.namespace.clone(), peer: None, after, limit: 1 };
    let Answer::Peers(first) = ada.ask(Request::Peers(ask(None))).await? else { return Err(Failure::new("no peers")) };
    let Answer::Peers(second) = ada.ask(Request::Peers(ask(first.next.clone()))).await? else { return Err(Failure::new("no peers")) };
    let peers: Vec<PeerKey> = first.peers.iter().chain(second.peers.iter()).map(|info| info.peer).collect();
    let mut sorted = vec![ada.key(), key];
    sorted.sort();
    same((peers, second.next), (sorted, None), "pages of peers")
}

async fn over_quota(place: Place) -> Result {
    let mut ada = Peer::join(&place, "ada").await?;
    let mut bob = Peer::join(&place, "bob").await?;
    let files = |share: &str, count: u64| (0..count).map(|number| file(&format!("{share}/file {number}"), 1)).collect::<Result<Vec<_>>>();
    let too_many = ada.message(0, 1, files("s", MAX_FILES + 1)?);
    same(ada.ask(Request::Publish(too_many)).await?, Answer::Refused { why: Refusal::OverQuota }, "one too many")?;
    bob.publish([file("b/joga", 1)?]).await?;
    same(ada.search("joga").await?, vec!["b/joga".to_owned()], "others are not affected")?;
    let all = ada.message(0, 1, files("s", MAX_FILES)?);
    same(ada.publisher.publish(&all).await?, 1, "as many as may be")?;
    let replaced = ada.message(1, 2, [copy("s/file 0", "new", 9, 9)?]);
    same(ada.publisher.publish(&replaced).await?, 2, "replacing takes no room")?;
    let more = ada.message(2, 3, [file("s/more", 1)?]);
    same(ada.ask(Request::Publish(more)).await?, Answer::Refused { why: Refusal::OverQuota }, "one more")?;
    let instead = ada.message(2, 3, [Change::Remove(path("s/file 0")?), file("s/more", 1)?]);
    same(ada.publisher.publish(&instead).await?, 3, "one instead of another")
}

async fn apart(place: Place) -> Result {
    let other = Place { namespace: Namespace::new(format!("{} beside", place.namespace.as_str()))?, ..place.clone() };
    let mut ada = Peer::join(&place, "ada").await?;
    let mut bob = Peer::join(&other, "bob").await?;
    ada.publish([copy("s/joga", "joga", 1, 1)?]).await?;
    bob.publish([copy("t/joga", "joga", 1, 1)?]).await?;
    same(ada.search("joga").await?, vec!["s/joga".to_owned()], "hits")?;
    same(bob.sources("joga").await?, vec![bob.key()], "sources")?;
    same(bob.list(ada.key(), None, None, 10).await?, None, "files")?;
    same(bob.peers().await?.len(), 1, "peers")
}

async fn nonsense(place: Place) -> Result {
    let mut ada = Peer::join(&place, "ad\0a %_'\"\\").await?;
    ada.publish([file("s/it's a \"name\" of 100%, isn't it.txt", 1)?]).await?;
    same(ada.peers().await?.first().map(|info| info.nickname.to_string()), Some("ad\0a %_'\"\\".to_owned()), "a strange name")?;
    let unsupported = Answer::Refused { why: Refusal::Unsupported };
    let backward = ada.message(9, 3, []);
    same(ada.ask(Request::Publish(backward)).await?, unsupported.clone(), "a revision that goes back")?;
    let standing = ada.message(1, 1, [file("s/b", 1)?]);
    same(ada.ask(Request::Publish(standing)).await?, unsupported, "changes without a revision")?;
    for text in ["\0", "a\0b", "ext:\0", "it's", "100%", "'; DROP TABLE files; --", "\\", "%", "_", "peer:\0 a", "", "   ", "-name"] {
        let page = ada.search_page(text, None, 10).await?;
        let is_found = matches!(text, "it's" | "100%" | "%" | "" | "   ");
        same(page.total, u64::from(is_found), text)?;
    }
    let odd = ada.search_page("it's", Some("no cursor \0 of ours"), 10).await?;
    same(odd.total, 1, "a cursor that is none")?;
    same(ada.list(ada.key(), None, Some("\0"), 10).await?.map(|(paths, _)| paths.len()), Some(1), "a cursor with a NUL")
}

/// Parts of names, some of them alike.
const PARTS: &[&str] = &["abba", "abbey", "road", "broad", "live", "é", "東京", "京", "мир", "1", "100%", "a_b", "c.d", "한국"];

async fn as_a_scan(place: Place) -> Result {
    let mut scan = Scan::new();
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;
    let mut roll = |sides: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice % sides as u64).unwrap_or(0)
    };
    let mut peers = Vec::new();
    for number in 0..3 {
        let mut peer = Peer::join(&place, &format!("peer {number}")).await?;
        let mut changes = Vec::new();
        for _ in 0..150 {
            let mut part = || PARTS.get(roll(PARTS.len())).copied().unwrap_or_default();
            let name = format!("{}/{} {}/{} {}.mp3", part(), part(), part(), part(), part());
            let content = format!("{}", roll(120));
            changes.push(copy(&name, &content, content.len() as u64, 1_000 + i64::try_from(roll(9))?)?);
        }
        for change in &changes {
            if let Change::Put(entry) = change {
                scan.put(PeerNo(number), entry);
            }
        }
        scan.set_online(PeerNo(number), true);
        peer.publish(changes).await?;
        peers.push(peer);
    }
    let Some(peer) = peers.first_mut() else { return Err(Failure::new("no peer")) };
    for word in PARTS {
        for text in
            [(*word).to_owned(), format!("{word} road"), format!("{word} -live"), format!("\"{word} a\""), format!("type:folder {word}")]
        {
            let page = peer.search_page(&text, None, 1000).await?;
            if page.corrected.is_some() {
                continue; // a scan corrects nothing
            }
            let found: Vec<_> = page.hits.iter().map(|hit| (hit.path.as_str(), hit.content_id, hit.size, hit.sources, hit.mtime)).collect();
            let scanned = scan.search(&Query::parse(&text), None, None, 1000, 0);
            let wanted: Vec<_> =
                scanned.hits.iter().map(|hit| (hit.path.as_str(), hit.content_id, hit.size, hit.sources, hit.mtime)).collect();
            same(page.total, scanned.total, &text)?;
            same(found, wanted, &text)?;
        }
    }
    Ok(())
}
