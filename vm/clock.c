/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.c - the guest's time and its timers (include/holon/timer.h). Devices and the CPU core call in from any thread.
 *
 * The guest's TSC is the one time; nanoseconds are computed from it, exactly (128-bit products). In COUNTED mode it is
 * the other way round: each instruction is a nanosecond and the TSC follows, rounded up, so that ns(tsc(n)) >= n and
 * neither goes back when the mode changes. Reading the time takes no lock (sequence counter): RDTSC is frequent.
 */
#include <stdatomic.h>

#include <holon/state.h>
#include <holon/timer.h>

#define NS_PER_MS UINT64_C(1000000) /* and a TSC of `khz` makes khz ticks a millisecond */
#define TSC_KHZ_MIN 1000u
#define TSC_KHZ_MAX 100000000u

/* a * b / c by the processor's 128-bit division; UINT64_MAX where the quotient does not fit. *rest may be NULL. */
static uint64_t multiply_divide(uint64_t a, uint64_t b, uint64_t c, uint64_t *rest)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	uint64_t high = (uint64_t)(product >> 64), quotient = UINT64_MAX, remainder = 0;

	if (high < c)
		__asm__("divq %4" : "=a"(quotient), "=d"(remainder) : "a"((uint64_t)product), "d"(high), "r"(c) : "cc");
	if (rest)
		*rest = remainder;
	return quotient;
}

static uint64_t multiply_divide_up(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t rest, quotient = multiply_divide(a, b, c, &rest);

	return rest ? quotient + 1 : quotient;
}

static uint64_t tsc_now_real(const struct vm_clock *clock, uint64_t base, uint64_t stopped)
{
	uint64_t host = host_tsc();
	/* Processors' TSCs may differ by a few ticks: never before the mode began. */
	uint64_t ticks = (int64_t)(host - base) > 0 ? host - base : 0;

	if (clock->host_khz != clock->tsc_khz)
		ticks = multiply_divide(ticks, clock->tsc_khz, clock->host_khz, NULL);
	return stopped + ticks;
}

static uint64_t counted_ns(struct vm_clock *clock)
{
	return __atomic_load_n(&clock->counted_base_ns, __ATOMIC_RELAXED) +
	       atomic_load_explicit(&clock->counted, memory_order_relaxed);
}

/* The TSC in COUNTED mode, which began at `stopped` (a TSC that may lie a fraction of a ns behind the count). */
static uint64_t tsc_now_counted(struct vm_clock *clock, uint64_t stopped)
{
	uint64_t tsc = multiply_divide_up(counted_ns(clock), clock->tsc_khz, NS_PER_MS);

	return tsc > stopped ? tsc : stopped;
}

static uint64_t tsc_in_mode(struct vm_clock *clock, enum clock_mode mode, uint64_t base, uint64_t stopped)
{
	switch (mode) {
	case CLOCK_REAL: return tsc_now_real(clock, base, stopped);
	case CLOCK_COUNTED: return tsc_now_counted(clock, stopped);
	default: return stopped;
	}
}

uint64_t vm_clock_tsc(struct vm_clock *clock)
{
	for (;;) {
		uint32_t sequence = atomic_load_explicit(&clock->sequence, memory_order_acquire);
		enum clock_mode mode = __atomic_load_n(&clock->mode, __ATOMIC_RELAXED);
		uint64_t base = __atomic_load_n(&clock->tsc_base, __ATOMIC_RELAXED);
		uint64_t stopped = __atomic_load_n(&clock->stopped_tsc, __ATOMIC_RELAXED);
		uint64_t tsc = tsc_in_mode(clock, mode, base, stopped);

		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!(sequence & 1) && atomic_load_explicit(&clock->sequence, memory_order_relaxed) == sequence)
			return tsc;
		host_yield();
	}
}

uint64_t vm_clock_ns(struct vm_clock *clock)
{
	return multiply_divide(vm_clock_tsc(clock), NS_PER_MS, clock->tsc_khz, NULL);
}

uint64_t vm_clock_tsc_to_ns(struct vm_clock *clock, uint64_t tsc)
{
	return multiply_divide_up(tsc, NS_PER_MS, clock->tsc_khz);
}

uint64_t vm_clock_wall_ns(struct vm_clock *clock)
{
	return vm_clock_ns(clock) + __atomic_load_n(&clock->wall_offset_ns, __ATOMIC_RELAXED);
}

/* Timers: a list by deadline, some hundred at most. All under clock->lock. */

/*
 * A guest sets its timer for the next tick soon after the last, and often twice. So the thread, when a timer has fired, sleeps until the next tick would be: then it
 * need not be woken for that. Where there is none, it finds out then.
 */
#define TICK_LEAST 500000
#define TICK_MOST 11000000 /* 100 Hz */
#define TICK_FIRST 4000000
#define NEAR 2000 /* ns: so little early is not worth a wake. Guests compute their ticks' deadlines anew, and round */

static void deadline_publish_locked(struct vm_clock *clock)
{
	atomic_store(&clock->next_deadline_ns, clock->first ? clock->first->deadline_ns : UINT64_MAX);
}

static void unlink_locked(struct vm_clock *clock, struct timer *timer)
{
	if (!timer_armed(timer))
		return;
	if (timer->previous)
		timer->previous->next = timer->next;
	else
		clock->first = timer->next;
	if (timer->next)
		timer->next->previous = timer->previous;
	timer->next = timer->previous = NULL;
	__atomic_store_n(&timer->deadline_ns, UINT64_MAX, __ATOMIC_RELAXED);
	deadline_publish_locked(clock);
}

static void link_locked(struct vm_clock *clock, struct timer *timer, uint64_t deadline_ns)
{
	struct timer *before = NULL, *after = clock->first;

	while (after && after->deadline_ns <= deadline_ns) {
		before = after;
		after = after->next;
	}
	__atomic_store_n(&timer->deadline_ns, deadline_ns, __ATOMIC_RELAXED);
	timer->previous = before;
	timer->next = after;
	if (before)
		before->next = timer;
	else
		clock->first = timer;
	if (after)
		after->previous = timer;
	deadline_publish_locked(clock);
}

void timer_init(struct timer *timer, struct vm_clock *clock, void (*fire)(void *device), void *device)
{
	*timer = (struct timer){.clock = clock, .fire = fire, .device = device, .deadline_ns = UINT64_MAX};
}

void timer_set(struct timer *timer, uint64_t deadline_ns)
{
	struct vm_clock *clock = timer->clock;
	uint64_t wakes;

	host_mutex_lock(&clock->lock);
	unlink_locked(clock, timer);
	if (deadline_ns != UINT64_MAX)
		link_locked(clock, timer, deadline_ns);
	/* Guests move their timer on and on before it is due: the thread finds out when it wakes for the old deadline. */
	wakes = clock->thread_wakes_ns;
	host_mutex_unlock(&clock->lock);
	if (deadline_ns < wakes && wakes - deadline_ns > NEAR)
		host_event_set(&clock->wake);
}

void timer_cancel(struct timer *timer)
{
	timer_set(timer, UINT64_MAX);
}

void timer_cancel_wait(struct timer *timer)
{
	struct vm_clock *clock = timer->clock;

	host_mutex_lock(&clock->lock);
	unlink_locked(clock, timer);
	while (clock->firing == timer) {
		host_mutex_unlock(&clock->lock);
		host_event_wait(&clock->fired, HOST_FOREVER);
		host_mutex_lock(&clock->lock);
		unlink_locked(clock, timer); /* its callback may have set it again */
	}
	host_mutex_unlock(&clock->lock);
	host_event_set(&clock->fired); /* another may wait for the same return */
}

static void fired_locked(struct vm_clock *clock, uint64_t deadline_ns)
{
	uint64_t interval = deadline_ns - clock->fired_ns;

	if (interval >= TICK_LEAST && interval <= TICK_MOST)
		clock->tick_ns = interval;
	clock->fired_ns = deadline_ns;
}

/* Takes the first timer if it is due at guest time `now` and runs its callback. */
static bool timer_fire_due(struct vm_clock *clock, uint64_t now)
{
	struct timer *timer;

	host_mutex_lock(&clock->lock);
	timer = clock->first;
	if (!timer || timer->deadline_ns > now || clock->firing || clock->mode == CLOCK_PAUSED) {
		host_mutex_unlock(&clock->lock);
		return false;
	}
	fired_locked(clock, timer->deadline_ns);
	unlink_locked(clock, timer);
	clock->firing = timer;
	host_mutex_unlock(&clock->lock);
	timer->fire(timer->device);
	host_mutex_lock(&clock->lock);
	clock->firing = NULL;
	host_mutex_unlock(&clock->lock);
	host_event_set(&clock->fired);
	return true;
}

/* The host time until which the timer thread may sleep. A change of the mode wakes it, and so does an earlier timer. */
static uint64_t sleep_until(struct vm_clock *clock)
{
	uint64_t next = UINT64_MAX, now = vm_clock_ns(clock), tick;
	bool real;

	host_mutex_lock(&clock->lock);
	real = clock->mode == CLOCK_REAL;
	if (clock->first)
		next = clock->first->deadline_ns;
	tick = clock->fired_ns + clock->tick_ns;
	if (tick > now && tick < next)
		next = tick;
	clock->thread_wakes_ns = real ? next : 0;
	host_mutex_unlock(&clock->lock);
	if (!real || next == UINT64_MAX)
		return HOST_FOREVER;
	now = vm_clock_ns(clock);
	next = next > now ? next - now : 0;
	now = host_time_ns();
	return next < HOST_FOREVER - now ? now + next : HOST_FOREVER;
}

static void thread_awake(struct vm_clock *clock)
{
	host_mutex_lock(&clock->lock);
	clock->thread_wakes_ns = 0;
	host_mutex_unlock(&clock->lock);
}

static void clock_main(void *argument)
{
	struct vm_clock *clock = argument;

	while (!__atomic_load_n(&clock->stopping, __ATOMIC_SEQ_CST)) {
		if (__atomic_load_n(&clock->mode, __ATOMIC_SEQ_CST) == CLOCK_REAL && timer_fire_due(clock, vm_clock_ns(clock)))
			continue;
		host_event_wait(&clock->wake, sleep_until(clock));
		thread_awake(clock);
	}
}

enum status vm_clock_init(struct vm_clock *clock, uint32_t tsc_khz)
{
	if (tsc_khz < TSC_KHZ_MIN || tsc_khz > TSC_KHZ_MAX)
		return STATUS_RANGE;
	__builtin_memset(clock, 0, sizeof(*clock));
	clock->mode = CLOCK_PAUSED;
	clock->tsc_khz = tsc_khz;
	clock->host_khz = host_tsc_khz();
	clock->next_deadline_ns = UINT64_MAX;
	clock->tick_ns = TICK_FIRST;
	clock->wall_offset_ns = host_wall_time_ns();
	return STATUS_OK;
}

enum status vm_clock_thread_start(struct vm_clock *clock)
{
	return host_thread_start(&clock->thread, "clock", clock_main, clock);
}

void vm_clock_destroy(struct vm_clock *clock)
{
	if (!clock->thread)
		return;
	__atomic_store_n(&clock->stopping, true, __ATOMIC_SEQ_CST);
	host_event_set(&clock->wake);
	host_thread_join(clock->thread);
	clock->thread = NULL;
}

static void sequence_step(struct vm_clock *clock)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	atomic_store(&clock->sequence, clock->sequence + 1);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void mode_set_locked(struct vm_clock *clock, enum clock_mode mode)
{
	uint64_t tsc, host, ns;

	sequence_step(clock);
	host = host_tsc();
	tsc = tsc_in_mode(clock, clock->mode, clock->tsc_base, clock->stopped_tsc);
	__atomic_store_n(&clock->stopped_tsc, tsc, __ATOMIC_RELAXED);
	__atomic_store_n(&clock->tsc_base, host, __ATOMIC_RELAXED);
	ns = multiply_divide(tsc, NS_PER_MS, clock->tsc_khz, NULL);
	__atomic_store_n(&clock->counted_base_ns, ns, __ATOMIC_RELAXED);
	atomic_store_explicit(&clock->counted, 0, memory_order_relaxed);
	/* A pause is time that the guest's clock has not seen but its wall clock should. */
	if (mode == CLOCK_REAL)
		__atomic_store_n(&clock->wall_offset_ns, host_wall_time_ns() - ns, __ATOMIC_RELAXED);
	__atomic_store_n(&clock->mode, mode, __ATOMIC_SEQ_CST);
	sequence_step(clock);
}

void vm_clock_mode_set(struct vm_clock *clock, enum clock_mode mode)
{
	host_mutex_lock(&clock->lock);
	if (clock->mode != mode)
		mode_set_locked(clock, mode);
	while (mode == CLOCK_PAUSED && clock->firing) {
		host_mutex_unlock(&clock->lock);
		host_event_wait(&clock->fired, HOST_FOREVER);
		host_mutex_lock(&clock->lock);
	}
	host_mutex_unlock(&clock->lock);
	host_event_set(&clock->fired);
	host_event_set(&clock->wake);
}

void vm_clock_count(struct vm_clock *clock, uint64_t instructions)
{
	uint64_t now;

	atomic_fetch_add_explicit(&clock->counted, instructions, memory_order_relaxed);
	now = counted_ns(clock);
	while (now >= atomic_load_explicit(&clock->next_deadline_ns, memory_order_relaxed) && timer_fire_due(clock, now))
		;
}

bool vm_clock_skip_idle(struct vm_clock *clock)
{
	uint64_t next = atomic_load(&clock->next_deadline_ns), now = counted_ns(clock);

	if (next == UINT64_MAX)
		return false;
	vm_clock_count(clock, next > now ? next - now : 0);
	return true;
}

/* Saved while PAUSED: the TSC says it all. */

#define SAVED_NS_MAX (UINT64_C(1) << 62) /* 146 years, of running or since 1970: sums of such times do not overflow */

static void clock_before_save(void *object)
{
	struct vm_clock *clock = object;

	host_mutex_lock(&clock->lock);
	clock->saved.tsc_khz = clock->tsc_khz;
	clock->saved.stopped_tsc = clock->stopped_tsc;
	clock->saved.wall_offset_ns = clock->wall_offset_ns;
	host_mutex_unlock(&clock->lock);
}

static enum status clock_after_load(void *object, uint32_t version, struct reason *why)
{
	struct vm_clock *clock = object;
	uint32_t khz = clock->saved.tsc_khz;
	uint64_t ns;

	(void)version;
	if (khz < TSC_KHZ_MIN || khz > TSC_KHZ_MAX)
		return reason_give(why, STATUS_INVALID, "saved clock: a TSC of %u kHz is impossible; the file is damaged", khz);
	ns = multiply_divide(clock->saved.stopped_tsc, NS_PER_MS, khz, NULL);
	if (ns > SAVED_NS_MAX || clock->saved.wall_offset_ns > SAVED_NS_MAX)
		return reason_give(why, STATUS_INVALID, "saved clock: no machine has run for so long; the file is damaged");
	host_mutex_lock(&clock->lock);
	sequence_step(clock);
	if (clock->tsc_khz != khz) /* read without a lock by who is not there yet when another machine's state is loaded */
		clock->tsc_khz = khz;
	__atomic_store_n(&clock->stopped_tsc, clock->saved.stopped_tsc, __ATOMIC_RELAXED);
	__atomic_store_n(&clock->wall_offset_ns, clock->saved.wall_offset_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&clock->counted_base_ns, ns, __ATOMIC_RELAXED);
	atomic_store_explicit(&clock->counted, 0, memory_order_relaxed);
	sequence_step(clock);
	host_mutex_unlock(&clock->lock);
	return STATUS_OK;
}

static const struct state_field clock_fields[] = {
	STATE_FIELD(struct vm_clock, saved.tsc_khz),
	STATE_FIELD(struct vm_clock, saved.stopped_tsc),
	STATE_FIELD(struct vm_clock, saved.wall_offset_ns),
};
const struct state_table vm_clock_state = {.name = "clock",
					   .version = 1,
					   STATE_TABLE_FIELDS(clock_fields),
					   .before_save = clock_before_save,
					   .after_load = clock_after_load};
