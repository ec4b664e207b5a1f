/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Choosing one backend of a set. */
#ifndef SEAWAY_SERVICE_SELECT_H
#define SEAWAY_SERVICE_SELECT_H

#include "parse.h"
#include "service_maps.h"

/* Whose traffic it is: sides of a frontend. */
#define SW_INSIDE 0
#define SW_OUTSIDE 1

/* `sw_service_request.client` of sockets begins with this, and their network namespace's cookie
 * follows: no address starts so. */
#define SW_CLIENT_IS_COOKIE (~0ULL)

/* Backends that the least-connection algorithm compares, starting at a random one. Two
 * suffice to keep the longest queue short; this many make small sets exact. */
#define SW_MAX_COMPARED 16

/* Who asks for what. */
struct sw_service_request {
	/* IPv4 is mapped. */
	union sw_ip destination;
	/* The client's address; for sockets see struct sw_affinity_key. */
	union sw_ip client;
	/* Destination port, network byte order. */
	__be16 port;
	/* Source port; 0: not known yet. */
	__be16 client_port;
	__u8 protocol;
	/* SW_INSIDE or SW_OUTSIDE. */
	__u8 side;
	/* 1: the client is in the node's own network namespace, so loopback is the node's. */
	__u8 on_host;
	/* 1: the answer holds a backend to take again. */
	__u8 recall;
};

/* What sw_choose_backend() finds. */
struct sw_service_answer {
	struct sw_service service;
	struct sw_backend backend;
};

SW_INLINE __u32 sw_algorithm_of(const struct sw_service *service)
{
	return service->flags >> SW_SERVICE_ALGORITHM_SHIFT & SW_SERVICE_FIELD_MASK;
}

SW_INLINE __u32 sw_kind_of(const struct sw_service *service)
{
	return service->flags >> SW_SERVICE_KIND_SHIFT & SW_SERVICE_FIELD_MASK;
}

/* A random number below `bound`, without a division. */
SW_INLINE __u32 sw_random_below(__u32 bound)
{
	return (__u64)bpf_get_prandom_u32() * bound >> 32;
}

/* The finalizer of MurmurHash3: every bit of the input moves every bit of the output. */
SW_INLINE __u64 sw_mix(__u64 value)
{
	value ^= value >> 33;
	value *= 0xff51afd7ed558ccdULL;
	value ^= value >> 33;
	value *= 0xc4ceb9fe1a85ec53ULL;
	value ^= value >> 33;
	return value;
}

/* Hash of a client's address, equal on all nodes. */
SW_INLINE __u64 sw_hash_client(const struct sw_service_request *request)
{
	return sw_mix(sw_mix(request->client.halves[0]) ^ request->client.halves[1]);
}

/* Hash of a whole flow, equal on all nodes. */
SW_INLINE __u64 sw_hash_flow(const struct sw_service_request *request)
{
	__u64 hash = sw_hash_client(request);

	hash = sw_mix(hash ^ request->destination.halves[0]);
	hash = sw_mix(hash ^ request->destination.halves[1]);
	return sw_mix(hash ^ ((__u64)request->client_port << 32 | (__u64)request->port << 16 |
			      request->protocol));
}

/* The slot that a hash or a turn meets in the set's table, or `otherwise` without a table. */
SW_INLINE __u32 sw_slot_of_table(__u32 set, __u64 number, __u32 otherwise)
{
	struct sw_slot_table *table = bpf_map_lookup_elem(&sw_slot_tables, &set);
	__u32 index;

	if (!table || !table->entries)
		return otherwise;
	/* For the verifier: the table is never longer. */
	index = (__u32)(number % table->entries) & 0xfff;
	if (index >= sizeof(table->slots) / sizeof(table->slots[0]))
		return otherwise;
	return table->slots[index];
}

/* The slot whose turn it is. Kernels before 5.12 have no addition that returns the sum: two
 * CPUs at the same moment may give one slot two connections and skip the next. */
SW_INLINE __u32 sw_next_turn(__u32 set, __u32 count)
{
	__u64 *turn = bpf_map_lookup_elem(&sw_turns, &set);
	__u64 number;

	if (!turn)
		return sw_random_below(count);
	number = *turn;
	__sync_fetch_and_add(turn, 1);
	return sw_slot_of_table(set, number, number % count);
}

/* Adds to the connections that the least-connection algorithm compares: 1 when one is made,
 * -1 when it ends. */
SW_INLINE void sw_count_connection(__u32 service_id, const __u8 address[16], __be16 port, __s64 change)
{
	struct sw_connections_key key = { .service_id = service_id, .port = port };
	__s64 *connections;

	__builtin_memcpy(key.address, address, sizeof(key.address));
	connections = bpf_map_lookup_elem(&sw_connections, &key);
	if (connections)
		__sync_fetch_and_add(connections, change);
	else if (change > 0)
		bpf_map_update_elem(&sw_connections, &key, &change, BPF_NOEXIST);
}

/* How busy a slot is for its weight, with the connection that is being made: that one decides
 * between weights. */
__noinline __u64 sw_load_of(__u32 service_id, __u32 set, __u32 slot)
{
	struct sw_connections_key connections_key = { .service_id = service_id };
	struct sw_backend_key key = { .set = set, .slot = slot };
	struct sw_backend *backend = bpf_map_lookup_elem(&sw_backends, &key);
	__s64 *connections;
	__u64 load = 1;

	if (!backend || !backend->weight)
		return ~0ULL;
	connections_key.port = backend->port;
	__builtin_memcpy(connections_key.address, backend->address, sizeof(connections_key.address));
	connections = bpf_map_lookup_elem(&sw_connections, &connections_key);
	if (connections && *connections > 0)
		load += *connections;
	return (load << 16) / backend->weight;
}

/* The slot with the least load, of all in a small set and of some neighbors in a large one. */
SW_INLINE __u32 sw_least_connected(__u32 service_id, __u32 set, __u32 count)
{
	__u32 start = sw_random_below(count), best = start, slot, i;
	__u64 best_load = ~0ULL, load;

	for (i = 0; i < SW_MAX_COMPARED && i < count; i++) {
		slot = (start + i) % count;
		load = sw_load_of(service_id, set, slot);
		if (load < best_load) {
			best = slot;
			best_load = load;
		}
	}
	return best;
}

/* A random slot, by weight. */
SW_INLINE __u32 sw_random_slot(__u32 set, __u32 count)
{
	struct sw_backend_key key = { .set = set, .slot = sw_random_below(count) };
	struct sw_backend *backend = bpf_map_lookup_elem(&sw_backends, &key);

	if (backend && backend->alias_threshold != ~0U && bpf_get_prandom_u32() >= backend->alias_threshold)
		return backend->alias;
	return key.slot;
}

/* The slot for a new connection. The verifier looks at a function that is not static once, not
 * once for each way that leads to each call.
 * @flags: those of the frontend
 * @hash: of what the algorithm goes by */
__noinline __u32 sw_choose_slot(__u32 service_id, __u32 flags, __u32 set, __u32 count, __u64 hash)
{
	switch (flags >> SW_SERVICE_ALGORITHM_SHIFT & SW_SERVICE_FIELD_MASK) {
	case SW_ALGORITHM_MAGLEV:
	case SW_ALGORITHM_SOURCE_HASH:
		return sw_slot_of_table(set, hash, sw_random_below(count));
	case SW_ALGORITHM_ROUND_ROBIN:
		return sw_next_turn(set, count);
	case SW_ALGORITHM_LEAST_CONNECTION:
		return sw_least_connected(service_id, set, count);
	default:
		return sw_random_slot(set, count);
	}
}

/* What the algorithm goes by. A socket that has no port yet has no flow to hash. */
SW_INLINE __u64 sw_hash_request(const struct sw_service *service, const struct sw_service_request *request)
{
	if (sw_algorithm_of(service) != SW_ALGORITHM_MAGLEV)
		return sw_hash_client(request);
	return request->client_port ? sw_hash_flow(request) : bpf_get_prandom_u32();
}

/* Copies the backend for a new connection. Returns whether there was one. */
SW_INLINE bool sw_select_backend(const struct sw_service *service,
				 const struct sw_service_request *request, __u32 set, __u32 count,
				 struct sw_backend *backend)
{
	struct sw_backend_key key = { .set = set };
	struct sw_backend *found;

	key.slot = sw_choose_slot(service->id, service->flags, set, count,
				  sw_hash_request(service, request));
	found = bpf_map_lookup_elem(&sw_backends, &key);
	if (!found)
		return false;
	*backend = *found;
	return true;
}

#endif
