/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_misc.c - NOP PAUSE, fences, cache lines, BOUND, random numbers; what raises #UD; LOCK without a host pointer.
 */
#include "x86/integer.h"
#include "x86/operand.h"

#include <holon/host.h>

/* PAUSEs between two yields: a spinning vcpu may be waiting for one that has no processor. */
#define PAUSES_A_YIELD 64

void x86_integer_undefined(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	x86_raise(cpu, X86_UD);
}

void x86_integer_too_long(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	x86_raise_error(cpu, X86_GP, 0);
}

struct exclusive {
	const struct x86_insn *insn;
	x86_handler *plain;
};

static void exclusive_run(struct x86_cpu *cpu, void *argument)
{
	const struct exclusive *exclusive = argument;

	exclusive->plain(cpu, exclusive->insn);
}

void x86_integer_exclusive(struct x86_cpu *cpu, const struct x86_insn *insn, x86_handler *plain)
{
	struct exclusive exclusive = {insn, plain};

	x86_exclusive(cpu, exclusive_run, &exclusive);
}

static void nop(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)cpu;
	(void)insn;
}

/* 0F 0D with a register operand: reserved as NOP by Intel, #UD on AMD's processors. */
static void prefetch_register(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (!cpu->model->intel)
		x86_raise(cpu, X86_UD);
}

static void pause(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)insn;
	if (++cpu->pauses % PAUSES_A_YIELD == 0)
		host_yield();
	else
		asm volatile("pause");
}

static void mfence(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)cpu;
	(void)insn;
	asm volatile("mfence" : : : "memory");
}

static void lfence(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)cpu;
	(void)insn;
	asm volatile("lfence" : : : "memory");
}

static void sfence(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	(void)cpu;
	(void)insn;
	asm volatile("sfence" : : : "memory");
}

/* CLFLUSH and its kin: RAM is coherent; what remains are the faults of a load. */
static void cache_line(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_read_check(cpu, x86_operand(cpu, insn, 1, false), 1);
}

static void clflushopt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	feature_require(cpu, X86_FEATURE_CLFLUSHOPT);
	cache_line(cpu, insn);
}

static void clwb(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	feature_require(cpu, X86_FEATURE_CLWB);
	cache_line(cpu, insn);
}

/* The two bounds are two accesses: each is aligned by its own size. */
static void bound16(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t at = x86_operand(cpu, insn, 4, false);
	int16_t lower = (int16_t)x86_read16(cpu, at), upper = (int16_t)x86_read16(cpu, at + 2);
	int16_t index = (int16_t)cpu->reg[insn->reg];

	if (index < lower || index > upper)
		x86_raise(cpu, X86_BR);
}

static void bound32(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t at = x86_operand(cpu, insn, 8, false);
	int32_t lower = (int32_t)x86_read32(cpu, at), upper = (int32_t)x86_read32(cpu, at + 4);
	int32_t index = (int32_t)cpu->reg[insn->reg];

	if (index < lower || index > upper)
		x86_raise(cpu, X86_BR);
}

/* CF says that the number is good, which it always is; the other flags are 0. */
static void random(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value;

	host_random(&value, sizeof(value));
	reg_set_width(cpu, insn->rm, insn->operand_size, value);
	cpu->flags = STATUS_CF | 0x200;
}

static void rdrand(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	feature_require(cpu, X86_FEATURE_RDRAND);
	random(cpu, insn);
}

static void rdseed(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	feature_require(cpu, X86_FEATURE_RDSEED);
	random(cpu, insn);
}

#define ANY(fn)                                                    \
	{                                                          \
		.reg = {fn, fn, fn, fn}, .mem = { fn, fn, fn, fn } \
	}
const struct x86_handlers x86_integer_nop = ANY(nop);
const struct x86_handlers x86_integer_prefetch = {
	.reg = {prefetch_register, prefetch_register, prefetch_register, prefetch_register}, .mem = {nop, nop, nop, nop}};
const struct x86_handlers x86_integer_pause = ANY(pause);
const struct x86_handlers x86_integer_mfence = ANY(mfence);
const struct x86_handlers x86_integer_lfence = ANY(lfence);
const struct x86_handlers x86_integer_sfence = ANY(sfence);
const struct x86_handlers x86_integer_cache_line = {.mem = {cache_line}};
const struct x86_handlers x86_integer_clflushopt = {.mem = {clflushopt}};
const struct x86_handlers x86_integer_clwb = {.mem = {clwb}};
const struct x86_handlers x86_integer_bound = {.mem = {[1] = bound16, bound32}};
const struct x86_handlers x86_integer_rdrand = {.reg = {[1] = rdrand, rdrand, rdrand}};
const struct x86_handlers x86_integer_rdseed = {.reg = {[1] = rdseed, rdseed, rdseed}};
