//! The text files of the project, read once.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::blank::blank;

/// Folders that hold nothing of ours.
const SKIPPED: &[&str] = &[".git", "target", "fuzz/target", "fuzz/corpus", "fuzz/artifacts"];

/// All text files below the workspace root.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

/// One text file.
#[derive(Debug)]
pub(crate) struct File {
    /// Path below the root, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// For Rust: the text with comments and literals blanked, same lines. Empty for others.
    pub(crate) code: String,
}

// === impl Tree ===

impl Tree {
    /// Reads everything below `root` that is UTF-8.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    /// Rust files.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    fn read_folder(&mut self, root: &Path, below: &str) -> anyhow::Result<()> {
        let folder = root.join(below);
        let entries = fs::read_dir(&folder).with_context(|| format!("read folder {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("read folder {}", folder.display()))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let kind = entry.file_type().with_context(|| format!("look at {path}"))?;
            if SKIPPED.contains(&path.as_str()) || kind.is_symlink() {
                continue;
            }
            if kind.is_dir() {
                self.read_folder(root, &path)?;
            } else if let Ok(text) = fs::read_to_string(entry.path()) {
                self.files.push(File::new(path, text));
            }
        }
        Ok(())
    }
}

// === impl File ===

impl File {
    pub(crate) fn new(path: String, text: String) -> Self {
        let code = if path.ends_with(".rs") { blank(&text) } else { String::new() };
        Self { path, text, code }
    }

    /// Name of the folder below `crates/`.
    pub(crate) fn crate_folder(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// Lines of code with their numbers, without unit tests: those stand last in a file, or in
    /// files of their own.
    pub(crate) fn tested_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let is_test = self.path.contains("/tests/") || self.path.contains("/benches/") || name.ends_with("tests.rs");
        let lines = if is_test { "" } else { &self.code };
        let mut after_cfg_test = false;
        let mut in_tests = false;
        lines.lines().enumerate().filter_map(move |(index, line)| {
            in_tests |= after_cfg_test && line.trim_start().starts_with("mod ") && line.trim_end().ends_with('{');
            in_tests |= after_cfg_test && line.trim_start().starts_with("pub(") && line.trim_end().ends_with('{');
            after_cfg_test = line.trim() == "#[cfg(test)]";
            (!in_tests).then_some((index + 1, line))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_tests_are_left_out() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
        let file = File::new("crates/x/src/y.rs".into(), text.into());
        let lines: Vec<_> = file.tested_lines().map(|(number, _)| number).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5]);
        let tests = File::new("crates/x/src/y/tests.rs".into(), text.into());
        assert_eq!(tests.tested_lines().count(), 0);
        assert_eq!(file.crate_folder(), Some("x"));
    }
}
