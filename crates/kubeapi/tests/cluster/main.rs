//! Everything this crate says to the API, said to a real kube-apiserver and
//! etcd. One server for all steps, as starting it costs more than they do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod api_server;
mod dns_configs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use api_server::ApiServer;
use ipnet::IpNet;
use seaway_kubeapi::*;
use seaway_model::agent_api::AttachmentKey;
use seaway_model::{BlockAllocation, IpPool, NodeName, PodRef, Snapshot};

/// Nothing here takes longer than a second or two.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_understands_us() {
    let (mut server, cluster) = ApiServer::start().await;
    install_crds(&cluster).await.unwrap();
    install_crds(&cluster).await.expect("installing again changes nothing");
    bad_pools_are_refused_by_the_server(&server);
    dns_configs::what_the_schema_sees_is_refused_by_the_server(&server);
    dns_configs::the_watch_tells_objects_and_conditions(&server, &cluster).await;
    let mut watch = watch(&cluster, PodScope::OfNode("n1".into()));
    let snapshot = watch.ready().await;
    assert_eq!((snapshot.generation, snapshot.nodes.len()), (1, 0));
    the_snapshot_follows_the_api(&server, &cluster, &mut watch).await;
    a_block_has_one_owner(&server, &cluster, &mut watch).await;
    the_agent_speaks_for_its_node(&server, &cluster).await;
    events_reach_their_object(&server, &cluster).await;
    a_burst_makes_few_snapshots(&server, &mut watch).await;
    the_last_snapshot_survives_the_server(&mut server, &mut watch).await;
    the_lease_passes_on(&server, &cluster).await;
}

fn bad_pools_are_refused_by_the_server(server: &ApiServer) {
    for (spec, complaint) in [
        ("cidr: ten", "cidr must be an address range"),
        ("cidr: 10.244.0.1/16", "must not have bits set"),
        ("{cidr: 10.244.0.0/16, blockPrefixLength: 31}", "between 16 and 30"),
        ("{cidr: 'fd00::/64', blockPrefixLength: 26}", "between 64 and 126"),
        ("cidr: 10.244.0.0/28", "must hold at least one block"),
        ("{cidr: 10.244.0.0/16, encapsulation: geneve}", "Unsupported value"),
        (
            "{cidr: 10.244.0.0/16, nodeSelector: {matchExpressions: [{key: a, operator: In}]}}",
            "In and NotIn need values",
        ),
        ("{cidr: 10.244.0.0/16, colour: red}", "unknown field"),
    ] {
        let error = apply(server, &pool_manifest("bad", spec)).expect_err(spec);
        assert!(error.contains(complaint), "{spec}: {error}");
    }
    apply(server, &pool_manifest("fixed", "cidr: 10.1.0.0/24")).unwrap();
    let error = apply(server, &pool_manifest("fixed", "cidr: 10.2.0.0/24")).unwrap_err();
    assert!(error.contains("cidr is immutable"), "{error}");
    let error = apply(server, &pool_manifest("fixed", "{cidr: 10.1.0.0/24, blockPrefixLength: 28}")).unwrap_err();
    assert!(error.contains("blockPrefixLength is immutable"), "{error}");
    server.kubectl(&["delete", "ippool", "fixed"]).unwrap();
}

async fn the_snapshot_follows_the_api(server: &ApiServer, cluster: &Cluster, watch: &mut SnapshotWatch) {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {zone: west}}\n\
                spec: {podCIDRs: [10.9.0.0/24], podCIDR: 10.9.0.0/24, taints: \
                [{key: seaway.dev/agent-not-ready, effect: NoSchedule}, {key: other, effect: NoSchedule}]}\n";
    apply(server, node).unwrap();
    let addresses =
        r#"{"status":{"addresses":[{"type":"Hostname","address":"n1"},{"type":"InternalIP","address":"172.18.0.2"}]}}"#;
    server.kubectl(&["patch", "node", "n1", "--subresource=status", "--type=merge", "-p", addresses]).unwrap();
    server.kubectl(&["create", "namespace", "shop"]).unwrap();
    server.kubectl(&["label", "namespace", "shop", "tier=gold"]).unwrap();
    for (name, node) in [("here", "n1"), ("there", "n2")] {
        let spec =
            format!("{{nodeName: {node}, automountServiceAccountToken: false, containers: [{{name: c, image: i}}]}}");
        let pod = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n");
        server.kubectl(&["create", "serviceaccount", "default", "-n", "shop"]).ok();
        apply(server, &pod).unwrap();
    }
    let pools = Pools::new(cluster);
    let four = pool("four", "10.244.0.0/16", 26);
    assert!(pools.create(&four).await.unwrap());
    assert!(!pools.create(&four).await.unwrap(), "it exists");
    let seen =
        until(watch, |s| s.pods.len() == 1 && s.pools.len() == 1 && s.nodes.values().any(|n| !n.addresses.is_empty()))
            .await;
    let node = &seen.nodes[&NodeName::from("n1")];
    assert_eq!(node.addresses, ["172.18.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!((node.pod_cidrs[0].to_string(), node.labels["zone"].as_str()), ("10.9.0.0/24".into(), "west"));
    let seen = until(watch, |s| s.namespaces.get("shop").is_some_and(|n| n.labels.contains_key("tier"))).await;
    assert_eq!(seen.pools["four"], four);
    assert_eq!(seen.pods.keys().next().unwrap().to_string(), "shop/here");
    let usage = PoolUsage {
        used_addresses: 3,
        total_addresses: 1 << 90,
        claimed_blocks: 1,
        total_blocks: 9,
        ..PoolUsage::default()
    };
    pools.write_usage("four", &usage).await.unwrap();
    let table = server.kubectl(&["get", "ippools"]).unwrap();
    assert!(
        table.contains("ENCAPSULATION") && table.contains("vxlan") && table.contains(&i64::MAX.to_string()),
        "{table}"
    );
}

async fn a_block_has_one_owner(server: &ApiServer, cluster: &Cluster, watch: &mut SnapshotWatch) {
    let (mine, theirs) = (BlockClaims::new(cluster, "n1".into()), BlockClaims::new(cluster, "n2".into()));
    let (first, second): (IpNet, IpNet) = ("10.244.0.0/26".parse().unwrap(), "10.244.0.64/26".parse().unwrap());
    let claim = mine.claim("four", first).await.unwrap();
    assert!(matches!(&claim, ClaimOutcome::Claimed(block) if block.node.as_str() == "n1"));
    assert_eq!(mine.claim("four", first).await.unwrap(), claim, "claiming again is no conflict");
    assert_eq!(theirs.claim("four", first).await.unwrap(), ClaimOutcome::TakenBy("n1".into()));
    let (block, taken) = theirs.claim_first("four", &[first, second]).await.unwrap();
    assert_eq!((block.unwrap().cidr, taken), (second, vec![first]));
    let seen = until(watch, |s| s.blocks.len() == 2).await;
    assert_eq!(seen.blocks[&second].node.as_str(), "n2");

    let key = AttachmentKey { container_id: "abc".into(), interface: "eth0".into() };
    let pod = Some(PodRef { namespace: "shop".into(), name: "here".into() });
    let allocation = BlockAllocation { address: "10.244.0.1".parse().unwrap(), key, pod };
    mine.record(&first, &[allocation]).await.unwrap();
    let recorded = server.kubectl(&["get", "ipblock", "10-244-0-0-26", "-o", "jsonpath={.status}"]).unwrap();
    assert!(recorded.contains("\"used\":1") && recorded.contains("\"name\":\"here\""), "{recorded}");
    assert_eq!(Pools::new(cluster).recorded_use().await.unwrap()[&first], 1);
    let change = r#"{"spec":{"node":"n3"}}"#;
    let error = server.kubectl(&["patch", "ipblock", "10-244-0-0-26", "--type=merge", "-p", change]).unwrap_err();
    assert!(error.contains("immutable"), "{error}");

    assert!(matches!(theirs.release(&first).await, Err(KubeApiError::NotOurs { .. })));
    mine.release(&first).await.unwrap();
    mine.release(&first).await.expect("releasing again is no error");
    assert!(!Pools::new(cluster).delete_block_of(&"n1".into(), &second).await.unwrap(), "it is n2's");
    assert!(Pools::new(cluster).delete_block_of(&"n2".into(), &second).await.unwrap());
    until(watch, |s| s.blocks.is_empty()).await;
}

async fn the_agent_speaks_for_its_node(server: &ApiServer, cluster: &Cluster) {
    let writer = NodeWriter::new(cluster, "n1".into());
    assert!(writer.remove_taint().await.unwrap());
    assert!(!writer.remove_taint().await.unwrap(), "it is gone");
    let taints = server.kubectl(&["get", "node", "n1", "-o", "jsonpath={.spec.taints[*].key}"]).unwrap();
    assert!(taints.contains("other") && !taints.contains("seaway"), "{taints}");
    writer.set_network_available(true, "pods can talk").await.unwrap();
    let path = "jsonpath={.status.conditions[?(@.type==\"NetworkUnavailable\")].status}";
    assert_eq!(server.kubectl(&["get", "node", "n1", "-o", path]).unwrap(), "False");
    let missing = NodeWriter::new(cluster, "n9".into()).remove_taint().await.unwrap_err();
    assert!(matches!(missing, KubeApiError::Refused { code: 404, .. }), "{missing}");
}

async fn events_reach_their_object(server: &ApiServer, cluster: &Cluster) {
    let events = Events::new(cluster, "seaway-agent", "n1");
    for _ in 0..2 {
        let subject = Subject::Pool("four".into());
        events.emit(&subject, Severity::Warning, "PoolNearlyExhausted", "three addresses are left").await.unwrap();
    }
    let described = server.kubectl(&["describe", "ippool", "four"]).unwrap();
    assert!(described.contains("PoolNearlyExhausted") && described.contains("three addresses"), "{described}");
}

async fn a_burst_makes_few_snapshots(server: &ApiServer, watch: &mut SnapshotWatch) {
    let before = watch.snapshots.borrow().generation;
    let many: String = (0..60)
        .map(|n| format!("---\n{}", pool_manifest(&format!("burst-{n}"), &format!("cidr: 10.200.{n}.0/24"))))
        .collect();
    apply(server, &many).unwrap();
    let seen = until(watch, |s| s.pools.len() == 61).await;
    assert!(seen.generation - before < 60, "{} snapshots", seen.generation - before);
    server.kubectl(&["delete", "ippools", "--all", "--wait=false"]).unwrap();
    until(watch, |s| s.pools.is_empty()).await;
}

async fn the_last_snapshot_survives_the_server(server: &mut ApiServer, watch: &mut SnapshotWatch) {
    server.kill_api();
    healthy(watch, |health| health.failing.contains_key("nodes")).await;
    assert_eq!(watch.snapshots.borrow().nodes.len(), 1, "the last good state stays");
    server.start_api();
    server.connect().await;
    server.kubectl(&["label", "node", "n1", "zone=east", "--overwrite"]).unwrap();
    until(watch, |s| s.nodes.values().any(|node| node.labels["zone"] == "east")).await;
    healthy(watch, |health| health.failing.is_empty()).await;
}

async fn the_lease_passes_on(server: &ApiServer, cluster: &Cluster) {
    let second = Duration::from_secs(1);
    let times = LeaseTimes { duration: 2 * second, renew_deadline: second, retry: second / 10 };
    let new = |identity: &str| Lease::new(cluster, "kube-system", "seaway-controller", identity, times);
    let holder = || {
        server.kubectl(&[
            "get",
            "lease",
            "-n",
            "kube-system",
            "seaway-controller",
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ])
    };
    let (mut one, mut two) = (new("one"), new("two"));
    tokio::time::timeout(LIMIT, one.acquire()).await.unwrap();
    assert_eq!(holder().unwrap(), "one");
    tokio::select! {
        () = one.hold() => panic!("lost a lease that nobody contested"),
        () = two.acquire() => panic!("took a lease that is renewed"),
        () = tokio::time::sleep(3 * second) => {}
    }
    // Released: at once.
    one.release().await.unwrap();
    let begun = Instant::now();
    tokio::time::timeout(LIMIT, two.acquire()).await.unwrap();
    assert!(begun.elapsed() < second, "{:?}", begun.elapsed());
    assert_eq!(holder().unwrap(), "two");
    // Silent: after its duration, and the one that lost it notices.
    tokio::time::timeout(LIMIT, one.acquire()).await.unwrap();
    assert_eq!(holder().unwrap(), "one");
    tokio::time::timeout(LIMIT, two.hold()).await.expect("the loser learns of it");
}

fn pool(name: &str, cidr: &str, block_prefix_length: u8) -> IpPool {
    IpPool::new(name, cidr.parse().unwrap(), block_prefix_length)
}

fn pool_manifest(name: &str, spec: &str) -> String {
    let spec = if spec.starts_with('{') { spec.to_owned() } else { format!("{{{spec}}}") };
    format!("apiVersion: seaway.dev/v1alpha1\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn apply(server: &ApiServer, manifest: &str) -> Result<String, String> {
    server.kubectl_with_input(&["apply", "-f", "-"], manifest)
}

async fn until(watch: &mut SnapshotWatch, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let found = tokio::time::timeout(LIMIT, watch.snapshots.wait_for(|snapshot| wanted(snapshot))).await;
    match found {
        Ok(snapshot) => Arc::clone(&snapshot.unwrap()),
        Err(_) => panic!("the wanted snapshot never came"),
    }
}

async fn healthy(watch: &mut SnapshotWatch, wanted: impl Fn(&WatchHealth) -> bool) {
    let found = tokio::time::timeout(LIMIT, watch.health.wait_for(|health| wanted(health))).await;
    assert!(found.is_ok(), "the watch never reported what it should");
}
