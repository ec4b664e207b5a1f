/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* The fast path's last step: one hop of IP forwarding, then the next interface.
 *
 * Each forwarding node takes one from TTL or hop limit, on the fast path as in the host
 * stack, so that `traceroute` and loops look the same on both. */
#ifndef SEAWAY_REDIRECT_H
#define SEAWAY_REDIRECT_H

#include "counters.h"
#include "events.h"
#include "maps.h"
#include "parse.h"

/* Says to the egress program of the next interface that the packet took the fast path.
 * It sits in skb->tc_index, which nothing else on the way uses: skb->mark belongs to the
 * node's other software. The egress program clears it before the packet is encapsulated.
 * Kernels without CONFIG_NET_SCHED read it as 0; such flows then take the host stack. */
#define SW_FAST_PATH_INDEX 0x5357

/* Takes one from the hop limit, in place. Returns 0, or a negative error. */
SW_INLINE long sw_take_hop(struct __sk_buff *skb, const struct sw_packet *packet)
{
	struct {
		__u8 ttl;
		__u8 protocol;
		__be16 checksum;
	} ipv4;
	__u32 sum;
	__u8 hop_limit;

	if (packet->family == 6) {
		/* A checksum that the receiving interface took over the whole packet changes. */
		hop_limit = packet->hop_limit - 1;
		return bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct ipv6hdr, hop_limit),
					   &hop_limit, sizeof(hop_limit), BPF_F_RECOMPUTE_CSUM);
	}
	/* RFC 1624: the header's sum stays the same, so does one over the whole packet. */
	sum = packet->header_checksum + bpf_htons(0x0100);
	ipv4.ttl = packet->hop_limit - 1;
	ipv4.protocol = packet->protocol;
	ipv4.checksum = sum + (sum >= 0xffff);
	return bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, ttl), &ipv4, sizeof(ipv4), 0);
}

/* Writes both MAC addresses. Returns 0, or a negative error. */
SW_INLINE long sw_set_macs(struct __sk_buff *skb, const __u8 *destination, const __u8 *source)
{
	__u8 macs[2 * ETH_ALEN];

	__builtin_memcpy(macs, destination, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, source, ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0);
}

/* Hands the packet to a pod of this node: straight to the pod's side of its link.
 * @sender_id: endpoint that sent it; 0: another node */
SW_INLINE int sw_deliver(struct __sk_buff *skb, const struct sw_packet *packet,
			 const struct sw_endpoint *endpoint, __u32 sender_id)
{
	if (sw_take_hop(skb, packet) || sw_set_macs(skb, endpoint->pod_mac, endpoint->host_mac) ||
	    bpf_redirect_peer(endpoint->interface_index, 0) != TC_ACT_REDIRECT)
		return sw_drop(skb, packet, sender_id, SW_DROP_REDIRECT_FAILED);
	SW_COUNT_TRAFFIC(skb, endpoint->id, received_fast);
	return TC_ACT_REDIRECT;
}

/* Hands the packet to the VXLAN device, whose forwarding table knows the node. */
SW_INLINE int sw_send_into_tunnel(struct __sk_buff *skb, const struct sw_packet *packet,
				  const struct sw_route *route, __u32 sender_id)
{
	__u32 zero = 0;
	struct sw_tunnel_device *tunnel = bpf_map_lookup_elem(&sw_tunnel, &zero);

	if (!tunnel || sw_take_hop(skb, packet) || sw_set_macs(skb, route->tunnel_mac, tunnel->mac))
		return sw_drop(skb, packet, sender_id, SW_DROP_REDIRECT_FAILED);
	skb->tc_index = SW_FAST_PATH_INDEX;
	if (bpf_redirect(route->interface_index, 0) != TC_ACT_REDIRECT)
		return sw_drop(skb, packet, sender_id, SW_DROP_REDIRECT_FAILED);
	return TC_ACT_REDIRECT;
}

/* Hands the packet to a neighbor on the underlay: the host's tables name it. */
SW_INLINE int sw_send_to_neighbor(struct __sk_buff *skb, const struct sw_packet *packet,
				  const struct sw_route *route, __u32 sender_id)
{
	if (sw_take_hop(skb, packet))
		return sw_drop(skb, packet, sender_id, SW_DROP_REDIRECT_FAILED);
	skb->tc_index = SW_FAST_PATH_INDEX;
	if (bpf_redirect_neigh(route->interface_index, NULL, 0, 0) != TC_ACT_REDIRECT)
		return sw_drop(skb, packet, sender_id, SW_DROP_REDIRECT_FAILED);
	return TC_ACT_REDIRECT;
}

/* Whether the packet took the fast path on another interface; forgets it. */
SW_INLINE bool sw_came_by_fast_path(struct __sk_buff *skb)
{
	if (skb->tc_index != SW_FAST_PATH_INDEX)
		return false;
	skb->tc_index = 0;
	return true;
}

#endif
