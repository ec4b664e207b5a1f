//! Netlink spoken directly: messages, attributes, and a socket that sends many requests
//! with one system call (RFC 3549; `Documentation/userspace-api/netlink/intro.rst`).
//!
//! Links, addresses, neighbors and routes go this way, since connecting a pod is some
//! fifteen requests and must not be fifteen round trips; nftables transactions go
//! through `nlink` ([`crate::kernel::nft`]).

mod attribute;
mod message;
mod socket;

pub(crate) use attribute::{Attribute, Attributes};
pub(crate) use message::{Request, constants};
pub(crate) use socket::Netlink;
