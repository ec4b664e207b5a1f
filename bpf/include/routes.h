/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* Where addresses are: on this node, or behind another. */
#ifndef SEAWAY_ROUTES_H
#define SEAWAY_ROUTES_H

#include "maps.h"
#include "parse.h"

/* The local pod with this address, or NULL. */
SW_INLINE struct sw_endpoint *sw_find_endpoint(const union sw_ip *ip)
{
	return bpf_map_lookup_elem(&sw_endpoints, &ip->address);
}

/* The block that holds this address, or NULL. */
SW_INLINE struct sw_route *sw_find_route(const union sw_ip *ip)
{
	struct sw_route_key key;

	key.prefix_length_bits = 128;
	__builtin_memcpy(key.address, ip->bytes, sizeof(key.address));
	return bpf_map_lookup_elem(&sw_routes, &key);
}

/* Whether the fast path can deliver to this endpoint. */
SW_INLINE bool sw_endpoint_is_reachable(const struct sw_endpoint *endpoint)
{
	return endpoint && endpoint->interface_index;
}

/* Whether the fast path can send along this route. */
SW_INLINE bool sw_route_is_reachable(const struct sw_route *route)
{
	return route && route->interface_index &&
	       (route->kind == SW_ROUTE_TUNNEL || route->kind == SW_ROUTE_DIRECT);
}

/* Whether the fast path reaches this address at all, here or behind another node. */
SW_INLINE bool sw_address_is_reachable(const union sw_ip *ip)
{
	return sw_endpoint_is_reachable(sw_find_endpoint(ip)) ||
	       sw_route_is_reachable(sw_find_route(ip));
}

#endif
