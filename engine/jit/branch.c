/* SPDX-License-Identifier: Apache-2.0 */
/*
 * branch.c - the ends of blocks: near jumps, calls and returns.
 *
 * Inside its page a block jumps straight to the next one, once that is there (a stub asks C to translate and link it). Every other target is
 * looked up in the jump cache by its guest-virtual address, flag-free like a memory operand; a miss leaves the instruction undone to C, which executes it and
 * enters its target into the cache. Jumps backwards look whether attention is wanted: jump_mask is 0 then, and the
 * same 0 makes every lookup miss.
 */
#include "engine/jit/translate.h"

static int32_t lookup_array(const struct translation *t, bool ret)
{
	return (ret ? JIT_TLB(ret) : JIT_TLB(jump)) + (int32_t)(t->mode * sizeof(struct x86_jump_array));
}

static int32_t lookup_mask(bool ret)
{
	return ret ? JIT_OFFSET(return_mask) : JIT_OFFSET(jump_mask);
}

/* R14 is the target's address. If its code is not there the thunk of `miss` looks for it, or leaves to C with the site's offset. */
static void lookup_check(struct translation *t, bool ret, struct jit_miss miss)
{
	struct emitter *e = &t->e;

	miss_room(t, MISS_AHEAD_LOOKUP);
	emit_pext(e, HOST_RCX, HOST_R14, lookup_mask(ret));
	emit_memory(e, true, EMIT_LOAD, HOST_RCX, e->context, HOST_RCX, 3,
		    lookup_array(t, ret) + (int32_t)offsetof(struct x86_jump_array, tag));
	emit_memory(e, true, EMIT_LEA, HOST_RCX, HOST_RCX, HOST_R14, 0, 1); /* LOOP's 1 */
	miss_branch(t, miss);
	miss_room(t, MISS_AHEAD_JUMP);
}

/* The jump itself; RSP moves by `stack` at last. */
static void lookup_jump(struct translation *t, bool ret, int32_t stack)
{
	if (stack)
		stack_adjust(t, stack);
	emit_pext(&t->e, HOST_RCX, HOST_R14, lookup_mask(ret));
	emit_jump_table(&t->e, HOST_RCX, lookup_array(t, ret) + (int32_t)offsetof(struct x86_jump_array, target));
}

/* Leaves the current instruction undone. */
static struct jit_miss jump_miss(const struct translation *t)
{
	return (struct jit_miss){.thunk = JIT_OFFSET(jump_fill), .site = miss_site(t, t->offset, 1, 0), .base = HOST_NONE};
}

/* The current instruction jumps to R14. A miss leaves it undone. */
static void jump_lookup(struct translation *t, int32_t stack)
{
	lookup_check(t, false, jump_miss(t));
	lookup_jump(t, false, stack);
}

/* R14 = code_base + target. */
static void target_address(struct translation *t, int64_t target)
{
	emit_load(&t->e, HOST_R14, t->e.context, JIT_OFFSET(code_base));
	if (t->wide && target > INT32_MAX) {
		emit_lea(&t->e, HOST_R14, HOST_R14, (int32_t)t->next);
		target -= t->next;
	}
	emit_memory(&t->e, t->wide, EMIT_LEA, HOST_R14, HOST_R14, HOST_NONE, 0, (int32_t)target);
}

static unsigned key_behind(const struct translation *t)
{
	return t->key & ~(JIT_KEY_CAREFUL | JIT_KEY_CROSSING);
}

static const struct jit_block *target_block(const struct translation *t, unsigned target, unsigned key)
{
	const struct jit_block *block = jit_cache_find(t->cache, t->cpu->memory, t->page + target, key);

	return block && block->generation == t->generation ? block : 0;
}

bool branch_known(const struct translation *t, unsigned offset)
{
	return offset < GUEST_PAGE_SIZE && target_block(t, offset, key_behind(t));
}

/* A jump to where there may be a block. Its stub stays when it is linked: the block may go before this one does. */
static void stub_add(struct translation *t, uint8_t *displacement, unsigned target, unsigned key)
{
	t->stub[t->stubs].displacement = displacement;
	t->stub[t->stubs].target = target;
	t->stub[t->stubs++].block = target_block(t, target, key);
}

static void jump_linked(struct translation *t, unsigned target, unsigned key)
{
	uint8_t *displacement = emit_jump(&t->e);

	if (target == t->start && t->key == key)
		emit_jump_set(displacement, t->near);
	else
		stub_add(t, displacement, target, key);
}

static bool in_page(int64_t target)
{
	return target >= 0 && target < (int64_t)GUEST_PAGE_SIZE;
}

/* Goes to page offset `target`, inside the page or not. */
static void branch_to(struct translation *t, int64_t target)
{
	if (!in_page(target)) {
		target_address(t, target);
		jump_lookup(t, 0);
		return;
	}
	if (target <= (int64_t)t->offset) {
		emit_load(&t->e, HOST_RCX, t->e.context, JIT_OFFSET(jump_mask));
		emit8(&t->e, 0xe3); /* jrcxz behind the jump */
		emit8(&t->e, 5);
		jump_linked(t, (unsigned)target, key_behind(t));
		translate_call_site(t, JIT_OFFSET(exit_poll), (unsigned)target, 1, 0);
		return;
	}
	jump_linked(t, (unsigned)target, key_behind(t));
}

_Static_assert(EMIT_CALL_BYTES(offsetof(struct jit_context, exit_link)) + sizeof(uint32_t) == JIT_STUB_BYTES,
	       "cache.c finds stubs by their size");

void branch_stubs(struct translation *t)
{
	miss_flush(t);
	for (unsigned i = 0; i < t->stubs; i++) {
		emit_jump_set(t->stub[i].displacement, t->stub[i].block ? jit_block_near(t->cache, t->stub[i].block) : t->e.p);
		emit_call(&t->e, JIT_OFFSET(exit_link));
		watch_data(t, t->stub[i].target | (uint32_t)(t->stub[i].displacement - (t->e.p + 4)) << JIT_SITE_LINK_SHIFT);
	}
}

void branch_on_in_mode(struct translation *t, unsigned mode)
{
	jump_linked(t, t->next, (key_behind(t) & ~JIT_KEY_MODE) | mode);
}

void branch_on(struct translation *t)
{
	if (t->next < GUEST_PAGE_SIZE && !t->crossing) {
		jump_linked(t, t->next, key_behind(t));
		return;
	}
	/* The last instruction has been executed: a miss goes on behind it. */
	target_address(t, t->next);
	lookup_check(t, false,
		     (struct jit_miss){
			     .thunk = JIT_OFFSET(jump_fill), .site = miss_site(t, t->next, 1, JIT_SITE_GO), .base = HOST_NONE});
	lookup_jump(t, false, 0);
}

bool branch_conditional(const struct x86_insn *insn)
{
	if (insn->encoding != X86_LEGACY || insn->prefixes & X86_PREFIX_LOCK || insn->operand_size == 2)
		return false;
	return (insn->map == X86_MAP_0F && insn->opcode >> 4 == 8) || (insn->map == X86_MAP_1BYTE && insn->opcode >> 4 == 7);
}

/* To the side, out of the middle of a block whose instructions are counted: those behind are not executed. */
static void branch_aside(struct translation *t, int64_t target)
{
	unsigned count = t->count;

	if (t->counted && t->index + 1 < count) {
		emit_load(&t->e, HOST_RCX, t->e.context, JIT_OFFSET(count));
		emit_lea(&t->e, HOST_RCX, HOST_RCX, -(int32_t)(count - t->index - 1));
		emit_store(&t->e, HOST_RCX, t->e.context, JIT_OFFSET(count));
		t->count = t->index + 1;
	}
	branch_to(t, target);
	t->count = count;
}

static void jump_conditional(struct translation *t, const struct x86_insn *insn)
{
	int64_t target = (int64_t)t->next + (int64_t)insn->imm;

	if (in_page(target) && target > (int64_t)t->offset && !(t->counted && t->index + 1 < t->count)) {
		stub_add(t, emit_jump_condition(&t->e, insn->opcode & 15), (unsigned)target, key_behind(t));
	} else {
		uint8_t *displacement = emit_jump_condition(&t->e, (insn->opcode & 15) ^ 1);

		branch_aside(t, target);
		miss_unreached(t);
		emit_jump_set(displacement, t->e.p);
	}
	if (t->index + 1 == t->count)
		branch_on(t);
}

/* scratch = the return address. */
static void return_address(struct translation *t, unsigned scratch)
{
	emit_load(&t->e, scratch, t->e.context, JIT_OFFSET(code_base));
	emit_lea(&t->e, scratch, scratch, (int32_t)t->next);
}

/* Stores the return address below RSP, which stays; destroys both scratch registers. Which of them holds that address then. */
static unsigned return_store(struct translation *t)
{
	int32_t size = t->wide ? 8 : 4;
	struct place place = operand_place_at(t, X86_RSP, -size, (unsigned)size, true);
	unsigned scratch = operand_spare(t, &place);

	return_address(t, scratch);
	emit_place(&t->e, t->wide, EMIT_STORE, scratch, place);
	return scratch;
}

/* With the host's PUSH; R14 stays. */
static void return_push(struct translation *t)
{
	return_address(t, HOST_RCX);
	emit_push(&t->e, HOST_RCX);
	trap_here(t);
}

static void call_relative(struct translation *t, const struct x86_insn *insn)
{
	int64_t target = (int64_t)t->next + (int64_t)insn->imm;
	int32_t slot = t->wide ? -8 : -4;
	unsigned back;

	if (direct_now(t)) {
		if (in_page(target)) {
			return_push(t);
			branch_to(t, target);
		} else {
			target_address(t, target);
			lookup_check(t, false, jump_miss(t));
			return_push(t);
			lookup_jump(t, false, 0);
		}
		return;
	}
	back = return_store(t);
	if (in_page(target)) {
		stack_adjust(t, slot);
		branch_to(t, target);
	} else {
		if (back == HOST_R14 && t->wide)
			emit_lea(&t->e, HOST_R14, HOST_R14, (int32_t)insn->imm);
		else
			target_address(t, target);
		jump_lookup(t, slot);
	}
}

static bool indirect_target(struct translation *t, const struct x86_insn *insn)
{
	if (insn->mod == 3) {
		operand_load(t, HOST_R14, insn->rm);
		if (!t->wide)
			emit_memory(&t->e, false, EMIT_LEA, HOST_R14, HOST_R14, HOST_NONE, 0, 0);
		return true;
	}
	if (!operand_address_possible(t, insn))
		return false;
	emit_place(&t->e, t->wide, EMIT_LOAD, HOST_R14, operand_place(t, insn, insn->operand_size, false));
	return true;
}

/* The push may overwrite the target's place in memory, and a lookup that misses executes the instruction again: so the push comes behind the lookup's check. */
static bool call_indirect(struct translation *t, const struct x86_insn *insn)
{
	if (!indirect_target(t, insn))
		return false;
	lookup_check(t, false, jump_miss(t));
	if (direct_now(t)) {
		return_push(t);
		lookup_jump(t, false, 0);
		return true;
	}
	if (insn->mod == 3) {
		return_store(t);
		indirect_target(t, insn);
	} else {
		emit_store(&t->e, HOST_R14, t->e.context, JIT_OFFSET(spill));
		return_store(t);
		emit_load(&t->e, HOST_R14, t->e.context, JIT_OFFSET(spill));
	}
	lookup_jump(t, false, t->wide ? -8 : -4);
	return true;
}

static void return_near(struct translation *t, const struct x86_insn *insn)
{
	int32_t more = insn->opcode == 0xc2 ? (int32_t)(uint16_t)insn->imm : 0;
	unsigned size = t->wide ? 8 : 4;
	struct jit_miss miss = jump_miss(t);

	miss.thunk = JIT_OFFSET(return_fill);
	if (direct_now(t)) { /* a miss pops it once more */
		miss.resume = t->e.p;
		miss.stack = -8;
		emit_pop(&t->e, HOST_R14);
		trap_here(t);
		lookup_check(t, true, miss);
		lookup_jump(t, true, more);
		return;
	}
	emit_place(&t->e, t->wide, EMIT_LOAD, HOST_R14, operand_place_at(t, X86_RSP, 0, size, false));
	lookup_check(t, true, miss);
	lookup_jump(t, true, (int32_t)size + more);
}

bool branch_direct(const struct translation *t, const struct x86_insn *insn)
{
	if (insn->encoding != X86_LEGACY || insn->prefixes & X86_PREFIX_LOCK)
		return false;
	if (branch_conditional(insn))
		return true;
	if (insn->map != X86_MAP_1BYTE || insn->operand_size == 2)
		return false;
	switch (insn->opcode) {
	case 0xe9:
	case 0xeb: return true;
	case 0xe8:
	case 0xc2:
	case 0xc3: return insn->operand_size == 8;
	case 0xff:
		return ((insn->reg & 7) == 2 || (insn->reg & 7) == 4) && insn->operand_size == 8 && direct_memory(t, insn) &&
		       (insn->mod != 3 || insn->rm != X86_RSP);
	default: return false;
	}
}

bool translate_branch(struct translation *t, const struct x86_insn *insn)
{
	bool stack_native = insn->operand_size == (t->wide ? 8 : 4) && !(t->key & JIT_KEY_STACK16);

	if (insn->encoding != X86_LEGACY || insn->prefixes & X86_PREFIX_LOCK)
		return false;
	if (branch_conditional(insn)) {
		jump_conditional(t, insn);
		return true;
	}
	if (insn->map != X86_MAP_1BYTE || insn->operand_size == 2)
		return false;
	switch (insn->opcode) {
	case 0xe9:
	case 0xeb: branch_to(t, (int64_t)t->next + (int64_t)insn->imm); return true;
	case 0xe8:
		if (!stack_native)
			return false;
		call_relative(t, insn);
		return true;
	case 0xc2:
	case 0xc3:
		if (!stack_native)
			return false;
		return_near(t, insn);
		return true;
	case 0xff:
		if ((insn->reg & 7) == 4) {
			if (!indirect_target(t, insn))
				return false;
			jump_lookup(t, 0);
			return true;
		}
		return (insn->reg & 7) == 2 && stack_native && call_indirect(t, insn);
	default: return false;
	}
}
