/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_run.c - the code pages and tables behind host_run.h.
 *
 * All cpus of the process share one pair of code mappings, because there are few trap ranges; each has a slice of it that only its own thread
 * writes and executes. A slice that is full is emptied: a guest can make that happen as often as it likes, and only slows itself down.
 */
#include "x86/host_run.h"

#include <stddef.h>

#include <holon/host.h>

#include "x86/vector.h"

_Static_assert(offsetof(struct host_run_frame, from) == HOST_RUN_FROM, "trampoline");
_Static_assert(offsetof(struct host_run_frame, to) == HOST_RUN_TO, "trampoline");
_Static_assert(offsetof(struct host_run_frame, mm) == HOST_RUN_MM, "trampoline");
_Static_assert(offsetof(struct host_run_frame, rax) == HOST_RUN_RAX, "trampoline");
_Static_assert(offsetof(struct host_run_frame, rcx) == HOST_RUN_RCX, "trampoline");
_Static_assert(offsetof(struct host_run_frame, rdx) == HOST_RUN_RDX, "trampoline");
_Static_assert(offsetof(struct host_run_frame, rbx) == HOST_RUN_RBX, "trampoline");
_Static_assert(offsetof(struct host_run_frame, rbp) == HOST_RUN_RBP, "trampoline");
_Static_assert(offsetof(struct host_run_frame, mxcsr) == HOST_RUN_MXCSR, "trampoline");
_Static_assert(offsetof(struct host_run_frame, host_mxcsr) == HOST_RUN_HOST_MXCSR, "trampoline");
_Static_assert(offsetof(struct host_run_frame, host_fcw) == HOST_RUN_HOST_FCW, "trampoline");
_Static_assert(offsetof(struct host_run_frame, flags) == HOST_RUN_FLAGS, "trampoline");
_Static_assert(offsetof(struct host_run_frame, memory) == HOST_RUN_MEMORY, "trampoline");
_Static_assert(offsetof(struct host_run_frame, x87) == HOST_RUN_X87, "trampoline");

void host_run_trapped(void);

#define SLICE_SIZE (HOST_RUN_STUBS * HOST_RUN_STUB_SIZE)
#define SLICES 128 /* twice the cpus that a VM may have */

static struct {
	struct host_mutex lock;
	struct host_code code; /* kept until the process ends: its trap range is too */
	uint64_t used[SLICES / 64];
} arena;

static void serialise(void)
{
	uint32_t eax = 0, ecx = 0;

	__asm__ volatile("cpuid" : "+a"(eax), "+c"(ecx) : : "ebx", "edx", "memory");
}

static enum status arena_open_locked(void)
{
	enum status status;

	if (arena.code.execute)
		return STATUS_OK;
	status = host_code_allocate(&arena.code, SLICES * SLICE_SIZE);
	if (status != STATUS_OK)
		return status;
	status = host_trap_range_add(arena.code.execute, arena.code.execute + arena.code.size, host_run_trapped);
	if (status != STATUS_OK) {
		host_code_free(&arena.code);
		arena.code = (struct host_code){0};
		return status;
	}
	return STATUS_OK;
}

static enum status slice_take(unsigned *slice)
{
	enum status status;

	host_mutex_lock(&arena.lock);
	status = arena_open_locked();
	if (status == STATUS_OK) {
		status = STATUS_NO_SPACE;
		for (unsigned i = 0; i < SLICES; i++) {
			if (arena.used[i / 64] >> (i % 64) & 1)
				continue;
			arena.used[i / 64] |= X86_BIT(i % 64);
			*slice = i;
			status = STATUS_OK;
			break;
		}
	}
	host_mutex_unlock(&arena.lock);
	return status;
}

enum status x86_host_run_create(struct x86_cpu *cpu)
{
	struct host_run *run = host_allocate(sizeof(*run));
	enum status status;

	if (!run)
		return STATUS_NO_MEMORY;
	status = slice_take(&run->slice);
	if (status != STATUS_OK) {
		host_free(run, sizeof(*run));
		return status;
	}
	run->write = arena.code.write + run->slice * SLICE_SIZE;
	run->execute = arena.code.execute + run->slice * SLICE_SIZE;
	for (unsigned i = 0; i < 5; i++)
		run->frame.from[i] = run->frame.unused;
	for (unsigned i = 0; i < 4; i++)
		run->frame.to[i] = run->frame.unused;
	cpu->host_run = run;
	return STATUS_OK;
}

void x86_host_run_destroy(struct x86_cpu *cpu)
{
	struct host_run *run = cpu->host_run;

	if (!run)
		return;
	host_mutex_lock(&arena.lock);
	arena.used[run->slice / 64] &= ~X86_BIT(run->slice % 64);
	host_mutex_unlock(&arena.lock);
	host_free(run, sizeof(*run));
	cpu->host_run = NULL;
}

static unsigned table_slot(uint32_t key)
{
	return key * 0x9e3779b1u >> 20; /* HOST_RUN_TABLE is 1 << 12 */
}

const uint8_t *host_run_find(const struct host_run *run, uint32_t key)
{
	for (unsigned i = table_slot(key); run->table[i].key; i = (i + 1) % HOST_RUN_TABLE) {
		if (run->table[i].key == key)
			return run->execute + run->table[i].stub * HOST_RUN_STUB_SIZE;
	}
	return NULL;
}

const uint8_t *host_run_add(struct host_run *run, uint32_t key, const uint8_t *bytes, unsigned length)
{
	unsigned i;

	bug_on(length >= HOST_RUN_STUB_SIZE || !key);
	if (run->stubs == HOST_RUN_STUBS) {
		__builtin_memset(run->table, 0, sizeof(run->table));
		run->stubs = 0;
	}
	__builtin_memcpy(run->write + run->stubs * HOST_RUN_STUB_SIZE, bytes, length);
	run->write[run->stubs * HOST_RUN_STUB_SIZE + length] = 0xc3; /* RET */
	/* Written through another address than it is executed at: serialise (SDM vol. 3, 9.1.3). */
	serialise();
	for (i = table_slot(key); run->table[i].key; i = (i + 1) % HOST_RUN_TABLE)
		;
	run->table[i].key = key;
	run->table[i].stub = run->stubs++;
	return run->execute + run->table[i].stub * HOST_RUN_STUB_SIZE;
}
