/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native_memory.c - a bare processor for the handlers of x86/: linear addresses are host addresses inside native_area, all else is #PF.
 *
 * It stands in for x86/memory.c and x86/execute.c, so that a vector test fails for vector reasons alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/cpu/native.h"
#include "x86/memory.h"

struct x86_cpu cpu;
struct x86_cpu_model cpu_model;

static jmp_buf unwind;

void x86_raise(struct x86_cpu *c, unsigned vector)
{
	c->fault_vector = (uint8_t)vector;
	longjmp(unwind, 1);
}

void x86_raise_error(struct x86_cpu *c, unsigned vector, uint32_t error)
{
	c->fault_error = error;
	x86_raise(c, vector);
}

static uint8_t *at(struct x86_cpu *c, uint64_t linear, unsigned size)
{
	if (!native_address_ok(linear, size))
		x86_raise(c, X86_PF);
	return (uint8_t *)(uintptr_t)linear;
}

uint64_t x86_linear_checked(struct x86_cpu *c, unsigned segment, uint64_t offset, unsigned size, bool write)
{
	(void)size;
	(void)write;
	return c->s.segment[segment].base + offset;
}

uint64_t x86_read_slow(struct x86_cpu *c, uint64_t linear, unsigned size, unsigned mode)
{
	uint64_t value = 0;

	(void)mode;
	memcpy(&value, at(c, linear, size), size);
	return value;
}

void x86_write_slow(struct x86_cpu *c, uint64_t linear, unsigned size, uint64_t value, unsigned mode)
{
	(void)mode;
	memcpy(at(c, linear, size), &value, size);
}

void x86_read_bytes(struct x86_cpu *c, uint64_t linear, void *buffer, unsigned size)
{
	memcpy(buffer, at(c, linear, size), size);
}

void x86_write_bytes(struct x86_cpu *c, uint64_t linear, const void *buffer, unsigned size)
{
	memcpy(at(c, linear, size), buffer, size);
}

void x86_write_check(struct x86_cpu *c, uint64_t linear, unsigned size)
{
	at(c, linear, size);
}

void x86_tlb_flush_all(struct x86_cpu *c)
{
	c->tlb_misses++;
}

void cpu_tlb_use(bool on)
{
	for (unsigned i = 0; i < X86_TLB_ENTRIES; i++)
		cpu.tlb->read[0].tag[i] = cpu.tlb->write[0].tag[i] = X86_TLB_EMPTY;
	for (unsigned page = 0; on && page < NATIVE_AREA / 4096; page++) {
		uint64_t number = (uintptr_t)native_area / 4096 + page;
		uint64_t index = number % X86_TLB_ENTRIES;

		cpu.tlb->read[0].tag[index] = cpu.tlb->write[0].tag[index] = X86_TLB_TAG(number * 4096);
		cpu.tlb->read[0].addend[index] = cpu.tlb->write[0].addend[index] = 0;
	}
}

void cpu_setup(void)
{
	memset(&cpu, 0, sizeof(cpu));
	cpu_model.features = ~UINT64_C(0);
	cpu.model = &cpu_model;
	cpu.tlb = calloc(1, sizeof(*cpu.tlb));
	if (!cpu.tlb || x86_host_run_create(&cpu) != STATUS_OK)
		abort();
	native_signals_keep();
	cpu_tlb_use(false);
	x86_vector_reset(&cpu);
	cpu.code_size = 8;
	cpu.s.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_NE | X86_CR0_ET;
	cpu.s.cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
	cpu.s.efer = X86_EFER_LME | X86_EFER_LMA;
	cpu.s.xcr0 = X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX;
}

void cpu_from_native(void)
{
	memcpy(cpu.reg, native.gpr, sizeof(native.gpr));
	cpu.reg[X86_NO_REG] = 0;
	cpu.flags = x86_status_from_rflags(native.rflags);
	memcpy(cpu.s.vector, native.ymm, sizeof(native.ymm));
	memcpy(&cpu.s.x87, native.fx, sizeof(cpu.s.x87));
	cpu.s.x87.mxcsr = native.mxcsr;
}

int cpu_execute(x86_handler *execute, const struct x86_insn *insn)
{
	cpu.insn = insn;
	if (setjmp(unwind))
		return cpu.fault_vector;
	execute(&cpu, insn);
	return NATIVE_OK;
}

const char *cpu_difference(bool x87)
{
	static char text[400];

	for (unsigned i = 0; i < 16; i++) {
		if (i != X86_RSP && cpu.reg[i] != native.gpr[i]) {
			snprintf(text, sizeof(text), "gpr %u: %llx, native %llx", i, (unsigned long long)cpu.reg[i],
				 (unsigned long long)native.gpr[i]);
			return text;
		}
		if (memcmp(cpu.s.vector[i].byte, native.ymm[i], 32)) {
			int n = snprintf(text, sizeof(text), "ymm%u: ", i);

			for (int b = 31; b >= 0; b--)
				n += snprintf(text + n, sizeof(text) - (size_t)n, "%02x", cpu.s.vector[i].byte[b]);
			n += snprintf(text + n, sizeof(text) - (size_t)n, ", native ");
			for (int b = 31; b >= 0; b--)
				n += snprintf(text + n, sizeof(text) - (size_t)n, "%02x", native.ymm[i][b]);
			return text;
		}
	}
	if (x86_status_to_rflags(cpu.flags) != (native.rflags & X86_FLAGS_STATUS))
		snprintf(text, sizeof(text), "flags %x, native %x", (unsigned)x86_status_to_rflags(cpu.flags),
			 (unsigned)(native.rflags & X86_FLAGS_STATUS));
	else if (cpu.s.x87.mxcsr != native.mxcsr)
		snprintf(text, sizeof(text), "mxcsr %x, native %x", cpu.s.x87.mxcsr, native.mxcsr);
	else if (x87 && memcmp(&cpu.s.x87, native.fx, 5)) {
		uint16_t fsw;

		memcpy(&fsw, native.fx + 2, 2);
		snprintf(text, sizeof(text), "fcw %x fsw %x ftw %x, native %x %x %x", cpu.s.x87.fcw, cpu.s.x87.fsw, cpu.s.x87.ftw,
			 native.fx[0] | native.fx[1] << 8, fsw, native.fx[4]);
	} else if (x87 && memcmp(cpu.s.x87.st, native.fx + 32, 128)) {
		int n = snprintf(text, sizeof(text), "x87 registers:");

		for (unsigned i = 0; i < 8; i++) {
			if (!memcmp(cpu.s.x87.st[i], native.fx + 32 + 16 * i, 16))
				continue;
			n += snprintf(text + n, sizeof(text) - (size_t)n, " st%u ", i);
			for (int b = 9; b >= 0; b--)
				n += snprintf(text + n, sizeof(text) - (size_t)n, "%02x", cpu.s.x87.st[i][b]);
			n += snprintf(text + n, sizeof(text) - (size_t)n, " native ");
			for (int b = 9; b >= 0; b--)
				n += snprintf(text + n, sizeof(text) - (size_t)n, "%02x", native.fx[32 + 16 * i + (unsigned)b]);
			if (n > 300)
				break;
		}
	} else {
		return NULL;
	}
	return text;
}
