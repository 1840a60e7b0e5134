//! Looking into the folders of a peer, or into our own shares, a level at a time.

use std::time::Duration;

use libp2p::PeerId;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::SharePath;
use potluck_common::transport::peer_of;
use potluck_common::wire::Refusal;
use potluck_common::wire::index::{Answer, Cursor, Entry, List, Request};
use tokio::time::sleep;

use crate::asking::{Asking, Unanswered};
use crate::clock::now;
use crate::commands::{Lines, entry_line};
use crate::core::audience::Reader;
use crate::core::folder_view::{Child, FolderView};
use crate::error::{CommandError, Failure};
use crate::node::Node;
use crate::types::{FolderLine, Item, PageNote};

/// Entries in a page of the listing that a view is made from: a few subfolders to skip, or many files at once.
const LISTED: u32 = 256;
/// Most pages that one view may take: a folder with so many subfolders is told in parts.
const MAX_STEPS: usize = 400;
/// How long a look at our own shares waits after the start: a million files are read in half of it.
const READING: Duration = Duration::from_secs(10);
/// How often it is looked whether they are.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// What this node calls itself here.
const MYSELF: &str = "me";

impl Node {
    /// What lies directly in a folder of a peer, from a cursor on: `limit` lines at most, then where it goes on.
    pub(crate) async fn browse(
        &self,
        peer: &str,
        path: Option<&str>,
        after: Option<String>,
        limit: u32,
        out: &Lines,
    ) -> Result<(), CommandError> {
        let folder = path.map(|path| path.trim_matches('/')).filter(|path| !path.is_empty());
        let folder = folder.map(SharePath::parse).transpose().map_err(|error| CommandError::new(Failure::Usage, error.to_string()))?;
        let (from_start, mut view) = (after.is_none(), FolderView::new(folder.clone(), after, limit.max(1) as usize));
        if peer == MYSELF {
            self.look_at_own(folder.as_ref(), &mut view).await?;
        } else {
            self.someone_to_ask().await?;
            let key = self.asking().resolve_peer(peer).await?;
            match self.is_me(&key) {
                true => self.look_at_own(folder.as_ref(), &mut view).await?,
                false => self.asking().look_at(key, folder.as_ref(), &mut view).await?,
            }
        }
        let next = view.next().map(ToOwned::to_owned);
        let children = view.into_children();
        if children.is_empty() && from_start {
            let place = folder.map_or_else(String::new, |folder| format!(" at {folder}"));
            return Err(CommandError::new(Failure::NotFound, format!("{peer} shares nothing{place}; `potluck query` lists the peers")));
        }
        for child in children {
            out.send(match child {
                Child::File(entry) => Item::Entry(entry_line(&entry)),
                Child::Folder(path) => Item::Folder(FolderLine { name: path.name().to_owned(), path: path.to_string() }),
            })
            .await;
        }
        out.send(Item::Page(PageNote { next })).await;
        Ok(())
    }

    async fn look_at_own(&self, folder: Option<&SharePath>, view: &mut FolderView) -> Result<(), CommandError> {
        let deadline = now() + READING;
        while self.shares().lock().is_filling() {
            if now() >= deadline {
                let message = "the node still reads what its shares held when it last ran; try again in a moment";
                return Err(CommandError::new(Failure::Unreachable, message));
            }
            sleep(LOOK_INTERVAL).await;
        }
        while view.wants_more() {
            let after = view.next().map(ToOwned::to_owned);
            let (entries, next) = self.shares().lock().list_for(&Reader::Me, folder, after.as_deref(), LISTED as usize);
            view.handle_page(entries, next.is_some());
        }
        Ok(())
    }
}

impl Asking {
    /// Fills a view: at the peer itself if it is connected, else at a tracker.
    async fn look_at(&self, peer: PeerKey, folder: Option<&SharePath>, view: &mut FolderView) -> Result<(), CommandError> {
        let is_connected = |id: &PeerId| self.contacts.get(id).is_some_and(|contact| contact.connected.is_some());
        let mut parties: Vec<PeerId> = peer_of(&peer).into_iter().filter(is_connected).collect();
        parties.extend(self.contacts.trackers());
        let mut parties = parties.into_iter();
        let mut party = parties.next();
        for _ in 0..MAX_STEPS {
            if !view.wants_more() {
                break;
            }
            let Some(asked) = party else {
                let message = format!("the files of {peer} cannot be listed now; try again, or see `potluck status`");
                return Err(CommandError::new(Failure::Unreachable, message));
            };
            match self.list_page(asked, peer, folder, view.next()).await {
                Ok((entries, more)) => view.handle_page(entries, more),
                Err(Unanswered::Refused(Refusal::NotFound)) if parties.len() == 0 => view.handle_page(Vec::new(), false),
                Err(_) => party = parties.next(), // the next one goes on from the same path
            }
        }
        Ok(())
    }

    async fn list_page(
        &self,
        party: PeerId,
        peer: PeerKey,
        folder: Option<&SharePath>,
        after: Option<&str>,
    ) -> Result<(Vec<Entry>, bool), Unanswered> {
        let request =
            List { namespace: self.namespace.clone(), peer, under: folder.cloned(), after: after.map(Cursor::truncated), limit: LISTED };
        let Answer::List(page) = self.ask(party, Request::List(request)).await? else { return Err(Unanswered::Nonsense) };
        let more = page.next.is_some();
        // what a peer tells beside what was asked for is not taken
        let asked_for = |entry: &Entry| folder.is_none_or(|folder| entry.path.is_within(folder));
        Ok((page.entries.into_iter().filter(asked_for).collect(), more))
    }
}
