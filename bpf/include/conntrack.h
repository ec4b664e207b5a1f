/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Connections of Services: finding, keeping and forgetting them.
 *
 * A connection has two entries, so that a packet of either direction finds with one look-up
 * what it becomes. Both are told at most once a second that the connection lives, and at once
 * when its state changes. Entries past their time count as absent; user space removes them. */
#ifndef SEAWAY_CONNTRACK_H
#define SEAWAY_CONNTRACK_H

#include "conntrack_maps.h"
#include "events.h"
#include "parse.h"
#include "service_scratch.h"
#include "service_select.h"

/* How long a silent connection is remembered, in seconds. TCP: before an answer; when one end
 * has finished (RFC 9293 asks for nothing; other implementations wait as long); when both have
 * (twice the segment lifetime that Linux assumes); else longer than the keep-alive of two hours
 * (RFC 9293 §3.8.4). */
#define SW_TCP_OPENING_SECONDS 60
#define SW_TCP_HALF_CLOSED_SECONDS 120
#define SW_TCP_CLOSED_SECONDS 60
#define SW_ESTABLISHED_SECONDS (8 * 3600)
/* UDP: before an answer, and with one. */
#define SW_UDP_UNANSWERED_SECONDS 30
#define SW_UDP_ANSWERED_SECONDS 120

/* SCTP chunks, RFC 9260 §3.2. */
#define SW_SCTP_FIRST_CHUNK_OFFSET 12
#define SW_SCTP_INIT 1
#define SW_SCTP_ABORT 6
#define SW_SCTP_SHUTDOWN_COMPLETE 14

SW_INLINE bool sw_is_tracked_protocol(__u32 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

SW_INLINE void sw_conntrack_key_of(const struct sw_packet *packet, struct sw_conntrack_key *key)
{
	__builtin_memcpy(key->source, packet->source.bytes, sizeof(key->source));
	__builtin_memcpy(key->destination, packet->destination.bytes, sizeof(key->destination));
	key->source_port = packet->source_port;
	key->destination_port = packet->destination_port;
	key->protocol = packet->protocol;
}

/* The key of the other direction. */
SW_INLINE void sw_other_key_of(const struct sw_conntrack_entry *entry, __u32 protocol,
			       struct sw_conntrack_key *key)
{
	__builtin_memcpy(key->source, entry->destination, sizeof(key->source));
	__builtin_memcpy(key->destination, entry->source, sizeof(key->destination));
	key->source_port = entry->destination_port;
	key->destination_port = entry->source_port;
	key->protocol = protocol;
}

SW_INLINE bool sw_is_closed(__u32 flags)
{
	const __u32 done = SW_CONNTRACK_CLIENT_DONE | SW_CONNTRACK_BACKEND_DONE;

	return flags & SW_CONNTRACK_RESET || (flags & done) == done;
}

SW_INLINE __u64 sw_lifetime_seconds(__u32 protocol, __u32 flags)
{
	if (protocol == IPPROTO_UDP)
		return flags & SW_CONNTRACK_REPLIED ? SW_UDP_ANSWERED_SECONDS : SW_UDP_UNANSWERED_SECONDS;
	if (sw_is_closed(flags))
		return SW_TCP_CLOSED_SECONDS;
	if (flags & (SW_CONNTRACK_CLIENT_DONE | SW_CONNTRACK_BACKEND_DONE))
		return SW_TCP_HALF_CLOSED_SECONDS;
	return flags & SW_CONNTRACK_REPLIED ? SW_ESTABLISHED_SECONDS : SW_TCP_OPENING_SECONDS;
}

SW_INLINE bool sw_is_alive(const struct sw_conntrack_entry *entry, __u32 protocol, __u64 now_nanos)
{
	__u64 silent_nanos = now_nanos - entry->last_seen_nanos;

	return silent_nanos < sw_lifetime_seconds(protocol, entry->flags) * SW_NANOS_PER_SECOND;
}

/* The first chunk of an SCTP packet. */
SW_INLINE __u8 sw_first_chunk(struct __sk_buff *skb, const struct sw_packet *packet)
{
	__u8 chunk = 0xff;

	bpf_skb_load_bytes(skb, packet->transport_offset + SW_SCTP_FIRST_CHUNK_OFFSET, &chunk, sizeof(chunk));
	return chunk;
}

/* Whether the packet may be the first of a connection. */
SW_INLINE bool sw_opens_connection(struct __sk_buff *skb, const struct sw_packet *packet)
{
	if (packet->protocol == IPPROTO_TCP)
		return (packet->tcp_flags & (SW_TCP_SYN | SW_TCP_ACK | SW_TCP_RST)) == SW_TCP_SYN;
	if (packet->protocol == IPPROTO_SCTP)
		return sw_first_chunk(skb, packet) == SW_SCTP_INIT;
	return true;
}

/* What a packet says of its connection's state. */
SW_INLINE __u32 sw_state_told(struct __sk_buff *skb, const struct sw_packet *packet, __u32 flags)
{
	bool forward = flags & SW_CONNTRACK_FORWARD;
	/* Whose answers go another way must be believed when it goes on. */
	bool answered = !forward || flags & SW_CONNTRACK_DIRECT_RETURN;
	__u32 told = 0;
	__u8 chunk;

	if (answered && !(forward && sw_opens_connection(skb, packet)))
		told = SW_CONNTRACK_REPLIED;
	if (packet->protocol == IPPROTO_TCP) {
		if (packet->tcp_flags & SW_TCP_FIN)
			told |= forward ? SW_CONNTRACK_CLIENT_DONE : SW_CONNTRACK_BACKEND_DONE;
		if (packet->tcp_flags & SW_TCP_RST)
			told |= SW_CONNTRACK_RESET;
	} else if (packet->protocol == IPPROTO_SCTP && packet->has_ports) {
		chunk = sw_first_chunk(skb, packet);
		if (chunk == SW_SCTP_ABORT || chunk == SW_SCTP_SHUTDOWN_COMPLETE)
			told |= SW_CONNTRACK_RESET;
	}
	return told;
}

/* Counts a connection that ended, where connections are compared. */
SW_INLINE void sw_count_end(const struct sw_conntrack_key *key, const struct sw_conntrack_entry *entry)
{
	bool forward = entry->flags & SW_CONNTRACK_FORWARD;

	if (entry->flags & SW_CONNTRACK_COUNTED)
		sw_count_connection(entry->service_id, forward ? entry->destination : key->source,
				    forward ? entry->destination_port : key->source_port, -1);
}

/* Keeps a connection young and its state true, in both entries. */
SW_INLINE void sw_keep(struct sw_service_scratch *scratch, struct sw_conntrack_entry *entry, __u32 told,
		       __u64 now_nanos)
{
	struct sw_conntrack_key *other_key = &scratch->other_key;
	const struct sw_conntrack_key *key = &scratch->key;
	struct sw_conntrack_entry *other;
	__u32 before = entry->flags;

	if (!(told & ~before) && now_nanos - entry->last_seen_nanos < SW_NANOS_PER_SECOND)
		return;
	/* Two CPUs may lose each other's flag; the next packet that tells it repeats it, or the
	 * connection is remembered longer than it needed. */
	entry->flags = before | told;
	entry->last_seen_nanos = now_nanos;
	if (sw_is_closed(before | told) && !sw_is_closed(before))
		sw_count_end(key, entry);
	if (before & SW_CONNTRACK_DIRECT_RETURN)
		return;
	sw_other_key_of(entry, key->protocol, other_key);
	other = bpf_map_lookup_elem(&sw_conntrack, other_key);
	if (!other)
		return;
	other->flags |= told;
	other->last_seen_nanos = now_nanos;
}

/* Forgets both directions. */
SW_INLINE void sw_forget(struct sw_service_scratch *scratch)
{
	const struct sw_conntrack_entry *entry = &scratch->entry;
	const struct sw_conntrack_key *key = &scratch->key;

	if (!sw_is_closed(entry->flags))
		sw_count_end(key, entry);
	sw_other_key_of(entry, key->protocol, &scratch->other_key);
	bpf_map_delete_elem(&sw_conntrack, key);
	if (!(entry->flags & SW_CONNTRACK_DIRECT_RETURN))
		bpf_map_delete_elem(&sw_conntrack, &scratch->other_key);
}

/* Finds the packet's connection and copies its entry. Returns whether there is one. A packet
 * that opens a connection ends one that is closed or past its time. */
SW_INLINE bool sw_find_connection(struct __sk_buff *skb, struct sw_service_scratch *scratch)
{
	const struct sw_packet *packet = &scratch->packet;
	struct sw_conntrack_entry *copy = &scratch->entry;
	struct sw_conntrack_entry *entry;
	__u64 now_nanos;

	sw_conntrack_key_of(packet, &scratch->key);
	entry = bpf_map_lookup_elem(&sw_conntrack, &scratch->key);
	if (!entry)
		return false;
	now_nanos = bpf_ktime_get_ns();
	*copy = *entry;
	if (!sw_is_alive(copy, packet->protocol, now_nanos) ||
	    (sw_is_closed(copy->flags) && copy->flags & SW_CONNTRACK_FORWARD &&
	     sw_opens_connection(skb, packet))) {
		sw_forget(scratch);
		return false;
	}
	sw_keep(scratch, entry, sw_state_told(skb, packet, copy->flags), now_nanos);
	return true;
}

/* Whether a pod of this node takes part in a translated connection with another pod. */
SW_INLINE bool sw_pod_is_translated(__u32 endpoint_id)
{
	__u32 index = endpoint_id % SW_TRANSLATED_POD_SLOTS;
	__u64 *translated = bpf_map_lookup_elem(&sw_translated_pods, &index);

	return translated && *translated;
}

SW_INLINE void sw_mark_translated_pod(__u32 endpoint_id)
{
	__u32 index = endpoint_id % SW_TRANSLATED_POD_SLOTS;
	__u64 *translated = bpf_map_lookup_elem(&sw_translated_pods, &index);

	if (translated && *translated != 1)
		*translated = 1;
}

#endif
