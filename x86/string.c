/* SPDX-License-Identifier: Apache-2.0 */
/*
 * string.c - MOVS CMPS STOS LODS SCAS, alone and with REP, REPE, REPNE.
 *
 * REP runs in rounds. A round is one element by the ordinary accessors, or, when DF is 0 and both sides hit the TLB, a run: as many elements
 * as lie on both pages, within both segments' limits and without wrapping an index, done by the host's own REP instruction on host pointers, which has the same order
 * of accesses and the same overlapping. Registers are exact after each round, so a fault in the next one finds them as the SDM wants them. After
 * some rounds, or when the engine is wanted (cpu->attention), the instruction is left with RIP on itself and goes on when it is
 * executed again. With TF every iteration is an instruction of its own.
 */
#include <stdatomic.h>

#include "x86/integer.h"
#include "x86/operand.h"

#define ROUNDS_ELEMENTS 2048 /* single elements before the engine's loop is seen again */
#define ROUND_COST_RUN 16    /* what a run counts: at most 128 runs, 512 KiB */

#define USES_SOURCE 1      /* seg:rSI */
#define USES_DESTINATION 2 /* ES:rDI */

static inline bool is_rep(const struct x86_insn *insn)
{
	return insn->pp >= X86_PP_F3;
}

/* How many bytes from `offset` on are within the segment's limit, given that the access at `offset` has passed all checks. */
static uint64_t segment_room(const struct x86_cpu *cpu, unsigned segment, uint64_t offset, unsigned size)
{
	const struct x86_segment *s = &cpu->s.segment[segment];

	if (cpu->code_size == 8)
		return UINT64_MAX;
	if (cpu->flat >> segment & 1)
		return UINT64_C(0x100000000) - offset;
	if (!(s->attributes & X86_SEGMENT_CODE) && s->attributes & X86_SEGMENT_EXPAND_DOWN)
		return size;
	return (uint64_t)s->limit + 1 - offset;
}

/* Elements from `offset` at `linear` on that lie on its page, in its segment, and before the index wraps. */
static uint64_t run_length(const struct x86_cpu *cpu, const struct x86_insn *insn, unsigned segment, uint64_t offset,
			   uint64_t linear, unsigned shift)
{
	uint64_t bytes = GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1));
	uint64_t room = segment_room(cpu, segment, offset, 1u << shift);

	if (room < bytes)
		bytes = room;
	room = width_mask(insn->address_size) - offset; /* one less than there is: the index after the run must not wrap either */
	if (room < bytes)
		bytes = room;
	return bytes >> shift;
}

/* Counts down what this execution may still do; true: leave. */
static inline bool rounds_over(struct x86_cpu *cpu, int *budget, int cost)
{
	*budget -= cost;
	return *budget <= 0 || cpu->debug_hits || (cpu->s.rflags & X86_FLAG_TF) ||
	       atomic_load_explicit(&cpu->attention, memory_order_relaxed);
}

/* Iterations are left: RIP back onto the instruction. */
static void string_again(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t rip = cpu->reg[X86_RIP] - insn->length;

	if (cpu->reg[X86_RIP] < insn->length)
		rip &= width_mask(insn->code_size);
	cpu->reg[X86_RIP] = rip;
	cpu->unfinished = true;
}

static inline void index_add(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg, uint64_t delta)
{
	reg_set_width(cpu, reg, insn->address_size, cpu->reg[reg] + delta);
}
static inline void count_subtract(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t done)
{
	reg_set_width(cpu, X86_RCX, insn->address_size, cpu->reg[X86_RCX] - done);
}
static inline uint64_t element_step(const struct x86_cpu *cpu, unsigned size)
{
	return cpu->s.rflags & X86_FLAG_DF ? -(uint64_t)size : size;
}

/*
 * One string instruction for one width: NAME##_one##bits does an element at the given linear addresses; NAME##_run##bits does up to
 * `count` on host pointers and returns how many it did. Both say through *stop whether REPE or REPNE ends it.
 */
struct element {
	uint64_t source, destination; /* linear */
	const uint8_t *from;          /* host, for runs; NULL: none */
	uint8_t *to;
	bool stop;
};

#define MOVS(bits, suffix, shift)                                                                                                  \
	static inline void movs_one##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e)                     \
	{                                                                                                                          \
		(void)insn;                                                                                                        \
		x86_write##bits(cpu, e->destination, x86_read##bits(cpu, e->source));                                              \
	}                                                                                                                          \
	static inline uint64_t movs_run##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e, uint64_t count) \
	{                                                                                                                          \
		uint64_t left = count;                                                                                             \
                                                                                                                                   \
		(void)cpu;                                                                                                         \
		(void)insn;                                                                                                        \
		asm volatile("rep movs" suffix : "+c"(left), "+S"(e->from), "+D"(e->to) : : "memory");                             \
		return count;                                                                                                      \
	}                                                                                                                          \
	STRING(movs, bits, shift, USES_SOURCE | USES_DESTINATION, true)
#define STOS(bits, suffix, shift)                                                                                                  \
	static inline void stos_one##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e)                     \
	{                                                                                                                          \
		(void)insn;                                                                                                        \
		x86_write##bits(cpu, e->destination, (uint##bits##_t)cpu->reg[X86_RAX]);                                           \
	}                                                                                                                          \
	static inline uint64_t stos_run##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e, uint64_t count) \
	{                                                                                                                          \
		uint64_t left = count;                                                                                             \
                                                                                                                                   \
		(void)insn;                                                                                                        \
		asm volatile("rep stos" suffix : "+c"(left), "+D"(e->to) : "a"(cpu->reg[X86_RAX]) : "memory");                     \
		return count;                                                                                                      \
	}                                                                                                                          \
	STRING(stos, bits, shift, USES_DESTINATION, true)
/* Of a run of loads only the last one is left. */
#define LODS(bits, suffix, shift)                                                                                                  \
	static inline void lods_one##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e)                     \
	{                                                                                                                          \
		uint##bits##_t value = x86_read##bits(cpu, e->source);                                                             \
                                                                                                                                   \
		(void)insn;                                                                                                        \
		if (bits == 8)                                                                                                     \
			cpu->reg[X86_RAX] = (cpu->reg[X86_RAX] & ~UINT64_C(0xff)) | value;                                         \
		else                                                                                                               \
			reg_set_width(cpu, X86_RAX, bits / 8, value);                                                              \
	}                                                                                                                          \
	static inline uint64_t lods_run##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e, uint64_t count) \
	{                                                                                                                          \
		e->source += (count - 1) * (bits / 8);                                                                             \
		lods_one##bits(cpu, insn, e);                                                                                      \
		return count;                                                                                                      \
	}                                                                                                                          \
	STRING(lods, bits, shift, USES_SOURCE, false)

/* REPE goes on while ZF is 1, REPNE while it is 0. */
static inline bool compare_stops(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return is_rep(insn) && !(cpu->flags & STATUS_ZF) == (insn->pp == X86_PP_F3);
}
#define COMPARE_RUN(text, ...)                                                                              \
	uint64_t left = count;                                                                              \
	uint16_t flags;                                                                                     \
                                                                                                            \
	if (insn->pp == X86_PP_F3)                                                                          \
		asm volatile("repe " text "\n\tmov %%rax, %%rdx\n\tlahf\n\tseto %%al\n\txchg %%rax, %%rdx"  \
			     : "+c"(left), __VA_ARGS__, "memory");                                          \
	else                                                                                                \
		asm volatile("repne " text "\n\tmov %%rax, %%rdx\n\tlahf\n\tseto %%al\n\txchg %%rax, %%rdx" \
			     : "+c"(left), __VA_ARGS__, "memory");                                          \
	cpu->flags = flags;                                                                                 \
	e->stop = compare_stops(cpu, insn);                                                                 \
	return count - left
#define CMPS(bits, suffix, shift)                                                                                                  \
	static inline void cmps_one##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e)                     \
	{                                                                                                                          \
		uint##bits##_t a = x86_read##bits(cpu, e->source), b = x86_read##bits(cpu, e->destination);                        \
		uint16_t ax;                                                                                                       \
                                                                                                                                   \
		asm("cmp %[b], %[a]" FLAGS_SAVE : "=&a"(ax) : [a] "r"(a), [b] "r"(b) : "cc");                                      \
		cpu->flags = ax;                                                                                                   \
		e->stop = compare_stops(cpu, insn);                                                                                \
	}                                                                                                                          \
	static inline uint64_t cmps_run##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e, uint64_t count) \
	{                                                                                                                          \
		uint64_t rax = 0;                                                                                                  \
		const uint8_t *to = e->to;                                                                                         \
                                                                                                                                   \
		COMPARE_RUN("cmps" suffix, "+S"(e->from), "+D"(to), "+a"(rax), "=&d"(flags) : : "cc");                             \
	}                                                                                                                          \
	STRING(cmps, bits, shift, USES_SOURCE | USES_DESTINATION, false)
#define SCAS(bits, suffix, shift)                                                                                                  \
	static inline void scas_one##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e)                     \
	{                                                                                                                          \
		uint##bits##_t a = (uint##bits##_t)cpu->reg[X86_RAX], b = x86_read##bits(cpu, e->destination);                     \
		uint16_t ax;                                                                                                       \
                                                                                                                                   \
		asm("cmp %[b], %[a]" FLAGS_SAVE : "=&a"(ax) : [a] "r"(a), [b] "r"(b) : "cc");                                      \
		cpu->flags = ax;                                                                                                   \
		e->stop = compare_stops(cpu, insn);                                                                                \
	}                                                                                                                          \
	static inline uint64_t scas_run##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e, uint64_t count) \
	{                                                                                                                          \
		uint64_t rax = cpu->reg[X86_RAX];                                                                                  \
		const uint8_t *to = e->to;                                                                                         \
                                                                                                                                   \
		COMPARE_RUN("scas" suffix, "+D"(to), "+a"(rax), "=&d"(flags) : : "cc");                                            \
	}                                                                                                                          \
	STRING(scas, bits, shift, USES_DESTINATION, false)

/* A round of REP at the current registers: addresses, checks, a run or an element, registers. Returns its cost. */
#define STRING(name, bits, shift, uses, writes)                                                                                    \
	static inline void name##_address##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e)               \
	{                                                                                                                          \
		if ((uses)&USES_SOURCE)                                                                                            \
			e->source =                                                                                                \
				x86_linear(cpu, insn->segment, reg_get_width(cpu, X86_RSI, insn->address_size), bits / 8, false);  \
		if ((uses)&USES_DESTINATION)                                                                                       \
			e->destination =                                                                                           \
				x86_linear(cpu, X86_ES, reg_get_width(cpu, X86_RDI, insn->address_size), bits / 8, writes);        \
	}                                                                                                                          \
	static inline void name##_advance##bits(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t delta)                  \
	{                                                                                                                          \
		if ((uses)&USES_SOURCE)                                                                                            \
			index_add(cpu, insn, X86_RSI, delta);                                                                      \
		if ((uses)&USES_DESTINATION)                                                                                       \
			index_add(cpu, insn, X86_RDI, delta);                                                                      \
	}                                                                                                                          \
	/* How many elements a run may do now: 0 if a page is not in the TLB or runs backwards. */                                 \
	static inline uint64_t name##_run_limit##bits(struct x86_cpu *cpu, const struct x86_insn *insn, struct element *e,         \
						      uint64_t count)                                                              \
	{                                                                                                                          \
		uint64_t n;                                                                                                        \
                                                                                                                                   \
		if (cpu->s.rflags & (X86_FLAG_DF | X86_FLAG_TF))                                                                   \
			return 0;                                                                                                  \
		if ((uses)&USES_SOURCE) {                                                                                          \
			e->from = x86_tlb_hit(&cpu->tlb->read[cpu->mode], e->source, bits / 8);                                    \
			if (!e->from)                                                                                              \
				return 0;                                                                                          \
			n = run_length(cpu, insn, insn->segment, reg_get_width(cpu, X86_RSI, insn->address_size), e->source,       \
				       shift);                                                                                     \
			count = n < count ? n : count;                                                                             \
		}                                                                                                                  \
		if ((uses)&USES_DESTINATION) {                                                                                     \
			e->to = x86_tlb_hit((writes) ? &cpu->tlb->write[cpu->mode] : &cpu->tlb->read[cpu->mode], e->destination,   \
					    bits / 8);                                                                             \
			if (!e->to)                                                                                                \
				return 0;                                                                                          \
			n = run_length(cpu, insn, X86_ES, reg_get_width(cpu, X86_RDI, insn->address_size), e->destination, shift); \
			count = n < count ? n : count;                                                                             \
		}                                                                                                                  \
		return count;                                                                                                      \
	}                                                                                                                          \
	static void name##bits(struct x86_cpu *cpu, const struct x86_insn *insn)                                                   \
	{                                                                                                                          \
		struct element e = {0};                                                                                            \
		int budget = ROUNDS_ELEMENTS;                                                                                      \
		uint64_t count, done;                                                                                              \
                                                                                                                                   \
		if (!is_rep(insn)) {                                                                                               \
			name##_address##bits(cpu, insn, &e);                                                                       \
			name##_one##bits(cpu, insn, &e);                                                                           \
			name##_advance##bits(cpu, insn, element_step(cpu, bits / 8));                                              \
			return;                                                                                                    \
		}                                                                                                                  \
		for (;;) {                                                                                                         \
			count = reg_get_width(cpu, X86_RCX, insn->address_size);                                                   \
			if (!count || e.stop)                                                                                      \
				return;                                                                                            \
			name##_address##bits(cpu, insn, &e);                                                                       \
			done = name##_run_limit##bits(cpu, insn, &e, count);                                                       \
			if (done > 1) {                                                                                            \
				done = name##_run##bits(cpu, insn, &e, done);                                                      \
				name##_advance##bits(cpu, insn, done *(bits / 8));                                                 \
			} else {                                                                                                   \
				name##_one##bits(cpu, insn, &e);                                                                   \
				name##_advance##bits(cpu, insn, element_step(cpu, bits / 8));                                      \
				done = 1;                                                                                          \
			}                                                                                                          \
			count_subtract(cpu, insn, done);                                                                           \
			if (done == count || e.stop)                                                                               \
				return;                                                                                            \
			if (rounds_over(cpu, &budget, done > 1 ? ROUND_COST_RUN : 1)) {                                            \
				string_again(cpu, insn);                                                                           \
				return;                                                                                            \
			}                                                                                                          \
		}                                                                                                                  \
	}

// clang-format off
#define ALL(NAME) NAME(8, "b", 0) NAME(16, "w", 1) NAME(32, "l", 2) NAME(64, "q", 3)
ALL(MOVS)
ALL(STOS)
ALL(LODS)
ALL(CMPS)
ALL(SCAS)

#define FOUR(name) { .reg = { name##8, name##16, name##32, name##64 } }
const struct x86_handlers x86_string_movs = FOUR(movs);
const struct x86_handlers x86_string_cmps = FOUR(cmps);
const struct x86_handlers x86_string_stos = FOUR(stos);
const struct x86_handlers x86_string_lods = FOUR(lods);
const struct x86_handlers x86_string_scas = FOUR(scas);
