//! Every package inherits the lint table.

use super::Violation;
use super::tree::Tree;

pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let manifests = tree.files.iter().filter(|file| {
        file.path.ends_with("/Cargo.toml") && !file.path.starts_with("fuzz/") && file.text.contains("[package]")
    });
    manifests
        .filter(|file| !inherits_lints(&file.text))
        .map(|file| Violation::new(&file.path, 0, "add `[lints]` with `workspace = true`"))
        .collect()
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines.find(|line| !line.is_empty() && !line.starts_with('#')) == Some("workspace = true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_must_be_the_workspaces() {
        assert!(inherits_lints("[package]\n[lints]\n\n# all\nworkspace = true\n"));
        assert!(!inherits_lints("[package]\n[lints.rust]\nunsafe_code = \"allow\"\n"));
        assert!(!inherits_lints("[package]\n"));
    }
}
