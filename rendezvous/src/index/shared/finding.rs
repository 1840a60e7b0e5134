//! The SQL of a search, and names as the database searches them. Pure.
//!
//! `pg_trgm` finds names by three letters in a row, which the scripts that write a word with one or two do not have. So each
//! of their letters is set apart by blanks: a letter with blanks around it is three in a row. What is looked for is
//! written likewise, so that a word is in a name as it is searched whenever it is in the name.

use std::fmt::Write as _;

use potluck_common::search::{Query, fold};
use tokio_postgres::types::ToSql;

/// Rows that a search may read: some 50 ms of the server.
const MOST_READ: i64 = 20_000;
/// Rows of those that are fetched and ranked, the likely best: some 20 ms here. One more is asked for: where it comes, some were left out.
pub(super) const MOST_RANKED: i64 = 3000;

/// Rows of `files` with whose they are, of registrations that are told of. `$1` is the namespace.
pub(super) const TOLD_FILES: &str = "SELECT f.content, f.hashed, f.size, f.mtime, f.path, r.number
    FROM files f JOIN registrations r ON r.shelf = f.shelf
    WHERE r.namespace = $1 AND EXISTS (SELECT FROM presence p WHERE p.registration = r.number)";

/// What stands between words in names, for an order by where a word begins; a blank for each.
const PUNCTUATION: &str = "._-+()[]{},;&!'";

/// A text of SQL and what its `$1`, `$2` … stand for.
pub(super) struct Statement {
    pub(super) text: String,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Statement {
    fn new(text: &str, namespace: &str) -> Self {
        Self { text: text.to_owned(), values: vec![Box::new(namespace.to_owned())] }
    }

    /// Adds a value; its `$n`.
    fn value(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.values.push(Box::new(value));
        format!("${}", self.values.len())
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| -> &(dyn ToSql + Sync) { value.as_ref() }).collect()
    }
}

/// The rows that a search has to look at: those whose names hold all words, each in one of its spellings, best first where they
/// are too many. Filters narrow it where folders cannot be hits: those hold files that do not pass.
pub(super) fn candidates(namespace: &str, query: &Query, words: &[Vec<String>], only: Option<&[i64]>, unix_now: i64) -> Statement {
    let mut sql = Statement::new("SELECT c.content, c.hashed, c.size, c.mtime, c.path, c.number FROM (", namespace);
    sql.push(&TOLD_FILES.replacen("f.path,", "f.path, f.words,", 1));
    if let Some(only) = only {
        let only = sql.value(only.to_vec());
        let _ = write!(sql.text, " AND r.number = ANY({only})");
    }
    for spellings in words {
        let tests: Vec<String> = spellings.iter().map(|word| format!("f.words LIKE {}", sql.value(pattern(word)))).collect();
        let _ = write!(sql.text, " AND ({})", tests.join(" OR "));
    }
    if !query.wants_folders() {
        narrow(&mut sql, query, unix_now);
    }
    let _ = write!(sql.text, " LIMIT {MOST_READ}) c");
    if !words.is_empty() {
        // What is about the order in which they are ranked afterwards: words that begin in the last component, short paths. `OFFSET 0`
        // keeps the server from cutting the last component out anew for each use.
        let _ = write!(
            sql.text,
            ", LATERAL (SELECT translate('/' || split_part(c.words, '/', -1), '/{}', '{}') AS base OFFSET 0) b ORDER BY ",
            PUNCTUATION.replace('\'', "''"),
            " ".repeat(PUNCTUATION.len() + 1),
        );
        for word in words.iter().filter_map(|spellings| spellings.first()) {
            let (start, inside) = (sql.value(format!("% {}", pattern(word).trim_start_matches('%'))), sql.value(pattern(word)));
            let _ = write!(sql.text, "(b.base LIKE {start})::int * 160 + (b.base LIKE {inside})::int * 64 + ");
        }
        sql.push("greatest(0, 256 - octet_length(c.path)) DESC, c.path, c.number");
    }
    let _ = write!(sql.text, " LIMIT {}", MOST_RANKED + 1);
    sql
}

/// What only files have.
fn narrow(sql: &mut Statement, query: &Query, unix_now: i64) {
    for (text, value) in [
        ("f.size >= ", query.min_size.map(|least| i64::try_from(least).unwrap_or(i64::MAX))),
        ("f.size <= ", query.max_size.map(|most| i64::try_from(most).unwrap_or(i64::MAX))),
        ("f.mtime >= ", query.newer.map(|newer| newer.earliest(unix_now))),
    ] {
        if let Some(value) = value {
            let value = sql.value(value);
            let _ = write!(sql.text, " AND {text}{value}");
        }
    }
    if !query.extensions.is_empty() {
        let endings: Vec<String> = query.extensions.iter().map(|extension| format!("%.{}", escaped(extension))).collect();
        let endings = sql.value(endings);
        let _ = write!(sql.text, " AND f.words LIKE ANY({endings})");
    }
}

/// Rows in whose names something like a word stands: what it was probably meant to be is among them.
pub(super) fn alike(namespace: &str, word: &str) -> Statement {
    let mut sql = Statement::new(TOLD_FILES, namespace);
    let word = sql.value(word.to_owned());
    let _ = write!(sql.text, " AND {word} <% f.words LIMIT {MOST_RANKED}");
    sql
}

/// A name as it is searched.
pub(super) fn searchable(path: &str) -> String {
    apart(&fold(path))
}

/// A pattern of `LIKE` for names that hold a folded word.
fn pattern(word: &str) -> String {
    format!("%{}%", escaped(word))
}

fn escaped(word: &str) -> String {
    let mut escaped = String::with_capacity(word.len() + 2);
    for letter in apart(word).chars() {
        if matches!(letter, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// Sets letters of which one is a syllable or a word apart from each other.
fn apart(folded: &str) -> String {
    if folded.is_ascii() {
        return folded.to_owned();
    }
    let mut apart = String::with_capacity(folded.len() * 2);
    for letter in folded.chars() {
        if is_syllable(letter) {
            apart.extend([' ', letter, ' ']);
        } else {
            apart.push(letter);
        }
    }
    apart
}

/// Kana, Han, Hangul, and what else the blocks around them hold.
fn is_syllable(letter: char) -> bool {
    matches!(letter, '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
        && letter.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn syllables_stand_apart_and_what_like_would_take_for_a_sign_is_escaped() {
        assert_eq!(searchable("日本/Été_1.mp3"), " 日  本 /ete_1.mp3");
        assert_eq!(pattern("100%_\\"), "%100\\%\\_\\\\%");
        assert_eq!(pattern("한국"), "% 한  국 %");
    }

    #[test]
    fn each_spelling_and_each_filter_has_its_value() {
        let query = Query::parse("joga live ext:flac,mp3 size:>1k newer:1970-01-02");
        let words: Vec<Vec<String>> = vec![vec!["joga".into(), "yoga".into()], vec!["live".into()]];
        let sql = candidates("public", &query, &words, Some(&[3]), 0);
        assert!(sql.text.contains("(f.words LIKE $3 OR f.words LIKE $4) AND (f.words LIKE $5)"), "{}", sql.text);
        assert_eq!(sql.values().len(), 5 + 3 + 4, "{}", sql.text);
        assert!((1..=sql.values().len()).all(|number| sql.text.contains(&format!("${number}"))));
    }

    proptest! {
        #[test]
        fn a_word_that_is_in_a_name_is_in_it_as_it_is_searched(text in "[a-b日本か한 ./]{0,12}", from in 0usize..12, len in 0usize..4) {
            let word: String = text.chars().skip(from).take(len).collect();
            prop_assert!(apart(&text).contains(&apart(&word)));
        }
    }
}
