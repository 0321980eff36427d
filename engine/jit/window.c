/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.c - keeps windows (window.h): their spaces, pages, what is dropped, who gets one.
 *
 * All of it runs on the vcpu's thread, in windows_fault's case inside a signal that translated code has raised, when that thread holds no lock; drops of
 * write permission also come while it stands still.
 */
#include "engine/jit/window.h"

#include <holon/host.h>

#include "x86/memory.h"

#define REGION_SHIFT 40
#define REGION_SIZE (UINT64_C(1) << REGION_SHIFT)
#define GUARD (UINT64_C(4) << 30)
#define STRIDE (REGION_SIZE + 2 * GUARD)
#define SPACES_LEAST 4
#define SPACES_ALL 96   /* of all vcpus */
#define PAGES_ALL 24000 /* each takes two of the host's mappings at worst; Linux allows 65,530 */
#define HASH (WINDOW_PAGES * 2)
#define LARGE_PAGE (UINT64_C(2) << 20)
#define ROOT_CHANGES 0x60 /* A and D: the processor sets them */
#define FLAGGED_MOST 16   /* pages of a large one that are hidden one by one */
#define KERNEL 0          /* the number of CPL 0's window */

/* ns: what things cost, and how much there may be of it */
#define COST_FILL 20000
#define COST_REFUSED 6000
#define COST_CHECK 300
#define COST_FREE 60000000 /* a window may cost this, */
#define COST_SHARE 4       /* and this part of the time that it was used */
#define REFUSED_FREE 3000000
#define REFUSED_SHARE 8
#define BUSY_WANTED 25000000 /* before a program gets one */
#define BUSY_MOST UINT64_C(10000000000)
#define TICK_MOST 5000000

static uint64_t address_space(const struct x86_cpu *cpu)
{
	return cpu->s.cr3 & UINT64_C(0x000ffffffffff000);
}

static uint16_t pcid_of(const struct x86_cpu *cpu)
{
	return cpu->s.cr4 & X86_CR4_PCIDE ? (uint16_t)(cpu->s.cr3 & 0xfff) : 0;
}

/* Is code of that privilege ever windowed? */
static bool eligible(const struct x86_cpu *cpu, unsigned cpl)
{
	return cpu->code_size == 8 && cpu->tlb != &cpu->tlb_contexts[X86_TLB_CONTEXTS] &&
	       (cpl == 3 || (cpl == 0 && cpu->s.cr4 & X86_CR4_SMAP));
}

static bool is_kernel(const struct windows *windows, const struct window *window)
{
	return window == &windows->window[KERNEL];
}

static unsigned region_of(uint64_t gva)
{
	return (unsigned)(gva >> REGION_SHIFT) & (JIT_REGIONS - 1);
}

/* Where a region begins, in canonical form. */
static uint64_t region_begin(unsigned region)
{
	return (uint64_t)((int64_t)((uint64_t)region << (64 - 8)) >> (64 - 8 - REGION_SHIFT));
}

static uint8_t *space_at(const struct windows *windows, unsigned space)
{
	return windows->view + space * STRIDE + GUARD;
}

/* --- pages --- */

static unsigned hash_of(uint64_t gva)
{
	return (unsigned)((gva >> GUEST_PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15) >> 40) % HASH;
}

static void hash_add(struct window *window, unsigned number)
{
	unsigned slot = hash_of(window->page[number].gva);

	while (window->hash[slot])
		slot = (slot + 1) % HASH;
	window->hash[slot] = (uint16_t)(number + 1);
}

/* The mapping that begins at gva and has that size. */
static struct window_page *page_at(const struct window *window, uint64_t gva, uint64_t size)
{
	for (unsigned slot = hash_of(gva); window->hash[slot]; slot = (slot + 1) % HASH) {
		struct window_page *page = &window->page[window->hash[slot] - 1];

		if (page->gva == gva && page->size == size)
			return page;
	}
	return 0;
}

/* The mappings that have gva in them: a small one may lie over a part of a large one. */
static struct window_page *small_of(const struct window *window, uint64_t gva)
{
	return page_at(window, gva & ~(uint64_t)(GUEST_PAGE_SIZE - 1), GUEST_PAGE_SIZE);
}
static struct window_page *large_of(const struct window *window, uint64_t gva)
{
	return page_at(window, gva & ~(LARGE_PAGE - 1), LARGE_PAGE);
}

static uint8_t *place_of(const struct windows *windows, const struct window *window, uint64_t gva)
{
	for (unsigned i = 0; i < window->regions; i++)
		if (window->region[i].region == region_of(gva))
			return space_at(windows, window->region[i].space) + (gva & (REGION_SIZE - 1));
	return 0;
}

static void list_empty(struct window *window)
{
	if (window->pages)
		__builtin_memset(window->hash, 0, HASH * sizeof(*window->hash));
	window->pages = window->gone = window->drops = 0;
	window->stale = window->own_stale = false;
}

/* To cut a mapping takes another one, which the host may not have; to hide the whole view takes none. */
static void all_forget(struct windows *windows)
{
	enum status status = host_view_hide(windows->view, windows->spaces * STRIDE);

	bug_on(status != STATUS_OK);
	for (unsigned i = 0; i < WINDOWS; i++)
		list_empty(&windows->window[i]);
}

/* All pages go. */
static void pages_forget(struct windows *windows, struct window *window)
{
	for (unsigned i = 0; i < window->regions && window->pages; i++)
		if (host_view_hide(space_at(windows, window->region[i].space) - GUARD, STRIDE) != STATUS_OK) {
			all_forget(windows);
			return;
		}
	list_empty(window);
}

static void page_hide(struct windows *windows, struct window *window, struct window_page *page)
{
	if (host_view_hide(place_of(windows, window, page->gva), page->size) != STATUS_OK) {
		pages_forget(windows, window);
		return;
	}
	page->size = 0;
	window->gone++;
}

/* Of a large one only the page of that RAM: a small one may take its place. */
static void page_hide_part(struct windows *windows, struct window *window, struct window_page *page, const uint8_t *ram)
{
	if (page->size == GUEST_PAGE_SIZE)
		page_hide(windows, window, page);
	else if (host_view_hide(place_of(windows, window, page->gva + (uint64_t)(ram - page->ram)), GUEST_PAGE_SIZE) != STATUS_OK)
		pages_forget(windows, window);
}

/* Makes room in the list. */
static void pages_compact(struct window *window)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < window->pages; i++)
		if (window->page[i].size)
			window->page[kept++] = window->page[i];
	__builtin_memset(window->hash, 0, HASH * sizeof(*window->hash));
	window->pages = kept;
	window->gone = 0;
	for (unsigned i = 0; i < kept; i++)
		hash_add(window, i);
}

/* --- windows --- */

static const struct window *window_of(const struct windows *windows, unsigned cpl)
{
	if (cpl != 3)
		return windows->window[KERNEL].used ? &windows->window[KERNEL] : 0;
	for (unsigned i = KERNEL + 1; i < WINDOWS; i++) {
		const struct window *window = &windows->window[i];

		if (window->used && window->cr3 == address_space(windows->cpu) && window->pcid == pcid_of(windows->cpu))
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
	pages_forget(windows, window);
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
		pages_compact(window);
	for (unsigned i = 0; i < WINDOWS; i++)
		total += windows->window[i].used ? windows->window[i].pages - windows->window[i].gone : 0;
	if (total >= windows->pages_max && !window_evict(windows, window))
		pages_forget(windows, window);
	if (window->pages == WINDOW_PAGES)
		pages_forget(windows, window);
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
		window->hash = host_allocate(HASH * sizeof(*window->hash));
	}
	if (!window->page || !window->hash)
		return false;
	window->used = true;
	window->stale = window->own_stale = false;
	window->cr3 = address_space(windows->cpu);
	window->pcid = pcid_of(windows->cpu);
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

/* --- drops --- */

static void page_dropped(struct window *window, uint64_t gva)
{
	if (window->stale || (!small_of(window, gva) && !large_of(window, gva)))
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
		pages_forget(windows, window);
		return;
	}
	for (unsigned i = 0; i < window->pages; i++) {
		struct window_page *page = &window->page[i];

		if (page->size && page->writable && ram >= page->ram && ram < page->ram + page->size)
			page_hide_part(windows, window, page, ram);
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
				window->stale |= window->pcid == which;
			break;
		case X86_DROP_PAGE: page_dropped(window, which); break;
		case X86_DROP_WRITES:
			writes_dropped(windows, window, (const uint8_t *)(uintptr_t)(which & ~(uint64_t)(GUEST_PAGE_SIZE - 1)));
			break;
		}
		windows->changed[i != KERNEL] |= window->stale || window->own_stale || window->drops;
	}
}

/* Is the large page at one place of the host, and how many of its pages may not be written directly? */
static bool large_possible(const struct x86_cpu *cpu, uint64_t gpa, const uint8_t *ram, unsigned *flagged)
{
	const struct guest_memory *memory = cpu->memory;
	const uint8_t *first = guest_memory_at(memory, gpa & ~(LARGE_PAGE - 1), LARGE_PAGE);
	uint64_t number;

	*flagged = 0;
	if (!first || first != ram - (gpa & (LARGE_PAGE - 1)) || cpu->s.dr7 & 0xff)
		return false;
	number = guest_memory_page(memory, first);
	for (unsigned i = 0; i < LARGE_PAGE / GUEST_PAGE_SIZE; i++)
		*flagged += atomic_load_explicit(&memory->page_flags[number + i], memory_order_relaxed) != 0;
	return true;
}

/* What may be mapped for an access to gva. `flagged`: pages of it that are not to be written directly. */
static bool page_find(const struct windows *windows, const struct window *window, uint64_t gva, enum x86_access access,
		      struct window_page *out, unsigned *flagged)
{
	struct x86_cpu *cpu = windows->cpu;
	bool kernel = is_kernel(windows, window);
	struct x86_translation translation;
	const uint8_t *ram;

	*flagged = 0;
	if (!x86_page_find(cpu, gva, access, kernel ? X86_MODE_SUPERVISOR_SMAP : X86_MODE_USER, &translation, &ram) ||
	    (access == X86_WRITE && !translation.writable))
		return false;
	out->global = translation.global;
	out->size = GUEST_PAGE_SIZE;
	if (translation.page_size >= LARGE_PAGE && large_possible(cpu, translation.gpa, ram, flagged) &&
	    (!translation.writable || *flagged <= FLAGGED_MOST))
		out->size = LARGE_PAGE;
	out->gva = gva & ~(uint64_t)(out->size - 1);
	out->ram = ram - (gva - out->gva);
	out->writable = translation.writable;
	return true;
}

static void page_check(struct windows *windows, struct window *window, struct window_page *page)
{
	struct window_page now;
	unsigned flagged;

	window->checked++;
	if (page_find(windows, window, page->gva, X86_PROBE, &now, &flagged) && now.size >= page->size &&
	    now.ram + (page->gva - now.gva) == page->ram && now.writable >= page->writable)
		return;
	window->refused++;
	page_hide(windows, window, page);
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
	window->cr3 = address_space(windows->cpu);
	window->pcid = pcid_of(windows->cpu);
}

/* What was dropped is looked up again: most of it is as it was. */
static void window_refresh(struct windows *windows, struct window *window)
{
	bool all = window->stale;

	if (window->stale || window->own_stale) {
		window->stale = window->own_stale = false;
		for (unsigned i = 0; i < window->pages; i++)
			if (window->page[i].size && (all || !window->page[i].global))
				page_check(windows, window, &window->page[i]);
	}
	for (unsigned i = 0; i < window->drops; i++) {
		struct window_page *small = small_of(window, window->drop[i]), *large = large_of(window, window->drop[i]);

		if (small)
			page_check(windows, window, small);
		if (large && large->size)
			page_check(windows, window, large);
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
	const struct x86_cpu *cpu = windows->cpu;

	return window->stale || window->own_stale || window->drops || context->window_version[user] != window->version ||
	       (!user && (window->cr3 != address_space(cpu) || window->pcid != pcid_of(cpu)));
}

enum window_state windows_state(const struct windows *windows, const struct jit_context *context, unsigned cpl)
{
	const struct window *window;

	if (!windows->spaces || !(windows->used || windows->policy == JIT_WINDOW_ALWAYS) || !eligible(windows->cpu, cpl))
		return WINDOW_NONE;
	window = window_of(windows, cpl);
	if (!window)
		return windows->policy == JIT_WINDOW_ALWAYS ? WINDOW_LATER : WINDOW_NONE;
	return unready(windows, window, context, cpl == 3) ? WINDOW_LATER : WINDOW_READY;
}

enum window_state windows_use(struct windows *windows, struct jit_context *context)
{
	struct x86_cpu *cpu = windows->cpu;
	struct window *window = window_find(windows);
	bool user = cpu->cpl == 3;

	if (!window && windows->policy == JIT_WINDOW_ALWAYS && window_start(windows))
		window = window_find(windows);
	if (!window)
		return WINDOW_NONE;
	if (!user && (window->cr3 != address_space(cpu) || window->pcid != pcid_of(cpu)))
		kernel_moved(windows, window);
	if (window->stale || window->own_stale || window->drops)
		window_refresh(windows, window);
	windows->changed[user] = false;
	window->last_use = windows->tick;
	if (context->window_version[user] != window->version)
		distances_set(windows, window, context, user);
	return WINDOW_READY;
}

/* A page is shown, but for what of it may not be written directly. false: all of it is hidden. */
static bool page_show(struct windows *windows, struct window *window, struct window_page *page, unsigned flagged)
{
	const struct guest_memory *memory = windows->cpu->memory;
	uint8_t *place = place_of(windows, window, page->gva);
	uint64_t number = guest_memory_page(memory, page->ram);

	if (host_view_show(place, page->ram, page->size, page->writable) != STATUS_OK) {
		/* What is at that place now, is not known. */
		page_hide(windows, window, page);
		return false;
	}
	for (unsigned i = 0; page->writable && flagged && i < page->size / GUEST_PAGE_SIZE; i++) {
		if (!atomic_load_explicit(&memory->page_flags[number + i], memory_order_relaxed))
			continue;
		if (host_view_hide(place + (uint64_t)i * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE) != STATUS_OK) {
			pages_forget(windows, window);
			return false;
		}
	}
	return true;
}

static bool fill(struct windows *windows, struct window *window, uint64_t gva, bool write)
{
	struct window_page page, *old;
	unsigned flagged;

	if (!page_find(windows, window, gva, write ? X86_WRITE : X86_READ, &page, &flagged)) {
		window->refused++;
		return false;
	}
	old = page_at(window, page.gva, page.size);
	if (old && page.size == LARGE_PAGE && old->writable >= page.writable) {
		/* A hole in it: what was hidden one by one. */
		page.size = GUEST_PAGE_SIZE;
		page.ram += (gva - page.gva) & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
		page.gva = gva & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
		page.writable &= !atomic_load_explicit(
			&windows->cpu->memory->page_flags[guest_memory_page(windows->cpu->memory, page.ram)], memory_order_relaxed);
		flagged = 0;
		old = page_at(window, page.gva, page.size);
	}
	window->filled++;
	window->refused += flagged;
	if (!old) {
		pages_room(windows, window);
		old = &window->page[window->pages++];
		*old = page;
		hash_add(window, window->pages - 1);
	}
	*old = page;
	return page_show(windows, window, old, flagged);
}

bool windows_fault(struct windows *windows, uint64_t address, bool write)
{
	uint64_t at = address - (uint64_t)(uintptr_t)windows->view, offset = at % STRIDE - GUARD;
	struct window *window = window_find(windows);

	if (!windows->spaces || at >= windows->spaces * STRIDE || offset >= REGION_SIZE || !window)
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

		if (gva != region_begin(region_of(gva)) + (gva & (REGION_SIZE - 1)) || place_of(windows, window, gva) ||
		    !page_find(windows, window, gva, X86_PROBE, &page, &flagged))
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

	if (cpu->cpl != 3) {
		if (!candidate->wanted)
			candidate->wanted = BUSY_WANTED;
		return candidate;
	}
	for (unsigned i = 0; i < WINDOW_CANDIDATES; i++) {
		candidate = &windows->candidate[i];
		if (candidate->wanted && candidate->cr3 == address_space(cpu) && candidate->pcid == pcid_of(cpu))
			return candidate;
	}
	candidate = &windows->candidate[windows->next_candidate++ % WINDOW_CANDIDATES];
	*candidate = (struct window_candidate){.cr3 = address_space(cpu), .pcid = pcid_of(cpu), .wanted = BUSY_WANTED};
	return candidate;
}

/* Refusals are no investment: there may be few. */
static bool too_dear(const struct window *window)
{
	uint64_t refused = window->refused * COST_REFUSED,
		 all = window->filled * COST_FILL + refused + window->checked * COST_CHECK;

	return refused > REFUSED_FREE + window->busy / REFUSED_SHARE || all > COST_FREE + window->busy / COST_SHARE;
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
	candidate = candidate_find(windows);
	if (window) {
		window->busy += passed;
		if (windows->policy == JIT_WINDOW_ALWAYS || !too_dear(window))
			return;
		host_log(HOST_LOG_DEBUG,
			 "jit: vcpu %u: window given up after %llu ms: %u pages, %llu filled, %llu refused, %llu "
			 "checked",
			 windows->cpu->id, (unsigned long long)window->busy / 1000000, window->pages,
			 (unsigned long long)window->filled, (unsigned long long)window->refused,
			 (unsigned long long)window->checked);
		window_free(windows, window);
		candidate->busy = 0;
		candidate->wanted = candidate->wanted < BUSY_MOST ? candidate->wanted * 8 : BUSY_MOST;
		return;
	}
	candidate->busy += passed;
	if (candidate->busy >= candidate->wanted && !window_start(windows))
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
			host_free(window->hash, HASH * sizeof(*window->hash));
	}
	if (windows->spaces)
		host_view_release(windows->view, windows->spaces * STRIDE);
	if (windows->cpu)
		windows->cpu->dropped = 0;
	*windows = (struct windows){0};
}
