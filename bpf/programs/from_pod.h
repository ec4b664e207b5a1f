/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Ingress of the host side of a pod link: everything a pod sends. */

/* Sends the packet along a block of another node, if it fits. */
SW_INLINE int sw_forward_along(struct __sk_buff *skb, const struct sw_packet *packet,
			       const struct sw_route *route, __u32 sender_id)
{
	/* The stack answers with "fragmentation needed" or "packet too big". */
	if (sw_packet_bytes_on_wire(skb, packet) > route->mtu_bytes)
		return SW_TO_STACK;
	if (route->kind == SW_ROUTE_TUNNEL)
		return sw_send_into_tunnel(skb, packet, route, sender_id);
	return sw_send_to_neighbor(skb, packet, route, sender_id);
}

/* Where a packet that may be sent goes. In order:
 *
 *  1. frames not for the host: the stack;
 *  2. outside the blocks: a Service's, or the stack;
 *  3. an address of a local block without a pod: dropped;
 *  4. from a pod that answers another pod under a Service's address: translated;
 *  5. unreachable by the fast path (as are multicast and the gateways), unusual, at the end
 *     of its hops, or from a pod whose packets the host shapes: the stack;
 *  6. a flow that the stack knows: the stack;
 *  7. a local pod, then a block of another node. */
SW_INLINE int sw_forward_from_pod(struct __sk_buff *skb, const struct sw_packet *packet,
				  const struct sw_link *link)
{
	__u32 sender_id = link->endpoint_id;
	struct sw_endpoint *endpoint;
	struct sw_route *route = NULL;
	int verdict;

	if (!packet->family || skb->pkt_type != PACKET_HOST)
		return SW_TO_STACK;
	endpoint = sw_find_endpoint(&packet->destination);
	if (!endpoint) {
		route = sw_find_route(&packet->destination);
		if (!route) {
			if (!settings.services || !sw_take_up(packet))
				return SW_TO_STACK;
			verdict = sw_serve_from_pod(skb, sender_id, true);
			if (verdict == SW_TOO_BIG)
				return sw_answer_too_big(skb, sender_id);
			return verdict == SW_NOT_OURS ? SW_TO_STACK : verdict;
		}
		if (route->kind == SW_ROUTE_LOCAL_BLOCK)
			return sw_drop(skb, packet, sender_id, SW_DROP_UNKNOWN_POD);
	}
	if (settings.services && sw_pod_is_translated(sender_id) && sw_take_up(packet)) {
		verdict = sw_serve_from_pod(skb, sender_id, false);
		if (verdict != SW_NOT_OURS)
			return verdict == SW_TOO_BIG ? sw_answer_too_big(skb, sender_id) : verdict;
	}
	if (packet->unusual || packet->hop_limit <= 1 || link->flags & SW_LINK_STACK_ONLY)
		return SW_TO_STACK;
	if (!sw_endpoint_is_reachable(endpoint) && !sw_route_is_reachable(route))
		return SW_TO_STACK;
	if (sw_flow_is_the_stacks(packet))
		return SW_TO_STACK;
	if (endpoint)
		return sw_deliver(skb, packet, endpoint, sender_id);
	if (!route)
		return SW_TO_STACK;
	return sw_forward_along(skb, packet, route, sender_id);
}

SEC("tc")
int sw_from_pod(struct __sk_buff *skb)
{
	__u32 interface_index = skb->ifindex;
	struct sw_link *link = bpf_map_lookup_elem(&sw_links, &interface_index);
	struct sw_packet packet;
	int reason, verdict;

	if (!link) {
		sw_parse(skb, &packet);
		return sw_drop(skb, &packet, 0, SW_DROP_UNKNOWN_ENDPOINT);
	}
	reason = sw_parse_and_check_sender(skb, link, &packet);
	if (reason)
		return sw_drop(skb, &packet, link->endpoint_id, reason);
	verdict = sw_forward_from_pod(skb, &packet, link);
	if (verdict == TC_ACT_REDIRECT)
		SW_COUNT_TRAFFIC(skb, link->endpoint_id, sent_fast);
	else if (verdict == SW_TO_STACK)
		SW_COUNT_TRAFFIC(skb, link->endpoint_id, sent_stack);
	return verdict;
}
