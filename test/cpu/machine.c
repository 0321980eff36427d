/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c - see machine.h. */
#include "test/cpu/machine.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct machine m;

static uint64_t port_read(void *machine, uint16_t port, unsigned size)
{
	(void)machine;
	m.port = port;
	m.port_size = size;
	return m.port_value + m.port_reads++;
}

static void port_write(void *machine, uint16_t port, unsigned size, uint64_t value)
{
	(void)machine;
	m.port = port;
	m.port_size = size;
	m.port_value = value;
	m.port_writes++;
}

static uint64_t mmio_read(void *machine, uint64_t gpa, unsigned size)
{
	(void)machine;
	m.mmio_gpa = gpa;
	m.mmio_size = size;
	m.mmio_reads++;
	return size == 8 ? m.mmio_value : m.mmio_value & ((UINT64_C(1) << size * 8) - 1);
}

static void mmio_write(void *machine, uint64_t gpa, unsigned size, uint64_t value)
{
	(void)machine;
	m.mmio_gpa = gpa;
	m.mmio_size = size;
	m.mmio_value = value;
	m.mmio_writes++;
}

static uint64_t tsc(void *machine)
{
	(void)machine;
	return m.tsc;
}

static bool msr_read(void *machine, uint32_t msr, uint64_t *value)
{
	(void)machine;
	*value = 0x1234;
	return msr == 0x4b564d01;
}

static bool msr_write(void *machine, uint32_t msr, uint64_t value)
{
	(void)machine;
	(void)value;
	return msr == 0x4b564d01;
}

static void exclusive(void *machine, void (*fn)(void *argument), void *argument)
{
	(void)machine;
	fn(argument);
}

static int apic_pending(void *apic)
{
	(void)apic;
	return m.interrupt;
}

static int apic_accept(void *apic)
{
	int vector = m.interrupt;

	(void)apic;
	m.interrupt = -1;
	return vector;
}

static uint8_t apic_tpr_get(void *apic)
{
	(void)apic;
	return m.tpr;
}

static void apic_tpr_set(void *apic, uint8_t cr8)
{
	(void)apic;
	m.tpr = cr8;
}

static bool apic_msr_read(void *apic, uint32_t msr, uint64_t *value)
{
	(void)apic;
	if (msr == X86_MSR_TSC_DEADLINE) {
		*value = m.apic.tsc_deadline;
		return true;
	}
	*value = m.apic_base == UINT64_MAX ? MACHINE_APIC | 0x100 : m.apic_base | 0x900;
	return true;
}

static bool apic_msr_write(void *apic, uint32_t msr, uint64_t value)
{
	(void)apic;
	if (msr == X86_MSR_APIC_BASE)
		m.apic_base = value & ~UINT64_C(0xfff);
	if (msr == X86_MSR_TSC_DEADLINE)
		m.apic.tsc_deadline = value;
	return true;
}

static uint64_t apic_mmio_read(void *apic, uint64_t offset, unsigned size)
{
	(void)apic;
	(void)size;
	return 0xa0000000 + offset;
}

static void apic_mmio_write(void *apic, uint64_t offset, unsigned size, uint64_t value)
{
	(void)apic;
	(void)offset;
	(void)size;
	(void)value;
	m.apic_writes++;
}

static uint64_t apic_base(void *apic)
{
	(void)apic;
	return m.apic_base;
}

static void apic_init(void *apic)
{
	(void)apic;
}

static void apic_get(void *apic, struct x86_apic_state *out)
{
	(void)apic;
	*out = m.apic;
}

static void apic_set(void *apic, const struct x86_apic_state *in)
{
	(void)apic;
	m.apic = *in;
}

static void code_written(void *engine, uint64_t page, unsigned offset, unsigned length)
{
	(void)engine;
	(void)length;
	m.code_writes++;
	m.code_write_page = page;
	m.code_write_saw = m.ram[page * GUEST_PAGE_SIZE + offset];
}

void machine_create(const char *model)
{
	struct reason why = {""};

	memset(&m, 0, sizeof(m));
	if (x86_cpu_model_find(&m.model, model, 4, 2994373, &why) != STATUS_OK)
		fail_msg("%s", why.text);
	m.ram = aligned_alloc(GUEST_PAGE_SIZE, MACHINE_RAM);
	assert_non_null(m.ram);
	memset(m.ram, 0, MACHINE_RAM);
	assert_int_equal(guest_memory_init(&m.memory, m.ram, MACHINE_RAM), STATUS_OK);
	assert_int_equal(guest_memory_slot_add(&m.memory, 0, MACHINE_RAM - GUEST_PAGE_SIZE, 0, false), STATUS_OK);
	assert_int_equal(guest_memory_slot_add(&m.memory, MACHINE_ROM, GUEST_PAGE_SIZE, MACHINE_RAM - GUEST_PAGE_SIZE, true),
			 STATUS_OK);
	m.memory.code_written = code_written;
	m.platform = (struct x86_platform){port_read, port_write, mmio_read, mmio_write, tsc, msr_read, msr_write, exclusive, NULL};
	m.apic_ops =
		(struct local_apic_ops){apic_pending,   apic_accept,     apic_tpr_get, apic_tpr_set, apic_msr_read, apic_msr_write,
					apic_mmio_read, apic_mmio_write, apic_base,    apic_init,    apic_get,      apic_set};
	m.interrupt = -1;
	m.apic_base = MACHINE_APIC;
	m.cpu.platform = &m.platform;
	m.cpu.machine = &m;
	m.cpu.memory = &m.memory;
	m.cpu.model = &m.model;
	m.cpu.apic_ops = &m.apic_ops;
	m.cpu.apic = &m;
	assert_int_equal(x86_cpu_create(&m.cpu), STATUS_OK);
}

void machine_destroy(void)
{
	x86_cpu_destroy(&m.cpu);
	guest_memory_destroy(&m.memory);
	free(m.ram);
}

int machine_setup(void **state)
{
	(void)state;
	machine_create("max");
	return 0;
}

int machine_teardown(void **state)
{
	(void)state;
	machine_destroy();
	return 0;
}

uint64_t machine_read(uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, m.ram + gpa, size);
	return value;
}

void machine_write(uint64_t gpa, unsigned size, uint64_t value)
{
	memcpy(m.ram + gpa, &value, size);
}

void machine_code(uint64_t gpa, const void *bytes, unsigned length)
{
	memcpy(m.ram + gpa, bytes, length);
}

uint64_t descriptor(uint32_t base, uint32_t limit, uint16_t attributes)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attributes & 0xff) << 40 |
	       (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(attributes >> 12) << 52 | (uint64_t)(base >> 24) << 56;
}

void machine_gate(unsigned vector, uint16_t selector, uint64_t offset, uint8_t attributes, unsigned ist)
{
	bool wide = m.cpu.s.efer & X86_EFER_LMA;
	uint64_t low = (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)ist << 32 | (uint64_t)attributes << 40 |
		       (offset >> 16 & 0xffff) << 48;

	machine_write(IDT_BASE + vector * (wide ? 16 : 8), 8, low);
	if (wide)
		machine_write(IDT_BASE + vector * 16 + 8, 8, offset >> 32);
}

void machine_idt(bool wide)
{
	for (unsigned vector = 0; vector < 256; vector++) {
		machine_gate(vector, wide ? SEL_CODE64 : SEL_CODE32, HANDLER_BASE + vector * 16, 0x8e, 0);
		memset(m.ram + HANDLER_BASE + vector * 16, 0xf4, 16);
	}
}

void machine_tables(bool wide)
{
	static const struct {
		uint16_t selector, attributes;
	} flat[] = {{SEL_CODE64, 0xa09b},      {SEL_DATA, 0xc093},      {SEL_CODE32, 0xc09b},
		    {SEL_USER_CODE32, 0xc0fb}, {SEL_USER_DATA, 0xc0f3}, {SEL_USER_CODE64, 0xa0fb}};

	for (unsigned i = 0; i < sizeof(flat) / sizeof(flat[0]); i++)
		machine_write(GDT_BASE + (flat[i].selector & 0xfff8), 8, descriptor(0, 0xfffff, flat[i].attributes));
	machine_write(GDT_BASE + SEL_TSS, 8, descriptor(TSS_BASE, 0x7ff, 0x8b));
	machine_write(GDT_BASE + SEL_TSS2, 8, descriptor(TSS2_BASE, 0x67, 0x89));
	machine_write(GDT_BASE + SEL_LDT, 8, descriptor(LDT_BASE, 0x7f, 0x82));
	if (wide) {
		machine_write(TSS_BASE + 4, 8, KERNEL_STACK_TOP);
		machine_write(TSS_BASE + 0x24, 8, IST_STACK_TOP);
	} else {
		machine_write(TSS_BASE + 4, 4, KERNEL_STACK_TOP);
		machine_write(TSS_BASE + 8, 4, SEL_DATA);
	}
	machine_write(TSS_BASE + 0x66, 2, 0x68);
	memset(m.ram + TSS_BASE + 0x68, 0xff, 0x798);
}

static void segment_set(struct x86_state *s, unsigned segment, uint16_t selector)
{
	uint64_t d = machine_read(GDT_BASE + (selector & 0xfff8), 8);

	s->segment[segment] = (struct x86_segment){
		.limit = UINT32_MAX, .selector = selector, .attributes = (uint16_t)((d >> 40 & 0xff) | (d >> 52 & 15) << 12)};
}

static void flat_state(struct x86_state *s, unsigned cpl, bool wide)
{
	x86_cpu_reset(&m.cpu, true);
	x86_cpu_get(&m.cpu, s);
	s->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
	segment_set(s, X86_CS, cpl ? wide ? SEL_USER_CODE64 : SEL_USER_CODE32 : wide ? SEL_CODE64 : SEL_CODE32);
	for (unsigned i = 0; i < 6; i++)
		if (i != X86_CS)
			segment_set(s, i, cpl ? SEL_USER_DATA : SEL_DATA);
	s->gdtr = (struct x86_table){GDT_BASE, GDT_SIZE - 1};
	s->idtr = (struct x86_table){IDT_BASE, 0xfff};
	s->tr = (struct x86_segment){.base = TSS_BASE, .limit = 0x7ff, .selector = SEL_TSS, .attributes = 0x8b};
	s->ldtr = (struct x86_segment){.attributes = X86_SEGMENT_UNUSABLE};
	s->gpr[X86_RSP] = STACK_TOP;
	s->rip = CODE_BASE;
}

void machine_real(void)
{
	struct x86_state s;

	x86_cpu_reset(&m.cpu, true);
	x86_cpu_get(&m.cpu, &s);
	s.segment[X86_CS] = (struct x86_segment){.limit = 0xffff, .attributes = 0x9b};
	s.idtr = (struct x86_table){0, 0x3ff};
	s.gpr[X86_RSP] = STACK_TOP;
	s.rip = CODE_BASE;
	assert_int_equal(x86_cpu_set(&m.cpu, &s), STATUS_OK);
}

void machine_protected(unsigned cpl)
{
	struct x86_state s;

	machine_tables(false);
	flat_state(&s, cpl, false);
	assert_int_equal(x86_cpu_set(&m.cpu, &s), STATUS_OK);
	machine_idt(false);
}

void machine_map(uint64_t gva, uint64_t entry)
{
	uint64_t table = PAGE_TABLES;

	for (unsigned shift = 39; shift > 12; shift -= 9) {
		uint64_t gpa = table + (gva >> shift & 511) * 8, value = machine_read(gpa, 8);

		if (!(value & 1)) {
			static uint64_t next;

			/* New tables come from the top of the table area down; a fresh machine begins anew. */
			if (machine_read(PAGE_TABLES - 8, 8) == 0)
				next = 0x40000;
			machine_write(PAGE_TABLES - 8, 8, 1);
			value = next | 7;
			next += 0x1000;
			machine_write(gpa, 8, value);
		}
		table = value & UINT64_C(0xffffffffff000);
	}
	machine_write(table + (gva >> 12 & 511) * 8, 8, entry);
}

void machine_long(unsigned cpl)
{
	struct x86_state s;

	machine_tables(true);
	machine_write(PAGE_TABLES, 8, (PAGE_TABLES + 0x1000) | 7);
	machine_write(PAGE_TABLES + 0x1000, 8, (PAGE_TABLES + 0x2000) | 7);
	machine_write(PAGE_TABLES + 0x2000, 8, (PAGE_TABLES + 0x3000) | 7);
	for (unsigned i = 1; i < 8; i++)
		machine_write(PAGE_TABLES + 0x2000 + i * 8, 8, (uint64_t)i << 21 | 0x87);
	for (unsigned i = 0; i < 512; i++)
		machine_write(PAGE_TABLES + 0x3000 + i * 8, 8, (uint64_t)i << 12 | 7);
	flat_state(&s, cpl, true);
	s.cr0 |= X86_CR0_PG | X86_CR0_WP;
	s.cr3 = PAGE_TABLES;
	s.cr4 = X86_CR4_PAE | X86_CR4_PGE;
	s.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE | X86_EFER_SCE;
	assert_int_equal(x86_cpu_set(&m.cpu, &s), STATUS_OK);
	machine_idt(true);
}

static struct attempt {
	uint64_t linear, value;
	unsigned size;
} attempt;

int try_call(void (*fn)(void))
{
	if (__builtin_setjmp(m.cpu.unwind))
		return m.cpu.fault_vector;
	fn();
	return -1;
}

static void attempt_read(void)
{
	switch (attempt.size) {
	case 1: attempt.value = x86_read8(&m.cpu, attempt.linear); break;
	case 2: attempt.value = x86_read16(&m.cpu, attempt.linear); break;
	case 4: attempt.value = x86_read32(&m.cpu, attempt.linear); break;
	default: attempt.value = x86_read64(&m.cpu, attempt.linear); break;
	}
}

static void attempt_write(void)
{
	switch (attempt.size) {
	case 1: x86_write8(&m.cpu, attempt.linear, (uint8_t)attempt.value); break;
	case 2: x86_write16(&m.cpu, attempt.linear, (uint16_t)attempt.value); break;
	case 4: x86_write32(&m.cpu, attempt.linear, (uint32_t)attempt.value); break;
	default: x86_write64(&m.cpu, attempt.linear, attempt.value); break;
	}
}

static void attempt_fetch(void)
{
	unsigned available;

	x86_fetch_pointer(&m.cpu, attempt.linear, &available);
}

int try_read(uint64_t linear, unsigned size, uint64_t *value)
{
	int vector;

	attempt = (struct attempt){linear, 0, size};
	vector = try_call(attempt_read);
	if (value)
		*value = attempt.value;
	return vector;
}

int try_write(uint64_t linear, unsigned size, uint64_t value)
{
	attempt = (struct attempt){linear, value, size};
	return try_call(attempt_write);
}

int try_fetch(uint64_t linear)
{
	attempt = (struct attempt){linear, 0, 0};
	return try_call(attempt_fetch);
}

void machine_step(unsigned count)
{
	while (count--)
		x86_step(&m.cpu);
}

void machine_run(unsigned most)
{
	while (most-- && m.cpu.s.activity == X86_RUNNING) {
		x86_events_serve(&m.cpu);
		x86_step(&m.cpu);
	}
}

bool in_handler(unsigned vector)
{
	return m.cpu.reg[X86_RIP] >= HANDLER_BASE + vector * 16 && m.cpu.reg[X86_RIP] < HANDLER_BASE + vector * 16 + 16;
}
