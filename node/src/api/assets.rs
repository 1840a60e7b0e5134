//! The files of the page, embedded in the program. They are what stands in `node/page/`: no build step makes them.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::guard;

/// One file of the page.
struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Names a file of `node/page/`.
macro_rules! asset {
    ($name:literal, $kind:expr) => {
        Asset { name: $name, kind: $kind, bytes: include_bytes!(concat!("../../page/", $name)) }
    };
}

const INDEX: Asset = asset!("index.html", HTML);

/// Everything but the first file.
const ASSETS: &[Asset] = &[
    asset!("app.js", SCRIPT),
    asset!("browse.js", SCRIPT),
    asset!("dialog.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("downloads.js", SCRIPT),
    asset!("format.js", SCRIPT),
    asset!("graph.js", SCRIPT),
    asset!("icon.svg", SVG),
    asset!("icons.js", SCRIPT),
    asset!("layout.css", CSS),
    asset!("list.js", SCRIPT),
    asset!("node.js", SCRIPT),
    asset!("parts.css", CSS),
    asset!("peers.js", SCRIPT),
    asset!("player.js", SCRIPT),
    asset!("search.js", SCRIPT),
    asset!("shares.js", SCRIPT),
    asset!("signin.js", SCRIPT),
    asset!("status.js", SCRIPT),
    asset!("tokens.css", CSS),
    asset!("uploads.js", SCRIPT),
];

pub(super) async fn index(headers: HeaderMap) -> Response {
    serve(&INDEX, &headers)
}

pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => serve(asset, &headers),
        None => guard::nowhere().await.into_response(),
    }
}

fn serve(asset: &Asset, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", blake3::hash(asset.bytes).to_hex());
    let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut head = HeaderMap::new();
    head.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache")); // asked again each time, sent when it is another
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        head.insert(ETAG, tag);
    }
    if known {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    head.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    (head, asset.bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Most bytes of all files together: what is shown at once on a slow machine too.
    const MAX_BYTES: usize = 300 << 10;

    fn text(asset: &Asset) -> &'static str {
        std::str::from_utf8(asset.bytes).unwrap()
    }

    #[test]
    fn every_file_of_the_page_is_embedded_and_all_are_small() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/page");
        let there: BTreeSet<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let embedded: BTreeSet<String> = ASSETS.iter().chain([&INDEX]).map(|asset| asset.name.to_owned()).collect();
        assert_eq!(there, embedded);
        let bytes: usize = ASSETS.iter().chain([&INDEX]).map(|asset| asset.bytes.len()).sum();
        assert!(bytes < MAX_BYTES, "{bytes} bytes");
    }

    /// G079: text of others never becomes markup, and nothing is loaded from anywhere else.
    #[test]
    fn no_file_of_the_page_has_a_sink_for_markup_or_names_another_host() {
        const SINKS: &[&str] = &[
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "DOMParser",
            "createContextualFragment",
            "setHTMLUnsafe",
            "eval(",
            "new Function",
            "javascript:",
            "srcdoc",
            "style=",
            "onclick=",
        ];
        for asset in ASSETS.iter().chain([&INDEX]) {
            for sink in SINKS {
                assert!(!text(asset).contains(sink), "{} names {sink}", asset.name);
            }
            let hosts = ["http://", "https://", "//cdn", "@import"];
            let named = text(asset).lines().filter(|line| hosts.iter().any(|host| line.contains(host)));
            let foreign: Vec<&str> = named.filter(|line| !line.contains("http://www.w3.org/")).collect();
            assert_eq!(foreign, Vec::<&str>::new(), "{}", asset.name);
        }
    }

    #[test]
    fn every_module_that_is_imported_is_there() {
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT) {
            let imports =
                text(asset).lines().filter_map(|line| line.split_once(" from \"./")).map(|(_, rest)| rest.trim_end_matches("\";"));
            for import in imports {
                assert!(ASSETS.iter().any(|other| other.name == import), "{} imports {import}", asset.name);
            }
        }
    }
}
