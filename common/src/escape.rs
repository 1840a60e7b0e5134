//! Remote text made safe for a terminal or a log line.
//!
//! A name that a peer chose may hold escape sequences that clear the screen, hide a line or turn a file name around.
//! [`Escaped`] prints each such character as `\u{…}`; text without any is printed as it is, without allocation.

use std::fmt::{self, Write};

/// Prints `0` with every control, bidirectional and invisible character escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.chars().any(is_unsafe) {
            return f.pad(self.0);
        }
        for c in self.0.chars() {
            if is_unsafe(c) { write!(f, "\\u{{{:x}}}", c as u32)? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

/// Whether a character could act on a terminal, or make a text look like another.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}' // zero width, marks of direction
            | '\u{2028}'..='\u{202e}' // line separators, embeddings and overrides of direction
            | '\u{2060}'..='\u{206f}' // invisible operators, isolates
            | '\u{061c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}') // tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// G022.
    #[test]
    fn nothing_that_acts_on_a_terminal_gets_through() {
        for attack in [
            "\u{1b}[2J",
            "\u{1b}]8;;http://x\u{7}",
            "\u{1b}]52;c;AAAA\u{7}",
            "a\rb",
            "\u{7}",
            "\u{9b}31m",
            "\u{202e}gpj.exe",
            "\u{2066}x\u{2069}",
            "a\u{200b}b",
            "a\nb",
        ] {
            let shown = Escaped(attack).to_string();
            assert!(shown.starts_with("\\u{") || shown.contains("\\u{"), "{shown:?}");
            assert!(!shown.chars().any(is_unsafe), "{shown:?}");
        }
        assert_eq!(Escaped("日本語 – ok.txt").to_string(), "日本語 – ok.txt");
    }

    proptest! {
        #[test]
        fn no_text_keeps_an_unsafe_character(text in any::<String>()) {
            prop_assert!(!Escaped(&text).to_string().chars().any(is_unsafe));
        }
    }
}
