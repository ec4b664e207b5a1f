//! A label selector with a schema.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Selects objects by label; all terms must hold.
#[derive(schemars::JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Selector {
    /// Labels that must be present with exactly this value.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(crate) match_labels: std::collections::BTreeMap<String, String>,
    /// Further terms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub(crate) match_expressions: Vec<SelectorRequirement>,
}

/// One term of a selector.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = ("self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0", "In and NotIn need values; Exists and DoesNotExist have none")
)]
pub(crate) struct SelectorRequirement {
    /// Label key.
    #[schemars(length(min = 1, max = 317))]
    pub(crate) key: String,
    /// How the label is compared.
    pub(crate) operator: SelectorOperator,
    /// Values for In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub(crate) values: Vec<String>,
}

/// How a term compares.
#[derive(schemars::JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SelectorOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}
