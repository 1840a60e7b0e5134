//! A file that has the name of a download already.

use std::fs;

use potluck_tests::{
    Result,
    town::{Node, Town},
    tree,
};

fn a_file_to_fetch(town: &Town) -> Result<(Node, Node, String)> {
    let hash = tree::file(&town.path("music/live.flac"), 15, 300_000)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    let bob = town.node("bob").start_ready()?;
    bob.verb(&["dial", ada.address()])?.ok()?;
    Ok((ada, bob, hash))
}

#[test]
fn the_same_content_is_reported_as_already_there() -> Result {
    let town = Town::new()?;
    let (_ada, bob, hash) = a_file_to_fetch(&town)?;
    fs::copy(town.path("music/live.flac"), bob.download_dir().join("live.flac"))?;
    let before = tree::look(bob.download_dir())?;
    let finished = bob.download(&[&hash])?.ok()?;
    assert_eq!(finished.done()[0]["already_there"], true);
    assert_eq!(finished.done()[0]["fetched"], 0);
    assert_eq!(tree::look(bob.download_dir())?, before);
    Ok(())
}

#[test]
fn another_content_stays_and_the_new_file_gets_a_number_or_an_error() -> Result {
    let town = Town::new()?;
    let (_ada, bob, hash) = a_file_to_fetch(&town)?;
    let mine = bob.download_dir().join("live.flac");
    fs::write(&mine, "my own recording")?;
    bob.download(&[&hash, "--on-conflict", "error"])?.refused(7)?;
    assert_eq!(fs::read(&mine)?, b"my own recording");

    let finished = bob.download(&[&hash])?.ok()?;
    let path = finished.done()[0]["path"].as_str().unwrap_or_default().to_owned();
    assert_eq!(path, bob.download_dir().join("live (1).flac").to_string_lossy());
    assert_eq!(fs::read(&mine)?, b"my own recording");
    tree::same_bytes(&town.path("music/live.flac"), path.as_ref())
}

/// G027: what stands in the place of the download is a way out of the folder.
#[test]
fn a_link_or_a_pipe_in_the_place_of_a_download_is_not_followed() -> Result {
    let town = Town::new()?;
    let (_ada, bob, hash) = a_file_to_fetch(&town)?;
    fs::write(town.path("victim"), "untouched")?;
    std::os::unix::fs::symlink(town.path("victim"), bob.download_dir().join("live.flac"))?;
    bob.download(&[&hash])?.ok()?;
    assert_eq!(fs::read(town.path("victim"))?, b"untouched");
    tree::same_bytes(&town.path("music/live.flac"), &bob.download_dir().join("live (1).flac"))
}
