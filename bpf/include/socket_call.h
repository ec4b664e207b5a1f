/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* The system calls that the socket programs see, and what they make of them. IPv4 addresses
 * are mapped everywhere, so an IPv6 socket that speaks IPv4 needs nothing of its own. */
#ifndef SEAWAY_SOCKET_CALL_H
#define SEAWAY_SOCKET_CALL_H

#include "services.h"
#include "socket_maps.h"

/* The call goes on, or fails. */
#define SW_CALL_PROCEEDS 1
#define SW_CALL_FAILS 0

/* asm/errno.h differs by machine; these do not on those we run on. */
#define SW_ECONNREFUSED 111

SEC(".rodata.settings") const volatile struct sw_socket_settings settings = {
	.can_set_error = 1,
	/* As long as the host's connection tracking keeps a UDP stream. */
	.udp_idle_seconds = 120,
};

SW_INLINE void sw_read_peer(const struct bpf_sock_addr *call, bool ipv6, union sw_ip *address)
{
	if (!ipv6) {
		sw_map_ipv4(address, call->user_ip4);
		return;
	}
	address->words[0] = call->user_ip6[0];
	address->words[1] = call->user_ip6[1];
	address->words[2] = call->user_ip6[2];
	address->words[3] = call->user_ip6[3];
}

SW_INLINE void sw_write_peer(struct bpf_sock_addr *call, bool ipv6, const __u8 address[16], __be16 port)
{
	union sw_ip ip;

	__builtin_memcpy(ip.bytes, address, sizeof(ip.bytes));
	call->user_port = port;
	if (!ipv6) {
		call->user_ip4 = ip.words[3];
		return;
	}
	call->user_ip6[0] = ip.words[0];
	call->user_ip6[1] = ip.words[1];
	call->user_ip6[2] = ip.words[2];
	call->user_ip6[3] = ip.words[3];
}

/* To the unspecified address means to loopback. */
SW_INLINE void sw_name_loopback(union sw_ip *address)
{
	if (address->halves[0])
		return;
	if (!address->halves[1])
		address->words[3] = bpf_htonl(1);
	else if (address->words[2] == bpf_htonl(0xffff) && !address->words[3])
		address->words[3] = bpf_htonl(0x7f000001);
}

SW_INLINE bool sw_same_address(const __u8 one[16], const union sw_ip *other)
{
	union sw_ip ip;

	__builtin_memcpy(ip.bytes, one, sizeof(ip.bytes));
	return ip.halves[0] == other->halves[0] && ip.halves[1] == other->halves[1];
}

/* Who calls for what. Returns false when it is not for us. */
SW_INLINE bool sw_request_of(struct bpf_sock_addr *call, bool ipv6, struct sw_service_request *request)
{
	struct sw_service_node_state *node;
	__u64 netns;
	__u32 zero = 0;

	__builtin_memset(request, 0, sizeof(*request));
	if (call->protocol != IPPROTO_TCP && call->protocol != IPPROTO_UDP)
		return false;
	sw_read_peer(call, ipv6, &request->destination);
	sw_name_loopback(&request->destination);
	request->port = call->user_port;
	request->protocol = call->protocol;
	request->side = SW_INSIDE;
	netns = bpf_get_netns_cookie(call);
	request->client.halves[0] = SW_CLIENT_IS_COOKIE;
	request->client.halves[1] = netns;
	node = bpf_map_lookup_elem(&sw_service_node, &zero);
	request->on_host = node && node->host_netns_cookie == netns;
	return true;
}

/* Refuses as a peer without a listener would; where we cannot choose the error, the host
 * refuses the packet. */
SW_INLINE int sw_refuse(void)
{
	if (!settings.can_set_error)
		return SW_CALL_PROCEEDS;
	bpf_set_retval(-SW_ECONNREFUSED);
	return SW_CALL_FAILS;
}

/* What becomes of a call that gets no backend. Policy Local without an endpoint leaves it as it is:
 * the host drops the packet on its way, and the application waits as it would for a dead host. The
 * host knows no source ranges, so who is in none is told EPERM, as a firewall tells it. */
SW_INLINE int sw_fail(int choice)
{
	switch (choice) {
	case SW_CHOICE_REJECT:
		return sw_refuse();
	case SW_CHOICE_SOURCE_REFUSED:
		return SW_CALL_FAILS;
	default:
		return SW_CALL_PROCEEDS;
	}
}

#endif
