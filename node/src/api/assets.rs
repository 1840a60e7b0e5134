//! The files of the page that only a node has, in `node/page/`.

use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::Response;
use potluck_common::page_assets;
use potluck_common::web::assets::{self, Asset, INDEX};

const OWN: &[Asset] =
    page_assets!("app.js", "browse.js", "downloads.js", "peers.js", "player.js", "search.js", "shares.js", "status.js", "uploads.js",);

pub(super) async fn index(headers: HeaderMap) -> Response {
    assets::serve(OWN, INDEX, &headers).await
}

pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    assets::serve(OWN, &name, &headers).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_embedded_safe_and_small() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/page")).unwrap();
        let folder: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(assets::faults(OWN, &folder), Vec::<String>::new());
        assert!(assets::size(OWN) < assets::MAX_PAGE_BYTES, "{} bytes", assets::size(OWN));
    }
}
