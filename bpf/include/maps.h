/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Every map of the data path. All are pinned by name and outlive the agent. Sizes are
 * the defaults; the loader may change those of sw_endpoints, sw_links, sw_routes,
 * sw_stack_flows and sw_events. */
#ifndef SEAWAY_MAPS_H
#define SEAWAY_MAPS_H

#include "kernel.h"
#include "seaway_abi.h"

/* Local pods by address. An entry without an interface is an address of the host. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sw_address);
	__type(value, struct sw_endpoint);
} sw_endpoints SEC(".maps");

/* What each pod link may send, by index of the host-side interface. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct sw_link);
} sw_links SEC(".maps");

/* Blocks of this node and of all others, longest prefix first. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sw_route_key);
	__type(value, struct sw_route);
} sw_routes SEC(".maps");

/* Flows that must keep passing the host stack. An entry costs about 100 bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sw_flow_key);
	__type(value, __u8);
} sw_stack_flows SEC(".maps");

/* This node's VXLAN device, at index 0; all zero: none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_tunnel_device);
} sw_tunnel SEC(".maps");

/* Traffic by endpoint number; the loader adds and removes the entries. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct sw_endpoint_traffic);
} sw_endpoint_counters SEC(".maps");

/* Drops by reason; longer than the list of reasons, so that a new reason does not
 * change the layout. */
#define SW_DROP_COUNTERS 64
_Static_assert(SW_DROP_REASONS <= SW_DROP_COUNTERS, "every drop reason has a counter");
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SW_DROP_COUNTERS);
	__type(key, __u32);
	__type(value, struct sw_counter);
} sw_drop_counters SEC(".maps");

/* Token bucket of each CPU for sw_events, at index 0. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_event_budget_state);
} sw_event_budget SEC(".maps");

/* Records of struct sw_event. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} sw_events SEC(".maps");

#endif
