//! G079: what others call their files, folders and themselves is text on the page, whatever it would be as markup.

use potluck_tests::browser::Browser;
use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::{Result, town::Town, tree};

/// Names that do something where a name becomes markup, a script, a style or an address. `/` stands in none: no file has it.
const PAYLOADS: [&str; 24] = [
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<script>alert(1)<\\script>",
    "\"><img src=x onerror=alert(1)>",
    "'><img src=x onerror=alert(1)>",
    "`><img src=x onerror=alert(1)>",
    "<iframe srcdoc='<b>x'>",
    "<body onload=alert(1)>",
    "<a href=javascript:alert(1)>x",
    "javascript:alert(1)",
    "<style>*{display:none}",
    "<base href=x>",
    "<meta http-equiv=refresh content=0>",
    "<form action=x><button>",
    "<math><mtext><img src=x onerror=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "&lt;img src=x onerror=alert(1)&gt;",
    "&#60;img src=x onerror=alert(1)&#62;",
    "${alert(1)}",
    "{{constructor.constructor('alert(1)')()}}",
    "%3Cimg src=x onerror=alert(1)%3E",
    "<template><img src=x onerror=alert(1)>",
    "-->]]><img src=x onerror=alert(1)>",
];

#[test]
fn names_of_others_are_text_and_nothing_else() -> Result {
    let town = Town::new()?;
    let share = town.path("payload");
    for (seed, name) in (1..).zip(PAYLOADS) {
        tree::file(&share.join(format!("payload {name}.mp3")), seed, 1000)?;
    }
    tree::file(&share.join("payload <img src=x onerror=alert(2)>/inner payload.mp3"), 99, 1000)?;
    let tracker = town.tracker("tracker")?;
    let eve = town.node("<img src=x onerror=alert(3)>").share(&share).tracker(&tracker).start_ready()?;
    let ada = town.node("ada").tracker(&tracker).arg("--page").arg("127.0.0.1:0").start_ready()?;
    ada.find("inner payload.mp3", 1)?;
    ada.download(&[&format!("{}:payload", eve.peer_id())])?.ok()?;

    let Some(browser) = Browser::start()? else { return Ok(()) };
    browser.resize((1280, 2400))?;
    let link = ada.verb(&["page"])?.ok()?.only()?["link"].clone();
    browser.open(link.as_str().unwrap_or_default())?;
    browser.find("#q")?.type_text("payload")?;
    browser.find(".row .name")?;
    for view in ["search", "downloads", "peers", "uploads", "shares", "status"] {
        browser.run(&format!("location.hash = '#{view}'"))?;
        let heading = eventually(PATIENCE, "the view is shown", || {
            let injected = browser.run("return document.querySelectorAll('main script, main iframe, main style, main base, main form [action], main [onerror], main [onload], main img:not([src^=\"/\"])').length")?;
            assert_eq!(injected, 0, "{view}");
            Ok(browser
                .run("return document.querySelector('main')?.innerText ?? ''")?
                .as_str()
                .filter(|text| !text.is_empty())
                .map(ToOwned::to_owned))
        })?;
        assert!(!heading.is_empty());
    }
    browser.run("location.hash = '#downloads'")?;
    browser.reads("payload <svg onload=alert(1)>.mp3")?;
    browser.run("location.hash = '#peers'")?;
    browser.reads("<img src=x onerror=alert(3)>")?;
    browser.run(&format!("location.hash = '#peers/{}/payload'", eve.peer_id()))?;
    browser.reads("payload <img src=x onerror=alert(2)>")?;
    Ok(())
}
