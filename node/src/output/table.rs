//! [`Table`]: rows for people, aligned on a terminal and separated by tabs elsewhere.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Rows that are looked at before the first is printed: columns are as wide as these need. Later rows keep the widths, so
/// that a list of a million files is printed as it comes.
const ROWS_TO_MEASURE: usize = 256;
const GAP: &str = "  ";
/// What the column that gives way keeps at least.
const LEAST_WIDTH: usize = 16;

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Text.
    Left,
    /// Figures.
    Right,
    /// Text that is cut in its middle when the terminal is too narrow.
    Flexible,
}

/// One line, and lines below it that belong to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// A text for each column.
    pub(super) cells: Vec<String>,
    /// Printed below, indented, whole.
    pub(super) below: Vec<String>,
}

/// Rows on their way to the output.
#[derive(Debug)]
pub(super) struct Table {
    columns: &'static [Align],
    /// Of the terminal; `None` for a pipe.
    terminal: Option<usize>,
    waiting: Vec<Row>,
    /// Once they are fixed.
    widths: Option<Vec<usize>>,
}

impl Table {
    pub(super) fn new(columns: &'static [Align], terminal: Option<usize>) -> Self {
        Self { columns, terminal, waiting: Vec::new(), widths: None }
    }

    /// Whether rows of these columns belong into this table.
    pub(super) fn has(&self, columns: &'static [Align]) -> bool {
        self.columns == columns
    }

    /// Takes a row, and returns the lines that can be printed now.
    pub(super) fn push(&mut self, row: Row) -> Vec<String> {
        if self.terminal.is_none() {
            return vec![row.cells.join("\t")];
        }
        self.waiting.push(row);
        if self.widths.is_some() || self.waiting.len() >= ROWS_TO_MEASURE { self.rest() } else { Vec::new() }
    }

    /// The lines that wait.
    pub(super) fn rest(&mut self) -> Vec<String> {
        let rows = std::mem::take(&mut self.waiting);
        if rows.is_empty() {
            return Vec::new();
        }
        let widths = self.widths.take().unwrap_or_else(|| self.measure(&rows));
        let lines = rows.iter().flat_map(|row| {
            let line = self.line(row, &widths);
            std::iter::once(line).chain(row.below.iter().map(|text| format!("    {text}")))
        });
        let lines = lines.collect();
        self.widths = Some(widths);
        lines
    }

    fn measure(&self, rows: &[Row]) -> Vec<usize> {
        let width = |column: usize| rows.iter().filter_map(|row| row.cells.get(column)).map(|cell| cell.width()).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let total = widths.iter().sum::<usize>() + GAP.len() * self.columns.len().saturating_sub(1);
        let over = total.saturating_sub(self.terminal.unwrap_or(usize::MAX));
        for (width, align) in widths.iter_mut().zip(self.columns) {
            if *align == Align::Flexible {
                *width = width.saturating_sub(over).max(LEAST_WIDTH.min(*width));
            }
        }
        widths
    }

    fn line(&self, row: &Row, widths: &[usize]) -> String {
        let mut line = String::new();
        for (position, ((cell, width), align)) in row.cells.iter().zip(widths).zip(self.columns).enumerate() {
            if position > 0 {
                line.push_str(GAP);
            }
            let cell = if *align == Align::Flexible { shorten(cell, *width) } else { cell.clone() };
            let blank = " ".repeat(width.saturating_sub(cell.width()));
            match align {
                Align::Right => line.extend([blank.as_str(), cell.as_str()]),
                Align::Left | Align::Flexible => line.extend([cell.as_str(), blank.as_str()]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// A text in at most `width` columns: its start and its end, because a file name ends in what tells files apart.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let start = fitting(text.chars(), room.div_ceil(2));
    let end: Vec<char> = fitting(text.chars().rev(), room / 2).chars().collect();
    start + "…" + &end.into_iter().rev().collect::<String>()
}

/// The first characters, as many as fit into `width` columns.
fn fitting(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    chars.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Align] = &[Align::Flexible, Align::Right, Align::Left];

    fn row(cells: [&str; 3]) -> Row {
        Row { cells: cells.map(str::to_owned).to_vec(), below: Vec::new() }
    }

    #[test]
    fn columns_align_on_a_terminal_also_when_letters_are_two_columns_wide() {
        let mut table = Table::new(COLUMNS, Some(80));
        assert!(table.push(row(["音楽.flac", "1 B", "a"])).is_empty());
        assert!(table.push(row(["b", "100 MiB", "b"])).is_empty());
        assert_eq!(table.rest(), ["音楽.flac      1 B  a", "b          100 MiB  b"]);
    }

    #[test]
    fn a_pipe_gets_everything_between_tabs_at_once() {
        let mut table = Table::new(COLUMNS, None);
        let name = "x".repeat(500);
        assert_eq!(table.push(row([&name, "1 B", "a"])), [format!("{name}\t1 B\ta")]);
        assert!(table.rest().is_empty());
    }

    #[test]
    fn a_narrow_terminal_cuts_the_name_in_its_middle() {
        let mut table = Table::new(COLUMNS, Some(30));
        table.push(row(["a very long name of a file.part01.rar", "1 MiB", "3"]));
        let lines = table.rest();
        assert!(lines[0].width() <= 30 && lines[0].contains('…') && lines[0].contains("rar  1 MiB"), "{lines:?}");
    }

    #[test]
    fn a_long_list_is_printed_while_it_comes() {
        let mut table = Table::new(COLUMNS, Some(80));
        let printed: usize = (0..1000).map(|_| table.push(row(["a", "b", "c"])).len()).sum();
        assert_eq!(printed, 1000);
        assert!(table.waiting.is_empty());
    }

    #[test]
    fn a_text_is_shortened_to_the_columns_that_it_has() {
        assert_eq!(shorten("abcdefghij", 5), "ab…ij");
        assert_eq!(shorten("abcdefghij", 10), "abcdefghij");
        assert_eq!(shorten("音楽音楽音楽", 6), "音…楽");
        assert_eq!(shorten("abc", 0), "…");
    }
}
