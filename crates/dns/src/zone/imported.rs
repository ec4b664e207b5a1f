//! Services of other clusters (KEP-1645): `<service>.<namespace>.svc.clusterset.local`, and below
//! a headless one `<hostname>.<cluster id>`, where the id may hold a dot. `<cluster id>.<service>…`
//! alone does not exist, and no address leads back to these names.

use std::sync::Arc;

use super::answer::{Asked, Outcome, Scratch, version};
use super::headless::{EndpointFilter, Writer};
use super::index::Index;
use super::service::{ServiceRecords, Target};
use crate::wire::Response;

// === impl Index ===

impl Index {
    /// Answers a question for `asked.name`, which is the domain of the cluster set or below it.
    pub(super) fn answer_imported(
        &self,
        asked: Asked<'_>,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Outcome {
        let Asked { name, before, .. } = asked;
        match before.checked_sub(1).map(|last| name.label(last)) {
            None => self.apex(asked, response),
            Some(b"svc") if before == 1 => Outcome::NoData,
            Some(b"svc") if before == 2 => {
                if self.has_namespace(name.labels_wire(0..1)) {
                    Outcome::NoData
                } else {
                    Outcome::NameError
                }
            }
            Some(b"svc") => {
                let key = name.labels_wire(before - 3..before - 1);
                let found = self.imports.with(key, |records| self.imported(records, asked, scratch, response));
                found.unwrap_or(Outcome::NameError)
            }
            Some(b"dns-version") if before == 1 => version(asked, response),
            Some(b"dns") if before == 1 => Outcome::NoData,
            Some(b"dns") if before == 2 && name.label(0) == b"ns" => self.name_server(asked, response),
            Some(_) => Outcome::NameError,
        }
    }

    fn imported(
        &self,
        records: &Arc<ServiceRecords>,
        asked: Asked<'_>,
        scratch: &mut Scratch,
        response: &mut Response<'_>,
    ) -> Outcome {
        let Some(spec) = records.spec.as_deref() else { return Outcome::NameError };
        let above = asked.before - 3;
        if let Target::Addresses(addresses) = &spec.target {
            return self.addressed(spec, addresses, above, asked, response);
        }
        scratch.rotation = scratch.rotation.wrapping_add(1);
        let writer = Writer { index: self, records, spec, asked, above, rotation: scratch.rotation };
        match above {
            0 => writer.endpoints(&EndpointFilter::All, None, response),
            1 => writer.below_headless(response).unwrap_or(Outcome::NameError),
            _ => writer.below_headless(response).unwrap_or_else(|| {
                let (host, cluster) = (asked.name.label(0), asked.name.labels_wire(1..above));
                writer.endpoints(&EndpointFilter::Imported(host, cluster), None, response)
            }),
        }
    }
}
