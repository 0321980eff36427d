/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.c - keeps windows (window.h): their places, what is dropped, faults, who gets one. Their pages: window_page.c.
 *
 * All of it runs on the vcpu's thread, in windows_fault's case inside a signal that translated code has raised, when that thread holds no lock; drops of
 * write permission also come while it stands still.
 */
#include "engine/jit/window_page.h"

#define ROOT_CHANGES 0x60 /* A and D: the processor sets them */

#define PLACES 48                     /* how many to try for a window, */
#define PLACES_NEAR 256               /* and where there are few */
#define PLACE_MANY (INT64_C(1) << 40) /* so much room for it: anywhere; less: from one end, in steps that find what room there is */
#define HOST_SIZE ((INT64_C(1) << 47) - 4096)
#define STACK_ABOVE (UINT64_C(4) << 20) /* RSP may rise by this in a program */

#define VCPUS_MOST 24
#define PAGES_ALL 24000 /* of all vcpus. Each takes two of the host's mappings at worst; Linux allows 65,530 */
#define BLOCKS_ALL 480  /* each takes two in each guard, and one */

/*
 * ns. A window may cost a part of the time that its program runs, in it or not, and some of that in advance. When that is spent it rests, longer each time that
 * a trial has cost too much again: a program may use each page once.
 */
#define CREDIT_SHARE 4
#define CREDIT_MOST 10000000
#define CREDIT_TRIAL 2000000
#define REST_LEAST 10000000
#define REST_MOST 640000000
#define BUSY_WANTED 25000000 /* before a program gets one */
#define TICK_MOST 5000000

static uint64_t address_space(const struct x86_cpu *cpu)
{
	return cpu->s.cr3 & UINT64_C(0x000ffffffffff000);
}

static struct window_owner owner_now(const struct x86_cpu *cpu)
{
	return (struct window_owner){address_space(cpu), cpu->s.cr4 & X86_CR4_PCIDE ? (uint16_t)(cpu->s.cr3 & 0xfff) : 0};
}

static bool runs_now(const struct x86_cpu *cpu, const struct window_owner *owner)
{
	struct window_owner now = owner_now(cpu);

	return owner->cr3 == now.cr3 && owner->pcid == now.pcid;
}

/* Is code of that privilege ever windowed? */
static bool eligible(const struct x86_cpu *cpu, unsigned cpl)
{
	return cpu->code_size == 8 && cpu->tlb != x86_tlb_context(cpu, X86_TLB_CONTEXTS) &&
	       (cpl == 3 || (cpl == 0 && cpu->s.cr4 & X86_CR4_SMAP));
}

/* --- windows --- */

static const struct window *window_of(const struct windows *windows, unsigned cpl)
{
	if (cpl != 3)
		return windows->window[KERNEL].used ? &windows->window[KERNEL] : 0;
	for (unsigned i = KERNEL + 1; i < WINDOWS; i++) {
		const struct window *window = &windows->window[i];

		if (window->used && runs_now(windows->cpu, &window->owner))
			return window;
	}
	return 0;
}

/* The one for what runs now. */
static struct window *window_find(struct windows *windows)
{
	return (struct window *)window_of(windows, windows->cpu->cpl);
}

static void places_release(struct window *window, unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++) {
		uint8_t *begin;
		uint64_t size;

		window_page_range(window, i, &begin, &size);
		host_view_release(begin, size);
	}
}

static void window_free(struct windows *windows, struct window *window)
{
	window_page_forget(windows, window);
	places_release(window, window->blocks);
	window->blocks = 0;
	window->used = false;
	window->version = ++windows->version;
	windows->used--;
}

/* The one that was not used for longest, but for `keep`, goes. false: there is no other. */
static bool window_evict(struct windows *windows, const struct window *keep)
{
	struct window *oldest = 0;

	for (unsigned i = KERNEL + 1; i < WINDOWS; i++) {
		struct window *window = &windows->window[i];

		if (window->used && window != keep && (!oldest || window->last_use < oldest->last_use))
			oldest = window;
	}
	if (oldest)
		window_free(windows, oldest);
	return oldest;
}

static void pages_room(struct windows *windows, struct window *window)
{
	unsigned total = 0;

	if (window->pages == WINDOW_PAGES && window->gone > WINDOW_PAGES / 8)
		window_page_compact(window);
	for (unsigned i = 0; i < WINDOWS; i++)
		total += windows->window[i].used ? windows->window[i].pages - windows->window[i].gone : 0;
	if (total >= windows->pages_max && !window_evict(windows, window))
		window_page_forget(windows, window);
	if (window->pages == WINDOW_PAGES)
		window_page_forget(windows, window);
}

static bool window_start(struct windows *windows)
{
	bool kernel = windows->cpu->cpl != 3;
	struct window *window = kernel ? &windows->window[KERNEL] : 0;

	for (unsigned i = KERNEL + 1; i < WINDOWS && !window; i++)
		if (!windows->window[i].used)
			window = &windows->window[i];
	if (!window) {
		window_evict(windows, 0);
		return false; /* the next time */
	}
	if (!window->page) {
		window->page = host_allocate(WINDOW_PAGES * sizeof(*window->page));
		window->hash = host_allocate(WINDOW_HASH * sizeof(*window->hash));
	}
	if (!window->page || !window->hash)
		return false;
	window->used = true;
	window->stale = window->own_stale = window->resting = window->impossible = false;
	window->owner = owner_now(windows->cpu);
	window->busy = window->rest = 0;
	window->credit = CREDIT_MOST;
	window->version = ++windows->version;
	window->last_use = windows->tick;
	windows->used++;
	return true;
}

/* The entry of the top page table above a block, as CR3 is now. */
static uint64_t root_of(const struct x86_cpu *cpu, uint32_t number)
{
	const uint64_t *table = (const uint64_t *)guest_memory_at(cpu->memory, address_space(cpu), GUEST_PAGE_SIZE);
	unsigned shift = cpu->s.cr4 & X86_CR4_LA57 ? 48 : 39;

	if (!table)
		return 0;
	return __atomic_load_n(&table[(uint64_t)block_begin(number) >> shift & 511], __ATOMIC_RELAXED) & ~(uint64_t)ROOT_CHANGES;
}

static bool place_reserve(const struct window *window, unsigned i)
{
	uint8_t *begin;
	uint64_t size;

	window_page_range(window, i, &begin, &size);
	return size && host_view_reserve_at(begin, size) == STATUS_OK;
}

/* All blocks at this distance, or none. */
static bool places_reserve(struct window *window, int64_t distance)
{
	window->distance = distance;
	for (unsigned i = 0; i < window->blocks; i++)
		if (!place_reserve(window, i)) {
			places_release(window, i);
			return false;
		}
	return true;
}

/* The window's blocks, which have no places, get them. Programs at the addresses that a linker chose have little room: their stack is just below the end. */
static bool places_find(const struct windows *windows, struct window *window)
{
	int64_t low = INT64_MAX, high = INT64_MIN, first, last, distance;
	uint64_t random = host_time_ns() * UINT64_C(0x9e3779b97f4a7c15), step;
	bool many;

	for (unsigned i = 0; i < window->blocks; i++) {
		int64_t begin = block_begin(window->block[i].number), end = begin + (int64_t)BLOCK_SIZE;
		uint64_t rsp = windows->cpu->reg[X86_RSP] + STACK_ABOVE;

		if (block_of(rsp) == window->block[i].number)
			end = (int64_t)((rsp + LARGE_PAGE) & ~(LARGE_PAGE - 1));
		low = begin < low ? begin : low;
		high = end > high ? end : high;
	}
	if (high - low > HOST_SIZE)
		return false;
	first = is_kernel(windows, window) || windows->gs_any ? -low : (int64_t)LARGE_PAGE;
	last = (HOST_SIZE - high) & ~(int64_t)(LARGE_PAGE - 1);
	many = last - first > PLACE_MANY;
	step = (uint64_t)(last - first) / PLACES_NEAR + LARGE_PAGE;
	for (unsigned i = 0; i < (many ? PLACES : PLACES_NEAR); i++) {
		distance = first + (int64_t)(many ? (random >> 1) % (uint64_t)(last - first) : i * step);
		distance &= ~(int64_t)(LARGE_PAGE - 1);
		if (distance > last)
			break;
		if (distance && places_reserve(window, distance))
			return true;
		random = (random ^ random >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	}
	return false;
}

/* The window has no blocks any more, and gets none. */
static bool give_up(struct windows *windows, struct window *window)
{
	window->blocks = 0;
	window->impossible = true;
	window->version = ++windows->version;
	return false;
}

static bool block_add(struct windows *windows, struct window *window, uint32_t number)
{
	unsigned last = window->blocks;

	if (last == windows->blocks_max || window->impossible)
		return false;
	window->block[last].number = number;
	window->block[last].root = root_of(windows->cpu, number);
	window->blocks++;
	window->version = ++windows->version;
	if (last && place_reserve(window, last))
		return true;
	/* Elsewhere, with all of them. */
	window->blocks = last;
	window_page_forget(windows, window);
	places_release(window, last);
	window->blocks = last + 1;
	while (!places_find(windows, window))
		if (!window_evict(windows, window))
			return give_up(windows, window);
	return true;
}

/* A page has cost something. Without credit the program runs without its window, whose pages stay. */
static void charge(struct window *window, int64_t cost)
{
	window->credit -= cost;
	if (window->credit >= 0 || window->resting)
		return;
	window->resting = true;
	window->rest = window->rest < REST_LEAST / 2 ? REST_LEAST : window->rest < REST_MOST / 2 ? 2 * window->rest : REST_MOST;
	window->until = window->busy + window->rest;
}

static void credit_earn(struct window *window, uint64_t passed)
{
	window->busy += passed;
	window->credit += (int64_t)(passed / CREDIT_SHARE);
	if (window->credit > CREDIT_MOST) {
		window->credit = CREDIT_MOST;
		window->rest = window->resting ? window->rest : 0;
	}
	if (window->resting && window->busy >= window->until) {
		window->resting = false;
		window->credit = CREDIT_TRIAL;
	}
}

/* --- drops --- */

static void page_dropped(struct window *window, uint64_t gva)
{
	if (window->stale || (!window_page_small(window, gva) && !window_page_large(window, gva)))
		return;
	if (window->drops == WINDOW_DROPS)
		window->stale = true;
	else
		window->drop[window->drops++] = gva;
}

/* Stores to a page of RAM, or all (0), must not go there directly any more: at once. */
static void writes_dropped(struct windows *windows, struct window *window, const uint8_t *ram)
{
	if (!ram) {
		window_page_forget(windows, window);
		return;
	}
	for (unsigned i = 0; i < window->pages; i++) {
		struct window_page *page = &window->page[i];

		if (page->size && page->writable && ram >= page->ram && ram < page->ram + page->size)
			window_page_hide_part(windows, window, page, ram);
	}
}

static void dropped(struct x86_cpu *cpu, enum x86_drop what, uint64_t which)
{
	struct windows *windows = jit_windows(cpu);

	if (!windows->used)
		return;
	for (unsigned i = 0; i < WINDOWS; i++) {
		struct window *window = &windows->window[i];

		if (!window->used || !window->pages)
			continue;
		switch (what) {
		case X86_DROP_ALL: window->stale = true; break;
		case X86_DROP_PCID:
			if (i == KERNEL)
				window->own_stale = true;
			else
				window->stale |= window->owner.pcid == which;
			break;
		case X86_DROP_PAGE: page_dropped(window, which); break;
		case X86_DROP_WRITES:
			writes_dropped(windows, window, (const uint8_t *)(uintptr_t)(which & ~(uint64_t)(GUEST_PAGE_SIZE - 1)));
			break;
		}
		windows->changed[i != KERNEL] |= window->stale || window->own_stale || window->drops;
	}
}

/* CPL 0 is in another address space than it was. */
static void kernel_moved(struct windows *windows, struct window *window)
{
	for (unsigned i = 0; i < window->blocks; i++) {
		uint64_t root = root_of(windows->cpu, window->block[i].number);

		window->own_stale |= !root || root != window->block[i].root;
		window->block[i].root = root;
	}
	window->owner = owner_now(windows->cpu);
}

/* What was dropped is looked up again: most of it is as it was. */
static void window_refresh(struct windows *windows, struct window *window)
{
	bool all = window->stale;

	if (window->stale || window->own_stale) {
		window->stale = window->own_stale = false;
		for (unsigned i = 0; i < window->pages; i++)
			if (window->page[i].size && (all || !window->page[i].global))
				window_page_check(windows, window, &window->page[i]);
	}
	for (unsigned i = 0; i < window->drops; i++) {
		struct window_page *small = window_page_small(window, window->drop[i]),
				   *large = window_page_large(window, window->drop[i]);

		if (small)
			window_page_check(windows, window, small);
		if (large && large->size)
			window_page_check(windows, window, large);
	}
	window->drops = 0;
}

/* --- for translated code --- */

static uint8_t *guard_page(struct jit_context *context, bool user, uint32_t number)
{
	struct x86_tlb *tlb = (struct x86_tlb *)((uint8_t *)context - offsetof(struct x86_tlb, engine));

	return (uint8_t *)tlb + JIT_GUARD_OF(user) + (uint64_t)number * GUEST_PAGE_SIZE;
}

static bool opened(const struct jit_context *context, bool user, uint32_t number)
{
	for (unsigned i = 0; i < context->opens[user]; i++)
		if (context->open[user][i] == number)
			return true;
	return false;
}

/* The context's guard lets pass what the window has. false: the host has no room for that, and it lets nothing pass. */
static bool guard_set(struct window *window, struct jit_context *context, bool user)
{
	bool done = true;
	unsigned kept = 0;

	for (unsigned i = 0; i < context->opens[user]; i++) {
		uint32_t number = context->open[user][i];

		if (window_page_block(window, number))
			context->open[user][kept++] = number;
		else
			done &= host_view_memory(guard_page(context, user, number), GUEST_PAGE_SIZE, false, false) == STATUS_OK;
	}
	context->opens[user] = kept;
	for (unsigned i = 0; i < window->blocks && done; i++) {
		uint32_t number = window->block[i].number;

		if (opened(context, user, number))
			continue;
		done = host_view_memory(guard_page(context, user, number), GUEST_PAGE_SIZE, true, false) == STATUS_OK;
		context->open[user][context->opens[user]++] = number;
	}
	if (done)
		return true;
	context->opens[0] = context->opens[1] = 0;
	context->window_version[0] = context->window_version[1] = 0;
	bug_on(host_view_hide(guard_page(context, true, 0), JIT_GUARD_SIZE) != STATUS_OK);
	return false;
}

/* Does something have to be done before it is entered? */
static bool unready(const struct windows *windows, const struct window *window, const struct jit_context *context, bool user)
{
	return window->stale || window->own_stale || window->drops || context->window_version[user] != window->version ||
	       (!user && !runs_now(windows->cpu, &window->owner));
}

/* May RSP be the host's in windowed code? */
static bool stack_ready(const struct jit_context *context, uint64_t rsp)
{
	return rsp >= WINDOW_LOW && !(rsp >> WINDOW_HIGH_SHIFT) && opened(context, true, block_of(rsp));
}

enum window_state windows_state(const struct windows *windows, const struct jit_context *context, unsigned cpl, uint64_t rsp)
{
	const struct window *window;

	if (!windows->memory || !(windows->used || windows->policy == JIT_WINDOW_ALWAYS) || !eligible(windows->cpu, cpl))
		return WINDOW_NONE;
	window = window_of(windows, cpl);
	if (!window)
		return windows->policy == JIT_WINDOW_ALWAYS ? WINDOW_LATER : WINDOW_NONE;
	if (window->impossible || (window->resting && windows->policy != JIT_WINDOW_ALWAYS))
		return WINDOW_NONE;
	if (unready(windows, window, context, cpl == 3))
		return WINDOW_LATER;
	return cpl != 3 || stack_ready(context, rsp) ? WINDOW_READY : WINDOW_LATER;
}

/* The block where a program's stack is. false: the window has none for it. */
static bool stack_block(struct windows *windows, struct window *window)
{
	uint64_t rsp = windows->cpu->reg[X86_RSP];
	struct window_page page;
	unsigned flagged;

	if (rsp < WINDOW_LOW || rsp >> WINDOW_HIGH_SHIFT)
		return false;
	if (window_page_block(window, block_of(rsp)))
		return true;
	return window_page_find(windows, window, rsp, X86_PROBE, &page, &flagged) && block_add(windows, window, block_of(rsp));
}

enum window_state windows_use(struct windows *windows, struct jit_context *context)
{
	struct window *window = window_find(windows);
	bool user = windows->cpu->cpl == 3;

	if (!window && windows->policy == JIT_WINDOW_ALWAYS && window_start(windows))
		window = window_find(windows);
	if (!window || window->impossible)
		return WINDOW_NONE;
	if (!user && !runs_now(windows->cpu, &window->owner))
		kernel_moved(windows, window);
	if (window->stale || window->own_stale || window->drops)
		window_refresh(windows, window);
	windows->changed[user] = false;
	window->last_use = windows->tick;
	if (user && !stack_block(windows, window))
		return WINDOW_NONE;
	if (context->window_version[user] != window->version) {
		if (!guard_set(window, context, user))
			return WINDOW_NONE;
		if (user) {
			context->program_distance = (uint64_t)window->distance;
			context->undistance = 0 - context->program_distance;
		} else {
			context->kernel_distance = (uint64_t)window->distance;
		}
		context->window_version[user] = window->version;
	}
	return WINDOW_READY;
}

static bool fill(struct windows *windows, struct window *window, uint64_t gva, bool write)
{
	struct window_page page, *old;
	unsigned flagged;

	if (!window_page_find(windows, window, gva, write ? X86_WRITE : X86_READ, &page, &flagged) ||
	    !window_page_place(window, page.gva) || !window_page_place(window, page.gva + page.size - 1) ||
	    (!is_kernel(windows, window) && page.gva < WINDOW_LOW)) {
		charge(window, WINDOW_COST_REFUSED);
		return false;
	}
	old = window_page_at(window, page.gva, page.size);
	if (old && page.size == LARGE_PAGE && old->writable >= page.writable) {
		/* A hole in it: what was hidden one by one. */
		page.size = GUEST_PAGE_SIZE;
		page.ram += (gva - page.gva) & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
		page.gva = gva & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
		page.writable &= !atomic_load_explicit(
			&windows->cpu->memory->page_flags[guest_memory_page(windows->cpu->memory, page.ram)], memory_order_relaxed);
		flagged = 0;
		old = window_page_at(window, page.gva, page.size);
	}
	charge(window, WINDOW_COST_FILL + flagged * WINDOW_COST_REFUSED);
	if (!old) {
		pages_room(windows, window);
		old = window_page_add(window, &page);
	}
	*old = page;
	return window_page_show(windows, window, old, flagged);
}

bool windows_fault(struct windows *windows, uint64_t address, bool write)
{
	struct window *window = window_find(windows);
	uint64_t gva;

	/* What rests is left by the way. */
	if (!window || window->impossible || (window->resting && windows->policy != JIT_WINDOW_ALWAYS))
		return false;
	gva = address - (uint64_t)window->distance;
	return window_page_place(window, gva) == (uint8_t *)(uintptr_t)address && fill(windows, window, gva, write);
}

uint64_t windows_operand(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return x86_offset(cpu, insn) + (insn->base == X86_RIP ? insn->length : 0) +
	       (insn->segment >= X86_FS ? cpu->s.segment[insn->segment].base : 0);
}

bool windows_extend(struct windows *windows, uint64_t address, const struct x86_insn *insn)
{
	struct x86_cpu *cpu = windows->cpu;
	struct window *window = window_find(windows);
	uint64_t candidate[4];
	unsigned candidates = 0;
	bool added = false;

	if (!window || window->impossible ||
	    window_page_place(window, address - (uint64_t)window->distance) == (uint8_t *)(uintptr_t)address)
		return false;
	charge(window, WINDOW_COST_REFUSED);
	if (insn->row->traits & X86_MODRM && insn->mod != 3) {
		if (insn->base != X86_NO_REG)
			candidate[candidates++] = cpu->reg[insn->base];
		candidate[candidates++] = windows_operand(cpu, insn);
	}
	candidate[candidates++] = cpu->reg[X86_RSP];
	candidate[candidates++] = cpu->reg[X86_RBP];
	for (unsigned i = 0; i < candidates; i++) {
		uint64_t gva = candidate[i];
		struct window_page page;
		unsigned flagged;

		if (gva != (uint64_t)block_begin(block_of(gva)) + (gva & (BLOCK_SIZE - 1)) ||
		    (!is_kernel(windows, window) && gva >> WINDOW_HIGH_SHIFT) || window_page_block(window, block_of(gva)) ||
		    !window_page_find(windows, window, gva, X86_PROBE, &page, &flagged))
			continue;
		added |= block_add(windows, window, block_of(gva));
	}
	return added;
}

/* --- who gets one --- */

static struct window_candidate *candidate_find(struct windows *windows)
{
	struct x86_cpu *cpu = windows->cpu;
	struct window_candidate *candidate = &windows->kernel;

	if (cpu->cpl != 3)
		return candidate;
	for (unsigned i = 0; i < WINDOW_CANDIDATES; i++) {
		candidate = &windows->candidate[i];
		if (candidate->busy && runs_now(cpu, &candidate->owner))
			return candidate;
	}
	candidate = &windows->candidate[windows->next_candidate++ % WINDOW_CANDIDATES];
	*candidate = (struct window_candidate){.owner = owner_now(cpu)};
	return candidate;
}

void windows_tick(struct windows *windows)
{
	struct window_candidate *candidate;
	struct window *window;
	uint64_t now, passed;

	if (!windows->memory)
		return;
	now = host_time_ns();
	passed = now - windows->tick < TICK_MOST ? now - windows->tick : TICK_MOST;
	windows->tick = now;
	if (!eligible(windows->cpu, windows->cpu->cpl) || windows->cpu->s.activity != X86_RUNNING)
		return;
	window = window_find(windows);
	if (window) {
		credit_earn(window, passed);
		return;
	}
	candidate = candidate_find(windows);
	candidate->busy += passed;
	if (candidate->busy >= BUSY_WANTED && !window_start(windows))
		candidate->busy = 0;
}

/* --- creation --- */

#define TLB_SIZE ((sizeof(struct x86_tlb) + GUEST_PAGE_SIZE - 1) & ~(uint64_t)(GUEST_PAGE_SIZE - 1))
#define CONTEXT_STRIDE (JIT_GUARD_SIZE + TLB_SIZE)
#define CONTEXTS_SIZE ((X86_TLB_CONTEXTS + 1) * CONTEXT_STRIDE)

void windows_create(struct windows *windows, struct x86_cpu *cpu, enum jit_window policy, unsigned vcpus)
{
	*windows = (struct windows){.cpu = cpu, .policy = policy, .pages_max = PAGES_ALL / vcpus};
	windows->blocks_max = BLOCKS_ALL / vcpus < JIT_GUARD_BLOCKS ? BLOCKS_ALL / vcpus : JIT_GUARD_BLOCKS;
	if (policy == JIT_WINDOW_NEVER || vcpus > VCPUS_MOST)
		return;
	windows->gs_any = host_gs_set(0 - LARGE_PAGE) == STATUS_OK;
	if (host_gs_set(0) != STATUS_OK || host_view_reserve(&windows->memory, CONTEXTS_SIZE) != STATUS_OK)
		return;
	for (unsigned i = 0; i <= X86_TLB_CONTEXTS; i++)
		if (host_view_memory(windows->memory + i * CONTEXT_STRIDE + JIT_GUARD_SIZE, TLB_SIZE, true, true) != STATUS_OK) {
			host_view_release(windows->memory, CONTEXTS_SIZE);
			windows->memory = 0;
			return;
		}
	cpu->tlb_contexts = (struct x86_tlb *)(windows->memory + JIT_GUARD_SIZE);
	cpu->tlb_stride = CONTEXT_STRIDE;
	cpu->dropped = dropped;
}

void windows_destroy(struct windows *windows)
{
	for (unsigned i = 0; i < WINDOWS; i++) {
		struct window *window = &windows->window[i];

		if (window->used)
			places_release(window, window->blocks);
		if (window->page)
			host_free(window->page, WINDOW_PAGES * sizeof(*window->page));
		if (window->hash)
			host_free(window->hash, WINDOW_HASH * sizeof(*window->hash));
	}
	if (windows->memory)
		host_view_release(windows->memory, CONTEXTS_SIZE);
	if (windows->cpu)
		windows->cpu->dropped = 0;
	*windows = (struct windows){0};
}
