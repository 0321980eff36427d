/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trap.c - descriptor tables, and what every exception and interrupt means: a first touch of a page, a trap of a guest's instruction in code pages
 * (host_trap_range_add), the timer, a thread that gives the processor away, or our own fault, which prints the registers and stops.
 *
 * Handlers run with interrupts off on stacks of their own. Page faults have another than the rest, because a handler may touch a page for the
 * first time; what can come at any moment (NMI, #MC) or when nothing works any more (#DF) has a third.
 */
#include <stdatomic.h>

#include "host/metal/internal.h"
#include "host/metal/lock.h"

#define STACK_BYTES 16384u
#define IST_NORMAL 1u
#define IST_PAGE_FAULT 2u
#define IST_LAST_RESORT 3u
#define GATE_INTERRUPT 0x8eu /* present, 64-bit, interrupts off */
#define STUB_BYTES 16u
#define RANGES 80u /* as host.h promises */

#define TRAP_NMI 2u
#define TRAP_DOUBLE_FAULT 8u
#define TRAP_PAGE_FAULT 14u
#define TRAP_MACHINE_CHECK 18u
/* #DE #UD #GP #PF #MF #AC #XM: what an instruction of a guest can meet in code pages. */
#define TRAPS_OF_GUESTS (1u << 0 | 1u << 6 | 1u << 13 | 1u << 14 | 1u << 16 | 1u << 17 | 1u << 19)

extern const uint8_t trap_stubs[];

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
} __attribute__((packed));

struct tss {
	uint32_t reserved;
	uint64_t rsp[3], reserved_2, ist[7], reserved_3;
	uint16_t reserved_4, io_map;
} __attribute__((packed));

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static uint8_t stacks[3][STACK_BYTES] __attribute__((aligned(16)));
static struct tss tss = {.io_map = sizeof(struct tss)};
static uint64_t gdt[5] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0, 0};
static struct gate idt[256];

static struct {
	struct lock lock;
	struct trap_range {
		_Atomic uintptr_t begin; /* 0: free; published last */
		uintptr_t end;
		void (*resume)(void);
		bool redirect;
	} range[RANGES];
} traps;

static void gate_set(unsigned vector, unsigned ist)
{
	uint64_t offset = (uint64_t)(uintptr_t)(trap_stubs + vector * STUB_BYTES);

	idt[vector] = (struct gate){(uint16_t)offset,
				    SELECTOR_CODE,
				    (uint8_t)ist,
				    GATE_INTERRUPT,
				    (uint16_t)(offset >> 16),
				    (uint32_t)(offset >> 32),
				    0};
}

static void tables_load(void)
{
	const struct table_pointer gdt_pointer = {sizeof(gdt) - 1, (uint64_t)(uintptr_t)gdt};
	const struct table_pointer idt_pointer = {sizeof(idt) - 1, (uint64_t)(uintptr_t)idt};
	uint64_t base = (uint64_t)(uintptr_t)&tss;

	gdt[3] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | UINT64_C(0x89) << 40 | (base >> 24 & 0xff) << 56;
	gdt[4] = base >> 32;
	/* Code and data selectors are those that start.S loaded: the descriptors are the same. */
	__asm__ volatile("lgdt %0\n\tlidt %1\n\tltr %w2" : : "m"(gdt_pointer), "m"(idt_pointer), "r"(0x18) : "memory");
}

void trap_start(void)
{
	for (unsigned i = 0; i < 3; i++)
		tss.ist[i] = (uint64_t)(uintptr_t)(stacks[i] + STACK_BYTES);
	for (unsigned vector = 0; vector < 256; vector++)
		gate_set(vector, IST_NORMAL);
	gate_set(TRAP_PAGE_FAULT, IST_PAGE_FAULT);
	gate_set(TRAP_NMI, IST_LAST_RESORT);
	gate_set(TRAP_DOUBLE_FAULT, IST_LAST_RESORT);
	gate_set(TRAP_MACHINE_CHECK, IST_LAST_RESORT);
	tables_load();
}

static uint64_t fault_address(void)
{
	uint64_t address;

	__asm__ volatile("movq %%cr2, %0" : "=r"(address));
	return address;
}

static void state_print(const struct trap_frame *frame)
{
	uint64_t cr0, cr3, cr4;

	__asm__ volatile("movq %%cr0, %0\n\tmovq %%cr3, %1\n\tmovq %%cr4, %2" : "=r"(cr0), "=r"(cr3), "=r"(cr4));
	host_log(HOST_LOG_ERROR, "RIP %016lx  RSP %016lx  RFLAGS %08lx  CS %04lx  SS %04lx", frame->rip, frame->rsp, frame->rflags,
		 frame->cs, frame->ss);
	host_log(HOST_LOG_ERROR, "RAX %016lx  RBX %016lx  RCX %016lx  RDX %016lx", frame->rax, frame->rbx, frame->rcx, frame->rdx);
	host_log(HOST_LOG_ERROR, "RSI %016lx  RDI %016lx  RBP %016lx  R8  %016lx", frame->rsi, frame->rdi, frame->rbp, frame->r8);
	host_log(HOST_LOG_ERROR, "R9  %016lx  R10 %016lx  R11 %016lx  R12 %016lx", frame->r9, frame->r10, frame->r11, frame->r12);
	host_log(HOST_LOG_ERROR, "R13 %016lx  R14 %016lx  R15 %016lx  CR2 %016lx", frame->r13, frame->r14, frame->r15,
		 fault_address());
	host_log(HOST_LOG_ERROR, "CR0 %016lx  CR3 %016lx  CR4 %016lx", cr0, cr3, cr4);
}

static _Noreturn void trap_fatal(const struct trap_frame *frame)
{
	static const char *const names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "",    "#TS",
					    "#NP", "#SS", "#GP", "#PF", "",    "#MF", "#AC", "#MC", "#XM", "#VE", "#CP"};
	const char *name = frame->vector < sizeof(names) / sizeof(names[0]) ? names[frame->vector] : "";

	log_panic();
	host_log(HOST_LOG_ERROR,
		 "bug in Holon: exception %lu %s, error code 0x%lx, in thread %s; please report it with these lines", frame->vector,
		 name, frame->error, thread_name());
	state_print(frame);
	power_end(1);
}

static bool guest_trap(struct trap_frame *frame)
{
	uint32_t mxcsr;

	if (frame->vector >= 32 || !(TRAPS_OF_GUESTS >> frame->vector & 1))
		return false;
	for (unsigned i = 0; i < RANGES; i++) {
		const struct trap_range *range = &traps.range[i];
		uintptr_t begin = atomic_load_explicit(&range->begin, memory_order_acquire);

		if (!begin || frame->rip < begin || frame->rip >= range->end)
			continue;
		if (range->redirect) {
			frame->rcx = frame->rip;
		} else {
			/* Nothing between the trap and here has touched it. */
			__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
			frame->rax = frame->vector;
			frame->rdx = mxcsr;
		}
		frame->rip = (uint64_t)(uintptr_t)range->resume;
		return true;
	}
	return false;
}

struct trap_frame *trap_handle(struct trap_frame *frame)
{
	switch (frame->vector) {
	case VECTOR_TIMER: apic_end_of_interrupt(); return thread_switch(frame);
	case VECTOR_SWITCH: return thread_switch(frame);
	case TRAP_PAGE_FAULT:
		if (heap_fault(fault_address(), frame->error))
			return frame;
		break;
	default:
		/* Interrupts that nobody asked for: a PIC's or the APIC's spurious ones, which want no end-of-interrupt. */
		if (frame->vector >= 32)
			return frame;
	}
	if (!guest_trap(frame))
		trap_fatal(frame);
	return frame;
}

static enum status range_add(const uint8_t *begin, const uint8_t *end, void (*resume)(void), bool redirect)
{
	uint64_t flags = lock_take(&traps.lock);
	enum status status = STATUS_NO_SPACE;

	for (unsigned i = 0; i < RANGES; i++) {
		struct trap_range *range = &traps.range[i];

		if (atomic_load(&range->begin))
			continue;
		range->end = (uintptr_t)end;
		range->resume = resume;
		range->redirect = redirect;
		atomic_store_explicit(&range->begin, (uintptr_t)begin, memory_order_release);
		status = STATUS_OK;
		break;
	}
	lock_release(&traps.lock, flags);
	return status;
}

enum status host_trap_range_add(const uint8_t *begin, const uint8_t *end, void (*resume)(void))
{
	return range_add(begin, end, resume, false);
}

/* Without views there are no page faults to ask about. */
enum status host_trap_redirect_add(const uint8_t *begin, const uint8_t *end, void (*resume)(void),
				   __attribute__((unused)) bool (*fault)(void *argument, struct host_trap *trap),
				   __attribute__((unused)) void *argument)
{
	return range_add(begin, end, resume, true);
}

void host_trap_range_remove(const uint8_t *begin)
{
	uint64_t flags = lock_take(&traps.lock);

	for (unsigned i = 0; i < RANGES; i++) {
		if (atomic_load(&traps.range[i].begin) == (uintptr_t)begin)
			atomic_store(&traps.range[i].begin, 0);
	}
	lock_release(&traps.lock, flags);
}
