/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* The kernel's side of the programs: uapi types, helpers, and the few names that
 * older uapi headers lack. Nothing here reads a kernel structure, so the programs
 * load on kernels without BTF. */
#ifndef SEAWAY_KERNEL_H
#define SEAWAY_KERNEL_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SW_INLINE static __always_inline

/* The verdict "go on as if we were not here": the next program on the interface
 * runs, then the host stack. It means the same at TCX (TCX_NEXT) and in a clsact
 * filter (TC_ACT_UNSPEC). */
#define SW_TO_STACK TC_ACT_UNSPEC

/* The verdict "drop"; same number as TCX_DROP. */
#define SW_DROP TC_ACT_SHOT

/* IP protocols that linux/in.h has only under other names, or not at all. */
#define SW_IPPROTO_HOP_BY_HOP 0
#define SW_IPPROTO_ICMPV6 58
#define SW_IPPROTO_ROUTING 43
#define SW_IPPROTO_FRAGMENT 44
#define SW_IPPROTO_DESTINATION_OPTIONS 60

#endif
