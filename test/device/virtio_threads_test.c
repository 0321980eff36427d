/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_threads_test.c - the disk with a raw file behind it, several queues driven at once, resets among completions.
 * Runs under ThreadSanitizer too.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"

#include "backend/block/raw.h"
#include "device/virtio/virtio_blk.h"

#define DEVFN PCI_DEVFN(3, 0)
#define DISK_SIZE (UINT64_C(4) << 20)
#define ROUNDS 150
#define DEPTH 8
#define F_FLUSH (UINT64_C(1) << 9)
#define F_VERSION_1 (UINT64_C(1) << 32)

struct bench {
	struct machine machine;
	struct block *block;
	struct virtio_blk *blk;
	struct driver driver;
	char path[32];
};

static void bench_create(struct bench *bench)
{
	struct reason why = {""};
	int fd;

	strcpy(bench->path, "/tmp/holon-blk-XXXXXX");
	fd = mkstemp(bench->path);
	assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
	close(fd);
	machine_create(&bench->machine);
	if (block_raw_open(&bench->block, bench->path, false, &why) != STATUS_OK)
		fail_msg("%s", why.text);
	assert_int_equal(virtio_blk_create(&bench->blk, &bench->machine.host->root, DEVFN, &bench->machine.memory,
					   &bench->machine.irq, &bench->machine.clock, bench->block, "serial", 4),
			 STATUS_OK);
}

static void bench_up(struct bench *bench)
{
	driver_attach(&bench->driver, &bench->machine, 0, DEVFN, 0xc0000000, true);
	assert_true(driver_negotiate(&bench->driver, F_FLUSH | F_VERSION_1));
	for (unsigned queue = 0; queue < 4; queue++)
		driver_queue_enable(&bench->driver, queue, 64, 0x10000 + 0x4000 * queue);
	driver_go(&bench->driver);
}

static void bench_destroy(struct bench *bench)
{
	virtio_blk_destroy(bench->blk);
	bench->block->close(bench->block);
	machine_destroy(&bench->machine);
	unlink(bench->path);
}

static uint64_t place(unsigned queue, unsigned slot)
{
	return 0x40000 + 0x8000 * (uint64_t)queue + 0x1000 * slot; /* header, status and 2 KiB of data in a page */
}

/* Slot's chain, on queue: `type` on 4 sectors. */
static void slot_offer(struct driver *driver, unsigned queue, unsigned slot, uint32_t type, uint64_t sector)
{
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header = {type, 0, sector};
	uint8_t none = 0xee;
	uint64_t gpa = place(queue, slot);
	uint16_t head = (uint16_t)(3 * slot);

	assert_int_equal(guest_memory_write(&driver->machine->memory, gpa, &header, sizeof(header)), STATUS_OK);
	assert_int_equal(guest_memory_write(&driver->machine->memory, gpa + 64, &none, 1), STATUS_OK);
	driver_descriptor(driver, queue, head, gpa, 16, DESC_NEXT, (uint16_t)(head + 1));
	driver_descriptor(driver, queue, head + 1u, gpa + 2048, 2048, DESC_NEXT | (type ? 0 : DESC_WRITE), (uint16_t)(head + 2));
	driver_descriptor(driver, queue, head + 2u, gpa + 64, 1, DESC_WRITE, 0);
	driver_offer(driver, queue, head);
}

static bool answers_wait(struct driver *driver, unsigned queue, unsigned count)
{
	uint32_t id, length;

	while (count) {
		if (!driver_take(driver, queue, &id, &length)) {
			sched_yield();
			continue;
		}
		if (*guest_memory_at(&driver->machine->memory, place(queue, id / 3) + 64, 1) != 0)
			return false;
		count--;
	}
	return true;
}

struct worker {
	pthread_t thread;
	struct driver driver; /* a copy: this worker's queue only */
	unsigned queue;
	bool good;
};

static void *worker_main(void *argument)
{
	struct worker *worker = argument;
	struct driver *driver = &worker->driver;
	struct guest_memory *memory = &driver->machine->memory;
	uint8_t bytes[DEPTH][2048], seen[2048];

	worker->good = true;
	for (unsigned round = 0; round < ROUNDS && worker->good; round++) {
		for (unsigned slot = 0; slot < DEPTH; slot++) {
			memset(bytes[slot], (int)(round * DEPTH + slot + worker->queue), 2048);
			bytes[slot][round % 2048] = (uint8_t)slot;
			worker->good =
				worker->good && !guest_memory_write(memory, place(worker->queue, slot) + 2048, bytes[slot], 2048);
			slot_offer(driver, worker->queue, slot, 1, (worker->queue * DEPTH + slot) * 4);
		}
		worker->good = worker->good && answers_wait(driver, worker->queue, DEPTH);
		for (unsigned slot = 0; slot < DEPTH; slot++)
			slot_offer(driver, worker->queue, slot, 0, (worker->queue * DEPTH + slot) * 4);
		worker->good = worker->good && answers_wait(driver, worker->queue, DEPTH);
		for (unsigned slot = 0; slot < DEPTH; slot++) {
			worker->good = worker->good && !guest_memory_read(memory, place(worker->queue, slot) + 2048, seen, 2048) &&
				       memcmp(seen, bytes[slot], 2048) == 0;
		}
	}
	return NULL;
}

static void four_queues_are_served_at_once(void **state)
{
	struct worker worker[4];
	struct bench bench;

	(void)state;
	bench_create(&bench);
	bench_up(&bench);
	for (unsigned i = 0; i < 4; i++) {
		worker[i] = (struct worker){.driver = bench.driver, .queue = i};
		assert_int_equal(pthread_create(&worker[i].thread, NULL, worker_main, &worker[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(worker[i].thread, NULL);
		assert_true(worker[i].good);
		assert_true(bench.machine.messages[DRIVER_MSIX_VECTOR(i)] > 0);
	}
	bench_destroy(&bench);
}

/* When status reads 0 nothing writes to the driver's memory any more: what is put there then stays. */
static void resets_among_completions_end_all_writes(void **state)
{
	struct bench bench;
	uint8_t mark[2048], seen[2048];

	(void)state;
	bench_create(&bench);
	memset(mark, 0xa5, sizeof(mark));
	for (unsigned round = 0; round < 200; round++) {
		bench_up(&bench);
		for (unsigned slot = 0; slot < DEPTH; slot++)
			slot_offer(&bench.driver, round % 4, slot, 0, slot * 4);
		driver_status_set(&bench.driver, 0);
		while (driver_status(&bench.driver) != 0)
			sched_yield();
		for (unsigned slot = 0; slot < DEPTH; slot++)
			assert_int_equal(guest_memory_write(&bench.machine.memory, place(round % 4, slot) + 2048, mark, 2048),
					 STATUS_OK);
		bench.block->drain(bench.block);
		for (unsigned slot = 0; slot < DEPTH; slot++) {
			assert_int_equal(guest_memory_read(&bench.machine.memory, place(round % 4, slot) + 2048, seen, 2048),
					 STATUS_OK);
			assert_memory_equal(seen, mark, 2048);
		}
	}
	bench_destroy(&bench);
}

static int with_threads(void **state)
{
	(void)state;
	return setenv("HOLON_NO_IO_URING", "1", 1);
}

static int with_io_uring(void **state)
{
	(void)state;
	return unsetenv("HOLON_NO_IO_URING");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(four_queues_are_served_at_once, with_io_uring),
		cmocka_unit_test_setup(four_queues_are_served_at_once, with_threads),
		cmocka_unit_test_setup(resets_among_completions_end_all_writes, with_io_uring),
		cmocka_unit_test_setup(resets_among_completions_end_all_writes, with_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
