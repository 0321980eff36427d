/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paging.c - the page walk (SDM vol. 3, 4): 32-bit, PAE, 4-level and 5-level paging, with permissions, reserved bits, accessed and dirty bits.
 *
 * Called by memory.c when the TLB misses. Entries lie in guest RAM and other vcpus change them meanwhile: each is read once, and its accessed and dirty
 * bits are set by compare-and-exchange on what was read; where that fails, the walk starts again, as the processor's does, but not for ever.
 */
#include "x86/cpuid.h"
#include "x86/memory.h"

#define ENTRY_P X86_BIT(0)
#define ENTRY_W X86_BIT(1)
#define ENTRY_U X86_BIT(2)
#define ENTRY_A X86_BIT(5)
#define ENTRY_D X86_BIT(6)
#define ENTRY_PS X86_BIT(7)
#define ENTRY_G X86_BIT(8)
#define ENTRY_NX X86_BIT(63)
#define ENTRY_ADDRESS UINT64_C(0x000ffffffffff000)
#define ENTRY_IGNORED_HIGH (UINT64_C(0x7ff) << 52) /* reserved under PAE, ignored or protection key under 4-level paging */

struct walk {
	struct x86_cpu *cpu;
	uint64_t linear;
	enum x86_access access;
	unsigned mode;
	uint64_t rights; /* U and W: the AND of all levels; NX: the OR */
	struct x86_translation *out;
	uint32_t error;
	unsigned tries;
	bool untouched; /* X86_PROBE: an accessed bit is clear */
};

/* Lost races against another processor's writes to an entry after which a walk takes its own update for done first. */
#define WALK_TRIES 64

enum walk_end { WALK_DONE, WALK_FAULT, WALK_AGAIN };

struct entry {
	uint64_t value;
	uint8_t *hva; /* NULL: not in RAM; its bits are not updated */
	unsigned size;
};

static void entry_read(struct x86_cpu *cpu, uint64_t gpa, unsigned size, struct entry *entry)
{
	const struct guest_memory *memory = cpu->memory;

	entry->size = size;
	entry->hva = 0;
	for (unsigned i = 0; i < memory->slots; i++) {
		const struct memory_slot *slot = &memory->slot[i];
		uint8_t *hva;

		if (gpa - slot->gpa >= slot->length)
			continue;
		hva = slot->hva + (gpa - slot->gpa);
		if (!slot->readonly)
			entry->hva = hva;
		entry->value = size == 8 ? __atomic_load_n((uint64_t *)hva, __ATOMIC_RELAXED)
					 : __atomic_load_n((uint32_t *)hva, __ATOMIC_RELAXED);
		return;
	}
	entry->value = cpu->platform->mmio_read(cpu->machine, gpa, size);
}

/* false: another vcpu changed the entry. */
static bool entry_set(struct walk *walk, struct entry *entry, uint64_t bits)
{
	struct x86_cpu *cpu = walk->cpu;
	uint8_t flags;
	bool swapped;

	if ((entry->value & bits) == bits || !entry->hva)
		return true;
	if (walk->access == X86_PROBE) {
		walk->untouched = true;
		return true;
	}
	if (entry->size == 8) {
		uint64_t expected = entry->value;

		swapped = __atomic_compare_exchange_n((uint64_t *)entry->hva, &expected, expected | bits, false, __ATOMIC_SEQ_CST,
						      __ATOMIC_RELAXED);
	} else {
		uint32_t expected = (uint32_t)entry->value;

		swapped = __atomic_compare_exchange_n((uint32_t *)entry->hva, &expected, expected | (uint32_t)bits, false,
						      __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	}
	if (!swapped && walk->tries < WALK_TRIES)
		return false;
	entry->value |= bits;
	if (!swapped) /* the other's write came right after ours and left nothing of it */
		return true;
	flags = atomic_load_explicit(&cpu->memory->page_flags[guest_memory_page(cpu->memory, entry->hva)], memory_order_seq_cst);
	if (flags) {
		guest_memory_page_written(cpu->memory, entry->hva, entry->size);
		if (flags & GUEST_PAGE_CODE)
			x86_attention(cpu, X86_ATTENTION_CODE);
	}
	return true;
}

static enum walk_end fault(struct walk *walk, uint32_t why)
{
	walk->error |= why;
	return WALK_FAULT;
}

/* Protection keys apply to data accesses to user pages under 4-level and 5-level paging. */
static bool key_denies(const struct walk *walk, uint64_t leaf, bool write)
{
	const struct x86_cpu *cpu = walk->cpu;
	uint32_t rights;

	if (!(cpu->s.cr4 & X86_CR4_PKE) || !x86_long_mode(cpu) || walk->access == X86_FETCH || !(walk->rights & ENTRY_U))
		return false;
	rights = cpu->s.pkru >> (leaf >> 59 & 15) * 2 & 3;
	if (rights & 1)
		return true;
	return write && rights & 2 && (walk->mode == X86_MODE_USER || (cpu->s.cr0 & X86_CR0_WP));
}

/* SDM vol. 3, 4.6.1, without protection keys. */
static bool rights_allow(const struct walk *walk, enum x86_access access)
{
	const struct x86_cpu *cpu = walk->cpu;
	bool user_page = walk->rights & ENTRY_U, user = walk->mode == X86_MODE_USER;

	if (user && !user_page)
		return false;
	if (access == X86_FETCH)
		return !(walk->rights & ENTRY_NX) && !(user_page && !user && (cpu->s.cr4 & X86_CR4_SMEP));
	if (user_page && walk->mode == X86_MODE_SUPERVISOR_SMAP && (cpu->s.cr4 & X86_CR4_SMAP))
		return false;
	return access == X86_READ || access == X86_PROBE || walk->rights & ENTRY_W || !(user || (cpu->s.cr0 & X86_CR0_WP));
}

/* The entry that maps the page, all its bits checked but the permissions. `page` is the page's physical address. */
static enum walk_end leaf(struct walk *walk, struct entry *entry, uint64_t page, uint64_t page_size)
{
	bool write = walk->access == X86_WRITE;

	if (!rights_allow(walk, walk->access) || key_denies(walk, entry->value, write))
		return fault(walk, X86_PF_P | (key_denies(walk, entry->value, write) ? X86_PF_PK : 0));
	if (!entry_set(walk, entry, write ? ENTRY_A | ENTRY_D : ENTRY_A))
		return WALK_AGAIN;
	walk->out->gpa = page | (walk->linear & (page_size - 1));
	walk->out->page_size = page_size;
	walk->out->global = entry->value & ENTRY_G && walk->cpu->s.cr4 & X86_CR4_PGE;
	walk->out->writable = entry->value & ENTRY_D && rights_allow(walk, X86_WRITE) && !key_denies(walk, entry->value, true);
	return WALK_DONE;
}

/* PAE, 4-level and 5-level: 8-byte entries, 9 bits a level. */
static enum walk_end walk_wide(struct walk *walk)
{
	struct x86_cpu *cpu = walk->cpu;
	bool long_mode = x86_long_mode(cpu);
	uint64_t reserved = ENTRY_ADDRESS & ~((UINT64_C(1) << cpu->model->physical_bits) - 1);
	uint64_t table = cpu->s.cr3 & ENTRY_ADDRESS;
	unsigned level = cpu->s.cr4 & X86_CR4_LA57 ? 5 : 4;

	if (!(cpu->s.efer & X86_EFER_NXE))
		reserved |= ENTRY_NX;
	walk->rights = ENTRY_U | ENTRY_W;
	if (!long_mode) {
		uint64_t pdpte = cpu->s.pdpte[walk->linear >> 30 & 3];

		if (!(pdpte & ENTRY_P))
			return fault(walk, 0);
		reserved |= ENTRY_IGNORED_HIGH;
		table = pdpte & ENTRY_ADDRESS;
		level = 2;
	}
	for (;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint64_t bad = reserved;
		struct entry entry;
		bool last;

		entry_read(cpu, table + (walk->linear >> shift & 511) * 8, 8, &entry);
		if (!(entry.value & ENTRY_P))
			return fault(walk, 0);
		last = level == 1 || (entry.value & ENTRY_PS && level <= 3);
		if (level > 3 || (level == 3 && !x86_has(cpu->model, X86_FEATURE_PAGE1GB)))
			bad |= ENTRY_PS;
		if (last && level > 1)
			bad |= ((UINT64_C(1) << shift) - 1) & ~UINT64_C(0x1fff); /* bit 12 is PAT */
		if (entry.value & bad)
			return fault(walk, X86_PF_P | X86_PF_RSVD);
		walk->rights = (walk->rights & (entry.value | ENTRY_NX)) | (entry.value & ENTRY_NX);
		if (last)
			return leaf(walk, &entry, entry.value & ENTRY_ADDRESS & ~((UINT64_C(1) << shift) - 1),
				    UINT64_C(1) << shift);
		if (!entry_set(walk, &entry, ENTRY_A))
			return WALK_AGAIN;
		table = entry.value & ENTRY_ADDRESS;
	}
}

/* 32-bit paging with 4-byte entries; 4 MiB pages take physical bits 39:32 from entry bits 20:13 (PSE-36). */
static enum walk_end walk_narrow(struct walk *walk)
{
	struct x86_cpu *cpu = walk->cpu;
	struct entry entry;

	entry_read(cpu, (cpu->s.cr3 & 0xfffff000) + (walk->linear >> 22 & 1023) * 4, 4, &entry);
	if (!(entry.value & ENTRY_P))
		return fault(walk, 0);
	walk->rights = entry.value & (ENTRY_U | ENTRY_W);
	if (entry.value & ENTRY_PS && cpu->s.cr4 & X86_CR4_PSE) {
		unsigned high_bits = cpu->model->physical_bits > 40 ? 8 : cpu->model->physical_bits - 32;
		uint64_t high = entry.value >> 13 & 0xff;

		if (entry.value & X86_BIT(21) || high >> high_bits)
			return fault(walk, X86_PF_P | X86_PF_RSVD);
		return leaf(walk, &entry, (entry.value & 0xffc00000) | high << 32, UINT64_C(4) << 20);
	}
	if (!entry_set(walk, &entry, ENTRY_A))
		return WALK_AGAIN;
	entry_read(cpu, (entry.value & 0xfffff000) + (walk->linear >> 12 & 1023) * 4, 4, &entry);
	if (!(entry.value & ENTRY_P))
		return fault(walk, 0);
	walk->rights &= entry.value;
	return leaf(walk, &entry, entry.value & 0xfffff000, GUEST_PAGE_SIZE);
}

static uint32_t error_base(const struct x86_cpu *cpu, enum x86_access access, unsigned mode)
{
	uint32_t error = 0;

	if (access == X86_WRITE)
		error |= X86_PF_W;
	if (mode == X86_MODE_USER)
		error |= X86_PF_U;
	if (access == X86_FETCH && ((cpu->s.cr4 & X86_CR4_SMEP) || (cpu->s.cr4 & X86_CR4_PAE && cpu->s.efer & X86_EFER_NXE)))
		error |= X86_PF_I;
	return error;
}

bool x86_page_walk(struct x86_cpu *cpu, uint64_t linear, enum x86_access access, unsigned mode, struct x86_translation *out,
		   uint32_t *error)
{
	struct walk walk = {.cpu = cpu, .linear = linear, .access = access, .mode = mode, .out = out};
	enum walk_end end;

	if (!(cpu->s.cr0 & X86_CR0_PG)) {
		*out = (struct x86_translation){.gpa = linear & UINT32_MAX, .writable = true, .page_size = GUEST_PAGE_SIZE};
		return true;
	}
	do {
		walk.error = error_base(cpu, access, mode);
		end = cpu->s.cr4 & X86_CR4_PAE ? walk_wide(&walk) : walk_narrow(&walk);
	} while (end == WALK_AGAIN && ++walk.tries); /* each time, another vcpu has got on */
	*error = walk.error;
	return end == WALK_DONE && !walk.untouched;
}

bool x86_pdptes_load(struct x86_cpu *cpu, uint64_t cr3)
{
	uint64_t reserved = ~((UINT64_C(1) << cpu->model->physical_bits) - 1) | 0x1e6;
	uint64_t pdpte[4];

	for (unsigned i = 0; i < 4; i++) {
		struct entry entry;

		entry_read(cpu, (cr3 & 0xffffffe0) + i * 8, 8, &entry);
		if (entry.value & ENTRY_P && entry.value & reserved)
			return false;
		pdpte[i] = entry.value;
	}
	__builtin_memcpy(cpu->s.pdpte, pdpte, sizeof(pdpte));
	return true;
}
