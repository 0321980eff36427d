/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - the loop of a vcpu's thread: enter the block at RIP, do what it came back for, serve what wants attention; and the reference CPU's handlers that
 * translated code calls.
 */
#include "engine/jit/vcpu.h"
#include "x86/execute.h"
#include "x86/memory.h"

/* false: it has faulted, and the fault's handler is next. */
static bool handler_run(struct jit_context *context, const struct x86_insn *insn, uint32_t site)
{
	struct x86_cpu *cpu = context->cpu;
	struct jit_vcpu *self = cpu->engine;

	vcpu_vector_release(context);
	self->handled++;
	self->undone = JIT_SITE_UNDONE(site) - 1;
	cpu->reg[X86_RIP] = vcpu_site_rip(context, site);
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
		 cpu->reg[X86_RIP] == vcpu_site_rip(context, site)) {
		self->undone = 0;
		return true;
	}
	return false;
}

static bool group_crosses(const struct jit_context *context)
{
	return (context->linear & (GUEST_PAGE_SIZE - 1)) + JIT_SITE_SIZE(jit_site(context->site)) > GUEST_PAGE_SIZE;
}

static void count(struct jit_vcpu *self, uint64_t executed)
{
	struct x86_cpu *cpu = &self->cpu;

	/* A boundary of COUNTED time, where others may look at the state. */
	if (self->translation.limited && executed == attend_room(cpu)) {
		vcpu_vector_release(jit_context(cpu->tlb));
		x86_instruction_done(cpu);
	}
	attend_count(self->vcpu, cpu, executed);
}

static void step(struct jit_vcpu *self)
{
	struct x86_cpu *cpu = &self->cpu;

	vcpu_vector_release(jit_context(cpu->tlb));
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
	vcpu_vector_release(jit_context(cpu->tlb));
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
	struct jit_trap trap;

	/* Every instruction that can trap has its site. */
	bug_on(!block ||
	       !trap_find(jit_block_traps(cache, block), block->traps, (uint64_t)(pc - jit_block_code(cache, block)), &trap));
	self->cpu.reg[X86_RIP] = vcpu_site_rip(context, (uint32_t)((uintptr_t)block->hva & (GUEST_PAGE_SIZE - 1)) + trap.guest);
	self->cpu.reg[X86_RSP] += (uint64_t)(int64_t)trap.stack;
	self->undone = trap.undone;
}

struct windows *jit_windows(struct x86_cpu *cpu)
{
	return &((struct jit_vcpu *)cpu->engine)->windows;
}

bool run_trap_fault(void *vcpu, struct host_trap *trap)
{
	struct jit_vcpu *self = vcpu;
	struct jit_context *context = jit_context(self->cpu.tlb);

	context->trap_address = trap->address;
	if (trap->address && windows_fault(&self->windows, trap->address, trap->write))
		return true;
	if (trap->rsp != (uintptr_t)context) { /* it is the guest's (direct.c) */
		bug_on(trap->r15 != (uintptr_t)context);
		trap->r15 = trap->rsp - context->direct;
		trap->rsp = (uintptr_t)context;
	}
	return false;
}

/* Where an instruction's memory operand is a device's: when the window has refused it often, it gets a check of its own. */
static void device_note(struct jit_vcpu *self, const struct x86_insn *insn, const uint8_t *hva)
{
	struct x86_cpu *cpu = &self->cpu;
	struct x86_translation translation;
	const uint8_t *there;

	/* Made anew as if its bytes had been written. */
	if (soft_possible(insn) &&
	    x86_page_find(cpu, windows_operand(cpu, insn), X86_PROBE, cpu->mode, &translation, &there) == X86_REFILL_NOT &&
	    soft_refused(&self->translation.soft, hva))
		cpu->memory->code_written(cpu->memory->engine, guest_memory_page(cpu->memory, hva),
					  cpu->reg[X86_RIP] & (GUEST_PAGE_SIZE - 1), 1);
}

/* A trap of windowed code. true: it has gone to a region for the first time, and can go on. */
static bool window_refused(struct jit_vcpu *self, const struct jit_context *context)
{
	struct x86_cpu *cpu = &self->cpu;
	uint64_t rip = cpu->reg[X86_RIP];
	const uint8_t *hva = x86_tlb_hit(&cpu->tlb->fetch[cpu->cpl == 3], rip, 1);
	struct x86_insn insn;

	if (!context->trap_address || !hva ||
	    x86_decode(&insn, hva, GUEST_PAGE_SIZE - (unsigned)(rip & (GUEST_PAGE_SIZE - 1)), 8) != X86_DECODE_OK)
		return false;
	if (windows_extend(&self->windows, context->trap_address, &insn))
		return true;
	device_note(self, &insn, hva);
	return false;
}

/* Translated code came back: RIP and what was not executed, exactly. */
static void arrive(struct jit_vcpu *self, struct jit_context *context, enum jit_exit reason)
{
	switch (reason) {
	case JIT_EXIT_STEP:
	case JIT_EXIT_ROOM:
		if (!(jit_site(context->site) & JIT_SITE_GO))
			self->undone = JIT_SITE_UNDONE(jit_site(context->site));
		break;
	case JIT_EXIT_LINK:
	case JIT_EXIT_POLL: break;
	case JIT_EXIT_NEXT: return;
	case JIT_EXIT_TRAP: trap(self, context); return;
	}
	self->cpu.reg[X86_RIP] = vcpu_site_rip(context, jit_site(context->site));
}

/* Enters the block at RIP and does what it comes back for. */
static void run(struct jit_vcpu *self)
{
	struct x86_cpu *cpu = &self->cpu;
	struct jit_context *context = jit_context(cpu->tlb);
	struct jit_block *block;
	const uint8_t *link = 0, *group = 0;
	unsigned version = 0;
	uint64_t flushes = self->cache.flushes;
	enum jit_exit reason;

	for (;;) {
		switch (find_block(self, version, &block)) {
		case FOUND: break;
		case FOUND_STEP: step(self); return;
		case FOUND_FAULT: count(self, 1); return;
		}
		if (link && flushes == self->cache.flushes)
			find_link(self, link, block);
		if (group && flushes == self->cache.flushes)
			find_group_link(self, group, block);
		link = group = 0;
		version = 0;
		find_jump_key_set(context, block->key & ~(JIT_KEY_CAREFUL | JIT_KEY_CROSSING));
		find_direct_set(context, block->key);
		count_begin(self, context);
		reason = jit_enter(context, jit_block_code(&self->cache, block));
		context = jit_context(cpu->tlb);
		arrive(self, context, reason);
		count_end(self, context);
		if (reason == JIT_EXIT_POLL || reason == JIT_EXIT_NEXT)
			return;
		if (atomic_load_explicit(&cpu->attention, memory_order_relaxed)) {
			/* What IRET has gone to is executed before anything is served: RF is gone already (light.c). */
			if (reason == JIT_EXIT_TRAP || (reason == JIT_EXIT_STEP && !(jit_site(context->site) & JIT_SITE_GO)))
				undone_execute(self);
			return;
		}
		switch (reason) {
		case JIT_EXIT_LINK:
			link = context->site;
			flushes = self->cache.flushes;
			break;
		case JIT_EXIT_STEP:
			if (jit_site(context->site) & JIT_SITE_GROUP)
				version = JIT_KEY_CAREFUL;
			if (jit_site(context->site) & JIT_SITE_GROUP && group_crosses(context)) {
				group = context->site;
				flushes = self->cache.flushes;
			}
			if (jit_site(context->site) & (JIT_SITE_GROUP | JIT_SITE_GO))
				break;
			undone_execute(self);
			return;
		case JIT_EXIT_ROOM:
			/* Too little room for the block: one by one. */
			if (attend_room(cpu) < VM_CLOCK_QUANTUM)
				step(self);
			return;
		case JIT_EXIT_TRAP:
			vcpu_vector_release(context);
			if (block->key & JIT_KEY_WINDOW && window_refused(self, context))
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
	if (self->undone || !ready(self) || !find_translatable(cpu))
		return 0;
	key = find_key(cpu) | find_window_key(self);
	block = find_known(self, cpu->reg[X86_RIP], key);
	if (!block)
		return 0;
	find_jump_key_set(jit_context(cpu->tlb), key);
	find_direct_set(jit_context(cpu->tlb), key);
	return jit_block_code(&self->cache, block);
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
		struct jit_context *context = jit_context(x86_tlb_context(&self->cpu, i));

		context->tsc_slow = slow;
		context->tsc_offset = clock->stopped_tsc - clock->tsc_base;
	}
}

enum run_end run_vcpu(struct vcpu *vcpu)
{
	struct jit_vcpu *self = vcpu->engine;
	struct x86_cpu *cpu = &self->cpu;
	enum run_end end;

	cpu->apic = vcpu->apic;
	cpu->apic_ops = vcpu->apic_ops;
	self->vcpu = vcpu;
	self->gs = 0;
	tsc_set(self);
	exclusive_vcpu_enter(vcpu);
	x86_attention(cpu, X86_ATTENTION_EVENT);
	for (;;) {
		if (ready(self)) {
			run(self);
			continue;
		}
		vcpu_vector_release(jit_context(cpu->tlb));
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
