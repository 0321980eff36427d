/* SPDX-License-Identifier: Apache-2.0 */
/*
 * translate.c - the translator: from guest bytes to host code, a block at a time.
 *
 * Guest and host speak the same language, so most instructions run as they are, on the same registers and the same flags; what differs is where
 * memory is. A block is a straight run of instructions inside one page, which conditional jumps may leave on the way. Three kinds of instruction make it up:
 *
 *   native    the guest's own encoding with its memory operand replaced by a checked host address (native.c, operand.c);
 *   ours      stack, calls, jumps, returns, which touch RSP or RIP (stack.c, direct.c, branch.c);
 *   handled   everything else: a call of the reference CPU's handler (x86/), which sees exact registers and may leave.
 *
 * One block, followed. The guest's kernel has, at page offset 0x1c0,
 *
 *         48 03 47 08     add  rax, [rdi + 8]
 *         75 f2           jne  0x1b8
 *
 * which becomes (far entry first: R14 is the guest's RIP there)
 *
 *         lea   r14, [r14 - 0x1c0]           the page that runs, for RIP-relative
 *         mov   [rsp + code_base], r14        operands and return addresses
 *   near: lea   r14, [rdi + 8]                the operand's address,
 *   1:    pext  r14, r14, [rsp + page_mask]   looked up (operand.c has this in full)
 *         ...
 *         loop  4f                            not taken on a hit
 *         mov   rcx, [rsp + r14*8 + addends]
 *         add   rax, [rdi + rcx + 8]          the guest's instruction
 *         je    2f                            backwards: a poll first
 *         mov   rcx, [rsp + jump_mask]
 *         jrcxz 3f
 *         jmp   <block at 0x1b8>
 *   3:    call  [rsp + exit_poll]
 *         .long site                          offset 0x1b8
 *   2:    jmp   <block at 0x1c6>
 *   4:    lea   r14, [rdi + 8]                the miss, out of line (miss.c)
 *         call  [rsp + fill_read]             comes back to 1, or leaves
 *         .long site                          offset 0x1c0, 8 bytes
 *
 * What is exact, and why. An instruction commits at its end: whatever can fail before (a fill that finds no page, a lookup that
 * misses, a trap) leaves with all registers and flags as they were at its start, and C executes it on the reference CPU, faults included. The
 * translator's own instructions change no flag, so flags need no analysis. Stores to pages with code never hit the TLB (x86/code_page.h).
 * Nothing absolute about the guest's virtual addresses is in the code, so all processes share it.
 */
#include "engine/jit/translate.h"

#include "x86/cpuid.h"

void translate_call_site(struct translation *t, int32_t thunk, unsigned offset, unsigned size, uint32_t flags)
{
	emit_call(&t->e, thunk);
	watch_data(t, miss_site(t, offset, size, flags));
}

void translate_handler(struct translation *t, const struct x86_insn *insn, bool ends)
{
	struct x86_insn *copy = &t->cache->insn[t->cache->insns++];

	direct_leave(t);
	stack_settle(t);
	*copy = *insn;
	emit_move_imm(&t->e, HOST_RCX, (uintptr_t)copy);
	emit_call(&t->e, ends ? JIT_OFFSET(handler_end) : JIT_OFFSET(handler));
	watch_data(t, JIT_SITE(t->next, 1, t->count - t->index));
	t->vector_ready = t->x87_ready = t->code_checked = false;
}

/* Hints and NOPs: 90, 0F 0D, 0F 18-1F (ENDBR among them). PAUSE keeps its handler. */
static bool does_nothing(const struct x86_insn *insn)
{
	if (insn->encoding != X86_LEGACY || insn->prefixes & X86_PREFIX_LOCK ||
	    insn->row->traits & (X86_UNDEFINED | X86_ENDS_BLOCK))
		return false;
	if (insn->map == X86_MAP_0F)
		return insn->opcode == 0x0d || (insn->opcode >= 0x18 && insn->opcode <= 0x1f);
	return insn->map == X86_MAP_1BYTE && insn->opcode == 0x90 && !(insn->prefixes & (X86_PREFIX_REP | X86_PREFIX_REX));
}

/* INC and DEC of 32-bit code have no encoding of one byte in 64-bit code. */
static bool translate_short_increment(struct translation *t, const struct x86_insn *insn)
{
	if (insn->encoding != X86_LEGACY || insn->map != X86_MAP_1BYTE || insn->opcode >> 4 != 4 || t->wide ||
	    insn->operand_size != 4)
		return false;
	if (operand_pinned(t, insn->rm) >= 8)
		emit8(&t->e, 0x41);
	emit8(&t->e, 0xff);
	emit8(&t->e, 0xc0 | (insn->opcode & 8u) | (operand_pinned(t, insn->rm) & 7));
	return true;
}

/* Does the block go on behind it, though its row says that it ends blocks? */
static bool stays(const struct translation *t, const struct x86_insn *insn)
{
	return translate_system_stays(t, insn) || repeat_possible(t, insn);
}

static void translate_instruction(struct translation *t, const struct x86_insn *insn)
{
	bool ends = insn->row->traits & X86_ENDS_BLOCK;
	bool offered = !insn->row->feature || x86_has(t->cpu->model, (enum x86_feature)(insn->row->feature - 1));

	if (!offered || !(does_nothing(insn) || direct_possible(t, insn)))
		direct_leave(t);
	/* What the model does not offer is #UD, or another instruction; what is too long has any opcode and does nothing of it: the handler knows. */
	if (!offered || insn->row->traits & X86_UNDEFINED) {
		translate_handler(t, insn, ends);
		return;
	}
	if (direct_now(t) && translate_direct(t, insn))
		return;
	if (translate_system(t, insn) || translate_repeat(t, insn)) {
		emit_forget(&t->e);
		return;
	}
	/* What these write is known (emit.h). */
	if (ends ? direct_now(t) == t->direct && translate_branch(t, insn)
		 : does_nothing(insn) || translate_stack(t, insn) || translate_native(t, insn) || translate_vector(t, insn))
		return;
	emit_forget(&t->e);
	if (!ends && (translate_x87(t, insn) || translate_bit(t, insn) || translate_short_increment(t, insn))) {
		emit_forget(&t->e);
		return;
	}
	translate_handler(t, insn, ends);
}

/* Does the block go on behind an instruction that ends blocks in general? */
static bool goes_on(const struct translation *t, const struct x86_insn *insn, unsigned *jumps)
{
	if (insn->row->traits & X86_UNDEFINED)
		return false;
	if (stays(t, insn))
		return true;
	return branch_conditional(insn) && ++*jumps < JIT_BLOCK_JUMPS;
}

static unsigned decode(struct translation *t, unsigned available)
{
	unsigned code_size = t->wide ? 8 : 4, length = 0, count = 0, jumps = 0;

	t->crossing = false;
	t->softs = 0;
	while (count < JIT_BLOCK_INSNS) {
		struct x86_insn *insn = &t->insn[count];

		if (length >= available ||
		    x86_decode(insn, t->page + t->start + length, available - length, code_size) != X86_DECODE_OK) {
			t->crossing = length < available && t->start + available == GUEST_PAGE_SIZE;
			break;
		}
		if (t->key & JIT_KEY_WINDOW && soft_known(&t->soft, t->page + t->start + length))
			t->softs |= UINT64_C(1) << count;
		length += insn->length;
		count++;
		if (!(insn->row->traits & X86_ENDS_BLOCK))
			continue;
		if (!goes_on(t, insn, &jumps) || branch_known(t, t->start + length))
			break;
	}
	return count;
}

static void entries(struct translation *t)
{
	struct emitter *e = &t->e;
	uint8_t *branch;

	emit_lea(e, HOST_R14, HOST_R14, -(int32_t)t->start);
	emit_store(e, HOST_R14, e->context, JIT_OFFSET(code_base));
	t->near = e->p;
	if (t->counted) {
		emit_load(e, HOST_RCX, e->context, JIT_OFFSET(count));
		emit_lea(e, HOST_RCX, HOST_RCX, (int32_t)t->count);
		emit_store(e, HOST_RCX, e->context, JIT_OFFSET(count));
	}
	if (t->limited) {
		emit_pext(e, HOST_RCX, HOST_RCX, JIT_OFFSET(sign_mask));
		emit8(e, 0xe3); /* jrcxz */
		emit8(e, 0);
		branch = e->p;
		translate_call_site(t, JIT_OFFSET(exit_room), t->start, 1, 0);
		branch[-1] = (uint8_t)(e->p - branch);
	}
}

static struct jit_block *finish(struct translation *t)
{
	struct jit_cache *cache = t->cache;
	struct jit_block *block = &cache->block[cache->blocks_end[cache->region]++];

	*block = (struct jit_block){
		.hva = t->page + t->start,
		.generation = t->generation,
		.begin = (uint32_t)(t->begin - cache->code.write),
		.code = (uint16_t)(t->code - t->begin),
		.near = (uint16_t)(t->near - t->begin),
		.end = (uint16_t)(t->e.p - t->begin),
		.key = (uint16_t)t->key,
		.stubs = (uint8_t)t->stubs,
	};
	block->traps = (uint8_t)trap_sites_write(t, jit_block_traps(cache, block));
	cache->used = (size_t)(jit_block_crossing(cache, block) - cache->code.write);
	if (t->key & JIT_KEY_CROSSING)
		cache->used += sizeof(struct jit_crossing);
	jit_cache_insert(cache, block);
	return block;
}

/* PUSH and POP of registers. */
static bool stack_frequent(const struct x86_insn *insn)
{
	return insn->encoding == X86_LEGACY && insn->map == X86_MAP_1BYTE && insn->opcode >> 4 == 5;
}

/* How far it is at most from the instruction's start to the next place for an island. */
static unsigned ahead_of(const struct translation *t, const struct x86_insn *insn)
{
	if (insn->prefixes & (X86_PREFIX_REP | X86_PREFIX_REPNE) && insn->map == X86_MAP_1BYTE)
		return MISS_AHEAD_REPEAT;
	if (insn->row->traits & X86_ENDS_BLOCK)
		return insn->encoding == X86_LEGACY && insn->map == X86_MAP_1BYTE &&
				       (insn->opcode == 0xe8 || (insn->opcode & 0xfe) == 0xc2 || insn->opcode == 0xeb ||
					insn->opcode >> 4 == 7)
			       ? MISS_AHEAD_JUMP
			       : MISS_AHEAD_SYSTEM;
	return jit_form(insn) || translate_vector_possible(t, insn) || stack_frequent(insn) ? MISS_AHEAD_OPERAND
											    : MISS_AHEAD_SYSTEM;
}

/* Does the block go on behind its last instruction? */
static bool falls_through(const struct translation *t)
{
	const struct x86_insn *last = &t->insn[t->count - 1];

	return !(last->row->traits & X86_ENDS_BLOCK) || stays(t, last);
}

static void emit_instructions(struct translation *t)
{
	plan_groups(t);
	t->traps = t->stubs = 0;
	t->vector_ready = t->x87_ready = t->x87_based = t->unreachable = false;
	emit_forget(&t->e);
	t->stack_moved = 0;
	t->stack_way = 0;
	t->code_checked = false;
	t->direct = jit_key_direct(t->key);
	t->e.context = direct_context(t);
	t->begin = t->e.p = t->cache->code.write + t->cache->used;
	t->index = 0;
	t->offset = t->next = t->start;
	t->spans = 0;
	watch_span(t, CODE_ENTRY);
	miss_begin(t);
	t->code = t->e.p;
	watch_span(t, CODE_ENTRY);
	entries(t);
	for (; t->index < t->count; t->index++) {
		const struct x86_insn *insn = &t->insn[t->index];

		t->offset = t->next;
		t->next += insn->length;
		watch_span(t, CODE_INSN);
		miss_room(t, ahead_of(t, insn) + (t->direct ? DIRECT_AHEAD : 0));
		t->traps_here = false;
		stack_begin(t, insn);
		translate_instruction(t, insn);
		if (t->traps_here && t->key & JIT_KEY_WINDOW)
			trap_here(t);
		if (t->direct && !direct_now(t) && (t->index + 1 < t->count || falls_through(t)))
			direct_enter(t, insn);
	}
	watch_span(t, CODE_EXIT);
	stack_settle(t);
	/* Not ended by a jump: on to what follows. */
	if (falls_through(t))
		branch_on(t);
	t->e.context = direct_context(t);
	branch_stubs(t);
}

/* The instructions are decoded. */
static struct jit_block *emit_block(struct translation *t, const uint8_t *guest)
{
	uint32_t insns = t->cache->insns;

	t->near_only = false;
	emit_instructions(t);
	if (t->unreachable) {
		/* An estimate in miss.h was wrong: once more, without any. */
		t->cache->insns = insns;
		t->near_only = true;
		emit_instructions(t);
	}
	watch_block(t, guest);
	return finish(t);
}

struct jit_block *jit_translate(struct translation *t, const uint8_t *hva, unsigned available)
{
	unsigned span = available < JIT_BLOCK_INSNS * 8 ? available : JIT_BLOCK_INSNS * 8;

	t->start = (unsigned)((uintptr_t)hva & (GUEST_PAGE_SIZE - 1));
	t->page = hva - t->start;
	/* Before the first byte is read; generously, for the length is not known yet. */
	t->generation = x86_code_page_mark(t->pages, t->cpu, hva, span);
	t->count = decode(t, span);
	return t->count ? emit_block(t, hva) : 0;
}

#define LENGTH_MAX 15

struct jit_block *jit_translate_crossing(struct translation *t, const uint8_t *hva, unsigned available, const uint8_t *second)
{
	uint8_t bytes[LENGTH_MAX];
	struct jit_block *block;
	uint32_t second_generation;

	t->start = (unsigned)((uintptr_t)hva & (GUEST_PAGE_SIZE - 1));
	t->page = hva - t->start;
	t->generation = x86_code_page_mark(t->pages, t->cpu, hva, available);
	second_generation = x86_code_page_mark(t->pages, t->cpu, second, LENGTH_MAX - available);
	for (unsigned i = 0; i < LENGTH_MAX; i++)
		bytes[i] = i < available ? hva[i] : second[i - available];
	if (x86_decode(&t->insn[0], bytes, LENGTH_MAX, t->wide ? 8 : 4) != X86_DECODE_OK)
		return 0;
	t->count = 1;
	t->softs = 0;
	t->crossing = false;
	t->key |= JIT_KEY_CROSSING;
	block = emit_block(t, bytes);
	__builtin_memcpy(jit_block_crossing(t->cache, block), &(struct jit_crossing){second, second_generation},
			 sizeof(struct jit_crossing));
	return block;
}
