//! `join`: where the invitation comes from. It is a secret, so it need not stand in the command line, where every program of
//! the machine can read it.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{CommandError, Failure};

/// Longest text that is read: an invitation has 200 characters, and a mail around it some more.
const MAX_TEXT_BYTES: u64 = 4096;

/// What `join` takes.
#[derive(Clone, Debug, Args)]
pub struct JoinArgs {
    /// The invitation, potluck:join/...; - reads it from standard input
    #[arg(value_name = "INVITATION", required_unless_present = "file")]
    invitation: Option<String>,
    /// Read the invitation from a file
    #[arg(long, value_name = "FILE", conflicts_with = "invitation")]
    file: Option<PathBuf>,
}

impl JoinArgs {
    /// The invitation as text.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn text(&self, here: &Path) -> Result<String, CommandError> {
        let mut text = String::new();
        let (read, source) = match (&self.file, self.invitation.as_deref()) {
            (Some(file), _) => {
                let file = here.join(file);
                let read = std::fs::File::open(&file).and_then(|file| file.take(MAX_TEXT_BYTES).read_to_string(&mut text));
                (read, file.display().to_string())
            }
            (None, None | Some("-")) => (std::io::stdin().take(MAX_TEXT_BYTES).read_to_string(&mut text), "standard input".to_owned()),
            (None, Some(line)) => return Ok(line.to_owned()),
        };
        let unread = |error| CommandError::new(Failure::LocalFile, format!("cannot read the invitation from {source}: {error}"));
        read.map(|_| text).map_err(unread)
    }
}
