//! `just bench-index-wire`: the index of a real tracker, asked and filled over the wire.
//!
//! A thousand peers with connections and identities of their own register by publishing a corpus, page by page, as nodes do;
//! then they search. The tracker is a release program on loopback with its data on the disk. Prints one JSON object a result.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program is for people and scripts")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libp2p::identity::Keypair;
use potluck_common::content_id::ContentId;
use potluck_common::namespace::Namespace;
use potluck_common::share_path::SharePath;
use potluck_common::wire::index::{Answer, Change, Entry, MAX_CHANGES, Nickname, Publish, Request, Search};
use potluck_common::wire::{Bounded, Refusal, Text};
use potluck_tests::clock::now;
use potluck_tests::postgres::Postgres;
use potluck_tests::programs::workspace;
use potluck_tests::publisher::Publisher;
use potluck_tests::town::{Town, Tracker};
use potluck_tests::{Failure, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::sync::{Barrier, mpsc};

/// What this program and the programs that it starts use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const HELP: &str = "\
Fills the index of a tracker over the wire, searches it, and starts it again; prints one JSON line a result.

Usage: just bench-index-wire CORPUS.tsv QUERIES.tsv [--entries N] [--peers N] [--seconds N] [--postgres yes]

  --entries N    entries of the corpus that are published [default: 1000000]
  --peers N      peers that publish them [default: 1000]
  --seconds N    how long searches go on [default: 10]
  --postgres yes keep the index in a PostgreSQL that is started for it, with its settings as they come but for shared_buffers=1GB";

/// Bytes of changes in one message, as a node sends them.
const PAGE_BYTES: usize = 200 << 10;
/// Bytes of a change beside its path, rounded up.
const CHANGE_BYTES: usize = 80;
/// What the peers of a town do not share: an address. Each is still answered no more often than the tracker's limits say.
const EVERYBODY_AT_ONE_ADDRESS: &[&str] =
    &["--limit", "connections-per-address=100000", "--limit", "connections-per-network=100000", "--limit", "connects-burst=100000"];
/// Hits of a search.
const LIMIT: u32 = 50;
/// Searches at a time when it is measured how many a tracker answers.
const AT_A_TIME: usize = 16;
/// Pages that were read from the corpus and are not published yet, for each peer.
const PAGES: usize = 4;
/// How long a start may take.
const START: Duration = Duration::from_secs(300);

struct Options {
    corpus: String,
    queries: String,
    entries: usize,
    peers: usize,
    seconds: u64,
    postgres: bool,
}

/// What a page says of one peer's files.
type Page = Vec<Change>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::read(&args) {
        Ok(options) => options,
        Err(failure) => {
            eprintln!("error: {}\n\n{HELP}", failure.message());
            return ExitCode::from(2);
        }
    };
    // Each connection is an open file, and 1,024 is the usual most to begin with.
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("note: the limit of open files stays as it is: {error}");
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message());
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn read(args: &[String]) -> Result<Self> {
        let [corpus, queries, rest @ ..] = args else { return Err(Failure::new("name a corpus and queries")) };
        let mut options =
            Self { corpus: corpus.clone(), queries: queries.clone(), entries: 1_000_000, peers: 1000, seconds: 10, postgres: false };
        let mut rest = rest.iter();
        while let Some(arg) = rest.next() {
            let value = rest.next().ok_or_else(|| Failure::new(format!("{arg} needs a value")))?;
            match arg.as_str() {
                "--entries" => options.entries = value.parse()?,
                "--peers" => options.peers = value.parse()?,
                "--seconds" => options.seconds = value.parse()?,
                "--postgres" => options.postgres = value == "yes",
                other => return Err(Failure::new(format!("there is no option {other}"))),
            }
        }
        Ok(options)
    }
}

fn run(options: &Options) -> Result {
    let town = Town::new()?;
    let database = if options.postgres { Postgres::start_with(&["shared_buffers=1GB"])? } else { None };
    let url = database.as_ref().map(Postgres::url);
    let index: Vec<&str> = url.iter().flat_map(|url| ["--index", url]).collect();
    let mut tracker = town.tracker_with("tracker", &[&["--lease", "3600"], EVERYBODY_AT_ONE_ADDRESS, index.as_slice()].concat())?;
    let empty = tracker.process().vitals()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let peers = publish(options, &tracker, database.as_ref(), empty.memory).await?;
        search(options, &tracker).await?;
        peers.into_iter().for_each(|peer| peer.abort());
        Ok::<(), Failure>(())
    })?;
    drop(runtime); // all connections are gone: what is left is the index
    match database {
        Some(_) => Ok(()), // there is nothing to be read
        None => start_again(&mut tracker, options.entries),
    }
}

/// All peers publish at once. Their connections stay open, and answer pings, until the tasks are aborted.
async fn publish(
    options: &Options,
    tracker: &Tracker,
    database: Option<&Postgres>,
    empty: u64,
) -> Result<Vec<tokio::task::JoinHandle<()>>> {
    let published = Arc::new(AtomicU64::new(0));
    let connected = Arc::new(Barrier::new(options.peers + 1));
    let mut senders = Vec::new();
    let mut tasks = Vec::new();
    let (done, mut all_done) = mpsc::channel(options.peers);
    for number in 0..options.peers {
        let (sender, pages) = mpsc::channel(PAGES);
        senders.push(sender);
        let (address, published, done) = (tracker.address().to_owned(), Arc::clone(&published), done.clone());
        let connected = Arc::clone(&connected);
        tasks.push(tokio::spawn(async move {
            let mut peer = Publisher::connect_at_last(&Keypair::generate_ed25519(), &address).await;
            connected.wait().await;
            let outcome = publish_pages(&mut peer, number, pages, &published).await;
            let _ = done.send(outcome).await; // the measurement may have failed elsewhere
            peer.stay_for_ever().await;
        }));
    }
    connected.wait().await;
    let (corpus, entries) = (options.corpus.clone(), options.entries);
    let began = now();
    let reading = tokio::task::spawn_blocking(move || read_corpus(&corpus, entries, senders));
    for _ in 0..options.peers {
        all_done.recv().await.ok_or_else(|| Failure::new("a peer has gone"))??;
    }
    reading.await??;
    let seconds = began.elapsed().as_secs_f64();
    let entries = published.load(Ordering::Relaxed);
    let vitals = tracker.process().vitals()?;
    let disk_bytes = match database {
        Some(database) => database.sql("SELECT pg_total_relation_size('files')")?.parse()?,
        None => disk_bytes(tracker)?,
    };
    tell(json!({
        "index": if database.is_some() { "PostgreSQL" } else { "its own" },
        "measure": "publish over the wire, durable", "peers": options.peers, "entries": entries, "seconds": rounded(seconds),
        "entries_a_second": (entries as f64 / seconds) as u64, "tracker_resident_bytes": vitals.memory, "tracker_peak_bytes": vitals.peak_memory,
        "tracker_empty_bytes": empty, "tracker_cpu_seconds": rounded(vitals.cpu.as_secs_f64()), "disk_bytes": disk_bytes,
        "disk_bytes_an_entry": rounded(disk_bytes as f64 / entries as f64),
    }));
    Ok(tasks)
}

async fn publish_pages(peer: &mut Publisher, number: usize, mut pages: mpsc::Receiver<Page>, published: &AtomicU64) -> Result {
    let mut base = 0;
    while let Some(page) = pages.recv().await {
        let changes = page.len() as u64;
        let publish = Publish {
            namespace: Namespace::default(),
            nickname: Nickname::truncated(&format!("peer {number}")),
            addresses: Bounded::default(),
            epoch: 1,
            base,
            revision: base + changes,
            changes: Bounded::truncated(page),
        };
        base = peer.publish(&publish).await?;
        if base != publish.revision {
            return Err(Failure::new(format!("the tracker holds {base} instead of {}", publish.revision)));
        }
        published.fetch_add(changes, Ordering::Relaxed);
    }
    Ok(())
}

/// Deals the corpus out to the peers, in pages as a node sends them.
fn read_corpus(path: &str, entries: usize, senders: Vec<mpsc::Sender<Page>>) -> Result {
    let mut pages: Vec<(Page, usize)> = senders.iter().map(|_| (Page::new(), 0)).collect();
    let send = |number: usize, page: Page| senders.get(number).map(|sender| sender.blocking_send(page));
    for line in BufReader::with_capacity(1 << 20, File::open(path)?).lines().take(entries) {
        let Some((peer, entry)) = parse(&line?) else { continue };
        let number = peer % senders.len().max(1);
        let Some((page, bytes)) = pages.get_mut(number) else { continue };
        *bytes += entry.path.as_str().len() + CHANGE_BYTES;
        page.push(Change::Put(entry));
        if page.len() == MAX_CHANGES || *bytes > PAGE_BYTES {
            *bytes = 0;
            let _gone = send(number, std::mem::take(page)); // the peer says why
        }
    }
    for (number, (page, _)) in pages.into_iter().enumerate().filter(|(_, (page, _))| !page.is_empty()) {
        let _gone = send(number, page);
    }
    Ok(())
}

/// A line: number of the peer, seed of the content, size, time, path.
fn parse(line: &str) -> Option<(usize, Entry)> {
    let mut fields = line.splitn(5, '\t');
    let peer: usize = fields.next()?.parse().ok()?;
    let seed = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (size, mtime) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let path = SharePath::parse(fields.next()?).ok()?;
    Some((peer, Entry { path, size, mtime, content_id: Some(ContentId::of(&seed.to_le_bytes())) }))
}

/// Searches one after the other, then many at a time, on connections of their own.
async fn search(options: &Options, tracker: &Tracker) -> Result {
    let queries = read_queries(&options.queries)?;
    for at_a_time in [1, AT_A_TIME] {
        let mut searchers = Vec::new();
        for first in 0..at_a_time {
            searchers.push(tokio::spawn(search_for(tracker.address().to_owned(), queries.clone(), first, at_a_time, options.seconds)));
        }
        let mut times: Vec<Duration> = Vec::new();
        let mut refused = 0;
        for searcher in searchers {
            let (answered, busy) = searcher.await??;
            times.extend(answered);
            refused += busy;
        }
        times.sort_unstable();
        let at = |part: f64| times.get((times.len().saturating_sub(1) as f64 * part) as usize).map_or(0.0, |time| ms(*time));
        tell(json!({
            "measure": "search over the wire", "at_a_time": at_a_time, "searches": times.len(), "refused_as_busy": refused, "entries": options.entries,
            "searches_a_second": times.len() as u64 / options.seconds.max(1),
            "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0), "tracker_resident_bytes": tracker.process().vitals()?.memory,
        }));
    }
    Ok(())
}

/// One search after the other: how long those took that were answered, and how many were refused because the tracker was busy. It answers
/// one peer 50 a second, so that each needs many connections to ask without pause.
async fn search_for(address: String, queries: Arc<Vec<String>>, first: usize, of: usize, seconds: u64) -> Result<(Vec<Duration>, usize)> {
    let connections = 640 / of.max(8);
    let mut peers = Vec::new();
    for _ in 0..connections {
        peers.push(Publisher::connect(Keypair::generate_ed25519(), &address).await?);
    }
    let (mut times, mut refused) = (Vec::new(), 0);
    let began = now(); // all are connected
    let mut turn = first;
    while began.elapsed() < Duration::from_secs(seconds) {
        let Some(peer) = peers.get_mut((times.len() + refused) % connections) else { break };
        let text = queries.get(turn % queries.len().max(1)).map(String::as_str).unwrap_or_default();
        let search = Search { namespace: Namespace::default(), text: Text::truncated(text), after: None, limit: LIMIT };
        let asked = now();
        match peer.ask(Request::Search(search)).await? {
            Answer::Search(_) => times.push(asked.elapsed()),
            Answer::Refused { why: Refusal::Busy } => refused += 1,
            other => return Err(Failure::new(format!("a search was answered with {other:?}"))),
        }
        turn += of;
    }
    Ok((times, refused))
}

fn read_queries(path: &str) -> Result<Arc<Vec<String>>> {
    let lines = BufReader::new(File::open(path)?).lines().collect::<std::io::Result<Vec<String>>>()?;
    let texts: Vec<String> = lines.iter().filter_map(|line| line.split('\t').nth(1).map(str::to_owned)).collect();
    if texts.is_empty() { Err(Failure::new("there is no query")) } else { Ok(Arc::new(texts)) }
}

/// Ends the tracker as an administrator would and as a power cut would, and waits until all is known again.
fn start_again(tracker: &mut Tracker, entries: usize) -> Result {
    for how in ["after SIGKILL", "after SIGKILL, again"] {
        tracker.kill9()?;
        let began = now();
        tracker.restart()?;
        let listening = began.elapsed();
        let restored = tracker.process().event("restored", START)?;
        let vitals = tracker.process().vitals()?;
        tell(json!({
            "measure": "start", "how": how, "entries": entries, "files": restored["files"], "listening_seconds": rounded(listening.as_secs_f64()),
            "answering_seconds": rounded(began.elapsed().as_secs_f64()), "tracker_resident_bytes": vitals.memory,
            "tracker_peak_bytes": vitals.peak_memory, "disk_bytes_an_entry": rounded(disk_bytes(tracker)? as f64 / entries as f64),
        }));
    }
    Ok(())
}

fn disk_bytes(tracker: &Tracker) -> Result<u64> {
    Ok(std::fs::metadata(tracker.data_dir().join("index.redb"))?.len())
}

fn tell(mut line: Value) {
    line["commit"] = first_line(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(workspace())).into();
    line["date"] = first_line(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])).into();
    line["cores"] = std::thread::available_parallelism().map_or(0, usize::from).into();
    println!("{line}");
}

/// What a small program says; `None` where it is not there.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

fn ms(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1000.0)
}

/// Three digits after the point are more than a measurement tells.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
