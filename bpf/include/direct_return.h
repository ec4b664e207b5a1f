/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Services whose endpoints answer clients directly.
 *
 * The node that a packet comes to hands it unchanged to the node of an endpoint, which chooses
 * again, translates, and answers with the address that the client knows. Nothing tells that
 * node what the first chose, so both choose by the flow's hash from the same list. While their
 * lists differ, the second takes one of its own endpoints. */
#ifndef SEAWAY_DIRECT_RETURN_H
#define SEAWAY_DIRECT_RETURN_H

#include "conntrack_maps.h"
#include "service_scratch.h"

/* Slots that are searched for an endpoint of this node. */
#define SW_MAX_SEARCHED 64

/* An endpoint of this node near a slot, or no copy. Not static: the verifier looks at it once.
 * Returns the slot plus 1; 0: none. */
__noinline __u32 sw_find_local_slot(__u32 set, __u32 count, __u32 start)
{
	struct sw_backend_key key = { .set = set };
	struct sw_backend *backend;
	__u32 i;

	for (i = 0; i < SW_MAX_SEARCHED && i < count; i++) {
		key.slot = (start + i) % count;
		backend = bpf_map_lookup_elem(&sw_backends, &key);
		if (backend && backend->flags & SW_BACKEND_LOCAL)
			return key.slot + 1;
	}
	return 0;
}

/* The slot that every node chooses for the flow. */
SW_INLINE __u32 sw_common_slot(const struct sw_service *service, const struct sw_service_request *request,
			       __u32 set, __u32 count)
{
	__u64 hash = sw_algorithm_of(service) == SW_ALGORITHM_SOURCE_HASH || service->affinity_timeout_seconds ?
			     sw_hash_client(request) :
			     sw_hash_flow(request);
	__u32 otherwise = (__u32)(hash % count);
	struct sw_backend_key key = { .set = set, .slot = otherwise };
	struct sw_backend *backend;

	if (sw_algorithm_of(service) == SW_ALGORITHM_MAGLEV ||
	    sw_algorithm_of(service) == SW_ALGORITHM_SOURCE_HASH)
		return sw_slot_of_table(set, hash, otherwise);
	backend = bpf_map_lookup_elem(&sw_backends, &key);
	if (backend && backend->alias_threshold != ~0U && (__u32)(hash >> 32) >= backend->alias_threshold)
		return backend->alias;
	return otherwise;
}

/* Chooses anew, as all nodes do.
 * @only_local: another node has chosen this one
 * Returns whether there is an endpoint that may be taken. */
SW_INLINE bool sw_choose_alike(struct sw_service_scratch *scratch, const union sw_ip *destination,
			       bool only_local)
{
	struct sw_service *service = &scratch->answer.service;
	struct sw_backend_key key = { .set = service->outside_set };
	__u32 count = service->outside_count;
	struct sw_backend *backend;

	if (!count)
		return false;
	/* The look-up may have been for the same port of another address. */
	scratch->request.destination = *destination;
	key.slot = sw_common_slot(service, &scratch->request, key.set, count);
	backend = bpf_map_lookup_elem(&sw_backends, &key);
	if (backend && only_local && !(backend->flags & SW_BACKEND_LOCAL)) {
		key.slot = sw_find_local_slot(key.set, count, key.slot);
		if (!key.slot)
			return false;
		key.slot--;
		backend = bpf_map_lookup_elem(&sw_backends, &key);
	}
	/* A set that vanished meanwhile leaves the choice that was made of it. */
	if (backend)
		scratch->answer.backend = *backend;
	return !only_local || scratch->answer.backend.flags & SW_BACKEND_LOCAL;
}

#endif
