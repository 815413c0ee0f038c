//! How much memory this process has, and how much it may have, as Linux tells.

use std::fs;
use std::path::Path;

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
    use super::*;

    #[test]
    fn this_process_has_some_memory_and_a_limit_above_it() {
        let resident = resident_bytes().unwrap();
        assert!(resident > 1 << 20, "{resident}");
        assert!(limit_bytes().unwrap() > resident);
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
