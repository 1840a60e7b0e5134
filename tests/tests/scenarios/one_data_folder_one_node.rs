//! What is wrong before a program can start: a taken port, a taken data folder, a broken database, a readable key.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use potluck_tests::clock::PATIENCE;
use potluck_tests::process::Process;
use potluck_tests::town::{Town, split_address};
use potluck_tests::{Result, tree};

/// G042.
#[test]
fn a_second_program_on_the_same_data_folder_is_refused_and_the_first_goes_on() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").tracker(&tracker).start_ready()?;
    let second = Process::start("a second ada", &mut town.node("ada").command())?.finish(PATIENCE)?;
    assert_ne!(second.code, Some(0));
    assert!(second.stderr.contains("run"), "{}", second.stderr);
    let second = Process::start("a second tracker", &mut town.tracker_command("tracker", &["--listen", "/ip4/127.0.0.1/tcp/0"]))?;
    let second = second.finish(PATIENCE)?;
    assert_ne!(second.code, Some(0));
    assert!(second.stderr.contains("run"), "{}", second.stderr);
    ada.verb(&["status"])?.ok()?;
    Ok(())
}

#[test]
fn a_taken_port_is_an_error_that_names_it() -> Result {
    let town = Town::new()?;
    let first = town.tracker("first")?;
    let (place, _) = split_address(first.address())?;
    let port = place.rsplit('/').next().unwrap_or_default();
    let second = Process::start("second", &mut town.tracker_command("second", &["--listen", place]))?.finish(PATIENCE)?;
    assert!(second.code != Some(0) && second.stderr.contains(port), "{:?} {}", second.code, second.stderr);
    let node = Process::start("node", &mut town.node("node").arg("--listen").arg(place).command())?.finish(PATIENCE)?;
    assert!(node.code != Some(0) && node.stderr.contains(port), "{:?} {}", node.code, node.stderr);
    Ok(())
}

/// G041.
#[test]
fn a_broken_database_is_never_silently_emptied_and_the_identity_stays() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 31, 1000)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    let (who, data_dir) = (ada.peer_id().to_owned(), ada.data_dir().to_owned());
    ada.terminate()?;
    let databases: Vec<_> = tree::look(&data_dir)?.into_keys().filter(|path| path.extension().is_some_and(|end| end == "redb")).collect();
    assert_eq!(databases.len(), 1, "{databases:?}");
    let broken = tree::content(1, 100_000);
    fs::write(data_dir.join(&databases[0]), &broken)?;

    let refused = Process::start("ada", &mut town.node("ada").share(&town.path("music")).command())?.finish(PATIENCE)?;
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains(&*databases[0].to_string_lossy()), "{}", refused.stderr);
    assert_eq!(fs::read(data_dir.join(&databases[0]))?, broken, "what may be rescued was left alone");
    fs::rename(data_dir.join(&databases[0]), town.path("moved away"))?;
    assert_eq!(town.node("ada").share(&town.path("music")).start_ready()?.peer_id(), who);
    Ok(())
}

/// G070.
#[test]
fn a_key_that_others_can_read_is_refused() -> Result {
    let town = Town::new()?;
    town.potluck("eve", &["id"])?.ok()?;
    let key = tree::look(&town.path("eve"))?.into_keys().find(|path| path.to_string_lossy().contains("identity"));
    let key = town.path("eve").join(key.unwrap_or_default());
    assert_eq!(fs::metadata(&key)?.permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let refused = town.potluck("eve", &["id"])?;
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("chmod 600"), "{}", refused.stderr);
    Ok(())
}
