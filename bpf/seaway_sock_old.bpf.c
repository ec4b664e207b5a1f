// SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0)
/* The programs for sockets, for kernels before 5.12. */
#define SW_NO_POINTER_ARGUMENTS
#include "seaway_sock.bpf.c"
