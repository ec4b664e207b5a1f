/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* What an underlay device receives, where its driver runs XDP. */

/* Whether the packet belongs to a connection and says nothing new of it; copies the entry. Once
 * a second a packet has to keep the connection young, which is not for here. */
SW_INLINE bool sw_find_settled_connection(const struct sw_frame *frame, const struct sw_conntrack_key *key,
					  struct sw_conntrack_entry *copy)
{
	struct sw_conntrack_entry *entry = bpf_map_lookup_elem(&sw_conntrack, key);
	const __u32 elsewhere = SW_CONNTRACK_DIRECT_RETURN | SW_CONNTRACK_BETWEEN_PODS;

	if (!entry)
		return false;
	*copy = *entry;
	if (!(copy->flags & SW_CONNTRACK_REPLIED) || copy->flags & elsewhere || sw_is_closed(copy->flags))
		return false;
	if (frame->tcp_flags & (SW_TCP_SYN | SW_TCP_FIN | SW_TCP_RST))
		return false;
	return bpf_ktime_get_ns() - copy->last_seen_nanos < SW_NANOS_PER_SECOND;
}

/* Whether the address is beyond this node, and not behind a tunnel. */
SW_INLINE bool sw_is_beyond(const __u8 address[16], __u32 packet_bytes)
{
	struct sw_route *route;
	union sw_ip ip;

	__builtin_memcpy(ip.bytes, address, sizeof(ip.bytes));
	if (sw_find_endpoint(&ip))
		return false;
	route = sw_find_route(&ip);
	return !route || (route->kind == SW_ROUTE_DIRECT && packet_bytes <= route->mtu_bytes);
}

/* Finds the next hop. Returns whether it is a neighbor that the host knows, on a device of ours. */
SW_INLINE bool sw_find_next_hop(struct xdp_md *context, const struct sw_frame *frame, bool is_ipv4,
				const struct sw_conntrack_entry *to, struct bpf_fib_lookup *route)
{
	__u32 leaves_by;

	__builtin_memset(route, 0, sizeof(*route));
	route->family = is_ipv4 ? 2 /* AF_INET */ : 10 /* AF_INET6 */;
	route->l4_protocol = frame->protocol;
	route->tot_len = frame->packet_bytes;
	route->ifindex = context->ingress_ifindex;
	if (is_ipv4) {
		__builtin_memcpy(&route->ipv4_src, to->source + 12, sizeof(route->ipv4_src));
		__builtin_memcpy(&route->ipv4_dst, to->destination + 12, sizeof(route->ipv4_dst));
	} else {
		__builtin_memcpy(route->ipv6_src, to->source, sizeof(route->ipv6_src));
		__builtin_memcpy(route->ipv6_dst, to->destination, sizeof(route->ipv6_dst));
	}
	if (bpf_fib_lookup(context, route, sizeof(*route), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return false;
	leaves_by = route->ifindex;
	return bpf_map_lookup_elem(&sw_xdp_devices, &leaves_by);
}

/* Sends a packet of one family on, or leaves it to the kernel. */
SW_INLINE int sw_send_frame_on(struct xdp_md *context, bool is_ipv4)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 arrives_by = context->ingress_ifindex, zero = 0;
	struct sw_xdp_device *device;
	struct sw_conntrack_entry entry;
	struct bpf_fib_lookup route;
	struct sw_conntrack_key key;
	struct sw_counter *counter;
	struct sw_frame frame;

	if (!sw_read_frame(data, end, is_ipv4, &frame))
		return XDP_PASS;
	device = bpf_map_lookup_elem(&sw_xdp_devices, &arrives_by);
	/* Frames for others reach a device that listens to all. */
	if (!device || __builtin_memcmp(frame.ethernet->h_dest, device->mac, ETH_ALEN))
		return XDP_PASS;
	sw_ends_of(&frame, is_ipv4, &key);
	if (!sw_find_settled_connection(&frame, &key, &entry) ||
	    !sw_is_beyond(entry.destination, frame.packet_bytes) ||
	    !sw_find_next_hop(context, &frame, is_ipv4, &entry, &route))
		return XDP_PASS;
	counter = bpf_map_lookup_elem(&sw_xdp_counters, &zero);
	if (counter) {
		counter->packets++;
		counter->bytes += end - data;
	}
	sw_rewrite_frame(&frame, is_ipv4, &key, &entry);
	__builtin_memcpy(frame.ethernet->h_dest, route.dmac, ETH_ALEN);
	__builtin_memcpy(frame.ethernet->h_source, route.smac, ETH_ALEN);
	return route.ifindex == arrives_by ? XDP_TX : bpf_redirect(route.ifindex, 0);
}

SEC("xdp")
int sw_from_device(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;

	if ((void *)(ethernet + 1) > end)
		return XDP_PASS;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP))
		return sw_send_frame_on(context, true);
	if (ethernet->h_proto == bpf_htons(ETH_P_IPV6))
		return sw_send_frame_on(context, false);
	return XDP_PASS;
}
