/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jit.c - the translating engine: x86-64 guests on x86-64 hosts without hardware virtualization.
 *
 * Reading order: translate.c (what a block becomes; its essay first), context.h and thunk.c (what translated code stands on), cache.h (where
 * blocks are), then jit_vcpu_run below: find the block at RIP, enter it, do what it came back for. Real, VM86 and 16-bit code, single
 * steps and breakpoints run on x86_step.
 */
#include "engine/jit/jit.h"

#include <holon/vm.h>

#include "engine/attend.h"
#include "engine/jit/cache.h"
#include "engine/jit/context.h"
#include "engine/jit/translate.h"
#include "engine/jit/window.h"
#include "x86/code_page.h"
#include "x86/cpuid.h"
#include "x86/execute.h"
#include "x86/memory.h"

#define PAGE_MASK ((uint64_t)(X86_TLB_ENTRIES - 1) << GUEST_PAGE_SHIFT)
#define HIGH_MASK (~(uint64_t)(GUEST_PAGE_SIZE - 1))

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
	/* Pages whose code has gone stale, for this vcpu to drop from its jump caches; more than fit: all. Under the code pages' lock. */
	uint32_t stale[JIT_STALE], stales;
	_Atomic bool flush_wanted; /* by jit_flush; the vcpu's thread does it */
	uint64_t undone;           /* instructions counted by the last block and not executed */
	uint64_t count_base;       /* what context->count began at */
	/* The fill that has just failed is a page fault of its instruction, and no other fault of that comes before it. */
	bool page_fault;
	uint64_t fills, handled, steps, exceptions;
};

/* --- what translated code calls --- */

/* Before anything that may use the host's vector or x87 registers or look at the guest's. */
static void vector_release(struct jit_context *context)
{
	if (!context->vector_out) {
		jit_vector_store(&context->cpu->s);
		context->vector_out = 1;
	}
	if (!context->x87_out)
		jit_x87_store(context);
}

static uint64_t site_rip(const struct jit_context *context, uint32_t site)
{
	uint64_t rip = context->code_base + JIT_SITE_OFFSET(site);

	return context->cpu->code_size == 8 ? rip : (uint32_t)rip;
}

/* false: it has faulted, and the fault's handler is next. */
static bool handler_run(struct jit_context *context, const struct x86_insn *insn, uint32_t site)
{
	struct x86_cpu *cpu = context->cpu;
	struct jit_vcpu *self = cpu->engine;

	vector_release(context);
	self->handled++;
	self->undone = JIT_SITE_UNDONE(site) - 1;
	cpu->reg[X86_RIP] = site_rip(context, site);
	cpu->insn = insn;
	if (__builtin_setjmp(cpu->unwind)) {
		struct x86_cpu *unwound = context->cpu;

		((struct jit_vcpu *)unwound->engine)->exceptions++;
		unwound->unfinished = false;
		x86_fault_deliver(unwound);
		return false;
	}
	insn->execute(cpu, insn);
	self->undone += !x86_executed(cpu);
	return true;
}

/* What goes along when a handler has chosen another context. */
static void context_move(struct jit_context *from, struct jit_context *to)
{
	to->host_rsp = from->host_rsp;
	to->count = from->count;
}

/* Does the code that runs, in a window, have to be left for windows_use? */
static bool window_changed(const struct jit_vcpu *self, const struct jit_context *context)
{
	bool user = self->cpu.cpl == 3;

	return self->windows.changed[user] && context->jump_key[user] & JIT_KEY_WINDOW;
}

bool jit_handler(struct jit_context *context, const struct x86_insn *insn, uint32_t site)
{
	struct x86_cpu *cpu = context->cpu;
	struct jit_vcpu *self = cpu->engine;
	bool done = handler_run(context, insn, site);

	if (jit_context(cpu->tlb) != context)
		context_move(context, jit_context(cpu->tlb));
	else if (done && !atomic_load_explicit(&cpu->attention, memory_order_relaxed) && !window_changed(self, context) &&
		 cpu->reg[X86_RIP] == site_rip(context, site)) {
		self->undone = 0;
		return true;
	}
	return false;
}

/* --- blocks --- */

/* Of 64-bit code. */
static unsigned key_at(const struct x86_cpu *cpu, unsigned cpl, unsigned mode)
{
	unsigned key = mode;

	if (cpl == 3)
		key |= JIT_KEY_USER;
	else if (cpl == 0)
		key |= JIT_KEY_RING0;
	if (cpu->s.cr4 & X86_CR4_PKE)
		key |= JIT_KEY_PKE;
	if (cpu->s.cr4 & X86_CR4_FSGSBASE)
		key |= JIT_KEY_FSGSBASE;
	if (cpu->s.cr4 & X86_CR4_TSD)
		key |= JIT_KEY_TSD;
	if (cpu->s.cr4 & X86_CR4_SMAP)
		key |= JIT_KEY_SMAP;
	if (!(cpu->s.cr0 & (X86_CR0_EM | X86_CR0_TS)))
		key |= JIT_KEY_X87;
	if (cpu->s.cr4 & X86_CR4_OSFXSR && !(cpu->s.cr0 & (X86_CR0_EM | X86_CR0_TS))) {
		key |= JIT_KEY_SSE;
		if (cpu->s.cr4 & X86_CR4_OSXSAVE && (cpu->s.xcr0 & (X86_XCR0_SSE | X86_XCR0_AVX)) == (X86_XCR0_SSE | X86_XCR0_AVX))
			key |= JIT_KEY_AVX;
	}
	return key;
}

static unsigned key_of(const struct x86_cpu *cpu)
{
	unsigned key = key_at(cpu, cpu->cpl, cpu->mode);

	if (cpu->code_size == 4)
		key |= JIT_KEY_CODE32 | (cpu->stack_size == 4 ? 0 : JIT_KEY_STACK16);
	return key;
}

/* 64-bit code, and 32-bit code in flat segments. */
static bool translatable(const struct x86_cpu *cpu)
{
	unsigned flat = 1u << X86_ES | 1u << X86_SS | 1u << X86_DS;

	if (cpu->code_size == 8)
		return true;
	return cpu->code_size == 4 && (cpu->flat & flat) == flat && x86_protected(cpu) && cpu->s.segment[X86_CS].base == 0 &&
	       cpu->s.segment[X86_CS].limit == UINT32_MAX;
}

static uint64_t jump_index(uint64_t rip, uint64_t mask)
{
	uint64_t index;

	__asm__("pext %2, %1, %0" : "=r"(index) : "r"(rip), "r"(mask));
	return index;
}

/* A context's jump caches of a privilege hold entries for one key, whose mode is the array's. */
static void jump_key_set(struct jit_context *context, unsigned key)
{
	bool user = key & JIT_KEY_USER;

	key &= ~JIT_KEY_MODE;
	if (context->jump_key[user] == key)
		return;
	for (unsigned mode = 0; mode < X86_TLB_MODES; mode++)
		if ((mode == X86_MODE_USER) == user)
			x86_tlb_jumps_flush_mode(context->cpu->tlb, mode);
	context->jump_key[user] = (uint16_t)key;
}

#define LENGTH_MAX 15

/* JIT_KEY_WINDOW if what is next runs in a window, which is ready then. */
static unsigned window_key(struct jit_vcpu *self)
{
	struct jit_context *context = jit_context(self->cpu.tlb);
	enum window_state state = windows_state(&self->windows, context, self->cpu.cpl);

	if (state == WINDOW_LATER) {
		vector_release(context);
		state = windows_use(&self->windows, context);
	}
	return state == WINDOW_READY ? JIT_KEY_WINDOW : 0;
}

/* A block that is there already, for code whose page is in the fetch TLB: nothing can fault, no vector register is touched. */
static struct jit_block *block_known(struct jit_vcpu *self, uint64_t linear, unsigned key)
{
	struct x86_cpu *cpu = &self->cpu;
	const struct x86_tlb_array *fetch = &cpu->tlb->fetch[cpu->cpl == 3];
	const uint8_t *hva = x86_tlb_hit(fetch, linear, 1);
	struct jit_block *block;

	if (!hva)
		return 0;
	block = jit_cache_find(&self->cache, cpu->memory, hva, key);
	if (block || (linear & (GUEST_PAGE_SIZE - 1)) <= GUEST_PAGE_SIZE - LENGTH_MAX)
		return block;
	return jit_cache_find_crossing(&self->cache, cpu->memory, hva, x86_tlb_hit(fetch, (linear | (GUEST_PAGE_SIZE - 1)) + 1, 1),
				       key);
}

/* There is room. */
static struct jit_block *translate(struct jit_vcpu *self, const uint8_t *hva, uint64_t linear, unsigned key)
{
	self->translation.key = key;
	self->translation.mode = self->cpu.mode;
	self->translation.wide = self->cpu.code_size == 8;
	return jit_translate(&self->translation, hva, (unsigned)(GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1))));
}

/*
 * Walks and translates for a jump that has not been taken yet, without leaving translated code; what is not as usual is left to block_make. An indirect call may
 * still store to the stack with the TLB entry that it has found: so the page must be one of code already, which no TLB has an entry to write to.
 */
static struct jit_block *block_prepare(struct jit_vcpu *self, uint64_t linear, unsigned key)
{
	struct x86_cpu *cpu = &self->cpu;
	const uint8_t *hva = x86_tlb_hit(&cpu->tlb->fetch[cpu->cpl == 3], linear, 1);
	struct jit_block *block;

	if (!hva) {
		hva = x86_fetch_refill(cpu, linear);
		block = hva ? jit_cache_find(&self->cache, cpu->memory, hva, key) : 0;
		if (block || !hva)
			return block;
	}
	if (!(atomic_load_explicit(&cpu->memory->page_flags[guest_memory_page(cpu->memory, hva)], memory_order_seq_cst) &
	      GUEST_PAGE_CODE) ||
	    !jit_cache_room(&self->cache))
		return 0;
	vector_release(jit_context(cpu->tlb));
	cpu->reg[X86_RIP] = linear;
	return translate(self, hva, linear, key);
}

static bool jump_fill(struct jit_vcpu *self, struct x86_jump_array *array, uint64_t mask, uint64_t target)
{
	unsigned key = jit_context(self->cpu.tlb)->jump_key[self->cpu.cpl == 3] | self->cpu.mode;
	struct jit_block *block;

	if (atomic_load_explicit(&self->cpu.attention, memory_order_relaxed))
		return false;
	block = block_known(self, target, key);
	if (!block)
		block = block_prepare(self, target, key);
	return block && x86_tlb_jump_set(array, (unsigned)jump_index(target, mask), target, self->cache.code.execute + block->code,
					 block->key & JIT_KEY_CROSSING ? X86_JUMP_PAGES : block->page);
}

bool jit_fill(struct jit_context *context, uint64_t address, uint32_t site, unsigned kind)
{
	struct x86_cpu *cpu = context->cpu;
	struct jit_vcpu *self = cpu->engine;
	unsigned size = JIT_SITE_SIZE(site);
	enum x86_refill end;

	switch ((enum jit_fill)kind) {
	case JIT_FILL_JUMP: return jump_fill(self, &cpu->tlb->jump[cpu->mode], X86_JUMP_MASK, address);
	case JIT_FILL_RETURN: return jump_fill(self, &cpu->tlb->ret[cpu->mode], X86_RETURN_MASK, address);
	default: break;
	}
	self->fills++;
	end = x86_tlb_refill(cpu, address, size, kind == JIT_FILL_WRITE ? X86_WRITE : X86_READ);
	self->page_fault =
		end == X86_REFILL_FAULT && !(site & JIT_SITE_GROUP) && size <= 8 && !(address & (size - 1)) && context->x87_out;
	return end == X86_REFILL_DONE;
}

bool jit_limited(const struct x86_cpu *cpu)
{
	return ((const struct jit_vcpu *)cpu->engine)->translation.limited;
}

const void *jit_target(struct jit_context *context, uint64_t rip, unsigned cpl, unsigned mode)
{
	struct x86_cpu *cpu = context->cpu;
	struct jit_vcpu *self = cpu->engine;
	struct x86_jump_array *array = &cpu->tlb->jump[mode];
	unsigned key = key_at(cpu, cpl, mode), index = (unsigned)jump_index(rip, X86_JUMP_MASK);
	struct jit_block *block;
	const uint8_t *hva;

	switch (windows_state(&self->windows, context, cpl)) {
	case WINDOW_NONE: break;
	case WINDOW_READY: key |= JIT_KEY_WINDOW; break;
	case WINDOW_LATER: return 0;
	}
	if (context->jump_key[cpl == 3] != (key & ~JIT_KEY_MODE))
		return 0;
	if (index && array->tag[index] == 0 - rip)
		return (const void *)(uintptr_t)array->target[index];
	hva = x86_tlb_hit(&cpu->tlb->fetch[cpl == 3], rip, 1);
	block = hva ? jit_cache_find(&self->cache, cpu->memory, hva, key) : 0;
	if (!block)
		return 0;
	x86_tlb_jump_set(array, index, rip, self->cache.code.execute + block->code, block->page);
	return self->cache.code.execute + block->code;
}

/* Finds by walking and translates; may unwind with the fetch's fault. NULL: only x86_step can execute what is at RIP. */
static struct jit_block *block_make(struct jit_vcpu *self, uint64_t linear, unsigned key)
{
	struct x86_cpu *cpu = &self->cpu;
	struct jit_block *block;
	unsigned available, second_available;
	const uint8_t *hva, *second;

	cpu->insn = 0;
	hva = x86_fetch_pointer(cpu, linear, &available);
	if (!hva)
		return 0;
	block = block_known(self, linear, key);
	if (block)
		return block;
	if (!jit_cache_room(&self->cache)) {
		jit_cache_flush(&self->cache);
		x86_tlb_jumps_flush(cpu);
	}
	block = translate(self, hva, linear, key);
	if (block)
		return block;
	/* An instruction over a page's end. A fault of its second page's fetch is the instruction's. */
	if (linear > UINT64_MAX - GUEST_PAGE_SIZE || (cpu->code_size != 8 && linear > UINT32_MAX - GUEST_PAGE_SIZE))
		return 0;
	second = x86_fetch_pointer(cpu, linear + available, &second_available);
	if (!second || !x86_tlb_hit(&cpu->tlb->fetch[cpu->cpl == 3], linear, 1))
		return 0;
	block = jit_cache_find_crossing(&self->cache, cpu->memory, hva, second, key);
	return block ? block : jit_translate_crossing(&self->translation, hva, available, second);
}

enum found { FOUND, FOUND_STEP, FOUND_FAULT };

static __attribute__((noinline)) enum found block_find_slow(struct jit_vcpu *self, uint64_t linear, unsigned key,
							    struct jit_block **block)
{
	struct x86_cpu *cpu = &self->cpu;

	vector_release(jit_context(cpu->tlb));
	if (__builtin_setjmp(cpu->unwind)) {
		struct x86_cpu *unwound = &self->cpu;

		self->exceptions++;
		x86_fault_deliver(unwound);
		return FOUND_FAULT;
	}
	*block = block_make(self, linear, key);
	return *block ? FOUND : FOUND_STEP;
}

static enum found block_find(struct jit_vcpu *self, unsigned version, struct jit_block **block)
{
	struct x86_cpu *cpu = &self->cpu;
	unsigned key = key_of(cpu) | version;

	if (!translatable(cpu))
		return FOUND_STEP;
	key |= window_key(self);
	*block = block_known(self, cpu->reg[X86_RIP], key);
	return *block ? FOUND : block_find_slow(self, cpu->reg[X86_RIP], key, block);
}

/* The jump in front of a LINK stub goes straight to the block from now on, if both are still of one page. */
static void jump_link(struct jit_vcpu *self, const uint32_t *site, const struct jit_block *block)
{
	struct jit_cache *cache = &self->cache;
	const struct jit_block *source = jit_cache_block_at(cache, (const uint8_t *)site);
	int32_t distance;
	uint8_t *displacement;

	/* An instruction over a page's end depends on what is mapped behind it: it is found through lookups only. */
	if (!source || source->page != block->page || source->generation != block->generation || block->key & JIT_KEY_CROSSING ||
	    (source->key ^ block->key) & ~(JIT_KEY_CAREFUL | JIT_KEY_CROSSING | JIT_KEY_MODE))
		return;
	__builtin_memcpy(&distance, site + 1, sizeof(distance));
	displacement = cache->code.write + ((const uint8_t *)(site + 1) - cache->code.execute) + distance;
	emit_jump_set(displacement, cache->code.write + block->near);
}

const void *jit_link(struct jit_context *context, const uint32_t *site)
{
	struct x86_cpu *cpu = context->cpu;
	struct jit_vcpu *self = cpu->engine;
	uint64_t rip = site_rip(context, *site);
	struct jit_block *block;

	if (atomic_load_explicit(&cpu->attention, memory_order_relaxed))
		return 0;
	block = block_known(self, rip, context->jump_key[cpu->cpl == 3] | cpu->mode);
	if (!block)
		return 0;
	jump_link(self, site, block);
	cpu->reg[X86_RIP] = rip;
	return self->cache.code.execute + block->code;
}

_Static_assert(EMIT_CALL_BYTES(offsetof(struct jit_context, fill_read)) ==
		       EMIT_CALL_BYTES(offsetof(struct jit_context, fill_write)),
	       "group_link finds the call before the site");

/* A stack frame over a page's end fails its group's check every time: from now on that check's miss goes straight to the careful version. */
static void group_link(struct jit_vcpu *self, const uint32_t *site, const struct jit_block *careful)
{
	struct jit_cache *cache = &self->cache;
	const struct jit_block *source = jit_cache_block_at(cache, (const uint8_t *)site);
	struct emitter e = {cache->code.write + ((const uint8_t *)site - cache->code.execute) -
			    EMIT_CALL_BYTES(JIT_OFFSET(fill_read))};

	/* Counted instructions must be uncounted on the way. */
	if (self->translation.counted || !source || source->page != careful->page || source->generation != careful->generation ||
	    (source->key ^ careful->key) != JIT_KEY_CAREFUL)
		return;
	emit_jump_set(emit_jump(&e), cache->code.write + careful->near);
}

static bool group_crosses(const struct jit_context *context)
{
	return (context->linear & (GUEST_PAGE_SIZE - 1)) + JIT_SITE_SIZE(*context->site) > GUEST_PAGE_SIZE;
}

/* --- running --- */

static void count(struct jit_vcpu *self, uint64_t executed)
{
	struct x86_cpu *cpu = &self->cpu;

	/* A boundary of COUNTED time, where others may look at the state. */
	if (self->translation.limited && executed == attend_room(cpu)) {
		vector_release(jit_context(cpu->tlb));
		x86_instruction_done(cpu);
	}
	attend_count(self->vcpu, cpu, executed);
}

static void step(struct jit_vcpu *self)
{
	struct x86_cpu *cpu = &self->cpu;

	vector_release(jit_context(cpu->tlb));
	self->steps++;
	x86_step(cpu);
	count(self, x86_executed(cpu));
}

/*
 * A fill has failed. Most page faults need no second look at the instruction: not aligned accesses (#GP, #AC), long ones (masked moves), x87 with
 * an exception pending (#MF) and pushes (a CALL's target is looked at first) do.
 */
static void undone_execute(struct jit_vcpu *self)
{
	struct x86_cpu *cpu = &self->cpu;

	if (!self->page_fault || (cpu->fault_error & X86_PF_W && cpu->reg[X86_RSP] - cpu->fault_address <= 8)) {
		self->page_fault = false;
		step(self);
		return;
	}
	self->page_fault = false;
	self->exceptions++;
	vector_release(jit_context(cpu->tlb));
	cpu->insn = 0;
	cpu->fault_vector = X86_PF;
	cpu->fault_has_error = true;
	cpu->s.cr2 = cpu->fault_address;
	x86_fault_deliver(cpu);
	count(self, 1);
}

/* Translated code counts up from here; over INT64_MAX it leaves. */
static void count_begin(struct jit_vcpu *self, struct jit_context *context)
{
	self->count_base = self->translation.limited ? INT64_MAX - attend_room(&self->cpu) : 0;
	context->count = self->count_base;
}

static void count_end(struct jit_vcpu *self, struct jit_context *context)
{
	uint64_t undone = self->undone;

	self->undone = 0;
	if (self->translation.counted)
		count(self, context->count - self->count_base - undone);
}

/* An instruction has trapped: RIP is put on it. */
static void trap(struct jit_vcpu *self, struct jit_context *context)
{
	struct jit_cache *cache = &self->cache;
	const uint8_t *pc = (const uint8_t *)(uintptr_t)context->trap_pc;
	const struct jit_block *block = jit_cache_block_at(cache, pc);
	const struct jit_trap_site *site;
	uint64_t offset;

	bug_on(!block);
	offset = (uint64_t)(pc - (cache->code.execute + block->code));
	site = (const struct jit_trap_site *)(cache->code.write + block->end);
	for (unsigned i = 0; i < block->traps; i++) {
		if (site[i].host_end <= offset)
			continue;
		self->cpu.reg[X86_RIP] = site_rip(context, site[i].offset);
		self->undone = site[i].undone;
		return;
	}
	bug_on(true); /* every instruction that can trap has its site */
}

struct windows *jit_windows(struct x86_cpu *cpu)
{
	return &((struct jit_vcpu *)cpu->engine)->windows;
}

/* In the signal that a trap of translated code has raised. */
static bool trap_fault(void *rsp, uint64_t address, bool write)
{
	struct jit_context *context = rsp;

	context->trap_address = address;
	return address && windows_fault(jit_windows(context->cpu), address, write);
}

/* A trap where windowed code has gone to a region for the first time. true: it can go on. */
static bool window_extend(struct jit_vcpu *self, const struct jit_context *context)
{
	struct x86_cpu *cpu = &self->cpu;
	uint64_t rip = cpu->reg[X86_RIP];
	const uint8_t *hva = x86_tlb_hit(&cpu->tlb->fetch[cpu->cpl == 3], rip, 1);
	struct x86_insn insn;

	return context->trap_address && hva &&
	       x86_decode(&insn, hva, GUEST_PAGE_SIZE - (unsigned)(rip & (GUEST_PAGE_SIZE - 1)), 8) == X86_DECODE_OK &&
	       windows_extend(&self->windows, context->trap_address, &insn);
}

/* Translated code came back: RIP and what was not executed, exactly. */
static void arrive(struct jit_vcpu *self, struct jit_context *context, enum jit_exit reason)
{
	switch (reason) {
	case JIT_EXIT_STEP:
	case JIT_EXIT_ROOM:
		if (!(*context->site & JIT_SITE_GO))
			self->undone = JIT_SITE_UNDONE(*context->site);
		break;
	case JIT_EXIT_LINK:
	case JIT_EXIT_POLL: break;
	case JIT_EXIT_NEXT: return;
	case JIT_EXIT_TRAP: trap(self, context); return;
	}
	self->cpu.reg[X86_RIP] = site_rip(context, *context->site);
}

/* Enters the block at RIP and does what it comes back for. */
static void run(struct jit_vcpu *self)
{
	struct x86_cpu *cpu = &self->cpu;
	struct jit_context *context = jit_context(cpu->tlb);
	struct jit_block *block;
	const uint32_t *link = 0, *group = 0;
	unsigned version = 0;
	uint64_t flushes = self->cache.flushes;
	enum jit_exit reason;

	for (;;) {
		switch (block_find(self, version, &block)) {
		case FOUND: break;
		case FOUND_STEP: step(self); return;
		case FOUND_FAULT: count(self, 1); return;
		}
		if (link && flushes == self->cache.flushes)
			jump_link(self, link, block);
		if (group && flushes == self->cache.flushes)
			group_link(self, group, block);
		link = group = 0;
		version = 0;
		jump_key_set(context, block->key & ~(JIT_KEY_CAREFUL | JIT_KEY_CROSSING));
		count_begin(self, context);
		reason = jit_enter(context, self->cache.code.execute + block->code);
		context = jit_context(cpu->tlb);
		arrive(self, context, reason);
		count_end(self, context);
		if (reason == JIT_EXIT_POLL || reason == JIT_EXIT_NEXT)
			return;
		if (atomic_load_explicit(&cpu->attention, memory_order_relaxed)) {
			/* What IRET has gone to is executed before anything is served: RF is gone already (light.c). */
			if (reason == JIT_EXIT_TRAP || (reason == JIT_EXIT_STEP && !(*context->site & JIT_SITE_GO)))
				undone_execute(self);
			return;
		}
		switch (reason) {
		case JIT_EXIT_LINK:
			link = context->site;
			flushes = self->cache.flushes;
			break;
		case JIT_EXIT_STEP:
			if (*context->site & JIT_SITE_GROUP)
				version = JIT_KEY_CAREFUL;
			if (*context->site & JIT_SITE_GROUP && group_crosses(context)) {
				group = context->site;
				flushes = self->cache.flushes;
			}
			if (*context->site & (JIT_SITE_GROUP | JIT_SITE_GO))
				break;
			undone_execute(self);
			return;
		case JIT_EXIT_ROOM:
			/* Too little room for the block: one by one. */
			if (attend_room(cpu) < VM_CLOCK_QUANTUM)
				step(self);
			return;
		case JIT_EXIT_TRAP:
			if (block->key & JIT_KEY_WINDOW && window_extend(self, context))
				break;
			step(self);
			return;
		default: step(self); return;
		}
	}
}

/* Between two instructions, before translated code is entered again. False: something wants attention. */
static bool ready(struct jit_vcpu *self)
{
	struct jit_context *context = jit_context(self->cpu.tlb);
	uint32_t why;

	/* The mask first: who wants attention sets the word and then clears the mask, so one of the two is seen. */
	if (!__atomic_load_n(&context->jump_mask, __ATOMIC_RELAXED) || !__atomic_load_n(&context->return_mask, __ATOMIC_RELAXED)) {
		__atomic_store_n(&context->jump_mask, X86_JUMP_MASK, __ATOMIC_SEQ_CST);
		__atomic_store_n(&context->return_mask, X86_RETURN_MASK, __ATOMIC_SEQ_CST);
	}
	why = atomic_load_explicit(&self->cpu.attention, memory_order_seq_cst);
	/* A change of mode alone is done when the next block is looked up, unless an interrupt waited for IF. */
	if (why == X86_ATTENTION_MODE && !self->cpu.event_waiting && !(self->cpu.s.rflags & (X86_FLAG_TF | X86_FLAG_RF)) &&
	    !(self->cpu.s.dr7 & 0xff) && !self->cpu.s.interrupt_shadow && !self->cpu.s.pending_debug &&
	    atomic_compare_exchange_strong(&self->cpu.attention, &why, 0))
		return true;
	return !why;
}

/* As run does it, without leaving. */
const void *jit_handler_end(struct jit_context *context, const struct x86_insn *insn, uint32_t site)
{
	struct x86_cpu *cpu = context->cpu;
	struct jit_vcpu *self = cpu->engine;
	struct jit_block *block;
	unsigned key;

	handler_run(context, insn, site);
	if (jit_context(cpu->tlb) != context)
		context_move(context, jit_context(cpu->tlb));
	if (self->undone || !ready(self) || !translatable(cpu))
		return 0;
	key = key_of(cpu) | window_key(self);
	block = block_known(self, cpu->reg[X86_RIP], key);
	if (!block)
		return 0;
	jump_key_set(jit_context(cpu->tlb), key);
	return self->cache.code.execute + block->code;
}

static void stale_drop(struct jit_vcpu *self)
{
	struct x86_code_pages *pages = &self->vm->pages;

	if (!__atomic_load_n(&self->stales, __ATOMIC_ACQUIRE))
		return;
	host_mutex_lock(&pages->lock);
	if (self->stales > JIT_STALE)
		x86_tlb_jumps_flush(&self->cpu);
	for (unsigned i = 0; i < self->stales && i < JIT_STALE; i++)
		x86_tlb_jumps_flush_page(&self->cpu, self->stale[i]);
	__atomic_store_n(&self->stales, 0, __ATOMIC_RELEASE);
	host_mutex_unlock(&pages->lock);
}

/* Between two instructions, so that no block is being run or translated. */
static void flush_if_wanted(struct jit_vcpu *self)
{
	if (__builtin_expect(!atomic_load_explicit(&self->flush_wanted, memory_order_relaxed), 1))
		return;
	atomic_store(&self->flush_wanted, false);
	jit_cache_flush(&self->cache);
	x86_tlb_flush_all(&self->cpu);
	x86_tlb_jumps_flush(&self->cpu);
}

#define TSC_SETTLED 1000000 /* ticks; more than processors' counters differ by */

/* The clock changes its pace only while every vcpu stands. */
static void tsc_set(struct jit_vcpu *self)
{
	const struct vm_clock *clock = &self->vcpu->vm->clock;
	bool slow = clock->mode != CLOCK_REAL || clock->host_khz != clock->tsc_khz ||
		    (int64_t)(host_tsc() - clock->tsc_base) < TSC_SETTLED;

	for (unsigned i = 0; i <= X86_TLB_CONTEXTS; i++) {
		struct jit_context *context = jit_context(&self->cpu.tlb_contexts[i]);

		context->tsc_slow = slow;
		context->tsc_offset = clock->stopped_tsc - clock->tsc_base;
	}
}

static enum run_end jit_vcpu_run(struct vcpu *vcpu)
{
	struct jit_vcpu *self = vcpu->engine;
	struct x86_cpu *cpu = &self->cpu;
	enum run_end end;

	cpu->apic = vcpu->apic;
	cpu->apic_ops = vcpu->apic_ops;
	self->vcpu = vcpu;
	tsc_set(self);
	exclusive_vcpu_enter(vcpu);
	x86_attention(cpu, X86_ATTENTION_EVENT);
	for (;;) {
		if (ready(self)) {
			run(self);
			continue;
		}
		vector_release(jit_context(cpu->tlb));
		windows_tick(&self->windows);
		x86_instruction_done(cpu);
		if (!attend(vcpu, cpu, &self->counts, &end))
			break;
		stale_drop(self);
		flush_if_wanted(self);
	}
	exclusive_vcpu_leave(vcpu);
	return end;
}

/* Any thread: translated code leaves at its next lookup or backward jump. */
static void interrupt(struct jit_vcpu *self, uint32_t why)
{
	x86_attention(&self->cpu, why);
	for (unsigned i = 0; i <= X86_TLB_CONTEXTS; i++) {
		struct jit_context *context = jit_context(&self->cpu.tlb_contexts[i]);

		__atomic_store_n(&context->return_mask, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&context->jump_mask, 0, __ATOMIC_SEQ_CST);
	}
}

static void jit_vcpu_kick(struct vcpu *vcpu)
{
	interrupt(vcpu->engine, X86_ATTENTION_REQUEST | X86_ATTENTION_EXCLUSIVE);
}

/* A page's code has changed. Any thread, under the code pages' lock. */
static void code_invalidated(void *engine, uint64_t page)
{
	struct jit_vm *vm = engine;

	for (unsigned i = 0; i < vm->pages.cpus; i++) {
		struct jit_vcpu *vcpu = vm->pages.cpu[i]->engine;

		if (vcpu->stales < JIT_STALE)
			vcpu->stale[vcpu->stales] = (uint32_t)page;
		if (vcpu->stales <= JIT_STALE)
			__atomic_store_n(&vcpu->stales, vcpu->stales + 1, __ATOMIC_RELEASE);
		interrupt(vcpu, X86_ATTENTION_CODE);
	}
}

/* --- struct engine --- */

/* BMI2 for the flag-free lookups, AVX to keep the guest's vector registers whole. */
static bool host_has_bmi2_avx(void)
{
	uint32_t eax = 1, ebx, ecx = 0, edx, xcr0, xcr0_high;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	if (!(ecx >> 27 & 1) || !(ecx >> 28 & 1))
		return false;
	__asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(xcr0_high) : "c"(0));
	eax = 7;
	ecx = 0;
	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return (xcr0 & 6) == 6 && ebx >> 8 & 1;
}

/* LOOP is one operation on AMD's processors (and Hygon's), seven or more on others. */
static bool host_loop_slow(void)
{
	uint32_t eax = 0, ebx, ecx = 0, edx;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return ebx != 0x68747541 && ebx != 0x6f677948; /* Auth, Hygo */
}

static enum status jit_probe(struct reason *why)
{
	if (!host_has_bmi2_avx())
		return reason_give(why, STATUS_UNSUPPORTED, "jit: this processor has no BMI2 or no AVX: use --engine interp");
	return reason_give(why, STATUS_OK, "jit: translates on any x86-64 host with BMI2 and AVX");
}

static void jit_vm_detach(struct vm *vm)
{
	struct jit_vm *self = vm->engine_data;

	if (!self)
		return;
	x86_code_pages_destroy(&self->pages);
	host_free(self, sizeof(*self));
	vm->engine_data = 0;
}

static enum status jit_vm_attach(struct vm *vm, struct reason *why)
{
	struct jit_vm *self = host_allocate(sizeof(*self));

	vm->engine_data = self;
	if (!self || x86_code_pages_init(&self->pages, &vm->memory) != STATUS_OK) {
		jit_vm_detach(vm);
		return reason_give(why, STATUS_NO_MEMORY, "jit: no memory for the engine: free some on the host");
	}
	self->pages.invalidated = code_invalidated;
	self->pages.engine = self;
	return STATUS_OK;
}

static void context_init(struct jit_vcpu *self, struct x86_tlb *tlb)
{
	struct jit_context *context = jit_context(tlb);

	*context = (struct jit_context){
		.page_mask = PAGE_MASK,
		.region_mask = JIT_REGION_MASK,
		.high_mask = HIGH_MASK,
		.jump_mask = X86_JUMP_MASK,
		.vector_out = 1,
		.x87_out = 1,
		.x87_load = jit_thunk_x87_load,
		.x87_area = self->x87_area,
		.not_if = ~X86_FLAG_IF,
		.not_ac = ~X86_FLAG_AC,
		.status = X86_FLAGS_STATUS,
		.df = X86_FLAG_DF,
		.not_df = ~X86_FLAG_DF,
		.bit_far = {~UINT64_C(15), ~UINT64_C(31), ~UINT64_C(63)},
		.bit_near = {15, 31, 63},
		.system = ~(X86_FLAGS_STATUS | X86_FLAG_RF | X86_FLAG_VM),
		.fill_read = jit_thunk_fill_read,
		.fill_write = jit_thunk_fill_write,
		.fill_stack = {{jit_thunk_stack_read_0, jit_thunk_stack_write_0},
			       {jit_thunk_stack_read_1, jit_thunk_stack_write_1},
			       {jit_thunk_stack_read_2, jit_thunk_stack_write_2}},
		.handler = jit_thunk_handler,
		.vector_load = jit_thunk_vector_load,
		.return_mask = X86_RETURN_MASK,
		.jump_fill = jit_thunk_jump_fill,
		.return_fill = jit_thunk_return_fill,
		.exit_link = jit_thunk_exit_link,
		.exit_poll = jit_thunk_exit_poll,
		.exit_room = jit_thunk_exit_room,
		.sign_mask = UINT64_C(1) << 63,
		.handler_end = jit_thunk_handler_end,
		.light_syscall = jit_thunk_light_syscall,
		.light_sysret = jit_thunk_light_sysret,
		.light_iret = jit_thunk_light_iret,
		.tsc_slow = 1,
		.canonical = UINT64_MAX << 47,
		.not_canonical = UINT64_C(0x1fffe),
		.cpu = &self->cpu,
	};
	/* No target has index 0 (x86_tlb_jump_set): a lookup gets there when the mask was cleared after its first half had hit. */
	for (unsigned mode = 0; mode < X86_TLB_MODES; mode++)
		tlb->jump[mode].target[0] = tlb->ret[mode].target[0] = (uintptr_t)jit_thunk_jump_poll;
}

static void jit_vcpu_destroy(struct vcpu *vcpu)
{
	struct jit_vcpu *self = vcpu->engine;

	if (!self)
		return;
	if (self->cache.code.execute)
		host_trap_range_remove(self->cache.code.execute);
	windows_destroy(&self->windows);
	jit_cache_destroy(&self->cache);
	x86_cpu_destroy(&self->cpu);
	host_free(self, sizeof(*self));
	vcpu->engine = 0;
}

static uint64_t cache_size(const struct vm *vm)
{
	uint64_t size = (vm->config->jit_cache ? vm->config->jit_cache : JIT_CACHE_DEFAULT) / vm->vcpus;

	size &= ~(uint64_t)(GUEST_PAGE_SIZE - 1);
	return size < JIT_CACHE_MIN ? JIT_CACHE_MIN : size > INT32_MAX ? (uint64_t)INT32_MAX + 1 - GUEST_PAGE_SIZE : size;
}

static enum status jit_vcpu_create(struct vcpu *vcpu, struct reason *why)
{
	struct vm *vm = vcpu->vm;
	struct jit_vcpu *self = host_allocate(sizeof(*self));

	vcpu->engine = self;
	if (!self)
		goto no_memory;
	self->vm = vm->engine_data;
	self->cpu.id = vcpu->id;
	self->cpu.memory = &vm->memory;
	self->cpu.platform = &vcpu_platform;
	self->cpu.machine = vcpu;
	self->cpu.model = vm->cpu_model;
	self->cpu.engine = self;
	if (x86_cpu_create(&self->cpu) != STATUS_OK || jit_cache_create(&self->cache, cache_size(vm)) != STATUS_OK)
		goto no_memory;
	if (host_trap_redirect_add(self->cache.code.execute, self->cache.code.execute + self->cache.code.size, jit_thunk_trap,
				   trap_fault) != STATUS_OK)
		goto no_memory;
	self->translation.cache = &self->cache;
	self->translation.pages = &self->vm->pages;
	self->translation.cpu = &self->cpu;
	self->translation.watch = vm->code_watch;
	self->translation.loop_slow = host_loop_slow();
	self->translation.counted = vm->config->stats_path || vm->config->deterministic;
	self->translation.limited = vm->config->deterministic;
	for (unsigned i = 0; i <= X86_TLB_CONTEXTS; i++)
		context_init(self, &self->cpu.tlb_contexts[i]);
	windows_create(&self->windows, &self->cpu, vm->config->jit_window, vm->vcpus);
	x86_code_pages_cpu_add(&self->vm->pages, &self->cpu);
	return STATUS_OK;
no_memory:
	jit_vcpu_destroy(vcpu);
	return reason_give(why, STATUS_NO_MEMORY,
			   "jit: no memory for vcpu %u: use fewer vcpus, a smaller --jit-cache, or free memory on the host",
			   vcpu->id);
}

static struct x86_cpu *jit_cpu(const struct vcpu *vcpu)
{
	return &((struct jit_vcpu *)vcpu->engine)->cpu;
}

static void jit_run_exclusive(struct vm *vm, void (*fn)(void *argument), void *argument)
{
	exclusive_run(vm, 0, fn, argument);
}

static enum status jit_vcpu_get(struct vcpu *vcpu, struct x86_state *out)
{
	return attend_vcpu_get(vcpu, jit_cpu(vcpu), out);
}

static enum status jit_vcpu_set(struct vcpu *vcpu, const struct x86_state *in)
{
	return attend_vcpu_set(vcpu, jit_cpu(vcpu), in);
}

static enum status jit_dirty_start(struct vm *vm)
{
	return attend_dirty_start(vm, jit_cpu);
}

static enum status jit_dirty_collect(struct vm *vm, uint64_t *bitmap)
{
	return attend_dirty_collect(vm, bitmap, jit_cpu);
}

static void jit_dirty_stop(struct vm *vm)
{
	guest_memory_dirty_stop(&vm->memory);
}

static void jit_flush(struct vcpu *vcpu)
{
	struct jit_vcpu *self = vcpu->engine;

	atomic_store(&self->flush_wanted, true);
	interrupt(self, X86_ATTENTION_REQUEST);
}

static void jit_stats(struct vm *vm, struct engine_stats *out)
{
	*out = (struct engine_stats){0};
	for (unsigned i = 0; i < vm->vcpus; i++) {
		const struct jit_vcpu *self = vm->vcpu[i]->engine;

		if (!self)
			continue;
		out->instructions += self->cpu.instructions;
		out->blocks_translated += self->cache.translated;
		out->cache_flushes += self->cache.flushes;
		out->tlb_misses += self->cpu.tlb_misses;
		out->slow_path_calls += self->fills + self->handled;
		out->exits_fallback += self->steps;
		out->exits_port += self->cpu.port_accesses;
		out->exits_mmio += self->cpu.device_accesses;
		out->exits_halt += self->counts.halt;
		out->exits_interrupt += self->counts.interrupt;
		out->exits_exception += self->exceptions;
		out->exits_kick += self->counts.kick;
	}
}

const struct engine engine_jit = {
	.name = "jit",
	.counts = true,
	.probe = jit_probe,
	.vm_attach = jit_vm_attach,
	.vm_detach = jit_vm_detach,
	.vcpu_create = jit_vcpu_create,
	.vcpu_destroy = jit_vcpu_destroy,
	.vcpu_run = jit_vcpu_run,
	.vcpu_kick = jit_vcpu_kick,
	.run_exclusive = jit_run_exclusive,
	.vcpu_get = jit_vcpu_get,
	.vcpu_set = jit_vcpu_set,
	.dirty_start = jit_dirty_start,
	.dirty_collect = jit_dirty_collect,
	.dirty_stop = jit_dirty_stop,
	.flush = jit_flush,
	.stats = jit_stats,
};
