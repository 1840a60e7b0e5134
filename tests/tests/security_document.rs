//! docs/SECURITY.md names tests that there are, and leaves out no number that it should have.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use potluck_tests::arrows;

/// The sections of the list of attacks that the document answers: hostile peers, names and files, trackers, floods, identity.
const NUMBERS: [std::ops::RangeInclusive<u32>; 5] = [1..=20, 21..=34, 43..=51, 52..=61, 69..=73];

#[test]
fn every_attack_is_answered_by_tests_that_there_are() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = fs::read_to_string(workspace.join("docs/SECURITY.md")).unwrap();
    let functions: BTreeSet<String> = arrows::read(workspace)
        .unwrap()
        .iter()
        .flat_map(|source| {
            source.text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next()).map(ToOwned::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| G")).collect();
    let numbers: Vec<u32> = rows.iter().filter_map(|row| row.get(3..6)?.parse().ok()).collect();
    assert_eq!(numbers, NUMBERS.into_iter().flatten().collect::<Vec<_>>());
    for row in rows {
        let quoted = row.split('`').skip(1).step_by(2);
        let unknown: Vec<&str> =
            quoted.filter(|name| name.contains('_') && !name.contains(['.', '/']) && !functions.contains(*name)).collect();
        assert!(unknown.is_empty(), "{unknown:?} in {row}");
    }
}
