/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port.c - IN, OUT, INS, OUTS with REP: privilege, I/O breakpoints, restart (SDM vol. 1, 19; vol. 2).
 *
 * A repeated instruction does a bounded number of iterations, then leaves RIP on itself: registers are right after every iteration, so it
 * goes on after an interrupt, a fault or a look at cpu->attention as if it had just begun.
 */
#include "x86/execute.h"
#include "x86/memory.h"
#include "x86/segment.h"
#include "x86/system.h"

#define REP_ITERATIONS 256

static void permission_check(struct x86_cpu *cpu, uint16_t port, unsigned size)
{
	if (!(cpu->s.cr0 & X86_CR0_PE))
		return;
	if (cpu->s.rflags & X86_FLAG_VM || cpu->cpl > (cpu->s.rflags >> 12 & 3))
		x86_task_port_check(cpu, port, size);
}

/* DR7's R/W field 2 means I/O when CR4.DE is set. */
static void port_breakpoint_check(struct x86_cpu *cpu, uint16_t port, unsigned size)
{
	static const uint8_t lengths[4] = {1, 2, 8, 4};

	if (__builtin_expect(!(cpu->s.dr7 & 0xff), 1) || !(cpu->s.cr4 & X86_CR4_DE))
		return;
	for (unsigned i = 0; i < 4; i++) {
		unsigned control = (unsigned)(cpu->s.dr7 >> (16 + i * 4)) & 15;
		uint64_t length = lengths[control >> 2], start = cpu->s.dr[i] & ~(length - 1);

		if (cpu->s.dr7 >> i * 2 & 3 && (control & 3) == 2 && (start - port < size || port - start < length)) {
			cpu->debug_hits |= UINT64_C(1) << i;
			x86_attention(cpu, X86_ATTENTION_EVENT);
		}
	}
}

static uint64_t port_read(struct x86_cpu *cpu, uint16_t port, unsigned size)
{
	port_breakpoint_check(cpu, port, size);
	cpu->port_accesses++;
	return cpu->platform->port_read(cpu->machine, port, size);
}

static void port_write(struct x86_cpu *cpu, uint16_t port, unsigned size, uint64_t value)
{
	port_breakpoint_check(cpu, port, size);
	cpu->port_accesses++;
	cpu->platform->port_write(cpu->machine, port, size, value);
}

/* E4-E7 name the port in an immediate, EC-EF in DX. 64-bit operands do not exist. */
static uint16_t port_of(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return insn->opcode & 8 ? (uint16_t)cpu->reg[X86_RDX] : (uint16_t)(insn->imm & 0xff);
}

static unsigned size_of(const struct x86_insn *insn)
{
	return insn->opcode & 1 ? insn->operand_size == 2 ? 2 : 4 : 1;
}

void x86_op_in(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t port = port_of(cpu, insn);
	unsigned size = size_of(insn);

	permission_check(cpu, port, size);
	x86_gpr_write(cpu, X86_RAX, size, port_read(cpu, port, size));
}

void x86_op_out(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t port = port_of(cpu, insn);
	unsigned size = size_of(insn);
	uint64_t value = cpu->reg[X86_RAX];

	permission_check(cpu, port, size);
	port_write(cpu, port, size, size == 4 ? (uint32_t)value : size == 2 ? (uint16_t)value : (uint8_t)value);
}

static uint64_t address_of(const struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg)
{
	uint64_t value = cpu->reg[reg];

	return insn->address_size == 8 ? value : insn->address_size == 4 ? (uint32_t)value : (uint16_t)value;
}

static void advance(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned reg, uint64_t by)
{
	x86_gpr_write(cpu, reg, insn->address_size, cpu->reg[reg] + by);
}

static void ins_once(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size, uint64_t by)
{
	uint64_t linear = x86_linear(cpu, X86_ES, address_of(cpu, insn, X86_RDI), size, true);

	/* What comes out of a port is gone: the store must not fault after that. */
	x86_write_check(cpu, linear, size);
	x86_write_slow(cpu, linear, size, port_read(cpu, (uint16_t)cpu->reg[X86_RDX], size), cpu->mode);
	advance(cpu, insn, X86_RDI, by);
}

static void outs_once(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size, uint64_t by)
{
	uint64_t linear = x86_linear(cpu, insn->segment, address_of(cpu, insn, X86_RSI), size, false);

	port_write(cpu, (uint16_t)cpu->reg[X86_RDX], size, x86_read_slow(cpu, linear, size, cpu->mode));
	advance(cpu, insn, X86_RSI, by);
}

static void string_run(struct x86_cpu *cpu, const struct x86_insn *insn,
		       void (*once)(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned size, uint64_t by))
{
	unsigned size = size_of(insn), budget = REP_ITERATIONS;
	uint64_t by = cpu->s.rflags & X86_FLAG_DF ? -(uint64_t)size : size;

	permission_check(cpu, (uint16_t)cpu->reg[X86_RDX], size);
	if (!(insn->prefixes & (X86_PREFIX_REP | X86_PREFIX_REPNE))) {
		once(cpu, insn, size, by);
		return;
	}
	while (address_of(cpu, insn, X86_RCX)) {
		once(cpu, insn, size, by);
		advance(cpu, insn, X86_RCX, -UINT64_C(1));
		if (!address_of(cpu, insn, X86_RCX))
			break;
		if (!--budget || atomic_load_explicit(&cpu->attention, memory_order_relaxed) || cpu->step_armed) {
			/* Not done yet: a boundary inside the instruction. RF, if it matters, says that it began already. */
			cpu->reg[X86_RIP] -= insn->length;
			cpu->unfinished = true;
			if (cpu->s.dr7 & 0xff)
				cpu->s.rflags |= X86_FLAG_RF;
			break;
		}
	}
}

void x86_op_ins(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	string_run(cpu, insn, ins_once);
}

void x86_op_outs(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	string_run(cpu, insn, outs_once);
}
