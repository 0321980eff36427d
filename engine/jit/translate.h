/* SPDX-License-Identifier: Apache-2.0 */
/*
 * translate.h - one block on its way from guest bytes to host code: between translate.c (blocks), operand.c (registers and memory),
 * native.c (instructions that run as they are), stack.c and branch.c.
 */
#ifndef HOLON_JIT_TRANSLATE_H
#define HOLON_JIT_TRANSLATE_H

#include "engine/jit/cache.h"
#include "engine/jit/context.h"
#include "engine/jit/emit.h"
#include "engine/jit/form.h"

#define JIT_STUBS 8

struct translation {
	struct emitter e;
	struct jit_cache *cache;
	struct x86_code_pages *pages;
	struct x86_cpu *cpu;
	const uint8_t *page;   /* host address of the guest page */
	uint32_t generation;
	unsigned key;
	unsigned mode;         /* enum x86_access_mode */
	bool wide;             /* 64-bit code */
	bool counted;          /* count instructions */
	unsigned start;        /* page offsets: of the block, */
	unsigned offset, next; /* of the current instruction and the one behind it */
	unsigned index, count; /* the current instruction's number, and how many there are */
	bool vector_ready;     /* the guest's vector registers are known to be in the host's */
	uint8_t *code, *near;  /* entries, in the writable mapping */
	struct {
		uint8_t *displacement;
		unsigned target;
	} stub[JIT_STUBS];
	unsigned stubs;
	struct jit_trap_site trap[JIT_BLOCK_INSNS];
	unsigned traps;
	struct x86_insn insn[JIT_BLOCK_INSNS];
};

/* translate.c */
/* The block at hva, `available` bytes to its page's end. NULL: its first instruction leaves the page. The cache has room (jit_cache_room). */
struct jit_block *jit_translate(struct translation *t, const uint8_t *hva, unsigned available);
/* call [context + thunk] and the site word. */
void translate_call_site(struct translation *t, int32_t thunk, unsigned offset, unsigned size);
/* Calls the current instruction's handler; ends: and leaves to C. */
void translate_handler(struct translation *t, const struct x86_insn *insn, bool ends);

/* operand.c */
/* The host register that holds a guest GPR all the time, or HOST_NONE. */
unsigned operand_pinned(unsigned guest);
/* Where in the context an unpinned one is. */
int32_t operand_home(unsigned guest);
/* Copies a guest GPR into a scratch register, all 64 bits. */
void operand_load(struct translation *t, unsigned scratch, unsigned guest);
void operand_store(struct translation *t, unsigned guest, unsigned scratch);
/* R14 = the memory operand's linear address. Destroys RCX. false: it cannot be had here (16-bit addresses, segments with a base in 32-bit code). */
bool operand_address(struct translation *t, const struct x86_insn *insn);
/* Can operand_address make it? */
bool operand_address_possible(const struct translation *t, const struct x86_insn *insn);
/* R14 is a linear address: after this [R14 + RCX] is the host's, checked for `size` bytes, or the instruction is stepped by C. */
void operand_check(struct translation *t, unsigned size, bool write);
/* R14 += RCX, so that RCX is free. */
void operand_fold(struct translation *t);

/* native.c: false: nothing was emitted; call the handler. */
bool translate_native(struct translation *t, const struct x86_insn *insn);
bool translate_vector(struct translation *t, const struct x86_insn *insn);
/* stack.c */
bool translate_stack(struct translation *t, const struct x86_insn *insn);
/* Makes room for a push of `size` bytes: R14 + RCX is where. RSP stays: commit with stack_adjust. */
void stack_push_check(struct translation *t, unsigned size);
void stack_adjust(struct translation *t, int32_t by);
/* branch.c: the instruction ends the block. false: handler. */
bool translate_branch(struct translation *t, const struct x86_insn *insn);
/* Goes on behind the block's last instruction. */
void branch_on(struct translation *t);
/* The stubs of jumps that are not linked. */
void branch_stubs(struct translation *t);

#endif
