//! Names that stand for others, and the way back for the answer.

use seaway_model::dns::DnsRewritePart;

use crate::wire::name::NameError;
use crate::wire::{Name, OwnedName};

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    part: Part,
    from: OwnedName,
    to: OwnedName,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Exact,
    Suffix,
    /// The last label of `from` and of `to` ends within a label.
    Prefix,
}

// === impl Rewrite ===

impl Rewrite {
    /// Reads a rule.
    ///
    /// # Errors
    /// `from` or `to`, whichever is no name.
    pub fn new(part: DnsRewritePart, from: &str, to: &str) -> Result<Self, (&'static str, NameError)> {
        let part = match part {
            DnsRewritePart::Exact => Part::Exact,
            DnsRewritePart::Suffix => Part::Suffix,
            DnsRewritePart::Prefix => Part::Prefix,
        };
        let (from, to) = match part {
            // Below `a.b`, not beside it: `xa.b` is another name.
            Part::Exact | Part::Suffix => (OwnedName::parse(from), OwnedName::parse(to)),
            Part::Prefix => (prefix(from), prefix(to)),
        };
        Ok(Self { part, from: from.map_err(|error| ("from", error))?, to: to.map_err(|error| ("to", error))? })
    }

    /// Whether the rule holds for a name.
    #[must_use]
    pub fn matches(&self, name: &Name) -> bool {
        match self.part {
            Part::Exact => name.wire() == self.from.wire(),
            Part::Suffix => name.below(&self.from).is_some(),
            Part::Prefix => begins(name, &self.from),
        }
    }

    /// What is looked up in place of a name that the rule holds for.
    ///
    /// # Errors
    /// When it would be too long.
    pub fn apply(&self, name: &Name) -> Result<Name, NameError> {
        let mut result = Name::root();
        match self.part {
            Part::Exact => result.assign(self.to.wire())?,
            Part::Suffix => {
                let before = name.below(&self.from).unwrap_or_default();
                result.assign_joined(name, 0..before, self.to.wire())?;
            }
            Part::Prefix => result.assign(&exchange(name, &self.from, &self.to)?)?,
        }
        Ok(result)
    }

    /// What the client sees in place of `name` in the answer: for `looked_up` what it `asked`, for
    /// other names below the replaced suffix the same below what it asked for.
    #[must_use]
    pub fn restore(&self, name: &Name, asked: &Name, looked_up: &Name) -> Option<Name> {
        if name.wire() == looked_up.wire() {
            return Some(asked.clone());
        }
        let before = name.below(&self.to).filter(|_| self.part == Part::Suffix && self.to.labels() > 0)?;
        let mut result = Name::root();
        result.assign_joined(name, 0..before, self.from.wire()).ok()?;
        Some(result)
    }
}

/// A beginning of names: labels, of which the last may go on, so none ends with a dot.
fn prefix(text: &str) -> Result<OwnedName, NameError> {
    if text.ends_with('.') { Err(NameError::Label) } else { OwnedName::parse(text) }
}

/// The labels of a prefix: all but the last, and the last.
fn split(prefix: &OwnedName) -> (&[u8], &[u8]) {
    let wire = prefix.wire();
    let mut at = 0;
    for _ in 1..prefix.labels() {
        at += 1 + wire.get(at).map_or(0, |size| usize::from(*size));
    }
    let whole = wire.get(..at).unwrap_or_default();
    let last = wire.get(at + 1..wire.len().saturating_sub(1)).unwrap_or_default();
    (whole, last)
}

fn begins(name: &Name, prefix: &OwnedName) -> bool {
    let count = prefix.labels();
    if count == 0 || name.labels() < count {
        return false;
    }
    let (whole, last) = split(prefix);
    name.labels_wire(0..count - 1) == whole && name.label(count - 1).starts_with(last)
}

fn exchange(name: &Name, from: &OwnedName, to: &OwnedName) -> Result<Vec<u8>, NameError> {
    let count = from.labels();
    let (_, last_from) = split(from);
    let (whole, last_to) = split(to);
    let rest = name.label(count.saturating_sub(1)).get(last_from.len()..).unwrap_or_default();
    let mut wire = whole.to_vec();
    if last_to.len() + rest.len() > 0 {
        let joined = [last_to, rest].concat();
        crate::wire::name::push_label(&mut wire, &joined)?;
    }
    wire.extend(name.suffix(count));
    Ok(wire)
}
