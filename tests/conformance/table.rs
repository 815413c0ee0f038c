//! The table in the documentation and the tests here name the same rows.

use std::collections::BTreeMap;

const TESTS: &[&str] = &[
    include_str!("whip.rs"),
    include_str!("whip_http.rs"),
    include_str!("whip_session.rs"),
    include_str!("whep.rs"),
    include_str!("whep_events.rs"),
    include_str!("tokens.rs"),
    include_str!("tls.rs"),
    include_str!("rooms.rs"),
    // What takes hours or chance is asked of the engines and of the hub, in virtual time.
    include_str!("../stories/letter.rs"),
    include_str!("../stories/moving.rs"),
    include_str!("../../src/http/tests/doors.rs"),
    include_str!("../../src/http/tests/resume.rs"),
    include_str!("../browser/slots.test.mjs"),
];

#[test]
fn every_row_is_documented_and_every_kept_row_has_a_test() {
    let page = include_str!("../../docs/http.md");
    let rows: BTreeMap<&str, &str> = page.lines().filter_map(row).collect();
    let numbers = (1..=39).map(|n| format!("W{n}"));
    let numbers = numbers.chain((1..=20).map(|n| format!("E{n}")));
    for row in numbers.chain((1..=8).map(|n| format!("R{n}"))) {
        let status = rows.get(row.as_str());
        let status = status.unwrap_or_else(|| panic!("{row} is not in docs/http.md"));
        let names = [
            format!("fn {}_", row.to_lowercase()),
            format!("test('{row}: "),
        ];
        let is_in = |tests: &&str| names.iter().any(|name| tests.contains(name));
        let is_tested = TESTS.iter().any(is_in);
        assert!(is_tested || !status.starts_with("kept"), "{row}: {status}");
    }
}

/// A row's name and status, if the line is one.
fn row(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.strip_prefix("| ")?.split(" | ");
    let (name, _, status) = (cells.next()?, cells.next()?, cells.next()?);
    name.starts_with(['W', 'E', 'R']).then_some((name, status))
}
