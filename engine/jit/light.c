/* SPDX-License-Identifier: Apache-2.0 */
/*
 * light.c - SYSCALL, SYSRET and IRET as kernels and programs use them all the time: between 64-bit code at CPL 0 and at CPL 3 or 0, with nothing pending.
 *
 * Called by thunks at a block's end (thunk.c), with the guest's vector registers still in the host's. The code to go on at is looked up first; if it is there
 * and nothing asks for attention, the state changes as the handler changes it (x86/transfer_fast.c, x86/transfer_interrupt.c) and translated code goes on
 * with it. Everything else, faults included, returns NULL with nothing done, and the handler does it all.
 *
 * RF, which IRET may set, concerns code breakpoints alone, and under these there is no translated code. It lives until the next instruction is done; no
 * event comes before that (run.c), so it is not kept. Only in counted time can somebody look in between.
 */
#include "engine/jit/context.h"
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"

/* What a block's end goes to. */
struct arrival {
	struct x86_segment code, stack;
	uint64_t rip, rsp, rflags;
	unsigned cpl;
};

#define STAR_KERNEL_SHIFT 32
#define STAR_USER_SHIFT 48
#define SYSRET_FLAGS UINT64_C(0x3c7fd7)

#define IRET_FLAGS                                                                                                              \
	(X86_FLAGS_STATUS | X86_FLAG_TF | X86_FLAG_DF | X86_FLAG_NT | X86_FLAG_RF | X86_FLAG_AC | X86_FLAG_ID | X86_FLAG_IOPL | \
	 X86_FLAG_VIF | X86_FLAG_VIP | X86_FLAG_IF)

static struct x86_segment flat(uint16_t selector, unsigned dpl, uint16_t attributes)
{
	attributes |= X86_SEGMENT_G | X86_SEGMENT_P | X86_SEGMENT_S | X86_SEGMENT_WRITABLE | X86_SEGMENT_ACCESSED;
	attributes |= (uint16_t)(dpl << X86_SEGMENT_DPL_SHIFT);
	return (struct x86_segment){.limit = UINT32_MAX, .selector = selector, .attributes = attributes};
}

static uint64_t rflags_now(const struct jit_context *context)
{
	return (context->cpu->s.rflags & ~X86_FLAGS_STATUS) | x86_status_to_rflags(context->flags);
}

/* All that x86_cpu_mode_changed and the boundary between two instructions would have to look at is as usual. NULL: it is not. */
static const void *target_find(struct jit_context *context, const struct arrival *to)
{
	struct x86_cpu *cpu = context->cpu;
	bool user = to->cpl == 3, smap = cpu->s.cr4 & X86_CR4_SMAP && !(to->rflags & X86_FLAG_AC);
	unsigned mode = user ? X86_MODE_USER : smap ? X86_MODE_SUPERVISOR_SMAP : X86_MODE_SUPERVISOR;

	if (atomic_load_explicit(&cpu->attention, memory_order_relaxed) || to->rflags & (X86_FLAG_TF | X86_FLAG_VM) ||
	    cpu->s.dr7 & 0xff || cpu->s.interrupt_shadow || cpu->s.pending_debug || cpu->s.nmi_masked ||
	    cpu->tlb != x86_tlb_context(cpu, cpu->tlb_current))
		return 0;
	/* An interrupt waited for IF. */
	if (cpu->event_waiting && to->rflags & X86_FLAG_IF)
		return 0;
	if (user && to->rflags & X86_FLAG_AC && cpu->s.cr0 & X86_CR0_AM)
		return 0;
	return jit_target(context, to->rip, to->rsp, to->cpl, mode);
}

static void arrive(struct jit_context *context, const struct arrival *to)
{
	struct x86_cpu *cpu = context->cpu;
	bool smap = cpu->s.cr4 & X86_CR4_SMAP && !(to->rflags & X86_FLAG_AC);

	cpu->s.segment[X86_CS] = to->code;
	cpu->s.segment[X86_SS] = to->stack;
	cpu->reg[X86_RIP] = to->rip;
	cpu->s.rflags = (to->rflags | X86_FLAG_FIXED) & ~X86_FLAGS_STATUS;
	context->flags = x86_status_from_rflags(to->rflags);
	cpu->cpl = (uint8_t)to->cpl;
	cpu->mode = to->cpl == 3 ? X86_MODE_USER : smap ? X86_MODE_SUPERVISOR_SMAP : X86_MODE_SUPERVISOR;
	cpu->step_armed = false;
}

static const void *light_syscall(struct jit_context *context, uint64_t next)
{
	struct x86_cpu *cpu = context->cpu;
	uint16_t cs = (uint16_t)(cpu->s.star >> STAR_KERNEL_SHIFT) & 0xfffc;
	uint64_t rflags = rflags_now(context) & ~X86_FLAG_RF;
	struct arrival to = {
		.code = flat(cs, 0, X86_SEGMENT_CODE | X86_SEGMENT_L),
		.stack = flat((uint16_t)(cs + 8), 0, X86_SEGMENT_DB),
		.rip = cpu->s.lstar,
		.rsp = cpu->reg[X86_RSP],
		.rflags = rflags & ~cpu->s.sfmask,
	};
	const void *target = cpu->s.efer & X86_EFER_SCE ? target_find(context, &to) : 0;

	if (!target)
		return 0;
	context->saved[7] = next; /* RCX */
	context->r11 = rflags;
	arrive(context, &to);
	return target;
}

static const void *light_sysret(struct jit_context *context)
{
	struct x86_cpu *cpu = context->cpu;
	uint16_t base = (uint16_t)(cpu->s.star >> STAR_USER_SHIFT);
	struct arrival to = {
		.code = flat((uint16_t)((base + 16) | 3), 3, X86_SEGMENT_CODE | X86_SEGMENT_L),
		.stack = flat((uint16_t)((base + 8) | 3), 3, X86_SEGMENT_DB),
		.rip = context->saved[7],
		.rsp = cpu->reg[X86_RSP],
		.rflags = context->r11 & SYSRET_FLAGS,
		.cpl = 3,
	};
	const void *target = cpu->s.efer & X86_EFER_SCE && x86_canonical(cpu, to.rip) ? target_find(context, &to) : 0;

	if (!target)
		return 0;
	arrive(context, &to);
	return target;
}

/* A descriptor of the GDT that is marked accessed and present already. */
static bool descriptor_read(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *d)
{
	const uint8_t *p;

	if (selector & 4 || !(selector & 0xfffc) || (selector | 7u) > cpu->s.gdtr.limit)
		return false;
	d->selector = selector;
	d->address = cpu->s.gdtr.base + (selector & 0xfff8);
	p = x86_tlb_hit(&cpu->tlb->read[X86_MODE_SUPERVISOR_SMAP], d->address, 8);
	if (!p)
		return false;
	__builtin_memcpy(&d->low, p, 8);
	d->high = 0;
	return x86_descriptor_present(d) && d->low >> 40 & X86_SEGMENT_ACCESSED;
}

static bool iret_segments(struct x86_cpu *cpu, const uint64_t frame[5], struct arrival *to)
{
	uint16_t cs = (uint16_t)frame[1], ss = (uint16_t)frame[4], both = X86_SEGMENT_L | X86_SEGMENT_DB;
	struct x86_descriptor code, stack;

	to->cpl = cs & 3u;
	if ((to->cpl != 0 && to->cpl != 3) || (ss & 3u) != to->cpl || !descriptor_read(cpu, cs, &code))
		return false;
	if (!x86_descriptor_code(&code) || x86_descriptor_conforming(&code) || x86_descriptor_dpl(&code) != to->cpl ||
	    (x86_descriptor_attributes(&code) & both) != X86_SEGMENT_L)
		return false;
	to->code = x86_segment_of(&code, cs);
	if (!(ss & 0xfffc) && !to->cpl) { /* as events leave it */
		to->stack = x86_segment_null(ss, 0);
		return true;
	}
	if (!descriptor_read(cpu, ss, &stack) || !x86_descriptor_writable_data(&stack) || x86_descriptor_dpl(&stack) != to->cpl)
		return false;
	to->stack = x86_segment_of(&stack, ss);
	return true;
}

static const void *light_iret(struct jit_context *context)
{
	struct x86_cpu *cpu = context->cpu;
	const uint8_t *p = x86_tlb_hit(&cpu->tlb->read[cpu->mode], cpu->reg[X86_RSP], 40);
	uint64_t frame[5]; /* RIP CS RFLAGS RSP SS */
	struct arrival to;
	const void *target;

	if (!p || cpu->s.rflags & X86_FLAG_NT)
		return 0;
	__builtin_memcpy(frame, p, sizeof(frame));
	if (!iret_segments(cpu, frame, &to) || !x86_canonical(cpu, frame[0]))
		return 0;
	to.rip = frame[0];
	to.rsp = frame[3];
	to.rflags = (rflags_now(context) & ~IRET_FLAGS) | (frame[2] & IRET_FLAGS);
	if (to.rflags & X86_FLAG_RF && jit_limited(cpu))
		return 0;
	to.rflags &= ~X86_FLAG_RF;
	target = target_find(context, &to);
	if (!target)
		return 0;
	cpu->reg[X86_RSP] = frame[3];
	if (to.cpl) {
		x86_segments_outer(cpu, to.cpl);
		context->fs_base = cpu->s.segment[X86_FS].base;
		context->gs_base = cpu->s.segment[X86_GS].base;
	}
	arrive(context, &to);
	return target;
}

const void *jit_light(struct jit_context *context, const uint8_t *site, unsigned kind)
{
	switch ((enum jit_light)kind) {
	case JIT_LIGHT_SYSCALL: return light_syscall(context, context->code_base + JIT_SITE_OFFSET(jit_site(site)));
	case JIT_LIGHT_SYSRET: return light_sysret(context);
	case JIT_LIGHT_IRET: return light_iret(context);
	case JIT_LIGHT_LINK: return jit_link(context, site);
	}
	return 0;
}
