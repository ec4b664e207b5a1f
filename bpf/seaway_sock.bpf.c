// SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0)
/* The data path's programs for sockets, on the root of the node's cgroup hierarchy: they see
 * the calls of every process of the node, pods and host alike, and turn a Service into one
 * of its backends before there is a packet.
 *
 *   connect ─────▶ sw_connect4/6 ──▶ backend ◀── sw_getpeername4/6 names the Service
 *   sendmsg(to) ─▶ sw_sendmsg4/6 ──▶ backend ◀── sw_recvmsg4/6 names the Service
 *
 * Maps are shared with seaway.bpf.c by the names under which they are pinned. */
#include "include/kernel.h"
#include "include/parse.h"
#include "include/service_maps.h"
#include "include/services.h"
#include "include/socket_call.h"
#include "include/socket_maps.h"

#include "programs/socket_connect.h"
#include "programs/socket_datagram.h"

char LICENSE[] SEC("license") = "GPL";
