/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Drops: each is counted by its reason, and told to user space as long as the CPU's
 * budget lasts, so that a flood of bad packets cannot become a flood of events. */
#ifndef SEAWAY_EVENTS_H
#define SEAWAY_EVENTS_H

#include "maps.h"
#include "parse.h"
#include "settings.h"

#define SW_NANOS_PER_SECOND 1000000000ULL

/* Takes a token of this CPU's budget. Returns the budget, or NULL when none is left. */
SW_INLINE struct sw_event_budget_state *sw_take_event_token(__u64 now_nanos)
{
	__u32 zero = 0;
	struct sw_event_budget_state *budget = bpf_map_lookup_elem(&sw_event_budget, &zero);
	__u64 elapsed_nanos, gained;

	if (!budget)
		return NULL;
	elapsed_nanos = now_nanos - budget->refilled_at_nanos;
	/* After a pause the product below would overflow; the bucket is full anyway. */
	if (elapsed_nanos > 60 * SW_NANOS_PER_SECOND)
		elapsed_nanos = 60 * SW_NANOS_PER_SECOND;
	gained = elapsed_nanos * settings.events_per_second / SW_NANOS_PER_SECOND;
	if (!budget->refilled_at_nanos)
		gained = settings.event_burst;
	if (gained) {
		budget->tokens += gained;
		if (budget->tokens > settings.event_burst)
			budget->tokens = settings.event_burst;
		budget->refilled_at_nanos = now_nanos;
	}
	if (!budget->tokens) {
		budget->suppressed++;
		return NULL;
	}
	budget->tokens--;
	return budget;
}

SW_INLINE void sw_send_event(struct __sk_buff *skb, const struct sw_packet *packet,
			     __u32 endpoint_id, __u16 reason)
{
	__u64 now_nanos = bpf_ktime_get_boot_ns();
	struct sw_event_budget_state *budget = sw_take_event_token(now_nanos);
	struct sw_event *event;

	if (!budget)
		return;
	event = bpf_ringbuf_reserve(&sw_events, sizeof(*event), 0);
	if (!event) {
		budget->lost++;
		return;
	}
	event->boot_time_nanos = now_nanos;
	__builtin_memcpy(event->source, packet->source.bytes, sizeof(event->source));
	__builtin_memcpy(event->destination, packet->destination.bytes, sizeof(event->destination));
	event->interface_index = skb->ifindex;
	event->endpoint_id = endpoint_id;
	event->source_port = packet->source_port;
	event->destination_port = packet->destination_port;
	event->reason = reason;
	event->protocol = packet->protocol;
	event->family = packet->family;
	event->length_bytes = skb->len;
	event->pad = 0;
	bpf_ringbuf_submit(event, 0);
}

/* Drops the packet: counts it, tells user space, returns the verdict.
 * @endpoint_id: whose link or address caused it; 0: none */
SW_INLINE int sw_drop(struct __sk_buff *skb, const struct sw_packet *packet, __u32 endpoint_id,
		      __u32 reason)
{
	struct sw_counter *counter = bpf_map_lookup_elem(&sw_drop_counters, &reason);

	if (counter) {
		counter->packets++;
		counter->bytes += skb->len;
	}
	sw_send_event(skb, packet, endpoint_id, reason);
	return SW_DROP;
}

#endif
