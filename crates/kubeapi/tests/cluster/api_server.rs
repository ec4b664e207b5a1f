//! A real etcd and kube-apiserver on loopback, for one test.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use seaway_kubeapi::{Cluster, Connection, connect};

/// Ready takes one to two seconds; a loaded machine gets more.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Running programs; dropping kills them.
pub(crate) struct ApiServer {
    directory: tempfile::TempDir,
    etcd: Child,
    etcd_port: u16,
    api: Option<Child>,
    port: u16,
}

impl ApiServer {
    /// Starts both and waits until the API server is ready.
    pub(crate) async fn start() -> (Self, Cluster) {
        let directory = tempfile::tempdir().unwrap();
        let (port, etcd_port, peer_port) = (free_port(), free_port(), free_port());
        write_credentials(directory.path(), port);
        let etcd = start_etcd(directory.path(), etcd_port, peer_port);
        let mut server = Self { directory, etcd, etcd_port, api: None, port };
        server.start_api();
        let cluster = server.connect().await;
        (server, cluster)
    }

    /// A fresh connection, once the server answers.
    pub(crate) async fn connect(&self) -> Cluster {
        let connection = Connection { kubeconfig: Some(self.kubeconfig()), server: None };
        let cluster = connect(&connection).await.unwrap();
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            match self.kubectl(&["get", "--raw", "/readyz"]) {
                Ok(_) => return cluster,
                Err(error) => assert!(Instant::now() < deadline, "not ready: {error}\n{}", self.log("kube-apiserver")),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Runs kubectl; its output, or what it complained of.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_with_input(arguments, "")
    }

    pub(crate) fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let file = self.directory.path().join("input.yaml");
        fs::write(&file, input).unwrap();
        let output = Command::new(program(&["kubectl"]))
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.directory.path())
            .args(arguments)
            .stdin(File::open(&file).unwrap())
            .output()
            .unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Ends the API server as `kill -9` does.
    pub(crate) fn kill_api(&mut self) {
        if let Some(mut api) = self.api.take() {
            api.kill().unwrap();
            api.wait().unwrap();
        }
    }

    pub(crate) fn start_api(&mut self) {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let mut command = Command::new(program(&["kube-apiserver"]));
        command.args([
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            "--bind-address=127.0.0.1".into(),
            // Of no use here, and without it the server looks for the machine's own address.
            "--advertise-address=127.0.0.1".into(),
            "--endpoint-reconciler-type=none".into(),
            format!("--secure-port={}", self.port),
            format!("--tls-cert-file={}", path("server.crt")),
            format!("--tls-private-key-file={}", path("server.key")),
            format!("--token-auth-file={}", path("tokens.csv")),
            "--authorization-mode=RBAC".into(),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", path("server.pub")),
            format!("--service-account-signing-key-file={}", path("server.key")),
        ]);
        self.api = Some(spawn(command, self.directory.path(), "kube-apiserver"));
    }

    fn log(&self, name: &str) -> String {
        let text = fs::read_to_string(self.directory.path().join(format!("{name}.log"))).unwrap_or_default();
        text.lines().rev().take(15).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for child in [self.api.as_mut(), Some(&mut self.etcd)].into_iter().flatten() {
            // Already dead is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start_etcd(directory: &Path, port: u16, peer_port: u16) -> Child {
    let mut command = Command::new(program(&["etcd", "server"]));
    command.args([
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls=http://127.0.0.1:{port}"),
        format!("--advertise-client-urls=http://127.0.0.1:{port}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
        "--unsafe-no-fsync".into(),
    ]);
    spawn(command, directory, "etcd")
}

fn spawn(mut command: Command, directory: &Path, name: &str) -> Child {
    let log = File::options().create(true).append(true).open(directory.join(format!("{name}.log"))).unwrap();
    let command = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"))
}

fn write_credentials(directory: &Path, port: u16) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let server_key = KeyPair::generate().unwrap();
    let mut server = CertificateParams::new(["localhost".to_owned()]).unwrap();
    server.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    let server_certificate = server.signed_by(&server_key, &issuer).unwrap();
    for (name, text) in [
        ("ca.crt", authority_certificate.pem()),
        ("server.crt", server_certificate.pem()),
        ("server.key", server_key.serialize_pem()),
        ("server.pub", server_key.public_key_pem()),
        ("tokens.csv", "admin-token,admin,admin,system:masters\n".into()),
        ("kubeconfig", kubeconfig(directory, port)),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
}

fn kubeconfig(directory: &Path, port: u16) -> String {
    let authority = directory.join("ca.crt").display().to_string();
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: '{authority}'}}}}]\n\
         users: [{{name: admin, user: {{token: admin-token}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]\n"
    )
}

/// The program under one of its names, from `SEAWAY_KUBERNETES_BIN` or the lab's cache.
fn program(names: &[&str]) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).unwrap_or_default();
    let mut directories: Vec<PathBuf> =
        std::env::var_os("SEAWAY_KUBERNETES_BIN").map(PathBuf::from).into_iter().collect();
    // The lab builds them into `programs/NAME-VERSION/`.
    for parent in [cache.join("seaway/programs"), cache.join("seaway")] {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        directories.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    let found = directories
        .iter()
        .flat_map(|directory| names.iter().map(move |name| directory.join(name)))
        .find(|p| p.is_file());
    found.unwrap_or_else(|| {
        panic!("no program {names:?} in {directories:?}: set SEAWAY_KUBERNETES_BIN, or let `seaway lab up` build the programs")
    })
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
