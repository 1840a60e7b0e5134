//! Folding: a text as the index compares it, so that `Motörhead`, `MOTORHEAD` and `ｍｏｔöｒｈｅａｄ` are one.
//!
//! 1. Compatibility forms are joined (NFKD): full width, half width, ligatures, `①`.
//! 2. Marks are dropped where they are accents to a reader who types without: over Latin, Greek, Cyrillic, Hebrew and
//!    Arabic letters. Elsewhere a mark is part of the letter and stays: か and が, ハ and パ, Hangul, Indic vowels.
//! 3. Letters that only look accented are replaced (`ł` `ø` `đ` `ı` `æ` `œ` `ß` `ς`), and case is dropped.
//! 4. What is left is composed (NFC), so that macOS' decomposed names equal everybody else's.
//!
//! A `/` in the folded text is always one that was in the path: folding never makes one (`℀` becomes `a c`), so that
//! components keep their number.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Characters that most alphabets are written with: Latin, Greek, Cyrillic, Armenian, Hebrew, Arabic.
const ALPHABETS: std::ops::Range<u32> = 0x80..0x700;
/// What each of them is folded to by itself; `None` for a mark, whose folding depends on what it stands over.
static FOLDED: LazyLock<Vec<Option<Box<str>>>> = LazyLock::new(|| {
    let alone = |code| char::from_u32(code).filter(|c| !is_combining_mark(*c)).map(|c| fold_slowly(std::iter::once(c)).collect());
    ALPHABETS.map(alone).collect()
});

/// Folds a text.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    fold_into(text, &mut out);
    out
}

/// Folds a text onto the end of another.
pub(super) fn fold_into(text: &str, out: &mut String) {
    let start = out.len();
    let table = &*FOLDED;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c.is_ascii() {
            // Most of a name is, whatever else is in it: what comes together is copied together.
            let (ascii, others) = rest.split_at(rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len()));
            let from = out.len();
            out.push_str(ascii);
            out[from..].make_ascii_lowercase();
            rest = others;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if is_plain(c) {
            out.push(c);
            continue;
        }
        let place = u32::from(c).wrapping_sub(ALPHABETS.start) as usize;
        if let Some(Some(folded)) = table.get(place) {
            out.push_str(folded);
        } else {
            out.truncate(start);
            out.extend(fold_slowly(text.chars()));
            return;
        }
    }
}

/// Folding by the book. What is folded faster is what no neighbour has a part in.
fn fold_slowly(chars: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    Unaccented { chars: chars.flat_map(decompose), over: Script::Other }.flat_map(replace).nfc()
}

/// Whether a character stays as it is: spared of the tables of Unicode.
fn is_plain(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fe}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// NFKD of one character, without new slashes.
fn decompose(c: char) -> impl Iterator<Item = char> {
    let keeps_slash = c == '/';
    std::iter::once(c).nfkd().map(move |part| if part == '/' && !keeps_slash { ' ' } else { part })
}

/// What a mark stands over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    /// Marks over it are accents.
    Accented,
    /// Marks over it belong to the letter.
    Other,
}

/// Drops accents.
struct Unaccented<I> {
    chars: I,
    over: Script,
}

impl<I: Iterator<Item = char>> Iterator for Unaccented<I> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            let c = self.chars.next()?;
            if is_combining_mark(c) {
                if self.over == Script::Other {
                    return Some(c);
                }
            } else {
                self.over = script(c);
                return Some(c);
            }
        }
    }
}

fn script(c: char) -> Script {
    match c {
        'a'..='z' | 'A'..='Z' => Script::Accented,
        // Latin, Greek, Cyrillic, Hebrew, Arabic, and the later blocks of the first three.
        '\u{c0}'..='\u{24f}' | '\u{370}'..='\u{52f}' | '\u{590}'..='\u{6ff}' | '\u{1e00}'..='\u{1fff}' | '\u{2c60}'..='\u{2c7f}' => {
            Script::Accented
        }
        _ => Script::Other,
    }
}

/// Replaces letters that only look accented, and drops case.
fn replace(c: char) -> impl Iterator<Item = char> {
    let (first, second) = match c {
        'ł' | 'Ł' => ('l', None),
        'ø' | 'Ø' => ('o', None),
        'đ' | 'Đ' => ('d', None),
        'ı' => ('i', None),
        'æ' | 'Æ' => ('a', Some('e')),
        'œ' | 'Œ' => ('o', Some('e')),
        'ß' | 'ẞ' => ('s', Some('s')),
        'ς' => ('σ', None),
        other => {
            let mut lower = other.to_lowercase();
            (lower.next().unwrap_or(other), lower.next())
        }
    };
    std::iter::once(first).chain(second)
}

/// Whether a word starts at `at` of a folded text: a letter or digit after what is none, and every Han character or kana,
/// whose scripts put nothing between words.
pub(super) fn starts_word(folded: &[u8], at: usize) -> bool {
    let Some(&first) = folded.get(at) else { return false };
    if first < 0x80 && !first.is_ascii_alphanumeric() {
        return false;
    }
    match at.checked_sub(1).and_then(|before| folded.get(before)) {
        None => true,
        Some(before) if *before < 0x80 => !before.is_ascii_alphanumeric() || first >= 0xe3 && is_unspaced(char_at(folded, at)),
        Some(_) => !char_ending(folded, at).is_alphanumeric() || first >= 0xe3 && is_unspaced(char_at(folded, at)),
    }
}

/// Whether a word ends at `at` of a folded text.
pub(super) fn ends_word(folded: &[u8], at: usize) -> bool {
    match folded.get(at) {
        None => true,
        Some(next) if *next < 0x80 => !next.is_ascii_alphanumeric(),
        Some(_) => {
            let next = char_at(folded, at);
            !next.is_alphanumeric() || is_unspaced(next)
        }
    }
}

/// Han and kana.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// The character that starts at a place; a space where none does.
fn char_at(text: &[u8], at: usize) -> char {
    let end = (at + 4).min(text.len());
    text.get(at..end).and_then(|bytes| bytes.utf8_chunks().next()?.valid().chars().next()).unwrap_or(' ')
}

/// The character that ends at a place; a space where none does.
fn char_ending(text: &[u8], at: usize) -> char {
    let start = (at.saturating_sub(4)..at).rev().find(|start| text.get(*start).is_some_and(|byte| byte & 0xc0 != 0x80));
    start.map_or(' ', |start| char_at(text, start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_accents_and_width_do_not_count() {
        for (text, folded) in [
            ("Motörhead", "motorhead"),
            ("ＡＢＣ１２", "abc12"),
            ("İstanbul ıI", "istanbul ii"),
            ("Łódź", "lodz"),
            ("Straße STRASSE", "strasse strasse"),
            ("θάλασσα ΟΔΟΣ οδος", "θαλασσα οδοσ οδοσ"),
            ("Ёлка й", "елка и"),
            ("العَرَبِيّة", "العربية"),
            ("שָׁלוֹם", "שלום"),
            ("ﬁn", "fin"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    #[test]
    fn marks_that_make_another_letter_survive() {
        assert_eq!(fold("ガか\u{3099}ﾊﾟは"), "ガがパは");
        assert_ne!(fold("か"), fold("が"));
        assert_eq!(fold("\u{1112}\u{1161}\u{11ab}국"), "한국");
        assert_eq!(fold("हिन्दी"), "हिन्दी");
    }

    #[test]
    fn folding_makes_no_slash() {
        assert_eq!(fold("℀/／"), "a c/ ");
    }

    #[test]
    fn words_start_after_punctuation_and_at_every_han_character() {
        let starts = |text: &str| (0..text.len()).filter(|at| text.is_char_boundary(*at) && starts_word(text.as_bytes(), *at)).count();
        assert_eq!(starts("ab-cd/ef"), 3);
        assert_eq!(starts("мир"), 1);
        assert_eq!(starts("日本"), 2);
        assert!(ends_word("日本".as_bytes(), 3) && ends_word(b"ab c", 2) && !ends_word(b"abc", 2));
    }

    proptest! {
        #[test]
        fn what_is_folded_by_the_table_is_folded_by_the_book(text in "[a-zA-Z\u{80}-\u{6ff}か-ゔ가-힣 ]{0,12}") {
            prop_assert_eq!(fold(&text), fold_slowly(text.chars()).collect::<String>());
        }

        #[test]
        fn folding_twice_is_folding_once(text in "\\PC{0,16}") {
            prop_assert_eq!(fold(&fold(&text)), fold(&text));
        }

        #[test]
        fn composed_and_decomposed_names_are_one(text in "[a-zé-üа-яか-ゔ가-힣ㄱ-ㅎ ]{0,12}") {
            prop_assert_eq!(fold(&text.nfd().collect::<String>()), fold(&text.nfc().collect::<String>()));
        }

        #[test]
        fn no_place_in_any_text_makes_the_borders_panic(text in prop::collection::vec(any::<u8>(), 0..24), at in 0usize..32) {
            let _ = (starts_word(&text, at), ends_word(&text, at));
        }
    }
}
