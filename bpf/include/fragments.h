/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Fragments: only the first of a packet has ports, so it leaves them for the others. */
#ifndef SEAWAY_FRAGMENTS_H
#define SEAWAY_FRAGMENTS_H

#include "conntrack_maps.h"
#include "parse.h"
#include "service_scratch.h"

/* Fragment header, RFC 8200 §4.5. */
struct sw_fragment_header {
	__u8 next_header;
	__u8 reserved;
	/* Offset in units of 8 bytes, and the flag "more fragments" in the lowest bit. */
	__be16 offset;
	__be32 identification;
};
#define SW_IPV6_OFFSET_MASK 0xfff8
#define SW_IPV6_MORE_FRAGMENTS 0x0001

SW_INLINE bool sw_read_ipv4_fragment(struct __sk_buff *skb, const struct sw_packet *packet,
				     struct sw_fragment_key *key, bool *first)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) ||
	    !(ip.frag_off & bpf_htons(SW_IPV4_OFFSET_MASK | SW_IPV4_MORE_FRAGMENTS)))
		return false;
	key->identification = ip.id;
	key->protocol = packet->protocol;
	*first = !(ip.frag_off & bpf_htons(SW_IPV4_OFFSET_MASK));
	return true;
}

SW_INLINE bool sw_read_ipv6_fragment(struct __sk_buff *skb, struct sw_packet *packet,
				     struct sw_fragment_key *key, bool *first)
{
	struct sw_fragment_header header;

	if (packet->protocol != SW_IPPROTO_FRAGMENT ||
	    bpf_skb_load_bytes(skb, packet->transport_offset, &header, sizeof(header)))
		return false;
	key->identification = header.identification;
	key->protocol = header.next_header;
	*first = !(header.offset & bpf_htons(SW_IPV6_OFFSET_MASK));
	packet->protocol = header.next_header;
	packet->transport_offset += sizeof(header);
	return true;
}

/* Completes what is known of a fragment. Returns whether it is one whose ports are known. */
SW_INLINE bool sw_complete_fragment(struct __sk_buff *skb, struct sw_service_scratch *scratch)
{
	struct sw_fragment_key *key = &scratch->fragment;
	struct sw_packet *packet = &scratch->packet;
	struct sw_fragment_ports *known, ports;
	bool first, fragment;

	fragment = packet->family == 4 ? sw_read_ipv4_fragment(skb, packet, key, &first) :
					 sw_read_ipv6_fragment(skb, packet, key, &first);
	if (!fragment || packet->protocol != IPPROTO_UDP)
		return false;
	__builtin_memcpy(key->source, packet->source.bytes, sizeof(key->source));
	__builtin_memcpy(key->destination, packet->destination.bytes, sizeof(key->destination));
	if (first) {
		if (bpf_skb_load_bytes(skb, packet->transport_offset, &ports, sizeof(ports)))
			return false;
		bpf_map_update_elem(&sw_fragments, key, &ports, BPF_ANY);
		packet->has_ports = 1;
	} else {
		known = bpf_map_lookup_elem(&sw_fragments, key);
		if (!known)
			return false;
		ports = *known;
	}
	packet->source_port = ports.source_port;
	packet->destination_port = ports.destination_port;
	return true;
}

#endif
