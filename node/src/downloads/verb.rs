//! The verb `download`: from references to wishes, and from what happens to lines.

use std::path::PathBuf;
use std::time::Duration;

use potluck_common::content_id::ContentId;
use potluck_common::share_path::SharePath;
use potluck_common::transport::peer_of;
use potluck_common::wire::index::Entry;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Wish;
use super::job::{Follow, JobView};
use crate::clock::now;
use crate::commands::Lines;
use crate::error::{CommandError, Failure};
use crate::node::Node;
use crate::refs::Ref;
use crate::types::{DownloadWish, Item, TransferLine};

/// How often progress is told: four times a second.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// How long a verb waits for a source before it gives up, unless told otherwise. The node itself does not give up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a file that is being hashed over there is ready.
const HASHING_INTERVAL: Duration = Duration::from_millis(500);
/// Pages of a listing that may wait.
const PAGE_QUEUE: usize = 8;
/// Most files that one reference may name.
const MAX_FILES: usize = 1_000_000;

/// What one reference names.
struct Resolved {
    /// For people.
    name: String,
    /// The content, if the reference names one file.
    content_id: Option<ContentId>,
    wishes: Vec<Wish>,
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
        let found = self.asking().sources(&[content_id]).await.remove(&content_id).unwrap_or_default();
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
            let mut entries = Vec::new();
            while let Some(page) = arriving.recv().await {
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
    async fn follow(&self, resolved: Resolved, patience: Duration, out: &Lines) -> Outcomes {
        let Resolved { name, content_id, wishes } = resolved;
        let stopping =
            || Outcomes { done: 0, failures: vec![CommandError::new(Failure::Interrupted, "the node is stopping; what is there is kept")] };
        let Some(follow) = self.downloads().wish(wishes).await else { return stopping() };
        let telling =
            Telling { name, content_id: content_id.map(|id| id.to_string()), follow, out, told: 0, outcomes: Outcomes::default() };
        telling.run(patience).await
    }

    pub(crate) async fn list_downloads(&self, out: &Lines) -> Result<(), CommandError> {
        for line in self.downloads().lines().await {
            out.send(Item::Download(line)).await;
        }
        Ok(())
    }
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
    outcomes: Outcomes,
}

impl Telling<'_> {
    async fn run(mut self, patience: Duration) -> Outcomes {
        let mut tick = interval(PROGRESS_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown = None;
        loop {
            let open = tokio::select! {
                changed = self.follow.view.changed() => changed.is_ok(),
                _ = tick.tick() => {
                    let view = *self.follow.view.borrow();
                    let state = (view.bytes, view.files_done, view.sources);
                    if shown != Some(state) && !view.settled {
                        shown = Some(state);
                        self.out.send(Item::Transfer(self.progress(&view))).await;
                    }
                    true
                }
            };
            let view = *self.follow.view.borrow_and_update();
            self.tell_outcomes().await;
            if view.settled || !open {
                return self.outcomes;
            }
            if let Some(error) = self.give_up(&view, patience) {
                self.outcomes.failures.push(error);
                return self.outcomes;
            }
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
            self.out.send(Item::Transfer(line)).await;
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
            let trouble = self.follow.trouble().unwrap_or_default();
            return Some(CommandError::new(Failure::LocalFile, format!("{trouble}; the download goes on when there is room")));
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
            CommandError::new(
                Failure::NoSource,
                format!("no source of {name} could be reached for {seconds} s; a running node keeps trying, what is there is kept"),
            )
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
