/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Egress of the host side of a pod link: what the host stack delivers to a pod. The fast
 * path enters the pod's side of the link directly and never comes here. */

SEC("tc")
int sw_to_pod(struct __sk_buff *skb)
{
	__u32 interface_index = skb->ifindex;
	struct sw_link *link = bpf_map_lookup_elem(&sw_links, &interface_index);
	struct sw_packet packet;

	if (!link)
		return SW_TO_STACK;
	SW_COUNT_TRAFFIC(skb, link->endpoint_id, received_stack);
	if (sw_parse(skb, &packet) || !packet.family)
		return SW_TO_STACK;
	if (settings.services && sw_pod_is_translated(link->endpoint_id) &&
	    sw_take_up(&packet) && sw_serve_from_stack(skb))
		return SW_TO_STACK;
	/* An answer to an address beyond the fast path goes to the stack anyway. */
	if (sw_address_is_reachable(&packet.source))
		sw_remember_stack_flow(&packet);
	return SW_TO_STACK;
}
