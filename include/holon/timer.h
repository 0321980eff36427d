/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer.h - the guest's time. Everything that a guest can see of time passes through here.
 *
 * Three modes: REAL follows the host's TSC; PAUSED stands still; COUNTED is a function of the
 * instructions that were executed (deterministic: lockstep tests, record and replay). Clock and TSC are continuous over
 * mode changes; nothing ever sees them go back. There is one time: guest ns = guest TSC * 10^6 / tsc_khz, always, so that no two of the
 * guest's clocks drift apart. Timers fire on the clock's own thread (REAL) or from
 * vm_clock_count on a vcpu's (COUNTED: deterministic with one vcpu), with no lock held; a callback may set its timer again.
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
	_Atomic uint32_t sequence; /* odd while mode, tsc_base or stopped_tsc change: readers retry */
	enum clock_mode mode;
	struct host_mutex lock;            /* the fields here and the timers' links; a leaf: nothing is taken under it */
	uint32_t tsc_khz;                  /* the guest's, as CPUID tells it */
	uint32_t host_khz;                 /* another than tsc_khz only after a move from another host */
	uint64_t tsc_base;                 /* REAL: guest TSC = (host_tsc() - tsc_base) scaled + stopped_tsc */
	uint64_t stopped_tsc;              /* PAUSED: guest TSC; COUNTED, REAL: what it was when the mode began */
	uint64_t counted_base_ns;          /* COUNTED: guest ns when the mode began */
	_Atomic uint64_t counted;          /* COUNTED: ns since */
	uint64_t wall_offset_ns;           /* wall clock = guest ns + wall_offset_ns */
	struct timer *first;               /* armed timers, by deadline */
	struct timer *firing;              /* whose callback runs now */
	_Atomic uint64_t next_deadline_ns; /* of `first`; UINT64_MAX: none */
	/* Guest ns at which the timer thread looks by itself; 0: it is awake, or the mode's change will wake it. */
	uint64_t thread_wakes_ns;
	uint64_t fired_ns, tick_ns; /* the deadline that came last, and how far guests' ticks are apart, as it seems */
	struct host_event wake;     /* for the timer thread */
	struct host_event fired;    /* a callback has returned: timer_cancel_wait */
	struct host_thread *thread;
	bool stopping;
	struct { /* a copy, on its way to or from saved state: others may look at the clock meanwhile */
		uint32_t tsc_khz;
		uint64_t stopped_tsc;
		uint64_t wall_offset_ns;
	} saved;
};

struct state_table;
/* Save and load while PAUSED. */
extern const struct state_table vm_clock_state;

enum status vm_clock_init(struct vm_clock *clock, uint32_t tsc_khz) must_check; /* PAUSED at 0 */
enum status vm_clock_thread_start(struct vm_clock *clock) must_check;
void vm_clock_destroy(struct vm_clock *clock);
/* PAUSED returns when no timer's callback runs any more. Not from a callback, no device lock held. */
void vm_clock_mode_set(struct vm_clock *clock, enum clock_mode mode);

/* Guest nanoseconds since the VM was created, without the time that it was paused. */
uint64_t vm_clock_ns(struct vm_clock *clock);
/* The guest's TSC before a vcpu's own IA32_TSC_ADJUST. */
uint64_t vm_clock_tsc(struct vm_clock *clock);
/* Nanoseconds since 1970 as the guest should see them (RTC, kvmclock's wall clock). */
uint64_t vm_clock_wall_ns(struct vm_clock *clock);
/* guest TSC value -> the first guest ns at which vm_clock_tsc() has reached it (a time in the past gives one in the past). */
uint64_t vm_clock_tsc_to_ns(struct vm_clock *clock, uint64_t tsc);
/*
 * COUNTED: `instructions` more have been executed: one nanosecond each; fires what is due. Engines call it on the vcpu's thread when a multiple of
 * VM_CLOCK_QUANTUM is reached, exactly there, between two instructions with the vcpu's state complete: so every engine shows a guest the same time at
 * the same instruction.
 */
#define VM_CLOCK_QUANTUM 1024u
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
