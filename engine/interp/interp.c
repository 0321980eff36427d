/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp.c - the interpreter engine: a loop around x86/execute, over decoded blocks.
 *
 * The reference that other engines are judged against; runs anywhere. Read interp_vcpu_run first: it alternates between
 * looking up (attend: requests, events, halts) and running blocks until something asks for attention again.
 */
#include "engine/interp/interp.h"

#include <holon/vm.h>

#include "engine/attend.h"
#include "engine/interp/block.h"
#include "x86/code_page.h"
#include "x86/execute.h"
#include "x86/memory.h"

struct interp_vm {
	struct x86_code_pages pages;
};

struct interp_vcpu {
	struct x86_cpu cpu;
	struct interp_cache cache;
	struct interp_vm *vm;
	struct vcpu *vcpu;
	bool counted;                 /* the clock counts instructions */
	_Atomic bool flush_wanted;    /* by interp_flush; the vcpu's thread does it */
	const struct x86_insn *first; /* of the block that runs */
	struct attend_counts counts;
	uint64_t exceptions;
};

/* The block at RIP, or NULL where only x86_step can go on (page-crossing instruction, code in device memory, near the CS limit). May unwind with a fetch fault. */
static struct interp_block *block_at_rip(struct interp_vcpu *self)
{
	struct x86_cpu *cpu = &self->cpu;
	uint64_t rip = cpu->reg[X86_RIP];
	uint64_t linear = cpu->code_size == 8 ? rip : (uint32_t)(cpu->s.segment[X86_CS].base + rip);
	const uint8_t *hva = x86_tlb_hit(&cpu->tlb->fetch[cpu->cpl == 3], linear, 1);
	struct interp_block *block;

	if (__builtin_expect(!hva, 0)) {
		unsigned available;

		cpu->insn = 0; /* a fault here is the fetch's */
		hva = x86_fetch_pointer(cpu, linear, &available);
		if (!hva)
			return 0;
	}
	block = interp_block_find(&self->cache, cpu->memory, hva, cpu->code_size);
	if (!block)
		block = interp_block_decode(&self->cache, &self->vm->pages, cpu, hva,
					    GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1)));
	if (block && cpu->code_size != 8 && rip + block->length - 1 > cpu->s.segment[X86_CS].limit)
		return 0;
	return block;
}

static __attribute__((noinline)) void fault(struct interp_vcpu *self)
{
	struct x86_cpu *cpu = &self->cpu;
	/* What faults counts as executed; no instruction: its fetch. */
	uint64_t executed = cpu->insn ? (uint64_t)(cpu->insn - self->first) + 1 : 1;

	self->exceptions++;
	cpu->unfinished = false;
	x86_fault_deliver(cpu);
	attend_count(self->vcpu, cpu, executed);
}

/* Runs until attention is wanted or a fault was delivered. */
static __attribute__((noinline)) void blocks_run(struct interp_vcpu *self)
{
	struct x86_cpu *cpu = &self->cpu;

	if (__builtin_setjmp(cpu->unwind)) {
		/* Reached by __builtin_longjmp: nothing that lived in a register is left. */
		fault(self);
		return;
	}
	while (!atomic_load_explicit(&cpu->attention, memory_order_relaxed)) {
		struct interp_block *block = block_at_rip(self);
		const struct x86_insn *insn, *end;

		if (__builtin_expect(!block, 0)) {
			x86_step(cpu);
			attend_count(self->vcpu, cpu, x86_executed(cpu));
			return; /* x86_step has used the unwind buffer */
		}
		insn = self->first = block->insn;
		end = insn + block->count;
		if (__builtin_expect(self->counted, 0) && block->count > attend_room(cpu))
			end = insn + attend_room(cpu);
		do {
			cpu->insn = insn;
			cpu->reg[X86_RIP] += insn->length;
			insn->execute(cpu, insn);
			insn++;
		} while (insn != end && !atomic_load_explicit(&cpu->attention, memory_order_relaxed));
		if (__builtin_expect(self->counted, 0))
			x86_instruction_done(cpu);
		attend_count(self->vcpu, cpu, (uint64_t)(insn - block->insn) - !x86_executed(cpu));
	}
	x86_instruction_done(cpu);
}

/* Between two instructions, so that no block is being run or decoded. */
static void flush_if_wanted(struct interp_vcpu *self)
{
	if (__builtin_expect(!atomic_load_explicit(&self->flush_wanted, memory_order_relaxed), 1))
		return;
	atomic_store(&self->flush_wanted, false);
	interp_cache_flush(&self->cache);
	x86_tlb_flush_all(&self->cpu);
}

static enum run_end interp_vcpu_run(struct vcpu *vcpu)
{
	struct interp_vcpu *self = vcpu->engine;
	enum run_end end;

	self->cpu.apic = vcpu->apic;
	self->cpu.apic_ops = vcpu->apic_ops;
	self->vcpu = vcpu;
	self->counted = vcpu->vm->clock.mode == CLOCK_COUNTED;
	exclusive_vcpu_enter(vcpu);
	x86_attention(&self->cpu, X86_ATTENTION_EVENT);
	while (attend(vcpu, &self->cpu, &self->counts, &end)) {
		flush_if_wanted(self);
		blocks_run(self);
	}
	exclusive_vcpu_leave(vcpu);
	return end;
}

static void interp_vcpu_kick(struct vcpu *vcpu)
{
	struct interp_vcpu *self = vcpu->engine;

	x86_attention(&self->cpu, X86_ATTENTION_REQUEST | X86_ATTENTION_EXCLUSIVE);
}

static void interp_run_exclusive(struct vm *vm, void (*fn)(void *argument), void *argument)
{
	exclusive_run(vm, 0, fn, argument);
}

static enum status interp_probe(struct reason *why)
{
	return reason_give(why, STATUS_OK, "interp: runs on any host");
}

static enum status interp_vm_attach(struct vm *vm, struct reason *why)
{
	struct interp_vm *self = host_allocate(sizeof(*self));

	if (!self || x86_code_pages_init(&self->pages, &vm->memory) != STATUS_OK) {
		if (self)
			host_free(self, sizeof(*self));
		return reason_give(why, STATUS_NO_MEMORY, "interp: no memory for the engine: free some on the host");
	}
	vm->engine_data = self;
	return STATUS_OK;
}

static void interp_vm_detach(struct vm *vm)
{
	struct interp_vm *self = vm->engine_data;

	if (!self)
		return;
	x86_code_pages_destroy(&self->pages);
	host_free(self, sizeof(*self));
	vm->engine_data = 0;
}

static void interp_vcpu_destroy(struct vcpu *vcpu)
{
	struct interp_vcpu *self = vcpu->engine;

	if (!self)
		return;
	interp_cache_destroy(&self->cache);
	x86_cpu_destroy(&self->cpu);
	host_free(self, sizeof(*self));
	vcpu->engine = 0;
}

static enum status interp_vcpu_create(struct vcpu *vcpu, struct reason *why)
{
	struct vm *vm = vcpu->vm;
	struct interp_vcpu *self = host_allocate(sizeof(*self));

	if (!self)
		goto no_memory;
	vcpu->engine = self;
	self->vm = vm->engine_data;
	self->cpu.id = vcpu->id;
	self->cpu.memory = &vm->memory;
	self->cpu.platform = &vcpu_platform;
	self->cpu.machine = vcpu;
	self->cpu.model = vm->cpu_model;
	self->cpu.engine = self;
	if (x86_cpu_create(&self->cpu) != STATUS_OK || interp_cache_create(&self->cache) != STATUS_OK) {
		interp_vcpu_destroy(vcpu);
		goto no_memory;
	}
	x86_code_pages_cpu_add(&self->vm->pages, &self->cpu);
	return STATUS_OK;
no_memory:
	return reason_give(why, STATUS_NO_MEMORY, "interp: no memory for vcpu %u: use fewer vcpus or free memory on the host",
			   vcpu->id);
}

static struct x86_cpu *interp_cpu(const struct vcpu *vcpu)
{
	return &((struct interp_vcpu *)vcpu->engine)->cpu;
}

static enum status interp_vcpu_get(struct vcpu *vcpu, struct x86_state *out)
{
	return attend_vcpu_get(vcpu, interp_cpu(vcpu), out);
}

static enum status interp_vcpu_set(struct vcpu *vcpu, const struct x86_state *in)
{
	return attend_vcpu_set(vcpu, interp_cpu(vcpu), in);
}

static enum status interp_dirty_start(struct vm *vm)
{
	return attend_dirty_start(vm, interp_cpu);
}

static enum status interp_dirty_collect(struct vm *vm, uint64_t *bitmap)
{
	return attend_dirty_collect(vm, bitmap, interp_cpu);
}

static void interp_dirty_stop(struct vm *vm)
{
	guest_memory_dirty_stop(&vm->memory);
}

static void interp_flush(struct vcpu *vcpu)
{
	struct interp_vcpu *self = vcpu->engine;

	atomic_store(&self->flush_wanted, true);
	x86_attention(&self->cpu, X86_ATTENTION_REQUEST);
}

static void interp_stats(struct vm *vm, struct engine_stats *out)
{
	*out = (struct engine_stats){0};
	for (unsigned i = 0; i < vm->vcpus; i++) {
		const struct interp_vcpu *self = vm->vcpu[i]->engine;

		if (!self)
			continue;
		out->instructions += self->cpu.instructions;
		out->blocks_translated += self->cache.decoded;
		out->cache_flushes += self->cache.flushes;
		out->tlb_misses += self->cpu.tlb_misses;
		out->exits_port += self->cpu.port_accesses;
		out->exits_mmio += self->cpu.device_accesses;
		out->exits_halt += self->counts.halt;
		out->exits_interrupt += self->counts.interrupt;
		out->exits_exception += self->exceptions;
		out->exits_kick += self->counts.kick;
	}
}

const struct engine engine_interp = {
	.name = "interp",
	.counts = true,
	.probe = interp_probe,
	.vm_attach = interp_vm_attach,
	.vm_detach = interp_vm_detach,
	.vcpu_create = interp_vcpu_create,
	.vcpu_destroy = interp_vcpu_destroy,
	.vcpu_run = interp_vcpu_run,
	.vcpu_kick = interp_vcpu_kick,
	.run_exclusive = interp_run_exclusive,
	.vcpu_get = interp_vcpu_get,
	.vcpu_set = interp_vcpu_set,
	.dirty_start = interp_dirty_start,
	.dirty_collect = interp_dirty_collect,
	.dirty_stop = interp_dirty_stop,
	.flush = interp_flush,
	.stats = interp_stats,
};
