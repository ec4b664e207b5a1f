//! `deploy/crds.yaml` is made from the types. To write it anew:
//! `SEAWAY_BLESS=1 cargo test -p seaway-kubeapi --test crds`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;

#[test]
fn deploy_crds_yaml_is_current() {
    let definitions = seaway_kubeapi::custom_resource_definitions();
    let documents = definitions.iter().map(|definition| serde_saphyr::to_string(definition).unwrap());
    let header = "# Made from crates/kubeapi/src/resources; do not edit.\n";
    let wanted = format!("{header}---\n{}", documents.collect::<Vec<_>>().join("---\n"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds.yaml");
    if std::env::var_os("SEAWAY_BLESS").is_some() {
        std::fs::write(&file, &wanted).unwrap();
    }
    let present = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(present == wanted, "deploy/crds.yaml is stale: run with SEAWAY_BLESS=1");
}
