//! `download -o -`: the bytes of a file come out of a pipe, in order and verified, no faster than they are read.

use std::io::Read;
use std::process::{Command, Stdio};

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::hostile::{Lie, Offer, Plan};
use potluck_tests::town::{Node, Town, isolated};
use potluck_tests::{Failure, Result, programs::Programs, tree};

const SIZE: u64 = (96 << 20) + 7;
/// What the node keeps of a stream on its disk, and has on its way, at the most.
const AHEAD: u64 = 64 << 20;

/// The command `download HASH -o -` at a node, with a pipe behind it.
fn pipe(town: &Town, node: &Node, hash: &str) -> Result<std::process::Child> {
    let mut command = isolated(Command::new(&Programs::get()?.node), node.data_dir(), &town.path(""));
    command.args(["download", hash, "-o", "-"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command.spawn()?)
}

#[test]
fn a_file_comes_out_of_a_pipe_in_order_no_faster_than_it_is_read() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/long.mkv"), 70, SIZE)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("films")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("long.mkv", 1)?;
    let before = bob.process().vitals()?.memory;

    let mut child = pipe(&town, &bob, &hash)?;
    let mut stdout = child.stdout.take().ok_or_else(|| Failure::new("no pipe"))?;
    let mut first = vec![0; 1 << 20];
    stdout.read_exact(&mut first)?;
    // nobody reads on: what is sent comes to rest far from the end
    let mut last = u64::MAX;
    let sent = eventually(PATIENCE, "the source is asked for nothing more", || {
        let sent = ada.status()?["bytes_up"].as_u64().unwrap_or(0);
        let rate = ada.status()?["rate_up"].as_u64();
        let is_still = std::mem::replace(&mut last, sent) == sent && rate == Some(0);
        Ok(is_still.then_some(sent))
    })?;
    assert!(sent < AHEAD, "{sent} bytes were fetched for a reader of one MiB");

    let mut hasher = blake3::Hasher::new();
    hasher.update(&first);
    hasher.update_reader(&mut stdout)?;
    assert_eq!(hasher.finalize().to_hex().as_str(), hash);
    assert!(child.wait()?.success());
    let grown = bob.process().vitals()?.peak_memory.saturating_sub(before);
    assert!(grown < AHEAD, "the node grew by {grown} bytes");
    nothing_is_left(&bob)
}

#[test]
fn a_pipe_that_is_closed_ends_the_download_and_nothing_is_left() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/long.mkv"), 71, SIZE)?;
    let tracker = town.tracker("tracker")?;
    let _ada = town.node("ada").share(&town.path("films")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("long.mkv", 1)?;
    let mut child = pipe(&town, &bob, &hash)?;
    let mut stdout = child.stdout.take().ok_or_else(|| Failure::new("no pipe"))?;
    stdout.read_exact(&mut [0; 1000])?;
    drop(stdout);
    assert!(child.wait()?.success(), "who has read enough is no failure");
    eventually(PATIENCE, "the node fetches nothing more", || Ok((bob.status()?["downloads"] == 0).then_some(())))?;
    nothing_is_left(&bob)
}

#[test]
fn wrong_bytes_never_come_out_of_a_pipe() -> Result {
    let town = Town::new()?;
    let content = tree::content(72, 5 << 20);
    let tracker = town.tracker("tracker")?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let _liar = Plan::new(Lie::WrongBytes, [Offer::new("share/fake", content)]).at(tracker.address()).start()?;
    let hit = bob.find("fake", 1)?;
    let hash = hit["content_id"].as_str().unwrap_or_default().to_owned();
    let mut command = isolated(Command::new(&Programs::get()?.node), bob.data_dir(), &town.path(""));
    let output = command.args(["download", &hash, "-o", "-", "--timeout", "3"]).stdin(Stdio::null()).output()?;
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty());
    Ok(())
}

/// Neither in the folder of downloads nor in that of streams.
fn nothing_is_left(node: &Node) -> Result {
    eventually(PATIENCE, "no file is left", || {
        let streams = node.data_dir().join("streams");
        let left = tree::measure(&streams).0 + tree::measure(node.download_dir()).0;
        Ok((left == 0).then_some(()))
    })
}
