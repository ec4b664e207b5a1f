//! Removes a lab, whole or half-made, running or left behind by a reboot.
//! Idempotent; goes on past errors and tells all that is left.

use super::dir::LabDir;
use super::state::LabState;
use super::{Machine, cgroup};
use crate::error::{LabError, Result};
use rustix::process::Signal;

impl Machine {
    /// Removes the lab in `dir`, if there is anything of it.
    pub fn destroy(dir: &LabDir) -> Result<()> {
        super::create::require_root()?;
        let lock = dir.try_lock()?;
        clear(dir)?;
        if lock.is_some() {
            dir.remove()?;
        }
        Ok(())
    }
}

/// Ends the lab's processes and removes its cgroups and files, but not its
/// directory. The caller holds the lock.
pub(super) fn clear(dir: &LabDir) -> Result<()> {
    let group = cgroup::lab_group(dir.name());
    let mut remains = Vec::new();
    // An unreadable state file hides nothing: the cgroups name every process.
    if let Ok(state) = LabState::read(dir) {
        for (name, init) in &state.inits {
            if cgroup::is_member(init.pid, &group)
                && let Err(error) = init.signal(Signal::KILL)
            {
                remains.push(format!("init process of {name}: {error}"));
            }
        }
    }
    match cgroup::kill_all(&group) {
        Err(LabError::Remains { remains: left, .. }) => remains.extend(left),
        Err(error) => remains.push(error.to_string()),
        Ok(()) => match cgroup::remove(&group) {
            Ok(left) => {
                remains.extend(left);
                if let Err(error) = cgroup::take_back(&dir.noted_controllers()) {
                    remains.push(error.to_string());
                }
            }
            Err(error) => remains.push(error.to_string()),
        },
    }
    if remains.is_empty()
        && let Err(error) = dir.clear()
    {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        remains.push(format!("{error}: {cause}"));
    }
    if remains.is_empty() { Ok(()) } else { Err(LabError::Remains { name: dir.name().to_owned(), remains }) }
}
