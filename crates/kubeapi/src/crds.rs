//! Puts the custom resource definitions into a cluster.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, CustomResourceExt, ResourceExt};

use crate::cluster::request;
use crate::resources::dns_config::DNSConfig;
use crate::resources::{IPBlock, IPPool};
use crate::{Cluster, KubeApiError};

/// A definition is usually established in less than a second.
const ESTABLISHED_LIMIT: Duration = Duration::from_secs(30);

/// The definitions as JSON, the way `deploy/crds.yaml` has them.
#[must_use]
pub fn custom_resource_definitions() -> Vec<serde_json::Value> {
    definitions().iter().filter_map(|definition| serde_json::to_value(definition).ok()).collect()
}

/// Creates the definitions or brings them up to date, and waits until the API server serves them.
pub async fn install_crds(cluster: &Cluster) -> Result<(), KubeApiError> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    for definition in definitions() {
        let name = definition.name_any();
        let action = format!("install custom resource definition {name}");
        request(action, api.patch(&name, &PatchParams::apply("seaway").force(), &Patch::Apply(&definition))).await?;
    }
    for name in definitions().iter().map(ResourceExt::name_any) {
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        match tokio::time::timeout(ESTABLISHED_LIMIT, established).await {
            Ok(Ok(_)) => {}
            // A failed watch of the conditions is no better than silence: the definition may never be served.
            Ok(Err(_)) | Err(_) => return Err(KubeApiError::NotEstablished { name, limit: ESTABLISHED_LIMIT }),
        }
    }
    Ok(())
}

fn definitions() -> [CustomResourceDefinition; 3] {
    [IPPool::crd(), IPBlock::crd(), DNSConfig::crd()]
}
