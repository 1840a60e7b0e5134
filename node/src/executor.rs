//! [`Executor`]: who executes commands. The node in this process is one, the node behind a control socket another; the
//! prompt, the verbs and the control socket do not care which.

use std::io;
use std::pin::pin;

use tokio::sync::mpsc;

use crate::clock;
use crate::error::{CommandError, Failure};
use crate::output::Output;
use crate::types::{Command, Item};

/// Items that may wait to be printed: an answer is made no faster than it is read.
pub const ITEM_QUEUE: usize = 64;

/// Executes commands.
pub trait Executor: Clone + Send + Sync + 'static {
    /// Sends the lines of the answer to `out`, and returns when there are no more. Dropping the future stops following; what
    /// was begun goes on.
    fn execute(&self, command: Command, out: mpsc::Sender<Item>) -> impl Future<Output = Result<(), CommandError>> + Send;

    /// Whoever gave a command has the whole answer: what had to wait for that may begin.
    fn handle_answered(&self) {}
}

/// Why a command came to no good end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It failed.
    #[error(transparent)]
    Failed(#[from] CommandError),
    /// Nobody reads the output any more, as after `potluck … | head -1`: no failure, and nobody to tell.
    #[error("nobody reads the output")]
    NobodyReads,
}

impl From<io::Error> for Broken {
    /// An error of writing the output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Failed(CommandError::new(Failure::LocalFile, format!("cannot write the output: {error}"))),
        }
    }
}

/// Executes a command and prints its answer.
///
/// Dropping the future stops following.
///
/// # Errors
/// When the command fails, or the output cannot be written.
pub async fn answer<E: Executor>(executor: &E, command: Command, output: &mut Output) -> Result<(), Broken> {
    let (sender, mut items) = mpsc::channel(ITEM_QUEUE);
    let mut work = pin!(executor.execute(command, sender));
    let mut result = None;
    loop {
        tokio::select! {
            ended = &mut work, if result.is_none() => {
                result = Some(ended);
                items.close(); // what is queued is still printed
            }
            item = items.recv() => match item {
                Some(item) => print(&item, items.is_empty(), output)?,
                None => break,
            },
        }
    }
    output.finish(clock::now())?;
    executor.handle_answered();
    match result {
        Some(ended) => Ok(ended?),
        None => Ok(work.await?),
    }
}

/// Prints an item, and pushes it out when none follows at once.
fn print(item: &Item, last_for_now: bool, output: &mut Output) -> io::Result<()> {
    output.item(item, clock::now())?;
    if last_for_now { output.flush() } else { Ok(()) }
}
