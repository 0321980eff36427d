/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile_virtio.c - virtio drivers that mean harm to PCI and to a disk, or to a device that another process serves (hostile.h).
 */
#include <string.h>

#include "hostile.h"
#include "machine.h"

#include "device/virtio/virtio_blk.h"
#include "device/virtio/virtio_peer.h"

#define DEVFN PCI_DEVFN(3, 0)
#define FEATURES UINT64_C(0x130006a00)
#define HEADER 0x1000
#define STATUS 0x2000

static const uint64_t places[] = {
	HEADER,  STATUS,  0x4000,  MACHINE_SEAM - 700, MACHINE_RAM - 100, MACHINE_ROM, 0x3000, UINT64_MAX - 10,
	0x10000, 0x10040, 0x12000, MACHINE_RAM,        0xc0001000,        0,           0x8000, 0x8001};

/* A descriptor that is nearly right: header, data, status at 0, 1 and 2; indirect tables at 0x3000 and in the ring itself. */
static void descriptor_put(struct machine *machine, struct driver *driver, const struct hostile_step *step)
{
	unsigned queue = step->where >> 4 & 1;
	uint64_t gpa = step->size & 0xe0 ? places[step->size & 15] : step->value;
	uint16_t flags = step->more & 0x1c0000 ? (uint16_t)(step->more >> 16 & 3) : (uint16_t)(step->more >> 16 & 7);
	uint32_t length = step->more & 0x1000000 ? (step->more & 7) * 512 : step->more & 0xffff;

	if (step->kind & 0x40) { /* into the indirect table */
		struct {
			uint64_t gpa;
			uint32_t length;
			uint16_t flags, next;
		} descriptor = {gpa, length, flags, step->where & 15};

		assert_int_equal(guest_memory_write(&machine->memory, 0x3000 + 16 * (step->where >> 8 & 15), &descriptor, 16),
				 STATUS_OK);
		return;
	}
	driver_descriptor(driver, queue, step->where & 15, gpa, length, flags, step->where >> 8 & 31);
}

/* A whole chain that would be right, but for what the step adds to it. */
static void chain_offer(struct machine *machine, struct driver *driver, const struct hostile_step *step)
{
	static const uint32_t types[] = {0, 1, 4, 8, 11, 13, 99, 0};
	unsigned queue = step->where & 1;
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header = {types[step->size & 7], 0, step->value & 0xfff};

	assert_int_equal(guest_memory_write(&machine->memory, HEADER, &header, sizeof(header)), STATUS_OK);
	driver_descriptor(driver, queue, 0, HEADER, 16, DESC_NEXT, 1);
	driver_descriptor(driver, queue, 1, places[step->where >> 4 & 15], (step->more & 15) * 256,
			  DESC_NEXT | (step->size & 8 ? DESC_WRITE : 0), 2);
	driver_descriptor(driver, queue, 2, STATUS, 1, DESC_WRITE, 0);
	driver_offer(driver, queue, 0);
}

static void up(struct driver *driver, struct machine *machine)
{
	driver_attach(driver, machine, 0, DEVFN, 0xc0000000, true);
	assert_true(driver_negotiate(driver, FEATURES));
	driver_queue_enable(driver, 0, 16, 0x10000);
	driver_queue_enable(driver, 1, 16, 0x12000);
	driver_go(driver);
}

static void step_do(struct machine *machine, struct driver *driver, struct test_disk *disk, const struct hostile_step *step)
{
	unsigned size = 1u << (step->size & 3);

	switch (step->kind & 15) {
	case 0: config_write(machine, 0, DEVFN, step->where & 0xfc, 4, (uint32_t)step->value); break;
	case 1: mmio_write(machine, driver->common + (step->where & 0x3fff), size, step->value); break;
	case 2: mmio_read(machine, driver->common + (step->where & 0x3fff), size); break;
	case 3: mmio_write(machine, driver->msix + (step->where & 0xff8), size, step->value); break;
	case 4: /* into the rings and the memory around them */
		assert_int_equal(guest_memory_write(&machine->memory, 0x10000 + (step->where & 0x3ff8), &step->value, 8),
				 STATUS_OK);
		break;
	case 5:
	case 6:
	case 7: descriptor_put(machine, driver, step); break;
	case 8: driver_offer(driver, step->where >> 4 & 1, step->where & 31); break;
	case 9:
		disk->deferred = step->size & 1;
		disk->fail = step->size & 0x30 ? STATUS_OK : STATUS_NO_SPACE;
		break;
	case 10:
		while (disk->first)
			disk_complete(disk);
		break;
	case 11:
		if (step->size & 3)
			driver_status_set(driver, (uint8_t)step->where & (step->size & 4 ? 0xff : 0));
		else if (driver_status(driver) == 0)
			up(driver, machine);
		break;
	default: chain_offer(machine, driver, step); break;
	}
}

static void run_blk(const struct hostile_step *step, size_t steps)
{
	static struct machine machine;
	struct virtio_blk *blk;
	struct test_disk disk;
	struct driver driver;

	machine_create(&machine);
	disk_create(&disk, 1 << 20, false);
	assert_int_equal(virtio_blk_create(&blk, &machine.host->root, DEVFN, &machine.memory, &machine.irq, &machine.clock,
					   &disk.block, "fuzz", 2),
			 STATUS_OK);
	up(&driver, &machine);
	while (steps--) {
		step_do(&machine, &driver, &disk, step++);
		vm_clock_count(&machine.clock, 1000);
	}
	bus_check(&machine.mmio);
	disk.deferred = false;
	disk.fail = STATUS_OK;
	device_saves_and_loads(virtio_blk_device(blk));
	virtio_blk_device(blk)->reset(blk); /* drains: whatever was taken has come back, or this never returns */
	assert_int_equal(disk.waiting, 0);
	up(&driver, &machine);
	memset(&disk.count, 0, sizeof(disk.count));
	chain_offer(&machine, &driver, &(struct hostile_step){.size = 8, .where = 2 << 4, .more = 2});
	assert_int_equal(disk.count[BLOCK_READ], 1);
	virtio_blk_destroy(blk);
	disk_destroy(&disk);
	machine_destroy(&machine);
}

const struct hostile hostile_virtio_blk = {"virtio_blk", run_blk};

/* A peer that reads and writes all that it is given, at once or when it is told, and says that it wrote anything at all. */
struct test_peer {
	struct peer peer;
	struct test_disk wishes; /* its `deferred` */
	struct peer_request *first;
	unsigned served;
	uint8_t sum;
};

static void peer_serve(struct test_peer *peer)
{
	struct peer_request *request = peer->first;

	peer->first = request->next;
	peer->served++;
	for (unsigned i = 0; i < request->segments; i++) {
		uint8_t *bytes = request->segment[i].base;
		size_t length = request->segment[i].length;

		assert_true(length > 0);
		if (i < request->readable)
			peer->sum = (uint8_t)(peer->sum + bytes[0] + bytes[length - 1]);
		else
			bytes[0] = bytes[length - 1] = peer->sum;
	}
	request->done(request, peer->sum * 0x01010101u, STATUS_OK);
}

static void peer_submit(struct peer *peer, struct peer_request *list)
{
	struct test_peer *test = (struct test_peer *)peer;
	struct peer_request **end = &test->first;

	while (*end)
		end = &(*end)->next;
	*end = list;
	while (!test->wishes.deferred && test->first)
		peer_serve(test);
}

static void peer_drain(struct peer *peer)
{
	struct test_peer *test = (struct test_peer *)peer;

	while (test->first)
		peer_serve(test);
}

static void run_peer(const struct hostile_step *step, size_t steps)
{
	static const uint8_t config[40] = "tag";
	static struct machine machine;
	struct test_peer peer = {.peer = {.name = "virtio-fs",
					  .path = "test",
					  .type = 26,
					  .class_code = 0x018000,
					  .features = 0x6a00,
					  .queues = 2,
					  .config_length = sizeof(config),
					  .config = config,
					  .submit = peer_submit,
					  .drain = peer_drain}};
	struct virtio_peer *device;
	struct driver driver;

	machine_create(&machine);
	assert_int_equal(
		virtio_peer_create(&device, &machine.host->root, DEVFN, &machine.memory, &machine.irq, &machine.clock, &peer.peer),
		STATUS_OK);
	up(&driver, &machine);
	for (; steps--; step++) {
		if ((step->kind & 15) == 10) {
			peer_drain(&peer.peer);
			vm_clock_count(&machine.clock, 1000000);
		} else {
			step_do(&machine, &driver, &peer.wishes, step);
		}
	}
	bus_check(&machine.mmio);
	peer.wishes.deferred = false;
	device_saves_and_loads(virtio_peer_device(device));
	virtio_peer_device(device)->reset(device);
	assert_null(peer.first);
	up(&driver, &machine);
	peer.served = 0;
	chain_offer(&machine, &driver, &(struct hostile_step){.size = 8, .where = 2 << 4, .more = 2});
	assert_int_equal(peer.served, 1);
	virtio_peer_destroy(device);
	machine_destroy(&machine);
}

const struct hostile hostile_virtio_peer = {"virtio_peer", run_peer};
