//! The operator's manual and the program say the same.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// Options that explain the program instead of setting it.
const NOT_SETTINGS: &[&str] = &["--help", "--version"];

#[test]
fn every_setting_stands_in_the_manual_and_the_manual_names_no_other() {
    let help = Command::new(env!("CARGO_BIN_EXE_plenum"))
        .arg("--help")
        .output();
    let help = help.expect("the program that was just built runs").stdout;
    let settings = options(&String::from_utf8(help).expect("help is text"));
    assert!(settings.len() > 5, "few settings were found: {settings:?}");

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let manual = fs::read_to_string(path).expect("there is a manual");
    let rows = manual.lines().filter(|line| line.starts_with("| `--"));
    let described: BTreeSet<String> = rows.flat_map(options).collect();

    let missing: Vec<_> = settings.difference(&described).collect();
    let unknown: Vec<_> = described.difference(&settings).collect();
    assert!(missing.is_empty(), "not in docs/operations.md: {missing:?}");
    assert!(
        unknown.is_empty(),
        "only in docs/operations.md: {unknown:?}"
    );
}

/// All `--option` words of a text.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let options = words.filter(|word| word.starts_with("--") && word.len() > 3);
    options
        .map(str::to_owned)
        .filter(|option| !NOT_SETTINGS.contains(&option.as_str()))
        .collect()
}
