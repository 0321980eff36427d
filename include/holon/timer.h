/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer.h - the guest's time. Everything that a guest can see of time passes through here.
 *
 * Three modes: REAL follows the host's monotonic clock and its TSC; PAUSED stands still; COUNTED is a function of the
 * instructions that were executed (deterministic: lockstep tests, record and replay). Clock and TSC are continuous over
 * mode changes; nothing ever sees them go back. Timers fire on the clock's own thread (REAL) or from
 * vm_clock_count on vcpu 0's (COUNTED), with no lock held; a callback may set its timer again.
 */
#ifndef HOLON_TIMER_H
#define HOLON_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/host.h>
#include <holon/status.h>

enum clock_mode { CLOCK_REAL, CLOCK_PAUSED, CLOCK_COUNTED };

struct timer;

struct vm_clock {
	enum clock_mode mode;
	struct host_mutex lock;      /* the fields below; a leaf: nothing is taken under it */
	uint64_t offset_ns;          /* REAL: guest ns = host_time_ns() + offset_ns */
	uint64_t stopped_ns;         /* PAUSED, COUNTED: guest ns */
	uint64_t tsc_offset;         /* REAL: guest TSC = host_tsc() + tsc_offset */
	uint64_t stopped_tsc;        /* PAUSED, COUNTED */
	uint32_t tsc_khz;
	uint64_t wall_offset_ns;     /* wall clock = guest ns + wall_offset_ns */
	struct timer *first;         /* armed timers, by deadline */
	struct timer *firing;        /* whose callback runs now */
	_Atomic uint64_t next_deadline_ns; /* of `first`; UINT64_MAX: none */
	struct host_event wake;      /* for the timer thread */
	struct host_event fired;     /* a callback has returned: timer_cancel_wait */
	struct host_thread *thread;
	bool stopping;
};

enum status vm_clock_init(struct vm_clock *clock, uint32_t tsc_khz) must_check; /* PAUSED at 0 */
enum status vm_clock_thread_start(struct vm_clock *clock) must_check;
void vm_clock_destroy(struct vm_clock *clock);
void vm_clock_mode_set(struct vm_clock *clock, enum clock_mode mode);

/* Guest nanoseconds since the VM was created, without the time that it was paused. */
uint64_t vm_clock_ns(struct vm_clock *clock);
/* The guest's TSC before a vcpu's own IA32_TSC_ADJUST. */
uint64_t vm_clock_tsc(struct vm_clock *clock);
/* Nanoseconds since 1970 as the guest should see them (RTC, kvmclock's wall clock). */
uint64_t vm_clock_wall_ns(struct vm_clock *clock);
/* guest TSC value -> guest ns at which it is reached (a time in the past gives one in the past). */
uint64_t vm_clock_tsc_to_ns(struct vm_clock *clock, uint64_t tsc);
/* COUNTED: `instructions` more have been executed: one nanosecond each; fires what is due. */
void vm_clock_count(struct vm_clock *clock, uint64_t instructions);
/* COUNTED: every vcpu is idle: jumps to the next deadline and fires it. false: there is none. */
bool vm_clock_skip_idle(struct vm_clock *clock);

/* Embedded in a device. Zeroed and then initialised once. */
struct timer {
	struct vm_clock *clock;
	void (*fire)(void *device);
	void *device;
	uint64_t deadline_ns; /* guest ns; UINT64_MAX: not armed */
	struct timer *next;
	struct timer *previous;
};

void timer_init(struct timer *timer, struct vm_clock *clock, void (*fire)(void *device), void *device);
/* Arms or re-arms; a deadline in the past fires at once (on the clock's thread). Any thread, device locks may be held. */
void timer_set(struct timer *timer, uint64_t deadline_ns);
/* Disarms; the callback may be running just now: it takes the device's lock and looks whether it is still wanted. */
void timer_cancel(struct timer *timer);
/* Disarms and waits until no callback of it runs: before its device is freed. No device lock may be held. */
void timer_cancel_wait(struct timer *timer);
static inline bool timer_armed(const struct timer *timer)
{
	return timer->deadline_ns != UINT64_MAX;
}

#endif
