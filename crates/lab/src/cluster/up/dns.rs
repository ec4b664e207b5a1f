//! Waiting until the cluster's DNS answers.

use std::time::{Duration, Instant};

use super::{CLUSTER_DOMAIN, STEP_TIMEOUT, Up, died};
use crate::cluster::dns;
use crate::cluster::error::ClusterError;
use crate::error::Result;
use crate::patience::patience;
use crate::spec::{DnsChoice, NetworkChoice, ServicesChoice};

/// An answer inside one machine takes a millisecond; a lost question is asked again after this.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);

/// Questions at most this often.
const QUESTION_INTERVAL: Duration = Duration::from_millis(25);

impl Up<'_> {
    /// Asks as a node does, through the Service address.
    pub(super) fn wait_for_dns(&self) -> Result<()> {
        let without = self.spec.dns == DnsChoice::None || self.spec.services == ServicesChoice::None;
        // Nor does any pod run before somebody installed a network.
        if without || self.spec.network == NetworkChoice::None {
            return Ok(());
        }
        self.progress.step("cluster DNS answers", || self.ask_until_answered())
    }

    fn ask_until_answered(&self) -> Result<()> {
        let node = super::control_plane(self.machine)?;
        // The one Service that has an address of each family from the start.
        let name = format!("kube-dns.kube-system.svc.{CLUSTER_DOMAIN}");
        let give_up = Instant::now() + patience(STEP_TIMEOUT);
        for server in &self.settings.dns_addresses {
            let server = std::net::SocketAddr::new(*server, 53);
            loop {
                let socket = node.datagram_socket(server.is_ipv6())?;
                let state = match dns::ask_over(&socket, server, &name, patience(ANSWER_TIMEOUT)) {
                    Ok(addresses) if !addresses.is_empty() => break,
                    Ok(_) => "an empty answer".to_owned(),
                    Err(error) => error.to_string(),
                };
                died(self.machine.nodes())?;
                if Instant::now() > give_up {
                    let what = format!("cluster DNS at {server} is");
                    return Err(
                        ClusterError::NotReady { what, seconds: patience(STEP_TIMEOUT).as_secs(), state }.into()
                    );
                }
                std::thread::sleep(QUESTION_INTERVAL);
            }
        }
        Ok(())
    }
}
