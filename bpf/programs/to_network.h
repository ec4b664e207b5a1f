/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Egress towards other nodes: of the VXLAN device, and of the underlay device where pools
 * are routed directly. */

SEC("tc")
int sw_to_network(struct __sk_buff *skb)
{
	struct sw_packet packet;

	if (sw_came_by_fast_path(skb))
		return SW_TO_STACK;
	if (sw_parse(skb, &packet) || !packet.family)
		return SW_TO_STACK;
	/* Its answer takes the fast path only if it is for a pod and from a pod. */
	if (sw_endpoint_is_reachable(sw_find_endpoint(&packet.source)) &&
	    sw_route_is_reachable(sw_find_route(&packet.destination)))
		sw_remember_stack_flow(&packet);
	return SW_TO_STACK;
}
