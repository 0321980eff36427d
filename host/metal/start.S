/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.S - from the boot loader to C: the multiboot2 header, its 32-bit entry, long mode.
 *
 * The loader (multiboot2, 3.3) enters in 32-bit protected mode without paging, on BIOS and UEFI machines alike: EAX is the magic number, EBX the
 * address of its information. Everything before the jump to start64 runs at physical addresses: `delta` (EBP) is what is to be added to an address
 * less LINK_BASE. The page tables made here map 4 GiB to itself and at DIRECT_MAP, and the image at its link addresses; page_table.c makes
 * better ones. Next: metal_start in start.c.
 */
#define MULTIBOOT_MAGIC 0xe85250d6
#define MULTIBOOT_ARCHITECTURE_I386 0
#define HEADER_LENGTH (header_end - header)
#define TAG_END 0
#define TAG_FRAMEBUFFER 5
#define TAG_MODULE_ALIGN 6
#define TAG_RELOCATABLE 10
#define OPTIONAL 1

#define CR0_PE_MP_NE_WP_PG 0x80010023
#define CR4_PAE 0x20
#define EFER 0xc0000080
#define EFER_LME_NXE 0x900
#define PAGE_PRESENT_WRITE 3
#define PAGE_LARGE 0x83
#define LARGE_PAGE 0x200000
#define STACK_BYTES 0x10000
#define LINK_BASE 0xffffffff80000000 /* link.ld */

	.section .multiboot, "a"
	.balign 8
header:
	.long MULTIBOOT_MAGIC
	.long MULTIBOOT_ARCHITECTURE_I386
	.long HEADER_LENGTH
	.long -(MULTIBOOT_MAGIC + MULTIBOOT_ARCHITECTURE_I386 + HEADER_LENGTH)

	/* Anywhere below 4 GiB, on a large page's boundary, as low as can be. */
	.word TAG_RELOCATABLE, OPTIONAL
	.long 24, LARGE_PAGE, 0xffffffff, LARGE_PAGE, 1
	/* Any text or graphics mode will do. */
	.word TAG_FRAMEBUFFER, OPTIONAL
	.long 20, 0, 0, 32
	.balign 8
	.word TAG_MODULE_ALIGN, OPTIONAL
	.long 8
	.word TAG_END, 0
	.long 8
header_end:

	.section .start, "ax"
	.code32
	.globl start32
start32:
	cli
	cld
	movl %eax, %esi
	/* Where are we? The loader gives no stack; the second word of its information is reserved: a stack of one return address. */
	leal 8(%ebx), %esp
	call 1f
1:	popl %ebp
	subl $(1b - LINK_BASE), %ebp

	/* 4 GiB to itself: four page directories of large pages. */
	leal (boot_directories - LINK_BASE)(%ebp), %edi
	movl $PAGE_LARGE, %eax
	movl $(4 * 512), %ecx
2:	movl %eax, (%edi)
	movl $0, 4(%edi)
	addl $LARGE_PAGE, %eax
	addl $8, %edi
	loop 2b
	/* The image: from LINK_BASE on. `delta` is a multiple of the large page, by the header's demand. */
	leal (boot_image_directory - LINK_BASE)(%ebp), %edi
	leal PAGE_LARGE(%ebp), %eax
	movl $512, %ecx
3:	movl %eax, (%edi)
	movl $0, 4(%edi)
	addl $LARGE_PAGE, %eax
	addl $8, %edi
	loop 3b

	leal (boot_pointers - LINK_BASE)(%ebp), %edi
	leal (boot_directories - LINK_BASE + PAGE_PRESENT_WRITE)(%ebp), %eax
	movl %eax, (%edi)
	addl $0x1000, %eax
	movl %eax, 8(%edi)
	addl $0x1000, %eax
	movl %eax, 16(%edi)
	addl $0x1000, %eax
	movl %eax, 24(%edi)
	leal (boot_image_directory - LINK_BASE + PAGE_PRESENT_WRITE)(%ebp), %eax
	movl %eax, (boot_image_pointers - LINK_BASE + 510 * 8)(%ebp)
	leal (boot_pointers - LINK_BASE + PAGE_PRESENT_WRITE)(%ebp), %eax
	movl %eax, (boot_top - LINK_BASE)(%ebp)
	movl %eax, (boot_top - LINK_BASE + 256 * 8)(%ebp)
	leal (boot_image_pointers - LINK_BASE + PAGE_PRESENT_WRITE)(%ebp), %eax
	movl %eax, (boot_top - LINK_BASE + 511 * 8)(%ebp)

	leal (boot_top - LINK_BASE)(%ebp), %eax
	movl %eax, %cr3
	movl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $EFER, %ecx
	xorl %edx, %edx
	movl $EFER_LME_NXE, %eax
	wrmsr
	movl $CR0_PE_MP_NE_WP_PG, %eax
	movl %eax, %cr0

	/* The descriptor table's address depends on where we are. */
	leal (boot_gdt - LINK_BASE)(%ebp), %eax
	movl %eax, (boot_gdt_pointer - LINK_BASE + 2)(%ebp)
	lgdt (boot_gdt_pointer - LINK_BASE)(%ebp)
	leal (boot_far - LINK_BASE)(%ebp), %edi
	leal (4f - LINK_BASE)(%ebp), %eax
	movl %eax, (%edi)
	ljmp *(%edi)

	.code64
4:	movabsq $start64, %rax
	jmp *%rax
start64:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	leaq boot_stack_top(%rip), %rsp
	/* metal_start(magic, information, delta) */
	movl %esi, %edi
	movl %ebx, %esi
	movslq %ebp, %rdx
	xorl %ebp, %ebp
	call metal_start
	ud2

	.data
	.balign 8
boot_gdt:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
	.word . - boot_gdt - 1
	.long 0
boot_far:
	.long 0
	.word 8

	.bss
	.balign 4096
boot_top:
	.skip 4096
boot_pointers:
	.skip 4096
boot_image_pointers:
	.skip 4096
boot_image_directory:
	.skip 4096
boot_directories:
	.skip 4 * 4096

	/* Below it is a page that is mapped nowhere (link.ld, page_table.c). */
	.section .stack, "aw", @nobits
	.balign 4096
	.skip STACK_BYTES
boot_stack_top:

	.section .note.GNU-stack, "", @progbits
