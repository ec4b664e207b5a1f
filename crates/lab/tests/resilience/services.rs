//! Services used while everything behind them changes: pods rolled, agents killed, the data path
//! of a node exchanged. Clients are real: a pod and a host-network pod (whose sockets are
//! translated), and the host outside (whose packets are). Each request is a connection of its own.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use seaway_lab::machine::{LabDir, Machine, WIRE};
use serde_json::{Value, json};

use super::lab::{ANSWERING_IMAGE, Lab, pod, wait_for, wait_until};

/// An address that nobody routes but the host outside: allocating and announcing addresses is
/// somebody else's work here.
const BALANCER_ADDRESS: &str = "198.51.100.7";
/// Requests that a client pod makes at once when it is asked.
const REQUESTS_AT_ONCE: usize = 20;
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long pods serve after they are told to end: longer than an agent takes to come back on a
/// busy machine.
const GOES_ON_SECONDS: u32 = 15;
/// Requests of each client before and after each blow.
const ENOUGH: u64 = 200;

pub(crate) fn rolled_pods_fail_no_request(lab: &Lab) {
    let shop = Shop::open(lab);
    let clients = shop.clients(lab);
    lab.kubectl(&["rollout", "restart", "deployment/shop"]);
    lab.kubectl(&["rollout", "status", "deployment/shop", "--timeout=120s"]);
    clients.go_on();
    clients.must_have_failed_nothing();
    shop.close(lab);
}

pub(crate) fn killed_agents_fail_no_request(lab: &Lab) {
    let shop = Shop::open(lab);
    let clients = shop.clients(lab);
    for node in ["n1", "n2", "n3"] {
        lab.must(&["break", "kill", node, "agent"]);
    }
    lab.kubectl(&["rollout", "restart", "deployment/shop"]);
    clients.go_on();
    lab.wait_for_agents();
    lab.kubectl(&["rollout", "status", "deployment/shop", "--timeout=120s"]);
    clients.go_on();
    clients.must_have_failed_nothing();
    shop.close(lab);
}

pub(crate) fn a_node_changes_its_data_path_and_back(lab: &Lab) {
    let shop = Shop::open(lab);
    for backend in ["nftables", "ebpf"] {
        set_backend_of_n1(lab, backend);
        let clients = shop.clients(lab);
        clients.go_on();
        clients.must_have_failed_nothing();
    }
    shop.close(lab);
}

/// A Deployment behind a ClusterIP, a NodePort and a load balancer's address, and its clients.
struct Shop {
    cluster: Vec<SocketAddr>,
    node_port: u16,
}

impl Shop {
    fn open(lab: &Lab) -> Shop {
        lab.wait_for_agents();
        lab.apply(&deployment());
        lab.apply(&service());
        let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": BALANCER_ADDRESS }] } } });
        lab.kubectl(&["patch", "service", "shop", "--subresource=status", "--type=merge", "-p", &status.to_string()]);
        lab.apply(&pod("asks", "n1", &answering(8080)));
        let mut on_host = pod("asks-on-host", "n1", &answering(8090));
        on_host["spec"]["hostNetwork"] = json!(true);
        lab.apply(&on_host);
        for name in ["asks", "asks-on-host"] {
            lab.kubectl(&["wait", "--for=condition=Ready", "--timeout=120s", &format!("pod/{name}")]);
        }
        lab.kubectl(&["rollout", "status", "deployment/shop", "--timeout=120s"]);
        let service = lab.kubectl_json(&["get", "service", "shop"]);
        let addresses = service["spec"]["clusterIPs"].as_array().unwrap();
        let cluster = addresses.iter().map(|one| (one.as_str().unwrap().parse::<IpAddr>().unwrap(), 80).into());
        let node_port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        Shop { cluster: cluster.collect(), node_port: u16::try_from(node_port).unwrap() }
    }

    /// Requests to each place from each client that may use it, until stopped.
    fn clients(&self, lab: &Lab) -> Clients {
        let machine = Arc::new(Machine::open(&LabDir::new(super::lab::NAME)).unwrap());
        let mut clients = Clients::default();
        let balancer = SocketAddr::new(BALANCER_ADDRESS.parse().unwrap(), 80);
        for target in self.cluster.iter().copied().chain([balancer]) {
            clients.add(format!("pod to {target}"), through_pod(lab, "asks", 8080, target));
            clients.add(format!("process of n1 to {target}"), through_pod(lab, "asks-on-host", 8090, target));
        }
        for node in ["n1", "n3"] {
            for address in machine.node(node).unwrap().addresses() {
                let target = SocketAddr::new(address, self.node_port);
                clients.add(format!("outside to {target}"), from_outside(&machine, target));
            }
        }
        route_balancer_to_n1(lab, &machine);
        clients.add(format!("outside to {balancer}"), from_outside(&machine, balancer));
        clients.go_on();
        clients
    }

    fn close(self, lab: &Lab) {
        // With its pods, which take their time to end.
        lab.kubectl(&["delete", "deployment", "shop", "--cascade=foreground", "--timeout=120s"]);
        lab.kubectl(&["delete", "service/shop", "pod/asks", "pod/asks-on-host", "--timeout=120s"]);
    }
}

/// The router sends the balancer's address to n1, as one would that n1 announced it to.
fn route_balancer_to_n1(lab: &Lab, machine: &Machine) {
    let gateway = machine.node("n1").unwrap().addresses().into_iter().find(IpAddr::is_ipv4).unwrap().to_string();
    lab.on(WIRE, &["ip", "route", "replace", BALANCER_ADDRESS, "via", &gateway]);
}

/// Clients that go on until told to stop.
#[derive(Default)]
struct Clients {
    stop: Arc<AtomicBool>,
    running: Vec<(String, Arc<AtomicU64>, JoinHandle<Vec<String>>)>,
}

/// Makes some requests; how many succeeded, or what went wrong.
type Ask = Box<dyn FnMut() -> Result<u64, String> + Send>;

impl Clients {
    fn add(&mut self, name: String, mut ask: Ask) {
        // Kubernetes promises nothing for the first moments of a Service.
        wait_for(&format!("{name} answers"), &mut ask);
        let (stop, done) = (Arc::clone(&self.stop), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&done);
        let handle = std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match ask() {
                    Ok(succeeded) => drop(counted.fetch_add(succeeded, Ordering::Relaxed)),
                    Err(failure) => failures.push(failure),
                }
            }
            failures
        });
        self.running.push((name, done, handle));
    }

    /// Waits until each client made another [`ENOUGH`] requests.
    fn go_on(&self) {
        let counts: Vec<u64> = self.running.iter().map(|(_, done, _)| done.load(Ordering::Relaxed)).collect();
        for ((name, done, _), count) in self.running.iter().zip(counts) {
            wait_until(&format!("{name} goes on"), || done.load(Ordering::Relaxed) >= count + ENOUGH);
        }
    }

    fn must_have_failed_nothing(self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for (name, done, handle) in self.running {
            let failures = handle.join().unwrap();
            println!("  {name}: {} requests, {} failed", done.load(Ordering::Relaxed), failures.len());
            all.extend(failures.into_iter().map(|failure| format!("{name}: {failure}")));
        }
        assert!(all.is_empty(), "{all:#?}");
    }
}

/// Asks a pod's web server to make requests itself, over the pod's own sockets.
fn through_pod(lab: &Lab, pod: &str, port: u16, target: SocketAddr) -> Ask {
    let object = lab.kubectl_json(&["get", "pod", pod]);
    let address: IpAddr = object["status"]["podIP"].as_str().unwrap().parse().unwrap();
    let machine = Machine::open(&LabDir::new(super::lab::NAME)).unwrap();
    let host = target.ip();
    let path =
        format!("/dial?request=hostname&protocol=http&host={host}&port={}&tries={REQUESTS_AT_ONCE}", target.port());
    Box::new(move || {
        let node = machine.node("n1").map_err(|error| error.to_string())?;
        let answer = node
            .run_in(|| get(SocketAddr::new(address, port), &path, PATIENCE * 4))
            .map_err(|error| error.to_string())??;
        let report: Value = serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
        match report.get("errors").and_then(Value::as_array) {
            Some(errors) if !errors.is_empty() => Err(format!("{errors:?}")),
            _ => Ok(report["responses"].as_array().map_or(0, Vec::len) as u64),
        }
    })
}

fn from_outside(machine: &Arc<Machine>, target: SocketAddr) -> Ask {
    let machine = Arc::clone(machine);
    Box::new(move || {
        let answer = machine.outside().run_in(|| get(target, "/hostname", PATIENCE));
        answer.map_err(|error| error.to_string())?.map(|_| 1)
    })
}

/// One request over one connection; the body of the answer.
fn get(target: SocketAddr, path: &str, patience: Duration) -> Result<String, String> {
    let start = Instant::now();
    let failed = |step: &str, error: std::io::Error| format!("{step} after {:?}: {error}", start.elapsed());
    let mut stream = TcpStream::connect_timeout(&target, patience).map_err(|error| failed("connect", error))?;
    stream.set_read_timeout(Some(patience)).map_err(|error| failed("set a timeout", error))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: shop\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| failed("write", error))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| failed("read", error))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no answer: {answer:?}"))?;
    if head.contains(" 200 ") { Ok(body.to_owned()) } else { Err(format!("answered {head}")) }
}

/// Tells the agents another backend for n1 and restarts that one.
fn set_backend_of_n1(lab: &Lab, backend: &str) {
    let map = lab.kubectl_json(&["get", "-n", "seaway-system", "configmap", "seaway-config"]);
    let text = map["data"]["config.yaml"].as_str().unwrap();
    let mut configuration: Value = serde_saphyr::from_str(text).unwrap();
    configuration["nodeBackends"] = json!({ "n1": backend });
    let data = json!({ "data": { "config.yaml": serde_saphyr::to_string(&configuration).unwrap() } });
    lab.kubectl(&["patch", "-n", "seaway-system", "configmap", "seaway-config", "-p", &data.to_string()]);
    lab.kubectl(&["delete", "-n", "seaway-system", &super::agents::agent_pod(lab, "n1")]);
    wait_until(&format!("n1 runs {backend}"), || {
        let output = lab.run(&["exec", "n1", "--", "seaway", "status", "-o", "json"]);
        serde_json::from_slice::<Value>(&output.stdout).is_ok_and(|status| status["backend"] == backend)
    });
    lab.wait_for_agents();
    // The old data path serves until the new one is complete.
    wait_until(&format!("n1 serves Services by {backend}"), || {
        let table = lab.run(&["exec", "n1", "--", "nft", "list", "table", "inet", "seaway-services"]);
        table.status.success() == (backend == "nftables")
    });
}

fn answering(port: u16) -> Value {
    json!({
        "name": "main", "image": ANSWERING_IMAGE,
        "args": ["netexec", format!("--http-port={port}"), format!("--udp-port={port}")],
        "readinessProbe": { "httpGet": { "path": "/hostname", "port": port }, "periodSeconds": 1 },
    })
}

/// Pods that go on for a while after they are told to end, as every web server behind a Service
/// must: endpoints change a moment after the pod is told, and later while a killed agent comes back.
fn deployment() -> Value {
    let mut container = answering(8080);
    container["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": GOES_ON_SECONDS } } });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": {
            "replicas": 4,
            "selector": { "matchLabels": { "app": "shop" } },
            "template": {
                "metadata": { "labels": { "app": "shop" } },
                "spec": { "terminationGracePeriodSeconds": GOES_ON_SECONDS + 5, "containers": [container] },
            },
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": {
            "type": "LoadBalancer",
            "ipFamilyPolicy": "PreferDualStack",
            "selector": { "app": "shop" },
            "ports": [{ "port": 80, "targetPort": 8080 }],
        },
    })
}
