/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repeat.c - REP MOVS and REP STOS: the host's own REP, where all that is touched lies in one page a side and DF is 0. Flat 64-bit code.
 *
 * What a side touches is found in the TLB as any operand is: by the page of its first byte and that of its last. A page that is not there yet is
 * filled in; what goes over a page's end, moves downwards or is longer than a page has bytes goes to the handler, which does a page at a time. RCX, RSI and RDI
 * change when the host's REP is done, which nothing can stop in its middle.
 */
#include "engine/jit/translate.h"

#define CPU(member) ((int32_t)offsetof(struct x86_cpu, member))
#define LABEL_USES 8

struct label {
	uint8_t *use[LABEL_USES]; /* displacements */
	unsigned uses;
};

static void label_jump(struct translation *t, struct label *label)
{
	bug_on(label->uses == LABEL_USES);
	label->use[label->uses++] = emit_jump(&t->e);
}

static void label_here(struct translation *t, const struct label *label)
{
	for (unsigned i = 0; i < label->uses; i++)
		emit_jump_set(label->use[i], t->e.p);
}

/* Jumps if RCX is not 0; else goes on. */
static void jump_unless_zero(struct translation *t, struct label *label)
{
	emit8(&t->e, 0xe3); /* jrcxz behind the jump */
	emit8(&t->e, 5);
	label_jump(t, label);
}

static void jump_if_zero(struct translation *t, struct label *label)
{
	emit8(&t->e, 0xe3); /* jrcxz over the next */
	emit8(&t->e, 2);
	emit8(&t->e, 0xeb);
	emit8(&t->e, 5);
	label_jump(t, label);
}

static int32_t tlb_array(const struct translation *t, bool write)
{
	return (write ? JIT_TLB(write) : JIT_TLB(read)) + (int32_t)(t->mode * sizeof(struct x86_tlb_array));
}

/* RCX = 0 if the byte at R14 lies in the page that the TLB has for the first byte, `pointer`. */
static void page_compare(struct translation *t, unsigned pointer, bool write)
{
	struct emitter *e = &t->e;

	emit_pext(e, HOST_RCX, pointer, JIT_OFFSET(page_mask));
	emit_memory(e, true, EMIT_LOAD, HOST_RCX, HOST_RSP, HOST_RCX, 3,
		    tlb_array(t, write) + (int32_t)offsetof(struct x86_tlb_array, tag));
	emit_memory(e, true, EMIT_LEA, HOST_RCX, HOST_RCX, HOST_R14, 0, -(int32_t)GUEST_PAGE_SIZE);
	emit_pext(e, HOST_RCX, HOST_RCX, JIT_OFFSET(high_mask));
}

/*
 * All of R11 elements from `pointer` on are in one page, and it is in the TLB; or the handler does it. They have from one byte to a page's: more could reach from
 * the highest addresses around to page 1, which is what an empty entry's tag is for (X86_TLB_EMPTY).
 */
static void side_check(struct translation *t, unsigned pointer, unsigned shift, bool write, struct label *handler)
{
	struct emitter *e = &t->e;
	struct label done = {.uses = 0};
	uint8_t *again = e->p;

	emit_memory(e, true, EMIT_LEA, HOST_R14, pointer, HOST_R11, shift, -1);
	page_compare(t, pointer, write);
	jump_if_zero(t, &done);
	/* Is it the page that is missing? */
	emit_move(e, HOST_R14, pointer);
	page_compare(t, pointer, write);
	jump_if_zero(t, handler);
	translate_call_site(t, write ? JIT_OFFSET(fill_write) : JIT_OFFSET(fill_read), t->offset, 1, 0);
	watch_span(t, CODE_DATA);
	emit16(e, 6); /* and on behind this word */
	watch_span(t, CODE_MORE);
	emit_jump_set(emit_jump(e), again);
	label_here(t, &done);
}

/* `pointer` becomes the host's, and RCX what was added to it. */
static void side_host(struct translation *t, unsigned pointer, bool write)
{
	emit_pext(&t->e, HOST_RCX, pointer, JIT_OFFSET(page_mask));
	emit_memory(&t->e, true, EMIT_LOAD, HOST_RCX, HOST_RSP, HOST_RCX, 3,
		    tlb_array(t, write) + (int32_t)offsetof(struct x86_tlb_array, addend));
	emit_memory(&t->e, true, EMIT_LEA, pointer, pointer, HOST_RCX, 0, 0);
}

/* And back: minus R14. NOT changes no flag. */
static void side_guest(struct translation *t, unsigned pointer)
{
	emit8(&t->e, 0x49); /* not r14 */
	emit8(&t->e, 0xf7);
	emit8(&t->e, 0xd6);
	emit_memory(&t->e, true, EMIT_LEA, pointer, pointer, HOST_R14, 0, 1);
}

static void emit_rep(struct translation *t, const struct x86_insn *insn)
{
	struct emitter *e = &t->e;

	emit_move(e, HOST_RCX, HOST_R11);
	if (insn->operand_size == 2)
		emit8(e, 0x66);
	emit8(e, 0xf3);
	if (insn->operand_size == 8)
		emit8(e, 0x48);
	emit8(e, insn->opcode);
}

/* MOVS: A4, A5; STOS: AA, AB. With REPNE they repeat as well, but nobody writes that. */
bool repeat_possible(const struct translation *t, const struct x86_insn *insn)
{
	unsigned opcode = insn->opcode & 0xfe;

	return t->wide && insn->encoding == X86_LEGACY && insn->map == X86_MAP_1BYTE && (opcode == 0xa4 || opcode == 0xaa) &&
	       insn->pp == X86_PP_F3 && insn->address_size == 8 && !(insn->prefixes & X86_PREFIX_LOCK) &&
	       (opcode == 0xaa || insn->segment < X86_FS) && !(insn->row->traits & X86_UNDEFINED);
}

bool translate_repeat(struct translation *t, const struct x86_insn *insn)
{
	bool moves = (insn->opcode & 0xfe) == 0xa4;
	unsigned shift = insn->operand_size == 8 ? 3 : insn->operand_size >> 1;
	struct label handler = {.uses = 0}, done = {.uses = 0};
	struct emitter *e = &t->e;

	if (!repeat_possible(t, insn))
		return false;
	emit_load(e, HOST_R14, HOST_RSP, JIT_OFFSET(cpu));
	emit_load(e, HOST_RCX, HOST_R14, CPU(s.rflags));
	emit_pext(e, HOST_RCX, HOST_RCX, JIT_OFFSET(df));
	jump_unless_zero(t, &handler);
	emit_move(e, HOST_RCX, HOST_R11);
	jump_if_zero(t, &done);
	emit_lea(e, HOST_RCX, HOST_R11, -1);
	emit_pext(e, HOST_RCX, HOST_RCX, JIT_OFFSET(high_mask));
	jump_unless_zero(t, &handler);
	if (shift) {
		emit_memory(e, true, EMIT_LEA, HOST_RCX, HOST_NONE, HOST_R11, shift, -1);
		emit_pext(e, HOST_RCX, HOST_RCX, JIT_OFFSET(high_mask));
		jump_unless_zero(t, &handler);
	}

	if (moves)
		side_check(t, HOST_RSI, shift, false, &handler);
	side_check(t, HOST_RDI, shift, true, &handler);
	if (moves) {
		side_host(t, HOST_RSI, false);
		emit_store(e, HOST_RCX, HOST_RSP, JIT_OFFSET(spill));
	}
	side_host(t, HOST_RDI, true);
	emit_move(e, HOST_R14, HOST_RCX);
	emit_rep(t, insn);
	side_guest(t, HOST_RDI);
	if (moves) {
		emit_load(e, HOST_R14, HOST_RSP, JIT_OFFSET(spill));
		side_guest(t, HOST_RSI);
	}
	emit_move(e, HOST_R11, HOST_RCX); /* 0 */
	label_jump(t, &done);

	label_here(t, &handler);
	translate_handler(t, insn, false);
	label_here(t, &done);
	return true;
}
