//! The layers: a crate uses only crates of lower layers, never a neighbor.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::Violation;

/// Layer of each crate of ours, by package name.
const LAYERS: &[(&str, u32)] = &[
    ("seaway-model", 0),
    ("seaway-routing", 1),
    ("seaway-services", 1),
    ("seaway-datapath", 2),
    ("seaway-kubeapi", 2),
    ("seaway-runtime", 2),
    ("seaway-dns", 3),
    ("seaway-agent", 4),
    ("seaway-controller", 4),
    ("seaway-cni", 4),
    ("seaway-cli", 4),
    ("seaway-lab", 5),
    ("seaway", 6),
];

/// Packages beside the layers, and what they may use.
const BESIDE: &[(&str, &[&str])] = &[("xtask", &["seaway-model"]), ("bookinfo", &[])];

/// An arrow in the graph of packages.
#[derive(Debug)]
struct Arrow<'a> {
    from: &'a str,
    to: &'a str,
    /// Used by tests only.
    development: bool,
}

/// Asks cargo for the workspace's packages and checks each arrow between them.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read what cargo metadata printed")?;
    Ok(violations(&metadata))
}

fn violations(metadata: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in array(metadata, "packages") {
        let name = text(package, "name");
        if layer(name).is_none() && beside(name).is_none() {
            let message = format!("package {name} has no layer; give it one in xtask/src/tidy/walls.rs");
            found.push(Violation::new("Cargo.toml", 0, message));
        }
        for dependency in array(package, "dependencies") {
            let development = text(dependency, "kind") == "dev";
            let arrow = Arrow { from: name, to: text(dependency, "name"), development };
            if let Some(reason) = forbidden(&arrow) {
                let message = format!("{name} must not depend on {}: {reason}", arrow.to);
                found.push(Violation::new("Cargo.toml", 0, message));
            }
        }
    }
    found
}

fn forbidden(arrow: &Arrow<'_>) -> Option<&'static str> {
    let to = layer(arrow.to)?;
    if let Some(allowed) = beside(arrow.from) {
        return (!allowed.contains(&arrow.to)).then_some("it stands beside the layers");
    }
    let from = layer(arrow.from)?;
    // Tests of lower crates may use the lab; the lab's own build never needs them.
    if to < from || (arrow.development && arrow.to == "seaway-lab") {
        return None;
    }
    Some(if to == from { "they are neighbors" } else { "it lies in a higher layer" })
}

fn layer(name: &str) -> Option<u32> {
    LAYERS.iter().find(|(package, _)| *package == name).map(|(_, layer)| *layer)
}

fn beside(name: &str) -> Option<&'static [&'static str]> {
    BESIDE.iter().find(|(package, _)| *package == name).map(|(_, allowed)| *allowed)
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(from: &str, to: &str, kind: Option<&str>) -> usize {
        let dependency = serde_json::json!({ "name": to, "kind": kind });
        let package = serde_json::json!({ "name": from, "dependencies": [dependency] });
        violations(&serde_json::json!({ "packages": [package] })).len()
    }

    #[test]
    fn arrows_point_down() {
        assert_eq!(arrow("seaway-routing", "seaway-model", None), 0);
        assert_eq!(arrow("seaway-agent", "seaway-datapath", None), 0);
        assert_eq!(arrow("seaway-datapath", "serde", None), 0);
        assert_eq!(arrow("seaway-model", "seaway-routing", None), 1);
        assert_eq!(arrow("seaway-datapath", "seaway-kubeapi", None), 1);
        assert_eq!(arrow("seaway-routing", "seaway-datapath", Some("dev")), 1);
        assert_eq!(arrow("seaway-agent", "seaway-lab", Some("dev")), 0);
        assert_eq!(arrow("seaway-agent", "seaway-lab", None), 1);
        assert_eq!(arrow("bookinfo", "seaway-model", None), 1);
        assert_eq!(arrow("newcomer", "serde", None), 1);
    }
}
