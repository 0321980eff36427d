/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.c - segment:offset to linear addresses, descriptors, and loads of segment registers in every mode (SDM vol. 3, 3 and 5).
 *
 * The instructions that a program uses on segments and descriptor tables are in segment_op.c; transfers that load CS in transfer.c.
 */
#include "x86/segment.h"

#include "x86/execute.h"
#include "x86/memory.h"

uint64_t x86_linear_checked(struct x86_cpu *cpu, unsigned segment, uint64_t offset, unsigned size, bool write)
{
	const struct x86_segment *s = &cpu->s.segment[segment];
	unsigned vector = segment == X86_SS ? X86_SS_FAULT : X86_GP;
	uint64_t last = offset + size - 1;

	if (cpu->code_size == 8)
		return segment >= X86_FS ? s->base + offset : offset;
	if (x86_protected(cpu)) {
		bool code = s->attributes & X86_SEGMENT_CODE;

		if (s->attributes & X86_SEGMENT_UNUSABLE)
			x86_raise_error(cpu, vector, 0);
		if (write ? code || !(s->attributes & X86_SEGMENT_WRITABLE) : code && !(s->attributes & X86_SEGMENT_READABLE))
			x86_raise_error(cpu, vector, 0);
		if (!code && s->attributes & X86_SEGMENT_EXPAND_DOWN) {
			if (offset <= s->limit || last > (s->attributes & X86_SEGMENT_DB ? UINT32_MAX : UINT16_MAX))
				x86_raise_error(cpu, vector, 0);
			return (uint32_t)(s->base + offset);
		}
	}
	if (last > s->limit)
		x86_raise_error(cpu, vector, 0);
	return (uint32_t)(s->base + offset);
}

bool x86_descriptor_find(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *d)
{
	uint64_t base = cpu->s.gdtr.base, limit = cpu->s.gdtr.limit;

	if (!(selector & 0xfffc))
		return false;
	if (selector & 4) {
		if (cpu->s.ldtr.attributes & X86_SEGMENT_UNUSABLE)
			return false;
		base = cpu->s.ldtr.base;
		limit = cpu->s.ldtr.limit;
	}
	if ((selector | 7u) > limit)
		return false;
	d->selector = selector;
	d->address = base + (selector & 0xfff8);
	d->low = x86_read64_system(cpu, d->address);
	d->high = 0;
	return true;
}

void x86_descriptor_need(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *d, unsigned vector)
{
	if (!x86_descriptor_find(cpu, selector, d))
		x86_raise_error(cpu, vector, selector & 0xfffc);
}

bool x86_descriptor_high(struct x86_cpu *cpu, struct x86_descriptor *d)
{
	uint64_t limit = d->selector & 4 ? cpu->s.ldtr.limit : cpu->s.gdtr.limit;

	if (!x86_long_mode(cpu))
		return true;
	if ((d->selector & 0xfff8u) + 15 > limit)
		return false;
	d->high = x86_read64_system(cpu, d->address + 8);
	return !(d->high >> 40 & 31);
}

void x86_descriptor_accessed(struct x86_cpu *cpu, struct x86_descriptor *d)
{
	if (d->low >> 40 & X86_SEGMENT_ACCESSED)
		return;
	x86_system_or8(cpu, d->address + 5, X86_SEGMENT_ACCESSED);
	d->low |= (uint64_t)X86_SEGMENT_ACCESSED << 40;
}

struct x86_segment x86_segment_of(const struct x86_descriptor *d, uint16_t selector)
{
	uint32_t limit = (uint32_t)((d->low & 0xffff) | (d->low >> 32 & 0xf0000));
	struct x86_segment segment = {
		.base = (d->low >> 16 & 0xffffff) | (d->low >> 32 & 0xff000000) | d->high << 32,
		.limit = d->low >> 55 & 1 ? limit << 12 | 0xfff : limit,
		.selector = selector,
		.attributes = x86_descriptor_attributes(d),
	};

	return segment;
}

struct x86_segment x86_segment_null(uint16_t selector, unsigned dpl)
{
	return (struct x86_segment){.selector = selector,
				    .attributes = (uint16_t)(X86_SEGMENT_UNUSABLE | dpl << X86_SEGMENT_DPL_SHIFT)};
}

/* Real mode changes selector and base only: limits and types stay as they were ("unreal mode"). */
struct x86_segment x86_segment_real(const struct x86_segment *before, uint16_t selector)
{
	struct x86_segment segment = *before;

	if (segment.attributes & X86_SEGMENT_UNUSABLE) {
		segment.attributes = X86_SEGMENT_P | X86_SEGMENT_S | X86_SEGMENT_WRITABLE | X86_SEGMENT_ACCESSED;
		segment.limit = 0xffff;
	}
	segment.selector = selector;
	segment.base = (uint32_t)selector << 4;
	return segment;
}

struct x86_segment x86_segment_vm86(uint16_t selector)
{
	return (struct x86_segment){.base = (uint32_t)selector << 4, .limit = 0xffff, .selector = selector, .attributes = 0xf3};
}

struct x86_segment x86_stack_segment(struct x86_cpu *cpu, uint16_t selector, unsigned cpl, unsigned vector)
{
	struct x86_descriptor d;

	x86_descriptor_need(cpu, selector, &d, vector);
	if ((selector & 3u) != cpl || !x86_descriptor_writable_data(&d) || x86_descriptor_dpl(&d) != cpl)
		x86_raise_error(cpu, vector, selector & 0xfffc);
	if (!x86_descriptor_present(&d))
		x86_raise_error(cpu, X86_SS_FAULT, selector & 0xfffc);
	x86_descriptor_accessed(cpu, &d);
	return x86_segment_of(&d, selector);
}

static void protected_load(struct x86_cpu *cpu, unsigned segment, uint16_t selector)
{
	struct x86_descriptor d;

	if (segment == X86_SS) {
		if (selector & 0xfffc) {
			cpu->s.segment[X86_SS] = x86_stack_segment(cpu, selector, cpu->cpl, X86_GP);
		} else {
			if (cpu->code_size != 8 || cpu->cpl == 3 || (selector & 3) != cpu->cpl)
				x86_raise_error(cpu, X86_GP, 0);
			cpu->s.segment[X86_SS] = x86_segment_null(selector, cpu->cpl);
		}
		return;
	}
	if (!(selector & 0xfffc)) {
		cpu->s.segment[segment] = x86_segment_null(selector, 0);
		return;
	}
	x86_descriptor_need(cpu, selector, &d, X86_GP);
	if (x86_descriptor_type(&d) < 16 || (x86_descriptor_code(&d) && !(x86_descriptor_attributes(&d) & X86_SEGMENT_READABLE)))
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	if (!x86_descriptor_conforming(&d) && (x86_descriptor_dpl(&d) < (selector & 3u) || x86_descriptor_dpl(&d) < cpu->cpl))
		x86_raise_error(cpu, X86_GP, selector & 0xfffc);
	if (!x86_descriptor_present(&d))
		x86_raise_error(cpu, X86_NP, selector & 0xfffc);
	x86_descriptor_accessed(cpu, &d);
	cpu->s.segment[segment] = x86_segment_of(&d, selector);
}

void x86_segment_load(struct x86_cpu *cpu, unsigned segment, uint16_t selector)
{
	if (x86_protected(cpu))
		protected_load(cpu, segment, selector);
	else if (cpu->s.rflags & X86_FLAG_VM)
		cpu->s.segment[segment] = x86_segment_vm86(selector);
	else
		cpu->s.segment[segment] = x86_segment_real(&cpu->s.segment[segment], selector);
	/* In 64-bit mode no data segment but FS and GS matters, and their bases are read anew by every access. */
	if (cpu->code_size != 8)
		x86_cpu_mode_changed(cpu);
}

void x86_segments_outer(struct x86_cpu *cpu, unsigned cpl)
{
	static const uint8_t data[4] = {X86_ES, X86_DS, X86_FS, X86_GS};

	for (unsigned i = 0; i < 4; i++) {
		struct x86_segment *segment = &cpu->s.segment[data[i]];
		bool conforming = (segment->attributes & (X86_SEGMENT_CODE | X86_SEGMENT_CONFORMING)) ==
				  (X86_SEGMENT_CODE | X86_SEGMENT_CONFORMING);

		if (!(segment->attributes & X86_SEGMENT_UNUSABLE) && !conforming &&
		    (segment->attributes & X86_SEGMENT_DPL) >> X86_SEGMENT_DPL_SHIFT < cpl)
			*segment = x86_segment_null(0, 0);
	}
}

void x86_ldtr_load(struct x86_cpu *cpu, uint16_t selector, unsigned vector)
{
	struct x86_descriptor d;

	if (!(selector & 0xfffc)) {
		cpu->s.ldtr = x86_segment_null(selector, 0);
		return;
	}
	if (selector & 4 || !x86_descriptor_find(cpu, selector, &d) || x86_descriptor_type(&d) != X86_TYPE_LDT ||
	    !x86_descriptor_high(cpu, &d))
		x86_raise_error(cpu, vector, selector & 0xfffc);
	if (!x86_descriptor_present(&d))
		x86_raise_error(cpu, vector == X86_TS ? X86_TS : X86_NP, selector & 0xfffc);
	cpu->s.ldtr = x86_segment_of(&d, selector);
}
