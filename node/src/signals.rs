//! The signals that end a run, or make a node read its configuration again.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C: stop what is being done now.
    Interrupt,
    /// `kill`, or the terminal is gone: stop the program.
    Terminate,
    /// `kill -HUP` to a node without a terminal: read the configuration again.
    Reload,
}

/// Listens to signals. From its creation on they no longer end the process by themselves.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
    on_hang_up: Signal,
}

impl Signals {
    /// Begins to listen. SIGHUP says that the terminal is gone; to a program that has none (`is_daemon`), that something is to
    /// be read again.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub(crate) fn listen(is_daemon: bool) -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
            on_hang_up: if is_daemon { Signal::Reload } else { Signal::Terminate },
        })
    }

    /// The next signal. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hang_up.recv() => self.on_hang_up,
        }
    }
}
