use std::time::Duration;

use super::*;
use crate::clock;
use crate::console::recorded;
use crate::error::Failure;
use crate::types::*;

const PEER: &str = "12D3KooWGatU8DSBTk6JnDHj3gJ8R3nbKDYBQeFGvoLY5VRvDhHX";
const ID: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const HOSTILE: &str = "a\u{1b}[2J\u{7}\r\n\t\u{9b}31m\u{202e}gpj.exe";

fn hit(name: &str) -> Item {
    Item::Hit(HitLine {
        content_id: Some(ID.into()),
        name: name.into(),
        size: 432 << 20,
        kind: "file".into(),
        sources: 3,
        peers: vec![HolderLine { peer_id: PEER.into(), nickname: "ada".into(), path: "music/live.flac".into() }],
        have: None,
    })
}

fn tracker(text: &str) -> TrackerLine {
    let error = Some(text.into());
    TrackerLine { tracker: text.into(), namespace: text.into(), registered: false, state: text.into(), error }
}

/// One item of each kind, with `text` in every place that a remote could choose.
fn one_of_each(text: &str) -> Vec<Item> {
    let text = || text.to_owned();
    vec![
        Item::Tracker(tracker(&text())),
        Item::Peer(PeerLine { peer_id: text(), nickname: text(), addresses: vec![text()], files: Some(1), bytes: None, online: true }),
        Item::Entry(EntryLine { path: text(), size: 1, mtime: text(), content_id: Some(text()) }),
        hit(&text()),
        Item::Hit(HitLine {
            content_id: None,
            name: text(),
            size: 1,
            kind: "folder".into(),
            sources: 1,
            peers: vec![HolderLine { peer_id: text(), nickname: text(), path: text() }],
            have: Some(text()),
        }),
        Item::Watching(WatchLine { event: "missed".into(), tracker: text() }),
        Item::News(HitLine { content_id: None, name: text(), size: 1, kind: text(), sources: 1, peers: Vec::new(), have: None }),
        Item::SearchNote(SearchNote { total: 1, more: true, corrected: Some(text()), unanswered: vec![text()] }),
        Item::Transfer(TransferLine::Done {
            path: text(),
            content_id: text(),
            bytes: 1,
            fetched: 1,
            sources: 1,
            already_there: true,
            kept: None,
        }),
        Item::Transfer(TransferLine::Failed { name: text(), content_id: None, error: text(), code: 3 }),
        Item::Verified(VerifyLine::Damaged { path: text(), content_id: text(), bytes: 1, error: Some(text()) }),
        Item::Verified(VerifyLine::Repaired { path: text(), content_id: text(), bytes: 1, fetched: 1, kept: Some(text()) }),
        Item::Dialled(DialLine { peer_id: text(), address: text(), agent: text(), tracker: false }),
        Item::Share(ShareLine {
            name: text(),
            guests: Vec::new(),
            dir: text(),
            state: text(),
            files: 1,
            bytes: 1,
            hashed_bytes: 0,
            skipped: vec![text()],
            skipped_count: 9,
        }),
        Item::Download(DownloadLine {
            id: 1,
            content_id: text(),
            name: text(),
            folder: Some(text()),
            path: text(),
            bytes: 0,
            total: None,
            priority: crate::types::DownloadPriority::Normal,
            state: text(),
            rate: 0,
            sources: Vec::new(),
            error: Some(text()),
        }),
        Item::Upload(UploadLine {
            peer_id: text(),
            nickname: text(),
            content_id: Some(text()),
            path: Some(text()),
            bytes: 1,
            rate: 1,
            active: 1,
        }),
        Item::Folder(FolderLine { name: text(), path: text() }),
        Item::Link(LinkLine { path: text(), content_id: text(), link: String::new() }),
        Item::Limits(LimitsLine { up: Some(1), queued: 1 }),
        Item::Status(Box::new(StatusLine {
            peer_id: text(),
            nickname: text(),
            namespace: text(),
            addresses: vec![text()],
            trackers: vec![tracker(&text())],
            connected_peers: 1,
            shares: 1,
            files: 1,
            bytes: 1,
            hashed_bytes: 1,
            downloads: 0,
            rate_down: 0,
            rate_up: 0,
            bytes_up: 0,
            bytes_down: 0,
            download_dir: text(),
            page: Some(text()),
            running: true,
        })),
        Item::Id(IdLine { peer_id: text(), addresses: vec![text()] }),
    ]
}

fn printed(face: Face, items: &[Item]) -> (String, String) {
    let (console, out, err) = recorded::console();
    let today = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut output = Output::new(&console, face, today);
    for item in items {
        output.item(item, clock::now()).unwrap();
    }
    output.finish(clock::now()).unwrap();
    (out.text(), err.text())
}

fn terminal(width: usize) -> Face {
    Face { terminals: Terminals { out_width: Some(width), err: false, interactive: false }, ..Face::default() }
}

/// G022.
#[test]
fn no_name_that_a_peer_chose_acts_on_the_terminal() {
    let (console, events_out, events_err) = recorded::console();
    for item in one_of_each(HOSTILE) {
        for face in [Face::default(), terminal(80), terminal(200)] {
            let (out, err) = printed(face, std::slice::from_ref(&item));
            for text in [out, err] {
                let unsafe_character = text.chars().find(|c| (c.is_control() && !"\n\t".contains(*c)) || *c == '\u{202e}');
                assert_eq!(unsafe_character, None, "{item:?} was printed as {text:?}");
            }
        }
    }
    let text = || HOSTILE.to_owned();
    for hostile in [
        Event::Listening { address: text() },
        Event::Registered { tracker: text(), namespace: text() },
        Event::TrackerLost { tracker: text(), error: text() },
        Event::PeerBanned { peer_id: text(), error: text() },
        Event::Warning { message: text() },
    ] {
        event(&console, Face::default(), &hostile).unwrap();
    }
    error(&console, &CommandError::new(Failure::Other, HOSTILE));
    assert!(events_out.text().is_empty());
    assert!(events_err.text().chars().all(|c| c == '\n' || !c.is_control()), "{}", events_err.text());
}

#[test]
fn a_name_with_a_tab_or_a_line_feed_makes_no_further_column_or_line_in_a_pipe() {
    let (out, _) = printed(Face::default(), &[hit("a\tb\nc")]);
    assert_eq!(out, format!("a\\u{{9}}b\\u{{a}}c\t432 MiB\t3 sources\t{ID}\n"));
}

#[test]
fn hits_stand_in_columns_with_what_to_download_in_reach() {
    let (out, err) = printed(terminal(80), &[hit("Kind of Blue.flac"), hit("b.flac")]);
    assert_eq!(out, format!("Kind of Blue.flac  432 MiB  3 sources\n    {ID}\nb.flac             432 MiB  3 sources\n    {ID}\n"));
    assert_eq!(err, "Fetch one with: potluck download CONTENT_ID\n");
    let (out, _) = printed(terminal(150), &[hit("Kind of Blue.flac")]);
    assert_eq!(out, format!("Kind of Blue.flac  432 MiB  3 sources  {ID}\n"));
}

#[test]
fn what_is_said_about_a_search_goes_to_stderr_also_beside_json() {
    let note =
        Item::SearchNote(SearchNote { total: 1234, more: false, corrected: Some("blue".into()), unanswered: vec!["t: gone".into()] });
    let said = "Searched for blue instead.\n1,234 hits.\nNo answer from t: gone\n";
    assert_eq!(printed(Face::default(), std::slice::from_ref(&note)), (String::new(), said.into()));
    let (out, err) = printed(Face { json: true, ..Face::default() }, &[hit("x"), note.clone()]);
    assert_eq!(err, said);
    let value: serde_json::Value = serde_json::from_str(out.trim_end()).unwrap();
    assert_eq!(value["content_id"], ID);
    assert_eq!(printed(Face { quiet: true, ..Face::default() }, &[note]).1, "");
}

#[test]
fn json_is_one_object_a_line_whatever_a_name_holds() {
    let items = one_of_each(HOSTILE);
    let objects = items.iter().filter(|item| item.to_json().is_some()).count();
    let (out, _) = printed(Face { json: true, ..terminal(80) }, &items);
    assert_eq!(out.lines().count(), objects);
    assert!(out.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).unwrap().is_object()));
}

#[test]
fn a_download_prints_the_path_of_each_file_and_sums_up_at_the_end() {
    let done = |path: &str, already_there| {
        Item::Transfer(TransferLine::Done {
            path: path.into(),
            content_id: ID.into(),
            bytes: 2048,
            fetched: if already_there { 0 } else { 2048 },
            kept: None,
            sources: 1,
            already_there,
        })
    };
    let failed = Item::Transfer(TransferLine::Failed { name: "c".into(), content_id: None, error: "nobody has it".into(), code: 4 });
    let (out, err) = printed(Face::default(), &[done("/d/a", false), done("/d/b", true), failed]);
    assert_eq!(out, "/d/a\n/d/b\n");
    assert!(err.starts_with("already there: /d/b\nerror: c: nobody has it\n1 file done: 2.0 KiB fetched in "), "{err}");
    assert!(err.ends_with(" from 1 source, all verified\n"), "{err}");
}

#[test]
fn lists_of_peers_and_shares_name_all_that_a_next_command_needs() {
    let peer = Item::Peer(PeerLine {
        peer_id: PEER.into(),
        nickname: "ada".into(),
        addresses: Vec::new(),
        files: Some(1234),
        bytes: Some(5 << 30),
        online: true,
    });
    assert_eq!(printed(terminal(80), std::slice::from_ref(&peer)).0, "ada  1,234 files  5.0 GiB  online  5VRvDhHX\n");
    assert_eq!(printed(Face::default(), &[peer]).0, format!("ada\t1,234 files\t5.0 GiB\tonline\t{PEER}\n"));
    let share = Item::Share(ShareLine {
        name: "Music".into(),
        guests: Vec::new(),
        dir: "/home/ada/Music".into(),
        state: "hashing".into(),
        files: 1,
        bytes: 100,
        hashed_bytes: 50,
        skipped: vec!["fifo: no regular file".into()],
        skipped_count: 3,
    });
    assert_eq!(
        printed(terminal(100), &[share]).0,
        "Music  hashing  1 file  100 B  50 % hashed  /home/ada/Music\n    not shared: fifo: no regular file\n    not shared: 2 more\n"
    );
}

#[test]
fn events_are_json_on_stdout_or_text_on_stderr() {
    let registered = Event::Registered { tracker: "/ip4/1.2.3.4/tcp/9470".into(), namespace: "public".into() };
    let (console, out, err) = recorded::console();
    event(&console, Face { json: true, ..Face::default() }, &registered).unwrap();
    assert_eq!(out.text(), "{\"event\":\"registered\",\"tracker\":\"/ip4/1.2.3.4/tcp/9470\",\"namespace\":\"public\"}\n");
    event(&console, Face::default(), &registered).unwrap();
    assert_eq!(err.text(), "registered at /ip4/1.2.3.4/tcp/9470 in namespace public\n");
    let quiet = Face { quiet: true, ..Face::default() };
    event(&console, quiet, &registered).unwrap();
    event(&console, quiet, &Event::Warning { message: "low disk".into() }).unwrap();
    assert!(err.text().ends_with("public\nwarning: low disk\n"));
}
