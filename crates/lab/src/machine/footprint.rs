//! What a lab could leave on the machine, as sorted lines to compare: taken
//! before `up` and after `down`, the two must be equal.
//!
//! Other labs may run beside this one, so what bears another lab's name is left
//! out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::ProcessId;
use super::{cgroup, lab_names};
use crate::error::{IoContext, LabError, Result};

/// Commands whose output is a part of the footprint: section, package, command.
const COMMANDS: [(&str, &str, &[&str]); 10] = [
    ("links", "iproute2", &["ip", "-o", "link"]),
    ("addresses", "iproute2", &["ip", "-o", "addr"]),
    ("routes", "iproute2", &["ip", "-4", "route", "show", "table", "all"]),
    ("routes", "iproute2", &["ip", "-6", "route", "show", "table", "all"]),
    ("rules", "iproute2", &["ip", "rule"]),
    ("rules", "iproute2", &["ip", "-6", "rule"]),
    ("named network namespaces", "iproute2", &["ip", "netns", "list"]),
    ("nftables", "nftables", &["nft", "list", "ruleset"]),
    ("BPF links", "bpftool", &["bpftool", "link", "show"]),
    ("BPF cgroup attachments", "bpftool", &["bpftool", "cgroup", "tree"]),
];

/// Directories whose files are a part of the footprint, two levels deep.
const DIRECTORIES: [&str; 14] = [
    "/etc",
    "/etc/cni",
    "/etc/kubernetes",
    "/opt",
    "/run",
    "/run/lock",
    "/sys/fs/bpf",
    "/var/lib",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/seaway-lab",
    "/var/log",
    "/var/run",
];

/// Sections whose lines are known by a number the kernel gave.
const NUMBERED_SECTIONS: [&str; 3] = ["BPF links", "BPF programs", "BPF maps"];

/// Settings of the whole machine that a cluster's programs like to change.
const SETTINGS: [&str; 12] = [
    "fs/inotify/max_user_instances",
    "fs/inotify/max_user_watches",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_local_port_range",
    "net/ipv6/conf/all/forwarding",
    "net/netfilter/nf_conntrack_max",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// How often a machine that is still settling is looked at.
const SETTLE_INTERVAL: Duration = Duration::from_millis(50);

/// Everything observed, by section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    sections: BTreeMap<&'static str, BTreeSet<String>>,
}

// === impl Footprint ===

impl Footprint {
    /// Looks at the machine, leaving out labs other than `lab`.
    pub fn take(lab: &str) -> Result<Self> {
        let mut others = lab_names()?;
        others.remove(lab);
        let mut footprint = Self { sections: BTreeMap::new() };
        for (section, package, argv) in COMMANDS {
            let lines = output(package, argv)?;
            footprint.add(section, lines.lines().map(steady).collect());
        }
        for kind in ["prog", "map"] {
            let section = if kind == "prog" { "BPF programs" } else { "BPF maps" };
            // Details are on the indented lines, and change with use.
            let lines = output("bpftool", &["bpftool", kind, "show"])?;
            footprint
                .add(section, lines.lines().filter(|line| !line.starts_with(['\t', ' '])).map(str::to_owned).collect());
        }
        footprint.add("mounts", mounts()?);
        footprint.add("cgroups", cgroups()?);
        footprint.add("processes", processes(lab)?);
        footprint.add("files", files());
        footprint.add("settings", settings());
        footprint.leave_out(&others);
        Ok(footprint)
    }

    /// What differs from `before`, a line each: `links: + 7: veth0 …`.
    #[must_use]
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let empty = BTreeSet::new();
        let mut differences = Vec::new();
        for (section, now) in &self.sections {
            let then = before.sections.get(section).unwrap_or(&empty);
            // These have numbers, and no sign of whose they are. A lab cannot
            // remove those of others, while another lab may end at any time.
            if !NUMBERED_SECTIONS.contains(section) {
                differences.extend(then.difference(now).map(|line| format!("{section}: - {line}")));
            }
            differences.extend(now.difference(then).map(|line| format!("{section}: + {line}")));
        }
        differences
    }

    /// What differs from `before` in the end: the kernel removes network
    /// namespaces and BPF objects some time after their last user, so the
    /// machine is looked at until it is as it was, or `patience` is over.
    pub fn lasting_differences(before: &Self, lab: &str, patience: Duration) -> Result<Vec<String>> {
        let give_up = Instant::now() + patience;
        loop {
            let differences = Self::take(lab)?.differences(before);
            if differences.is_empty() || Instant::now() > give_up {
                return Ok(differences);
            }
            std::thread::sleep(SETTLE_INTERVAL);
        }
    }

    fn add(&mut self, section: &'static str, lines: BTreeSet<String>) {
        self.sections.entry(section).or_default().extend(lines);
    }

    fn leave_out(&mut self, others: &BTreeSet<String>) {
        for lines in self.sections.values_mut() {
            lines.retain(|line| !others.iter().any(|other| names_lab(line, other)));
        }
    }
}

/// Whether a line is about the lab `name`: its cgroup, or its directory.
fn names_lab(line: &str, name: &str) -> bool {
    [format!("seaway-lab-{name}"), format!("seaway-lab/{name}")].iter().any(|mark| {
        line.match_indices(mark.as_str()).any(|(at, _)| {
            let next = line.get(at + mark.len()..).and_then(|rest| rest.chars().next());
            !next.is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '-')
        })
    })
}

/// A line without what changes by itself: counters and remaining lifetimes.
fn steady(line: &str) -> String {
    let mut words = Vec::new();
    let mut rest = line.split_ascii_whitespace();
    while let Some(word) = rest.next() {
        match word {
            "expires" | "packets" | "bytes" | "valid_lft" | "preferred_lft" => {
                rest.next();
            }
            _ => words.push(word),
        }
    }
    words.join(" ")
}

fn output(package: &str, argv: &[&str]) -> Result<String> {
    let Some((program, arguments)) = argv.split_first() else { return Ok(String::new()) };
    let output = match Command::new(program).args(arguments).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(LabError::ProgramMissing { program: (*program).into(), package: package.into() });
        }
        other => other.on_system("run a program", program)?,
    };
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn mounts() -> Result<BTreeSet<String>> {
    let path = Path::new("/proc/self/mountinfo");
    Ok(fs::read_to_string(path).on_file("read", path)?.lines().map(str::to_owned).collect())
}

/// The top of each hierarchy, and all of the lab's groups.
fn cgroups() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for hierarchy in cgroup::hierarchies()? {
        for entry in fs::read_dir(&hierarchy.mount_point).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() && name.contains("seaway") {
                found.insert(entry.path().display().to_string());
            }
        }
    }
    Ok(found)
}

/// Processes of the lab: in its cgroups, or started for it.
fn processes(lab: &str) -> Result<BTreeSet<String>> {
    let group = cgroup::lab_group(lab);
    let directory = format!("seaway-lab/{lab}");
    let path = Path::new("/proc");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(path).on_file("list", path)?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Some(process) = ProcessId::of(pid) else { continue };
        let arguments = process.arguments().join(" ");
        if cgroup::is_member(pid, &group) || names_lab(&arguments, lab) || arguments.contains(&format!("{directory}/"))
        {
            found.insert(format!("{pid} {arguments}"));
        }
    }
    Ok(found)
}

fn files() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for directory in DIRECTORIES {
        list(Path::new(directory), 2, &mut found);
    }
    found
}

fn list(directory: &Path, levels: u32, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path: PathBuf = entry.path();
        let Ok(metadata) = path.symlink_metadata() else { continue };
        // What a lab could change in place is told by its time, too.
        let time = if path.starts_with("/etc") && metadata.is_file() { metadata.mtime() } else { 0 };
        found.insert(format!("{} {time}", path.display()));
        if metadata.is_dir() && levels > 1 {
            list(&path, levels - 1, found);
        }
    }
}

fn settings() -> BTreeSet<String> {
    SETTINGS
        .iter()
        .filter_map(|name| {
            Some(format!("{name} = {}", fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_labs_are_known_by_their_whole_name() {
        assert!(names_lab("/sys/fs/cgroup/cpu/seaway-lab-a", "a"));
        assert!(names_lab("/var/lib/seaway-lab/a/hosts 0", "a"));
        assert!(!names_lab("/sys/fs/cgroup/cpu/seaway-lab-ab", "a"));
        assert!(!names_lab("/sys/fs/cgroup/cpu/seaway-lab-a-b", "a"));
    }

    #[test]
    fn what_changes_by_itself_is_left_out() {
        assert_eq!(steady("default via fe80::1 expires 1799sec  pref medium"), "default via fe80::1 pref medium");
        assert_eq!(steady("counter packets 3 bytes 90 drop"), "counter drop");
    }
}
