/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus_test.c - what a guest access on a bus reaches: the right region, offset and size, nothing elsewhere, and that lookups
 * survive regions that move at the same time.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <holon/bus.h>

struct probe {
	struct bus_region region;
	uint64_t offset;
	unsigned size;
	uint64_t value; /* last written, or what reads give */
	unsigned calls;
};

static uint64_t probe_read(void *device, uint64_t offset, unsigned size)
{
	struct probe *probe = device;

	probe->offset = offset;
	probe->size = size;
	probe->calls++;
	return probe->value + offset;
}

static void probe_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct probe *probe = device;

	probe->offset = offset;
	probe->size = size;
	probe->value = value;
	probe->calls++;
}

static void probe_init(struct probe *probe, uint64_t base, uint64_t length)
{
	*probe = (struct probe){
		.region = {.name = "probe", .base = base, .length = length, .read = probe_read, .write = probe_write}};
	probe->region.device = probe;
}

static void access_reaches_its_region_as_an_offset(void **state)
{
	static struct bus bus;
	struct probe low, high;
	uint64_t value;

	(void)state;
	bus_init(&bus, "test");
	probe_init(&high, 0x2000, 0x100);
	probe_init(&low, 0x1000, 0x10);
	assert_int_equal(bus_enable(&bus, &high.region), STATUS_OK);
	assert_int_equal(bus_enable(&bus, &low.region), STATUS_OK);
	high.value = UINT64_C(0x1122334455667788);
	assert_true(bus_read(&bus, 0x2004, 2, &value));
	assert_int_equal(value, 0x778c); /* masked to the size */
	assert_int_equal(high.offset, 4);
	assert_int_equal(high.size, 2);
	assert_true(bus_write(&bus, 0x100f, 1, 0xabcd));
	assert_int_equal(low.offset, 15);
	assert_int_equal(low.value, 0xcd);
}

static void unclaimed_reads_are_all_ones_and_counted(void **state)
{
	static struct bus bus;
	uint64_t value = 0;

	(void)state;
	bus_init(&bus, "test");
	assert_false(bus_read(&bus, 0x80, 4, &value));
	assert_int_equal(value, 0xffffffff);
	assert_false(bus_read(&bus, UINT64_MAX - 3, 8, &value));
	assert_true(value == UINT64_MAX);
	assert_false(bus_write(&bus, 0x80, 8, 1));
	assert_int_equal(bus.unclaimed, 3);
}

static void straddling_accesses_go_byte_by_byte(void **state)
{
	static struct bus bus;
	struct probe a, b;
	uint64_t value;

	(void)state;
	bus_init(&bus, "test");
	probe_init(&a, 0x10, 2);
	probe_init(&b, 0x12, 1);
	assert_int_equal(bus_enable(&bus, &a.region), STATUS_OK);
	assert_int_equal(bus_enable(&bus, &b.region), STATUS_OK);
	a.value = 0x40;
	b.value = 0x70;
	assert_true(bus_read(&bus, 0x11, 4, &value)); /* a[1], b[0], nothing, nothing */
	assert_int_equal(value, 0xffff7041);
	assert_true(bus_write(&bus, 0xf, 4, 0x04030201)); /* nothing, a[0], a[1], b[0] */
	assert_int_equal(a.value, 3);
	assert_int_equal(b.value, 4);
}

static void overlaps_and_wraps_are_refused(void **state)
{
	static struct bus bus;
	struct probe a, b;

	(void)state;
	bus_init(&bus, "test");
	probe_init(&a, 0x100, 0x10);
	assert_int_equal(bus_enable(&bus, &a.region), STATUS_OK);
	assert_int_equal(bus_enable(&bus, &a.region), STATUS_OK); /* it is on */
	probe_init(&b, 0xff, 2);
	assert_int_equal(bus_enable(&bus, &b.region), STATUS_BUSY);
	probe_init(&b, 0x10f, 1);
	assert_int_equal(bus_enable(&bus, &b.region), STATUS_BUSY);
	probe_init(&b, 0x0, UINT64_MAX);
	assert_int_equal(bus_enable(&bus, &b.region), STATUS_BUSY);
	probe_init(&b, UINT64_MAX, 2);
	assert_int_equal(bus_enable(&bus, &b.region), STATUS_RANGE);
	probe_init(&b, 0x200, 0);
	assert_int_equal(bus_enable(&bus, &b.region), STATUS_RANGE);
	probe_init(&b, UINT64_MAX, 1); /* the very last byte */
	assert_int_equal(bus_enable(&bus, &b.region), STATUS_OK);
	bus_disable(&bus, &a.region);
	bus_disable(&bus, &a.region);
	probe_init(&a, 0xff, 2);
	assert_int_equal(bus_enable(&bus, &a.region), STATUS_OK);
}

static void a_full_table_is_refused(void **state)
{
	static struct bus bus;
	static struct probe probes[BUS_REGIONS + 1];
	unsigned i;

	(void)state;
	bus_init(&bus, "test");
	for (i = 0; i <= BUS_REGIONS; i++) {
		probe_init(&probes[i], 0x10 * i, 0x10);
		assert_int_equal(bus_enable(&bus, &probes[i].region), i < BUS_REGIONS ? STATUS_OK : STATUS_NO_SPACE);
	}
}

static void calls_hold_the_regions_lock(void **state)
{
	static struct bus bus;
	struct host_mutex lock = {0};
	struct probe a;
	uint64_t value;

	(void)state;
	bus_init(&bus, "test");
	probe_init(&a, 0, 4);
	a.region.lock = &lock;
	assert_int_equal(bus_enable(&bus, &a.region), STATUS_OK);
	assert_true(bus_read(&bus, 0, 4, &value));
	host_mutex_lock(&lock); /* it was given back */
	host_mutex_unlock(&lock);
}

/* A BAR that moves between two places while another thread accesses: the offset is always right for the place. */
struct moving {
	struct bus bus;
	struct bus_region region, still;
	bool stop;
	_Atomic unsigned moves;
	_Atomic unsigned wrong;
};

static uint64_t moving_read(void *device, uint64_t offset, unsigned size)
{
	struct moving *moving = device;

	(void)size;
	if (offset != 8)
		moving->wrong++;
	return 0x5a;
}

static void moving_main(void *argument)
{
	struct moving *moving = argument;
	unsigned i;

	for (i = 0; !__atomic_load_n(&moving->stop, __ATOMIC_SEQ_CST); i++) {
		bus_disable(&moving->bus, &moving->region);
		__atomic_store_n(&moving->region.base, i & 1 ? 0x1000 : 0x80000, __ATOMIC_RELAXED);
		if (bus_enable(&moving->bus, &moving->region))
			moving->wrong++;
		moving->moves++;
	}
}

static void lookups_survive_moving_regions(void **state)
{
	static struct moving moving;
	struct host_thread *thread;
	uint64_t value, seen = 0;

	(void)state;
	bus_init(&moving.bus, "test");
	moving.region = (struct bus_region){.base = 0x1000, .length = 0x100, .read = moving_read, .device = &moving};
	moving.still = (struct bus_region){.base = 0x4000, .length = 0x100, .read = moving_read, .device = &moving};
	assert_int_equal(bus_enable(&moving.bus, &moving.region), STATUS_OK);
	assert_int_equal(bus_enable(&moving.bus, &moving.still), STATUS_OK);
	assert_int_equal(host_thread_start(&thread, "moving", moving_main, &moving), STATUS_OK);
	while (seen < 2000 || moving.moves < 2000) {
		if (!bus_read(&moving.bus, 0x4008, 4, &value))
			moving.wrong++;
		seen += bus_read(&moving.bus, 0x1008, 4, &value) + bus_read(&moving.bus, 0x80008, 4, &value);
	}
	__atomic_store_n(&moving.stop, true, __ATOMIC_SEQ_CST);
	host_thread_join(thread);
	assert_int_equal(moving.wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(access_reaches_its_region_as_an_offset),
		cmocka_unit_test(unclaimed_reads_are_all_ones_and_counted),
		cmocka_unit_test(straddling_accesses_go_byte_by_byte),
		cmocka_unit_test(overlaps_and_wraps_are_refused),
		cmocka_unit_test(a_full_table_is_refused),
		cmocka_unit_test(calls_hold_the_regions_lock),
		cmocka_unit_test(lookups_survive_moving_regions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
