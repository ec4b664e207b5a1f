//! Release binaries brought by the user: which versions are accepted.

use std::path::Path;
use std::process::Command;

use super::{ModuleSet, Program};
use crate::cluster::error::ClusterError;

/// Kubernetes minor versions the lab is known to run.
const SUPPORTED_MINORS: std::ops::RangeInclusive<u32> = 34..=36;

/// Runs `--version` of a Kubernetes program and compares.
pub(super) fn check_version(program: &Program, path: &Path) -> Result<(), ClusterError> {
    if program.set != ModuleSet::Components || matches!(program.name, "agnhost" | "kubectl") {
        return Ok(());
    }
    let output = Command::new(path)
        .arg("--version")
        .output()
        .map_err(|source| ClusterError::Storage { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if minor_version(&text).is_some_and(|minor| SUPPORTED_MINORS.contains(&minor)) {
        return Ok(());
    }
    Err(ClusterError::UnsupportedVersion { program: program.name, path: path.to_owned(), version: text })
}

/// The 36 of `Kubernetes v1.36.1`.
fn minor_version(text: &str) -> Option<u32> {
    let version = text.strip_prefix("Kubernetes v1.")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_print() {
        assert_eq!(minor_version("Kubernetes v1.36.1"), Some(36));
        assert_eq!(minor_version("Kubernetes v1.34.0-rc.1"), Some(34));
        assert_eq!(minor_version("v0.0.0-master"), None);
        assert_eq!(minor_version(""), None);
    }
}
