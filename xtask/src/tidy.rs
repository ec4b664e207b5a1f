//! Checks of the source tree that the compiler does not make: who may use
//! whom, where effects may live, sizes, error ids, generated files.
//!
//! Each check is a function from the [`Tree`] to [`Violation`]s, in a file of
//! its own; [`run`] makes all of them and names everything that is wrong.

mod blank;
mod corner_cases;
mod errors;
mod manifests;
mod places;
mod proofs;
mod size;
mod tree;
mod walls;
mod words;

use std::fmt;
use std::path::Path;

use anyhow::bail;

use crate::codegen;
use tree::Tree;

/// Something that breaks a rule of the project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Path below the workspace root.
    pub(crate) path: String,
    /// Line, from 1; 0: the file as a whole.
    pub(crate) line: usize,
    /// Which rule, and what to do.
    pub(crate) message: String,
}

/// Makes every check on the tree below `root`.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let tree = Tree::read(root)?;
    let mut violations = Vec::new();
    violations.extend(walls::check(root)?);
    violations.extend(manifests::check(&tree));
    violations.extend(places::check(&tree));
    violations.extend(size::check(&tree));
    violations.extend(errors::check(&tree));
    violations.extend(words::check(&tree));
    violations.extend(corner_cases::check(&tree));
    violations.extend(proofs::check(&tree));
    if let Err(stale) = codegen::run(root, true) {
        violations.push(Violation { path: "xtask/src/codegen.rs".to_owned(), line: 0, message: stale.to_string() });
    }
    violations.sort();
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => bail!("{count} violation(s)"),
    }
}

// === impl Violation ===

impl Violation {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        super::run(&crate::workspace_root()).unwrap();
    }
}
