//! After a transfer no file, no socket and no memory is held that was not held before.

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::{Result, town::Town, tree};

#[test]
fn many_downloads_leave_no_open_files() -> Result {
    let town = Town::new()?;
    let share = town.path("books");
    tree::folder(&share, 36, 60, 10_000..=3_000_000)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&share).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("file 7.bin", 1)?;
    let round = |number: u32| {
        let into = town.path(&format!("round {number}"));
        std::fs::create_dir_all(&into)?;
        bob.download(&[&format!("{}:books", ada.peer_id()), "-o", &into.to_string_lossy()])?.ok()
    };
    round(0)?;
    let open = || -> Result<_> { Ok((ada.process().vitals()?.open_files, bob.process().vitals()?.open_files)) };
    let before = open()?;
    for number in 1..4 {
        round(number)?;
    }
    eventually(PATIENCE, &format!("as few open files as before: {before:?}"), || {
        let after = open()?;
        Ok((after.0 <= before.0 + 2 && after.1 <= before.1 + 2).then_some(()))
    })
}
