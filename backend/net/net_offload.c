/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_offload.c - see net_offload.h. Used by net_user.c and net_switch.c.
 */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <string.h>

#include "backend/net/net_offload.h"

#define VLAN_TAG 4u
#define IP4_HEADER 20u
#define IP6_HEADER 40u
#define IP4_LENGTH 2
#define IP4_ID 4
#define IP4_CHECKSUM 10
#define IP4_ADDRESSES 12
#define IP6_LENGTH 4
#define IP6_NEXT 6
#define IP6_ADDRESSES 8
#define TCP_HEADER 20u
#define TCP_SEQUENCE 4
#define TCP_FLAGS 13
#define TCP_CHECKSUM 16
#define TCP_FIN_PSH 0x09
#define TCP_CWR 0x80
#define HEADERS_MAX (NET_ETHERNET_HEADER + VLAN_TAG + 60 + 60)
#define SEGMENT_MAX 65536u
#define SEGMENTS_MAX 1024u /* of one frame: who sends it could want one a byte, and no thread has time for that */

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

uint32_t net_checksum_add(uint32_t sum, const uint8_t *bytes, size_t length)
{
	uint64_t wide = sum, word;

	for (; length >= sizeof(word); bytes += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		wide += word;
		wide += wide < word;
	}
	word = 0;
	memcpy(&word, bytes, length);
	wide += word;
	wide += wide < word;
	wide = (wide & 0xffffffff) + (wide >> 32);
	wide = (wide & 0xffffffff) + (wide >> 32);
	wide = (wide & 0xffff) + (wide >> 16);
	return (uint32_t)wide;
}

uint16_t net_checksum_finish(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

bool net_header_fits(const struct net_header *header, size_t length)
{
	uint8_t kind = header->gso_type & (uint8_t)~NET_GSO_ECN;

	if (length < NET_ETHERNET_HEADER || length > NET_FRAME_MAX || (kind && kind != NET_GSO_TCP4 && kind != NET_GSO_TCP6) ||
	    (kind && (!header->gso_size || !(header->flags & NET_HEADER_NEEDS_CHECKSUM))))
		return false;
	return !(header->flags & NET_HEADER_NEEDS_CHECKSUM) ||
	       (header->checksum_start >= NET_ETHERNET_HEADER &&
		(size_t)header->checksum_start + header->checksum_offset + 2 <= length);
}

void net_checksum_complete(struct net_header *header, uint8_t *frame, size_t length)
{
	uint8_t *field = frame + header->checksum_start + header->checksum_offset;
	uint16_t checksum;

	if (!(header->flags & NET_HEADER_NEEDS_CHECKSUM))
		return;
	checksum = net_checksum_finish(net_checksum_add(0, frame + header->checksum_start, length - header->checksum_start));
	/* A UDP checksum of 0 would mean none; the other zero is as good for TCP. */
	if (!checksum)
		checksum = 0xffff;
	memcpy(field, &checksum, sizeof(checksum));
	header->flags = NET_HEADER_DATA_VALID;
}

/* Where things are in a TCP packet. */
struct packet {
	bool ip6;
	unsigned ip;      /* offset of the IP header */
	unsigned tcp;     /* of the TCP header */
	unsigned payload; /* of the data */
};

static bool packet_parse(struct packet *packet, const uint8_t *frame, size_t length)
{
	unsigned type = get16(frame + 12);

	packet->ip = NET_ETHERNET_HEADER;
	if (type == ETHERTYPE_VLAN) {
		if (length < NET_ETHERNET_HEADER + VLAN_TAG)
			return false;
		type = get16(frame + 16);
		packet->ip += VLAN_TAG;
	}
	packet->ip6 = type == ETHERTYPE_IPV6;
	if ((type != ETHERTYPE_IP && !packet->ip6) || length < packet->ip + (packet->ip6 ? IP6_HEADER : IP4_HEADER))
		return false;
	packet->tcp = packet->ip + (packet->ip6 ? IP6_HEADER : (frame[packet->ip] & 15) * 4u);
	if (packet->tcp < packet->ip + IP4_HEADER || length < packet->tcp + TCP_HEADER ||
	    frame[packet->ip + (packet->ip6 ? IP6_NEXT : 9)] != IPPROTO_TCP)
		return false;
	packet->payload = packet->tcp + (frame[packet->tcp + 12] >> 4) * 4u;
	return packet->payload >= packet->tcp + TCP_HEADER && packet->payload < length;
}

static void ip_finish(const struct packet *packet, uint8_t *frame, size_t length, unsigned number)
{
	uint8_t *ip = frame + packet->ip;
	uint16_t checksum;

	if (packet->ip6) {
		put16(ip + IP6_LENGTH, (unsigned)(length - packet->tcp));
		return;
	}
	put16(ip + IP4_LENGTH, (unsigned)(length - packet->ip));
	put16(ip + IP4_ID, get16(ip + IP4_ID) + number);
	put16(ip + IP4_CHECKSUM, 0);
	checksum = net_checksum_finish(net_checksum_add(0, ip, packet->tcp - packet->ip));
	memcpy(ip + IP4_CHECKSUM, &checksum, sizeof(checksum));
}

static void tcp_checksum(const struct packet *packet, uint8_t *frame, size_t length)
{
	uint8_t *ip = frame + packet->ip, *tcp = frame + packet->tcp, pseudo[4] = {0, IPPROTO_TCP};
	uint32_t sum;
	uint16_t checksum;

	put16(pseudo + 2, (unsigned)(length - packet->tcp));
	put16(tcp + TCP_CHECKSUM, 0);
	sum = net_checksum_add(0, pseudo, sizeof(pseudo));
	sum = packet->ip6 ? net_checksum_add(sum, ip + IP6_ADDRESSES, 32) : net_checksum_add(sum, ip + IP4_ADDRESSES, 8);
	checksum = net_checksum_finish(net_checksum_add(sum, tcp, length - packet->tcp));
	memcpy(tcp + TCP_CHECKSUM, &checksum, sizeof(checksum));
}

/* One segment: the headers as they were, with what changes; FIN and PSH belong to the last, CWR to the first. */
static size_t segment_make(uint8_t *out, const struct packet *packet, const uint8_t *frame, size_t length, size_t at, size_t here,
			   unsigned number)
{
	uint32_t sequence;

	memcpy(out, frame, packet->payload);
	memcpy(out + packet->payload, frame + at, here);
	memcpy(&sequence, out + packet->tcp + TCP_SEQUENCE, sizeof(sequence));
	sequence = htonl(ntohl(sequence) + (uint32_t)(at - packet->payload));
	memcpy(out + packet->tcp + TCP_SEQUENCE, &sequence, sizeof(sequence));
	if (at + here < length)
		out[packet->tcp + TCP_FLAGS] &= (uint8_t)~TCP_FIN_PSH;
	if (number)
		out[packet->tcp + TCP_FLAGS] &= (uint8_t)~TCP_CWR;
	ip_finish(packet, out, packet->payload + here, number);
	tcp_checksum(packet, out, packet->payload + here);
	return packet->payload + here;
}

bool net_offload_finish(const struct net_header *header, uint8_t *frame, size_t length,
			bool (*emit)(void *context, const uint8_t *frame, size_t length), void *context)
{
	uint8_t kind = header->gso_type & (uint8_t)~NET_GSO_ECN, segment[HEADERS_MAX + SEGMENT_MAX];
	struct net_header own = *header;
	struct packet packet;
	unsigned number = 0;

	if (kind == NET_GSO_NONE) {
		net_checksum_complete(&own, frame, length);
		emit(context, frame, length);
		return true;
	}
	if (!packet_parse(&packet, frame, length) || packet.ip6 != (kind == NET_GSO_TCP6) ||
	    length - packet.payload > SEGMENTS_MAX * (size_t)header->gso_size)
		return false;
	for (size_t at = packet.payload, here; at < length; at += here, number++) {
		here = length - at < header->gso_size ? length - at : header->gso_size;
		if (!emit(context, segment, segment_make(segment, &packet, frame, length, at, here, number)))
			return true;
	}
	return true;
}
