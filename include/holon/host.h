/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h - what the platform below lends to the freestanding folders.
 *
 * Two implementations: host/linux (Type 2) and host/metal (Type 1). Everything in x86/, vm/,
 * device/, board/ and engine/interp gets memory, time, locks, threads and logging from here and
 * from nowhere else. Besides these, only memcpy, memmove, memset and memcmp may be called there
 * (the compiler itself emits calls to them).
 */
#ifndef HOLON_HOST_H
#define HOLON_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holon/status.h>

#define HOST_FOREVER UINT64_MAX /* a deadline that never comes */

enum host_log_level { HOST_LOG_ERROR, HOST_LOG_WARN, HOST_LOG_INFO, HOST_LOG_DEBUG };

/* One line, no newline at its end. Any thread. May drop lines when called too often (100 a second a call site is safe). */
void host_log(enum host_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* snprintf's subset: %s %c %d %i %u %x %X %p %%, with l, ll, z, h, width, precision, 0 and -. Returns what snprintf would. */
int host_format(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
int host_format_v(char *buffer, size_t size, const char *format, __builtin_va_list arguments);

/* Our bug, not the guest's: says where and ends the process (on metal: stops the VM). */
_Noreturn void host_bug(const char *file, int line, const char *what);
#define bug_on(condition)                                         \
	do {                                                      \
		if (__builtin_expect(!!(condition), 0))           \
			host_bug(__FILE__, __LINE__, #condition); \
	} while (0)

/* Zeroed, 64-byte aligned (page-aligned from 4096 on), committed when touched. For creation time only. NULL: no memory. */
void *host_allocate(size_t size) must_check;
void host_free(void *memory, size_t size);

/* Guest RAM, whole pages: what is in them is lost, they cost nothing until they are touched again, and are zero then. Any thread. */
void host_ram_discard(uint8_t *ram, size_t size);

/*
 * Views of guest RAM: address space in which nothing is until RAM is shown there too, so that the host's MMU can be a TLB (engine/jit/window.c). Whole
 * pages. reserve: STATUS_UNSUPPORTED where no such thing is to be had. show and hide fail when the host's count of mappings is used up; to hide
 * all that was reserved at once cannot fail. Any thread.
 */
enum status host_view_reserve(uint8_t **base, uint64_t size) must_check;
/* The same at one place: STATUS_UNSUPPORTED if there is something. */
enum status host_view_reserve_at(uint8_t *base, uint64_t size) must_check;
/* A part of what was reserved, where no RAM is shown, becomes memory of its own, zeroed when it is first touched; or nothing again. */
enum status host_view_memory(uint8_t *at, uint64_t size, bool readable, bool writable) must_check;
void host_view_release(uint8_t *base, uint64_t size);
enum status host_view_show(uint8_t *at, const uint8_t *ram, uint64_t size, bool writable) must_check;
enum status host_view_hide(uint8_t *at, uint64_t size) must_check;
/*
 * The base of GS, which nothing else uses, for code that this thread runs. STATUS_UNSUPPORTED for every base, for those that are no user-space address (a
 * host without WRGSBASE), or for none.
 */
enum status host_gs_set(uint64_t base) must_check;

/* Code pages, mapped twice: writable at *write, executable at *execute, never both at one address. */
struct host_code {
	uint8_t *write;
	uint8_t *execute;
	size_t size;
};
enum status host_code_allocate(struct host_code *code, size_t size) must_check;
void host_code_free(struct host_code *code);
/* [from, to) will seldom be written again: what the host keeps for that, it may drop. The bytes stay. */
void host_code_settled(struct host_code *code, size_t from, size_t to);

/*
 * Instructions of the guest run on the host's processor inside code pages and may trap there (#XM, #DE, #GP of a misaligned operand...). A trap
 * whose RIP lies in [begin, end) continues at `resume`, all other registers as they were but for
 *
 * host_trap_range_add:    RAX = the x86 exception vector, RDX = the MXCSR at the trap;
 * host_trap_redirect_add: RCX = the RIP of the trap. `fault`, if there is one, is asked first, on the signal's stack, with `argument` and what the trap was:
 *                         true: the instruction is executed again; else RSP and R15 are what it has made of them.
 *
 * At most 80 ranges. Threads that run such code were started by host_thread_start, or have a signal stack of their own. remove takes a range's `begin`.
 */
enum status host_trap_range_add(const uint8_t *begin, const uint8_t *end, void (*resume)(void)) must_check;
struct host_trap {
	uint64_t address; /* of a page fault; 0: another trap */
	bool write;
	uint64_t rsp, r15;
};
enum status host_trap_redirect_add(const uint8_t *begin, const uint8_t *end, void (*resume)(void),
				   bool (*fault)(void *argument, struct host_trap *trap), void *argument) must_check;
void host_trap_range_remove(const uint8_t *begin);

/* Monotonic nanoseconds; does not jump, starts anywhere. */
uint64_t host_time_ns(void);
/* Nanoseconds since 1970-01-01 UTC. */
uint64_t host_wall_time_ns(void);
/* The frequency of the processor's invariant TSC; found once, at the first call. */
uint32_t host_tsc_khz(void);
static inline uint64_t host_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

/* Cryptographically strong bytes; never fails after start. */
void host_random(void *buffer, size_t size);

/* A lock that sleeps. Zeroed memory is an unlocked mutex. Not recursive. */
struct host_mutex {
	_Atomic uint32_t word;
};
void host_mutex_lock(struct host_mutex *mutex);
/* Takes it if nobody has it; never sleeps. */
bool host_mutex_try(struct host_mutex *mutex) must_check;
void host_mutex_unlock(struct host_mutex *mutex);

/* A latch with one waiter or many: set stays until a wait takes it. Zeroed memory is an unset event. */
struct host_event {
	_Atomic uint32_t word;
};
void host_event_set(struct host_event *event);
/* Returns true if it took the event, false when host_time_ns() reached `deadline_ns` first. */
bool host_event_wait(struct host_event *event, uint64_t deadline_ns);

/* Threads. `main` runs until it returns; join waits for that and frees. */
struct host_thread;
enum status host_thread_start(struct host_thread **started, const char *name, void (*main)(void *), void *argument) must_check;
void host_thread_join(struct host_thread *thread);
/* Gives the processor to another thread, for a vcpu that spins (PAUSE). */
void host_yield(void);
/* Every other thread of this VM has executed a full memory barrier when this returns (membarrier(2), an IPI on metal). */
void host_barrier_all(void);

#endif
