/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* connect(2), getpeername(2) and the end of sockets. A connected socket talks to its
 * backend without a translation of packets. */

/* Namespaces that are remembered for a backend. */
#define SW_SOCKET_NAMESPACES 4

/* Forgets what the socket was connected to: it may be connected again. */
SW_INLINE void sw_forget_socket(__u64 cookie)
{
	struct sw_connected_socket *socket = bpf_map_lookup_elem(&sw_sockets, &cookie);

	if (!socket)
		return;
	if (socket->counted)
		sw_count_connection(socket->service_id, socket->backend_address, socket->backend_port, -1);
	bpf_map_delete_elem(&sw_sockets, &cookie);
}

/* Takes note that the namespace has a socket that is connected to the backend. Two CPUs
 * that write at once may lose one; its next socket is noted again. */
static __noinline int sw_remember_namespace(__u32 service_id, const struct sw_backend *backend, __u64 netns,
					    __u32 protocol)
{
	struct sw_connections_key key = { .service_id = service_id, .port = backend->port };
	struct sw_socket_namespaces_of first = { .cookies = { netns }, .protocol = protocol }, *known;
	int i;

	__builtin_memcpy(key.address, backend->address, sizeof(key.address));
	known = bpf_map_lookup_elem(&sw_socket_namespaces, &key);
	if (!known)
		return bpf_map_update_elem(&sw_socket_namespaces, &key, &first, BPF_ANY);
	for (i = 0; i < SW_SOCKET_NAMESPACES; i++) {
		if (known->cookies[i] == netns)
			return 0;
		if (!known->cookies[i]) {
			known->cookies[i] = netns;
			return 0;
		}
	}
	known->cookies[SW_SOCKET_NAMESPACES - 1] = ~0ULL;
	return 0;
}

SW_INLINE void sw_remember_socket(__u64 cookie, const struct sw_service_request *request,
				  const union sw_ip *named, const struct sw_service_answer *answer)
{
	struct sw_connected_socket socket = {
		.frontend_port = request->port,
		.backend_port = answer->backend.port,
		.service_id = answer->service.id,
		.protocol = request->protocol,
	};

	__builtin_memcpy(socket.frontend_address, named->bytes, sizeof(socket.frontend_address));
	__builtin_memcpy(socket.backend_address, answer->backend.address, sizeof(socket.backend_address));
	if (sw_algorithm_of(&answer->service) == SW_ALGORITHM_LEAST_CONNECTION) {
		socket.counted = 1;
		sw_count_connection(socket.service_id, socket.backend_address, socket.backend_port, 1);
	}
	bpf_map_update_elem(&sw_sockets, &cookie, &socket, BPF_ANY);
	sw_remember_namespace(answer->service.id, &answer->backend, request->client.halves[1], request->protocol);
}

SW_INLINE int sw_connect(struct bpf_sock_addr *call, bool ipv6)
{
	struct sw_service_request request;
	struct sw_service_answer answer SW_ANSWER_BEFORE;
	union sw_ip named;
	__u64 cookie;
	int choice;

	if (!sw_request_of(call, ipv6, &request))
		return SW_CALL_PROCEEDS;
	cookie = bpf_get_socket_cookie(call);
	sw_forget_socket(cookie);
	choice = sw_choose_backend(&request, &answer);
	if (choice != SW_CHOICE_BACKEND)
		return sw_fail(choice);
	sw_read_peer(call, ipv6, &named);
	sw_remember_socket(cookie, &request, &named, &answer);
	sw_write_peer(call, ipv6, answer.backend.address, answer.backend.port);
	return SW_CALL_PROCEEDS;
}

/* Names the frontend to the application that asks for its peer. */
SW_INLINE int sw_name_peer(struct bpf_sock_addr *call, bool ipv6)
{
	__u64 cookie = bpf_get_socket_cookie(call);
	struct sw_connected_socket *socket = bpf_map_lookup_elem(&sw_sockets, &cookie);
	union sw_ip peer;

	if (!socket)
		return SW_CALL_PROCEEDS;
	sw_read_peer(call, ipv6, &peer);
	if (call->user_port == socket->backend_port && sw_same_address(socket->backend_address, &peer))
		sw_write_peer(call, ipv6, socket->frontend_address, socket->frontend_port);
	return SW_CALL_PROCEEDS;
}

SEC("cgroup/connect4")
int sw_connect4(struct bpf_sock_addr *call)
{
	return sw_connect(call, false);
}

SEC("cgroup/connect6")
int sw_connect6(struct bpf_sock_addr *call)
{
	return sw_connect(call, true);
}

SEC("cgroup/getpeername4")
int sw_getpeername4(struct bpf_sock_addr *call)
{
	return sw_name_peer(call, false);
}

SEC("cgroup/getpeername6")
int sw_getpeername6(struct bpf_sock_addr *call)
{
	return sw_name_peer(call, true);
}

SEC("cgroup/sock_release")
int sw_sock_release(struct bpf_sock *socket)
{
	if (socket->protocol == IPPROTO_TCP || socket->protocol == IPPROTO_UDP)
		sw_forget_socket(bpf_get_socket_cookie(socket));
	return SW_CALL_PROCEEDS;
}
