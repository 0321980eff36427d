/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_blk_test.c - the virtio PCI transport, split queues and the disk, by a driver that behaves and by one that does not.
 */
#include <stdlib.h>
#include <string.h>

#include "machine.h"

#include "device/virtio/virtio_blk.h"

#define DISK_SIZE (UINT64_C(1) << 20)
#define SECTORS (DISK_SIZE / 512)
#define DEVFN PCI_DEVFN(3, 0)
#define BAR_BASE UINT64_C(0xc0000000)
#define RING(queue) (0x10000 + 0x8000 * (uint64_t)(queue))
#define HEADER 0x1000
#define STATUS 0x2000
#define DATA 0x4000
#define F_FLUSH (UINT64_C(1) << 9)
#define F_WCE (UINT64_C(1) << 11)
#define F_MQ (UINT64_C(1) << 12)
#define F_DISCARD (UINT64_C(1) << 13)
#define F_ZEROES (UINT64_C(1) << 14)
#define F_INDIRECT (UINT64_C(1) << 28)
#define F_EVENT (UINT64_C(1) << 29)
#define F_VERSION_1 (UINT64_C(1) << 32)
#define F_USUAL (F_FLUSH | F_WCE | F_MQ | F_DISCARD | F_ZEROES | F_INDIRECT | F_VERSION_1)

struct bench {
	struct machine machine;
	struct test_disk disk;
	struct virtio_blk *blk;
	struct driver driver;
};

static void bench_create(struct bench *bench, bool readonly)
{
	machine_create(&bench->machine);
	disk_create(&bench->disk, DISK_SIZE, readonly);
	assert_int_equal(virtio_blk_create(&bench->blk, &bench->machine.host->root, DEVFN, &bench->machine.memory,
					   &bench->machine.irq, &bench->machine.clock, &bench->disk.block, "holon-disk-0", 2),
			 STATUS_OK);
	virtio_blk_device(bench->blk)->reset(bench->blk);
}

static void bench_up(struct bench *bench, uint64_t features, bool msix)
{
	driver_attach(&bench->driver, &bench->machine, 0, DEVFN, BAR_BASE, msix);
	assert_true(driver_negotiate(&bench->driver, features));
	driver_queue_enable(&bench->driver, 0, 64, RING(0));
	driver_queue_enable(&bench->driver, 1, 16, RING(1));
	driver_go(&bench->driver);
	assert_int_equal(driver_status(&bench->driver), 15);
}

static void bench_destroy(struct bench *bench)
{
	virtio_blk_destroy(bench->blk);
	disk_destroy(&bench->disk);
	machine_destroy(&bench->machine);
}

static void put(struct bench *bench, uint64_t gpa, const void *bytes, size_t length)
{
	assert_int_equal(guest_memory_write(&bench->machine.memory, gpa, bytes, length), STATUS_OK);
}

static void header_put(struct bench *bench, uint64_t gpa, uint32_t type, uint64_t sector)
{
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header = {type, 0, sector};
	uint8_t none = 0xee;

	put(bench, gpa, &header, sizeof(header));
	put(bench, STATUS, &none, 1);
}

static uint8_t status_byte(struct bench *bench)
{
	return *guest_memory_at(&bench->machine.memory, STATUS, 1);
}

/* Header, one data buffer, status; offered on queue 0. The answer is left to the caller. */
static void request_offer(struct bench *bench, uint32_t type, uint64_t sector, uint64_t gpa, uint32_t length, bool device_writes)
{
	header_put(bench, HEADER, type, sector);
	driver_descriptor(&bench->driver, 0, 0, HEADER, 16, DESC_NEXT, 1);
	driver_descriptor(&bench->driver, 0, 1, gpa, length, DESC_NEXT | (device_writes ? DESC_WRITE : 0), 2);
	driver_descriptor(&bench->driver, 0, 2, STATUS, 1, DESC_WRITE, 0);
	driver_offer(&bench->driver, 0, 0);
}

/* The status of a request that completes at once; *written gets the used length. */
static uint8_t request(struct bench *bench, uint32_t type, uint64_t sector, uint64_t gpa, uint32_t length, bool device_writes,
		       uint32_t *written)
{
	uint32_t id, used;

	request_offer(bench, type, sector, gpa, length, device_writes);
	assert_true(driver_take(&bench->driver, 0, &id, &used));
	assert_int_equal(id, 0);
	if (written)
		*written = used;
	return status_byte(bench);
}

static void features_are_negotiated_and_refused(void **state)
{
	struct bench bench;
	struct driver *driver = &bench.driver;

	(void)state;
	bench_create(&bench, false);
	driver_attach(driver, &bench.machine, 0, DEVFN, BAR_BASE, true);
	assert_int_equal(driver_features(driver) & (F_USUAL | F_EVENT), F_USUAL | F_EVENT);
	assert_int_equal(driver_features(driver) & (1u << 5), 0);
	assert_false(driver_negotiate(driver, F_USUAL & ~F_VERSION_1)); /* legacy drivers are not served */
	assert_false(driver_negotiate(driver, F_USUAL | UINT64_C(1) << 40));
	assert_true(driver_negotiate(driver, F_USUAL));
	mmio_write(&bench.machine, driver->common + 8, 4, 0); /* too late to change */
	mmio_write(&bench.machine, driver->common + 12, 4, 0);
	assert_int_equal(mmio_read(&bench.machine, driver->common + 12, 4), (uint32_t)F_USUAL);
	driver_status_set(driver, 0);
	assert_int_equal(mmio_read(&bench.machine, driver->common + 12, 4), 0);
	bench_destroy(&bench);
}

static void configuration_describes_the_disk(void **state)
{
	struct bench bench;

	(void)state;
	bench_create(&bench, false);
	driver_attach(&bench.driver, &bench.machine, 0, DEVFN, BAR_BASE, true);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device, 8), SECTORS);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device + 12, 4), 126);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device + 20, 4), 512);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device + 24, 1), 3);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device + 34, 2), 2);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device + 44, 4), 8);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device + 56, 1), 1);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device + 60, 4), 0);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.common + 0x12, 2), 2);
	mmio_write(&bench.machine, bench.driver.common + 0x16, 2, 1);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.common + 0x18, 2), 256);
	mmio_write(&bench.machine, bench.driver.common + 0x16, 2, 2); /* no such queue */
	assert_int_equal(mmio_read(&bench.machine, bench.driver.common + 0x18, 2), 0);
	bench_destroy(&bench);
}

static void requests_of_every_kind_are_served(void **state)
{
	static const uint8_t modes[][2] = {{true, true}, {true, false}, {false, true}, {false, false}};
	struct bench bench;
	uint8_t pattern[8192], seen[8192];
	struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} range = {8, 8, 0};
	uint32_t written;

	(void)state;
	for (unsigned mode = 0; mode < 4; mode++) {
		bench_create(&bench, false);
		bench_up(&bench, F_USUAL | (modes[mode][0] ? F_EVENT : 0), modes[mode][1]);
		for (unsigned i = 0; i < sizeof(pattern); i++)
			pattern[i] = (uint8_t)machine_random(&bench.machine);
		/* Over the seam between two slots, so every transfer has two segments. */
		put(&bench, MACHINE_SEAM - 4096, pattern, sizeof(pattern));
		assert_int_equal(request(&bench, 1, 8, MACHINE_SEAM - 4096, 8192, false, &written), 0);
		assert_int_equal(written, 1);
		assert_memory_equal(bench.disk.data + 4096, pattern, sizeof(pattern));
		put(&bench, MACHINE_SEAM - 4096, bench.disk.data + 65536, sizeof(pattern));
		assert_int_equal(request(&bench, 0, 8, MACHINE_SEAM - 4096, 8192, true, &written), 0);
		assert_int_equal(written, 8193);
		assert_int_equal(guest_memory_read(&bench.machine.memory, MACHINE_SEAM - 4096, seen, sizeof(seen)), STATUS_OK);
		assert_memory_equal(seen, pattern, sizeof(seen));
		assert_int_equal(request(&bench, 4, 0, DATA, 0, false, NULL), 0);
		assert_int_equal(bench.disk.count[BLOCK_FLUSH], 1);
		assert_int_equal(request(&bench, 8, 0, DATA, 20, true, &written), 0);
		assert_int_equal(written, 21);
		assert_memory_equal(guest_memory_at(&bench.machine.memory, DATA, 20), "holon-disk-0\0\0\0\0\0\0\0\0", 20);
		put(&bench, DATA, &range, sizeof(range));
		assert_int_equal(request(&bench, 11, 0, DATA, 16, false, NULL), 0);
		assert_int_equal(bench.disk.count[BLOCK_DISCARD], 1);
		range.flags = 1; /* unmap: only write zeroes knows it */
		put(&bench, DATA, &range, sizeof(range));
		assert_int_equal(request(&bench, 11, 0, DATA, 16, false, NULL), 2);
		assert_int_equal(request(&bench, 13, 0, DATA, 16, false, NULL), 0);
		assert_int_equal(bench.disk.count[BLOCK_WRITE_ZEROES], 1);
		range.flags = 0;
		assert_int_equal(bench.disk.data[4096], 0);
		assert_int_equal(request(&bench, 99, 0, DATA, 512, true, NULL), 2);
		if (modes[mode][1]) {
			assert_true(bench.machine.messages[DRIVER_MSIX_VECTOR(0)] > 0);
			assert_false(bench.machine.level[19]);
		} else {
			assert_true(bench.machine.level[19]);
			assert_int_equal(mmio_read(&bench.machine, bench.driver.isr, 1), 1);
			assert_false(bench.machine.level[19]);
		}
		bench_destroy(&bench);
	}
}

static void bad_requests_are_answered(void **state)
{
	struct bench bench;
	struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} range = {SECTORS - 1, 2, 0};

	(void)state;
	bench_create(&bench, false);
	bench_up(&bench, F_USUAL, true);
	assert_int_equal(request(&bench, 0, SECTORS, DATA, 512, true, NULL), 1);
	assert_int_equal(request(&bench, 0, SECTORS - 1, DATA, 1024, true, NULL), 1);
	assert_int_equal(request(&bench, 0, UINT64_MAX, DATA, 512, true, NULL), 1);
	assert_int_equal(request(&bench, 0, UINT64_MAX / 512, DATA, 1024, true, NULL), 1);
	assert_int_equal(request(&bench, 1, 0, DATA, 513, false, NULL), 1);
	assert_int_equal(request(&bench, 0, 0, DATA, 0, true, NULL), 0);
	put(&bench, DATA, &range, sizeof(range));
	assert_int_equal(request(&bench, 11, 0, DATA, 16, false, NULL), 1);
	assert_int_equal(request(&bench, 13, 0, DATA, 16, false, NULL), 1);
	assert_int_equal(request(&bench, 13, 0, DATA, 32, false, NULL), 1); /* two ranges */
	assert_int_equal(request(&bench, 11, 0, DATA, 0, false, NULL), 1);
	bench.disk.fail = STATUS_IO;
	assert_int_equal(request(&bench, 1, 0, DATA, 512, false, NULL), 1);
	assert_int_equal(request(&bench, 0, 0, DATA, 512, true, NULL), 1);
	bench.disk.fail = STATUS_UNSUPPORTED;
	assert_int_equal(request(&bench, 0, 0, DATA, 512, true, NULL), 2);
	assert_int_equal(driver_status(&bench.driver), 15);
	/* A header that is too short still has a status byte. */
	driver_descriptor(&bench.driver, 0, 0, HEADER, 15, DESC_NEXT, 2);
	driver_offer(&bench.driver, 0, 0);
	assert_int_equal(status_byte(&bench), 1);
	bench_destroy(&bench);
}

static enum status disk_grow(struct block *block, uint64_t size, struct reason *why)
{
	(void)block, (void)size, (void)why;
	return STATUS_OK;
}

static void growing_tells_the_driver(void **state)
{
	struct bench bench;
	unsigned before;
	uint64_t generation;

	(void)state;
	bench_create(&bench, false);
	bench.disk.block.extend = disk_grow;
	bench.disk.block.size /= 2;
	bench_up(&bench, F_USUAL, true);
	before = bench.machine.messages[DRIVER_CONFIG_VECTOR];
	generation = mmio_read(&bench.machine, bench.driver.common + 0x15, 1);
	assert_int_equal(request(&bench, 0, SECTORS / 2, DATA, 512, true, NULL), 1);
	assert_int_equal(block_resize(&bench.disk.block, DISK_SIZE, NULL), STATUS_OK);
	assert_int_equal(bench.machine.messages[DRIVER_CONFIG_VECTOR], before + 1);
	assert_int_not_equal(mmio_read(&bench.machine, bench.driver.common + 0x15, 1), generation);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device, 8), SECTORS);
	assert_int_equal(request(&bench, 0, SECTORS / 2, DATA, 512, true, NULL), 0);
	/* Before DRIVER_OK nobody is interrupted; by INTx the reason is in ISR. */
	driver_status_set(&bench.driver, 0);
	bench.disk.block.size /= 2;
	assert_int_equal(block_resize(&bench.disk.block, DISK_SIZE, NULL), STATUS_OK);
	assert_int_equal(bench.machine.messages[DRIVER_CONFIG_VECTOR], before + 1);
	bench_destroy(&bench);
	bench_create(&bench, false);
	bench.disk.block.extend = disk_grow;
	bench.disk.block.size /= 2;
	bench_up(&bench, F_USUAL, false);
	assert_int_equal(block_resize(&bench.disk.block, DISK_SIZE, NULL), STATUS_OK);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.isr, 1), 2);
	bench_destroy(&bench);
}

static void larger_blocks_are_shown_and_enforced(void **state)
{
	struct bench bench;

	(void)state;
	bench_create(&bench, false);
	bench.disk.block.block_size = 4096;
	bench_up(&bench, F_USUAL, true);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device + 20, 4), 4096);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device + 24, 1), 0);
	assert_int_equal(request(&bench, 0, 8, DATA, 4096, true, NULL), 0);
	assert_int_equal(request(&bench, 0, 1, DATA, 4096, true, NULL), 1);
	assert_int_equal(request(&bench, 0, 8, DATA, 512, true, NULL), 1);
	bench_destroy(&bench);
}

static void a_readonly_disk_refuses_writes(void **state)
{
	struct bench bench;

	(void)state;
	bench_create(&bench, true);
	driver_attach(&bench.driver, &bench.machine, 0, DEVFN, BAR_BASE, true);
	assert_int_equal(driver_features(&bench.driver) & (1u << 5 | F_DISCARD | F_ZEROES | F_WCE), 1u << 5);
	bench_up(&bench, F_VERSION_1 | F_FLUSH | 1u << 5, true);
	assert_int_equal(request(&bench, 1, 0, DATA, 512, false, NULL), 1);
	assert_int_equal(request(&bench, 13, 0, DATA, 16, false, NULL), 2);
	assert_int_equal(request(&bench, 0, 0, DATA, 512, true, NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_WRITE], 0);
	bench_destroy(&bench);
}

static void write_through_flushes_before_it_answers(void **state)
{
	struct bench bench;

	(void)state;
	bench_create(&bench, false);
	bench_up(&bench, F_USUAL, true);
	assert_int_equal(request(&bench, 1, 0, DATA, 512, false, NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 0);
	mmio_write(&bench.machine, bench.driver.device + 32, 1, 0);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device + 32, 1), 0);
	assert_int_equal(request(&bench, 1, 0, DATA, 512, false, NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 1);
	bench_up(&bench, F_VERSION_1, true); /* no FLUSH: write-through from the start */
	assert_int_equal(request(&bench, 1, 0, DATA, 512, false, NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 2);
	bench_destroy(&bench);
}

/* Header, data and status in one direct chain of many small pieces, and the same through an indirect table. */
static void any_layout_and_indirect_tables_work(void **state)
{
	struct bench bench;
	uint32_t id, length;

	(void)state;
	bench_create(&bench, false);
	bench_up(&bench, F_USUAL, true);
	memset(bench.disk.data, 0x5a, 512);
	header_put(&bench, HEADER, 0, 0);
	for (unsigned i = 0; i < 16; i++) /* the header byte by byte */
		driver_descriptor(&bench.driver, 0, i, HEADER + i, 1, DESC_NEXT, (uint16_t)(i + 1));
	driver_descriptor(&bench.driver, 0, 16, DATA, 100, DESC_NEXT | DESC_WRITE, 17);
	driver_descriptor(&bench.driver, 0, 17, DATA + 100, 0, DESC_NEXT | DESC_WRITE, 18);
	driver_descriptor(&bench.driver, 0, 18, DATA + 100, 413, DESC_WRITE, 0); /* the last byte is the status */
	driver_offer(&bench.driver, 0, 0);
	assert_true(driver_take(&bench.driver, 0, &id, &length));
	assert_int_equal(length, 513);
	assert_memory_equal(guest_memory_at(&bench.machine.memory, DATA, 512), bench.disk.data, 512);
	assert_int_equal(*guest_memory_at(&bench.machine.memory, DATA + 512, 1), 0);
	for (unsigned i = 0; i < 3; i++) {
		struct {
			uint64_t gpa;
			uint32_t length;
			uint16_t flags, next;
		} entry[3] = {
			{HEADER, 16, DESC_NEXT, 1}, {DATA + 8192, 512, DESC_NEXT | DESC_WRITE, 2}, {STATUS, 1, DESC_WRITE, 0}};

		put(&bench, 0x3000 + 16 * i, &entry[i], 16);
	}
	header_put(&bench, HEADER, 0, 0);
	driver_descriptor(&bench.driver, 0, 5, 0x3000, 48, DESC_INDIRECT, 0);
	driver_offer(&bench.driver, 0, 5);
	assert_true(driver_take(&bench.driver, 0, &id, &length));
	assert_int_equal(id, 5);
	assert_int_equal(status_byte(&bench), 0);
	assert_memory_equal(guest_memory_at(&bench.machine.memory, DATA + 8192, 512), bench.disk.data, 512);
	bench_destroy(&bench);
}

/* With EVENT_IDX an interrupt comes when used passes used_event, and only then; avail_event asks for the next notification. */
static void event_index_holds_interrupts_back(void **state)
{
	struct bench bench;
	struct driver_queue *queue = &bench.driver.queue[0];
	uint16_t event = 4;

	(void)state;
	bench_create(&bench, false);
	bench_up(&bench, F_USUAL | F_EVENT, true);
	put(&bench, queue->available + 4 + 2 * queue->size, &event, 2);
	request(&bench, 0, 0, DATA, 512, true, NULL); /* the first always interrupts: nothing was signalled before */
	assert_int_equal(bench.machine.messages[DRIVER_MSIX_VECTOR(0)], 1);
	for (unsigned i = 1; i < 4; i++)
		request(&bench, 0, 0, DATA, 512, true, NULL);
	assert_int_equal(bench.machine.messages[DRIVER_MSIX_VECTOR(0)], 1);
	request(&bench, 0, 0, DATA, 512, true, NULL);
	assert_int_equal(bench.machine.messages[DRIVER_MSIX_VECTOR(0)], 2);
	request(&bench, 0, 0, DATA, 512, true, NULL);
	assert_int_equal(bench.machine.messages[DRIVER_MSIX_VECTOR(0)], 2);
	assert_memory_equal(guest_memory_at(&bench.machine.memory, queue->used + 4 + 8 * queue->size, 2), "\6\0", 2);
	bench_destroy(&bench);
}

static void more_requests_than_the_pool_are_all_served(void **state)
{
	struct bench bench;
	struct driver *driver = &bench.driver;
	uint32_t id, length, answers = 0;

	(void)state;
	bench_create(&bench, false);
	bench.disk.deferred = true;
	driver_attach(driver, &bench.machine, 0, DEVFN, BAR_BASE, true);
	assert_true(driver_negotiate(driver, F_USUAL));
	driver_queue_enable(driver, 0, 256, RING(0));
	driver_queue_enable(driver, 1, 256, RING(1));
	driver_go(driver);
	header_put(&bench, HEADER, 0, 0);
	for (unsigned queue = 0; queue < 2; queue++) {
		/* One chain, offered 250 times: 500 requests on 128 places. */
		driver_descriptor(driver, queue, 0, HEADER, 16, DESC_NEXT, 1);
		driver_descriptor(driver, queue, 1, DATA, 512, DESC_NEXT | DESC_WRITE, 2);
		driver_descriptor(driver, queue, 2, STATUS, 1, DESC_WRITE, 0);
		for (unsigned i = 0; i < 250; i++)
			driver_offer(driver, queue, 0);
	}
	assert_int_equal(bench.disk.waiting, 128);
	while (bench.disk.first)
		disk_complete(&bench.disk);
	for (unsigned queue = 0; queue < 2; queue++)
		while (driver_take(driver, queue, &id, &length))
			answers++;
	assert_int_equal(answers, 500);
	bench_destroy(&bench);
}

static void a_reset_waits_for_requests_under_way(void **state)
{
	struct bench bench;
	uint8_t before[512];
	uint32_t id, length;

	(void)state;
	bench_create(&bench, false);
	bench_up(&bench, F_USUAL, true);
	bench.disk.deferred = true;
	request_offer(&bench, 0, 0, DATA, 512, true);
	request_offer(&bench, 0, 1, DATA, 512, true);
	driver_status_set(&bench.driver, 0);
	assert_int_not_equal(driver_status(&bench.driver), 0);
	driver_status_set(&bench.driver, 1); /* too early: ignored */
	request_offer(&bench, 0, 2, DATA, 512, true);
	assert_int_equal(bench.disk.waiting, 2); /* nothing new is taken */
	disk_complete(&bench.disk);
	assert_int_not_equal(driver_status(&bench.driver), 0);
	disk_complete(&bench.disk);
	assert_int_equal(driver_status(&bench.driver), 0);
	assert_false(driver_take(&bench.driver, 0, &id, &length)); /* and nothing was given back */
	memset(before, 0x77, sizeof(before));
	put(&bench, DATA, before, sizeof(before));
	bench.disk.deferred = false;
	bench_up(&bench, F_USUAL, true);
	assert_int_equal(request(&bench, 0, 0, DATA, 512, true, NULL), 0);
	/* The same through a reset of the machine, which waits itself. */
	bench.disk.deferred = true;
	request_offer(&bench, 0, 0, DATA, 512, true);
	virtio_blk_device(bench.blk)->reset(bench.blk);
	assert_int_equal(bench.disk.waiting, 0);
	bench.disk.deferred = false;
	bench_up(&bench, F_USUAL, true);
	assert_int_equal(request(&bench, 0, 0, DATA, 512, true, NULL), 0);
	bench_destroy(&bench);
}

/* Each of these must end in NEEDS_RESET with a configuration interrupt, and a reset must heal it. */
static void broken_rings_ask_for_a_reset(void **state)
{
	struct bench bench;
	struct driver *driver = &bench.driver;
	uint16_t index;

	(void)state;
	bench_create(&bench, false);
	for (unsigned what = 0; what < 13; what++) {
		unsigned before = bench.machine.messages[DRIVER_CONFIG_VECTOR];

		bench_up(&bench, F_USUAL, true);
		header_put(&bench, HEADER, 0, 0);
		driver_descriptor(driver, 0, 0, HEADER, 16, DESC_NEXT, 1);
		driver_descriptor(driver, 0, 1, DATA, 512, DESC_NEXT | DESC_WRITE, 2);
		driver_descriptor(driver, 0, 2, STATUS, 1, DESC_WRITE, 0);
		driver_descriptor(driver, 0, 3, 0x3000, 48, DESC_INDIRECT, 0);
		for (unsigned i = 0; i < 3; i++)
			put(&bench, 0x3000 + 16 * i,
			    guest_memory_at(&bench.machine.memory, driver->queue[0].descriptor + 16 * i, 16), 16);
		switch (what) {
		case 0: driver_descriptor(driver, 0, 1, MACHINE_RAM, 512, DESC_NEXT | DESC_WRITE, 2); break;       /* not RAM */
		case 1: driver_descriptor(driver, 0, 1, MACHINE_RAM - 256, 512, DESC_NEXT | DESC_WRITE, 2); break; /* half RAM */
		case 2: driver_descriptor(driver, 0, 1, MACHINE_ROM, 512, DESC_NEXT | DESC_WRITE, 2); break;       /* ROM */
		case 3: driver_descriptor(driver, 0, 1, UINT64_MAX - 10, 512, DESC_NEXT | DESC_WRITE, 2); break;
		case 4: driver_descriptor(driver, 0, 1, DATA, 512, DESC_NEXT | DESC_WRITE, 1); break;  /* loop */
		case 5: driver_descriptor(driver, 0, 1, DATA, 512, DESC_NEXT | DESC_WRITE, 64); break; /* next out of bounds */
		case 6: driver_descriptor(driver, 0, 2, STATUS, 1, 0, 0); break; /* readable behind writable */
		case 7: driver_descriptor(driver, 0, 0, 0x3000, 48, DESC_INDIRECT | DESC_NEXT, 1); break;
		case 8: driver_descriptor(driver, 0, 0, 0x3000, 47, DESC_INDIRECT, 0); break;
		case 9: driver_descriptor(driver, 0, 0, driver->queue[0].descriptor + 48, 16, DESC_INDIRECT, 0); break; /* nested */
		case 10: driver_descriptor(driver, 0, 0, HEADER, 16, 0, 0); break;                       /* nowhere for a status */
		case 11: driver_descriptor(driver, 0, 0, MACHINE_RAM - 16, 64, DESC_INDIRECT, 0); break; /* table half in RAM */
		default: /* more available than the queue holds */
			index = (uint16_t)(driver->queue[0].next_available + 66);
			put(&bench, driver->queue[0].available + 2, &index, 2);
			driver_notify(driver, 0);
			break;
		}
		if (what < 12)
			driver_offer(driver, 0, 0);
		assert_int_equal(driver_status(driver), 15 | 64);
		assert_int_equal(bench.machine.messages[DRIVER_CONFIG_VECTOR], before + 1);
		driver_offer(driver, 1, 0); /* the other queue stands still, too */
		assert_int_equal(bench.disk.count[BLOCK_READ], 0);
	}
	bench_up(&bench, F_USUAL, true);
	assert_int_equal(request(&bench, 0, 0, DATA, 512, true, NULL), 0);
	bench_destroy(&bench);
}

static void impossible_queues_are_not_taken(void **state)
{
	static const uint16_t size[] = {0, 3, 100, 257, 512, 32768, 65535};
	struct bench bench;
	struct driver *driver = &bench.driver;

	(void)state;
	bench_create(&bench, false);
	driver_attach(driver, &bench.machine, 0, DEVFN, BAR_BASE, true);
	driver_negotiate(driver, F_USUAL);
	for (unsigned i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
		mmio_write(&bench.machine, driver->common + 0x18, 2, size[i]);
		assert_int_equal(mmio_read(&bench.machine, driver->common + 0x18, 2), 256);
	}
	mmio_write(&bench.machine, driver->common + 0x1a, 2, 3); /* a vector that is not there */
	assert_int_equal(mmio_read(&bench.machine, driver->common + 0x1a, 2), 0xffff);
	mmio_write(&bench.machine, driver->common + 0x20, 8, 0x1001);
	mmio_write(&bench.machine, driver->common + 0x1c, 2, 1);
	assert_int_equal(mmio_read(&bench.machine, driver->common + 0x1c, 2), 0);
	assert_true(driver_status(driver) & 64);
	/* Rings out of RAM are found out when they are used. */
	driver_negotiate(driver, F_USUAL);
	mmio_write(&bench.machine, driver->common + 0x16, 2, 0);
	mmio_write(&bench.machine, driver->common + 0x20, 8, 0xdead0000);
	mmio_write(&bench.machine, driver->common + 0x28, 8, UINT64_MAX - 1);
	mmio_write(&bench.machine, driver->common + 0x1c, 2, 1);
	driver_go(driver);
	driver_notify(driver, 0);
	assert_true(driver_status(driver) & 64);
	driver_notify(driver, 1);                             /* not enabled */
	mmio_write(&bench.machine, driver->notify + 8, 2, 2); /* not there */
	mmio_write(&bench.machine, driver->notify + 0xffc, 4, 2);
	bench_destroy(&bench);
}

static void the_config_space_window_reaches_the_registers(void **state)
{
	struct bench bench;
	struct machine *machine = &bench.machine;
	unsigned place, found = 0;

	(void)state;
	bench_create(&bench, false);
	driver_attach(&bench.driver, machine, 0, DEVFN, BAR_BASE, true);
	for (place = config_read(machine, 0, DEVFN, PCI_CAPABILITY_POINTER, 1); place;
	     place = config_read(machine, 0, DEVFN, place + 1, 1))
		if (config_read(machine, 0, DEVFN, place, 1) == PCI_CAPABILITY_VENDOR &&
		    config_read(machine, 0, DEVFN, place + 3, 1) == 5)
			found = place;
	assert_int_not_equal(found, 0);
	config_write(machine, 0, DEVFN, found + 4, 1, 4);
	config_write(machine, 0, DEVFN, found + 8, 4, 0x14);
	config_write(machine, 0, DEVFN, found + 12, 4, 1);
	config_write(machine, 0, DEVFN, found + 16, 1, 3);
	assert_int_equal(driver_status(&bench.driver), 3);
	assert_int_equal(config_read(machine, 0, DEVFN, found + 16, 1), 3);
	for (unsigned i = 0; i < 2000; i++) { /* any bar, offset and length */
		config_write(machine, 0, DEVFN, found + 4, 1, (uint32_t)machine_random(machine) % 6);
		config_write(machine, 0, DEVFN, found + 8, 4, (uint32_t)machine_random(machine) >> machine_random(machine) % 32);
		config_write(machine, 0, DEVFN, found + 12, 4, (uint32_t)machine_random(machine) >> machine_random(machine) % 32);
		config_read(machine, 0, DEVFN, found + 16, 4);
		config_write(machine, 0, DEVFN, found + 16, 4, (uint32_t)machine_random(machine));
	}
	bench_destroy(&bench);
}

static void state_survives_saving_in_mid_request(void **state)
{
	struct bench bench;
	uint32_t id, length;

	(void)state;
	bench_create(&bench, false);
	bench_up(&bench, F_USUAL | F_EVENT, true);
	mmio_write(&bench.machine, bench.driver.device + 32, 1, 0);
	bench.disk.deferred = true;
	request_offer(&bench, 0, 0, DATA, 512, true);
	device_saves_and_loads(virtio_blk_device(bench.blk)); /* saving drains */
	bench.disk.deferred = false;
	assert_true(driver_take(&bench.driver, 0, &id, &length));
	assert_int_equal(driver_status(&bench.driver), 15);
	assert_int_equal(mmio_read(&bench.machine, bench.driver.device + 32, 1), 0);
	assert_int_equal(request(&bench, 0, 0, DATA, 512, true, NULL), 0);
	bench_destroy(&bench);
}

static void impossible_states_are_refused(void **state)
{
	struct bench bench;
	struct device *device;
	struct state_writer saved;
	unsigned refused = 0;

	(void)state;
	bench_create(&bench, false);
	bench_up(&bench, F_USUAL, true);
	device = virtio_blk_device(bench.blk);
	saved = device_saved(device);
	/* Damage that the checksum catches: every section with a flipped bit is refused, and the device goes on. */
	for (unsigned i = 0; i < 4000; i++) {
		struct state_reader reader = {saved.bytes, saved.length, 0};
		uint64_t bit = machine_random(&bench.machine) % (8 * saved.length);

		saved.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refused += state_load(&reader, device->state, device->instance, device->object, NULL) != STATUS_OK;
		saved.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(refused, 4000);
	assert_int_equal(request(&bench, 0, 0, DATA, 512, true, NULL), 0);
	free(saved.bytes);
	bench_destroy(&bench);
}

/* A random chain among the first 16 descriptors: half plausible, half anything. */
static void chain_scramble(struct bench *bench, unsigned queue)
{
	struct machine *machine = &bench->machine;
	static const uint64_t places[] = {HEADER, DATA,    STATUS, MACHINE_SEAM - 700, MACHINE_RAM - 100, MACHINE_ROM,
					  0x3000, RING(0), RING(1)};

	for (unsigned i = 0; i < 16; i++) {
		uint64_t gpa = machine_random(machine) % 16 ? places[machine_random(machine) % 9] : machine_random(machine);
		uint32_t length = machine_random(machine) % 8 ? (uint32_t)(machine_random(machine) % 5) * 256 + 1
							      : (uint32_t)machine_random(machine);
		uint16_t flags = machine_random(machine) % 16 ? (uint16_t)(machine_random(machine) & 3)
							      : (uint16_t)machine_random(machine) & 7;

		driver_descriptor(&bench->driver, queue, i, gpa, length % 6000, flags, (uint16_t)(machine_random(machine) % 17));
	}
	header_put(bench, HEADER, (uint32_t)(machine_random(machine) % 15), machine_random(machine) % (SECTORS + 10));
	driver_descriptor(&bench->driver, queue, 0, HEADER, 16, DESC_NEXT, 1);
	if (machine_random(machine) % 2)
		driver_descriptor(&bench->driver, queue, 2, STATUS, 1, DESC_WRITE, 0);
}

static void random_register_write(struct bench *bench)
{
	struct machine *machine = &bench->machine;
	unsigned size = 1u << machine_random(machine) % 4;
	uint64_t area = machine_random(machine) % 2 ? bench->driver.common + machine_random(machine) % 0x40
						    : bench->driver.common + machine_random(machine) % 0x4000;

	if (machine_random(machine) % 2)
		mmio_write(machine, area, size, machine_random(machine) >> machine_random(machine) % 64);
	else
		mmio_read(machine, area, size);
	mmio_write(machine, bench->driver.msix + machine_random(machine) % 0x40 * 4, 4, machine_random(machine));
}

/* 30,000 rounds of rubbish. After each: whatever the device took has an answer, or the device has asked for a reset. */
static void random_rings_and_registers_never_lose_a_request(void **state)
{
	struct bench bench;
	struct driver *driver = &bench.driver;
	struct machine *machine = &bench.machine;
	uint32_t id, length, answered = 0, broken = 0;

	(void)state;
	bench_create(&bench, false);
	bench_up(&bench, F_USUAL | F_EVENT, true);
	for (unsigned round = 0; round < 30000; round++) {
		unsigned queue = round & 1;

		bench.disk.deferred = machine_random(machine) & 1;
		chain_scramble(&bench, queue);
		driver_offer(driver, queue, (uint16_t)(machine_random(machine) % 8 ? 0 : machine_random(machine) % 70));
		if (machine_random(machine) % 8 == 0)
			driver_status_set(driver, (uint8_t)(machine_random(machine) % 3 ? 0 : machine_random(machine)));
		if (machine_random(machine) % 64 == 0)
			random_register_write(&bench);
		while (bench.disk.first)
			disk_complete(&bench.disk);
		broken += (driver_status(driver) & 64) != 0;
		if (driver_status(driver) == 15) {
			while (driver_take(driver, queue, &id, &length))
				answered++;
			if (driver->queue[queue].seen_used == driver->queue[queue].next_available)
				continue;
		}
		driver_status_set(driver, 0);
		assert_int_equal(driver_status(driver), 0);
		bench_up(&bench, F_USUAL | (round & 4 ? F_EVENT : 0), true);
	}
	assert_true(answered > 1000);
	assert_true(broken > 1000);
	bench_up(&bench, F_USUAL, true);
	assert_int_equal(request(&bench, 0, 0, DATA, 512, true, NULL), 0);
	bench_destroy(&bench);
}

/* Identity requests and reads behind the disk's end are answered at once: neither they nor more of them hold up the thread that notified. */
static void floods(uint32_t type, uint64_t sector, bool device_writes)
{
	struct {
		uint32_t type, unused;
		uint64_t sector;
	} header = {type, 0, sector};
	static struct bench bench;

	bench_create(&bench, false);
	bench_up(&bench, F_USUAL, true);
	assert_int_equal(guest_memory_write(&bench.machine.memory, HEADER, &header, sizeof(header)), STATUS_OK);
	driver_descriptor(&bench.driver, 0, 0, HEADER, 16, DESC_NEXT, 1);
	driver_descriptor(&bench.driver, 0, 1, DATA, 512, DESC_NEXT | (device_writes ? DESC_WRITE : 0), 2);
	driver_descriptor(&bench.driver, 0, 2, STATUS, 1, DESC_WRITE, 0);
	driver_flood_ends(&bench.driver, 0, 20000);
	bench_destroy(&bench);
}

static void a_flood_of_requests_ends(void **state)
{
	(void)state;
	floods(8, 0, true);                 /* GET_ID */
	floods(0, UINT64_C(1) << 40, true); /* IN, out of range */
	floods(77, 0, true);                /* what there is not */
	floods(0, 0, true);                 /* a read that the disk answers at once */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flood_of_requests_ends),
		cmocka_unit_test(features_are_negotiated_and_refused),
		cmocka_unit_test(configuration_describes_the_disk),
		cmocka_unit_test(requests_of_every_kind_are_served),
		cmocka_unit_test(bad_requests_are_answered),
		cmocka_unit_test(growing_tells_the_driver),
		cmocka_unit_test(larger_blocks_are_shown_and_enforced),
		cmocka_unit_test(a_readonly_disk_refuses_writes),
		cmocka_unit_test(write_through_flushes_before_it_answers),
		cmocka_unit_test(any_layout_and_indirect_tables_work),
		cmocka_unit_test(event_index_holds_interrupts_back),
		cmocka_unit_test(more_requests_than_the_pool_are_all_served),
		cmocka_unit_test(a_reset_waits_for_requests_under_way),
		cmocka_unit_test(broken_rings_ask_for_a_reset),
		cmocka_unit_test(impossible_queues_are_not_taken),
		cmocka_unit_test(the_config_space_window_reaches_the_registers),
		cmocka_unit_test(state_survives_saving_in_mid_request),
		cmocka_unit_test(impossible_states_are_refused),
		cmocka_unit_test(random_rings_and_registers_never_lose_a_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
