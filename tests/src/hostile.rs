//! [`Liar`]: a peer that publishes what it likes and serves lies.
//!
//! It is a libp2p program of its own, with our codec where it is honest and raw bytes where it is not. It offers files
//! under any names, also such as no [`SharePath`] can hold, tells every searcher that it has what they look for, and
//! answers for their bytes with one [`Lie`]. To teach it a new one, add a variant and its arm in `Plan::answer_piece`.

mod parts;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::request_response::{Event, Message};
use libp2p::swarm::{SwarmEvent, dial_opts::DialOpts};
use libp2p::{Multiaddr, PeerId, Swarm, identify, rendezvous};
use potluck_common::codec::{PieceAnswer, encode};
use potluck_common::content_id::ContentId;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::SharePath;
use potluck_common::transport::{key_of, split_peer};
use potluck_common::wire::piece::{FileAnswer, Header, Request};
use potluck_common::wire::{Bounded, Refusal, Text, index};
use tokio::sync::oneshot;

use self::parts::{external, frame, keep_waiting, pieces, rename, stand_in};
use crate::clock::PATIENCE;
use crate::failure::{Failure, Result};
use crate::raw::{Behaviour, BehaviourEvent, Said, swarm};
use crate::town::{ANY_PORT, NAMESPACE};

/// What a peer does wrong when it is asked for the bytes of a file or for what verifies them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing: an honest peer, to compare with.
    Nothing,
    /// One byte of every body is another.
    WrongBytes,
    /// The piece hashes are noise.
    RandomHashes,
    /// The piece hashes are right, of another file.
    HashesOfAnotherFile,
    /// The file is said to be so many bytes long; the hashes are as many as belong to that size, up to one body.
    Size(u64),
    /// The file is said to be so many bytes long, and with each answer one more.
    Growing(u64),
    /// Every piece is answered with the bytes of its neighbour.
    AnotherPiece,
    /// The header promises a whole piece, the stream ends before.
    TruncatedBody,
    /// The body is one byte shorter than the file has, and the header agrees.
    ShortPiece,
    /// The length of the header is 2^32 − 1.
    HugeHeaderLength,
    /// The header promises a body of 4 GiB.
    HugeBodyLength,
    /// The header is no CBOR.
    NoCbor,
    /// The right answer, and then zeros without end.
    Endless,
    /// Every request is refused.
    Refuse(Refusal),
    /// The request is taken and never answered.
    Stall,
    /// The right answer, a byte every two seconds.
    Drip,
    /// The right answer twice.
    Repeated,
    /// The answer to another request: a list of pieces where bytes were asked for, and the other way round.
    AnotherKind,
}

/// A file that a liar offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Under which name, share included; nobody checks it.
    pub path: String,
    /// What it holds.
    pub content: Arc<[u8]>,
}

/// What a liar is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it calls itself.
    pub nickname: String,
    /// What it does wrong.
    pub lie: Lie,
    /// What it offers.
    pub offers: Vec<Offer>,
    /// Addresses of trackers where it registers and publishes.
    pub trackers: Vec<String>,
    /// An address at which it says that many others have what it offers.
    pub victim: Option<String>,
    /// Whether its listings never end.
    pub is_endless: bool,
    /// What it calls its program.
    pub agent: String,
    /// How many addresses it says that it has, beside its own.
    pub addresses: u16,
}

/// A liar at work, until it is dropped.
#[derive(Debug)]
pub struct Liar {
    address: String,
    seen: Arc<Witness>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a liar lived through.
#[derive(Debug, Default)]
struct Witness {
    pieces_asked: AtomicU64,
    trackers_said: Mutex<Vec<index::Answer>>,
}

impl Offer {
    /// A file under a name.
    #[must_use]
    pub fn new(path: impl Into<String>, content: impl Into<Arc<[u8]>>) -> Self {
        Self { path: path.into(), content: content.into() }
    }
}

impl Plan {
    /// A liar without trackers.
    #[must_use]
    pub fn new(lie: Lie, offers: impl IntoIterator<Item = Offer>) -> Self {
        Self {
            nickname: "liar".to_owned(),
            lie,
            offers: offers.into_iter().collect(),
            trackers: Vec::new(),
            victim: None,
            is_endless: false,
            agent: String::new(),
            addresses: 0,
        }
    }

    /// Also calls its program so, and says that it has so many addresses more.
    #[must_use]
    pub fn calling_itself(mut self, agent: impl Into<String>, addresses: u16) -> Self {
        (self.agent, self.addresses) = (agent.into(), addresses);
        self
    }

    /// Also registers and publishes at a tracker.
    #[must_use]
    pub fn at(mut self, tracker: &str) -> Self {
        self.trackers.push(tracker.to_owned());
        self
    }

    /// Also says that as many others as an answer can hold have its files, all of them at this address.
    #[must_use]
    pub fn pointing_at(mut self, victim: impl Into<String>) -> Self {
        self.victim = Some(victim.into());
        self
    }

    /// Also tells its files again and again, page after page.
    #[must_use]
    pub fn without_end(mut self) -> Self {
        self.is_endless = true;
        self
    }

    /// Sets the liar to work. Returns when it listens and every tracker has answered what it published.
    ///
    /// # Errors
    /// When it cannot listen, or a tracker does not answer.
    pub fn start(self) -> Result<Liar> {
        let (report, reports) = sync_channel(1 + self.trackers.len()); // a tracker may answer before the address is read
        let (stop, stopped) = oneshot::channel();
        let seen = Arc::new(Witness::default());
        let witness = Arc::clone(&seen);
        let trackers = self.trackers.len();
        let thread = std::thread::spawn(move || {
            let work = async {
                tokio::select! {
                    ended = self.run(&witness, &report) => ended,
                    _ = stopped => Ok(()),
                }
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Err(failure) = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(work)) {
                let _ = report.try_send(Err(failure.to_string())); // nobody may wait any more
            }
        });
        let address = next_report(&reports)?;
        let liar = Liar { address, seen, stop: Some(stop), thread: Some(thread) };
        for _ in 0..trackers {
            next_report(&reports)?;
        }
        Ok(liar)
    }

    /// Listens and answers for ever. Reports its address first, then each answer of a tracker.
    async fn run(self, seen: &Witness, report: &SyncSender<Result<String, String>>) -> Result {
        let identity = Keypair::generate_ed25519();
        let mut swarm = swarm(&identity, &self.agent, &identity)?;
        swarm.listen_on(ANY_PORT.parse()?)?;
        for port in 0..self.addresses {
            swarm.add_external_address(format!("/ip4/127.0.0.1/tcp/{}", 20_000 + port).parse()?);
        }
        let me = *swarm.local_peer_id();
        let trackers = self.trackers.iter().map(|address| address.parse()).collect::<Result<Vec<Multiaddr>, _>>()?;
        let is_tracker = |peer: &PeerId| trackers.iter().any(|address| split_peer(address.clone()).1.as_ref() == Some(peer));
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { address, .. } => {
                    swarm.add_external_address(address.clone());
                    let _ = report.send(Ok(format!("{address}/p2p/{me}"))); // the starter waits, or nobody cares
                    for tracker in &trackers {
                        swarm.dial(tracker.clone())?;
                    }
                }
                SwarmEvent::OutgoingConnectionError { peer_id, .. } => {
                    // from the port that it listens at: not as long as another connection from there to that tracker is closing
                    if let Some(tracker) = trackers.iter().find(|tracker| split_peer((*tracker).clone()).1 == peer_id) {
                        swarm.dial(DialOpts::unknown_peer_id().address(tracker.clone()).allocate_new_port().build())?;
                    }
                }
                SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, .. })) if is_tracker(&peer_id) => {
                    let namespace = rendezvous::Namespace::from_static(NAMESPACE);
                    swarm.behaviour_mut().rendezvous.register(namespace, peer_id, None)?;
                }
                SwarmEvent::Behaviour(BehaviourEvent::Rendezvous(
                    rendezvous::client::Event::Registered { rendezvous_node, .. }
                    | rendezvous::client::Event::RegisterFailed { rendezvous_node, .. },
                )) => {
                    let publish = self.with_true_names(&self.publish(&swarm)?)?;
                    swarm.behaviour_mut().index.send_request(&rendezvous_node, Said::Bytes(publish));
                }
                SwarmEvent::Behaviour(BehaviourEvent::Index(event)) => self.on_index(&mut swarm, event, seen, report)?,
                SwarmEvent::Behaviour(BehaviourEvent::Piece(event)) => self.on_piece(&mut swarm, event, seen),
                _ => {}
            }
        }
    }

    fn on_index(
        &self,
        swarm: &mut Swarm<Behaviour>,
        event: Event<Said<Result<index::Request, potluck_common::codec::Malformed>>, Said<index::Answer>>,
        seen: &Witness,
        report: &SyncSender<Result<String, String>>,
    ) -> Result {
        match event {
            Event::Message { message: Message::Request { request: Said::Plain(Ok(request)), channel, .. }, .. } => {
                let answer = self.with_true_names(&self.answer_index(&request, key_of(swarm.local_peer_id()), &external(swarm)))?;
                let _ = swarm.behaviour_mut().index.send_response(channel, Said::Bytes(answer)); // the asker may have gone
            }
            Event::Message { message: Message::Response { response: Said::Plain(answer), .. }, .. } => {
                seen.trackers_said.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                let _ = report.try_send(Ok("a tracker answered".to_owned())); // only the starter waits
            }
            Event::OutboundFailure { error, .. } => {
                let _ = report.try_send(Err(format!("a tracker did not answer: {error}")));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_piece(
        &self,
        swarm: &mut Swarm<Behaviour>,
        event: Event<Said<potluck_common::codec::PieceCall>, Said<PieceAnswer>>,
        seen: &Witness,
    ) {
        let Event::Message { message: Message::Request { request: Said::Plain(call), channel, .. }, .. } = event else { return };
        let Ok(request) = call.request else { return };
        let asked = seen.pieces_asked.fetch_add(1, Ordering::Relaxed);
        match self.answer_piece(&request, asked) {
            Some(answer) => {
                let _ = swarm.behaviour_mut().piece.send_response(channel, answer); // the asker may have gone
            }
            None => keep_waiting(channel),
        }
    }

    /// The lie, told to one request after so many others; `None`: no answer, ever.
    fn answer_piece(&self, request: &Request, asked: u64) -> Option<Said<PieceAnswer>> {
        let honest = self.honest(request, |content| content.to_vec(), None);
        let answer = match self.lie {
            Lie::Nothing => honest,
            Lie::WrongBytes if matches!(request, Request::Piece { .. } | Request::Files { .. }) => {
                let (header, mut body) = honest;
                if let Some(byte) = body.last_mut() {
                    *byte ^= 1;
                }
                (header, body)
            }
            Lie::RandomHashes if matches!(request, Request::Hashes { .. }) => {
                (honest.0, honest.1.iter().enumerate().map(|(at, byte)| byte ^ at as u8 ^ 0x5a).collect())
            }
            Lie::HashesOfAnotherFile if matches!(request, Request::Hashes { .. }) => {
                self.honest(request, |content| content.iter().map(|byte| !byte).collect(), None)
            }
            Lie::Size(size) => self.honest(request, |content| content.to_vec(), Some(size)),
            Lie::Growing(size) => self.honest(request, |content| content.to_vec(), Some(size + asked)),
            Lie::AnotherPiece => match request {
                Request::Piece { content_id, piece } => {
                    self.honest(&Request::Piece { content_id: *content_id, piece: piece ^ 1 }, |content| content.to_vec(), None)
                }
                _ => honest,
            },
            Lie::ShortPiece => match honest {
                (Header::Piece { length }, mut body) => {
                    body.pop();
                    (Header::Piece { length: length.saturating_sub(1) }, body)
                }
                other => other,
            },
            Lie::TruncatedBody => (honest.0, honest.1[..honest.1.len() / 2].to_vec()),
            Lie::AnotherKind => match request {
                Request::Piece { content_id, .. } => {
                    self.honest(&Request::Hashes { content_id: *content_id, from: 0 }, |content| content.to_vec(), None)
                }
                Request::Hashes { content_id, .. } => {
                    self.honest(&Request::Piece { content_id: *content_id, piece: 0 }, |content| content.to_vec(), None)
                }
                _ => honest,
            },
            Lie::HugeBodyLength => (Header::Piece { length: u32::MAX }, honest.1),
            Lie::Refuse(why) => (Header::Refused { why, queue: None }, Vec::new()),
            Lie::HugeHeaderLength => return Some(Said::Bytes([&[0xff; 4], &[0; 1000][..]].concat())),
            Lie::NoCbor => return Some(Said::Bytes(vec![0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])),
            Lie::Endless => return Some(Said::Endless(frame(&honest.0, &honest.1))),
            Lie::Stall => return None,
            Lie::Drip => return Some(Said::Drip(frame(&honest.0, &honest.1))),
            Lie::Repeated => return Some(Said::Bytes(frame(&honest.0, &honest.1).repeat(2))),
            Lie::WrongBytes | Lie::RandomHashes | Lie::HashesOfAnotherFile => honest,
        };
        Some(Said::Bytes(frame(&answer.0, &answer.1)))
    }

    /// What an honest source would answer, if its files held what `twist` makes of them and had the size `claimed`.
    fn honest(&self, request: &Request, twist: impl Fn(&[u8]) -> Vec<u8>, claimed: Option<u64>) -> (Header, Vec<u8>) {
        let file =
            |id: &ContentId| self.offers.iter().find(|offer| ContentId::of(&offer.content) == *id).map(|offer| twist(&offer.content));
        let refused = (Header::Refused { why: Refusal::NotFound, queue: None }, Vec::new());
        match request {
            Request::Hashes { content_id, from } => file(content_id).map_or(refused, |content| {
                let hashes: Vec<u8> = pieces(&content).skip(*from as usize).flat_map(|(_, hash, _)| *hash.as_bytes()).collect();
                let size = claimed.unwrap_or(content.len() as u64);
                (Header::Hashes { size, count: (hashes.len() / 32) as u32 }, hashes)
            }),
            Request::Piece { content_id, piece } => file(content_id).map_or(refused, |content| {
                let bytes = pieces(&content).nth(*piece as usize).map(|(_, _, bytes)| bytes.to_vec()).unwrap_or_default();
                (Header::Piece { length: bytes.len() as u32 }, bytes)
            }),
            Request::Part { .. } => (Header::Refused { why: Refusal::Unsupported, queue: None }, Vec::new()), // not of this protocol
            Request::Files { content_ids } => {
                let mut body = Vec::new();
                let files = content_ids.iter().map(|id| match file(id) {
                    Some(content) => {
                        body.extend_from_slice(&content);
                        FileAnswer::Length(content.len() as u32)
                    }
                    None => FileAnswer::Refused(Refusal::NotFound),
                });
                let files = Bounded::truncated(files.collect::<Vec<_>>());
                (Header::Files { files }, body)
            }
            Request::Have { content_id, .. } => file(content_id)
                .map_or(refused, |content| (Header::Have { size: claimed.unwrap_or(content.len() as u64), bitmap: None }, Vec::new())),
        }
    }

    /// Everything that is offered, as changes from nothing.
    fn publish(&self, swarm: &Swarm<Behaviour>) -> Result<index::Request> {
        Ok(index::Request::Publish(index::Publish {
            namespace: Namespace::new(NAMESPACE)?,
            nickname: Text::truncated(&self.nickname),
            addresses: Bounded::truncated(external(swarm)),
            epoch: 1,
            base: 0,
            revision: 1,
            changes: Bounded::truncated(self.entries().into_iter().map(index::Change::Put)),
        }))
    }

    fn answer_index(&self, request: &index::Request, me: Option<PeerKey>, addresses: &[index::Address]) -> index::Answer {
        let Some(me) = me else { return index::Answer::Refused { why: Refusal::Unavailable } };
        let nickname: index::Nickname = Text::truncated(&self.nickname);
        match request {
            index::Request::List(ask) => {
                let page = ask.after.as_ref().and_then(|after| after.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
                let next = self.is_endless.then(|| Text::truncated(&format!("stand-in/{:09} {}", page + 1, page + 1)));
                index::Answer::List(index::ListPage { entries: Bounded::truncated(self.entries()), next })
            }
            index::Request::Search(_) => {
                let hits = self.entries().into_iter().map(|entry| index::Hit {
                    content_id: entry.content_id,
                    path: entry.path.clone(),
                    kind: index::Kind::File,
                    size: entry.size,
                    mtime: entry.mtime,
                    sources: 1,
                    holders: Bounded::truncated([index::Holder { peer: me, nickname: nickname.clone(), path: entry.path }]),
                });
                index::Answer::Search(index::SearchPage {
                    hits: Bounded::truncated(hits),
                    total: self.offers.len() as u64,
                    ..index::SearchPage::default()
                })
            }
            index::Request::Sources(sources) => {
                let accomplices = self.accomplices();
                let found = sources.content_ids.iter().filter_map(|id| {
                    let entry = self.entries().into_iter().find(|entry| entry.content_id == Some(*id))?;
                    let peers = Bounded::truncated(0..=accomplices.len() as u16);
                    Some(index::ContentSources { content_id: *id, size: entry.size, path: Some(entry.path), peers })
                });
                let peer = index::SourcePeer { peer: me, nickname, addresses: Bounded::truncated(addresses.to_vec()) };
                index::Answer::Sources(index::SourcesFound {
                    found: Bounded::truncated(found.collect::<Vec<_>>()),
                    peers: Bounded::truncated([peer].into_iter().chain(accomplices)),
                })
            }
            _ => index::Answer::Refused { why: Refusal::Unsupported },
        }
    }

    /// Peers that there are not, all at the victim's address.
    fn accomplices(&self) -> Vec<index::SourcePeer> {
        let peer = |number: u8, victim: &String| index::SourcePeer {
            peer: PeerKey::from_ed25519(&[number; 32]),
            nickname: Text::truncated("accomplice"),
            addresses: Bounded::truncated([Text::truncated(victim)]),
        };
        self.victim.iter().flat_map(|victim| (1..index::MAX_SOURCES as u8).map(move |number| peer(number, victim))).collect()
    }

    /// The offers as entries, each under a stand-in for its name.
    fn entries(&self) -> Vec<index::Entry> {
        let numbered = self.offers.iter().enumerate();
        let entry = |(number, offer): (usize, &Offer)| {
            let path = SharePath::parse(&stand_in(number)).ok()?;
            let content_id = Some(ContentId::of(&offer.content));
            Some(index::Entry { path, size: offer.content.len() as u64, mtime: 1_700_000_000, content_id })
        };
        numbered.filter_map(entry).collect()
    }

    /// A message as CBOR, with the names that the offers really have: such as our own types would refuse to hold.
    fn with_true_names<M: serde::Serialize>(&self, message: &M) -> Result<Vec<u8>> {
        let mut value = serde_cbor::value::to_value(message)?;
        let names = self.offers.iter().enumerate().map(|(number, offer)| (stand_in(number), offer.path.clone())).collect();
        rename(&mut value, &names);
        Ok(encode(&value)?)
    }
}

impl Liar {
    /// Where it listens, with its PeerId: what a victim dials.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its PeerId.
    #[must_use]
    pub fn peer_id(&self) -> &str {
        self.address.rsplit('/').next().unwrap_or_default()
    }

    /// How many requests for pieces, hashes and files it has had.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.seen.pieces_asked.load(Ordering::Relaxed)
    }

    /// What trackers answered to what it published.
    #[must_use]
    pub fn trackers_said(&self) -> Vec<index::Answer> {
        self.seen.trackers_said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a liar that panicked has already said so
        }
    }
}

fn next_report(reports: &Receiver<Result<String, String>>) -> Result<String> {
    reports.recv_timeout(PATIENCE)?.map_err(|message| Failure::new(format!("the liar failed: {message}")))
}
