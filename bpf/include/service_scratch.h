/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Room for what the translation of one packet needs: more than a program's stack has. Programs
 * on one CPU do not interrupt each other.
 *
 * The functions that work on it are not static: the verifier looks at such a function once, not
 * once for each way that leads to each call. Before Linux 5.12 they may take the packet and
 * numbers only, so each finds the scratch by itself. */
#ifndef SEAWAY_SERVICE_SCRATCH_H
#define SEAWAY_SERVICE_SCRATCH_H

#include "kernel.h"
#include "seaway_abi.h"
#include "services.h"

/* Not a verdict: the packet has nothing to do with Services. */
#define SW_NOT_OURS 0x100
/* Not a verdict: the packet is larger than the path; see the scratch. */
#define SW_TOO_BIG 0x101

/* How much of a packet too big for its path is quoted. Both errors ask for more where it fits;
 * this is enough for every transport to find its connection. */
#define SW_QUOTED_BYTES 128

/* Where things are in an ICMP error's quotation. */
struct sw_quotation {
	/* Of the quoted source address; the destination's follows. */
	__u32 addresses_offset;
	/* Of the quoted ports. */
	__u32 ports_offset;
};

/* Not a verdict: the packet goes to another node as it is. */
#define SW_HAND_OVER 0x102

struct sw_service_scratch {
	struct sw_packet packet;
	struct sw_service_request request;
	struct sw_service_answer answer;
	/* The packet's direction. */
	struct sw_conntrack_key key;
	struct sw_conntrack_entry entry;
	/* The other direction, while a connection is made; then the packet as it came. */
	struct sw_conntrack_key other_key;
	struct sw_conntrack_entry other;
	/* An address whose route is taken. */
	union sw_ip towards;
	struct sw_quotation quotation;
	struct sw_fragment_key fragment;
	struct bpf_fib_lookup route;
	struct bpf_redir_neigh next_hop;
	/* What an answer quotes. */
	__u8 quoted[SW_QUOTED_BYTES];
	/* Of the path that the packet is too big for. */
	__u32 mtu_bytes;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_service_scratch);
} service_scratch SEC(".maps");

SW_INLINE struct sw_service_scratch *sw_service_scratch_of_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&service_scratch, &zero);
}

/* Starts work on a packet. Returns whether there is room for it. */
SW_INLINE bool sw_take_up(const struct sw_packet *packet)
{
	struct sw_service_scratch *scratch = sw_service_scratch_of_cpu();

	if (scratch)
		scratch->packet = *packet;
	return scratch;
}

#endif
