//! The CNI configuration that tells the container runtime to use Seaway. Pure:
//! [`render`] gives the text; `io::configuration` writes it.

use std::path::Path;

use seaway_model::agent_api::AGENT_SOCKET;
use seaway_runtime::config::{ChainedPlugin, Cni};
use serde_json::{Value, json};

/// Name of the file. Runtimes take the first in the order of names; 05 leaves
/// room before it and comes before the usual 10.
pub(crate) const FILE_NAME: &str = "05-seaway.conflist";

/// Versions that `seaway-cni` speaks and that have configuration lists.
const OUR_VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Newest version that every runtime in use understands in `cniVersion`. Newer
/// ones go into `cniVersions`, which older runtimes do not read.
const NEWEST_FOR_ALL: &str = "1.0.0";

/// A chained plugin that can be run, and what it speaks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UsablePlugin {
    pub(crate) plugin: ChainedPlugin,
    pub(crate) versions: Vec<String>,
}

/// The configuration list, in versions that every plugin of the chain speaks.
pub(crate) fn render(cni: &Cni, socket: &Path, chain: &[UsablePlugin]) -> Value {
    let spoken = |version: &&str| chain.iter().all(|plugin| plugin.versions.iter().any(|have| have == version));
    let versions: Vec<&str> = OUR_VERSIONS.into_iter().filter(spoken).collect();
    let safe = versions.iter().rfind(|version| **version <= NEWEST_FOR_ALL).copied().unwrap_or(NEWEST_FOR_ALL);
    let mut first = json!({"type": "seaway-cni", "capabilities": {"ips": true, "mac": true, "bandwidth": true}});
    if socket != Path::new(AGENT_SOCKET)
        && let Some(fields) = first.as_object_mut()
    {
        fields.insert("agentSocket".into(), json!(socket));
    }
    let mut plugins = vec![first];
    plugins.extend(chain.iter().map(|usable| {
        let mut fields = usable.plugin.settings.clone();
        fields.insert("type".into(), json!(usable.plugin.program));
        Value::Object(fields)
    }));
    json!({
        "cniVersion": safe,
        "cniVersions": versions,
        "name": cni.network,
        "plugins": plugins,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cni() -> Cni {
        Cni { network: "seaway".into(), chained_plugins: Vec::new() }
    }

    fn plugin(name: &str, versions: &[&str]) -> UsablePlugin {
        let settings = json!({"capabilities": {"portMappings": true}}).as_object().unwrap().clone();
        let plugin = ChainedPlugin { program: name.into(), settings };
        UsablePlugin { plugin, versions: versions.iter().map(|version| (*version).to_owned()).collect() }
    }

    #[test]
    fn alone_it_offers_every_version_and_names_one_that_old_runtimes_know() {
        let list = render(&cni(), Path::new(AGENT_SOCKET), &[]);
        assert_eq!(list["cniVersion"], "1.0.0");
        assert_eq!(list["cniVersions"], json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
        let capabilities = json!({"ips": true, "mac": true, "bandwidth": true});
        assert_eq!(list["plugins"], json!([{"type": "seaway-cni", "capabilities": capabilities}]));
    }

    #[test]
    fn a_chain_is_as_old_as_its_oldest_plugin() {
        let chain =
            [plugin("portmap", &["0.3.1", "0.4.0", "1.0.0", "1.1.0"]), plugin("bandwidth", &["0.3.1", "0.4.0"])];
        let list = render(&cni(), Path::new("/run/other/agent.sock"), &chain);
        assert_eq!(list["cniVersion"], "0.4.0");
        assert_eq!(list["cniVersions"], json!(["0.3.1", "0.4.0"]));
        assert_eq!(list["plugins"][0]["agentSocket"], "/run/other/agent.sock");
        assert_eq!(list["plugins"][1], json!({"type": "portmap", "capabilities": {"portMappings": true}}));
    }
}
