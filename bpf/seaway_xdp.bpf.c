// SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0)
/* The data path's program for underlay devices whose driver runs XDP itself: packets of
 * translated connections that only pass through this node, before the kernel makes a buffer for
 * them.
 *
 *   client ──▶ sw_xdp ──▶ endpoint on another node      (to, and perhaps from, translated)
 *          ◀── sw_xdp ◀── its answers                   (translated back)
 *
 * It only does what changes nothing that is remembered. Whatever opens, closes or keeps alive a
 * connection, is for a pod or a process of this node, goes into a tunnel, or is unusual in any
 * way goes on to sw_from_underlay. Maps are shared with seaway.bpf.c by the names under which they
 * are pinned. */
#define SW_PACKET_PROGRAMS

#include "include/kernel.h"
#include "include/conntrack.h"
#include "include/frame.h"
#include "include/routes.h"
#include "include/xdp_maps.h"

#include "programs/from_device.h"

char LICENSE[] SEC("license") = "GPL";
