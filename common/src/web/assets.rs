//! The files of a page, embedded in the program. They are what stands in a folder `page/`: no build step makes them. The files
//! that both pages use are here.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::guard;

/// One file of a page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its name below `/page/`.
    pub name: &'static str,
    /// What stands in it.
    pub bytes: &'static [u8],
}

/// Names files of the folder `page/` of the crate that calls it.
#[macro_export]
macro_rules! page_assets {
    ($($name:literal),+ $(,)?) => {
        &[$($crate::web::assets::Asset { name: $name, bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/page/", $name)) }),+]
    };
}

/// The file that a browser loads first.
pub const INDEX: &str = "index.html";

/// What both pages use.
pub const SHARED: &[Asset] = page_assets!(
    "api.js",
    "dialog.js",
    "dom.js",
    "format.js",
    "frame.js",
    "graph.js",
    "icon.svg",
    "icons.js",
    "index.html",
    "layout.css",
    "list.js",
    "parts.css",
    "signin.js",
    "tokens.css",
);

/// Answers with one of the shared files or of a page's own; its own win.
pub async fn serve(own: &'static [Asset], name: &str, headers: &HeaderMap) -> Response {
    match own.iter().chain(SHARED).find(|asset| asset.name == name) {
        Some(asset) => answer(*asset, headers),
        None => guard::nowhere().await.into_response(),
    }
}

fn answer(asset: Asset, headers: &HeaderMap) -> Response {
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
    head.insert(CONTENT_TYPE, HeaderValue::from_static(kind(asset.name)));
    (head, asset.bytes).into_response()
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// What is wrong with the files of a page, a sentence each: for the tests of whoever has one. `folder`: where they stand.
///
/// Every file in the folder is embedded and the other way round; every import is there; no file has a sink for markup (G079) or
/// names another host.
#[must_use]
pub fn faults(own: &'static [Asset], folder: &[String]) -> Vec<String> {
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
    const HOSTS: &[&str] = &["http://", "https://", "//cdn", "@import"];
    let mut faults = Vec::new();
    let names: Vec<&str> = own.iter().map(|asset| asset.name).collect();
    faults.extend(folder.iter().filter(|name| !names.contains(&name.as_str())).map(|name| format!("{name} is not embedded")));
    faults.extend(names.iter().filter(|name| !folder.iter().any(|there| there == *name)).map(|name| format!("{name} is not there")));
    for asset in own {
        let Ok(text) = std::str::from_utf8(asset.bytes) else {
            faults.push(format!("{} is no text", asset.name));
            continue;
        };
        faults.extend(SINKS.iter().filter(|sink| text.contains(**sink)).map(|sink| format!("{} names {sink}", asset.name)));
        let foreign = text.lines().filter(|line| HOSTS.iter().any(|host| line.contains(host)) && !line.contains("http://www.w3.org/"));
        faults.extend(foreign.map(|line| format!("{} names another host: {line}", asset.name)));
        let imports = text.lines().filter_map(|line| line.split_once(" from \"./")).map(|(_, rest)| rest.trim_end_matches("\";"));
        let missing = imports.filter(|import| !own.iter().chain(SHARED).any(|other| other.name == *import));
        faults.extend(missing.map(|import| format!("{} imports {import}, which is not there", asset.name)));
    }
    faults
}

/// Bytes of a page's own files and the shared ones.
#[must_use]
pub fn size(own: &'static [Asset]) -> usize {
    own.iter().chain(SHARED).map(|asset| asset.bytes.len()).sum()
}

/// Most of them: what is shown at once on a slow machine too.
pub const MAX_PAGE_BYTES: usize = 300 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_files_are_all_embedded_and_safe() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/page")).unwrap();
        let folder: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        // `index.html` and `signin.js` name files that only the programs have
        let faults: Vec<String> = faults(SHARED, &folder);
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn a_file_that_could_do_harm_is_noticed() {
        let evil: &'static [Asset] =
            &[Asset { name: "a.js", bytes: b"import { x } from \"./gone.js\";\nbody.innerHTML = '<img src=\"https://x\">';" }];
        assert_eq!(faults(evil, &["a.js".into(), "b.js".into()]).len(), 4, "{:?}", faults(evil, &["a.js".into(), "b.js".into()]));
    }
}
