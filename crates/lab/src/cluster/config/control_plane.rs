//! Arguments of etcd, the API server, the controller manager and the scheduler.

use std::path::Path;

use super::{API_SERVER_PORT, ClusterSettings, joined, program_and};

/// Port of etcd on its node's loopback.
pub const ETCD_PORT: u16 = 2379;

/// Controllers a lab needs. Volumes, autoscaling, cloud and bootstrap tokens are
/// left out: each costs informers and start time.
const CONTROLLERS: &[&str] = &[
    "certificatesigningrequest-approving-controller",
    "certificatesigningrequest-cleaner-controller",
    "certificatesigningrequest-signing-controller",
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "endpointslice-mirroring-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-ipam-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "service-cidr-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "taint-eviction-controller",
    "ttl-after-finished-controller",
];

/// etcd: one member, on the node's loopback, with client certificates.
#[must_use]
pub fn etcd(program: &Path, settings: &ClusterSettings, data_directory: &Path) -> Vec<String> {
    let key = |file| settings.key(file);
    program_and(
        program,
        vec![
            "--name=lab".to_owned(),
            format!("--data-dir={}", data_directory.display()),
            format!("--listen-client-urls=https://127.0.0.1:{ETCD_PORT}"),
            format!("--advertise-client-urls=https://127.0.0.1:{ETCD_PORT}"),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
            "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
            "--initial-cluster=lab=http://127.0.0.1:2380".to_owned(),
            "--client-cert-auth".to_owned(),
            format!("--trusted-ca-file={}", key("etcd-ca.crt")),
            format!("--cert-file={}", key("etcd.crt")),
            format!("--key-file={}", key("etcd.key")),
            // Thrown away: a power cut may lose it.
            "--unsafe-no-fsync".to_owned(),
            // Ready at once: a lone member elects itself after one election
            // timeout, by default a whole second.
            "--heartbeat-interval=10".to_owned(),
            "--election-timeout=100".to_owned(),
            "--log-level=warn".to_owned(),
        ],
    )
}

/// kube-apiserver on all addresses of its node.
#[must_use]
pub fn api_server(program: &Path, settings: &ClusterSettings) -> Vec<String> {
    let key = |file| settings.key(file);
    let mut arguments = vec![
        format!("--secure-port={API_SERVER_PORT}"),
        format!("--etcd-servers=https://127.0.0.1:{ETCD_PORT}"),
        format!("--etcd-cafile={}", key("etcd-ca.crt")),
        format!("--etcd-certfile={}", key("apiserver-etcd-client.crt")),
        format!("--etcd-keyfile={}", key("apiserver-etcd-client.key")),
        format!("--client-ca-file={}", key("ca.crt")),
        format!("--tls-cert-file={}", key("apiserver.crt")),
        format!("--tls-private-key-file={}", key("apiserver.key")),
        format!("--kubelet-certificate-authority={}", key("ca.crt")),
        format!("--kubelet-client-certificate={}", key("apiserver-kubelet-client.crt")),
        format!("--kubelet-client-key={}", key("apiserver-kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--service-account-issuer=https://kubernetes.default.svc.{}", settings.cluster_domain),
        format!("--service-account-key-file={}", key("service-account.pub")),
        format!("--service-account-signing-key-file={}", key("service-account.key")),
        format!("--service-cluster-ip-range={}", joined(&settings.service_cidrs)),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        format!("--requestheader-client-ca-file={}", key("front-proxy-ca.crt")),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        format!("--proxy-client-cert-file={}", key("front-proxy-client.crt")),
        format!("--proxy-client-key-file={}", key("front-proxy-client.key")),
        "--allow-privileged=true".to_owned(),
        // Thrown away: nobody waits for a drain of a lab's API server.
        "--shutdown-delay-duration=0s".to_owned(),
        "--profiling=false".to_owned(),
    ];
    if let Some(address) = settings.control_plane_addresses.first() {
        arguments.push(format!("--advertise-address={address}"));
    }
    program_and(program, arguments)
}

/// kube-controller-manager with the controllers a lab needs.
#[must_use]
pub fn controller_manager(program: &Path, settings: &ClusterSettings, kubeconfig: &Path) -> Vec<String> {
    let key = |file| settings.key(file);
    let mut arguments = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--authentication-kubeconfig={}", kubeconfig.display()),
        format!("--authorization-kubeconfig={}", kubeconfig.display()),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--client-ca-file={}", key("ca.crt")),
        format!("--cluster-signing-cert-file={}", key("ca.crt")),
        format!("--cluster-signing-key-file={}", key("ca.key")),
        format!("--root-ca-file={}", key("ca.crt")),
        format!("--service-account-private-key-file={}", key("service-account.key")),
        format!("--service-cluster-ip-range={}", joined(&settings.service_cidrs)),
        "--use-service-account-credentials=true".to_owned(),
        format!("--controllers={}", CONTROLLERS.join(",")),
        // Ready at once: one instance needs no election, and twenty controllers
        // fetch their tokens without being throttled.
        "--leader-elect=false".to_owned(),
        "--authentication-skip-lookup=true".to_owned(),
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
        "--profiling=false".to_owned(),
    ];
    if settings.allocate_node_cidrs {
        arguments.push("--allocate-node-cidrs=true".to_owned());
        arguments.push(format!("--cluster-cidr={}", joined(&settings.pod_cidrs)));
        for range in &settings.pod_cidrs {
            arguments.push(match range {
                ipnet::IpNet::V4(_) => "--node-cidr-mask-size-ipv4=24".to_owned(),
                ipnet::IpNet::V6(_) => "--node-cidr-mask-size-ipv6=64".to_owned(),
            });
        }
    } else {
        arguments.push("--allocate-node-cidrs=false".to_owned());
    }
    program_and(program, arguments)
}

/// kube-scheduler.
#[must_use]
pub fn scheduler(program: &Path, kubeconfig: &Path) -> Vec<String> {
    program_and(
        program,
        vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--authentication-kubeconfig={}", kubeconfig.display()),
            format!("--authorization-kubeconfig={}", kubeconfig.display()),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
            "--authentication-skip-lookup=true".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
            "--profiling=false".to_owned(),
        ],
    )
}
