/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paging_test.c - the page walk, the TLB and the slow ways to memory: permissions against a model of SDM vol. 3, 4.6, accessed and dirty bits,
 * reserved bits, every page size, INVLPG and PCIDs, pages with flags, page crossings, breakpoints, alignment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/cpu/machine.h"

#define P 1u
#define W 2u
#define U 4u
#define A 0x20u
#define D 0x40u
#define PS 0x80u
#define G 0x100u
#define NX (UINT64_C(1) << 63)
#define GVA UINT64_C(0x40000000) /* in the second GiB: tables of its own */
#define TARGET UINT64_C(0x600000)

static uint32_t random32(void)
{
	static uint64_t seed = 88172645463325252u;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

static void control_set(uint64_t cr0, uint64_t cr4, uint64_t rflags)
{
	m.cpu.s.cr0 = (m.cpu.s.cr0 & ~(X86_CR0_WP | X86_CR0_AM)) | cr0;
	m.cpu.s.cr4 = X86_CR4_PAE | X86_CR4_PGE | cr4;
	m.cpu.s.rflags = (m.cpu.s.rflags & ~X86_FLAG_AC) | rflags;
	x86_tlb_flush_all(&m.cpu);
	x86_cpu_mode_changed(&m.cpu);
}

/* The rules as the SDM words them, for one mapping whose levels all say the same but the leaf. */
static bool model_allows(uint64_t rights, enum x86_access access, bool user, uint32_t pkru_rights)
{
	bool wp = m.cpu.s.cr0 & X86_CR0_WP, user_page = rights & U;

	if (access == X86_FETCH) {
		if (rights & NX)
			return false;
		return user ? user_page : !(user_page && m.cpu.s.cr4 & X86_CR4_SMEP);
	}
	if (user && !user_page)
		return false;
	if (!user && user_page && m.cpu.s.cr4 & X86_CR4_SMAP && !(m.cpu.s.rflags & X86_FLAG_AC))
		return false;
	if (access == X86_WRITE && !(rights & W) && (user || wp))
		return false;
	if (user_page && m.cpu.s.cr4 & X86_CR4_PKE) {
		if (pkru_rights & 1)
			return false;
		if (access == X86_WRITE && pkru_rights & 2 && (user || wp))
			return false;
	}
	return true;
}

static void test_permissions_follow_the_model(void **state)
{
	(void)state;
	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		machine_long(cpl);
		machine_map(GVA, TARGET | P);
		for (unsigned trial = 0; trial < 20000; trial++) {
			uint32_t r = random32(), key = random32() & 15, access = random32() % 3, error = 0;
			uint64_t upper = machine_read(PAGE_TABLES, 8), rights;
			uint64_t leaf = TARGET | (r & 1 ? P : 0) | (r & 2 ? W : 0) | (r & 4 ? U : 0) | (r & 8 ? NX : 0) |
					(uint64_t)key << 59;
			int vector, expected;

			upper = (upper & ~(uint64_t)(W | U) & ~NX) | (r & 0x30 ? W : 0) | (r & 0xc0 ? U : 0) |
				((r & 0x700) == 0x700 ? NX : 0);
			machine_write(PAGE_TABLES, 8, upper);
			machine_map(GVA, leaf);
			m.cpu.s.pkru = random32();
			control_set(r & 0x1000 ? X86_CR0_WP : 0,
				    (r & 0x2000 ? X86_CR4_SMEP : 0) | (r & 0x4000 ? X86_CR4_SMAP : 0) |
					    (r & 0x8000 ? X86_CR4_PKE : 0),
				    r & 0x10000 ? X86_FLAG_AC : 0);
			rights = (leaf & upper & (W | U)) | ((leaf | upper) & NX);
			expected = leaf & P && model_allows(rights, (enum x86_access)access, cpl == 3, m.cpu.s.pkru >> key * 2 & 3)
					   ? -1
					   : X86_PF;
			vector = access == X86_FETCH   ? try_fetch(GVA + 5)
				 : access == X86_WRITE ? try_write(GVA + 8, 4, 7)
						       : try_read(GVA, 8, NULL);
			if (vector != expected)
				fail_msg("leaf %llx upper %llx cr4 %llx access %u: %d, not %d", (unsigned long long)leaf,
					 (unsigned long long)upper, (unsigned long long)m.cpu.s.cr4, access, vector, expected);
			if (vector == X86_PF) {
				uint32_t denied = m.cpu.s.pkru >> key * 2 & 3;
				bool wp = m.cpu.s.cr0 & X86_CR0_WP;

				error = (leaf & P ? X86_PF_P : 0) | (access == X86_WRITE ? X86_PF_W : 0) | (cpl ? X86_PF_U : 0) |
					(access == X86_FETCH ? X86_PF_I : 0);
				if (leaf & P && access != X86_FETCH && rights & U && m.cpu.s.cr4 & X86_CR4_PKE &&
				    (denied & 1 || (denied & 2 && access == X86_WRITE && (cpl || wp))))
					error |= X86_PF_PK;
				assert_int_equal(m.cpu.fault_error, error);
				assert_int_equal(m.cpu.s.cr2, access == X86_FETCH ? GVA + 5 : access == X86_WRITE ? GVA + 8 : GVA);
			}
			/* What the first access left in the TLB must not allow more than the walk. */
			if (vector == -1 && access == X86_READ) {
				expected = model_allows(rights, X86_WRITE, cpl == 3, m.cpu.s.pkru >> key * 2 & 3) ? -1 : X86_PF;
				assert_int_equal(try_write(GVA + 16, 8, 1), expected);
			}
		}
	}
}

static void test_accessed_and_dirty_bits(void **state)
{
	uint64_t entry;

	(void)state;
	machine_long(0);
	machine_map(GVA, TARGET | P | W);
	for (unsigned i = 0; i < 4; i++) { /* the leaf's table and all above */
		struct x86_translation t;
		uint32_t error;
		uint64_t table = machine_read(PAGE_TABLES + 0x1000 + 8, 8) & ~UINT64_C(0xfff), leaf;

		table = machine_read(table, 8) & ~UINT64_C(0xfff);
		leaf = table;
		entry = machine_read(leaf, 8);
		switch (i) {
		case 0:
			assert_int_equal(entry & (A | D), 0);
			assert_true(x86_page_walk(&m.cpu, GVA, X86_READ, X86_MODE_USER, &t, &error) == false);
			assert_int_equal(machine_read(leaf, 8) & (A | D), 0); /* a refused access marks no leaf */
			assert_int_equal(try_read(GVA, 1, NULL), -1);
			break;
		case 1:
			assert_int_equal(entry & (A | D), A);
			assert_int_equal(machine_read(PAGE_TABLES, 8) & A, A);
			assert_int_equal(machine_read(PAGE_TABLES + 0x1000 + 8, 8) & A, A);
			assert_null(x86_tlb_hit(&m.cpu.tlb->write[m.cpu.mode], GVA, 1)); /* D is not set yet: no write entry */
			assert_int_equal(try_write(GVA, 1, 1), -1);
			break;
		case 2:
			assert_int_equal(entry & (A | D), A | D);
			assert_non_null(x86_tlb_hit(&m.cpu.tlb->write[m.cpu.mode], GVA, 1));
			break;
		}
	}
	/* Page tables on a page with flags: the update tells whoever set them. */
	m.memory.page_flags[PAGE_TABLES >> 12] = GUEST_PAGE_CODE;
	machine_write(PAGE_TABLES, 8, machine_read(PAGE_TABLES, 8) & ~(uint64_t)A);
	x86_tlb_flush_all(&m.cpu);
	assert_int_equal(try_read(GVA, 1, NULL), -1);
	assert_int_equal(m.code_writes, 1);
	assert_int_equal(m.code_write_page, PAGE_TABLES >> 12);
}

static void reserved_expect(uint64_t gpa, uint64_t bits)
{
	uint64_t entry = machine_read(gpa, 8);

	machine_write(gpa, 8, entry | bits);
	x86_tlb_flush_all(&m.cpu);
	assert_int_equal(try_read(GVA, 1, NULL), X86_PF);
	assert_int_equal(m.cpu.fault_error, X86_PF_P | X86_PF_RSVD);
	machine_write(gpa, 8, entry);
	x86_tlb_flush_all(&m.cpu);
	assert_int_equal(try_read(GVA, 1, NULL), -1);
}

static void test_reserved_bits(void **state)
{
	uint64_t pdpt = PAGE_TABLES + 0x1000 + 8, pd, pt;

	(void)state;
	machine_long(0);
	machine_map(GVA, TARGET | P | W);
	pd = machine_read(pdpt, 8) & ~UINT64_C(0xfff);
	pt = machine_read(pd, 8) & ~UINT64_C(0xfff);
	reserved_expect(PAGE_TABLES, PS);
	for (unsigned bit = m.model.physical_bits; bit < 52; bit++) {
		reserved_expect(PAGE_TABLES, X86_BIT(bit));
		reserved_expect(pdpt, X86_BIT(bit));
		reserved_expect(pd, X86_BIT(bit));
		reserved_expect(pt, X86_BIT(bit));
	}
	machine_write(pd, 8, TARGET | P | PS);
	for (unsigned bit = 13; bit < 21; bit++)
		reserved_expect(pd, X86_BIT(bit));
	machine_write(pd, 8, TARGET | P | PS | 0x1000); /* PAT */
	x86_tlb_flush_all(&m.cpu);
	assert_int_equal(try_read(GVA, 1, NULL), -1);
	machine_write(pdpt, 8, P | PS);
	for (unsigned bit = 13; bit < 30; bit++)
		reserved_expect(pdpt, X86_BIT(bit));
	m.cpu.s.efer &= ~X86_EFER_NXE;
	reserved_expect(pdpt, NX);
	reserved_expect(PAGE_TABLES, NX);
}

static void test_every_paging_mode_translates(void **state)
{
	struct x86_translation t;
	uint32_t error;

	(void)state;
	/* 1G and 2M pages */
	machine_long(0);
	machine_write(PAGE_TABLES + 0x1000 + 8, 8, P | PS);
	assert_true(x86_page_walk(&m.cpu, GVA + 0x612345, X86_READ, 0, &t, &error));
	assert_int_equal(t.gpa, 0x612345);
	assert_int_equal(t.page_size, 1 << 30);
	assert_true(x86_page_walk(&m.cpu, 0x612345, X86_READ, 0, &t, &error));
	assert_int_equal(t.gpa, 0x612345);
	assert_int_equal(t.page_size, 2 << 20);
	/* 5-level: a PML5 in front of the tables */
	machine_write(0x80000 + 8 * 3, 8, PAGE_TABLES | 7);
	m.cpu.s.cr3 = 0x80000;
	m.cpu.s.cr4 |= X86_CR4_LA57;
	assert_true(x86_page_walk(&m.cpu, (UINT64_C(3) << 48) + 0x612345, X86_READ, 0, &t, &error));
	assert_int_equal(t.gpa, 0x612345);
	assert_false(x86_page_walk(&m.cpu, 0x612345, X86_READ, 0, &t, &error));
	/* PAE: PDPTEs from CR3's table */
	machine_protected(0);
	machine_write(0x86000 + 8 * 2, 8, 0x81000 | P);
	machine_write(0x81000 + 8 * 5, 8, 0x82000 | 7);
	machine_write(0x82000 + 8 * 7, 8, TARGET | 7 | NX);
	m.cpu.s.cr4 = X86_CR4_PAE;
	m.cpu.s.efer = X86_EFER_NXE;
	m.cpu.s.cr0 |= X86_CR0_PG;
	assert_true(x86_pdptes_load(&m.cpu, 0x86000));
	assert_true(x86_page_walk(&m.cpu, 0x80a07123, X86_READ, 0, &t, &error));
	assert_int_equal(t.gpa, TARGET + 0x123);
	assert_false(x86_page_walk(&m.cpu, 0x80a07123, X86_FETCH, 0, &t, &error));
	assert_int_equal(error, X86_PF_P | X86_PF_I);
	machine_write(0x82000 + 8 * 7, 8, TARGET | 7 | X86_BIT(52)); /* ignored under 4-level, reserved here */
	assert_false(x86_page_walk(&m.cpu, 0x80a07123, X86_READ, 0, &t, &error));
	assert_int_equal(error, X86_PF_P | X86_PF_RSVD);
	machine_write(0x86000 + 8 * 1, 8, 0x81000 | P | W);
	assert_false(x86_pdptes_load(&m.cpu, 0x86000));
	/* 32-bit, with a 4M page above 4G (PSE-36) */
	m.cpu.s.cr4 = 0;
	m.cpu.s.cr3 = 0x84000;
	machine_write(0x84000 + 4 * 5, 4, 0x85000 | 7);
	machine_write(0x85000 + 4 * 9, 4, TARGET | 3);
	assert_true(x86_page_walk(&m.cpu, 0x1409123, X86_WRITE, 0, &t, &error));
	assert_int_equal(t.gpa, TARGET + 0x123);
	assert_int_equal(machine_read(0x85000 + 4 * 9, 4), TARGET | 3 | A | D);
	machine_write(0x84000 + 4 * 6, 4, 0x00c00000 | 5 << 13 | PS | 7);
	m.cpu.s.cr4 = X86_CR4_PSE;
	assert_true(x86_page_walk(&m.cpu, 0x1812345, X86_READ, 0, &t, &error));
	assert_int_equal(t.gpa, UINT64_C(0x500c12345));
	machine_write(0x84000 + 4 * 6, 4, 0x00e00000 | PS | 7);
	assert_false(x86_page_walk(&m.cpu, 0x1812345, X86_READ, 0, &t, &error));
	assert_int_equal(error, X86_PF_P | X86_PF_RSVD);
}

static void test_invlpg_drops_a_large_page_whole(void **state)
{
	(void)state;
	machine_long(0);
	for (uint64_t gva = 0x600000; gva < 0x800000; gva += 0x1000)
		assert_int_equal(try_read(gva, 8, NULL), -1);
	assert_non_null(x86_tlb_hit(&m.cpu.tlb->read[m.cpu.mode], 0x7ff000, 8));
	machine_write(PAGE_TABLES + 0x2000 + 3 * 8, 8, 0);
	x86_tlb_flush_page(&m.cpu, 0x612000);
	for (uint64_t gva = 0x600000; gva < 0x800000; gva += 0x1000)
		assert_int_equal(try_read(gva, 8, NULL), X86_PF);
	/* 1G */
	machine_write(PAGE_TABLES + 0x1000 + 8, 8, P | PS);
	assert_int_equal(try_read(GVA + 0x5000, 8, NULL), -1);
	machine_write(PAGE_TABLES + 0x1000 + 8, 8, 0);
	x86_tlb_flush_page(&m.cpu, GVA + 0x10000000);
	assert_int_equal(try_read(GVA + 0x5000, 8, NULL), X86_PF);
}

static void test_contexts_keep_apart_and_global_pages_stay(void **state)
{
	uint64_t value;

	(void)state;
	machine_long(0);
	machine_map(GVA, TARGET | P | W | G);
	machine_map(GVA + 0x1000, (TARGET + 0x1000) | P | W);
	m.cpu.s.cr4 |= X86_CR4_PCIDE;
	machine_write(TARGET + 0x1000, 8, 1);
	machine_write(TARGET + 0x2000, 8, 2);
	/* More PCIDs than contexts, each with its own page behind one address. */
	for (unsigned pcid = 1; pcid <= 20; pcid++) {
		x86_tlb_cr3_written(&m.cpu, PAGE_TABLES | pcid, false);
		machine_map(GVA + 0x1000, (TARGET + 0x1000 * (1 + pcid % 2)) | P | W);
		assert_int_equal(try_read(GVA + 0x1000, 8, &value), -1);
		assert_int_equal(value, 1 + pcid % 2);
	}
	/* A kept context still answers with the old translation, a flushed one does not. */
	machine_map(GVA + 0x1000, 0);
	x86_tlb_cr3_written(&m.cpu, PAGE_TABLES | 19, true);
	assert_int_equal(try_read(GVA + 0x1000, 8, &value), -1);
	assert_int_equal(value, 2);
	x86_tlb_cr3_written(&m.cpu, PAGE_TABLES | 19, false);
	assert_int_equal(try_read(GVA + 0x1000, 8, &value), X86_PF);
	/* INVLPG reaches the other contexts too. */
	x86_tlb_flush_page(&m.cpu, GVA + 0x1000);
	x86_tlb_cr3_written(&m.cpu, PAGE_TABLES | 20, true);
	assert_int_equal(try_read(GVA + 0x1000, 8, &value), X86_PF);
	/* Global entries outlive a flush by CR3. */
	assert_int_equal(try_read(GVA, 8, NULL), -1);
	machine_map(GVA, 0);
	x86_tlb_cr3_written(&m.cpu, PAGE_TABLES | 20, false);
	assert_int_equal(try_read(GVA, 8, NULL), -1);
	x86_tlb_flush_all(&m.cpu);
	assert_int_equal(try_read(GVA, 8, NULL), X86_PF);
}

static void test_a_copy_between_pages_of_one_index_stays_in_the_tlb(void **state)
{
	const uint64_t from = GVA, to = GVA + ((uint64_t)X86_TLB_ENTRIES << 12);
	uint64_t misses = 0, value;

	(void)state;
	machine_long(0);
	machine_map(from, TARGET | P | W);
	machine_map(to, (TARGET + 0x1000) | P | W);
	machine_write(TARGET, 8, 11);
	for (unsigned turn = 0; turn < 3; turn++) {
		if (turn == 1)
			misses = m.cpu.tlb_misses;
		assert_int_equal(try_read(from, 8, &value), -1);
		assert_int_equal(value, 11);
		assert_int_equal(try_write(to, 8, 22 + turn), -1);
	}
	assert_int_equal(m.cpu.tlb_misses, misses);
	assert_int_equal(machine_read(TARGET + 0x1000, 8), 24);
	/* What displaces an entry, or shares its index, still reads and writes its own page. */
	assert_int_equal(try_read(to, 8, &value), -1);
	assert_int_equal(value, 24);
	assert_int_equal(try_write(from, 8, 33), -1);
	assert_int_equal(machine_read(TARGET, 8), 33);
	/* INVLPG of one drops both kinds. */
	machine_map(to, 0);
	x86_tlb_flush_page(&m.cpu, to);
	assert_int_equal(try_read(to, 8, NULL), X86_PF);
	assert_int_equal(try_write(to, 8, 1), X86_PF);
}

static void test_pages_with_flags_see_every_store(void **state)
{
	uint64_t *pointer;

	(void)state;
	machine_long(0);
	assert_int_equal(try_write(TARGET, 8, 1), -1);
	assert_non_null(x86_tlb_hit(&m.cpu.tlb->write[m.cpu.mode], TARGET, 8));
	m.memory.page_flags[TARGET >> 12] = GUEST_PAGE_CODE;
	x86_tlb_protect_page(&m.cpu, m.ram + TARGET);
	assert_null(x86_tlb_hit(&m.cpu.tlb->write[m.cpu.mode], TARGET, 8));
	assert_int_equal(try_write(TARGET + 9, 1, 0x5a), -1);
	assert_int_equal(m.code_writes, 1);
	assert_int_equal(m.code_write_saw, 0x5a); /* told after the store */
	assert_true(m.cpu.attention & X86_ATTENTION_CODE);
	/* Read-modify-write: told when the instruction is done. */
	m.memory.page_flags[TARGET >> 12] = GUEST_PAGE_CODE;
	pointer = x86_pointer(&m.cpu, TARGET + 16, 8);
	assert_ptr_equal(pointer, m.ram + TARGET + 16);
	*pointer = 0x77;
	assert_int_equal(m.code_writes, 1);
	x86_store_done(&m.cpu);
	assert_int_equal(m.code_writes, 2);
	assert_int_equal(m.code_write_saw, 0x77);
	/* Dirty logging: the first store marks the page, the next ones are quick. */
	m.memory.page_flags[TARGET >> 12] = 0;
	assert_int_equal(guest_memory_dirty_start(&m.memory), STATUS_OK);
	x86_tlb_protect_all(&m.cpu);
	assert_int_equal(m.memory.page_flags[TARGET >> 12], GUEST_PAGE_CLEAN);
	assert_int_equal(try_write(TARGET, 4, 3), -1);
	assert_int_equal(m.memory.page_flags[TARGET >> 12], 0);
	assert_true(m.memory.dirty[(TARGET >> 12) / 64] >> (TARGET >> 12) % 64 & 1);
	assert_int_equal(try_write(TARGET, 4, 3), -1);
	assert_non_null(x86_tlb_hit(&m.cpu.tlb->write[m.cpu.mode], TARGET, 8));
	guest_memory_dirty_stop(&m.memory);
}

/* Nobody looks at these pages of RAM: only where they would be matters. More than there are slots in what notes them. */
#define PROTECT_PAGES 20000
#define PROTECT_ROUNDS 400

static const uint8_t *protect_page(unsigned number)
{
	return (const uint8_t *)(uintptr_t)(UINT64_C(0x7f0000000000) + (uint64_t)number * GUEST_PAGE_SIZE);
}

/* Write entries of all contexts; with `hva` only those for it. */
static unsigned write_entries(const uint8_t *hva)
{
	unsigned count = 0;

	for (unsigned context = 0; context < X86_TLB_CONTEXTS; context++)
		for (unsigned mode = 0; mode < X86_TLB_MODES; mode++) {
			const struct x86_tlb_array *write = &x86_tlb_context(&m.cpu, context)->write[mode];

			for (unsigned index = 0; index < X86_TLB_ENTRIES; index++) {
				uint64_t empty = index <= 1 ? X86_TLB_EMPTY_LOW : X86_TLB_EMPTY;
				uint64_t gva = X86_TLB_TAG(0) - write->tag[index];

				/* A context that was never in use is all zeros. */
				if (write->tag[index] && write->tag[index] != empty)
					count += !hva || gva + write->addend[index] == (uintptr_t)hva;
			}
		}
	return count;
}

static void protect_fill(unsigned span)
{
	const struct x86_translation translation = {.writable = true, .page_size = GUEST_PAGE_SIZE, .global = random32() & 1};
	uint64_t gva = UINT64_C(0x100000000) + ((uint64_t)(random32() % (2 * X86_TLB_ENTRIES)) << 12);

	if (random32() % 4 == 0)
		x86_tlb_cr3_written(&m.cpu, random32() % 5, random32() % 8);
	x86_tlb_fill(&m.cpu, gva, protect_page(random32() % span), random32() & 1, random32() % X86_TLB_MODES, &translation,
		     random32() % 8);
}

static void test_protecting_a_page_drops_its_write_entries_and_no_others(void **state)
{
	unsigned dropped = 0, kept = 0;

	(void)state;
	machine_long(0);
	m.cpu.s.cr4 |= X86_CR4_PCIDE;
	for (unsigned round = 0; round < PROTECT_ROUNDS; round++) {
		/* Few pages have entries at many indices, many have one or none. */
		unsigned span = round & 1 ? 50 : PROTECT_PAGES, all, its;
		const uint8_t *hva;

		for (unsigned i = random32() % 100; i; i--)
			protect_fill(span);
		if (random32() % 32 == 0)
			x86_tlb_flush_page(&m.cpu, UINT64_C(0x100000000) + (random32() % X86_TLB_ENTRIES << 12));
		hva = protect_page(random32() % (span / 10));
		all = write_entries(0);
		its = write_entries(hva);
		x86_tlb_protect_page(&m.cpu, hva + random32() % GUEST_PAGE_SIZE);
		assert_int_equal(write_entries(hva), 0);
		assert_int_equal(write_entries(0), all - its);
		dropped += its != 0;
		kept += its == 0;
	}
	assert_true(dropped > PROTECT_ROUNDS / 8 && kept > PROTECT_ROUNDS / 8);
	assert_int_not_equal(write_entries(0), 0);
	x86_tlb_protect_all(&m.cpu);
	assert_int_equal(write_entries(0), 0);
}

/* An engine's copy of an entry outlives it when another page takes its place: protecting the page drops it all the same. */
static void test_protecting_a_page_drops_copies(void **state)
{
	const struct x86_translation translation = {.writable = true, .page_size = GUEST_PAGE_SIZE};
	const struct x86_tlb_copy *copy;
	struct x86_tlb_copy made;

	(void)state;
	machine_long(0);
	copy = &m.cpu.tlb->stack[0][1];
	for (unsigned turn = 0; turn < 3; turn++) {
		x86_tlb_fill(&m.cpu, GVA, protect_page(1), true, 0, &translation, true);
		made = (struct x86_tlb_copy){1 - GVA, m.cpu.tlb->write[0].addend[GVA >> 12 & (X86_TLB_ENTRIES - 1)],
					     X86_TLB_COPY_MASK};
		m.cpu.tlb->stack[0][1] = made;
		if (turn)
			x86_tlb_fill(&m.cpu, GVA + (X86_TLB_ENTRIES << 12), protect_page(2), true, 0, &translation, true);
		if (turn == 2) {
			/* More indices than are noted: so all is noted anew, and the copy's entry is not there any more. */
			for (unsigned i = 1; i <= X86_TLB_WRITTEN_INDICES + 1; i++)
				x86_tlb_fill(&m.cpu, GVA + i * GUEST_PAGE_SIZE, protect_page(3), true, 0, &translation, true);
			x86_tlb_protect_page(&m.cpu, protect_page(3));
			assert_int_equal(write_entries(protect_page(3)), 0);
			m.cpu.tlb->stack[0][1] = made;
		}
		x86_tlb_protect_page(&m.cpu, protect_page(1));
		assert_int_equal(copy->mask, 0);
	}
}

/* One address space more than there are contexts, in turns: some still find what they had, and nobody finds another's. */
static void test_a_ring_of_address_spaces_finds_entries_again(void **state)
{
	const struct x86_translation translation = {.writable = true, .page_size = GUEST_PAGE_SIZE};
	const unsigned spaces = X86_TLB_CONTEXTS + 1, turns = 100 * spaces;
	unsigned found = 0;

	(void)state;
	machine_long(0);
	m.cpu.s.cr4 |= X86_CR4_PCIDE;
	for (unsigned turn = 0; turn < turns; turn++) {
		const uint8_t *own = protect_page(turn % spaces), *hit;

		x86_tlb_cr3_written(&m.cpu, turn % spaces + 1, true);
		hit = x86_tlb_hit(&m.cpu.tlb->write[0], GVA, 8);
		assert_true(!hit || hit == own);
		found += hit != 0;
		x86_tlb_fill(&m.cpu, GVA, own, true, 0, &translation, true);
	}
	assert_true(found > turns / 4);
}

static void test_crossing_write_is_all_or_nothing(void **state)
{
	uint64_t value;
	uint8_t buffer[64];

	(void)state;
	machine_long(0);
	machine_map(GVA, TARGET | P | W);
	machine_map(GVA + 0x1000, 0);
	assert_int_equal(try_write(GVA + 0xffd, 8, UINT64_C(0x1122334455667788)), X86_PF);
	assert_int_equal(m.cpu.s.cr2, GVA + 0x1000);
	assert_int_equal(machine_read(TARGET + 0xffd, 3), 0);
	machine_map(GVA + 0x1000, (TARGET + 0x5000) | P | W);
	assert_int_equal(try_write(GVA + 0xffd, 8, UINT64_C(0x1122334455667788)), -1);
	assert_int_equal(machine_read(TARGET + 0xffd, 3), 0x667788);
	assert_int_equal(machine_read(TARGET + 0x5000, 5), UINT64_C(0x1122334455));
	assert_int_equal(try_read(GVA + 0xffd, 8, &value), -1);
	assert_true(value == UINT64_C(0x1122334455667788));
	assert_null(x86_pointer(&m.cpu, GVA + 0xffd, 8));
	for (unsigned i = 0; i < 64; i++)
		buffer[i] = (uint8_t)i;
	x86_write_bytes(&m.cpu, GVA + 0xfe0, buffer, 64);
	assert_memory_equal(m.ram + TARGET + 0xfe0, buffer, 32);
	assert_memory_equal(m.ram + TARGET + 0x5000, buffer + 32, 32);
	memset(buffer, 0, 64);
	x86_read_bytes(&m.cpu, GVA + 0xfe0, buffer, 64);
	assert_int_equal(buffer[63], 63);
}

static void test_devices_rom_and_apic(void **state)
{
	uint64_t value;

	(void)state;
	machine_protected(0); /* paging off: linear is physical */
	m.mmio_value = 0x99;
	assert_int_equal(try_read(0xe0000010, 4, &value), -1);
	assert_int_equal(value, 0x99);
	assert_int_equal(m.mmio_gpa, 0xe0000010);
	assert_int_equal(try_write(0xe0000011, 2, 0x1234), -1);
	assert_int_equal(m.mmio_gpa, 0xe0000011);
	assert_int_equal(m.mmio_size, 2);
	assert_int_equal(m.mmio_value, 0x1234);
	assert_null(x86_pointer(&m.cpu, 0xe0000010, 4));
	/* ROM reads and swallows. */
	m.ram[MACHINE_RAM - GUEST_PAGE_SIZE + 4] = 0x42;
	assert_int_equal(try_read(MACHINE_ROM + 4, 1, &value), -1);
	assert_int_equal(value, 0x42);
	assert_int_equal(try_write(MACHINE_ROM + 4, 1, 0), -1);
	assert_int_equal(m.ram[MACHINE_RAM - GUEST_PAGE_SIZE + 4], 0x42);
	assert_null(x86_pointer(&m.cpu, MACHINE_ROM + 4, 1));
	assert_int_equal(try_fetch(MACHINE_ROM + 4), -1);
	/* The APIC's page, also where it hides RAM. */
	assert_int_equal(try_read(MACHINE_APIC + 0x30, 4, &value), -1);
	assert_int_equal(value, 0xa0000030);
	assert_int_equal(try_write(MACHINE_APIC + 0xb0, 4, 0), -1);
	assert_int_equal(m.apic_writes, 1);
	assert_true(m.cpu.attention & X86_ATTENTION_EVENT);
	m.apic_base = TARGET;
	x86_tlb_flush_all(&m.cpu);
	assert_int_equal(try_read(TARGET + 0x20, 4, &value), -1);
	assert_int_equal(value, 0xa0000020);
	assert_null(x86_tlb_hit(&m.cpu.tlb->read[m.cpu.mode], TARGET, 4));
}

static void test_data_breakpoints(void **state)
{
	(void)state;
	machine_long(0);
	assert_int_equal(try_write(TARGET, 8, 0), -1);
	m.cpu.s.dr[1] = TARGET + 0x10;
	m.cpu.s.dr7 = X86_DR7_FIXED | 1u << 2 | (UINT64_C(0xd) << 20); /* DR1: write, 4 bytes */
	x86_tlb_flush_all(&m.cpu);
	assert_int_equal(try_write(TARGET + 0x8, 8, 0), -1);
	assert_int_equal(m.cpu.debug_hits, 0);
	assert_int_equal(try_read(TARGET + 0x10, 8, NULL), -1);
	assert_int_equal(m.cpu.debug_hits, 0);
	assert_int_equal(try_write(TARGET + 0xc, 8, 0), -1);
	assert_int_equal(m.cpu.debug_hits, 2);
	assert_null(x86_tlb_hit(&m.cpu.tlb->write[m.cpu.mode], TARGET, 8));
	m.cpu.debug_hits = 0;
	m.cpu.s.dr7 |= UINT64_C(0x3) << 20; /* read or write */
	assert_int_equal(try_read(TARGET + 0x13, 1, NULL), -1);
	assert_int_equal(m.cpu.debug_hits, 2);
}

static unsigned bytes_size;
static void bytes_read(void)
{
	uint8_t buffer[16];

	x86_read_bytes(&m.cpu, TARGET + 4, buffer, bytes_size);
}

static int try_bytes(unsigned size)
{
	bytes_size = size;
	return try_call(bytes_read);
}

static void test_alignment_check(void **state)
{
	(void)state;
	machine_long(3);
	assert_int_equal(try_read(TARGET + 1, 4, NULL), -1);
	control_set(X86_CR0_WP | X86_CR0_AM, 0, X86_FLAG_AC);
	assert_int_equal(try_read(TARGET + 1, 4, NULL), X86_AC);
	assert_int_equal(try_write(TARGET + 2, 4, 0), X86_AC);
	assert_int_equal(try_read(TARGET + 4, 4, NULL), -1);
	assert_int_equal(try_read(TARGET + 1, 1, NULL), -1);
	assert_int_equal(try_read(TARGET + 0xfff, 2, NULL), X86_AC);
	assert_int_equal(try_bytes(4), -1);
	assert_int_equal(try_bytes(8), X86_AC);
	assert_int_equal(try_bytes(10), X86_AC);
	assert_int_equal(try_bytes(16), -1); /* MOVUPS */
	/* Implicit supervisor accesses are not checked. */
	assert_int_equal(x86_read32_system(&m.cpu, TARGET + 1), 0);
	control_set(X86_CR0_WP | X86_CR0_AM, 0, 0);
	assert_int_equal(try_read(TARGET + 1, 4, NULL), -1);
}

static void test_addresses_must_be_canonical(void **state)
{
	static const struct x86_opcode move = {.name = "mov", .traits = X86_MODRM};
	struct x86_insn insn = {.row = &move, .segment = X86_DS};

	(void)state;
	machine_long(0);
	m.cpu.insn = &insn;
	assert_int_equal(try_read(UINT64_C(0x800000000000), 8, NULL), X86_GP);
	assert_int_equal(try_read(UINT64_C(0x7ffffffffffc), 8, NULL), X86_GP);
	assert_int_equal(try_write(UINT64_C(0xffff7fffffffffff), 1, 0), X86_GP);
	insn.segment = X86_SS;
	assert_int_equal(try_read(UINT64_C(0x800000000000), 8, NULL), X86_SS_FAULT);
	m.cpu.insn = NULL;
	assert_int_equal(try_fetch(UINT64_C(0x800000000000)), X86_GP);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_permissions_follow_the_model),
		TEST(test_accessed_and_dirty_bits),
		TEST(test_reserved_bits),
		TEST(test_every_paging_mode_translates),
		TEST(test_invlpg_drops_a_large_page_whole),
		TEST(test_contexts_keep_apart_and_global_pages_stay),
		TEST(test_a_copy_between_pages_of_one_index_stays_in_the_tlb),
		TEST(test_pages_with_flags_see_every_store),
		TEST(test_protecting_a_page_drops_its_write_entries_and_no_others),
		TEST(test_protecting_a_page_drops_copies),
		TEST(test_a_ring_of_address_spaces_finds_entries_again),
		TEST(test_crossing_write_is_all_or_nothing),
		TEST(test_devices_rom_and_apic),
		TEST(test_data_breakpoints),
		TEST(test_alignment_check),
		TEST(test_addresses_must_be_canonical),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
