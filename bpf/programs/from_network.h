/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Ingress from other nodes: of the VXLAN device, and of the underlay device where pools
 * are routed directly or Services are served. Tunneled packets come from nodes only: the host's packet filter
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

/* Translates what is for no pod, or for one that is known by another address. */
SW_INLINE int sw_try_services(struct __sk_buff *skb, const struct sw_packet *packet,
			      const struct sw_endpoint *endpoint, bool tunneled)
{
	int verdict;

	if (!settings.services || (endpoint && endpoint->id && !sw_pod_is_translated(endpoint->id)) ||
	    !sw_take_up(packet))
		return SW_NOT_OURS;
	verdict = sw_serve_from_network(skb, tunneled);
	return verdict == SW_TOO_BIG ? sw_answer_too_big(skb, 0) : verdict;
}

/* Whether the frame holds a packet between nodes' tunnels: most do, and none is ours. */
SW_INLINE bool sw_is_tunnel_frame(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	struct ipv6hdr *ipv6 = data + ETH_HLEN;
	struct iphdr *ipv4 = data + ETH_HLEN;
	__be16 *ports;

	if ((void *)(ipv6 + 1) + 8 > data_end)
		return false;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		if (ipv4->protocol != IPPROTO_UDP || ipv4->ihl != 5)
			return false;
		ports = (void *)(ipv4 + 1);
	} else {
		if (ethernet->h_proto != bpf_htons(ETH_P_IPV6) || ipv6->nexthdr != IPPROTO_UDP)
			return false;
		ports = (void *)(ipv6 + 1);
	}
	return ports[1] == settings.tunnel_port;
}

SEC("tc")
int sw_from_tunnel(struct __sk_buff *skb)
{
	struct sw_packet packet;
	struct sw_endpoint *endpoint;
	struct sw_route *route;
	int reason = sw_parse(skb, &packet), verdict;

	if (reason)
		return sw_drop(skb, &packet, 0, reason);
	if (!packet.family || skb->pkt_type != PACKET_HOST)
		return SW_TO_STACK;
	endpoint = sw_find_endpoint(&packet.destination);
	verdict = sw_try_services(skb, &packet, endpoint, true);
	if (verdict != SW_NOT_OURS)
		return verdict;
	if (endpoint)
		return sw_deliver_from_network(skb, &packet, endpoint);
	route = sw_find_route(&packet.destination);
	if (route && route->kind == SW_ROUTE_LOCAL_BLOCK)
		return sw_drop(skb, &packet, 0, SW_DROP_UNKNOWN_POD);
	return SW_TO_STACK;
}

/* The node's own traffic comes this way too: one look-up, and one for Services, then out. A malformed packet
 * may be someone else's and is the stack's to judge. */
SEC("tc")
int sw_from_underlay(struct __sk_buff *skb)
{
	struct sw_packet packet;
	struct sw_endpoint *endpoint;
	int verdict;

	if (settings.services && sw_is_tunnel_frame(skb))
		return SW_TO_STACK;
	if (skb->pkt_type != PACKET_HOST || skb->vlan_present || sw_parse(skb, &packet) || !packet.family)
		return SW_TO_STACK;
	endpoint = sw_find_endpoint(&packet.destination);
	verdict = sw_try_services(skb, &packet, endpoint, false);
	if (verdict != SW_NOT_OURS)
		return verdict;
	if (!endpoint)
		return SW_TO_STACK;
	return sw_deliver_from_network(skb, &packet, endpoint);
}
