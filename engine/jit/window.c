/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.c - keeps windows (window.h): their spaces, what is dropped, faults, who gets one. Their pages: window_page.c.
 *
 * All of it runs on the vcpu's thread, in windows_fault's case inside a signal that translated code has raised, when that thread holds no lock; drops of
 * write permission also come while it stands still.
 */
#include "engine/jit/window_page.h"

#define ROOT_CHANGES 0x60 /* A and D: the processor sets them */

#define SPACES_LEAST 4
#define SPACES_ALL 96   /* of all vcpus */
#define PAGES_ALL 24000 /* each takes two of the host's mappings at worst; Linux allows 65,530 */

/* ns: what things cost, and how much there may be of it */
#define COST_FILL 20000
#define COST_REFUSED 6000
#define COST_CHECK 300
#define COST_FREE 10000000   /* a window may cost this, */
#define COST_SHARE 6         /* and this part of the time that its program runs, in it or not; */
#define COST_REST 2000000    /* after a rest it may cost so much before the next */
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
	return cpu->code_size == 8 && cpu->tlb != &cpu->tlb_contexts[X86_TLB_CONTEXTS] &&
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

static void window_free(struct windows *windows, struct window *window)
{
	window_page_forget(windows, window);
	for (unsigned i = 0; i < window->regions; i++)
		windows->space_used &= ~(UINT32_C(1) << window->region[i].space);
	window->regions = 0;
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
	window->stale = window->own_stale = window->resting = false;
	window->owner = owner_now(windows->cpu);
	window->busy = window->filled = window->refused = window->checked = 0;
	window->version = ++windows->version;
	window->last_use = windows->tick;
	windows->used++;
	return true;
}

/* The entries of the top page table above a region, as CR3 is now. */
static void roots_read(const struct x86_cpu *cpu, unsigned region, uint64_t root[2])
{
	const uint64_t *table = (const uint64_t *)guest_memory_at(cpu->memory, address_space(cpu), GUEST_PAGE_SIZE);
	unsigned shift = cpu->s.cr4 & X86_CR4_LA57 ? 48 : 39;

	for (unsigned i = 0; i < 2; i++)
		root[i] = table ? __atomic_load_n(&table[(region_begin(region) + i * REGION_SIZE / 2) >> shift & 511],
						  __ATOMIC_RELAXED) &
					  ~(uint64_t)ROOT_CHANGES
				: 0;
}

/* A space for the region; another window's if there is none left. */
static bool region_add(struct windows *windows, struct window *window, unsigned region)
{
	unsigned space = 1;

	if (window->regions == WINDOW_REGIONS)
		return false;
	for (;;) {
		for (space = 1; space < windows->spaces && windows->space_used >> space & 1; space++)
			;
		if (space < windows->spaces)
			break;
		if (!window_evict(windows, window))
			return false;
	}
	windows->space_used |= UINT32_C(1) << space;
	roots_read(windows->cpu, region, window->region[window->regions].root);
	window->region[window->regions].region = (uint8_t)region;
	window->region[window->regions++].space = (uint8_t)space;
	window->version = ++windows->version;
	return true;
}

static uint64_t cost_of(const struct window *window)
{
	return window->filled * COST_FILL + window->refused * COST_REFUSED + window->checked * COST_CHECK;
}

/* A page has cost something: until the program has run for long enough again, it runs without its window, whose pages stay. */
static void charged(struct window *window)
{
	window->resting = cost_of(window) > COST_FREE + window->busy / COST_SHARE;
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
	uint64_t root[2];

	for (unsigned i = 0; i < window->regions; i++) {
		roots_read(windows->cpu, window->region[i].region, root);
		window->own_stale |=
			!(root[0] | root[1]) || root[0] != window->region[i].root[0] || root[1] != window->region[i].root[1];
		window->region[i].root[0] = root[0];
		window->region[i].root[1] = root[1];
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

static void distances_set(const struct windows *windows, const struct window *window, struct jit_context *context, bool user)
{
	for (unsigned i = 0; i < JIT_REGIONS; i++)
		context->distance[user][i] = (uint64_t)(uintptr_t)space_at(windows, 0) - region_begin(i);
	for (unsigned i = 0; i < window->regions; i++)
		context->distance[user][window->region[i].region] =
			(uint64_t)(uintptr_t)space_at(windows, window->region[i].space) - region_begin(window->region[i].region);
	context->window_version[user] = window->version;
}

/* Does something have to be done before it is entered? */
static bool unready(const struct windows *windows, const struct window *window, const struct jit_context *context, bool user)
{
	return window->stale || window->own_stale || window->drops || context->window_version[user] != window->version ||
	       (!user && !runs_now(windows->cpu, &window->owner));
}

enum window_state windows_state(const struct windows *windows, const struct jit_context *context, unsigned cpl)
{
	const struct window *window;

	if (!windows->spaces || !(windows->used || windows->policy == JIT_WINDOW_ALWAYS) || !eligible(windows->cpu, cpl))
		return WINDOW_NONE;
	window = window_of(windows, cpl);
	if (!window)
		return windows->policy == JIT_WINDOW_ALWAYS ? WINDOW_LATER : WINDOW_NONE;
	if (window->resting && windows->policy != JIT_WINDOW_ALWAYS)
		return WINDOW_NONE;
	return unready(windows, window, context, cpl == 3) ? WINDOW_LATER : WINDOW_READY;
}

enum window_state windows_use(struct windows *windows, struct jit_context *context)
{
	struct window *window = window_find(windows);
	bool user = windows->cpu->cpl == 3;

	if (!window && windows->policy == JIT_WINDOW_ALWAYS && window_start(windows))
		window = window_find(windows);
	if (!window)
		return WINDOW_NONE;
	if (!user && !runs_now(windows->cpu, &window->owner))
		kernel_moved(windows, window);
	if (window->stale || window->own_stale || window->drops)
		window_refresh(windows, window);
	windows->changed[user] = false;
	window->last_use = windows->tick;
	if (context->window_version[user] != window->version)
		distances_set(windows, window, context, user);
	return WINDOW_READY;
}

static bool fill(struct windows *windows, struct window *window, uint64_t gva, bool write)
{
	struct window_page page, *old;
	unsigned flagged;

	if (!window_page_find(windows, window, gva, write ? X86_WRITE : X86_READ, &page, &flagged)) {
		window->refused++;
		charged(window);
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
	window->filled++;
	window->refused += flagged;
	charged(window);
	if (!old) {
		pages_room(windows, window);
		old = window_page_add(window, &page);
	}
	*old = page;
	return window_page_show(windows, window, old, flagged);
}

bool windows_fault(struct windows *windows, uint64_t address, bool write)
{
	uint64_t at = address - (uint64_t)(uintptr_t)windows->view, offset = at % STRIDE - GUARD;
	struct window *window = window_find(windows);

	if (!windows->spaces || at >= windows->spaces * STRIDE || offset >= REGION_SIZE || !window)
		return false;
	/* It is left by the way. */
	if (window->resting && windows->policy != JIT_WINDOW_ALWAYS)
		return false;
	for (unsigned i = 0; i < window->regions; i++)
		if (window->region[i].space == at / STRIDE)
			return fill(windows, window, region_begin(window->region[i].region) + offset, write);
	return false;
}

bool windows_extend(struct windows *windows, uint64_t address, const struct x86_insn *insn)
{
	struct x86_cpu *cpu = windows->cpu;
	struct window *window = window_find(windows);
	uint64_t candidate[4];
	unsigned candidates = 0;
	bool added = false;

	if (!window || address - (uint64_t)(uintptr_t)windows->view >= STRIDE)
		return false;
	window->refused++;
	charged(window);
	if (insn->row->traits & X86_MODRM && insn->mod != 3) {
		uint64_t offset = x86_offset(cpu, insn);

		if (insn->base == X86_RIP) {
			candidate[candidates++] = cpu->reg[X86_RIP];
			offset += insn->length;
		} else if (insn->base != X86_NO_REG) {
			candidate[candidates++] = cpu->reg[insn->base];
		}
		candidate[candidates++] = offset + (insn->segment >= X86_FS ? cpu->s.segment[insn->segment].base : 0);
	}
	candidate[candidates++] = cpu->reg[X86_RSP];
	candidate[candidates++] = cpu->reg[X86_RBP];
	for (unsigned i = 0; i < candidates; i++) {
		uint64_t gva = candidate[i];
		struct window_page page;
		unsigned flagged;

		if (gva != region_begin(region_of(gva)) + (gva & (REGION_SIZE - 1)) || window_page_place(windows, window, gva) ||
		    !window_page_find(windows, window, gva, X86_PROBE, &page, &flagged))
			continue;
		added |= region_add(windows, window, region_of(gva));
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

	if (!windows->spaces)
		return;
	now = host_time_ns();
	passed = now - windows->tick < TICK_MOST ? now - windows->tick : TICK_MOST;
	windows->tick = now;
	if (!eligible(windows->cpu, windows->cpu->cpl) || windows->cpu->s.activity != X86_RUNNING)
		return;
	window = window_find(windows);
	if (window) {
		window->busy += passed;
		if (cost_of(window) + COST_REST <= COST_FREE + window->busy / COST_SHARE)
			window->resting = false;
		return;
	}
	candidate = candidate_find(windows);
	candidate->busy += passed;
	if (candidate->busy >= BUSY_WANTED && !window_start(windows))
		candidate->busy = 0;
}

/* --- creation --- */

void windows_create(struct windows *windows, struct x86_cpu *cpu, enum jit_window policy, unsigned vcpus)
{
	unsigned spaces = SPACES_ALL / vcpus < WINDOW_SPACES ? SPACES_ALL / vcpus : WINDOW_SPACES;

	*windows = (struct windows){.cpu = cpu, .policy = policy, .pages_max = PAGES_ALL / vcpus};
	if (policy == JIT_WINDOW_NEVER || spaces < SPACES_LEAST || host_view_reserve(&windows->view, spaces * STRIDE) != STATUS_OK)
		return;
	windows->spaces = spaces;
	cpu->dropped = dropped;
}

void windows_destroy(struct windows *windows)
{
	for (unsigned i = 0; i < WINDOWS; i++) {
		struct window *window = &windows->window[i];

		if (window->page)
			host_free(window->page, WINDOW_PAGES * sizeof(*window->page));
		if (window->hash)
			host_free(window->hash, WINDOW_HASH * sizeof(*window->hash));
	}
	if (windows->spaces)
		host_view_release(windows->view, windows->spaces * STRIDE);
	if (windows->cpu)
		windows->cpu->dropped = 0;
	*windows = (struct windows){0};
}
