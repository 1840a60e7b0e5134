//! Measures the index on a corpus of file names.
//!
//! ```text
//! bench_index CORPUS.tsv QUERIES.tsv [ENTRIES]
//! ```
//!
//! The corpus has a line an entry: number of the peer, seed of the content, size, time, path, with tabs between. The queries
//! have a class, a text and, of the class `typo`, the word that was meant. Prints one JSON object a line and result.
#![allow(clippy::disallowed_methods, reason = "measures time")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "prints results")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken corpus ends the measurement")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use potluck_common::content_id::ContentId;
use potluck_common::search::{Engine, Found, PeerNo, Query, fold};
use potluck_common::share_path::SharePath;
use potluck_common::wire::index::Entry;
use serde_json::json;

/// What the node and the tracker use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Hits in a page.
const LIMIT: usize = 50;
/// Entries that arrive a second while searches go on.
const ARRIVING: u64 = 100_000;
/// Entries of the corpus that are kept back to arrive then.
const KEPT_BACK: usize = 1_000_000;
/// Every so many queries are also searched thoroughly, which takes about a second each.
const THOROUGHLY: usize = 3;
/// How often each query is asked: what it takes at least is what it takes on a machine that others leave alone.
const ROUNDS: usize = 5;
/// Entries that one lock puts: a page of a peer.
const PAGE: usize = 256;

struct Corpus {
    lines: std::io::Lines<BufReader<File>>,
}

/// A query with the total that the engine told, and the contents and folders that lines hold.
type Counted<'a> = (&'a Asked, Query, u64, HashSet<u64>, HashSet<String>);

struct Asked {
    class: String,
    text: String,
    meant: Option<String>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, corpus, queries, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: bench_index CORPUS.tsv QUERIES.tsv [ENTRIES]");
        std::process::exit(2);
    };
    let entries = rest.first().map_or(10_000_000, |number| number.parse().unwrap());
    println!("{}", machine());
    let asked = read_queries(queries);
    let mut corpus_lines = Corpus { lines: BufReader::with_capacity(1 << 20, File::open(corpus).unwrap()).lines() };
    let kept_back = KEPT_BACK.min(entries / 2);
    let before = resident_bytes();

    let mut engine = Engine::new();
    load(&mut engine, &mut corpus_lines, entries - kept_back);
    let engine = arrive(engine, &mut corpus_lines, kept_back, &asked);
    let held = resident_bytes() - before;
    println!(
        "{}",
        json!({"measure": "memory", "entries": entries, "resident_bytes": held, "resident_bytes_an_entry": held as f64 / entries as f64,
            "counted_bytes_an_entry": engine.heap_bytes() as f64 / entries as f64})
    );
    for (name, bytes) in engine.heap_parts() {
        println!("{}", json!({"measure": "memory part", "part": name, "bytes_an_entry": bytes as f64 / entries as f64}));
    }
    search(&engine, &asked);
    sources(&engine, corpus, entries);
    recall(&engine, &asked);
    totals(&engine, &asked, corpus, entries);
    drop_peer(engine, corpus, entries);
}

impl Corpus {
    fn page(&mut self, most: usize) -> Vec<(PeerNo, Entry)> {
        self.lines.by_ref().take(most).filter_map(|line| parse(&line.unwrap())).collect()
    }
}

fn parse(line: &str) -> Option<(PeerNo, Entry)> {
    let mut fields = line.splitn(5, '\t');
    let peer = fields.next()?.parse().ok()?;
    let seed = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (size, mtime) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let path = SharePath::parse(fields.next()?).ok()?;
    Some((PeerNo(peer), Entry { path, size, mtime, content_id: Some(ContentId::of(&seed.to_le_bytes())) }))
}

fn read_queries(path: &str) -> Vec<Asked> {
    let lines = BufReader::new(File::open(path).unwrap()).lines();
    let parse = |line: String| {
        let mut fields = line.split('\t').map(str::to_owned);
        Asked { class: fields.next().unwrap(), text: fields.next().unwrap(), meant: fields.next() }
    };
    lines.map(|line| parse(line.unwrap())).collect()
}

/// What this thread had of a core: what a search takes on a machine that does nothing else.
fn core_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
}

/// Where and of what this is measured.
fn machine() -> serde_json::Value {
    let said = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).map(|rest| rest.trim_start_matches([' ', '\t', ':']));
    json!({"measure": "machine", "cpu": model, "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": said("uname", &["-r"]), "commit": said("git", &["describe", "--always", "--dirty"]), "date": said("date", &["-u", "+%FT%TZ"])})
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// One thread puts and maintains.
fn load(engine: &mut Engine, corpus: &mut Corpus, entries: usize) {
    let (mut put, mut maintain) = (Duration::ZERO, Duration::ZERO);
    let (mut longest_put, mut longest_step) = (Duration::ZERO, Duration::ZERO);
    let mut peak = 0;
    let mut done = 0;
    let mut seen = 0;
    while done < entries {
        let page = corpus.page(PAGE.min(entries - done));
        if page.is_empty() {
            break;
        }
        done += page.len();
        let start = core_time();
        for (peer, entry) in &page {
            let start = Instant::now();
            if peer.0 >= seen {
                engine.set_online(*peer, true);
                seen = peer.0 + 1;
            }
            engine.put(*peer, entry);
            let took = start.elapsed();
            longest_put = longest_put.max(took);
        }
        put += core_time() - start;
        let start_of_core = core_time();
        loop {
            let start = Instant::now();
            let Some(job) = engine.next_job() else { break };
            let picked = start.elapsed();
            let finished = job.run();
            let taken = Instant::now();
            engine.finish_job(finished);
            longest_step = longest_step.max(picked + taken.elapsed());
            peak = peak.max(resident_bytes());
        }
        maintain += core_time() - start_of_core;
    }
    let rate = done as f64 / (put + maintain).as_secs_f64();
    println!(
        "{}",
        json!({"measure": "ingest, one thread", "entries": done, "entries_a_second": rate as u64, "time": "of the core", "put_seconds": put.as_secs_f64(),
            "job_seconds": maintain.as_secs_f64(), "longest_put_ms": ms(longest_put), "longest_locked_step_ms": ms(longest_step),
            "peak_resident_bytes": peak})
    );
}

/// Searches on one thread while entries arrive on another and a third runs jobs.
fn arrive(engine: Engine, corpus: &mut Corpus, entries: usize, asked: &[Asked]) -> Engine {
    let engine = RwLock::new(engine);
    let stop = AtomicBool::new(false);
    let queries: Vec<Query> = asked.iter().map(|asked| Query::parse(&asked.text)).collect();
    let mut times = Vec::new();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut arrived = 0;
            while arrived < entries {
                let page = corpus.page(PAGE.min(entries - arrived));
                if page.is_empty() {
                    break;
                }
                let due = Duration::from_secs_f64(arrived as f64 / ARRIVING as f64);
                std::thread::sleep(due.saturating_sub(start.elapsed()));
                let mut engine = engine.write().unwrap();
                for (peer, entry) in &page {
                    engine.set_online(*peer, true);
                    engine.put(*peer, entry);
                }
                arrived += page.len();
            }
            stop.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            // As the thread of the tracker that does them.
            rustix::process::nice(10).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let job = engine.write().unwrap().next_job();
                match job {
                    Some(job) => {
                        let done = job.run();
                        engine.write().unwrap().finish_job(done);
                    }
                    None => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        for query in queries.iter().cycle() {
            let start = Instant::now();
            let found = engine.read().unwrap().search(query, None, None, LIMIT, 0);
            times.push(start.elapsed());
            assert!(found.hits.len() <= LIMIT);
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // As people pause: a search every other millisecond.
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let rate = entries as f64 / seconds;
    println!("{}", with_times(json!({"measure": "search while entries arrive", "entries_a_second": rate as u64}), &mut times));
    let mut engine = engine.into_inner().unwrap();
    while engine.maintain() {}
    engine
}

fn search(engine: &Engine, asked: &[Asked]) {
    let mut classes: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut of_core: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut cut: BTreeMap<&str, usize> = BTreeMap::new();
    let mut least = vec![Duration::MAX; asked.len()];
    let (mut right, mut typos) = (0, 0);
    for round in 0..ROUNDS {
        for (asked, least) in asked.iter().zip(&mut least) {
            let (start, start_of_core) = (Instant::now(), core_time());
            let query = Query::parse(&asked.text);
            let found = engine.search(&query, None, None, LIMIT, 0);
            let (took, took_of_core) = (start.elapsed(), core_time() - start_of_core);
            *least = took_of_core.min(*least);
            for class in [asked.class.as_str(), "all"] {
                classes.entry(class).or_default().push(took);
                of_core.entry(class).or_default().push(took_of_core);
            }
            if round > 0 {
                continue;
            }
            *cut.entry(&asked.class).or_default() += usize::from(found.more);
            if std::env::var_os("EACH").is_some() {
                let first = found.hits.first().map(|hit| hit.path.to_string());
                println!(
                    "{}",
                    json!({"class": asked.class, "query": asked.text, "ms": ms(took), "total": found.total, "more": found.more, "first": first})
                );
            }
            if let Some(meant) = &asked.meant {
                typos += 1;
                let is_right = found.hits.iter().take(10).any(|hit| fold(hit.path.as_str()).contains(meant));
                right += usize::from(is_right);
                if !is_right {
                    println!("{}", json!({"typo": asked.text, "meant": meant, "corrected": found.corrected, "total": found.total}));
                }
            }
        }
    }
    for (class, mut times) in classes {
        let cut = cut.get(class).copied();
        println!("{}", with_times(json!({"measure": "search", "class": class, "cut": cut}), &mut times));
        let mut times = of_core.remove(class).unwrap();
        println!("{}", with_times(json!({"measure": "search, time of the core", "class": class}), &mut times));
    }
    println!("{}", with_times(json!({"measure": "search, least of all rounds", "rounds": ROUNDS}), &mut least));
    println!("{}", json!({"measure": "typing errors", "queries": typos, "right": right}));
}

fn sources(engine: &Engine, corpus: &str, entries: usize) {
    let every = (entries / 100_000).max(1);
    let lines = BufReader::new(File::open(corpus).unwrap()).lines().take(entries).step_by(every);
    let ids: Vec<ContentId> = lines.filter_map(|line| parse(&line.unwrap())?.1.content_id).collect();
    let mut times: Vec<Duration> = Vec::with_capacity(ids.len());
    for id in &ids {
        let start = Instant::now();
        let found = engine.sources(id, 64);
        times.push(start.elapsed());
        assert!(found.is_some());
    }
    println!("{}", with_times(json!({"measure": "sources"}), &mut times));
}

/// The hits of a cut search against those of a thorough one: right is what is worth as much as the tenth.
fn recall(engine: &Engine, asked: &[Asked]) {
    let mut classes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for asked in asked.iter().step_by(THOROUGHLY) {
        let query = Query::parse(&asked.text);
        let found = engine.search(&query, None, None, LIMIT, 0);
        if !found.more {
            continue;
        }
        let best = best_ten_with_ties(engine, &query);
        let right = found.hits.iter().take(10).filter(|hit| best.contains(&(hit.path.to_string(), hit.content_id))).count();
        for class in [asked.class.as_str(), "all"] {
            let (sum, of) = classes.entry(class).or_default();
            *sum += right;
            *of += best.len().min(10);
        }
        if right < 8 {
            println!("{}", json!({"cut": asked.text, "class": asked.class, "right": right, "ties": best.len()}));
        }
    }
    for (class, (right, of)) in classes {
        println!(
            "{}",
            json!({"measure": "recall of the top ten where cut", "class": class, "hits": of, "recall": right as f64 / of as f64})
        );
    }
}

fn best_ten_with_ties(engine: &Engine, query: &Query) -> HashSet<(String, Option<ContentId>)> {
    let score = |found: &Found| found.next.as_ref().map(|next| next.split(':').next().unwrap().parse::<u32>().unwrap());
    let first = engine.search_thoroughly(query, None, None, 10, 0);
    let mut best: HashSet<_> = first.hits.iter().map(|hit| (hit.path.to_string(), hit.content_id)).collect();
    let tenth = score(&first);
    let mut next = first.next.clone();
    // Ties, a page at a time, until the last of a page is worth less.
    for size in [40, 200, 1000, 5000] {
        let Some(after) = next else { break };
        let page = engine.search_thoroughly(query, None, Some(&after), size, 0);
        if score(&page) == tenth {
            best.extend(page.hits.iter().map(|hit| (hit.path.to_string(), hit.content_id)));
            next = page.next;
            continue;
        }
        // Some of this page tie: as many as a search for that many says.
        let (mut ties, mut less) = (0, page.hits.len());
        while ties < less {
            let middle = (ties + less).div_ceil(2);
            let part = engine.search_thoroughly(query, None, Some(&after), middle, 0);
            if score(&part) == tenth && part.hits.len() == middle { ties = middle } else { less = middle - 1 }
        }
        best.extend(page.hits.iter().take(ties).map(|hit| (hit.path.to_string(), hit.content_id)));
        break;
    }
    best
}

/// Counts by looking at every line of the corpus, with nothing of the engine but its folding.
fn totals(engine: &Engine, asked: &[Asked], corpus: &str, entries: usize) {
    let mut wanted: Vec<Counted<'_>> = Vec::new();
    for asked in asked {
        let query = Query::parse(&asked.text);
        let found = engine.search(&query, None, None, LIMIT, 0);
        if !found.more && found.corrected.is_none() {
            wanted.push((asked, query, found.total, HashSet::new(), HashSet::new()));
        }
    }
    for line in BufReader::with_capacity(1 << 20, File::open(corpus).unwrap()).lines().take(entries) {
        let line = line.unwrap();
        let mut fields = line.splitn(5, '\t');
        let seed = u64::from_str_radix(fields.nth(1).unwrap(), 16).unwrap();
        let path = fields.nth(2).unwrap();
        let folded = fold(path);
        for (_, query, _, files, folders) in &mut wanted {
            let ends: Option<Vec<usize>> = query.words.iter().map(|word| folded.find(word.as_str()).map(|at| at + word.len())).collect();
            let Some(ends) = ends else { continue };
            files.insert(seed);
            let end = ends.into_iter().max().unwrap_or(1) - 1;
            if let Some(slash) = folded.as_bytes()[end..].iter().position(|byte| *byte == b'/') {
                let depth = folded.as_bytes()[..end + slash].iter().filter(|byte| **byte == b'/').count();
                folders.insert(path.split('/').take(depth + 1).collect::<Vec<_>>().join("/"));
            }
        }
    }
    let right = wanted.iter().filter(|(_, _, total, files, folders)| *total == (files.len() + folders.len()) as u64).count();
    for (asked, _, total, files, folders) in
        wanted.iter().filter(|(_, _, total, files, folders)| *total != (files.len() + folders.len()) as u64)
    {
        println!("{}", json!({"wrong total of": asked.text, "told": total, "files": files.len(), "folders": folders.len()}));
    }
    println!("{}", json!({"measure": "totals where not cut", "queries": wanted.len(), "right": right}));
}

fn drop_peer(mut engine: Engine, corpus: &str, entries: usize) {
    let mut files: HashMap<u32, usize> = HashMap::new();
    for line in BufReader::new(File::open(corpus).unwrap()).lines().take(entries) {
        *files.entry(line.unwrap().split('\t').next().unwrap().parse().unwrap()).or_default() += 1;
    }
    let mut nearest: Vec<(usize, u32)> = files.iter().map(|(peer, files)| (files.abs_diff(10_000), *peer)).collect();
    nearest.sort_unstable();
    for (_, peer) in nearest.into_iter().take(5) {
        let start = Instant::now();
        engine.set_online(PeerNo(peer), false);
        let off = start.elapsed();
        let start = Instant::now();
        engine.forget_peer(PeerNo(peer));
        let forgotten = start.elapsed();
        let start = Instant::now();
        while engine.tidy() {}
        println!(
            "{}",
            json!({"measure": "peer drop", "files": files[&peer], "offline_us": off.as_secs_f64() * 1e6, "forget_ms": ms(forgotten),
                "rest_ms": ms(start.elapsed())})
        );
    }
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn with_times(mut result: serde_json::Value, times: &mut [Duration]) -> serde_json::Value {
    times.sort_unstable();
    let at = |share: f64| ms(times[((times.len() - 1) as f64 * share).round() as usize]);
    result["count"] = json!(times.len());
    result["p50_ms"] = json!(at(0.5));
    result["p99_ms"] = json!(at(0.99));
    result["max_ms"] = json!(at(1.0));
    result
}
