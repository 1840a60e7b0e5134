//! What each route asks of the facade: the same commands as the verbs of the command line.

use std::path::PathBuf;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Api;
use super::reply::{Answer, Page, Refused, Slice};
use crate::error::{CommandError, Failure};
use crate::executor::ITEM_QUEUE;
use crate::types::{
    CheckLine, Command, DialLine, DownloadAction, DownloadLine, DownloadWish, EntryLine, FolderLine, HitLine, IdLine, Item, LimitsLine,
    OnConflict, PeerLine, PieceMap, SearchNote, SettingLine, ShareLine, StatusLine, TrackerLine, TransferLine, UploadLine,
};

/// Most hits that are looked through, whatever page is wanted.
const MAX_HITS: u64 = 10_000;

type Body<T> = Result<Json<T>, JsonRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;

/// Takes the payload of one kind of item out of it.
macro_rules! pick {
    ($kind:ident) => {
        |item| match item {
            Item::$kind(line) => Some(line),
            _ => None,
        }
    };
}

/// A search.
#[derive(Debug, Deserialize)]
pub(super) struct Search {
    q: String,
    #[serde(default)]
    offset: u64,
    limit: Option<u32>,
}

/// What a search found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Found {
    /// The hits, best first.
    items: Vec<HitLine>,
    /// About the search as a whole.
    note: SearchNote,
}

/// Which folder of a peer is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Browse {
    path: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// What a QR code is to hold.
#[derive(Debug, Deserialize)]
pub(super) struct Coded {
    text: String,
}

/// What lies in a folder.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Child {
    /// A subfolder.
    Folder(FolderLine),
    /// A file.
    File(EntryLine),
}

/// Whom to connect to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Dial {
    /// A multiaddr.
    address: String,
}

/// What to share.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewShare {
    /// The folder on the machine of the node; absolute.
    dir: PathBuf,
    /// Its name; `null`: the folder's own.
    name: Option<String>,
    /// Whom it is for, each a PeerId or a namespace; empty: everybody.
    #[serde(default, rename = "for")]
    guests: Vec<String>,
}

/// Which downloads are listed.
#[derive(Debug, Deserialize)]
pub(super) struct Downloads {
    state: Option<String>,
    #[serde(default)]
    offset: u64,
    limit: Option<u32>,
}

/// What to fetch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDownload {
    /// Content ids, `potluck:` links, or `PEER:share/path` of files and folders.
    refs: Vec<String>,
    /// The folder to put them in; `null`: the download folder.
    #[serde(default)]
    into: Option<PathBuf>,
    /// What to do when another file has the name.
    #[serde(default)]
    on_conflict: OnConflict,
}

/// What was begun.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Begun {
    /// What is fetched, for people.
    name: String,
    /// Files.
    files: u64,
}

/// What to do to which downloads.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Control {
    /// What.
    action: DownloadAction,
    /// Numbers, content ids, names, folders, or `all`.
    which: Vec<String>,
}

/// One download, from near.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DownloadDetails {
    /// As it is listed.
    download: DownloadLine,
    /// Its pieces; `null` while it is not known how the file is cut.
    pieces: Option<PieceMap>,
    /// Whether its bytes can be read already.
    readable: bool,
}

impl Api {
    /// Carries a command out and gathers its answer.
    async fn ask(&self, command: Command) -> Result<Vec<Item>, CommandError> {
        let (sender, mut items) = mpsc::channel(ITEM_QUEUE);
        let gather = async {
            let mut all = Vec::new();
            while let Some(item) = items.recv().await {
                all.push(item);
            }
            all
        };
        let (ended, all) = tokio::join!(self.0.node.execute(command, sender), gather);
        ended.map(|()| all)
    }

    /// The same for commands that answer with one item.
    async fn ask_one<T>(&self, command: Command, pick: fn(Item) -> Option<T>) -> Answer<T> {
        let found = self.ask(command).await?.into_iter().find_map(pick);
        found.map(Json).ok_or_else(|| CommandError::new(Failure::Other, "the node gave no answer").into())
    }

    /// The same for commands that answer with many of a kind.
    async fn ask_all<T>(&self, command: Command, pick: fn(Item) -> Option<T>) -> Result<Vec<T>, CommandError> {
        Ok(self.ask(command).await?.into_iter().filter_map(pick).collect())
    }

    pub(super) async fn status_line(&self) -> Result<Box<StatusLine>, CommandError> {
        let found = self.ask(Command::Status).await?.into_iter().find_map(pick!(Status));
        found.ok_or_else(|| CommandError::new(Failure::Other, "the node gave no answer"))
    }

    pub(super) async fn share_lines(&self) -> Result<Vec<ShareLine>, CommandError> {
        self.ask_all(Command::ShareList, pick!(Share)).await
    }
}
pub(super) async fn status(State(api): State<Api>) -> Answer<Box<StatusLine>> {
    api.ask_one(Command::Status, pick!(Status)).await
}

pub(super) async fn id(State(api): State<Api>) -> Answer<IdLine> {
    api.ask_one(Command::Id, pick!(Id)).await
}

pub(super) async fn search(State(api): State<Api>, asked: Asked<Search>) -> Answer<Found> {
    let Query(Search { q, offset, limit }) = asked?;
    let slice = Slice { offset, limit };
    let limit = slice.end().min(MAX_HITS) as u32;
    let nothing = SearchNote { total: 0, more: false, corrected: None, unanswered: Vec::new() };
    let items = match api.ask(Command::Search { text: q, limit }).await {
        Err(error) if error.failure == Failure::NotFound => Vec::new(),
        answered => answered?,
    };
    let (mut hits, mut note) = (Vec::new(), nothing);
    for item in items {
        match item {
            Item::Hit(hit) => hits.push(hit),
            Item::SearchNote(told) => note = told,
            _ => {}
        }
    }
    Ok(Json(Found { items: slice.cut(hits).items, note }))
}

pub(super) async fn peers(State(api): State<Api>, asked: Asked<Slice>) -> Answer<Page<PeerLine>> {
    let Query(slice) = asked?;
    let mut peers = api.ask_all(Command::Query { peer: None }, pick!(Peer)).await?;
    let myself = api.0.node.peer_id();
    peers.retain(|peer| peer.peer_id != myself); // trackers tell of all
    Ok(Json(slice.cut(peers)))
}

pub(super) async fn browse(State(api): State<Api>, Path(peer): Path<String>, asked: Asked<Browse>) -> Answer<Page<Child>> {
    let Query(Browse { path, after, limit }) = asked?;
    let limit = Slice { offset: 0, limit }.limit();
    let mut page = Page { items: Vec::new(), total: None, next: None };
    for item in api.ask(Command::Browse { peer, path, after, limit }).await? {
        match item {
            Item::Folder(line) => page.items.push(Child::Folder(line)),
            Item::Entry(line) => page.items.push(Child::File(line)),
            Item::Page(note) => page.next = note.next,
            _ => {}
        }
    }
    Ok(Json(page))
}

pub(super) async fn dial(State(api): State<Api>, body: Body<Dial>) -> Answer<DialLine> {
    let Json(Dial { address }) = body?;
    api.ask_one(Command::Dial { address }, pick!(Dialled)).await
}

pub(super) async fn register(State(api): State<Api>) -> Answer<Vec<TrackerLine>> {
    Ok(Json(api.ask_all(Command::Register, pick!(Tracker)).await?))
}

pub(super) async fn deregister(State(api): State<Api>) -> Answer<Vec<TrackerLine>> {
    Ok(Json(api.ask_all(Command::Deregister, pick!(Tracker)).await?))
}

pub(super) async fn shares(State(api): State<Api>) -> Answer<Vec<ShareLine>> {
    Ok(Json(api.ask_all(Command::ShareList, pick!(Share)).await?))
}

pub(super) async fn add_share(State(api): State<Api>, body: Body<NewShare>) -> Answer<ShareLine> {
    let Json(NewShare { dir, name, guests }) = body?;
    if !dir.is_absolute() {
        let message = format!("{} does not begin with /; give the whole path of the folder", dir.display());
        return Err(CommandError::new(Failure::Usage, message).into());
    }
    api.ask_one(Command::ShareAdd { name: name.filter(|name| !name.is_empty()), dir, guests }, pick!(Share)).await
}

pub(super) async fn remove_share(State(api): State<Api>, Path(name): Path<String>) -> Answer<Vec<ShareLine>> {
    Ok(Json(api.ask_all(Command::ShareRemove { name }, pick!(Share)).await?))
}

pub(super) async fn rescan(State(api): State<Api>, Path(name): Path<String>) -> Answer<Vec<ShareLine>> {
    Ok(Json(api.ask_all(Command::ShareRescan { name: Some(name) }, pick!(Share)).await?))
}

pub(super) async fn downloads(State(api): State<Api>, asked: Asked<Downloads>) -> Answer<Page<DownloadLine>> {
    let Query(Downloads { state, offset, limit }) = asked?;
    let slice = Slice { offset, limit };
    let mut lines = api.ask_all(Command::Downloads, pick!(Download)).await?;
    if let Some(state) = state {
        lines.retain(|line| line.state == state);
    }
    Ok(Json(slice.cut(lines)))
}

/// Follows a download until it is on the list, and no longer: the node goes on with it.
pub(super) async fn download(State(api): State<Api>, body: Body<NewDownload>) -> Answer<Begun> {
    let Json(NewDownload { refs, into, on_conflict }) = body?;
    let (sender, mut items) = mpsc::channel(ITEM_QUEUE);
    let wish = DownloadWish { refs, into, on_conflict, timeout_seconds: None, to_stdout: false };
    let mut work = std::pin::pin!(api.0.node.execute(Command::Download(wish), sender));
    let first = tokio::select! {
        biased;
        first = items.recv() => first,
        ended = &mut work => match items.recv().await {
            Some(first) => Some(first),
            None => ended.map(|()| None)?,
        },
    };
    match first {
        Some(Item::Transfer(TransferLine::Progress { name, files, .. })) => Ok(Json(Begun { name, files })),
        Some(Item::Transfer(TransferLine::Failed { error, code, .. })) if code == Failure::LocalFile.exit_code() => {
            Err(CommandError::new(Failure::LocalFile, error).into())
        }
        Some(Item::Transfer(TransferLine::Failed { error, .. })) => Err(CommandError::new(Failure::Other, error).into()),
        Some(Item::Transfer(TransferLine::Done { path, .. })) => Ok(Json(Begun { name: path, files: 1 })),
        _ => Ok(Json(Begun { name: String::new(), files: 0 })),
    }
}

pub(super) async fn control(State(api): State<Api>, body: Body<Control>) -> Answer<Vec<DownloadLine>> {
    let Json(Control { action, which }) = body?;
    Ok(Json(api.ask_all(Command::Control { action, which }, pick!(Download)).await?))
}

pub(super) async fn download_details(State(api): State<Api>, Path(id): Path<u64>) -> Answer<DownloadDetails> {
    let (download, pieces, readable) = api.0.node.download_details(id).await?;
    Ok(Json(DownloadDetails { download, pieces, readable }))
}

pub(super) async fn uploads(State(api): State<Api>) -> Answer<Vec<UploadLine>> {
    Ok(Json(api.ask_all(Command::Uploads, pick!(Upload)).await?))
}

pub(super) async fn limits(State(api): State<Api>) -> Answer<LimitsLine> {
    api.ask_one(Command::Limits { up: None }, pick!(Limits)).await
}

pub(super) async fn set_limits(State(api): State<Api>, body: Body<LimitsLine>) -> Answer<LimitsLine> {
    let Json(LimitsLine { up, .. }) = body?;
    api.ask_one(Command::Limits { up: Some(up.unwrap_or(0)) }, pick!(Limits)).await
}

/// A text as a QR code: a picture that the page shows.
pub(super) async fn qr(asked: Asked<Coded>) -> Result<impl IntoResponse, Refused> {
    let Query(Coded { text }) = asked?;
    let too_long = || CommandError::new(Failure::Usage, "that text is too long for a QR code; copy it instead");
    let picture = potluck_common::qr::picture(&text).ok_or_else(too_long)?;
    Ok(([(CONTENT_TYPE, "image/svg+xml")], picture))
}

pub(super) async fn settings(State(api): State<Api>) -> Answer<Vec<SettingLine>> {
    Ok(Json(api.ask_all(Command::Settings { reload: false }, pick!(Setting)).await?))
}

pub(super) async fn doctor(State(api): State<Api>) -> Answer<Vec<CheckLine>> {
    Ok(Json(api.ask_all(Command::Doctor, pick!(Check)).await?))
}
