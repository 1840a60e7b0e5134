//! What each command does, in terms of the tasks.

use std::collections::HashMap;
use std::path::Path;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use potluck_common::link::Link;
use potluck_common::transport::{peer_of, split_peer};
use potluck_common::wire::index::{Entry, Hit, Kind, PeerInfo};
use tokio::sync::mpsc;

use crate::asking::{Joined, is_me};
use crate::clock::rfc3339;
use crate::core::audience::Reader;
use crate::downloads::Content;
use crate::error::{CommandError, Failure};
use crate::net::DialError;
use crate::node::Node;
use crate::trackers::NOT_A_MEMBER;
use crate::types::{
    Command, DialLine, DownloadAction, DownloadLine, EntryLine, HitLine, HolderLine, IdLine, Item, LimitsLine, LinkLine, PageLine,
    PeerLine, PieceMap, SearchNote, StatusLine, UploadLine,
};

/// Pages of a listing that may wait for the face that prints them.
const LISTING_QUEUE: usize = 8;

/// Where the lines of an answer go. A face that has gone is no error: what was begun goes on.
pub(crate) struct Lines(pub(crate) mpsc::Sender<Item>);

impl Lines {
    /// Where nobody listens.
    pub(crate) fn to_nobody() -> Self {
        Self(mpsc::channel(1).0)
    }

    pub(crate) async fn send(&self, item: Item) {
        let _ = self.0.send(item).await;
    }
}

impl Node {
    /// Carries a command out; the lines of the answer go to `out`. Dropping the future stops following: downloads and
    /// registrations that were begun go on.
    ///
    /// # Errors
    /// What failed, as a sentence with the next step and an exit code. Lines that came before hold.
    pub async fn execute(&self, command: Command, out: mpsc::Sender<Item>) -> Result<(), CommandError> {
        let out = Lines(out);
        match command {
            Command::Register => self.register(&out).await,
            Command::Deregister => self.deregister(&out).await,
            Command::Query { peer: None } => self.query_peers(&out).await,
            Command::Query { peer: Some(peer) } => self.query_files(&peer, &out).await,
            Command::Browse { peer, path, after, limit } => self.browse(&peer, path.as_deref(), after, limit, &out).await,
            Command::Search { text, limit } => self.search(&text, limit, &out).await,
            Command::Watch { text } => self.watch(&text, &out).await,
            Command::Download(wish) if wish.to_stdout => self.download_to_stdout(wish, &out).await,
            Command::Download(wish) => self.download(wish, &out).await,
            Command::Join { invitation } => self.join(&invitation, &out).await,
            Command::Verify { what, repair } => self.verify(what, repair, &out).await,
            Command::Dial { address } => self.dial(&address, &out).await,
            Command::ShareAdd { name, dir, guests } => self.share_add(name, dir, &guests, &out).await,
            Command::ShareRemove { name } => self.share_remove(&name, &out).await,
            Command::ShareList => self.share_list(&out).await,
            Command::ShareRescan { name } => self.share_rescan(name.as_deref(), &out).await,
            Command::Downloads => self.list_downloads(&out).await,
            Command::Control { action, which } => self.control(action, which, &out).await,
            Command::Link { path } => self.link(&path, &out).await,
            Command::Uploads => self.list_uploads(&out).await,
            Command::Limits { up } => self.limits(up, &out).await,
            Command::Status => self.status(&out).await,
            Command::Settings { reload } => self.settings(reload, &out).await,
            Command::Doctor => self.doctor(&out).await,
            Command::Page => self.page_link(&out).await,
            Command::Id => self.id(&out).await,
        }
    }

    /// Waits until it is known who can be asked, and fails if that is nobody.
    pub(crate) async fn someone_to_ask(&self) -> Result<(), CommandError> {
        self.trackers().settled().await;
        let contacts = &self.asking().contacts;
        if contacts.trackers().is_empty() && contacts.direct_peers().is_empty() {
            return Err(self.trackers().nobody());
        }
        Ok(())
    }

    async fn query_peers(&self, out: &Lines) -> Result<(), CommandError> {
        self.someone_to_ask().await?;
        for peer in self.asking().peers().await? {
            out.send(Item::Peer(peer_line(&peer))).await;
        }
        Ok(())
    }

    async fn query_files(&self, name: &str, out: &Lines) -> Result<(), CommandError> {
        let (pages, mut arriving) = mpsc::channel::<Vec<Entry>>(LISTING_QUEUE);
        let mut count = 0_u64;
        let read = async {
            self.someone_to_ask().await?;
            let peer = self.asking().resolve_peer(name).await?;
            self.asking().list(peer, None, pages).await
        };
        let print = async {
            while let Some(page) = arriving.recv().await {
                for entry in page {
                    count += 1;
                    out.send(Item::Entry(entry_line(&entry))).await;
                }
            }
        };
        let (outcome, ()) = tokio::join!(read, print);
        outcome?;
        if count == 0 {
            return Err(CommandError::new(
                Failure::NotFound,
                format!("{name} shares nothing, or is not there; `potluck query` lists the peers"),
            ));
        }
        Ok(())
    }

    async fn search(&self, text: &str, limit: u32, out: &Lines) -> Result<(), CommandError> {
        self.someone_to_ask().await?;
        let joined = self.asking().search(text, limit).await;
        let Joined { hits, total, more, corrected, unanswered, answered, is_outside } = joined;
        if answered == 0 && is_outside {
            return Err(CommandError::new(Failure::NotPermitted, NOT_A_MEMBER));
        }
        if answered == 0 {
            return Err(CommandError::new(
                Failure::Unreachable,
                format!("nobody answered the search ({}); try again, or see `potluck status`", unanswered.join("; ")),
            ));
        }
        let found = !hits.is_empty();
        self.asking().look_ahead(&hits);
        let downloads = self.downloads().lines().await;
        let fetched: HashMap<&str, bool> =
            downloads.iter().filter(|line| line.state != "failed").map(|line| (line.content_id.as_str(), line.state == "done")).collect();
        for hit in &hits {
            out.send(Item::Hit(HitLine { have: self.have(hit, &fetched), ..hit_line(hit) })).await;
        }
        out.send(Item::SearchNote(SearchNote { total, more, corrected, unanswered })).await;
        if found {
            Ok(())
        } else {
            Err(CommandError::new(Failure::NotFound, format!("nothing matches {text}; fewer or shorter words find more")))
        }
    }

    async fn dial(&self, address: &str, out: &Lines) -> Result<(), CommandError> {
        let peer = self.dial_address(address).await?;
        let identity = self.identified(peer).await;
        let contact = self.asking().contacts.get(&peer).unwrap_or_default();
        let line = DialLine {
            peer_id: peer.to_string(),
            address: contact.connected.map_or_else(|| address.to_owned(), |at| at.to_string()),
            agent: identity.as_ref().map_or_else(String::new, |identity| identity.agent.clone()),
            tracker: identity.is_some_and(|identity| identity.is_tracker),
        };
        out.send(Item::Dialled(line)).await;
        Ok(())
    }

    /// Connects to whoever is at an address, and asks it directly from then on.
    pub(crate) async fn dial_address(&self, text: &str) -> Result<PeerId, CommandError> {
        let address: Multiaddr = text.parse().map_err(|_| {
            CommandError::new(Failure::Usage, format!("{text} is no multiaddr; one looks like /ip4/192.168.1.7/tcp/9471/p2p/PEER_ID"))
        })?;
        let (place, peer) = split_peer(address);
        if !place.iter().any(|part| matches!(part, Protocol::Tcp(_) | Protocol::Udp(_))) {
            return Err(CommandError::new(
                Failure::Usage,
                format!("{text} has no port; an address looks like /ip4/192.168.1.7/tcp/9471/p2p/PEER_ID"),
            ));
        }
        let peer = self.asking().net.connect(peer, vec![place.clone()]).await.map_err(|error| {
            let failure = match error {
                DialError::WrongPeer { .. } => Failure::Verification,
                DialError::NotAdmitted => Failure::NotPermitted,
                DialError::Myself => Failure::Usage,
                DialError::NoAnswer(_) | DialError::Stopping => Failure::NoSource,
            };
            CommandError::new(failure, format!("cannot dial {text}: {error}; check the address with `potluck id` over there"))
        })?;
        self.asking().contacts.meet(peer, &place);
        self.asking().contacts.learn(peer, std::slice::from_ref(&place));
        self.asking().contacts.ask_directly(peer);
        Ok(peer)
    }

    pub(crate) async fn id(&self, out: &Lines) -> Result<(), CommandError> {
        let me = self.asking().net.me();
        let addresses = self.addresses().await;
        out.send(Item::Id(IdLine { peer_id: me.to_string(), addresses })).await;
        Ok(())
    }

    /// Where the node listens, as another node would dial it.
    pub(crate) async fn addresses(&self) -> Vec<String> {
        let me = self.asking().net.me();
        self.asking().net.addresses().await.into_iter().map(|address| address.with(Protocol::P2p(me)).to_string()).collect()
    }

    async fn status(&self, out: &Lines) -> Result<(), CommandError> {
        let (files, bytes, hashed_bytes) = self.shares().totals(&Reader::Me);
        let transfers = self.downloads().totals();
        let (rate_up, bytes_up) = self.uploads().totals();
        let config = self.config();
        let line = StatusLine {
            peer_id: self.asking().net.me().to_string(),
            nickname: config.nickname.clone(),
            namespace: self.asking().namespace.to_string(),
            addresses: self.addresses().await,
            trackers: self.trackers().lines(),
            connected_peers: self.asking().net.connections().await.len() as u64,
            shares: self.shares().lines().len() as u64,
            files,
            bytes,
            hashed_bytes,
            downloads: transfers.open,
            rate_down: transfers.rate,
            rate_up,
            bytes_up,
            bytes_down: transfers.bytes,
            download_dir: config.download_dir.display().to_string(),
            page: self.page_address(),
            running: !config.one_shot,
        };
        out.send(Item::Status(Box::new(line))).await;
        Ok(())
    }

    async fn share_list(&self, out: &Lines) -> Result<(), CommandError> {
        let lines = if self.config().one_shot { self.remembered_shares()? } else { self.shares().lines() };
        for line in lines {
            out.send(Item::Share(line)).await;
        }
        Ok(())
    }

    async fn register(&self, out: &Lines) -> Result<(), CommandError> {
        let lines = self.trackers().register().await?;
        for line in lines {
            out.send(Item::Tracker(line)).await;
        }
        Ok(())
    }

    async fn deregister(&self, out: &Lines) -> Result<(), CommandError> {
        for line in self.trackers().deregister().await? {
            out.send(Item::Tracker(line)).await;
        }
        Ok(())
    }

    /// Whether a peer is this node: its own files are not fetched.
    pub(crate) fn is_me(&self, peer: &potluck_common::peer::PeerKey) -> bool {
        is_me(&self.asking().net, peer)
    }
}

impl Node {
    /// Whether the content of a hit is here already, and how.
    fn have(&self, hit: &Hit, fetched: &HashMap<&str, bool>) -> Option<String> {
        let id = hit.content_id?;
        let how = match fetched.get(id.to_string().as_str()) {
            _ if self.shares().lock().place(&id).is_some() => "shared",
            Some(true) => "downloaded",
            Some(false) => "downloading",
            None => return None,
        };
        Some(how.to_owned())
    }

    async fn control(&self, action: DownloadAction, which: Vec<String>, out: &Lines) -> Result<(), CommandError> {
        let named = which.join(", ");
        let lines = self.downloads().control(action, which).await;
        if lines.is_empty() {
            let what = match action {
                DownloadAction::Pause => "to pause",
                DownloadAction::Resume => "that is paused",
                DownloadAction::Cancel => "to cancel",
                DownloadAction::Retry => "to try again",
                DownloadAction::High | DownloadAction::Normal | DownloadAction::Low => "that is not done",
            };
            return Err(CommandError::new(
                Failure::NotFound,
                format!("there is no download {what} called {named}; `potluck downloads` lists them"),
            ));
        }
        for line in lines {
            out.send(Item::Download(line)).await;
        }
        Ok(())
    }

    /// How fast it goes now: bytes per second received and sent, and downloads that are not done.
    pub(crate) fn rates(&self) -> (u64, u64, u64) {
        let transfers = self.downloads().totals();
        (transfers.rate, self.uploads().totals().0, transfers.open)
    }

    /// One download, its pieces, and whether its bytes can be read already.
    pub(crate) async fn download_details(&self, id: u64) -> Result<(DownloadLine, Option<PieceMap>, bool), CommandError> {
        let missing = || CommandError::new(Failure::NotFound, format!("there is no download {id}; `potluck downloads` lists them"));
        let look = self.downloads().look(id).await.ok_or_else(missing)?;
        let is_readable = !matches!(look.content, Content::Nothing);
        Ok((look.line, look.pieces, is_readable))
    }

    /// A way into the page for whoever may speak to the node.
    async fn page_link(&self, out: &Lines) -> Result<(), CommandError> {
        let (Some(address), Some(key)) = (self.page_address(), self.new_page_key()) else {
            let message = "no page is open: start the node with `potluck node`, without `--page off`";
            return Err(CommandError::new(Failure::Unreachable, message));
        };
        out.send(Item::PageLink(PageLine { link: format!("{address}#key={key}"), address })).await;
        Ok(())
    }

    async fn list_uploads(&self, out: &Lines) -> Result<(), CommandError> {
        for (key, upload) in self.uploads().entries() {
            let contact = peer_of(&key.peer).and_then(|peer| self.asking().contacts.get(&peer));
            let place = key.content_id.and_then(|id| self.shares().lock().place(&id));
            let line = UploadLine {
                peer_id: key.peer.to_string(),
                nickname: contact.map(|contact| contact.nickname).unwrap_or_default(),
                content_id: key.content_id.map(|id| id.to_string()),
                path: place.map(|place| place.path.to_string()),
                bytes: upload.bytes,
                rate: upload.rate,
                active: upload.active,
            };
            out.send(Item::Upload(line)).await;
        }
        Ok(())
    }

    /// A link to a file of our own shares, by its place on this machine.
    async fn link(&self, path: &Path, out: &Lines) -> Result<(), CommandError> {
        let fail = |failure, message: String| Err(CommandError::new(failure, message));
        let Some((shared, entry)) = self.shares().lock().shared_file(path) else {
            let message = format!("{} is no file of your shares; share its folder first: `potluck share add DIR`", path.display());
            return fail(Failure::NotFound, message);
        };
        let Some(content_id) = entry.content_id else {
            self.indexer().hurry(&shared);
            return fail(Failure::NoSource, format!("{shared} is being hashed, now before all others; ask again in a moment"));
        };
        let link = Link { content_id, name: Some(shared.name().to_owned()), size: Some(entry.size) };
        let line = LinkLine { path: shared.to_string(), content_id: content_id.to_string(), link: link.to_string() };
        out.send(Item::Link(line)).await;
        Ok(())
    }

    async fn limits(&self, up: Option<u64>, out: &Lines) -> Result<(), CommandError> {
        if let Some(up) = up {
            self.uploads().set_limit(Some(up).filter(|up| *up > 0));
        }
        out.send(Item::Limits(LimitsLine { up: self.uploads().limit(), queued: self.uploads().queued() })).await;
        Ok(())
    }
}

fn peer_line(peer: &PeerInfo) -> PeerLine {
    PeerLine {
        peer_id: peer_of(&peer.peer).map_or_else(|| peer.peer.to_string(), |id| id.to_string()),
        nickname: peer.nickname.as_str().to_owned(),
        addresses: peer.addresses.iter().map(|address| address.as_str().to_owned()).collect(),
        files: Some(peer.files),
        bytes: Some(peer.bytes),
        online: true,
    }
}

pub(crate) fn entry_line(entry: &Entry) -> EntryLine {
    EntryLine {
        path: entry.path.to_string(),
        size: entry.size,
        mtime: rfc3339(entry.mtime),
        content_id: entry.content_id.map(|id| id.to_string()),
    }
}

pub(crate) fn hit_line(hit: &Hit) -> HitLine {
    HitLine {
        content_id: hit.content_id.map(|id| id.to_string()),
        name: hit.path.name().to_owned(),
        size: hit.size,
        kind: match hit.kind {
            Kind::File => "file".to_owned(),
            Kind::Folder => "folder".to_owned(),
        },
        sources: hit.sources,
        peers: hit
            .holders
            .iter()
            .map(|holder| HolderLine {
                peer_id: holder.peer.to_string(),
                nickname: holder.nickname.as_str().to_owned(),
                path: holder.path.to_string(),
            })
            .collect(),
        have: None,
    }
}
