/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jit.c - the translating engine: x86-64 guests on x86-64 hosts without hardware virtualization.
 *
 * Reading order: translate.c (what a block becomes; its essay first), context.h and thunk.c (what translated code stands on), cache.h (where
 * blocks are), run.c (the loop of a vcpu) and find.c (the block at RIP). This file creates and destroys, and is the row of engine/engines.c.
 * Real, VM86 and 16-bit code, single steps and breakpoints run on x86_step.
 */
#include "engine/jit/jit.h"

#include "engine/jit/vcpu.h"
#include "x86/cpuid.h"
#include "x86/execute.h"

#define PAGE_MASK ((uint64_t)(X86_TLB_ENTRIES - 1) << GUEST_PAGE_SHIFT)
#define HIGH_MASK (~(uint64_t)(GUEST_PAGE_SIZE - 1))

/* Any thread: translated code leaves at its next lookup or backward jump. */
static void interrupt(struct jit_vcpu *self, uint32_t why)
{
	x86_attention(&self->cpu, why);
	for (unsigned i = 0; i <= X86_TLB_CONTEXTS; i++) {
		struct jit_context *context = jit_context(x86_tlb_context(&self->cpu, i));

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
		.guard_mask = JIT_GUARD_MASK,
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
		find_poll_set(tlb, mode, 0);
}

static void jit_vcpu_destroy(struct vcpu *vcpu)
{
	struct jit_vcpu *self = vcpu->engine;

	if (!self)
		return;
	if (self->cache.code.execute)
		host_trap_range_remove(self->cache.code.execute);
	jit_cache_destroy(&self->cache);
	x86_cpu_destroy(&self->cpu);
	windows_destroy(&self->windows);
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
	windows_create(&self->windows, &self->cpu, vm->config->jit_window, vm->vcpus);
	if (x86_cpu_create(&self->cpu) != STATUS_OK || jit_cache_create(&self->cache, cache_size(vm)) != STATUS_OK)
		goto no_memory;
	if (host_trap_redirect_add(self->cache.code.execute, self->cache.code.execute + self->cache.code.size, jit_thunk_trap,
				   run_trap_fault, self) != STATUS_OK)
		goto no_memory;
	self->translation.cache = &self->cache;
	self->translation.pages = &self->vm->pages;
	self->translation.cpu = &self->cpu;
	self->translation.watch = vm->code_watch;
	self->translation.loop_slow = host_loop_slow();
	self->translation.counted = vm->config->stats_path || vm->config->deterministic;
	self->translation.limited = vm->config->deterministic;
	for (unsigned i = 0; i <= X86_TLB_CONTEXTS; i++)
		context_init(self, x86_tlb_context(&self->cpu, i));
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
	.vcpu_run = run_vcpu,
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
