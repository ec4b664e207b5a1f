/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Constants that the loader writes before the programs are verified: the verifier
 * removes the branches they rule out. A section of its own makes the map's content
 * exactly this struct. */
#ifndef SEAWAY_SETTINGS_H
#define SEAWAY_SETTINGS_H

#include "kernel.h"
#include "seaway_abi.h"

SEC(".rodata.settings") const volatile struct sw_settings settings = {
	/* Something on this node may translate addresses. */
	.remember_stack_flows = 1,
	/* A person reads some; a program that reads all of them still costs little. */
	.events_per_second = 500,
	/* A burst of mistakes is shown whole. */
	.event_burst = 1000,
	/* Somebody else's. */
	.services = 0,
	.tunnel_port = bpf_htons(4789),
	/* Below NodePorts and the ports that processes get on their own. */
	.first_service_port = 1024,
	.service_ports = 28976,
};

#endif
