/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer_absent.c - what the integer tests do not run: system instructions, exclusive sections.
 *
 * With native_memory.c it stands in for the rest of x86/, so that an integer test fails for integer reasons alone.
 */
#include <stdlib.h>

#include "test/cpu/native.h"
#include "x86/memory.h"
#include "x86/system.h"

#define ABSENT(name)                                              \
	void name(struct x86_cpu *c, const struct x86_insn *insn) \
	{                                                         \
		(void)c;                                          \
		(void)insn;                                       \
		abort();                                          \
	}

/* No pointer where a slow access would do: the handlers' way for devices and page crossings. */
void *x86_pointer_slow(struct x86_cpu *c, uint64_t linear, unsigned size)
{
	x86_write_check(c, linear, size);
	return NULL;
}

void x86_read_check(struct x86_cpu *c, uint64_t linear, unsigned size)
{
	x86_write_check(c, linear, size);
}

void x86_exclusive(struct x86_cpu *c, void (*fn)(struct x86_cpu *cpu, void *argument), void *argument)
{
	fn(c, argument);
}

// clang-format off
ABSENT(x86_op_arpl) ABSENT(x86_op_call_far) ABSENT(x86_op_clac) ABSENT(x86_op_cli) ABSENT(x86_op_clts)
ABSENT(x86_op_cpuid) ABSENT(x86_op_hlt) ABSENT(x86_op_in) ABSENT(x86_op_ins) ABSENT(x86_op_int) ABSENT(x86_op_int1)
ABSENT(x86_op_int3) ABSENT(x86_op_into) ABSENT(x86_op_invd) ABSENT(x86_op_invlpg) ABSENT(x86_op_invpcid)
ABSENT(x86_op_iret) ABSENT(x86_op_jmp_far) ABSENT(x86_op_lar) ABSENT(x86_op_lgdt) ABSENT(x86_op_lidt)
ABSENT(x86_op_lldt) ABSENT(x86_op_lmsw) ABSENT(x86_op_load_far_pointer) ABSENT(x86_op_lsl) ABSENT(x86_op_ltr)
ABSENT(x86_op_monitor) ABSENT(x86_op_mov_from_cr) ABSENT(x86_op_mov_from_dr) ABSENT(x86_op_mov_from_sreg)
ABSENT(x86_op_mov_to_cr) ABSENT(x86_op_mov_to_dr) ABSENT(x86_op_mov_to_sreg) ABSENT(x86_op_mwait) ABSENT(x86_op_out)
ABSENT(x86_op_outs) ABSENT(x86_op_pop_sreg) ABSENT(x86_op_popf) ABSENT(x86_op_push_sreg) ABSENT(x86_op_pushf)
ABSENT(x86_op_rdfsbase) ABSENT(x86_op_rdgsbase) ABSENT(x86_op_rdmsr) ABSENT(x86_op_rdpid) ABSENT(x86_op_rdpkru)
ABSENT(x86_op_rdpmc) ABSENT(x86_op_rdtsc) ABSENT(x86_op_rdtscp) ABSENT(x86_op_ret_far) ABSENT(x86_op_sgdt)
ABSENT(x86_op_sidt) ABSENT(x86_op_sldt) ABSENT(x86_op_smsw) ABSENT(x86_op_stac) ABSENT(x86_op_sti) ABSENT(x86_op_str)
ABSENT(x86_op_swapgs) ABSENT(x86_op_syscall) ABSENT(x86_op_sysenter) ABSENT(x86_op_sysexit) ABSENT(x86_op_sysret)
ABSENT(x86_op_verr) ABSENT(x86_op_verw) ABSENT(x86_op_vmcall) ABSENT(x86_op_wbinvd) ABSENT(x86_op_wrfsbase)
ABSENT(x86_op_wrgsbase) ABSENT(x86_op_wrmsr) ABSENT(x86_op_wrpkru) ABSENT(x86_op_xgetbv) ABSENT(x86_op_xsetbv)
