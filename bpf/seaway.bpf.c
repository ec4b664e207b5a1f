// SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0)
/* The data path's programs for traffic control hooks (TCX, or clsact filters on kernels
 * before 6.6). One object, so that all programs share one set of maps.
 *
 *   pod ──▶ sw_from_pod ──┬─ bpf_redirect_peer ─────────────▶ pod of this node
 *                         ├─ bpf_redirect(_neigh) ─▶ sw_to_network ─▶ other node
 *                         └─ host stack ─┬─▶ sw_to_pod ─────▶ pod of this node
 *                                        └─▶ sw_to_network ─▶ other node
 *   other node ──▶ sw_from_tunnel, sw_from_underlay ──┬─ bpf_redirect_peer ─▶ pod
 *                                                     └─ host stack ─▶ sw_to_pod ─▶ pod
 *
 * The host's own tables carry every packet without these programs; they are a fast path.
 * What is unusual goes to the host stack, which forwards it or answers with ICMP. */
#define SW_PACKET_PROGRAMS

#include "include/antispoof.h"
#include "include/connect.h"
#include "include/conntrack.h"
#include "include/counters.h"
#include "include/direct_return.h"
#include "include/events.h"
#include "include/forward.h"
#include "include/fragments.h"
#include "include/kernel.h"
#include "include/maps.h"
#include "include/parse.h"
#include "include/quoted.h"
#include "include/redirect.h"
#include "include/routes.h"
#include "include/service_scratch.h"
#include "include/services.h"
#include "include/settings.h"
#include "include/stack_flows.h"
#include "include/too_big.h"
#include "include/translate.h"

#include "programs/services.h"

#include "programs/from_pod.h"
#include "programs/to_pod.h"
#include "programs/from_network.h"
#include "programs/to_network.h"

/* The redirect and ring buffer helpers are for programs under a GPL-compatible licence. */
char LICENSE[] SEC("license") = "GPL";
