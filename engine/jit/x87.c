/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87.c - x87 and MMX instructions on the host's own x87 unit.
 *
 * The guest's x87 state is loaded into the host's when a block first needs it (x87_ready), stays there over blocks and fills, and goes back with the
 * vector registers, before anything that may use or look at it (jit_x87_store). What of it runs natively is what the reference CPU also gives
 * to the host as it is (x86_x87_kind); what saves and restores state, and FNINIT, are handlers.
 *
 * The host's own instruction and data pointers are addresses of translated code and of our memory: no guest may see them, so they are never looked at.
 * Instead each instruction that leaves such traces (SDM vol. 1, 8.1.8) stores, when it is done, one word with its opcode and page offset, and with an operand in
 * memory that one's address; the page once a block. FIP, FOP and FDP are made of these when the state goes back.
 *
 * An unmasked exception stays pending in the host's status word, as in the guest's, and the next waiting instruction traps (SIGFPE). That one is not
 * executed then; x86_step raises #MF, or ignores it as CR0.NE says.
 */
#include "engine/jit/translate.h"

#include "x86/vector.h"

/* jit_context.x87_trace: offset 0-11, FOP 12-22, 32-bit code, something is there. */
#define TRACE_FOP_SHIFT 12
#define TRACE_CODE32 (UINT32_C(1) << 23)
#define TRACE_VALID (UINT32_C(1) << 24)

/* In the form of an XSAVE area. */
#define AREA_ST 32
#define ST_BYTES 10

void jit_x87_store(struct jit_context *context)
{
	struct x86_x87 *x87 = &context->cpu->s.x87;
	uint8_t *area = context->x87_area;
	uint32_t trace = context->x87_trace;
	uint64_t fip = context->x87_base + (trace & (GUEST_PAGE_SIZE - 1));

	/* And the ABI's state for whoever comes now. FNINIT waits for no exception. */
	__asm__ volatile("xsave64 %0\n\tfninit" : "+m"(*(uint8_t(*)[JIT_X87_AREA])area) : "a"(1), "d"(0));
	__builtin_memcpy(&x87->fcw, area, 2);
	__builtin_memcpy(&x87->fsw, area + 2, 2);
	x87->ftw = area[4];
	__builtin_memset(x87->st, 0, sizeof(x87->st));
	for (unsigned i = 0; i < 8; i++)
		__builtin_memcpy(x87->st[i], area + AREA_ST + sizeof(x87->st[0]) * i, ST_BYTES);
	x87->fdp = context->x87_fdp;
	if (trace & TRACE_VALID) {
		x87->fop = (uint16_t)(trace >> TRACE_FOP_SHIFT & 0x7ff);
		x87->fip = trace & TRACE_CODE32 ? (uint32_t)fip : fip;
	}
	context->x87_out = 1;
}

void x87_ready(struct translation *t)
{
	uint8_t *branch;

	if (t->x87_ready)
		return;
	emit_load(&t->e, HOST_RCX, HOST_RSP, JIT_OFFSET(x87_out));
	emit8(&t->e, 0xe3); /* jrcxz */
	emit8(&t->e, 0);
	branch = t->e.p;
	emit_call(&t->e, JIT_OFFSET(x87_load));
	branch[-1] = (uint8_t)(t->e.p - branch);
	t->x87_ready = true;
}

/* What the current instruction, which is done, leaves in FIP, FOP and, if `place`, FDP. */
static void leave_trace(struct translation *t, const struct x86_insn *insn, const struct place *place)
{
	uint32_t trace = TRACE_VALID | t->offset | (uint32_t)x86_x87_opcode(insn) << TRACE_FOP_SHIFT | (t->wide ? 0 : TRACE_CODE32);

	if (place) {
		if (place->base != HOST_R14 || place->disp)
			emit_lea(&t->e, HOST_R14, place->base, place->disp);
		emit_store(&t->e, HOST_R14, HOST_RSP, JIT_OFFSET(x87_fdp));
	}
	if (!t->x87_based) {
		emit_load(&t->e, HOST_RCX, HOST_RSP, JIT_OFFSET(code_base));
		emit_store(&t->e, HOST_RCX, HOST_RSP, JIT_OFFSET(x87_base));
		t->x87_based = true;
	}
	emit_memory(&t->e, false, 0xc7, 0, HOST_RSP, HOST_NONE, 0, JIT_OFFSET(x87_trace));
	emit32(&t->e, trace);
}

bool x87_possible(const struct translation *t, const struct x86_insn *insn)
{
	if (!(t->key & JIT_KEY_X87) || insn->encoding != X86_LEGACY || insn->map != X86_MAP_1BYTE ||
	    x86_x87_kind(insn) == X86_X87_OTHER || insn->prefixes & X86_PREFIX_LOCK)
		return false;
	/* FS and GS: FDP would need the offset alone. */
	return !(insn->row->traits & X86_MODRM) || insn->mod == 3 || (insn->segment < X86_FS && operand_address_possible(t, insn));
}

bool translate_x87(struct translation *t, const struct x86_insn *insn)
{
	bool memory = insn->row->traits & X86_MODRM && insn->mod != 3;
	struct emitter *e = &t->e;
	struct place place;

	if (!x87_possible(t, insn))
		return false;
	x87_ready(t);
	if (memory) {
		place = operand_place(t, insn, insn->row->operand_size, insn->row->traits & X86_MEMORY_WRITE);
		emit_memory(e, false, insn->opcode, insn->reg & 7, place.base, place.index, 0, place.disp);
	} else {
		emit8(e, insn->opcode);
		if (insn->row->traits & X86_MODRM)
			emit8(e, 0xc0 | (insn->reg & 7u) << 3 | (insn->rm & 7u));
	}
	trap_here(t);
	if (x86_x87_kind(insn) == X86_X87_TRACED)
		leave_trace(t, insn, memory ? &place : 0);
	return true;
}
