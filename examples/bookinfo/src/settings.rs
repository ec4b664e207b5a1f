//! What the program is told: by arguments, or by environment in a pod.

use clap::{Parser, ValueEnum};

/// The part of the application a process plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The page: calls `details` and `reviews`.
    Productpage,
    /// Author, publisher, pages.
    Details,
    /// What readers say; v2 and v3 call `ratings`.
    Reviews,
    /// Stars.
    Ratings,
}

/// A bookshop's page put together by four services.
#[derive(Debug, Clone, Parser)]
#[command(disable_version_flag = true)]
pub(crate) struct Settings {
    /// The part this process plays.
    #[arg(env = "BOOKINFO_ROLE")]
    pub(crate) role: Role,
    /// Port to listen on, in all address families.
    #[arg(long, env = "BOOKINFO_PORT", default_value_t = 9080)]
    pub(crate) port: u16,
    /// Version of this part; that of `reviews` decides what it shows.
    #[arg(long, env = "BOOKINFO_VERSION", default_value = "v1")]
    pub(crate) version: String,
    /// Host and port of `details`.
    #[arg(long, env = "BOOKINFO_DETAILS", default_value = "details:9080")]
    pub(crate) details: String,
    /// Host and port of `reviews`.
    #[arg(long, env = "BOOKINFO_REVIEWS", default_value = "reviews:9080")]
    pub(crate) reviews: String,
    /// Host and port of `ratings`.
    #[arg(long, env = "BOOKINFO_RATINGS", default_value = "ratings:9080")]
    pub(crate) ratings: String,
    /// Name of this pod.
    #[arg(long, env = "POD_NAME", default_value = "")]
    pub(crate) pod: String,
    /// Namespace of this pod.
    #[arg(long, env = "POD_NAMESPACE", default_value = "")]
    pub(crate) namespace: String,
    /// Addresses of this pod, separated by commas.
    #[arg(long, env = "POD_IPS", default_value = "")]
    pub(crate) addresses: String,
    /// Node this pod runs on.
    #[arg(long, env = "NODE_NAME", default_value = "")]
    pub(crate) node: String,
}

// === impl Role ===

impl Role {
    /// The name of its Service.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Productpage => "productpage",
            Self::Details => "details",
            Self::Reviews => "reviews",
            Self::Ratings => "ratings",
        }
    }
}
