/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.S - a guest that is one integer loop in 64-bit mode, to measure an engine's instructions a second without an operating
 * system: multiboot 1, LOOPS times round ten instructions, then an OUT to the debug exit port 0x501. bench/run builds it twice.
 */
	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 0, -0x1badb002

	.text
	.code32
	.globl _start
_start:
	cli
	lea page_directory_pointers, %eax
	or $3, %eax
	mov %eax, page_map
	/* The first 2 MiB, each address as itself. */
	lea page_directory, %eax
	or $3, %eax
	mov %eax, page_directory_pointers
	movl $0x83, page_directory
	lea page_map, %eax
	mov %eax, %cr3
	mov %cr4, %eax
	or $0x20, %eax          /* PAE */
	mov %eax, %cr4
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax         /* LME */
	wrmsr
	mov %cr0, %eax
	or $0x80000001, %eax    /* PG, PE */
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $8, $1f
	.code64
1:	mov $LOOPS, %ecx
	mov $1, %eax
	mov $2, %edx
2:	mov %rdx, %rbx
	xor %rcx, %rbx
	add %rbx, %rax
	shl $3, %rdx
	sub %rax, %rdx
	mov %rdx, %rsi
	shr $5, %rsi
	xor %rsi, %rax
	dec %ecx
	jnz 2b
	mov $0x501, %edx
	xor %eax, %eax
	out %al, %dx
3:	hlt
	jmp 3b

	.section .rodata
	.balign 8
gdt:	.quad 0, 0x00af9b000000ffff
gdt_pointer:
	.word 15
	.long gdt

	.bss
	.balign 4096
page_map:
	.skip 4096
page_directory_pointers:
	.skip 4096
page_directory:
	.skip 4096
