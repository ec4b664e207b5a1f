//! Our custom resources, `seaway.dev/v1alpha1`, as the API server stores them.

pub(crate) mod dns_config;
mod ip_block;
mod ip_pool;
mod selector;

pub(crate) use ip_block::{BlockAllocationStatus, IPBlock, IPBlockSpec, IPBlockStatus, PodReference};
pub(crate) use ip_pool::{DEFAULT_IPV4_BLOCK, DEFAULT_IPV6_BLOCK, EncapsulationMode, IPPool, IPPoolSpec};
pub(crate) use selector::{Selector, SelectorOperator, SelectorRequirement};
