/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Sending on what was translated. The host stack cannot: it drops packets of others that
 * come from one of its own addresses. */
#ifndef SEAWAY_FORWARD_H
#define SEAWAY_FORWARD_H

#include "events.h"
#include "redirect.h"
#include "routes.h"
#include "service_scratch.h"

#define SW_IPV4_DONT_FRAGMENT 0x4000

/* sw_drop() of the packet in the scratch. */
__noinline int sw_refuse(struct __sk_buff *skb, __u32 endpoint_id, __u32 reason)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();

	return scratch ? sw_drop(skb, &scratch->packet, endpoint_id, reason) : SW_DROP;
}

/* Whether the packet may be cut on its way: the tunnel's own packets then are. */
SW_INLINE bool sw_may_be_cut(struct __sk_buff *skb, const struct sw_packet *packet)
{
	__be16 flags = bpf_htons(SW_IPV4_DONT_FRAGMENT);

	if (packet->family != 4 ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, frag_off), &flags, sizeof(flags)))
		return false;
	return !(flags & bpf_htons(SW_IPV4_DONT_FRAGMENT));
}

/* Sends the packet the way that the host's routing table has for the address in the scratch.
 * Returns a verdict, or SW_TOO_BIG. */
__noinline int sw_send_by_host_route(struct __sk_buff *skb)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();
	struct bpf_redir_neigh *next_hop;
	struct bpf_fib_lookup *route;
	const struct sw_packet *packet;
	const union sw_ip *towards;
	long result;

	if (!scratch)
		return SW_DROP;
	packet = &scratch->packet;
	towards = &scratch->towards;
	route = &scratch->route;
	next_hop = &scratch->next_hop;
	__builtin_memset(route, 0, sizeof(*route));
	route->family = packet->family == 4 ? 2 /* AF_INET */ : 10 /* AF_INET6 */;
	route->l4_protocol = packet->protocol;
	route->tot_len = sw_packet_bytes_on_wire(skb, packet);
	route->ifindex = skb->ifindex;
	if (packet->family == 4) {
		route->ipv4_src = packet->source.words[3];
		route->ipv4_dst = towards->words[3];
	} else {
		__builtin_memcpy(route->ipv6_src, packet->source.bytes, sizeof(route->ipv6_src));
		__builtin_memcpy(route->ipv6_dst, towards->bytes, sizeof(route->ipv6_dst));
	}
	result = bpf_fib_lookup(skb, route, sizeof(*route), 0);
	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		break;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		scratch->mtu_bytes = route->mtu_result;
		return SW_TOO_BIG;
	case BPF_FIB_LKUP_RET_NOT_FWDED:
		/* An address of the node itself. */
		return SW_TO_STACK;
	default:
		return sw_refuse(skb, 0, SW_DROP_SERVICE_UNROUTABLE);
	}
	if (packet->hop_limit <= 1)
		return sw_refuse(skb, 0, SW_DROP_TTL_EXPIRED);
	/* The look-up left the next hop in the place of the destination. */
	next_hop->nh_family = route->family;
	__builtin_memcpy(next_hop->ipv6_nh, route->ipv6_dst, sizeof(next_hop->ipv6_nh));
	if (sw_take_hop(skb, packet))
		return sw_refuse(skb, 0, SW_DROP_REDIRECT_FAILED);
	skb->tc_index = SW_FAST_PATH_INDEX;
	if (bpf_redirect_neigh(route->ifindex, next_hop, sizeof(*next_hop), 0) != TC_ACT_REDIRECT)
		return sw_refuse(skb, 0, SW_DROP_REDIRECT_FAILED);
	return TC_ACT_REDIRECT;
}

/* Sends the packet to its destination: a pod here, a pod elsewhere, or anything else.
 * @stack_may_send: what is for no pod can take the host stack, for its source is a pod's own
 * Returns a verdict, or SW_TOO_BIG. */
__noinline int sw_send_on(struct __sk_buff *skb, __u32 sender_id, __u32 stack_may_send)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();
	const struct sw_packet *packet;
	struct sw_endpoint *endpoint;
	struct sw_route *route;

	if (!scratch)
		return SW_DROP;
	packet = &scratch->packet;
	scratch->towards = packet->destination;
	endpoint = sw_find_endpoint(&packet->destination);
	if (sw_endpoint_is_reachable(endpoint)) {
		if (packet->hop_limit <= 1)
			return sw_refuse(skb, sender_id, SW_DROP_TTL_EXPIRED);
		return sw_deliver(skb, packet, endpoint, sender_id);
	}
	/* A pod behind shaping is reached through the host's side of its link. */
	if (endpoint)
		return endpoint->id && !stack_may_send ? sw_send_by_host_route(skb) : SW_TO_STACK;
	route = sw_find_route(&packet->destination);
	if (route && route->kind == SW_ROUTE_LOCAL_BLOCK)
		return sw_refuse(skb, sender_id, SW_DROP_UNKNOWN_POD);
	if (!sw_route_is_reachable(route))
		return stack_may_send ? SW_TO_STACK : sw_send_by_host_route(skb);
	if (packet->hop_limit <= 1)
		return sw_refuse(skb, sender_id, SW_DROP_TTL_EXPIRED);
	if (sw_packet_bytes_on_wire(skb, packet) > route->mtu_bytes &&
	    !(route->kind == SW_ROUTE_TUNNEL && sw_may_be_cut(skb, packet))) {
		scratch->mtu_bytes = route->mtu_bytes;
		return SW_TOO_BIG;
	}
	if (route->kind == SW_ROUTE_TUNNEL)
		return sw_send_into_tunnel(skb, packet, route, sender_id);
	return sw_send_to_neighbor(skb, packet, route, sender_id);
}

#endif
