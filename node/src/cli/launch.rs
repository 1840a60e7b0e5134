//! [`Launch`]: how the process was started, kept so that the configuration file can be read again.

use std::ffi::OsString;

use super::settings::ConfigFile;
use super::{Cli, Surroundings, Verb};
use crate::config::Config;
use crate::error::{CommandError, Failure};

/// What was typed, and what the machine says.
#[derive(Clone, Debug)]
pub struct Launch {
    words: Vec<OsString>,
    /// What the machine says.
    pub around: Surroundings,
}

/// Why a command line cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It makes no sense, or asks for help or the version: clap knows what to print, where, and the exit code.
    #[error(transparent)]
    Words(#[from] clap::Error),
    /// The configuration file makes no sense.
    #[error(transparent)]
    File(#[from] CommandError),
}

impl Launch {
    /// How this process was started.
    ///
    /// # Errors
    /// When the working directory is gone.
    pub fn of_process() -> Result<Self, CommandError> {
        Ok(Self { words: std::env::args_os().collect(), around: Surroundings::of_process()? })
    }

    /// Reads the command line, and then the configuration file of the data folder that it names. Blocks.
    ///
    /// # Errors
    /// When one of the two makes no sense. The verbs that mend or look for such things are read without the file.
    pub fn read(&self) -> Result<Cli, Unreadable> {
        let typed = Cli::read(self.words.clone())?;
        let Ok(data_dir) = typed.global.data_dir(&self.around) else { return Ok(typed) }; // said when it is needed
        match ConfigFile::of(&data_dir) {
            Ok(file) => Ok(Cli::read_over(self.words.clone(), &file)?),
            Err(error) if matches!(typed.verb, Verb::Doctor | Verb::Config(_)) => Ok(Cli { bad_file: Some(error), ..typed }),
            Err(error) => Err(error.into()),
        }
    }

    /// What the node of this command line would run with now. Blocks.
    ///
    /// # Errors
    /// As [`Self::read`] and [`Config::resolve`].
    pub fn config(&self) -> Result<Config, CommandError> {
        let cli = self.read().map_err(|error| match error {
            Unreadable::File(error) => error,
            Unreadable::Words(error) => CommandError::new(Failure::Usage, error.to_string()),
        })?;
        match &cli.bad_file {
            Some(error) => Err(error.clone()),
            None => Config::resolve(&cli, &self.around),
        }
    }
}
