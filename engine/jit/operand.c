/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operand.c - guest registers and memory operands in translated code. The register convention is in thunk.c.
 *
 * The check, in full, for a load of 8 bytes (see x86/tlb.h for what a tag is):
 *
 *         lea   r14, [the operand]
 *         pext  rcx, r14, [rsp + page_mask]          index of the first byte's page
 *         mov   rcx, [rsp + rcx*8 + tags]            minus the address of the page that is there
 *         lea   rcx, [rcx + r14 + 7]                 0..4095 if the last byte lies in it
 *         pext  rcx, rcx, [rsp + high_mask]
 *         jrcxz hit
 *         call  [rsp + fill_read]                    fills and comes back, or leaves with the instruction undone
 *         .long site
 *   hit:  pext  rcx, r14, [rsp + page_mask]
 *         mov   rcx, [rsp + rcx*8 + addends]
 *
 * and [r14 + rcx] is the operand. No flag is touched, and an address that no page table allows has no way past it.
 */
#include "engine/jit/translate.h"

static const uint8_t pinned[16] = {
	[X86_RAX] = HOST_RAX, [X86_RCX] = HOST_R11, [X86_RDX] = HOST_RDX,  [X86_RBX] = HOST_RBX,
	[X86_RSP] = HOST_R15, [X86_RBP] = HOST_RBP, [X86_RSI] = HOST_RSI,  [X86_RDI] = HOST_RDI,
	[X86_R8] = HOST_R8,   [X86_R9] = HOST_R9,   [X86_R10] = HOST_R10,  [X86_R11] = HOST_NONE,
	[X86_R12] = HOST_R12, [X86_R13] = HOST_R13, [X86_R14] = HOST_NONE, [X86_R15] = HOST_NONE,
};

unsigned operand_pinned(unsigned guest)
{
	return pinned[guest];
}

int32_t operand_home(unsigned guest)
{
	return guest == X86_R11 ? JIT_OFFSET(r11) : guest == X86_R14 ? JIT_OFFSET(r14) : JIT_OFFSET(r15);
}

void operand_load(struct translation *t, unsigned scratch, unsigned guest)
{
	if (pinned[guest] == HOST_NONE)
		emit_load(&t->e, scratch, HOST_RSP, operand_home(guest));
	else
		emit_move(&t->e, scratch, pinned[guest]);
}

void operand_store(struct translation *t, unsigned guest, unsigned scratch)
{
	if (pinned[guest] == HOST_NONE)
		emit_store(&t->e, scratch, HOST_RSP, operand_home(guest));
	else
		emit_move(&t->e, pinned[guest], scratch);
}

bool operand_address_possible(const struct translation *t, const struct x86_insn *insn)
{
	if (insn->address_size == 2)
		return false;
	/* 32-bit code: bases of 0 only, which `flat` says of the mode's usual segments; FS and GS seldom are. */
	return t->wide || (t->cpu->flat >> insn->segment & 1 && insn->segment < X86_FS);
}

bool operand_address(struct translation *t, const struct x86_insn *insn)
{
	bool wide = insn->address_size == 8;
	unsigned base = HOST_NONE, index = HOST_NONE;
	int32_t disp = insn->disp;

	if (!operand_address_possible(t, insn))
		return false;
	if (insn->base == X86_RIP) {
		emit_load(&t->e, HOST_R14, HOST_RSP, JIT_OFFSET(code_base));
		if (wide && disp <= INT32_MAX - (int32_t)GUEST_PAGE_SIZE) {
			base = HOST_R14;
			disp += (int32_t)t->next;
		} else {
			emit_lea(&t->e, HOST_R14, HOST_R14, (int32_t)t->next);
			base = HOST_R14;
		}
	} else if (insn->base != X86_NO_REG) {
		base = pinned[insn->base];
		if (base == HOST_NONE) {
			emit_load(&t->e, HOST_R14, HOST_RSP, operand_home(insn->base));
			base = HOST_R14;
		}
	}
	if (insn->index != X86_NO_REG) {
		index = pinned[insn->index];
		if (index == HOST_NONE) {
			emit_load(&t->e, HOST_RCX, HOST_RSP, operand_home(insn->index));
			index = HOST_RCX;
		}
	}
	emit_memory(&t->e, wide, EMIT_LEA, HOST_R14, base, index, insn->scale, disp);
	if (t->wide && insn->segment >= X86_FS) {
		emit_load(&t->e, HOST_RCX, HOST_RSP, insn->segment == X86_FS ? JIT_OFFSET(fs_base) : JIT_OFFSET(gs_base));
		emit_memory(&t->e, true, EMIT_LEA, HOST_R14, HOST_R14, HOST_RCX, 0, 0);
	}
	return true;
}

/* R14 is a linear address: after this RCX is what makes it a host address, checked for `size` bytes; or the thunk leaves. */
static void check(struct translation *t, unsigned size, bool write, uint32_t flags)
{
	struct emitter *e = &t->e;
	int32_t array = write ? JIT_TLB(write) : JIT_TLB(read);
	uint8_t *branch;

	array += (int32_t)(t->mode * sizeof(struct x86_tlb_array));
	emit_pext(e, HOST_RCX, HOST_R14, JIT_OFFSET(page_mask));
	emit_memory(e, true, EMIT_LOAD, HOST_RCX, HOST_RSP, HOST_RCX, 3, array + (int32_t)offsetof(struct x86_tlb_array, tag));
	emit_memory(e, true, EMIT_LEA, HOST_RCX, HOST_RCX, HOST_R14, 0, (int32_t)size - 1);
	emit_pext(e, HOST_RCX, HOST_RCX, JIT_OFFSET(high_mask));
	emit8(e, 0xe3); /* jrcxz */
	emit8(e, 0);
	branch = e->p;
	translate_call_site(t, write ? JIT_OFFSET(fill_write) : JIT_OFFSET(fill_read), t->offset, size, flags);
	branch[-1] = (uint8_t)(e->p - branch);
	emit_pext(e, HOST_RCX, HOST_R14, JIT_OFFSET(page_mask));
	emit_memory(e, true, EMIT_LOAD, HOST_RCX, HOST_RSP, HOST_RCX, 3, array + (int32_t)offsetof(struct x86_tlb_array, addend));
}

/* RCX = the addend of the current instruction's group, which its first member checks. Destroys R14. */
static void group_addend(struct translation *t, unsigned base)
{
	const struct jit_plan *plan = &t->plan[t->index];
	struct jit_group *group = &t->group[plan->group];
	int32_t slot = JIT_OFFSET(group) + group->slot * 8;
	unsigned host = operand_pinned(base);

	if (group->checked) {
		emit_load(&t->e, HOST_RCX, HOST_RSP, slot);
		return;
	}
	group->checked = true;
	if (host == HOST_NONE) {
		operand_load(t, HOST_R14, base);
		host = HOST_R14;
	}
	emit_lea(&t->e, HOST_R14, host, (int32_t)(group->low - plan->moved));
	check(t, (unsigned)(group->high - group->low), group->write, JIT_SITE_GROUP);
	emit_store(&t->e, HOST_RCX, HOST_RSP, slot);
}

struct place operand_place_at(struct translation *t, unsigned base, int32_t disp, unsigned size, bool write)
{
	unsigned host = operand_pinned(base);

	if (t->plan[t->index].group >= 0) {
		group_addend(t, base);
		if (host == HOST_NONE) {
			operand_load(t, HOST_R14, base);
			host = HOST_R14;
		}
		return (struct place){host, HOST_RCX, disp};
	}
	if (host == HOST_NONE) {
		operand_load(t, HOST_R14, base);
		host = HOST_R14;
	}
	emit_memory(&t->e, t->wide, EMIT_LEA, HOST_R14, host, HOST_NONE, 0, disp);
	check(t, size, write, 0);
	return (struct place){HOST_R14, HOST_RCX, 0};
}

struct place operand_place(struct translation *t, const struct x86_insn *insn, unsigned size, bool write)
{
	if (t->plan[t->index].group >= 0)
		return operand_place_at(t, insn->base, insn->disp, size, write);
	operand_address(t, insn);
	check(t, size, write, 0);
	return (struct place){HOST_R14, HOST_RCX, 0};
}

struct place operand_place_linear(struct translation *t, unsigned size, bool write)
{
	check(t, size, write, 0);
	return (struct place){HOST_R14, HOST_RCX, 0};
}

struct place operand_fold(struct translation *t, struct place place)
{
	emit_memory(&t->e, true, EMIT_LEA, HOST_R14, place.base, place.index, 0, place.disp);
	return (struct place){HOST_R14, HOST_NONE, 0};
}
