/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* What packets of Services leave behind: connections and what finds them. Pinned by name. */
#ifndef SEAWAY_CONNTRACK_MAPS_H
#define SEAWAY_CONNTRACK_MAPS_H

#include "kernel.h"
#include "seaway_abi.h"

/* Translated connections, one entry for each direction. Full, it forgets those that were
 * silent for longest. Takes its memory at once. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct sw_conntrack_key);
	__type(value, struct sw_conntrack_entry);
} sw_conntrack SEC(".maps");

/* Connections made to a backend of a frontend since user space last looked: whether a search
 * for them is worth while. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sw_connections_key);
	__type(value, __u64);
} sw_backend_flows SEC(".maps");

/* Pods of this node with a translated connection to another pod, by number: packets between
 * all other pods need no look-up. An array costs an addition. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SW_TRANSLATED_POD_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} sw_translated_pods SEC(".maps");

/* Ports of packets that come in fragments. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct sw_fragment_key);
	__type(value, struct sw_fragment_ports);
} sw_fragments SEC(".maps");

/* Addresses of the cluster's other nodes: one of them may hand us a packet that was sent to it,
 * for an endpoint of ours to answer directly. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sw_address);
	__type(value, __u8);
} sw_peer_nodes SEC(".maps");

#endif
