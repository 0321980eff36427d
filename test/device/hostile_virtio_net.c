/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_virtio_net.c - a virtio driver that means harm to a network card with two pairs of queues (hostile.h).
 *
 * The backend takes what it gets and gives frames of every size, in batches that begin and end when a step says so.
 */
#include <stdlib.h>
#include <string.h>

#include "hostile_rings.h"
#include "test_net.h"

#include "device/virtio/virtio_net.h"

#define DEVFN PCI_DEVFN(3, 0)
#define PAIRS 2
#define QUEUES (2 * PAIRS + 1)
#define CONTROL (2 * PAIRS)
#define HEADER 0x1000
/* All that it offers, EVENT_IDX by a step's choice. */
#define FEATURES (UINT64_C(0x130628baf) | UINT64_C(1) << 22)
#define EVENT_IDX (UINT64_C(1) << 29)

struct bench {
	struct machine machine;
	struct test_net net;
	struct virtio_net *card;
	struct hostile_rings rings;
	bool entered[PAIRS];
	uint8_t frame[NET_FRAME_MAX], got[NET_FRAME_MAX];
};

static const uint64_t places[] = {
	HEADER,          0x2000,          0x4000,          MACHINE_SEAM - 700, MACHINE_RAM - 100, MACHINE_ROM, HOSTILE_TABLE,
	UINT64_MAX - 10, HOSTILE_RING(0), HOSTILE_RING(1), HOSTILE_RING(4),    MACHINE_RAM,       0xc0001000,  0,
	0x8000,          0x8001};

/* A frame to send, a buffer to receive in, or a command, that would be right but for what the step adds to it. */
static void chain_offer(struct bench *bench, const struct hostile_step *step)
{
	unsigned queue = step->where % QUEUES, head = step->where >> 4 & 15;
	struct net_header header = {
		.flags = step->size & 3,
		.gso_type = step->size & 0x10 ? (uint8_t)(step->size >> 5) : 0,
		.gso_size = (uint16_t)step->value,
		.checksum_start = (uint16_t)(step->value >> 16 & 0x7f),
		.checksum_offset = (uint16_t)(step->value >> 32 & 0x1f),
	};
	/* Often a number of pairs that there is: only those that are used carry frames. */
	const uint16_t argument = (uint16_t)(step->size & 0x80 ? step->value : step->value & 3);
	const uint8_t command[] = {(uint8_t)(step->size & 7), 0, (uint8_t)argument, (uint8_t)(argument >> 8)};

	if (queue == CONTROL) {
		assert_int_equal(guest_memory_write(&bench->machine.memory, HEADER, command, sizeof(command)), STATUS_OK);
		driver_descriptor(&bench->rings.driver, queue, 0, HEADER, 2 + (step->more & 15), DESC_NEXT, 1);
		driver_descriptor(&bench->rings.driver, queue, 1, places[step->more >> 8 & 15], 1, DESC_WRITE, 0);
		driver_offer(&bench->rings.driver, queue, 0);
	} else if (queue & 1) {
		assert_int_equal(guest_memory_write(&bench->machine.memory, HEADER, &header, sizeof(header)), STATUS_OK);
		driver_descriptor(&bench->rings.driver, queue, head, HEADER, 12, DESC_NEXT, (head + 1) & 15);
		driver_descriptor(&bench->rings.driver, queue, (head + 1) & 15, places[step->more & 15], step->more >> 16 & 0x7ff,
				  0, 0);
		driver_offer(&bench->rings.driver, queue, (uint16_t)head);
	} else {
		driver_descriptor(&bench->rings.driver, queue, head, places[step->more & 15], step->more >> 16 & 0xfff, DESC_WRITE,
				  0);
		driver_offer(&bench->rings.driver, queue, (uint16_t)head);
	}
}

static void batch_toggle(struct bench *bench, unsigned pair)
{
	if (bench->entered[pair])
		net_leave(&bench->net.net, pair);
	else
		net_enter(&bench->net.net, pair);
	bench->entered[pair] = !bench->entered[pair];
}

/* A backend's turn; what it is handed must be what the seam promises. */
static void backend_turn(struct bench *bench, unsigned pair, const struct hostile_step *step)
{
	static const size_t sizes[] = {14, 60, 1514, 1515, 9014, 32000, NET_FRAME_MAX, 500};
	const struct net_frontend *frontend;
	struct net_header header = {
		.flags = step->size >> 4 & 3, .gso_type = step->size & 0x40 ? NET_GSO_TCP4 : 0, .gso_size = 1448};
	size_t length;

	if (!bench->entered[pair])
		net_enter(&bench->net.net, pair);
	frontend = bench->net.net.frontend;
	for (unsigned i = 0; frontend && i < 4; i++) {
		frontend->give(frontend->device, pair, &header, bench->frame, sizes[step->where >> 4 & 7]);
		length = frontend->take(frontend->device, pair, &header, bench->got);
		assert_true(length == 0 || (length >= NET_ETHERNET_HEADER && length <= NET_FRAME_MAX));
		if (length && header.flags & NET_HEADER_NEEDS_CHECKSUM)
			assert_true((size_t)header.checksum_start + header.checksum_offset + 2 <= length);
	}
	if (!bench->entered[pair])
		net_leave(&bench->net.net, pair);
}

static void batches_end(struct bench *bench)
{
	for (unsigned pair = 0; pair < PAIRS; pair++)
		if (bench->entered[pair])
			batch_toggle(bench, pair);
}

static void step_do(struct bench *bench, const struct hostile_step *step)
{
	if (hostile_rings_step(&bench->rings, &bench->machine, step, FEATURES))
		return;
	switch (step->kind & 15) {
	case 8: batch_toggle(bench, step->where & (PAIRS - 1)); break;
	case 9: vm_clock_count(&bench->machine.clock, step->more & 0xfffff); break;
	case 10:
	case 11: backend_turn(bench, step->where & (PAIRS - 1), step); break;
	default: chain_offer(bench, step); break;
	}
}

static void run(const struct hostile_step *step, size_t steps)
{
	static struct bench bench;
	struct virtio_net_setup setup = {.backend = &bench.net.net, .frames = {100000, 50}};
	struct net_header header;

	machine_create(&bench.machine);
	bench.rings = (struct hostile_rings){.devfn = DEVFN, .queues = QUEUES, .places = places};
	test_net_create(&bench.net, PAIRS, TEST_NET_OFFLOADS);
	assert_int_equal(virtio_net_create(&bench.card, &bench.machine.host->root, DEVFN, &bench.machine.memory, &bench.machine.irq,
					   &bench.machine.clock, &setup),
			 STATUS_OK);
	virtio_net_device(bench.card)->resume(bench.card);
	hostile_up(&bench.rings, &bench.machine, FEATURES);
	while (steps--)
		step_do(&bench, step++);
	batches_end(&bench);
	bus_check(&bench.machine.mmio);
	device_saves_and_loads(virtio_net_device(bench.card));
	/* Whatever was begun has ended: a reset is done at once, and a driver that behaves is served. */
	virtio_net_device(bench.card)->reset(bench.card);
	hostile_up(&bench.rings, &bench.machine, FEATURES);
	vm_clock_count(&bench.machine.clock, 1000000000);
	chain_offer(&bench, &(struct hostile_step){.where = 1, .more = 2 | 60 << 16});
	assert_int_equal(test_net_take(&bench.net, 0, &header, bench.got), 60);
	chain_offer(&bench, &(struct hostile_step){.where = 0, .more = 2 | 2048 << 16});
	assert_true(test_net_give(&bench.net, 0, &(struct net_header){.flags = 0}, bench.frame, 1514));
	assert_false(test_net_give(&bench.net, 0, &(struct net_header){.flags = 0}, bench.frame, 1514));
	virtio_net_destroy(bench.card);
	machine_destroy(&bench.machine);
}

const struct hostile hostile_virtio_net = {"virtio_net", run};
