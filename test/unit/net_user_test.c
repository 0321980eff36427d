/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_user_test.c - the user network, by a guest that the test plays: addresses, connections out and in, a policy, and random frames.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/net/net_backend.h"
#include "backend/net/net_offload.h"
#include "backend/net/net_refusal.h"
#include "net_fixture.h"
#include "net_packet.h"

#define SYN 0x02
#define RST 0x04
#define ACK 0x10
#define GUEST "10.0.2.15"
#define ROUTER "10.0.2.2"

static struct net_config config;
static struct net_card card;
static const struct net_header plain;
static uint8_t frame[NET_FRAME_MAX];

static void begin(void)
{
	struct reason why = {""};
	struct net *net;

	if (net_user_open(&net, &config, &why) != STATUS_OK)
		fail_msg("%s", why.text);
	assert_int_equal(net->mtu, 1500);
	net_card_create(&card, net, NET_OFFLOAD_CHECKSUM);
}

static void a_larger_mtu_than_libslirp_takes_is_refused(void **state)
{
	struct reason why = {""};
	struct net *net;

	(void)state;
	config = (struct net_config){.mtu = 65522};
	assert_int_equal(net_user_open(&net, &config, &why), STATUS_USAGE);
	assert_non_null(strstr(why.text, "at most 65521"));
	config = (struct net_config){.mtu = 65521};
	assert_int_equal(net_user_open(&net, &config, &why), STATUS_OK);
	net->close(net);
}

/* A soft limit of 1024 would leave the guest 512 connections, where the hard one allows more. */
static void the_soft_limit_on_files_is_raised(void **state)
{
	struct rlimit before, low, now;
	struct net *net;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	if (before.rlim_max < 2048)
		skip();
	low = (struct rlimit){1024, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	config = (struct net_config){.mtu = 0};
	assert_int_equal(net_user_open(&net, &config, NULL), STATUS_OK);
	net->close(net);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
	assert_true(now.rlim_cur >= 2048);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void guest_send(size_t length)
{
	net_card_send(&card, &plain, frame, length);
}

/* The next frame of this Ethernet type and, for IPv4, protocol; answers what libslirp asks by ARP. */
static const struct net_card_frame *await(unsigned type, unsigned protocol)
{
	for (;;) {
		const struct net_card_frame *got = net_card_receive(&card);
		unsigned is;

		assert_non_null(got);
		is = (unsigned)got->bytes[12] << 8 | got->bytes[13];
		assert_int_equal(got->header.flags, NET_HEADER_DATA_VALID);
		if (is == type && (type != 0x0800 || got->bytes[23] == protocol))
			return got;
		if (is == 0x0806 && got->bytes[21] == 1) {
			packet_arp(frame, GUEST, ROUTER);
			frame[21] = 2;
			guest_send(42);
		}
	}
}

/* All that was sent before has been looked at. */
static void router_answers(void)
{
	const struct net_card_frame *got;

	guest_send(packet_arp(frame, GUEST, ROUTER));
	do
		got = await(0x0806, 0);
	while (got->bytes[21] != 2);
}

static void dhcp_offers_the_address(void **state)
{
	uint8_t message[300] = {1, 1, 6, 0, 1, 2, 3, 4, [28] = 2, 0, 0, 0, 0, 1, [236] = 99, 130, 83, 99, 53, 1, 1, 255};
	const struct net_card_frame *got;

	(void)state;
	config = (struct net_config){.kind = NET_USER};
	begin();
	guest_send(packet_udp(frame, "0.0.0.0", "255.255.255.255", 68, 67, message, sizeof(message)));
	got = await(0x0800, IPPROTO_UDP);
	assert_memory_equal(got->bytes + 42 + 16, "\x0a\0\2\x0f", 4);
	net_card_destroy(&card);
}

static int listener(uint16_t *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

static bool connected(int fd)
{
	struct pollfd poll_for = {.fd = fd, .events = POLLIN};

	return poll(&poll_for, 1, 0) == 1;
}

/* A SYN to the router is a connection to the host's loopback: the answer is a SYN and ACK, or with nohost and policies none. */
static void connections_reach_the_host_as_configured(void **state)
{
	const struct net_card_frame *got;
	uint16_t port;
	int fd = listener(&port);

	(void)state;
	config = (struct net_config){.kind = NET_USER};
	begin();
	router_answers();
	guest_send(packet_tcp(frame, GUEST, ROUTER, 40000, port, SYN));
	got = await(0x0800, IPPROTO_TCP);
	assert_int_equal(got->bytes[47], SYN | ACK);
	assert_true(connected(fd));
	close(accept(fd, NULL, NULL));
	net_card_destroy(&card);

	config.no_host = true;
	begin();
	router_answers();
	guest_send(packet_tcp(frame, GUEST, ROUTER, 40001, port, SYN));
	router_answers();
	assert_false(connected(fd));
	net_card_destroy(&card);

	config = (struct net_config){.kind = NET_USER, .restricted = true};
	begin();
	router_answers();
	guest_send(packet_tcp(frame, GUEST, ROUTER, 40002, port, SYN));
	got = await(0x0800, IPPROTO_TCP);
	assert_int_equal(got->bytes[47], RST | ACK);
	assert_false(connected(fd));
	net_card_destroy(&card);

	config.allow[0] = (struct net_allow){.address = {false, {10, 0, 2, 2}}, .bits = 32, .first = port, .last = port};
	config.allows = 1;
	begin();
	router_answers();
	guest_send(packet_tcp(frame, GUEST, ROUTER, 40003, port, SYN));
	got = await(0x0800, IPPROTO_TCP);
	assert_int_equal(got->bytes[47], SYN | ACK);
	net_card_destroy(&card);
	close(fd);
}

static uint16_t sum_of(const uint8_t *ip, bool six, uint8_t protocol, size_t length)
{
	const uint8_t pseudo[4] = {0, protocol, (uint8_t)(length >> 8), (uint8_t)length};
	uint32_t sum = protocol == IPPROTO_ICMP ? 0 : net_checksum_add(0, pseudo, 4);

	if (protocol != IPPROTO_ICMP)
		sum = net_checksum_add(sum, ip + (six ? 8 : 12), six ? 32 : 8);
	return net_checksum_finish(net_checksum_add(sum, ip + (six ? 40 : 20), length));
}

/* What is refused is answered, so that no program in the guest waits for minutes; what nobody could be told of is not. */
static void refusals_are_told(void **state)
{
	uint8_t answer[NET_REFUSAL_MAX];
	size_t length;

	(void)state;
	length = net_refusal_make(frame, packet_tcp(frame, GUEST, "192.0.2.1", 40000, 443, SYN), answer);
	assert_int_equal(length, 54);
	assert_memory_equal(answer + 26, frame + 30, 4);
	assert_memory_equal(answer + 30, frame + 26, 4);
	assert_int_equal(answer[34] << 8 | answer[35], 443);
	assert_int_equal(answer[36] << 8 | answer[37], 40000);
	assert_int_equal(answer[42] << 24 | answer[43] << 16 | answer[44] << 8 | answer[45], 0x01000001);
	assert_int_equal(answer[47], RST | ACK);
	assert_int_equal(net_checksum_finish(net_checksum_add(0, answer + 14, 20)), 0);
	assert_int_equal(sum_of(answer + 14, false, 6, 20), 0);
	length = net_refusal_make(frame, packet_tcp(frame, "fec0::15", "2001:db8::1", 40000, 443, SYN), answer);
	assert_int_equal(length, 74);
	assert_int_equal(sum_of(answer + 14, true, 6, 20), 0);
	length = net_refusal_make(frame, packet_udp(frame, GUEST, "192.0.2.1", 40000, 53, "x", 1), answer);
	assert_int_equal(length, 14 + 20 + 8 + 28);
	assert_int_equal(answer[34] << 8 | answer[35], 3 << 8 | 13);
	assert_memory_equal(answer + 42, frame + 14, 28);
	assert_int_equal(sum_of(answer + 14, false, 1, 36), 0);
	length = net_refusal_make(frame, packet_icmp_echo(frame, "fec0::15", "2001:db8::1"), answer);
	assert_int_equal(length, 14 + 40 + 8 + 48);
	assert_int_equal(answer[54] << 8 | answer[55], 1 << 8 | 1);
	assert_int_equal(sum_of(answer + 14, true, 58, 56), 0);
	assert_int_equal(net_refusal_make(frame, packet_tcp(frame, GUEST, "192.0.2.1", 1, 2, ACK), answer), 0);
	assert_int_equal(net_refusal_make(frame, packet_tcp(frame, GUEST, "192.0.2.1", 1, 2, SYN | RST), answer), 0);
	assert_int_equal(net_refusal_make(frame, packet_udp(frame, GUEST, "255.255.255.255", 1, 2, "x", 1), answer), 0);
	assert_int_equal(net_refusal_make(frame, packet_udp(frame, "0.0.0.0", "192.0.2.1", 1, 2, "x", 1), answer), 0);
	assert_int_equal(net_refusal_make(frame, packet_udp(frame, "fec0::15", "ff02::1", 1, 2, "x", 1), answer), 0);
	assert_int_equal(net_refusal_make(frame, packet_arp(frame, GUEST, ROUTER), answer), 0);
	length = packet_tcp(frame, GUEST, "192.0.2.1", 40000, 443, SYN);
	for (size_t cut = 0; cut < length; cut++)
		assert_int_equal(net_refusal_make(frame, cut, answer), 0);
}

/* A port of the host that is free at this moment. */
/* A driver that wants a segment a byte gets no more of them than what it sends is worth. The guest answers no question for its address here: then libslirp's time for each grows with their number. */
static void large_packets_are_cut_as_little_as_can_be(void **state)
{
	const struct net_header header = {.flags = NET_HEADER_NEEDS_CHECKSUM,
					  .gso_type = NET_GSO_TCP6,
					  .gso_size = 1,
					  .checksum_start = 54,
					  .checksum_offset = 16};
	const uint8_t tcp[20 + 6000] = {3, 3, 4, 4, [12] = 0x50, [13] = ACK};
	size_t length = packet_make(frame, "fec0::15", "fec0::2", 6, tcp, sizeof(tcp), 16);

	(void)state;
	config = (struct net_config){.kind = NET_USER};
	begin();
	net_card_send(&card, &header, frame, length);
	router_answers();
	assert_in_range(card.given, 1, 16);
	net_card_destroy(&card);
}

static uint16_t port_free(void)
{
	uint16_t port;

	close(listener(&port));
	return port;
}

static void published_ports_lead_to_the_guest(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	uint16_t tcp = port_free(), udp = port_free();
	const struct net_card_frame *got;
	struct reason why = {""};
	struct net *second;
	char bytes[8];
	int fd;

	(void)state;
	config = (struct net_config){.kind = NET_USER,
				     .restricted = true,
				     .no_host = true,
				     .publish = {{.address = {false, {127, 0, 0, 1}}, .host = tcp, .guest = 80},
						 {.address = {false, {127, 0, 0, 1}}, .host = udp, .guest = 53, .udp = true}},
				     .publishes = 2};
	begin();
	router_answers();
	assert_int_equal(net_user_open(&second, &config, &why), STATUS_BUSY);
	assert_non_null(strstr(why.text, "-p"));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_port = htons(tcp);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	got = await(0x0800, IPPROTO_TCP);
	assert_int_equal(got->bytes[47], SYN);
	assert_int_equal(got->bytes[36] << 8 | got->bytes[37], 80);
	close(fd);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	address.sin_port = htons(udp);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(fd, "ask", 3), 3);
	got = await(0x0800, IPPROTO_UDP);
	assert_memory_equal(got->bytes + 42, "ask", 3);
	/* The guest may answer whom it was asked by, though all else is forbidden. */
	guest_send(packet_udp(frame, GUEST, ROUTER, 53, (uint16_t)(got->bytes[34] << 8 | got->bytes[35]), "answer", 6));
	assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), 6);
	assert_memory_equal(bytes, "answer", 6);
	close(fd);
	net_card_destroy(&card);
}

static unsigned random_word(void)
{
	static uint64_t word = 0x9e3779b97f4a7c15;

	word ^= word << 13;
	word ^= word >> 7;
	word ^= word << 17;
	return (uint32_t)(word >> 16);
}

/* Nothing leaves: the policy forbids it. What comes through is ARP, DHCP, NDP and TCP that belongs to nothing. */
static size_t random_frame(void)
{
	static const char *const from[] = {GUEST, "0.0.0.0", "10.0.2.2"}, *const to[] = {ROUTER, "10.0.2.3", "255.255.255.255"};
	static const char *const from6[] = {"fec0::15", "fe80::1", "::"}, *const to6[] = {"fec0::2", "ff02::1", "ff02::1:2"};
	const unsigned kind = random_word() % 8, a = random_word() % 3, b = random_word() % 3;
	uint8_t bytes[600];
	size_t length = random_word() % sizeof(bytes);

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)random_word();
	switch (kind) {
	case 0: return packet_arp(frame, from[a], to[b]);
	case 1: return packet_udp(frame, from[a], to[b], 68, 67, bytes, length);
	case 2:
		memcpy(bytes, (uint8_t[]){1, 1, 6}, 3);
		memcpy(bytes + 236, (uint8_t[]){99, 130, 83, 99}, 4);
		return packet_udp(frame, from[a], to[b], 68, 67, bytes, length);
	case 3: bytes[0] = (uint8_t)(133 + random_word() % 5); return packet_make(frame, from6[a], to6[b], 58, bytes, length, 2);
	case 4: return packet_udp(frame, from6[a], to6[b], 546, 547, bytes, length);
	case 5: return packet_make(frame, from[a], to[b], 6, bytes, length, 16);
	case 6: return packet_make(frame, from6[a], to6[b], 6, bytes, length, 16);
	default: return packet_make(frame, from[a], to[b], 1, bytes, length, 2);
	}
}

static void random_frames_do_not_stop_it(void **state)
{
	const char *count = getenv("NET_USER_FRAMES");
	unsigned long frames = count ? strtoul(count, NULL, 0) : 8000;

	(void)state;
	config = (struct net_config){.kind = NET_USER, .restricted = true};
	begin();
	for (unsigned long i = 0; i < frames; i++) {
		size_t length = random_frame();
		unsigned damages = random_word() % 4;

		while (damages--)
			frame[random_word() % length] = (uint8_t)random_word();
		if (random_word() % 8 == 0)
			length = 1 + random_word() % length;
		guest_send(length);
		while (!net_card_empty(&card))
			assert_non_null(net_card_receive(&card));
	}
	router_answers();
	net_card_destroy(&card);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dhcp_offers_the_address),
		cmocka_unit_test(connections_reach_the_host_as_configured),
		cmocka_unit_test(the_soft_limit_on_files_is_raised),
		cmocka_unit_test(a_larger_mtu_than_libslirp_takes_is_refused),
		cmocka_unit_test(refusals_are_told),
		cmocka_unit_test(large_packets_are_cut_as_little_as_can_be),
		cmocka_unit_test(published_ports_lead_to_the_guest),
		cmocka_unit_test(random_frames_do_not_stop_it),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
