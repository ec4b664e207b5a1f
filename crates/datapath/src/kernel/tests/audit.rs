//! Audits find what differs, repair it, and say whose it was.

use seaway_model::Encapsulation;

use super::traffic::exchange;
use super::world::{BACKENDS, World};
use crate::support::Backend;

#[test]
fn audits_repair_and_name_the_owner() {
    for backend in BACKENDS {
        let world = World::new(backend, Encapsulation::Vxlan);
        let (pod, far) = (world.a.pod(11), world.b.pod(12));
        let host = pod.link.host_interface.as_str().to_owned();
        let sabotage: &[(&str, &str, &str)] = &[
            ("ip route del 10.83.2.0/24", "route 10.83.2.0/24 was missing", "b"),
            ("ip route del 10.83.1.11/32", "route 10.83.1.11/32 was missing", "pod shop/web-1-11"),
            ("ip neigh del 10.83.1.11 dev HOST", "neighbor 10.83.1.11 on HOST was missing", "pod shop/web-1-11"),
            ("ip neigh del 192.0.2.2 dev sw_vxlan", "neighbor 192.0.2.2 on sw_vxlan was missing", "b"),
            ("bridge fdb del MAC dev sw_vxlan dst 192.0.2.2", "forwarding entry", "node b"),
            ("ip addr del 10.83.1.0/32 dev sw_vxlan", "address 10.83.1.0/32 on sw_vxlan was missing", "own block"),
            ("nft delete element inet seaway tunnel_peers_v4 { 192.0.2.2 }", "element 192.0.2.2", "nodes"),
            ("nft delete element inet seaway masquerade_sources_v4 { 10.83.1.0/24 }", "element 10.83.1.0/24", "block"),
            ("nft flush chain inet seaway postrouting", "nftables rules of table seaway was lacking", "configuration"),
            ("nft delete table inet seaway", "nftables rules of table seaway was missing", "configuration"),
            ("ip link set HOST down", "interface HOST was down", "pod shop/web-1-11"),
            ("ip link set sw_vxlan mtu 1300", "device sw_vxlan was", "pools"),
            ("sysctl -qw net.ipv4.ip_forward=0", "setting net/ipv4/ip_forward was 0 instead of 1", "pods"),
            ("ip route add unreachable 10.83.7.0/24 proto 83", "route 10.83.7.0/24 was left over", "nothing"),
            ("ip link del sw_vxlan", "device sw_vxlan was missing", "pools"),
        ];
        let mac = &world.a.plan.tunnel.as_ref().unwrap().peers[0].mac.to_string();
        for (command, what, cause) in sabotage {
            let fill = |text: &str| text.replace("HOST", &host).replace("MAC", mac);
            world.a.namespace.exec(&fill(command));
            let found = world.a.audit();
            let named = |difference: &&crate::Difference| {
                difference.what.contains(&fill(what)) && difference.cause.contains(cause)
            };
            assert!(found.iter().any(|difference| named(&difference)), "{backend}: {command}: {found:#?}");
            assert_eq!(world.a.audit(), [], "{backend}: after {command}");
        }
        exchange(&pod.namespace, &far.namespace, far.v4()).unwrap();
        exchange(&far.namespace, &pod.namespace, pod.v6()).unwrap();
    }
}

#[test]
fn audits_repair_the_source_check() {
    let world = World::new(Backend::Nftables, Encapsulation::Vxlan);
    let pod = world.a.pod(11);
    let index = pod.link.host_index;
    for (set, element) in [
        // `nft` takes the number in this set for one in network byte order.
        ("pod_links", index.swap_bytes().to_string()),
        ("pod_macs", format!("{} . {}", pod.link.host_interface, pod.link.pod_mac)),
        ("pod_addresses_v4", format!("{} . 10.83.1.11", pod.link.host_interface)),
    ] {
        for family in ["inet", "arp"] {
            world.a.namespace.exec(&format!("nft delete element {family} seaway {set} {{ {element} }}"));
            let found = world.a.audit();
            assert_eq!(found.len(), 1, "{family} {set} of interface {index}: {found:#?}");
            assert_eq!(found[0].cause, "pod shop/web-1-11");
            assert_eq!(world.a.audit(), []);
        }
    }
}

type Sabotage = Box<dyn FnOnce(&mut crate::kernel::bpf::FastPath) + Send>;

#[test]
fn audits_repair_the_fast_path() {
    let world = World::new(Backend::Ebpf, Encapsulation::Vxlan);
    let pod = world.a.pod(11);
    let address = pod.v4();
    let sabotage: Vec<(&str, Sabotage)> = vec![
        ("fast endpoint 10.83.1.11 was missing", Box::new(move |fast| fast.set_endpoints(&[], &[address]).unwrap())),
        (
            "fast route 10.83.2.0/24 was missing",
            Box::new(|fast| fast.set_routes(&[], &["10.83.2.0/24".parse().unwrap()]).unwrap()),
        ),
        ("fast link of interface", {
            let index = pod.link.host_index;
            Box::new(move |fast| fast.detach_pod_link(index).unwrap())
        }),
    ];
    for (what, act) in sabotage {
        world.a.with(move |datapath| act(datapath.fast_path.as_mut().unwrap()));
        let found = world.a.audit();
        assert!(found.iter().any(|difference| difference.what.contains(what)), "{what}: {found:#?}");
        assert!(found.iter().all(|difference| !difference.cause.is_empty()));
        assert_eq!(world.a.audit(), []);
    }
}
