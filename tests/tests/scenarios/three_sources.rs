//! Many hands: a file that three peers have is fetched from all of them at once.

use potluck_tests::{Result, town::Town, tree};

#[test]
fn a_file_on_three_sources_comes_from_all_three() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/long.mkv"), 3, 48 << 20)?;
    let tracker = town.tracker("tracker")?;
    let mut seeders = Vec::new();
    for name in ["ada", "bob", "cleo"] {
        let node = town.node(name).share(&town.path("films")).tracker(&tracker).arg("--limit-up").arg("8MiB/s");
        seeders.push(node.start_ready()?);
    }
    let dora = town.node("dora").tracker(&tracker).start_ready()?;
    dora.find("long.mkv", 3)?;

    let finished = dora.download(&[&hash])?.ok()?;
    assert_eq!(finished.done()[0]["sources"], 3, "{:?}", finished.lines);
    for seeder in &seeders {
        let sent = seeder.status()?["bytes_up"].as_u64().unwrap_or(0);
        assert!(sent >= 1 << 20, "{} sent {sent} bytes", seeder.name());
    }
    tree::same_bytes(&town.path("films/long.mkv"), &dora.download_dir().join("long.mkv"))
}
