/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahci_test.c - the SATA controller, its disk and its CD-ROM drive. hostile_test.c has a driver that means harm.
 */
#include <string.h>

#include "ahci_driver.h"

#define SECTORS ((1u << 20) / 512)
#define READY 0x50

static struct ahci_driver bench;

static void put(uint64_t gpa, const void *bytes, size_t length)
{
	assert_int_equal(guest_memory_write(&bench.machine.memory, gpa, bytes, length), STATUS_OK);
}

static const uint8_t *at(uint64_t gpa)
{
	return guest_memory_at(&bench.machine.memory, gpa, 1);
}

static uint16_t word(unsigned number)
{
	return (uint16_t)(at(AHCI_DATA)[2 * number] | at(AHCI_DATA)[2 * number + 1] << 8);
}

/* A packet to the CD-ROM drive, its data at AHCI_DATA. Returns PxTFD. */
static uint32_t packet(const uint8_t bytes[12], uint32_t length)
{
	return ahci_execute(&bench, 1, ahci_command(0xa0, 0, 0), bytes, AHCI_DATA, length);
}

/* The drive reports its new medium once. */
static void bench_up(void)
{
	static const uint8_t ready[12] = {0x00};

	ahci_driver_create(&bench);
	ahci_driver_up(&bench);
	assert_int_equal(packet(ready, 0) & 1, 1);
	ahci_restart(&bench, 1);
	assert_int_equal(packet(ready, 0), READY);
}

static void ports_say_what_is_there(void **state)
{
	(void)state;
	ahci_driver_create(&bench);
	ahci_driver_up(&bench);
	assert_int_equal(config_read(&bench.machine, 0, AHCI_DEVFN, PCI_CLASS, 4) & 0xffffff, 0x010601);
	assert_int_equal(ahci_register(&bench, 0x00) & 0x1f, 5);
	assert_int_equal(ahci_register(&bench, 0x0c), 0x3f);
	assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x28)) & 0xf, 3);
	assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x24)), 0x00000101);
	assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x20)), 0x0150);
	assert_int_equal(ahci_register(&bench, AHCI_PORT(1, 0x24)), 0xeb140101);
	assert_int_equal(ahci_register(&bench, AHCI_PORT(2, 0x28)), 0);
	assert_int_equal(ahci_register(&bench, AHCI_PORT(2, 0x20)), 0x7f);
	/* COMRESET: the link goes, comes back, and the signature arrives as a FIS. */
	ahci_register_set(&bench, AHCI_PORT(0, 0x18), 0x10);
	ahci_register_set(&bench, AHCI_PORT(0, 0x2c), 0x301);
	assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x28)), 0);
	ahci_register_set(&bench, AHCI_PORT(0, 0x2c), 0x300);
	assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x28)) & 0xf, 3);
	assert_int_equal(at(AHCI_RECEIVED(0) + 0x40)[0], 0x34);
	assert_int_equal(at(AHCI_RECEIVED(0) + 0x40)[3], 1);
	ahci_driver_destroy(&bench);
}

static void the_disk_identifies_itself(void **state)
{
	uint8_t sum = 0;

	(void)state;
	bench_up();
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0xec, 0, 0), NULL, AHCI_DATA, 512), READY);
	assert_memory_equal(at(AHCI_DATA + 20), "idkss-reai l", 12);
	assert_int_equal(word(60) | word(61) << 16, SECTORS);
	assert_int_equal(word(100), SECTORS);
	assert_int_equal(word(169), 1);
	for (unsigned i = 0; i < 512; i++)
		sum = (uint8_t)(sum + at(AHCI_DATA)[i]);
	assert_int_equal(sum, 0);
	assert_int_equal(at(AHCI_RECEIVED(0) + 0x20)[0], 0x5f); /* PIO: a setup FIS */
	assert_int_equal(*(const uint32_t *)(const void *)at(AHCI_LIST(0) + 4), 512);
	ahci_driver_destroy(&bench);
}

static void data_moves_by_any_table(void **state)
{
	static uint8_t pattern[64 * 512], seen[64 * 512];

	(void)state;
	bench_up();
	for (unsigned i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)machine_random(&bench.machine);
	/* Pieces of 2 to 400 bytes, and one over the seam: cut so that requests hold whole sectors. */
	for (unsigned piece = 2; piece <= 400; piece = piece * 3 + 2) {
		struct {
			uint64_t address;
			uint32_t reserved, length;
		} prd;
		unsigned prds = 0, done = 0, total = piece < 8 ? 8 * 512 : 64 * 512;
		struct ahci_fis read;
		uint16_t count;

		if (piece < 8)
			piece = 8; /* 128 segments must hold a sector */
		ahci_slot_fill(&bench, 0, 0, ahci_command(0x35, 16, total / 512), NULL, 0, 2);
		while (done < total) {
			unsigned here = total - done < piece ? total - done : piece;

			prd.address = MACHINE_SEAM - 1024 + done;
			prd.reserved = 0;
			prd.length = here - 1;
			put(prd.address, pattern + done, here);
			put(AHCI_TABLE(0, 0) + 0x80 + 16 * prds++, &prd, sizeof(prd));
			done += here;
		}
		count = (uint16_t)prds;
		put(AHCI_LIST(0) + 2, &count, 2);
		memset(bench.disk.data, 0, 1 << 20);
		ahci_issue(&bench, 0, 1);
		assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x20)), READY);
		assert_memory_equal(bench.disk.data + 16 * 512, pattern, total);
		assert_int_equal(*(const uint32_t *)(const void *)at(AHCI_LIST(0) + 4), total);
		/* And back, by the same table. */
		for (unsigned i = 0; i < total; i++)
			bench.disk.data[16 * 512 + i] ^= 0xff;
		read = ahci_command(0x25, 16, total / 512);
		put(AHCI_TABLE(0, 0), &read, sizeof(read));
		ahci_issue(&bench, 0, 1);
		assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x20)), READY);
		assert_int_equal(guest_memory_read(&bench.machine.memory, MACHINE_SEAM - 1024, seen, total), STATUS_OK);
		assert_memory_equal(seen, bench.disk.data + 16 * 512, total);
	}
	ahci_driver_destroy(&bench);
}

static void bad_commands_stop_the_port_until_it_restarts(void **state)
{
	(void)state;
	bench_up();
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0x25, SECTORS, 1), NULL, AHCI_DATA, 512), 0x1051); /* IDNF */
	assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x38)), 1);
	assert_true(ahci_register(&bench, AHCI_PORT(0, 0x10)) & 0x40000000);
	ahci_slot_fill(&bench, 0, 1, ahci_command(0xea, 0, 0), NULL, 0, 0);
	ahci_issue(&bench, 0, 2);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 0);
	ahci_restart(&bench, 0);
	ahci_issue(&bench, 0, 2);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 1);
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0x77, 0, 0), NULL, 0, 0), 0x0451); /* ABRT */
	ahci_restart(&bench, 0);
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0x25, 0, 2), NULL, AHCI_DATA, 512) & 1, 1); /* a table too short */
	ahci_restart(&bench, 0);
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0x25, 0, 1), NULL, MACHINE_RAM, 512) & 1, 1);
	ahci_restart(&bench, 0);
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0x25, 0, 1), NULL, MACHINE_ROM, 512) & 1, 1);
	ahci_restart(&bench, 0);
	bench.disk.fail = STATUS_IO;
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0x25, 5, 1), NULL, AHCI_DATA, 512), 0x4051); /* UNC */
	assert_int_equal(at(AHCI_RECEIVED(0) + 0x40)[4], 5);
	ahci_driver_destroy(&bench);
}

static void flush_trim_and_caches_reach_the_disk(void **state)
{
	uint64_t range[64] = {UINT64_C(8) << 48 | 8, 0, UINT64_C(16) << 48 | 64};
	struct ahci_fis fis = ahci_command(0x06, 0, 1);

	(void)state;
	bench_up();
	memset(bench.disk.data, 0xff, 1 << 20);
	fis.bytes[3] = 1;
	put(AHCI_DATA, range, sizeof(range));
	assert_int_equal(ahci_execute(&bench, 0, fis, NULL, AHCI_DATA, 512), READY);
	assert_int_equal(bench.disk.count[BLOCK_DISCARD], 2);
	assert_int_equal(bench.disk.data[80 * 512 - 1], 0);
	assert_int_equal(bench.disk.data[80 * 512], 0xff);
	range[2] = UINT64_C(2) << 48 | (SECTORS - 1);
	put(AHCI_DATA, range, sizeof(range));
	assert_int_equal(ahci_execute(&bench, 0, fis, NULL, AHCI_DATA, 512), 0x1051);
	assert_int_equal(bench.disk.count[BLOCK_DISCARD], 2);
	ahci_restart(&bench, 0);
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0x3d, 0, 1), NULL, AHCI_DATA, 512), READY); /* FUA */
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 1);
	fis = ahci_command(0xef, 0, 0);
	fis.bytes[3] = 0x82; /* the cache off */
	assert_int_equal(ahci_execute(&bench, 0, fis, NULL, 0, 0), READY);
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0x35, 0, 1), NULL, AHCI_DATA, 512), READY);
	assert_int_equal(bench.disk.count[BLOCK_FLUSH], 3);
	ahci_driver_destroy(&bench);
}

static void the_disc_is_read(void **state)
{
	static const uint8_t inquiry[12] = {0x12, 0, 0, 0, 36}, capacity[12] = {0x25}, toc[12] = {0x43, 2, 0, 0, 0, 0, 0, 0, 64};
	static const uint8_t read[12] = {0x28, 0, 0, 0, 0, 5, 0, 0, 3}, beyond[12] = {0x28, 0, 0, 0, 0, 127, 0, 0, 2};
	static const uint8_t sense[12] = {0x03, 0, 0, 0, 18}, unknown[12] = {0x55};
	static const uint8_t configuration[12] = {0x46, 0, 0, 0, 0, 0, 0, 0, 255}, cd[12] = {0xbe, 0, 0, 0, 0, 7, 0, 0, 1, 0x10};
	static const uint8_t event[12] = {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8};

	(void)state;
	bench_up();
	assert_int_equal(packet(inquiry, 36), READY);
	assert_memory_equal(at(AHCI_DATA), "\5\200\5\62\37", 5);
	assert_memory_equal(at(AHCI_DATA + 8), "HOLON   CD-ROM          1.0 ", 28);
	assert_int_equal(packet(capacity, 8), READY);
	assert_memory_equal(at(AHCI_DATA), "\0\0\0\177\0\0\10\0", 8);
	assert_int_equal(packet(toc, 64), READY);
	assert_memory_equal(at(AHCI_DATA), "\0\22\1\1\0\24\1\0\0\0\2\0\0\24\252\0\0\0\3\65", 20);
	assert_int_equal(packet(read, 3 * 2048), READY);
	assert_memory_equal(at(AHCI_DATA), bench.disc.data + 5 * 2048, 3 * 2048);
	assert_int_equal(at(AHCI_RECEIVED(1) + 0x40)[12], 3);
	assert_int_equal(packet(cd, 2048), READY);
	assert_memory_equal(at(AHCI_DATA), bench.disc.data + 7 * 2048, 2048);
	assert_int_equal(packet(read, 2048), READY); /* the host takes less than it asked for */
	assert_int_equal(*(const uint32_t *)(const void *)at(AHCI_LIST(1) + 4), 2048);
	assert_int_equal(packet(configuration, 255), READY);
	assert_memory_equal(at(AHCI_DATA), "\0\0\0\64\0\0\0\10", 8);
	assert_int_equal(packet(event, 8), READY);
	assert_memory_equal(at(AHCI_DATA), "\0\6\4\20\0\2\0\0", 8);
	assert_int_equal(packet(beyond, 4096), 0x5451);
	ahci_restart(&bench, 1);
	assert_int_equal(packet(sense, 18), READY);
	assert_int_equal(at(AHCI_DATA)[2], 5);
	assert_int_equal(at(AHCI_DATA)[12], 0x21);
	assert_int_equal(packet(unknown, 0), 0x5451);
	ahci_restart(&bench, 1);
	bench.disc.fail = STATUS_IO;
	assert_int_equal(packet(read, 3 * 2048), 0x3451);
	ahci_restart(&bench, 1);
	assert_int_equal(ahci_execute(&bench, 1, ahci_command(0xec, 0, 0), NULL, AHCI_DATA, 512) & 1, 1);
	assert_int_equal(at(AHCI_RECEIVED(1) + 0x40)[5], 0x14);
	ahci_driver_destroy(&bench);
}

static void the_tray_opens_unless_it_is_locked(void **state)
{
	static const uint8_t eject[12] = {0x1b, 0, 0, 0, 2}, load[12] = {0x1b, 0, 0, 0, 3}, lock[12] = {0x1e, 0, 0, 0, 1},
			     unlock[12] = {0x1e}, ready[12] = {0x00};

	(void)state;
	bench_up();
	assert_int_equal(packet(lock, 0), READY);
	assert_int_equal(packet(eject, 0), 0x5451);
	ahci_restart(&bench, 1);
	assert_int_equal(packet(unlock, 0), READY);
	assert_int_equal(packet(eject, 0), READY);
	assert_int_equal(packet(ready, 0), 0x2451);
	ahci_restart(&bench, 1);
	assert_int_equal(packet(load, 0), READY);
	assert_int_equal(packet(ready, 0), 0x6451); /* once: the medium may have changed */
	ahci_restart(&bench, 1);
	assert_int_equal(packet(ready, 0), READY);
	ahci_driver_destroy(&bench);
}

static void interrupts_follow_the_masks(void **state)
{
	unsigned gsi = 16 + ((31 + 1) & 7);

	(void)state;
	bench_up();
	ahci_register_set(&bench, AHCI_PORT(1, 0x10), UINT32_MAX);
	ahci_register_set(&bench, 0x08, UINT32_MAX);
	assert_false(bench.machine.level[gsi]);
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0xea, 0, 0), NULL, 0, 0), READY);
	assert_true(bench.machine.level[gsi]);
	assert_int_equal(ahci_register(&bench, 0x08), 1);
	ahci_register_set(&bench, 0x08, 1); /* still pending at the port */
	assert_true(bench.machine.level[gsi]);
	ahci_register_set(&bench, AHCI_PORT(0, 0x10), UINT32_MAX);
	ahci_register_set(&bench, 0x08, 1);
	assert_false(bench.machine.level[gsi]);
	ahci_driver_destroy(&bench);
}

static void stopping_and_resets_wait_for_what_is_under_way(void **state)
{
	uint8_t mark[512];

	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		bench_up();
		bench.disk.deferred = true;
		ahci_execute(&bench, 0, ahci_command(0x25, 0, 1), NULL, AHCI_DATA, 512);
		assert_true(ahci_register(&bench, AHCI_PORT(0, 0x20)) & 0x80);
		if (how == 0) {
			ahci_register_set(&bench, AHCI_PORT(0, 0x18), 0x10);
			assert_true(ahci_register(&bench, AHCI_PORT(0, 0x18)) & 0x8000);
		} else if (how == 1) {
			ahci_register_set(&bench, AHCI_PORT(0, 0x2c), 1);
			ahci_register_set(&bench, AHCI_PORT(0, 0x2c), 0);
			assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x28)), 0);
		} else {
			ahci_register_set(&bench, 0x04, 1);
			assert_true(ahci_register(&bench, 0x04) & 1);
		}
		disk_complete(&bench.disk);
		assert_int_equal(ahci_register(&bench, 0x04) & 1, 0);
		assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x28)) & 15, 3);
		assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x38)), 0);
		memset(mark, 0x5a, sizeof(mark));
		put(AHCI_DATA, mark, sizeof(mark));
		bench.disk.deferred = false;
		ahci_driver_up(&bench);
		assert_int_equal(ahci_execute(&bench, 0, ahci_command(0xea, 0, 0), NULL, 0, 0), READY);
		assert_memory_equal(at(AHCI_DATA), mark, 512);
		ahci_driver_destroy(&bench);
	}
}

/* ST is set again while the port has not stopped yet: it runs on, and with no state that could not be loaded. */
static void a_port_that_is_started_too_early_runs(void **state)
{
	(void)state;
	bench_up();
	bench.disk.deferred = true;
	ahci_execute(&bench, 0, ahci_command(0x25, 0, 1), NULL, AHCI_DATA, 512);
	ahci_register_set(&bench, AHCI_PORT(0, 0x18), 0x10);
	ahci_register_set(&bench, AHCI_PORT(0, 0x18), 0x11);
	device_saves_and_loads(ahci_device(bench.ahci));
	bench.disk.deferred = false;
	assert_true(ahci_register(&bench, AHCI_PORT(0, 0x18)) & 0x8000);
	assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x38)), 0);
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0x25, 0, 1), NULL, AHCI_DATA, 512), READY);
	ahci_driver_destroy(&bench);
}

static void state_survives_saving_in_mid_request(void **state)
{
	(void)state;
	bench_up();
	bench.disk.deferred = true;
	ahci_slot_fill(&bench, 0, 3, ahci_command(0x25, 2, 1), NULL, AHCI_DATA, 512);
	ahci_issue(&bench, 0, 8);
	device_saves_and_loads(ahci_device(bench.ahci));
	bench.disk.deferred = false;
	assert_int_equal(ahci_register(&bench, AHCI_PORT(0, 0x38)), 0);
	assert_true(ahci_register(&bench, AHCI_PORT(0, 0x10)) & 1);
	assert_int_equal(ahci_execute(&bench, 0, ahci_command(0x25, 0, 1), NULL, AHCI_DATA, 512), READY);
	ahci_driver_destroy(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports_say_what_is_there),
		cmocka_unit_test(the_disk_identifies_itself),
		cmocka_unit_test(data_moves_by_any_table),
		cmocka_unit_test(bad_commands_stop_the_port_until_it_restarts),
		cmocka_unit_test(flush_trim_and_caches_reach_the_disk),
		cmocka_unit_test(the_disc_is_read),
		cmocka_unit_test(the_tray_opens_unless_it_is_locked),
		cmocka_unit_test(interrupts_follow_the_masks),
		cmocka_unit_test(stopping_and_resets_wait_for_what_is_under_way),
		cmocka_unit_test(a_port_that_is_started_too_early_runs),
		cmocka_unit_test(state_survives_saving_in_mid_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
