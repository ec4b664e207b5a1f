//! What to do so that the kernel holds what is wanted.

use std::fmt;

use super::objects::{Key, Objects, Value, WantedObjects};
use crate::Difference;

/// A change of one kernel object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Make it, or change it in place.
    Put {
        /// The object.
        key: Key,
        /// What it shall be.
        value: Value,
        /// What it is; none: it is not there.
        previous: Option<Value>,
        /// Who asks for it.
        cause: String,
    },
    /// Remove it.
    Remove {
        /// The object.
        key: Key,
        /// What it is.
        value: Value,
    },
}

/// Operations that turn `actual` into `wanted`, in an order in which each is possible:
/// first what must go, dependents before what they depend on, then what is made.
///
/// What dies with the tunnel device is not removed one by one, and is made again when
/// the device has to be.
#[must_use]
pub fn diff(wanted: &WantedObjects, actual: &Objects) -> Vec<Operation> {
    let tunnel_goes = actual.get(&Key::Tunnel).is_some_and(|device| !can_stay(device, wanted));
    let survives = |key: &Key, value: &Value| !(tunnel_goes && (*key == Key::Tunnel || key.dies_with_tunnel(value)));

    let mut operations = Vec::new();
    for (key, value) in actual.iter().rev() {
        let orphaned = !wanted.contains_key(key) && survives(key, value);
        if orphaned || (tunnel_goes && *key == Key::Tunnel) {
            operations.push(Operation::Remove { key: key.clone(), value: value.clone() });
        }
    }
    for (key, want) in wanted {
        let previous = actual.get(key).filter(|value| survives(key, value));
        let stale = tunnel_goes && key.remembers_tunnel(&want.value);
        if stale || previous != Some(&want.value) {
            operations.push(Operation::Put {
                key: key.clone(),
                value: want.value.clone(),
                previous: previous.cloned(),
                cause: want.cause.clone(),
            });
        }
    }
    operations
}

fn can_stay(device: &Value, wanted: &WantedObjects) -> bool {
    match (device, wanted.get(&Key::Tunnel).map(|want| &want.value)) {
        (Value::Tunnel(actual), Some(Value::Tunnel(wanted))) => actual.can_become(wanted),
        _ => false,
    }
}

// === impl Operation ===

impl Operation {
    /// The object.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Remove { key, .. } => key,
        }
    }

    /// The operation as what an audit found.
    #[must_use]
    pub fn difference(&self) -> Difference {
        match self {
            Self::Put { key, value, previous: None, cause } => {
                Difference { what: format!("{key} was missing ({value})"), cause: cause.clone() }
            }
            Self::Put { key, value, previous: Some(previous), cause } => {
                Difference { what: format!("{key} was {previous} instead of {value}"), cause: cause.clone() }
            }
            Self::Remove { key, value } => {
                Difference { what: format!("{key} was left over ({value})"), cause: "nothing asks for it".to_owned() }
            }
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, previous: None, cause } => write!(f, "add {key}: {value} ({cause})"),
            Self::Put { key, value, previous: Some(_), cause } => write!(f, "change {key}: {value} ({cause})"),
            Self::Remove { key, .. } => write!(f, "remove {key}"),
        }
    }
}
