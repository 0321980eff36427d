/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_filter_test.c - what a guest may send to the user network, with a policy and without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/net/net_filter.h"
#include "control/config.h"
#include "net_packet.h"

#define SYN 0x02
#define ACK 0x10
#define GUEST "10.0.2.15"
#define GUEST6 "fec0::15"
#define NOW UINT64_C(1000000000000)

static struct vm_config config;
static struct net_filter filter;
static uint8_t frame[65600];

static void policy(const char *net)
{
	char *words[] = {"--kernel", "k", "-p", "5353:53/udp", "--net", (char *)net};
	struct reason why = {""};

	if (config_parse(&config, 6, words, &why) != STATUS_OK)
		fail_msg("%s", why.text);
	net_filter_init(&filter, &config.net[0]);
}

static bool passes(size_t length)
{
	return net_filter_outgoing(&filter, frame, length, NOW);
}

static bool tcp(const char *to, uint16_t port)
{
	return passes(packet_tcp(frame, strchr(to, ':') ? GUEST6 : GUEST, to, 40000, port, SYN));
}

static bool udp(const char *to, uint16_t port)
{
	return passes(packet_udp(frame, strchr(to, ':') ? GUEST6 : GUEST, to, 40000, port, "x", 1));
}

static bool ping(const char *to)
{
	return passes(packet_icmp_echo(frame, strchr(to, ':') ? GUEST6 : GUEST, to));
}

static void without_a_policy_all_but_loopback_is_open(void **state)
{
	(void)state;
	policy("user,host");
	assert_true(tcp("192.0.2.1", 443) && udp("192.0.2.1", 53) && ping("192.0.2.1"));
	assert_true(tcp("2001:db8::1", 443) && udp("2001:db8::1", 53));
	assert_true(ping("fec0::2") && ping("fec0::3") && ping("fe80::2"));
	assert_false(ping("2001:db8::1") || ping("fec0::4") || ping("fec0::1:2") || ping("fe40::2") ||
		     ping("ff02::1")); /* libslirp cannot */
	assert_true(tcp("10.0.2.2", 22) && udp("10.0.2.3", 53) && tcp("fec0::2", 22));
	assert_false(tcp("127.0.0.1", 22) || udp("127.1.2.3", 53) || ping("127.0.0.1") || tcp("0.0.0.0", 22));
	assert_false(tcp("::1", 22) || tcp("::", 22) || tcp("::ffff:127.0.0.1", 22) || udp("::127.0.0.1", 22));
	config_free(&config);
}

/* Programs that listen on the host's loopback trust whoever connects: what leads there must be asked for. */
static void the_hosts_loopback_must_be_asked_for(void **state)
{
	(void)state;
	policy("user");
	assert_true(tcp("192.0.2.1", 22) && tcp("2001:db8::1", 22) && ping("10.0.2.2"));
	assert_true(udp("10.0.2.3", 53) && tcp("10.0.2.3", 53) && udp("fec0::3", 53));
	assert_false(tcp("10.0.2.2", 22) || udp("10.0.2.2", 53) || tcp("fec0::2", 22) || tcp("10.0.2.77", 22));
	assert_false(tcp("10.0.2.3", 22) || udp("10.0.2.3", 54) || udp("255.255.255.255", 5353) || udp("ff02::fb", 5353));
	config_free(&config);
	policy("user,allow=10.0.2.2:22");
	assert_true(tcp("10.0.2.2", 22));
	assert_false(tcp("10.0.2.2", 23) || tcp("fec0::2", 22));
	config_free(&config);
	policy("user,allow=10.0.2.2:22,nohost");
	assert_false(tcp("10.0.2.2", 22));
	config_free(&config);
}

static void a_policy_lets_out_only_what_it_lists(void **state)
{
	(void)state;
	policy("user,allow=192.0.2.0/25:443,198.51.100.7:80-90/tcp,allow=203.0.113.0/24,[2001:db8::/32]:443");
	assert_true(tcp("192.0.2.1", 443) && udp("192.0.2.127", 443));
	assert_false(tcp("192.0.2.128", 443) || tcp("192.0.2.1", 442) || tcp("192.0.3.1", 443) || ping("192.0.2.1"));
	assert_true(tcp("198.51.100.7", 80) && tcp("198.51.100.7", 90));
	assert_false(udp("198.51.100.7", 80) || tcp("198.51.100.7", 79) || tcp("198.51.100.7", 91) || tcp("198.51.100.8", 80));
	assert_true(tcp("203.0.113.5", 1) && udp("203.0.113.5", 65535) && ping("203.0.113.5"));
	assert_true(tcp("2001:db8:1::1", 443));
	assert_false(tcp("2001:db9::1", 443) || tcp("2001:db8:1::1", 80) || ping("2001:db8:1::1"));
	/* Names are asked for like anything else. */
	assert_false(udp("10.0.2.3", 53) || udp("fec0::3", 53) || udp("192.0.2.1", 53));
	config_free(&config);
	policy("user,allow=dns");
	assert_true(udp("10.0.2.3", 53) && tcp("10.0.2.3", 53) && udp("fec0::3", 53));
	assert_false(udp("10.0.2.3", 54) || udp("10.0.2.2", 53) || udp("192.0.2.1", 53) || tcp("10.0.2.2", 80));
	config_free(&config);
}

static void wide_rules_do_not_reach_the_host(void **state)
{
	(void)state;
	policy("user,allow=0.0.0.0/0,10.0.0.0/8,[::/0],[fec0::/10]");
	assert_true(tcp("10.0.3.1", 80) && tcp("192.0.2.1", 80) && tcp("2001:db8::1", 80));
	assert_false(tcp("10.0.2.2", 80) || udp("10.0.2.3", 53) || udp("255.255.255.255", 9) || tcp("fec0::2", 80) ||
		     tcp("fec0::77", 80) || udp("ff02::1", 80));
	config_free(&config);
	policy("user,allow=10.0.2.2:8080,[fec0::2]:8080");
	assert_true(tcp("10.0.2.2", 8080) && tcp("fec0::2", 8080));
	assert_false(tcp("10.0.2.2", 80) || tcp("10.0.2.4", 8080) || udp("255.255.255.255", 8080));
	config_free(&config);
}

static void a_restricted_guest_still_has_an_address(void **state)
{
	(void)state;
	policy("user,restrict");
	assert_true(passes(packet_arp(frame, GUEST, "10.0.2.2")));
	assert_true(passes(packet_udp(frame, "0.0.0.0", "255.255.255.255", 68, 67, "x", 1)));
	assert_true(passes(packet_udp(frame, GUEST, "10.0.2.2", 68, 67, "x", 1)));
	assert_true(passes(packet_make(frame, GUEST6, "ff02::2", 58, (uint8_t[16]){133}, 16, 2)));
	assert_true(ping("10.0.2.2") && ping("10.0.2.3") && ping("fec0::2"));
	assert_false(udp("10.0.2.9", 67) || udp("192.0.2.1", 67) || udp("ff05::1:3", 547) || ping("192.0.2.1") || ping("10.0.2.9"));
	assert_false(tcp("192.0.2.1", 443) || udp("192.0.2.1", 53) || udp("10.0.2.3", 53) || tcp("10.0.2.2", 22));
	config_free(&config);
}

static void answers_to_published_ports_pass(void **state)
{
	(void)state;
	policy("user,restrict");
	/* TCP: whatever does not begin a connection. */
	assert_true(passes(packet_tcp(frame, GUEST, "192.0.2.9", 80, 50000, SYN | ACK)));
	assert_true(passes(packet_tcp(frame, GUEST, "192.0.2.9", 80, 50000, ACK)));
	assert_false(passes(packet_tcp(frame, GUEST, "192.0.2.9", 80, 50000, SYN)));
	assert_false(passes(packet_tcp(frame, GUEST, "192.0.2.9", 80, 50000, SYN | 0x08)));
	/* UDP: only to whom sent something, from the port that it was sent to, for a while. */
	assert_false(passes(packet_udp(frame, GUEST, "192.0.2.9", 53, 50000, "x", 1)));
	net_filter_incoming(&filter, frame, packet_udp(frame, "192.0.2.9", GUEST, 50000, 53, "x", 1), NOW);
	assert_true(passes(packet_udp(frame, GUEST, "192.0.2.9", 53, 50000, "x", 1)));
	assert_false(passes(packet_udp(frame, GUEST, "192.0.2.9", 54, 50000, "x", 1)));
	assert_false(passes(packet_udp(frame, GUEST, "192.0.2.9", 53, 50001, "x", 1)));
	assert_false(passes(packet_udp(frame, GUEST, "192.0.2.8", 53, 50000, "x", 1)));
	packet_udp(frame, GUEST, "192.0.2.9", 53, 50000, "x", 1);
	assert_false(net_filter_outgoing(&filter, frame, 43, NOW + UINT64_C(400000000000)));
	/* A port that is not published earns nothing. */
	net_filter_incoming(&filter, frame, packet_udp(frame, "192.0.2.7", GUEST, 50000, 99, "x", 1), NOW);
	assert_false(passes(packet_udp(frame, GUEST, "192.0.2.7", 99, 50000, "x", 1)));
	config_free(&config);
}

static void fragments_need_a_rule_for_everything_and_are_metered(void **state)
{
	size_t length = packet_udp(frame, GUEST, "192.0.2.1", 40000, 443, frame + 1000, 1400);
	unsigned passed = 0;

	(void)state;
	policy("user,allow=192.0.2.1:443,192.0.2.2");
	assert_true(passes(length));
	frame[14 + 6] = 0x20; /* more follow */
	assert_false(passes(length));
	frame[14 + 6] = 0;
	frame[14 + 7] = 100; /* one that follows */
	assert_false(passes(length));
	length = packet_udp(frame, GUEST, "192.0.2.2", 40000, 443, frame + 1000, 1400);
	frame[14 + 6] = 0x20;
	assert_true(passes(length));
	while (passed < 100000 && passes(length))
		passed++;
	assert_in_range(passed, 300, 1000);
	assert_true(net_filter_outgoing(&filter, frame, length, NOW + UINT64_C(1000000000)));
	config_free(&config);
}

static void malformed_packets_never_pass(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
	} damage[] = {
		{14, 0x55}, /* version 5 */
		{14, 0x44}, /* a header of 16 bytes */
		{14, 0x4f}, /* one that is longer than the packet */
		{16, 0xff}, /* a packet that is longer than the frame */
		{17, 10},   /* or shorter than its header */
		{23, 47},   /* GRE */
		{12, 0x88}, /* no IP at all */
	};
	size_t length;

	(void)state;
	policy("user");
	for (unsigned i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		length = packet_tcp(frame, GUEST, "192.0.2.1", 1, 2, SYN);
		assert_true(passes(length));
		frame[damage[i].at] = damage[i].value;
		assert_false(passes(length));
	}
	length = packet_tcp(frame, GUEST, "192.0.2.1", 1, 2, SYN);
	for (size_t cut = 0; cut < length; cut++)
		assert_false(passes(cut));
	length = packet_tcp(frame, GUEST6, "2001:db8::1", 1, 2, SYN);
	for (size_t cut = 0; cut < length; cut++)
		assert_false(passes(cut));
	frame[14 + 6] = 0; /* hop-by-hop options */
	assert_false(passes(length));
	config_free(&config);
}

static void a_full_stack_takes_no_new_flows(void **state)
{
	(void)state;
	policy("user");
	filter.new_flows_refused = true;
	assert_false(tcp("192.0.2.1", 443) || udp("192.0.2.1", 53) || ping("192.0.2.1"));
	assert_true(passes(packet_tcp(frame, GUEST, "192.0.2.1", 80, 50000, ACK)));
	assert_true(passes(packet_udp(frame, "0.0.0.0", "255.255.255.255", 68, 67, "x", 1)));
	config_free(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_policy_all_but_loopback_is_open),
		cmocka_unit_test(the_hosts_loopback_must_be_asked_for),
		cmocka_unit_test(a_policy_lets_out_only_what_it_lists),
		cmocka_unit_test(wide_rules_do_not_reach_the_host),
		cmocka_unit_test(a_restricted_guest_still_has_an_address),
		cmocka_unit_test(answers_to_published_ports_pass),
		cmocka_unit_test(fragments_need_a_rule_for_everything_and_are_metered),
		cmocka_unit_test(malformed_packets_never_pass),
		cmocka_unit_test(a_full_stack_takes_no_new_flows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
