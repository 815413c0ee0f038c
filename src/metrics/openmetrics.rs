//! OpenMetrics out of Prometheus' text format.
//!
//! The two differ in little for what is exported here: a family of counters is named without the
//! `_total` of its samples, and the text has an end, which tells a whole scrape from one that was
//! cut off.

/// The media type, with the version that is written.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The same metrics in the other format.
pub(super) fn of(text: &str) -> String {
    let mut converted = String::with_capacity(text.len());
    for line in text.lines() {
        converted.push_str(&comment(line).unwrap_or_else(|| line.to_owned()));
        converted.push('\n');
    }
    converted.push_str("# EOF\n");
    converted
}

/// A line of help or type, where it is about counters.
fn comment(line: &str) -> Option<String> {
    let mut words = line.splitn(4, ' ');
    let (hash, keyword, name, rest) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let family = name.strip_suffix("_total")?;
    (hash == "#").then(|| format!("# {keyword} {family} {rest}"))
}
