//! Names of package registries stay out of the tree: dependencies are named by
//! package, so that everything builds behind a mirror.

use super::Violation;
use super::tree::Tree;

/// Registry hosts, in two parts so that this file does not name them.
const HOSTS: &[(&str, &str)] = &[
    ("crates", ".io"),
    ("proxy.golang", ".org"),
    ("sum.golang", ".org"),
    ("pypi", ".org"),
    ("registry.npmjs", ".org"),
    ("deb.debian", ".org"),
];
/// Written by cargo, and names the registry by design.
const LOCK_FILE: &str = "Cargo.lock";

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let files = tree.files.iter().filter(|file| !file.path.ends_with(LOCK_FILE));
    let mut found = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            let host = HOSTS.iter().map(|(name, end)| format!("{name}{end}")).find(|host| line.contains(host));
            let message = |host| format!("names the registry {host}; name the package only");
            found.extend(host.map(|host| Violation::new(&file.path, index + 1, message(host))));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::File;

    #[test]
    fn registries_are_found_outside_lock_files() {
        let line = format!("curl https://static.{}{}/x", "crates", ".io");
        let files = ["a.md", "Cargo.lock"].map(|path| File::new(path.into(), format!("x\n{line}\n")));
        let found = check(&Tree { files: files.into() });
        assert_eq!(found.iter().map(|v| (v.path.as_str(), v.line)).collect::<Vec<_>>(), [("a.md", 2)]);
    }
}
