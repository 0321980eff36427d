/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_unary.c - INC DEC NEG NOT, and ADCX ADOX, which add with a flag of their own.
 */
#include "x86/integer.h"
#include "x86/operand.h"

/* Functions made by macros, laid out by hand. */
// clang-format off

/* CF is restored before: INC and DEC keep it. */
#define UNARY(op, bits, suffix)                                                                                       \
	static inline uint##bits##_t op##_value##bits(uint##bits##_t a, uint16_t *flags)                              \
	{                                                                                                             \
		uint16_t ax = *flags;                                                                                 \
                                                                                                                      \
		asm(FLAGS_RESTORE_CARRY #op suffix " %[a]" FLAGS_SAVE : [a] "+&r"(a), "+&a"(ax) : : "cc");            \
		*flags = ax;                                                                                          \
		return a;                                                                                             \
	}                                                                                                             \
	static void op##_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		reg_set##bits(cpu, insn, insn->rm, op##_value##bits(reg_get##bits(cpu, insn, insn->rm), &cpu->flags)); \
	}                                                                                                             \
	static void op##_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		uint64_t linear = x86_operand(cpu, insn, bits / 8, true);                                             \
		void *p = x86_pointer(cpu, linear, bits / 8);                                                         \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		if (likely(p))                                                                                        \
			asm volatile(FLAGS_RESTORE_CARRY #op suffix " (%[p])" FLAGS_SAVE : "+&a"(ax) : [p] "r"(p) : "cc", "memory"); \
		else                                                                                                  \
			x86_write##bits(cpu, linear, op##_value##bits(x86_read##bits(cpu, linear), &ax));             \
		cpu->flags = ax;                                                                                      \
	}                                                                                                             \
	static void op##_lock##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                 \
	{                                                                                                             \
		void *p = x86_pointer(cpu, x86_operand(cpu, insn, bits / 8, true), bits / 8);                         \
		uint16_t ax = cpu->flags;                                                                             \
                                                                                                                      \
		if (unlikely(!p)) {                                                                                   \
			x86_integer_exclusive(cpu, insn, op##_mem##bits);                                             \
			return;                                                                                       \
		}                                                                                                     \
		asm volatile(FLAGS_RESTORE_CARRY "lock; " #op suffix " (%[p])" FLAGS_SAVE : "+&a"(ax) : [p] "r"(p) : "cc", "memory"); \
		cpu->flags = ax;                                                                                      \
	}
#define UNARY_ALL(op) UNARY(op, 8, "b") UNARY(op, 16, "w") UNARY(op, 32, "l") UNARY(op, 64, "q")
UNARY_ALL(inc)
UNARY_ALL(dec)
UNARY_ALL(neg)

#define NOT(bits, suffix)                                                                                             \
	static void not_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                   \
	{                                                                                                             \
		reg_set##bits(cpu, insn, insn->rm, (uint##bits##_t)~reg_get##bits(cpu, insn, insn->rm));              \
	}                                                                                                             \
	static void not_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                   \
	{                                                                                                             \
		uint64_t linear = x86_operand(cpu, insn, bits / 8, true);                                             \
		void *p = x86_pointer(cpu, linear, bits / 8);                                                         \
                                                                                                                      \
		if (likely(p))                                                                                        \
			asm volatile("not" suffix " (%[p])" : : [p] "r"(p) : "memory");                               \
		else                                                                                                  \
			x86_write##bits(cpu, linear, (uint##bits##_t)~x86_read##bits(cpu, linear));                   \
	}                                                                                                             \
	static void not_lock##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		void *p = x86_pointer(cpu, x86_operand(cpu, insn, bits / 8, true), bits / 8);                         \
                                                                                                                      \
		if (likely(p))                                                                                        \
			asm volatile("lock; not" suffix " (%[p])" : : [p] "r"(p) : "memory");                         \
		else                                                                                                  \
			x86_integer_exclusive(cpu, insn, not_mem##bits);                                              \
	}
NOT(8, "b") NOT(16, "w") NOT(32, "l") NOT(64, "q")

#define FOUR(name) { name##8, name##16, name##32, name##64 }
#define HANDLERS(op) { .reg = FOUR(op##_reg), .mem = FOUR(op##_mem), .lock = FOUR(op##_lock) }
const struct x86_handlers x86_integer_inc = HANDLERS(inc);
const struct x86_handlers x86_integer_dec = HANDLERS(dec);
const struct x86_handlers x86_integer_neg = HANDLERS(neg);
const struct x86_handlers x86_integer_not = HANDLERS(not);

/* ADCX, ADOX: reg += r/m + CF or OF; only that flag changes. */
#define ADX(bits)                                                                                                     \
	static void adx##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint##bits##_t b, uint16_t flag)      \
	{                                                                                                             \
		uint##bits##_t sum, a = reg_get##bits(cpu, insn, insn->reg);                                          \
		bool carry = __builtin_add_overflow(a, b, &sum);                                                      \
                                                                                                                      \
		carry |= __builtin_add_overflow(sum, (uint##bits##_t)((cpu->flags & flag) != 0), &sum);               \
		reg_set##bits(cpu, insn, insn->reg, sum);                                                             \
		cpu->flags = (uint16_t)((cpu->flags & ~flag) | (carry ? flag : 0));                                   \
	}                                                                                                             \
	static void adcx_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		feature_require(cpu, X86_FEATURE_ADX);                                                                \
		adx##bits(cpu, insn, reg_get##bits(cpu, insn, insn->rm), STATUS_CF);                                  \
	}                                                                                                             \
	static void adcx_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		feature_require(cpu, X86_FEATURE_ADX);                                                                \
		adx##bits(cpu, insn, operand_read##bits(cpu, insn), STATUS_CF);                                       \
	}                                                                                                             \
	static void adox_reg##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		feature_require(cpu, X86_FEATURE_ADX);                                                                \
		adx##bits(cpu, insn, reg_get##bits(cpu, insn, insn->rm), STATUS_OF);                                  \
	}                                                                                                             \
	static void adox_mem##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                  \
	{                                                                                                             \
		feature_require(cpu, X86_FEATURE_ADX);                                                                \
		adx##bits(cpu, insn, operand_read##bits(cpu, insn), STATUS_OF);                                       \
	}
ADX(32) ADX(64)
const struct x86_handlers x86_integer_adcx = { .reg = { [2] = adcx_reg32, adcx_reg64 }, .mem = { [2] = adcx_mem32, adcx_mem64 } };
const struct x86_handlers x86_integer_adox = { .reg = { [2] = adox_reg32, adox_reg64 }, .mem = { [2] = adox_mem32, adox_mem64 } };
