//! What the documents say of the program, and what the program says, are the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
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

#[test]
fn every_test_that_the_security_policy_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let policy = fs::read_to_string(root.join("SECURITY.md")).expect("there is a policy");
    let quoted = policy.split('`').skip(1).step_by(2);
    // Names of tests are sentences.
    let named: Vec<&str> = quoted
        .filter(|text| text.matches('_').count() > 2)
        .filter(|text| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    assert!(named.len() > 10, "few tests were found: {named:?}");
    let mut code = String::new();
    for folder in ["src", "tests"] {
        read_all(&root.join(folder), &mut code);
    }
    let is_there = |name: &&&str| code.contains(&format!("fn {name}("));
    let missing: Vec<_> = named.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "only in SECURITY.md: {missing:?}");
}

/// All of a folder's Rust.
fn read_all(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("node_modules") {
            read_all(&path, code);
        } else if path.extension().is_some_and(|it| it == "rs") {
            code.push_str(&fs::read_to_string(&path).expect("it can be read"));
        }
    }
}
