/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic_timer.c - the local APIC's timer: one-shot, periodic, TSC-deadline (SDM vol. 3, 11.5.4).
 *
 * The input clock is 1 GHz, so that a count times the divisor is a time in nanoseconds. The clock's thread fires it; everything
 * else runs on the owner's thread. `timer_next_ns` is the truth, the armed struct timer only a wake-up for it.
 */
#include "device/lapic_internal.h"

static uint64_t divisor(const struct lapic *lapic)
{
	uint32_t code = (lapic->divide_configuration & 3) | (lapic->divide_configuration & 8) >> 1;

	return UINT64_C(1) << ((code + 1) & 7);
}

static uint64_t period_ns(const struct lapic *lapic)
{
	return lapic->initial_count * divisor(lapic);
}

static bool mode_is(const struct lapic *lapic, uint32_t mode)
{
	return (lapic_load(&lapic->lvt[LVT_TIMER]) & LAPIC_LVT_TIMER_MODE) == mode;
}

static void stop_locked(struct lapic *lapic)
{
	lapic->timer_next_ns = UINT64_MAX;
	lapic->tsc_deadline = 0;
	timer_cancel(&lapic->timer);
}

static void arm_locked(struct lapic *lapic)
{
	if (lapic->timer_next_ns == UINT64_MAX)
		timer_cancel(&lapic->timer);
	else
		timer_set(&lapic->timer, lapic->timer_next_ns);
}

/* Periods that have passed unseen are merged into one interrupt, as IRR would. */
static void periodic_advance_locked(struct lapic *lapic, uint64_t now)
{
	uint64_t step = period_ns(lapic);

	if (step < LAPIC_TIMER_MIN_PERIOD_NS)
		step *= (LAPIC_TIMER_MIN_PERIOD_NS + step - 1) / step;
	lapic->timer_next_ns += (now - lapic->timer_next_ns) / step * step + step;
	lapic->timer_start_ns = lapic->timer_next_ns - period_ns(lapic);
	arm_locked(lapic);
}

static void timer_fire(void *device)
{
	struct lapic *lapic = device;
	uint64_t now = vm_clock_ns(lapic->timer.clock);
	bool due;

	host_mutex_lock(&lapic->timer_lock);
	due = lapic->timer_next_ns != UINT64_MAX && now >= lapic->timer_next_ns;
	if (due && mode_is(lapic, LAPIC_LVT_TIMER_PERIODIC) && lapic->initial_count) {
		periodic_advance_locked(lapic, now);
	} else if (due) {
		lapic->timer_next_ns = UINT64_MAX;
		lapic->tsc_deadline = 0;
	}
	host_mutex_unlock(&lapic->timer_lock);
	if (due)
		lapic_lvt_deliver(lapic, LVT_TIMER);
}

/* One-shot and periodic share a count that goes on running when the mode changes between them; TSC-deadline starts afresh. */
void lapic_timer_lvt_write(struct lapic *lapic, uint32_t value)
{
	bool was_deadline = mode_is(lapic, LAPIC_LVT_TIMER_DEADLINE);
	bool is_deadline = (value & LAPIC_LVT_TIMER_MODE) == LAPIC_LVT_TIMER_DEADLINE;

	host_mutex_lock(&lapic->timer_lock);
	if (was_deadline != is_deadline) {
		lapic->initial_count = 0;
		stop_locked(lapic);
	}
	lapic_store(&lapic->lvt[LVT_TIMER], value);
	host_mutex_unlock(&lapic->timer_lock);
}

void lapic_timer_initial_write(struct lapic *lapic, uint32_t value)
{
	if (mode_is(lapic, LAPIC_LVT_TIMER_DEADLINE))
		return;
	host_mutex_lock(&lapic->timer_lock);
	lapic->initial_count = value;
	lapic->timer_start_ns = vm_clock_ns(lapic->timer.clock);
	lapic->timer_next_ns = value ? lapic->timer_start_ns + period_ns(lapic) : UINT64_MAX;
	arm_locked(lapic);
	host_mutex_unlock(&lapic->timer_lock);
}

static uint64_t remaining_ns_locked(const struct lapic *lapic, uint64_t now)
{
	uint64_t period = period_ns(lapic);

	if (lapic->timer_next_ns == UINT64_MAX)
		return 0;
	if (now < lapic->timer_next_ns) /* merged periods: only the part of the last one */
		return period && mode_is(lapic, LAPIC_LVT_TIMER_PERIODIC) ? (lapic->timer_next_ns - now - 1) % period + 1
									  : lapic->timer_next_ns - now;
	if (!mode_is(lapic, LAPIC_LVT_TIMER_PERIODIC) || !period)
		return 0;
	return period - (now - lapic->timer_next_ns) % period;
}

/* The count that remains goes on at the new rate. */
void lapic_timer_divide_write(struct lapic *lapic, uint32_t value)
{
	uint64_t now = vm_clock_ns(lapic->timer.clock), count;

	host_mutex_lock(&lapic->timer_lock);
	count = (remaining_ns_locked(lapic, now) + divisor(lapic) - 1) / divisor(lapic);
	lapic->divide_configuration = value & 0xb;
	if (lapic->timer_next_ns != UINT64_MAX && !mode_is(lapic, LAPIC_LVT_TIMER_DEADLINE)) {
		lapic->timer_next_ns = now + count * divisor(lapic);
		lapic->timer_start_ns = lapic->timer_next_ns - period_ns(lapic);
		arm_locked(lapic);
	}
	host_mutex_unlock(&lapic->timer_lock);
}

uint32_t lapic_timer_current(struct lapic *lapic)
{
	uint64_t now = vm_clock_ns(lapic->timer.clock), count;

	if (mode_is(lapic, LAPIC_LVT_TIMER_DEADLINE))
		return 0;
	host_mutex_lock(&lapic->timer_lock);
	count = (remaining_ns_locked(lapic, now) + divisor(lapic) - 1) / divisor(lapic);
	host_mutex_unlock(&lapic->timer_lock);
	return (uint32_t)count;
}

uint64_t lapic_timer_deadline_read(struct lapic *lapic)
{
	uint64_t tsc;

	host_mutex_lock(&lapic->timer_lock);
	tsc = lapic->tsc_deadline;
	host_mutex_unlock(&lapic->timer_lock);
	return tsc;
}

/* 11.5.4.1: ignored in the other modes; 0 disarms; a time in the past interrupts now. */
void lapic_timer_deadline_write(struct lapic *lapic, uint64_t tsc)
{
	struct vm_clock *clock = lapic->timer.clock;
	bool due = false;

	if (!mode_is(lapic, LAPIC_LVT_TIMER_DEADLINE))
		return;
	host_mutex_lock(&lapic->timer_lock);
	if (tsc == 0 || (due = tsc <= vm_clock_tsc(clock))) {
		stop_locked(lapic);
	} else {
		lapic->tsc_deadline = tsc;
		lapic->timer_next_ns = vm_clock_tsc_to_ns(clock, tsc);
		arm_locked(lapic);
	}
	host_mutex_unlock(&lapic->timer_lock);
	if (due)
		lapic_lvt_deliver(lapic, LVT_TIMER);
}

void lapic_timer_arm(struct lapic *lapic)
{
	host_mutex_lock(&lapic->timer_lock);
	arm_locked(lapic);
	host_mutex_unlock(&lapic->timer_lock);
}

void lapic_timer_reset(struct lapic *lapic)
{
	host_mutex_lock(&lapic->timer_lock);
	lapic->initial_count = 0;
	lapic->divide_configuration = 0;
	lapic->timer_start_ns = 0;
	stop_locked(lapic);
	host_mutex_unlock(&lapic->timer_lock);
}

void lapic_timer_init(struct lapic *lapic, struct vm_clock *clock)
{
	timer_init(&lapic->timer, clock, timer_fire, lapic);
}
