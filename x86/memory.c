/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - the slow ways to memory: what the TLB does not answer. The contract is memory.h; the page walk is paging.c.
 *
 * An access becomes a *place* (RAM, ROM, the local APIC's page, a device) by a page walk; an access over a page end has two, both found before
 * either is written. RAM places go into the TLB on the way unless something must see every access: a data breakpoint on
 * the page, page flags (writes), alignment checks.
 */
#include "x86/memory.h"

#include "x86/execute.h"

enum place_kind { PLACE_RAM, PLACE_ROM, PLACE_APIC, PLACE_BUS };

struct place {
	enum place_kind kind;
	uint64_t gpa;
	uint8_t *hva; /* RAM, ROM */
};

/* Within one page. */
static bool debug_page_armed(const struct x86_cpu *cpu, uint64_t linear)
{
	if (__builtin_expect(!(cpu->s.dr7 & 0xff), 1))
		return false;
	for (unsigned i = 0; i < 4; i++)
		if (cpu->s.dr7 >> i * 2 & 3 && cpu->s.dr7 >> (16 + i * 4) & 1 && cpu->s.dr[i] >> 12 == linear >> 12)
			return true;
	return false;
}

void x86_debug_access(struct x86_cpu *cpu, uint64_t linear, unsigned size, bool write)
{
	static const uint8_t lengths[4] = {1, 2, 8, 4};

	if (__builtin_expect(!(cpu->s.dr7 & 0xff), 1))
		return;
	for (unsigned i = 0; i < 4; i++) {
		unsigned control = (unsigned)(cpu->s.dr7 >> (16 + i * 4)) & 15;
		uint64_t length = lengths[control >> 2];
		uint64_t start = cpu->s.dr[i] & ~(length - 1);

		if (!(cpu->s.dr7 >> i * 2 & 3) || !(control & 1) || (!write && !(control & 2)))
			continue;
		if (start - linear < size || linear - start < length) {
			cpu->debug_hits |= UINT64_C(1) << i;
			x86_attention(cpu, X86_ATTENTION_EVENT);
		}
	}
}

/* #GP(0), or #SS(0) where the address came from the stack segment: the operand's, or an implicit stack access. */
static _Noreturn void raise_not_canonical(struct x86_cpu *cpu, uint64_t linear)
{
	const struct x86_insn *insn = cpu->insn;
	bool stack = false;

	if (insn && insn->row->traits & X86_MODRM && insn->mod != 3 && insn->segment == X86_SS)
		stack = true;
	else if (insn && insn->row->traits & X86_STACK)
		stack = insn->mod == 3 || !(insn->row->traits & X86_MODRM) ||
			linear != x86_offset(cpu, insn) + (insn->segment >= X86_FS ? cpu->s.segment[insn->segment].base : 0);
	x86_raise_error(cpu, stack ? X86_SS_FAULT : X86_GP, 0);
}

/* The address as the mode makes it: 32 bits wide outside IA-32e mode, canonical inside. */
static uint64_t linear_of(struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	if (!x86_long_mode(cpu))
		return (uint32_t)linear;
	if (!x86_canonical(cpu, linear) || !x86_canonical(cpu, linear + size - 1))
		raise_not_canonical(cpu, linear);
	return linear;
}

static uint64_t linear_next_page(const struct x86_cpu *cpu, uint64_t linear)
{
	uint64_t next = (linear | (GUEST_PAGE_SIZE - 1)) + 1;

	return x86_long_mode(cpu) ? next : (uint32_t)next;
}

static bool crosses_page(uint64_t linear, unsigned size)
{
	return (linear & (GUEST_PAGE_SIZE - 1)) + size > GUEST_PAGE_SIZE;
}

static void place_at(struct x86_cpu *cpu, uint64_t gpa, struct place *place)
{
	const struct guest_memory *memory = cpu->memory;

	place->gpa = gpa;
	place->hva = 0;
	if (cpu->apic_ops && cpu->apic_ops->base(cpu->apic) == (gpa & ~UINT64_C(0xfff))) {
		place->kind = PLACE_APIC;
		return;
	}
	for (unsigned i = 0; i < memory->slots; i++) {
		const struct memory_slot *slot = &memory->slot[i];

		if (gpa - slot->gpa < slot->length) {
			place->hva = slot->hva + (gpa - slot->gpa);
			place->kind = slot->readonly ? PLACE_ROM : PLACE_RAM;
			return;
		}
	}
	place->kind = PLACE_BUS;
}

static uint8_t page_flags(const struct x86_cpu *cpu, const uint8_t *hva)
{
	return atomic_load_explicit(&cpu->memory->page_flags[guest_memory_page(cpu->memory, hva)], memory_order_seq_cst);
}

/* Walks, raises #PF, fills the TLB. */
static void place_find(struct x86_cpu *cpu, uint64_t linear, enum x86_access access, unsigned mode, struct place *place)
{
	struct x86_translation translation;
	uint32_t error;

	cpu->tlb_misses++;
	if (!x86_page_walk(cpu, linear, access, mode, &translation, &error))
		x86_raise_page_fault(cpu, linear, error);
	place_at(cpu, translation.gpa, place);
	if (place->kind > PLACE_ROM)
		return;
	if (access == X86_FETCH)
		x86_tlb_fill_fetch(cpu, linear, place->hva, &translation);
	else if (!debug_page_armed(cpu, linear))
		x86_tlb_fill(cpu, linear, place->hva, access == X86_WRITE, mode, &translation,
			     translation.writable && place->kind == PLACE_RAM && !page_flags(cpu, place->hva));
}

static bool address_good(const struct x86_cpu *cpu, uint64_t linear)
{
	return x86_long_mode(cpu) ? x86_canonical(cpu, linear) : linear <= UINT32_MAX;
}

enum x86_refill x86_page_find(struct x86_cpu *cpu, uint64_t linear, enum x86_access access, unsigned mode,
			      struct x86_translation *translation, const uint8_t **hva)
{
	struct place place;
	uint32_t error;

	if (!address_good(cpu, linear))
		return X86_REFILL_NOT;
	cpu->tlb_misses++;
	if (!x86_page_walk(cpu, linear, access, mode, translation, &error)) {
		cpu->fault_address = linear;
		cpu->fault_error = error;
		return X86_REFILL_FAULT;
	}
	place_at(cpu, translation->gpa, &place);
	if (place.kind > PLACE_ROM || debug_page_armed(cpu, linear))
		return X86_REFILL_NOT;
	*hva = place.hva;
	translation->writable = translation->writable && place.kind == PLACE_RAM && !page_flags(cpu, place.hva);
	return X86_REFILL_DONE;
}

enum x86_refill x86_tlb_refill(struct x86_cpu *cpu, uint64_t linear, unsigned size, enum x86_access access)
{
	const struct x86_tlb_array *array = access == X86_WRITE ? &cpu->tlb->write[cpu->mode] : &cpu->tlb->read[cpu->mode];
	struct x86_translation translation;
	enum x86_refill refill;
	const uint8_t *hva;

	if (crosses_page(linear, size))
		return X86_REFILL_NOT;
	refill = x86_page_find(cpu, linear, access, cpu->mode, &translation, &hva);
	if (refill != X86_REFILL_DONE)
		return refill;
	x86_tlb_fill(cpu, linear, hva, access == X86_WRITE, cpu->mode, &translation, translation.writable);
	return x86_tlb_hit(array, linear, size) ? X86_REFILL_DONE : X86_REFILL_NOT;
}

const uint8_t *x86_fetch_refill(struct x86_cpu *cpu, uint64_t linear)
{
	struct x86_translation translation;
	struct place place;
	uint32_t error;

	if (!address_good(cpu, linear))
		return 0;
	cpu->tlb_misses++;
	if (!x86_page_walk(cpu, linear, X86_FETCH, cpu->cpl == 3 ? X86_MODE_USER : X86_MODE_SUPERVISOR, &translation, &error))
		return 0;
	place_at(cpu, translation.gpa, &place);
	if (place.kind > PLACE_ROM)
		return 0;
	x86_tlb_fill_fetch(cpu, linear, place.hva, &translation);
	return x86_tlb_hit(&cpu->tlb->fetch[cpu->cpl == 3], linear, 1);
}

/* Explicit accesses at CPL 3 while CR0.AM and EFLAGS.AC are set (x86_tlb_select has then made every access come here). */
static void alignment_check(struct x86_cpu *cpu, uint64_t linear, unsigned size, unsigned mode)
{
	if (mode == X86_MODE_USER && cpu->cpl == 3 && (cpu->s.cr0 & X86_CR0_AM) && (cpu->s.rflags & X86_FLAG_AC) &&
	    linear & (size - 1))
		x86_raise_error(cpu, X86_AC, 0);
}

static uint64_t load(const uint8_t *p, unsigned size)
{
	uint16_t word;
	uint32_t dword;
	uint64_t value = 0;

	switch (size) {
	case 1: return *p;
	case 2: __builtin_memcpy(&word, p, 2); return word;
	case 4: __builtin_memcpy(&dword, p, 4); return dword;
	case 8: __builtin_memcpy(&value, p, 8); return value;
	default: __builtin_memcpy(&value, p, size); return value;
	}
}

static void store(uint8_t *p, unsigned size, uint64_t value)
{
	uint16_t word = (uint16_t)value;
	uint32_t dword = (uint32_t)value;

	switch (size) {
	case 1: *p = (uint8_t)value; break;
	case 2: __builtin_memcpy(p, &word, 2); break;
	case 4: __builtin_memcpy(p, &dword, 4); break;
	default: __builtin_memcpy(p, &value, size); break;
	}
}

static uint64_t device_read(struct x86_cpu *cpu, const struct place *place, uint64_t gpa, unsigned size)
{
	cpu->device_accesses++;
	if (place->kind == PLACE_APIC)
		return cpu->apic_ops->mmio_read(cpu->apic, gpa & (GUEST_PAGE_SIZE - 1), size);
	return cpu->platform->mmio_read(cpu->machine, gpa, size);
}

static void device_write(struct x86_cpu *cpu, const struct place *place, uint64_t gpa, unsigned size, uint64_t value)
{
	cpu->device_accesses++;
	if (place->kind == PLACE_APIC) {
		cpu->apic_ops->mmio_write(cpu->apic, gpa & (GUEST_PAGE_SIZE - 1), size, value);
		x86_attention(cpu, X86_ATTENTION_EVENT); /* TPR or EOI: something may be deliverable now */
	} else {
		cpu->platform->mmio_write(cpu->machine, gpa, size, value);
	}
}

/* The largest power of two that is not more than `size` and 8: devices are accessed by 1, 2, 4 or 8 bytes. */
static unsigned device_size(unsigned size)
{
	return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
}

static void place_read(struct x86_cpu *cpu, const struct place *place, uint8_t *buffer, unsigned size)
{
	if (place->hva) {
		__builtin_memcpy(buffer, place->hva, size);
		return;
	}
	for (unsigned done = 0; done < size;) {
		unsigned now = device_size(size - done);

		store(buffer + done, now, device_read(cpu, place, place->gpa + done, now));
		done += now;
	}
}

/* After a store to RAM whose page may have flags. The first write to a clean page makes the next ones quick again: a miss fills the entry. */
static void place_written(struct x86_cpu *cpu, const struct place *place, unsigned size)
{
	uint8_t flags = page_flags(cpu, place->hva);

	if (__builtin_expect(!flags, 1))
		return;
	guest_memory_page_written(cpu->memory, place->hva, size);
	if (flags & GUEST_PAGE_CODE)
		x86_attention(cpu, X86_ATTENTION_CODE);
}

static void place_write(struct x86_cpu *cpu, const struct place *place, const uint8_t *buffer, unsigned size)
{
	if (place->kind == PLACE_ROM)
		return;
	if (place->kind == PLACE_RAM) {
		__builtin_memcpy(place->hva, buffer, size);
		place_written(cpu, place, size);
		return;
	}
	for (unsigned done = 0; done < size;) {
		unsigned now = device_size(size - done);

		device_write(cpu, place, place->gpa + done, now, load(buffer + done, now));
		done += now;
	}
}

uint64_t x86_read_slow(struct x86_cpu *cpu, uint64_t linear, unsigned size, unsigned mode)
{
	const uint8_t *hit = x86_tlb_hit(&cpu->tlb->read[mode], linear, size);
	struct place place, second;
	uint64_t value = 0;

	if (hit) /* implicit accesses come here without having looked */
		return load(hit, size);
	linear = linear_of(cpu, linear, size);
	place_find(cpu, linear, X86_READ, mode, &place);
	if (crosses_page(linear, size)) {
		unsigned first = GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1));

		place_find(cpu, linear_next_page(cpu, linear), X86_READ, mode, &second);
		alignment_check(cpu, linear, size, mode);
		place_read(cpu, &place, (uint8_t *)&value, first);
		place_read(cpu, &second, (uint8_t *)&value + first, size - first);
	} else {
		alignment_check(cpu, linear, size, mode);
		value = place.hva ? load(place.hva, size) : device_read(cpu, &place, place.gpa, size);
	}
	x86_debug_access(cpu, linear, size, false);
	return value;
}

void x86_write_slow(struct x86_cpu *cpu, uint64_t linear, unsigned size, uint64_t value, unsigned mode)
{
	uint8_t *hit = x86_tlb_hit(&cpu->tlb->write[mode], linear, size);
	struct place place, second;

	if (hit) {
		store(hit, size, value);
		return;
	}
	linear = linear_of(cpu, linear, size);
	place_find(cpu, linear, X86_WRITE, mode, &place);
	if (crosses_page(linear, size)) {
		unsigned first = GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1));

		place_find(cpu, linear_next_page(cpu, linear), X86_WRITE, mode, &second);
		alignment_check(cpu, linear, size, mode);
		place_write(cpu, &place, (const uint8_t *)&value, first);
		place_write(cpu, &second, (const uint8_t *)&value + first, size - first);
	} else {
		alignment_check(cpu, linear, size, mode);
		if (place.kind == PLACE_RAM) {
			store(place.hva, size, value);
			place_written(cpu, &place, size);
		} else if (place.kind != PLACE_ROM) {
			device_write(cpu, &place, place.gpa, size, value);
		}
	}
	x86_debug_access(cpu, linear, size, true);
}

/* Long accesses are checked where the SDM names an alignment: scalars, and 80-bit floating-point values by 8 (vol. 3, table 6-7). */
static void long_alignment_check(struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	if (size == 10)
		alignment_check(cpu, linear, 8, cpu->mode);
	else if (size <= 8 && !(size & (size - 1)))
		alignment_check(cpu, linear, size, cpu->mode);
}

/* One page's part of a long access. */
static unsigned part(uint64_t linear, unsigned size)
{
	unsigned room = GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1));

	return size < room ? size : room;
}

void x86_read_bytes(struct x86_cpu *cpu, uint64_t linear, void *buffer, unsigned size)
{
	const uint8_t *hit = x86_tlb_hit(&cpu->tlb->read[cpu->mode], linear, size);

	if (__builtin_expect(hit != 0, 1)) {
		__builtin_memcpy(buffer, hit, size);
		return;
	}
	linear = linear_of(cpu, linear, size);
	if (__builtin_expect(cpu->tlb == x86_tlb_context(cpu, X86_TLB_CONTEXTS), 0)) {
		x86_read_check(cpu, linear, size);
		long_alignment_check(cpu, linear, size);
	}
	x86_debug_access(cpu, linear, size, false);
	for (uint8_t *out = buffer; size;) {
		unsigned now = part(linear, size);
		struct place place;

		place_find(cpu, linear, X86_READ, cpu->mode, &place);
		place_read(cpu, &place, out, now);
		linear = linear_next_page(cpu, linear);
		out += now;
		size -= now;
	}
}

void x86_write_bytes(struct x86_cpu *cpu, uint64_t linear, const void *buffer, unsigned size)
{
	uint8_t *hit = x86_tlb_hit(&cpu->tlb->write[cpu->mode], linear, size);
	const uint8_t *in = buffer;
	struct place place[2];
	unsigned first;

	if (__builtin_expect(hit != 0, 1)) {
		__builtin_memcpy(hit, buffer, size);
		return;
	}
	linear = linear_of(cpu, linear, size);
	x86_access_check(cpu, linear, size, X86_WRITE, cpu->mode);
	long_alignment_check(cpu, linear, size);
	x86_debug_access(cpu, linear, size, true);
	while (size) {
		first = part(linear, size);
		place_find(cpu, linear, X86_WRITE, cpu->mode, &place[0]);
		linear = linear_next_page(cpu, linear);
		if (size > first) /* found before the first is written: nothing may fault in between */
			place_find(cpu, linear, X86_WRITE, cpu->mode, &place[1]);
		place_write(cpu, &place[0], in, first);
		in += first;
		size -= first;
		first = part(linear, size);
		if (size)
			place_write(cpu, &place[1], in, first);
		in += first;
		size -= first;
		linear = linear_next_page(cpu, linear);
	}
}

void x86_access_check(struct x86_cpu *cpu, uint64_t linear, unsigned size, enum x86_access access, unsigned mode)
{
	const struct x86_tlb_array *array = access == X86_WRITE ? &cpu->tlb->write[mode] : &cpu->tlb->read[mode];
	struct place place;

	if (x86_tlb_hit(array, linear, size))
		return;
	linear = linear_of(cpu, linear, size);
	while (size) {
		unsigned now = part(linear, size);

		place_find(cpu, linear, access, mode, &place);
		linear = linear_next_page(cpu, linear);
		size -= now;
	}
}

void x86_write_check(struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	x86_access_check(cpu, linear, size, X86_WRITE, cpu->mode);
}

void x86_read_check(struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	x86_access_check(cpu, linear, size, X86_READ, cpu->mode);
}

/* Before another special store is noted, the one before it (an earlier iteration's) is finished. */
static void special_store_note(struct x86_cpu *cpu, uint8_t *hva, unsigned size)
{
	x86_store_done(cpu);
	cpu->special_store = hva;
	cpu->special_store_length = size;
	x86_attention(cpu, X86_ATTENTION_CODE);
}

void *x86_pointer_slow(struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	struct place place;

	linear = linear_of(cpu, linear, size);
	if (crosses_page(linear, size)) {
		x86_write_check(cpu, linear, size); /* it is a write before it is a read: #PF says so */
		return 0;
	}
	place_find(cpu, linear, X86_WRITE, cpu->mode, &place);
	alignment_check(cpu, linear, size, cpu->mode);
	if (place.kind != PLACE_RAM)
		return 0;
	x86_debug_access(cpu, linear, size, true);
	if (page_flags(cpu, place.hva))
		special_store_note(cpu, place.hva, size);
	return place.hva;
}

void x86_store_done(struct x86_cpu *cpu)
{
	uint8_t *hva = cpu->special_store;

	if (!hva)
		return;
	cpu->special_store = 0;
	guest_memory_page_written(cpu->memory, hva, cpu->special_store_length);
}

void x86_system_or8(struct x86_cpu *cpu, uint64_t linear, uint8_t bits)
{
	struct place place;
	uint8_t value;

	linear = linear_of(cpu, linear, 1);
	place_find(cpu, linear, X86_WRITE, X86_MODE_SUPERVISOR_SMAP, &place);
	x86_debug_access(cpu, linear, 1, true);
	if (place.kind == PLACE_RAM) {
		__atomic_fetch_or(place.hva, bits, __ATOMIC_SEQ_CST);
		place_written(cpu, &place, 1);
		return;
	}
	place_read(cpu, &place, &value, 1);
	value |= bits;
	place_write(cpu, &place, &value, 1);
}

const uint8_t *x86_fetch_pointer(struct x86_cpu *cpu, uint64_t linear, unsigned *available)
{
	const uint8_t *hit;
	struct place place;

	*available = GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1));
	hit = x86_tlb_hit(&cpu->tlb->fetch[cpu->cpl == 3], linear, 1);
	if (hit)
		return hit;
	cpu->insn = 0; /* a fault here is at RIP itself */
	linear = linear_of(cpu, linear, 1);
	place_find(cpu, linear, X86_FETCH, cpu->cpl == 3 ? X86_MODE_USER : X86_MODE_SUPERVISOR, &place);
	return place.hva;
}

unsigned x86_fetch_bytes(struct x86_cpu *cpu, uint64_t linear, uint8_t *buffer, unsigned size)
{
	unsigned mode = cpu->cpl == 3 ? X86_MODE_USER : X86_MODE_SUPERVISOR;
	struct x86_translation translation;
	unsigned first = part(linear, size);
	struct place place;
	uint32_t error;

	cpu->insn = 0;
	linear = linear_of(cpu, linear, 1);
	place_find(cpu, linear, X86_FETCH, mode, &place);
	place_read(cpu, &place, buffer, first);
	if (first == size)
		return size;
	linear = linear_next_page(cpu, linear);
	if ((x86_long_mode(cpu) && !x86_canonical(cpu, linear)) ||
	    !x86_page_walk(cpu, linear, X86_FETCH, mode, &translation, &error))
		return first;
	place_at(cpu, translation.gpa, &place);
	place_read(cpu, &place, buffer + first, size - first);
	return size;
}
