//! The bytes of downloads: what is finished is opened or saved, and what is still coming is played.
//!
//! A file came from somebody else, so it is shown only if it is a picture, a sound, a film or plain text, each under the type
//! that its name says and no other; everything else is saved. Whatever it is, it gets no rights of the page: the `sandbox`
//! policy takes them away.

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;

use super::Api;
use super::reply::Refused;
use crate::error::{CommandError, Failure};
use crate::reading::Reading;

/// Most bytes that are read at a time.
const CHUNK_BYTES: u64 = 256 << 10;
/// What a file may do when it is shown.
const SANDBOX: &str = "sandbox; default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'";
/// What is shown, by extension. No type that can hold a script.
const SHOWN: &[(&str, &str)] = &[
    ("aac", "audio/aac"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("log", "text/plain; charset=utf-8"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("md", "text/plain; charset=utf-8"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("png", "image/png"),
    ("txt", "text/plain; charset=utf-8"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
];

/// How the bytes are wanted.
#[derive(Debug, Deserialize)]
pub(super) struct How {
    save: Option<String>,
}

pub(super) async fn content(
    State(api): State<Api>,
    Path(id): Path<u64>,
    Query(How { save }): Query<How>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let reading = api.0.node.read_download(id).await?;
    let size = reading.size;
    let shown = shown_type(&reading.name).filter(|_| save.is_none());
    let asked = headers.get(RANGE).and_then(|range| range.to_str().ok());
    let (status, range) = match asked.map(|text| parse_range(text, size)) {
        None | Some(Range::All) => (StatusCode::OK, 0..size),
        Some(Range::Part(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Range::Beyond) => {
            let header = [(CONTENT_RANGE, text(&format!("bytes */{size}"))?)];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, header).into_response());
        }
    };
    let mut head: Vec<(HeaderName, HeaderValue)> = vec![
        (CONTENT_TYPE, HeaderValue::from_static(shown.unwrap_or("application/octet-stream"))),
        (CONTENT_DISPOSITION, text(&disposition(&reading.name, shown.is_some()))?),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX)),
        (CONTENT_LENGTH, HeaderValue::from(range.end - range.start)),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (ETAG, text(&format!("\"{}\"", reading.content_id))?),
    ];
    if status == StatusCode::PARTIAL_CONTENT {
        head.push((CONTENT_RANGE, text(&format!("bytes {}-{}/{size}", range.start, range.end - 1))?));
    }
    Ok((status, HeaderMap::from_iter(head), body(reading, range)).into_response())
}

/// Reads as fast as the browser takes it, and no faster.
fn body(reading: Reading, range: std::ops::Range<u64>) -> Body {
    let chunks = stream::try_unfold((reading, range), |(mut reading, range)| async move {
        let bytes = reading.read(range.start, (range.end - range.start).min(CHUNK_BYTES)).await?;
        let next = range.start + bytes.len() as u64;
        Ok::<_, CommandError>((!bytes.is_empty()).then(|| (Bytes::from(bytes), (reading, next..range.end))))
    });
    Body::from_stream(chunks)
}

fn text(value: &str) -> Result<HeaderValue, CommandError> {
    HeaderValue::from_str(value).map_err(|error| CommandError::new(Failure::Other, error.to_string()))
}

/// The type under which a file is shown; `None`: it is only saved.
fn shown_type(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    SHOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension)).map(|(_, kind)| *kind)
}

/// How a browser is told a name (RFC 6266): once in ASCII, with what could end the header taken out, once exactly.
fn disposition(name: &str, is_shown: bool) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    let is_attribute = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(byte);
    let exact: String =
        name.bytes().map(|byte| if is_attribute(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect();
    let kind = if is_shown { "inline" } else { "attachment" };
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{exact}")
}

/// What part of a file is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    All,
    Part(std::ops::Range<u64>),
    Beyond,
}

/// One range of bytes (RFC 9110, 14). Several at once, and what is no range, are answered with the whole file, as the RFC allows.
fn parse_range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|spec| spec.trim().split_once('-')) else { return Range::All };
    let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse::<u64>().ok().map(Some) };
    match (number(first), number(last)) {
        (Some(Some(first)), Some(_)) if first >= size => Range::Beyond,
        (Some(Some(first)), Some(Some(last))) if last < first => Range::All,
        (Some(Some(first)), Some(last)) => Range::Part(first..last.map_or(size, |last| last.saturating_add(1).min(size))),
        (Some(None), Some(Some(0))) => Range::Beyond,
        (Some(None), Some(Some(_))) if size == 0 => Range::Beyond,
        (Some(None), Some(Some(count))) => Range::Part(size.saturating_sub(count)..size),
        _ => Range::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_browsers_send_them() {
        for (text, range) in [
            ("bytes=0-", Range::Part(0..100)),
            ("bytes=0-0", Range::Part(0..1)),
            ("bytes=10-19", Range::Part(10..20)),
            ("bytes=90-1000", Range::Part(90..100)),
            ("bytes=-10", Range::Part(90..100)),
            ("bytes=-1000", Range::Part(0..100)),
            ("bytes=100-", Range::Beyond),
            ("bytes=-0", Range::Beyond),
            ("bytes=5-4", Range::All),
            ("bytes=0-1,3-4", Range::All),
            ("bytes=-", Range::All),
            ("lines=1-2", Range::All),
            ("bytes=99999999999999999999-", Range::All),
            ("bytes=0-18446744073709551615", Range::Part(0..100)),
        ] {
            assert_eq!(parse_range(text, 100), range, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Range::Beyond);
        assert_eq!(parse_range("bytes=-5", 0), Range::Beyond);
    }

    /// G081.
    #[test]
    fn no_name_leaves_its_header_and_nothing_that_can_hold_a_script_is_shown() {
        let told = disposition("a\"b\r\nSet-Cookie: x=1\\é.flac", true);
        assert_eq!(
            told,
            "inline; filename=\"a_b__Set-Cookie: x=1__.flac\"; filename*=UTF-8''a%22b%0D%0ASet-Cookie%3A%20x%3D1%5C%C3%A9.flac"
        );
        for name in ["a.html", "a.htm", "a.svg", "a.xhtml", "a.xml", "a.pdf", "a.js", "a.mp4.html", "html", "a.", "a.swf", "a.mhtml"] {
            assert_eq!(shown_type(name), None, "{name}");
            assert!(disposition(name, false).starts_with("attachment;"));
        }
        assert_eq!(shown_type("Film.MKV"), Some("video/x-matroska"));
    }
}
