//! Images for the nodes: those every lab needs, and all that were loaded.

use super::Up;
use crate::error::Result;
use crate::image::{Builtin, BuiltinPrograms, ContainerdPrograms, ImageError, ImageName, ImageStore, Template};
use crate::spec::{DnsChoice, NetworkChoice};

/// Full name of the image every pod's sandbox is made from.
pub(super) fn sandbox() -> Result<ImageName, ImageError> {
    Builtin::Pause.name()
}

impl Up<'_> {
    /// Unpacks the images once, for all nodes.
    pub(super) fn unpack_images(&self) -> Result<Template> {
        let store = ImageStore::open(&ImageStore::default_directory())?;
        let path = |name| self.programs.path(name).ok().map(std::path::Path::to_owned);
        let programs = BuiltinPrograms::of_this_program(path("agnhost"), path("coredns"))?;
        let mut wanted = vec![Builtin::Pause, Builtin::Agnhost];
        if self.spec.dns == DnsChoice::Coredns {
            wanted.push(Builtin::CoreDns);
        }
        if self.spec.network == NetworkChoice::Seaway || self.spec.dns == DnsChoice::Seaway {
            wanted.push(Builtin::Seaway);
        }
        if programs.seaway.with_file_name("bookinfo").is_file() {
            wanted.push(Builtin::Bookinfo);
        }
        // Until they are unpacked: another lab that comes up now may be of other programs.
        let _ours = store.lock("builtin.lock")?;
        store.ensure_builtin(&wanted, &programs)?;
        let containerd = ContainerdPrograms {
            containerd: self.programs.path("containerd")?.to_owned(),
            ctr: self.programs.path("ctr")?.to_owned(),
        };
        Ok(store.template_of_all(&containerd)?)
    }
}
