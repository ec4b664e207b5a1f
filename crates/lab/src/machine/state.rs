//! What the machine layer remembers between commands, in `machine.json`.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use super::dir::LabDir;
use super::fault::Fault;
use super::process::ProcessId;
use crate::error::{IoContext, LabError, Result};
use crate::spec::LabSpec;

/// State of one lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabState {
    /// What was asked for.
    pub spec: LabSpec,
    /// Whether creation came to its end; a lab that is neither complete nor
    /// locked was abandoned.
    pub complete: bool,
    /// Init process of each namespace set, by name; absent while powered off.
    pub inits: BTreeMap<String, ProcessId>,
    /// What is broken on purpose.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

// === impl LabState ===

impl LabState {
    /// State of a lab that is being made.
    #[must_use]
    pub fn new(spec: LabSpec) -> Self {
        Self { spec, complete: false, inits: BTreeMap::new(), faults: Vec::new() }
    }

    /// Reads the state of the lab in `dir`.
    pub fn read(dir: &LabDir) -> Result<Self> {
        let path = dir.state_file();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(LabError::NoSuchLab { name: dir.name().to_owned() });
            }
            other => other.on_file("read", &path)?,
        };
        serde_json::from_str(&text).map_err(|error| LabError::State { path, reason: error.to_string() })
    }

    /// Replaces the state file in one step.
    pub fn write(&self, dir: &LabDir) -> Result<()> {
        let path = dir.state_file();
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| LabError::State { path: path.clone(), reason: error.to_string() })?;
        let draft = path.with_extension("json.new");
        fs::write(&draft, text).on_file("write", &draft)?;
        fs::rename(&draft, &path).on_file("replace", &path)
    }

    /// The init process of a namespace set, if it runs.
    pub fn init(&self, name: &str) -> Result<ProcessId> {
        let init = self.inits.get(name).copied().filter(|init| init.alive());
        init.ok_or_else(|| LabError::NodeDown { node: name.to_owned() })
    }

    /// Whether any init process still runs.
    #[must_use]
    pub fn any_alive(&self) -> bool {
        self.inits.values().any(|init| init.alive())
    }
}
