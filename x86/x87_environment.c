/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87_environment.c - FNSTENV, FLDENV, FNSAVE, FRSTOR: the x87 state's four old memory formats (SDM vol. 1, 8.1.10).
 *
 * 16 or 32 bits by operand size, protected or real (and virtual-8086) by mode. Selectors are deprecated and read as 0.
 */
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/vector.h"
#include "x86/vector_table.h"

#define FCW_EXCEPTIONS 0x3fu
#define FCW_SETTABLE 0x1f7fu
#define FCW_FIXED 0x0040u
#define FSW_TOP 0x3800u
#define FOP_MASK 0x7ffu
#define STACK_BYTES 80

/* The environment as seven words; in memory each takes 2 or 4 bytes. */
enum { ENV_FCW, ENV_FSW, ENV_FTW, ENV_FIP, ENV_FCS, ENV_FDP, ENV_FDS, ENV_WORDS };

static unsigned word_size(const struct x86_insn *insn)
{
	return insn->operand_size == 2 ? 2 : 4;
}

/* Two bits of the full tag word: valid, zero, special, empty. */
static unsigned tag_of(const uint8_t *st)
{
	unsigned exponent = (unsigned)(st[8] | st[9] << 8) & 0x7fff;
	uint64_t significand;

	__builtin_memcpy(&significand, st, sizeof(significand));
	if (exponent == 0)
		return significand ? 2 : 1;
	return exponent == 0x7fff || !(significand >> 63) ? 2 : 0;
}

static uint16_t tags_full(const struct x86_x87 *x87)
{
	unsigned top = x87->fsw >> 11 & 7, tags = 0;

	for (unsigned i = 0; i < 8; i++)
		tags |= (x87->ftw >> i & 1 ? tag_of(x87->st[(i - top) & 7]) : 3) << 2 * i;
	return (uint16_t)tags;
}

static uint8_t tags_abridged(uint32_t full)
{
	unsigned tags = 0;

	for (unsigned i = 0; i < 8; i++)
		tags |= (unsigned)((full >> 2 * i & 3) != 3) << i;
	return (uint8_t)tags;
}

static unsigned environment_build(struct x86_cpu *cpu, const struct x86_insn *insn, uint8_t *bytes)
{
	const struct x86_x87 *x87 = &cpu->s.x87;
	unsigned size = word_size(insn);
	bool real = !x86_protected(cpu);
	uint32_t env[ENV_WORDS] = {
		/* What has 16 bits in a 32-bit word is stored below ones, as processors do. */
		[ENV_FCW] = 0xffff0000u | x87->fcw, [ENV_FSW] = 0xffff0000u | x87->fsw, [ENV_FTW] = 0xffff0000u | tags_full(x87),
		[ENV_FIP] = (uint32_t)x87->fip,     [ENV_FDP] = (uint32_t)x87->fdp,
	};

	if (real) {
		env[ENV_FCS] = (uint32_t)(x87->fip >> 16) << 12 | (x87->fop & FOP_MASK);
		env[ENV_FDS] = (uint32_t)(x87->fdp >> 16) << 12;
		if (size == 4) {
			env[ENV_FIP] |= 0xffff0000u;
			env[ENV_FDP] |= 0xffff0000u;
			env[ENV_FCS] &= 0x0fffffffu;
			env[ENV_FDS] &= 0x0fffffffu;
		}
	} else if (size == 4) {
		env[ENV_FCS] = (uint32_t)(x87->fop & FOP_MASK) << 16;
		env[ENV_FDS] = 0xffff0000u;
	}
	for (unsigned i = 0; i < ENV_WORDS; i++)
		__builtin_memcpy(bytes + i * size, &env[i], size);
	return ENV_WORDS * size;
}

static void environment_apply(struct x86_cpu *cpu, const struct x86_insn *insn, const uint8_t *bytes)
{
	struct x86_x87 *x87 = &cpu->s.x87;
	unsigned size = word_size(insn);
	uint32_t env[ENV_WORDS] = {0};

	for (unsigned i = 0; i < ENV_WORDS; i++)
		__builtin_memcpy(&env[i], bytes + i * size, size);
	x87->fcw = (uint16_t)((env[ENV_FCW] & FCW_SETTABLE) | FCW_FIXED);
	x87_top_set(x87, env[ENV_FSW] >> 11 & 7);
	x87->fsw = (uint16_t)env[ENV_FSW];
	x87->ftw = tags_abridged(env[ENV_FTW]);
	x87->fip = env[ENV_FIP];
	x87->fdp = env[ENV_FDP];
	if (!x86_protected(cpu)) {
		x87->fop = (uint16_t)(env[ENV_FCS] & FOP_MASK);
		x87->fip = (env[ENV_FIP] & 0xffff) | (env[ENV_FCS] >> 12 & 0xffff) << 16;
		x87->fdp = (env[ENV_FDP] & 0xffff) | (env[ENV_FDS] >> 12 & 0xffff) << 16;
	} else if (size == 4) {
		x87->fop = (uint16_t)(env[ENV_FCS] >> 16 & FOP_MASK);
	} else {
		x87->fop = 0; /* the 16-bit protected format has no opcode */
	}
	x86_x87_summary(cpu);
}

/* The registers stay where they are physically; ST(0) names another one. */
void x87_top_set(struct x86_x87 *x87, unsigned top)
{
	unsigned step = (top - (x87->fsw >> 11)) & 7;
	uint8_t old[8][16];

	if (!step)
		return;
	__builtin_memcpy(old, x87->st, sizeof(old));
	for (unsigned i = 0; i < 8; i++)
		__builtin_memcpy(x87->st[i], old[(i + step) & 7], 16);
	x87->fsw = (uint16_t)((x87->fsw & ~FSW_TOP) | top << 11);
}

void x87_init(struct x86_x87 *x87)
{
	x87_top_set(x87, 0);
	x87->fcw = 0x037f;
	x87->fsw = 0;
	x87->ftw = 0;
	x87->fop = 0;
	x87->fip = 0;
	x87->fdp = 0;
}

void x87_fnstenv(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint8_t bytes[ENV_WORDS * 4];
	unsigned size;

	x86_vector_check(cpu, insn);
	size = environment_build(cpu, insn, bytes);
	x86_write_bytes(cpu, x86_operand(cpu, insn, size, true), bytes, size);
	cpu->s.x87.fcw |= FCW_EXCEPTIONS;
	x86_x87_summary(cpu);
}

void x87_fldenv(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned size = ENV_WORDS * word_size(insn);
	uint8_t bytes[ENV_WORDS * 4];

	x86_vector_check(cpu, insn);
	x86_read_bytes(cpu, x86_operand(cpu, insn, size, false), bytes, size);
	environment_apply(cpu, insn, bytes);
}

void x87_fnsave(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint8_t bytes[ENV_WORDS * 4 + STACK_BYTES];
	unsigned size;

	x86_vector_check(cpu, insn);
	size = environment_build(cpu, insn, bytes);
	for (unsigned i = 0; i < 8; i++)
		__builtin_memcpy(bytes + size + i * 10, cpu->s.x87.st[i], 10);
	size += STACK_BYTES;
	x86_write_bytes(cpu, x86_operand(cpu, insn, size, true), bytes, size);
	x87_init(&cpu->s.x87);
}

void x87_frstor(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned environment = ENV_WORDS * word_size(insn), size = environment + STACK_BYTES;
	uint8_t bytes[ENV_WORDS * 4 + STACK_BYTES];

	x86_vector_check(cpu, insn);
	x86_read_bytes(cpu, x86_operand(cpu, insn, size, false), bytes, size);
	environment_apply(cpu, insn, bytes);
	for (unsigned i = 0; i < 8; i++) {
		__builtin_memset(cpu->s.x87.st[i], 0, 16);
		__builtin_memcpy(cpu->s.x87.st[i], bytes + environment + i * 10, 10);
	}
}
