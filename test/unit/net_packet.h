/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_packet.h - packets of a guest, as tests make them: Ethernet, IPv4 or IPv6, and what is in it.
 */
#ifndef HOLON_TEST_NET_PACKET_H
#define HOLON_TEST_NET_PACKET_H

#include <stddef.h>
#include <stdint.h>

#define PACKET_MAC               \
	{                        \
		2, 0, 0, 0, 0, 1 \
	}

/*
 * Makes a whole frame with right checksums in `frame`. `from` and `to` are addresses as text. payload: what is behind the IP header, with the
 * checksum's field at `checksum` (0: none).
 */
size_t packet_make(uint8_t *frame, const char *from, const char *to, uint8_t protocol, const void *payload, size_t length,
		   size_t checksum);
size_t packet_udp(uint8_t *frame, const char *from, const char *to, uint16_t from_port, uint16_t to_port, const void *data,
		  size_t length);
/* No data. */
size_t packet_tcp(uint8_t *frame, const char *from, const char *to, uint16_t from_port, uint16_t to_port, uint8_t flags);
size_t packet_icmp_echo(uint8_t *frame, const char *from, const char *to);
size_t packet_arp(uint8_t *frame, const char *from, const char *to);

#endif
