//! Labels and label selectors, with the meaning the Kubernetes API gives them
//! (`metav1.LabelSelector`): all terms must hold; an empty selector selects all.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A label selector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that must be present with exactly this value.
    pub match_labels: Labels,
    /// Further terms; all must hold.
    pub match_expressions: Vec<Requirement>,
}

/// One term of a selector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// How the label is compared.
    pub operator: Operator,
    /// Values for `In` and `NotIn`; empty otherwise.
    #[serde(default)]
    pub values: BTreeSet<String>,
}

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The label exists and its value is listed.
    In,
    /// The label is missing or its value is not listed.
    NotIn,
    /// The label exists.
    Exists,
    /// The label is missing.
    DoesNotExist,
}

// === impl LabelSelector ===

impl LabelSelector {
    /// Whether an object with `labels` is selected.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

// === impl Requirement ===

impl Requirement {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn term(key: &str, operator: Operator, values: &[&str]) -> LabelSelector {
        let values = values.iter().map(|v| (*v).to_owned()).collect();
        LabelSelector {
            match_expressions: vec![Requirement { key: key.to_owned(), operator, values }],
            ..Default::default()
        }
    }

    #[test]
    fn selectors_mean_what_the_api_says() {
        let gold = labels(&[("tier", "gold")]);
        let none = labels(&[]);
        assert!(LabelSelector::default().matches(&none));
        for (selector, on_gold, on_none) in [
            (term("tier", Operator::In, &["gold"]), true, false),
            (term("tier", Operator::NotIn, &["gold"]), false, true),
            (term("tier", Operator::Exists, &[]), true, false),
            (term("tier", Operator::DoesNotExist, &[]), false, true),
        ] {
            assert_eq!(selector.matches(&gold), on_gold, "{selector:?}");
            assert_eq!(selector.matches(&none), on_none, "{selector:?}");
        }
    }
}
