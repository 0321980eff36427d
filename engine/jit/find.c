/* SPDX-License-Identifier: Apache-2.0 */
/*
 * find.c - which block runs next: by the key of the vcpu's state and the address of its bytes, translated where there is none yet; links between blocks, the
 * jump caches' entries, and the TLB fills that translated code asks for.
 */
#include "engine/jit/vcpu.h"
#include "x86/execute.h"
#include "x86/memory.h"

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

unsigned find_key(const struct x86_cpu *cpu)
{
	unsigned key = key_at(cpu, cpu->cpl, cpu->mode);

	if (cpu->code_size == 4)
		key |= JIT_KEY_CODE32 | (cpu->stack_size == 4 ? 0 : JIT_KEY_STACK16);
	return key;
}

bool find_translatable(const struct x86_cpu *cpu)
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

void find_poll_set(struct x86_tlb *tlb, unsigned mode, unsigned key)
{
	tlb->jump[mode].target[0] = tlb->ret[mode].target[0] =
		jit_key_direct(key) ? (uintptr_t)jit_thunk_jump_poll_direct : (uintptr_t)jit_thunk_jump_poll;
}

void find_direct_set(struct jit_context *context, unsigned key)
{
	struct jit_vcpu *self = context->cpu->engine;

	context->direct = 0;
	if (!jit_key_direct(key))
		return;
	context->direct = context->program_distance;
	if (self->gs != context->direct) {
		self->gs = context->direct;
		bug_on(host_gs_set(self->gs) != STATUS_OK);
	}
}

void find_jump_key_set(struct jit_context *context, unsigned key)
{
	bool user = key & JIT_KEY_USER;

	key &= ~JIT_KEY_MODE;
	if (context->jump_key[user] == key)
		return;
	for (unsigned mode = 0; mode < X86_TLB_MODES; mode++)
		if ((mode == X86_MODE_USER) == user) {
			x86_tlb_jumps_flush_mode(context->cpu->tlb, mode);
			find_poll_set(context->cpu->tlb, mode, key);
		}
	context->jump_key[user] = (uint16_t)key;
}

#define LENGTH_MAX 15

unsigned find_window_key(struct jit_vcpu *self)
{
	struct jit_context *context = jit_context(self->cpu.tlb);
	enum window_state state = windows_state(&self->windows, context, self->cpu.cpl, self->cpu.reg[X86_RSP]);

	if (state == WINDOW_LATER) {
		vcpu_vector_release(context);
		state = windows_use(&self->windows, context);
	}
	return state == WINDOW_READY ? JIT_KEY_WINDOW : 0;
}

struct jit_block *find_known(struct jit_vcpu *self, uint64_t linear, unsigned key)
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
 * Translates for a jump that has not been taken yet, without leaving translated code; what is not as usual is left to block_make. An indirect call may
 * still store to the stack with the TLB entry that it has found: so the page must be one of code already, which no TLB has an entry to write to.
 */
static struct jit_block *block_prepare(struct jit_vcpu *self, const uint8_t *hva, uint64_t linear, unsigned key)
{
	struct x86_cpu *cpu = &self->cpu;

	if (!(atomic_load_explicit(&cpu->memory->page_flags[guest_memory_page(cpu->memory, hva)], memory_order_seq_cst) &
	      GUEST_PAGE_CODE) ||
	    !jit_cache_room(&self->cache))
		return 0;
	vcpu_vector_release(jit_context(cpu->tlb));
	cpu->reg[X86_RIP] = linear;
	return translate(self, hva, linear, key);
}

static bool jump_fill(struct jit_vcpu *self, struct x86_jump_array *array, uint64_t mask, uint64_t target)
{
	struct x86_cpu *cpu = &self->cpu;
	unsigned key = jit_context(cpu->tlb)->jump_key[cpu->cpl == 3] | cpu->mode, index = (unsigned)jump_index(target, mask);
	struct jit_block *block;
	const uint8_t *hva;

	if (atomic_load_explicit(&cpu->attention, memory_order_relaxed))
		return false;
	if (x86_tlb_jump_swap(array, index, target))
		return true;
	hva = x86_tlb_hit(&cpu->tlb->fetch[cpu->cpl == 3], target, 1);
	if (!hva)
		hva = x86_fetch_refill(cpu, target);
	if (!hva)
		return false;
	if (x86_tlb_jump_again(array, index, target, guest_memory_page(cpu->memory, hva)))
		return true;
	block = find_known(self, target, key);
	if (!block)
		block = block_prepare(self, hva, target, key);
	return block && x86_tlb_jump_set(array, index, target, jit_block_code(&self->cache, block),
					 block->key & JIT_KEY_CROSSING ? X86_JUMP_PAGES : jit_block_page(cpu->memory, block));
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

static const void *target_at(struct jit_context *context, uint64_t rip, unsigned key)
{
	struct x86_cpu *cpu = context->cpu;
	struct jit_vcpu *self = cpu->engine;
	struct x86_jump_array *array = &cpu->tlb->jump[key & JIT_KEY_MODE];
	unsigned index = (unsigned)jump_index(rip, X86_JUMP_MASK);
	struct jit_block *block;
	const uint8_t *hva;

	if (index && array->tag[index] == 0 - rip)
		return (const void *)(uintptr_t)array->target[index];
	hva = x86_tlb_hit(&cpu->tlb->fetch[key & JIT_KEY_USER ? 1 : 0], rip, 1);
	if (hva && x86_tlb_jump_again(array, index, rip, guest_memory_page(cpu->memory, hva)))
		return (const void *)(uintptr_t)array->target[index];
	block = hva ? jit_cache_find(&self->cache, cpu->memory, hva, key) : 0;
	if (!block)
		return 0;
	x86_tlb_jump_set(array, index, rip, jit_block_code(&self->cache, block), jit_block_page(cpu->memory, block));
	return jit_block_code(&self->cache, block);
}

const void *jit_target(struct jit_context *context, uint64_t rip, uint64_t rsp, unsigned cpl, unsigned mode)
{
	struct jit_vcpu *self = context->cpu->engine;
	unsigned key = key_at(context->cpu, cpl, mode);
	const void *target;

	switch (windows_state(&self->windows, context, cpl, rsp)) {
	case WINDOW_NONE: break;
	case WINDOW_READY: key |= JIT_KEY_WINDOW; break;
	case WINDOW_LATER: return 0;
	}
	if (context->jump_key[cpl == 3] != (key & ~JIT_KEY_MODE))
		return 0;
	target = target_at(context, rip, key);
	if (target)
		find_direct_set(context, key);
	return target;
}

/* Finds by walking and translates; may unwind with the fetch's fault. NULL: only x86_step can execute what is at RIP. */
static struct jit_block *block_make(struct jit_vcpu *self, uint64_t linear, unsigned key)
{
	struct x86_cpu *cpu = &self->cpu;
	struct jit_block *block;
	unsigned available, second_available;
	const uint8_t *hva, *second, *begin, *end;

	cpu->insn = 0;
	hva = x86_fetch_pointer(cpu, linear, &available);
	if (!hva)
		return 0;
	block = find_known(self, linear, key);
	if (block)
		return block;
	if (!jit_cache_room(&self->cache)) {
		jit_cache_make_room(&self->cache, cpu->memory, &begin, &end);
		if (begin != end)
			x86_tlb_jumps_flush_targets(cpu, begin, end);
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

static __attribute__((noinline)) enum found block_find_slow(struct jit_vcpu *self, uint64_t linear, unsigned key,
							    struct jit_block **block)
{
	struct x86_cpu *cpu = &self->cpu;

	vcpu_vector_release(jit_context(cpu->tlb));
	if (__builtin_setjmp(cpu->unwind)) {
		struct x86_cpu *unwound = &self->cpu;

		self->exceptions++;
		x86_fault_deliver(unwound);
		return FOUND_FAULT;
	}
	*block = block_make(self, linear, key);
	return *block ? FOUND : FOUND_STEP;
}

enum found find_block(struct jit_vcpu *self, unsigned version, struct jit_block **block)
{
	struct x86_cpu *cpu = &self->cpu;
	unsigned key = find_key(cpu) | version;

	if (!find_translatable(cpu))
		return FOUND_STEP;
	key |= find_window_key(self);
	*block = find_known(self, cpu->reg[X86_RIP], key);
	return *block ? FOUND : block_find_slow(self, cpu->reg[X86_RIP], key, block);
}

void find_link(struct jit_vcpu *self, const uint8_t *site, const struct jit_block *block)
{
	struct jit_cache *cache = &self->cache;
	const struct jit_block *source = jit_cache_block_at(cache, site);
	const struct guest_memory *memory = self->cpu.memory;
	uint8_t *displacement;

	/* An instruction over a page's end depends on what is mapped behind it: it is found through lookups only. */
	if (!source || jit_block_page(memory, source) != jit_block_page(memory, block) || source->generation != block->generation ||
	    block->key & JIT_KEY_CROSSING || (source->key ^ block->key) & ~(JIT_KEY_CAREFUL | JIT_KEY_CROSSING | JIT_KEY_MODE))
		return;
	displacement = cache->code.write + (site + sizeof(uint32_t) - cache->code.execute) +
		       ((int32_t)jit_site(site) >> JIT_SITE_LINK_SHIFT);
	jit_cache_link(cache, displacement, block);
}

const void *jit_link(struct jit_context *context, const uint8_t *site)
{
	struct x86_cpu *cpu = context->cpu;
	struct jit_vcpu *self = cpu->engine;
	uint64_t rip = vcpu_site_rip(context, jit_site(site));
	struct jit_block *block;

	if (atomic_load_explicit(&cpu->attention, memory_order_relaxed))
		return 0;
	block = find_known(self, rip, context->jump_key[cpu->cpl == 3] | cpu->mode);
	if (!block)
		return 0;
	find_link(self, site, block);
	cpu->reg[X86_RIP] = rip;
	return jit_block_code(&self->cache, block);
}

_Static_assert(EMIT_CALL_BYTES(offsetof(struct jit_context, fill_read)) ==
		       EMIT_CALL_BYTES(offsetof(struct jit_context, fill_write)),
	       "find_group_link finds the call before the site");

void find_group_link(struct jit_vcpu *self, const uint8_t *site, const struct jit_block *careful)
{
	struct jit_cache *cache = &self->cache;
	const struct jit_block *source = jit_cache_block_at(cache, site);
	const struct guest_memory *memory = self->cpu.memory;

	/* Counted instructions must be uncounted on the way. */
	if (self->translation.counted || !source || jit_block_page(memory, source) != jit_block_page(memory, careful) ||
	    source->generation != careful->generation || (source->key ^ careful->key) != JIT_KEY_CAREFUL)
		return;
	jit_cache_group_link(cache, cache->code.write + (site - cache->code.execute) - EMIT_CALL_BYTES(JIT_OFFSET(fill_read)),
			     careful);
}
