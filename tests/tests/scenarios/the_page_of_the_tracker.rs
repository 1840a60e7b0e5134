//! Whoever runs a tracker sees who is there, what is searched and who was invited; nobody else sees anything.

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::http::Http;
use potluck_tests::postgres::Postgres;
use potluck_tests::process::Process;
use potluck_tests::{Result, town::Town, town::Tracker, tree};

use crate::both_indexes::skip;

/// The page of a tracker, for nobody and for who holds the token.
fn pages(tracker: &Tracker) -> Result<(Http, Http)> {
    let page = tracker.process().event("page", PATIENCE)?;
    let stranger = Http::new(page["address"].as_str().unwrap_or_default());
    let token = std::fs::read_to_string(tracker.data_dir().join("page-token"))?;
    Ok((stranger.clone(), stranger.with("Authorization", &format!("Bearer {token}"))))
}

const CLOSED: [&str; 6] = ["/metrics", "/api/v1/openapi.json", "/api/v1/status", "/api/v1/peers", "/api/v1/invitations", "/api/v1/members"];
const OPEN: [&str; 6] = ["/", "/page/app.js", "/page/api.js", "/healthz", "/readyz", "/api/v1/session"];

#[test]
fn who_runs_the_tracker_sees_it_and_nobody_else_does() -> Result {
    let town = Town::new()?;
    tree::folder(&town.path("music"), 3, 12, 10..=20)?;
    let tracker = town.tracker_with("tracker", &["--page", "127.0.0.1:0"])?;
    let (stranger, page) = pages(&tracker)?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    ada.find("file 3.bin", 1)?;
    let status = eventually(PATIENCE, "the files are counted", || {
        let status = page.get("/api/v1/status")?;
        Ok((status["files"] == 12).then_some(status))
    })?;
    assert_eq!((&status["private"], &status["namespaces"][0]["peers"]), (&false.into(), &1.into()));
    assert!(status["searches"].as_u64() >= Some(1) && status["events"][0]["event"].is_string(), "{status}");
    let peers = page.get("/api/v1/peers")?;
    assert_eq!((&peers["total"], &peers["items"][0]["nickname"]), (&1.into(), &"ada".into()));
    let metrics = page.send("GET", "/metrics", None)?.text();
    assert!(metrics.contains("potluck_tracker_stopped_total{limit=\"quota\"} 0"), "{metrics}");
    assert!(metrics.contains("potluck_tracker_files 12") && metrics.contains("potluck_tracker_searches_total"), "{metrics}");
    assert_eq!(stranger.send("GET", "/readyz", None)?.text(), "ready\n");

    for path in CLOSED {
        assert_eq!(stranger.send("GET", path, None)?.status, 401, "{path}");
        assert_eq!(page.send("POST", path, Some("{}"))?.status, 405, "{path}: the page changes nothing");
    }
    for path in CLOSED.iter().chain(&OPEN) {
        let wrong = page.clone().without("Host").with("Host", "attacker.example");
        assert_eq!(wrong.send("GET", path, None)?.status, 421, "{path}");
        assert_eq!(page.clone().with("Origin", "http://attacker.example").send("GET", path, None)?.status, 403, "{path}");
        let answer = page.send("GET", path, None)?;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'")), "{path}");
    }

    let link = Process::start("page", &mut town.tracker_command("tracker", &["page"]))?.finish(PATIENCE)?.ok()?;
    let key = link.only()?["link"].as_str().and_then(|link| link.split("#key=").nth(1)).unwrap_or_default().to_owned();
    let sign_in = || stranger.send("POST", "/api/v1/session", Some(&serde_json::json!({ "key": key }).to_string()));
    assert_eq!((sign_in()?.status, sign_in()?.status), (204, 401), "a key works once");
    let told = Process::start("status", &mut town.tracker_command("tracker", &["status"]))?.finish(PATIENCE)?.ok()?;
    assert_eq!(told.only()?["files"], 12);
    Process::start("status", &mut town.tracker_command("nobody", &["status"]))?.finish(PATIENCE)?.refused(8)?;
    assert!(!town.path("nobody").exists(), "nothing is made where no tracker is");
    Ok(())
}

#[test]
fn invitations_and_members_of_a_private_tracker_are_listed() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--page", "127.0.0.1:0", "--private"])?;
    let (_, page) = pages(&tracker)?;
    let invited = tracker.process().event("invited", PATIENCE);
    let invitations = eventually(PATIENCE, "the first invitation is listed", || {
        let lines = page.get("/api/v1/invitations")?;
        Ok(lines.as_array().is_some_and(|lines| lines.len() == 1).then_some(lines))
    })?;
    assert!(invitations[0]["invitation"].is_null(), "the secret is not told again: {invitations}, {invited:?}");
    assert_eq!(page.get("/api/v1/members")?, serde_json::json!([]));
    assert_eq!(page.get("/api/v1/status")?["private"], true);
    Ok(())
}

#[test]
fn a_tracker_that_shares_its_index_tells_who_is_there_and_makes_nothing_up() -> Result {
    let Some(database) = Postgres::start()? else { return skip() };
    let town = Town::new()?;
    tree::folder(&town.path("music"), 3, 12, 10..=20)?;
    let tracker = town.tracker_with("tracker", &["--page", "127.0.0.1:0", "--index", &database.url()])?;
    let (stranger, page) = pages(&tracker)?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    ada.find("file 3.bin", 1)?;
    let status = page.get("/api/v1/status")?;
    assert_eq!((&status["shares_index"], &status["peers"], &status["namespaces"][0]["peers"]), (&true.into(), &1.into(), &1.into()));
    assert!(status["files"].is_null() && status["namespaces"][0]["files"].is_null(), "{status}");
    assert!(status["publishes"].as_u64() >= Some(1) && status["searches"].as_u64() >= Some(1), "{status}");
    let peers = page.get("/api/v1/peers")?;
    assert_eq!((&peers["total"], &peers["items"][0]["peer_id"]), (&1.into(), &ada.peer_id().into()));
    let metrics = page.send("GET", "/metrics", None)?.text();
    assert!(metrics.contains("potluck_tracker_peers 1") && !metrics.contains("potluck_tracker_files"), "{metrics}");
    assert_eq!(stranger.send("GET", "/readyz", None)?.text(), "ready\n");
    let told = Process::start("status", &mut town.tracker_command("tracker", &["status"]))?.finish(PATIENCE)?.ok()?;
    assert!(told.only()?["files"].is_null());
    Ok(())
}
