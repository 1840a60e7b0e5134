//! A tracker and the database of its index: encrypted as its address asks, and said to be away while it is.

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::http::Http;
use potluck_tests::postgres::Postgres;
use potluck_tests::process::Process;
use potluck_tests::town::Town;
use potluck_tests::{Result, tree};

use crate::both_indexes::skip;

/// How many connections of trackers there are, and whether each of them is encrypted.
const CONNECTIONS: &str = "SELECT count(*) > 0, bool_and(ssl), bool_or(ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
                           WHERE application_name = 'potluck-tracker'";

#[test]
fn connections_to_a_database_are_encrypted_as_its_address_asks() -> Result {
    let Some(database) = Postgres::start_encrypted()? else { return skip() };
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 31, 10_000)?;
    let (url, (authority, another)) = (database.encrypted_url(), database.authorities());
    let verified = format!("{url}&sslmode=verify-full&sslrootcert=");
    let tracker = town.tracker_with("verified", &["--index", &format!("{verified}{}", authority.display())])?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    ada.find("live.flac", 1)?;
    assert_eq!(database.sql(CONNECTIONS)?, "t|t|t");
    drop((ada, tracker));
    for (name, asked, found) in [
        ("required", format!("{url}&sslmode=require"), "t|t|t"),
        ("offered", url.clone(), "t|t|t"),
        ("disabled", format!("{url}&sslmode=disable"), "t|f|f"),
    ] {
        none_is_left(&database)?;
        let _tracker = town.tracker_with(name, &["--index", &asked])?;
        assert_eq!(database.sql(CONNECTIONS)?, found, "{name}");
    }
    none_is_left(&database)?;
    let of_another_host = verified.replace("localhost", "127.0.0.1");
    for (asked, told) in [
        (format!("{verified}{}", another.display()), "the certificate of the database's server does not hold"),
        (format!("{of_another_host}{}", authority.display()), "the certificate of the database's server does not hold"),
        (format!("{url}&sslmode=verify-full"), "sslrootcert=FILE"),
    ] {
        refuses(&town, &asked, told)?;
    }
    assert_eq!(database.sql(CONNECTIONS)?, "f||");
    Ok(())
}

#[test]
fn a_tracker_is_not_ready_while_its_database_is_away() -> Result {
    let Some(mut database) = Postgres::start()? else { return skip() };
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 32, 10_000)?;
    let tracker = town.tracker_with("tracker", &["--page", "127.0.0.1:0", "--index", &database.url()])?;
    let page = tracker.process().event("page", PATIENCE)?;
    let page = Http::new(page["address"].as_str().unwrap_or_default());
    let ready = || Ok::<_, potluck_tests::Failure>((page.send("GET", "/readyz", None)?.status, page.send("GET", "/healthz", None)?.status));
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    ada.find("live.flac", 1)?;
    assert_eq!(ready()?, (200, 200));
    database.stop()?;
    eventually(PATIENCE, "the tracker is not ready", || Ok((ready()? == (503, 200)).then_some(())))?;
    let told = page.send("GET", "/readyz", None)?.text();
    assert!(told.contains("the database of the index does not answer"), "{told}");
    let status = Process::start("status", &mut town.tracker_command("tracker", &["status"]))?.finish(PATIENCE)?.ok()?;
    assert_eq!(status.only()?["ready"], false);
    database.start_again()?;
    eventually(PATIENCE, "the tracker is ready again", || Ok((ready()? == (200, 200)).then_some(())))?;
    ada.find("live.flac", 1)?;
    Ok(())
}

/// A tracker that was killed has no connections any more.
fn none_is_left(database: &Postgres) -> Result {
    eventually(PATIENCE, "the tracker's connections are closed", || Ok((database.sql(CONNECTIONS)? == "f||").then_some(())))
}

/// A tracker does not start, and says why.
fn refuses(town: &Town, url: &str, told: &str) -> Result {
    let args = ["--listen", "/ip4/127.0.0.1/tcp/0", "--page", "off", "--index", url];
    let refused = Process::start("refused", &mut town.tracker_command("refused", &args))?.finish(PATIENCE)?.refused(8)?;
    assert!(refused.stderr.contains(told), "{url}: {}", refused.stderr);
    Ok(())
}
