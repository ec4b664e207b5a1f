//! Certificates of one lab: three authorities and everybody's key.
//!
//! Entry point: [`issue`], which returns files by name and touches no disk. The
//! subjects follow what Kubernetes expects: the user is the common name, the
//! group the organization (`system:nodes` for the node authorizer,
//! `system:masters` for the admin).

use std::collections::BTreeMap;
use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::error::ClusterError;

/// How long a lab's certificates hold: longer than anybody keeps a lab.
const VALIDITY: Duration = Duration::days(3650);

/// Clocks that lag a little accept the certificates all the same.
const BACKDATING: Duration = Duration::hours(1);

/// What the certificates are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    /// Names and addresses of the API server besides the well-known ones.
    pub api_server_addresses: Vec<IpAddr>,
    /// Cluster domain, `cluster.local`.
    pub cluster_domain: String,
    /// Nodes with their addresses.
    pub nodes: BTreeMap<String, Vec<IpAddr>>,
}

/// Files by name: `ca.crt`, `kubelet-worker-1.key`, …
pub type KeyFiles = BTreeMap<String, String>;

/// Makes all keys and certificates of a lab.
///
/// # Errors
/// The random source or the encoder failed.
pub fn issue(subjects: &Subjects, now: OffsetDateTime) -> Result<KeyFiles, ClusterError> {
    let mut files = KeyFiles::new();
    let cluster = Authority::new("kubernetes", now)?;
    let front_proxy = Authority::new("front-proxy", now)?;
    let etcd = Authority::new("etcd", now)?;
    cluster.store("ca", &mut files);
    front_proxy.store("front-proxy-ca", &mut files);
    etcd.store("etcd-ca", &mut files);

    for client in CLIENTS {
        cluster.issue(client.file, &Leaf::client(client.user, client.group), &mut files)?;
    }
    front_proxy.issue("front-proxy-client", &Leaf::client("front-proxy-client", None), &mut files)?;
    etcd.issue("apiserver-etcd-client", &Leaf::client("kube-apiserver", None), &mut files)?;
    let loopback = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let mut server = Leaf::server("etcd", None, loopback);
    // etcd is a client of itself.
    server.usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    etcd.issue("etcd", &server, &mut files)?;
    cluster.issue("apiserver", &Leaf::server("kube-apiserver", None, api_server_names(subjects)), &mut files)?;
    for (node, addresses) in &subjects.nodes {
        let user = format!("system:node:{node}");
        cluster.issue(&kubelet_client(node), &Leaf::client(&user, Some("system:nodes")), &mut files)?;
        let names = std::iter::once(node.clone()).chain(addresses.iter().map(ToString::to_string)).collect();
        cluster.issue(&kubelet_server(node), &Leaf::server(&user, Some("system:nodes"), names), &mut files)?;
    }
    let tokens = KeyPair::generate()?;
    files.insert("service-account.key".to_owned(), tokens.serialize_pem());
    files.insert("service-account.pub".to_owned(), tokens.public_key_pem());
    Ok(files)
}

/// File stem of a kubelet's client certificate.
#[must_use]
pub fn kubelet_client(node: &str) -> String {
    format!("kubelet-client-{node}")
}

/// File stem of a kubelet's serving certificate.
#[must_use]
pub fn kubelet_server(node: &str) -> String {
    format!("kubelet-{node}")
}

struct Client {
    file: &'static str,
    user: &'static str,
    group: Option<&'static str>,
}

const CLIENTS: &[Client] = &[
    Client { file: "admin", user: "kubernetes-admin", group: Some("system:masters") },
    Client { file: "controller-manager", user: "system:kube-controller-manager", group: None },
    Client { file: "scheduler", user: "system:kube-scheduler", group: None },
    Client { file: "kube-proxy", user: "system:kube-proxy", group: Some("system:node-proxier") },
    // The kubelet authorizes the API server like any other user; kubeadm gives
    // it this group with a binding of its own, the lab the built-in one.
    Client { file: "apiserver-kubelet-client", user: "kube-apiserver-kubelet-client", group: Some("system:masters") },
];

fn api_server_names(subjects: &Subjects) -> Vec<String> {
    let domain = &subjects.cluster_domain;
    let mut names = vec![
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        format!("kubernetes.default.svc.{domain}"),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    names.extend(subjects.api_server_addresses.iter().map(ToString::to_string));
    names
}

struct Leaf {
    common_name: String,
    organization: Option<String>,
    names: Vec<String>,
    usages: Vec<ExtendedKeyUsagePurpose>,
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    now: OffsetDateTime,
}

// === impl Leaf ===

impl Leaf {
    fn client(user: &str, group: Option<&str>) -> Self {
        Self {
            common_name: user.to_owned(),
            organization: group.map(str::to_owned),
            names: Vec::new(),
            usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }

    fn server(common_name: &str, group: Option<&str>, names: Vec<String>) -> Self {
        Self {
            common_name: common_name.to_owned(),
            organization: group.map(str::to_owned),
            names,
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth],
        }
    }
}

// === impl Authority ===

impl Authority {
    fn new(name: &str, now: OffsetDateTime) -> Result<Self, ClusterError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.not_before = now - BACKDATING;
        params.not_after = now + VALIDITY;
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?, now })
    }

    fn store(&self, stem: &str, files: &mut KeyFiles) {
        files.insert(format!("{stem}.crt"), self.issuer.pem());
        files.insert(format!("{stem}.key"), self.issuer.key().serialize_pem());
    }

    fn issue(&self, stem: &str, leaf: &Leaf, files: &mut KeyFiles) -> Result<(), ClusterError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(leaf.names.clone())?;
        params.distinguished_name = distinguished_name(&leaf.common_name, leaf.organization.as_deref());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages.clone_from(&leaf.usages);
        params.use_authority_key_identifier_extension = true;
        params.not_before = self.now - BACKDATING;
        params.not_after = self.now + VALIDITY;
        let certificate = params.signed_by(&key, &self.issuer)?;
        files.insert(format!("{stem}.crt"), certificate.pem());
        files.insert(format!("{stem}.key"), key.serialize_pem());
        Ok(())
    }
}

fn distinguished_name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_and_component_gets_a_key() {
        let subjects = Subjects {
            api_server_addresses: vec!["10.96.0.1".parse().unwrap(), "fd00:10:96::1".parse().unwrap()],
            cluster_domain: "cluster.local".to_owned(),
            nodes: BTreeMap::from([("worker-1".to_owned(), vec!["172.30.0.2".parse().unwrap()])]),
        };
        let files = issue(&subjects, OffsetDateTime::UNIX_EPOCH + Duration::days(20_000)).unwrap();
        for stem in
            ["ca", "etcd-ca", "front-proxy-ca", "apiserver", "admin", "kubelet-worker-1", "kubelet-client-worker-1"]
        {
            assert!(files[&format!("{stem}.crt")].starts_with("-----BEGIN CERTIFICATE-----"), "{stem}");
            assert!(files[&format!("{stem}.key")].starts_with("-----BEGIN PRIVATE KEY-----"), "{stem}");
        }
        assert!(files["service-account.pub"].starts_with("-----BEGIN PUBLIC KEY-----"));
    }
}
