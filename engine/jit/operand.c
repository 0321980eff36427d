/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operand.c - guest registers and memory operands in translated code. The register convention is in thunk.c.
 *
 * The check, in full, for a load of 8 bytes from [rdi + 24] (see x86/tlb.h for what a tag is):
 *
 *         lea   r14, [rdi + 24]
 *   1:    pext  r14, r14, [rsp + page_mask]          index of the first byte's page
 *         mov   rcx, [rsp + r14*8 + tags]
 *         lea   rcx, [rcx + rdi + 24 + 7]            4096..8191 if the last byte lies in the page that is there
 *         pext  rcx, rcx, [rsp + high_mask]          1
 *         loop  miss                                 not taken if it is 1. There (miss.c): fills and comes back to 1, or leaves, the
 *         mov   rcx, [rsp + r14*8 + addends]         instruction undone
 *
 * and [rdi + rcx + 24] is the operand. No flag is touched, and an address that no page table allows has no way past it. An address of more parts is
 * first made in R14. Most accesses to the stack are to the page of the one before: a copy of that page's entry at a fixed place
 * makes the lookup unnecessary (check_stack).
 */
#include "engine/jit/translate.h"

static const uint8_t pinned[16] = {
	[X86_RAX] = HOST_RAX, [X86_RCX] = HOST_R11, [X86_RDX] = HOST_RDX,  [X86_RBX] = HOST_RBX,
	[X86_RSP] = HOST_R15, [X86_RBP] = HOST_RBP, [X86_RSI] = HOST_RSI,  [X86_RDI] = HOST_RDI,
	[X86_R8] = HOST_R8,   [X86_R9] = HOST_R9,   [X86_R10] = HOST_R10,  [X86_R11] = HOST_NONE,
	[X86_R12] = HOST_R12, [X86_R13] = HOST_R13, [X86_R14] = HOST_NONE, [X86_R15] = HOST_NONE,
};

unsigned operand_pinned(const struct translation *t, unsigned guest)
{
	return guest == X86_RSP && direct_now(t) ? (unsigned)HOST_NONE : pinned[guest];
}

int32_t operand_home(unsigned guest)
{
	return guest == X86_R11 ? JIT_OFFSET(r11) : guest == X86_R14 ? JIT_OFFSET(r14) : JIT_OFFSET(r15);
}

static void home_load(struct translation *t, unsigned scratch, unsigned guest)
{
	emit_load(&t->e, scratch, t->e.context, operand_home(guest));
	if (scratch == HOST_R14)
		t->e.home = guest;
}

void operand_home_written(struct translation *t, unsigned guest)
{
	if (t->e.home == guest)
		t->e.home = HOST_NONE;
}

void operand_load(struct translation *t, unsigned scratch, unsigned guest)
{
	unsigned host = operand_pinned(t, guest);

	if (guest == X86_RSP && host == HOST_NONE)
		direct_stack(t, scratch);
	else if (host == HOST_NONE && t->e.home == guest)
		emit_move(&t->e, scratch, HOST_R14);
	else if (host == HOST_NONE)
		home_load(t, scratch, guest);
	else
		emit_move(&t->e, scratch, host);
}

void operand_store(struct translation *t, unsigned guest, unsigned scratch)
{
	if (operand_pinned(t, guest) != HOST_NONE) {
		emit_move(&t->e, operand_pinned(t, guest), scratch);
		return;
	}
	emit_store(&t->e, scratch, t->e.context, operand_home(guest));
	operand_home_written(t, guest);
	if (scratch == HOST_R14)
		t->e.home = guest;
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
		emit_load(&t->e, HOST_R14, t->e.context, JIT_OFFSET(code_base));
		if (wide && disp <= INT32_MAX - (int32_t)GUEST_PAGE_SIZE) {
			base = HOST_R14;
			disp += (int32_t)t->next;
		} else {
			emit_lea(&t->e, HOST_R14, HOST_R14, (int32_t)t->next);
			base = HOST_R14;
		}
	} else if (insn->base != X86_NO_REG) {
		base = operand_pinned(t, insn->base);
		if (base == HOST_NONE) {
			operand_load(t, HOST_R14, insn->base);
			base = HOST_R14;
		}
	}
	if (insn->index != X86_NO_REG) {
		index = pinned[insn->index];
		if (index == HOST_NONE) {
			operand_load(t, HOST_RCX, insn->index);
			index = HOST_RCX;
		}
	}
	emit_memory(&t->e, wide, EMIT_LEA, HOST_R14, base, index, insn->scale, disp);
	if (t->wide && insn->segment >= X86_FS) {
		emit_load(&t->e, HOST_RCX, t->e.context, insn->segment == X86_FS ? JIT_OFFSET(fs_base) : JIT_OFFSET(gs_base));
		emit_memory(&t->e, true, EMIT_LEA, HOST_R14, HOST_R14, HOST_RCX, 0, 0);
	}
	return true;
}

static int32_t entry_tag(const struct translation *t, bool write)
{
	return (write ? JIT_TLB(write) : JIT_TLB(read)) + (int32_t)(t->mode * sizeof(struct x86_tlb_array)) +
	       (int32_t)offsetof(struct x86_tlb_array, tag);
}

static int32_t entry_addend(const struct translation *t, bool write)
{
	return entry_tag(t, write) + (int32_t)(offsetof(struct x86_tlb_array, addend) - offsetof(struct x86_tlb_array, tag));
}

static int32_t fill(bool write)
{
	return write ? JIT_OFFSET(fill_write) : JIT_OFFSET(fill_read);
}

/* The general check: R14 is a linear address; after this RCX is what makes it a host address. */
static void check_linear(struct translation *t, unsigned size, bool write, uint32_t flags)
{
	struct emitter *e = &t->e;

	emit_pext(e, HOST_RCX, HOST_R14, JIT_OFFSET(page_mask));
	emit_memory(e, true, EMIT_LOAD, HOST_RCX, e->context, HOST_RCX, 3, entry_tag(t, write));
	emit_memory(e, true, EMIT_LEA, HOST_RCX, HOST_RCX, HOST_R14, 0, (int32_t)size - 1);
	emit_pext(e, HOST_RCX, HOST_RCX, JIT_OFFSET(high_mask));
	miss_branch(t, (struct jit_miss){.thunk = fill(write), .site = miss_site(t, t->offset, size, flags), .base = HOST_NONE});
	emit_pext(e, HOST_RCX, HOST_R14, JIT_OFFSET(page_mask));
	emit_memory(e, true, EMIT_LOAD, HOST_RCX, e->context, HOST_RCX, 3, entry_addend(t, write));
}

/* base + disp, base in a host register: its page's entry is indexed once. RCX is the addend, R14 destroyed. */
static void check_based(struct translation *t, unsigned base, int32_t disp, unsigned size, bool write, uint32_t flags)
{
	struct emitter *e = &t->e;
	const uint8_t *again;

	if (disp)
		emit_lea(e, HOST_R14, base, disp);
	again = e->p;
	emit_pext(e, HOST_R14, disp ? HOST_R14 : base, JIT_OFFSET(page_mask));
	emit_memory(e, true, EMIT_LOAD, HOST_RCX, e->context, HOST_R14, 3, entry_tag(t, write));
	emit_memory(e, true, EMIT_LEA, HOST_RCX, HOST_RCX, base, 0, disp + (int32_t)size - 1);
	emit_pext(e, HOST_RCX, HOST_RCX, JIT_OFFSET(high_mask));
	miss_branch(t, (struct jit_miss){.resume = again,
					 .thunk = fill(write),
					 .site = miss_site(t, t->offset, size, flags),
					 .base = base,
					 .disp = disp});
	emit_memory(e, true, EMIT_LOAD, HOST_RCX, e->context, HOST_R14, 3, entry_addend(t, write));
}

/* With an aligned RSP, as it is in 64-bit code: does the access stay in 8 aligned bytes? */
static bool stack_aligned(int32_t disp, unsigned size)
{
	return ((unsigned)disp & 7) + size <= 8;
}

/* RSP + disp: as a rule on the page of the access before. RCX is the addend. */
static void check_stack(struct translation *t, int32_t disp, unsigned size, bool write)
{
	struct emitter *e = &t->e;
	int32_t copy = JIT_TLB(stack) + (int32_t)((t->mode * 2 + write) * sizeof(struct x86_tlb_copy));
	const uint8_t *again = e->p;

	emit_load(e, HOST_RCX, e->context, copy + (int32_t)offsetof(struct x86_tlb_copy, tag));
	emit_memory(e, true, EMIT_LEA, HOST_RCX, HOST_RCX, operand_pinned(t, X86_RSP), 0, disp & ~7);
	emit_pext(e, HOST_RCX, HOST_RCX, copy + (int32_t)offsetof(struct x86_tlb_copy, mask));
	miss_branch(t,
		    (struct jit_miss){.resume = again,
				      .thunk = JIT_OFFSET(fill_stack) + (int32_t)((t->mode * 2 + write) * sizeof(void (*)(void))),
				      .site = miss_site(t, t->offset, size, 0),
				      .base = operand_pinned(t, X86_RSP),
				      .disp = disp});
	emit_load(e, HOST_RCX, e->context, copy + (int32_t)offsetof(struct x86_tlb_copy, addend));
}

/*
 * May this instruction's accesses go through a window? Locked ones may cross a page; x87 ones leave their operand's address behind; CPL 0 has user pages
 * only where its mode forbids them.
 */
bool operand_windowed(const struct translation *t, const struct x86_insn *insn)
{
	return t->key & JIT_KEY_WINDOW && t->mode != X86_MODE_SUPERVISOR && !(insn->prefixes & X86_PREFIX_LOCK) &&
	       !(insn->row->traits & X86_X87) && !(t->softs >> (insn - t->insn) & 1);
}

/* A program's window's distance is the base of GS, CPL 0's goes to RCX. */
static void distance_load(struct translation *t)
{
	if (t->direct || t->e.distance)
		return;
	emit_load(&t->e, HOST_RCX, t->e.context, JIT_OFFSET(kernel_distance));
	t->e.distance = true;
}

/* What a check of [base + disp] has found. */
static struct place place_found(const struct translation *t, unsigned base, int32_t disp)
{
	bool gs = t->direct && operand_windowed(t, &t->insn[t->index]);

	return (struct place){base, gs ? (unsigned)HOST_NONE : HOST_RCX, disp, gs};
}

/* Traps unless the window has the block where `base`, a host register, points. */
static void guard_check(struct translation *t, unsigned scratch, unsigned base)
{
	emit_pext(&t->e, scratch, base, JIT_OFFSET(guard_mask));
	emit_memory(&t->e, false, EMIT_LOAD, scratch, t->e.context, scratch, JIT_GUARD_SCALE, JIT_GUARD(t->mode == X86_MODE_USER));
	t->traps_here = true;
}

/* The check, and RCX = the distance to host addresses. */
static void window_distance(struct translation *t, unsigned base)
{
	guard_check(t, base == HOST_R14 || t->direct ? HOST_RCX : HOST_R14, base);
	distance_load(t);
}

/* The same for a guest register that has no host register; R14 = its value. What RCX may hold already is worth another load of that. */
static void window_distance_home(struct translation *t, unsigned guest)
{
	operand_load(t, HOST_R14, guest);
	if (t->e.distance) {
		guard_check(t, HOST_R14, HOST_R14);
		operand_load(t, HOST_R14, guest);
	} else {
		window_distance(t, HOST_R14);
	}
}

/* The same for R14 = code_base. */
static void code_distance(struct translation *t)
{
	if (!t->code_checked)
		window_distance(t, HOST_R14);
	t->code_checked = t->direct;
	t->traps_here = true;
}

static struct place window_place(struct translation *t, unsigned base, int32_t disp)
{
	unsigned host = operand_pinned(t, base);

	if (host == HOST_NONE && !operand_far(disp)) {
		window_distance_home(t, base);
		return place_found(t, HOST_R14, disp);
	}
	if (operand_far(disp)) {
		if (host == HOST_NONE) {
			operand_load(t, HOST_R14, base);
			host = HOST_R14;
		}
		emit_lea(&t->e, HOST_R14, host, disp);
		host = HOST_R14;
		disp = 0;
	}
	window_distance(t, host);
	return place_found(t, host, disp);
}

/* [base + disp], checked, in the shortest way that there is. */
static struct place checked(struct translation *t, unsigned base, int32_t disp, unsigned size, bool write, uint32_t flags)
{
	unsigned host = operand_pinned(t, base);

	if (operand_windowed(t, &t->insn[t->index]))
		return window_place(t, base, disp);
	miss_room(t, MISS_AHEAD_CHECK);
	if (t->wide && host != HOST_NONE && disp <= INT32_MAX - (int32_t)size) {
		if (base == X86_RSP && !flags && stack_aligned(disp, size))
			check_stack(t, disp, size, write);
		else
			check_based(t, host, disp, size, write, flags);
		miss_room(t, MISS_AHEAD_OPERAND);
		return (struct place){host, HOST_RCX, disp, false};
	}
	if (host == HOST_NONE) {
		operand_load(t, HOST_R14, base);
		host = HOST_R14;
	}
	if (host != HOST_R14 || disp || !t->wide)
		emit_memory(&t->e, t->wide, EMIT_LEA, HOST_R14, host, HOST_NONE, 0, disp);
	check_linear(t, size, write, flags);
	miss_room(t, MISS_AHEAD_OPERAND);
	return (struct place){HOST_R14, HOST_RCX, 0, false};
}

/* RCX = the addend of the current instruction's group, which its first member checks. Destroys R14. */
static void group_addend(struct translation *t, unsigned base)
{
	const struct jit_plan *plan = &t->plan[t->index];
	struct jit_group *group = &t->group[plan->group];
	int32_t slot = JIT_OFFSET(group) + group->slot * 8;

	t->traps_here = true;
	if (group->checked) {
		if (operand_windowed(t, &t->insn[t->index]))
			distance_load(t);
		else
			emit_load(&t->e, HOST_RCX, t->e.context, slot);
		return;
	}
	group->checked = true;
	bug_on(group->low - plan->moved < INT32_MIN || group->high - plan->moved > INT32_MAX);
	checked(t, base, (int32_t)(group->low - plan->moved), (unsigned)(group->high - group->low), group->write, JIT_SITE_GROUP);
	if (!operand_windowed(t, &t->insn[t->index]))
		emit_store(&t->e, HOST_RCX, t->e.context, slot);
}

struct place operand_place_at(struct translation *t, unsigned base, int32_t disp, unsigned size, bool write)
{
	unsigned host = operand_pinned(t, base);

	if (base == X86_RSP && direct_now(t) && !operand_far(disp)) {
		t->traps_here = true;
		return (struct place){HOST_RSP, HOST_NONE, disp, false};
	}
	if (base == X86_RSP)
		disp += t->stack_moved;
	if (t->plan[t->index].group < 0)
		return checked(t, base, disp, size, write, 0);
	group_addend(t, base);
	if (host == HOST_NONE) {
		operand_load(t, HOST_R14, base);
		host = HOST_R14;
	}
	return place_found(t, host, disp);
}

struct place operand_place(struct translation *t, const struct x86_insn *insn, unsigned size, bool write)
{
	bool based = insn->base < 16 && insn->index == X86_NO_REG && insn->address_size == (t->wide ? 8 : 4);

	if (t->plan[t->index].group >= 0 || (based && insn->segment < X86_FS))
		return operand_place_at(t, insn->base, insn->disp, size, write);
	miss_room(t, MISS_AHEAD_CHECK);
	if (operand_windowed(t, insn)) {
		if (insn->base == X86_RIP && insn->segment < X86_FS && insn->address_size == 8 && !operand_far(insn->disp)) {
			emit_load(&t->e, HOST_R14, t->e.context, JIT_OFFSET(code_base));
			code_distance(t);
			return place_found(t, HOST_R14, insn->disp + (int32_t)t->next);
		}
		if (insn->base == X86_NO_REG && insn->index == X86_NO_REG && insn->segment >= X86_FS && insn->address_size == 8 &&
		    !operand_far(insn->disp)) {
			emit_load(&t->e, HOST_R14, t->e.context,
				  insn->segment == X86_FS ? JIT_OFFSET(fs_base) : JIT_OFFSET(gs_base));
			window_distance(t, HOST_R14);
			return place_found(t, HOST_R14, insn->disp);
		}
		operand_address(t, insn);
		if (t->e.distance) { /* it needed no RCX: nor does it the second time */
			guard_check(t, HOST_R14, HOST_R14);
			operand_address(t, insn);
		} else {
			window_distance(t, HOST_R14);
		}
		return place_found(t, HOST_R14, 0);
	}
	operand_address(t, insn);
	return operand_place_linear(t, size, write);
}

struct place operand_place_linear(struct translation *t, unsigned size, bool write)
{
	miss_room(t, MISS_AHEAD_CHECK);
	check_linear(t, size, write, 0);
	miss_room(t, MISS_AHEAD_OPERAND);
	return (struct place){HOST_R14, HOST_RCX, 0, false};
}

struct place operand_fold(struct translation *t, struct place place)
{
	if (place.index == HOST_NONE)
		return place;
	emit_memory(&t->e, true, EMIT_LEA, HOST_R14, place.base, place.index, 0, place.disp);
	return (struct place){HOST_R14, HOST_NONE, 0, place.gs};
}

unsigned operand_spare(struct translation *t, struct place *place)
{
	if (place->base != HOST_R14)
		return HOST_R14;
	*place = operand_fold(t, *place);
	return HOST_RCX;
}
