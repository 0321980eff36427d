/* SPDX-License-Identifier: Apache-2.0 */
/* protected.S - a guest that stays in 32-bit protected mode without paging: entry, interrupt entries, trap_enter. The C side is protected.c. */
	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 3, -(0x1badb002 + 3)

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	mov %ebx, multiboot_info
	lgdt gdt_pointer
	ljmp $0x08, $1f
1:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	lea stack_top, %esp
	call protected_start

	.balign 16
	.globl interrupt_entries
interrupt_entries:
	vector = 0
	.rept 256
	.balign 16
	.if (vector == 8) || (vector == 10) || (vector == 11) || (vector == 12) || (vector == 13) || (vector == 14) || (vector == 17)
	.else
	push $0
	.endif
	push $vector
	jmp interrupt_common
	vector = vector + 1
	.endr
interrupt_common:
	pusha
	push %ds
	push %es
	push %fs
	push %gs
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	cld
	push %esp
	call interrupt_handle
	add $4, %esp
	pop %gs
	pop %fs
	pop %es
	pop %ds
	popa
	add $8, %esp
	iret

/* bool trap_enter(uint32_t *esp, void (*fn)(void *), void *argument) */
	.globl trap_enter, trap_escape, real_mode_run, real_mode_begin, real_mode_end
trap_enter:
	mov 4(%esp), %eax
	mov 8(%esp), %ecx
	mov 12(%esp), %edx
	push %ebx
	push %ebp
	push %esi
	push %edi
	pushf
	mov %esp, (%eax)
	push %edx
	call *%ecx
	add $4, %esp
	mov $1, %eax
trap_leave:
	popf
	pop %edi
	pop %esi
	pop %ebp
	pop %ebx
	ret
/* void trap_escape(uint32_t esp) */
trap_escape:
	mov 4(%esp), %ecx
	mov $0x10, %eax
	mov %eax, %ss
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov %ecx, %esp
	xor %eax, %eax
	jmp trap_leave

	.data
	.balign 16
	.globl gdt, gdt_pointer
gdt:	.quad 0
	.quad 0x00cf9b000000ffff        /* 0x08: code */
	.quad 0x00cf93000000ffff        /* 0x10: data */
	.quad 0x00cffb000000ffff        /* 0x18: user code */
	.quad 0x00cff3000000ffff        /* 0x20: user data */
	.quad 0x00009b000000ffff        /* 0x28: code, 16-bit, base 0 */
	.quad 0x000093000000ffff        /* 0x30: data, 16-bit, base 0 */
	.fill 57, 8, 0                  /* 0x38: TSS; from 0x40 on the test's */
gdt_pointer:
	.word . - gdt - 1
	.long gdt

	.bss
	.balign 4096
	.skip 16384
stack_top:
	.globl multiboot_info
multiboot_info: .skip 4
	.section .note.GNU-stack, "", @progbits
