/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* ICMP errors about translated packets. An error quotes the packet as it was where it failed:
 * its sender knows it by other ends, and may itself be known by another address. */
#ifndef SEAWAY_QUOTED_H
#define SEAWAY_QUOTED_H

#include "conntrack.h"
#include "service_scratch.h"
#include "translate.h"

#define SW_ICMP_SOURCE_QUENCH 4
#define SW_ICMP_TIME_EXCEEDED 11
#define SW_ICMP_PARAMETER_PROBLEM 12
#define SW_ICMPV6_FIRST_ERROR 1
#define SW_ICMPV6_LAST_ERROR 4
#define SW_ICMP_HEADER_BYTES 8
#define SW_ICMP_CHECKSUM_OFFSET 2

SW_INLINE bool sw_is_icmp(const struct sw_packet *packet)
{
	return packet->protocol == (packet->family == 4 ? IPPROTO_ICMP : SW_IPPROTO_ICMPV6);
}

SW_INLINE bool sw_is_icmp_error(const struct sw_packet *packet, __u8 type)
{
	if (packet->family == 6)
		return type >= SW_ICMPV6_FIRST_ERROR && type <= SW_ICMPV6_LAST_ERROR;
	return type == 3 || type == SW_ICMP_SOURCE_QUENCH || type == SW_ICMP_TIME_EXCEEDED ||
	       type == SW_ICMP_PARAMETER_PROBLEM;
}

/* Reads the quoted IP header: ends of the key are those of the answer to the quoted packet. */
SW_INLINE bool sw_read_quoted_header(struct __sk_buff *skb, struct sw_service_scratch *scratch)
{
	__u32 offset = scratch->packet.transport_offset + SW_ICMP_HEADER_BYTES;
	struct sw_quotation *quotation = &scratch->quotation;
	struct sw_conntrack_key *key = &scratch->key;
	struct ipv6hdr *ipv6 = (void *)scratch->quoted;
	struct iphdr *ipv4 = (void *)scratch->quoted;

	if (scratch->packet.family == 4) {
		if (bpf_skb_load_bytes(skb, offset, ipv4, sizeof(*ipv4)) || ipv4->version != 4 || ipv4->ihl < 5 ||
		    ipv4->frag_off & bpf_htons(SW_IPV4_OFFSET_MASK))
			return false;
		sw_map_ipv4((union sw_ip *)key->source, ipv4->daddr);
		sw_map_ipv4((union sw_ip *)key->destination, ipv4->saddr);
		key->protocol = ipv4->protocol;
		quotation->addresses_offset = offset + __builtin_offsetof(struct iphdr, saddr);
		quotation->ports_offset = offset + ipv4->ihl * 4;
	} else {
		if (bpf_skb_load_bytes(skb, offset, ipv6, sizeof(*ipv6)) || ipv6->version != 6)
			return false;
		sw_copy_ipv6((union sw_ip *)key->source, &ipv6->daddr);
		sw_copy_ipv6((union sw_ip *)key->destination, &ipv6->saddr);
		key->protocol = ipv6->nexthdr;
		quotation->addresses_offset = offset + __builtin_offsetof(struct ipv6hdr, saddr);
		quotation->ports_offset = offset + sizeof(*ipv6);
	}
	return sw_is_tracked_protocol(key->protocol);
}

/* Finds the connection of a quoted packet. Returns whether there is one; its key and entry
 * are those of the answer to the quoted packet. */
SW_INLINE bool sw_find_quoted(struct __sk_buff *skb, struct sw_service_scratch *scratch)
{
	struct sw_quotation *quotation = &scratch->quotation;
	const struct sw_packet *packet = &scratch->packet;
	struct sw_conntrack_key *key = &scratch->key;
	struct sw_conntrack_entry *entry;
	__be16 ports[2];
	__u8 type;

	if (bpf_skb_load_bytes(skb, packet->transport_offset, &type, sizeof(type)) ||
	    !sw_is_icmp_error(packet, type) || !sw_read_quoted_header(skb, scratch) ||
	    bpf_skb_load_bytes(skb, quotation->ports_offset, ports, sizeof(ports)))
		return false;
	key->source_port = ports[1];
	key->destination_port = ports[0];
	entry = bpf_map_lookup_elem(&sw_conntrack, key);
	if (!entry)
		return false;
	scratch->entry = *entry;
	return sw_is_alive(&scratch->entry, key->protocol, bpf_ktime_get_ns());
}

/* Writes the quoted IPv4 addresses. The quoted header's own checksum makes up for them, so the
 * message's stays. */
SW_INLINE long sw_write_quoted_ipv4(struct __sk_buff *skb, const struct sw_conntrack_key *key,
				    const struct sw_conntrack_entry *to, __u32 offset)
{
	__be32 before[2], after[2];
	__u32 checksum_offset = offset - __builtin_offsetof(struct iphdr, saddr) +
				__builtin_offsetof(struct iphdr, check);

	__builtin_memcpy(&before[0], key->destination + 12, 4);
	__builtin_memcpy(&before[1], key->source + 12, 4);
	__builtin_memcpy(&after[0], to->destination + 12, 4);
	__builtin_memcpy(&after[1], to->source + 12, 4);
	if (bpf_l3_csum_replace(skb, checksum_offset, 0,
				bpf_csum_diff(before, sizeof(before), after, sizeof(after), 0), 0))
		return -1;
	return bpf_skb_store_bytes(skb, offset, after, sizeof(after), 0);
}

SW_INLINE long sw_write_quoted_ipv6(struct __sk_buff *skb, const struct sw_conntrack_key *key,
				    const struct sw_conntrack_entry *to, __u32 offset, __u32 checksum_offset)
{
	union sw_ip before[2], after[2];

	__builtin_memcpy(before[0].bytes, key->destination, sizeof(before[0]));
	__builtin_memcpy(before[1].bytes, key->source, sizeof(before[1]));
	__builtin_memcpy(after[0].bytes, to->destination, sizeof(after[0]));
	__builtin_memcpy(after[1].bytes, to->source, sizeof(after[1]));
	if (bpf_l4_csum_replace(skb, checksum_offset, 0,
				bpf_csum_diff(before[0].words, sizeof(before), after[0].words, sizeof(after), 0),
				0))
		return -1;
	return bpf_skb_store_bytes(skb, offset, after, sizeof(after), 0);
}

SW_INLINE long sw_translate_error_to(struct __sk_buff *skb, struct sw_packet *packet,
				     const struct sw_quotation *quotation,
				     const struct sw_conntrack_key *key,
				     const struct sw_conntrack_entry *to)
{
	__u32 checksum_offset = packet->transport_offset + SW_ICMP_CHECKSUM_OFFSET;
	__u32 before = key->destination_port | (__u32)key->source_port << 16;
	__u32 after = to->destination_port | (__u32)to->source_port << 16;
	union sw_ip source = packet->source, destination, known;
	__s64 sum = 0;
	long failed;

	failed = packet->family == 4 ?
			 sw_write_quoted_ipv4(skb, key, to, quotation->addresses_offset) :
			 sw_write_quoted_ipv6(skb, key, to, quotation->addresses_offset, checksum_offset);
	if (failed || bpf_l4_csum_replace(skb, checksum_offset, before, after, 4) ||
	    bpf_skb_store_bytes(skb, quotation->ports_offset, &after, sizeof(after), 0))
		return -1;
	__builtin_memcpy(destination.bytes, to->destination, sizeof(destination));
	/* Who sends from behind a translation is known by what it is translated to. */
	__builtin_memcpy(known.bytes, key->source, sizeof(known));
	if (known.halves[0] != ((const union sw_ip *)to->source)->halves[0] ||
	    known.halves[1] != ((const union sw_ip *)to->source)->halves[1])
		__builtin_memcpy(source.bytes, to->source, sizeof(source));
	if (sw_write_addresses(skb, packet, &source, &destination, &sum))
		return -1;
	if (packet->family == 4)
		return 0;
	return bpf_l4_csum_replace(skb, checksum_offset, 0, sum, BPF_F_PSEUDO_HDR);
}

/* Gives an error, and the packet it quotes, the ends by which its receiver knows them.
 * Returns 0, or -1: then the packet is no longer whole. */
__noinline int sw_translate_error(struct __sk_buff *skb)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();

	return scratch && !sw_translate_error_to(skb, &scratch->packet, &scratch->quotation,
						 &scratch->key, &scratch->entry) ? 0 : -1;
}

#endif
