//! The one place that words answers, events and errors: JSON for programs on stdout, or text. Results go to stdout, what is
//! said about them to stderr. Whatever came from a peer is escaped before a terminal sees it.

mod table;
mod text;

use std::io;
use std::time::{Instant, SystemTime};

use potluck_common::escape::Escaped;
use potluck_common::qr;

pub(crate) use self::table::shorten;
use self::table::{Align, Row, Table};
use crate::console::{Console, Terminals};
use crate::error::{CommandError, Failure};
use crate::progress::Progress;
use crate::types::{Command, Event, Item, SearchNote, TransferLine};

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
    /// Whether stdout is for the bytes of a file, and everything else for stderr.
    to_stdout: bool,
}

impl Output {
    /// An answer that begins.
    #[must_use]
    pub fn new(console: &Console, face: Face, today: SystemTime) -> Self {
        Self { console: console.clone(), face, today, table: None, progress: None, hits: false, to_stdout: false }
    }

    /// The answer to a command that begins. One that puts a file onto stdout has everything else printed to stderr.
    ///
    /// # Errors
    /// When a file would go to a terminal.
    pub fn of(command: &Command, console: &Console, face: Face, today: SystemTime) -> Result<Self, CommandError> {
        let to_stdout = matches!(command, Command::Download(wish) if wish.to_stdout);
        if to_stdout && face.terminals.out_width.is_some() {
            let message = "a terminal shows no files; send the output on: `potluck download REF -o - | PROGRAM`";
            return Err(CommandError::new(Failure::Usage, message));
        }
        Ok(Self { to_stdout, ..Self::new(console, face, today) })
    }

    /// Prints a line of the answer; rows of a table can wait until [`Output::finish`].
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn item(&mut self, item: &Item, now: Instant) -> io::Result<()> {
        if let Item::Chunk(bytes) = item {
            return self.console.bytes(bytes);
        }
        if self.face.json {
            if let Some(json) = item.to_json() {
                self.say(&json)?;
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
            Item::PageLink(line) => self.link(&line.link),
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
            Item::Chunk(_) => Ok(()), // written above
            Item::Verified(line) => self.lines(vec![text::verified(line)]),
            Item::Tracker(line) => self.lines(vec![text::tracker(line)]),
            Item::Joined(line) => self.lines(text::joined(line)),
            Item::Dialled(line) => self.lines(vec![text::dialled(line)]),
            Item::Upload(line) => self.row(text::UPLOAD, text::upload(line)),
            Item::Link(line) => self.link(&line.link),
            Item::Limits(line) => self.lines(vec![text::limits(line)]),
            Item::Status(line) => self.lines(text::status(line)),
            Item::Id(line) => self.lines(text::id(line)),
            Item::Setting(line) => self.row(text::SETTING, text::setting(line)),
            Item::ConfigPath(line) => self.lines(vec![line.path.clone()]), // for a shell, which wants it as it is
            Item::Check(line) => self.lines(vec![text::check(line)]),
        }
    }

    /// A link, for a phone's camera too where somebody looks at a terminal.
    fn link(&mut self, link: &str) -> io::Result<()> {
        if self.face.terminals.out_width.is_some()
            && let Some(code) = qr::for_terminal(link)
        {
            self.note(&code);
        }
        self.lines(vec![link.to_owned()])
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
                self.say(&Escaped(path).to_string())
            }
            TransferLine::Failed { name, error, .. } => {
                self.console.note(&format!("error: {}: {}", Escaped(name), Escaped(error)));
                Ok(())
            }
        }
    }

    /// Prints a line of a result.
    fn say(&self, line: &str) -> io::Result<()> {
        if self.to_stdout {
            self.console.note(line);
            return Ok(());
        }
        self.console.result(line)
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
