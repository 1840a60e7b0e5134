//! A peer that switches its machine off does not stop those who download from it and from another.

use potluck_tests::{
    Result,
    clock::PATIENCE,
    town::{Town, VERB_LIMIT},
    tree,
};

#[test]
fn a_source_that_dies_in_mid_download_is_replaced_by_the_others() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/long.mkv"), 4, 64 << 20)?;
    let tracker = town.tracker("tracker")?;
    let seeder = |name| town.node(name).share(&town.path("films")).tracker(&tracker).arg("--limit-up").arg("10MiB/s");
    let (mut ada, bob) = (seeder("ada").start_ready()?, seeder("bob").start_ready()?);
    let cleo = town.node("cleo").tracker(&tracker).start_ready()?;
    cleo.find("long.mkv", 2)?;

    let download = cleo.begin(&["download", &hash])?;
    download.line("progress of 8 MiB", PATIENCE, |line| line["event"] == "progress" && line["bytes"].as_u64() > Some(8 << 20))?;
    ada.kill9()?;
    let finished = download.finish(VERB_LIMIT)?.ok()?;
    assert_eq!(finished.done().len(), 1, "{:?}", finished.lines);
    assert!(bob.status()?["bytes_up"].as_u64() > Some(16 << 20));
    tree::same_bytes(&town.path("films/long.mkv"), &cleo.download_dir().join("long.mkv"))
}
