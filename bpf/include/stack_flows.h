/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Flows that must keep passing the host stack.
 *
 * Others on the node translate addresses in the host's connection tracking (kube-proxy,
 * the port-mapping plugin). A packet that the stack has translated and forwarded must be
 * answered through the stack, or the answer keeps the wrong address. So the egress
 * programs remember what the stack sends towards an address that the fast path reaches,
 * and the ingress programs leave such flows alone, in both directions: connection
 * tracking has to see a flow whole or not at all. */
#ifndef SEAWAY_STACK_FLOWS_H
#define SEAWAY_STACK_FLOWS_H

#include "maps.h"
#include "parse.h"
#include "settings.h"

/* Whether `first` and `second` of the key are destination and source. Any total order
 * does; this one costs two comparisons. A packet between equal addresses never leaves
 * its pod. */
SW_INLINE bool sw_ends_are_swapped(const struct sw_packet *packet)
{
	const union sw_ip *source = &packet->source, *destination = &packet->destination;

	if (source->halves[1] != destination->halves[1])
		return source->halves[1] > destination->halves[1];
	return source->halves[0] > destination->halves[0];
}

/* The key of the packet's flow: the same for both directions. */
SW_INLINE void sw_flow_key_of(const struct sw_packet *packet, struct sw_flow_key *key)
{
	bool swapped = sw_ends_are_swapped(packet);
	const union sw_ip *first = swapped ? &packet->destination : &packet->source;
	const union sw_ip *second = swapped ? &packet->source : &packet->destination;

	__builtin_memcpy(key->first, first->bytes, sizeof(key->first));
	__builtin_memcpy(key->second, second->bytes, sizeof(key->second));
	key->first_port = swapped ? packet->destination_port : packet->source_port;
	key->second_port = swapped ? packet->source_port : packet->destination_port;
	key->protocol = packet->protocol;
}

/* Whether the packet's flow passes the host stack. A hit also keeps the entry young. */
SW_INLINE bool sw_flow_is_the_stacks(const struct sw_packet *packet)
{
	struct sw_flow_key key;

	if (!settings.remember_stack_flows)
		return false;
	sw_flow_key_of(packet, &key);
	return bpf_map_lookup_elem(&sw_stack_flows, &key);
}

/* Remembers the flow of a packet that the host stack forwarded. */
SW_INLINE void sw_remember_stack_flow(const struct sw_packet *packet)
{
	struct sw_flow_key key;
	__u8 present = 1;

	if (!settings.remember_stack_flows || packet->unusual)
		return;
	sw_flow_key_of(packet, &key);
	/* The lookup keeps the entry young; an update for each packet would take the
	 * bucket's lock. */
	if (!bpf_map_lookup_elem(&sw_stack_flows, &key))
		bpf_map_update_elem(&sw_stack_flows, &key, &present, BPF_ANY);
}

#endif
