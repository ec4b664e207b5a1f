//! Configuration files, good and bad.

use seaway_model::{Diagnose, NodeName};

use super::*;

fn agent(text: &str) -> Result<AgentConfig, ConfigError> {
    RawConfig::parse(text, "test.yaml")?.agent(NodeName::from("worker-1"))
}

#[test]
fn an_empty_file_is_all_defaults() {
    for text in ["", "\n", "# nothing\n", "{}"] {
        let config = agent(text).unwrap();
        assert_eq!(config.backend, Backend::Auto);
        assert_eq!(config.pod_link_hook, PodLinkHook::Auto);
        assert_eq!(config.vxlan, Vxlan { port: 4789, id: 83 });
        assert_eq!(config.audit_interval, Some(Duration::from_secs(60)));
        assert_eq!(config.cni.chained_plugins.first().unwrap().program, "portmap");
        assert_eq!(config.api, ApiAccess::default());
    }
}

#[test]
fn every_key_is_read() {
    let text = "
apiServer: {host: 10.0.0.1, port: 6443}
kubeconfig: /etc/seaway/kubeconfig
backend: nftables
nodeBackends: {worker-2: ebpf}
podLinkHook: tcx
ipam: {source: nodePodCIDRs, nodePodCIDRs: {encapsulation: crossSubnet}, cooldownSeconds: 5}
vxlan: {port: 8472, id: 1}
mtuBytes: 1400
nonMasqueradeCIDRs: [192.168.0.0/16]
serviceCIDRs: [10.96.0.0/16, 'fd00:10:96::/112']
cni:
  network: shore
  chainedPlugins:
  - type: bandwidth
    capabilities: {bandwidth: true}
paths: {procSys: /host/proc/sys}
admin: {agent: '127.0.0.1:1', controller: '[::1]:2'}
audit: {enabled: false}
log: {format: json, filter: debug}
";
    let config = agent(text).unwrap();
    assert_eq!(config.api.server, Some(ApiServer { host: "10.0.0.1".into(), port: 6443 }));
    let node_pod_cidrs = NodePodCidrs { encapsulation: Encapsulation::CrossSubnet, masquerade: true };
    let cooldown = Duration::from_secs(5);
    assert_eq!(config.ipam, Ipam { source: IpamSource::NodePodCidrs, node_pod_cidrs, cooldown });
    assert_eq!(config.backend, Backend::Nftables);
    let other = RawConfig::parse(text, "t").unwrap().agent(NodeName::from("worker-2")).unwrap();
    assert_eq!(other.backend, Backend::Ebpf);
    assert_eq!(config.pod_link_hook, PodLinkHook::Tcx);
    assert_eq!(config.mtu_bytes, Some(1400));
    assert_eq!(config.service_cidrs.len(), 2);
    assert_eq!(config.cni.network, "shore");
    let plugin = serde_json::to_value(config.cni.chained_plugins.first().unwrap()).unwrap();
    assert_eq!(plugin, serde_json::json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}));
    assert_eq!(config.paths.proc_sys, std::path::Path::new("/host/proc/sys"));
    assert_eq!(config.paths.run, std::path::Path::new("/run/seaway"));
    assert_eq!(config.audit_interval, None);
    assert_eq!(config.log.format, LogFormat::Json);
    let controller = RawConfig::parse(text, "t").unwrap().controller("replica-0".into()).unwrap();
    assert_eq!(controller.admin.port(), 2);
}

#[test]
fn unknown_keys_and_wrong_types_name_the_place() {
    for (text, needle) in [
        ("backend: quantum", "quantum"),
        ("podLinkHook: xdp", "xdp"),
        ("vxlan: {prot: 1}", "prot"),
        ("bakcend: auto", "bakcend"),
        ("serviceCIDRs: [10.96.0.0/33]", "line 1"),
        ("vxlan: {port: 70000}", "line 1"),
        (": : :", "line 1"),
    ] {
        let error = agent(text).unwrap_err();
        assert_eq!(error.id().to_string(), "SW0502", "{text}");
        assert!(error.to_string().contains(needle), "{text}: {error}");
    }
}

#[test]
fn all_unusable_values_are_named_at_once() {
    let error = agent(
        "
apiServer: {host: 'no spaces', port: 0}
vxlan: {port: 0, id: 16777216}
mtuBytes: 500
nonMasqueradeCIDRs: [10.0.0.1/8]
serviceCIDRs: [10.96.0.0/16, 10.96.1.0/24]
ipam: {cooldownSeconds: 90000}
cni: {network: -x, chainedPlugins: [{type: ../evil}]}
paths: {run: here}
audit: {intervalSeconds: 1}
",
    )
    .unwrap_err();
    let ConfigError::Invalid { fields } = &error else { panic!("{error}") };
    let named: Vec<_> = fields.iter().map(|f| f.field).collect();
    assert_eq!(
        named,
        [
            "apiServer.host",
            "apiServer.port",
            "vxlan.port",
            "vxlan.id",
            "mtuBytes",
            "nonMasqueradeCIDRs",
            "serviceCIDRs",
            "ipam.cooldownSeconds",
            "cni.network",
            "cni.chainedPlugins[].type",
            "paths.run",
            "audit.intervalSeconds",
        ]
    );
    assert!(error.to_string().contains("write 10.0.0.0/8"));
    assert!(error.to_string().contains("overlaps 10.96.0.0/16"));
    assert_eq!(error.id().to_string(), "SW0503");
}

#[test]
fn a_missing_file_is_named() {
    let error = load(std::path::Path::new("/nonexistent/seaway.yaml")).unwrap_err();
    assert_eq!(error.id().to_string(), "SW0501");
    assert!(error.to_string().contains("/nonexistent/seaway.yaml"));
}

#[test]
fn default_pools_are_pools_with_the_usual_block_size() {
    let text = "ipam: {defaultPools: [{name: four, cidr: 10.244.0.0/16}, {name: six, cidr: 'fd00::/48', encapsulation: none}]}";
    let config = RawConfig::parse(text, "test").unwrap().controller("one".into()).unwrap();
    let sizes: Vec<u8> = config.default_pools.iter().map(|pool| pool.block_prefix_length).collect();
    assert_eq!(sizes, [26, 122]);
    assert!(config.default_pools.iter().all(|pool| pool.masquerade && !pool.disabled));
    let overlapping = "ipam: {defaultPools: [{name: a, cidr: 10.0.0.0/8}, {name: b, cidr: 10.1.0.0/16}]}";
    assert!(RawConfig::parse(overlapping, "test").unwrap().controller("one".into()).is_err());
}
