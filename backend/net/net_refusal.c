/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_refusal.c - see net_refusal.h. Used by net_user.c.
 */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <string.h>

#include "backend/net/net_offload.h"
#include "backend/net/net_refusal.h"

#define IP4_HEADER 20u
#define IP6_HEADER 40u
#define TCP_HEADER 20u
#define ICMP_HEADER 8u
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define ICMP4_UNREACHABLE 3
#define ICMP4_PROHIBITED 13
#define ICMP4_ECHO 8
#define ICMP6_UNREACHABLE 1
#define ICMP6_PROHIBITED 1
#define ICMP6_ECHO 128
#define QUOTED 8u /* bytes behind the IP header that are sent back */
#define HOPS 64

struct refused {
	bool six;
	uint8_t protocol;
	const uint8_t *ip, *transport;
	size_t header; /* of IP */
	size_t length; /* of the transport's part */
};

/* Nothing is answered to a group's address or to nobody (RFC 1122, 3.2.2). */
static bool answerable(const struct refused *refused)
{
	static const uint8_t zero[16];
	const uint8_t *from = refused->ip + (refused->six ? 8 : 12), *to = refused->ip + (refused->six ? 24 : 16);

	if (refused->six)
		return to[0] != 0xff && from[0] != 0xff && memcmp(from, zero, 16) != 0;
	return to[0] < 224 && from[0] < 224 && memcmp(from, zero, 4) != 0;
}

static bool refused_parse(struct refused *refused, const uint8_t *frame, size_t length)
{
	unsigned type;

	if (length < NET_ETHERNET_HEADER + IP4_HEADER)
		return false;
	type = (unsigned)frame[12] << 8 | frame[13];
	refused->six = type == ETHERTYPE_IPV6;
	refused->ip = frame + NET_ETHERNET_HEADER;
	length -= NET_ETHERNET_HEADER;
	refused->header = refused->six ? IP6_HEADER : (refused->ip[0] & 15) * 4u;
	if ((type != ETHERTYPE_IP && !refused->six) || refused->header < IP4_HEADER || length < refused->header + QUOTED)
		return false;
	if (!refused->six && (refused->ip[6] << 8 | refused->ip[7]) & 0x1fff)
		return false; /* a fragment that is not the first */
	refused->protocol = refused->ip[refused->six ? 6 : 9];
	refused->transport = refused->ip + refused->header;
	refused->length = length - refused->header;
	return answerable(refused);
}

static void put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* Back to the sender, as from the target: `length` bytes of `protocol` follow the header, whose place is returned. */
static uint8_t *headers_make(uint8_t *answer, const uint8_t *frame, const struct refused *refused, uint8_t protocol, size_t length)
{
	uint8_t *ip = answer + NET_ETHERNET_HEADER;
	uint16_t checksum;

	memcpy(answer, frame + NET_MAC_LENGTH, NET_MAC_LENGTH);
	memcpy(answer + NET_MAC_LENGTH, frame, NET_MAC_LENGTH);
	memcpy(answer + 12, frame + 12, 2);
	memset(ip, 0, IP6_HEADER);
	if (refused->six) {
		ip[0] = 0x60;
		put16(ip + 4, length);
		ip[6] = protocol;
		ip[7] = HOPS;
		memcpy(ip + 8, refused->ip + 24, 16);
		memcpy(ip + 24, refused->ip + 8, 16);
		return ip + IP6_HEADER;
	}
	ip[0] = 0x45;
	put16(ip + 2, IP4_HEADER + length);
	ip[8] = HOPS;
	ip[9] = protocol;
	memcpy(ip + 12, refused->ip + 16, 4);
	memcpy(ip + 16, refused->ip + 12, 4);
	checksum = net_checksum_finish(net_checksum_add(0, ip, IP4_HEADER));
	memcpy(ip + 10, &checksum, sizeof(checksum));
	return ip + IP4_HEADER;
}

/* With the pseudo header where the protocol has one. */
static void checksum_put(const uint8_t *answer, const struct refused *refused, uint8_t protocol, uint8_t *at, size_t length,
			 size_t field)
{
	const uint8_t *ip = answer + NET_ETHERNET_HEADER;
	uint8_t pseudo[4] = {0, protocol};
	uint32_t sum = 0;
	uint16_t checksum;

	put16(pseudo + 2, length);
	if (protocol != IPPROTO_ICMP) {
		sum = net_checksum_add(0, pseudo, sizeof(pseudo));
		sum = net_checksum_add(sum, ip + (refused->six ? 8 : 12), refused->six ? 32 : 8);
	}
	checksum = net_checksum_finish(net_checksum_add(sum, at, length));
	memcpy(at + field, &checksum, sizeof(checksum));
}

static size_t reset_make(const uint8_t *frame, const struct refused *refused, uint8_t *answer)
{
	uint8_t *tcp;
	uint32_t sequence;

	if (refused->length < TCP_HEADER || (refused->transport[13] & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_SYN)
		return 0;
	tcp = headers_make(answer, frame, refused, IPPROTO_TCP, TCP_HEADER);
	memset(tcp, 0, TCP_HEADER);
	memcpy(tcp, refused->transport + 2, 2);
	memcpy(tcp + 2, refused->transport, 2);
	memcpy(&sequence, refused->transport + 4, sizeof(sequence));
	sequence = htonl(ntohl(sequence) + 1);
	memcpy(tcp + 8, &sequence, sizeof(sequence));
	tcp[12] = (TCP_HEADER / 4) << 4;
	tcp[13] = TCP_RST | TCP_ACK;
	checksum_put(answer, refused, IPPROTO_TCP, tcp, TCP_HEADER, 16);
	return (size_t)(tcp + TCP_HEADER - answer);
}

static size_t prohibited_make(const uint8_t *frame, const struct refused *refused, uint8_t *answer)
{
	const uint8_t protocol = refused->six ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	const size_t length = ICMP_HEADER + refused->header + QUOTED;
	uint8_t *icmp = headers_make(answer, frame, refused, protocol, length);

	memset(icmp, 0, ICMP_HEADER);
	icmp[0] = refused->six ? ICMP6_UNREACHABLE : ICMP4_UNREACHABLE;
	icmp[1] = refused->six ? ICMP6_PROHIBITED : ICMP4_PROHIBITED;
	memcpy(icmp + ICMP_HEADER, refused->ip, refused->header + QUOTED);
	checksum_put(answer, refused, protocol, icmp, length, 2);
	return (size_t)(icmp + length - answer);
}

size_t net_refusal_make(const uint8_t *frame, size_t length, uint8_t *answer)
{
	struct refused refused;

	_Static_assert(NET_ETHERNET_HEADER + IP4_HEADER + ICMP_HEADER + 60 + QUOTED <= NET_REFUSAL_MAX,
		       "the longest IPv4 answer fits");
	_Static_assert(NET_ETHERNET_HEADER + IP6_HEADER + ICMP_HEADER + IP6_HEADER + QUOTED <= NET_REFUSAL_MAX, "and the IPv6 one");
	if (!refused_parse(&refused, frame, length))
		return 0;
	if (refused.protocol == IPPROTO_TCP)
		return reset_make(frame, &refused, answer);
	if (refused.protocol == IPPROTO_UDP || (refused.protocol == (refused.six ? IPPROTO_ICMPV6 : IPPROTO_ICMP) &&
						refused.transport[0] == (refused.six ? ICMP6_ECHO : ICMP4_ECHO)))
		return prohibited_make(frame, &refused, answer);
	return 0;
}
