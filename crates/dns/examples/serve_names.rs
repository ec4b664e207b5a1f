//! A DNS server for a cluster that is made up, to put load on:
//!
//! ```console
//! $ serve_names 127.0.0.1:5300 10000 10 1        # address, Services, endpoints each, threads
//! $ serve_names 127.0.0.1:5300 0 0 1 127.0.0.1:5301   # and an upstream
//! $ dnsperf -s 127.0.0.1 -p 5300 -d names.txt    # svc-0.ns-0.svc.cluster.local A
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use seaway_dns::daemon;
use seaway_dns::server::socket::Listening;
use seaway_dns::zone::Builder;
use seaway_model::feed::FeedChange;
use seaway_model::service::{
    AddressType, Endpoint, EndpointPort, EndpointSlice, Service, ServiceKind, ServicePort, TrafficDistribution,
    TrafficPolicy,
};
use seaway_model::{Labels, Namespace, NodeName, PodRef, Protocol, ServiceRef, SliceRef};
use seaway_runtime::config::{DnsTransport, DnsUpstream, RawConfig};
use seaway_runtime::shutdown::CancellationToken;

/// Services in one namespace.
const PER_NAMESPACE: u32 = 100;

fn service(number: u32) -> Service {
    Service {
        uid: format!("00000000-0000-0000-0000-{number:012}"),
        created_at_seconds: 0,
        kind: ServiceKind::ClusterIP,
        cluster_ips: if number.is_multiple_of(10) {
            Vec::new()
        } else {
            vec![Ipv4Addr::from(0x0a60_0000 + number).into()]
        },
        headless: number.is_multiple_of(10),
        ports: vec![ServicePort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
            app_protocol: None,
        }],
        external_ips: Vec::new(),
        ingress: Vec::new(),
        load_balancer_class: None,
        source_ranges: Vec::new(),
        affinity_timeout_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        publish_not_ready_addresses: false,
        traffic_distribution: TrafficDistribution::Any,
        external_name: None,
        labels: Labels::new(),
        annotations: Labels::new(),
    }
}

fn slice(number: u32, endpoints: u32) -> EndpointSlice {
    let endpoint = |index: u32| Endpoint {
        addresses: vec![IpAddr::from(Ipv4Addr::from(0x0b00_0000 + number * endpoints + index))],
        ready: true,
        serving: true,
        terminating: false,
        hostname: number.is_multiple_of(10).then(|| format!("pod-{index}").into()),
        node: Some(NodeName::from(format!("node-{}", index % 100))),
        zone: Some("zone-a".into()),
        pod: Some(PodRef { namespace: namespace(number), name: format!("svc-{number}-{index}") }),
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    };
    EndpointSlice {
        imported: None,
        service: Some(format!("svc-{number}")),
        address_type: AddressType::IPv4,
        ports: vec![EndpointPort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: Some(8080),
            app_protocol: None,
        }],
        endpoints: (0..endpoints).map(endpoint).collect(),
        changed_at_milliseconds: None,
    }
}

fn namespace(number: u32) -> String {
    format!("ns-{}", number / PER_NAMESPACE)
}

fn tell(builder: &mut Builder, services: u32, endpoints: u32) {
    builder.apply([FeedChange::Begin { node: NodeName::from("node-0") }]);
    for number in 0..services {
        let namespace = namespace(number);
        let of = ServiceRef::new(namespace.clone(), format!("svc-{number}"));
        let slice_of = SliceRef { namespace: namespace.clone(), name: format!("svc-{number}-a") };
        builder.apply([
            FeedChange::Namespace { of: namespace, now: Some(Arc::new(Namespace::default())) },
            FeedChange::Service { of, now: Some(Arc::new(service(number))) },
            FeedChange::Slice { of: slice_of, now: Some(Arc::new(slice(number, endpoints))) },
        ]);
    }
    builder.apply([FeedChange::Synced]);
}

fn resident_kib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).map_or(Ok(0), |text| text.parse::<u32>());
    let address: SocketAddr = arguments.first().ok_or("no address")?.parse()?;
    let (services, endpoints, threads) = (number(1)?, number(2)?, number(3)?.max(1) as usize);
    let run = std::env::temp_dir().join(format!("seaway-serve-names-{}", std::process::id()));
    let mut config = RawConfig::default().dns()?;
    config.run = run;
    config.plain.admin = ([127, 0, 0, 1], 0).into();
    if let Some(upstream) = arguments.get(4) {
        config.upstreams = vec![DnsUpstream { address: upstream.parse()?, transport: DnsTransport::Udp }];
    }
    let listening = vec![Listening::open(address, threads)?];
    let fill = |builder: &mut Builder| {
        println!("empty: {}", resident_kib());
        let begun = std::time::Instant::now();
        tell(builder, services, endpoints);
        println!("told in {:?}: {}", begun.elapsed(), resident_kib());
        let begun = std::time::Instant::now();
        tell(builder, services, endpoints);
        println!("told again in {:?}: {}", begun.elapsed(), resident_kib());
    };
    daemon::serve_filled(config, listening, threads, CancellationToken::new(), fill).await?;
    Ok(())
}
