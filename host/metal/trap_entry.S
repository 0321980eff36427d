/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trap_entry.S - every exception and interrupt: saves the registers as struct trap_frame, calls trap_handle, goes on where that says.
 *
 * Each runs on a stack of its own (trap.c: the IST), because the interrupted code may have no stack: translated code has a context in RSP, and C code
 * keeps values below RSP. trap_handle returns the frame to go on with: the same one, or that of another thread.
 */
	.text
	.balign 16
	.globl trap_stubs
	.hidden trap_stubs
trap_stubs:
	vector = 0
	.rept 256
	.balign 16
	/* #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX bring an error code; the others get one. */
	.if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
	.else
	pushq $0
	.endif
	pushq $vector
	jmp trap_common
	vector = vector + 1
	.endr

trap_common:
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rbx
	pushq %rbp
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	cld
	movq %rsp, %rdi
	/* An IST stack begins aligned to 16; with 22 quadwords on it, it still is. */
	call trap_handle
	movq %rax, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rbp
	popq %rbx
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

	.section .note.GNU-stack, "", @progbits
