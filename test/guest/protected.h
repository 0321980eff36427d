/* SPDX-License-Identifier: Apache-2.0 */
/* protected.h - a test guest in 32-bit protected mode without paging: traps, user mode, gates, TSSs. Memory is flat, addresses are physical. */
#ifndef HOLON_TEST_GUEST_PROTECTED_H
#define HOLON_TEST_GUEST_PROTECTED_H

#include "test/guest/guest.h"

struct frame {
	uint32_t gs, fs, es, ds;
	uint32_t edi, esi, ebp, esp_there, ebx, edx, ecx, eax;
	uint32_t vector, error;
	uint32_t eip, cs, eflags;
	uint32_t esp, ss;                    /* from another privilege only */
	uint32_t vm_es, vm_ds, vm_fs, vm_gs; /* from VM86 only */
};

#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define USER_CS 0x1b
#define USER_DS 0x23
#define CODE16 0x28
#define DATA16 0x30
#define TSS_SELECTOR 0x38
#define FREE_SELECTOR 0x40
extern uint64_t gdt[64];

struct tss {
	uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2;
	uint32_t cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
	uint32_t es, cs, ss, ds, fs, gs, ldt;
	uint16_t trap, iomap;
	uint8_t redirection[32]; /* software interrupts of VM86 with CR4.VME: in front of the I/O bitmap */
	uint8_t bitmap[8193];
};
extern struct tss tss;

uint64_t descriptor(uint32_t base, uint32_t limit,
		    unsigned attributes); /* limit in units of G; attributes: bits 40-47, G D L AVL in 15:12 */
#define CODE_32 0xc09bu
#define DATA_32 0xc093u
#define TSS_32 0x0089u
#define DPL3 0x60u
uint64_t call_gate(unsigned selector, uint32_t offset, unsigned parameters, unsigned dpl);

extern struct frame trap;
extern uint32_t trap_cr2;
extern uint32_t trap_esp_at; /* where the CPU's frame lay */
/* For handlers that are no interrupt gates: ends the trap_run that is under way. */
_Noreturn void trap_end(unsigned vector, uint32_t error);
int trap_run(void (*fn)(void *argument), void *argument); /* -1: it returned */
bool check_trap(int got, int vector, uint32_t error, const char *what);
#define NO_TRAP (-1)
#define USER_RETURN 0x80
/* To CPL 3 (or VM86, if eflags says so); INT 0x80 is the way back (-1). */
struct user_start {
	uint32_t eip, cs, eflags, esp, ss;
	uint32_t vm_es, vm_ds, vm_fs, vm_gs;
};
int user_run(const struct user_start *start);

typedef void interrupt_handler(struct frame *frame);
extern interrupt_handler *volatile handlers[256];
struct gate {
	uint16_t offset_low, selector;
	uint8_t parameters, type;
	uint16_t offset_high;
};
extern struct gate idt[256];
extern uint8_t interrupt_entries[256 * 16];
void idt_load(void);
void tss_load(void); /* clears its busy bit before */
void *page_allocate(void);
void pic_mask_all(void);

#define CODE(name, text)                           \
	extern const uint8_t name[], name##_end[]; \
	__asm__(".pushsection .text\n.balign 16\n" #name ":\n" text "\n" #name "_end:\n.popsection\n")

#endif
