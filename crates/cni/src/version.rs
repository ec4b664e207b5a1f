//! Versions of the CNI specification that the plugin answers in.

use crate::error::CniError;

/// A version of the specification, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpecVersion {
    /// 0.1.0: one address per family, no interfaces.
    V0_1_0,
    /// 0.2.0: adds VERSION.
    V0_2_0,
    /// 0.3.0: chaining and lists of interfaces and addresses.
    V0_3_0,
    /// 0.3.1: corrects 0.3.0's text.
    V0_3_1,
    /// 0.4.0: adds CHECK.
    V0_4_0,
    /// 1.0.0: addresses lose their `version` field.
    V1_0_0,
    /// 1.1.0: adds GC, STATUS, and MTU in results.
    V1_1_0,
}

impl SpecVersion {
    /// Every version, oldest first.
    pub const ALL: &'static [SpecVersion] = &[
        SpecVersion::V0_1_0,
        SpecVersion::V0_2_0,
        SpecVersion::V0_3_0,
        SpecVersion::V0_3_1,
        SpecVersion::V0_4_0,
        SpecVersion::V1_0_0,
        SpecVersion::V1_1_0,
    ];

    /// The newest.
    pub const NEWEST: SpecVersion = SpecVersion::V1_1_0;

    /// As configurations write it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            SpecVersion::V0_1_0 => "0.1.0",
            SpecVersion::V0_2_0 => "0.2.0",
            SpecVersion::V0_3_0 => "0.3.0",
            SpecVersion::V0_3_1 => "0.3.1",
            SpecVersion::V0_4_0 => "0.4.0",
            SpecVersion::V1_0_0 => "1.0.0",
            SpecVersion::V1_1_0 => "1.1.0",
        }
    }

    /// Reads `cniVersion`.
    ///
    /// # Errors
    /// [`CniError::VersionUnsupported`] for a version that is not in [`Self::ALL`].
    pub fn parse(text: &str) -> Result<SpecVersion, CniError> {
        SpecVersion::ALL
            .iter()
            .copied()
            .find(|version| version.text() == text)
            .ok_or_else(|| CniError::VersionUnsupported { version: text.to_owned() })
    }
}
