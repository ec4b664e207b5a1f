//! Files in the runtime's directories: the CNI configuration and the plugin.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use seaway_model::agent_api::Failure;
use seaway_runtime::config::{ChainedPlugin, Cni, Paths};

use crate::conflist::{FILE_NAME, UsablePlugin, render};
use crate::error::{AgentError, agent_failure};

/// Name of the plugin's program.
pub(crate) const PLUGIN: &str = "seaway-cni";

/// Writes the CNI configuration; what is wrong with it nevertheless is returned.
pub(crate) fn write(paths: &Paths, cni: &Cni) -> Result<Vec<Failure>, AgentError> {
    let mut warnings = Vec::new();
    let mut chain = Vec::new();
    for plugin in &cni.chained_plugins {
        match usable(&paths.cni_programs, plugin) {
            Ok(usable) => chain.push(usable),
            Err(error) => warnings.push(agent_failure(&error)),
        }
    }
    let list = render(cni, &paths.run.join("agent.sock"), &chain);
    let mut text = format!("{list:#}");
    text.push('\n');
    let target = paths.cni_configuration.join(FILE_NAME);
    replace(&target, text.as_bytes(), 0o644)?;
    warnings.extend(earlier(&paths.cni_configuration)?.map(|error| agent_failure(&error)));
    Ok(warnings)
}

/// Puts a file in place as a whole: a reader sees the old one or the new one,
/// and a program that runs keeps running ("text file busy").
pub(crate) fn replace(target: &Path, content: &[u8], mode: u32) -> Result<(), AgentError> {
    let failed = |source| AgentError::File { operation: "write", path: target.to_owned(), source };
    let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(failed(io::Error::from(io::ErrorKind::InvalidInput)));
    };
    fs::create_dir_all(directory).map_err(failed)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    // No ending that a runtime reads.
    hidden.push(".new");
    let unfinished = directory.join(hidden);
    let written = fs::File::create(&unfinished).and_then(|mut file| {
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&unfinished, target)
    });
    written.map_err(|error| {
        // Best effort: the next attempt truncates it anyway.
        let _ = fs::remove_file(&unfinished);
        failed(error)
    })
}

/// Copies the plugin to where the runtime looks for it; does nothing when it is there already.
pub(crate) fn install_plugin(source: &Path, programs: &Path) -> Result<PathBuf, AgentError> {
    let content = fs::read(source).map_err(|source_error| AgentError::File {
        operation: "read",
        path: source.to_owned(),
        source: source_error,
    })?;
    let target = programs.join(PLUGIN);
    let same = fs::read(&target).is_ok_and(|installed| installed == content)
        && fs::metadata(&target).is_ok_and(|metadata| metadata.permissions().mode() & 0o777 == 0o755);
    if !same {
        replace(&target, &content, 0o755)?;
    }
    Ok(target)
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> Result<(), AgentError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(AgentError::File { operation: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// What a plugin is taken to speak that is there but cannot be run from here: the
/// agent's image has no dynamic linker and sees only the plugins' own folder. Every
/// release of the reference plugins since 1.0 speaks these.
const ASSUMED_VERSIONS: [&str; 3] = ["0.3.1", "0.4.0", "1.0.0"];

/// Asks a plugin which versions it speaks.
fn usable(programs: &Path, plugin: &ChainedPlugin) -> Result<UsablePlugin, AgentError> {
    let failed = |problem: String| AgentError::ChainedPlugin {
        plugin: plugin.program.clone(),
        directory: programs.to_owned(),
        problem,
    };
    let program = programs.join(&plugin.program);
    let output = Command::new(&program)
        .env_clear()
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        // A link may lead to where only the node can follow.
        Err(_) if fs::symlink_metadata(&program).is_ok() => {
            return Ok(UsablePlugin { plugin: plugin.clone(), versions: ASSUMED_VERSIONS.map(str::to_owned).into() });
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| failed(format!("its answer to VERSION is malformed: {error}")))?;
    let versions = answer.get("supportedVersions").and_then(serde_json::Value::as_array);
    let versions: Vec<String> =
        versions.into_iter().flatten().filter_map(|version| version.as_str().map(str::to_owned)).collect();
    if versions.is_empty() {
        return Err(failed("it does not say which versions of CNI it speaks".into()));
    }
    Ok(UsablePlugin { plugin: plugin.clone(), versions })
}

/// A configuration of somebody else that the runtime takes before ours.
fn earlier(directory: &Path) -> Result<Option<AgentError>, AgentError> {
    let failed = |source| AgentError::File { operation: "read", path: directory.to_owned(), source };
    let mut first: Option<PathBuf> = None;
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_read =
            path.extension().is_some_and(|ending| ["conf", "conflist", "json"].map(OsStr::new).contains(&ending));
        let before = path.file_name().is_some_and(|name| name < OsStr::new(FILE_NAME));
        if is_read && before && first.as_ref().is_none_or(|other| path < *other) {
            first = Some(path);
        }
    }
    Ok(first.map(|file| AgentError::EarlierConfiguration { file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &Path) -> Paths {
        Paths {
            run: root.join("run"),
            cni_configuration: root.join("net.d"),
            cni_programs: root.join("bin"),
            ..Paths::default()
        }
    }

    fn script(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn cni(plugins: &[&str]) -> Cni {
        let plugin = |name: &&str| ChainedPlugin { program: (*name).to_owned(), settings: serde_json::Map::new() };
        Cni { network: "seaway".into(), chained_plugins: plugins.iter().map(plugin).collect() }
    }

    #[test]
    fn plugins_that_cannot_run_are_left_out_and_named() {
        let root = tempfile::tempdir().unwrap();
        let paths = paths(root.path());
        script(&paths.cni_programs.join("good"), "#!/bin/sh\necho '{\"supportedVersions\": [\"1.0.0\"]}'\n");
        script(&paths.cni_programs.join("silent"), "#!/bin/sh\n");
        let warnings = write(&paths, &cni(&["good", "silent", "absent"])).unwrap();
        let ids: Vec<&str> = warnings.iter().map(|warning| warning.id.as_str()).collect();
        assert_eq!(ids, ["SW0607", "SW0607"]);
        let text = fs::read_to_string(paths.cni_configuration.join(FILE_NAME)).unwrap();
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["plugins"].as_array().unwrap().len(), 2);
        assert_eq!(list["cniVersions"], serde_json::json!(["1.0.0"]));
        assert_eq!(fs::read_dir(&paths.cni_configuration).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn a_configuration_that_sorts_first_is_named() {
        let root = tempfile::tempdir().unwrap();
        let paths = paths(root.path());
        fs::create_dir_all(&paths.cni_configuration).unwrap();
        for name in ["00-note.txt", "10-flannel.conflist", "01-old.conflist"] {
            fs::write(paths.cni_configuration.join(name), "{}").unwrap();
        }
        let warnings = write(&paths, &cni(&[])).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].message.contains("01-old.conflist"), "{}", warnings[0].message);
    }

    #[test]
    fn a_running_plugin_can_be_replaced() {
        let root = tempfile::tempdir().unwrap();
        let programs = root.path().join("bin");
        let source = root.path().join("source");
        fs::copy("/bin/sleep", &source).unwrap();
        let installed = install_plugin(&source, &programs).unwrap();
        let mut running = Command::new(&installed).arg("60").spawn().unwrap();
        fs::write(&source, "newer").unwrap();
        install_plugin(&source, &programs).unwrap();
        assert_eq!(fs::read_to_string(&installed).unwrap(), "newer");
        running.kill().unwrap();
        running.wait().unwrap();
    }
}
