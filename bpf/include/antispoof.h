/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* What a pod may send. In order, the first that fails is the reason:
 *
 *  1. frames from its own MAC address;
 *  2. ARP, IPv4 or IPv6, without a VLAN tag;
 *  3. well-formed headers;
 *  4. ARP that speaks of itself (neighbor.h);
 *  5. IPv4 from its own address;
 *  6. IPv6 from its own address, or from the link-local address of its MAC. That one is
 *     never forwarded (RFC 4291 §2.5.6), and the kernel in the pod uses it for router
 *     solicitations and multicast reports. The unspecified address only for duplicate
 *     address detection, router solicitation and multicast reports;
 *  7. neighbor discovery that speaks of itself, and never behind extension headers. */
#ifndef SEAWAY_ANTISPOOF_H
#define SEAWAY_ANTISPOOF_H

#include "neighbor.h"
#include "parse.h"

/* Extension headers followed in search of ICMPv6: RFC 8200 §4.1 names seven kinds. */
#define SW_MAX_EXTENSION_HEADERS 7

/* An ICMPv6 message, and how it was found. */
struct sw_icmpv6 {
	/* Where it starts in the frame; 0: the packet is none, or not to be told. */
	__u32 offset;
	__u8 type;
	/* 1: at least one extension header comes before it. */
	__u8 behind_extensions;
	__u8 pad[2];
};

/* Flags of what sw_locate_icmpv6() returns; below them is the offset, above them the type. */
#define SW_ICMPV6_FOUND 0x10000
#define SW_ICMPV6_BEHIND_EXTENSIONS 0x20000
#define SW_ICMPV6_TYPE_SHIFT 24
#define SW_ICMPV6_MALFORMED 0x40000

/* Finds the ICMPv6 header behind hop-by-hop, routing and destination options. Does not
 * look behind fragment headers: receivers ignore fragmented neighbor discovery, RFC 6980.
 * Not static: the verifier looks at it once, not once for each way that leads here. */
__noinline __u32 sw_locate_icmpv6(struct __sk_buff *skb, __u32 offset, __u32 next)
{
	struct {
		__u8 next_header;
		__u8 length_in_8_bytes;
	} extension;
	__u32 behind_extensions = 0;
	__u8 type;
	int i;

	for (i = 0; i < SW_MAX_EXTENSION_HEADERS; i++) {
		if (next == SW_IPPROTO_ICMPV6)
			break;
		if (next != SW_IPPROTO_HOP_BY_HOP && next != SW_IPPROTO_ROUTING &&
		    next != SW_IPPROTO_DESTINATION_OPTIONS)
			return 0;
		if (bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension)))
			return SW_ICMPV6_MALFORMED;
		next = extension.next_header;
		offset += (extension.length_in_8_bytes + 1) * 8;
		behind_extensions = SW_ICMPV6_BEHIND_EXTENSIONS;
	}
	if (next != SW_IPPROTO_ICMPV6 || bpf_skb_load_bytes(skb, offset, &type, sizeof(type)))
		return SW_ICMPV6_MALFORMED;
	return (__u32)type << SW_ICMPV6_TYPE_SHIFT | SW_ICMPV6_FOUND | behind_extensions | (offset & 0xffff);
}

SW_INLINE int sw_find_icmpv6(struct __sk_buff *skb, const struct sw_packet *packet,
			     struct sw_icmpv6 *found)
{
	__u32 place = sw_locate_icmpv6(skb, packet->transport_offset, packet->protocol);

	if (place & SW_ICMPV6_MALFORMED)
		return SW_DROP_MALFORMED;
	if (!(place & SW_ICMPV6_FOUND))
		return 0;
	found->offset = place & 0xffff;
	found->type = place >> SW_ICMPV6_TYPE_SHIFT;
	found->behind_extensions = !!(place & SW_ICMPV6_BEHIND_EXTENSIONS);
	return 0;
}

/* Whether a message may come from the unspecified address. */
SW_INLINE bool sw_may_be_unspecified(const struct sw_icmpv6 *message)
{
	if (!message->offset)
		return false;
	return message->type == SW_ND_NEIGHBOR_SOLICITATION || message->type == SW_ND_ROUTER_SOLICITATION ||
	       message->type == SW_MLD_REPORT || message->type == SW_MLD_DONE ||
	       message->type == SW_MLD2_REPORT;
}

SW_INLINE int sw_check_ipv6(struct __sk_buff *skb, const struct sw_link *link,
			    const struct sw_packet *packet)
{
	struct sw_icmpv6 message = {};
	bool own = sw_is_own_ipv6(&packet->source, link);
	int reason;

	/* The common case: a transport with ports, or echo. */
	if (likely(own && !packet->unusual))
		return 0;
	reason = sw_find_icmpv6(skb, packet, &message);
	if (reason)
		return reason;
	if (!own && !(sw_is_unspecified(&packet->source) && sw_may_be_unspecified(&message)))
		return SW_DROP_SPOOFED_SOURCE_IP;
	if (!message.offset || message.type < SW_ND_ROUTER_SOLICITATION || message.type > SW_ND_REDIRECT)
		return 0;
	if (message.behind_extensions)
		return SW_DROP_SPOOFED_NEIGHBOR;
	return sw_check_nd(skb, link, packet, message.offset);
}

/* Parses a frame from a pod and checks it.
 * Returns 0, or the reason to drop. The packet's family is 0 after an ARP message that
 * may pass. */
SW_INLINE int sw_parse_and_check_sender(struct __sk_buff *skb, const struct sw_link *link,
					struct sw_packet *packet)
{
	int malformed = sw_parse(skb, packet);
	int reason;

	if (!sw_macs_equal(packet->source_mac, link->pod_mac))
		return SW_DROP_SPOOFED_SOURCE_MAC;
	if (skb->vlan_present)
		return SW_DROP_UNKNOWN_ETHER_TYPE;
	if (malformed)
		return malformed;
	if (packet->ether_type == bpf_htons(ETH_P_ARP)) {
		reason = sw_check_arp(skb, link, packet);
		if (!reason)
			packet->family = 0;
		return reason;
	}
	if (packet->family == 4)
		return link->ipv4 && packet->source.words[3] == link->ipv4 ? 0 : SW_DROP_SPOOFED_SOURCE_IP;
	if (packet->family == 6)
		return sw_check_ipv6(skb, link, packet);
	return SW_DROP_UNKNOWN_ETHER_TYPE;
}

#endif
