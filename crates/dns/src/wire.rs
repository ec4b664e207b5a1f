//! DNS messages as octets (RFC 1035 §4), without I/O: [`query`] reads what a client
//! asks, [`response`] writes into a buffer of the caller, [`name`] is a domain name
//! without an allocation. Nothing here panics on any input.

pub mod addresses;
pub mod name;
pub mod number;
pub mod query;
pub mod response;
#[cfg(test)]
mod tests;

pub use name::{Name, NameError, OwnedName};
pub use query::{Malformed, Query};
pub use response::{Response, Section};
