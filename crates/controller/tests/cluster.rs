//! Two controllers in a cluster that consists of a real kube-apiserver and etcd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../kubeapi/tests/cluster/api_server.rs"]
#[expect(dead_code, reason = "this test leaves the server running")]
mod api_server;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use api_server::ApiServer;
use seaway_kubeapi::{BlockClaims, ClaimOutcome, install_crds};
use seaway_model::{BlockAllocation, agent_api::AttachmentKey};
use seaway_runtime::RawConfig;
use seaway_runtime::config::ControllerConfig;
use seaway_runtime::shutdown::CancellationToken;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_controllers_looks_after_the_pools() {
    let (server, cluster) = ApiServer::start().await;
    install_crds(&cluster).await.unwrap();
    let (one, stop_one) = start(&server, "one");
    until(&server, &["get", "lease", "seaway-controller", "-o", "jsonpath={.spec.holderIdentity}"], "one").await;
    let (two, stop_two) = start(&server, "two");
    until(&server, &["get", "ippools", "-o", "jsonpath={.items[*].spec.cidr}"], "10.244.0.0/27").await;

    // Two blocks, both claimed: the pool has no more to give.
    let claims = BlockClaims::new(&cluster, "n1".into());
    server.kubectl_with_input(&["apply", "-f", "-"], "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n").unwrap();
    for range in ["10.244.0.0/28", "10.244.0.16/28"] {
        let claimed = claims.claim("default-ipv4", range.parse().unwrap()).await.unwrap();
        assert!(matches!(claimed, ClaimOutcome::Claimed(_)));
    }
    let key = AttachmentKey { container_id: "abc".into(), interface: "eth0".into() };
    let allocation = BlockAllocation { address: "10.244.0.1".parse().unwrap(), key, pod: None };
    claims.record(&"10.244.0.0/28".parse().unwrap(), &[allocation]).await.unwrap();
    let status =
        "jsonpath={.status.usedAddresses} {.status.totalAddresses} {.status.claimedBlocks} {.status.totalBlocks}";
    until(&server, &["get", "ippool", "default-ipv4", "-o", status], "1 32 2 2").await;
    until(&server, &["describe", "ippool", "default-ipv4"], "PoolNearlyExhausted").await;

    // The one in charge ends: the other goes on at once, and the configured pools stay single.
    stop_one.cancel();
    one.await.unwrap();
    until(&server, &["get", "lease", "seaway-controller", "-o", "jsonpath={.spec.holderIdentity}"], "two").await;
    server.kubectl(&["delete", "ipblock", "10-244-0-0-28"]).unwrap();
    until(&server, &["get", "ippool", "default-ipv4", "-o", status], "0 32 1 2").await;
    a_deleted_pool_stays_until_its_block_is_free(&server, &claims).await;
    stop_two.cancel();
    two.await.unwrap();
    nothing_holds_a_pool_that_was_given_up(&server).await;
}

async fn a_deleted_pool_stays_until_its_block_is_free(server: &ApiServer, claims: &BlockClaims) {
    let pool = "apiVersion: seaway.dev/v1alpha1\nkind: IPPool\nmetadata: {name: gold}\nspec: {cidr: 10.60.0.0/24}\n";
    server.kubectl_with_input(&["apply", "-f", "-"], pool).unwrap();
    until(server, &["get", "ippool", "gold", "-o", "jsonpath={.metadata.finalizers}"], "seaway.dev/blocks").await;
    let block = "10.60.0.64/26".parse().unwrap();
    assert!(matches!(claims.claim("gold", block).await.unwrap(), ClaimOutcome::Claimed(_)));
    server.kubectl(&["delete", "ippool", "gold", "--wait=false"]).unwrap();
    let held_by = &["get", "ippool", "gold", "-o", "jsonpath={.status.heldBy[*]}"];
    until(server, held_by, "block 10.60.0.64/26 of node n1: 0 in use").await;
    claims.release(&block).await.unwrap();
    until(
        server,
        &["get", "ippools", "--ignore-not-found", "-o", "jsonpath=({.items[*].metadata.name})"],
        "(default-ipv4)",
    )
    .await;
}

/// No controller runs any more.
async fn nothing_holds_a_pool_that_was_given_up(server: &ApiServer) {
    server.kubectl(&["delete", "ippool", "default-ipv4", "--wait=false"]).unwrap();
    let pools = &["get", "ippools", "-o", "jsonpath=({.items[*].metadata.name})"];
    until(server, pools, "(default-ipv4)").await;
    assert_eq!(seaway_controller::give_pools_up(&config(server, "three")).await.unwrap(), 1);
    until(server, pools, "()").await;
    assert_eq!(seaway_controller::give_pools_up(&config(server, "three")).await.unwrap(), 0);
}

fn config(server: &ApiServer, identity: &str) -> ControllerConfig {
    let kubeconfig = server.kubeconfig().display().to_string();
    let text = format!(
        "kubeconfig: {kubeconfig}\nadmin: {{controller: '127.0.0.1:0'}}\n\
         ipam: {{defaultPools: [{{name: default-ipv4, cidr: 10.244.0.0/27, blockPrefixLength: 28}}]}}\n"
    );
    RawConfig::parse(&text, "test").unwrap().controller(identity.into()).unwrap()
}

fn start(server: &ApiServer, identity: &str) -> (JoinHandle<()>, CancellationToken) {
    let config = config(server, identity);
    assert_eq!(config.admin, SocketAddr::from(([127, 0, 0, 1], 0)));
    let stop = CancellationToken::new();
    let token = stop.clone();
    (tokio::spawn(async move { seaway_controller::run(config, token).await.unwrap() }), stop)
}

/// Asks kubectl until its answer contains `wanted`.
async fn until(server: &ApiServer, arguments: &[&str], wanted: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = server.kubectl(arguments);
        if answer.as_ref().is_ok_and(|text| text.contains(wanted)) {
            return;
        }
        assert!(Instant::now() < deadline, "{arguments:?} never said {wanted:?}, but {answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
