//! The steps around the daemon: putting the plugin where the runtime finds it,
//! and leaving the node as it was found.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use seaway_model::agent_api::PENDING_DELETES_DIRECTORY;
use seaway_model::feed::NAMES_FILE;
use seaway_runtime::AgentConfig;
use seaway_runtime::config::Paths;

use crate::AgentError;
use crate::conflist::FILE_NAME;
use crate::daemon::{datapath_options, open_datapath};
use crate::io::configuration::{PLUGIN, install_plugin, remove};
use crate::io::lock;

/// Copies `seaway-cni`, which lies beside this program, to the runtime's
/// directory of plugins. For an init container: the agent's conflist, written
/// later, is what makes the runtime use it.
///
/// # Errors
/// The plugin cannot be read or written.
pub fn install_cni(config: &AgentConfig) -> Result<PathBuf, AgentError> {
    let failed = |source| AgentError::File { operation: "find", path: PLUGIN.into(), source };
    let program = std::env::current_exe().map_err(failed)?;
    let beside = program.parent().unwrap_or(Path::new("/")).join(PLUGIN);
    install_plugin(&beside, &config.paths.cni_programs)
}

/// Removes everything of Seaway from the node, in the order in which nothing
/// refers to what is gone: the CNI configuration, so that no new pod comes; the
/// data path; the plugin; the agent's own files. Goes on past failures.
///
/// # Errors
/// An agent runs, or something is left.
pub fn uninstall(config: &AgentConfig) -> Result<(), AgentError> {
    let paths = &config.paths;
    let lock = lock::take(&paths.run)?;
    let mut failures = Vec::new();
    let mut note = |outcome: Result<(), AgentError>| {
        if let Err(error) = outcome {
            failures.push(error.to_string());
        }
    };
    note(remove(&paths.cni_configuration.join(FILE_NAME)));
    note(remove_services(config));
    note(remove_data_path(config));
    note(remove(&paths.cni_programs.join(PLUGIN)));
    for outcome in remove_own_files(paths) {
        note(outcome);
    }
    drop(lock);
    if failures.is_empty() { Ok(()) } else { Err(AgentError::Leftovers { failures }) }
}

fn remove_services(config: &AgentConfig) -> Result<(), AgentError> {
    seaway_datapath::kernel::services::remove_services(&datapath_options(config))
        .map_err(|errors| AgentError::Leftovers { failures: vec![errors.to_string()] })
}

fn remove_data_path(config: &AgentConfig) -> Result<(), AgentError> {
    let (mut datapath, _) = open_datapath(config)?;
    // What adoption cannot read, the removal names.
    let _ = datapath.adopt();
    datapath.uninstall().map_err(|errors| AgentError::Leftovers { failures: vec![errors.to_string()] })
}

fn remove_own_files(paths: &Paths) -> [Result<(), AgentError>; 5] {
    let run = &paths.run;
    [
        remove_directory(&run.join(PENDING_DELETES_DIRECTORY), |path| fs::remove_dir_all(path)),
        remove(&run.join("agent.sock")),
        remove(&run.join("agent.lock")),
        remove(&run.join(NAMES_FILE)),
        // Empty now, unless another daemon of the node uses it too.
        remove_directory(run, |path| fs::remove_dir(path)),
    ]
}

fn remove_directory(path: &Path, removal: impl Fn(&Path) -> io::Result<()>) -> Result<(), AgentError> {
    match removal(path) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy
            ) =>
        {
            Ok(())
        }
        Err(source) => Err(AgentError::File { operation: "remove", path: path.to_owned(), source }),
    }
}
