/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock_test.c - the three modes of guest time: continuous and never backwards over their changes, TSC and ns in one relation, timers in order.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <holon/state.h>
#include <holon/timer.h>

static struct vm_clock clock;

static void paused_time_stands_still_at_zero(void **state)
{
	(void)state;
	assert_int_equal(vm_clock_init(&clock, 2000000), STATUS_OK);
	assert_true(vm_clock_ns(&clock) == 0);
	assert_true(vm_clock_tsc(&clock) == 0);
	assert_int_equal(vm_clock_init(&clock, 0), STATUS_RANGE);
	assert_int_equal(vm_clock_init(&clock, UINT32_MAX), STATUS_RANGE);
}

static void a_counted_instruction_is_a_nanosecond(void **state)
{
	(void)state;
	assert_int_equal(vm_clock_init(&clock, 2500000), STATUS_OK);
	vm_clock_mode_set(&clock, CLOCK_COUNTED);
	vm_clock_count(&clock, 1000);
	assert_true(vm_clock_ns(&clock) == 1000);
	assert_true(vm_clock_tsc(&clock) == 2500);
	assert_true(vm_clock_tsc_to_ns(&clock, 2500) == 1000);
	assert_true(vm_clock_tsc_to_ns(&clock, 2501) == 1001); /* the first ns at which it has been reached */
	vm_clock_count(&clock, 1);
	assert_true(vm_clock_tsc(&clock) >= 2501);
}

static void conversions_hold_for_large_numbers(void **state)
{
	uint64_t years = UINT64_C(3000000000) * 86400 * 365 * 50; /* ticks of 50 years at 3 GHz */

	(void)state;
	assert_int_equal(vm_clock_init(&clock, 3000000), STATUS_OK);
	assert_true(vm_clock_tsc_to_ns(&clock, years) == UINT64_C(1000000000) * 86400 * 365 * 50);
	assert_true(vm_clock_tsc_to_ns(&clock, UINT64_MAX) == UINT64_MAX / 3 * 1); /* 2^64 - 1 is divisible by 3 */
	assert_int_equal(vm_clock_init(&clock, 1000), STATUS_OK);
	assert_true(vm_clock_tsc_to_ns(&clock, UINT64_MAX) == UINT64_MAX); /* saturates */
}

static void no_mode_change_turns_time_back(void **state)
{
	static const enum clock_mode modes[] = {CLOCK_REAL, CLOCK_COUNTED, CLOCK_PAUSED, CLOCK_COUNTED,
						CLOCK_REAL, CLOCK_PAUSED,  CLOCK_REAL};
	static const uint32_t khz[] = {999999, 2000000, 2794747, 4200001};
	uint64_t ns = 0, tsc = 0, next_ns, next_tsc;
	unsigned i, k;

	(void)state;
	for (k = 0; k < sizeof(khz) / sizeof(khz[0]); k++) {
		assert_int_equal(vm_clock_init(&clock, khz[k]), STATUS_OK);
		ns = tsc = 0;
		for (i = 0; i < 700; i++) {
			vm_clock_mode_set(&clock, modes[i % 7]);
			if (clock.mode == CLOCK_COUNTED)
				vm_clock_count(&clock, i);
			next_ns = vm_clock_ns(&clock);
			next_tsc = vm_clock_tsc(&clock);
			assert_true(next_ns >= ns && next_tsc >= tsc);
			/* Never further than one reading lasts. */
			if (i % 7)
				assert_true(next_ns - ns < 1000000000);
			ns = vm_clock_ns(&clock);
			tsc = vm_clock_tsc(&clock);
		}
	}
}

static void real_time_follows_the_host(void **state)
{
	struct host_event never = {0};
	uint64_t host, guest, again;

	(void)state;
	assert_int_equal(vm_clock_init(&clock, host_tsc_khz()), STATUS_OK);
	vm_clock_mode_set(&clock, CLOCK_REAL);
	host = host_time_ns();
	guest = vm_clock_ns(&clock);
	host_event_wait(&never, host + 50000000);
	again = vm_clock_ns(&clock);
	host = host_time_ns() - host;
	assert_true(again - guest >= 50000000 * UINT64_C(99) / 100);
	assert_true(again - guest <= host * 101 / 100);
	assert_true(vm_clock_wall_ns(&clock) / 1000000000 - host_wall_time_ns() / 1000000000 + 1 <= 2);
}

static void another_hosts_frequency_is_scaled(void **state)
{
	struct host_event never = {0};
	uint64_t ns, tsc;

	(void)state;
	assert_int_equal(vm_clock_init(&clock, host_tsc_khz() / 2), STATUS_OK);
	vm_clock_mode_set(&clock, CLOCK_REAL);
	host_event_wait(&never, host_time_ns() + 20000000);
	vm_clock_mode_set(&clock, CLOCK_PAUSED);
	ns = vm_clock_ns(&clock);
	tsc = vm_clock_tsc(&clock);
	assert_true(ns >= 19000000 && ns < 10 * UINT64_C(1000000000));
	assert_true(tsc * 1000000 / clock.tsc_khz - ns + 1 <= 2);
}

struct note {
	struct timer timer;
	unsigned order;
	unsigned fired;
	uint64_t again_ns;
	uint64_t at_ns;
};
static unsigned fired_so_far;

static void note_fire(void *device)
{
	struct note *note = device;

	note->order = ++fired_so_far;
	note->at_ns = vm_clock_ns(&clock);
	note->fired++;
	if (note->again_ns) {
		timer_set(&note->timer, note->again_ns);
		note->again_ns = 0;
	}
}

static void counted_timers_fire_in_order(void **state)
{
	struct note notes[4] = {0};
	unsigned i;

	(void)state;
	fired_so_far = 0;
	assert_int_equal(vm_clock_init(&clock, 1000000), STATUS_OK);
	vm_clock_mode_set(&clock, CLOCK_COUNTED);
	for (i = 0; i < 4; i++)
		timer_init(&notes[i].timer, &clock, note_fire, &notes[i]);
	timer_set(&notes[0].timer, 300);
	timer_set(&notes[1].timer, 100);
	timer_set(&notes[2].timer, 200);
	timer_set(&notes[3].timer, 50);
	timer_set(&notes[2].timer, 400); /* moved */
	notes[1].again_ns = 500;
	timer_cancel(&notes[3].timer);
	assert_false(timer_armed(&notes[3].timer));
	vm_clock_count(&clock, 99);
	assert_int_equal(fired_so_far, 0);
	vm_clock_count(&clock, 350);
	assert_int_equal(notes[1].order, 1);
	assert_int_equal(notes[0].order, 2);
	assert_int_equal(notes[2].order, 3);
	assert_true(vm_clock_skip_idle(&clock));
	assert_int_equal(notes[1].fired, 2);
	assert_true(vm_clock_ns(&clock) == 500);
	assert_false(vm_clock_skip_idle(&clock));
	assert_int_equal(notes[3].fired, 0);
}

struct ring {
	struct timer timer;
	struct host_event event;
	uint64_t at_ns;
	bool slow;
	_Atomic bool returned;
};

static void ring_fire(void *device)
{
	struct ring *ring = device;
	struct host_event never = {0};

	ring->at_ns = vm_clock_ns(&clock);
	host_event_set(&ring->event);
	if (ring->slow)
		host_event_wait(&never, host_time_ns() + 20000000);
	ring->returned = true;
}

static void real_timers_fire_on_time_and_not_while_paused(void **state)
{
	static struct ring ring, idle;
	uint64_t wanted;

	(void)state;
	assert_int_equal(vm_clock_init(&clock, host_tsc_khz()), STATUS_OK);
	assert_int_equal(vm_clock_thread_start(&clock), STATUS_OK);
	timer_init(&ring.timer, &clock, ring_fire, &ring);
	timer_init(&idle.timer, &clock, ring_fire, &idle);
	timer_set(&idle.timer, UINT64_C(3600) * 1000000000);
	timer_set(&ring.timer, 0); /* in the past, but time stands */
	assert_false(host_event_wait(&ring.event, host_time_ns() + 5000000));
	vm_clock_mode_set(&clock, CLOCK_REAL);
	assert_true(host_event_wait(&ring.event, host_time_ns() + UINT64_C(5000000000)));
	wanted = vm_clock_ns(&clock) + 3000000;
	timer_set(&ring.timer, wanted);
	assert_true(host_event_wait(&ring.event, host_time_ns() + UINT64_C(5000000000)));
	assert_true(ring.at_ns >= wanted);
	timer_cancel_wait(&idle.timer);
	vm_clock_destroy(&clock);
}

/* Waits until the thread sleeps until guest time `ns`. */
static void await_sleep(uint64_t ns)
{
	bool asleep;

	do {
		host_yield();
		host_mutex_lock(&clock.lock);
		asleep = clock.thread_wakes_ns == ns;
		host_mutex_unlock(&clock.lock);
	} while (!asleep);
}

static void an_earlier_timer_wakes_the_thread_and_a_later_one_need_not(void **state)
{
	static struct ring ring;
	const uint64_t hour = UINT64_C(3600) * 1000000000;
	unsigned i;

	(void)state;
	assert_int_equal(vm_clock_init(&clock, host_tsc_khz()), STATUS_OK);
	assert_int_equal(vm_clock_thread_start(&clock), STATUS_OK);
	vm_clock_mode_set(&clock, CLOCK_REAL);
	await_sleep(UINT64_MAX);
	timer_init(&ring.timer, &clock, ring_fire, &ring);
	for (i = 0; i < 50; i++) {
		timer_set(&ring.timer, hour);
		await_sleep(hour);
		timer_set(&ring.timer, 2 * hour); /* the thread would find out in an hour */
		timer_cancel(&ring.timer);
		timer_set(&ring.timer, i & 1 ? 0 : vm_clock_ns(&clock) + 100000);
		assert_true(host_event_wait(&ring.event, host_time_ns() + UINT64_C(5000000000)));
	}
	timer_cancel_wait(&ring.timer);
	vm_clock_destroy(&clock);
}

/* When the thread will look, once it sleeps. */
static uint64_t next_look(void)
{
	uint64_t wakes;

	do {
		host_yield();
		host_mutex_lock(&clock.lock);
		wakes = clock.thread_wakes_ns;
		host_mutex_unlock(&clock.lock);
	} while (!wakes);
	return wakes;
}

static void the_thread_expects_the_next_tick(void **state)
{
	static struct ring ring;
	const uint64_t tick = 10000000, second = UINT64_C(1000000000);
	uint64_t first = 0, look = 0;

	(void)state;
	assert_int_equal(vm_clock_init(&clock, host_tsc_khz()), STATUS_OK);
	assert_int_equal(vm_clock_thread_start(&clock), STATUS_OK);
	vm_clock_mode_set(&clock, CLOCK_REAL);
	timer_init(&ring.timer, &clock, ring_fire, &ring);
	/* On a busy machine the time of the next tick may be over before we look. */
	for (unsigned turn = 0; turn < 100 && look != first + 2 * tick; turn++) {
		first = vm_clock_ns(&clock) + 1000000;
		for (unsigned i = 0; i < 2; i++) {
			timer_set(&ring.timer, first + i * tick);
			assert_true(host_event_wait(&ring.event, host_time_ns() + 5 * second));
		}
		look = next_look();
	}
	assert_true(look == first + 2 * tick);
	/* Set for some ns before, it does not come before its time. */
	timer_set(&ring.timer, look - 10);
	assert_true(host_event_wait(&ring.event, host_time_ns() + 5 * second));
	assert_true(ring.at_ns >= look - 10);
	timer_cancel_wait(&ring.timer);
	vm_clock_destroy(&clock);
}

static void cancel_wait_waits_for_the_callback(void **state)
{
	static struct ring ring = {.slow = true};

	(void)state;
	assert_int_equal(vm_clock_init(&clock, host_tsc_khz()), STATUS_OK);
	assert_int_equal(vm_clock_thread_start(&clock), STATUS_OK);
	timer_init(&ring.timer, &clock, ring_fire, &ring);
	vm_clock_mode_set(&clock, CLOCK_REAL);
	timer_set(&ring.timer, 0);
	assert_true(host_event_wait(&ring.event, HOST_FOREVER));
	timer_cancel_wait(&ring.timer);
	assert_true(ring.returned);
	ring.returned = false;
	timer_set(&ring.timer, 0);
	assert_true(host_event_wait(&ring.event, HOST_FOREVER));
	vm_clock_mode_set(&clock, CLOCK_PAUSED); /* waits likewise */
	assert_true(ring.returned);
	vm_clock_destroy(&clock);
}

static void a_saved_clock_goes_on_where_it_was(void **state)
{
	static uint8_t bytes[512];
	struct state_writer writer = {bytes, sizeof(bytes), 0};
	struct state_reader reader = {bytes, 0, 0};
	struct reason why;

	(void)state;
	assert_int_equal(vm_clock_init(&clock, 2400000), STATUS_OK);
	vm_clock_mode_set(&clock, CLOCK_COUNTED);
	vm_clock_count(&clock, 123456);
	vm_clock_mode_set(&clock, CLOCK_PAUSED);
	state_save(&writer, &vm_clock_state, 0, &clock);
	reader.length = writer.length;
	assert_int_equal(vm_clock_init(&clock, 3000000), STATUS_OK);
	assert_int_equal(state_load(&reader, &vm_clock_state, 0, &clock, &why), STATUS_OK);
	assert_true(vm_clock_ns(&clock) == 123456);
	assert_int_equal(clock.tsc_khz, 2400000);
	clock.tsc_khz = 5;
	writer.length = reader.position = 0;
	state_save(&writer, &vm_clock_state, 0, &clock);
	assert_int_equal(state_load(&reader, &vm_clock_state, 0, &clock, &why), STATUS_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paused_time_stands_still_at_zero),
		cmocka_unit_test(a_counted_instruction_is_a_nanosecond),
		cmocka_unit_test(conversions_hold_for_large_numbers),
		cmocka_unit_test(no_mode_change_turns_time_back),
		cmocka_unit_test(real_time_follows_the_host),
		cmocka_unit_test(another_hosts_frequency_is_scaled),
		cmocka_unit_test(counted_timers_fire_in_order),
		cmocka_unit_test(real_timers_fire_on_time_and_not_while_paused),
		cmocka_unit_test(an_earlier_timer_wakes_the_thread_and_a_later_one_need_not),
		cmocka_unit_test(the_thread_expects_the_next_tick),
		cmocka_unit_test(cancel_wait_waits_for_the_callback),
		cmocka_unit_test(a_saved_clock_goes_on_where_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
