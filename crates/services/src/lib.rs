//! What Services mean on one node (layer 1): no I/O, no clock, no randomness.
//!
//! [`ServiceTable`] takes changes of Services and EndpointSlices and answers with changes of
//! [`plan::ServicePlan`]s, what the data path must hold for one Service. `explain` says of each
//! endpoint why it is in or out.

pub mod annotations;
mod compile;
mod endpoints;
#[cfg(test)]
mod fixtures;
pub mod maglev;
pub mod plan;
mod problem;
pub mod reference;
pub mod report;
mod summary;
mod table;

pub use endpoints::{Fate, NodeView};
pub use plan::{
    Algorithm, Backend, BackendSet, Forwarding, Frontend, FrontendAddress, FrontendKind, PlanChange, Reach, ServicePlan,
};
pub use problem::ServiceProblem;
pub use report::{EndpointReport, FrontendReport, PortReport, ProblemReport, ReachReport, ServiceReport};
pub use summary::{PortSummary, ServiceSummary};
pub use table::{Options, ServiceTable};
