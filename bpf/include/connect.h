/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Making connections: both entries, with a source port that no other connection to the same
 * endpoint has. */
#ifndef SEAWAY_CONNECT_H
#define SEAWAY_CONNECT_H

#include "conntrack.h"
#include "service_scratch.h"

/* Ports tried before a packet is dropped. With half of all ports taken, one in 65,536 fails. */
#define SW_PORT_ATTEMPTS 16

SW_INLINE void sw_count_flow(const struct sw_service_scratch *scratch)
{
	struct sw_connections_key key = {
		.service_id = scratch->answer.service.id,
		.port = scratch->answer.backend.port,
	};
	__u64 one = 1, *flows;

	__builtin_memcpy(key.address, scratch->answer.backend.address, sizeof(key.address));
	flows = bpf_map_lookup_elem(&sw_backend_flows, &key);
	if (flows)
		__sync_fetch_and_add(flows, 1);
	else
		bpf_map_update_elem(&sw_backend_flows, &key, &one, BPF_NOEXIST);
}

/* Writes the entry of the other direction, where none is in force. */
SW_INLINE bool sw_take_ends(struct sw_service_scratch *scratch, __u64 now_nanos)
{
	struct sw_conntrack_entry *present;
	bool ours;

	if (!bpf_map_update_elem(&sw_conntrack, &scratch->other_key, &scratch->other, BPF_NOEXIST))
		return true;
	present = bpf_map_lookup_elem(&sw_conntrack, &scratch->other_key);
	if (!present)
		return false;
	/* Half of what this connection was before: the other half was forgotten. */
	ours = !__builtin_memcmp(present->source, scratch->other.source, sizeof(present->source)) &&
	       !__builtin_memcmp(present->destination, scratch->other.destination, sizeof(present->destination)) &&
	       present->source_port == scratch->other.source_port &&
	       present->destination_port == scratch->other.destination_port;
	if (!ours && sw_is_alive(present, scratch->other_key.protocol, now_nanos))
		return false;
	return !bpf_map_update_elem(&sw_conntrack, &scratch->other_key, &scratch->other, BPF_ANY);
}

/* Fills in both entries, but for the source port. */
SW_INLINE void sw_fill_entries(const struct sw_packet *packet, const union sw_ip *source, __u32 flags,
			       struct sw_service_scratch *scratch, __u64 now_nanos)
{
	struct sw_conntrack_entry *entry = &scratch->entry, *other = &scratch->other;
	const struct sw_backend *backend = &scratch->answer.backend;

	__builtin_memset(entry, 0, sizeof(*entry));
	__builtin_memset(other, 0, sizeof(*other));
	__builtin_memcpy(entry->source, source->bytes, sizeof(entry->source));
	__builtin_memcpy(entry->destination, backend->address, sizeof(entry->destination));
	entry->source_port = packet->source_port;
	entry->destination_port = backend->port;
	entry->last_seen_nanos = other->last_seen_nanos = now_nanos;
	entry->service_id = other->service_id = scratch->answer.service.id;
	entry->flags = flags | SW_CONNTRACK_FORWARD;
	__builtin_memcpy(other->source, packet->destination.bytes, sizeof(other->source));
	__builtin_memcpy(other->destination, packet->source.bytes, sizeof(other->destination));
	other->source_port = packet->destination_port;
	other->destination_port = packet->source_port;
	other->flags = flags;
}

/* Writes the entry of the other direction, with a source port of the node's range or, where
 * @keep_port, the one that the entry has. Returns whether nobody else has it. */
__noinline int sw_try_source_port(struct __sk_buff *skb, __u32 keep_port)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();

	if (!skb || !scratch)
		return false;
	if (!keep_port)
		scratch->entry.source_port =
			bpf_htons(settings.first_service_port + sw_random_below(settings.service_ports));
	sw_other_key_of(&scratch->entry, scratch->packet.protocol, &scratch->other_key);
	return sw_take_ends(scratch, scratch->entry.last_seen_nanos);
}

SW_INLINE bool sw_find_source_port(struct __sk_buff *skb, bool keep_port)
{
	int attempt;

	for (attempt = 0; attempt < SW_PORT_ATTEMPTS; attempt++)
		if (sw_try_source_port(skb, keep_port && !attempt))
			return true;
	return false;
}

/* This node's address of the packet's family that backends may see, or NULL. */
SW_INLINE const union sw_ip *sw_node_address(const struct sw_packet *packet)
{
	struct sw_service_node_state *node;
	const union sw_ip *ip;
	__u32 zero = 0;

	node = bpf_map_lookup_elem(&sw_service_node, &zero);
	if (!node)
		return NULL;
	ip = (const union sw_ip *)(packet->family == 4 ? node->ipv4 : node->ipv6);
	return ip->halves[0] || ip->halves[1] ? ip : NULL;
}

/* Remembers the connection that the packet opens to the chosen backend.
 * @hide_client: the backend sees this node's address
 * @flags: SW_CONNTRACK_* of both directions
 * Returns 0 with the packet's entry in the scratch, or the reason to drop it. */
__noinline int sw_connect(struct __sk_buff *skb, __u32 hide_client, __u32 flags)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();
	bool one_way = flags & SW_CONNTRACK_DIRECT_RETURN;
	__u64 now_nanos = bpf_ktime_get_ns();
	struct sw_conntrack_entry *present;
	const struct sw_packet *packet;
	const union sw_ip *source;

	if (!skb || !scratch)
		return SW_DROP_SERVICE_UNROUTABLE;
	packet = &scratch->packet;
	source = hide_client ? sw_node_address(packet) : &packet->source;
	if (!source)
		return SW_DROP_SERVICE_UNROUTABLE;
	if (sw_algorithm_of(&scratch->answer.service) == SW_ALGORITHM_LEAST_CONNECTION && !one_way)
		flags |= SW_CONNTRACK_COUNTED;
	sw_conntrack_key_of(packet, &scratch->key);
	sw_fill_entries(packet, source, flags, scratch, now_nanos);
	if (!one_way && !sw_find_source_port(skb, !hide_client))
		return SW_DROP_SERVICE_PORTS_EXHAUSTED;
	if (bpf_map_update_elem(&sw_conntrack, &scratch->key, &scratch->entry, BPF_NOEXIST)) {
		/* Another CPU was first with this flow: its choice stands. */
		present = bpf_map_lookup_elem(&sw_conntrack, &scratch->key);
		if (!present)
			return SW_DROP_SERVICE_PORTS_EXHAUSTED;
		if (__builtin_memcmp(present->destination, scratch->entry.destination, 16) ||
		    present->destination_port != scratch->entry.destination_port ||
		    present->source_port != scratch->entry.source_port)
			bpf_map_delete_elem(&sw_conntrack, &scratch->other_key);
		scratch->entry = *present;
		return 0;
	}
	sw_count_flow(scratch);
	if (flags & SW_CONNTRACK_COUNTED)
		sw_count_connection(scratch->answer.service.id, scratch->entry.destination,
				    scratch->entry.destination_port, 1);
	return 0;
}

#endif
