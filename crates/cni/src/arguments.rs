//! `CNI_ARGS`: `KEY=VALUE` pairs joined by semicolons.

use seaway_model::PodRef;

use crate::error::CniError;

/// The pairs that mean something here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// The pod, when both its namespace and its name were given.
    pub pod: Option<PodRef>,
    /// `K8S_POD_UID`.
    pub pod_uid: Option<String>,
    /// `IP`, unread.
    pub address: Option<String>,
    /// `MAC`, unread.
    pub mac: Option<String>,
}

impl Arguments {
    /// Reads the variable.
    ///
    /// # Errors
    /// A pair without `=` or key, or unknown keys without `IgnoreUnknown`.
    pub fn parse(text: &str) -> Result<Arguments, CniError> {
        let mut arguments = Arguments::default();
        let (mut namespace, mut name) = (None, None);
        let mut unknown = Vec::new();
        let mut ignore_unknown = false;
        for pair in text.split(';').filter(|pair| !pair.trim().is_empty()) {
            let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                return Err(CniError::VariableInvalid {
                    variable: "CNI_ARGS",
                    value: text.to_owned(),
                    problem: "it must be KEY=VALUE pairs joined by ';'",
                });
            };
            let given = (!value.is_empty()).then(|| value.to_owned());
            match key {
                "IgnoreUnknown" => {
                    ignore_unknown = value == "1" || value.eq_ignore_ascii_case("true");
                }
                "K8S_POD_NAMESPACE" => namespace = given,
                "K8S_POD_NAME" => name = given,
                "K8S_POD_UID" => arguments.pod_uid = given,
                "K8S_POD_INFRA_CONTAINER_ID" => {}
                "IP" => arguments.address = given,
                "MAC" => arguments.mac = given,
                other => unknown.push(other.to_owned()),
            }
        }
        if !unknown.is_empty() && !ignore_unknown {
            return Err(CniError::ArgumentsUnknown { keys: unknown });
        }
        if let (Some(namespace), Some(name)) = (namespace, name) {
            arguments.pod = Some(PodRef { namespace, name });
        }
        Ok(arguments)
    }
}
