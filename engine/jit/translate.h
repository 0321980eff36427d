/* SPDX-License-Identifier: Apache-2.0 */
/*
 * translate.h - one block on its way from guest bytes to host code: between translate.c (blocks), operand.c (registers and memory),
 * native.c (instructions that run as they are), stack.c and branch.c.
 */
#ifndef HOLON_JIT_TRANSLATE_H
#define HOLON_JIT_TRANSLATE_H

#include <holon/code_watch.h>

#include "engine/jit/cache.h"
#include "engine/jit/context.h"
#include "engine/jit/emit.h"
#include "engine/jit/form.h"

#define JIT_STUBS 8
#define JIT_SPANS (JIT_BLOCK_INSNS * 8)

/* Accesses that one check serves (plan.c). Distances count from where the base register was when it was last unknown. */
struct jit_group {
	int64_t low, high;
	uint8_t members;
	bool write;
	bool checked;  /* emission has passed its first member */
	int8_t slot;   /* in jit_context.group */
	uint8_t first; /* the instruction that checks */
};
struct jit_plan {
	int8_t group;  /* -1: the instruction's access has a check of its own */
	int64_t moved; /* how far the base register has moved when the instruction starts */
};

/* A check that may fail (miss.c). */
struct jit_miss {
	uint8_t *branch;       /* its displacement byte */
	const uint8_t *resume; /* where the fill comes back to; NULL: behind the branch */
	int32_t thunk;
	uint32_t site;
	unsigned base; /* R14 = base + disp first, or HOST_NONE */
	int32_t disp;
	unsigned context; /* where it is in the branch's code (emit.h) */
	int8_t stack;     /* moves RSP, which is the guest's there, back */
};
#define JIT_MISSES 8
#define JIT_MISS_PLACES 3

/* A memory operand that may be used: the host address is base + index + disp, and GS's base. */
struct place {
	unsigned base, index; /* index RCX, or HOST_NONE */
	int32_t disp;
	bool gs; /* in a program's window: its distance */
};

#define JIT_SOFT 64

/* Instructions that a window has refused, and how often. */
struct jit_soft {
	const uint8_t *insn[JIT_SOFT];
	uint8_t refused[JIT_SOFT];
};

/* An instruction that can trap: */
struct jit_trap {
	unsigned host;   /* from the far entry to the end of its code, */
	unsigned guest;  /* from the block's first byte to its own, */
	unsigned undone; /* how many instructions there are from it on, */
	int stack;       /* and what RSP has still to be moved by there (stack.c) */
};

struct translation {
	struct emitter e;
	struct jit_cache *cache;
	struct x86_code_pages *pages;
	struct x86_cpu *cpu;
	const uint8_t *page; /* host address of the guest page */
	uint32_t generation;
	unsigned key;
	unsigned mode;         /* enum x86_access_mode */
	bool wide;             /* 64-bit code */
	bool direct;           /* the host's RSP is the guest's in this block, but for some instructions (direct.c) */
	unsigned stack_way;    /* how far constants have moved it there */
	bool code_checked;     /* a program's window is known to have the block where this page is */
	bool counted;          /* count instructions */
	bool limited;          /* and leave before there are too many */
	unsigned start;        /* page offsets: of the block, */
	unsigned offset, next; /* of the current instruction and the one behind it */
	int stack_moved;       /* by how much RSP is behind (stack.c), */
	int stack_before;      /* and was when the current instruction began */
	unsigned index, count; /* the current instruction's number, and how many there are */
	bool crossing;         /* the instruction behind the block leaves the page */
	bool vector_ready;     /* the guest's vector registers are known to be in the host's */
	bool x87_ready;        /* its x87 registers too */
	bool x87_based;        /* jit_context.x87_base is known to be this page */
	uint8_t *code, *near;  /* entries, in the writable mapping */
	struct {
		uint8_t *displacement;
		unsigned target;
		const struct jit_block *block; /* NULL: not there yet */
	} stub[JIT_STUBS];
	unsigned stubs;
	struct jit_miss miss[JIT_MISSES]; /* whose entries are still to be placed */
	unsigned misses;
	uint8_t *place[JIT_MISS_PLACES]; /* free for entries */
	unsigned places;
	bool traps_here;             /* the current instruction may trap on its access to memory */
	bool near_only, unreachable; /* entries go to the next place at once; an entry was out of reach */
	bool loop_slow;
	const uint8_t *begin; /* the block's first byte */
	struct jit_soft soft;
	uint64_t softs;                            /* a bit an instruction: windows refuse it */
	struct jit_trap trap[JIT_BLOCK_INSNS + 1]; /* the last one: of what is behind the block */
	unsigned traps;
	struct x86_insn insn[JIT_BLOCK_INSNS];
	struct jit_plan plan[JIT_BLOCK_INSNS];
	struct jit_group group[JIT_BLOCK_INSNS];
	unsigned groups;
	struct code_watch *watch; /* NULL: nobody looks, and there are no spans */
	struct code_span span[JIT_SPANS];
	unsigned spans;
};

/* translate.c */
/* The block at hva, `available` bytes to its page's end. NULL: its first instruction leaves the page. The cache has room (jit_cache_room). */
struct jit_block *jit_translate(struct translation *t, const uint8_t *hva, unsigned available);
/* The one instruction that begins at hva, `available` bytes before its page's end, and ends on page `second`. */
struct jit_block *jit_translate_crossing(struct translation *t, const uint8_t *hva, unsigned available, const uint8_t *second);
/* call [context + thunk] and the site word; flags: JIT_SITE_GROUP or 0. */
void translate_call_site(struct translation *t, int32_t thunk, unsigned offset, unsigned size, uint32_t flags);
/* Calls the current instruction's handler; ends: and leaves to C. */
void translate_handler(struct translation *t, const struct x86_insn *insn, bool ends);

/* watch.c: what follows is `kind`. */
void watch_span(struct translation *t, enum code_span_kind kind);
/* A word that is not executed. */
void watch_data(struct translation *t, uint32_t word);
/* The block is complete; guest: its bytes. */
void watch_block(struct translation *t, const uint8_t *guest);

/* operand.c */
/* The host register that holds a guest GPR all the time, or HOST_NONE. */
unsigned operand_pinned(const struct translation *t, unsigned guest);
/* Where in the context an unpinned one is. */
int32_t operand_home(unsigned guest);
/* Copies a guest GPR into a scratch register, all 64 bits. */
void operand_load(struct translation *t, unsigned scratch, unsigned guest);
void operand_store(struct translation *t, unsigned guest, unsigned scratch);
/* An unpinned one has been written where it lies. */
void operand_home_written(struct translation *t, unsigned guest);
/* Can operand_place and operand_address make the address? Not 16-bit ones, nor segments with a base in 32-bit code. */
bool operand_address_possible(const struct translation *t, const struct x86_insn *insn);
/* R14 = the memory operand's linear address (LEA). Destroys RCX. */
bool operand_address(struct translation *t, const struct x86_insn *insn);
/* The current instruction's ModRM memory operand, checked for `size` bytes. RCX and perhaps R14 are taken. */
struct place operand_place(struct translation *t, const struct x86_insn *insn, unsigned size, bool write);
/* The same for [rSP + disp] (base X86_RSP) and the like: an implicit operand. */
struct place operand_place_at(struct translation *t, unsigned base, int32_t disp, unsigned size, bool write);
/* The same for the linear address in R14. */
struct place operand_place_linear(struct translation *t, unsigned size, bool write);
/* Is the displacement perhaps the address of an array, and the base a number? The base's region is not the operand's then. */
static inline bool operand_far(int64_t disp)
{
	return disp >= 1 << 24 || disp < -(1 << 24);
}
bool operand_windowed(const struct translation *t, const struct x86_insn *insn);
/* The place without an index, so that RCX is free; R14 may be taken. */
struct place operand_fold(struct translation *t, struct place place);
/* A scratch register that the place leaves free, after a change of the place if need be. */
unsigned operand_spare(struct translation *t, struct place *place);
/* mov reg, place; mov place, reg; mov place, imm32. `wide`: 8 bytes, else 4. */
static inline void emit_place(struct emitter *e, bool wide, unsigned opcode, unsigned reg, struct place place)
{
	if (place.gs)
		emit8(e, EMIT_GS);
	emit_memory(e, wide, opcode, reg, place.base, place.index, 0, place.disp);
}

/* miss.c */
void miss_begin(struct translation *t);
/* Emits the branch that is taken if RCX is not 1, to an entry made of the rest. */
void miss_branch(struct translation *t, struct jit_miss miss);
/* An island may be here; the next chance is `ahead` bytes on at most. */
void miss_room(struct translation *t, unsigned ahead);
/* Nothing comes by here: room for entries, without a jump over them. */
void miss_unreached(struct translation *t);
/* The block's end. */
void miss_flush(struct translation *t);
#define MISS_AHEAD_CHECK 64    /* the longest check */
#define MISS_AHEAD_OPERAND 40  /* what follows a check, or an instruction up to its check */
#define MISS_AHEAD_LOOKUP 32   /* a jump's lookup */
#define MISS_AHEAD_JUMP 64     /* what follows it, or a branch up to its check, lookup or end */
#define MISS_AHEAD_SYSTEM 100  /* any other instruction up to its check or its end */
#define MISS_AHEAD_TIME 120    /* RDTSC and the like, to their ends */
#define MISS_AHEAD_REPEAT 1000 /* but a repeated one, which has none */
static inline uint32_t miss_site(const struct translation *t, unsigned offset, unsigned size, uint32_t flags)
{
	return JIT_SITE(offset, size, t->count - t->index) | flags;
}

/* plan.c */
void plan_groups(struct translation *t);

/* native.c: false: nothing was emitted; call the handler. */
bool translate_native(struct translation *t, const struct x86_insn *insn);
bool translate_vector(struct translation *t, const struct x86_insn *insn);
bool translate_vector_possible(const struct translation *t, const struct x86_insn *insn);
bool translate_uses_mmx(const struct x86_opcode *row);
/* soft.c: is the instruction whose bytes are there translated without a window? */
bool soft_known(const struct jit_soft *soft, const uint8_t *insn);
bool soft_possible(const struct x86_insn *insn);
/* The window has refused it. true: often enough, just now: what was made of it is to be made anew. */
bool soft_refused(struct jit_soft *soft, const uint8_t *insn);

/* trap.c */
/* What was emitted last may trap, as the current instruction. */
void trap_here(struct translation *t);
/* The same, behind the current instruction: it is done. */
void trap_behind(struct translation *t);
/* How many entries they took: 255 at most. */
unsigned trap_sites_write(const struct translation *t, const struct jit_trap_site *where);
/* Which one has trapped, `host` bytes behind the far entry. */
bool trap_find(const struct jit_trap_site *site, unsigned count, uint64_t host, struct jit_trap *trap);
/* x87.c */
bool translate_x87(struct translation *t, const struct x86_insn *insn);
bool x87_possible(const struct translation *t, const struct x86_insn *insn);
/* The guest's x87 registers in the host's, from here to the next handler: for MMX too. */
void x87_ready(struct translation *t);
/* stack.c */
bool translate_stack(struct translation *t, const struct x86_insn *insn);
void stack_adjust(struct translation *t, int32_t by);
/* Before an instruction: RSP is moved as far as those before it have moved it, unless this is one more that only moves it on. */
void stack_begin(struct translation *t, const struct x86_insn *insn);
void stack_settle(struct translation *t);
/* Can PUSH, POP, LEA and their like be ... */
bool stack_direct(const struct translation *t, const struct x86_insn *insn);
/* direct.c: "direct": with RSP = the guest's in its window, R15 = context. "Usual": with RSP = context, R15 = the guest's. */
static inline bool direct_now(const struct translation *t)
{
	return t->e.context != HOST_RSP;
}
/* Where the context is at the block's edges. */
static inline unsigned direct_context(const struct translation *t)
{
	return t->direct ? HOST_R15 : HOST_RSP;
}
/* Is the instruction translated with RSP as the guest's? */
bool direct_possible(const struct translation *t, const struct x86_insn *insn);
/* From one to the other, if it is not so already; behind what may have written RSP enter checks it. */
void direct_leave(struct translation *t);
void direct_enter(struct translation *t, const struct x86_insn *insn);
/* What moves RSP by a constant, or reads it. */
bool translate_direct(struct translation *t, const struct x86_insn *insn);
/* scratch = the guest's RSP; RCX may be another's. */
void direct_stack(struct translation *t, unsigned scratch);
/* Are its operands in memory, if it has any, the window's? */
bool direct_memory(const struct translation *t, const struct x86_insn *insn);
#define DIRECT_AHEAD 56 /* bytes for coming and going */
/* bit.c: BT, BTS, BTR, BTC of a bit in memory that a register numbers */
bool translate_bit(struct translation *t, const struct x86_insn *insn);
/* repeat.c: REP MOVS, REP STOS */
bool translate_repeat(struct translation *t, const struct x86_insn *insn);
bool repeat_possible(const struct translation *t, const struct x86_insn *insn);
/* system.c */
bool translate_system(struct translation *t, const struct x86_insn *insn);
bool translate_system_stays(const struct translation *t, const struct x86_insn *insn);
/* branch.c: the instruction ends the block. false: handler. */
bool translate_branch(struct translation *t, const struct x86_insn *insn);
bool branch_direct(const struct translation *t, const struct x86_insn *insn);
/* A conditional jump that leaves the block to the side: what follows it may be of the same block. */
bool branch_conditional(const struct x86_insn *insn);
/* Is there a block for what is at that offset in the page, to go on in? */
bool branch_known(const struct translation *t, unsigned offset);
/* Goes on behind the block's last instruction. */
void branch_on(struct translation *t);
/* The same, inside the page, with cpu->mode changed to `mode`. */
void branch_on_in_mode(struct translation *t, unsigned mode);
/* The stubs of jumps that are not linked. */
void branch_stubs(struct translation *t);

#endif
