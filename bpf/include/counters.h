/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* What each endpoint sent and received, by the path it took. */
#ifndef SEAWAY_COUNTERS_H
#define SEAWAY_COUNTERS_H

#include "maps.h"

/* Packets and bytes as the host's interface counters would count them: a packet that
 * waits to be cut counts as its segments. */
SW_INLINE void sw_count(struct __sk_buff *skb, struct sw_counter *counter)
{
	__u32 segments = skb->gso_segs;

	counter->packets += segments ? segments : 1;
	counter->bytes += skb->len;
}

#define SW_COUNT_TRAFFIC(skb, endpoint_id, path)                                                  \
	do {                                                                                      \
		__u32 id_ = (endpoint_id);                                                        \
		struct sw_endpoint_traffic *traffic_ =                                            \
			bpf_map_lookup_elem(&sw_endpoint_counters, &id_);                         \
		if (traffic_)                                                                     \
			sw_count(skb, &traffic_->path);                                           \
	} while (0)

#endif
