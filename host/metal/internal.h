/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the files of host/metal know of each other. A paragraph a file.
 */
#ifndef HOLON_HOST_METAL_INTERNAL_H
#define HOLON_HOST_METAL_INTERNAL_H

#include "host/metal/metal.h"

#define PAGE_SIZE 4096u
#define NS_PER_S UINT64_C(1000000000)

/* link.ld: addresses only. */
extern const uint8_t link_begin[], link_text_end[], link_rodata_end[], link_guard[], link_end[];

/* --- start.c --- */
extern uint64_t start_image; /* the image's physical address */

/* --- multiboot.c: what the loader left, checked --- */
#define MULTIBOOT_RANGES 128
#define MULTIBOOT_RAM 1u

struct multiboot_range {
	uint64_t base, length;
	uint32_t type;
};
struct multiboot_screen {
	bool text; /* characters and attributes, as in VGA's text mode */
	uint64_t address;
	uint32_t pitch, width, height;
	uint8_t bits; /* a pixel */
};
struct multiboot {
	struct metal_boot boot;
	uint64_t information, information_length; /* physical */
	uint64_t module_address[METAL_MODULES_MAX];
	struct multiboot_range range[MULTIBOOT_RANGES];
	unsigned ranges;
	const uint8_t *rsdp; /* the ACPI root pointer's copy; NULL: none */
	uint32_t rsdp_length;
	struct multiboot_screen screen; /* width 0: none */
};
/* Fills in everything from the information at this physical address. false: it is malformed. */
bool multiboot_read(struct multiboot *multiboot, const uint8_t *bytes, uint64_t physical);

/* --- frame.c: physical memory, a page at a time --- */
void frame_start(const struct multiboot *multiboot);
/* Puts `count` frames aside; false: there are not so many. Who was promised frames takes or returns them. */
bool frame_promise(uint64_t count) must_check;
void frame_promise_return(uint64_t count);
/* One of those promised, zeroed: its physical address. */
uint64_t frame_take(void);
void frame_give(uint64_t frame);
void frame_give_promised(uint64_t frame); /* one is promised for it */
uint64_t frame_free(void);                /* neither taken nor promised */

/* --- page_table.c --- */
#define DIRECT_MAP UINT64_C(0xffff800000000000) /* all RAM is mapped here, at its physical address */
#define HEAP_FIRST UINT64_C(0xffffc00000000000)
#define HEAP_LAST UINT64_C(0xffffdfffffffffff)
#define PAGE_PRESENT UINT64_C(1)
#define PAGE_WRITE UINT64_C(2)
#define PAGE_UNCACHED UINT64_C(0x18) /* PWT and PCD: PAT entry 3 */
#define PAGE_NO_EXECUTE (UINT64_C(1) << 63)
#define PAGE_ADDRESS UINT64_C(0x000ffffffffff000)

static inline void *page_direct(uint64_t physical)
{
	return (void *)(uintptr_t)(DIRECT_MAP + physical);
}
/* Makes the tables that are used from now on. */
void page_table_start(const struct multiboot *multiboot);
/* The tables above so many pages. false: no memory. */
bool page_table_prepare(uint64_t address, uint64_t pages) must_check;
/* The entry of a page whose tables are there; NULL: they are not. */
uint64_t *page_table_entry(uint64_t address);
/* What is no RAM, at its place in the direct map: tables of the firmware (read-only, cached) or device registers. NULL: no memory. */
void *page_table_firmware(uint64_t physical, uint64_t length);
void *page_table_device(uint64_t physical, uint64_t length);

/* --- heap.c: the allocations of host.h --- */
/* A page fault: true if it was the first touch of a page that is there now. */
bool heap_fault(uint64_t address, uint64_t error);
/* A thread's stack: there from the beginning, a page below it never is. NULL: no memory. */
uint8_t *heap_stack_make(size_t size) must_check;

/* --- trap.c, trap_entry.S --- */
#define VECTOR_TIMER 0x20u
#define VECTOR_SWITCH 0x21u
#define VECTOR_PIC 0x30u /* 16 that never come: the PICs are masked */
#define VECTOR_SPURIOUS 0xffu
#define SELECTOR_CODE 0x08u
#define SELECTOR_DATA 0x10u

struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};
void trap_start(void);
struct trap_frame *trap_handle(struct trap_frame *frame);

/* --- xstate.c: SSE, AVX and x87, which belong to guests --- */
void xstate_start(void);
size_t xstate_size(void); /* of one thread's state */
void xstate_init(uint8_t *state);
void xstate_save(uint8_t *state);
void xstate_load(const uint8_t *state);

/* --- thread.c --- */
void thread_start(void); /* the caller becomes the first thread */
/* Interrupts are off: chooses who goes on. */
struct trap_frame *thread_switch(struct trap_frame *frame);
const char *thread_name(void);

/* --- time.c and apic.c --- */
void time_start(void);
void time_spin(uint64_t ns);
/* The TSC at which another clock was read as *value: the tightest of several tries, as this machine may be a vm that stands still at any moment. */
uint64_t time_pair(uint32_t (*other)(void), uint32_t *value);
/* What `measure` says twice in a row, or 0 where it does. */
uint64_t time_measure(uint64_t (*measure)(void));
/* a * b / c; the quotient must fit. */
static inline uint64_t multiply_divide(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t low, high;

	__asm__("mulq %3" : "=a"(low), "=d"(high) : "a"(a), "r"(b) : "cc");
	__asm__("divq %4" : "=a"(low), "=d"(high) : "a"(low), "d"(high), "r"(c) : "cc");
	return low;
}
void apic_start(void);
void apic_end_of_interrupt(void);
/* The next timer interrupt; HOST_FOREVER: none. In the past: at once. */
void apic_timer_set(uint64_t deadline_ns);

/* --- fadt.c: the few things of ACPI that a machine cannot be left without --- */
struct fadt_port {
	uint64_t address;
	bool memory; /* else an I/O port */
};
struct fadt {
	bool found;
	struct fadt_port pm_timer; /* address 0: none */
	bool pm_timer_32;          /* bits, else 24 */
	struct fadt_port reset;
	uint8_t reset_value;
	uint32_t smi_command;
	uint8_t acpi_enable;
	uint32_t pm1a_control, pm1b_control;
	bool off_known; /* \_S5 was found */
	uint8_t off_type[2];
};
extern struct fadt fadt;
void fadt_start(const struct multiboot *multiboot);
/* Looks for \_S5 in AML; unit-tested. */
bool fadt_off_find(const uint8_t *aml, size_t length, uint8_t type[2]);

/* --- random.c --- */
void random_start(void);
void random_chacha20(const uint32_t with[8], uint64_t block, uint8_t out[64]);

/* --- log.c, uart.c, screen.c --- */
void log_panic(void); /* from now on without locks */
void uart_start(const char *words);
void uart_write(const char *text, size_t length);
void screen_start(const struct multiboot *multiboot);
void screen_write(const char *text, size_t length);

/* --- font.c: five dots wide --- */
#define FONT_FIRST ' '
#define FONT_GLYPHS 95u
#define FONT_ROWS 7u
extern const uint8_t font[FONT_GLYPHS][FONT_ROWS];

/* --- power.c --- */
void power_start(const char *words);

/* --- the processor --- */
static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline void outw(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}
static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}
static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
static inline uint16_t inw(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
static inline uint32_t inl(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
static inline uint64_t msr_read(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}
static inline void msr_write(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr) : "memory");
}
struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};
static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid out;

	__asm__ volatile("cpuid" : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx) : "a"(leaf), "c"(subleaf));
	return out;
}

#endif
