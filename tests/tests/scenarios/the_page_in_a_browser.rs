//! A person who never saw it shares a folder, searches, fetches a folder from two peers, pauses it and goes on, listens to music
//! and sees a film that are still arriving, and finds the line that invites a friend: all in a browser. So does who runs a tracker.
//!
//! What the pages say on the console fails the test when the browser is dropped.

use std::fs;
use std::path::Path;

use potluck_tests::browser::Browser;
use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::process::Process;
use potluck_tests::town::{Node, Town};
use potluck_tests::{Result, film, tree};
use serde_json::Value;

/// Bytes of a piece of music: some pieces of transfer, some seconds of sound.
const MUSIC_BYTES: usize = 6 << 20;
/// Of the film that is seen while it arrives: 51 MB.
const FILM_SECONDS: u32 = 60;
const ALBUM: [&str; 5] = ["01 So What", "02 Freddie Freeloader", "03 Blue in Green", "04 All Blues", "05 Flamenco Sketches"];
const BOOKS: [&str; 6] =
    ["Walden.epub", "Middlemarch.epub", "The Odyssey.epub", "Leaves of Grass.pdf", "notes/reading list.md", "notes/quotes.txt"];
const FILMS: [&str; 3] = ["Metropolis (1927).mkv", "The General (1926).mkv", "Nosferatu (1922).srt"];

/// Writes a sound: noise, so that no two pieces are alike, as a file that browsers play.
fn sound(path: &Path, seed: u64) -> Result {
    const RATE: u32 = 44_100;
    let samples = tree::content(seed, MUSIC_BYTES);
    let length = samples.len() as u32;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + length).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend([1_u16, 2].iter().flat_map(|value| value.to_le_bytes())); // plain samples, stereo
    bytes.extend([RATE, RATE * 4].iter().flat_map(|value| value.to_le_bytes()));
    bytes.extend([4_u16, 16].iter().flat_map(|value| value.to_le_bytes()));
    bytes.extend(b"data");
    bytes.extend(length.to_le_bytes());
    bytes.extend(samples);
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    Ok(fs::write(path, bytes)?)
}

fn album(share: &Path) -> Result {
    for (seed, name) in (10..).zip(ALBUM) {
        sound(&share.join(format!("Miles Davis/Kind of Blue/{name}.wav")), seed)?;
    }
    tree::file(&share.join("Miles Davis/Kind of Blue/cover.jpg"), 20, 180 << 10)?;
    tree::file(&share.join("John Coltrane/Blue Train/01 Blue Train.flac"), 21, 3 << 20)?;
    tree::file(&share.join("Joni Mitchell/Blue/04 Carey.mp3"), 22, 2 << 20)?;
    Ok(())
}

/// Fetches a film and looks at it while it comes: from sources so slow that all of it takes most of a minute, so that a busy machine has
/// time to draw a picture before the last byte is there.
fn watch_a_film(browser: &Browser, node: &Node, sources: [&Node; 2]) -> Result {
    for source in sources {
        source.verb(&["limits", "--up", "512KiB/s"])?.ok()?;
    }
    browser.click("a[href='#search']")?;
    browser.find("#q")?.write_text("nosferatu mp4")?;
    browser.click("[aria-label='Download Nosferatu (1922).mp4']")?;
    browser.click("a[href='#downloads']")?;
    browser.click("[aria-label='Play Nosferatu (1922).mp4']")?;
    let seen = eventually(PATIENCE, "it is seen and moves on", || {
        let seen = browser.run("const film = document.querySelector('video'); return film && [film.currentTime, film.videoWidth]")?;
        Ok((seen[0].as_f64() > Some(0.5)).then_some(seen))
    })?;
    assert_eq!(seen[1], film::WIDTH, "there is a picture: {seen}");
    browser.keep("player")?;
    let lines = node.verb(&["downloads"])?.ok()?.lines;
    let arriving = lines.iter().find(|line| line["name"] == "Nosferatu (1922).mp4");
    assert!(arriving.is_some_and(|line| line["state"] == "fetching"), "it is seen before all is there: {arriving:?}");
    browser.click("dialog [aria-label='Close']")
}

#[test]
fn everything_can_be_done_in_a_browser() -> Result {
    let town = Town::new()?;
    let (music, films, books) = (town.path("Music"), town.path("Films"), town.path("Books"));
    album(&music)?;
    for (seed, name) in (30..).zip(FILMS) {
        tree::file(&films.join(name), seed, if name.ends_with("srt") { 40 << 10 } else { 6 << 20 })?;
    }
    film::film(&films.join("Nosferatu (1922).mp4"), FILM_SECONDS, 3)?;
    for (seed, name) in (40..).zip(BOOKS) {
        tree::file(&books.join(name), seed, 300 << 10)?;
    }
    let tracker = town.tracker("tracker")?;
    let slow = |name| town.node(name).tracker(&tracker).arg("--limit-up").arg("700KiB");
    let ada = slow("ada").share(&music).share(&films).start_ready()?;
    let bob = slow("bob").share(&music).share(&films).start_ready()?;
    let cleo = town.node("cleo").tracker(&tracker).arg("--page").arg("127.0.0.1:0").start_ready()?;
    cleo.find("01 So What.wav", 2)?;

    let Some(browser) = Browser::start()? else { return Ok(()) };

    // In: by the link that the terminal prints; the key is gone from the address at once.
    let page = cleo.verb(&["page"])?.ok()?.only()?.clone();
    browser.open(page["address"].as_str().unwrap_or_default())?;
    browser.reads("Sign in to your node")?;
    browser.keep("sign-in")?;
    browser.open("about:blank")?;
    browser.open(page["link"].as_str().unwrap_or_default())?;
    browser.reads("What would you like?")?;
    assert_eq!(browser.run("return location.hash")?, "");
    browser.keep_all("welcome")?;

    // Share a folder.
    browser.click("a[href='#shares']")?;
    browser.reads("Bring something to the table")?;
    browser.click("#add-share")?;
    browser.find("dialog input[name=dir]")?.type_text(&books.display().to_string())?;
    browser.click("dialog button.primary")?;
    browser.find("section[aria-label='Books'] .pill.good")?;
    assert_eq!(cleo.verb(&["share", "ls"])?.ok()?.only()?["files"], 6);
    browser.keep_all("shares")?;

    // Search as you type; unfold the sources; a folder is a hit.
    browser.click("a[href='#search']")?;
    browser.find("#q")?.type_text("blue")?;
    browser.find("[aria-label='Download Kind of Blue']")?;
    browser.click("[aria-label='2 sources of 03 Blue in Green.wav']")?;
    browser.reads("Look around")?;
    let link = browser.find("[aria-label='Copy link to 03 Blue in Green.wav']")?.attribute("data-copy")?.unwrap_or_default();
    assert!(link.starts_with("potluck:") && link.contains("name=03%20Blue%20in%20Green.wav"), "{link}");
    browser.keep_all("search")?;

    // Fetch it from both, watch, listen, pause, go on.
    browser.click("[aria-label='Download Kind of Blue']")?;
    browser.reads("Fetching 6 files of Kind of Blue")?;
    browser.click("a[href='#downloads']")?;
    browser.find("[aria-label='Pause Kind of Blue']")?;
    browser.reads("2 sources")?;
    browser.click("[aria-label='More about 01 So What.wav']")?;
    browser.find(".pieces i[data-there='all']")?;
    browser.keep_all("downloads")?;
    browser.click("[aria-label='Play 01 So What.wav']")?;
    let playing = eventually(PATIENCE, "it sounds", || {
        let time = browser.run("return document.querySelector('audio')?.currentTime ?? 0")?;
        Ok((time.as_f64() > Some(0.0)).then_some(time))
    })?;
    assert!(playing.as_f64() > Some(0.0));
    let arriving = cleo.verb(&["downloads"])?.ok()?.lines.iter().any(|line| line["state"] != "done");
    assert!(arriving, "it sounds before all is there");
    browser.click("dialog [aria-label='Close']")?;
    browser.click("[aria-label='Pause Kind of Blue']")?;
    browser.find("[aria-label='Resume Kind of Blue']")?;
    let paused = cleo.verb(&["downloads"])?.ok()?;
    assert!(paused.lines.iter().all(|line| line["state"] == "paused" || line["state"] == "done"), "{paused:?}");
    watch_a_film(&browser, &cleo, [&ada, &bob])?;
    browser.click("[aria-label='Resume Kind of Blue']")?;
    ada.verb(&["limits", "--up", "none"])?.ok()?;
    browser.find("[aria-label='Save 05 Flamenco Sketches.wav']")?;
    browser.find("[aria-label='Remove Kind of Blue from the list']")?;
    let folder = cleo.download_dir().join("Kind of Blue");
    eventually(PATIENCE, "the folder is as it is over there", || {
        Ok((tree::look(&folder)? == tree::look(&music.join("Miles Davis/Kind of Blue"))?).then_some(()))
    })?;
    browser.keep("downloads-done")?;

    // Look around at a peer's; see what was sent; invite a friend.
    browser.click("a[href='#peers']")?;
    browser.reads("2 peers online")?;
    browser.keep_all("peers")?;
    browser.click("[aria-label=\"Look around at ada’s\"]")?;
    browser.reads("Films")?;
    browser.run("[...document.querySelectorAll('.row a')].find((link) => link.textContent === 'Films').click()")?;
    browser.reads("Metropolis (1927).mkv")?;
    browser.keep_all("browse")?;
    let taker = town.node("dora").tracker(&tracker).start_ready()?;
    taker.find("Walden.epub", 1)?;
    taker.download(&[&format!("{}:Books/Walden.epub", cleo.peer_id())])?.ok()?;
    browser.click("a[href='#uploads']")?;
    browser.reads("Walden.epub")?;
    browser.keep_all("uploads")?;
    browser.click("a[href='#status']")?;
    browser.reads("Invite somebody")?;
    let invitation = browser.find("#invite button")?.attribute("data-copy")?.unwrap_or_default();
    assert!(invitation.contains(&format!("--tracker {}", tracker.address())), "{invitation}");
    browser.reads("hashed 6 files")?;
    browser.keep_all("node")?;

    let foreign = browser.run(
        "return performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => !name.startsWith(location.origin))",
    )?;
    assert_eq!(foreign, serde_json::json!([]), "nothing is asked of another host");
    Ok(())
}

/// Who runs a private tracker signs in by a link and sees who is there, what they did, who was invited and who came.
#[test]
fn the_tracker_is_looked_at_in_a_browser() -> Result {
    let town = Town::new()?;
    album(&town.path("Music"))?;
    let tracker = town.tracker_with("tracker", &["--private", "--page", "127.0.0.1:0"])?;
    let invitation = tracker.first_invitation()?;
    let member = |name: &str| town.potluck(name, &["join", &invitation])?.ok();
    member("ada")?;
    member("bob")?;
    let ada = town.node("ada").share(&town.path("Music")).start_ready()?;
    let bob = town.node("bob").start_ready()?;
    bob.find("04 Carey.mp3", 1)?;
    ada.sees(bob.peer_id(), true, PATIENCE)?;

    let Some(browser) = Browser::start()? else { return Ok(()) };
    let page = tracker.process().event("page", PATIENCE)?["address"].as_str().unwrap_or_default().to_owned();
    browser.open(&page)?;
    browser.reads("Sign in to your tracker")?;
    let link = Process::start("page", &mut town.tracker_command("tracker", &["page"]))?.finish(PATIENCE)?.ok()?;
    browser.open("about:blank")?;
    browser.open(link.only()?["link"].as_str().unwrap_or_default())?;
    browser.reads("private, 2 members")?;
    browser.reads("2 peers, 8 files")?;
    browser.find("#events li")?;
    browser.keep_all("tracker")?;
    browser.click("a[href='#peers']")?;
    browser.reads("online")?;
    assert!(browser.text()?.contains("ada") && browser.text()?.contains("bob"), "{}", browser.text()?);
    browser.keep("tracker-peers")?;
    browser.click("a[href='#members']")?;
    browser.find("#members li .avatar")?;
    browser.reads("2 of")?;
    browser.keep("tracker-members")?;
    browser.click("a[href='#status']")?;
    browser.run("[...document.querySelectorAll('button')].find((button) => button.textContent.includes('Sign out')).click()")?;
    browser.reads("Sign in to your tracker")
}

/// How a page was scrolled by its own frames for two seconds: so many a second, and the longest that one took.
fn scroll(browser: &Browser, rows: u32) -> Result<Value> {
    const SCROLL: &str = "import('/page/list.js').then(({ List }) => {
        const list = new List({ row: (number) => [`row ${number}`], key: (number) => number, label: 'Many' });
        list.element.style.height = '700px';
        document.querySelector('main').replaceChildren(list.element);
        list.set(Array.from({ length: ROWS }, (_, number) => number));
        const start = performance.now();
        let [frames, last, longest] = [0, start, 0];
        const step = (now) => {
            list.element.scrollTop += 1500;
            frames += 1;
            [last, longest] = [now, Math.max(longest, now - last)];
            const took = now - start;
            if (took < 2000) return requestAnimationFrame(step);
            const rows = list.element.querySelectorAll('.row').length;
            window.scrolled = { rate: frames / took * 1000, longest, rows, top: list.element.scrollTop };
        };
        requestAnimationFrame(step);
    })";
    browser.run(&SCROLL.replace("ROWS", &rows.to_string()))?;
    eventually(PATIENCE, "two seconds of scrolling", || {
        Ok(Some(browser.run("return window.scrolled ?? null")?).filter(|scrolled| !scrolled.is_null()))
    })
}

/// Only the rows in sight are in the document, however many there are; the first picture comes at once.
#[test]
fn a_hundred_thousand_rows_are_scrolled_without_being_drawn() -> Result {
    let town = Town::new()?;
    let ada = town.node("ada").arg("--page").arg("127.0.0.1:0").start()?;
    let Some(browser) = Browser::start()? else { return Ok(()) };
    browser.open(ada.verb(&["page"])?.ok()?.only()?["link"].as_str().unwrap_or_default())?;
    browser.find("#q")?;
    let painted = browser.first_paint()?;
    let scrolled = scroll(&browser, 100_000)?;
    println!("first picture after {painted:?}; in two seconds {scrolled}");
    assert!(scrolled["rows"].as_u64() < Some(100) && scrolled["rate"].as_f64() > Some(5.0), "{scrolled}");
    assert!(scrolled["top"].as_f64() > Some(10_000.0), "{scrolled}");
    Ok(())
}
