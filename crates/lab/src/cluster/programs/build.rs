//! `go install` of pinned packages into a cache folder.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{ModuleSet, Program};
use crate::cluster::error::ClusterError;

/// Lines of the compiler's output kept for an error.
const LAST_LINES: usize = 15;

/// Builds `programs` of one set into `directory`.
///
/// The build writes to a folder beside it and renames file by file, so a build
/// that was interrupted leaves no half-written program behind.
pub(super) fn install(
    set: ModuleSet,
    programs: &[Program],
    directory: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<(), ClusterError> {
    let names: Vec<&str> = programs.iter().map(|p| p.name).collect();
    let storage = |path: &Path| {
        let path = path.to_owned();
        move |source| ClusterError::Storage { path, source }
    };
    std::fs::create_dir_all(directory).map_err(storage(directory))?;
    let work = tempfile::tempdir_in(directory).map_err(storage(directory))?;
    let (module, sums) = set.module_files();
    for (name, text) in [("go.mod", module), ("go.sum", sums)] {
        let path = work.path().join(name);
        std::fs::write(&path, text).map_err(storage(&path))?;
    }
    progress(&format!("building {} from source (once)", names.join(", ")));
    compile(set, programs, work.path(), progress)?;
    for program in programs {
        let built = work
            .path()
            .join("bin")
            .join(program.package.rsplit('/').find(|part| !is_major_version(part)).unwrap_or(program.name));
        let wanted = directory.join(program.name);
        std::fs::rename(&built, &wanted).map_err(storage(&built))?;
    }
    Ok(())
}

/// `v3` in `go.etcd.io/etcd/server/v3`: Go names the program after the part before.
fn is_major_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn compile(
    set: ModuleSet,
    programs: &[Program],
    work: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<(), ClusterError> {
    let mut child = Command::new("go")
        .arg("install")
        .arg("-v")
        .args(set.build_flags())
        .args(programs.iter().map(|p| p.package))
        .current_dir(work)
        .env("GOBIN", work.join("bin"))
        .env("CGO_ENABLED", if set.needs_c() { "1" } else { "0" })
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| ClusterError::NoGoToolchain { set: set.name(), source })?;
    let mut last_lines: Vec<String> = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for (count, line) in BufReader::new(stderr).lines().map_while(Result::ok).enumerate() {
            progress(&format!("{}: {} packages, {line}", set.name(), count + 1));
            if last_lines.len() == LAST_LINES {
                last_lines.remove(0);
            }
            last_lines.push(line);
        }
    }
    let status = child.wait().map_err(|source| ClusterError::NoGoToolchain { set: set.name(), source })?;
    if status.success() {
        return Ok(());
    }
    Err(ClusterError::BuildFailed { set: set.name(), status, last_lines: last_lines.join("\n") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_versions_are_not_program_names() {
        assert!(is_major_version("v3"));
        assert!(!is_major_version("server"));
        assert!(!is_major_version("vendor"));
    }
}
