//! The Services' side of a node's data path, in two ways of equal meaning.

pub mod ebpf;
pub mod nftables;

use crate::services::ServiceDatapath;
use crate::support::Backend;
use crate::{DatapathError, DatapathErrors, Options};

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

/// Takes away what either data path of Services has left on this node: somebody else serves them now.
///
/// # Errors
/// The parts that could not be removed; all others are gone.
pub fn remove_services(options: &Options) -> Result<(), DatapathErrors> {
    let mut errors = DatapathErrors::default();
    let mut remove = |opened: Result<Box<dyn ServiceDatapath>, DatapathError>| {
        if let Some(mut opened) = errors.collect(opened)
            && let Err(more) = opened.uninstall()
        {
            errors.0.extend(more.0);
        }
    };
    let nftables = nftables::NftablesServices::open(options.proc_sys.clone());
    remove(nftables.map(|opened| Box::new(opened) as Box<dyn ServiceDatapath>));
    // The maps go with the fast path; programs that are told to leave Services alone do not look.
    errors.collect(ebpf::EbpfServices::detach(options).map_err(DatapathError::from));
    errors.into_result()
}
