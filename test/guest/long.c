/* SPDX-License-Identifier: Apache-2.0 */
/* long.c - the C half of long.S: IDT, traps, user mode, pages, APICs, starting processors (long.h). */
#include "test/guest/long.h"

struct cpu cpus[CPUS_MAX];
struct gate idt[256] __attribute__((aligned(16)));
interrupt_handler *volatile handlers[256];
extern uint32_t multiboot_info, cpus_started;
extern uint64_t page_directories[2048];
extern uint8_t image_end[], trampoline[], trampoline_end[];

bool trap_enter(uint64_t *rsp, void (*fn)(void *), void *argument);
_Noreturn void trap_escape(uint64_t rsp);
_Noreturn void user_enter(const struct user_start *start);
_Noreturn void guest_run(void);
void interrupt_handle(struct frame *frame);
_Noreturn void long_start(unsigned number);
_Noreturn void long_start_application(unsigned number);

#define TSS_FIRST 0x50u
#define USER_RETURN 0x80

/* Each processor has a TSS of its own: TR says who we are. */
struct cpu *this_cpu(void)
{
	uint16_t selector;

	__asm__ volatile("str %0" : "=rm"(selector));
	return &cpus[selector < TSS_FIRST ? 0 : (selector - TSS_FIRST) / 16];
}

void interrupt_handle(struct frame *frame)
{
	struct cpu *cpu = this_cpu();

	if (handlers[frame->vector]) {
		handlers[frame->vector](frame);
		return;
	}
	if (cpu->trap_rsp) {
		uint64_t rsp = cpu->trap_rsp;

		cpu->trap = *frame;
		cpu->trap_cr2 = read_cr2();
		cpu->trap_dr6 = read_dr6();
		cpu->trap_rsp = 0;
		trap_escape(rsp);
	}
	print("Bail out! cpu %u: vector %lu error %lx at %lx:%lx rsp %lx rflags %lx cr2 %lx\n", cpu->number, frame->vector,
	      frame->error, frame->cs, frame->rip, frame->rsp, frame->rflags, read_cr2());
	guest_exit(2);
}

int trap_run(void (*fn)(void *argument), void *argument)
{
	struct cpu *cpu = this_cpu();

	if (trap_enter(&cpu->trap_rsp, fn, argument)) {
		cpu->trap_rsp = 0;
		return NO_TRAP;
	}
	return (int)cpu->trap.vector;
}

bool check_trap(int got, int vector, uint64_t error, const char *what)
{
	const struct cpu *cpu = this_cpu();

	if (got == vector && (got == NO_TRAP || cpu->trap.error == error))
		return check(true, "%s", what);
	return check(false, "%s: vector %d error %lx, not vector %d error %lx", what, got, got == NO_TRAP ? 0 : cpu->trap.error,
		     vector, error);
}

static void user_go(void *start)
{
	user_enter(start);
}

int user_run(const struct user_start *start)
{
	int vector = trap_run(user_go, (void *)start);

	return vector == USER_RETURN ? NO_TRAP : vector;
}

static uint8_t *pages_next;

void *page_allocate(void)
{
	uint64_t *page = (uint64_t *)pages_next;
	unsigned i;

	pages_next += 4096;
	for (i = 0; i < 512; i++)
		page[i] = 0;
	return page;
}

volatile uint64_t *page_set(uint64_t linear, uint64_t entry)
{
	uint64_t *table = page_map;
	unsigned level;

	for (level = 3; level > 0; level--) {
		uint64_t *slot = &table[linear >> (12 + 9 * level) & 511];

		if (!(*slot & PTE_P))
			*slot = (uint64_t)page_allocate() | PTE_P | PTE_W | PTE_U;
		table = (uint64_t *)(*slot & 0xffffffffff000);
	}
	table[linear >> 12 & 511] = entry;
	return &table[linear >> 12 & 511];
}

/* Below 4 GiB, for 32-bit code; the 2 MiB that lie here otherwise are given up. */
#define USER_SPACE UINT64_C(0x80000000)
static uint64_t user_next = USER_SPACE;

uint64_t user_code(const void *begin, const void *end)
{
	const uint8_t *from = begin;
	uint8_t *page = page_allocate();
	uint64_t at = user_next;
	unsigned i;

	for (i = 0; from + i < (const uint8_t *)end; i++)
		page[i] = from[i];
	page_set(at, (uint64_t)page | PTE_P | PTE_U);
	user_next += 8192;
	return at;
}

uint64_t user_stack(void)
{
	uint64_t at = user_next;

	page_set(at, (uint64_t)page_allocate() | PTE_P | PTE_U | PTE_W | PTE_NX);
	user_next += 8192;
	return at + 4096;
}

static void gate_set(unsigned vector, unsigned dpl)
{
	uint64_t entry = (uint64_t)interrupt_entries + 16 * vector;

	idt[vector] = (struct gate){.offset_low = (uint16_t)entry,
				    .selector = KERNEL_CS,
				    .type = (uint8_t)(0x8e | dpl << 5),
				    .offset_middle = (uint16_t)(entry >> 16),
				    .offset_high = (uint32_t)(entry >> 32)};
}

static void tables_load(struct cpu *cpu)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint64_t)idt};
	uint64_t base = (uint64_t)&cpu->tss, limit = offsetof(struct tss, bitmap) - 1;
	unsigned selector = TSS_FIRST + 16 * cpu->number, slot = selector / 8;

	cpu->tss.iomap = sizeof(struct tss);
	cpu->tss.rsp[0] = (uint64_t)page_allocate() + 4096;
	cpu->tss.ist[0] = (uint64_t)page_allocate() + 4096;
	gdt[slot] = limit | (base & 0xffffff) << 16 | UINT64_C(0x89) << 40 | (base >> 24 & 0xff) << 56;
	gdt[slot + 1] = base >> 32;
	__asm__ volatile("lidt %0; ltr %1" : : "m"(pointer), "r"((uint16_t)selector));
}

_Noreturn void long_start(unsigned number)
{
	unsigned vector;

	pages_next = (uint8_t *)(((uint64_t)image_end + 4095) & ~UINT64_C(4095));
	page_directories[USER_SPACE >> 21] = 0;
	tlb_flush();
	for (vector = 0; vector < 256; vector++)
		gate_set(vector, 0);
	gate_set(BP, 3);
	gate_set(USER_RETURN, 3);
	cpus[0].number = number;
	pic_mask_all();
	tables_load(&cpus[0]);
	guest_run();
}

/* Vector 0xff is spurious, and wakes nobody. */
void apic_enable(void)
{
	apic_write(APIC_SVR, 0x1ff);
	apic_write(APIC_TPR, 0);
}

void ipi_send(unsigned apic_id, uint32_t command)
{
	apic_write(APIC_ICR_HIGH, apic_id << 24);
	apic_write(APIC_ICR_LOW, command);
	while (apic_read(APIC_ICR_LOW) & 0x1000)
		pause();
}

void pic_mask_all(void)
{
	static const uint16_t data[2] = {0x21, 0xa1};
	unsigned i;

	for (i = 0; i < 2; i++) {
		outb((uint16_t)(data[i] - 1), 0x11);
		outb(data[i], (uint8_t)(0x20 + 8 * i));
		outb(data[i], i ? 2 : 4);
		outb(data[i], 1);
		outb(data[i], 0xff);
	}
}

_Noreturn void long_start_application(unsigned number)
{
	struct cpu *cpu = &cpus[number];

	apic_enable();
	for (;;) {
		void (*work)(void *) = cpu->work;

		if (work) {
			work(cpu->work_argument);
			__atomic_store_n(&cpu->work, NULL, __ATOMIC_SEQ_CST);
		}
		pause();
	}
}

/* An application processor's TSS needs pages: made for it before it starts, loaded by its first work. */
static void application_tables(void *unused)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint64_t)idt};
	unsigned *number = unused;

	__asm__ volatile("lidt %0; ltr %1" : : "m"(pointer), "r"((uint16_t)(TSS_FIRST + 16 * *number)));
}

unsigned number_told(const char *word, unsigned untold)
{
	const char *text;
	unsigned i, number = 0;

	if (!multiboot_info || !(*(uint32_t *)(uint64_t)multiboot_info & 4))
		return untold;
	for (text = (const char *)(uint64_t)((uint32_t *)(uint64_t)multiboot_info)[4]; *text; text++) {
		for (i = 0; word[i] && text[i] == word[i]; i++)
			continue;
		if (word[i])
			continue;
		for (text += i; *text >= '0' && *text <= '9'; text++)
			number = number * 10 + (unsigned)(*text - '0');
		return number;
	}
	return untold;
}

static uint64_t spin_until_started(unsigned expected)
{
	uint64_t start = rdtsc();

	while (__atomic_load_n(&cpus_started, __ATOMIC_SEQ_CST) < expected && rdtsc() - start < UINT64_C(60000000000))
		pause();
	return rdtsc() - start;
}

unsigned cpus_start(unsigned expected)
{
	uint8_t *to = (uint8_t *)0x8000;
	unsigned i, started;

	__asm__("" : "+r"(to)); /* gcc takes low addresses for NULL's neighbours */
	for (i = 0; trampoline + i < trampoline_end; i++)
		to[i] = trampoline[i];
	apic_enable();
	/* INIT to all but self, then SIPI twice, as every operating system does. */
	ipi_send(0, 0xc4500);
	ipi_send(0, 0xc4608);
	ipi_send(0, 0xc4608);
	spin_until_started(expected);
	started = cpus_started;
	for (i = 1; i < started; i++) {
		struct cpu *cpu = &cpus[i];
		uint64_t base = (uint64_t)&cpu->tss, limit = offsetof(struct tss, bitmap) - 1;
		unsigned slot = (TSS_FIRST + 16 * i) / 8;

		cpu->number = i;
		cpu->tss.iomap = sizeof(struct tss);
		cpu->tss.rsp[0] = (uint64_t)page_allocate() + 4096;
		gdt[slot] = limit | (base & 0xffffff) << 16 | UINT64_C(0x89) << 40 | (base >> 24 & 0xff) << 56;
		gdt[slot + 1] = base >> 32;
		cpu_run(i, application_tables, &cpu->number);
		cpu_wait(i);
	}
	return started;
}

void cpu_run(unsigned number, void (*fn)(void *), void *argument)
{
	cpus[number].work_argument = argument;
	__atomic_store_n(&cpus[number].work, fn, __ATOMIC_SEQ_CST);
}

void cpu_wait(unsigned number)
{
	while (__atomic_load_n(&cpus[number].work, __ATOMIC_SEQ_CST))
		pause();
}
