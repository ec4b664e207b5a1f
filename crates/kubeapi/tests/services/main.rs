//! The watches of Services, slices and Service ranges against a real kube-apiserver.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../cluster/api_server.rs"]
mod api_server;

use std::time::{Duration, Instant};

use api_server::ApiServer;
use ipnet::IpNet;
use seaway_kubeapi::*;
use seaway_model::ServiceChange;

/// Nothing here takes longer than a second or two.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_come_as_changes() {
    let (mut server, cluster) = ApiServer::start().await;
    apply(&server, &service("web", "spec: {ports: [{name: http, port: 80}]}"));
    apply(&server, &slice("web-1", &["10.244.0.1"]));
    let mut watch = watch_services(&cluster);
    everything_is_told_once(&mut watch).await;
    ranges_come_from_the_api(&cluster).await;
    single_changes_come_at_once(&server, &mut watch).await;
    a_list_that_comes_again_is_silent(&mut server, &mut watch).await;
    a_burst_makes_few_batches(&server, &mut watch).await;
}

async fn everything_is_told_once(watch: &mut ServiceWatch) {
    let mut told = Vec::new();
    while told.last() != Some(&ServiceChange::Synced) {
        told.extend(next(watch).await);
    }
    // The API server makes `default/kubernetes` itself, if it got there in time.
    let others = told.iter().map(describe).filter(|line| !line.contains("kubernetes")).collect::<Vec<_>>();
    let mut sorted = others.clone();
    sorted.sort();
    assert_eq!(sorted, ["service web 10.96.0.80", "slice web-1 of web: 10.244.0.1:8080", "synced"]);
}

async fn ranges_come_from_the_api(cluster: &Cluster) {
    let configured: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
    let mut ranges = watch_service_ranges(cluster, configured);
    let expected: Vec<IpNet> = vec!["10.96.0.0/16".parse().unwrap()];
    let came = tokio::time::timeout(LIMIT, ranges.ranges.wait_for(|now| *now == expected)).await;
    assert!(came.is_ok(), "the server's own range never came");
}

async fn single_changes_come_at_once(server: &ApiServer, watch: &mut ServiceWatch) {
    apply(server, &slice("web-1", &["10.244.0.1", "10.244.0.2"]));
    until(watch, "slice web-1 of web: 10.244.0.1:8080 10.244.0.2:8080").await;
    server.kubectl(&["annotate", "service", "web", "seaway.dev/algorithm=maglev"]).unwrap();
    until(watch, "service web 10.96.0.80 maglev").await;
    server.kubectl(&["annotate", "service", "web", "example.org/other=1"]).unwrap();
    server.kubectl(&["delete", "service", "web"]).unwrap();
    // The foreign annotation changed nothing for us, so the next that comes is the deletion.
    let told: Vec<String> = next(watch).await.iter().map(describe).collect();
    assert_eq!(told, ["service web gone"]);
    apply(server, &service("web", "spec: {ports: [{name: http, port: 80}]}"));
    until(watch, "service web 10.96.0.80").await;
}

async fn a_list_that_comes_again_is_silent(server: &mut ApiServer, watch: &mut ServiceWatch) {
    server.kill_api();
    let failed = watch.health.wait_for(|health| health.failing.contains_key("services"));
    assert!(tokio::time::timeout(LIMIT, failed).await.is_ok(), "the failure never shows");
    server.start_api();
    server.connect().await;
    apply(server, &slice("web-1", &["10.244.0.3"]));
    let told = until(watch, "slice web-1 of web: 10.244.0.3:8080").await;
    let others = told.iter().filter(|line| !line.contains("kubernetes")).collect::<Vec<_>>();
    assert_eq!(others.len(), 1, "only what differs: {others:?}");
    // A watch that was taken up again without a new list shows that it works by what it says next.
    server.kubectl(&["annotate", "service", "web", "seaway.dev/algorithm=random"]).unwrap();
    until(watch, "service web 10.96.0.80 random").await;
    let healed = watch.health.wait_for(|health| health.failing.is_empty());
    assert!(tokio::time::timeout(LIMIT, healed).await.is_ok(), "it never heals");
}

async fn a_burst_makes_few_batches(server: &ApiServer, watch: &mut ServiceWatch) {
    let many: Vec<String> = (0..100).map(|n| slice(&format!("burst-{n:03}"), &["10.244.1.1"])).collect();
    apply(server, &many.join("---\n"));
    let deadline = Instant::now() + LIMIT;
    let (mut seen, mut batches) = (0, 0);
    while seen < 100 {
        assert!(Instant::now() < deadline, "{seen} of 100 came");
        seen += next(watch).await.iter().map(describe).filter(|line| line.contains("burst-")).count();
        batches += 1;
    }
    assert_eq!(seen, 100, "each once");
    server.kubectl(&["delete", "endpointslices", "--all"]).unwrap();
    assert!(batches <= 100);
}

async fn next(watch: &mut ServiceWatch) -> Vec<ServiceChange> {
    let batch = tokio::time::timeout(LIMIT, watch.changes.recv()).await.expect("nothing came");
    batch.expect("the watch ended")
}

/// Waits for a change; what came with and before it.
async fn until(watch: &mut ServiceWatch, wanted: &str) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    loop {
        let batch: Vec<String> = next(watch).await.iter().map(describe).collect();
        let found = batch.iter().any(|line| line == wanted);
        told.extend(batch);
        if found {
            return told;
        }
    }
}

fn describe(change: &ServiceChange) -> String {
    match change {
        ServiceChange::Synced => "synced".into(),
        ServiceChange::Service { of, now: None } => format!("service {} gone", of.name),
        ServiceChange::Slice { of, now: None } => format!("slice {} gone", of.name),
        ServiceChange::Service { of, now: Some(now) } => {
            let mut text = format!("service {} {}", of.name, now.cluster_ips[0]);
            for value in now.annotations.values() {
                text = format!("{text} {value}");
            }
            text
        }
        ServiceChange::Slice { of, now: Some(now) } => {
            let port = now.ports.first().and_then(|port| port.port).unwrap_or(0);
            let addresses = now.endpoints.iter().filter_map(|one| one.address());
            let addresses: Vec<String> = addresses.map(|address| format!("{address}:{port}")).collect();
            format!("slice {} of {}: {}", of.name, now.service.as_deref().unwrap_or("nobody"), addresses.join(" "))
        }
    }
}

fn service(name: &str, spec: &str) -> String {
    let spec = spec.replace("spec: {", "spec: {clusterIP: 10.96.0.80, ");
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n{spec}\n")
}

fn slice(name: &str, addresses: &[&str]) -> String {
    let endpoints: Vec<String> = addresses.iter().map(|address| format!("{{addresses: [{address}]}}")).collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: \
         {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nports: [{{name: http, port: 8080}}]\n\
         endpoints: [{}]\n",
        endpoints.join(", ")
    )
}

fn apply(server: &ApiServer, manifest: &str) {
    server.kubectl_with_input(&["apply", "-f", "-"], manifest).unwrap();
}
