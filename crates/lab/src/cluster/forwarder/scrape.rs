//! `GET /metrics` on a loopback port of the host, for Prometheus and `curl`.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::metrics::{ForwarderMetrics, LabCondition};
use super::metrics_path;
use super::serve::NEXT_PORTS;
use crate::machine::{LabDir, Machine};

/// First port tried; 9850 is the agents' own.
const FIRST_PORT: u16 = 19850;
/// Time a client has to send its request and take the answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// A scraper's request has a few hundred bytes.
const REQUEST_BYTES: u64 = 16 * 1024;

/// Listens, and serves until the process ends. A forwarder that is started
/// again takes the port it had.
pub(super) async fn start(dir: LabDir, metrics: ForwarderMetrics) -> std::io::Result<()> {
    let before = std::fs::read_to_string(metrics_path(&dir)).ok().and_then(|text| text.trim().parse().ok());
    let listener = bind(before).await?;
    std::fs::write(metrics_path(&dir), listener.local_addr()?.port().to_string())?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((client, _)) => {
                    let answer = answer(client, dir.clone(), metrics.clone());
                    tokio::spawn(tokio::time::timeout(CLIENT_TIMEOUT, answer));
                }
                Err(error) => {
                    eprintln!("metrics: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

async fn bind(before: Option<u16>) -> std::io::Result<TcpListener> {
    let mut refusal = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for port in before.into_iter().chain(FIRST_PORT..=FIRST_PORT.saturating_add(NEXT_PORTS)) {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

async fn answer(client: TcpStream, dir: LabDir, metrics: ForwarderMetrics) -> std::io::Result<()> {
    let (reader, mut writer) = client.into_split();
    let mut lines = BufReader::new(reader.take(REQUEST_BYTES)).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    // The header fields say nothing of interest, but must be read.
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let answer = if request.starts_with("GET /metrics ") {
        let text = tokio::task::spawn_blocking(move || {
            let condition = Machine::open(&dir).map(|machine| LabCondition::of(&machine)).unwrap_or_default();
            metrics.exposition(&condition).map_err(std::io::Error::other)
        });
        let text = text.await.map_err(std::io::Error::other)??;
        http("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", &text)
    } else {
        http("404 Not Found", "text/plain; charset=utf-8", "only GET /metrics is here\n")
    };
    writer.write_all(answer.as_bytes()).await?;
    writer.shutdown().await
}

fn http(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
