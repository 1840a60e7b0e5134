//! [`Console`]: the two streams of the process, shared by all that print, so that lines, the prompt and progress bars do
//! not run into each other.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::MultiProgress;
use rustyline::ExternalPrinter;
use tracing_subscriber::fmt::MakeWriter;

/// The process's stdout and stderr. Cloning shares them.
#[derive(Clone)]
pub struct Console(Arc<Mutex<Streams>>);

struct Streams {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Prints above a line that is being typed.
    prompt: Option<Box<dyn ExternalPrinter + Send>>,
    /// Bars that must make room for a line.
    bars: Option<MultiProgress>,
}

/// What the streams are connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminals {
    /// The columns of the terminal that stdout is; `None` when it is none.
    pub out_width: Option<usize>,
    /// Whether stderr is a terminal.
    pub err: bool,
    /// Whether somebody can type: stdin and stdout are terminals.
    pub interactive: bool,
}

impl Terminals {
    /// Looks at the streams of the process.
    #[must_use]
    pub fn of_process() -> Self {
        let stdout = io::stdout();
        let width = || rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        let out_width = stdout.is_terminal().then(width).map(|width| if width == 0 { 80 } else { width });
        Self { out_width, err: io::stderr().is_terminal(), interactive: out_width.is_some() && io::stdin().is_terminal() }
    }
}

impl Console {
    /// The streams of the process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(Box::new(BufWriter::new(io::stdout())), Box::new(io::stderr()))
    }

    /// Other streams, for tests.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(Mutex::new(Streams { out, err, prompt: None, bars: None })))
    }

    /// Prints a line of a result. It is written at the next [`Console::flush`], or before.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn result(&self, line: &str) -> io::Result<()> {
        let mut streams = self.streams();
        let Streams { out, bars, .. } = &mut *streams;
        match bars {
            Some(bars) => bars.suspend(|| writeln!(out, "{line}").and_then(|()| out.flush())),
            None => writeln!(out, "{line}"),
        }
    }

    /// Writes bytes of a result as they are, at once.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut streams = self.streams();
        streams.out.write_all(bytes)?;
        streams.out.flush()
    }

    /// Writes the results that were printed.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn flush(&self) -> io::Result<()> {
        self.streams().out.flush()
    }

    /// Prints a line for people. An error is dropped: there is nobody left to tell.
    pub fn note(&self, line: &str) {
        let mut streams = self.streams();
        let Streams { out, err, prompt, bars } = &mut *streams;
        let _ = out.flush(); // so that lines stand in the order in which they were printed
        if let Some(bars) = bars {
            let _ = bars.suspend(|| writeln!(err, "{line}"));
            return;
        }
        let above = prompt.as_mut().is_some_and(|prompt| prompt.print(format!("{line}\n")).is_ok());
        if !above {
            let _ = writeln!(err, "{line}");
        }
    }

    /// Lets lines for people be printed above the line that is being typed; `None`: no longer.
    pub fn set_prompt(&self, prompt: Option<Box<dyn ExternalPrinter + Send>>) {
        self.streams().prompt = prompt;
    }

    /// Lets lines be printed above progress bars; `None`: no longer.
    pub fn set_bars(&self, bars: Option<MultiProgress>) {
        self.streams().bars = bars;
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // streams hold no state that a panic could break
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine { console: self, bytes: Vec::new() }
    }
}

/// Collects one log message and prints it as a note.
#[derive(Debug)]
pub struct LogLine<'a> {
    console: &'a Console,
    bytes: Vec<u8>,
}

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.console.note(String::from_utf8_lossy(&self.bytes).trim_end());
        }
    }
}

/// Streams into memory, for the tests of what prints.
#[cfg(test)]
pub(crate) mod recorded {
    use super::*;

    /// What was printed on one stream.
    #[derive(Clone, Default)]
    pub(crate) struct Recorded(Arc<Mutex<Vec<u8>>>);

    impl Recorded {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Recorded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A console, with its stdout and stderr.
    pub(crate) fn console() -> (Console, Recorded, Recorded) {
        let (out, err) = (Recorded::default(), Recorded::default());
        (Console::new(Box::new(out.clone()), Box::new(err.clone())), out, err)
    }
}
