/* SPDX-License-Identifier: Apache-2.0 */
/*
 * miss.c - where checks go that fail. The check falls through when it hits, which is what branch prediction and the instruction cache like best; a miss
 * jumps to an entry out of line, which calls the thunk that fills:
 *
 *         lea   r14, [the operand]               where the check has not left the address there
 *         call  [rsp + thunk]
 *         .long site
 *         .short where to go on - site
 *
 * The jump is LOOP: RCX is 1 on a hit, and no other instruction branches on a register, changes no flag and falls through for what is common. Its
 * reach is 127 bytes. So entries lie in places kept free in front of the block, behind it, behind jumps inside it, and where that is too far, in
 * islands that the block jumps over. miss_room is called wherever an island may be, with how far it is to the next such place at most.
 *
 * On processors whose LOOP is slow (Intel's) LEA, JRCXZ and JMP do the same.
 */
#include "engine/jit/translate.h"

#define ENTRY_BYTES 24 /* at most: with a base there is no stack */
#define REACH 127
#define SHORT_JUMP 2

static void entry_emit(struct translation *t, const struct jit_miss *miss)
{
	struct emitter *e = &t->e;
	unsigned context = e->context;
	ptrdiff_t distance = e->p - (miss->branch + 1);

	if (distance > REACH || distance < -REACH - 1)
		t->unreachable = true;
	*miss->branch = (uint8_t)distance;
	if (miss->base != HOST_NONE)
		emit_lea(e, HOST_R14, miss->base, miss->disp);
	e->context = miss->context;
	if (miss->stack)
		emit_lea(e, HOST_RSP, HOST_RSP, miss->stack);
	emit_call(e, miss->thunk);
	e->context = context;
	watch_data(t, miss->site);
	watch_span(t, CODE_DATA);
	emit16(e, (uint16_t)(miss->resume - (e->p - 4)));
	watch_span(t, CODE_MORE);
}

/* How many instructions from here on will have a check of their own. */
static unsigned checks_ahead(const struct translation *t)
{
	unsigned checks = 0;

	for (unsigned i = t->index; i < t->count; i++) {
		const struct x86_insn *insn = &t->insn[i];
		int8_t group = t->plan[i].group;

		if (operand_windowed(t, insn))
			continue;
		if (group >= 0)
			checks += !t->group[group].checked && t->group[group].first == i;
		else
			checks += insn->row->traits & X86_MODRM && insn->mod != 3 && insn->opcode != 0x8d;
	}
	return checks;
}

#define SHORT_BLOCK 5 /* instructions */

/* The last two reach the block's end as a rule, if it is near. */
static void places_keep(struct translation *t, unsigned most)
{
	unsigned checks = checks_ahead(t), reach = t->count - t->index > SHORT_BLOCK ? 1 : 2;
	unsigned wanted = checks <= reach ? 0 : checks - reach < most ? checks - reach : most;

	t->places = 0;
	for (unsigned i = 0; i < wanted; i++) {
		t->place[t->places++] = t->e.p;
		__builtin_memset(t->e.p, 0xcc, ENTRY_BYTES);
		t->e.p += ENTRY_BYTES;
	}
}

void miss_begin(struct translation *t)
{
	t->misses = 0;
	places_keep(t, JIT_MISS_PLACES);
}

void miss_flush(struct translation *t)
{
	for (unsigned i = 0; i < t->misses; i++)
		entry_emit(t, &t->miss[i]);
	t->misses = 0;
}

void miss_unreached(struct translation *t)
{
	if (!t->misses)
		return;
	miss_flush(t);
	places_keep(t, 2);
}

static void island(struct translation *t)
{
	uint8_t *over = emit_jump(&t->e);

	miss_flush(t);
	places_keep(t, 2);
	emit_jump_set(over, t->e.p);
}

void miss_room(struct translation *t, unsigned ahead)
{
	if (t->misses && t->e.p + ahead + 5 > t->miss[0].branch + 1 + REACH)
		island(t);
}

/* Into a place kept free behind us, if one is in reach: the farthest. */
static bool place_take(struct translation *t, const struct jit_miss *miss)
{
	uint8_t *here = t->e.p;

	while (t->places && miss->branch + 1 - t->place[0] > REACH + 1) {
		t->places--;
		for (unsigned i = 0; i < t->places; i++)
			t->place[i] = t->place[i + 1];
	}
	if (!t->places)
		return false;
	t->e.p = t->place[0];
	entry_emit(t, miss);
	t->e.p = here;
	t->places--;
	for (unsigned i = 0; i < t->places; i++)
		t->place[i] = t->place[i + 1];
	return true;
}

void miss_branch(struct translation *t, struct jit_miss miss)
{
	struct emitter *e = &t->e;

	if (t->loop_slow) {
		emit_lea(e, HOST_RCX, HOST_RCX, -1);
		emit8(e, 0xe3); /* jrcxz behind the jump */
		emit8(e, SHORT_JUMP);
		emit8(e, 0xeb);
	} else {
		emit8(e, 0xe2); /* loop */
	}
	emit8(e, 0);
	miss.branch = e->p - 1;
	miss.context = e->context;
	e->home = HOST_NONE; /* after a fill R14 is another */
	if (!miss.resume)
		miss.resume = e->p;
	if (place_take(t, &miss))
		return;
	t->miss[t->misses++] = miss;
	if (t->misses == JIT_MISSES || t->near_only)
		island(t);
}
