/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registers.h - the bits of x86's registers, spelled as the SDM spells them (vol. 3, 2 and 4; vol. 1, 3).
 */
#ifndef HOLON_X86_REGISTERS_H
#define HOLON_X86_REGISTERS_H

#include <stdint.h>

#define X86_BIT(n) (UINT64_C(1) << (n))

/* clang-format off */
enum x86_gpr { X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI, X86_R8, X86_R9, X86_R10, X86_R11,
	       X86_R12, X86_R13, X86_R14, X86_R15 };
/* clang-format on */
enum x86_segment_register { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS };

#define X86_FLAG_CF X86_BIT(0)
#define X86_FLAG_FIXED X86_BIT(1)
#define X86_FLAG_PF X86_BIT(2)
#define X86_FLAG_AF X86_BIT(4)
#define X86_FLAG_ZF X86_BIT(6)
#define X86_FLAG_SF X86_BIT(7)
#define X86_FLAG_TF X86_BIT(8)
#define X86_FLAG_IF X86_BIT(9)
#define X86_FLAG_DF X86_BIT(10)
#define X86_FLAG_OF X86_BIT(11)
#define X86_FLAG_IOPL (X86_BIT(12) | X86_BIT(13))
#define X86_FLAG_NT X86_BIT(14)
#define X86_FLAG_RF X86_BIT(16)
#define X86_FLAG_VM X86_BIT(17)
#define X86_FLAG_AC X86_BIT(18)
#define X86_FLAG_VIF X86_BIT(19)
#define X86_FLAG_VIP X86_BIT(20)
#define X86_FLAG_ID X86_BIT(21)
#define X86_FLAGS_STATUS (X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_AF | X86_FLAG_ZF | X86_FLAG_SF | X86_FLAG_OF)

#define X86_CR0_PE X86_BIT(0)
#define X86_CR0_MP X86_BIT(1)
#define X86_CR0_EM X86_BIT(2)
#define X86_CR0_TS X86_BIT(3)
#define X86_CR0_ET X86_BIT(4)
#define X86_CR0_NE X86_BIT(5)
#define X86_CR0_WP X86_BIT(16)
#define X86_CR0_AM X86_BIT(18)
#define X86_CR0_NW X86_BIT(29)
#define X86_CR0_CD X86_BIT(30)
#define X86_CR0_PG X86_BIT(31)

#define X86_CR4_VME X86_BIT(0)
#define X86_CR4_PVI X86_BIT(1)
#define X86_CR4_TSD X86_BIT(2)
#define X86_CR4_DE X86_BIT(3)
#define X86_CR4_PSE X86_BIT(4)
#define X86_CR4_PAE X86_BIT(5)
#define X86_CR4_MCE X86_BIT(6)
#define X86_CR4_PGE X86_BIT(7)
#define X86_CR4_PCE X86_BIT(8)
#define X86_CR4_OSFXSR X86_BIT(9)
#define X86_CR4_OSXMMEXCPT X86_BIT(10)
#define X86_CR4_UMIP X86_BIT(11)
#define X86_CR4_LA57 X86_BIT(12)
#define X86_CR4_FSGSBASE X86_BIT(16)
#define X86_CR4_PCIDE X86_BIT(17)
#define X86_CR4_OSXSAVE X86_BIT(18)
#define X86_CR4_SMEP X86_BIT(20)
#define X86_CR4_SMAP X86_BIT(21)
#define X86_CR4_PKE X86_BIT(22)

#define X86_EFER_SCE X86_BIT(0)
#define X86_EFER_LME X86_BIT(8)
#define X86_EFER_LMA X86_BIT(10)
#define X86_EFER_NXE X86_BIT(11)

#define X86_XCR0_X87 X86_BIT(0)
#define X86_XCR0_SSE X86_BIT(1)
#define X86_XCR0_AVX X86_BIT(2)
#define X86_XCR0_PKRU X86_BIT(9)

/* x86_segment.attributes (the layout of a descriptor's second word, bits 8-23, limit bits left out). */
#define X86_SEGMENT_TYPE 0x000fu
#define X86_SEGMENT_ACCESSED 0x0001u
#define X86_SEGMENT_WRITABLE 0x0002u /* data */
#define X86_SEGMENT_READABLE 0x0002u /* code */
#define X86_SEGMENT_EXPAND_DOWN 0x0004u
#define X86_SEGMENT_CONFORMING 0x0004u
#define X86_SEGMENT_CODE 0x0008u
#define X86_SEGMENT_S 0x0010u
#define X86_SEGMENT_DPL_SHIFT 5
#define X86_SEGMENT_DPL 0x0060u
#define X86_SEGMENT_P 0x0080u
#define X86_SEGMENT_UNUSABLE 0x0100u /* ours: loaded with a null selector */
#define X86_SEGMENT_AVL 0x1000u
#define X86_SEGMENT_L 0x2000u
#define X86_SEGMENT_DB 0x4000u
#define X86_SEGMENT_G 0x8000u

/* clang-format off */
enum x86_vector_number { X86_DE = 0, X86_DB = 1, X86_NMI = 2, X86_BP = 3, X86_OF = 4, X86_BR = 5, X86_UD = 6, X86_NM = 7, X86_DF = 8,
			 X86_TS = 10, X86_NP = 11, X86_SS_FAULT = 12, X86_GP = 13, X86_PF = 14, X86_MF = 16, X86_AC = 17, X86_MC = 18, X86_XM = 19 };
/* clang-format on */

#define X86_PF_P 1u
#define X86_PF_W 2u
#define X86_PF_U 4u
#define X86_PF_RSVD 8u
#define X86_PF_I 16u
#define X86_PF_PK 32u

#define X86_DR6_FIXED UINT64_C(0xffff0ff0)
#define X86_DR6_BD X86_BIT(13)
#define X86_DR6_BS X86_BIT(14)
#define X86_DR6_BT X86_BIT(15)
#define X86_DR7_FIXED UINT64_C(0x400)
#define X86_DR7_GD X86_BIT(13)

#define X86_SHADOW_STI 1u
#define X86_SHADOW_MOV_SS 2u

#define X86_MSR_TSC 0x10u
#define X86_MSR_APIC_BASE 0x1bu
#define X86_MSR_TSC_ADJUST 0x3bu
#define X86_MSR_SYSENTER_CS 0x174u
#define X86_MSR_SYSENTER_ESP 0x175u
#define X86_MSR_SYSENTER_EIP 0x176u
#define X86_MSR_MISC_ENABLE 0x1a0u
#define X86_MSR_PAT 0x277u
#define X86_MSR_MTRR_DEF_TYPE 0x2ffu
#define X86_MSR_TSC_DEADLINE 0x6e0u
#define X86_MSR_X2APIC 0x800u
#define X86_MSR_EFER 0xc0000080u
#define X86_MSR_STAR 0xc0000081u
#define X86_MSR_LSTAR 0xc0000082u
#define X86_MSR_CSTAR 0xc0000083u
#define X86_MSR_SFMASK 0xc0000084u
#define X86_MSR_FS_BASE 0xc0000100u
#define X86_MSR_GS_BASE 0xc0000101u
#define X86_MSR_KERNEL_GS_BASE 0xc0000102u
#define X86_MSR_TSC_AUX 0xc0000103u

#endif
