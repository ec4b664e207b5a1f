//! kubeconfig files.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::super::pki::KeyFiles;
use crate::cluster::error::ClusterError;

/// A kubeconfig with its keys inside, so that the file can be copied anywhere.
///
/// # Errors
/// `keys` lacks the certificate of `user`.
pub fn kubeconfig(keys: &KeyFiles, context: &str, server: &str, user: &str) -> Result<Value, ClusterError> {
    let embedded = |file: String| {
        keys.get(&file).map(|pem| ByteString(pem.clone().into_bytes())).ok_or(ClusterError::NoCertificate { file })
    };
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": context,
            "cluster": { "server": server, "certificate-authority-data": embedded("ca.crt".to_owned())? },
        }],
        "users": [{
            "name": context,
            "user": {
                "client-certificate-data": embedded(format!("{user}.crt"))?,
                "client-key-data": embedded(format!("{user}.key"))?,
            },
        }],
        "contexts": [{ "name": context, "context": { "cluster": context, "user": context } }],
        "current-context": context,
    }))
}
