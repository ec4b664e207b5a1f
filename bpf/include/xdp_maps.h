/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* What the XDP program is told, and what it counts. Pinned by name. */
#ifndef SEAWAY_XDP_MAPS_H
#define SEAWAY_XDP_MAPS_H

#include "kernel.h"
#include "seaway_abi.h"

/* Devices that run the program, by index: frames may come from them and leave by them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct sw_xdp_device);
} sw_xdp_devices SEC(".maps");

/* Packets that it sent on, at index 0. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_counter);
} sw_xdp_counters SEC(".maps");

#endif
