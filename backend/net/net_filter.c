/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_filter.c - looks at each frame that a guest sends to the user network before libslirp sees it (net_user.c calls).
 *
 * Two duties. Always: only well-formed IPv4, IPv6 and ARP comes through, nothing for the host's loopback addresses as such (they have names of
 * their own, 10.0.2.2 and fec0::2), and no more than the stack can hold. Under a policy (allow=, restrict): only what it lists.
 *
 * A TCP connection of the guest begins with a segment that has SYN and no ACK, for libslirp makes no connection from any other: so only
 * those are judged, and answers to connections that came in through published ports pass. UDP has no such sign: each datagram is judged, and whoever
 * sent one to a published port may be answered for a while. A fragment has no ports, so under a policy it needs a rule for everything.
 * 10.0.2.0/24 and fec0::/64 are other names of the host: only a rule that lies within them covers them, never 10.0.0.0/8 or 0.0.0.0/0.
 */
#include <net/ethernet.h>
#include <string.h>

#include "backend/net/net_filter.h"

#define IP4_HEADER 20u
#define IP6_HEADER 40u
#define TCP_HEADER 20u
#define UDP_HEADER 8u
#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define ICMP_ECHO 8
#define ICMP6_ECHO 128
#define ICMP6_NDP_FIRST 133
#define ICMP6_NDP_LAST 137
#define PORT_DHCP 67
#define PORT_DHCP6 547
#define PORT_DNS 53
#define VIRTUAL4_BITS 24u
#define VIRTUAL6_BITS 64u
#define FLOW_NS UINT64_C(180000000000)
#define FRAGMENT_BYTES_MAX (UINT64_C(1) << 20)
#define FRAGMENT_BYTES_SECOND (UINT64_C(1) << 18)

static const uint8_t virtual4[4] = {10, 0, 2, 0};
static const uint8_t virtual6[16] = {0xfe, 0xc0};

/* What is judged of a packet. Ports as on the wire. */
struct packet {
	bool ip6;
	bool fragment;
	uint8_t protocol;
	uint8_t source[16], target[16];
	const uint8_t *transport;
	size_t length; /* of the transport's header and data */
};

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

void net_filter_init(struct net_filter *filter, const struct net_config *config)
{
	memset(filter, 0, sizeof(*filter));
	filter->config = config;
	filter->fragment_credit = FRAGMENT_BYTES_MAX;
}

static bool packet4_parse(struct packet *packet, const uint8_t *ip, size_t length)
{
	size_t header, total;

	if (length < IP4_HEADER || ip[0] >> 4 != 4)
		return false;
	header = (ip[0] & 15) * 4u;
	total = get16(ip + 2);
	if (header < IP4_HEADER || total < header || total > length)
		return false;
	packet->fragment = get16(ip + 6) & 0x3fff; /* MF, or an offset */
	packet->protocol = ip[9];
	memcpy(packet->source, ip + 12, 4);
	memcpy(packet->target, ip + 16, 4);
	packet->transport = ip + header;
	packet->length = total - header;
	return true;
}

/* libslirp knows no extension headers, and neither do we. */
static bool packet6_parse(struct packet *packet, const uint8_t *ip, size_t length)
{
	size_t payload;

	if (length < IP6_HEADER || ip[0] >> 4 != 6)
		return false;
	payload = get16(ip + 4);
	if (payload > length - IP6_HEADER)
		return false;
	packet->ip6 = true;
	packet->protocol = ip[6];
	memcpy(packet->source, ip + 8, 16);
	memcpy(packet->target, ip + 24, 16);
	packet->transport = ip + IP6_HEADER;
	packet->length = payload;
	return packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_ICMPV6;
}

static bool packet_parse(struct packet *packet, const uint8_t *frame, size_t length)
{
	unsigned type = get16(frame + 12);

	*packet = (struct packet){.ip6 = false};
	if (type == ETHERTYPE_IP)
		return packet4_parse(packet, frame + NET_ETHERNET_HEADER, length - NET_ETHERNET_HEADER);
	return type == ETHERTYPE_IPV6 && packet6_parse(packet, frame + NET_ETHERNET_HEADER, length - NET_ETHERNET_HEADER);
}

static bool prefix_equal(const uint8_t *one, const uint8_t *other, unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;

	return !memcmp(one, other, bytes) && (!rest || !((one[bytes] ^ other[bytes]) >> (8 - rest)));
}

/* An address of libslirp's own, all of which lead to the host. */
static bool is_virtual(const struct packet *packet)
{
	static const uint8_t broadcast[4] = {255, 255, 255, 255};

	if (packet->ip6)
		return prefix_equal(packet->target, virtual6, VIRTUAL6_BITS) || packet->target[0] == 0xff;
	return prefix_equal(packet->target, virtual4, VIRTUAL4_BITS) || !memcmp(packet->target, broadcast, 4);
}

/* Router and name server: libslirp answers their ARP, NDP and pings itself. */
static bool is_router(const struct packet *packet)
{
	unsigned last = packet->ip6 ? 15 : 3;

	return is_virtual(packet) && packet->target[0] != 0xff && (packet->target[last] == 2 || packet->target[last] == 3);
}

/* Nothing on this network: the host would take it for itself, or connect to nowhere. */
static bool is_forbidden(const struct packet *packet)
{
	static const uint8_t zero[16];

	if (!packet->ip6)
		return packet->target[0] == 127 || packet->target[0] == 0;
	/* ::, ::1, IPv4-compatible and IPv4-mapped addresses */
	return prefix_equal(packet->target, zero, 80);
}

static bool rule_covers(const struct net_allow *rule, const struct packet *packet, bool has_port, unsigned port)
{
	if (rule->address.ip6 != packet->ip6 || !prefix_equal(rule->address.byte, packet->target, rule->bits))
		return false;
	if (is_virtual(packet) && rule->bits < (packet->ip6 ? VIRTUAL6_BITS : VIRTUAL4_BITS))
		return false;
	if (rule->everything)
		return true;
	return has_port && port >= rule->first && port <= rule->last && (!rule->protocol || rule->protocol == packet->protocol);
}

/*
 * The virtual addresses lead to the host's loopback, and the name server's to any port of the host's name server, which is often there too. libslirp could
 * forbid them itself, but then answers from a published port would not get back to a program on the host.
 */
static bool host_allows(const struct net_filter *filter, const struct packet *packet, bool has_port, unsigned port)
{
	if (!filter->config->no_host || !is_virtual(packet))
		return true;
	return has_port && port == PORT_DNS && is_router(packet) && packet->target[packet->ip6 ? 15 : 3] == 3;
}

static bool policy_allows(const struct net_filter *filter, const struct packet *packet, bool has_port, unsigned port)
{
	if (!host_allows(filter, packet, has_port, port))
		return false;
	if (!filter->config->restricted)
		return true;
	for (unsigned i = 0; i < filter->config->allows; i++)
		if (rule_covers(&filter->config->allow[i], packet, has_port, port))
			return true;
	return false;
}

static bool flow_matches(const struct net_filter_flow *flow, const struct packet *packet, const uint8_t *address, unsigned port,
			 unsigned guest_port)
{
	return flow->expires_ns && flow->ip6 == packet->ip6 && !memcmp(flow->address, address, sizeof(flow->address)) &&
	       flow->port == port && flow->guest_port == guest_port;
}

static bool flow_answers(struct net_filter *filter, const struct packet *packet, uint64_t now_ns)
{
	unsigned guest_port = get16(packet->transport), port = get16(packet->transport + 2);

	for (unsigned i = 0; i < NET_FILTER_FLOWS; i++) {
		struct net_filter_flow *flow = &filter->flow[i];

		if (flow->expires_ns > now_ns && flow_matches(flow, packet, packet->target, port, guest_port)) {
			flow->expires_ns = now_ns + FLOW_NS;
			return true;
		}
	}
	return false;
}

/* What libslirp answers itself, and only that: at other addresses these ports are somebody else's. */
static bool is_dhcp(const struct packet *packet, unsigned port)
{
	static const uint8_t router4[4] = {10, 0, 2, 2}, broadcast[4] = {255, 255, 255, 255};
	static const uint8_t router6[16] = {0xfe, 0xc0, [15] = 2}, all_servers[16] = {0xff, 0x02, [13] = 1, [15] = 2};

	if (packet->ip6)
		return port == PORT_DHCP6 && (!memcmp(packet->target, router6, 16) || !memcmp(packet->target, all_servers, 16));
	return port == PORT_DHCP && (!memcmp(packet->target, router4, 4) || !memcmp(packet->target, broadcast, 4));
}

static bool udp_allowed(struct net_filter *filter, const struct packet *packet, uint64_t now_ns)
{
	unsigned port;

	if (packet->length < UDP_HEADER)
		return false;
	port = get16(packet->transport + 2);
	if (is_dhcp(packet, port))
		return true;
	if (filter->new_flows_refused)
		return false;
	return policy_allows(filter, packet, true, port) || flow_answers(filter, packet, now_ns);
}

static bool tcp_allowed(const struct net_filter *filter, const struct packet *packet)
{
	if (packet->length < TCP_HEADER)
		return false;
	if ((packet->transport[13] & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		return true;
	return !filter->new_flows_refused && policy_allows(filter, packet, true, get16(packet->transport + 2));
}

/* libslirp sends no pings over IPv6: it answers those to itself, and writes a line on stderr, past any limit, for each to another. */
static bool is_ping6_answered(const struct packet *packet)
{
	uint8_t address[16] = {0xfe, packet->target[1] & 0xc0, [15] = packet->target[15]};

	return !memcmp(address, packet->target, 16) && address[1] & 0x80 && (address[15] == 2 || address[15] == 3);
}

static bool icmp_allowed(const struct net_filter *filter, const struct packet *packet)
{
	uint8_t type;

	if (packet->length < 8)
		return false;
	type = packet->transport[0];
	if (packet->ip6 && type >= ICMP6_NDP_FIRST && type <= ICMP6_NDP_LAST)
		return true;
	if (packet->ip6 && type == ICMP6_ECHO)
		return is_ping6_answered(packet);
	if (type == ICMP_ECHO && !packet->ip6)
		return is_router(packet) || (!filter->new_flows_refused && policy_allows(filter, packet, false, 0));
	return !filter->config->restricted;
}

/* libslirp keeps fragments for half a minute: what a guest may leave there is bounded. */
static bool fragment_allowed(struct net_filter *filter, const struct packet *packet, uint64_t now_ns)
{
	uint64_t passed = (now_ns - filter->fragment_ns) >> 10, earned, cost = packet->length + 512;

	/* 2^40 / 1000 of these units are some twelve days: more than enough to be full. */
	earned = passed >> 30 ? FRAGMENT_BYTES_MAX : passed * FRAGMENT_BYTES_SECOND / (1000000000 >> 10);
	if (earned) {
		filter->fragment_ns = now_ns;
		filter->fragment_credit = earned >= FRAGMENT_BYTES_MAX - filter->fragment_credit ? FRAGMENT_BYTES_MAX
												 : filter->fragment_credit + earned;
	}
	if (cost > filter->fragment_credit || !policy_allows(filter, packet, false, 0))
		return false;
	filter->fragment_credit -= cost;
	return true;
}

static bool packet_allowed(struct net_filter *filter, const struct packet *packet, uint64_t now_ns)
{
	if (is_forbidden(packet))
		return false;
	if (packet->fragment)
		return fragment_allowed(filter, packet, now_ns);
	switch (packet->protocol) {
	case IPPROTO_TCP: return tcp_allowed(filter, packet);
	case IPPROTO_UDP: return udp_allowed(filter, packet, now_ns);
	case IPPROTO_ICMP: return !packet->ip6 && icmp_allowed(filter, packet);
	case IPPROTO_ICMPV6: return packet->ip6 && icmp_allowed(filter, packet);
	default: return false;
	}
}

bool net_filter_outgoing(struct net_filter *filter, const uint8_t *frame, size_t length, uint64_t now_ns)
{
	struct packet packet;

	if (length < NET_ETHERNET_HEADER)
		return false;
	if (get16(frame + 12) == ETHERTYPE_ARP)
		return length >= NET_ETHERNET_HEADER + 28;
	if (packet_parse(&packet, frame, length) && packet_allowed(filter, &packet, now_ns))
		return true;
	filter->refused++;
	return false;
}

static bool is_published(const struct net_filter *filter, unsigned port)
{
	for (unsigned i = 0; i < filter->config->publishes; i++)
		if (filter->config->publish[i].udp && filter->config->publish[i].guest == port)
			return true;
	return false;
}

static struct net_filter_flow *flow_place(struct net_filter *filter, const struct packet *packet, unsigned port,
					  unsigned guest_port)
{
	for (unsigned i = 0; i < NET_FILTER_FLOWS; i++)
		if (flow_matches(&filter->flow[i], packet, packet->source, port, guest_port))
			return &filter->flow[i];
	return &filter->flow[filter->flow_next++ % NET_FILTER_FLOWS];
}

void net_filter_incoming(struct net_filter *filter, const uint8_t *frame, size_t length, uint64_t now_ns)
{
	struct packet packet;
	struct net_filter_flow *flow;
	unsigned port, guest_port;

	if (!(filter->config->restricted || filter->config->no_host) || !filter->config->publishes ||
	    length < NET_ETHERNET_HEADER || !packet_parse(&packet, frame, length) || packet.fragment ||
	    packet.protocol != IPPROTO_UDP || packet.length < UDP_HEADER)
		return;
	port = get16(packet.transport);
	guest_port = get16(packet.transport + 2);
	if (!is_published(filter, guest_port))
		return;
	flow = flow_place(filter, &packet, port, guest_port);
	*flow = (struct net_filter_flow){
		.ip6 = packet.ip6, .port = (uint16_t)port, .guest_port = (uint16_t)guest_port, .expires_ns = now_ns + FLOW_NS};
	memcpy(flow->address, packet.source, sizeof(flow->address));
}
