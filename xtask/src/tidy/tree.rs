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
    /// Compiled for tests only.
    pub(crate) test_only: bool,
}

// === impl Tree ===

impl Tree {
    /// Reads everything below `root` that is UTF-8.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree.mark_test_modules();
        Ok(tree)
    }

    /// Marks the files of modules declared under `#[cfg(test)]`, with all below them.
    fn mark_test_modules(&mut self) {
        let modules: Vec<String> = self.rust().flat_map(File::test_modules).collect();
        for file in &mut self.files {
            file.test_only |= modules.iter().any(|module| {
                file.path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            });
        }
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
        let name = path.rsplit('/').next().unwrap_or_default();
        let test_only = path.contains("/tests/") || path.contains("/benches/") || name.ends_with("tests.rs");
        Self { path, text, code, test_only }
    }

    /// Paths, without ending, of the modules that this file declares for tests only.
    fn test_modules(&self) -> impl Iterator<Item = String> {
        let stem = self.path.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "lib" | "main" | "mod")) => folder,
            _ => stem,
        };
        let declarations = self.code.lines().zip(self.code.lines().skip(1));
        declarations.filter(|(attribute, _)| attribute.trim() == "#[cfg(test)]").filter_map(move |(_, line)| {
            let (_, name) = line.trim().strip_suffix(';')?.rsplit_once("mod ")?;
            Some(format!("{folder}/{name}"))
        })
    }

    /// Name of the folder below `crates/`.
    pub(crate) fn crate_folder(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// Lines of code with their numbers, without unit tests: those stand last in a file, or in
    /// files of their own.
    pub(crate) fn tested_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = if self.test_only { "" } else { &self.code };
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

    #[test]
    fn modules_declared_for_tests_are_tests() {
        let file = |path: &str, text: &str| File::new(path.into(), text.into());
        let mut tree = Tree {
            files: vec![
                file("crates/x/src/decide.rs", "#[cfg(test)]\npub(crate) mod world;\nmod links;\n"),
                file("crates/x/src/decide/links.rs", "fn a() {}"),
                file("crates/x/src/decide/world.rs", "fn b() {}"),
                file("crates/x/src/decide/world/time.rs", "fn c() {}"),
                file("crates/x/src/lib.rs", "#[cfg(test)]\nmod golden;\n"),
                file("crates/x/src/golden.rs", "fn d() {}"),
            ],
        };
        tree.mark_test_modules();
        let marked: Vec<_> = tree.files.iter().map(|file| file.test_only).collect();
        assert_eq!(marked, [false, false, true, true, false, true]);
    }
}
