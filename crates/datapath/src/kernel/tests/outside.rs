//! Pods and the world outside: masquerading, and errors about packets that do not fit.

use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use seaway_model::Encapsulation;

use super::traffic::{PATIENCE, exchange, receive, udp};
use super::world::{BACKENDS, OUTSIDE_V4, OUTSIDE_V6, World, ip, net};

#[test]
fn pods_leave_with_the_node_s_address_unless_excepted() {
    for backend in BACKENDS {
        let mut world = World::new(backend, Encapsulation::Vxlan);
        let pod = world.a.pod(11);
        assert_eq!(exchange(&pod.namespace, &world.outside, ip(OUTSIDE_V4)), Ok(ip("192.0.2.1")));
        assert_eq!(exchange(&pod.namespace, &world.outside, ip(OUTSIDE_V6)), Ok(ip("2001:db8::1")));
        // The node on the other side is excepted, as all nodes are.
        assert_eq!(exchange(&pod.namespace, &world.b.namespace, ip("192.0.2.2")), Ok(pod.v4()));

        world.outside.ip("route add 10.83.1.0/24 via 192.0.2.1");
        world.a.plan.masquerade.except_destinations.push(net("192.0.2.100/32"));
        world.a.plan.masquerade.except_destinations.sort();
        let operations = world.a.apply().unwrap();
        assert_eq!(operations.len(), 1, "{operations:?}");
        assert_eq!(exchange(&pod.namespace, &world.outside, ip(OUTSIDE_V4)), Ok(pod.v4()));
    }
}

/// Makes the kernel refuse to fragment (ip(7), ipv6(7)).
fn forbid_fragments(socket: &UdpSocket, v6: bool) {
    let (level, option, value) = if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
    };
    let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap();
    #[expect(unsafe_code, reason = "nix has no wrapper for path MTU discovery of IPv4")]
    // SAFETY: the pointer is to a live `c_int` of the length given.
    let outcome = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    assert_eq!(outcome, 0);
}

#[test]
fn senders_learn_that_the_tunnel_is_narrower() {
    for backend in BACKENDS {
        let world = World::new(backend, Encapsulation::Vxlan);
        let pod = world.b.pod(11);
        // A host outside that knows pods by way of node a, from where the tunnel leads to b.
        world.outside.ip("route add 10.83.2.0/24 via 192.0.2.1");
        world.outside.ip("-6 route add fd83:0:0:2::/64 via 2001:db8::1");
        for (from, to, headers_bytes) in [(OUTSIDE_V4, pod.v4(), 28), (OUTSIDE_V6, pod.v6(), 48)] {
            let receiver = udp(&pod.namespace, to);
            let sender = udp(&world.outside, ip(from));
            forbid_fragments(&sender, to.is_ipv6());
            sender.connect(receiver.local_addr().unwrap()).unwrap();
            let (fits, too_large) = (vec![1; 1450 - headers_bytes], vec![2; 1500 - headers_bytes]);
            sender.send(&too_large).unwrap();
            // The answer of node a ends the wait, with the kernel's word for it.
            let error = receive(&sender).unwrap_err();
            assert!(
                matches!(error.raw_os_error(), Some(libc::EMSGSIZE)),
                "{backend}: no word within {PATIENCE:?} that {} bytes to {to} are too many: {error}",
                too_large.len()
            );
            assert_eq!(sender.send(&too_large).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
            sender.send(&fits).unwrap();
            assert_eq!(receive(&receiver).unwrap(), fits.len());
        }
    }
}
