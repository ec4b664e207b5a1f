/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* From a destination to a backend. Start at sw_choose_backend().
 *
 * User space writes the backends of a new revision under a set id never used before, then
 * replaces the frontend, then deletes the old set. A reader may hold what is freed under its
 * hands, so it copies the frontend and the backend and then looks whether the frontend still
 * names the set: if so, both belong together; if not, it starts again. */
#ifndef SEAWAY_SERVICES_H
#define SEAWAY_SERVICES_H

#include "service_maps.h"
#include "service_select.h"

/* How sw_choose_backend() ends. */
#define SW_CHOICE_NO_SERVICE 0
#define SW_CHOICE_BACKEND 1
/* No endpoint exists. */
#define SW_CHOICE_REJECT 2
/* Policy Local, and no endpoint on this node. */
#define SW_CHOICE_DROP 3
/* The client is in none of the source ranges. */
#define SW_CHOICE_SOURCE_REFUSED 4
/* Whether it is in one is for its packets to tell. */
#define SW_CHOICE_ASK_PACKETS 5

/* Readers that meet a new revision this often in a row drop the packet: revisions come
 * milliseconds apart, attempts take less than a microsecond. */
#define SW_CHOICE_ATTEMPTS 4

SW_INLINE bool sw_is_ipv4_mapped(const union sw_ip *ip)
{
	return !ip->halves[0] && ip->words[2] == bpf_htonl(0xffff);
}

/* 127.0.0.0/8 or ::1. */
SW_INLINE bool sw_is_loopback(const union sw_ip *ip)
{
	if (ip->halves[0])
		return false;
	if (ip->words[2] == bpf_htonl(0xffff))
		return ip->bytes[12] == 127;
	return !ip->words[2] && ip->words[3] == bpf_htonl(1);
}

/* Whether NodePorts are served on the address. */
SW_INLINE bool sw_is_node_port_address(const struct sw_service_request *request)
{
	/* Kernels before 6.2 take no key from memory that a function was given. */
	struct sw_address address = request->destination.address;
	struct sw_service_node_state *node;
	__u32 zero = 0;

	if (bpf_map_lookup_elem(&sw_node_port_ips, &address))
		return true;
	if (!request->on_host || !sw_is_loopback(&request->destination))
		return false;
	node = bpf_map_lookup_elem(&sw_service_node, &zero);
	return node && node->node_port_on_loopback;
}

/* The key of a place that a Service has for itself, as load balancer or external addresses are. */
SW_INLINE void sw_key_of_place(const struct sw_service_request *request, struct sw_service_key *key)
{
	__builtin_memcpy(key->address, request->destination.bytes, sizeof(key->address));
	key->port = request->port;
	key->protocol = request->protocol;
	key->pad = 0;
}

/* The frontend of a destination, or NULL; the key that found it is left in `key`. A place
 * of its own comes before the NodePorts. */
SW_INLINE struct sw_service *sw_find_service(const struct sw_service_request *request,
					     struct sw_service_key *key)
{
	struct sw_service *service;

	sw_key_of_place(request, key);
	service = bpf_map_lookup_elem(&sw_services, key);
	if (service)
		return service;
	/* The node's addresses are few and Services' places many: this look-up misses more often
	 * than the next, and both cost the same. */
	__builtin_memset(key->address, 0, sizeof(key->address));
	if (sw_is_ipv4_mapped(&request->destination))
		key->address[10] = key->address[11] = 0xff;
	service = bpf_map_lookup_elem(&sw_services, key);
	return service && sw_is_node_port_address(request) ? service : NULL;
}

SW_INLINE __u32 sw_set_of(const struct sw_service *service, __u8 side)
{
	return side == SW_INSIDE ? service->inside_set : service->outside_set;
}

SW_INLINE __u32 sw_count_of(const struct sw_service *service, __u8 side)
{
	return side == SW_INSIDE ? service->inside_count : service->outside_count;
}

/* Whether the client may use the frontend: SW_CHOICE_BACKEND, SW_CHOICE_SOURCE_REFUSED, or
 * SW_CHOICE_ASK_PACKETS for the socket of a pod, whose address is known by its packets only. A
 * process of the node has the node's address. */
SW_INLINE int sw_check_source(const struct sw_service *service, const struct sw_service_request *request)
{
	struct sw_source_range_key key = {
		.prefix_length_bits = 32 + 128,
		.service_id = service->id,
	};
	struct sw_service_node_state *node;
	__u32 zero = 0;

	__builtin_memcpy(key.address, request->client.bytes, sizeof(key.address));
	if (request->client.halves[0] == SW_CLIENT_IS_COOKIE) {
		if (!request->on_host)
			return SW_CHOICE_ASK_PACKETS;
		node = bpf_map_lookup_elem(&sw_service_node, &zero);
		if (!node)
			return SW_CHOICE_SOURCE_REFUSED;
		__builtin_memcpy(key.address, sw_is_ipv4_mapped(&request->destination) ? node->ipv4 : node->ipv6,
				 sizeof(key.address));
	}
	return bpf_map_lookup_elem(&sw_source_ranges, &key) ? SW_CHOICE_BACKEND : SW_CHOICE_SOURCE_REFUSED;
}

/* What the frontend says without a backend, or SW_CHOICE_BACKEND. */
SW_INLINE int sw_service_verdict(const struct sw_service *service,
				 const struct sw_service_request *request)
{
	bool inside = request->side == SW_INSIDE;
	int admission;

	if (service->flags & SW_SERVICE_SOURCE_RANGES) {
		admission = sw_check_source(service, request);
		if (admission != SW_CHOICE_BACKEND)
			return admission;
	}
	if (service->flags & (inside ? SW_SERVICE_INSIDE_REJECT : SW_SERVICE_OUTSIDE_REJECT))
		return SW_CHOICE_REJECT;
	if (!sw_count_of(service, request->side))
		return SW_CHOICE_DROP;
	return SW_CHOICE_BACKEND;
}

/* Copies a remembered backend, if it still belongs to the set. */
SW_INLINE bool sw_recall_backend(__u32 set, const __u8 address[16], __be16 port,
				 struct sw_backend *backend)
{
	struct sw_member_key member = { .set = set, .port = port };
	struct sw_backend_key slot = { .set = set };
	struct sw_backend *found;
	__u32 *position;

	__builtin_memcpy(member.address, address, sizeof(member.address));
	position = bpf_map_lookup_elem(&sw_members, &member);
	if (!position)
		return false;
	slot.slot = *position;
	found = bpf_map_lookup_elem(&sw_backends, &slot);
	if (!found)
		return false;
	*backend = *found;
	return true;
}

SW_INLINE void sw_affinity_key_of(const struct sw_service *service,
				  const struct sw_service_request *request,
				  struct sw_affinity_key *key)
{
	__builtin_memcpy(key->client, request->client.bytes, sizeof(key->client));
	key->affinity_id = service->affinity_id;
	key->pad = 0;
}

/* The backend of the client's last connection, within the timeout and if it still belongs
 * to the set. A new connection starts the timeout anew. */
SW_INLINE bool sw_affinity_backend(const struct sw_service *service,
				   const struct sw_service_request *request, __u32 set,
				   struct sw_backend *backend)
{
	__u64 now_nanos = bpf_ktime_get_ns();
	struct sw_affinity_entry *entry;
	struct sw_affinity_key key;

	sw_affinity_key_of(service, request, &key);
	entry = bpf_map_lookup_elem(&sw_affinity, &key);
	if (!entry ||
	    now_nanos - entry->last_used_nanos >= service->affinity_timeout_seconds * 1000000000ULL)
		return false;
	if (!sw_recall_backend(set, entry->address, entry->port, backend))
		return false;
	entry->last_used_nanos = now_nanos;
	return true;
}

SW_INLINE void sw_remember_affinity(const struct sw_service *service,
				    const struct sw_service_request *request,
				    const struct sw_backend *backend)
{
	struct sw_affinity_entry entry = {};
	struct sw_affinity_key key;

	sw_affinity_key_of(service, request, &key);
	__builtin_memcpy(entry.address, backend->address, sizeof(entry.address));
	entry.port = backend->port;
	entry.last_used_nanos = bpf_ktime_get_ns();
	bpf_map_update_elem(&sw_affinity, &key, &entry, BPF_ANY);
}

/* One attempt is all that the verifier should look at: four in a row meet states that differ by
 * what each found, and it would follow them all. So an attempt is a function that is not static
 * (service_scratch.h). Such a function may take pointers since Linux 5.12; objects for older
 * kernels define SW_NO_POINTER_ARGUMENTS, and programs for packets have one of their own, which
 * finds its data by itself. */
#if defined(SW_NO_POINTER_ARGUMENTS) || defined(SW_PACKET_PROGRAMS)
#define SW_ATTEMPT_FUNCTION SW_INLINE
#define SW_ANSWER_BEFORE
#else
#define SW_ATTEMPT_FUNCTION __noinline
/* What a pointer leads to must have been written. */
#define SW_ANSWER_BEFORE = {}
#endif

/* One attempt of sw_choose_backend(); -1: the frontend changed meanwhile. */
SW_ATTEMPT_FUNCTION int sw_try_to_choose(const struct sw_service_request *request,
					 struct sw_service_answer *answer)
{
	struct sw_service *service;
	struct sw_service_key key;
	bool found, affine, known;
	int verdict;
	__u32 set;

	if (!request || !answer)
		return SW_CHOICE_NO_SERVICE;
	service = sw_find_service(request, &key);
	if (!service)
		return SW_CHOICE_NO_SERVICE;
	answer->service = *service;
	verdict = sw_service_verdict(&answer->service, request);
	set = sw_set_of(&answer->service, request->side);
	affine = answer->service.affinity_timeout_seconds;
	known = found = false;
	if (verdict == SW_CHOICE_BACKEND) {
		if (request->recall)
			known = sw_recall_backend(set, answer->backend.address, answer->backend.port,
						  &answer->backend);
		if (!known && affine)
			known = sw_affinity_backend(&answer->service, request, set, &answer->backend);
		found = known || sw_select_backend(&answer->service, request, set,
						   sw_count_of(&answer->service, request->side),
						   &answer->backend);
	}
	service = bpf_map_lookup_elem(&sw_services, &key);
	if (!service || sw_set_of(service, request->side) != set || service->id != answer->service.id)
		return -1;
	if (verdict != SW_CHOICE_BACKEND)
		return verdict;
	if (!found)
		return -1;
	if (affine && !known)
		sw_remember_affinity(&answer->service, request, &answer->backend);
	return SW_CHOICE_BACKEND;
}

#ifndef SW_PACKET_PROGRAMS
/* Finds the frontend of a destination and a backend for a new connection.
 * @request: who asks for what; with `recall`, the answer's backend address and port hold a
 *	backend that is taken again if it still belongs to the set
 * @answer: copies of the frontend, for every result but SW_CHOICE_NO_SERVICE, and of the
 *	backend, for SW_CHOICE_BACKEND
 * Returns one of SW_CHOICE_*. */
static __noinline int sw_choose_backend(const struct sw_service_request *request,
					struct sw_service_answer *answer)
{
	int attempt, choice;

	for (attempt = 0; attempt < SW_CHOICE_ATTEMPTS; attempt++) {
		choice = sw_try_to_choose(request, answer);
		if (choice >= 0)
			return choice;
	}
	return SW_CHOICE_DROP;
}

#endif

#endif
