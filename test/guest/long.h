/* SPDX-License-Identifier: Apache-2.0 */
/*
 * long.h - a test guest in 64-bit mode: traps, interrupts, user mode, page tables, local APICs, further processors.
 *
 * The first 4 GiB of physical memory are mapped at their own addresses for the kernel, in 2 MiB pages. Tests map what they need in 4 KiB pages
 * above, at TEST_SPACE.
 */
#ifndef HOLON_TEST_GUEST_LONG_H
#define HOLON_TEST_GUEST_LONG_H

#include "test/guest/guest.h"

struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

#define KERNEL_CS 0x10
#define KERNEL_SS 0x18
#define USER_CS32 0x23
#define USER_SS 0x2b
#define USER_CS64 0x33
#define KERNEL_CS32 0x38
#define FREE_SELECTOR 0x700 /* from here on the GDT is the test's */
extern uint64_t gdt[256];

struct tss {
	uint32_t reserved0;
	uint64_t rsp[3] __attribute__((packed));
	uint64_t reserved1 __attribute__((packed));
	uint64_t ist[7] __attribute__((packed));
	uint64_t reserved2 __attribute__((packed));
	uint16_t reserved3, iomap;
	uint8_t bitmap[8193]; /* of the test's making: iomap points behind the limit at first */
} __attribute__((packed));

#define CPUS_MAX 64
struct cpu {
	unsigned number;
	uint64_t trap_rsp; /* not 0: traps without a handler of their own end trap_run */
	struct frame trap; /* the last of those */
	uint64_t trap_cr2, trap_dr6;
	struct tss tss;
	void (*volatile work)(void *);
	void *volatile work_argument;
};
extern struct cpu cpus[CPUS_MAX];
struct cpu *this_cpu(void);

/* Runs fn. -1: it returned; else the vector that ended it, with the frame in this_cpu()->trap. */
int trap_run(void (*fn)(void *argument), void *argument);
/* Checks what the last trap_run was ended by. */
bool check_trap(int got, int vector, uint64_t error, const char *what);
#define NO_TRAP (-1)

/* Runs code at CPL 3 and ends as trap_run does; INT 0x80 is its way to return (-1). */
struct user_start {
	uint64_t rip, cs, rflags, rsp, ss, rdi;
};
int user_run(const struct user_start *start);

/* A handler that returns goes back to what was interrupted; NULL: none. */
typedef void interrupt_handler(struct frame *frame);
extern interrupt_handler *volatile handlers[256];

/* The IDT's own entries, for tests that change one. */
struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};
extern struct gate idt[256];
extern uint8_t interrupt_entries[256 * 16];

/* Pages. */
#define PTE_P 1u
#define PTE_W 2u
#define PTE_U 4u
#define PTE_A 0x20u
#define PTE_D 0x40u
#define PTE_PS 0x80u
#define PTE_G 0x100u
#define PTE_NX (UINT64_C(1) << 63)
#define TEST_SPACE UINT64_C(0x8000000000) /* PML4 entry 1: all bits U and W above the last level */
extern uint64_t page_map[512];
void *page_allocate(void); /* zeroed, below 4 GiB: its address is its physical address */
/* Maps a 4 KiB page and returns its entry. Flushes nothing. */
volatile uint64_t *page_set(uint64_t linear, uint64_t entry);
static inline void invlpg(uint64_t linear)
{
	__asm__ volatile("invlpg (%0)" : : "r"(linear) : "memory");
}
static inline void tlb_flush(void)
{
	write_cr3(read_cr3());
}
/* Code from the test's text, copied to a page that user mode may execute; stack: the top of a user page. */
uint64_t user_code(const void *begin, const void *end);
uint64_t user_stack(void);
/* A piece of assembly as begin/end symbols: CODE(name, "text"). */
#define CODE(name, text)                           \
	extern const uint8_t name[], name##_end[]; \
	__asm__(".pushsection .text\n.balign 16\n" #name ":\n" text "\n" #name "_end:\n.popsection\n")

/* Local APIC, xAPIC mode. */
#define APIC UINT64_C(0xfee00000)
static inline uint32_t apic_read(unsigned offset)
{
	return *(volatile uint32_t *)(APIC + offset);
}
static inline void apic_write(unsigned offset, uint32_t value)
{
	*(volatile uint32_t *)(APIC + offset) = value;
}
#define APIC_ID 0x20
#define APIC_TPR 0x80
#define APIC_EOI 0xb0
#define APIC_SVR 0xf0
#define APIC_ISR 0x100
#define APIC_IRR 0x200
#define APIC_ESR 0x280
#define APIC_ICR_LOW 0x300
#define APIC_ICR_HIGH 0x310
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_LINT0 0x350
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE 0x3e0
void apic_enable(void);
void ipi_send(unsigned apic_id, uint32_t command);
/* PICs remapped to 0x20..0x2f and masked. */
void pic_mask_all(void);

/* Starts every other processor; returns how many there are in all (from `expected`, waits for as many). */
unsigned cpus_start(unsigned expected);
/* Runs fn(argument) on another processor; cpu_wait until it is done. */
void cpu_run(unsigned number, void (*fn)(void *), void *argument);
void cpu_wait(unsigned number);
/* The number behind a word of the command line, such as the runner's "cpus=N". */
unsigned number_told(const char *word, unsigned untold);

static inline void interrupts_on(void)
{
	__asm__ volatile("sti" : : : "memory");
}
static inline void interrupts_off(void)
{
	__asm__ volatile("cli" : : : "memory");
}
/* STI; HLT; CLI: sleeps until an interrupt was served. */
static inline void interrupt_wait(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

#endif
