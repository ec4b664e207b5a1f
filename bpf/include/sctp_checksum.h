/* SPDX-License-Identifier: (GPL-2.0 OR Apache-2.0) */
/* SCTP's checksum after a change of ports, without reading the packet again.
 *
 * CRC32c (RFC 9260 appendix A) is linear: the checksum changes by the checksum of the change,
 * which is four bytes of difference followed by as many zero bytes as the packet goes on. A
 * zero byte multiplies by x^8 modulo the polynomial, so many of them take one multiplication
 * for each bit of their number. */
#ifndef SEAWAY_SCTP_CHECKSUM_H
#define SEAWAY_SCTP_CHECKSUM_H

#include "kernel.h"
#include "parse.h"

#define SW_SCTP_CHECKSUM_OFFSET 8
/* Bits are reflected: the highest power of x is the lowest bit. */
#define SW_CRC32C_POLYNOMIAL 0x82f63b78U
/* x^8. */
#define SW_CRC32C_ZERO_BYTE 0x00800000U
/* Packets have less than 2^17 bytes. */
#define SW_LENGTH_BITS 17

/* The product of two polynomials. Not static: the verifier looks at it once. */
__noinline __u32 sw_crc32c_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;
	int i;

	for (i = 0; i < 32; i++) {
		product ^= b & (0U - (a >> 31));
		a <<= 1;
		b = b >> 1 ^ (SW_CRC32C_POLYNOMIAL & (0U - (b & 1)));
	}
	return product;
}

/* What `change` at the start of `bytes` bytes does to their checksum. */
__noinline __u32 sw_crc32c_of_change(__u32 change, __u32 bytes)
{
	__u32 power = SW_CRC32C_ZERO_BYTE;
	int i;

	/* A register that holds the four bytes themselves is, after them, the register after as
	 * many zero bytes. */
	for (i = 0; i < SW_LENGTH_BITS; i++) {
		if (bytes >> i & 1)
			change = sw_crc32c_multiply(power, change);
		power = sw_crc32c_multiply(power, power);
	}
	return change;
}

/* To and from the byte order of SCTP's checksum, which starts with its lowest byte. */
SW_INLINE __u32 sw_little_endian(__u32 value)
{
	return __builtin_bswap32(bpf_htonl(value));
}

/* What the IP header says follows it; the frame may be padded. */
SW_INLINE long sw_transport_bytes(struct __sk_buff *skb, const struct sw_packet *packet)
{
	__u32 offset = packet->family == 4 ? __builtin_offsetof(struct iphdr, tot_len)
					   : __builtin_offsetof(struct ipv6hdr, payload_len);
	/* IPv6 counts from the end of its fixed header. */
	long start = packet->family == 4 ? ETH_HLEN : ETH_HLEN + sizeof(struct ipv6hdr);
	__be16 bytes;

	if (bpf_skb_load_bytes(skb, ETH_HLEN + offset, &bytes, sizeof(bytes)))
		return -1;
	return start + bpf_ntohs(bytes) - (long)packet->transport_offset;
}

/* Writes the ports of an SCTP packet. Where the checksum is still to be computed by the sending
 * interface, what is written here is overwritten. */
SW_INLINE long sw_write_sctp_ports(struct __sk_buff *skb, const struct sw_packet *packet, __u32 before,
				   __u32 after)
{
	__u32 offset = packet->transport_offset + SW_SCTP_CHECKSUM_OFFSET;
	long bytes = sw_transport_bytes(skb, packet);
	__u32 checksum, change;

	if (bytes < 0 || bpf_skb_load_bytes(skb, offset, &checksum, sizeof(checksum)))
		return -1;
	change = sw_crc32c_of_change(sw_little_endian(before ^ after), bytes);
	checksum ^= sw_little_endian(change);
	if (bpf_skb_store_bytes(skb, offset, &checksum, sizeof(checksum), BPF_F_RECOMPUTE_CSUM))
		return -1;
	return bpf_skb_store_bytes(skb, packet->transport_offset, &after, sizeof(after), BPF_F_RECOMPUTE_CSUM);
}

#endif
