//! The lab's control groups: `seaway-lab-NAME/NODE` in every hierarchy of the
//! machine, on cgroup v1, on the hybrid of both, and on pure cgroup v2.
//!
//! In the version 2 hierarchy a group with controllers for its children may
//! hold no processes itself, so a node's own processes live in the leaf `init`.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::ProcessId;
use crate::error::{IoContext, LabError, Result};
use crate::patience::patience;

/// Leaf of the version 2 hierarchy for a node's own processes.
pub(crate) const INIT_LEAF: &str = "init";
/// File that says which controllers the children have, on version 2.
const SUBTREE_CONTROL: &str = "cgroup.subtree_control";
/// Time killed processes have to disappear; more means the kernel is stuck.
const GONE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often their disappearance is looked for.
const GONE_INTERVAL: Duration = Duration::from_millis(2);

/// A mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount_point: PathBuf,
    /// Whether it is the version 2 hierarchy.
    pub(crate) unified: bool,
    /// Mount options that name it on version 1: `cpu,cpuacct`, `name=systemd`.
    pub(crate) options: String,
}

/// The hierarchies this process sees, in mount order.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let path = Path::new("/proc/self/mountinfo");
    Ok(parse_hierarchies(&fs::read_to_string(path).on_file("read", path)?))
}

/// Cgroup of a lab, relative to a hierarchy's root.
#[must_use]
pub(crate) fn lab_group(lab: &str) -> String {
    format!("seaway-lab-{lab}")
}

/// Makes a lab's cgroups in every hierarchy; returns the controllers that the
/// root of version 2 did not hand down before. Safe to repeat.
pub(crate) fn create_lab(lab: &str) -> Result<Vec<String>> {
    let mut newly = Vec::new();
    for hierarchy in hierarchies()? {
        let path = hierarchy.mount_point.join(lab_group(lab));
        make(&path)?;
        if hierarchy.unified {
            newly.extend(delegate(&hierarchy.mount_point)?);
            delegate(&path)?;
        }
    }
    Ok(newly)
}

/// Stops the root of version 2 from handing `controllers` down, unless another
/// lab still wants them.
pub(crate) fn take_back(controllers: &[String]) -> Result<()> {
    if !labs()?.is_empty() {
        return Ok(());
    }
    for hierarchy in hierarchies()?.iter().filter(|hierarchy| hierarchy.unified) {
        let control = hierarchy.mount_point.join(SUBTREE_CONTROL);
        for controller in controllers {
            // Somebody else may use it by now; then it stays.
            let _ = fs::write(&control, format!("-{controller}"));
        }
    }
    Ok(())
}

/// Makes a node's cgroups in every hierarchy. Safe to repeat.
pub(crate) fn create_node(lab: &str, node: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let path = hierarchy.mount_point.join(lab_group(lab)).join(node);
        make(&path)?;
        if hierarchy.unified {
            make(&path.join(INIT_LEAF))?;
        }
    }
    Ok(())
}

/// Moves this process into a node's cgroups, at the level that is the root of
/// the node's cgroup namespace.
pub(crate) fn join_node_root(lab: &str, node: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        join(&hierarchy.mount_point.join(lab_group(lab)).join(node))?;
    }
    Ok(())
}

/// Moves this process into a node's cgroups, where its own processes live.
pub(crate) fn join_node(lab: &str, node: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let node_path = hierarchy.mount_point.join(lab_group(lab)).join(node);
        join(&if hierarchy.unified { node_path.join(INIT_LEAF) } else { node_path })?;
    }
    Ok(())
}

/// Moves this process, which serves the lab on the host, into the lab's cgroup,
/// so that it ends with the lab.
pub(crate) fn join_lab(lab: &str) -> Result<()> {
    const HOST: &str = "host";
    create_node(lab, HOST)?;
    join_node(lab, HOST)
}

/// Hands the controllers down to a node's own cgroups; called inside the node
/// once only leaves hold processes.
pub(crate) fn delegate_inside() -> Result<()> {
    for hierarchy in hierarchies()?.iter().filter(|hierarchy| hierarchy.unified) {
        delegate(&hierarchy.mount_point)?;
    }
    Ok(())
}

/// Moves this process into `group` of every hierarchy; called inside a node.
pub(crate) fn join_inside(group: &Path) -> Result<()> {
    for hierarchy in hierarchies()? {
        let path = hierarchy.mount_point.join(group.strip_prefix("/").unwrap_or(group));
        let mut made = hierarchy.mount_point.clone();
        for part in path.strip_prefix(&hierarchy.mount_point).unwrap_or(&path) {
            made.push(part);
            make(&made)?;
        }
        join(&path)?;
    }
    Ok(())
}

/// Processes in a group of the lab, or in any below it.
pub(crate) fn processes(group: &str) -> Result<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for hierarchy in hierarchies()? {
        for directory in tree(&hierarchy.mount_point.join(group)) {
            // The directory may vanish while it is read.
            let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) else { continue };
            // Pid 0 is a process outside the reader's pid namespace.
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid > 0));
        }
    }
    Ok(found)
}

/// Processes of a pod, by its unique id; the kubelet names a pod's group after it.
pub(crate) fn pod_processes(lab: &str, node: &str, uid: &str) -> Result<Vec<ProcessId>> {
    let mut found = BTreeSet::new();
    // Guaranteed pods have their group right below `kubepods`.
    for class in ["", "besteffort/", "burstable/"] {
        found.extend(processes(&format!("{}/{node}/kubepods/{class}pod{uid}", lab_group(lab)))?);
    }
    Ok(found.into_iter().filter_map(ProcessId::of).collect())
}

/// Names of the labs that have cgroups.
pub(crate) fn labs() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for hierarchy in hierarchies()? {
        let Ok(entries) = fs::read_dir(&hierarchy.mount_point) else { continue };
        names.extend(
            entries.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_prefix("seaway-lab-")?.to_owned())),
        );
    }
    Ok(names)
}

/// Kills every process in `group` and waits until they are gone. Membership
/// itself proves that they are ours, so no reused pid can be hit.
pub(crate) fn kill_all(group: &str) -> Result<()> {
    let give_up = Instant::now() + patience(GONE_TIMEOUT);
    loop {
        let left = processes(group)?;
        if left.is_empty() {
            return Ok(());
        }
        for pid in &left {
            if let Some(process) = ProcessId::of(*pid)
                && is_member(*pid, group)
            {
                // A stopped process dies of SIGKILL, too.
                process.signal(Signal::KILL).on_system("kill", &format!("process {pid}"))?;
            }
        }
        if Instant::now() > give_up {
            let list: Vec<String> = left.iter().map(i32::to_string).collect();
            return Err(LabError::Remains {
                name: group.to_owned(),
                remains: vec![format!("processes {} do not end", list.join(", "))],
            });
        }
        std::thread::sleep(GONE_INTERVAL);
    }
}

/// Removes a group of the lab and all below it in every hierarchy; returns what
/// could not be removed, and why.
pub(crate) fn remove(group: &str) -> Result<Vec<String>> {
    let mut remains = Vec::new();
    for hierarchy in hierarchies()? {
        for directory in tree(&hierarchy.mount_point.join(group)) {
            let give_up = Instant::now() + patience(GONE_TIMEOUT);
            loop {
                match fs::remove_dir(&directory) {
                    // A dead process leaves its group a moment after its end.
                    Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < give_up => {
                        std::thread::sleep(GONE_INTERVAL);
                    }
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        remains.push(format!("{}: {error}", directory.display()));
                        break;
                    }
                    _ => break,
                }
            }
        }
    }
    Ok(remains)
}

/// Whether the process is in `group` or below it in any hierarchy.
#[must_use]
pub(crate) fn is_member(pid: i32, group: &str) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().any(|line| {
        line.splitn(3, ':')
            .nth(2)
            .and_then(|path| path.strip_prefix('/')?.strip_prefix(group))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn parse_hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let mut after = after.split(' ');
        let unified = match after.next() {
            Some("cgroup2") => true,
            Some("cgroup") => false,
            _ => continue,
        };
        // Only hierarchies mounted whole, and each once.
        let mut fields = before.split(' ').skip(3);
        let (Some("/"), Some(mount_point)) = (fields.next(), fields.next()) else { continue };
        let options: Vec<&str> =
            after.nth(1).unwrap_or_default().split(',').filter(|option| is_hierarchy_option(option)).collect();
        let options = options.join(",");
        if found.iter().all(|hierarchy| (hierarchy.unified, &hierarchy.options) != (unified, &options)) {
            found.push(Hierarchy { mount_point: mount_point.into(), unified, options });
        }
    }
    found
}

/// Whether a super block option says which hierarchy it is.
fn is_hierarchy_option(option: &str) -> bool {
    option.starts_with("name=")
        || matches!(
            option,
            "cpu"
                | "cpuacct"
                | "cpuset"
                | "memory"
                | "devices"
                | "freezer"
                | "net_cls"
                | "net_prio"
                | "blkio"
                | "perf_event"
                | "hugetlb"
                | "pids"
                | "rdma"
                | "misc"
        )
}

fn make(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        other => other.on_file("create", path)?,
    }
    // A version 1 cpuset takes no process before both are set.
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = path.join(name);
        if path.join("cgroup.clone_children").exists() && own.exists() {
            let current = fs::read_to_string(&own).on_file("read", &own)?;
            if current.trim().is_empty() {
                let parent = path.parent().unwrap_or(path).join(name);
                let value = fs::read_to_string(&parent).on_file("read", &parent)?;
                fs::write(&own, value.trim()).on_file("write", &own)?;
            }
        }
    }
    Ok(())
}

/// Turns on, for the children of `path`, every controller `path` has; returns
/// those that were off.
fn delegate(path: &Path) -> Result<Vec<String>> {
    let available = path.join("cgroup.controllers");
    let control = path.join(SUBTREE_CONTROL);
    let text = fs::read_to_string(&available).on_file("read", &available)?;
    let enabled = fs::read_to_string(&control).on_file("read", &control)?;
    let enabled: BTreeSet<&str> = enabled.split_ascii_whitespace().collect();
    let mut newly = Vec::new();
    for controller in text.split_ascii_whitespace().filter(|controller| !enabled.contains(controller)) {
        fs::write(&control, format!("+{controller}")).on_file("hand controllers down in", &control)?;
        newly.push(controller.to_owned());
    }
    Ok(newly)
}

/// Moves this process into the group at `path`.
pub(super) fn join(path: &Path) -> Result<()> {
    let file = path.join("cgroup.procs");
    // "0" is the writing process itself.
    fs::write(&file, "0").on_file("join", &file)
}

/// A directory and all below it, deepest first.
fn tree(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        waiting.extend(entries.flatten().filter(|entry| entry.path().is_dir()).map(|entry| entry.path()));
        found.push(directory);
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_hierarchies_are_told_apart() {
        let found = parse_hierarchies(
            "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
             34 30 0:27 /docker /mnt rw - cgroup cgroup rw,cpu,cpuacct\n",
        );
        let short: Vec<_> = found.iter().map(|one| (one.unified, one.options.as_str())).collect();
        assert_eq!(short, [(false, "cpu,cpuacct"), (false, "name=systemd"), (true, "")]);
    }
}
