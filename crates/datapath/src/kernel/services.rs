//! The Services' side of a node's data path, in two ways of equal meaning.

pub mod ebpf;
pub mod nftables;

use crate::services::ServiceDatapath;
use crate::support::Backend;
use crate::{DatapathError, Options};

/// Opens the Services' data path of the calling thread's network namespace.
pub fn open_services(backend: Backend, options: &Options) -> Result<Box<dyn ServiceDatapath>, DatapathError> {
    match backend {
        Backend::Ebpf => Ok(Box::new(ebpf::EbpfServices::open(options)?)),
        Backend::Nftables => {
            let opened = nftables::NftablesServices::open(options.proc_sys.clone())?;
            // Programs of an earlier run with the other backend would go on translating.
            ebpf::EbpfServices::detach(options)?;
            Ok(Box::new(opened))
        }
    }
}
