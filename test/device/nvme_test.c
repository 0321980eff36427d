/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme_test.c - the NVMe controller by a driver that behaves, and by one that makes mistakes. hostile_test.c has one that means harm.
 */
#include <string.h>

#include "nvme_driver.h"

#define BLOCKS ((1u << 20) / 512)
#define DNR 0x4000

static struct nvme_driver bench;

static void bench_up(bool msix, bool readonly)
{
	nvme_driver_create(&bench, msix, readonly);
	nvme_driver_enable(&bench);
	nvme_driver_queues(&bench);
}

static void put(uint64_t gpa, const void *bytes, size_t length)
{
	assert_int_equal(guest_memory_write(&bench.machine.memory, gpa, bytes, length), STATUS_OK);
}

static const uint8_t *at(uint64_t gpa)
{
	return guest_memory_at(&bench.machine.memory, gpa, 1);
}

static struct nvme_sqe transfer(uint8_t opcode, uint64_t first, unsigned blocks, uint64_t prp1, uint64_t prp2)
{
	return (struct nvme_sqe){.opcode = opcode,
				 .namespace = 1,
				 .prp1 = prp1,
				 .prp2 = prp2,
				 .dword = {(uint32_t)first, (uint32_t)(first >> 32), blocks - 1}};
}

static uint16_t admin(uint8_t opcode, uint32_t dword10, uint32_t dword11, uint32_t *result)
{
	return nvme_command(&bench, 0, (struct nvme_sqe){.opcode = opcode, .prp1 = NVME_DATA, .dword = {dword10, dword11}}, result);
}

static void registers_say_what_the_controller_can(void **state)
{
	(void)state;
	nvme_driver_create(&bench, true, false);
	assert_int_equal(mmio_read(&bench.machine, bench.bar, 8) & 0xffff, 1023);
	assert_int_equal(nvme_register(&bench, 4) & 0xfff, 0x20); /* NVM commands, doorbells side by side, 4 KiB pages */
	assert_int_equal(nvme_register(&bench, 8), 0x10400);
	assert_int_equal(mmio_read(&bench.machine, bench.bar + 9, 1), 4);
	assert_int_equal(nvme_register(&bench, 0x1c), 0);
	nvme_register_set(&bench, 0x14, 0x00460081); /* 8 KiB pages */
	assert_int_equal(nvme_register(&bench, 0x1c), 2);
	nvme_driver_enable(&bench);
	nvme_driver_destroy(&bench);
}

static void identify_describes_controller_and_namespace(void **state)
{
	(void)state;
	bench_up(true, false);
	assert_int_equal(admin(6, 1, 0, NULL), 0);
	assert_memory_equal(at(NVME_DATA + 4), "serial-1            Holon NVMe disk ", 36);
	assert_int_equal(at(NVME_DATA)[77], 7);
	assert_int_equal(at(NVME_DATA)[512], 0x66);
	assert_int_equal(at(NVME_DATA)[520], 0x0c);
	assert_memory_equal(at(NVME_DATA + 768), "nqn.2014-08.org.nvmexpress:uuid:", 32);
	assert_int_equal(strlen((const char *)at(NVME_DATA + 768)), 32 + 36);
	assert_int_equal(admin(6, 0, 0, NULL), DNR | 0xb); /* namespace 0 */
	assert_int_equal(nvme_command(&bench, 0, (struct nvme_sqe){.opcode = 6, .namespace = 1, .prp1 = NVME_DATA}, NULL), 0);
	assert_int_equal(*(const uint64_t *)(const void *)at(NVME_DATA), BLOCKS);
	assert_int_equal(at(NVME_DATA)[130], 9);
	assert_int_equal(at(NVME_DATA)[33], 8 | 1); /* deallocated by write zeroes too, and reads as zeroes */
	assert_int_equal(admin(6, 2, 0, NULL), 0);
	assert_int_equal(at(NVME_DATA)[0], 1);
	assert_int_equal(
		nvme_command(&bench, 0, (struct nvme_sqe){.opcode = 6, .namespace = 1, .prp1 = NVME_DATA, .dword = {3}}, NULL), 0);
	assert_int_equal(at(NVME_DATA)[1], 8);
	assert_int_equal(admin(6, 0x55, 0, NULL), DNR | 2);
	nvme_driver_destroy(&bench);
}

/* Every way to say where data is: one page, two, a list, a list that goes on in another; each with and without an offset, over the seam. */
static void data_goes_where_the_prps_say(void **state)
{
	static uint8_t pattern[512 << 10], seen[512 << 10];
	struct nvme_cqe cqe;

	(void)state;
	bench_up(true, false);
	for (unsigned i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)machine_random(&bench.machine);
	for (unsigned offset = 0; offset < 4096; offset += 1028) {
		static const unsigned blocks[] = {1, 3, 8, 9, 16, 17, 100, 900};

		for (unsigned i = 0; i < 8; i++) {
			unsigned length = blocks[i] * 512, pages = (offset + length + 4095) / 4096,
				 list_at = offset ? 4096 - 64 : 0;
			uint64_t entry[512], prp2, last;

			/* Pages in the opposite order, so that nothing works by being adjacent. */
			for (unsigned page = 0; page < pages; page++) {
				uint64_t gpa = 0xf0000 - 4096u * (uint64_t)page;
				unsigned from = page ? 4096 * page - offset : 0, here = page ? 4096 : 4096 - offset;

				if (here > length - from)
					here = length - from;
				put(gpa + (page ? 0 : offset), pattern + from, here);
				if (page)
					entry[page - 1] = gpa;
			}
			/* The list: 8 entries at the end of a page if it begins inside one, the last of which leads on. */
			prp2 = pages == 2 ? entry[0] : NVME_LIST + list_at;
			if (pages > 2 && list_at && pages - 1 > 8) {
				last = NVME_LIST + 0x1000;
				put(NVME_LIST + list_at, entry, 56);
				put(NVME_LIST + list_at + 56, &last, 8);
				put(last, entry + 7, 8 * (pages - 1 - 7));
			} else if (pages > 2) {
				put(NVME_LIST + list_at, entry, 8 * (pages - 1));
			}
			assert_int_equal(nvme_command(&bench, 1, transfer(1, 64, blocks[i], 0xf0000 + offset, prp2), NULL), 0);
			assert_memory_equal(bench.disk.data + 64 * 512, pattern, length);
			memset(bench.disk.data + 64 * 512, 0xa5 ^ (int)i, length);
			assert_int_equal(nvme_command(&bench, 2, transfer(2, 64, blocks[i], 0xf0000 + offset, prp2), NULL), 0);
			for (unsigned page = 0; page < pages; page++) {
				unsigned from = page ? 4096 * page - offset : 0, here = page ? 4096 : 4096 - offset;

				if (here > length - from)
					here = length - from;
				memcpy(seen + from, at(0xf0000 - 4096u * (uint64_t)page + (page ? 0 : offset)), here);
			}
			assert_memory_equal(seen, bench.disk.data + 64 * 512, length);
		}
	}
	/* Two adjacent pages over the seam between two slots. */
	put(MACHINE_SEAM - 4096, pattern, 8192);
	assert_int_equal(nvme_command(&bench, 1, transfer(1, 0, 16, MACHINE_SEAM - 4096, MACHINE_SEAM), NULL), 0);
	assert_memory_equal(bench.disk.data, pattern, 8192);
	assert_false(nvme_take(&bench, 1, &cqe));
	nvme_driver_destroy(&bench);
}

static void bad_addresses_are_answered(void **state)
{
	uint64_t entry[] = {NVME_DATA, NVME_DATA + 1, MACHINE_RAM, NVME_LIST};

	(void)state;
	bench_up(true, false);
	put(NVME_LIST, entry, sizeof(entry));
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 1, MACHINE_RAM, 0), NULL), DNR | 4);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 1, MACHINE_ROM, 0), NULL), DNR | 4); /* cannot be written... */
	assert_int_equal(nvme_command(&bench, 1, transfer(1, 0, 1, MACHINE_ROM, 0), NULL), 0);       /* ...but read */
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 1, UINT64_MAX - 4095, 0), NULL), DNR | 4);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 1, NVME_DATA + 2, 0), NULL), DNR | 0x13);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 16, NVME_DATA, NVME_DATA + 8), NULL), DNR | 0x13);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 24, NVME_DATA, NVME_LIST + 4), NULL), DNR | 0x13);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 24, NVME_DATA, NVME_LIST), NULL), DNR | 0x13);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 24, NVME_DATA, NVME_LIST + 16), NULL), DNR | 4);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 24, NVME_DATA, MACHINE_RAM), NULL), DNR | 4);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 1025, NVME_DATA, NVME_LIST), NULL), DNR | 2); /* over MDTS */
	/* A list that leads to itself: each further list must begin a page, so the walk ends with the transfer. */
	entry[0] = NVME_LIST;
	put(NVME_LIST + 4088, entry, 8);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 1024, NVME_DATA, NVME_LIST + 4088), NULL), DNR | 0x13);
	entry[0] = NVME_LIST + 4088;
	put(NVME_LIST + 4088, entry, 8);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 1024, NVME_DATA, NVME_LIST + 4088), NULL), DNR | 0x13);
	assert_int_equal(bench.disk.count[BLOCK_READ], 0);
	nvme_driver_destroy(&bench);
}

static void ranges_and_namespaces_are_checked(void **state)
{
	(void)state;
	bench_up(true, false);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, BLOCKS - 1, 1, NVME_DATA, 0), NULL), 0);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, BLOCKS - 1, 2, NVME_DATA, 0), NULL), DNR | 0x80);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, UINT64_MAX, 1, NVME_DATA, 0), NULL), DNR | 0x80);
	assert_int_equal(nvme_command(&bench, 1, (struct nvme_sqe){.opcode = 2, .namespace = 2}, NULL), DNR | 0xb);
	assert_int_equal(nvme_command(&bench, 1, (struct nvme_sqe){.opcode = 0, .namespace = UINT32_MAX}, NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 1);
	assert_int_equal(nvme_command(&bench, 1, (struct nvme_sqe){.opcode = 0x7f, .namespace = 1}, NULL), DNR | 1);
	assert_int_equal(nvme_command(&bench, 1, (struct nvme_sqe){.opcode = 2, .flags = 1, .namespace = 1}, NULL), DNR | 2);
	assert_int_equal(nvme_command(&bench, 1, (struct nvme_sqe){.opcode = 2, .flags = 0x40, .namespace = 1}, NULL), DNR | 2);
	nvme_driver_destroy(&bench);
	bench_up(true, true);
	assert_int_equal(nvme_command(&bench, 1, transfer(1, 0, 1, NVME_DATA, 0), NULL), DNR | 0x20);
	assert_int_equal(nvme_command(&bench, 1, transfer(8, 0, 1, 0, 0), NULL), DNR | 0x20);
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 1, NVME_DATA, 0), NULL), 0);
	nvme_driver_destroy(&bench);
}

static void deallocation_and_zeroes_reach_the_disk(void **state)
{
	struct {
		uint32_t attributes, blocks;
		uint64_t first;
	} range[3] = {{0, 8, 8}, {0, 0, 5}, {0, 16, 64}};
	struct nvme_sqe sqe = {.opcode = 9, .namespace = 1, .prp1 = NVME_DATA, .dword = {2, 4}};

	(void)state;
	bench_up(true, false);
	memset(bench.disk.data, 0xff, 1 << 20);
	put(NVME_DATA, range, sizeof(range));
	assert_int_equal(nvme_command(&bench, 1, sqe, NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_DISCARD], 2);
	assert_int_equal(bench.disk.data[8 * 512], 0);
	assert_int_equal(bench.disk.data[80 * 512 - 1], 0);
	assert_int_equal(bench.disk.data[80 * 512], 0xff);
	sqe.dword[1] = 1; /* no deallocation: a hint */
	assert_int_equal(nvme_command(&bench, 1, sqe, NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_DISCARD], 2);
	sqe.dword[1] = 4;
	range[2].first = BLOCKS;
	put(NVME_DATA, range, sizeof(range));
	assert_int_equal(nvme_command(&bench, 1, sqe, NULL), DNR | 0x80);
	assert_int_equal(bench.disk.count[BLOCK_DISCARD], 2); /* all or nothing */
	assert_int_equal(nvme_command(&bench, 1, transfer(8, 100, 50, 0, 0), NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_WRITE_ZEROES], 1);
	assert_int_equal(bench.disk.data[149 * 512], 0);
	assert_int_equal(bench.disk.data[150 * 512], 0xff);
	nvme_driver_destroy(&bench);
}

static void writes_are_stable_where_asked(void **state)
{
	struct nvme_sqe write = transfer(1, 0, 1, NVME_DATA, 0);

	(void)state;
	bench_up(true, false);
	assert_int_equal(nvme_command(&bench, 1, write, NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 0);
	write.dword[2] |= 1u << 30; /* FUA */
	assert_int_equal(nvme_command(&bench, 1, write, NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 1);
	assert_int_equal(admin(9, 6, 0, NULL), 0); /* the cache off */
	write.dword[2] = 0;
	assert_int_equal(nvme_command(&bench, 1, write, NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 2);
	/* A shutdown flushes before it is complete. */
	bench.disk.deferred = true;
	nvme_register_set(&bench, 0x14, 0x00464001);
	assert_int_equal(nvme_register(&bench, 0x1c), 1 | 4);
	disk_complete(&bench.disk);
	assert_int_equal(nvme_register(&bench, 0x1c), 1 | 8);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 3);
	nvme_driver_destroy(&bench);
}

static void host_errors_become_media_errors(void **state)
{
	(void)state;
	bench_up(true, false);
	bench.disk.fail = STATUS_IO;
	assert_int_equal(nvme_command(&bench, 1, transfer(2, 0, 1, NVME_DATA, 0), NULL), 0x281);
	assert_int_equal(nvme_command(&bench, 1, transfer(1, 0, 1, NVME_DATA, 0), NULL), 0x280);
	bench.disk.fail = STATUS_NO_SPACE;
	assert_int_equal(nvme_command(&bench, 1, transfer(1, 0, 1, NVME_DATA, 0), NULL), DNR | 0x81);
	bench.disk.fail = STATUS_OK;
	assert_int_equal(
		nvme_command(&bench, 0,
			     (struct nvme_sqe){.opcode = 2, .namespace = UINT32_MAX, .prp1 = NVME_DATA, .dword = {127 << 16 | 2}},
			     NULL),
		0);
	assert_int_equal(at(NVME_DATA + 160)[0], 3); /* SMART: media errors */
	assert_int_equal(at(NVME_DATA + 64)[0], 1);
	assert_int_equal(at(NVME_DATA + 80)[0], 2);
	nvme_driver_destroy(&bench);
}

static void queues_are_made_and_deleted(void **state)
{
	struct nvme_cqe cqe;
	uint16_t read, delete;

	(void)state;
	bench_up(true, false);
	assert_int_equal(admin(5, 15 << 16 | 1, 3, NULL), DNR | 0x101); /* there already */
	assert_int_equal(admin(5, 15 << 16 | 9, 3, NULL), DNR | 0x101); /* no such number */
	assert_int_equal(admin(5, 15 << 16 | 0, 3, NULL), DNR | 0x101);
	assert_int_equal(admin(5, 0 << 16 | 3, 3, NULL), DNR | 0x102); /* one entry */
	assert_int_equal(admin(5, 1024 << 16 | 3, 3, NULL), DNR | 0x102);
	assert_int_equal(admin(5, 15 << 16 | 3, 2, NULL), DNR | 2); /* not contiguous */
	assert_int_equal(admin(5, 15 << 16 | 3, 9 << 16 | 3, NULL), DNR | 0x108);
	assert_int_equal(admin(1, 15 << 16 | 3, 5 << 16 | 1, NULL), DNR | 0x100);
	assert_int_equal(admin(4, 1, 0, NULL), DNR | 0x10c); /* a queue answers there */
	assert_int_equal(admin(0, 5, 0, NULL), DNR | 0x101);
	/* A deletion waits for what is under way, and answers after it. */
	bench.disk.deferred = true;
	read = nvme_offer(&bench, 1, transfer(2, 0, 1, NVME_DATA, 0));
	delete = nvme_offer(&bench, 0, (struct nvme_sqe){.dword = {1}});
	assert_false(nvme_take(&bench, 0, &cqe));
	assert_int_equal(admin(0, 1, 0, NULL), DNR | 0x101); /* once is enough */
	disk_complete(&bench.disk);
	assert_true(nvme_take(&bench, 1, &cqe));
	assert_int_equal(cqe.id, read);
	assert_true(nvme_take(&bench, 0, &cqe));
	assert_int_equal(cqe.id, delete);
	assert_int_equal(admin(4, 1, 0, NULL), 0);
	nvme_driver_destroy(&bench);
}

static void commands_wait_for_places_in_the_completion_queue(void **state)
{
	struct nvme_cqe cqe;
	unsigned seen = 0;

	(void)state;
	bench_up(true, false);
	bench.disk.deferred = true;
	for (unsigned i = 0; i < NVME_ENTRIES - 1; i++)
		nvme_offer(&bench, 1, transfer(2, i, 1, NVME_DATA, 0));
	while (bench.disk.first)
		disk_complete(&bench.disk);
	for (unsigned i = 0; i < NVME_ENTRIES - 1; i++) /* none of which has a place */
		nvme_offer(&bench, 1, transfer(2, i, 1, NVME_DATA, 0));
	assert_int_equal(bench.disk.waiting, 0);
	while (nvme_take(&bench, 1, &cqe)) {
		seen++;
		while (bench.disk.first)
			disk_complete(&bench.disk);
	}
	assert_int_equal(seen, 2 * (NVME_ENTRIES - 1));
	nvme_driver_destroy(&bench);
}

static void events_are_told_once_until_the_log_is_read(void **state)
{
	struct nvme_sqe log = {.opcode = 2, .namespace = UINT32_MAX, .prp1 = NVME_DATA, .dword = {15 << 16 | 1}};
	struct nvme_cqe cqe;
	uint16_t id, other;

	(void)state;
	bench_up(true, false);
	id = nvme_offer(&bench, 0, (struct nvme_sqe){.opcode = 0xc});
	assert_false(nvme_take(&bench, 0, &cqe));
	nvme_register_set(&bench, 0x1000 + 8 * 7, 1); /* the doorbell of a queue that is not there */
	assert_true(nvme_take(&bench, 0, &cqe));
	assert_int_equal(cqe.id, id);
	assert_int_equal(cqe.result, 0x010000);
	id = nvme_offer(&bench, 0, (struct nvme_sqe){.opcode = 0xc});
	nvme_register_set(&bench, 0x1000 + 8, NVME_ENTRIES); /* past the queue's end: waits for the log to be read */
	assert_false(nvme_take(&bench, 0, &cqe));
	other = nvme_offer(&bench, 0, log);
	assert_true(nvme_take(&bench, 0, &cqe));
	assert_int_equal(cqe.id, other);
	assert_true(nvme_take(&bench, 0, &cqe));
	assert_int_equal(cqe.id, id);
	assert_int_equal(cqe.result, 0x010100);
	/* Namespace changes only where asked for; the limit. */
	assert_int_equal(admin(9, 0xb, 0x100, NULL), 0);
	nvme_driver_enable(&bench);
	for (unsigned i = 0; i < 4; i++)
		nvme_offer(&bench, 0, (struct nvme_sqe){.opcode = 0xc});
	assert_int_equal(admin(0xc, 0, 0, NULL), DNR | 0x105);
	assert_int_equal(admin(9, 0xb, 0x100, NULL), 0);
	bench.disk.block.resized(bench.disk.block.device);
	assert_true(nvme_take(&bench, 0, &cqe));
	assert_int_equal(cqe.result, 0x040002);
	log.dword[0] = 1023 << 16 | 4;
	assert_int_equal(nvme_command(&bench, 0, log, NULL), 0);
	assert_int_equal(at(NVME_DATA)[0], 1);
	assert_int_equal(nvme_command(&bench, 0, log, NULL), 0);
	assert_int_equal(at(NVME_DATA)[0], 0);
	log.dword[0] = 1023 << 16 | 0x77;
	assert_int_equal(nvme_command(&bench, 0, log, NULL), DNR | 0x109);
	nvme_driver_destroy(&bench);
}

static void an_event_request_can_be_aborted(void **state)
{
	struct nvme_cqe cqe;
	uint16_t id, abort;

	(void)state;
	bench_up(true, false);
	id = nvme_offer(&bench, 0, (struct nvme_sqe){.opcode = 0xc});
	abort = nvme_offer(&bench, 0, (struct nvme_sqe){.opcode = 8, .dword = {(uint32_t)id << 16}});
	assert_true(nvme_take(&bench, 0, &cqe));
	assert_int_equal(cqe.id, id);
	assert_int_equal(cqe.status >> 1, 7);
	assert_true(nvme_take(&bench, 0, &cqe));
	assert_int_equal(cqe.id, abort);
	assert_int_equal(cqe.result, 0);
	abort = nvme_offer(&bench, 0, (struct nvme_sqe){.opcode = 8, .dword = {1}});
	assert_true(nvme_take(&bench, 0, &cqe));
	assert_int_equal(cqe.result, 1); /* there is none */
	nvme_driver_destroy(&bench);
}

static void features_are_kept(void **state)
{
	uint32_t result;

	(void)state;
	bench_up(true, false);
	assert_int_equal(admin(9, 7, 63 | 3 << 16, &result), 0);
	assert_int_equal(result, 7 | 3 << 16);
	assert_int_equal(admin(9, 7, 0xffff, NULL), DNR | 2);
	assert_int_equal(admin(10, 6, 0, &result), 0);
	assert_int_equal(result, 1);
	assert_int_equal(admin(9, 6 | 1u << 31, 0, NULL), DNR | 0x10d);
	assert_int_equal(admin(9, 1, 0x1234, NULL), 0);
	assert_int_equal(admin(10, 1, 0, &result), 0);
	assert_int_equal(result, 0x1234);
	assert_int_equal(admin(9, 2, 1, NULL), DNR | 2);
	assert_int_equal(admin(10, 9, 3, &result), 0);
	assert_int_equal(result, 3 | 1 << 16);
	assert_int_equal(admin(10, 9, 9, NULL), DNR | 2);
	assert_int_equal(admin(10, 3, 0, NULL), DNR | 2);
	assert_int_equal(admin(10, 0x99, 0, NULL), DNR | 2);
	nvme_driver_destroy(&bench);
}

static void interrupts_come_by_message_or_by_pin(void **state)
{
	struct nvme_cqe cqe;

	(void)state;
	bench_up(true, false);
	assert_true(bench.machine.messages[0x40] > 0);
	assert_int_equal(bench.machine.messages[0x42], 0);
	assert_int_equal(nvme_command(&bench, 2, transfer(2, 0, 1, NVME_DATA, 0), NULL), 0);
	assert_int_equal(bench.machine.messages[0x42], 1);
	assert_false(bench.machine.level[19]);
	nvme_driver_destroy(&bench);
	bench_up(false, false);
	assert_false(bench.machine.level[19]); /* all taken */
	nvme_offer(&bench, 2, transfer(2, 0, 1, NVME_DATA, 0));
	assert_true(bench.machine.level[19]);
	nvme_register_set(&bench, 0x0c, 1);
	assert_false(bench.machine.level[19]);
	nvme_register_set(&bench, 0x10, 1);
	assert_true(bench.machine.level[19]);
	assert_true(nvme_take(&bench, 2, &cqe));
	assert_false(bench.machine.level[19]);
	nvme_driver_destroy(&bench);
}

static void a_reset_waits_for_requests_under_way(void **state)
{
	uint8_t mark[512];

	(void)state;
	bench_up(true, false);
	bench.disk.deferred = true;
	nvme_offer(&bench, 1, transfer(2, 0, 1, NVME_DATA, 0));
	nvme_register_set(&bench, 0x14, 0);
	assert_int_equal(nvme_register(&bench, 0x1c), 1);
	nvme_register_set(&bench, 0x14, 0x00460001); /* impatient */
	assert_int_equal(nvme_register(&bench, 0x1c), 1);
	nvme_register_set(&bench, 0x14, 0);
	disk_complete(&bench.disk);
	assert_int_equal(nvme_register(&bench, 0x1c), 0);
	memset(mark, 0x5a, sizeof(mark));
	put(NVME_DATA, mark, sizeof(mark));
	bench.disk.deferred = false;
	nvme_driver_enable(&bench);
	nvme_driver_queues(&bench);
	assert_memory_equal(at(NVME_DATA), mark, 512);
	nvme_driver_destroy(&bench);
}

static void lost_queues_stop_the_controller_until_a_reset(void **state)
{
	(void)state;
	bench_up(true, false);
	nvme_register_set(&bench, 0x14, 0);
	mmio_write(&bench.machine, bench.bar + 0x28, 8, MACHINE_RAM);
	nvme_register_set(&bench, 0x14, 0x00460001);
	assert_int_equal(nvme_register(&bench, 0x1c), 1);
	nvme_register_set(&bench, 0x1000, 1);
	assert_int_equal(nvme_register(&bench, 0x1c), 3);
	nvme_driver_enable(&bench);
	nvme_driver_queues(&bench);
	nvme_driver_destroy(&bench);
}

static void state_survives_saving_in_mid_request(void **state)
{
	struct nvme_cqe cqe;
	uint16_t id, event;

	(void)state;
	bench_up(true, false);
	assert_int_equal(admin(9, 6, 0, NULL), 0);
	event = nvme_offer(&bench, 0, (struct nvme_sqe){.opcode = 0xc});
	bench.disk.deferred = true;
	id = nvme_offer(&bench, 1, transfer(2, 0, 1, NVME_DATA, 0));
	device_saves_and_loads(nvme_device(bench.nvme)); /* saving drains */
	bench.disk.deferred = false;
	assert_true(nvme_take(&bench, 1, &cqe));
	assert_int_equal(cqe.id, id);
	assert_int_equal(nvme_register(&bench, 0x1c), 1);
	assert_int_equal(nvme_command(&bench, 1, transfer(1, 0, 1, NVME_DATA, 0), NULL), 0);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 1); /* the feature came along */
	nvme_register_set(&bench, 0x1000 + 8 * 7, 1);
	assert_true(nvme_take(&bench, 0, &cqe));
	assert_int_equal(cqe.id, event);
	nvme_driver_destroy(&bench);
}

static void (*quiet_submit)(struct block *block, struct block_request *list);
static unsigned rings;

/* Another processor of the guest's takes each answer and rings for one more read, of which that soon ends. */
static void ringing_submit(struct block *block, struct block_request *list)
{
	struct nvme_cqe answer;

	quiet_submit(block, list);
	while (nvme_take(&bench, 1, &answer))
		;
	if (rings && rings--)
		nvme_offer(&bench, 1, transfer(2, 0, 1, NVME_DATA, 0));
}

static void a_flood_of_commands_ends(void **state)
{
	unsigned left;

	(void)state;
	bench_up(true, false);
	quiet_submit = bench.disk.block.submit;
	bench.disk.block.submit = ringing_submit;
	rings = 10000;
	nvme_offer(&bench, 1, transfer(2, 0, 1, NVME_DATA, 0));
	left = rings;
	assert_in_range(left, 9000, 9999);
	vm_clock_count(&bench.machine.clock, 1000000);
	assert_in_range(rings, 1, left - 1);
	rings = 0;
	vm_clock_count(&bench.machine.clock, 1000000);
	bench.disk.block.submit = quiet_submit;
	nvme_driver_destroy(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flood_of_commands_ends),
		cmocka_unit_test(registers_say_what_the_controller_can),
		cmocka_unit_test(identify_describes_controller_and_namespace),
		cmocka_unit_test(data_goes_where_the_prps_say),
		cmocka_unit_test(bad_addresses_are_answered),
		cmocka_unit_test(ranges_and_namespaces_are_checked),
		cmocka_unit_test(deallocation_and_zeroes_reach_the_disk),
		cmocka_unit_test(writes_are_stable_where_asked),
		cmocka_unit_test(host_errors_become_media_errors),
		cmocka_unit_test(queues_are_made_and_deleted),
		cmocka_unit_test(commands_wait_for_places_in_the_completion_queue),
		cmocka_unit_test(events_are_told_once_until_the_log_is_read),
		cmocka_unit_test(an_event_request_can_be_aborted),
		cmocka_unit_test(features_are_kept),
		cmocka_unit_test(interrupts_come_by_message_or_by_pin),
		cmocka_unit_test(a_reset_waits_for_requests_under_way),
		cmocka_unit_test(lost_queues_stop_the_controller_until_a_reset),
		cmocka_unit_test(state_survives_saving_in_mid_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
