/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native.h - the oracle of the vector, x87 and XSAVE tests: bytes run by the test itself on the host's processor, with all registers given.
 *
 * And a processor for the handlers to run on: a bare struct x86_cpu whose linear addresses are host addresses (native_memory.c), so that both sides
 * see the same memory operand. Nothing here is shared with x86/host_run.c.
 */
#ifndef HOLON_TEST_NATIVE_H
#define HOLON_TEST_NATIVE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "x86/cpu.h"
#include "x86/cpuid.h"
#include "x86/execute.h"
#include "x86/vector.h"

/* Offsets are known to the assembly in native.c. */
struct native {
	uint8_t fx[512];
	uint8_t ymm[16][32];
	uint64_t gpr[16];
	uint64_t rflags;
	uint32_t mxcsr;
	uint32_t pad;
	const void *code;
	uint64_t rsp;
	uint32_t host_mxcsr;
	uint16_t host_fcw;
} __attribute__((aligned(64)));
extern struct native native;

#define NATIVE_OK (-1)
/* Runs `length` bytes; the exception's vector or NATIVE_OK. */
int native_run(const uint8_t *bytes, unsigned length);
/* Is this host able (AVX)? Installs the signal handlers, before the code under test installs its own. */
bool native_setup(void);
/* cmocka has handlers of its own around every test: keep remembers what was installed before it, begin (first in each test) puts it back. */
void native_signals_keep(void);
void native_begin(void);

/* The memory operand: page-aligned, with unmapped pages around it, where the handlers' accesses give #PF too. */
#define NATIVE_AREA 8192u
extern uint8_t *native_area;
bool native_address_ok(uint64_t linear, unsigned size);

/* The handlers' side. */
extern struct x86_cpu cpu;
extern struct x86_cpu_model cpu_model;
void cpu_setup(void);
void cpu_tlb_use(bool on); /* the area has TLB entries, or every access takes the slow way */
/* Copies native's registers into the cpu before, compares after. */
void cpu_from_native(void);
int cpu_execute(x86_handler *execute, const struct x86_insn *insn); /* vector or NATIVE_OK */

uint64_t random64(void);
static inline unsigned random_below(unsigned n)
{
	return (unsigned)(random64() % n);
}
void random_bytes(void *buffer, unsigned size);
/* Values that floating-point units find interesting, or zero bytes, or noise: whole multiples of 16 bytes. */
void random_vector(void *buffer, unsigned size);
uint32_t random_mxcsr(void);
void random_x87(void); /* native.fx: consistent, nothing pending more often than not */
void random_registers(void);
/* The first difference between cpu and native as text, or NULL. x87: compare that state too. */
const char *cpu_difference(bool x87);

#endif
