/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_flags.c - LAHF SAHF CLC STC CMC CLD STD SALC. The flags that carry privilege are flags.c's.
 */
#include "x86/integer.h"
#include "x86/operand.h"

static void lahf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (insn->code_size == 8)
		feature_require(cpu, X86_FEATURE_LAHF64);
	/* cpu->flags has AH as LAHF makes it; bits 1, 3, 5 are fixed. */
	cpu->reg[X86_RAX] = (cpu->reg[X86_RAX] & ~UINT64_C(0xff00)) | ((cpu->flags & 0xd500) | 0x200);
}

static void sahf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (insn->code_size == 8)
		feature_require(cpu, X86_FEATURE_LAHF64);
	cpu->flags = (uint16_t)((cpu->reg[X86_RAX] & 0xd500) | 0x200 | (cpu->flags & STATUS_OF));
}

static void clc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	cpu->flags &= (uint16_t)~STATUS_CF;
}

static void stc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	cpu->flags |= STATUS_CF;
}

static void cmc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	cpu->flags ^= STATUS_CF;
}

static void cld(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	cpu->s.rflags &= ~X86_FLAG_DF;
}

static void std(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	cpu->s.rflags |= X86_FLAG_DF;
}

/* Undocumented: AL = CF ? FF : 0. */
static void salc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	cpu->reg[X86_RAX] = (cpu->reg[X86_RAX] & ~UINT64_C(0xff)) | (cpu->flags & STATUS_CF ? 0xff : 0);
}

#define ANY_SIZE(fn)                      \
	{                                 \
		.reg = { fn, fn, fn, fn } \
	}
const struct x86_handlers x86_integer_lahf = ANY_SIZE(lahf);
const struct x86_handlers x86_integer_sahf = ANY_SIZE(sahf);
const struct x86_handlers x86_integer_clc = ANY_SIZE(clc);
const struct x86_handlers x86_integer_stc = ANY_SIZE(stc);
const struct x86_handlers x86_integer_cmc = ANY_SIZE(cmc);
const struct x86_handlers x86_integer_cld = ANY_SIZE(cld);
const struct x86_handlers x86_integer_std = ANY_SIZE(std);
const struct x86_handlers x86_integer_salc = ANY_SIZE(salc);
