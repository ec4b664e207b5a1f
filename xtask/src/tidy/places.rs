//! Where effects may live: kube types, kernel interfaces, `unsafe`, the clock.

use super::Violation;
use super::tree::{File, Tree};

/// Words that may stand in some places only.
struct Rule {
    words: &'static [&'static str],
    /// Whether the file may hold them.
    allowed: fn(&File) -> bool,
    message: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        words: &["kube::", "k8s_openapi::"],
        allowed: |file| in_crates(file, &["kubeapi", "lab"]),
        message: "Kubernetes types belong into `kubeapi`; the rest of the program knows `model`",
    },
    Rule {
        words: &["libbpf_rs::", "libbpf_sys::"],
        allowed: |file| in_crates(file, &["datapath"]),
        message: "BPF belongs into `datapath`",
    },
    Rule {
        words: &["nlink::"],
        allowed: |file| in_crates(file, &["datapath", "lab"]),
        message: "netlink and nftables belong into `datapath` (and the lab's underlay)",
    },
    Rule {
        words: &["unsafe"],
        allowed: |file| in_crates(file, &["datapath"]) || file.path == "crates/model/src/abi.rs",
        message: "`unsafe` belongs into `datapath` and `model::abi`",
    },
    Rule {
        words: &[
            "tokio::",
            "std::fs::",
            "std::process::",
            "std::thread::",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "UnixStream",
            "UnixListener",
            "UnixDatagram",
            "Instant::now",
            "SystemTime::now",
        ],
        allowed: |file| !is_pure(file),
        message: "this module is pure: time, randomness and what the world says are arguments",
    },
];

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    tree.rust().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| !(rule.allowed)(file)) {
        for (number, line) in file.tested_lines() {
            found.extend(
                rule.words
                    .iter()
                    .filter(|word| contains_word(line, word))
                    .map(|word| Violation::new(&file.path, number, format!("`{word}`: {}", rule.message))),
            );
        }
    }
    found
}

/// `model`, `routing`, and in all crates the modules that decide, plan or read the wire. The lab's
/// wire is one that can be cut, not a format.
fn is_pure(file: &File) -> bool {
    let in_folder =
        |name: &str| file.path.contains(&format!("/{name}/")) || file.path.ends_with(&format!("/{name}.rs"));
    in_crates(file, &["model", "routing"])
        || (file.path.starts_with("crates/") && ["plan", "decide"].into_iter().any(in_folder))
        || (file.path.starts_with("crates/") && !in_crates(file, &["lab"]) && in_folder("wire"))
}

fn in_crates(file: &File, crates: &[&str]) -> bool {
    file.crate_folder().is_some_and(|folder| crates.contains(&folder))
}

/// Whether `word` stands in `line` and is no part of a longer name.
fn contains_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_name) && (word.ends_with(':') || !after.is_some_and(is_name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_found(path: &str, text: &str) -> Vec<usize> {
        check_file(&File::new(path.into(), text.into())).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn effects_stay_where_they_belong() {
        assert_eq!(lines_found("crates/agent/src/a.rs", "use seaway_kubeapi::X;\nuse kube::Api;"), [2]);
        assert!(lines_found("crates/kubeapi/src/a.rs", "use kube::Api;").is_empty());
        assert_eq!(lines_found("crates/agent/src/a.rs", "use nlink::Route;\nfn f() { unsafe { g() } }"), [1, 2]);
        assert!(lines_found("crates/datapath/src/a.rs", "unsafe { g() }").is_empty());
        assert!(lines_found("crates/agent/src/a.rs", "// unsafe\n\"kube::\"").is_empty());
    }

    #[test]
    fn pure_modules_have_no_clock() {
        let clock = "let now = Instant::now();";
        assert_eq!(lines_found("crates/model/src/a.rs", clock), [1]);
        assert_eq!(lines_found("crates/agent/src/decide.rs", clock), [1]);
        assert_eq!(lines_found("crates/datapath/src/plan/diff.rs", clock), [1]);
        assert!(lines_found("crates/agent/src/tasks.rs", clock).is_empty());
        assert!(lines_found("crates/agent/src/decide/tests.rs", clock).is_empty());
    }
}
