/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - a bare machine for tests of x86/'s system architecture: one cpu, 16 MiB of RAM, a ROM page, ports and devices that remember what they
 * were asked, a local APIC that announces what the test says. Instructions are bytes in RAM, run by x86_step.
 */
#ifndef HOLON_TEST_MACHINE_H
#define HOLON_TEST_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "x86/cpu.h"
#include "x86/cpuid.h"
#include "x86/execute.h"
#include "x86/memory.h"

#define MACHINE_RAM (UINT64_C(16) << 20)
#define MACHINE_ROM 0xf0000000u /* one page, shows RAM's last */
#define MACHINE_APIC 0xfee00000u

/* Where the tables lie. */
#define GDT_BASE 0x1000u
#define IDT_BASE 0x2000u
#define TSS_BASE 0x3000u
#define TSS2_BASE 0x3800u
#define LDT_BASE 0x3c00u
#define PAGE_TABLES 0x10000u
#define CODE_BASE 0x8000u
#define HANDLER_BASE 0x9000u /* vector n's handler: + 16 n */
#define STACK_TOP 0x7000u
#define KERNEL_STACK_TOP 0x6000u
#define IST_STACK_TOP 0x5000u

/* Selectors in the GDT that machine_tables makes. */
#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_CODE32 0x18
#define SEL_USER_CODE32 0x23
#define SEL_USER_DATA 0x2b
#define SEL_USER_CODE64 0x33
#define SEL_TSS 0x40
#define SEL_TSS2 0x50
#define SEL_LDT 0x60
#define SEL_FREE 0x70 /* from here on a test's own */
#define GDT_SIZE 0x100u

struct machine {
	struct x86_cpu cpu;
	struct x86_cpu_model model;
	struct guest_memory memory;
	struct x86_platform platform;
	uint8_t *ram;
	uint64_t tsc;
	/* what devices saw */
	uint64_t mmio_gpa, mmio_value, port_value;
	unsigned mmio_size, mmio_reads, mmio_writes, port_size, port_reads, port_writes;
	uint16_t port;
	/* the APIC */
	struct local_apic_ops apic_ops;
	int interrupt; /* the vector that it announces, or -1 */
	uint64_t apic_base;
	uint8_t tpr;
	unsigned apic_writes;
	struct x86_apic_state apic;
	/* page flags */
	unsigned code_writes;
	uint64_t code_write_page;
	uint8_t code_write_saw; /* the byte at the store when the engine was told */
};
extern struct machine m;

void machine_create(const char *model);
void machine_destroy(void);
/* cmocka fixtures: a fresh machine with model max. */
int machine_setup(void **state);
int machine_teardown(void **state);

uint64_t machine_read(uint64_t gpa, unsigned size);
void machine_write(uint64_t gpa, unsigned size, uint64_t value);
void machine_code(uint64_t gpa, const void *bytes, unsigned length);
#define CODE(gpa, ...) machine_code(gpa, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* Descriptor tables as above, and a TSS with stacks. wide: for IA-32e mode. */
void machine_tables(bool wide);
uint64_t descriptor(uint32_t base, uint32_t limit, uint16_t attributes);
/* Gate of any type: attributes is the byte with P, DPL and type. */
void machine_gate(unsigned vector, uint16_t selector, uint64_t offset, uint8_t attributes, unsigned ist);
void machine_idt(bool wide); /* all 256 vectors: interrupt gates, DPL 0, to HANDLER_BASE + 16 n, which holds HLTs */
void machine_map(uint64_t gva, uint64_t entry); /* a 4K page, 4-level: the whole entry; upper levels allow everything */

/* Modes: flat segments, paging off below 64 bits, SP = STACK_TOP, RIP = CODE_BASE, IF = 0. */
void machine_real(void);
void machine_protected(unsigned cpl);
void machine_long(unsigned cpl); /* identity-mapped: RAM by 2M pages, user-accessible; below 2M by 4K pages */

/* One access with a fault as its result: the vector, or -1. */
int try_read(uint64_t linear, unsigned size, uint64_t *value);
int try_write(uint64_t linear, unsigned size, uint64_t value);
int try_fetch(uint64_t linear);
int try_call(void (*fn)(void));

/* Steps `count` instructions. */
void machine_step(unsigned count);
/* Like an engine: serves events before each step, until HLT or `most` instructions. */
void machine_run(unsigned most);
bool in_handler(unsigned vector);

#endif
