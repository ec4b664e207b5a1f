/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* sendmsg(2) with an address, and recvmsg(2), of UDP sockets. */

SW_INLINE void sw_peer_key(__u64 cookie, const __u8 address[16], __be16 port, struct sw_socket_peer *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->cookie = cookie;
	__builtin_memcpy(key->address, address, sizeof(key->address));
	key->port = port;
}

/* A peer of a socket. */
struct sw_peer {
	union sw_ip address;
	/* Network byte order. */
	__be16 port;
	__u8 pad[6];
};

/* Keeps the socket's peer `one` known as `other`. The entry is written only when it differs,
 * for an update takes the lock of its bucket. Not inlined: its stack is not the caller's. */
static __noinline int sw_keep_name(void *map, __u64 cookie, const struct sw_peer *one,
				   const struct sw_peer *other)
{
	struct sw_socket_peer_name name = { .last_used_nanos = bpf_ktime_get_ns() };
	struct sw_socket_peer_name *known;
	struct sw_socket_peer key;

	sw_peer_key(cookie, one->address.bytes, one->port, &key);
	known = bpf_map_lookup_elem(map, &key);
	if (known && known->port == other->port && sw_same_address(known->address, &other->address)) {
		known->last_used_nanos = name.last_used_nanos;
		return 0;
	}
	__builtin_memcpy(name.address, other->address.bytes, sizeof(name.address));
	name.port = other->port;
	return bpf_map_update_elem(map, &key, &name, BPF_ANY);
}

/* Leaves the backend that the socket uses for a frontend in `backend`, as a proposal for
 * sw_choose_backend(). Returns whether there is one. */
static __noinline int sw_find_flow(__u64 cookie, const struct sw_peer *frontend, struct sw_backend *backend)
{
	struct sw_socket_peer_name *known;
	struct sw_socket_peer key;

	sw_peer_key(cookie, frontend->address.bytes, frontend->port, &key);
	known = bpf_map_lookup_elem(&sw_socket_flows, &key);
	if (!known ||
	    bpf_ktime_get_ns() - known->last_used_nanos >= settings.udp_idle_seconds * 1000000000ULL)
		return 0;
	__builtin_memcpy(backend->address, known->address, sizeof(backend->address));
	backend->port = known->port;
	return 1;
}

SW_INLINE int sw_send(struct bpf_sock_addr *call, bool ipv6)
{
	struct sw_peer frontend = {}, backend = {};
	struct sw_service_request request;
	struct sw_service_answer answer = {};
	__u64 cookie;
	int choice;

	if (!sw_request_of(call, ipv6, &request))
		return SW_CALL_PROCEEDS;
	cookie = bpf_get_socket_cookie(call);
	sw_read_peer(call, ipv6, &frontend.address);
	frontend.port = request.port;
	request.recall = sw_find_flow(cookie, &frontend, &answer.backend);
	choice = sw_choose_backend(&request, &answer);
	if (choice != SW_CHOICE_BACKEND)
		return sw_fail(choice);
	__builtin_memcpy(backend.address.bytes, answer.backend.address, sizeof(backend.address));
	backend.port = answer.backend.port;
	sw_keep_name(&sw_socket_flows, cookie, &frontend, &backend);
	sw_keep_name(&sw_socket_replies, cookie, &backend, &frontend);
	sw_write_peer(call, ipv6, answer.backend.address, answer.backend.port);
	return SW_CALL_PROCEEDS;
}

/* Names the frontend as the sender of what came from a backend. */
SW_INLINE int sw_receive(struct bpf_sock_addr *call, bool ipv6)
{
	__u64 cookie = bpf_get_socket_cookie(call);
	struct sw_connected_socket *socket = bpf_map_lookup_elem(&sw_sockets, &cookie);
	struct sw_socket_peer_name *name;
	struct sw_socket_peer peer;
	union sw_ip sender;

	sw_read_peer(call, ipv6, &sender);
	if (socket && call->user_port == socket->backend_port &&
	    sw_same_address(socket->backend_address, &sender)) {
		sw_write_peer(call, ipv6, socket->frontend_address, socket->frontend_port);
		return SW_CALL_PROCEEDS;
	}
	sw_peer_key(cookie, sender.bytes, call->user_port, &peer);
	name = bpf_map_lookup_elem(&sw_socket_replies, &peer);
	if (name)
		sw_write_peer(call, ipv6, name->address, name->port);
	return SW_CALL_PROCEEDS;
}

SEC("cgroup/sendmsg4")
int sw_sendmsg4(struct bpf_sock_addr *call)
{
	return sw_send(call, false);
}

SEC("cgroup/sendmsg6")
int sw_sendmsg6(struct bpf_sock_addr *call)
{
	return sw_send(call, true);
}

SEC("cgroup/recvmsg4")
int sw_recvmsg4(struct bpf_sock_addr *call)
{
	return sw_receive(call, false);
}

SEC("cgroup/recvmsg6")
int sw_recvmsg6(struct bpf_sock_addr *call)
{
	return sw_receive(call, true);
}
