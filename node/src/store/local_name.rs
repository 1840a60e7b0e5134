//! [`LocalName`]: what a file of a share is called on this disk.
//!
//! A share path may hold names that some system treats specially: `CON` is a device of Windows, `a:b` a hidden stream,
//! a dot or a space at the end disappears there and on its network shares. They are mapped on every system alike, so that a
//! download folder can be moved, or lie on an exFAT stick, and so that the mapping is tested everywhere.
//!
//! The mapping: `‛` (U+201B, a quotation mark that hardly any name holds) escapes.
//! * `‛` itself becomes `‛‛`.
//! * `‛` and two hex digits stand for a character: for `< > : " | ? *` wherever they are, for a dot or a space at the end, and
//!   for the last character of a device's name (`CON`, `nul.txt`, `COM¹`). None of them is above U+00FF.
//! * A name that ends as our own temporary files do has its last character escaped.
//! * A name that would be longer than 255 bytes is cut, and ends in `‛~` and 32 hex digits of its BLAKE3 hash. This
//!   cannot be undone by [`original`](LocalName::original); different names are still different.

use potluck_common::content_id::ContentId;
use potluck_common::share_path::{MAX_COMPONENT_BYTES, SharePathError, check_component};

use super::part_file::PART_SUFFIX;

const ESCAPE: char = '\u{201b}';
/// Bytes of `‛~` and 32 hex digits.
const CUT_MARK_BYTES: usize = 3 + 1 + 32;

/// A name that every system stores as it is: one component, no device, no stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalName(String);

impl LocalName {
    /// The local name for one component of a share path. A name that is safe stays as it is.
    ///
    /// # Errors
    /// When `component` cannot be in a share path.
    pub fn new(component: &str) -> Result<Self, SharePathError> {
        check_component(component)?;
        let last = component.char_indices().next_back().map_or(0, |(at, _)| at);
        let escaped_at = device_end(component);
        let ends_like_ours = component.ends_with(PART_SUFFIX);
        let mut local = String::with_capacity(component.len());
        for (at, c) in component.char_indices() {
            let special = match c {
                ESCAPE => {
                    local.push_str("\u{201b}\u{201b}");
                    continue;
                }
                '<' | '>' | ':' | '"' | '|' | '?' | '*' => true,
                '.' | ' ' => at == last,
                _ => at == last && ends_like_ours,
            };
            if special || escaped_at == Some(at) {
                local.push_str(&format!("{ESCAPE}{:02X}", u32::from(c)));
            } else {
                local.push(c);
            }
        }
        if local.len() > MAX_COMPONENT_BYTES {
            let hash = ContentId::of(component.as_bytes()).to_string();
            // Without an escape at the end, so that the one of the mark cannot be read as its second half.
            let kept = cut_to(&local, MAX_COMPONENT_BYTES - CUT_MARK_BYTES).trim_end_matches(ESCAPE);
            local = format!("{kept}{ESCAPE}~{}", cut_to(&hash, 32));
        }
        Ok(Self(local))
    }

    /// The name as the file system takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The component of the share path that it was made of; `None` for a name that was cut.
    #[must_use]
    pub fn original(&self) -> Option<String> {
        let mut original = String::with_capacity(self.0.len());
        let mut rest = self.0.chars();
        while let Some(c) = rest.next() {
            if c != ESCAPE {
                original.push(c);
                continue;
            }
            match rest.next()? {
                ESCAPE => original.push(ESCAPE),
                high => {
                    let code = high.to_digit(16)? * 16 + rest.next()?.to_digit(16)?;
                    original.push(char::from_u32(code)?);
                }
            }
        }
        Some(original)
    }

    /// The name with a number before its extension: `a (1).txt`. Still at most 255 bytes.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Self {
        self.marked(&format!(" ({number})"))
    }

    /// The name of a file that was found damaged and replaced: `a (damaged).txt`, `a (damaged 1).txt`, …
    #[must_use]
    pub fn damaged(&self, number: u32) -> Self {
        self.marked(&if number == 0 { " (damaged)".to_owned() } else { format!(" (damaged {number})") })
    }

    /// The name with a mark before its extension. Still at most 255 bytes.
    fn marked(&self, mark: &str) -> Self {
        let dot = self.0.rfind('.').filter(|dot| *dot > 0).unwrap_or(self.0.len());
        let (stem, extension) = self.0.split_at(dot);
        let room = MAX_COMPONENT_BYTES.saturating_sub(mark.len());
        // An extension longer than the room is no extension.
        let (stem, extension) = if extension.len() < room { (stem, extension) } else { (self.0.as_str(), "") };
        let stem = cut_to(stem, room - extension.len());
        Self(format!("{stem}{mark}{extension}"))
    }
}

/// The longest beginning of `text` that has at most `most` bytes and does not cut a character.
pub(super) fn cut_to(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Where the last character of a Windows device's name lies in `name`, if that is what its stem is.
fn device_end(name: &str) -> Option<usize> {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ');
    let (last_at, last) = stem.char_indices().next_back()?;
    let is = |device: &str| stem.eq_ignore_ascii_case(device);
    let (port, _) = stem.split_at(last_at);
    let numbered = (port.eq_ignore_ascii_case("COM") || port.eq_ignore_ascii_case("LPT")) && matches!(last, '0'..='9' | '¹' | '²' | '³');
    (numbered || ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].into_iter().any(is)).then_some(last_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn local(name: &str) -> String {
        LocalName::new(name).unwrap().0
    }

    /// G023.
    #[test]
    fn names_that_some_system_treats_specially_are_mapped_and_back() {
        for (name, expected) in [
            ("CON", "CO\u{201b}4E"),
            ("nul.txt", "nu\u{201b}6C.txt"),
            ("NUL .tar.gz", "NU\u{201b}4C .tar.gz"),
            ("COM1", "COM\u{201b}31"),
            ("com\u{b9}.log", "com\u{201b}B9.log"),
            ("LPT³", "LPT\u{201b}B3"),
            ("CONIN$", "CONIN\u{201b}24"),
            ("a:b", "a\u{201b}3Ab"),
            ("ends.", "ends\u{201b}2E"),
            ("ends ", "ends\u{201b}20"),
            (" ", "\u{201b}20"),
            ("...", "..\u{201b}2E"),
            ("what? <this> \"is\" *|", "what\u{201b}3F \u{201b}3Cthis\u{201b}3E \u{201b}22is\u{201b}22 \u{201b}2A\u{201b}7C"),
            ("\u{201b}", "\u{201b}\u{201b}"),
            (".x.0123.potluck-part", ".x.0123.potluck-par\u{201b}74"),
        ] {
            assert_eq!(local(name), expected);
            assert_eq!(LocalName::new(name).unwrap().original().as_deref(), Some(name));
        }
    }

    #[test]
    fn harmless_names_stay_as_they_are() {
        for name in [
            "foo... bar",
            "..hidden",
            "a..b",
            "console",
            "COM",
            "COM10",
            "nul_",
            "LPT",
            "100% [x] {y}",
            "日本語：？",
            "e\u{301}",
            "-rf",
            "~",
        ] {
            assert_eq!(local(name), name);
        }
        let longest = "x".repeat(MAX_COMPONENT_BYTES);
        assert_eq!(local(&longest), longest);
    }

    #[test]
    fn a_name_that_gets_too_long_is_cut_and_stays_its_own() {
        let names = ["?".repeat(255), "?".repeat(254), "\u{201b}".repeat(85), format!("{}\u{201b}", "?".repeat(100)), "日?".repeat(60)];
        for name in &names {
            let cut = LocalName::new(name).unwrap();
            assert!(cut.as_str().len() <= MAX_COMPONENT_BYTES, "{cut:?}");
            assert!(check_component(cut.as_str()).is_ok());
            assert_eq!(cut.original(), None);
            assert!(names.iter().filter(|other| local(other) == cut.0).count() == 1);
        }
    }

    #[test]
    fn numbers_go_before_the_extension_and_fit() {
        let numbered = |name: &str, number| LocalName(name.to_owned()).numbered(number).0;
        assert_eq!(numbered("a.tar.gz", 1), "a.tar (1).gz");
        assert_eq!(numbered("a", 12), "a (12)");
        assert_eq!(numbered(".hidden", 1), ".hidden (1)");
        for long in ["x".repeat(255), "é".repeat(127), format!("{}.txt", "日".repeat(83)), format!("a.{}", "x".repeat(253))] {
            let name = numbered(&long, 9_999);
            assert!(name.len() <= MAX_COMPONENT_BYTES && name.contains(" (9999)"), "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_was_mapped_is_safe_and_maps_back(name in "[a-cCONcon.:? \u{201b}0-9~¹\u{e9}]{1,90}") {
            if let Ok(local) = LocalName::new(&name) {
                prop_assert!(local.as_str().len() <= MAX_COMPONENT_BYTES);
                prop_assert!(check_component(local.as_str()).is_ok());
                prop_assert!(!local.as_str().contains(['<', '>', ':', '"', '|', '?', '*']) && !local.as_str().ends_with(['.', ' ']));
                prop_assert_eq!(device_end(local.as_str()), None);
                match local.original() {
                    Some(original) => prop_assert_eq!(original, name),
                    None => prop_assert!(local.as_str().contains([ESCAPE, '~'])),
                }
            }
        }

        #[test]
        fn two_names_never_become_one(names in proptest::collection::hash_set("[aC:O.N\u{201b}~3 ]{1,6}|\\PC{1,40}|[\u{201b}?]{60,85}", 2..40)) {
            let mut seen = HashMap::new();
            for name in names.iter().filter(|name| check_component(name).is_ok()) {
                if let Some(other) = seen.insert(local(name), name) {
                    prop_assert!(false, "{:?} and {:?}", name, other);
                }
            }
        }
    }
}
