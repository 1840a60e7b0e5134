//! What scripts depend on: every verb prints objects of the shapes that the node itself describes, all keys there, none beside
//! them, and `null` for the unknown.

use potluck_tests::clock::PATIENCE;
use potluck_tests::http::Http;
use potluck_tests::process::{Finished, Process};
use potluck_tests::schema::Schema;
use potluck_tests::town::{Node, Town};
use potluck_tests::{Failure, Result, grammar, tree};
use serde_json::Value;

/// What is text for another program, a shell or `man`, whether `--json` is asked for or not.
const TEXTS: [&[&str]; 2] = [&["completions"], &["man"]];

/// Fails unless something was printed, and every line has the shape.
#[track_caller]
fn prints(schema: &Schema, shape: &str, finished: &Finished) -> Result {
    assert!(!finished.lines.is_empty(), "{} printed nothing", finished.name);
    finished.lines.iter().try_for_each(|line| schema.check(shape, line))
}

#[test]
fn every_verb_prints_lines_of_the_one_schema() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 34, 2_000_000)?;
    tree::file(&town.path("music/long.flac"), 35, 24 << 20)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).arg("--limit-up").arg("2MiB").start_ready()?;
    let bob = town.node("bob").tracker(&tracker).arg("--page").arg("127.0.0.1:0").start_ready()?;
    bob.find("live.flac", 1)?;
    let schema = &Schema::of(bob.page()?.get("/api/v1/openapi.json")?);
    let file = town.path("music/live.flac").display().to_string();
    let folder = town.path("music").display().to_string();
    let long = format!("{}:music/long.flac", ada.peer_id());

    // What goes on is looked at while it does.
    let watch = bob.begin(&["watch", "newcomer"])?;
    schema.check("WatchLine", &watch.event("watching", PATIENCE)?)?;
    tree::file(&town.path("music/newcomer.flac"), 36, 1000)?;
    schema.check("HitLine", &watch.line("the hit", PATIENCE, |line| line["name"] == "newcomer.flac")?)?;
    let follower = bob.begin(&["download", &long])?;
    schema.check("TransferLine", &follower.event("progress", PATIENCE)?)?;

    let table: &[(&Node, &[&str], &str)] = &[
        (&bob, &["priority", "high", "long.flac"], "DownloadLine"),
        (&bob, &["pause", "long.flac"], "DownloadLine"),
        (&bob, &["resume", "long.flac"], "DownloadLine"),
        (&bob, &["retry", "long.flac"], "DownloadLine"),
        (&ada, &["limits", "--up", "none"], "LimitsLine"),
        (&bob, &["search", "live"], "HitLine"),
        (&bob, &["query"], "PeerLine"),
        (&bob, &["query", ada.peer_id()], "EntryLine"),
        (&bob, &["query", "ada"], "EntryLine"),
        (&bob, &["download", &hash], "TransferLine"),
        (&bob, &["downloads"], "DownloadLine"),
        (&ada, &["uploads"], "UploadLine"),
        (&ada, &["share", "rescan"], "ShareLine"),
        (&ada, &["share", "ls"], "ShareLine"),
        (&bob, &["share", "add", &folder], "ShareLine"),
        (&bob, &["share", "rm", "music"], "ShareLine"),
        (&bob, &["ls", "ada"], "FolderLine"),
        (&bob, &["ls", "ada:music"], "EntryLine"),
        (&ada, &["link", &file], "LinkLine"),
        (&bob, &["page"], "PageLine"),
        (&bob, &["verify"], "VerifyLine"),
        (&bob, &["cancel", "all"], "DownloadLine"),
        (&bob, &["dial", ada.address()], "DialLine"),
        (&bob, &["register"], "TrackerLine"),
        (&bob, &["deregister"], "TrackerLine"),
        (&bob, &["status"], "StatusLine"),
        (&bob, &["config", "show"], "SettingLine"),
        (&bob, &["config", "set", "nickname", "robert"], "SettingLine"),
        (&bob, &["config", "unset", "nickname"], "SettingLine"),
        (&bob, &["config", "path"], "PathLine"),
        (&ada, &["doctor"], "CheckLine"),
        (&bob, &["id"], "IdLine"),
    ];
    for (node, line, shape) in table {
        prints(schema, shape, &node.verb(line)?.ok()?)?;
    }
    let private = town.tracker_with("private tracker", &["--private"])?;
    let invitation = private.first_invitation()?;
    prints(schema, "JoinLine", &town.potluck("dora", &["join", &invitation])?.ok()?)?;
    let others: [&[&str]; 5] = [&["node"], &["watch"], &["join"], TEXTS[0], TEXTS[1]];
    let lines: Vec<&[&str]> = table.iter().map(|(_, line, _)| *line).chain(others).collect();
    assert_eq!(grammar::missing(&grammar::verbs(&town)?, &lines), Vec::<&str>::new(), "what these print is not checked");
    for event in bob.process().lines() {
        schema.check("Event", &event)?;
    }
    let missing = "PEER:music/gone".replace("PEER", ada.peer_id());
    let begun = bob.begin(&["download", &missing, "--timeout", "1"])?.finish(PATIENCE)?.refused(3)?;
    assert!(begun.lines.is_empty() || prints(schema, "TransferLine", &begun).is_ok(), "{begun:?}");

    let link = ada.verb(&["link", &file])?.ok()?;
    assert_eq!(link.only()?["link"], format!("potluck:{hash}?name=live.flac&size=2000000"));
    assert_eq!(bob.verb(&["id"])?.ok()?.only()?["addresses"][0], bob.address());
    let mtime = bob.verb(&["query", "ada"])?.lines[0]["mtime"].clone();
    assert!(mtime.as_str().is_some_and(|time| time.len() >= 20 && time.ends_with('Z')), "{mtime}");
    Ok(())
}

#[test]
fn every_verb_of_a_tracker_prints_lines_of_its_own_schema() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--private", "--page", "127.0.0.1:0"])?;
    let page = tracker.process().event("page", PATIENCE)?;
    let token = std::fs::read_to_string(tracker.data_dir().join("page-token"))?;
    let page = Http::new(page["address"].as_str().unwrap_or_default()).with("Authorization", &format!("Bearer {token}"));
    let document = page.get("/api/v1/openapi.json")?;
    let schema = &Schema::of(document.clone());
    let asked = |args: &[&str]| Process::start(args.join(" "), &mut town.tracker_command("tracker", args))?.finish(PATIENCE)?.ok();

    let invited = tracker.process().event("invited", PATIENCE)?;
    let invitation = invited["invitation"].as_str().unwrap_or_default();
    town.potluck("dora", &["join", invitation])?.ok()?;
    let peer_id = asked(&["members", "ls"])?.only()?["peer_id"].as_str().unwrap_or_default().to_owned();
    let made = asked(&["invite", "create"])?;
    let id = made.only()?["id"].as_str().unwrap_or_default().to_owned();
    prints(schema, "InvitationLine", &made)?;
    let table: &[(&[&str], &str)] = &[
        (&["invite", "ls"], "InvitationLine"),
        (&["invite", "revoke", &id], "InvitationLine"),
        (&["members", "ls"], "MemberLine"),
        (&["members", "revoke", &peer_id], "MemberLine"),
        (&["status"], "StatusLine"),
        (&["page"], "LinkLine"),
    ];
    for (args, shape) in table {
        prints(schema, shape, &asked(args)?)?;
    }
    let others: [&[&str]; 3] = [&["invite", "create"], TEXTS[0], TEXTS[1]];
    let lines: Vec<&[&str]> = table.iter().map(|(args, _)| *args).chain(others).collect();
    assert_eq!(grammar::missing(&grammar::tracker_verbs(&town)?, &lines), Vec::<&str>::new(), "what these print is not checked");
    for line in tracker.process().lines() {
        schema.check("RunLine", &line)?;
    }
    let paths = document["paths"].as_object().into_iter().flatten();
    for (path, told) in paths {
        let answer = page.get(path)?;
        let shape = &told["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let name = |shape: &Value| shape["$ref"].as_str().and_then(|of| of.rsplit('/').next()).map(ToOwned::to_owned);
        match (name(shape), name(&shape["items"])) {
            (Some(one), _) => schema.check(&one, &answer)?,
            (None, Some(each)) => answer.as_array().into_iter().flatten().try_for_each(|line| schema.check(&each, line))?,
            (None, None) => return Err(Failure::new(format!("{path} has no shape"))),
        }
    }
    Ok(())
}
