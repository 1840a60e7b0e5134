//! The words and columns that people read.

use std::time::SystemTime;

use potluck_common::escape::Escaped;

use super::table::{Align, Row};
use crate::human;
use crate::types::{
    CheckLine, CheckState, DialLine, DownloadLine, EntryLine, Event, FolderLine, HitLine, IdLine, JoinLine, LimitsLine, Origin, PeerLine,
    SearchNote, SettingLine, ShareLine, StatusLine, TrackerLine, UploadLine, VerifyLine, WatchLine,
};

use Align::{Flexible, Left, Right};

pub(super) const PEER: &[Align] = &[Flexible, Right, Right, Left, Left];
pub(super) const ENTRY: &[Align] = &[Flexible, Right, Right, Left];
pub(super) const HIT: &[Align] = &[Flexible, Right, Right, Left];
pub(super) const SHARE: &[Align] = &[Flexible, Left, Right, Right, Right, Left];
pub(super) const DOWNLOAD: &[Align] = &[Right, Flexible, Left, Right, Right, Right, Right];
pub(super) const SETTING: &[Align] = &[Left, Left, Left];
pub(super) const UPLOAD: &[Align] = &[Left, Flexible, Right, Right, Left];

/// Columns from which a whole content id or PeerId has room beside a name.
const WIDE: usize = 130;
/// Letters of a PeerId that tell peers apart; `query` takes them.
const SHORT_PEER: usize = 8;
/// Digits of a content id that tell files apart at a glance.
const SHORT_CONTENT: usize = 12;
/// What a list shows for the unknown.
const UNKNOWN: &str = "?";

/// `nickname  files  size  online  PeerId`.
pub(super) fn peer(line: &PeerLine, width: Option<usize>) -> Row {
    let id = if width.is_some_and(|width| width < WIDE) { tail(&line.peer_id) } else { &line.peer_id };
    let cells = [
        escaped(&line.nickname),
        line.files.map_or(UNKNOWN.into(), |files| human::some(files, "file")),
        line.bytes.map_or(UNKNOWN.into(), human::size),
        if line.online { "online" } else { "offline" }.into(),
        escaped(id),
    ];
    Row { cells: cells.into(), below: Vec::new() }
}

pub(super) fn folder(line: &FolderLine) -> Row {
    Row { cells: vec![format!("{}/", Escaped(&line.path)), String::new(), String::new(), String::new()], below: Vec::new() }
}

/// What one is a member of now, and what to do next.
pub(super) fn joined(line: &JoinLine) -> Vec<String> {
    let read_only = line.read_only.iter().map(|name| format!("{} (to search and download only)", Escaped(name)));
    let namespaces: Vec<String> = line.namespaces.iter().map(|name| Escaped(name).to_string()).chain(read_only).collect();
    let next = match (line.takes_part, line.restart) {
        (true, _) => "The node takes part from now on; share more with `potluck share add DIR`",
        (false, true) => "Stop the node, and start it without another --tracker: potluck node --share DIR",
        (false, false) => "Take part with: potluck node --share DIR",
    };
    vec![format!("you are a member of {} at the tracker {}", namespaces.join(", "), escaped(&line.tracker)), next.to_owned()]
}

/// `share/path  size  age  content id`.
pub(super) fn entry(line: &EntryLine, width: Option<usize>, today: SystemTime) -> Row {
    let age = match humantime::parse_rfc3339_weak(&line.mtime) {
        Ok(mtime) if width.is_some() => human::ago(mtime, today),
        _ => escaped(&line.mtime),
    };
    let id = line.content_id.as_deref().map_or("not hashed yet".into(), |id| match width {
        Some(width) if width < WIDE => id.chars().take(SHORT_CONTENT).map(|c| Escaped(c.encode_utf8(&mut [0; 4])).to_string()).collect(),
        _ => escaped(id),
    });
    Row { cells: vec![escaped(&line.path), human::size(line.size), age, id], below: Vec::new() }
}

/// `name  size  3 sources  content id`; what to download stands below where a terminal is too narrow for it, because a part of
/// it would be of no use.
pub(super) fn hit(line: &HitLine, width: Option<usize>) -> Row {
    let folder = if line.kind == "folder" { "/" } else { "" };
    let reference = match (&line.content_id, line.peers.first()) {
        (Some(id), _) => escaped(id),
        (None, Some(holder)) => format!("{}:{}", escaped(&holder.peer_id), escaped(&holder.path)),
        (None, None) => UNKNOWN.into(),
    };
    let beside = width.is_none_or(|width| width >= WIDE) && line.content_id.is_some() || width.is_none();
    let (cell, below) = if beside { (reference, Vec::new()) } else { (String::new(), vec![reference]) };
    let name = format!("{}{folder}", Escaped(&line.name));
    Row { cells: vec![name, human::size(line.size), human::some(u64::from(line.sources), "source"), cell], below }
}

/// `name  size  content id`, on one line: it comes alone.
pub(super) fn news(line: &HitLine) -> String {
    let Row { cells, .. } = hit(line, None);
    cells.join("  ")
}

pub(super) fn watching(line: &WatchLine) -> String {
    match line.event.as_str() {
        "missed" => format!("Some hits at {} may have been missed; `potluck search` finds them.", Escaped(&line.tracker)),
        _ => format!("Watching at {}; Ctrl-C ends it.", Escaped(&line.tracker)),
    }
}

/// `name  state  files  size  hashed  folder`.
pub(super) fn share(line: &ShareLine) -> Row {
    let hashed = format!("{} hashed", human::percent(line.hashed_bytes, line.bytes));
    let cells =
        [escaped(&line.name), escaped(&line.state), human::some(line.files, "file"), human::size(line.bytes), hashed, escaped(&line.dir)];
    let guests: Vec<String> = line.guests.iter().map(|guest| escaped(guest)).collect();
    let limited = (!guests.is_empty()).then(|| format!("for {} only", guests.join(", ")));
    let skipped = line.skipped.iter().map(|skipped| format!("not shared: {}", Escaped(skipped)));
    let mut below: Vec<String> = limited.into_iter().chain(skipped).collect();
    let more = line.skipped_count.saturating_sub(line.skipped.len() as u64);
    if more > 0 {
        below.push(format!("not shared: {} more", human::count(more)));
    }
    Row { cells: cells.into(), below }
}

/// `id  name  state  71 %  1.4 GiB/2.0 GiB  98 MiB/s  4 sources`.
pub(super) fn download(line: &DownloadLine) -> Row {
    let cells = [
        line.id.to_string(),
        escaped(&line.name),
        escaped(&line.state),
        line.total.map_or(UNKNOWN.into(), |total| human::percent(line.bytes, total)),
        format!("{}/{}", human::size(line.bytes), line.total.map_or(UNKNOWN.into(), human::size)),
        human::rate(line.rate),
        human::some(line.sources.len() as u64, "source"),
    ];
    Row { cells: cells.into(), below: line.error.iter().map(|error| escaped(error)).collect() }
}

/// `nickname  share/path  1.4 GiB  98 MiB/s  sending`.
pub(super) fn upload(line: &UploadLine) -> Row {
    let who = if line.nickname.is_empty() { tail(&line.peer_id) } else { &line.nickname };
    let what = match (&line.path, &line.content_id) {
        (Some(path), _) => escaped(path),
        (None, Some(id)) => escaped(id),
        (None, None) => "small files".into(),
    };
    let state = if line.active > 0 { "sending" } else { "sent" };
    Row { cells: vec![escaped(who), what, human::size(line.bytes), human::rate(line.rate), state.into()], below: Vec::new() }
}

pub(super) fn limits(line: &LimitsLine) -> String {
    format!("sends at most {}", line.up.map_or("what the network takes".into(), human::rate))
}

pub(super) fn tracker(line: &TrackerLine) -> String {
    let at = format!("{} (namespace {})", Escaped(&line.tracker), Escaped(&line.namespace));
    match (&line.error, line.registered) {
        (_, true) => format!("registered at {at}"),
        (Some(error), false) => format!("not registered at {at}, {}: {}", Escaped(&line.state), Escaped(error)),
        (None, false) => format!("not registered at {at}: {}", Escaped(&line.state)),
    }
}

pub(super) fn dialled(line: &DialLine) -> String {
    let what = if line.tracker { "tracker" } else { "peer" };
    format!("connected to {what} {} at {} ({})", Escaped(&line.peer_id), Escaped(&line.address), Escaped(&line.agent))
}

pub(super) fn status(line: &StatusLine) -> Vec<String> {
    let share = human::percent(line.hashed_bytes, line.bytes);
    let mut rows = vec![
        ("node", if line.running { "running".into() } else { "not running; start it with `potluck node --share DIR`".into() }),
        ("nickname", escaped(&line.nickname)),
        ("peer id", escaped(&line.peer_id)),
        ("namespace", escaped(&line.namespace)),
    ];
    rows.extend(line.addresses.iter().map(|address| ("listens at", escaped(address))));
    rows.extend(line.trackers.iter().map(|line| ("tracker", tracker(line))));
    rows.extend([
        ("connected to", human::some(line.connected_peers, "peer")),
        (
            "shares",
            format!(
                "{} with {}, {} ({share} hashed)",
                human::some(line.shares, "folder"),
                human::some(line.files, "file"),
                human::size(line.bytes)
            ),
        ),
        ("downloads", format!("{} open, into {}", human::count(line.downloads), Escaped(&line.download_dir))),
        ("receives", format!("{}, {} since it started", human::rate(line.rate_down), human::size(line.bytes_down))),
        ("sends", format!("{}, {} since it started", human::rate(line.rate_up), human::size(line.bytes_up))),
    ]);
    rows.into_iter().map(|(name, value)| format!("{name:13} {value}")).collect()
}

pub(super) fn verified(line: &VerifyLine) -> String {
    match line {
        VerifyLine::Intact { path, .. } => format!("right     {}", Escaped(path)),
        VerifyLine::Missing { path, .. } => format!("missing   {}", Escaped(path)),
        VerifyLine::Damaged { path, error, .. } => {
            let why = error.as_ref().map_or_else(String::new, |error| format!(": {}", Escaped(error)));
            format!("damaged   {}{why}", Escaped(path))
        }
        VerifyLine::Repaired { path, fetched, kept, .. } => {
            let kept = kept.as_ref().map_or_else(String::new, |kept| format!("; what was there is {} now", Escaped(kept)));
            format!("repaired  {} ({} fetched{kept})", Escaped(path), human::size(*fetched))
        }
    }
}

/// The PeerId, then the addresses: what a script cuts apart by lines.
pub(super) fn id(line: &IdLine) -> Vec<String> {
    std::iter::once(&line.peer_id).chain(&line.addresses).map(|text| escaped(text)).collect()
}

/// `nickname  ada  from /…/config.toml`.
pub(super) fn setting(line: &SettingLine) -> Row {
    let value = if line.value.is_empty() { "-".into() } else { Escaped(&line.value.join(", ")).to_string() };
    let from = match (line.origin, &line.place) {
        (Origin::Default, _) => "default".into(),
        (_, place) => format!("from {}", Escaped(place.as_deref().unwrap_or(UNKNOWN))),
    };
    let next = line.next.iter().map(|next| format!("from the next start on: {}", Escaped(&next.join(", "))));
    Row { cells: vec![line.name.clone(), value, from], below: next.collect() }
}

/// `good     trackers     1 of 1 tracker reached`.
pub(super) fn check(line: &CheckLine) -> String {
    let state = match line.state {
        CheckState::Good => "good",
        CheckState::Warning => "warning",
        CheckState::Failed => "FAILED",
    };
    format!("{state:8} {:14} {}", line.check, Escaped(&line.message))
}

pub(super) fn search_note(note: &SearchNote) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(corrected) = &note.corrected {
        lines.push(format!("Searched for {} instead.", Escaped(corrected)));
    }
    let total = human::some(note.total, "hit");
    lines.push(if note.more { format!("More than {total}; more words narrow it down.") } else { format!("{total}.") });
    lines.extend(note.unanswered.iter().map(|who| format!("No answer from {}", Escaped(who))));
    lines
}

pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Listening { address } => format!("listening at {}", Escaped(address)),
        Event::Page { address } => format!("page at {}", Escaped(address)),
        Event::Registered { tracker, namespace } => format!("registered at {} in namespace {}", Escaped(tracker), Escaped(namespace)),
        Event::TrackerLost { tracker, error } => format!("not registered at {}: {}", Escaped(tracker), Escaped(error)),
        Event::Listed { files, bytes } => {
            format!("listed {}, {}: others can find them", human::some(*files, "file"), human::size(*bytes))
        }
        Event::Indexed { files, bytes } => {
            format!("hashed {}, {}: others can download them from several sources", human::some(*files, "file"), human::size(*bytes))
        }
        Event::PeerBanned { peer_id, error } => format!("warning: nothing more is taken from {}: {}", Escaped(peer_id), Escaped(error)),
        Event::Warning { message } => format!("warning: {}", Escaped(message)),
    }
}

fn escaped(text: &str) -> String {
    Escaped(text).to_string()
}

/// The last letters of a PeerId.
fn tail(peer_id: &str) -> &str {
    let start = peer_id.char_indices().rev().nth(SHORT_PEER - 1).map_or(0, |(start, _)| start);
    peer_id.get(start..).unwrap_or(peer_id)
}
