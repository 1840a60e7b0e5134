//! How fast the store is, on this machine: `cargo test --release -p potluck-node figures -- --ignored --nocapture --test-threads 1`.
#![allow(clippy::disallowed_methods, reason = "measures")]

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use potluck_common::content_id::{ContentId, PieceHash};

use super::test_tree::{TestTree, noise};
use super::{HardLinks, Hashed, ScanEvent, ShareDir, Stamp, State, hash_file, scan};

#[test]
#[ignore = "measures; see the top of the file"]
fn scan_a_large_tree() {
    let root = std::env::var_os("POTLUCK_SCAN").map_or_else(|| PathBuf::from("/usr"), PathBuf::from);
    let share = ShareDir::open("s", &root).unwrap();
    for run in ["first", "second"] {
        let start = Instant::now();
        let mut names = 0;
        let summary = scan(&share, HardLinks::Shared, &mut |event| {
            if let ScanEvent::Found { path, .. } = event {
                names += path.as_str().len();
            }
            ControlFlow::Continue(())
        });
        println!("{run} scan of {}: {:?}, {:?}, {names} bytes of names", root.display(), start.elapsed(), summary.unwrap());
    }
}

#[test]
#[ignore = "measures; see the top of the file"]
fn hash_a_large_file() {
    let tree = TestTree::new();
    let block = noise(64 << 20);
    let mut file = File::create(tree.path("file")).unwrap();
    (0..32).for_each(|_| file.write_all(&block).unwrap());
    let share = ShareDir::open("s", tree.root()).unwrap();
    for _ in 0..3 {
        let start = Instant::now();
        let hashed = hash_file(&share.open_file("file").unwrap(), &AtomicBool::new(false), &mut |_| {}).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        println!("hashing: {:.2} GB/s, {} pieces", hashed.stamp.size as f64 / seconds / 1e9, hashed.pieces.len());
    }
}

#[test]
#[ignore = "measures; see the top of the file"]
fn remember_a_million_files() {
    let tree = TestTree::new();
    let file = |number: u64| {
        let content_id = ContentId::of(&number.to_be_bytes());
        let stamp = Stamp { dev: 1, ino: number.wrapping_mul(0x9e37_79b9_7f4a_7c15), size: number, mtime_ns: 1 };
        Hashed { content_id, pieces: vec![PieceHash::from_bytes(*content_id.as_bytes())], stamp }
    };
    let files: Vec<_> = (0..1_000_000).map(file).collect();
    let state = State::open(tree.root()).unwrap();
    let start = Instant::now();
    files.chunks(10_000).for_each(|some| state.put_hashes(some).unwrap());
    println!("put 1 M in batches of 10,000: {:?}, {} bytes", start.elapsed(), tree.path("state.redb").metadata().unwrap().len());
    let start = Instant::now();
    (0..100).for_each(|id| state.checkpoint(id % 4, &[0; 256]).unwrap());
    println!("a checkpoint: {:?}", start.elapsed() / 100);
    drop(state);
    let start = Instant::now();
    let state = State::open(tree.root()).unwrap();
    println!("open: {:?}", start.elapsed());
    let stamps: Vec<_> = files.iter().map(|file| file.stamp).collect();
    let start = Instant::now();
    let found = state.content_ids(&stamps).unwrap();
    println!("look up 1 M at once: {:?}", start.elapsed());
    assert!(found.iter().zip(&files).all(|(id, file)| *id == Some(file.content_id)));
    let start = Instant::now();
    stamps.chunks(1_000).for_each(|some| drop(state.content_ids(some).unwrap()));
    println!("look up 1 M in batches of 1,000: {:?}", start.elapsed());
}
