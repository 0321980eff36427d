/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_run_trampoline.S - from C into a stub and back, with the guest's operands in the registers meanwhile.
 *
 * Called by host_run.c's wrappers: RDI = struct host_run_frame, RSI = stub; x87 is used by no C code here, its state on entry is the ABI's (empty).
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

	/* The host has AVX enabled. */
	.globl host_run_avx
	.hidden host_run_avx
	.type host_run_avx, @function
host_run_avx:
	begin
	vmovdqu HOST_RUN_VECTOR + 0(%r12), %ymm0
	vmovdqu HOST_RUN_VECTOR + 32(%r12), %ymm1
	vmovdqu HOST_RUN_VECTOR + 64(%r12), %ymm2
	vmovdqu HOST_RUN_VECTOR + 96(%r12), %ymm3
	vmovdqu HOST_RUN_VECTOR + 128(%r12), %ymm4
	load_gprs
	call *%r13
	store_gprs
	vmovdqu %ymm0, HOST_RUN_VECTOR + 0(%r12)
	vmovdqu %ymm1, HOST_RUN_VECTOR + 32(%r12)
	vmovdqu %ymm2, HOST_RUN_VECTOR + 64(%r12)
	vmovdqu %ymm3, HOST_RUN_VECTOR + 96(%r12)
	vzeroupper /* no false dependencies in the host's own SSE code */
	xorl %eax, %eax
	jmp .Lleave
	.size host_run_avx, . - host_run_avx

	/* It has not: upper halves are 0 and stay in the frame. */
	.globl host_run_sse
	.hidden host_run_sse
	.type host_run_sse, @function
host_run_sse:
	begin
	movdqu HOST_RUN_VECTOR + 0(%r12), %xmm0
	movdqu HOST_RUN_VECTOR + 32(%r12), %xmm1
	movdqu HOST_RUN_VECTOR + 64(%r12), %xmm2
	load_gprs
	call *%r13
	store_gprs
	movdqu %xmm0, HOST_RUN_VECTOR + 0(%r12)
	movdqu %xmm1, HOST_RUN_VECTOR + 32(%r12)
	movdqu %xmm2, HOST_RUN_VECTOR + 64(%r12)
	xorl %eax, %eax
	jmp .Lleave
	.size host_run_sse, . - host_run_sse

	/* MMX operands besides: RDX = one of the two above. */
	.globl host_run_with_mmx
	.hidden host_run_with_mmx
	.type host_run_with_mmx, @function
host_run_with_mmx:
	pushq %r12
	movq %rdi, %r12
	movq HOST_RUN_MM + 0(%r12), %mm1
	movq HOST_RUN_MM + 8(%r12), %mm2
	call *%rdx
	movq %mm1, HOST_RUN_MM + 0(%r12)
	movq %mm2, HOST_RUN_MM + 8(%r12)
	emms
	popq %r12
	ret
	.size host_run_with_mmx, . - host_run_with_mmx

	/*
	 * x87: the image's MXCSR is the host's default, its XMM area garbage that nobody looks at. Exceptions stay pending in the
	 * image (FXSAVE does not wait), nothing traps here.
	 */
	.globl host_run_fpu
	.hidden host_run_fpu
	.type host_run_fpu, @function
host_run_fpu:
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
	.size host_run_fpu, . - host_run_fpu

	.section .note.GNU-stack, "", @progbits
