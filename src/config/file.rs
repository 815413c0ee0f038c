//! A file of settings: TOML, flat, by the names of the command line.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, CommandFactory};
use thiserror::Error;
use toml::Value;

use super::Config;

/// What a file sets: the values of each setting, as the command line would have them.
#[derive(Debug, Default)]
pub(super) struct SettingsFile {
    values: BTreeMap<String, Vec<String>>,
}

/// Why a file of settings cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("--config {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is not TOML.
    #[error("--config {}: line {line}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, from 1 on.
        line: usize,
        /// Why; the line itself may hold a secret.
        reason: String,
    },
    /// A setting is unknown, or has a value that it cannot have.
    #[error("--config {}: {setting}: {reason}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The setting, as it stands there.
        setting: String,
        /// What is wrong with it; never a secret's value.
        reason: String,
    },
}

impl SettingsFile {
    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path).map_err(|error| FileError::Unreadable {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&text, path)
    }

    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        let malformed = |error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            FileError::Malformed {
                path: path.to_owned(),
                line: before.map_or(0, |before| before.matches('\n').count()) + 1,
                reason: error.message().to_owned(),
            }
        };
        let table: toml::Table = text.parse().map_err(malformed)?;
        let command = command();
        let mut values = BTreeMap::new();
        for (setting, value) in table {
            let texts = find(&command, &setting)
                .and_then(|arg| texts(arg, &value))
                .and_then(|texts| accept(&setting, &texts).map(|()| texts))
                .map_err(|reason| FileError::Setting {
                    path: path.to_owned(),
                    setting: setting.clone(),
                    reason,
                })?;
            values.insert(setting, texts);
        }
        Ok(Self { values })
    }

    pub(super) fn sets(&self, setting: &str) -> bool {
        self.values.contains_key(setting)
    }

    /// Makes what the file says the default of a command that has arguments of these names:
    /// environment and command line go before defaults.
    pub(super) fn as_defaults(&self, mut command: Command) -> Command {
        for (setting, values) in &self.values {
            let id = find(&command, setting).map(|arg| arg.get_id().clone());
            if let Ok(id) = id {
                command = command.mut_arg(id, |arg| arg.default_values(values.clone()));
            }
        }
        command
    }
}

/// Arguments that are settings: all but the file itself, help and version.
pub(super) fn is_setting(arg: &Arg) -> bool {
    let other = ["config", "help", "version"];
    arg.get_long().is_some_and(|long| !other.contains(&long))
}

/// Whether a setting is on or off, without a value.
pub(super) fn is_switch(arg: &Arg) -> bool {
    !arg.get_action().takes_values()
}

/// The command line; what its arguments do is known once it is built.
pub(super) fn command() -> Command {
    let mut command = Config::command();
    command.build();
    command
}

fn find<'a>(command: &'a Command, setting: &str) -> Result<&'a Arg, String> {
    let mut settings = command.get_arguments().filter(|arg| is_setting(arg));
    settings
        .find(|arg| arg.get_long() == Some(setting))
        .ok_or_else(|| "there is no such setting; `plenum --help` lists them".to_owned())
}

/// A value as texts, as the command line would have them.
fn texts(arg: &Arg, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Boolean(value) if is_switch(arg) => Ok(vec![value.to_string()]),
        _ if is_switch(arg) => Err("takes true or false".to_owned()),
        Value::Array(values) if matches!(arg.get_action(), ArgAction::Append) => {
            values.iter().map(text).collect()
        }
        Value::Array(_) => Err("takes one value, not a list".to_owned()),
        value => Ok(vec![text(value)?]),
    }
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        _ => Err("takes a text or a number".to_owned()),
    }
}

/// Whether the command line would take these values, also where they are overridden.
fn accept(setting: &str, values: &[String]) -> Result<(), String> {
    let options = values.iter().map(|value| format!("--{setting}={value}"));
    let switch = |value: &str| match value {
        "true" => vec![format!("--{setting}")],
        _ => Vec::new(),
    };
    let command = command();
    let options = match find(&command, setting) {
        Ok(arg) if is_switch(arg) => values.iter().flat_map(|value| switch(value)).collect(),
        _ => options.collect::<Vec<_>>(),
    };
    let line = ["plenum".to_owned()].into_iter().chain(options);
    command
        .try_get_matches_from(line)
        .map_err(|error| reason(&error))?;
    Ok(())
}

/// What a value's own check says; the words around it repeat the value, which may be a secret.
pub(super) fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches("error: ").to_owned()
}
