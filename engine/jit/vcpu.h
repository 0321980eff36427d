/* SPDX-License-Identifier: Apache-2.0 */
/* vcpu.h - the engine's own part of a vcpu: between jit.c (the engine's row), run.c (the loop) and find.c (blocks). */
#ifndef HOLON_JIT_VCPU_H
#define HOLON_JIT_VCPU_H

#include <holon/vm.h>

#include "engine/attend.h"
#include "engine/jit/cache.h"
#include "engine/jit/context.h"
#include "engine/jit/translate.h"
#include "engine/jit/window.h"
#include "x86/code_page.h"

#define JIT_STALE 16

struct jit_vm {
	struct x86_code_pages pages;
};

struct jit_vcpu {
	struct x86_cpu cpu;
	struct jit_vm *vm;
	uint8_t x87_area[JIT_X87_AREA] __attribute__((aligned(64)));
	struct jit_cache cache;
	struct translation translation;
	struct attend_counts counts;
	struct vcpu *vcpu;
	struct windows windows;
	uint64_t gs; /* the base of GS; 0: it may be another thread's */
	/* Pages whose code has gone stale, for this vcpu to drop from its jump caches; more than fit: all. Under the code pages' lock. */
	uint32_t stale[JIT_STALE], stales;
	_Atomic bool flush_wanted; /* by jit_flush; the vcpu's thread does it */
	uint64_t undone;           /* instructions counted by the last block and not executed */
	uint64_t count_base;       /* what context->count began at */
	/* The fill that has just failed is a page fault of its instruction, and no other fault of that comes before it. */
	bool page_fault;
	uint64_t fills, handled, steps, exceptions;
};

/* Before anything that may use the host's vector or x87 registers or look at the guest's. */
static inline void vcpu_vector_release(struct jit_context *context)
{
	if (!context->vector_out) {
		jit_vector_store(&context->cpu->s);
		context->vector_out = 1;
	}
	if (!context->x87_out)
		jit_x87_store(context);
}

/* The guest address that a site names. */
static inline uint64_t vcpu_site_rip(const struct jit_context *context, uint32_t site)
{
	uint64_t rip = context->code_base + JIT_SITE_OFFSET(site);

	return context->cpu->code_size == 8 ? rip : (uint32_t)rip;
}

/* find.c */
/* The key of what the vcpu runs next, without JIT_KEY_WINDOW. */
unsigned find_key(const struct x86_cpu *cpu);
/* 64-bit code, and 32-bit code in flat segments. */
bool find_translatable(const struct x86_cpu *cpu);
/* JIT_KEY_WINDOW if what is next runs in a window, which is ready then. */
unsigned find_window_key(struct jit_vcpu *self);
/* A context's jump caches of a privilege hold entries for one key, whose mode is the array's. */
void find_jump_key_set(struct jit_context *context, unsigned key);
/* Where a mode's lookups go when attention came between their halves, from code with that key. */
void find_poll_set(struct x86_tlb *tlb, unsigned mode, unsigned key);
/* Code of that key is what the context enters next: on the vcpu's thread. */
void find_direct_set(struct jit_context *context, unsigned key);
/* A block that is there already, for code whose page is in the fetch TLB: nothing can fault, no vector register is touched. */
struct jit_block *find_known(struct jit_vcpu *self, uint64_t linear, unsigned key);
/* The block at RIP, translated if need be. version: JIT_KEY_CAREFUL or 0. STEP: x86_step is for it; FAULT: its fetch has faulted, delivered. */
enum found { FOUND, FOUND_STEP, FOUND_FAULT };
enum found find_block(struct jit_vcpu *self, unsigned version, struct jit_block **block);
/* The jump in front of a LINK stub goes straight to the block from now on, if both are still of one page. */
void find_link(struct jit_vcpu *self, const uint8_t *site, const struct jit_block *block);
/* A stack frame over a page's end fails its group's check every time: from now on that check's miss goes straight to the careful version. */
void find_group_link(struct jit_vcpu *self, const uint8_t *site, const struct jit_block *careful);

/* run.c: struct engine's vcpu_run */
enum run_end run_vcpu(struct vcpu *vcpu);
/* In the signal that a trap of translated code has raised. */
bool run_trap_fault(void *vcpu, struct host_trap *trap);

#endif
