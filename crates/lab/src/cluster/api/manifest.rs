//! Manifests: YAML or JSON text with one or more objects.

use serde_json::Value;

use crate::cluster::error::ClusterError;

/// Kinds the lab applies that live in no namespace.
const CLUSTER_SCOPED: &[&str] = &[
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "IPBlock",
    "IPPool",
    "Namespace",
    "Node",
    "PriorityClass",
];

/// Reads all objects, lists taken apart; objects that need a namespace and name none get `default`.
///
/// # Errors
/// The text is no YAML or an object has no kind or name.
pub fn parse_manifests(name: &str, text: &str) -> Result<Vec<Value>, ClusterError> {
    let malformed = |reason: String| ClusterError::Manifest { name: name.to_owned(), reason };
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| malformed(error.to_string()))?;
    let mut objects = Vec::new();
    for document in documents {
        match document.get("items").and_then(Value::as_array) {
            Some(items) => objects.extend(items.iter().cloned()),
            None if document.is_null() => {}
            None => objects.push(document),
        }
    }
    for object in &mut objects {
        let kind =
            object.get("kind").and_then(Value::as_str).ok_or_else(|| malformed("an object has no kind".into()))?;
        let cluster_scoped = CLUSTER_SCOPED.contains(&kind);
        let kind = kind.to_owned();
        let metadata = object
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
            .filter(|metadata| metadata.get("name").is_some_and(Value::is_string))
            .ok_or_else(|| malformed(format!("a {kind} has no metadata.name")))?;
        if !cluster_scoped {
            metadata.entry("namespace").or_insert_with(|| "default".into());
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_are_taken_apart_and_get_a_namespace() {
        let text = "kind: Namespace\nmetadata: {name: shop}\n---\nkind: List\nitems:\n- kind: Service\n  metadata: {name: web}\n";
        let objects = parse_manifests("test", text).unwrap();
        assert_eq!(objects.len(), 2);
        assert!(objects[0]["metadata"].get("namespace").is_none());
        assert_eq!(objects[1]["metadata"]["namespace"], "default");
    }

    #[test]
    fn an_object_without_a_name_is_refused() {
        let error = parse_manifests("test", "kind: Service\nmetadata: {}\n").unwrap_err();
        assert_eq!(error.to_string(), "test is not a Kubernetes manifest: a Service has no metadata.name");
    }
}
