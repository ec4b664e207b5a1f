//! Upstreams by TLS and HTTPS, and clients by TLS, with certificates made for the test.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot set up has failed")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use seaway_dns::daemon;
use seaway_dns::server::socket::Listening;
use seaway_runtime::config::{DnsUpstream, RawConfig};
use seaway_runtime::shutdown::CancellationToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
const NAME: &str = "dns.example.org";

struct Rig {
    run: tempfile::TempDir,
    acceptor: TlsAcceptor,
    /// Connections made.
    connections: Arc<AtomicUsize>,
}

struct Running {
    at: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn rig(alpn: &[u8]) -> Rig {
    let run = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    std::fs::write(run.path().join("roots.pem"), made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    Rig { run, acceptor: TlsAcceptor::from(Arc::new(config)), connections: Arc::default() }
}

fn honest(query: &[u8]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
    let mut answer = query[..end].to_vec();
    (answer[2], answer[3], answer[7], answer[11]) = (0x81, 0x80, 1, 0);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    answer
}

impl Rig {
    /// An upstream by TLS.
    async fn tls_upstream(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (acceptor, connections) = (self.acceptor.clone(), Arc::clone(&self.connections));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                tokio::spawn(async move {
                    while let Ok(size) = stream.read_u16().await {
                        let mut query = vec![0; usize::from(size)];
                        stream.read_exact(&mut query).await.unwrap();
                        let answer = honest(&query);
                        stream.write_u16(answer.len() as u16).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                });
            }
        });
        at
    }

    /// An upstream by HTTPS: `kind` is the type of its answers.
    async fn https_upstream(&self, kind: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (acceptor, connections) = (self.acceptor.clone(), Arc::clone(&self.connections));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        assert_eq!(request.uri().to_string(), format!("https://{NAME}/dns-query"));
                        assert_eq!(request.headers()["content-type"], "application/dns-message");
                        tokio::spawn(async move {
                            let query = request.into_body().data().await.unwrap().unwrap();
                            assert_eq!(query[..2], [0, 0], "RFC 8484 §4.1");
                            let response = http::Response::builder().header("content-type", kind).body(()).unwrap();
                            let mut body = respond.send_response(response, false).unwrap();
                            body.send_data(honest(&query).into(), true).unwrap();
                        });
                    }
                });
            }
        });
        at
    }

    fn start(&self, upstream: &str) -> Running {
        let mut config = RawConfig::default().dns().unwrap();
        config.run = self.run.path().to_owned();
        config.plain.admin = ([127, 0, 0, 1], 0).into();
        config.plain.trusted_roots = Some(self.run.path().join("roots.pem"));
        config.upstreams = vec![DnsUpstream::parse(upstream).unwrap()];
        let listening = vec![Listening::open("127.0.0.1:0".parse().unwrap(), 2).unwrap()];
        let (at, stop) = (listening[0].address, CancellationToken::new());
        let until = stop.clone();
        let task = tokio::spawn(async move { daemon::serve(config, listening, 2, until).await.unwrap() });
        Running { at, stop, task }
    }
}

impl Running {
    /// Response code and the octets after the question.
    async fn ask(&self, name: &'static str) -> (u8, Vec<u8>) {
        let at = self.at;
        let asked = tokio::task::spawn_blocking(move || {
            let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            for label in name.split('.') {
                message.push(label.len() as u8);
                message.extend(label.as_bytes());
            }
            message.extend([0, 0, 1, 0, 1]);
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(&message, at).unwrap();
            let mut answer = vec![0; 512];
            let length = socket.recv(&mut answer).unwrap();
            (answer[3] & 0xf, answer[message.len()..length].to_vec())
        });
        asked.await.unwrap()
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

const NAMES: [&str; 8] = ["a.test", "b.test", "c.test", "d.test", "e.test", "f.test", "g.test", "h.test"];

async fn all_answered_over_one_connection(rig: &Rig, upstream: &str) {
    let server = rig.start(upstream);
    for name in NAMES {
        let (rcode, records) = server.ask(name).await;
        assert!(rcode == 0 && records.ends_with(&[192, 0, 2, 1]), "{name}: {rcode}");
    }
    assert_eq!(rig.connections.load(Ordering::Relaxed), 1, "one connection for all of them");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_share_one_tls_session() {
    let rig = rig(b"dot");
    let at = rig.tls_upstream().await;
    all_answered_over_one_connection(&rig, &format!("tls://{at}#{NAME}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_share_one_https_connection() {
    let rig = rig(b"h2");
    let at = rig.https_upstream("application/dns-message").await;
    all_answered_over_one_connection(&rig, &format!("https://{at}/dns-query#{NAME}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_instead_of_a_message_is_no_answer() {
    let rig = rig(b"h2");
    let at = rig.https_upstream("text/html").await;
    let server = rig.start(&format!("https://{at}#{NAME}"));
    assert_eq!(server.ask("a.test").await.0, 2);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_with_another_name_is_not_believed() {
    let rig = rig(b"h2");
    let at = rig.https_upstream("application/dns-message").await;
    let server = rig.start(&format!("https://{at}/dns-query#bank.example"));
    assert_eq!(server.ask("a.test").await.0, 2);
    server.end().await;
}
