/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Which ARP and neighbor-discovery messages a pod may send: those that speak of itself.
 * Each check returns 0 or the reason to drop. */
#ifndef SEAWAY_NEIGHBOR_H
#define SEAWAY_NEIGHBOR_H

#include "maps.h"
#include "parse.h"

/* Neighbor discovery, RFC 4861 §4. */
#define SW_ND_ROUTER_SOLICITATION 133
#define SW_ND_ROUTER_ADVERTISEMENT 134
#define SW_ND_NEIGHBOR_SOLICITATION 135
#define SW_ND_NEIGHBOR_ADVERTISEMENT 136
#define SW_ND_REDIRECT 137
#define SW_ND_OPTION_SOURCE_MAC 1
#define SW_ND_OPTION_TARGET_MAC 2

/* Multicast listener discovery, RFC 2710 §3, RFC 3810 §5.2. */
#define SW_MLD_REPORT 131
#define SW_MLD_DONE 132
#define SW_MLD2_REPORT 143

/* Linux sends at most two (MAC address and nonce); more look like an attempt to hide one. */
#define SW_ND_MAX_OPTIONS 4

/* Hardware type of Ethernet; linux/if_arp.h needs the C library's headers. */
#define SW_ARP_ETHERNET 1

/* ARP for Ethernet and IPv4, RFC 826. */
struct sw_arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_bytes;
	__u8 protocol_bytes;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender_ipv4[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target_ipv4[4];
} __attribute__((packed));

/* A solicitation or advertisement of a neighbor, without options. */
struct sw_neighbor_message {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 flags;
	union sw_ip target;
};

SW_INLINE bool sw_macs_equal(const __u8 *a, const __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4] &&
	       a[5] == b[5];
}

/* Whether this is the link-local address that the kernel in the pod makes of its MAC:
 * fe80::/64 with a modified EUI-64 identifier (RFC 4291 §2.5.6). */
SW_INLINE bool sw_is_own_link_local(const union sw_ip *ip, const struct sw_link *link)
{
	const __u8 *address = ip->bytes, *mac = link->pod_mac;

	return ip->halves[0] == bpf_cpu_to_be64(0xfe80000000000000ULL) && address[8] == (mac[0] ^ 2) &&
	       address[9] == mac[1] && address[10] == mac[2] && address[11] == 0xff &&
	       address[12] == 0xfe && address[13] == mac[3] && address[14] == mac[4] &&
	       address[15] == mac[5];
}

SW_INLINE bool sw_is_unspecified(const union sw_ip *ip)
{
	return !ip->halves[0] && !ip->halves[1];
}

/* Whether the address is one of the pod's IPv6 addresses. */
SW_INLINE bool sw_is_own_ipv6(const union sw_ip *ip, const struct sw_link *link)
{
	union sw_ip own;

	__builtin_memcpy(own.bytes, link->ipv6, sizeof(own.bytes));
	if (!sw_is_unspecified(&own) && ip->halves[0] == own.halves[0] && ip->halves[1] == own.halves[1])
		return true;
	return sw_is_own_link_local(ip, link);
}

/* ARP: the sender must be the pod. A probe (RFC 5227: no sender address) may only ask
 * for the pod's own address. */
SW_INLINE int sw_check_arp(struct __sk_buff *skb, const struct sw_link *link, struct sw_packet *packet)
{
	struct sw_arp arp;
	__be32 sender, target;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return SW_DROP_MALFORMED;
	if (arp.hardware != bpf_htons(SW_ARP_ETHERNET) || arp.protocol != bpf_htons(ETH_P_IP) ||
	    arp.hardware_bytes != ETH_ALEN || arp.protocol_bytes != 4)
		return SW_DROP_MALFORMED;
	__builtin_memcpy(&sender, arp.sender_ipv4, sizeof(sender));
	__builtin_memcpy(&target, arp.target_ipv4, sizeof(target));
	/* For the event. */
	packet->family = 4;
	sw_map_ipv4(&packet->source, sender);
	sw_map_ipv4(&packet->destination, target);
	if (!sw_macs_equal(arp.sender_mac, link->pod_mac) || !link->ipv4)
		return SW_DROP_SPOOFED_NEIGHBOR;
	if (sender == link->ipv4 || (!sender && target == link->ipv4))
		return 0;
	return SW_DROP_SPOOFED_NEIGHBOR;
}

/* Every option of type `kind` must hold the pod's MAC. Not static: the verifier looks at it
 * once, not once for each way that leads here.
 * @offset: where the options start in the frame */
__noinline int sw_check_nd_options(struct __sk_buff *skb, __u32 offset, __u32 kind)
{
	__u32 interface_index = skb->ifindex;
	struct sw_link *link = bpf_map_lookup_elem(&sw_links, &interface_index);
	struct {
		__u8 type;
		__u8 length_in_8_bytes;
		__u8 mac[ETH_ALEN];
	} option;
	int i;

	if (!link)
		return SW_DROP_UNKNOWN_ENDPOINT;
	for (i = 0; i < SW_ND_MAX_OPTIONS; i++) {
		if (offset >= skb->len)
			return 0;
		/* Every option has at least 8 bytes. */
		if (bpf_skb_load_bytes(skb, offset, &option, sizeof(option)) || !option.length_in_8_bytes)
			return SW_DROP_MALFORMED;
		if (option.type == kind && !sw_macs_equal(option.mac, link->pod_mac))
			return SW_DROP_SPOOFED_NEIGHBOR;
		offset += option.length_in_8_bytes * 8;
	}
	return offset >= skb->len ? 0 : SW_DROP_SPOOFED_NEIGHBOR;
}

/* Neighbor discovery, for a packet whose source address has been checked.
 * @offset: where the ICMPv6 header starts in the frame */
SW_INLINE int sw_check_nd(struct __sk_buff *skb, const struct sw_link *link,
			  const struct sw_packet *packet, __u32 offset)
{
	struct sw_neighbor_message message;
	__u8 type;

	if (bpf_skb_load_bytes(skb, offset, &type, sizeof(type)))
		return SW_DROP_MALFORMED;
	switch (type) {
	case SW_ND_ROUTER_SOLICITATION:
		return sw_check_nd_options(skb, offset + 8, SW_ND_OPTION_SOURCE_MAC);
	case SW_ND_ROUTER_ADVERTISEMENT:
	case SW_ND_REDIRECT:
		/* A pod is no router. */
		return SW_DROP_SPOOFED_NEIGHBOR;
	case SW_ND_NEIGHBOR_SOLICITATION:
		if (bpf_skb_load_bytes(skb, offset, &message, sizeof(message)))
			return SW_DROP_MALFORMED;
		/* Duplicate address detection claims its target, RFC 4862 §5.4. */
		if (sw_is_unspecified(&packet->source) && !sw_is_own_ipv6(&message.target, link))
			return SW_DROP_SPOOFED_NEIGHBOR;
		return sw_check_nd_options(skb, offset + sizeof(message), SW_ND_OPTION_SOURCE_MAC);
	case SW_ND_NEIGHBOR_ADVERTISEMENT:
		if (bpf_skb_load_bytes(skb, offset, &message, sizeof(message)))
			return SW_DROP_MALFORMED;
		if (!sw_is_own_ipv6(&message.target, link))
			return SW_DROP_SPOOFED_NEIGHBOR;
		return sw_check_nd_options(skb, offset + sizeof(message), SW_ND_OPTION_TARGET_MAC);
	default:
		return 0;
	}
}

#endif
