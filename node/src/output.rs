//! The one place that words answers, events and errors: JSON for programs on stdout, or text. Results go to stdout, what is
//! said about them to stderr. Whatever came from a peer is escaped before a terminal sees it.

mod table;
mod text;

use std::io;
use std::time::{Instant, SystemTime};

use potluck_common::escape::Escaped;

pub(crate) use self::table::shorten;
use self::table::{Align, Row, Table};
use crate::console::{Console, Terminals};
use crate::error::CommandError;
use crate::progress::Progress;
use crate::types::{Event, Item, SearchNote, TransferLine};

/// For whom to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Face {
    /// For programs: one object a line.
    pub json: bool,
    /// Results and errors only.
    pub quiet: bool,
    /// What the streams are connected to.
    pub terminals: Terminals,
}

/// Prints the answer to one command.
#[derive(Debug)]
pub struct Output {
    console: Console,
    face: Face,
    /// What ages are told from.
    today: SystemTime,
    table: Option<Table>,
    progress: Option<Progress>,
    /// Whether a search found something that can be downloaded.
    hits: bool,
}

impl Output {
    /// An answer that begins.
    #[must_use]
    pub fn new(console: &Console, face: Face, today: SystemTime) -> Self {
        Self { console: console.clone(), face, today, table: None, progress: None, hits: false }
    }

    /// Prints a line of the answer; rows of a table can wait until [`Output::finish`].
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn item(&mut self, item: &Item, now: Instant) -> io::Result<()> {
        if self.face.json {
            if let Some(json) = item.to_json() {
                self.console.result(&json)?;
            }
            if let Item::SearchNote(note) = item {
                self.search_note(note);
            }
            return Ok(());
        }
        let width = self.face.terminals.out_width;
        match item {
            Item::Peer(line) => self.row(text::PEER, text::peer(line, width)),
            Item::Entry(line) => self.row(text::ENTRY, text::entry(line, width, self.today)),
            Item::Folder(line) => self.row(text::ENTRY, text::folder(line)),
            Item::PageLink(line) => self.lines(vec![line.link.clone()]),
            Item::Page(_) => Ok(()),
            Item::Hit(line) => {
                self.hits = true;
                self.row(text::HIT, text::hit(line, width))
            }
            Item::Share(line) => self.row(text::SHARE, text::share(line)),
            Item::Download(line) => self.row(text::DOWNLOAD, text::download(line)),
            Item::SearchNote(note) => {
                self.end_table()?;
                self.search_note(note);
                Ok(())
            }
            Item::Watching(line) => {
                self.note(&text::watching(line));
                Ok(())
            }
            Item::News(line) => self.lines(vec![text::news(line)]),
            Item::Transfer(line) => self.transfer(line, now),
            Item::Tracker(line) => self.lines(vec![text::tracker(line)]),
            Item::Joined(line) => self.lines(text::joined(line)),
            Item::Dialled(line) => self.lines(vec![text::dialled(line)]),
            Item::Upload(line) => self.row(text::UPLOAD, text::upload(line)),
            Item::Link(line) => self.lines(vec![line.link.clone()]),
            Item::Limits(line) => self.lines(vec![text::limits(line)]),
            Item::Status(line) => self.lines(text::status(line)),
            Item::Id(line) => self.lines(text::id(line)),
        }
    }

    /// Prints what waits, and what is to be said at the end.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn finish(&mut self, now: Instant) -> io::Result<()> {
        self.end_table()?;
        if let Some(summary) = self.progress.take().and_then(|progress| progress.finish(now)) {
            self.note(&summary);
        }
        if self.hits && self.face.terminals.out_width.is_some() {
            self.note("Fetch one with: potluck download CONTENT_ID");
        }
        self.flush()
    }

    /// Writes what was printed.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn flush(&self) -> io::Result<()> {
        self.console.flush()
    }

    fn transfer(&mut self, line: &TransferLine, now: Instant) -> io::Result<()> {
        let bars = self.face.terminals.err && !self.face.quiet;
        self.progress.get_or_insert_with(|| Progress::start(&self.console, bars, now)).handle(line);
        match line {
            TransferLine::Progress { .. } => Ok(()),
            TransferLine::Done { path, already_there, .. } => {
                if *already_there {
                    self.note(&format!("already there: {}", Escaped(path)));
                }
                self.console.result(&Escaped(path).to_string())
            }
            TransferLine::Failed { name, error, .. } => {
                self.console.note(&format!("error: {}: {}", Escaped(name), Escaped(error)));
                Ok(())
            }
        }
    }

    fn search_note(&self, note: &SearchNote) {
        text::search_note(note).iter().for_each(|line| self.note(line));
    }

    fn row(&mut self, columns: &'static [Align], row: Row) -> io::Result<()> {
        if !self.table.as_ref().is_some_and(|table| table.has(columns)) {
            self.end_table()?;
        }
        let table = self.table.get_or_insert_with(|| Table::new(columns, self.face.terminals.out_width));
        let lines = table.push(row);
        self.lines(lines)
    }

    fn end_table(&mut self) -> io::Result<()> {
        let lines = self.table.take().map(|mut table| table.rest()).unwrap_or_default();
        self.lines(lines)
    }

    fn lines(&self, lines: Vec<String>) -> io::Result<()> {
        lines.iter().try_for_each(|line| self.console.result(line))
    }

    fn note(&self, line: &str) {
        if !self.face.quiet {
            self.console.note(line);
        }
    }
}

/// Prints what happens to a node in the foreground: JSON on stdout at once, or text on stderr.
///
/// # Errors
/// When stdout cannot be written.
pub fn event(console: &Console, face: Face, event: &Event) -> io::Result<()> {
    if face.json {
        let json = serde_json::to_string(event).map_err(io::Error::other)?;
        console.result(&json)?;
        return console.flush();
    }
    let trouble = matches!(event, Event::TrackerLost { .. } | Event::PeerBanned { .. } | Event::Warning { .. });
    if trouble || !face.quiet {
        console.note(&text::event(event));
    }
    Ok(())
}

/// Prints why a command failed.
pub fn error(console: &Console, error: &CommandError) {
    let lines: Vec<String> = error.message.lines().map(|line| Escaped(line).to_string()).collect();
    console.note(&format!("error: {}", lines.join("\n")));
}

#[cfg(test)]
mod tests;
