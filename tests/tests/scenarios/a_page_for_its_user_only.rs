//! The page of a node answers its user and nobody else: no web site, no other name, no other program. Every check is made on
//! every route, as the node itself lists them.

use std::os::unix::fs::PermissionsExt;

use potluck_tests::http::{Http, Response};
use potluck_tests::{Result, town::Node, town::Town, tree};
use serde_json::json;

/// What every answer has, exactly (G080).
const HEADERS: [(&str, &str); 6] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; manifest-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
];

/// A way in: method, path, and whether anybody may ask.
type Route = (String, String, bool);

fn node(town: &Town) -> Result<Node> {
    town.node("ada").arg("--page").arg("127.0.0.1:0").start()
}

/// All routes, as the node describes them; the description is made from the table that its router is made from.
fn routes(page: &Http) -> Result<Vec<Route>> {
    let document = page.get("/api/v1/openapi.json")?;
    let paths = document["paths"].as_object().into_iter().flatten();
    let routes = paths.flat_map(|(path, methods)| {
        methods.as_object().into_iter().flatten().map(move |(method, operation)| {
            let open = operation["security"].as_array().is_some_and(Vec::is_empty);
            (method.to_uppercase(), path.replace("{id}", "1").replace("{file}", "app.js").replace(['{', '}'], ""), open)
        })
    });
    let routes: Vec<Route> = routes.collect();
    assert!(routes.len() > 25, "{routes:?}");
    Ok(routes)
}

/// Asks without a body; a route that wants one is refused before that matters.
fn ask(http: &Http, (method, path, _): &Route) -> Result<Response> {
    let body = (method == "POST" || method == "PUT").then_some("{}");
    http.send(method, path, body)
}

fn has_headers(response: &Response, route: &Route) {
    for (name, value) in HEADERS {
        assert_eq!(response.header(name), Some(value), "{route:?}: {name}");
    }
    assert!(response.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{route:?}: {response:?}");
    let is_asset = route.1 == "/" || route.1.starts_with("/page/");
    assert_eq!(response.header("cache-control"), Some(if is_asset { "no-cache" } else { "no-store" }), "{route:?}");
}

/// G074, G077, G080.
#[test]
fn no_route_answers_to_another_name() -> Result {
    let town = Town::new()?;
    let ada = node(&town)?;
    let (page, stranger) = (ada.page()?, ada.stranger_at_page()?);
    let port = page.host().rsplit(':').next().unwrap_or_default().to_owned();
    let wrong = ["attacker.example", "127.0.0.1.nip.io", "localhost.evil", "0.0.0.0", "127.0.0.1:1", "LOCALHOST", ""];
    for route in routes(&page)? {
        for name in wrong {
            let host = if name.contains(':') || name.is_empty() { name.to_owned() } else { format!("{name}:{port}") };
            let answer = ask(&page.clone().without("Host").with("Host", &host), &route)?;
            assert_eq!(answer.status, 421, "{route:?} as {host}");
        }
        let answer = ask(&page.clone().without("Host"), &route)?;
        assert!(matches!(answer.status, 400 | 421), "{route:?} without a name: {}", answer.status);
        let answer = ask(&page.clone().with("Host", page.host()), &route)?;
        assert_eq!(answer.status, 421, "{route:?} with two names");
        let absolute = (route.0.clone(), format!("http://{}{}", page.host(), route.1), route.2);
        assert_eq!(ask(&page, &absolute)?.status, 421, "{route:?} in a proxy's form");
        has_headers(&ask(&stranger, &route)?, &route);
    }
    for name in ["127.0.0.1", "localhost", "[::1]"] {
        assert_eq!(
            page.clone().without("Host").with("Host", &format!("{name}:{port}")).send("GET", "/api/v1/id", None)?.status,
            200,
            "{name}"
        );
    }
    Ok(())
}

/// G076.
#[test]
fn no_route_answers_without_a_token_or_to_a_method_that_it_does_not_know() -> Result {
    let town = Town::new()?;
    let ada = node(&town)?;
    let (page, stranger) = (ada.page()?, ada.stranger_at_page()?);
    let port = page.host().rsplit(':').next().unwrap_or_default().to_owned();
    let all = routes(&page)?;
    for route in &all {
        let denied = |http: Http, what: &str| -> Result {
            let answer = ask(&http, route)?;
            assert_eq!(answer.status, 401, "{route:?} {what}: {}", answer.text());
            Ok(())
        };
        if !route.2 {
            denied(stranger.clone(), "without a token")?;
            denied(stranger.clone().with("Authorization", &format!("Bearer {}", "0".repeat(64))), "with a wrong token")?;
            denied(stranger.clone().with("Authorization", "Basic YTpi"), "with a password")?;
            let expired = format!("potluck-{port}=1.{}", "0".repeat(64));
            denied(stranger.clone().with("Cookie", &expired), "with a session that has lapsed")?;
            denied(stranger.clone().with("Cookie", &format!("potluck-{port}=")), "with no session")?;
        }
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"] {
            let is_known = all.iter().any(|(known, path, _)| known == method && *path == route.1);
            if !is_known {
                let answer = page.send(method, &route.1, None)?;
                assert_eq!(answer.status, 405, "{method} {}", route.1);
                assert!(answer.header("allow").is_none());
            }
        }
    }
    let mode = std::fs::metadata(ada.data_dir().join("page-token"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}

/// G075, G078.
#[test]
fn no_other_site_can_use_the_browser_of_the_user() -> Result {
    let town = Town::new()?;
    let ada = node(&town)?;
    let (page, stranger) = (ada.page()?, ada.stranger_at_page()?);
    let link = ada.verb(&["page"])?.ok()?.only()?["link"].as_str().unwrap_or_default().to_owned();
    let key = link.split("#key=").nth(1).unwrap_or_default();
    let signed_in = stranger.send("POST", "/api/v1/session", Some(&json!({ "key": key }).to_string()))?;
    assert_eq!(signed_in.status, 204, "{}", signed_in.text());
    let cookie = signed_in.header("set-cookie").unwrap_or_default().to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let again = stranger.send("POST", "/api/v1/session", Some(&json!({ "key": key }).to_string()))?;
    assert_eq!(again.status, 401, "a key works once");

    let browser = stranger.clone().with("Cookie", cookie.split(';').next().unwrap_or_default());
    let home = browser.clone().with("Origin", &format!("http://{}", page.host())).with("Sec-Fetch-Site", "same-origin");
    for route in routes(&page)? {
        let is_index = route.1 == "/";
        for origin in ["http://attacker.example", "null", "http://127.0.0.1:1", &format!("https://{}", page.host())] {
            assert_eq!(ask(&browser.clone().with("Origin", origin), &route)?.status, 403, "{route:?} from {origin}");
        }
        for site in ["cross-site", "same-site", "nonsense"] {
            assert_eq!(ask(&browser.clone().with("Sec-Fetch-Site", site), &route)?.status, 403, "{route:?} {site}");
            let navigation = browser.clone().with("Sec-Fetch-Site", site).with("Sec-Fetch-Mode", "navigate");
            assert_eq!(ask(&navigation, &route)?.status, if is_index { 200 } else { 403 }, "a link to {route:?}");
        }
        if route.0 != "GET" && !route.2 {
            assert_eq!(ask(&browser, &route)?.status, 403, "{route:?} by a cookie alone");
        }
        if route.0 == "POST" || route.0 == "PUT" {
            for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
                let form = home.clone().with("Content-Type", kind).send(&route.0, &route.1, Some("{}"))?;
                assert!(matches!(form.status, 200 | 204 | 404 | 415 | 503), "{route:?} as {kind}: {} {}", form.status, form.text());
                let takes_nothing = ["register", "rescan"].iter().any(|end| route.1.ends_with(end));
                assert!(form.status == 415 || takes_nothing, "{route:?} takes {kind}");
            }
        }
    }
    assert_eq!(home.send("GET", "/api/v1/id", None)?.status, 200);
    Ok(())
}

/// G082, and G013 for the paths.
#[test]
fn what_is_too_much_or_malformed_is_refused() -> Result {
    let town = Town::new()?;
    let ada = node(&town)?;
    let page = ada.page()?;
    let long = "x".repeat(9 << 10);
    assert_eq!(page.clone().with("X-Long", &long).send("GET", "/healthz", None)?.status, 431);
    let many = (0..200).fold(page.clone(), |http, number| http.with(&format!("X-{number}"), "x"));
    assert_eq!(many.send("GET", "/healthz", None)?.status, 431);
    let head = |length: u64| {
        format!(
            "POST /api/v1/dial HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n",
            page.host()
        )
    };
    let token = std::fs::read_to_string(ada.data_dir().join("page-token"))?;
    let bearer = format!("Authorization: Bearer {token}\r\n\r\n");
    assert_eq!(page.raw(format!("{}{bearer}", head(1 << 30)).as_bytes())?.status, 413, "a body of a gibibyte");
    let smuggled = format!(
        "POST /api/v1/dial HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n{bearer}0\r\n\r\n",
        page.host()
    );
    let answer = page.raw(smuggled.as_bytes())?;
    assert!(matches!(answer.status, 400 | 415), "two lengths: {}", answer.status);
    for path in [
        "/..",
        "/../etc/passwd",
        "/..;/",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/page/..%2f..%2fCargo.toml",
        "/page/%00",
        "//",
        "/page/",
        "/api",
        "/%ff",
    ] {
        let answer = page.send("GET", path, None)?;
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    for path in ["/api/v1/search?q=a&offset=-1", "/api/v1/peers?limit=x", "/api/v1/downloads/x", "/api/v1/downloads/99999999999999999999"] {
        assert_eq!(page.send("GET", path, None)?.status, 400, "{path}");
    }
    let sent = page.send("POST", "/api/v1/dial", Some("{\"address\":\"x\",\"more\":1}"))?;
    assert_eq!(sent.status, 422, "what is not known is not ignored: {}", sent.text());
    Ok(())
}

/// G081: what others made is shown only where it can do nothing.
#[test]
fn a_file_of_somebody_gets_no_rights_of_the_page() -> Result {
    let town = Town::new()?;
    let share = town.path("stuff");
    for (seed, name) in [(1, "evil.html"), (2, "evil.svg"), (3, "a \"b\";x=y é.mp3")] {
        tree::file(&share.join(name), seed, 2000)?;
    }
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&share).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).arg("--page").arg("127.0.0.1:0").start_ready()?;
    bob.find("evil.svg", 1)?;
    bob.download(&[&format!("{}:stuff", ada.peer_id())])?.ok()?;
    let page = bob.page()?;
    let listed = page.get("/api/v1/downloads")?;
    assert_eq!(listed["total"], 3);
    for line in listed["items"].as_array().into_iter().flatten() {
        let content = page.send("GET", &format!("/api/v1/downloads/{}/content", line["id"]), None)?;
        let told = content.header("content-disposition").unwrap_or_default().to_owned();
        let is_sound = line["name"].as_str().is_some_and(|name| name.ends_with(".mp3"));
        assert!(told.starts_with(if is_sound { "inline;" } else { "attachment;" }), "{told}");
        assert_eq!(content.header("content-type"), Some(if is_sound { "audio/mpeg" } else { "application/octet-stream" }));
        assert!(content.header("content-security-policy").is_some_and(|policy| policy.starts_with("sandbox;")), "{content:?}");
        assert_eq!(content.body.len(), 2000);
    }
    Ok(())
}
