//! Who has something gives it on: while it comes, and when it is there.

use potluck_tests::clock::{PATIENCE, eventually, now};
use potluck_tests::town::{Town, VERB_LIMIT};
use potluck_tests::{Failure, Result, tree};

#[test]
fn a_finished_download_is_offered_also_after_a_restart_until_it_is_touched() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/long.mkv"), 80, 3 << 20)?;
    let small = tree::file(&town.path("films/note.txt"), 81, 100)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("films")).tracker(&tracker).start_ready()?;
    let mut bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("note.txt", 1)?;
    bob.find("long.mkv", 1)?;
    bob.download(&["ada:films"])?.ok()?;
    let cleo = town.node("cleo").tracker(&tracker).start_ready()?;
    cleo.find("long.mkv", 2)?;
    ada.terminate()?;
    bob.restart()?;
    cleo.find("note.txt", 1)?;
    cleo.find("long.mkv", 1)?;
    cleo.download(&[&hash, &small])?.ok()?;
    tree::same_bytes(&town.path("films/long.mkv"), &cleo.download_dir().join("long.mkv"))?;

    drop(cleo);
    std::fs::write(bob.download_dir().join("films/long.mkv"), "another film")?;
    let dora = town.node("dora").tracker(&tracker).start_ready()?;
    assert_ne!(dora.download(&[&hash, "--timeout", "2"])?.code, Some(0), "what was touched is not given on");
    assert!(!dora.download_dir().join("long.mkv").exists());
    Ok(())
}

#[test]
fn a_download_that_is_deleted_is_found_no_more() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/long.mkv"), 85, 3 << 20)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("films")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("long.mkv", 1)?;
    bob.download(&[&hash])?.ok()?;
    ada.find("long.mkv", 2)?;
    std::fs::remove_file(bob.download_dir().join("long.mkv"))?;
    ada.find("long.mkv", 1)?;
    bob.download(&[&hash])?.ok()?;
    ada.find("long.mkv", 2)?;
    Ok(())
}

/// Four fetch what one sends at a rate that is its own: they give it to each other.
#[test]
fn four_who_fetch_at_the_same_time_take_little_longer_than_one() -> Result {
    const SIZE: u64 = 32 << 20;
    const RATE: &str = "8MiB/s";
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/long.mkv"), 82, SIZE)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("films")).tracker(&tracker).arg("--limit-up").arg(RATE).start_ready()?;
    let names = ["bob", "cleo", "dora", "emil"];
    let start = |name| town.node(name).tracker(&tracker).arg("--limit-up").arg(RATE).start_ready();
    let nodes = names.into_iter().map(start).collect::<Result<Vec<_>>>()?;
    nodes.iter().try_for_each(|node| node.find("long.mkv", 1).map(drop))?;

    let began = now();
    let running = nodes.iter().map(|node| node.begin(&["download", &hash])).collect::<Result<Vec<_>>>()?;
    for download in running {
        download.finish(VERB_LIMIT)?.ok()?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let one = SIZE as f64 / f64::from(8 << 20);
    let sent = ada.status()?["bytes_up"].as_u64().unwrap_or(u64::MAX);
    assert!(sent < 3 * SIZE, "the first source sent {sent} bytes: {:.1} times the file", sent as f64 / SIZE as f64);
    // Without each other they would take four times as long. How little it takes on an idle machine, `just bench-transfer` says.
    assert!(seconds < 3.5 * one, "four took {seconds:.1} s, and one takes {one:.1} s");
    for node in &nodes {
        tree::same_bytes(&town.path("films/long.mkv"), &node.download_dir().join("long.mkv"))?;
    }
    Ok(())
}

#[test]
fn equal_contents_under_several_names_are_fetched_once() -> Result {
    let town = Town::new()?;
    for name in ["one.mkv", "two.mkv", "deep/three.mkv"] {
        tree::file(&town.path("films").join(name), 83, (5 << 20) + 1)?;
    }
    for name in ["a.txt", "b.txt"] {
        tree::file(&town.path("films").join(name), 84, 5000)?;
    }
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("films")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("b.txt", 1)?;
    bob.find("three.mkv", 1)?;
    let finished = bob.download(&["ada:films"])?.ok()?;
    assert_eq!(finished.done().len(), 5, "{:?}", finished.lines);
    let fetched: u64 = finished.done().iter().filter_map(|line| line["fetched"].as_u64()).sum();
    assert_eq!(fetched, (5 << 20) + 1 + 5000);
    assert_eq!(ada.status()?["bytes_up"].as_u64().ok_or_else(|| Failure::new("no figure"))?, fetched + 6 * 32);
    eventually(PATIENCE, "all is there", || {
        let contents = |dir: &std::path::Path| -> Result<Vec<_>> {
            Ok(tree::look(dir)?.into_iter().map(|(path, seen)| (path, seen.content)).collect())
        };
        Ok((contents(&town.path("films"))? == contents(&bob.download_dir().join("films"))?).then_some(()))
    })
}
