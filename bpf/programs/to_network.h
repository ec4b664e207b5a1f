/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Egress towards other nodes: of the VXLAN device, and of the underlay device where pools
 * are routed directly or Services are served. */

SW_INLINE int sw_leave_for_network(struct __sk_buff *skb)
{
	struct sw_packet packet;

	if (sw_parse(skb, &packet) || !packet.family)
		return SW_TO_STACK;
	if (settings.services && sw_take_up(&packet) && sw_serve_from_stack(skb))
		return SW_TO_STACK;
	/* Its answer takes the fast path only if it is for a pod and from a pod. */
	if (sw_endpoint_is_reachable(sw_find_endpoint(&packet.source)) &&
	    sw_route_is_reachable(sw_find_route(&packet.destination)))
		sw_remember_stack_flow(&packet);
	return SW_TO_STACK;
}

SEC("tc")
int sw_to_network(struct __sk_buff *skb)
{
	return sw_came_by_fast_path(skb) ? SW_TO_STACK : sw_leave_for_network(skb);
}

/* The tunnel's own packets come this way too. */
SEC("tc")
int sw_to_underlay(struct __sk_buff *skb)
{
	if (sw_came_by_fast_path(skb) || (settings.services && sw_is_tunnel_frame(skb)))
		return SW_TO_STACK;
	return sw_leave_for_network(skb);
}
