/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system.h - handlers of the instructions that deal with segments, privilege, control registers and ports; the opcode tables name them.
 *
 * One handler serves all its encodings and modes: it looks at insn->opcode, reg, operand_size and the cpu.
 */
#ifndef HOLON_X86_SYSTEM_H
#define HOLON_X86_SYSTEM_H

#include "x86/insn.h"

/* segment.c: segment registers and descriptor tables */
x86_handler x86_op_mov_to_sreg, x86_op_mov_from_sreg, x86_op_push_sreg, x86_op_pop_sreg,
	x86_op_load_far_pointer; /* 8E 8C; 06.. 0FA0..; LDS LES LSS LFS LGS */
x86_handler x86_op_lar, x86_op_lsl, x86_op_verr, x86_op_verw, x86_op_arpl, x86_op_lldt, x86_op_ltr, x86_op_sldt, x86_op_str;
x86_handler x86_op_lgdt, x86_op_lidt, x86_op_sgdt, x86_op_sidt;
/* transfer.c: far control transfers, gates, task switches, INT, IRET, fast system calls */
x86_handler x86_op_call_far, x86_op_jmp_far, x86_op_ret_far; /* 9A EA FF/3 FF/5 CA CB */
x86_handler x86_op_int, x86_op_int3, x86_op_int1, x86_op_into, x86_op_iret;
x86_handler x86_op_syscall, x86_op_sysret, x86_op_sysenter, x86_op_sysexit, x86_op_swapgs;
/* control.c: control and debug registers, MSRs, TLB, identification, halting */
x86_handler x86_op_mov_from_cr, x86_op_mov_to_cr, x86_op_mov_from_dr, x86_op_mov_to_dr, x86_op_lmsw, x86_op_smsw, x86_op_clts;
x86_handler x86_op_rdmsr, x86_op_wrmsr, x86_op_rdtsc, x86_op_rdtscp, x86_op_rdpmc, x86_op_rdpid, x86_op_cpuid;
x86_handler x86_op_invlpg, x86_op_invpcid, x86_op_invd, x86_op_wbinvd, x86_op_hlt, x86_op_monitor, x86_op_mwait, x86_op_vmcall;
x86_handler x86_op_xgetbv, x86_op_xsetbv, x86_op_rdpkru, x86_op_wrpkru;
x86_handler x86_op_rdfsbase, x86_op_rdgsbase, x86_op_wrfsbase, x86_op_wrgsbase;
/* flags.c: the flags that carry privilege */
x86_handler x86_op_pushf, x86_op_popf, x86_op_cli, x86_op_sti, x86_op_clac, x86_op_stac;
/* port.c */
x86_handler x86_op_in, x86_op_out, x86_op_ins, x86_op_outs; /* E4..EF; 6C..6F with REP */

#endif
