/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_net_test.c - the network card: frames in both directions, control commands, link, limits, saved state; by a driver that behaves and by one
 * that does not.
 */
#include <stdlib.h>
#include <string.h>

#include <holon/timer.h>

#include "machine.h"
#include "test_net.h"

#include "device/virtio/virtio_net.h"

#define DEVFN PCI_DEVFN(6, 0)
#define RING(queue) (0x10000 + 0x4000 * (uint64_t)(queue))
#define DATA 0x40000
#define F_CSUM (UINT64_C(1) << 0)
#define F_GUEST_CSUM (UINT64_C(1) << 1)
#define F_CTRL_OFFLOADS (UINT64_C(1) << 2)
#define F_MTU (UINT64_C(1) << 3)
#define F_MAC (UINT64_C(1) << 5)
#define F_GUEST_TSO4 (UINT64_C(1) << 7)
#define F_HOST_TSO4 (UINT64_C(1) << 11)
#define F_MERGEABLE (UINT64_C(1) << 15)
#define F_STATUS (UINT64_C(1) << 16)
#define F_CONTROL (UINT64_C(1) << 17)
#define F_ANNOUNCE (UINT64_C(1) << 21)
#define F_MQ (UINT64_C(1) << 22)
#define F_INDIRECT (UINT64_C(1) << 28)
#define F_EVENT (UINT64_C(1) << 29)
#define F_VERSION_1 (UINT64_C(1) << 32)
#define F_USUAL                                                                                                          \
	(F_CSUM | F_GUEST_CSUM | F_CTRL_OFFLOADS | F_MTU | F_MAC | F_GUEST_TSO4 | F_HOST_TSO4 | F_MERGEABLE | F_STATUS | \
	 F_CONTROL | F_ANNOUNCE | F_INDIRECT | F_VERSION_1)

struct bench {
	struct machine machine;
	struct test_net net;
	struct virtio_net *card;
	struct driver driver;
	uint8_t frame[NET_FRAME_MAX], got[NET_FRAME_MAX];
	struct net_header header;
};

static const uint8_t mac[NET_MAC_LENGTH] = {2, 0x11, 0x22, 0x33, 0x44, 0x55};

static struct bench *bench_create(unsigned pairs, const struct virtio_net_rate *frames)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct virtio_net_setup setup = {.backend = &bench->net.net};

	machine_create(&bench->machine);
	test_net_create(&bench->net, pairs, TEST_NET_OFFLOADS);
	memcpy(setup.mac, mac, sizeof(mac));
	if (frames)
		setup.frames = *frames;
	assert_int_equal(virtio_net_create(&bench->card, &bench->machine.host->root, DEVFN, &bench->machine.memory,
					   &bench->machine.irq, &bench->machine.clock, &setup),
			 STATUS_OK);
	virtio_net_device(bench->card)->resume(bench->card);
	for (unsigned i = 0; i < sizeof(bench->frame); i++)
		bench->frame[i] = (uint8_t)machine_random(&bench->machine);
	return bench;
}

static void bench_up(struct bench *bench, uint64_t features)
{
	unsigned queues = features & F_MQ ? 2 * bench->net.net.pairs + 1 : 3;

	driver_attach(&bench->driver, &bench->machine, 0, DEVFN, 0xc0000000, true);
	assert_true(driver_negotiate(&bench->driver, features));
	for (unsigned i = 0; i < queues; i++)
		driver_queue_enable(&bench->driver, i, 16, RING(i));
	driver_go(&bench->driver);
	assert_int_equal(driver_status(&bench->driver), 15);
}

static void bench_destroy(struct bench *bench)
{
	virtio_net_destroy(bench->card);
	machine_destroy(&bench->machine);
	free(bench);
}

static void put(struct bench *bench, uint64_t gpa, const void *bytes, size_t length)
{
	assert_int_equal(guest_memory_write(&bench->machine.memory, gpa, bytes, length), STATUS_OK);
}

static void get(struct bench *bench, uint64_t gpa, void *bytes, size_t length)
{
	assert_int_equal(guest_memory_read(&bench->machine.memory, gpa, bytes, length), STATUS_OK);
}

/* The driver sends `length` bytes of bench->frame behind `header`, in two descriptors. */
static void send(struct bench *bench, const struct net_header *header, uint32_t length)
{
	put(bench, DATA, header, sizeof(*header));
	if (length)
		put(bench, DATA + sizeof(*header), bench->frame, length < 0x10000 ? length : 0x10000);
	driver_descriptor(&bench->driver, 1, 0, DATA, sizeof(*header), length ? DESC_NEXT : 0, 1);
	driver_descriptor(&bench->driver, 1, 1, DATA + sizeof(*header), length, 0, 0);
	driver_offer(&bench->driver, 1, 0);
}

/* Buffer `index` of `length` bytes on the receive ring. */
static void receive_offer(struct bench *bench, unsigned index, uint32_t length)
{
	driver_descriptor(&bench->driver, 0, index, DATA + 0x1000 * index, length, DESC_WRITE, 0);
	driver_offer(&bench->driver, 0, (uint16_t)index);
}

static size_t take(struct bench *bench)
{
	memset(bench->got, 0xee, sizeof(bench->got));
	return test_net_take(&bench->net, 0, &bench->header, bench->got);
}

static bool give(struct bench *bench, const struct net_header *header, size_t length)
{
	return test_net_give(&bench->net, 0, header, bench->frame, length);
}

static void configuration_describes_the_card(void **state)
{
	struct bench *bench = bench_create(4, NULL);
	struct driver *driver = &bench->driver;

	(void)state;
	driver_attach(driver, &bench->machine, 0, DEVFN, 0xc0000000, true);
	assert_int_equal(driver_features(driver) & (F_USUAL | F_MQ), F_USUAL | F_MQ);
	for (unsigned i = 0; i < NET_MAC_LENGTH; i++)
		assert_int_equal(mmio_read(&bench->machine, driver->device + i, 1), mac[i]);
	assert_int_equal(mmio_read(&bench->machine, driver->device + 6, 2), 1);
	assert_int_equal(mmio_read(&bench->machine, driver->device + 8, 2), 4);
	assert_int_equal(mmio_read(&bench->machine, driver->device + 10, 2), 1500);
	assert_int_equal(mmio_read(&bench->machine, driver->common + 0x12, 2), 9);
	bench_destroy(bench);
	/* A backend without offloads or further pairs: none is promised. */
	bench = bench_create(1, NULL);
	virtio_net_destroy(bench->card);
	test_net_create(&bench->net, 1, 0);
	assert_int_equal(virtio_net_create(&bench->card, &bench->machine.host->root, DEVFN, &bench->machine.memory,
					   &bench->machine.irq, &bench->machine.clock,
					   &(struct virtio_net_setup){.backend = &bench->net.net}),
			 STATUS_OK);
	driver_attach(&bench->driver, &bench->machine, 0, DEVFN, 0xc0000000, true);
	assert_int_equal(
		driver_features(&bench->driver) & (F_CSUM | F_GUEST_CSUM | F_CTRL_OFFLOADS | F_HOST_TSO4 | F_GUEST_TSO4 | F_MQ), 0);
	bench_destroy(bench);
}

static void frames_of_the_guest_arrive_whole(void **state)
{
	const struct net_header header = {.flags = NET_HEADER_NEEDS_CHECKSUM,
					  .gso_type = NET_GSO_TCP4,
					  .gso_size = 1448,
					  .checksum_start = 34,
					  .checksum_offset = 16};
	struct bench *bench = bench_create(1, NULL);
	uint32_t id, length;

	(void)state;
	bench_up(bench, F_USUAL);
	assert_int_equal(take(bench), 0);
	bench->net.kicks[0] = 0;
	send(bench, &header, 60000);
	assert_int_equal(bench->net.kicks[0], 1);
	assert_int_equal(take(bench), 60000);
	assert_memory_equal(bench->got, bench->frame, 60000);
	assert_memory_equal(&bench->header, &header, sizeof(header));
	assert_true(driver_take(&bench->driver, 1, &id, &length));
	assert_int_equal(length, 0);
	assert_int_equal(bench->machine.messages[DRIVER_MSIX_VECTOR(1)], 1);
	/* Header and frame byte by byte, through the seam of two slots. */
	put(bench, MACHINE_SEAM - 20, &(struct net_header){.flags = 0}, 12);
	put(bench, MACHINE_SEAM - 8, bench->frame, 60);
	driver_descriptor(&bench->driver, 1, 0, MACHINE_SEAM - 20, 5, DESC_NEXT, 1);
	driver_descriptor(&bench->driver, 1, 1, MACHINE_SEAM - 15, 67, 0, 0);
	driver_offer(&bench->driver, 1, 0);
	assert_int_equal(take(bench), 60);
	assert_memory_equal(bench->got, bench->frame, 60);
	bench_destroy(bench);
}

static void what_is_no_frame_is_thrown_away_and_given_back(void **state)
{
	static const struct net_header plain,
		bad[] = {
			{.flags = 1, .checksum_start = 34, .checksum_offset = 29}, /* at the very end: one byte too few */
			{.flags = 1, .checksum_start = 65535, .checksum_offset = 65535},
			{.flags = 1, .checksum_start = 4, .checksum_offset = 4},                     /* in the Ethernet header */
			{.gso_type = NET_GSO_TCP4, .gso_size = 1448},                                /* no checksum */
			{.flags = 1, .gso_type = NET_GSO_TCP4, .checksum_start = 34},                /* no size */
			{.flags = 1, .gso_type = NET_GSO_TCP6, .gso_size = 1, .checksum_start = 34}, /* not negotiated */
			{.flags = 1, .gso_type = NET_GSO_TCP4 | NET_GSO_ECN, .gso_size = 1, .checksum_start = 34},
			{.flags = 1, .gso_type = 77, .gso_size = 1, .checksum_start = 34},
		};
	struct bench *bench = bench_create(1, NULL);
	uint32_t id, length;

	(void)state;
	bench_up(bench, F_USUAL);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		send(bench, &bad[i], 64);
		assert_int_equal(take(bench), 0);
		assert_true(driver_take(&bench->driver, 1, &id, &length));
	}
	send(bench, &plain, 0);
	assert_int_equal(take(bench), 0);
	assert_true(driver_take(&bench->driver, 1, &id, &length));
	send(bench, &plain, 13);
	assert_int_equal(take(bench), 0);
	assert_true(driver_take(&bench->driver, 1, &id, &length));
	send(bench, &plain, NET_FRAME_MAX + 1);
	assert_int_equal(take(bench), 0);
	assert_true(driver_take(&bench->driver, 1, &id, &length));
	assert_int_equal(driver_status(&bench->driver), 15);
	/* Behind them a good one comes through at once. */
	send(bench, &bad[0], 64);
	driver_offer(&bench->driver, 1, 0);
	put(bench, DATA, &plain, sizeof(plain));
	assert_int_equal(take(bench), 64);
	bench_destroy(bench);
}

static void a_frame_lands_in_one_buffer_or_many(void **state)
{
	const struct net_header valid = {.flags = NET_HEADER_DATA_VALID};
	struct bench *bench = bench_create(1, NULL);
	struct net_header seen;
	uint8_t bytes[4096];
	uint32_t id, length, at = 0;

	(void)state;
	bench_up(bench, F_USUAL);
	receive_offer(bench, 0, 2048);
	assert_true(give(bench, &valid, 1514));
	assert_true(driver_take(&bench->driver, 0, &id, &length));
	assert_int_equal(length, 1526);
	get(bench, DATA, &seen, sizeof(seen));
	assert_int_equal(seen.buffers, 1);
	assert_int_equal(seen.flags, NET_HEADER_DATA_VALID);
	get(bench, DATA + 12, bytes, 1514);
	assert_memory_equal(bytes, bench->frame, 1514);
	/* 3000 bytes need three of 1100; two are too few: nothing is used and the next one is announced. */
	receive_offer(bench, 1, 1100);
	receive_offer(bench, 2, 1100);
	assert_false(give(bench, &valid, 3000));
	assert_false(driver_take(&bench->driver, 0, &id, &length));
	bench->net.kicks[0] = 0;
	receive_offer(bench, 3, 1100);
	assert_true(bench->net.kicks[0] > 0);
	assert_true(give(bench, &valid, 3000));
	for (unsigned i = 1; i <= 3; i++) {
		uint32_t head = i == 1 ? 12 : 0;

		assert_true(driver_take(&bench->driver, 0, &id, &length));
		assert_int_equal(id, i);
		get(bench, DATA + 0x1000 * i + head, bytes, length - head);
		assert_memory_equal(bytes, bench->frame + at, length - head);
		at += length - head;
	}
	assert_int_equal(at, 3000);
	get(bench, DATA + 0x1000, &seen, sizeof(seen));
	assert_int_equal(seen.buffers, 3);
	bench_destroy(bench);
}

static void buffers_that_cannot_hold_a_frame_do_not_block_the_ring(void **state)
{
	const struct net_header plain = {.flags = 0};
	struct bench *bench = bench_create(1, NULL);
	uint32_t id, length;

	(void)state;
	bench_up(bench, F_USUAL & ~F_MERGEABLE);
	receive_offer(bench, 0, 100);
	receive_offer(bench, 1, 2000);
	assert_true(give(bench, &plain, 1514)); /* swallowed, with the buffer that is too small */
	assert_true(driver_take(&bench->driver, 0, &id, &length));
	assert_int_equal(length, 0);
	assert_true(give(bench, &plain, 1514));
	assert_true(driver_take(&bench->driver, 0, &id, &length));
	assert_int_equal(length, 1526);
	assert_false(give(bench, &plain, 60));
	/* Mergeable, and the whole ring is too little for this one: it is swallowed, and the ring is as it was. */
	bench_up(bench, F_USUAL);
	for (unsigned i = 0; i < 16; i++)
		receive_offer(bench, i, 100);
	assert_true(give(bench, &plain, 3000));
	assert_false(driver_take(&bench->driver, 0, &id, &length));
	assert_true(give(bench, &plain, 60));
	assert_true(driver_take(&bench->driver, 0, &id, &length));
	assert_int_equal(id, 0);
	assert_int_equal(length, 72);
	bench_destroy(bench);
}

static void without_a_driver_frames_vanish(void **state)
{
	struct bench *bench = bench_create(1, NULL);

	(void)state;
	assert_true(give(bench, &(struct net_header){.flags = 0}, 60));
	assert_int_equal(take(bench), 0);
	bench_up(bench, F_USUAL);
	assert_int_equal(bench->net.receives, NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TSO4);
	assert_false(give(bench, &(struct net_header){.flags = 0}, 60)); /* it has only no room yet */
	driver_status_set(&bench->driver, 0);
	assert_int_equal(driver_status(&bench->driver), 0);
	assert_int_equal(bench->net.receives, 0);
	assert_true(give(bench, &(struct net_header){.flags = 0}, 60));
	bench_destroy(bench);
}

static void offloads_are_given_only_as_negotiated(void **state)
{
	static const struct net_header needs = {.flags = NET_HEADER_NEEDS_CHECKSUM, .checksum_start = 34, .checksum_offset = 16};
	static const struct net_header large = {.flags = NET_HEADER_NEEDS_CHECKSUM,
						.gso_type = NET_GSO_TCP4,
						.gso_size = 1448,
						.checksum_start = 34,
						.checksum_offset = 16};
	struct bench *bench = bench_create(1, NULL);
	struct net_header seen;
	uint32_t id, length;

	(void)state;
	bench_up(bench, F_USUAL & ~(F_GUEST_CSUM | F_GUEST_TSO4 | F_CTRL_OFFLOADS));
	assert_int_equal(bench->net.receives, 0);
	receive_offer(bench, 0, 2048);
	assert_true(give(bench, &needs, 60));
	assert_false(driver_take(&bench->driver, 0, &id, &length));
	assert_true(give(bench, &(struct net_header){.flags = NET_HEADER_DATA_VALID}, 60));
	assert_true(driver_take(&bench->driver, 0, &id, &length));
	get(bench, DATA, &seen, sizeof(seen));
	assert_int_equal(seen.flags, 0);
	bench_up(bench, F_USUAL & ~F_GUEST_TSO4);
	receive_offer(bench, 0, 4096);
	assert_true(give(bench, &large, 3000));
	assert_false(driver_take(&bench->driver, 0, &id, &length));
	assert_true(give(bench, &needs, 60));
	assert_true(driver_take(&bench->driver, 0, &id, &length));
	get(bench, DATA, &seen, sizeof(seen));
	assert_int_equal(seen.flags, NET_HEADER_NEEDS_CHECKSUM);
	bench_destroy(bench);
}

/* A command on control queue `queue`; returns the device's answer. */
static uint8_t command(struct bench *bench, unsigned queue, uint8_t class, uint8_t number, uint64_t value, uint32_t size)
{
	const uint8_t head[2] = {class, number};
	uint8_t answer = 0xee;
	uint32_t id, length;

	put(bench, DATA, head, sizeof(head));
	put(bench, DATA + 8, &value, sizeof(value));
	put(bench, DATA + 16, &answer, 1);
	driver_descriptor(&bench->driver, queue, 0, DATA, 2, DESC_NEXT, 1);
	driver_descriptor(&bench->driver, queue, 1, DATA + 8, size, DESC_NEXT, 2);
	driver_descriptor(&bench->driver, queue, 2, DATA + 16, 1, DESC_WRITE, 0);
	driver_offer(&bench->driver, queue, 0);
	assert_true(driver_take(&bench->driver, queue, &id, &length));
	get(bench, DATA + 16, &answer, 1);
	return answer;
}

static void control_commands_are_obeyed_or_refused(void **state)
{
	struct bench *bench = bench_create(4, NULL);

	(void)state;
	bench_up(bench, F_USUAL | F_MQ);
	assert_int_equal(bench->net.pairs_used, 1);
	assert_int_equal(command(bench, 8, 4, 0, 3, 2), 0);
	assert_int_equal(bench->net.pairs_used, 3);
	assert_int_equal(command(bench, 8, 4, 0, 0, 2), 1);
	assert_int_equal(command(bench, 8, 4, 0, 5, 2), 1);
	assert_int_equal(command(bench, 8, 4, 0, 2, 1), 1);
	assert_int_equal(command(bench, 8, 4, 1, 2, 2), 1);
	assert_int_equal(bench->net.pairs_used, 3);
	assert_int_equal(command(bench, 8, 5, 0, F_GUEST_CSUM, 8), 0);
	assert_int_equal(bench->net.receives, NET_OFFLOAD_CHECKSUM);
	assert_int_equal(command(bench, 8, 5, 0, F_GUEST_CSUM | UINT64_C(1) << 8, 8), 1); /* TSO6 was not negotiated */
	assert_int_equal(command(bench, 8, 0, 0, 1, 1), 1);
	assert_int_equal(command(bench, 8, 99, 0, 1, 1), 1);
	/* Without MQ the control queue is the third one, and pairs cannot be had. */
	bench_up(bench, F_USUAL);
	assert_int_equal(command(bench, 2, 4, 0, 2, 2), 1);
	assert_int_equal(command(bench, 2, 5, 0, 0, 8), 0);
	assert_int_equal(bench->net.receives, 0);
	bench_destroy(bench);
}

/* For a backend it may be work, as for a tap device's kernel: the vcpu that notified waits for one such change, not for as many as a ring has commands. */
static void a_flood_of_commands_is_one_change(void **state)
{
	struct bench *bench = bench_create(4, NULL);

	(void)state;
	bench_up(bench, F_USUAL | F_MQ);
	assert_int_equal(command(bench, 8, 4, 0, 3, 2), 0);
	assert_int_equal(command(bench, 8, 4, 0, 2, 2), 0);
	bench->net.tells = 0;
	put(bench, DATA + 8, &(uint16_t){4}, 2);
	driver_flood(&bench->driver, 8);
	assert_in_range(driver_flood_left(&bench->driver), DRIVER_FLOOD - 100, DRIVER_FLOOD - 8);
	assert_int_equal(bench->net.tells, 1);
	assert_int_equal(bench->net.pairs_used, 4);
	bench_destroy(bench);
}

/* 5.1.6.5.5. Without MQ the control queue is where the second pair's would be, so it is more than a matter of order. */
static void pairs_are_left_alone_until_the_driver_uses_them(void **state)
{
	const struct net_header plain = {.flags = 0};
	struct bench *bench = bench_create(2, NULL);
	uint32_t id, length;

	(void)state;
	bench_up(bench, F_USUAL | F_MQ);
	driver_descriptor(&bench->driver, 2, 0, DATA + 0x1000, 2048, DESC_WRITE, 0);
	driver_offer(&bench->driver, 2, 0);
	assert_true(test_net_give(&bench->net, 1, &plain, bench->frame, 60));
	assert_false(driver_take(&bench->driver, 2, &id, &length));
	bench->net.kicks[1] = 0;
	assert_int_equal(command(bench, 4, 4, 0, 2, 2), 0);
	assert_int_equal(bench->net.kicks[1], 1);
	assert_true(test_net_give(&bench->net, 1, &plain, bench->frame, 60));
	assert_true(driver_take(&bench->driver, 2, &id, &length));
	assert_int_equal(length, 72);
	bench_destroy(bench);
}

static void the_link_and_announcements_are_told(void **state)
{
	struct bench *bench = bench_create(1, NULL);
	struct driver *driver = &bench->driver;
	unsigned generation;

	(void)state;
	bench_up(bench, F_USUAL);
	generation = (unsigned)mmio_read(&bench->machine, driver->common + 0x15, 1);
	net_link_set(&bench->net.net, false);
	assert_int_equal(mmio_read(&bench->machine, driver->device + 6, 2), 0);
	assert_int_equal(bench->machine.messages[DRIVER_CONFIG_VECTOR], 1);
	assert_int_not_equal(mmio_read(&bench->machine, driver->common + 0x15, 1), generation);
	net_link_set(&bench->net.net, false);
	assert_int_equal(bench->machine.messages[DRIVER_CONFIG_VECTOR], 1);
	net_link_set(&bench->net.net, true);
	assert_int_equal(mmio_read(&bench->machine, driver->device + 6, 2), 3);
	assert_int_equal(command(bench, 2, 3, 0, 0, 1), 0);
	assert_int_equal(mmio_read(&bench->machine, driver->device + 6, 2), 1);
	virtio_net_announce(bench->card);
	assert_int_equal(mmio_read(&bench->machine, driver->device + 6, 2), 3);
	/* A driver that did not ask for announcements sees none. */
	bench_up(bench, F_USUAL & ~F_ANNOUNCE);
	virtio_net_announce(bench->card);
	assert_int_equal(mmio_read(&bench->machine, driver->device + 6, 2), 1);
	assert_int_equal(command(bench, 2, 3, 0, 0, 1), 1);
	bench_destroy(bench);
}

static void frames_pass_at_the_rate_that_was_set(void **state)
{
	struct bench *bench = bench_create(1, &(struct virtio_net_rate){.second = 1000, .burst = 5});
	const struct net_header plain = {.flags = 0};
	unsigned offered = 0, sent = 0, buffers = 0, given = 0;
	uint32_t id, length;

	(void)state;
	bench_up(bench, F_USUAL);
	for (unsigned half = 0; half < 100; half++) { /* of a millisecond */
		for (; offered - sent < 4; offered++)
			send(bench, &plain, 60);
		while (take(bench) == 60)
			sent++;
		while (driver_take(&bench->driver, 1, &id, &length))
			;
		for (; buffers - given < 4; buffers++)
			receive_offer(bench, buffers % 8, 256);
		while (buffers - given && give(bench, &plain, 60))
			given++;
		while (driver_take(&bench->driver, 0, &id, &length))
			;
		if (half == 10)
			assert_in_range(sent, 8, 12);
		vm_clock_count(&bench->machine.clock, 500000);
	}
	/* 50 ms at 1000 a second, and the burst. */
	assert_in_range(sent, 50, 56);
	assert_in_range(given, 50, 56);
	/* What was held back is announced when it may pass. */
	send(bench, &plain, 60);
	while (take(bench))
		;
	bench->net.kicks[0] = 0;
	vm_clock_count(&bench->machine.clock, 1100000);
	assert_true(bench->net.kicks[0] > 0);
	bench_destroy(bench);
}

static void a_reset_waits_for_the_batch_that_is_under_way(void **state)
{
	struct bench *bench = bench_create(1, NULL);
	const struct net_frontend *frontend;

	(void)state;
	bench_up(bench, F_USUAL);
	send(bench, &(struct net_header){.flags = 0}, 60);
	frontend = net_enter(&bench->net.net, 0);
	assert_int_equal(frontend->take(frontend->device, 0, &bench->header, bench->got), 60);
	driver_status_set(&bench->driver, 0);
	assert_int_equal(driver_status(&bench->driver), 15);
	net_leave(&bench->net.net, 0);
	assert_int_equal(driver_status(&bench->driver), 0);
	/* And so does power-on. */
	bench_up(bench, F_USUAL);
	virtio_net_device(bench->card)->reset(bench->card);
	assert_int_equal(config_read(&bench->machine, 0, DEVFN, PCI_COMMAND, 2), 0);
	bench_up(bench, F_USUAL);
	send(bench, &(struct net_header){.flags = 0}, 60);
	assert_int_equal(take(bench), 60);
	bench_destroy(bench);
}

static void the_card_goes_on_where_it_was_saved(void **state)
{
	struct bench *bench = bench_create(4, NULL);
	struct device *device = virtio_net_device(bench->card);
	uint32_t id, length;

	(void)state;
	bench_up(bench, F_USUAL | F_MQ | F_EVENT);
	assert_int_equal(command(bench, 8, 4, 0, 2, 2), 0);
	assert_int_equal(command(bench, 8, 5, 0, F_GUEST_CSUM, 8), 0);
	receive_offer(bench, 0, 2048);
	assert_true(give(bench, &(struct net_header){.flags = 0}, 60));
	send(bench, &(struct net_header){.flags = 0}, 60); /* not taken yet */
	device->quiesce(bench->card);
	assert_int_equal(take(bench), 0);
	device_saves_and_loads(device);
	assert_int_equal(bench->net.pairs_used, 2);
	assert_int_equal(bench->net.receives, NET_OFFLOAD_CHECKSUM);
	bench->net.kicks[0] = 0;
	device->resume(bench->card);
	assert_int_equal(bench->net.kicks[0], 1);
	assert_int_equal(take(bench), 60);
	assert_true(driver_take(&bench->driver, 0, &id, &length));
	assert_true(driver_take(&bench->driver, 1, &id, &length));
	bench_destroy(bench);
}

/* DRIVER_OK before FEATURES_OK: nothing is agreed, and what the driver names may still change. */
static void features_that_were_not_agreed_are_not_saved_as_such(void **state)
{
	struct bench *bench = bench_create(1, NULL);
	struct driver *driver = &bench->driver;

	(void)state;
	driver_attach(driver, &bench->machine, 0, DEVFN, 0xc0000000, true);
	mmio_write(&bench->machine, driver->common + 8, 4, 0);
	mmio_write(&bench->machine, driver->common + 12, 4, (uint32_t)F_USUAL);
	driver_status_set(driver, 7);
	mmio_write(&bench->machine, driver->common + 12, 4, 0);
	device_saves_and_loads(virtio_net_device(bench->card));
	bench_destroy(bench);
}

static void malformed_rings_ask_for_a_reset(void **state)
{
	struct bench *bench = bench_create(1, NULL);

	(void)state;
	bench_up(bench, F_USUAL);
	driver_descriptor(&bench->driver, 1, 0, DATA, 60, DESC_NEXT, 0); /* a loop */
	driver_offer(&bench->driver, 1, 0);
	assert_int_equal(take(bench), 0);
	assert_int_equal(driver_status(&bench->driver), 15 | 64);
	assert_true(give(bench, &(struct net_header){.flags = 0}, 60)); /* no driver that could be served */
	bench_up(bench, F_USUAL);
	driver_descriptor(&bench->driver, 0, 0, MACHINE_ROM, 2048, DESC_WRITE, 0);
	driver_offer(&bench->driver, 0, 0);
	assert_false(give(bench, &(struct net_header){.flags = 0}, 60));
	assert_int_equal(driver_status(&bench->driver), 15 | 64);
	bench_up(bench, F_USUAL);
	driver_descriptor(&bench->driver, 2, 0, DATA, 2, 0, 0); /* a command without room for an answer */
	driver_offer(&bench->driver, 2, 0);
	assert_int_equal(driver_status(&bench->driver), 15 | 64);
	bench_destroy(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_describes_the_card),
		cmocka_unit_test(frames_of_the_guest_arrive_whole),
		cmocka_unit_test(what_is_no_frame_is_thrown_away_and_given_back),
		cmocka_unit_test(a_frame_lands_in_one_buffer_or_many),
		cmocka_unit_test(buffers_that_cannot_hold_a_frame_do_not_block_the_ring),
		cmocka_unit_test(without_a_driver_frames_vanish),
		cmocka_unit_test(offloads_are_given_only_as_negotiated),
		cmocka_unit_test(control_commands_are_obeyed_or_refused),
		cmocka_unit_test(a_flood_of_commands_is_one_change),
		cmocka_unit_test(pairs_are_left_alone_until_the_driver_uses_them),
		cmocka_unit_test(the_link_and_announcements_are_told),
		cmocka_unit_test(frames_pass_at_the_rate_that_was_set),
		cmocka_unit_test(a_reset_waits_for_the_batch_that_is_under_way),
		cmocka_unit_test(the_card_goes_on_where_it_was_saved),
		cmocka_unit_test(features_that_were_not_agreed_are_not_saved_as_such),
		cmocka_unit_test(malformed_rings_ask_for_a_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
