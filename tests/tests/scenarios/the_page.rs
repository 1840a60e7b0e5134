//! What programs are told over HTTP: the same objects as `--json` prints, in pages, with the bytes of downloads and a stream
//! of what happens.

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::{Result, town::Town, tree};
use serde_json::{Value, json};

fn items(page: &Value) -> Vec<Value> {
    page["items"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_program_searches_looks_around_and_downloads_over_http() -> Result {
    let town = Town::new()?;
    let share = town.path("music");
    for (seed, name) in
        [(1, "Miles Davis/Kind of Blue/01 So What.flac"), (2, "Miles Davis/Kind of Blue/02 Freddie.flac"), (3, "readme.txt")]
    {
        tree::file(&share.join(name), seed, 3 << 20)?;
    }
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&share).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).arg("--page").arg("127.0.0.1:0").start_ready()?;
    bob.find("01 So What.flac", 1)?;
    let page = bob.page()?;

    let found = page.get("/api/v1/search?q=kind+of+blue+ext:flac&limit=1")?;
    assert_eq!((items(&found).len(), &found["note"]["total"]), (1, &json!(2)));
    assert_eq!(items(&page.get("/api/v1/search?q=kind+of+blue+ext:flac&limit=1&offset=1")?).len(), 1);
    assert_eq!(items(&page.get("/api/v1/search?q=nothing+of+the+kind")?).len(), 0);
    let peers = page.get("/api/v1/peers")?;
    assert_eq!((&peers["total"], &peers["items"][0]["nickname"]), (&json!(1), &json!("ada")));
    let root = page.get(&format!("/api/v1/peers/{}/files?path=music", ada.peer_id()))?;
    let names: Vec<String> = items(&root).iter().map(|item| format!("{}:{}", item["kind"], item["path"])).collect();
    assert_eq!(names, [r#""folder":"music/Miles Davis""#, r#""file":"music/readme.txt""#]);

    let begun = page.call("POST", "/api/v1/downloads", &json!({ "refs": [format!("{}:music/Miles Davis", ada.peer_id())] }))?;
    assert_eq!((&begun["name"], &begun["files"]), (&json!("Miles Davis"), &json!(2)));
    let done = eventually(PATIENCE, "both are there", || {
        let done = items(&page.get("/api/v1/downloads?state=done")?);
        Ok((done.len() == 2).then_some(done))
    })?;
    assert!(done.iter().all(|line| line["folder"] == "Miles Davis"), "{done:?}");
    let id = &done[0]["id"];
    let near = page.get(&format!("/api/v1/downloads/{id}"))?;
    assert_eq!((&near["pieces"]["verified"], &near["readable"]), (&json!([100, 100, 100]), &json!(true)));
    let part = page.clone().with("Range", "bytes=1048570-1048579").send("GET", &format!("/api/v1/downloads/{id}/content"), None)?;
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 1048570-1048579/3145728")));
    let local = std::fs::read(done[0]["path"].as_str().unwrap_or_default())?;
    assert_eq!(part.body, local[1_048_570..1_048_580]);
    assert_eq!(page.send("GET", &format!("/api/v1/downloads/{id}/content"), None)?.body, local);
    page.call("PUT", "/api/v1/downloads", &json!({ "action": "cancel", "which": ["all"] }))?;
    assert_eq!(page.get("/api/v1/downloads")?["total"], 0);
    assert_eq!(page.send("GET", "/api/v1/downloads/99/content", None)?.status, 404);
    Ok(())
}

#[test]
fn a_film_is_read_while_it_comes_from_where_its_viewer_is() -> Result {
    let town = Town::new()?;
    let share = town.path("films");
    let size = 64 << 20;
    let hash = tree::file(&share.join("film.webm"), 7, size)?;
    let tracker = town.tracker("tracker")?;
    let _ada = town.node("ada").share(&share).tracker(&tracker).arg("--limit-up").arg("8MiB").start_ready()?;
    let bob = town.node("bob").tracker(&tracker).arg("--page").arg("127.0.0.1:0").start_ready()?;
    bob.find("film.webm", 1)?;
    let page = bob.page()?;
    page.call("POST", "/api/v1/downloads", &json!({ "refs": [hash] }))?;
    let id = eventually(PATIENCE, "it is known how the film is cut", || {
        let listed = items(&page.get("/api/v1/downloads")?);
        Ok(listed.first().filter(|line| line["bytes"].as_u64() > Some(0)).map(|line| line["id"].clone()))
    })?;
    // The end is asked for, as players do that look for an index there: it comes long before the rest.
    let start = size - 1000;
    let end = page.clone().with("Range", &format!("bytes={start}-")).send("GET", &format!("/api/v1/downloads/{id}/content"), None)?;
    assert_eq!(end.body, std::fs::read(share.join("film.webm"))?[start as usize..]);
    assert_eq!(end.header("content-type"), Some("video/webm"));
    let near = page.get(&format!("/api/v1/downloads/{id}"))?;
    assert_eq!(near["download"]["state"], "fetching", "the rest is still coming: {near}");
    Ok(())
}

#[test]
fn events_are_told_once_and_those_that_were_missed_again() -> Result {
    let town = Town::new()?;
    let share = town.path("books");
    tree::file(&share.join("book"), 1, 100)?;
    let ada = town.node("ada").arg("--page").arg("127.0.0.1:0").start()?;
    let page = ada.page()?;
    let mut live = page.stream("/api/v1/events?since=0")?;
    let mut next = |what: &str| live.by_ref().find(|line| line.contains(what)).unwrap_or_default();
    assert!(next(r#""event":"page""#).contains(r#""at":"20"#), "what happened before is told, with its time");
    page.call("POST", "/api/v1/shares", &json!({ "dir": share, "name": null }))?;
    assert!(next(r#""event":"indexed""#).contains(r#""files":1"#));
    assert!(next(r#""down":"#).contains(r#""up":"#), "the rates are told each second");

    let mut again = page.stream("/api/v1/events?since=0")?;
    let first = again.by_ref().find(|line| line.starts_with("id:")).unwrap_or_default();
    let id = first.trim_start_matches("id:").trim().to_owned();
    let mut later = page.clone().with("Last-Event-ID", &id).stream("/api/v1/events")?;
    let second = later.by_ref().find(|line| line.starts_with("id:")).unwrap_or_default();
    assert_ne!(second.trim_start_matches("id:").trim(), id, "what was seen is not told again");
    let shares = page.get("/api/v1/shares")?;
    assert_eq!((&shares[0]["name"], &shares[0]["files"]), (&json!("books"), &json!(1)));
    assert_eq!(page.send("DELETE", "/api/v1/shares/books", None)?.status, 200);
    assert_eq!(page.get("/api/v1/shares")?, json!([]));
    Ok(())
}
