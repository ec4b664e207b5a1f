/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Writing other ends into a packet, with every checksum that covers them. */
#ifndef SEAWAY_TRANSLATE_H
#define SEAWAY_TRANSLATE_H

#include "kernel.h"
#include "parse.h"
#include "sctp_checksum.h"
#include "service_scratch.h"

#define SW_TCP_CHECKSUM_OFFSET 16
#define SW_UDP_CHECKSUM_OFFSET 6
/* Source and destination port. */
#define SW_PORTS_BYTES 4

/* Reads the IPv4 header's checksum again: forwarding adjusts it. */
SW_INLINE long sw_reload_header_checksum(struct __sk_buff *skb, struct sw_packet *packet)
{
	return bpf_skb_load_bytes(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, check),
				  &packet->header_checksum, sizeof(packet->header_checksum));
}

/* Writes the addresses. Returns a negative error, or 0 and what it adds to checksums. */
SW_INLINE long sw_write_addresses(struct __sk_buff *skb, struct sw_packet *packet,
				  const union sw_ip *source, const union sw_ip *destination, __s64 *sum)
{
	const __u32 ipv4_offset = ETH_HLEN + __builtin_offsetof(struct iphdr, saddr);
	const __u32 ipv6_offset = ETH_HLEN + __builtin_offsetof(struct ipv6hdr, saddr);
	union sw_ip before[2], after[2];

	before[0] = packet->source;
	before[1] = packet->destination;
	after[0] = *source;
	after[1] = *destination;
	/* IPv4 addresses have the same first 12 bytes in both. */
	*sum = bpf_csum_diff(before[0].words, sizeof(before), after[0].words, sizeof(after), 0);
	packet->source = *source;
	packet->destination = *destination;
	if (packet->family == 6)
		/* A checksum that the receiving interface took over the whole packet stays the same,
		 * for the transport's makes up for the addresses; the kernel's helper for the
		 * transport's takes it off, so it is added here. */
		return bpf_skb_store_bytes(skb, ipv6_offset, after, sizeof(after), BPF_F_RECOMPUTE_CSUM);
	after[0].words[0] = source->words[3];
	after[0].words[1] = destination->words[3];
	if (bpf_skb_store_bytes(skb, ipv4_offset, after, 8, 0) ||
	    bpf_l3_csum_replace(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, check), 0, *sum, 0))
		return -1;
	return sw_reload_header_checksum(skb, packet);
}

/* Writes the ports and corrects a checksum in the manner of RFC 1624. */
SW_INLINE long sw_write_ports(struct __sk_buff *skb, const struct sw_packet *packet, __u32 checksum_offset,
			      __u64 flags, __u32 before, __u32 after)
{
	if (bpf_l4_csum_replace(skb, packet->transport_offset + checksum_offset, before, after, flags | 4))
		return -1;
	return bpf_skb_store_bytes(skb, packet->transport_offset, &after, sizeof(after), 0);
}

SW_INLINE long sw_translate_to(struct __sk_buff *skb, struct sw_packet *packet,
			       const struct sw_conntrack_entry *to)
{
	__u32 before = packet->source_port | (__u32)packet->destination_port << 16;
	__u32 after = to->source_port | (__u32)to->destination_port << 16;
	union sw_ip source, destination;
	__u32 checksum_offset;
	/* A UDP checksum of 0 stays what it is: none (RFC 768). */
	__u64 flags = packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__s64 sum = 0;

	__builtin_memcpy(source.bytes, to->source, sizeof(source));
	__builtin_memcpy(destination.bytes, to->destination, sizeof(destination));
	if (sw_write_addresses(skb, packet, &source, &destination, &sum))
		return -1;
	packet->source_port = to->source_port;
	packet->destination_port = to->destination_port;
	/* A later fragment has no transport header. */
	if (!packet->has_ports)
		return 0;
	/* SCTP's covers no addresses (RFC 9260 §6.8). */
	if (packet->protocol == IPPROTO_SCTP)
		return before == after ? 0 : sw_write_sctp_ports(skb, packet, before, after);
	checksum_offset = packet->protocol == IPPROTO_TCP ? SW_TCP_CHECKSUM_OFFSET : SW_UDP_CHECKSUM_OFFSET;
	if (bpf_l4_csum_replace(skb, packet->transport_offset + checksum_offset, 0, sum,
				flags | BPF_F_PSEUDO_HDR))
		return -1;
	return before == after ? 0 : sw_write_ports(skb, packet, checksum_offset, flags, before, after);
}

/* Gives the packet the ends of its entry.
 * Returns 0, or -1: then the packet is no longer whole. */
__noinline int sw_translate(struct __sk_buff *skb)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();

	return scratch && !sw_translate_to(skb, &scratch->packet, &scratch->entry) ? 0 : -1;
}

#endif
