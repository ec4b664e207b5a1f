/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* The Services' maps that every program shares. All are pinned by name; sizes are defaults
 * that the loader changes. Those without BPF_F_NO_PREALLOC take their memory at once. */
#ifndef SEAWAY_SERVICE_MAPS_H
#define SEAWAY_SERVICE_MAPS_H

#include "kernel.h"
#include "seaway_abi.h"

/* Frontends: where clients reach Services. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sw_service_key);
	__type(value, struct sw_service);
} sw_services SEC(".maps");

/* Backends by set and slot. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sw_backend_key);
	__type(value, struct sw_backend);
} sw_backends SEC(".maps");

/* The slot of a backend in a set, for backends remembered from earlier. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sw_member_key);
	__type(value, __u32);
} sw_members SEC(".maps");

/* Slots by hash (Maglev, source hash) or by turn (round robin with weights), by set. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct sw_slot_table);
} sw_slot_tables SEC(".maps");

/* Whose turn it is, by set. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} sw_turns SEC(".maps");

/* Connections of this node by frontend and backend. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sw_connections_key);
	__type(value, __s64);
} sw_connections SEC(".maps");

/* The backend that a client had last. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sw_affinity_key);
	__type(value, struct sw_affinity_entry);
} sw_affinity SEC(".maps");

/* Who may use a frontend. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sw_source_range_key);
	__type(value, __u8);
} sw_source_ranges SEC(".maps");

/* Addresses of this node on which NodePorts are served; not loopback. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sw_address);
	__type(value, __u8);
} sw_node_port_ips SEC(".maps");

/* The node, at index 0. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_service_node_state);
} sw_service_node SEC(".maps");

#endif
