//! What people get wrong, and what they are told: the program is run, its
//! message read, and nothing half-made may stay.
//!
//! Needs root, and says so.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_seaway-lab");
const NAME: &str = "test-bad-input";
/// Any user but root.
const NOBODY: u32 = 65534;

fn lab(words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["lab", "--name", NAME]).args(words).env_remove("SEAWAY_LAB");
    command
}

/// What a failed command says, whose parts are the id, the object and a fix.
fn refusal(output: &Output, id: &str, part: &str) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("{id}: ")) && stderr.contains(part) && stderr.contains("fix:"), "{stderr}");
    stderr
}

fn nothing_is_left() {
    let directory = Path::new("/var/lib/seaway-lab").join(NAME);
    assert!(!directory.exists(), "{} is left", directory.display());
    let groups = std::fs::read_to_string("/proc/self/mounts").unwrap();
    for mount in groups.lines().filter(|line| line.contains(" cgroup")) {
        let path = mount.split(' ').nth(1).expect("a mount point");
        let group = Path::new(path).join(format!("seaway-lab-{NAME}"));
        assert!(!group.exists(), "{} is left", group.display());
    }
}

#[test]
fn what_cannot_be_built_is_refused_before_anything_is_made() {
    assert!(nix::unistd::geteuid().is_root(), "run this test as root");
    let cases: [(&[&str], &str, &str); 8] = [
        (&["--link-mtu", "1279"], "SW0934", "linkMtuBytes: 1279"),
        (
            &["--families", "ipv4", "--pod-cidr", "172.31.0.0/16"],
            "SW0937",
            "podCidrs: 172.31.0.0/16 overlaps underlay.ipv4",
        ),
        (&["--families", "ipv4", "--pod-cidr", "10.96.0.0/14"], "SW0937", "overlaps podCidrs 10.96.0.0/14"),
        (&["--families", "ipv4", "--pod-cidr", "10.244.0.0/25"], "SW0935", "podCidrs: 10.244.0.0/25"),
        (&["--families", "ipv4", "--service-cidr", "10.96.0.0/30"], "SW0935", "serviceCidrs: 10.96.0.0/30"),
        (&["--families", "ipv4", "--pod-cidr", "10.244.0.1/16"], "SW0940", "10.244.0.1/16"),
        (&["--nodes", "0"], "SW0933", "nodes: 0"),
        (&["--file", "/no/such/lab.yaml"], "SW0930", "/no/such/lab.yaml"),
    ];
    for (flags, id, part) in cases {
        refusal(&lab(&[&["up"], flags].concat()).output().unwrap(), id, part);
        nothing_is_left();
    }
}

#[test]
fn a_name_that_leads_elsewhere_is_refused_by_every_verb() {
    for verb in [&["down"][..], &["status"], &["up"], &["heal", "--all"], &["kubeconfig"]] {
        let output = Command::new(PROGRAM).args(["lab", "--name", "../elsewhere"]).args(verb).output().unwrap();
        refusal(&output, "SW0932", "\"../elsewhere\"");
    }
}

#[test]
fn a_lab_that_does_not_exist_is_named() {
    for verb in [&["status"][..], &["test"], &["exec", "n1", "--", "true"], &["url", "web"], &["logs", "n1", "kubelet"]]
    {
        refusal(&lab(verb).output().unwrap(), "SW0904", NAME);
    }
    nothing_is_left();
}

#[test]
fn other_users_than_root_are_told_so() {
    assert!(nix::unistd::geteuid().is_root(), "only root can become somebody else: run this test as root");
    let copy = tempfile::Builder::new().prefix("seaway-lab").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(copy.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // Where the program was built, others may have no way to. Another process copies it: a child that a
    // test beside this one starts meanwhile would inherit the open file, and it could not be run.
    let program = copy.path().join("seaway-lab");
    assert!(Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success());
    for verb in [&["up"][..], &["down"], &["status"], &["exec", "n1", "--", "true"]] {
        let output = Command::new(&program).args(["lab", "--name", NAME]).args(verb).uid(NOBODY).output().unwrap();
        refusal(&output, "SW0901", &format!("user {NOBODY}"));
    }
    nothing_is_left();
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() {
    // One page: room for the first file only.
    let output = with_tiny_disk("/var/lib/seaway-lab", &format!("{PROGRAM} lab --name {NAME} up --nodes 1"));
    assert!(refusal(&output, "SW0910", "/var/lib/seaway-lab/").contains("No space left on device"));
    nothing_is_left();
}

#[test]
fn a_full_image_store_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().display();
    let build = format!("XDG_CACHE_HOME={cache} {PROGRAM} lab --name {NAME} image build --binary {PROGRAM} large:1");
    let output = with_tiny_disk(&cache.to_string(), &build);
    assert!(refusal(&output, "SW0981", &cache.to_string()).contains("no storage space"));
}

/// Runs a command line where `path` is a disk of one page, in a mount namespace
/// of its own. `/run` is another, because what is there is not this lab's only.
fn with_tiny_disk(path: &str, command_line: &str) -> Output {
    assert!(nix::unistd::geteuid().is_root(), "mounts are root's: run this test as root");
    let script = format!(
        "mkdir -p {path} && mount -t tmpfs -o size=4k tiny {path} && mount -t tmpfs run /run && {command_line}"
    );
    let output = Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", &script]).output();
    // The mount point, unless somebody uses it.
    let _ = std::fs::remove_dir(path);
    output.expect("unshare runs")
}
