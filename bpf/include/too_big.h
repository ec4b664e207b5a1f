/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Answering a packet that is too big for its path: "fragmentation needed" (RFC 792, RFC 1191)
 * and "packet too big" (RFC 4443 §3.2). The host stack does it for all other packets. */
#ifndef SEAWAY_TOO_BIG_H
#define SEAWAY_TOO_BIG_H

#include "forward.h"

#define SW_ICMP_UNREACHABLE 3
#define SW_ICMP_FRAGMENTATION_NEEDED 4
#define SW_ICMPV6_PACKET_TOO_BIG 2
#define SW_ANSWER_HOP_LIMIT 64

/* ICMP and ICMPv6 errors that tell a size. */
struct sw_too_big {
	__u8 type;
	__u8 code;
	__be16 checksum;
	/* The lower half of it in ICMP. */
	__be32 mtu_bytes;
};

struct sw_too_big_ipv4 {
	struct iphdr ip;
	struct sw_too_big icmp;
};

struct sw_too_big_ipv6 {
	struct ipv6hdr ip;
	struct sw_too_big icmp;
};

SW_INLINE __u16 sw_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Writes a transport checksum into the quotation that stays what it is even when the sending
 * interface still computes it: segments that the receiving interface joined ask for that, and a
 * program cannot tell nor stop it. That sum is over the quoted transport header and what
 * follows: c = ~(rest + c), so c is half of ~rest, and 32768 is the half of 1 modulo 65535. */
SW_INLINE long sw_settle_quoted_checksum(struct __sk_buff *skb, struct sw_service_scratch *scratch)
{
	const struct sw_packet *packet = &scratch->packet;
	__u32 offset = packet->transport_offset, bytes = ETH_HLEN + SW_QUOTED_BYTES - offset;
	__u16 checksum = 0;
	__u32 place;

	if (packet->protocol == IPPROTO_TCP)
		place = offset + 16;
	else if (packet->protocol == IPPROTO_UDP)
		place = offset + 6;
	else
		return 0;
	if (bpf_skb_store_bytes(skb, place, &checksum, sizeof(checksum), 0))
		return -1;
	__builtin_memset(scratch->quoted, 0, sizeof(scratch->quoted));
	if (bytes > sizeof(scratch->quoted))
		return -1;
	/* Joined to one comparison, of a copy, the two say nothing to the verifier of Linux 6.1. */
	barrier_var(bytes);
	if (bytes < 20 || bpf_skb_load_bytes(skb, offset, scratch->quoted, bytes))
		return -1;
	checksum = ~sw_fold(bpf_csum_diff(NULL, 0, (__be32 *)scratch->quoted, sizeof(scratch->quoted), 0));
	checksum = (__u32)checksum * 32768 % 65535;
	return bpf_skb_store_bytes(skb, place, &checksum, sizeof(checksum), 0);
}

/* The sum over the quotation, which starts at `offset`. */
SW_INLINE long sw_sum_of_quotation(struct __sk_buff *skb, struct sw_service_scratch *scratch, __u32 offset,
				   __u64 *sum)
{
	if (bpf_skb_load_bytes(skb, offset, scratch->quoted, sizeof(scratch->quoted)))
		return -1;
	*sum = bpf_csum_diff(NULL, 0, (__be32 *)scratch->quoted, sizeof(scratch->quoted), 0);
	return 0;
}

SW_INLINE long sw_write_too_big_ipv4(struct __sk_buff *skb, struct sw_service_scratch *scratch)
{
	struct sw_packet *packet = &scratch->packet;
	struct sw_too_big_ipv4 answer = {
		.ip = {
			.version = 4,
			.ihl = 5,
			.tot_len = bpf_htons(sizeof(answer) + SW_QUOTED_BYTES),
			.ttl = SW_ANSWER_HOP_LIMIT,
			.protocol = IPPROTO_ICMP,
			.saddr = packet->source.words[3],
			.daddr = packet->destination.words[3],
		},
		.icmp = {
			.type = SW_ICMP_UNREACHABLE,
			.code = SW_ICMP_FRAGMENTATION_NEEDED,
			.mtu_bytes = bpf_htonl(scratch->mtu_bytes & 0xffff),
		},
	};
	__u64 sum;

	if (bpf_skb_adjust_room(skb, sizeof(answer), BPF_ADJ_ROOM_MAC, 0) ||
	    sw_sum_of_quotation(skb, scratch, ETH_HLEN + sizeof(answer), &sum))
		return -1;
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&answer.icmp, sizeof(answer.icmp), sw_fold(sum));
	answer.icmp.checksum = ~sw_fold(sum);
	answer.ip.check = ~sw_fold(bpf_csum_diff(NULL, 0, (__be32 *)&answer.ip, sizeof(answer.ip), 0));
	packet->header_checksum = answer.ip.check;
	packet->protocol = IPPROTO_ICMP;
	return bpf_skb_store_bytes(skb, ETH_HLEN, &answer, sizeof(answer), 0);
}

SW_INLINE long sw_write_too_big_ipv6(struct __sk_buff *skb, struct sw_service_scratch *scratch)
{
	struct sw_packet *packet = &scratch->packet;
	struct sw_too_big_ipv6 answer = {
		.ip = {
			.version = 6,
			.payload_len = bpf_htons(sizeof(answer.icmp) + SW_QUOTED_BYTES),
			.nexthdr = SW_IPPROTO_ICMPV6,
			.hop_limit = SW_ANSWER_HOP_LIMIT,
		},
		.icmp = {
			.type = SW_ICMPV6_PACKET_TOO_BIG,
			.mtu_bytes = bpf_htonl(scratch->mtu_bytes),
		},
	};
	/* RFC 8200 §8.1: length and next header after the addresses. */
	__be32 pseudo[2] = { bpf_htonl(sizeof(answer.icmp) + SW_QUOTED_BYTES), bpf_htonl(SW_IPPROTO_ICMPV6) };
	__u64 sum;

	__builtin_memcpy(&answer.ip.saddr, packet->source.bytes, sizeof(answer.ip.saddr));
	__builtin_memcpy(&answer.ip.daddr, packet->destination.bytes, sizeof(answer.ip.daddr));
	if (bpf_skb_adjust_room(skb, sizeof(answer), BPF_ADJ_ROOM_MAC, 0) ||
	    sw_sum_of_quotation(skb, scratch, ETH_HLEN + sizeof(answer), &sum))
		return -1;
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), sw_fold(sum));
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&answer.ip.saddr, 32, sw_fold(sum));
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&answer.icmp, sizeof(answer.icmp), sw_fold(sum));
	answer.icmp.checksum = ~sw_fold(sum);
	packet->protocol = SW_IPPROTO_ICMPV6;
	return bpf_skb_store_bytes(skb, ETH_HLEN, &answer, sizeof(answer), 0);
}

/* Makes an answer of the packet, in its place, and sends it back. */
__noinline int sw_answer_too_big(struct __sk_buff *skb, __u32 sender_id)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();
	struct sw_packet *packet;
	union sw_ip swap;
	int verdict;
	long failed;

	if (!scratch)
		return SW_DROP;
	packet = &scratch->packet;
	swap = packet->source;
	packet->source = packet->destination;
	packet->destination = swap;
	failed = bpf_skb_change_tail(skb, ETH_HLEN + SW_QUOTED_BYTES, 0) ||
		 sw_settle_quoted_checksum(skb, scratch);
	if (!failed)
		failed = packet->family == 4 ? sw_write_too_big_ipv4(skb, scratch) :
					       sw_write_too_big_ipv6(skb, scratch);
	if (failed)
		return sw_refuse(skb, sender_id, SW_DROP_MALFORMED);
	packet->hop_limit = SW_ANSWER_HOP_LIMIT;
	packet->has_ports = 0;
	packet->unusual = 1;
	verdict = sw_send_on(skb, sender_id, false);
	return verdict == SW_TOO_BIG ? sw_refuse(skb, sender_id, SW_DROP_SERVICE_UNROUTABLE) : verdict;
}

#endif
