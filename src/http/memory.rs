//! How much memory this process has, and how much it may have, as Linux tells.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Sessions that have to go before it is worth while to look for what they left behind: some
/// megabytes.
const MANY: usize = 64;

/// Between two times. Whoever allocates meanwhile may have to wait for some milliseconds.
const RELEASE_INTERVAL: Duration = Duration::from_secs(60);

/// The same where memory is short, and newcomers are refused for what nobody uses.
const SHORT_INTERVAL: Duration = Duration::from_secs(10);

/// When memory that sessions have left behind is given back to the system: the allocator keeps it
/// for the next ones, and it counts as used until then.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    forgotten: usize,
    released_at: Option<Instant>,
}

impl Leftovers {
    /// So many sessions were forgotten now, and so many are there. `true` where memory is to be
    /// given back: as many have gone as are left, so that it halves, or it is short.
    pub(super) fn is_due(
        &mut self,
        (forgotten, left): (usize, usize),
        is_short: bool,
        now: Instant,
    ) -> bool {
        self.forgotten += forgotten;
        let since = |at: Instant| now.saturating_duration_since(at);
        let rested = |interval| self.released_at.is_none_or(|at| since(at) >= interval);
        let is_due = (self.forgotten >= MANY.max(left) && rested(RELEASE_INTERVAL))
            || (is_short && rested(SHORT_INTERVAL));
        if is_due {
            *self = Self {
                forgotten: 0,
                released_at: Some(now),
            };
        }
        is_due
    }
}

/// Bytes of a kibibyte, in which `/proc` counts.
const KIB: u64 = 1024;

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What this process has in memory, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    kib_of(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// What it may have: the machine's memory, or less where a control group says so, in bytes.
pub(super) fn limit_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kib_of(&text, "MemTotal:"));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    group_limit(Path::new(CGROUPS), &groups)
        .into_iter()
        .chain(machine)
        .min()
}

/// The least limit of the groups that a process is in and of those around them. In a container
/// its own group is the root of what it sees.
fn group_limit(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        // hierarchy:controllers:path; the second version has no controllers (cgroups(7)).
        let mut parts = line.splitn(3, ':').skip(1);
        let (mount, file) = match parts.next() {
            Some("") => (root.to_owned(), "memory.max"),
            Some("memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let path = mount.join(parts.next().unwrap_or_default().trim_start_matches('/'));
        let around = path
            .ancestors()
            .take_while(|folder| folder.starts_with(&mount));
        around
            .filter_map(|folder| fs::read_to_string(folder.join(file)).ok())
            // "max" is no limit.
            .filter_map(|text| text.trim().parse().ok())
            .collect()
    });
    limits.min()
}

fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * KIB)
}

#[cfg(test)]
mod tests {
    use super::super::clock;
    use super::*;

    #[test]
    fn this_process_has_some_memory_and_a_limit_above_it() {
        let resident = resident_bytes().unwrap();
        assert!(resident > 1 << 20, "{resident}");
        assert!(limit_bytes().unwrap() > resident);
    }

    #[test]
    fn a_meeting_that_ended_leaves_no_memory_behind_and_a_few_who_left_are_not_worth_it() {
        let from = clock::now();
        let at = |seconds| from + Duration::from_secs(seconds);
        let mut leftovers = Leftovers::default();
        assert!(!leftovers.is_due((63, 0), false, at(0)));
        assert!(leftovers.is_due((1, 0), false, at(5)));
        assert!(!leftovers.is_due((100, 0), false, at(10)), "too soon");
        assert!(leftovers.is_due((0, 0), false, at(65)));
        assert!(
            !leftovers.is_due((100, 500), false, at(200)),
            "most are still there"
        );
        assert!(leftovers.is_due((400, 100), false, at(205)));
        assert!(!leftovers.is_due((0, 100), true, at(210)));
        assert!(leftovers.is_due((0, 100), true, at(215)), "it is short");
    }

    #[test]
    fn the_tightest_of_all_groups_around_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("system.slice/plenum.service");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        let groups = "0::/system.slice/plenum.service\n";
        assert_eq!(group_limit(root.path(), groups), None);
        fs::write(inner.parent().unwrap().join("memory.max"), "2000\n").unwrap();
        assert_eq!(group_limit(root.path(), groups), Some(2000));
        fs::write(inner.join("memory.max"), "1000\n").unwrap();
        assert_eq!(group_limit(root.path(), groups), Some(1000));

        let old = root.path().join("memory/docker/1234");
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join("memory.limit_in_bytes"), "500\n").unwrap();
        let groups = "5:cpu,cpuacct:/docker/1234\n4:memory:/docker/1234\n";
        assert_eq!(group_limit(root.path(), groups), Some(500));
        assert_eq!(group_limit(root.path(), ""), None);
    }
}
