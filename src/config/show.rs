//! The settings in force, as a file that would make them so.

use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::Value;

use super::file::{SettingsFile, is_setting, is_switch};

/// What stands for a secret. Shorter than a secret may be, so that nobody takes it for one.
const HIDDEN: &str = "********";

/// Every setting with its value, in the order of the help.
pub(super) fn effective(command: &Command, matches: &ArgMatches, file: &SettingsFile) -> String {
    let mut text = String::new();
    for arg in command.get_arguments().filter(|arg| is_setting(arg)) {
        let name = arg.get_long().unwrap_or_default();
        let source = match matches.value_source(arg.get_id().as_str()) {
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            _ if file.sets(name) => "file",
            _ => "default",
        };
        let line = match value(arg, matches) {
            Some(value) => writeln!(text, "{name} = {value}  # {source}"),
            None => writeln!(text, "# {name} is not set"),
        };
        line.expect("a text takes any text");
    }
    text
}

/// A setting's value in TOML; `None` where it has none.
fn value(arg: &Arg, matches: &ArgMatches) -> Option<Value> {
    let id = arg.get_id().as_str();
    if is_switch(arg) {
        return Some(Value::Boolean(matches.get_flag(id)));
    }
    let shown = |text: &std::ffi::OsStr| match text.to_string_lossy() {
        _ if arg.is_hide_env_values_set() => Value::String(HIDDEN.to_owned()),
        text => number(&text).unwrap_or(Value::String(text.into_owned())),
    };
    let mut values: Vec<Value> = matches.get_raw(id)?.map(shown).collect();
    match arg.get_action() {
        ArgAction::Append => Some(Value::Array(values)),
        _ => values.pop(),
    }
}

/// A number that reads the same when it is written as one.
fn number(text: &str) -> Option<Value> {
    let integer = text.parse().ok().map(Value::Integer);
    let number = integer.or_else(|| text.parse().ok().map(Value::Float))?;
    (number.to_string() == text).then_some(number)
}
