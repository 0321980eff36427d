/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system.c - the privileged instructions that a kernel executes all the time, without leaving translated code: CLI, STI, CLAC, STAC, SWAPGS,
 * PUSHF, MOV from a segment register, the fences. CPL 0 in 64-bit code; elsewhere, and for what else there is, the handlers.
 *
 * Like all of the translator's own code they change no status flag.
 */
#include "engine/jit/translate.h"

#define CPU(member) ((int32_t)offsetof(struct x86_cpu, member))

static void cpu_pointer(struct translation *t)
{
	emit_load(&t->e, HOST_R14, HOST_RSP, JIT_OFFSET(cpu));
}

/* R14 = cpu: RFLAGS loses the bits that the mask lacks and gets `set`. */
static void rflags_change(struct translation *t, int32_t mask, uint64_t set)
{
	emit_load(&t->e, HOST_RCX, HOST_R14, CPU(s.rflags));
	emit_and(&t->e, HOST_RCX, mask);
	if (set)
		emit_lea(&t->e, HOST_RCX, HOST_RCX, (int32_t)set);
	emit_store(&t->e, HOST_RCX, HOST_R14, CPU(s.rflags));
}

/*
 * STI's shadow needs no bookkeeping here: attention is looked at only at jumps, so the next instruction of this block is executed before. Where
 * an interrupt waits already, or this is the block's last instruction, the handler does it all.
 */
static bool interrupts_enable(struct translation *t, const struct x86_insn *insn)
{
	uint8_t *branch;

	if (t->index + 1 == t->count)
		return false;
	cpu_pointer(t);
	emit_load_narrow(&t->e, HOST_RCX, HOST_R14, CPU(event_waiting), 1);
	emit8(&t->e, 0xe3); /* jrcxz */
	emit8(&t->e, 0);
	branch = t->e.p;
	translate_handler(t, insn, true);
	branch[-1] = (uint8_t)(t->e.p - branch);
	rflags_change(t, JIT_OFFSET(not_if), X86_FLAG_IF);
	return true;
}

static void gs_swap(struct translation *t)
{
	struct emitter *e = &t->e;

	cpu_pointer(t);
	emit_load(e, HOST_RCX, HOST_R14, CPU(s.kernel_gs_base));
	emit_store(e, HOST_RCX, HOST_RSP, JIT_OFFSET(spill));
	emit_load(e, HOST_RCX, HOST_RSP, JIT_OFFSET(gs_base));
	emit_store(e, HOST_RCX, HOST_R14, CPU(s.kernel_gs_base));
	emit_load(e, HOST_RCX, HOST_RSP, JIT_OFFSET(spill));
	emit_store(e, HOST_RCX, HOST_RSP, JIT_OFFSET(gs_base));
	emit_store(e, HOST_RCX, HOST_R14, CPU(s.segment[X86_GS].base));
}

/* STAC, CLAC: explicit accesses may or may not touch user pages from here on, so the block ends and the next one has another key. */
static bool access_change(struct translation *t, bool allow)
{
	unsigned mode = allow ? X86_MODE_SUPERVISOR : X86_MODE_SUPERVISOR_SMAP;

	if (!(t->key & JIT_KEY_SMAP) || t->next >= GUEST_PAGE_SIZE)
		return false;
	cpu_pointer(t);
	rflags_change(t, JIT_OFFSET(not_ac), allow ? X86_FLAG_AC : 0);
	emit_memory(&t->e, false, 0xc6, 0, HOST_R14, HOST_NONE, 0, CPU(mode));
	emit8(&t->e, mode);
	branch_on_in_mode(t, mode);
	return true;
}

static bool selector_read(struct translation *t, const struct x86_insn *insn)
{
	unsigned target = operand_pinned(insn->rm);

	if (insn->mod != 3 || insn->operand_size == 2 || (insn->reg & 7) > X86_GS)
		return false;
	cpu_pointer(t);
	emit_load_narrow(&t->e, target == HOST_NONE ? HOST_RCX : target, HOST_R14,
			 CPU(s.segment[0].selector) + (int32_t)((insn->reg & 7u) * sizeof(struct x86_segment)), 2);
	if (target == HOST_NONE)
		operand_store(t, insn->rm, HOST_RCX);
	return true;
}

/* The host's status flags and the rest of the guest's. The word below the context is free for PUSHFQ. */
static bool flags_push(struct translation *t, const struct x86_insn *insn)
{
	struct place place;
	unsigned scratch;

	if (insn->operand_size != 8)
		return false;
	emit8(&t->e, 0x9c); /* pushfq */
	emit8(&t->e, 0x41); /* pop r14 */
	emit8(&t->e, 0x5e);
	emit_and(&t->e, HOST_R14, JIT_OFFSET(status));
	emit_load(&t->e, HOST_RCX, HOST_RSP, JIT_OFFSET(cpu));
	emit_load(&t->e, HOST_RCX, HOST_RCX, CPU(s.rflags));
	emit_and(&t->e, HOST_RCX, JIT_OFFSET(system));
	emit_memory(&t->e, true, EMIT_LEA, HOST_R14, HOST_R14, HOST_RCX, 0, 0);
	emit_store(&t->e, HOST_R14, HOST_RSP, JIT_OFFSET(spill));
	place = operand_place_at(t, X86_RSP, -8, 8, true);
	scratch = operand_spare(t, &place);
	emit_load(&t->e, scratch, HOST_RSP, JIT_OFFSET(spill));
	emit_place(&t->e, true, EMIT_STORE, scratch, place);
	stack_adjust(t, -8);
	return true;
}

/* LFENCE, MFENCE, SFENCE as they are. */
static bool fence(struct translation *t, const struct x86_insn *insn)
{
	if (insn->mod != 3 || (insn->reg & 7) < 5 || insn->pp != X86_PP_NONE)
		return false;
	emit8(&t->e, 0x0f);
	emit8(&t->e, 0xae);
	emit8(&t->e, 0xc0 | (insn->reg & 7u) << 3);
	return true;
}

/* The rows that end a block in general and do not when they are translated here: the decoder of blocks asks. */
bool translate_system_stays(const struct translation *t, const struct x86_insn *insn)
{
	if (!t->wide || !(t->key & JIT_KEY_RING0) || insn->encoding != X86_LEGACY || insn->prefixes & X86_PREFIX_LOCK)
		return false;
	if (insn->map == X86_MAP_1BYTE)
		return insn->opcode == 0xfa || insn->opcode == 0xfb;
	return insn->map == X86_MAP_0F && insn->opcode == 0x01 && insn->mod == 3 && insn->reg == 7 && insn->rm == 0;
}

bool translate_system(struct translation *t, const struct x86_insn *insn)
{
	if (!t->wide || insn->encoding != X86_LEGACY || insn->prefixes & X86_PREFIX_LOCK)
		return false;
	if (insn->map == X86_MAP_1BYTE && insn->opcode == 0x9c)
		return flags_push(t, insn);
	if (insn->map == X86_MAP_1BYTE && insn->opcode == 0x8c)
		return selector_read(t, insn);
	if (insn->map == X86_MAP_0F && insn->opcode == 0xae)
		return fence(t, insn);
	if (!(t->key & JIT_KEY_RING0))
		return false;
	if (insn->map == X86_MAP_1BYTE && insn->opcode == 0xfa) {
		cpu_pointer(t);
		rflags_change(t, JIT_OFFSET(not_if), 0);
		return true;
	}
	if (insn->map == X86_MAP_1BYTE && insn->opcode == 0xfb)
		return interrupts_enable(t, insn);
	if (insn->map != X86_MAP_0F || insn->opcode != 0x01 || insn->mod != 3 ||
	    insn->prefixes & (X86_PREFIX_66 | X86_PREFIX_REP | X86_PREFIX_REPNE))
		return false;
	if (insn->reg == 7 && insn->rm == 0) {
		gs_swap(t);
		return true;
	}
	if (insn->reg == 1 && (insn->rm == 2 || insn->rm == 3))
		return access_change(t, insn->rm == 3);
	return false;
}
