//! The agent's socket over the data path in memory: bad requests, the stream of
//! drops, kept deletions, one agent per node.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a step that fails fails the test"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use prometheus_client::registry::Registry;
use seaway_agent::AgentError;
use seaway_agent::core::{Core, Parts};
use seaway_agent::decide::Settings;
use seaway_agent::owner::Host;
use seaway_datapath::fake::FakeDatapath;
use seaway_model::agent_api::{Answer, Failure, Request};
use seaway_model::{DropReason, InterfaceName, NodeName, abi};
use seaway_routing::plan::{NetworkOptions, Underlay};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

struct NoHost;

impl Host for NoHost {
    fn underlay(&mut self, _addresses: &[std::net::IpAddr]) -> Result<Underlay, Failure> {
        Err(Failure { id: "SW0307".into(), message: "no device".into(), fix: "none".into(), cni_code: 100 })
    }

    fn path_mtus(&mut self) -> Result<BTreeMap<IpAddr, u32>, Failure> {
        Ok(BTreeMap::new())
    }

    fn link_exists(&mut self, _name: &InterfaceName) -> bool {
        true
    }

    fn write_configuration(&mut self) -> Result<Vec<Failure>, Failure> {
        Ok(Vec::new())
    }
}

fn parts(folder: &Path, datapath: &FakeDatapath) -> Parts {
    let options = NetworkOptions {
        vxlan_port: 4789,
        vxlan_id: 83,
        non_masquerade: Vec::new(),
        mtu_bytes: None,
        service_cidrs: Vec::new(),
    };
    Parts {
        settings: Settings {
            node: NodeName::from("n1"),
            options,
            node_pod_cidrs: None,
            cooldown: Duration::from_secs(30),
            version: "0.0.0".into(),
            backend: "fake".into(),
            backend_reason: "a test".into(),
        },
        datapath: Box::new(datapath.clone()),
        host: Box::new(NoHost),
        run_directory: folder.to_owned(),
        audit_interval: None,
        services: None,
        registry: Registry::default(),
    }
}

async fn start(folder: &TempDir, datapath: &FakeDatapath) -> Result<Core, AgentError> {
    Core::start(parts(folder.path(), datapath), CancellationToken::new()).await.map(|(core, _)| core)
}

/// Writes `text` as a client does; the connection for reading.
fn open(folder: &TempDir, text: &[u8]) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(folder.path().join("agent.sock")).unwrap();
    stream.write_all(text).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    BufReader::new(stream)
}

fn answer(connection: &mut BufReader<UnixStream>) -> Answer {
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

async fn ask(folder: &TempDir, text: &[u8]) -> Answer {
    let mut connection = open(folder, text);
    tokio::task::spawn_blocking(move || {
        let first = answer(&mut connection);
        let mut rest = String::new();
        connection.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "one answer and no more");
        first
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_and_good_ones_answered() {
    let folder = tempfile::tempdir().unwrap();
    let core = start(&folder, &FakeDatapath::default()).await.unwrap();
    let mode = std::fs::metadata(folder.path().join("agent.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for text in [&b""[..], b"hello", b"{}", b"{\"verb\": \"fly\"}", b"{\"verb\": \"add\"}", b"\xff\xfe"] {
        let Answer::Failed(failure) = ask(&folder, text).await else { panic!("{text:?}") };
        assert_eq!(failure.id, "SW0603", "{text:?}");
    }
    let add = br#"{"verb": "add", "containerId": "c1", "interface": "eth0", "network": "seaway"}"#;
    let Answer::Failed(failure) = ask(&folder, add).await else { panic!() };
    assert_eq!(failure.id, "SW0604", "no namespace came along");
    let Answer::Failed(failure) = ask(&folder, br#"{"verb": "status"}"#).await else { panic!() };
    assert_eq!((failure.id.as_str(), failure.cni_code), ("SW0600", 50));
    let Answer::NodeStatus(status) = ask(&folder, br#"{"verb": "nodeStatus"}"#).await else { panic!() };
    assert_eq!(status.node.as_str(), "n1");
    core.stop().await;
    assert!(UnixStream::connect(folder.path().join("agent.sock")).is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drops_are_streamed_to_every_reader() {
    let folder = tempfile::tempdir().unwrap();
    let datapath = FakeDatapath::default();
    let core = start(&folder, &datapath).await.unwrap();
    let request = serde_json::to_vec(&Request::Monitor).unwrap();
    let readers = [open(&folder, &request), open(&folder, &request)];
    let event = abi::Event {
        boot_time_nanos: 7,
        source: abi::map_address("203.0.113.5".parse().unwrap()),
        destination: abi::map_address("10.244.0.1".parse().unwrap()),
        interface_index: 2,
        endpoint_id: 0,
        source_port: 0,
        destination_port: 0,
        reason: DropReason::UntrustedTunnel.code(),
        protocol: 17,
        family: 4,
        length_bytes: 60,
        pad: 0,
    };
    let read = readers.map(|mut reader| tokio::task::spawn_blocking(move || answer(&mut reader)));
    // A reader that is not there yet gets later drops: let them happen until all have one.
    while !read.iter().all(tokio::task::JoinHandle::is_finished) {
        datapath.state().events.push(event);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for reader in read {
        let Answer::Dropped(event) = reader.await.unwrap() else { panic!() };
        assert_eq!(event.reason, "untrusted_tunnel");
        assert_eq!(event.cause, "address 203.0.113.5, which is no node of this cluster");
    }
    core.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_deletions_are_carried_out_and_bad_ones_removed() {
    let folder = tempfile::tempdir().unwrap();
    let deletes = folder.path().join("deletes");
    std::fs::create_dir(&deletes).unwrap();
    let delete = r#"{"verb": "delete", "containerId": "c1", "interface": "eth0", "network": "seaway"}"#;
    for (name, text) in [("c1@eth0.json", delete), ("c2@eth0.json", "no json"), ("c3.json", r#"{"verb": "status"}"#)] {
        std::fs::write(deletes.join(name), text).unwrap();
    }
    std::fs::write(deletes.join(".c4@eth0.17"), delete).unwrap();
    let core = start(&folder, &FakeDatapath::default()).await.unwrap();
    let left: Vec<_> = std::fs::read_dir(&deletes).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".c4@eth0.17"], "what is not finished is left to its writer");
    core.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_agent_is_refused_until_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let datapath = FakeDatapath::default();
    let first = start(&folder, &datapath).await.unwrap();
    let Err(error) = start(&folder, &datapath).await else { panic!("two agents run") };
    assert!(matches!(error, AgentError::AnotherAgent { .. }), "{error}");
    let Answer::NodeStatus(_) = ask(&folder, br#"{"verb": "nodeStatus"}"#).await else { panic!() };
    first.stop().await;
    start(&folder, &datapath).await.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kernel_that_cannot_be_read_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let datapath = FakeDatapath::default();
    datapath.state().fail_next = Some("adopt");
    let Err(error) = start(&folder, &datapath).await else { panic!("it started") };
    assert_eq!(seaway_model::Diagnose::id(&error).to_string(), "SW0329");
}
