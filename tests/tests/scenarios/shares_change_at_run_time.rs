//! Folders are shared and no longer shared while the node runs, and it remembers.

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::town::Town;
use potluck_tests::{Result, tree};

#[test]
fn a_folder_is_added_listed_remembered_and_removed() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 18, 10_000)?;
    tree::file(&town.path("books/novel.epub"), 19, 20_000)?;
    let tracker = town.tracker("tracker")?;
    let mut ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("live.flac", 1)?;

    let folder = format!("library={}", town.path("books").display());
    let added = ada.verb(&["share", "add", &folder])?.ok()?;
    assert_eq!(added.only()?["name"], "library");
    assert_eq!(bob.find("novel.epub", 1)?["peers"][0]["path"], "library/novel.epub");

    ada.restart()?;
    bob.find("novel.epub", 1)?;
    let listed = ada.verb(&["share", "ls"])?.ok()?;
    let mut names: Vec<_> = listed.lines.iter().filter_map(|share| share["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["library", "music"]);

    ada.verb(&["share", "rm", "library"])?.ok()?;
    eventually(PATIENCE, "nobody finds it any more", || Ok((bob.verb(&["search", "novel.epub"])?.code == Some(3)).then_some(())))?;
    assert!(town.path("books/novel.epub").exists(), "nothing of the user's is deleted");
    ada.verb(&["share", "rm", "library"])?.refused(3)?;
    Ok(())
}
