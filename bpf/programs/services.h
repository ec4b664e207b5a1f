/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Packets of Services, at every hook. The functions that serve return a verdict, SW_NOT_OURS,
 * or SW_TOO_BIG: then sw_answer_too_big() is next. It is not called here, for the call stack
 * would be too deep for the kernel.
 *
 *   client ──▶ from_network ──▶ chosen pod, here or elsewhere    (to, and perhaps from, translated)
 *          ◀── from_pod, from_network ◀── its answers            (translated back)
 *   client ──▶ from_network ──▶ host stack ──▶ process of the node
 *          ◀── to_network ◀── host stack ◀──────
 *   pod    ──▶ from_pod ──▶ chosen pod       where its socket did not do it */

/* Completes what parsing left. Returns whether the packet's ports are known. */
SW_INLINE bool sw_has_known_ends(struct __sk_buff *skb, struct sw_service_scratch *scratch)
{
	if (scratch->packet.unusual && !sw_complete_fragment(skb, scratch))
		return false;
	return sw_is_tracked_protocol(scratch->packet.protocol);
}

/* Hands the packet, as it is, to the node that an endpoint runs on.
 * Returns a verdict, or SW_TOO_BIG. */
__noinline int sw_hand_over(struct __sk_buff *skb)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();
	const struct sw_packet *packet;
	struct sw_route *route;

	if (!scratch)
		return SW_DROP;
	packet = &scratch->packet;
	__builtin_memcpy(scratch->towards.bytes, scratch->entry.destination, sizeof(scratch->towards));
	if (packet->hop_limit <= 1)
		return sw_refuse(skb, 0, SW_DROP_TTL_EXPIRED);
	route = sw_find_route(&scratch->towards);
	if (sw_route_is_reachable(route) && route->kind == SW_ROUTE_TUNNEL) {
		if (sw_packet_bytes_on_wire(skb, packet) <= route->mtu_bytes || sw_may_be_cut(skb, packet))
			return sw_send_into_tunnel(skb, packet, route, 0);
		scratch->mtu_bytes = route->mtu_bytes;
		return SW_TOO_BIG;
	}
	return sw_send_by_host_route(skb);
}

/* Keeps the packet's ends, to undo their translation. */
SW_INLINE void sw_keep_ends(const struct sw_packet *packet, struct sw_conntrack_entry *ends)
{
	__builtin_memcpy(ends->source, packet->source.bytes, sizeof(ends->source));
	__builtin_memcpy(ends->destination, packet->destination.bytes, sizeof(ends->destination));
	ends->source_port = packet->source_port;
	ends->destination_port = packet->destination_port;
}

/* Sends on a packet whose connection was found, or made.
 * Returns a verdict, or SW_TOO_BIG: the packet is as it came. */
__noinline int sw_go_on(struct __sk_buff *skb, __u32 sender_id)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();
	bool from_client_pod, keeps_source;
	struct sw_packet *packet;
	int verdict;

	if (!scratch)
		return SW_DROP;
	packet = &scratch->packet;
	from_client_pod = sender_id && scratch->entry.flags & SW_CONNTRACK_FORWARD;
	if (scratch->entry.flags & SW_CONNTRACK_DIRECT_RETURN)
		return sw_hand_over(skb);
	keeps_source = !__builtin_memcmp(packet->source.bytes, scratch->entry.source, sizeof(packet->source));
	sw_keep_ends(packet, &scratch->other);
	if (sw_translate(skb))
		return sw_refuse(skb, sender_id, SW_DROP_MALFORMED);
	verdict = sw_send_on(skb, sender_id, from_client_pod && keeps_source);
	if (verdict != SW_TOO_BIG)
		return verdict;
	scratch->entry = scratch->other;
	if (sw_translate(skb))
		return sw_refuse(skb, sender_id, SW_DROP_MALFORMED);
	return SW_TOO_BIG;
}

/* Sends on an ICMP error about a packet of a connection. Returns a verdict, SW_NOT_OURS, or
 * SW_HAND_OVER. */
__noinline int sw_go_on_with_error(struct __sk_buff *skb, __u32 sender_id)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();
	int verdict;

	if (!scratch || !sw_find_quoted(skb, scratch))
		return SW_NOT_OURS;
	if (scratch->entry.flags & SW_CONNTRACK_DIRECT_RETURN)
		return SW_HAND_OVER;
	if (sw_translate_error(skb))
		return sw_refuse(skb, sender_id, SW_DROP_MALFORMED);
	verdict = sw_send_on(skb, sender_id, false);
	return verdict == SW_TOO_BIG ? sw_refuse(skb, sender_id, SW_DROP_SERVICE_UNROUTABLE) : verdict;
}

SW_INLINE void sw_fill_request(const struct sw_packet *packet, __u8 side, struct sw_service_request *request)
{
	__builtin_memset(request, 0, sizeof(*request));
	request->destination = packet->destination;
	request->client = packet->source;
	request->port = packet->destination_port;
	request->client_port = packet->source_port;
	request->protocol = packet->protocol;
	request->side = side;
}

/* What becomes of a packet for a Service without a backend. */
SW_INLINE int sw_answer_without_backend(struct __sk_buff *skb, __u32 sender_id, int choice)
{
	switch (choice) {
	case SW_CHOICE_NO_SERVICE:
		return SW_NOT_OURS;
	case SW_CHOICE_REJECT:
		/* The stack knows how to refuse. */
		return SW_TO_STACK;
	case SW_CHOICE_SOURCE_REFUSED:
		return sw_refuse(skb, sender_id, SW_DROP_SERVICE_SOURCE_REFUSED);
	default:
		return sw_refuse(skb, sender_id, SW_DROP_SERVICE_WITHOUT_LOCAL_ENDPOINT);
	}
}

/* Whether all nodes choose alike, so that a connection that came to another node before can go
 * on here. */
SW_INLINE bool sw_nodes_choose_alike(const struct sw_service *service)
{
	__u32 algorithm = sw_algorithm_of(service);

	return service->flags & SW_SERVICE_DIRECT_RETURN || algorithm == SW_ALGORITHM_MAGLEV ||
	       algorithm == SW_ALGORITHM_SOURCE_HASH;
}

/* sw_try_to_choose() for the request in the scratch. */
__noinline int sw_try_to_serve(struct __sk_buff *skb)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();

	if (!skb || !scratch)
		return SW_CHOICE_NO_SERVICE;
	return sw_try_to_choose(&scratch->request, &scratch->answer);
}

/* Finds frontend and backend for the request in the scratch, as sw_choose_backend() does. */
SW_INLINE int sw_choose(struct __sk_buff *skb)
{
	int attempt, choice;

	for (attempt = 0; attempt < SW_CHOICE_ATTEMPTS; attempt++) {
		choice = sw_try_to_serve(skb);
		if (choice >= 0)
			return choice;
	}
	return SW_CHOICE_DROP;
}

/* Connects a client from elsewhere to the chosen backend. */
SW_INLINE int sw_connect_from_network(struct __sk_buff *skb, struct sw_service_scratch *scratch)
{
	const union sw_ip *backend_ip = (const union sw_ip *)scratch->answer.backend.address;
	bool local = scratch->answer.backend.flags & SW_BACKEND_LOCAL, hide_client;
	__u32 service_flags = scratch->answer.service.flags, flags = 0;
	struct sw_endpoint *endpoint = local ? sw_find_endpoint(backend_ip) : NULL;
	int reason;

	/* A process of this node answers clients whatever their address; the stack would drop what
	 * seems to come from itself. */
	hide_client = service_flags & SW_SERVICE_OUTSIDE_HIDE_CLIENT &&
		      !(service_flags & SW_SERVICE_DIRECT_RETURN) &&
		      !(local && (!endpoint || !endpoint->id));
	if (service_flags & SW_SERVICE_DIRECT_RETURN && !local)
		flags |= SW_CONNTRACK_DIRECT_RETURN;
	/* Its answers to a pod look like any packet between pods. */
	if (endpoint && !hide_client && sw_find_route(&scratch->packet.source)) {
		sw_mark_translated_pod(endpoint->id);
		flags |= SW_CONNTRACK_BETWEEN_PODS;
	}
	reason = sw_connect(skb, hide_client, flags);
	return reason ? sw_refuse(skb, 0, reason) : sw_go_on(skb, 0);
}

/* Whether the destination is another node and no Service has that place for itself: some load
 * balancers give out the addresses of nodes. */
SW_INLINE bool sw_is_node_port_of_peer(const struct sw_service_request *request)
{
	struct sw_service_key place;

	sw_key_of_place(request, &place);
	return bpf_map_lookup_elem(&sw_peer_nodes, &request->destination) &&
	       !bpf_map_lookup_elem(&sw_services, &place);
}

/* A packet from elsewhere that belongs to no connection. */
SW_INLINE int sw_open_from_network(struct __sk_buff *skb, bool tunneled, struct sw_service_scratch *scratch)
{
	const struct sw_packet *packet = &scratch->packet;
	bool own = bpf_map_lookup_elem(&sw_node_port_ips, &packet->destination.address);
	bool opens = sw_opens_connection(skb, packet);
	/* Another node chose an endpoint of this one. */
	bool handed_over = tunneled && !own;
	const union sw_ip *node;
	int choice;

	/* The node's own connections. */
	if (own && !opens)
		return SW_NOT_OURS;
	sw_fill_request(packet, SW_OUTSIDE, &scratch->request);
	if (!own && sw_is_node_port_of_peer(&scratch->request)) {
		node = sw_node_address(packet);
		if (!node)
			return SW_NOT_OURS;
		scratch->request.destination = *node;
		handed_over = true;
	}
	choice = sw_choose(skb);
	/* The other node's own. */
	if (handed_over && !tunneled && !(scratch->answer.service.flags & SW_SERVICE_DIRECT_RETURN))
		return SW_NOT_OURS;
	if (choice != SW_CHOICE_BACKEND)
		return sw_answer_without_backend(skb, 0, choice);
	if (!opens && !sw_nodes_choose_alike(&scratch->answer.service))
		return sw_refuse(skb, 0, SW_DROP_SERVICE_UNKNOWN_CONNECTION);
	if ((handed_over || scratch->answer.service.flags & SW_SERVICE_DIRECT_RETURN) &&
	    !sw_choose_alike(scratch, &packet->destination, handed_over))
		return sw_refuse(skb, 0, SW_DROP_SERVICE_WITHOUT_LOCAL_ENDPOINT);
	return sw_connect_from_network(skb, scratch);
}

/* A packet from elsewhere for no pod, or for one that is known by another address. */
__noinline int sw_serve_from_network(struct __sk_buff *skb, __u32 tunneled)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();
	struct sw_packet *packet;
	int verdict;

	if (!scratch)
		return SW_NOT_OURS;
	packet = &scratch->packet;
	if (packet->unusual && sw_is_icmp(packet)) {
		verdict = sw_go_on_with_error(skb, 0);
		return verdict == SW_HAND_OVER ? sw_hand_over(skb) : verdict;
	}
	if (!sw_has_known_ends(skb, scratch))
		return SW_NOT_OURS;
	if (sw_find_connection(skb, scratch))
		return sw_go_on(skb, 0);
	return sw_open_from_network(skb, tunneled, scratch);
}

/* Connects a pod of this node to a backend that its socket was not connected to. */
SW_INLINE int sw_open_from_pod(struct __sk_buff *skb, __u32 sender_id, struct sw_service_scratch *scratch)
{
	const union sw_ip *backend_ip = (const union sw_ip *)scratch->answer.backend.address;
	const union sw_ip *source = &scratch->packet.source;
	struct sw_endpoint *endpoint;
	int choice, reason;
	bool to_itself;

	sw_fill_request(&scratch->packet, SW_INSIDE, &scratch->request);
	choice = sw_choose(skb);
	if (choice != SW_CHOICE_BACKEND)
		return sw_answer_without_backend(skb, sender_id, choice);
	sw_mark_translated_pod(sender_id);
	endpoint = sw_find_endpoint(backend_ip);
	if (endpoint)
		sw_mark_translated_pod(endpoint->id);
	/* A pod drops what seems to come from itself. */
	to_itself = backend_ip->halves[0] == source->halves[0] && backend_ip->halves[1] == source->halves[1];
	reason = sw_connect(skb, to_itself, SW_CONNTRACK_BETWEEN_PODS);
	return reason ? sw_refuse(skb, sender_id, reason) : sw_go_on(skb, sender_id);
}

/* A packet of a pod for no pod, or of one that is known by another address.
 * @may_open: it is for no pod */
__noinline int sw_serve_from_pod(struct __sk_buff *skb, __u32 sender_id, __u32 may_open)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();
	struct sw_packet *packet;

	if (!scratch)
		return SW_NOT_OURS;
	packet = &scratch->packet;
	if (packet->unusual && sw_is_icmp(packet))
		return sw_go_on_with_error(skb, sender_id);
	if (!sw_has_known_ends(skb, scratch))
		return SW_NOT_OURS;
	if (sw_find_connection(skb, scratch))
		return sw_go_on(skb, sender_id);
	if (!may_open || !sw_opens_connection(skb, packet))
		return SW_NOT_OURS;
	return sw_open_from_pod(skb, sender_id, scratch);
}

/* What the host stack sends: answers of the node's own processes to clients that know them by
 * another address. They stay on their way. Returns whether the packet was one. */
__noinline int sw_serve_from_stack(struct __sk_buff *skb)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();
	struct sw_packet *packet;

	if (!scratch)
		return false;
	packet = &scratch->packet;
	if (packet->unusual && sw_is_icmp(packet))
		return sw_find_quoted(skb, scratch) && !(scratch->entry.flags & SW_CONNTRACK_FORWARD) &&
		       !sw_translate_error(skb);
	if (!sw_has_known_ends(skb, scratch) ||
	    !sw_find_connection(skb, scratch))
		return false;
	return !(scratch->entry.flags & SW_CONNTRACK_FORWARD) && !sw_translate(skb);
}
