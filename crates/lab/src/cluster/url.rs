//! `lab url`: an address on the host for a Service in the lab.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::api::ApiClient;
use super::error::ClusterError;
use super::forwarder::{self, ForwardRequest};
use super::progress::Progress;
use super::up::control_plane;
use crate::error::Result;
use crate::machine::{Machine, Node};
use crate::spec::ServicesChoice;

/// First port tried when none is asked for.
const FIRST_PORT: u16 = 18080;
/// A Service that works takes a connection within milliseconds.
const TRY_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two tries, at least: refusals come at once.
const TRY_INTERVAL: Duration = Duration::from_millis(50);
/// After this long without a word people think that a command hangs.
const SILENCE: Duration = Duration::from_secs(1);

/// Which Service, and where on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlRequest {
    /// Namespace.
    pub namespace: String,
    /// Service.
    pub service: String,
    /// Name or number of the Service's port; the first otherwise.
    pub service_port: Option<String>,
    /// Port on the host; the next free one otherwise.
    pub host_port: Option<u16>,
    /// How long the Service may take until it answers.
    pub patience: Duration,
}

/// Forwards a port of the host to the Service and returns its URL, once the
/// Service answers: who makes Services work does so a moment after they are made.
///
/// # Errors
/// No such Service or port, nothing answers there, or the port on the host is taken.
pub fn url(machine: &Machine, api: &ApiClient, request: &UrlRequest, progress: &Progress) -> Result<String> {
    let UrlRequest { namespace, service, .. } = request;
    let object = api.get(&format!("/api/v1/namespaces/{namespace}/services/{service}")).map_err(|error| {
        if error.is_not_found() { missing(request, "there is none of that name".to_owned()) } else { error }
    })?;
    let port = choose_port(&object, request)?;
    let target = match machine.spec().services {
        ServicesChoice::None => endpoint(api, request, &port)?,
        ServicesChoice::Seaway | ServicesChoice::KubeProxy(_) => match cluster_address(&object) {
            Some(address) => SocketAddr::new(address, port.number),
            None => endpoint(api, request, &port)?,
        },
    };
    let node = control_plane(machine)?;
    wait_until_it_answers(node, target, request, progress)?;
    let forward = forwarder::request(
        machine.dir(),
        &ForwardRequest {
            port: request.host_port.unwrap_or(FIRST_PORT),
            or_next: request.host_port.is_none(),
            node: node.name().to_owned(),
            target,
        },
    )?;
    Ok(format!("{}://127.0.0.1:{}", port.scheme(), forward.port))
}

/// Connects as the forwarder will, until somebody takes the connection.
fn wait_until_it_answers(node: &Node, target: SocketAddr, request: &UrlRequest, progress: &Progress) -> Result<()> {
    let mut told = false;
    loop {
        let asked = Instant::now();
        let Err(error) = node.dial_within(target, TRY_TIMEOUT) else { return Ok(()) };
        if progress.elapsed() >= request.patience {
            let seconds = request.patience.as_secs();
            let reason =
                format!("nothing takes connections at {target} after {seconds} s ({error}); are pods behind it ready?");
            return Err(missing(request, reason).into());
        }
        if !told && progress.elapsed() >= SILENCE {
            progress.line(&format!("waiting until {}/{} answers at {target}", request.namespace, request.service));
            told = true;
        }
        std::thread::sleep(TRY_INTERVAL.saturating_sub(asked.elapsed()));
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ServicePort {
    name: String,
    number: u16,
    application_protocol: String,
}

// === impl ServicePort ===

impl ServicePort {
    fn scheme(&self) -> &'static str {
        let named = |word: &str| self.name == word || self.application_protocol == word;
        if named("https") || self.number == 443 || self.number == 8443 { "https" } else { "http" }
    }
}

fn choose_port(object: &Value, request: &UrlRequest) -> Result<ServicePort, ClusterError> {
    let ports: Vec<ServicePort> = object
        .pointer("/spec/ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|port| port["protocol"].as_str().unwrap_or("TCP") == "TCP")
        .filter_map(|port| {
            Some(ServicePort {
                name: port["name"].as_str().unwrap_or_default().to_owned(),
                number: u16::try_from(port["port"].as_u64()?).ok()?,
                application_protocol: port["appProtocol"].as_str().unwrap_or_default().to_owned(),
            })
        })
        .collect();
    let wanted = request.service_port.as_deref();
    ports
        .iter()
        .find(|port| wanted.is_none_or(|wanted| port.name == wanted || port.number.to_string() == wanted))
        .cloned()
        .ok_or_else(|| {
            let known: Vec<String> =
                ports.iter().map(|port| format!("{} {}", port.number, port.name).trim().to_owned()).collect();
            let wanted = wanted.map_or_else(|| "no TCP port".to_owned(), |wanted| format!("no TCP port {wanted}"));
            missing(request, format!("{wanted}; it has [{}]", known.join(", ")))
        })
}

fn cluster_address(object: &Value) -> Option<IpAddr> {
    object.pointer("/spec/clusterIP")?.as_str()?.parse().ok()
}

/// Without anybody who serves Service addresses: a ready pod behind it.
fn endpoint(api: &ApiClient, request: &UrlRequest, port: &ServicePort) -> Result<SocketAddr, ClusterError> {
    let UrlRequest { namespace, service, .. } = request;
    let slices = api.get(&format!(
        "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io/service-name={service}"
    ))?;
    let address = |slice: &Value| -> Option<SocketAddr> {
        let ready = slice["endpoints"]
            .as_array()?
            .iter()
            .find(|one| one.pointer("/conditions/ready") != Some(&false.into()))?;
        let address: IpAddr = ready["addresses"].as_array()?.first()?.as_str()?.parse().ok()?;
        let ports = slice["ports"].as_array()?;
        let number =
            ports.iter().find(|one| one["name"].as_str().unwrap_or_default() == port.name)?["port"].as_u64()?;
        Some(SocketAddr::new(address, u16::try_from(number).ok()?))
    };
    let items = slices.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    items.iter().find_map(address).ok_or_else(|| missing(request, "no ready pod is behind it".to_owned()))
}

fn missing(request: &UrlRequest, reason: String) -> ClusterError {
    ClusterError::Service { namespace: request.namespace.clone(), service: request.service.clone(), reason }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_is_found_by_name_or_number() {
        let object = json!({ "spec": { "clusterIP": "10.96.0.7", "ports": [
            { "name": "dns", "port": 53, "protocol": "UDP" },
            { "name": "web", "port": 80 },
            { "name": "https", "port": 8000 },
        ] } });
        let request = |port: Option<&str>| UrlRequest {
            namespace: "shop".into(),
            service: "front".into(),
            service_port: port.map(str::to_owned),
            host_port: None,
            patience: Duration::ZERO,
        };
        assert_eq!(choose_port(&object, &request(None)).unwrap().number, 80);
        assert_eq!(choose_port(&object, &request(Some("8000"))).unwrap().scheme(), "https");
        let error = choose_port(&object, &request(Some("dns"))).unwrap_err();
        assert_eq!(error.to_string(), "service shop/front: no TCP port dns; it has [80 web, 8000 https]");
        assert_eq!(cluster_address(&object), Some([10, 96, 0, 7].into()));
    }
}
