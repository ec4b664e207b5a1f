//! Names that thousands of endpoints have in common, kept once. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use seaway_model::{EndpointSlice, NodeName};

/// Names are looked through for unused ones when so many more came.
const SWEEP_AFTER: usize = 1_024;

/// The names of nodes and zones that slices mention.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashSet<Arc<str>>,
    /// How many there may be before it is worth looking for unused ones.
    sweep_at: usize,
}

// === impl Names ===

impl Names {
    /// Lets a slice's endpoints share their names with all others.
    pub(super) fn share(&mut self, slice: &mut EndpointSlice) {
        for endpoint in &mut slice.endpoints {
            if let Some(NodeName(name)) = &mut endpoint.node {
                self.replace(name);
            }
            if let Some(name) = &mut endpoint.zone {
                self.replace(name);
            }
        }
    }

    fn replace(&mut self, name: &mut Arc<str>) {
        if let Some(known) = self.known.get(name) {
            *name = Arc::clone(known);
            return;
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.sweep_at = self.known.len() + SWEEP_AFTER;
        }
        self.known.insert(Arc::clone(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn equal_names_are_one_text() {
        let (mut names, mut first, mut second) = (Names::default(), name("n1"), name("n1"));
        names.replace(&mut first);
        names.replace(&mut second);
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn names_that_nobody_has_any_more_are_forgotten() {
        let mut names = Names::default();
        let mut kept = name("kept");
        names.replace(&mut kept);
        for number in 0..10 * SWEEP_AFTER {
            names.replace(&mut name(&format!("gone-{number}")));
        }
        assert!(names.known.len() <= 2 * SWEEP_AFTER, "{}", names.known.len());
        assert!(names.known.contains("kept"));
    }
}
