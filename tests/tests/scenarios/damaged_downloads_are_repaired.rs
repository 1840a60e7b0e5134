//! A disk that forgets: `verify` finds what is damaged of downloads, fetches the wrong pieces only, and keeps what was there.

use std::fs;
use std::os::unix::fs::FileExt;

use potluck_tests::{Result, town::Town, tree};

const SIZE: u64 = (8 << 20) + 100;
const PIECE: u64 = 1 << 20;

#[test]
fn wrong_pieces_come_anew_and_the_damaged_file_is_kept() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/flipped.mkv"), 60, SIZE)?;
    tree::file(&town.path("films/cut.mkv"), 61, SIZE)?;
    tree::file(&town.path("films/right.mkv"), 62, SIZE)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("films")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    for name in ["flipped.mkv", "cut.mkv", "right.mkv"] {
        bob.find(name, 1)?;
    }
    bob.download(&["ada:films"])?.ok()?;
    let there = bob.download_dir().join("films");

    let all_right = bob.verb(&["verify"])?.ok()?;
    assert_eq!(all_right.lines.iter().filter(|line| line["event"] == "intact").count(), 3, "{:?}", all_right.lines);

    fs::File::options().write(true).open(there.join("flipped.mkv"))?.write_all_at(b"X", 3 * PIECE + 17)?;
    fs::File::options().write(true).open(there.join("cut.mkv"))?.set_len(SIZE - 50)?;
    let damaged = fs::read(there.join("flipped.mkv"))?;
    bob.verb(&["verify", "--check"])?.refused(5)?;
    assert_eq!(fs::read(there.join("flipped.mkv"))?, damaged, "--check repairs nothing");

    let sent = ada.status()?["bytes_up"].as_u64();
    let flipped = bob.verb(&["verify", &hash])?.ok()?;
    let line = flipped.lines.iter().find(|line| line["event"] == "repaired").cloned().unwrap_or_default();
    assert_eq!(line["fetched"], PIECE, "{:?}", flipped.lines);
    assert_eq!(fs::read(line["kept"].as_str().unwrap_or_default())?, damaged, "what was there is kept");
    let folder = bob.verb(&["verify", there.to_str().unwrap_or_default()])?.ok()?;
    let line = folder.lines.iter().find(|line| line["event"] == "repaired").cloned().unwrap_or_default();
    assert_eq!(line["fetched"], 100, "only the last piece is fetched: {:?}", folder.lines);
    assert!(ada.status()?["bytes_up"].as_u64() <= sent.map(|sent| sent + PIECE + 100));
    for name in ["flipped.mkv", "cut.mkv", "right.mkv"] {
        tree::same_bytes(&town.path("films").join(name), &there.join(name))?;
    }
    let names: Vec<_> = tree::look(&there)?.into_keys().collect();
    assert_eq!(names.len(), 5, "three files and two that were damaged: {names:?}");
    Ok(())
}

#[test]
fn what_was_moved_is_missing_and_what_has_no_source_stays_as_it_is() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("films/a.mkv"), 63, SIZE)?;
    tree::file(&town.path("films/b.mkv"), 64, 1000)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("films")).tracker(&tracker).start_ready()?;
    let mut bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("a.mkv", 1)?;
    bob.find("b.mkv", 1)?;
    bob.download(&["ada:films"])?.ok()?;
    let there = bob.download_dir().join("films");
    bob.verb(&["verify"])?.ok()?; // what is done is written down by then
    bob.restart()?;
    fs::remove_file(there.join("b.mkv"))?;
    let missing = bob.verb(&["verify"])?.ok()?;
    assert_eq!(missing.lines.iter().filter(|line| line["event"] == "missing").count(), 1, "{:?}", missing.lines);

    ada.terminate()?;
    fs::File::options().write(true).open(there.join("a.mkv"))?.write_all_at(b"X", 5)?;
    let before = fs::read(there.join("a.mkv"))?;
    assert_ne!(
        bob.begin(&["verify", there.join("a.mkv").to_str().unwrap_or_default()])?.finish(potluck_tests::town::VERB_LIMIT)?.code,
        Some(0)
    );
    assert_eq!(fs::read(there.join("a.mkv"))?, before, "a repair that cannot be finished touches nothing");
    bob.verb(&["verify", "/nowhere"])?.refused(3)?;
    Ok(())
}
