//! Texts as QR codes, for the camera of a phone: invitations and links.

use qrcode::QrCode;
use qrcode::render::svg::Color;
use qrcode::render::unicode::Dense1x2;

/// Least width and height of a picture, in pixels.
const PIXELS: u32 = 240;

/// For a terminal, two rows of dots a line; `None` where a text is too long for a code.
#[must_use]
pub fn for_terminal(text: &str) -> Option<String> {
    QrCode::new(text).ok().map(|code| code.render::<Dense1x2>().build())
}

/// As a picture in SVG; `None` where a text is too long for a code.
#[must_use]
pub fn picture(text: &str) -> Option<String> {
    QrCode::new(text).ok().map(|code| code.render::<Color<'_>>().min_dimensions(PIXELS, PIXELS).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_fits_and_a_book_does_not() {
        let link = format!("potluck:{}?name=live.flac&size=12345", "9f".repeat(32));
        assert!(for_terminal(&link).is_some_and(|code| code.lines().count() > 10));
        assert!(picture(&link).is_some_and(|svg| svg.contains("<svg") && !svg.contains("script")));
        assert!(for_terminal(&"x".repeat(5000)).is_none() && picture(&"x".repeat(5000)).is_none());
    }
}
