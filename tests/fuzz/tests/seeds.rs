//! Every seed, and every input that once failed, holds.

use std::fs;
use std::path::Path;

use potluck_fuzz::TARGETS;
use potluck_node::store::DownloadRecord;

/// G091.
#[test]
fn what_a_fuzzer_once_tried_still_holds() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        let seeds: Vec<_> = fs::read_dir(&folder).unwrap().map(|seed| seed.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            println!("{}", seed.display()); // of the last one, when it panics
            target(&fs::read(&seed).unwrap());
        }
    }
}

/// A fuzzer that begins with none would hardly ever come upon one.
#[test]
fn the_seeds_of_resume_hold_records() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/resume");
    let seeds = fs::read_dir(folder).unwrap().map(|seed| fs::read(seed.unwrap().path()).unwrap());
    let records = seeds.filter(|seed| seed.get(8..).is_some_and(|bytes| serde_cbor::from_slice::<DownloadRecord>(bytes).is_ok()));
    assert_eq!(records.count(), 3);
}
