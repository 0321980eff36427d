/* SPDX-License-Identifier: Apache-2.0 */
/* protected.c - the C half of protected.S (protected.h). */
#include "test/guest/protected.h"

struct gate idt[256] __attribute__((aligned(16)));
struct tss tss __attribute__((aligned(4096)));
interrupt_handler *volatile handlers[256];
struct frame trap;
uint32_t trap_cr2, trap_esp_at;
static uint32_t trap_esp;
static uint8_t *pages_next;
extern uint8_t image_end[];

bool trap_enter(uint32_t *esp, void (*fn)(void *), void *argument);
_Noreturn void trap_escape(uint32_t esp);
_Noreturn void guest_run(void);
void interrupt_handle(struct frame *frame);
_Noreturn void protected_start(void);

void interrupt_handle(struct frame *frame)
{
	if (handlers[frame->vector]) {
		handlers[frame->vector](frame);
		return;
	}
	if (trap_esp) {
		uint32_t esp = trap_esp;

		trap = *frame;
		trap_cr2 = read_cr2();
		trap_esp_at = (uint32_t)&frame->error;
		trap_esp = 0;
		trap_escape(esp);
	}
	print("Bail out! vector %u error %x at %x:%x eflags %x cr2 %lx\n", frame->vector, frame->error, frame->cs, frame->eip,
	      frame->eflags, (unsigned long)read_cr2());
	guest_exit(2);
}

_Noreturn void trap_end(unsigned vector, uint32_t error)
{
	uint32_t esp = trap_esp;

	trap.vector = vector;
	trap.error = error;
	trap_esp = 0;
	trap_escape(esp);
}

int trap_run(void (*fn)(void *argument), void *argument)
{
	if (trap_enter(&trap_esp, fn, argument)) {
		trap_esp = 0;
		return NO_TRAP;
	}
	return (int)trap.vector;
}

bool check_trap(int got, int vector, uint32_t error, const char *what)
{
	if (got == vector && (got == NO_TRAP || trap.error == error))
		return check(true, "%s", what);
	return check(false, "%s: vector %d error %x at %x:%x, not vector %d error %x", what, got, got == NO_TRAP ? 0 : trap.error,
		     trap.cs, trap.eip, vector, error);
}

static void user_go(void *argument)
{
	const struct user_start *start = argument;

	if (start->eflags & FLAG_VM)
		__asm__ volatile("push %0; push %1; push %2; push %3"
				 :
				 : "m"(start->vm_gs), "m"(start->vm_fs), "m"(start->vm_ds), "m"(start->vm_es)
				 : "memory");
	__asm__ volatile("push 16(%0); push 12(%0); push 8(%0); push 4(%0); push (%0)\n"
			 "testl $0x20000, 8(%0); jnz 1f\n"
			 "mov $0x23, %%ecx; mov %%ecx, %%ds; mov %%ecx, %%es\n"
			 "1: iret"
			 :
			 : "a"(start)
			 : "ecx", "memory");
}

int user_run(const struct user_start *start)
{
	int vector = trap_run(user_go, (void *)start);

	return vector == USER_RETURN ? NO_TRAP : vector;
}

uint64_t descriptor(uint32_t base, uint32_t limit, unsigned attributes)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attributes & 0xff) << 40 |
	       (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)(attributes >> 12) << 52 | (uint64_t)(base >> 24) << 56;
}

uint64_t call_gate(unsigned selector, uint32_t offset, unsigned parameters, unsigned dpl)
{
	return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)parameters << 32 | (uint64_t)(0x8c | dpl << 5) << 40 |
	       (uint64_t)(offset >> 16) << 48;
}

void *page_allocate(void)
{
	uint32_t *page = (uint32_t *)pages_next;
	unsigned i;

	pages_next += 4096;
	for (i = 0; i < 1024; i++)
		page[i] = 0;
	return page;
}

void idt_load(void)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint32_t)idt};

	__asm__ volatile("lidt %0" : : "m"(pointer));
}

void tss_load(void)
{
	gdt[TSS_SELECTOR / 8] = descriptor((uint32_t)&tss, sizeof(tss) - 1, TSS_32);
	__asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR));
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

_Noreturn void protected_start(void)
{
	unsigned vector, i;

	pages_next = (uint8_t *)(((uint32_t)image_end + 4095) & ~4095u);
	pic_mask_all();
	for (vector = 0; vector < 256; vector++) {
		uint32_t entry = (uint32_t)interrupt_entries + 16 * vector;

		idt[vector] = (struct gate){.offset_low = (uint16_t)entry,
					    .selector = KERNEL_CS,
					    .type = (uint8_t)(vector == BP || vector == OF || vector == USER_RETURN ? 0xee : 0x8e),
					    .offset_high = (uint16_t)(entry >> 16)};
	}
	idt_load();
	tss.esp0 = (uint32_t)page_allocate() + 4096;
	tss.ss0 = KERNEL_DS;
	tss.iomap = offsetof(struct tss, bitmap);
	for (i = 0; i < sizeof(tss.bitmap); i++)
		tss.bitmap[i] = 0xff;
	tss_load();
	guest_run();
}
