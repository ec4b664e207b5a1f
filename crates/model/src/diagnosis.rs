//! What every Seaway error can say about itself: an id, the object, the fix.
//!
//! Ranges: SW01xx `model`, SW02xx `routing`, SW03xx `datapath`, SW04xx
//! `kubeapi`, SW05xx `runtime`, SW06xx `agent`, SW07xx `seaway-cni`, SW08xx
//! `cli`, SW09xx `lab`, SW10xx `controller`, SW11xx `services`, SW12xx `dns`. `docs/reference/errors/` has a
//! row for each; `cargo xtask tidy` holds code and pages together.

use std::fmt;

/// Number of an error, stable over releases; shown as `SW0203`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorId(pub u16);

/// An error a person can act on. The error's `Display` is *what happened* and
/// *to which object*, with the cause; this trait adds the stable id and the fix.
pub trait Diagnose: std::error::Error {
    /// The stable id.
    fn id(&self) -> ErrorId;
    /// The likely reason and what to do, one or two sentences.
    fn fix(&self) -> String;
}

/// An error rendered for a terminal: `SW0203: what\n  cause: ...\n  fix: ...`.
pub struct Report<'a>(pub &'a dyn Diagnose);

// === impl ErrorId ===

impl fmt::Display for ErrorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SW{:04}", self.0)
    }
}

// === impl Report ===

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.id(), self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, "\n  cause: {error}")?;
            cause = error.source();
        }
        write!(f, "\n  fix:   {}", self.0.fix())
    }
}
