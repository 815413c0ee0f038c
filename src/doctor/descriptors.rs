//! Whether the process may open as many files as it is to have connections.

use super::Finding;

/// What the server opens besides connections of clients: listeners, threads' sockets and wake-ups,
/// the operator's connections, files that are read again.
const BESIDES: u64 = 128;

pub(super) fn examine(connections: u32) -> Option<Finding> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    // Of soft and hard, the first: nothing here raises it.
    let soft = line.split_whitespace().nth(3)?;
    Some(judge(soft.parse().unwrap_or(u64::MAX), connections))
}

fn judge(allowed: u64, connections: u32) -> Finding {
    let needed = u64::from(connections) + BESIDES;
    if allowed >= needed {
        return Finding::good(format!("files may be open for {connections} connections"));
    }
    Finding::hint(
        format!("--http-connections is {connections}, but only {allowed} files may be open"),
        format!(
            "raise the limit to {needed} (`ulimit -n`, or LimitNOFILE in the service): until then \
             clients are refused when it is reached"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn fewer_files_than_connections_are_pointed_out() {
        assert_eq!(judge(1024, 8192).verdict, Verdict::Hint);
        assert!(judge(1024, 8192).advice.contains("8320"));
        assert_eq!(judge(65_536, 8192).verdict, Verdict::Good);
    }

    #[test]
    fn this_process_has_a_limit() {
        assert!(examine(1).is_some());
    }
}
