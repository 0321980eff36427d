/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_run_trampoline.S - from C into a stub and back, with the guest's operands in the registers meanwhile.
 *
 * Called by vector_run.c and x87.c: RDI = struct host_run_frame, RSI = stub; x87 is used by no C code here, its state on entry is the ABI's (empty).
 * R12 and R13 survive the stub: no stub names them. A trap inside a stub continues at host_run_trapped with EAX = vector.
 */
#include "x86/host_run.h"

	.text

	.macro begin
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	subq $8, %rsp
	movq %rdi, %r12
	movq %rsi, %r13
	stmxcsr HOST_RUN_HOST_MXCSR(%r12)
	.endm

	.macro load_gprs
	ldmxcsr HOST_RUN_MXCSR(%r12)
	movq HOST_RUN_RAX(%r12), %rax
	movq HOST_RUN_RCX(%r12), %rcx
	movq HOST_RUN_RDX(%r12), %rdx
	movq HOST_RUN_RBX(%r12), %rbx
	movq HOST_RUN_RBP(%r12), %rbp
	leaq HOST_RUN_MEMORY(%r12), %rsi
	.endm

	.macro store_gprs
	lahf
	seto %al
	movw %ax, HOST_RUN_FLAGS(%r12)
	movq %rcx, HOST_RUN_RCX(%r12)
	movq %rbx, HOST_RUN_RBX(%r12)
	movq %rbp, HOST_RUN_RBP(%r12)
	.endm

	.macro end
	addq $8, %rsp
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret
	.endm

	/* A stub was called: its return address is on the stack. EAX stays the vector. */
	.globl host_run_trapped
	.hidden host_run_trapped
	.type host_run_trapped, @function
host_run_trapped:
	addq $8, %rsp
	cld
.Lleave:
	stmxcsr HOST_RUN_MXCSR(%r12)
	ldmxcsr HOST_RUN_HOST_MXCSR(%r12)
	end
	.size host_run_trapped, . - host_run_trapped

	/* VEX: the host has AVX, or the model would not. */
	.globl host_run_vex
	.hidden host_run_vex
	.type host_run_vex, @function
host_run_vex:
	begin
	movq HOST_RUN_FROM + 0(%r12), %rax
	vmovdqu (%rax), %ymm0
	movq HOST_RUN_FROM + 8(%r12), %rax
	vmovdqu (%rax), %ymm1
	movq HOST_RUN_FROM + 16(%r12), %rax
	vmovdqu (%rax), %ymm2
	movq HOST_RUN_FROM + 24(%r12), %rax
	vmovdqu (%rax), %ymm3
	movq HOST_RUN_FROM + 32(%r12), %rax
	vmovdqu (%rax), %ymm4
	load_gprs
	call *%r13
	store_gprs
	movq HOST_RUN_TO + 0(%r12), %rax
	vmovdqu %ymm0, (%rax)
	movq HOST_RUN_TO + 8(%r12), %rax
	vmovdqu %ymm1, (%rax)
	movq HOST_RUN_TO + 16(%r12), %rax
	vmovdqu %ymm2, (%rax)
	movq HOST_RUN_TO + 24(%r12), %rax
	vmovdqu %ymm3, (%rax)
	vzeroupper /* no false dependencies in the host's own SSE code */
	xorl %eax, %eax
	jmp .Lleave
	.size host_run_vex, . - host_run_vex

	/* Legacy SSE, after a VZEROUPPER on a host with AVX: the 128 bits above stay in the guest's register. */
	.globl host_run_legacy
	.hidden host_run_legacy
	.type host_run_legacy, @function
host_run_legacy:
	begin
	movq HOST_RUN_FROM + 0(%r12), %rax
	movdqu (%rax), %xmm0
	movq HOST_RUN_FROM + 8(%r12), %rax
	movdqu (%rax), %xmm1
	movq HOST_RUN_FROM + 16(%r12), %rax
	movdqu (%rax), %xmm2
	load_gprs
	call *%r13
	store_gprs
	movq HOST_RUN_TO + 0(%r12), %rax
	movdqu %xmm0, (%rax)
	movq HOST_RUN_TO + 8(%r12), %rax
	movdqu %xmm1, (%rax)
	movq HOST_RUN_TO + 16(%r12), %rax
	movdqu %xmm2, (%rax)
	xorl %eax, %eax
	jmp .Lleave
	.size host_run_legacy, . - host_run_legacy

	/* MMX operands besides. */
	.globl host_run_mmx
	.hidden host_run_mmx
	.type host_run_mmx, @function
host_run_mmx:
	pushq %r12
	movq %rdi, %r12
	movq HOST_RUN_MM + 0(%r12), %mm1
	movq HOST_RUN_MM + 8(%r12), %mm2
	call host_run_legacy
	movq %mm1, HOST_RUN_MM + 0(%r12)
	movq %mm2, HOST_RUN_MM + 8(%r12)
	emms
	popq %r12
	ret
	.size host_run_mmx, . - host_run_mmx

	/*
	 * x87: the image's MXCSR is the host's default, its XMM area garbage that nobody looks at. Exceptions stay pending in the
	 * image (FXSAVE does not wait), nothing traps here.
	 */
	.globl host_run_x87
	.hidden host_run_x87
	.type host_run_x87, @function
host_run_x87:
	begin
	fnstcw HOST_RUN_HOST_FCW(%r12)
	fxrstor64 HOST_RUN_X87(%r12)
	movzwl HOST_RUN_FLAGS(%r12), %eax
	addb $127, %al /* OF from AL's bit 0 */
	sahf
	leaq HOST_RUN_MEMORY(%r12), %rsi
	call *%r13
	lahf
	seto %al
	movw %ax, HOST_RUN_FLAGS(%r12)
	fxsave64 HOST_RUN_X87(%r12)
	fninit
	fldcw HOST_RUN_HOST_FCW(%r12)
	xorl %eax, %eax
	jmp .Lleave
	.size host_run_x87, . - host_run_x87

	.section .note.GNU-stack, "", @progbits
