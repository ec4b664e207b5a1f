//! Domain names: [`Name`] is read from a message into fixed space, lower-cased, with
//! the starts of its labels known; [`OwnedName`] is one that configuration or a
//! Kubernetes object gave us.

use std::fmt;

use super::response::Response;

/// Longest name in octets with the root label (RFC 1035 §2.3.4).
const LONGEST_OCTETS: usize = 255;
/// Longest label in octets.
const LONGEST_LABEL: usize = 63;
/// A name of 255 octets has at most 127 labels before the root.
const MOST_LABELS: usize = 127;

/// A domain name in wire form, lower case, in fixed space.
#[derive(Clone)]
pub struct Name {
    octets: [u8; LONGEST_OCTETS + 1],
    length: usize,
    starts: [u8; MOST_LABELS + 1],
    labels: usize,
}

/// A domain name in wire form, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct OwnedName {
    octets: Box<[u8]>,
    labels: usize,
}

/// Why octets or text are no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The message ends inside the name.
    #[error("the message ends inside a name")]
    Short,
    /// More than 255 octets.
    #[error("a name is longer than 255 octets")]
    Long,
    /// A label that is neither 1–63 octets nor the root, or a pointer where none may be.
    #[error("a label is empty, longer than 63 octets, or a pointer")]
    Label,
}

// === impl Name ===

impl Name {
    /// The root.
    #[must_use]
    pub const fn root() -> Self {
        Self { octets: [0; LONGEST_OCTETS + 1], length: 1, starts: [0; MOST_LABELS + 1], labels: 0 }
    }

    /// Reads the name at `at`, which may not be compressed: nothing precedes a
    /// question that it could point to. Answers where it ends.
    ///
    /// # Errors
    /// What is wrong with it; `self` is then the root.
    pub fn read(&mut self, message: &[u8], at: usize) -> Result<usize, NameError> {
        let outcome = self.read_labels(message, at);
        if outcome.is_err() {
            self.length = 1;
            self.labels = 0;
            self.octets[0] = 0;
        }
        outcome
    }

    fn read_labels(&mut self, message: &[u8], at: usize) -> Result<usize, NameError> {
        self.labels = 0;
        let mut length = 0;
        loop {
            let size = usize::from(*message.get(at + length).ok_or(NameError::Short)?);
            if size > LONGEST_LABEL {
                return Err(NameError::Label);
            }
            let label = message.get(at + length..=at + length + size).ok_or(NameError::Short)?;
            if length + label.len() > LONGEST_OCTETS {
                return Err(NameError::Long);
            }
            if let Some(to) = self.octets.get_mut(length..length + label.len()) {
                for (to, from) in to.iter_mut().zip(label) {
                    // The length octet is at most 63 and so no letter.
                    *to = from.to_ascii_lowercase();
                }
            }
            if size == 0 {
                self.length = length + 1;
                return Ok(at + length + 1);
            }
            if let Some(start) = self.starts.get_mut(self.labels) {
                *start = length as u8;
            }
            self.labels += 1;
            length += label.len();
        }
    }

    /// Makes this the name whose wire form is given.
    ///
    /// # Errors
    /// When it is none.
    pub fn assign(&mut self, wire: &[u8]) -> Result<(), NameError> {
        self.read(wire, 0).map(|_| ())
    }

    /// Makes this `prefix` labels of `of`, followed by `suffix`.
    ///
    /// # Errors
    /// When that is too long.
    pub fn assign_joined(&mut self, of: &Name, labels: std::ops::Range<usize>, suffix: &[u8]) -> Result<(), NameError> {
        let mut wire = [0; 2 * LONGEST_OCTETS];
        let prefix = of.labels_wire(labels);
        let end = prefix.len() + suffix.len();
        wire.get_mut(..prefix.len()).ok_or(NameError::Long)?.copy_from_slice(prefix);
        wire.get_mut(prefix.len()..end).ok_or(NameError::Long)?.copy_from_slice(suffix);
        self.assign(wire.get(..end).ok_or(NameError::Long)?)
    }

    /// Wire form with the root label.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// How many labels it has, without the root.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// Label `index` counted from the left, without its length; empty when there is none.
    #[must_use]
    pub fn label(&self, index: usize) -> &[u8] {
        self.labels_wire(index..index + 1).get(1..).unwrap_or_default()
    }

    /// Octets before label `index`: its offset in the wire form. At or beyond the last: the root's.
    #[must_use]
    pub fn offset(&self, index: usize) -> usize {
        if index >= self.labels {
            return self.length.saturating_sub(1);
        }
        self.starts.get(index).map_or(0, |start| usize::from(*start))
    }

    /// Wire form of some labels counted from the left, without the root.
    #[must_use]
    pub fn labels_wire(&self, labels: std::ops::Range<usize>) -> &[u8] {
        self.octets.get(self.offset(labels.start)..self.offset(labels.end)).unwrap_or_default()
    }

    /// Wire form from label `index` on.
    #[must_use]
    pub fn suffix(&self, index: usize) -> &[u8] {
        self.octets.get(self.offset(index)..self.length).unwrap_or_default()
    }

    /// When the name is `domain` or below it: how many labels stand before.
    #[must_use]
    #[inline]
    pub fn below(&self, domain: &OwnedName) -> Option<usize> {
        let before = self.labels.checked_sub(domain.labels)?;
        (self.suffix(before) == &*domain.octets).then_some(before)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.wire(), f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

// === impl OwnedName ===

impl OwnedName {
    /// Reads dotted text; a final dot may be missing. `.` is the root.
    ///
    /// # Errors
    /// When the text is no name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut octets = Vec::with_capacity(text.len() + 2);
        if !text.is_empty() {
            for label in text.split('.') {
                push_label(&mut octets, label.as_bytes())?;
            }
        }
        octets.push(0);
        Self::from_wire(&octets)
    }

    /// The name whose wire form is given.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        let mut name = Name::root();
        name.assign(wire)?;
        Ok(Self { octets: name.wire().into(), labels: name.labels() })
    }

    /// Wire form with the root label.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.octets
    }

    /// How many labels it has, without the root.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.labels
    }
}

impl TryFrom<Vec<u8>> for OwnedName {
    type Error = NameError;

    fn try_from(wire: Vec<u8>) -> Result<Self, NameError> {
        Self::from_wire(&wire)
    }
}

impl From<OwnedName> for Vec<u8> {
    fn from(name: OwnedName) -> Self {
        name.octets.into()
    }
}

impl fmt::Display for OwnedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.wire(), f)
    }
}

impl fmt::Debug for OwnedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedName({self})")
    }
}

/// Appends a label in wire form, lower-cased.
///
/// # Errors
/// [`NameError::Label`] when it is empty or too long.
pub fn push_label(to: &mut Vec<u8>, label: &[u8]) -> Result<(), NameError> {
    let size = u8::try_from(label.len()).map_err(|_| NameError::Label)?;
    if size == 0 || label.len() > LONGEST_LABEL {
        return Err(NameError::Label);
    }
    to.push(size);
    to.extend(label.iter().map(u8::to_ascii_lowercase));
    Ok(())
}

fn show(wire: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut rest = wire;
    while let Some((size, after)) = rest.split_first() {
        let (label, next) = after.split_at_checked(usize::from(*size)).unwrap_or((after, &[]));
        if label.is_empty() {
            break;
        }
        for octet in label {
            match octet {
                b'.' | b'\\' => write!(f, "\\{}", char::from(*octet))?,
                0x21..=0x7e => write!(f, "{}", char::from(*octet))?,
                // RFC 1035 §5.1: an octet that is not printable.
                _ => write!(f, "\\{octet:03}")?,
            }
        }
        f.write_str(".")?;
        rest = next;
    }
    if wire.len() <= 1 { f.write_str(".") } else { Ok(()) }
}

/// Where a name that was written into a response stands, for records that point to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub u16);

impl Place {
    /// The question's name follows the header.
    pub const QUESTION: Place = Place(Response::HEADER_OCTETS as u16);

    /// A name `octets` further on: a suffix of the name at this place.
    #[must_use]
    pub fn plus(self, octets: usize) -> Place {
        Place(self.0.saturating_add(u16::try_from(octets).unwrap_or(u16::MAX)))
    }
}
