/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Ingress from other nodes: of the VXLAN device, and of the underlay device where pools
 * are routed directly. Tunneled packets come from nodes only: the host's packet filter
 * sees to that before they are unwrapped. */

/* Delivers a packet to a local pod. In order:
 *
 *  1. unusual, or at the end of its hops: the stack;
 *  2. from an address that the pod's answer does not reach by the fast path: the stack,
 *     because connection tracking has to see both directions or none. A packet that
 *     another node's kube-proxy gave its own source address is such a one;
 *  3. a flow that the stack knows: the stack. */
SW_INLINE int sw_deliver_from_network(struct __sk_buff *skb, const struct sw_packet *packet,
				      const struct sw_endpoint *endpoint)
{
	if (packet->unusual || packet->hop_limit <= 1 || !sw_endpoint_is_reachable(endpoint))
		return SW_TO_STACK;
	if (!sw_route_is_reachable(sw_find_route(&packet->source)))
		return SW_TO_STACK;
	if (sw_flow_is_the_stacks(packet))
		return SW_TO_STACK;
	return sw_deliver(skb, packet, endpoint, 0);
}

SEC("tc")
int sw_from_tunnel(struct __sk_buff *skb)
{
	struct sw_packet packet;
	struct sw_endpoint *endpoint;
	struct sw_route *route;
	int reason = sw_parse(skb, &packet);

	if (reason)
		return sw_drop(skb, &packet, 0, reason);
	if (!packet.family || skb->pkt_type != PACKET_HOST)
		return SW_TO_STACK;
	endpoint = sw_find_endpoint(&packet.destination);
	if (endpoint)
		return sw_deliver_from_network(skb, &packet, endpoint);
	route = sw_find_route(&packet.destination);
	if (route && route->kind == SW_ROUTE_LOCAL_BLOCK)
		return sw_drop(skb, &packet, 0, SW_DROP_UNKNOWN_POD);
	return SW_TO_STACK;
}

/* The node's own traffic comes this way too: one look-up, then out. A malformed packet
 * may be someone else's and is the stack's to judge. */
SEC("tc")
int sw_from_underlay(struct __sk_buff *skb)
{
	struct sw_packet packet;
	struct sw_endpoint *endpoint;

	if (skb->pkt_type != PACKET_HOST || skb->vlan_present || sw_parse(skb, &packet) || !packet.family)
		return SW_TO_STACK;
	endpoint = sw_find_endpoint(&packet.destination);
	if (!endpoint)
		return SW_TO_STACK;
	return sw_deliver_from_network(skb, &packet, endpoint);
}
