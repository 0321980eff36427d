/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xsave.c - FXSAVE, FXRSTOR, the XSAVE family, LDMXCSR, STMXCSR (SDM vol. 1, 10.5 and 13).
 *
 * Every fault is met before anything changes: a restore reads its whole image first, a save checks every piece of its area.
 * Components: x87, SSE, AVX at 576, PKRU at 2688 (as CPUID leaf 0xD of our models says); supervisor states there are none (XSAVES: #UD).
 */
#include <stddef.h>

#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/tlb.h"
#include "x86/vector.h"
#include "x86/vector_table.h"

#define MXCSR_INIT 0x1f80u
#define FCW_SETTABLE 0x1f7fu
#define FCW_FIXED 0x0040u
#define LEGACY_SIZE 512u
#define LEGACY_ST 32u
#define LEGACY_XMM 160u
#define LEGACY_MXCSR 24u
#define HEADER 512u
#define HEADER_SIZE 64u
#define AVX_OFFSET 576u
#define AVX_SIZE 256u
#define PKRU_OFFSET 0xa80u
#define PKRU_SIZE 8u
#define COMPACT X86_BIT(63)

void x86_vector_reset(struct x86_cpu *cpu)
{
	__builtin_memset(&cpu->s.x87, 0, sizeof(cpu->s.x87));
	__builtin_memset(cpu->s.vector, 0, sizeof(cpu->s.vector));
	cpu->s.x87.fcw = 0x0040; /* RESET; FNINIT makes it 037F (SDM vol. 3, table 10-1) */
	cpu->s.x87.ftw = 0xff;
	cpu->s.x87.mxcsr = MXCSR_INIT;
	cpu->s.x87.mxcsr_mask = VECTOR_MXCSR_MASK;
	cpu->s.pkru = 0;
}

/* XMM and YMM registers that the mode can name. */
static unsigned vector_registers(const struct x86_insn *insn)
{
	return insn->code_size == 8 ? 16 : 8;
}

void x86_op_ldmxcsr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint32_t value;

	x86_vector_check(cpu, insn);
	value = x86_read32(cpu, x86_operand(cpu, insn, 4, false));
	if (value & ~VECTOR_MXCSR_MASK)
		x86_raise_error(cpu, X86_GP, 0);
	cpu->s.x87.mxcsr = value;
}

void x86_op_stmxcsr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn);
	x86_write32(cpu, x86_operand(cpu, insn, 4, true), cpu->s.x87.mxcsr);
}

/* Bytes 0 to 23 and the stack: all but MXCSR. With W the pointers have 64 bits, else 32 bits and selectors, which are 0. */
static void image_put_x87(const struct x86_cpu *cpu, const struct x86_insn *insn, uint8_t *image)
{
	const struct x86_x87 *x87 = &cpu->s.x87;
	struct x86_x87 out = *x87;

	if (!insn->w) {
		out.fip = (uint32_t)x87->fip;
		out.fdp = (uint32_t)x87->fdp;
	}
	out.reserved = 0;
	__builtin_memcpy(image, &out, LEGACY_MXCSR);
	__builtin_memcpy(image + LEGACY_ST, x87->st, sizeof(x87->st));
}

static void image_put_mxcsr(const struct x86_cpu *cpu, uint8_t *image)
{
	const uint32_t words[2] = {cpu->s.x87.mxcsr, VECTOR_MXCSR_MASK};

	__builtin_memcpy(image + LEGACY_MXCSR, words, sizeof(words));
}

static void image_put_xmm(const struct x86_cpu *cpu, const struct x86_insn *insn, uint8_t *image)
{
	for (unsigned i = 0; i < vector_registers(insn); i++)
		__builtin_memcpy(image + LEGACY_XMM + i * 16, cpu->s.vector[i].byte, 16);
}

static uint32_t image_mxcsr(const uint8_t *image)
{
	uint32_t value;

	__builtin_memcpy(&value, image + LEGACY_MXCSR, sizeof(value));
	return value;
}

static void image_get_x87(struct x86_cpu *cpu, const struct x86_insn *insn, const uint8_t *image)
{
	struct x86_x87 *x87 = &cpu->s.x87;
	struct x86_x87 in;

	__builtin_memcpy(&in, image, LEGACY_XMM);
	x87->fcw = (in.fcw & FCW_SETTABLE) | FCW_FIXED;
	x87->fsw = in.fsw;
	x87->ftw = in.ftw;
	x87->fop = in.fop & 0x7ff;
	x87->fip = insn->w ? in.fip : (uint32_t)in.fip;
	x87->fdp = insn->w ? in.fdp : (uint32_t)in.fdp;
	for (unsigned i = 0; i < 8; i++) {
		__builtin_memset(x87->st[i], 0, 16);
		__builtin_memcpy(x87->st[i], in.st[i], 10);
	}
	x86_x87_summary(cpu);
}

static void image_get_xmm(struct x86_cpu *cpu, const struct x86_insn *insn, const uint8_t *image)
{
	for (unsigned i = 0; i < vector_registers(insn); i++)
		__builtin_memcpy(cpu->s.vector[i].byte, image + LEGACY_XMM + i * 16, 16);
}

static void fx_check(struct x86_cpu *cpu)
{
	if (cpu->s.cr0 & (X86_CR0_EM | X86_CR0_TS))
		x86_raise(cpu, X86_NM);
}

static uint64_t aligned_area(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size, unsigned alignment, bool write)
{
	uint64_t linear = x86_operand(cpu, insn, size, write);

	if (linear & (alignment - 1))
		x86_raise_error(cpu, X86_GP, 0);
	return linear;
}

void x86_op_fxsave(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint8_t image[LEGACY_SIZE] = {0};
	uint64_t linear;

	fx_check(cpu);
	linear = aligned_area(cpu, insn, LEGACY_SIZE, 16, true);
	x86_write_check(cpu, linear, LEGACY_SIZE);
	image_put_x87(cpu, insn, image);
	image_put_mxcsr(cpu, image);
	image_put_xmm(cpu, insn, image);
	/* What follows the last register is reserved or the program's own: not written. */
	x86_write_bytes(cpu, linear, image, LEGACY_XMM + vector_registers(insn) * 16);
}

void x86_op_fxrstor(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint8_t image[LEGACY_SIZE];

	fx_check(cpu);
	x86_read_bytes(cpu, aligned_area(cpu, insn, LEGACY_SIZE, 16, false), image, LEGACY_SIZE);
	if (image_mxcsr(image) & ~VECTOR_MXCSR_MASK)
		x86_raise_error(cpu, X86_GP, 0);
	image_get_x87(cpu, insn, image);
	cpu->s.x87.mxcsr = image_mxcsr(image);
	image_get_xmm(cpu, insn, image);
}

/* A multiple of 8 bytes. */
static bool bytes_zero(const uint8_t *bytes, unsigned size)
{
	uint64_t any = 0, word;

	for (unsigned i = 0; i < size; i += sizeof(word)) {
		__builtin_memcpy(&word, bytes + i, sizeof(word));
		any |= word;
	}
	return !any;
}

uint64_t x86_xinuse(const struct x86_cpu *cpu)
{
	const struct x86_x87 *x87 = &cpu->s.x87;
	uint64_t used = 0;

	if (x87->fcw != 0x037f || x87->fsw || x87->ftw || x87->fop || x87->fip || x87->fdp ||
	    !bytes_zero(x87->st[0], sizeof(x87->st)))
		used |= X86_XCR0_X87;
	for (unsigned i = 0; i < 16; i++) {
		if (!bytes_zero(cpu->s.vector[i].byte, 16))
			used |= X86_XCR0_SSE;
		if (!bytes_zero(cpu->s.vector[i].byte + 16, 16))
			used |= X86_XCR0_AVX;
	}
	return used | (cpu->s.pkru ? X86_XCR0_PKRU : 0);
}

static void xsave_check(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn); /* the model */
	if (!(cpu->s.cr4 & X86_CR4_OSXSAVE))
		x86_raise(cpu, X86_UD);
	if (cpu->s.cr0 & X86_CR0_TS)
		x86_raise(cpu, X86_NM);
}

/* EDX:EAX and XCR0: the requested-feature bitmap. */
static uint64_t requested(const struct x86_cpu *cpu)
{
	return ((uint32_t)cpu->reg[X86_RAX] | cpu->reg[X86_RDX] << 32) & cpu->s.xcr0;
}

/* Where a component that follows the header lies: at its own place, or packed behind those in `layout` before it. */
static unsigned component_offset(uint64_t component, uint64_t layout, bool compact)
{
	if (component == X86_XCR0_AVX)
		return AVX_OFFSET;
	if (!compact)
		return PKRU_OFFSET;
	return AVX_OFFSET + (layout & X86_XCR0_AVX ? AVX_SIZE : 0);
}

static unsigned area_size(uint64_t layout, bool compact)
{
	if (layout & X86_XCR0_PKRU)
		return component_offset(X86_XCR0_PKRU, layout, compact) + PKRU_SIZE;
	return layout & X86_XCR0_AVX ? AVX_OFFSET + AVX_SIZE : HEADER + HEADER_SIZE;
}

/* Writes the components in `saved`; `mxcsr`: MXCSR and its mask besides. All of it has been checked for writing. */
static void components_write(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t linear, uint64_t saved, bool mxcsr,
			     unsigned pkru_offset)
{
	uint8_t image[LEGACY_SIZE] = {0};

	if (saved & X86_XCR0_X87) {
		image_put_x87(cpu, insn, image);
		x86_write_bytes(cpu, linear, image, LEGACY_MXCSR);
		x86_write_bytes(cpu, linear + LEGACY_ST, image + LEGACY_ST, LEGACY_XMM - LEGACY_ST);
	}
	if (mxcsr) {
		image_put_mxcsr(cpu, image);
		x86_write_bytes(cpu, linear + LEGACY_MXCSR, image + LEGACY_MXCSR, 8);
	}
	if (saved & X86_XCR0_SSE) {
		image_put_xmm(cpu, insn, image);
		x86_write_bytes(cpu, linear + LEGACY_XMM, image + LEGACY_XMM, vector_registers(insn) * 16);
	}
	if (saved & X86_XCR0_AVX) {
		for (unsigned i = 0; i < vector_registers(insn); i++)
			__builtin_memcpy(image + i * 16, cpu->s.vector[i].byte + 16, 16);
		x86_write_bytes(cpu, linear + AVX_OFFSET, image, vector_registers(insn) * 16);
	}
	if (saved & X86_XCR0_PKRU) {
		const uint64_t pkru = cpu->s.pkru;

		x86_write_bytes(cpu, linear + pkru_offset, &pkru, sizeof(pkru));
	}
}

/* XSAVE and XSAVEOPT: XSTATE_BV alone of the header is written, and keeps the bits that were not requested. */
static void xsave_standard(struct x86_cpu *cpu, const struct x86_insn *insn, bool skip_initial)
{
	uint64_t wanted, used, linear, xstate_bv;

	xsave_check(cpu, insn);
	wanted = requested(cpu);
	linear = aligned_area(cpu, insn, area_size(wanted, false), 64, true);
	x86_write_check(cpu, linear, area_size(wanted, false));
	used = x86_xinuse(cpu) & wanted;
	xstate_bv = (x86_read64(cpu, linear + HEADER) & ~wanted) | used;
	components_write(cpu, insn, linear, skip_initial ? used : wanted, wanted & (X86_XCR0_SSE | X86_XCR0_AVX), PKRU_OFFSET);
	x86_write64(cpu, linear + HEADER, xstate_bv);
}

void x86_op_xsave(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	xsave_standard(cpu, insn, false);
}

void x86_op_xsaveopt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	xsave_standard(cpu, insn, true);
}

/* Compacted; MXCSR belongs to SSE here, and makes it in use (SDM vol. 1, 13.10). */
void x86_op_xsavec(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t wanted, saved, linear, header[2];

	xsave_check(cpu, insn);
	wanted = requested(cpu);
	linear = aligned_area(cpu, insn, area_size(wanted, true), 64, true);
	x86_write_check(cpu, linear, area_size(wanted, true));
	saved = x86_xinuse(cpu);
	if (cpu->s.x87.mxcsr != MXCSR_INIT)
		saved |= X86_XCR0_SSE;
	saved &= wanted;
	components_write(cpu, insn, linear, saved, saved & X86_XCR0_SSE, component_offset(X86_XCR0_PKRU, wanted, true));
	header[0] = saved;
	header[1] = wanted | COMPACT;
	x86_write_bytes(cpu, linear + HEADER, header, sizeof(header));
}

static void header_check(struct x86_cpu *cpu, const uint8_t *header, uint64_t xstate_bv, uint64_t xcomp_bv)
{
	bool bad;

	if (xcomp_bv & COMPACT)
		bad = !x86_has(cpu->model, X86_FEATURE_XSAVEC) || (xcomp_bv & ~COMPACT & ~cpu->s.xcr0) || (xstate_bv & ~xcomp_bv) ||
		      !bytes_zero(header + 16, HEADER_SIZE - 16);
	else
		bad = (xstate_bv & ~cpu->s.xcr0) || !bytes_zero(header + 8, 16);
	if (bad)
		x86_raise_error(cpu, X86_GP, 0);
}

static void avx_restore(struct x86_cpu *cpu, const struct x86_insn *insn, const uint8_t *image)
{
	for (unsigned i = 0; i < vector_registers(insn); i++)
		__builtin_memcpy(cpu->s.vector[i].byte + 16, image + i * 16, 16);
}

static void pkru_restore(struct x86_cpu *cpu, uint32_t pkru)
{
	if (cpu->s.pkru == pkru)
		return;
	cpu->s.pkru = pkru;
	x86_tlb_flush_all(cpu); /* entries were made under the old rights */
}

void x86_op_xrstor(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint8_t image[HEADER + HEADER_SIZE], avx[AVX_SIZE] = {0};
	uint64_t wanted, linear, xstate_bv, xcomp_bv, present, pkru = 0;
	bool compact, load_mxcsr;

	xsave_check(cpu, insn);
	wanted = requested(cpu);
	linear = aligned_area(cpu, insn, sizeof(image), 64, false);
	x86_read_bytes(cpu, linear, image, sizeof(image));
	__builtin_memcpy(&xstate_bv, image + HEADER, 8);
	__builtin_memcpy(&xcomp_bv, image + HEADER + 8, 8);
	header_check(cpu, image + HEADER, xstate_bv, xcomp_bv);
	compact = xcomp_bv & COMPACT;
	/* Standard: MXCSR is loaded whatever XSTATE_BV says. Compacted: it comes and goes with SSE (SDM vol. 1, 13.8). */
	load_mxcsr = compact ? wanted & xstate_bv & X86_XCR0_SSE : wanted & (X86_XCR0_SSE | X86_XCR0_AVX);
	if (load_mxcsr && (image_mxcsr(image) & ~VECTOR_MXCSR_MASK))
		x86_raise_error(cpu, X86_GP, 0);
	present = wanted & xstate_bv;
	if (present & X86_XCR0_AVX) {
		linear = x86_operand(cpu, insn, AVX_OFFSET + AVX_SIZE, false);
		x86_read_bytes(cpu, linear + AVX_OFFSET, avx, vector_registers(insn) * 16);
	}
	if (present & X86_XCR0_PKRU) {
		unsigned offset = component_offset(X86_XCR0_PKRU, xcomp_bv, compact);

		linear = x86_operand(cpu, insn, offset + PKRU_SIZE, false);
		x86_read_bytes(cpu, linear + offset, &pkru, sizeof(pkru));
	}

	if (present & X86_XCR0_X87) {
		image_get_x87(cpu, insn, image);
	} else if (wanted & X86_XCR0_X87) {
		x87_init(&cpu->s.x87);
		__builtin_memset(cpu->s.x87.st, 0, sizeof(cpu->s.x87.st));
	}
	if (wanted & X86_XCR0_SSE) {
		if (!(present & X86_XCR0_SSE))
			__builtin_memset(image + LEGACY_XMM, 0, 256);
		image_get_xmm(cpu, insn, image);
	}
	if (load_mxcsr)
		cpu->s.x87.mxcsr = image_mxcsr(image);
	else if (compact && (wanted & X86_XCR0_SSE))
		cpu->s.x87.mxcsr = MXCSR_INIT;
	if (wanted & X86_XCR0_AVX)
		avx_restore(cpu, insn, avx);
	if (wanted & X86_XCR0_PKRU)
		pkru_restore(cpu, (uint32_t)pkru);
}
