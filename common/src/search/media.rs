//! What `type:` means: the kinds of files that people ask for, known by their extensions.

/// Kinds and their extensions, sorted by nothing but habit. An extension may be of one kind only.
const KINDS: [(&str, &[&str]); 7] = [
    ("audio", &["mp3", "flac", "ogg", "opus", "m4a", "aac", "wav", "wma", "aiff", "aif", "ape", "wv", "mid", "midi", "mka", "dsf"]),
    ("video", &["mkv", "mp4", "avi", "webm", "mov", "m4v", "wmv", "mpg", "mpeg", "ts", "m2ts", "vob", "flv", "ogv", "3gp"]),
    (
        "image",
        &["jpg", "jpeg", "png", "gif", "webp", "svg", "bmp", "tif", "tiff", "heic", "avif", "raw", "cr2", "nef", "psd", "ico", "xpm"],
    ),
    (
        "document",
        &[
            "pdf", "epub", "mobi", "azw3", "djvu", "txt", "md", "doc", "docx", "odt", "rtf", "xls", "xlsx", "ods", "csv", "ppt", "pptx",
            "odp", "html", "htm", "tex", "ps", "cbz", "cbr",
        ],
    ),
    ("archive", &["zip", "7z", "rar", "tar", "gz", "tgz", "bz2", "xz", "zst", "lz4", "lzma", "cab", "iso", "img", "dmg"]),
    ("program", &["exe", "msi", "apk", "deb", "rpm", "appimage", "jar", "bin", "dll", "so", "flatpak", "snap"]),
    ("subtitle", &["srt", "ass", "ssa", "sub", "vtt", "idx"]),
];

/// The extensions of a kind, named as in `type:audio`, in English singular or plural; `None` for a kind that is not known.
#[must_use]
pub fn extensions_of(kind: &str) -> Option<&'static [&'static str]> {
    let singular = kind.strip_suffix('s').unwrap_or(kind);
    KINDS.iter().find(|(name, _)| *name == kind || *name == singular).map(|(_, extensions)| *extensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_name_and_share_no_extension() {
        assert!(extensions_of("videos").unwrap().contains(&"mkv"));
        assert_eq!(extensions_of("smell"), None);
        let mut all: Vec<_> = KINDS.iter().flat_map(|(_, extensions)| extensions.iter()).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
