//! The verb `download`: from references to wishes, and from what happens to lines.

use std::path::PathBuf;
use std::time::Duration;

use potluck_common::content_id::ContentId;
use potluck_common::share_path::SharePath;
use potluck_common::transport::peer_of;
use potluck_common::wire::index::Entry;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::job::{Follow, JobView};
use super::{Purpose, Wish};
use crate::clock::now;
use crate::commands::Lines;
use crate::error::{CommandError, Failure};
use crate::node::Node;
use crate::refs::Ref;
use crate::types::{DownloadWish, Item, TransferLine};

/// How often progress is told: four times a second.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// How long a verb waits for bytes of a source before it gives up, unless told otherwise. The node itself does not give up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a file that is being hashed over there is ready.
const HASHING_INTERVAL: Duration = Duration::from_millis(500);
/// Bytes of a file that are handed to a face at once. Some dozens of them wait for it, here and in the program that asked.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes that are worth several connections: as many are asked for at once.
const MUCH: u64 = 16 << 20;
/// Pages of a listing that may wait.
const PAGE_QUEUE: usize = 8;
/// Most files that one reference may name.
const MAX_FILES: usize = 1_000_000;

/// What one reference names.
pub(super) struct Resolved {
    /// For people.
    pub(super) name: String,
    /// The content, if the reference names one file.
    pub(super) content_id: Option<ContentId>,
    pub(super) wishes: Vec<Wish>,
}

impl Node {
    /// Fetches files and folders: returns when all are done or failed.
    pub(crate) async fn download(&self, wish: DownloadWish, out: &Lines) -> Result<(), CommandError> {
        let refs: Vec<Ref> = wish.refs.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        self.someone_to_ask().await?;
        let patience = wish.timeout_seconds.map_or(PATIENCE, Duration::from_secs);
        let mut resolved = Vec::with_capacity(refs.len());
        for reference in refs {
            resolved.push(self.resolve(reference, &wish, patience).await?);
        }
        let follows = resolved.into_iter().map(|resolved| self.follow(resolved, patience, out));
        let outcomes = futures::future::join_all(follows).await;
        sum_up(outcomes)
    }

    /// Fetches files and hands their bytes to whoever asks, in order, one file after the other. Ends when nobody takes them
    /// any more, and lets go of the rest.
    pub(crate) async fn download_to_stdout(&self, wish: DownloadWish, out: &Lines) -> Result<(), CommandError> {
        let refs: Vec<Ref> = wish.refs.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        self.someone_to_ask().await?;
        let patience = wish.timeout_seconds.map_or(PATIENCE, Duration::from_secs);
        for reference in refs {
            let mut resolved = self.resolve(reference, &wish, patience).await?;
            let (Some(one), true) = (resolved.wishes.pop(), resolved.wishes.is_empty() && resolved.content_id.is_some()) else {
                let message = format!("{} is a folder; only files go to stdout: name them, or give a folder with -o DIR", resolved.name);
                return Err(CommandError::new(Failure::Usage, message));
            };
            let passage = SharePath::parse(&format!("{}.{:08x}", one.content_id, rand::random::<u32>()));
            let target = passage.map_err(|error| CommandError::new(Failure::Other, error.to_string()))?;
            let one = Wish { target, folder: self.config().stream_dir(), purpose: Purpose::Stream, ..one };
            if !self.pass_on(resolved, one, patience, out).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Hands over the bytes of one file; whether somebody still takes them.
    async fn pass_on(&self, resolved: Resolved, wish: Wish, patience: Duration, out: &Lines) -> Result<bool, CommandError> {
        let Some((follow, mut stream)) = self.downloads().stream(wish).await else { return Err(stopping()) };
        let mut telling = Telling::new(resolved, follow, out);
        let mut tick = interval(PROGRESS_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let began = now();
            let mut next = std::pin::pin!(stream.next());
            let piece = loop {
                tokio::select! {
                    piece = &mut next => break piece?,
                    _ = tick.tick() => {
                        let mut view = *telling.follow.view.borrow();
                        // that nothing comes while nobody reads is no stall
                        view.stalled_since = view.stalled_since.map(|since| since.max(began));
                        if let Some(error) = telling.give_up(&view, patience) {
                            return Err(error);
                        }
                        telling.tell_progress(&view).await;
                    }
                    () = out.0.closed() => return Ok(false),
                }
            };
            match piece {
                Some(bytes) => {
                    for part in bytes.chunks(CHUNK_BYTES) {
                        if out.0.send(Item::Chunk(part.to_vec())).await.is_err() {
                            return Ok(false);
                        }
                    }
                }
                None => return Ok(true),
            }
        }
    }

    /// Finds out what files a reference names.
    async fn resolve(&self, reference: Ref, wish: &DownloadWish, patience: Duration) -> Result<Resolved, CommandError> {
        let folder = wish.into.clone().unwrap_or_else(|| self.config().download_dir.clone());
        match reference {
            Ref::Content { content_id, name, size } => self.resolve_content(content_id, name, size, folder, wish).await,
            Ref::Place { peer, path } => self.resolve_place(&peer, &path, folder, wish, patience).await,
        }
    }

    async fn resolve_content(
        &self,
        content_id: ContentId,
        name: Option<String>,
        size: Option<u64>,
        folder: PathBuf,
        wish: &DownloadWish,
    ) -> Result<Resolved, CommandError> {
        let found = self.asking().sources_of(content_id).await?;
        if found.peers.is_empty() {
            let message = format!("nobody here has {content_id}; try again when its owner is online (`potluck query` lists who is)");
            return Err(CommandError::new(Failure::NotFound, message));
        }
        // A name is a proposal: one that is no file name is as good as none.
        let proposed = name.as_deref().and_then(|name| SharePath::parse(name.rsplit('/').next().unwrap_or(name)).ok());
        let told = found.path.as_ref().and_then(|path| SharePath::parse(path.name()).ok());
        let target = match proposed.or(told) {
            Some(target) => target,
            None => SharePath::parse(&content_id.to_string()).map_err(|error| CommandError::new(Failure::Other, error.to_string()))?,
        };
        let wish = Wish {
            content_id,
            size: size.or(found.size),
            target: target.clone(),
            folder,
            mtime: None,
            on_conflict: wish.on_conflict,
            sources: found.peers,
            purpose: Purpose::Keep,
        };
        Ok(Resolved { name: target.name().to_owned(), content_id: Some(content_id), wishes: vec![wish] })
    }

    async fn resolve_place(
        &self,
        peer_name: &str,
        path: &SharePath,
        folder: PathBuf,
        wish: &DownloadWish,
        patience: Duration,
    ) -> Result<Resolved, CommandError> {
        let peer = self.asking().resolve_peer(peer_name).await?;
        if self.is_me(&peer) {
            return Err(CommandError::new(Failure::Usage, format!("{peer_name} is this node itself; its files are here already")));
        }
        peer_of(&peer).into_iter().for_each(|peer| self.asking().approach(peer)); // while its files are listed
        let deadline = now() + patience;
        let entries = loop {
            let entries = self.read_tree(peer, path).await?;
            if entries.is_empty() {
                return Err(CommandError::new(
                    Failure::NotFound,
                    format!("{peer_name} shares nothing at {path}; `potluck query {peer_name}` lists its files"),
                ));
            }
            if entries.iter().all(|entry| entry.content_id.is_some()) {
                break entries;
            }
            if now() >= deadline {
                let message = format!("{peer_name} is still hashing {path}; try again in a while, or wait longer with --timeout");
                return Err(CommandError::new(Failure::NoSource, message));
            }
            sleep(HASHING_INTERVAL).await;
        };
        let source = peer_of(&peer);
        let above = path.parent();
        let wishes: Vec<Wish> = entries
            .into_iter()
            .filter_map(|entry| {
                let relative = above
                    .as_ref()
                    .map_or(entry.path.as_str(), |above| entry.path.as_str().get(above.as_str().len() + 1..).unwrap_or_default());
                Some(Wish {
                    content_id: entry.content_id?,
                    size: Some(entry.size),
                    target: SharePath::parse(relative).ok()?,
                    folder: folder.clone(),
                    mtime: Some(entry.mtime),
                    on_conflict: wish.on_conflict,
                    sources: source.into_iter().collect(),
                    purpose: Purpose::Keep,
                })
            })
            .collect();
        let is_file = matches!(wishes.as_slice(), [only] if only.target.as_str() == path.name());
        let content_id = wishes.first().filter(|_| is_file).map(|wish| wish.content_id);
        Ok(Resolved { name: path.name().to_owned(), content_id, wishes })
    }

    async fn read_tree(&self, peer: potluck_common::peer::PeerKey, path: &SharePath) -> Result<Vec<Entry>, CommandError> {
        let (pages, mut arriving) = mpsc::channel::<Vec<Entry>>(PAGE_QUEUE);
        let gather = async {
            let (mut entries, mut bytes) = (Vec::new(), 0_u64);
            while let Some(page) = arriving.recv().await {
                if let Some((peer, id)) = peer_of(&peer).zip(page.iter().find_map(|entry| entry.content_id)) {
                    self.asking().approach_for(peer, id);
                    bytes = page.iter().fold(bytes, |bytes, entry| bytes.saturating_add(entry.size));
                    if bytes >= MUCH {
                        self.downloads().expect(peer).await;
                    }
                }
                // what a peer tells beside what was asked for is not taken
                entries.extend(page.into_iter().filter(|entry| entry.path.is_within(path)));
                if entries.len() > MAX_FILES {
                    break;
                }
            }
            drop(arriving);
            entries
        };
        let (listed, entries) = tokio::join!(self.asking().list(peer, Some(path), pages), gather);
        listed?;
        if entries.len() > MAX_FILES {
            return Err(CommandError::new(
                Failure::Usage,
                format!("{path} holds more than a million files; download its folders one by one"),
            ));
        }
        Ok(entries)
    }

    /// Wishes for what a reference names, and tells how it goes.
    async fn follow(&self, mut resolved: Resolved, patience: Duration, out: &Lines) -> Outcomes {
        let Some(follow) = self.downloads().wish(std::mem::take(&mut resolved.wishes)).await else {
            return Outcomes { done: 0, failures: vec![stopping()] };
        };
        let mut telling = Telling::new(resolved, follow, out);
        telling.run(patience).await;
        telling.outcomes
    }

    /// Wishes for one file, tells how it goes, and gives back what became of it, which the caller tells.
    pub(super) async fn follow_quietly(&self, mut resolved: Resolved, out: &Lines) -> Result<TransferLine, CommandError> {
        let Some(follow) = self.downloads().wish(std::mem::take(&mut resolved.wishes)).await else { return Err(stopping()) };
        let mut telling = Telling { is_quiet: true, ..Telling::new(resolved, follow, out) };
        telling.run(PATIENCE).await;
        match telling.outcomes.failures.pop() {
            Some(error) => Err(error),
            None => telling.follow.outcomes(0).pop().ok_or_else(stopping),
        }
    }

    pub(crate) async fn list_downloads(&self, out: &Lines) -> Result<(), CommandError> {
        for line in self.downloads().lines().await {
            out.send(Item::Download(line)).await;
        }
        Ok(())
    }
}

fn stopping() -> CommandError {
    CommandError::new(Failure::Interrupted, "the node is stopping; what is there is kept")
}

/// What became of the files of one reference.
#[derive(Default)]
struct Outcomes {
    done: usize,
    failures: Vec<CommandError>,
}

/// Tells how one reference goes.
struct Telling<'a> {
    name: String,
    content_id: Option<String>,
    follow: Follow,
    out: &'a Lines,
    told: usize,
    /// Whether what became of the files is told by somebody else.
    is_quiet: bool,
    /// What progress was told last: bytes, finished files, sources.
    shown: Option<(u64, u64, u32)>,
    outcomes: Outcomes,
}

impl<'a> Telling<'a> {
    fn new(resolved: Resolved, follow: Follow, out: &'a Lines) -> Self {
        let (name, content_id) = (resolved.name, resolved.content_id.map(|id| id.to_string()));
        Self { name, content_id, follow, out, told: 0, is_quiet: false, shown: None, outcomes: Outcomes::default() }
    }

    /// Tells how it goes until all is done or failed, or there was nothing to tell for too long.
    async fn run(&mut self, patience: Duration) {
        let mut tick = interval(PROGRESS_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let open = tokio::select! {
                changed = self.follow.view.changed() => changed.is_ok(),
                _ = tick.tick() => {
                    let view = *self.follow.view.borrow();
                    self.tell_progress(&view).await;
                    true
                }
            };
            let view = *self.follow.view.borrow_and_update();
            self.tell_outcomes().await;
            if view.settled || !open {
                return;
            }
            if let Some(error) = self.give_up(&view, patience) {
                self.outcomes.failures.push(error);
                return;
            }
        }
    }

    async fn tell_progress(&mut self, view: &JobView) {
        let state = (view.bytes, view.files_done, view.sources);
        if self.shown != Some(state) && !view.settled {
            self.shown = Some(state);
            self.out.send(Item::Transfer(self.progress(view))).await;
        }
    }

    async fn tell_outcomes(&mut self) {
        for line in self.follow.outcomes(self.told) {
            self.told += 1;
            match &line {
                TransferLine::Failed { error, code, .. } => {
                    let failure = if *code == Failure::LocalFile.exit_code() { Failure::LocalFile } else { Failure::Other };
                    self.outcomes.failures.push(CommandError::new(failure, error.clone()));
                }
                TransferLine::Done { .. } => self.outcomes.done += 1,
                TransferLine::Progress { .. } => {}
            }
            if !self.is_quiet {
                self.out.send(Item::Transfer(line)).await;
            }
        }
    }

    fn progress(&self, view: &JobView) -> TransferLine {
        TransferLine::Progress {
            content_id: self.content_id.clone(),
            name: self.name.clone(),
            bytes: view.bytes,
            total: view.total,
            rate: view.rate,
            sources: view.sources,
            files_done: view.files_done,
            files: view.files,
        }
    }

    /// Whether the verb has waited long enough; the node goes on.
    fn give_up(&self, view: &JobView, patience: Duration) -> Option<CommandError> {
        if view.is_blocked {
            let trouble = self.follow.trouble().unwrap_or_else(|| "no room is left; the download goes on when there is some".to_owned());
            return Some(CommandError::new(Failure::LocalFile, trouble));
        }
        let waited = now().saturating_duration_since(view.stalled_since?);
        if waited < patience {
            return None;
        }
        let name = &self.name;
        let error = if view.was_lied_to {
            CommandError::new(Failure::Verification, format!("every source of {name} sent wrong bytes; none of them were kept"))
        } else {
            let seconds = waited.as_secs();
            let what = match view.sources {
                0 => format!("no source of {name} could be reached for {seconds} s"),
                1.. => format!("who was asked for {name} has sent nothing for {seconds} s"),
            };
            CommandError::new(Failure::NoSource, format!("{what}; a running node keeps trying, what is there is kept"))
        };
        Some(error)
    }
}

/// One outcome of many: done, one kind of failure, or partly done.
fn sum_up(all: Vec<Outcomes>) -> Result<(), CommandError> {
    let done: usize = all.iter().map(|one| one.done).sum();
    let failures: Vec<CommandError> = all.into_iter().flat_map(|one| one.failures).collect();
    match failures.as_slice() {
        [] => Ok(()),
        [first, rest @ ..] if done == 0 => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            Err(CommandError::new(first.failure, format!("{}{more}", first.message)))
        }
        [first, rest @ ..] => {
            let failed = rest.len() + 1;
            Err(CommandError::new(Failure::Partly, format!("{done} done, {failed} not: {}", first.message)))
        }
    }
}
