//! The admin server over a real loopback socket.

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

struct Daemon {
    problems: Vec<String>,
}

impl Introspect for Daemon {
    fn problems(&self) -> Vec<String> {
        self.problems.clone()
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!({ "generation": 7 })
    }
}

async fn get_path(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn started(
    problems: &[&str],
) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<Result<(), AdminError>>) {
    let counter = Counter::<u64>::default();
    counter.inc_by(3);
    let mut registry = Registry::default();
    registry.register("seaway_boats", "Boats seen", counter);
    let daemon = Arc::new(Daemon { problems: problems.iter().map(|&p| p.to_owned()).collect() });
    let admin = bind(SocketAddr::from(([127, 0, 0, 1], 0)), daemon, Arc::new(registry)).await.unwrap();
    let address = admin.address().unwrap();
    let token = CancellationToken::new();
    let task = tokio::spawn(admin.serve(token.clone()));
    (address, token, task)
}

#[tokio::test]
async fn a_ready_daemon_answers_everything_and_stops_when_told() {
    let (address, token, task) = started(&[]).await;
    assert!(get_path(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get_path(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get_path(address, "/metrics").await.contains("seaway_boats_total 3"));
    assert!(get_path(address, "/debug/state").await.contains("\"generation\":7"));
    assert!(get_path(address, "/nothing").await.starts_with("HTTP/1.1 404"));
    token.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn problems_make_it_unready_but_alive() {
    let (address, _token, _task) = started(&["no block for pool blue", "no API"]).await;
    assert!(get_path(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let answer = get_path(address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"));
    assert!(answer.ends_with("no block for pool blue\nno API\n"));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let (address, _token, _task) = started(&[]).await;
    let error = bind(address, Arc::new(Daemon { problems: vec![] }), Metrics::default()).await.err().unwrap();
    assert_eq!(error.id().to_string(), "SW0507");
    assert!(error.to_string().contains(&address.to_string()));
    assert!(error.fix().contains(&address.port().to_string()));
}
