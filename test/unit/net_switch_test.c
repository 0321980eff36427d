/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_switch_test.c - several parts of a switch in one process, and in processes that are killed: frames reach whom they are for, offloads are
 * finished where the receiver wants that, and nobody's death harms the others. Under ThreadSanitizer too.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/net/net_backend.h"
#include "backend/net/net_offload.h"
#include "net_fixture.h"

#define EVERYTHING (NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN)

static char folder[64];
static const struct net_header plain;

static int folder_make(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/holon-switch-XXXXXX");
	return !mkdtemp(folder) || setenv("XDG_RUNTIME_DIR", folder, 1);
}

static int folder_remove(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

static struct net_config config_of(const char *name, uint8_t number)
{
	return (struct net_config){.kind = NET_SWITCH, .name = name, .mac = {2, 0, 0, 0, 0, number}};
}

static void join(struct net_card *card, const struct net_config *config, unsigned receives)
{
	struct reason why = {""};
	struct net *net;

	if (net_switch_open(&net, config, &why) != STATUS_OK)
		fail_msg("%s", why.text);
	net_card_create(card, net, receives);
}

/* An Ethernet frame of `length` bytes from card to card; to 255: to all. */
static void frame_make(uint8_t *frame, size_t length, uint8_t to, uint8_t from, uint8_t content)
{
	memset(frame, content, length);
	memset(frame, to == 255 ? 255 : 0, 6);
	memset(frame + 6, 0, 6);
	if (to != 255)
		frame[0] = 2;
	frame[5] = to;
	frame[6] = 2;
	frame[11] = from;
	frame[12] = 0x88;
	frame[13] = 0xb5; /* for experiments */
}

static void send_to(struct net_card *card, uint8_t to, uint8_t from, uint8_t content)
{
	uint8_t frame[60];

	frame_make(frame, sizeof(frame), to, from, content);
	net_card_send(card, &plain, frame, sizeof(frame));
}

static void expect(struct net_card *card, uint8_t content)
{
	const struct net_card_frame *frame = net_card_receive(card);

	assert_non_null(frame);
	assert_int_equal(frame->length, 60);
	assert_int_equal(frame->bytes[20], content);
}

static void frames_reach_whom_they_are_for(void **state)
{
	struct net_config config[3] = {config_of("lab", 1), config_of("lab", 2), config_of("lab", 3)},
			  other = config_of("other", 4);
	struct net_card card[3], outside;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		join(&card[i], &config[i], EVERYTHING);
	join(&outside, &other, EVERYTHING);
	/* To all, and to one that nobody knows yet: everybody gets it. */
	send_to(&card[0], 255, 1, 10);
	expect(&card[1], 10);
	expect(&card[2], 10);
	send_to(&card[0], 2, 1, 11);
	expect(&card[1], 11);
	expect(&card[2], 11);
	/* Once it has spoken, only it does. */
	send_to(&card[1], 1, 2, 12);
	expect(&card[0], 12);
	send_to(&card[0], 2, 1, 13);
	expect(&card[1], 13);
	send_to(&card[0], 255, 1, 14);
	expect(&card[1], 14);
	expect(&card[2], 14);
	assert_true(net_card_empty(&card[0]));
	assert_true(net_card_empty(&outside));
	/* It moves to another part: the newest is right. */
	send_to(&card[2], 255, 2, 15);
	expect(&card[0], 15);
	expect(&card[1], 15);
	send_to(&card[0], 2, 1, 16);
	expect(&card[2], 16);
	for (unsigned i = 0; i < 3; i++)
		net_card_destroy(&card[i]);
	net_card_destroy(&outside);
}

static void parts_come_and_go(void **state)
{
	struct net_config config[2] = {config_of("lab", 1), config_of("lab", 2)};
	struct net_card stays, comes;

	(void)state;
	join(&stays, &config[0], EVERYTHING);
	for (uint8_t round = 0; round < 10; round++) {
		join(&comes, &config[1], EVERYTHING);
		send_to(&comes, 255, 2, round);
		expect(&stays, round);
		send_to(&stays, 2, 1, round);
		expect(&comes, round);
		net_card_destroy(&comes);
	}
	net_card_destroy(&stays);
}

static void the_same_address_twice_is_refused(void **state)
{
	struct net_config config = config_of("lab", 1);
	struct reason why = {""};
	struct net_card card;
	struct net *net;

	(void)state;
	join(&card, &config, EVERYTHING);
	assert_int_equal(net_switch_open(&net, &config, &why), STATUS_BUSY);
	assert_non_null(strstr(why.text, "mac="));
	net_card_destroy(&card);
	assert_int_equal(net_switch_open(&net, &config, &why), STATUS_OK);
	net->close(net);
}

static void a_folder_that_others_can_enter_is_refused(void **state)
{
	struct net_config config = config_of("open", 1);
	struct reason why = {""};
	char path[128];
	struct net *net;

	(void)state;
	snprintf(path, sizeof(path), "%s/holon/switch/open", folder);
	assert_int_equal(net_switch_open(&net, &config, &why), STATUS_OK);
	net->close(net);
	assert_int_equal(chmod(path, 0777), 0);
	assert_int_equal(net_switch_open(&net, &config, &why), STATUS_PERMISSION);
}

/* IPv4 and TCP with `payload` bytes, checksum left to do. Returns the frame's length. */
static size_t tcp_make(uint8_t *frame, struct net_header *header, unsigned payload)
{
	static const uint8_t start[] = {0x45, 0,    0, 0,  0, 7, 0x40, 0, 64, 6, 0, 0, 10,   0,    0, 1, 10, 0, 0, 2,
					0x12, 0x34, 0, 80, 1, 2, 3,    4, 5,  6, 7, 8, 0x50, 0x19, 1, 0, 0,  0, 0, 0};
	uint8_t pseudo[12] = {10, 0, 0, 1, 10, 0, 0, 2, 0, 6};
	unsigned total = 40 + payload;
	uint16_t checksum;

	frame_make(frame, 54 + payload, 1, 2, 0);
	frame[12] = 8;
	frame[13] = 0;
	memcpy(frame + 14, start, sizeof(start));
	frame[16] = (uint8_t)(total >> 8);
	frame[17] = (uint8_t)total;
	for (unsigned i = 0; i < payload; i++)
		frame[54 + i] = (uint8_t)(i * 7 + i / 256);
	checksum = net_checksum_finish(net_checksum_add(0, frame + 14, 20));
	memcpy(frame + 24, &checksum, 2);
	pseudo[10] = (uint8_t)((20 + payload) >> 8);
	pseudo[11] = (uint8_t)(20 + payload);
	checksum = (uint16_t)~net_checksum_finish(net_checksum_add(0, pseudo, sizeof(pseudo)));
	memcpy(frame + 50, &checksum, 2);
	*header = (struct net_header){.flags = NET_HEADER_NEEDS_CHECKSUM,
				      .gso_type = NET_GSO_TCP4,
				      .gso_size = 1000,
				      .checksum_start = 34,
				      .checksum_offset = 16};
	return 54 + payload;
}

static void segments_are_made_for_a_guest_that_takes_none(void **state)
{
	static uint8_t frame[NET_FRAME_MAX];
	struct net_config config[3] = {config_of("lab", 1), config_of("lab", 2), config_of("lab", 3)};
	const struct net_card_frame *got;
	struct net_card plain_card, sender, able;
	struct net_header header;
	unsigned payload = 0;
	size_t length;

	(void)state;
	join(&plain_card, &config[0], 0);
	join(&able, &config[2], EVERYTHING);
	join(&sender, &config[1], EVERYTHING);
	length = tcp_make(frame, &header, 5500);
	net_card_send(&sender, &header, frame, length);
	got = net_card_receive(&able);
	assert_non_null(got);
	assert_int_equal(got->length, length);
	assert_int_equal(got->header.gso_size, 1000);
	for (unsigned i = 0; i < 6; i++) {
		unsigned here = i == 5 ? 500 : 1000;
		uint8_t pseudo[12] = {10, 0, 0, 1, 10, 0, 0, 2, 0, 6, (uint8_t)((20 + here) >> 8), (uint8_t)(20 + here)};

		got = net_card_receive(&plain_card);
		assert_non_null(got);
		assert_int_equal(got->header.flags, 0);
		assert_int_equal(got->header.gso_type, 0);
		assert_int_equal(got->length, 54 + here);
		assert_int_equal(got->bytes[16] << 8 | got->bytes[17], 40 + here);
		assert_int_equal(got->bytes[19], 7 + i); /* identification */
		assert_int_equal(net_checksum_finish(net_checksum_add(0, got->bytes + 14, 20)), 0);
		assert_int_equal(got->bytes[38] << 24 | got->bytes[39] << 16 | got->bytes[40] << 8 | got->bytes[41],
				 0x01020304 + i * 1000);
		assert_int_equal(got->bytes[47], i == 5 ? 0x19 : 0x10); /* FIN and PSH on the last */
		assert_int_equal(net_checksum_finish(net_checksum_add(net_checksum_add(0, pseudo, 12), got->bytes + 34, 20 + here)),
				 0);
		assert_memory_equal(got->bytes + 54, frame + 54 + payload, here);
		payload += here;
	}
	net_card_destroy(&sender);
	net_card_destroy(&able);
	net_card_destroy(&plain_card);
}

static void malformed_messages_of_a_peer_are_dropped(void **state)
{
	static const struct net_header bad[] = {
		{.flags = 1, .checksum_start = 50, .checksum_offset = 9},
		{.gso_type = NET_GSO_TCP4, .gso_size = 100},
		{.gso_type = 9},
		{.flags = 1, .gso_type = NET_GSO_TCP4, .checksum_start = 34, .checksum_offset = 16},
		/* Fits, but there is no TCP packet behind it, and the guest takes no TSO. */
		{.flags = 1, .gso_type = NET_GSO_TCP4, .gso_size = 8, .checksum_start = 34, .checksum_offset = 16},
		{.flags = 1, .gso_type = NET_GSO_TCP6, .gso_size = 8, .checksum_start = 34, .checksum_offset = 16},
	};
	struct net_config config[2] = {config_of("lab", 1), config_of("lab", 2)};
	struct net_card card, sender;
	uint8_t frame[60];

	(void)state;
	join(&card, &config[0], 0);
	join(&sender, &config[1], EVERYTHING);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		frame_make(frame, sizeof(frame), 255, 2, 1);
		net_card_send(&sender, &bad[i], frame, sizeof(frame));
	}
	send_to(&sender, 255, 2, 77);
	expect(&card, 77);
	assert_true(net_card_empty(&card));
	net_card_destroy(&sender);
	net_card_destroy(&card);
}

/* One that reads nothing holds nobody up for long, and is heard again when it reads. */
static void a_guest_without_room_slows_down_only_its_own_frames(void **state)
{
	static uint8_t large[60000];
	struct net_config config[3] = {config_of("lab", 1), config_of("lab", 2), config_of("lab", 3)};
	struct net_card stuck, sender, well;
	const struct net_card_frame *got;

	(void)state;
	join(&stuck, &config[0], EVERYTHING);
	join(&sender, &config[1], EVERYTHING);
	join(&well, &config[2], EVERYTHING);
	send_to(&stuck, 255, 1, 1);
	expect(&sender, 1);
	expect(&well, 1);
	net_card_full_set(&stuck, true);
	frame_make(large, sizeof(large), 1, 2, 5);
	for (unsigned i = 0; i < 200; i++)
		net_card_send(&sender, &plain, large, sizeof(large));
	send_to(&sender, 255, 2, 2);
	expect(&well, 2);
	net_card_full_set(&stuck, false);
	got = net_card_receive(&stuck);
	assert_non_null(got);
	assert_int_equal(got->length, sizeof(large));
	net_card_destroy(&stuck);
	send_to(&sender, 255, 2, 3);
	expect(&well, 3);
	net_card_destroy(&well);
	net_card_destroy(&sender);
}

/* A process that joins, says so with a frame, and waits to be killed. */
static pid_t victim_start(uint8_t number)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct net_config config = config_of("lab", number);
		static struct net_card card;

		join(&card, &config, EVERYTHING);
		send_to(&card, 255, number, number);
		for (;;)
			pause();
	}
	return pid;
}

static void a_killed_part_harms_nobody(void **state)
{
	struct net_config config[2] = {config_of("lab", 1), config_of("lab", 2)};
	struct net_card first, second;
	pid_t pid[4];

	(void)state;
	/* Before any thread of ours: they fork. The first of them is the one whom all others found there. */
	for (uint8_t i = 0; i < 4; i++)
		pid[i] = victim_start((uint8_t)(10 + i));
	join(&first, &config[0], EVERYTHING);
	join(&second, &config[1], EVERYTHING);
	for (unsigned i = 0; i < 4; i++) {
		kill(pid[i], SIGKILL);
		assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
		send_to(&first, (uint8_t)(10 + i), 1, (uint8_t)(100 + i));
		send_to(&first, 255, 1, (uint8_t)(50 + i));
		for (;;) {
			const struct net_card_frame *got = net_card_receive(&second);

			assert_non_null(got);
			if (got->bytes[20] == 50 + i)
				break;
		}
	}
	net_card_destroy(&second);
	/* Their names are still there; whoever comes next is not held up by them. */
	join(&second, &config[1], EVERYTHING);
	send_to(&second, 255, 2, 99);
	for (;;) {
		const struct net_card_frame *got = net_card_receive(&first);

		assert_non_null(got);
		if (got->bytes[20] == 99)
			break;
	}
	net_card_destroy(&second);
	net_card_destroy(&first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_killed_part_harms_nobody, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(frames_reach_whom_they_are_for, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(parts_come_and_go, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(the_same_address_twice_is_refused, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(a_folder_that_others_can_enter_is_refused, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(segments_are_made_for_a_guest_that_takes_none, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(malformed_messages_of_a_peer_are_dropped, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(a_guest_without_room_slows_down_only_its_own_frames, folder_make, folder_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
