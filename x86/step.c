/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step.c - between instructions: events, shadows, single step, code breakpoints; and one instruction alone.
 *
 * How a trap comes about: an instruction that begins with TF set has step_armed set; when it completes, x86_instruction_done turns that
 * (and data breakpoints that it hit) into s.pending_debug; x86_events_serve delivers it before anything else. Shadows live through exactly one
 * instruction: they are set fresh, the setter's own x86_instruction_done takes the freshness, the next one's ends them.
 *
 * ATTENTION_EVENT stays set as long as the next boundary must be looked at: a shadow, TF, RF or an armed code breakpoint.
 */
#include "x86/event.h"
#include "x86/execute.h"
#include "x86/memory.h"

#define DR6_TRAPS (UINT64_C(15) | X86_DR6_BS | X86_DR6_BT)

static bool code_breakpoint_armed(const struct x86_cpu *cpu)
{
	if (__builtin_expect(!(cpu->s.dr7 & 0xff), 1))
		return false;
	for (unsigned i = 0; i < 4; i++)
		if (cpu->s.dr7 >> i * 2 & 3 && !(cpu->s.dr7 >> (16 + i * 4) & 3))
			return true;
	return false;
}

/* DR6 as it stays; the hits of this boundary replace those of the last. */
static void dr6_note(struct x86_cpu *cpu, uint64_t bits)
{
	cpu->s.dr6 = (cpu->s.dr6 & ~UINT64_C(15)) | bits | X86_DR6_FIXED;
}

static bool interrupt_allowed(const struct x86_cpu *cpu)
{
	return cpu->s.rflags & X86_FLAG_IF && !cpu->s.interrupt_shadow;
}

static bool nmi_allowed(const struct x86_cpu *cpu)
{
	return cpu->s.nmi_pending && !cpu->s.nmi_masked && !(cpu->s.interrupt_shadow & X86_SHADOW_MOV_SS);
}

bool x86_events_deliverable(struct x86_cpu *cpu)
{
	if (cpu->s.activity == X86_WAIT_FOR_SIPI || cpu->s.activity == X86_SHUTDOWN)
		return false;
	if (cpu->s.pending.valid || nmi_allowed(cpu))
		return true;
	if (cpu->s.pending_debug && !(cpu->s.interrupt_shadow & X86_SHADOW_MOV_SS))
		return true;
	return interrupt_allowed(cpu) && cpu->apic_ops && cpu->apic_ops->pending(cpu->apic) >= 0;
}

/* The next event by priority; false: none. */
static bool event_take(struct x86_cpu *cpu, struct x86_event *event)
{
	struct x86_pending_event *pending = &cpu->s.pending;
	int vector;

	if (pending->valid) {
		*event = (struct x86_event){.type = (enum x86_event_type)pending->type,
					    .vector = pending->vector,
					    .has_error = pending->has_error,
					    .error = pending->error};
		*pending = (struct x86_pending_event){0};
		return true;
	}
	if (cpu->s.pending_debug && !(cpu->s.interrupt_shadow & X86_SHADOW_MOV_SS)) {
		dr6_note(cpu, cpu->s.pending_debug & DR6_TRAPS);
		cpu->s.pending_debug = 0;
		*event = (struct x86_event){.type = X86_EVENT_EXCEPTION, .vector = X86_DB};
		return true;
	}
	if (nmi_allowed(cpu)) {
		cpu->s.nmi_pending = 0;
		*event = (struct x86_event){.type = X86_EVENT_NMI, .vector = X86_NMI};
		return true;
	}
	if (!interrupt_allowed(cpu) || !cpu->apic_ops || cpu->apic_ops->pending(cpu->apic) < 0)
		return false;
	vector = cpu->apic_ops->accept(cpu->apic);
	if (vector < 0)
		return false;
	*event = (struct x86_event){.type = X86_EVENT_INTERRUPT, .vector = (uint8_t)vector};
	return true;
}

bool x86_events_serve(struct x86_cpu *cpu)
{
	struct x86_event event;
	bool taken = false;

	atomic_fetch_and_explicit(&cpu->attention, ~X86_ATTENTION_EVENT, memory_order_seq_cst);
	cpu->insn = 0;
	if (cpu->s.activity == X86_WAIT_FOR_SIPI || cpu->s.activity == X86_SHUTDOWN)
		return false;
	if (event_take(cpu, &event)) {
		taken = true;
		x86_event_chain(cpu, &event);
	}
	if (cpu->s.rflags & X86_FLAG_TF)
		cpu->step_armed = true;
	if (cpu->s.interrupt_shadow || cpu->s.pending_debug || cpu->s.rflags & (X86_FLAG_TF | X86_FLAG_RF) ||
	    code_breakpoint_armed(cpu))
		x86_attention(cpu, X86_ATTENTION_EVENT);
	return taken;
}

void x86_instruction_done(struct x86_cpu *cpu)
{
	bool stack_loaded;

	if (!cpu->insn)
		return;
	cpu->insn = 0;
	x86_store_done(cpu);
	stack_loaded = cpu->shadow_fresh && cpu->s.interrupt_shadow & X86_SHADOW_MOV_SS;
	if (cpu->shadow_fresh)
		cpu->shadow_fresh = false;
	else
		cpu->s.interrupt_shadow = 0;
	cpu->s.pending_debug |= cpu->debug_hits;
	cpu->debug_hits = 0;
	/* A load of SS is not single-stepped (SDM vol. 3, 6.8.3). */
	if (cpu->step_armed && !stack_loaded)
		cpu->s.pending_debug |= X86_DR6_BS;
	cpu->step_armed = cpu->s.rflags & X86_FLAG_TF;
	if (cpu->s.pending_debug || cpu->step_armed || cpu->s.interrupt_shadow)
		x86_attention(cpu, X86_ATTENTION_EVENT);
}

static uint64_t linear_rip(const struct x86_cpu *cpu)
{
	uint64_t rip = cpu->reg[X86_RIP];

	return cpu->code_size == 8 ? rip : (uint32_t)(cpu->s.segment[X86_CS].base + rip);
}

static void code_breakpoint_check(struct x86_cpu *cpu)
{
	uint64_t linear = linear_rip(cpu), hits = 0;

	for (unsigned i = 0; i < 4; i++)
		if (cpu->s.dr7 >> i * 2 & 3 && !(cpu->s.dr7 >> (16 + i * 4) & 3) && cpu->s.dr[i] == linear)
			hits |= UINT64_C(1) << i;
	if (!hits)
		return;
	dr6_note(cpu, hits);
	x86_raise(cpu, X86_DB);
}

void x86_fetch_decode(struct x86_cpu *cpu, struct x86_insn *insn)
{
	uint64_t linear = linear_rip(cpu), rip = cpu->reg[X86_RIP];
	unsigned most = 15, available, got;
	const uint8_t *bytes;
	uint8_t buffer[15];

	cpu->insn = 0;
	if (cpu->code_size != 8) {
		uint32_t limit = cpu->s.segment[X86_CS].limit;

		if (rip > limit)
			x86_raise_error(cpu, X86_GP, 0);
		if (limit - rip < most - 1)
			most = (unsigned)(limit - rip) + 1;
	}
	bytes = x86_fetch_pointer(cpu, linear, &available);
	if (bytes && x86_decode(insn, bytes, available < most ? available : most, cpu->code_size) == X86_DECODE_OK)
		return;
	got = x86_fetch_bytes(cpu, linear, buffer, most);
	if (x86_decode(insn, buffer, got, cpu->code_size) == X86_DECODE_OK)
		return;
	/* The instruction goes on where nothing can be fetched: past the limit, or on a page that faults. */
	if (got == most)
		x86_raise_error(cpu, X86_GP, 0);
	x86_fetch_bytes(cpu, linear + got, buffer, 1);
	x86_fetch_decode(cpu, insn); /* the page has come meanwhile (another vcpu changed its entry) */
}

static void step_run(struct x86_cpu *cpu, struct x86_insn *insn)
{
	cpu->insn = 0;
	if (!(cpu->s.rflags & X86_FLAG_RF))
		code_breakpoint_check(cpu);
	x86_fetch_decode(cpu, insn);
	cpu->s.rflags &= ~X86_FLAG_RF;
	if (cpu->s.rflags & X86_FLAG_TF)
		cpu->step_armed = true;
	cpu->reg[X86_RIP] += insn->length;
	if (cpu->code_size != 8)
		cpu->reg[X86_RIP] = (uint32_t)cpu->reg[X86_RIP];
	cpu->insn = insn;
	insn->execute(cpu, insn);
	x86_instruction_done(cpu);
}

void x86_step(struct x86_cpu *cpu)
{
	struct x86_insn insn;
	void *unwind[5];

	__builtin_memcpy(unwind, cpu->unwind, sizeof(unwind));
	if (__builtin_setjmp(cpu->unwind))
		x86_fault_deliver(cpu);
	else
		step_run(cpu, &insn);
	cpu->insn = 0;
	__builtin_memcpy(cpu->unwind, unwind, sizeof(unwind));
}
