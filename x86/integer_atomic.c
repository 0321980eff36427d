/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_atomic.c - CMPXCHG XADD CMPXCHG8B CMPXCHG16B.
 *
 * Registers go into the host's instruction whole and come out whole, so that what a 32-bit form does to upper halves is what the host does. CMPXCHG
 * writes its memory operand in any case: a pointer for writing is what it asks for first.
 */
#include "x86/integer.h"
#include "x86/operand.h"

/* Functions made by macros, laid out by hand. */
// clang-format off

/* RAX is moved in and out around the flags' use of AX. */
#define CMPXCHG_ASM(text) FLAGS_RESTORE "mov %[rax], %%rax\n\t" text "\n\tmov %%rax, %[rax]" FLAGS_SAVE

#define CMPXCHG(bits, suffix, modifier)                                                                               \
	static void cmpxchg_slow##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t linear)             \
	{                                                                                                             \
		uint64_t value = x86_read##bits(cpu, linear), rax = cpu->reg[X86_RAX];                                \
		uint64_t source = reg_get##bits(cpu, insn, insn->reg);                                                \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		asm(CMPXCHG_ASM("cmpxchg" suffix " %" modifier "[source], %" modifier "[value]")                      \
		    : [value] "+&r"(value), [rax] "+&r"(rax), "+&a"(ax) : [source] "r"(source) : "cc");               \
		x86_write##bits(cpu, linear, (uint##bits##_t)value);                                                  \
		cpu->reg[X86_RAX] = rax;                                                                              \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	static void cmpxchg_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                               \
	{                                                                                                             \
		uint64_t linear = x86_operand(cpu, insn, bits / 8, true), rax = cpu->reg[X86_RAX];                    \
		void *p = x86_pointer(cpu, linear, bits / 8);                                                         \
		uint64_t source = reg_get##bits(cpu, insn, insn->reg);                                                \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		if (unlikely(!p)) {                                                                                   \
			cmpxchg_slow##bits(cpu, insn, linear);                                                        \
			return;                                                                                       \
		}                                                                                                     \
		asm volatile(CMPXCHG_ASM("cmpxchg" suffix " %" modifier "[source], (%[p])")                           \
			     : [rax] "+&r"(rax), "+&a"(ax) : [source] "r"(source), [p] "r"(p) : "cc", "memory");      \
		cpu->reg[X86_RAX] = rax;                                                                              \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	static void cmpxchg_lock##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                              \
	{                                                                                                             \
		void *p = x86_pointer(cpu, x86_operand(cpu, insn, bits / 8, true), bits / 8);                         \
		uint64_t source = reg_get##bits(cpu, insn, insn->reg), rax = cpu->reg[X86_RAX];                       \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		if (unlikely(!p)) {                                                                                   \
			x86_integer_exclusive(cpu, insn, cmpxchg_mem##bits);                                          \
			return;                                                                                       \
		}                                                                                                     \
		asm volatile(CMPXCHG_ASM("lock; cmpxchg" suffix " %" modifier "[source], (%[p])")                     \
			     : [rax] "+&r"(rax), "+&a"(ax) : [source] "r"(source), [p] "r"(p) : "cc", "memory");      \
		cpu->reg[X86_RAX] = rax;                                                                              \
		cpu->flags = ax;                                                                                      \
	}
CMPXCHG(8, "b", "b") CMPXCHG(16, "w", "w") CMPXCHG(32, "l", "k") CMPXCHG(64, "q", "q")

/* Register forms. Of the destination a byte may be AH..BH, so those bytes are handled as values. */
#define CMPXCHG_REG(bits, suffix, modifier)                                                                           \
	static void cmpxchg_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                               \
	{                                                                                                             \
		uint64_t value = cpu->reg[insn->rm], rax = cpu->reg[X86_RAX], source = cpu->reg[insn->reg];           \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		asm(CMPXCHG_ASM("cmpxchg" suffix " %" modifier "[source], %" modifier "[value]")                      \
		    : [value] "+&r"(value), [rax] "+&r"(rax), "+&a"(ax) : [source] "r"(source) : "cc");               \
		cpu->reg[X86_RAX] = rax;                                                                              \
		if (insn->rm != X86_RAX || ax & STATUS_ZF)                                                            \
			cpu->reg[insn->rm] = value;                                                                   \
		cpu->flags = ax;                                                                                      \
	}
CMPXCHG_REG(16, "w", "w") CMPXCHG_REG(32, "l", "k") CMPXCHG_REG(64, "q", "q")
static void cmpxchg_reg8(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint8_t value = reg_get8(cpu, insn, insn->rm), source = reg_get8(cpu, insn, insn->reg);
	uint64_t rax = cpu->reg[X86_RAX];
	uint16_t ax = cpu->flags;
	bool equal = (uint8_t)rax == value;

	asm(CMPXCHG_ASM("cmpxchgb %[source], %[value]") : [value] "+&r"(value), [rax] "+&r"(rax), "+&a"(ax) : [source] "r"(source) : "cc");
	if (equal)
		reg_set8(cpu, insn, insn->rm, source);
	else
		cpu->reg[X86_RAX] = rax;
	cpu->flags = ax;
}

#define XADD(bits, suffix)                                                                                            \
	static inline uint##bits##_t xadd_value##bits(uint##bits##_t a, uint##bits##_t *b, uint16_t *flags)           \
	{                                                                                                             \
		uint16_t ax;                                                                                          \
                                                                                                                      \
		asm("xadd" suffix " %[b], %[a]" FLAGS_SAVE : [a] "+&r"(a), [b] "+&r"(*b), "=&a"(ax) : : "cc");        \
		*flags = ax;                                                                                          \
		return a;                                                                                             \
	}                                                                                                             \
	static void xadd_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		uint##bits##_t a = reg_get##bits(cpu, insn, insn->rm), b = reg_get##bits(cpu, insn, insn->reg);       \
                                                                                                                      \
		a = xadd_value##bits(a, &b, &cpu->flags);                                                             \
		reg_set##bits(cpu, insn, insn->reg, b);                                                               \
		reg_set##bits(cpu, insn, insn->rm, a);                                                                \
	}                                                                                                             \
	static void xadd_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		uint64_t linear = x86_operand(cpu, insn, bits / 8, true);                                             \
		void *p = x86_pointer(cpu, linear, bits / 8);                                                         \
		uint##bits##_t b = reg_get##bits(cpu, insn, insn->reg), a;                                            \
		uint16_t ax;                                                                                          \
                                                                                                                      \
		if (likely(p)) {                                                                                      \
			asm volatile("xadd" suffix " %[b], (%[p])" FLAGS_SAVE : [b] "+&r"(b), "=&a"(ax) : [p] "r"(p) : "cc", "memory"); \
		} else {                                                                                              \
			a = xadd_value##bits(x86_read##bits(cpu, linear), &b, &ax);                                   \
			x86_write##bits(cpu, linear, a);                                                              \
		}                                                                                                     \
		reg_set##bits(cpu, insn, insn->reg, b);                                                               \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	static void xadd_lock##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                 \
	{                                                                                                             \
		void *p = x86_pointer(cpu, x86_operand(cpu, insn, bits / 8, true), bits / 8);                         \
		uint##bits##_t b = reg_get##bits(cpu, insn, insn->reg);                                               \
		uint16_t ax;                                                                                          \
                                                                                                                      \
		if (unlikely(!p)) {                                                                                   \
			x86_integer_exclusive(cpu, insn, xadd_mem##bits);                                             \
			return;                                                                                       \
		}                                                                                                     \
		asm volatile("lock; xadd" suffix " %[b], (%[p])" FLAGS_SAVE : [b] "+&r"(b), "=&a"(ax) : [p] "r"(p) : "cc", "memory"); \
		reg_set##bits(cpu, insn, insn->reg, b);                                                               \
		cpu->flags = ax;                                                                                      \
	}
XADD(8, "b") XADD(16, "w") XADD(32, "l") XADD(64, "q")

/*
 * CMPXCHG8B and 16B: rDX:rAX against memory, rCX:rBX into it; only ZF changes. `half` is the register's width. A failed comparison writes back
 * what was there. The host's instruction is locked in any case: that costs little and nobody can tell.
 */
#define CMPXCHG_PAIR(name, half, bytes, mnemonic)                                                                     \
	static void name##_done(struct x86_cpu *cpu, bool equal, uint##half##_t low, uint##half##_t high)             \
	{                                                                                                             \
		if (!equal) {                                                                                         \
			cpu->reg[X86_RAX] = low;                                                                      \
			cpu->reg[X86_RDX] = high;                                                                     \
		}                                                                                                     \
		cpu->flags = (uint16_t)((cpu->flags & ~STATUS_ZF) | (equal ? STATUS_ZF : 0));                         \
	}                                                                                                             \
	static void name##_slow(struct x86_cpu *cpu, const struct x86_insn *insn)                                     \
	{                                                                                                             \
		uint64_t linear = x86_operand(cpu, insn, bytes, true);                                                \
		uint##half##_t value[2], next[2];                                                                     \
		bool equal;                                                                                           \
                                                                                                                      \
		x86_read_bytes(cpu, linear, value, bytes);                                                            \
		equal = value[0] == (uint##half##_t)cpu->reg[X86_RAX] && value[1] == (uint##half##_t)cpu->reg[X86_RDX]; \
		next[0] = equal ? (uint##half##_t)cpu->reg[X86_RBX] : value[0];                                       \
		next[1] = equal ? (uint##half##_t)cpu->reg[X86_RCX] : value[1];                                       \
		x86_write_bytes(cpu, linear, next, bytes);                                                            \
		name##_done(cpu, equal, value[0], value[1]);                                                          \
	}                                                                                                             \
	static inline void name##_pointer(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t linear)          \
	{                                                                                                             \
		void *p = x86_pointer(cpu, linear, bytes);                                                            \
		uint##half##_t low = (uint##half##_t)cpu->reg[X86_RAX], high = (uint##half##_t)cpu->reg[X86_RDX];     \
		bool equal;                                                                                           \
                                                                                                                      \
		if (unlikely(!p)) {                                                                                   \
			x86_integer_exclusive(cpu, insn, name##_slow);                                                \
			return;                                                                                       \
		}                                                                                                     \
		asm volatile("lock; " mnemonic " (%[p])"                                                              \
			     : "=@ccz"(equal), "+a"(low), "+d"(high)                                                  \
			     : [p] "r"(p), "b"((uint##half##_t)cpu->reg[X86_RBX]), "c"((uint##half##_t)cpu->reg[X86_RCX]) : "cc", "memory"); \
		name##_done(cpu, equal, low, high);                                                                   \
	}
CMPXCHG_PAIR(cmpxchg8b, 32, 8, "cmpxchg8b")
CMPXCHG_PAIR(cmpxchg16b, 64, 16, "cmpxchg16b")

static void cmpxchg8b(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cmpxchg8b_pointer(cpu, insn, x86_operand(cpu, insn, 8, true));
}
static void cmpxchg16b(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t linear;

	feature_require(cpu, X86_FEATURE_CX16);
	linear = x86_operand(cpu, insn, 16, true);
	if (linear & 15)
		x86_raise_error(cpu, X86_GP, 0);
	cmpxchg16b_pointer(cpu, insn, linear);
}

#define FOUR(name) { name##8, name##16, name##32, name##64 }
const struct x86_handlers x86_integer_cmpxchg = { .reg = FOUR(cmpxchg_reg), .mem = FOUR(cmpxchg_mem), .lock = FOUR(cmpxchg_lock) };
const struct x86_handlers x86_integer_xadd = { .reg = FOUR(xadd_reg), .mem = FOUR(xadd_mem), .lock = FOUR(xadd_lock) };
const struct x86_handlers x86_integer_cmpxchg8b = { .mem = { [2] = cmpxchg8b }, .lock = { [2] = cmpxchg8b } };
const struct x86_handlers x86_integer_cmpxchg16b = { .mem = { [3] = cmpxchg16b }, .lock = { [3] = cmpxchg16b } };
