//! Keeps watch over what the compiler does not: which module may know which, what the engine must
//! never touch, how long a file may be, and words that do not belong into a lasting project.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Which of the crate's modules each module may name (besides itself): imports run one way,
/// `main -> http -> shard -> engine` and `shard -> net`.
const MAY_NAME: &[(&str, &[&str])] = &[
    (
        "main",
        &[
            "config", "doctor", "sockets", "logging", "metrics", "http", "webhooks", "turn",
            "shard", "net", "engine",
        ],
    ),
    ("lib", &[]),
    (
        "config",
        &[
            "logging", "http", "webhooks", "turn", "shard", "net", "engine",
        ],
    ),
    ("doctor", &["config", "http", "net", "sockets"]),
    (
        "sockets",
        &["config", "http", "turn", "shard", "net", "engine"],
    ),
    ("logging", &[]),
    ("http", &["metrics", "turn", "shard", "engine"]),
    ("metrics", &["webhooks", "turn", "shard", "net", "engine"]),
    ("webhooks", &["shard", "net", "engine"]),
    ("turn", &["net"]),
    ("shard", &["engine", "net"]),
    ("net", &[]),
    ("engine", &[]),
];

/// What would make the engine wait, lock, spawn, or differ from one run of a seed to the next.
/// Each is a run of path segments, wherever it stands in a path.
const NOT_IN_THE_ENGINE: &[&str] = &[
    "tokio",
    "axum",
    "hyper",
    "tower",
    "tower_http",
    "quinn_udp",
    "socket2",
    "libc",
    "dashmap",
    "crossbeam_channel",
    "std::thread",
    "std::fs",
    "std::env",
    "std::process",
    "sync::Mutex",
    "sync::RwLock",
    "sync::Condvar",
    "sync::mpsc",
    "net::UdpSocket",
    "net::TcpStream",
    "net::TcpListener",
    "net::ToSocketAddrs",
    "Instant::now",
    "SystemTime::now",
    "rand::rng",
    "rand::random",
    "collections::HashMap",
    "collections::HashSet",
    "RandomState",
];

/// Where the engine may have a lock all the same: `str0m` wants the provider of DTLS to be `Sync`,
/// although one thread uses it. It is taken a few times per handshake, and by nobody else.
const LOCK_ALLOWED: (&str, &str) = ("src/engine/dtls/", "sync::Mutex");

/// The one module that may hold `unsafe`: system calls that no crate wraps as needed.
const UNSAFE_MODULE: &str = "src/net/sys.rs";

/// Longest file, in lines: about the most that is read in one sitting.
const MAX_FILE_LINES: usize = 700;

/// A source file with comments, strings and character literals blanked out, line by line as it was.
struct Source {
    path: String,
    text: String,
    code: String,
}

/// A path in code (`std::sync::Mutex`), with groups (`use a::{b, c}`) spelled out.
struct CodePath {
    line: usize,
    segments: Vec<String>,
}

#[test]
fn imports_run_one_way() {
    let mut faults = String::new();
    for source in rust_sources("src") {
        let module = top_module(&source.path);
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == module) else {
            let _ = writeln!(
                faults,
                "{}: module {module} has no place in MAY_NAME",
                source.path
            );
            continue;
        };
        for path in code_paths(&source.code) {
            let Some(named) = named_module(&source.path, &path.segments) else {
                continue;
            };
            if named != module && !allowed.contains(&named) {
                let _ = writeln!(
                    faults,
                    "{}:{}: {module} names {named}",
                    source.path, path.line
                );
            }
        }
    }
    assert!(
        faults.is_empty(),
        "imports in the wrong direction:\n{faults}"
    );
}

#[test]
fn the_engine_never_waits_locks_spawns_or_looks_at_a_clock() {
    let mut faults = String::new();
    for source in rust_sources("src/engine").filter(|source| !is_test_file(&source.path)) {
        for path in code_paths(without_unit_tests(&source.code)) {
            let joined = format!("::{}::", path.segments.join("::"));
            for banned in NOT_IN_THE_ENGINE {
                let allowed = source.path.starts_with(LOCK_ALLOWED.0) && *banned == LOCK_ALLOWED.1;
                if joined.contains(&format!("::{banned}::")) && !allowed {
                    let _ = writeln!(faults, "{}:{}: {banned}", source.path, path.line);
                }
            }
        }
    }
    assert!(faults.is_empty(), "not for the engine:\n{faults}");
}

#[test]
fn unsafe_code_stands_in_one_module_and_says_why_it_is_sound() {
    let mut faults = String::new();
    for source in rust_sources("src").chain(rust_sources("loadtest/src")) {
        for (index, line) in source.code.lines().enumerate() {
            if !words(line).any(|word| word == "unsafe") {
                continue;
            }
            let lines: Vec<&str> = source.text.lines().collect();
            let above = lines[index.saturating_sub(8)..=index].join("\n");
            if !above.contains("SAFETY:") && !above.contains("# Safety") {
                let _ = writeln!(faults, "{}:{}: no SAFETY comment", source.path, index + 1);
            }
            if source.path.starts_with("src/") && source.path != UNSAFE_MODULE {
                let _ = writeln!(
                    faults,
                    "{}:{}: outside {UNSAFE_MODULE}",
                    source.path,
                    index + 1
                );
            }
        }
    }
    assert!(faults.is_empty(), "unsafe code:\n{faults}");
}

#[test]
fn files_are_one_sitting_long() {
    let mut faults = String::new();
    for (path, text) in texts(&["rs", "js", "mjs", "css", "html", "py"]) {
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES {
            let _ = writeln!(faults, "{path}: {lines} lines, at most {MAX_FILE_LINES}");
        }
    }
    assert!(
        faults.is_empty(),
        "cut these where their second idea begins:\n{faults}"
    );
}

#[test]
fn nothing_is_left_for_later_and_nothing_points_outside() {
    // Spelled in halves, or this file would be the first to be found.
    let markers = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("unimplemented", "!("),
        concat!("to", "do!("),
        concat!("#[", "ignore"),
    ];
    let outside = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/tm", "p/"),
    ];
    let mut faults = String::new();
    for (path, text) in texts(&[
        "rs", "js", "mjs", "css", "html", "py", "md", "toml", "yml", "sh",
    ]) {
        for (index, line) in text.lines().enumerate() {
            let found = markers
                .iter()
                .chain(&outside)
                .find(|word| line.contains(**word));
            if let Some(word) = found {
                let _ = writeln!(faults, "{path}:{}: {word}", index + 1);
            }
            // A style sheet's `#000` is a colour.
            if !path.ends_with(".css") && has_issue_number(line) {
                let _ = writeln!(
                    faults,
                    "{path}:{}: an issue number; say it in words",
                    index + 1
                );
            }
        }
    }
    assert!(faults.is_empty(), "left over:\n{faults}");
}

/// Whether the line says `#123` as a word of its own (a colour, an anchor or an attribute is not).
fn has_issue_number(line: &str) -> bool {
    line.split([' ', '(', '[']).any(|word| {
        let Some(rest) = word.strip_prefix('#') else {
            return false;
        };
        let number = rest.trim_end_matches(['.', ',', ')', ']', ':', ';']);
        !number.is_empty() && number.len() <= 5 && number.bytes().all(|b| b.is_ascii_digit())
    })
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_sources(folder: &str) -> impl Iterator<Item = Source> {
    let prefix = format!("{folder}/");
    let found = texts(&["rs"])
        .into_iter()
        .filter(move |(path, _)| path.starts_with(&prefix));
    found.map(|(path, text)| Source {
        code: blank_out(&text),
        path,
        text,
    })
}

/// Every text file of the project with one of these endings, by its path from the root.
fn texts(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(&root(), endings, &mut found);
    assert!(
        !found.is_empty(),
        "no file was found below {}",
        root().display()
    );
    found.sort();
    found
}

fn walk(folder: &Path, endings: &[&str], found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of the project can be read") {
        let path = entry.expect("a folder of the project can be read").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let generated = ["target", "node_modules", "output", ".git"].contains(&name.as_str());
        if path.is_dir() && !generated {
            walk(&path, endings, found);
        } else if endings
            .iter()
            .any(|ending| name.ends_with(&format!(".{ending}")))
        {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let relative = path.strip_prefix(root()).expect("found below the root");
            found.push((relative.to_string_lossy().into_owned(), text));
        }
    }
}

/// `src/http/whip.rs` is of `http`, `src/config.rs` of `config`.
fn top_module(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner
        .split('/')
        .next()
        .unwrap_or(inner)
        .trim_end_matches(".rs")
}

/// The top-level module that a path names, through `crate`, `plenum` or enough `super`s.
fn named_module<'a>(file: &str, segments: &'a [String]) -> Option<&'a str> {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    let depth = inner
        .split('/')
        .filter(|part| !["mod", "lib", "main"].contains(part))
        .count();
    let supers = segments
        .iter()
        .take_while(|segment| *segment == "super")
        .count();
    let first = match segments.first()?.as_str() {
        "crate" | "plenum" => segments.get(1)?,
        "super" if supers >= depth => segments.get(supers)?,
        _ => return None,
    };
    MAY_NAME
        .iter()
        .any(|(name, _)| name == first)
        .then_some(first.as_str())
}

/// Up to the unit tests, which stand last and may make up a point in time to start from.
fn without_unit_tests(code: &str) -> &str {
    let tests = code
        .match_indices("#[cfg(test)]\nmod ")
        .map(|(start, _)| start);
    let is_inline = |start: &usize| {
        let rest = &code[*start..];
        rest.find('{').unwrap_or(usize::MAX) < rest.find(';').unwrap_or(usize::MAX)
    };
    let end = tests.into_iter().find(is_inline);
    end.map_or(code, |end| &code[..end])
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// All paths of two and more segments, and the single names inside groups.
fn code_paths(code: &str) -> Vec<CodePath> {
    let mut paths = Vec::new();
    // The segments before each group that is open, or nothing for other braces.
    let mut groups: Vec<Option<Vec<String>>> = Vec::new();
    let mut current: Vec<String> = Vec::new();
    let mut line = 1;
    let mut joined = false;
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphabetic() || c == '_' {
            let mut name = String::from(c);
            while let Some(next) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                name.push(next);
            }
            if !joined {
                finish(&mut current, &groups, line, &mut paths);
            }
            current.push(name);
            joined = false;
        } else if c == ':' && chars.next_if_eq(&':').is_some() {
            joined = true;
        } else if c == '{' {
            if !joined {
                finish(&mut current, &groups, line, &mut paths);
            }
            let prefix = std::mem::take(&mut current);
            let outer = groups.last().cloned().flatten().unwrap_or_default();
            groups.push(joined.then(|| [outer, prefix].concat()));
            joined = false;
        } else if !c.is_whitespace() {
            finish(&mut current, &groups, line, &mut paths);
            joined = false;
            if c == '}' {
                groups.pop();
            }
        }
        line += usize::from(c == '\n');
    }
    paths
}

fn finish(
    current: &mut Vec<String>,
    groups: &[Option<Vec<String>>],
    line: usize,
    paths: &mut Vec<CodePath>,
) {
    let name = std::mem::take(current);
    if name.is_empty() {
        return;
    }
    let group = groups.last().cloned().flatten().unwrap_or_default();
    paths.push(CodePath {
        line,
        segments: [group, name].concat(),
    });
}

/// Replaces comments, strings and character literals by spaces; keeps the lines.
fn blank_out(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = literal_or_comment(&bytes[at..], bytes[..at].last().copied());
        if length == 0 {
            code.push(bytes[at]);
            at += 1;
        } else {
            let blanked = bytes[at..at + length].iter();
            code.extend(blanked.map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at += length;
        }
    }
    code
}

/// How many characters a comment or literal that begins here has; 0 where none begins.
fn literal_or_comment(rest: &[char], before: Option<char>) -> usize {
    let in_a_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match (rest[0], rest.get(1)) {
        ('/', Some('/')) => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ('/', Some('*')) => block_comment(rest),
        ('"', _) => quoted(rest, '"'),
        ('r', Some('"' | '#')) if !in_a_word => raw_string(rest),
        ('\'', Some('\\')) => quoted(rest, '\''),
        ('\'', Some(_)) if rest.get(2) == Some(&'\'') => 3,
        _ => 0,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0;
    for (at, pair) in rest.windows(2).enumerate() {
        match pair {
            ['/', '*'] => depth += 1,
            ['*', '/'] => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 2;
        }
    }
    rest.len()
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.iter().enumerate().skip(1) {
        if !escaped && *c == quote {
            return at + 1;
        }
        escaped = !escaped && *c == '\\';
    }
    rest.len()
}

fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let end: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let body = &rest[hashes + 2..];
    let length = body.windows(end.len()).position(|window| window == end);
    length.map_or(rest.len(), |length| hashes + 2 + length + end.len())
}

#[test]
fn this_watch_sees_through_groups_comments_and_strings() {
    let code = blank_out(
        r##"use crate::{ids::Id, http::{self, whip}}; // crate::net
        let text = "std::thread"; let raw = r#"tokio::spawn"#; let c = '"'; let q = '\'';
        let start = std::time::Instant::now(); /* std::fs /* nested */ */ struct A { b: sync::Mutex }
        if now == crate::shard::START { }
        "##,
    );
    let paths: Vec<String> = code_paths(&code)
        .iter()
        .map(|path| path.segments.join("::"))
        .collect();
    for seen in [
        "crate::ids::Id",
        "crate::http::self",
        "crate::http::whip",
        "sync::Mutex",
    ] {
        assert!(
            paths.iter().any(|path| path == seen),
            "{seen} was not seen in {paths:?}"
        );
    }
    assert!(
        paths.iter().any(|path| path == "std::time::Instant::now"),
        "{paths:?}"
    );
    for hidden in ["net", "thread", "tokio", "fs"] {
        assert!(
            !paths.iter().any(|path| path.contains(hidden)),
            "{hidden} was seen in {paths:?}"
        );
    }
    assert!(
        has_issue_number(concat!("as found (#", "12).")) && !has_issue_number("#[test] #000000")
    );
}
