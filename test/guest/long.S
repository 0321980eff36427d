/* SPDX-License-Identifier: Apache-2.0 */
/*
 * long.S - brings a guest from multiboot's 32-bit entry, and application processors from real mode, to 64-bit mode;
 * interrupt entries; trap_enter. The C side is long.c.
 */
#define STACK_SIZE 16384
#define CPUS 64

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002, 3, -(0x1badb002 + 3)

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	mov %eax, multiboot_magic
	mov %ebx, multiboot_info
	/* The first 4 GiB, each address as itself, in 2 MiB pages. */
	lea page_directories, %edi
	xor %ebx, %ebx
	mov $0x83, %eax
1:	mov %eax, (%edi)
	mov %ebx, 4(%edi)
	add $8, %edi
	add $0x200000, %eax
	jnc 1b
	lea page_directories, %eax
	or $7, %eax
	mov %eax, page_directory_pointers
	add $4096, %eax
	mov %eax, page_directory_pointers + 8
	add $4096, %eax
	mov %eax, page_directory_pointers + 16
	add $4096, %eax
	mov %eax, page_directory_pointers + 24
	lea page_directory_pointers, %eax
	or $7, %eax
	mov %eax, page_map

long_enter:                     /* every processor */
	mov %cr4, %eax
	or $0x620, %eax         /* PAE, OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	lea page_map, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x901, %eax         /* SCE, LME, NXE */
	wrmsr
	mov %cr0, %eax
	and $~0x60000004, %eax  /* CD, NW, EM */
	or $0x80010022, %eax    /* PG, WP, NE, MP */
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $0x10, $1f
	.code64
1:	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov $1, %eax
	lock xadd %eax, cpus_started
	mov %eax, %edi          /* this processor's number */
	inc %eax
	imul $STACK_SIZE, %eax, %eax
	lea stacks(%rax), %rsp
	fninit
	test %edi, %edi
	jnz 2f
	call long_start
2:	call long_start_application

/* Where SIPI starts an application processor: long.c copies this to 0x8000. */
	.code16
	.globl trampoline, trampoline_end
trampoline:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lgdtl 0x8000 + (trampoline_gdt_pointer - trampoline)
	mov %cr0, %eax
	or $1, %eax
	mov %eax, %cr0
	ljmpl $0x38, $1f
trampoline_gdt_pointer:
	.word 0x7ff
	.long gdt
trampoline_end:
	.code32
1:	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	jmp long_enter

	.code64
/* Interrupt entries: vector n is at interrupt_entries + 16 * n. */
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
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	cld
	mov %rsp, %rdi
	mov %rsp, %rbx
	and $~15, %rsp
	call interrupt_handle
	mov %rbx, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

/* bool trap_enter(uint64_t *rsp, void (*fn)(void *), void *argument): true if fn returned, false if trap_escape ended it. */
	.globl trap_enter, trap_escape
trap_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	pushfq
	mov %rsp, (%rdi)
	push %rdi
	mov %rdx, %rdi
	call *%rsi
	pop %rdi
	mov $1, %eax
trap_leave:
	popfq
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
/* void trap_escape(uint64_t rsp) */
trap_escape:
	mov $0x18, %eax
	mov %eax, %ss
	mov %eax, %ds
	mov %eax, %es
	mov %rdi, %rsp
	xor %eax, %eax
	jmp trap_leave

/* void user_enter(const struct user_start *): rip, cs, rflags, rsp, ss, rdi, as IRET takes them. Never returns. */
	.globl user_enter
user_enter:
	push 32(%rdi)
	push 24(%rdi)
	push 16(%rdi)
	push 8(%rdi)
	push (%rdi)
	mov 40(%rdi), %rdi
	iretq

	.data
	.balign 16
	.globl gdt, gdt_pointer
gdt:	.quad 0, 0
	.quad 0x00af9b000000ffff        /* 0x10: code, 64-bit */
	.quad 0x00cf93000000ffff        /* 0x18: data */
	.quad 0x00cffb000000ffff        /* 0x20: user code, 32-bit */
	.quad 0x00cff3000000ffff        /* 0x28: user data */
	.quad 0x00affb000000ffff        /* 0x30: user code, 64-bit */
	.quad 0x00cf9b000000ffff        /* 0x38: code, 32-bit */
	.quad 0x000f9b000000ffff        /* 0x40: code, 16-bit */
	.quad 0x000f93000000ffff        /* 0x48: data, 16-bit */
	.fill 246, 8, 0                 /* 0x50..: the TSSs and what tests need */
gdt_pointer:
	.word . - gdt - 1
	.quad gdt

	.bss
	.balign 4096
	.globl page_map, page_directory_pointers, page_directories
page_map: .skip 4096
page_directory_pointers: .skip 4096
page_directories: .skip 16384
stacks: .skip STACK_SIZE * (CPUS + 1)
	.globl multiboot_magic, multiboot_info, cpus_started
multiboot_magic: .skip 4
multiboot_info: .skip 4
cpus_started: .skip 4
	.section .note.GNU-stack, "", @progbits
