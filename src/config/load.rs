//! Settings from the command line, the environment, and the file that one of them names.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use thiserror::Error;

use super::Config;
use super::file::{FileError, SettingsFile, command, reason};
use super::show;

/// The settings in force, and where each comes from.
pub struct Loaded {
    /// The settings.
    pub config: Config,
    matches: ArgMatches,
    file: SettingsFile,
}

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The command line or the environment; also a request for help.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A secret on the command line or in the environment that is none.
    #[error("{setting}: {reason}")]
    Secret {
        /// The option.
        setting: String,
        /// What is wrong with it, without its value.
        reason: String,
    },
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Config {
    /// Reads the command line (its first word is the program's name), the environment, and the
    /// file that is named there.
    pub fn load(line: impl IntoIterator<Item = OsString>) -> Result<Loaded, LoadError> {
        let line: Vec<OsString> = line.into_iter().collect();
        let without_file = matches(Self::command(), &line)?;
        let file = match Self::from_arg_matches(&without_file)?.file {
            Some(path) => SettingsFile::read(&path)?,
            None => SettingsFile::default(),
        };
        let mut command = file.as_defaults(Self::command());
        // A token is signed with the key that the server has.
        command = command.mut_subcommand("token", |token| file.as_defaults(token));
        let matches = matches(command, &line)?;
        Ok(Loaded {
            config: Self::from_arg_matches(&matches)?,
            matches,
            file,
        })
    }
}

impl Loaded {
    /// The settings in force, as a file of settings, with where each comes from. Secrets are
    /// hidden.
    pub fn show(&self) -> String {
        show::effective(&command(), &self.matches, &self.file)
    }
}

/// As clap, but what it says of a secret does not repeat it.
fn matches(mut command: Command, line: &[OsString]) -> Result<ArgMatches, LoadError> {
    // Only then it knows how to write its arguments.
    command.build();
    let secrets: Vec<String> = command
        .get_arguments()
        .filter(|arg| arg.is_hide_env_values_set())
        .map(ToString::to_string)
        .collect();
    command
        .try_get_matches_from(line)
        .map_err(|error| match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(setting)) if secrets.contains(setting) => LoadError::Secret {
                setting: setting.clone(),
                reason: reason(&error),
            },
            _ => error.into(),
        })
}
