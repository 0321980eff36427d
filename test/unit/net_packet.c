/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_packet.c - see net_packet.h.
 */
#include <arpa/inet.h>
#include <string.h>

#include "backend/net/net_offload.h"
#include "net_packet.h"

static void put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void checksum_put(uint8_t *at, uint32_t sum)
{
	uint16_t checksum = net_checksum_finish(sum);

	memcpy(at, &checksum, sizeof(checksum));
}

static void ethernet_put(uint8_t *frame, unsigned type, uint8_t to)
{
	static const uint8_t own[] = PACKET_MAC;

	memset(frame, to, 6);
	memcpy(frame + 6, own, 6);
	put16(frame + 12, type);
}

size_t packet_make(uint8_t *frame, const char *from, const char *to, uint8_t protocol, const void *payload, size_t length,
		   size_t checksum)
{
	uint8_t *ip = frame + 14, pseudo[4] = {0, protocol};
	const int six = strchr(to, ':') != NULL;
	const size_t header = six ? 40 : 20, source = six ? 8 : 12, size = six ? 16 : 4;
	uint32_t sum;

	ethernet_put(frame, six ? 0x86dd : 0x0800, 0x52);
	memset(ip, 0, header);
	ip[0] = six ? 0x60 : 0x45;
	put16(ip + (six ? 4 : 2), six ? length : header + length);
	ip[six ? 6 : 9] = protocol;
	ip[six ? 7 : 8] = 255;
	inet_pton(six ? AF_INET6 : AF_INET, from, ip + source);
	inet_pton(six ? AF_INET6 : AF_INET, to, ip + source + size);
	if (!six)
		checksum_put(ip + 10, net_checksum_add(0, ip, header));
	memcpy(ip + header, payload, length);
	if (checksum) {
		put16(pseudo + 2, length);
		put16(ip + header + checksum, 0);
		sum = protocol == IPPROTO_ICMP ? 0 : net_checksum_add(net_checksum_add(0, pseudo, 4), ip + source, 2 * size);
		checksum_put(ip + header + checksum, net_checksum_add(sum, ip + header, length));
	}
	return 14 + header + length;
}

size_t packet_udp(uint8_t *frame, const char *from, const char *to, uint16_t from_port, uint16_t to_port, const void *data,
		  size_t length)
{
	uint8_t payload[2048] = {0};

	put16(payload, from_port);
	put16(payload + 2, to_port);
	put16(payload + 4, 8 + length);
	memcpy(payload + 8, data, length);
	return packet_make(frame, from, to, IPPROTO_UDP, payload, 8 + length, 6);
}

size_t packet_tcp(uint8_t *frame, const char *from, const char *to, uint16_t from_port, uint16_t to_port, uint8_t flags)
{
	uint8_t payload[20] = {[4] = 1, [12] = 0x50, [13] = flags, [14] = 0x40};

	put16(payload, from_port);
	put16(payload + 2, to_port);
	return packet_make(frame, from, to, IPPROTO_TCP, payload, sizeof(payload), 16);
}

size_t packet_icmp_echo(uint8_t *frame, const char *from, const char *to)
{
	const int six = strchr(to, ':') != NULL;
	uint8_t payload[16] = {six ? 128 : 8};

	return packet_make(frame, from, to, six ? IPPROTO_ICMPV6 : IPPROTO_ICMP, payload, sizeof(payload), 2);
}

size_t packet_arp(uint8_t *frame, const char *from, const char *to)
{
	static const uint8_t start[] = {0, 1, 8, 0, 6, 4, 0, 1}, own[] = PACKET_MAC;

	ethernet_put(frame, 0x0806, 0xff);
	memcpy(frame + 14, start, sizeof(start));
	memcpy(frame + 22, own, sizeof(own));
	inet_pton(AF_INET, from, frame + 28);
	memset(frame + 32, 0, 6);
	inet_pton(AF_INET, to, frame + 38);
	return 42;
}
