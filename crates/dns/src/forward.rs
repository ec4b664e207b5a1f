//! Questions that others answer: what they said before ([`cache`], [`entry`]), how
//! their answers are read ([`normal`]), and whom to ask, when, and whom next
//! ([`machine`], [`upstream`]). Without I/O: the shell in `server` sends what
//! [`machine::Action`] says and tells what came back. Time and chance are arguments.

pub mod attempt;
pub mod cache;
pub mod entry;
pub mod machine;
pub mod normal;
pub mod outgoing;
pub mod question;
#[cfg(test)]
pub(crate) mod tests;
pub mod upstream;

pub use attempt::{Attempt, AttemptOutcome};
pub use cache::{Cache, CacheKey, Freshness};
pub use entry::Entry;
pub use machine::{Action, Forwarder};
pub use upstream::{Group, Policy, Transport, Upstream};
