/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system.c - the privileged instructions that a kernel executes all the time, without leaving translated code: CLI, STI, CLD, STD, CLAC, STAC, SWAPGS,
 * PUSHF, MOV from a segment or control register, RDTSC, RDPKRU, FS and GS bases, the fences; and SYSCALL, SYSRET and IRET, which light.c does. CPL 0 in
 * 64-bit code, for what users may do CPL 3 too; elsewhere, and for what else there is, the handlers.
 *
 * Like all of the translator's own code they change no status flag.
 */
#include "engine/jit/translate.h"

#include "x86/cpuid.h"

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
	emit_load_narrow(&t->e, HOST_RCX, HOST_R14, HOST_NONE, CPU(event_waiting), 1);
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

static void selector_store(struct translation *t, const struct x86_insn *insn, int32_t selector)
{
	struct place place = operand_place(t, insn, 2, true);
	unsigned scratch = operand_spare(t, &place);

	emit_load(&t->e, scratch, HOST_RSP, JIT_OFFSET(cpu));
	emit_load_narrow(&t->e, scratch, scratch, HOST_NONE, selector, 2);
	emit8(&t->e, 0x66);
	emit_place(&t->e, false, EMIT_STORE, scratch, place);
}

/* mov `to`, cx; the 66 is there already. */
static void emit_word_move(struct emitter *e, unsigned to)
{
	if (to >= 8)
		emit8(e, 0x41);
	emit8(e, 0x89);
	emit8(e, 0xc0 | HOST_RCX << 3 | (to & 7));
}

static bool selector_read(struct translation *t, const struct x86_insn *insn)
{
	int32_t selector = CPU(s.segment[0].selector) + (int32_t)((insn->reg & 7u) * sizeof(struct x86_segment));
	unsigned target;

	if ((insn->reg & 7) > X86_GS)
		return false;
	if (insn->mod != 3) {
		if (!operand_address_possible(t, insn))
			return false;
		selector_store(t, insn, selector);
		return true;
	}
	target = operand_pinned(t, insn->rm);
	cpu_pointer(t);
	if (insn->operand_size == 2) {
		emit_load_narrow(&t->e, HOST_RCX, HOST_R14, HOST_NONE, selector, 2);
		emit8(&t->e, 0x66);
		if (target == HOST_NONE)
			emit_memory(&t->e, false, EMIT_STORE, HOST_RCX, HOST_RSP, HOST_NONE, 0, operand_home(insn->rm));
		else
			emit_word_move(&t->e, target);
		return true;
	}
	emit_load_narrow(&t->e, target == HOST_NONE ? HOST_RCX : target, HOST_R14, HOST_NONE, selector, 2);
	if (target == HOST_NONE)
		operand_store(t, insn->rm, HOST_RCX);
	return true;
}

/* Where RCX is not 0 the handler does it. The quick way follows; its end is quick_end's. */
static uint8_t *quick_begin(struct translation *t, const struct x86_insn *insn)
{
	uint8_t *branch, *over;

	emit8(&t->e, 0xe3); /* jrcxz */
	emit8(&t->e, 0);
	branch = t->e.p;
	translate_handler(t, insn, false);
	over = emit_jump(&t->e);
	branch[-1] = (uint8_t)(t->e.p - branch);
	return over;
}

static void quick_end(struct translation *t, uint8_t *over)
{
	emit_jump_set(over, t->e.p);
}

static void emit_low_half(struct emitter *e, unsigned to, unsigned from)
{
	emit_memory(e, false, EMIT_LEA, to, from, HOST_NONE, 0, 0);
}

static void emit_halves_swap(struct emitter *e, unsigned to, unsigned from)
{
	emit8(e, 0xc4); /* rorx to, from, 32 */
	emit8(e, (~to >> 3 & 1) << 7 | 0x40 | (~from >> 3 & 1) << 5 | 3);
	emit8(e, 0xfb);
	emit8(e, 0xf0);
	emit8(e, 0xc0 | (to & 7) << 3 | (from & 7));
	emit8(e, 32);
}

/* RDTSC, RDTSCP: the host's counter and two offsets. */
static bool time_read(struct translation *t, const struct x86_insn *insn, bool with_aux)
{
	struct emitter *e = &t->e;
	uint8_t *over;

	if ((t->key & JIT_KEY_TSD && !(t->key & JIT_KEY_RING0)) || (with_aux && !x86_has(t->cpu->model, X86_FEATURE_RDTSCP)))
		return false;
	miss_room(t, MISS_AHEAD_TIME);
	emit_load(e, HOST_RCX, HOST_RSP, JIT_OFFSET(tsc_slow));
	over = quick_begin(t, insn);
	emit8(e, 0x0f);
	if (with_aux) {
		emit8(e, 0x01); /* waits for loads; RCX is scratch */
		emit8(e, 0xf9);
	} else {
		emit8(e, 0x31);
	}
	emit_halves_swap(e, HOST_RCX, HOST_RDX);
	emit_memory(e, true, EMIT_LEA, HOST_RCX, HOST_RCX, HOST_RAX, 0, 0);
	emit_load(e, HOST_R14, HOST_RSP, JIT_OFFSET(tsc_offset));
	emit_memory(e, true, EMIT_LEA, HOST_RCX, HOST_RCX, HOST_R14, 0, 0);
	cpu_pointer(t);
	emit_load(e, HOST_RAX, HOST_R14, CPU(s.tsc_adjust));
	emit_memory(e, true, EMIT_LEA, HOST_RCX, HOST_RCX, HOST_RAX, 0, 0);
	emit_low_half(e, HOST_RAX, HOST_RCX);
	emit_halves_swap(e, HOST_RDX, HOST_RCX);
	emit_low_half(e, HOST_RDX, HOST_RDX);
	if (with_aux)
		emit_memory(e, false, EMIT_LOAD, operand_pinned(t, X86_RCX), HOST_R14, HOST_NONE, 0, CPU(s.tsc_aux));
	quick_end(t, over);
	return true;
}

/* RDPKRU; a guest's ECX that is not 0 is #GP. */
static bool keys_read(struct translation *t, const struct x86_insn *insn)
{
	uint8_t *over;

	if (!(t->key & JIT_KEY_PKE))
		return false;
	miss_room(t, MISS_AHEAD_TIME);
	emit_low_half(&t->e, HOST_RCX, operand_pinned(t, X86_RCX));
	over = quick_begin(t, insn);
	cpu_pointer(t);
	emit_memory(&t->e, false, EMIT_LOAD, HOST_RAX, HOST_R14, HOST_NONE, 0, CPU(s.pkru));
	emit_move_imm(&t->e, HOST_RDX, 0);
	quick_end(t, over);
	return true;
}

/* RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE. A base that is not canonical is #GP. */
static bool segment_base(struct translation *t, const struct x86_insn *insn)
{
	bool gs = insn->reg & 1, wide = insn->operand_size == 8;
	int32_t base = gs ? JIT_OFFSET(gs_base) : JIT_OFFSET(fs_base);
	unsigned target = operand_pinned(t, insn->rm);
	struct emitter *e = &t->e;
	uint8_t *over;

	if (!(t->key & JIT_KEY_FSGSBASE))
		return false;
	if ((insn->reg & 7) < 2) {
		emit_memory(e, wide, EMIT_LOAD, target == HOST_NONE ? HOST_RCX : target, HOST_RSP, HOST_NONE, 0, base);
		if (target == HOST_NONE)
			operand_store(t, insn->rm, HOST_RCX);
		return true;
	}
	miss_room(t, MISS_AHEAD_TIME);
	operand_load(t, HOST_R14, insn->rm);
	if (!wide)
		emit_low_half(e, HOST_R14, HOST_R14);
	emit_pext(e, HOST_RCX, HOST_R14, JIT_OFFSET(canonical));
	emit_lea(e, HOST_RCX, HOST_RCX, 1);
	emit_pext(e, HOST_RCX, HOST_RCX, JIT_OFFSET(not_canonical));
	over = quick_begin(t, insn);
	emit_store(e, HOST_R14, HOST_RSP, base);
	emit_load(e, HOST_RCX, HOST_RSP, JIT_OFFSET(cpu));
	emit_store(e, HOST_R14, HOST_RCX, gs ? CPU(s.segment[X86_GS].base) : CPU(s.segment[X86_FS].base));
	quick_end(t, over);
	return true;
}

static bool control_read(struct translation *t, const struct x86_insn *insn)
{
	unsigned target = operand_pinned(t, insn->rm), to = target == HOST_NONE ? (unsigned)HOST_RCX : target;
	int32_t from;

	switch (insn->reg) {
	case 0: from = CPU(s.cr0); break;
	case 2: from = CPU(s.cr2); break;
	case 3: from = CPU(s.cr3); break;
	case 4: from = CPU(s.cr4); break;
	default: return false;
	}
	cpu_pointer(t);
	emit_load(&t->e, to, HOST_R14, from);
	if (target == HOST_NONE)
		operand_store(t, insn->rm, to);
	return true;
}

/* The thunk goes on elsewhere, or comes back with nothing done. */
static bool light(struct translation *t, const struct x86_insn *insn, int32_t thunk)
{
	translate_call_site(t, thunk, t->next, 1, 0);
	translate_handler(t, insn, true);
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

/* 0F 01 with a register form. */
static bool translate_group7(struct translation *t, const struct x86_insn *insn)
{
	if (insn->mod != 3 || insn->prefixes & (X86_PREFIX_66 | X86_PREFIX_REP | X86_PREFIX_REPNE))
		return false;
	if (insn->reg == 7 && insn->rm == 1)
		return time_read(t, insn, true);
	if (insn->reg == 5 && insn->rm == 6)
		return keys_read(t, insn);
	if (!(t->key & JIT_KEY_RING0))
		return false;
	if (insn->reg == 7 && insn->rm == 0) {
		gs_swap(t);
		return true;
	}
	return insn->reg == 1 && (insn->rm == 2 || insn->rm == 3) && access_change(t, insn->rm == 3);
}

static bool translate_two_byte(struct translation *t, const struct x86_insn *insn)
{
	bool ring0 = t->key & JIT_KEY_RING0;

	switch (insn->opcode) {
	case 0x01: return translate_group7(t, insn);
	case 0x05: return light(t, insn, JIT_OFFSET(light_syscall));
	case 0x07: return ring0 && insn->operand_size == 8 && light(t, insn, JIT_OFFSET(light_sysret));
	case 0x20: return ring0 && control_read(t, insn);
	case 0x31: return time_read(t, insn, false);
	case 0xae: return insn->pp == X86_PP_F3 && insn->mod == 3 && (insn->reg & 7) < 4 ? segment_base(t, insn) : fence(t, insn);
	default: return false;
	}
}

static bool translate_one_byte(struct translation *t, const struct x86_insn *insn)
{
	bool ring0 = t->key & JIT_KEY_RING0;

	switch (insn->opcode) {
	case 0x8c: return selector_read(t, insn);
	case 0x9c: return flags_push(t, insn);
	case 0xcf: return ring0 && insn->operand_size == 8 && light(t, insn, JIT_OFFSET(light_iret));
	case 0xfa:
		if (!ring0)
			return false;
		cpu_pointer(t);
		rflags_change(t, JIT_OFFSET(not_if), 0);
		return true;
	case 0xfb: return ring0 && interrupts_enable(t, insn);
	case 0xfc:
	case 0xfd:
		cpu_pointer(t);
		rflags_change(t, JIT_OFFSET(not_df), insn->opcode & 1 ? X86_FLAG_DF : 0);
		return true;
	default: return false;
	}
}

bool translate_system(struct translation *t, const struct x86_insn *insn)
{
	if (!t->wide || insn->encoding != X86_LEGACY || insn->prefixes & X86_PREFIX_LOCK)
		return false;
	if (insn->map == X86_MAP_0F)
		return translate_two_byte(t, insn);
	return insn->map == X86_MAP_1BYTE && translate_one_byte(t, insn);
}
