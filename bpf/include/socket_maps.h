/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* What the socket programs remember of sockets whose peers they translated. */
#ifndef SEAWAY_SOCKET_MAPS_H
#define SEAWAY_SOCKET_MAPS_H

#include "kernel.h"
#include "seaway_abi.h"

/* Connected sockets by cookie; an entry goes when its socket is closed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 524288);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct sw_connected_socket);
} sw_sockets SEC(".maps");

/* Where connected sockets of a backend are, so that they are found when it is gone. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct sw_connections_key);
	__type(value, struct sw_socket_namespaces_of);
} sw_socket_namespaces SEC(".maps");

/* The backend that an unconnected UDP socket uses for a Service. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sw_socket_peer);
	__type(value, struct sw_socket_peer_name);
} sw_socket_flows SEC(".maps");

/* The Service that an unconnected UDP socket means by a backend's answer. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sw_socket_peer);
	__type(value, struct sw_socket_peer_name);
} sw_socket_replies SEC(".maps");

#endif
