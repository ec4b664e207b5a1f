/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Reads and rewrites a frame in place, without the kernel's buffer around it. Only TCP and UDP
 * without fragments, IPv4 options or extension headers. */
#ifndef SEAWAY_FRAME_H
#define SEAWAY_FRAME_H

#include <linux/udp.h>

#include "kernel.h"
#include "parse.h"

/* Where the parts of a frame are that was checked. */
struct sw_frame {
	struct ethhdr *ethernet;
	/* One of both, as `is_ipv4` says; that one is known when the program is compiled, which
	 * makes the verifier see it, too. */
	struct iphdr *ipv4;
	struct ipv6hdr *ipv6;
	/* Source and destination port. */
	__be16 *ports;
	/* The transport's checksum. */
	__sum16 *checksum;
	/* Flags of TCP (SW_TCP_*). */
	__u8 tcp_flags;
	__u8 protocol;
	/* Of the IP packet. */
	__u16 packet_bytes;
};

/* The ends of a frame's packet, as connection tracking has them. */
SW_INLINE void sw_ends_of(const struct sw_frame *frame, bool is_ipv4, struct sw_conntrack_key *key)
{
	union sw_ip source, destination;

	if (is_ipv4) {
		sw_map_ipv4(&source, frame->ipv4->saddr);
		sw_map_ipv4(&destination, frame->ipv4->daddr);
	} else {
		sw_copy_ipv6(&source, &frame->ipv6->saddr);
		sw_copy_ipv6(&destination, &frame->ipv6->daddr);
	}
	__builtin_memcpy(key->source, source.bytes, sizeof(key->source));
	__builtin_memcpy(key->destination, destination.bytes, sizeof(key->destination));
	key->source_port = frame->ports[0];
	key->destination_port = frame->ports[1];
	key->protocol = frame->protocol;
}

SW_INLINE bool sw_read_frame_transport(struct sw_frame *frame, void *transport, void *end)
{
	struct tcphdr *tcp = transport;
	struct udphdr *udp = transport;

	frame->ports = transport;
	if (frame->protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return false;
		frame->checksum = &tcp->check;
		frame->tcp_flags = ((__u8 *)tcp)[SW_TCP_FLAGS_OFFSET];
		return true;
	}
	if (frame->protocol != IPPROTO_UDP || (void *)(udp + 1) > end)
		return false;
	frame->checksum = &udp->check;
	return true;
}

/* Finds the parts of a frame. Returns whether it is one that may be forwarded from here: whole,
 * usual, and with a hop left. */
SW_INLINE bool sw_read_frame(void *data, void *end, bool is_ipv4, struct sw_frame *frame)
{
	struct ethhdr *ethernet = data;
	struct ipv6hdr *ipv6 = data + ETH_HLEN;
	struct iphdr *ipv4 = data + ETH_HLEN;
	__u32 bytes;

	__builtin_memset(frame, 0, sizeof(*frame));
	frame->ethernet = ethernet;
	if ((void *)(ethernet + 1) > end)
		return false;
	if (is_ipv4) {
		if ((void *)(ipv4 + 1) > end)
			return false;
		bytes = bpf_ntohs(ipv4->tot_len);
		frame->ipv4 = ipv4;
		frame->protocol = ipv4->protocol;
		frame->packet_bytes = bytes;
		return ipv4->version == 4 && ipv4->ihl == 5 && ipv4->ttl > 1 &&
		       !(ipv4->frag_off & bpf_htons(SW_IPV4_OFFSET_MASK | SW_IPV4_MORE_FRAGMENTS)) &&
		       data + ETH_HLEN + bytes <= end && bytes >= sizeof(*ipv4) &&
		       sw_read_frame_transport(frame, ipv4 + 1, end);
	}
	if ((void *)(ipv6 + 1) > end)
		return false;
	bytes = bpf_ntohs(ipv6->payload_len) + sizeof(*ipv6);
	frame->ipv6 = ipv6;
	frame->protocol = ipv6->nexthdr;
	frame->packet_bytes = bytes;
	return ipv6->version == 6 && ipv6->hop_limit > 1 && data + ETH_HLEN + bytes <= end &&
	       sw_read_frame_transport(frame, ipv6 + 1, end);
}

/* A sum of 16-bit words, folded to one (RFC 1071 §4.1). */
SW_INLINE __u16 sw_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Takes a word out of a checksum and puts another in (RFC 1624, equation 3). */
SW_INLINE __u16 sw_adjusted(__u16 checksum, __u32 difference)
{
	return ~sw_fold((__u64)(__u16)~checksum + difference);
}

/* Gives the frame other ends and takes a hop. */
SW_INLINE void sw_rewrite_frame(struct sw_frame *frame, bool is_ipv4, const struct sw_conntrack_key *from,
				const struct sw_conntrack_entry *to)
{
	union sw_ip before[2], after[2];
	__u32 addresses, ports_before, ports_after;
	__u16 checksum;
	__u64 sum;

	__builtin_memcpy(before[0].bytes, from->source, sizeof(before[0]));
	__builtin_memcpy(before[1].bytes, from->destination, sizeof(before[1]));
	__builtin_memcpy(after[0].bytes, to->source, sizeof(after[0]));
	__builtin_memcpy(after[1].bytes, to->destination, sizeof(after[1]));
	addresses = bpf_csum_diff(before[0].words, sizeof(before), after[0].words, sizeof(after), 0);
	ports_before = from->source_port | (__u32)from->destination_port << 16;
	ports_after = to->source_port | (__u32)to->destination_port << 16;
	/* A UDP checksum of 0 says that there is none, and stays (RFC 768). */
	if (frame->protocol != IPPROTO_UDP || *frame->checksum) {
		sum = (__u64)addresses + (__u32)~ports_before + ports_after;
		checksum = sw_adjusted(*frame->checksum, sw_fold(sum));
		if (frame->protocol == IPPROTO_UDP && !checksum)
			checksum = 0xffff;
		*frame->checksum = checksum;
	}
	frame->ports[0] = to->source_port;
	frame->ports[1] = to->destination_port;
	if (is_ipv4) {
		frame->ipv4->saddr = after[0].words[3];
		frame->ipv4->daddr = after[1].words[3];
		/* One hop less: the word's high byte in network order. */
		sum = (__u64)addresses + (__u16)~bpf_htons(0x0100);
		frame->ipv4->check = sw_adjusted(frame->ipv4->check, sw_fold(sum));
		frame->ipv4->ttl--;
	} else {
		__builtin_memcpy(&frame->ipv6->saddr, after[0].bytes, sizeof(after[0]));
		__builtin_memcpy(&frame->ipv6->daddr, after[1].bytes, sizeof(after[1]));
		frame->ipv6->hop_limit--;
	}
}

#endif
