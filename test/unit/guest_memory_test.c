/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest_memory_test.c - addresses to host memory, brackets, code invalidation and dirty logging.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <holon/guest_memory.h>
#include <holon/host.h>

#define PAGES 100u
#define SIZE (PAGES * GUEST_PAGE_SIZE)

static uint8_t *ram;
static struct guest_memory memory;
static unsigned code_calls;
static uint64_t code_page;
static unsigned code_offset, code_length;

static void code_written(void *engine, uint64_t page, unsigned offset, unsigned length)
{
	(void)engine;
	code_calls++;
	code_page = page;
	code_offset = offset;
	code_length = length;
}

/* Pages 0-63 at 0, page 64 as ROM at 0xf0000, 65-99 right above the ROM in the address space. */
static int setup(void **state)
{
	(void)state;
	ram = host_allocate(SIZE);
	assert_non_null(ram);
	assert_int_equal(guest_memory_init(&memory, ram, SIZE), STATUS_OK);
	assert_int_equal(guest_memory_slot_add(&memory, 0, 64 * GUEST_PAGE_SIZE, 0, false), STATUS_OK);
	assert_int_equal(guest_memory_slot_add(&memory, 0xf0000, GUEST_PAGE_SIZE, 64 * GUEST_PAGE_SIZE, true), STATUS_OK);
	assert_int_equal(guest_memory_slot_add(&memory, 0xf1000, 35 * GUEST_PAGE_SIZE, 65 * GUEST_PAGE_SIZE, false), STATUS_OK);
	memory.code_written = code_written;
	code_calls = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	guest_memory_destroy(&memory);
	host_free(ram, SIZE);
	return 0;
}

static void ranges_must_lie_in_one_slot(void **state)
{
	(void)state;
	assert_ptr_equal(guest_memory_at(&memory, 0, 64 * GUEST_PAGE_SIZE), ram);
	assert_null(guest_memory_at(&memory, 1, 64 * GUEST_PAGE_SIZE));
	assert_null(guest_memory_at(&memory, 64 * GUEST_PAGE_SIZE, 1));
	assert_ptr_equal(guest_memory_at(&memory, 0xf0fff, 1), ram + 65 * GUEST_PAGE_SIZE - 1);
	assert_null(guest_memory_at(&memory, 0xf0fff, 2)); /* two slots */
	assert_null(guest_memory_at(&memory, 0x1000, UINT64_MAX));
	assert_null(guest_memory_at(&memory, UINT64_MAX, 2));
}

static void slots_that_make_no_sense_are_refused(void **state)
{
	(void)state;
	assert_int_equal(guest_memory_slot_add(&memory, 0x3f000, 0x1000, 0, false), STATUS_BUSY);
	assert_int_equal(guest_memory_slot_add(&memory, 0x200000, 0x1000, SIZE, false), STATUS_RANGE);
	assert_int_equal(guest_memory_slot_add(&memory, 0x200000, SIZE, 0x1000, false), STATUS_RANGE);
	assert_int_equal(guest_memory_slot_add(&memory, 0x200001, 0x1000, 0, false), STATUS_RANGE);
	assert_int_equal(guest_memory_slot_add(&memory, 0x200000, 0, 0, false), STATUS_RANGE);
	assert_int_equal(guest_memory_slot_add(&memory, UINT64_MAX - 0xfff, 0x2000, 0, false), STATUS_RANGE);
}

static void rom_is_not_written(void **state)
{
	(void)state;
	assert_non_null(guest_memory_at(&memory, 0xf0000, 1));
	assert_null(guest_memory_write_begin(&memory, 0xf0000, 1));
	assert_int_equal(guest_memory_write(&memory, 0xf0ffc, "12345678", 8), STATUS_RANGE);
	assert_int_equal(ram[65 * GUEST_PAGE_SIZE - 4], 0);
}

static void copies_span_slots_or_do_nothing(void **state)
{
	static const char letters[4] = {'a', 'b', 'c', 'd'};
	char bytes[16] = "";

	(void)state;
	memcpy(ram + 65 * GUEST_PAGE_SIZE - 2, letters, sizeof(letters));
	assert_int_equal(guest_memory_read(&memory, 0xf0ffe, bytes, 4), STATUS_OK);
	assert_memory_equal(bytes, "abcd", 4);
	assert_int_equal(guest_memory_write(&memory, 64 * GUEST_PAGE_SIZE - 2, "wxyz", 4), STATUS_RANGE);
	assert_int_equal(ram[64 * GUEST_PAGE_SIZE - 2], 0);
	assert_int_equal(guest_memory_read(&memory, UINT64_MAX - 1, bytes, 16), STATUS_RANGE);
}

static void device_writes_tell_the_engine_page_by_page(void **state)
{
	uint8_t *hva;

	(void)state;
	memory.page_flags[2] = GUEST_PAGE_CODE;
	hva = guest_memory_write_begin(&memory, 0x1ff0, 0x20);
	assert_ptr_equal(hva, ram + 0x1ff0);
	memset(hva, 0x90, 0x20);
	guest_memory_write_end(&memory, 0x1ff0, 0x20);
	assert_int_equal(code_calls, 1);
	assert_int_equal(code_page, 2);
	assert_int_equal(code_offset, 0);
	assert_int_equal(code_length, 0x10);
	/* Whether code was hit is the engine's to find out: data may lie beside it. */
	assert_int_equal(memory.code_generation[2], 0);
}

static void vcpu_writes_clear_clean_once(void **state)
{
	(void)state;
	assert_int_equal(guest_memory_dirty_start(&memory), STATUS_OK);
	assert_int_equal(guest_memory_dirty_start(&memory), STATUS_BUSY);
	assert_int_equal(memory.page_flags[7], GUEST_PAGE_CLEAN);
	guest_memory_page_written(&memory, ram + 7 * GUEST_PAGE_SIZE + 100, 8);
	assert_int_equal(memory.page_flags[7], 0);
	guest_memory_dirty_stop(&memory);
	assert_int_equal(memory.page_flags[8], 0);
}

static void dirty_collection_sees_each_write_once(void **state)
{
	uint64_t bitmap[2];

	(void)state;
	assert_int_equal(guest_memory_write(&memory, 0x9000, "x", 1), STATUS_OK); /* before: not logged */
	assert_int_equal(guest_memory_dirty_start(&memory), STATUS_OK);
	guest_memory_page_written(&memory, ram + 3 * GUEST_PAGE_SIZE, 1);             /* a vcpu */
	assert_int_equal(guest_memory_write(&memory, 0xf1ffe, "1234", 4), STATUS_OK); /* a device: RAM pages 65 and 66 */
	guest_memory_dirty_collect(&memory, bitmap);
	assert_true(bitmap[0] == UINT64_C(1) << 3);
	assert_true(bitmap[1] == (UINT64_C(1) << 1 | UINT64_C(1) << 2));
	assert_int_equal(memory.page_flags[3], GUEST_PAGE_CLEAN); /* armed again */
	/* A page that a device wrote stays armed for vcpus, and the device's next write is seen again. */
	assert_int_equal(guest_memory_write(&memory, 0xf1000, "1", 1), STATUS_OK);
	guest_memory_dirty_collect(&memory, bitmap);
	assert_true(bitmap[0] == 0 && bitmap[1] == UINT64_C(1) << 1);
	guest_memory_dirty_collect(&memory, bitmap);
	assert_true(bitmap[0] == 0 && bitmap[1] == 0);
	guest_memory_dirty_stop(&memory);
}

/* A device writes while collections run: the sum of what was collected has every page. */
static void writer_main(void *argument)
{
	unsigned page, round;

	(void)argument;
	for (round = 0; round < 200; round++)
		for (page = 0; page < 64; page++)
			if (guest_memory_write(&memory, page * GUEST_PAGE_SIZE, &page, sizeof(page)))
				return;
}

static void collections_lose_no_device_write(void **state)
{
	uint64_t bitmap[2], all = 0;
	struct host_thread *thread;
	unsigned i;

	(void)state;
	assert_int_equal(guest_memory_dirty_start(&memory), STATUS_OK);
	assert_int_equal(host_thread_start(&thread, "writer", writer_main, NULL), STATUS_OK);
	for (i = 0; i < 2000; i++) {
		guest_memory_dirty_collect(&memory, bitmap);
		all |= bitmap[0];
	}
	host_thread_join(thread);
	guest_memory_dirty_collect(&memory, bitmap);
	assert_true((all | bitmap[0]) == UINT64_MAX);
	guest_memory_dirty_stop(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ranges_must_lie_in_one_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(slots_that_make_no_sense_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(rom_is_not_written, setup, teardown),
		cmocka_unit_test_setup_teardown(copies_span_slots_or_do_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(device_writes_tell_the_engine_page_by_page, setup, teardown),
		cmocka_unit_test_setup_teardown(vcpu_writes_clear_clean_once, setup, teardown),
		cmocka_unit_test_setup_teardown(dirty_collection_sees_each_write_once, setup, teardown),
		cmocka_unit_test_setup_teardown(collections_lose_no_device_write, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
