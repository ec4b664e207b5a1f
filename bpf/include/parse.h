/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Reads the headers of a frame into struct sw_packet. Never follows more than the
 * fixed headers: whatever has more to it is `unusual` and left to the host stack. */
#ifndef SEAWAY_PARSE_H
#define SEAWAY_PARSE_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include "kernel.h"
#include "seaway_abi.h"

#define SW_IPV4_OFFSET_MASK 0x1fff
#define SW_IPV4_MORE_FRAGMENTS 0x2000

/* Start of an ICMP or ICMPv6 echo message, RFC 792, RFC 4443 §4.1; linux/icmp.h needs the
 * C library's headers. */
struct sw_echo {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 identifier;
	__be16 sequence;
};
#define SW_ICMP_ECHO_REPLY 0
#define SW_ICMP_ECHO_REQUEST 8
#define SW_ICMPV6_ECHO_REQUEST 128
#define SW_ICMPV6_ECHO_REPLY 129

/* An address of either family, as the maps hold it, in the widths the code compares. */
union sw_ip {
	struct sw_address address;
	__u8 bytes[16];
	__be32 words[4];
	__u64 halves[2];
};

/* What is known of a packet after parsing. */
struct sw_packet {
	/* IPv4 addresses are mapped. */
	union sw_ip source;
	union sw_ip destination;
	/* Ports, or the identifier of ICMP echo in both; 0: none. */
	__be16 source_port;
	__be16 destination_port;
	/* Ethernet type, network byte order. */
	__be16 ether_type;
	/* Checksum of the IPv4 header. */
	__be16 header_checksum;
	__u8 source_mac[ETH_ALEN];
	/* 4, 6, or 0 when it is no IP packet. */
	__u8 family;
	/* IP protocol; the first "next header" of IPv6. */
	__u8 protocol;
	/* TTL or hop limit. */
	__u8 hop_limit;
	/* 1: no program of ours may forward it: a fragment, options, extension headers,
	 * ICMP errors, or a protocol other than TCP, UDP, SCTP and ICMP echo. */
	__u8 unusual;
	/* Length of the IP header and of the transport header, for sizes of segments. */
	__u8 network_header_bytes;
	__u8 transport_header_bytes;
	/* Where the transport header starts in the frame. */
	__u32 transport_offset;
	/* Flags of TCP (SW_TCP_*). */
	__u8 tcp_flags;
	/* 1: ports were read from the transport header. */
	__u8 has_ports;
	__u8 pad[2];
};

/* RFC 9293 §3.1. */
#define SW_TCP_FIN 0x01
#define SW_TCP_SYN 0x02
#define SW_TCP_RST 0x04
#define SW_TCP_ACK 0x10
#define SW_TCP_FLAGS_OFFSET 13

/* Headers we look at directly: Ethernet, IPv6 without extensions, TCP without options. */
#define SW_PARSED_BYTES (ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct tcphdr))

/* Makes the headers readable through skb->data: a frame may keep them in pages. */
SW_INLINE void sw_make_headers_linear(struct __sk_buff *skb)
{
	__u32 wanted = skb->len < SW_PARSED_BYTES ? skb->len : SW_PARSED_BYTES;

	if (unlikely((__u64)skb->data + wanted > (__u64)skb->data_end))
		bpf_skb_pull_data(skb, wanted);
}

SW_INLINE void sw_map_ipv4(union sw_ip *ip, __be32 address)
{
	ip->halves[0] = 0;
	ip->words[2] = bpf_htonl(0xffff);
	ip->words[3] = address;
}

SW_INLINE void sw_copy_ipv6(union sw_ip *ip, const struct in6_addr *address)
{
	__builtin_memcpy(ip->bytes, address, sizeof(ip->bytes));
}

/* Ports of the transports that a flow can be told by; sets `unusual` for the others.
 * @transport: start of the transport header
 * @payload_bytes: what the IP header says follows it
 * @data_end: end of the readable part of the frame
 * Returns 0, or SW_DROP_MALFORMED. */
SW_INLINE int sw_parse_transport(struct sw_packet *packet, void *transport, __u32 payload_bytes,
				 void *data_end)
{
	switch (packet->protocol) {
	case IPPROTO_TCP: {
		struct tcphdr *tcp = transport;

		if ((void *)(tcp + 1) > data_end || payload_bytes < sizeof(*tcp))
			return SW_DROP_MALFORMED;
		packet->source_port = tcp->source;
		packet->destination_port = tcp->dest;
		packet->transport_header_bytes = tcp->doff * 4;
		packet->tcp_flags = ((__u8 *)tcp)[SW_TCP_FLAGS_OFFSET];
		packet->has_ports = 1;
		return 0;
	}
	case IPPROTO_UDP:
	case IPPROTO_SCTP: {
		/* Both start with the two ports and have at least 8 bytes. */
		__be16 *ports = transport;

		if (transport + 8 > data_end || payload_bytes < 8)
			return SW_DROP_MALFORMED;
		packet->source_port = ports[0];
		packet->destination_port = ports[1];
		packet->transport_header_bytes = 8;
		packet->has_ports = 1;
		return 0;
	}
	case IPPROTO_ICMP:
	case SW_IPPROTO_ICMPV6: {
		struct sw_echo *icmp = transport;
		__u8 request = packet->family == 4 ? SW_ICMP_ECHO_REQUEST : SW_ICMPV6_ECHO_REQUEST;
		__u8 reply = packet->family == 4 ? SW_ICMP_ECHO_REPLY : SW_ICMPV6_ECHO_REPLY;

		if ((void *)(icmp + 1) > data_end || payload_bytes < sizeof(*icmp))
			return SW_DROP_MALFORMED;
		packet->transport_header_bytes = 8;
		if (icmp->type == request || icmp->type == reply) {
			packet->source_port = icmp->identifier;
			packet->destination_port = icmp->identifier;
		} else {
			/* Errors quote a packet whose addresses the host may have translated. */
			packet->unusual = 1;
		}
		return 0;
	}
	default:
		packet->unusual = 1;
		return 0;
	}
}

SW_INLINE int sw_parse_ipv4(struct __sk_buff *skb, struct sw_packet *packet)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	__u32 header_bytes, total_bytes;

	if ((void *)(ip + 1) > data_end)
		return SW_DROP_MALFORMED;
	packet->family = 4;
	sw_map_ipv4(&packet->source, ip->saddr);
	sw_map_ipv4(&packet->destination, ip->daddr);
	packet->protocol = ip->protocol;
	packet->hop_limit = ip->ttl;
	packet->header_checksum = ip->check;
	header_bytes = ip->ihl * 4;
	packet->network_header_bytes = header_bytes;
	packet->transport_offset = ETH_HLEN + header_bytes;
	/* Segments above 64 KiB that wait to be cut carry the length 0. */
	total_bytes = bpf_ntohs(ip->tot_len);
	if (unlikely(!total_bytes && skb->gso_size))
		total_bytes = skb->len - ETH_HLEN;
	if (unlikely(ip->version != 4 || header_bytes < sizeof(*ip) || total_bytes < header_bytes ||
		     total_bytes + ETH_HLEN > skb->len))
		return SW_DROP_MALFORMED;
	if (unlikely(header_bytes > sizeof(*ip) ||
		     ip->frag_off & bpf_htons(SW_IPV4_OFFSET_MASK | SW_IPV4_MORE_FRAGMENTS))) {
		packet->unusual = 1;
		return 0;
	}
	return sw_parse_transport(packet, ip + 1, total_bytes - header_bytes, data_end);
}

SW_INLINE int sw_parse_ipv6(struct __sk_buff *skb, struct sw_packet *packet)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + ETH_HLEN;
	__u32 payload_bytes;

	if ((void *)(ip + 1) > data_end)
		return SW_DROP_MALFORMED;
	packet->family = 6;
	sw_copy_ipv6(&packet->source, &ip->saddr);
	sw_copy_ipv6(&packet->destination, &ip->daddr);
	packet->protocol = ip->nexthdr;
	packet->hop_limit = ip->hop_limit;
	packet->network_header_bytes = sizeof(*ip);
	packet->transport_offset = ETH_HLEN + sizeof(*ip);
	payload_bytes = bpf_ntohs(ip->payload_len);
	if (unlikely(!payload_bytes && skb->gso_size && skb->len > ETH_HLEN + sizeof(*ip)))
		payload_bytes = skb->len - ETH_HLEN - sizeof(*ip);
	if (unlikely(ip->version != 6 || payload_bytes + ETH_HLEN + sizeof(*ip) > skb->len))
		return SW_DROP_MALFORMED;
	return sw_parse_transport(packet, ip + 1, payload_bytes, data_end);
}

/* Parses a frame.
 * Returns 0, or SW_DROP_MALFORMED; in both cases the fields read so far are valid.
 * The packet's family is 0 when it is neither IPv4 nor IPv6. */
SW_INLINE int sw_parse(struct __sk_buff *skb, struct sw_packet *packet)
{
	struct ethhdr *ethernet;

	__builtin_memset(packet, 0, sizeof(*packet));
	sw_make_headers_linear(skb);
	ethernet = (void *)(long)skb->data;
	if ((void *)(ethernet + 1) > (void *)(long)skb->data_end)
		return SW_DROP_MALFORMED;
	packet->ether_type = ethernet->h_proto;
	__builtin_memcpy(packet->source_mac, ethernet->h_source, ETH_ALEN);
	if (packet->ether_type == bpf_htons(ETH_P_IP))
		return sw_parse_ipv4(skb, packet);
	if (packet->ether_type == bpf_htons(ETH_P_IPV6))
		return sw_parse_ipv6(skb, packet);
	return 0;
}

/* Size of the largest IP packet that this one is on the wire: itself, or one segment of
 * what the sender left to be cut. */
SW_INLINE __u32 sw_packet_bytes_on_wire(struct __sk_buff *skb, const struct sw_packet *packet)
{
	__u32 segment_bytes = skb->gso_size;

	if (segment_bytes)
		return segment_bytes + packet->network_header_bytes + packet->transport_header_bytes;
	return skb->len - ETH_HLEN;
}

#endif
