/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - struct x86_state, the portable CPU: everything architectural about one vcpu.
 *
 * Every engine converts to and from it without loss. It is what makes a snapshot taken under one engine resume under another.
 * Names and bit layouts are the SDM's. No pointers, no padding that matters: two states are equal if their bytes are.
 */
#ifndef HOLON_X86_STATE_H
#define HOLON_X86_STATE_H

#include <stdint.h>

#include "x86/registers.h"

struct x86_segment {
	uint64_t base;
	uint32_t limit; /* in bytes, G applied: the last valid offset */
	uint16_t selector;
	uint16_t
		attributes; /* descriptor bits 40-47 in 7:0 (type, S, DPL, P), bits 52-55 in 15:12 (AVL, L, D/B, G); X86_SEGMENT_UNUSABLE */
};

struct x86_table { /* GDTR, IDTR */
	uint64_t base;
	uint64_t limit;
};

/* The first 160 bytes of an FXSAVE64 image, then MXCSR's mask as the model shows it. */
struct x86_x87 {
	uint16_t fcw, fsw;
	uint8_t ftw; /* abridged: a bit a physical register, 1 = not empty */
	uint8_t reserved;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16]; /* ST(0) first, 10 bytes used */
} __attribute__((aligned(16)));

struct x86_vector {
	uint8_t byte[32];
} __attribute__((aligned(32)));

/* The local APIC's registers, as their xAPIC page shows them, a 32-bit word each 16 bytes (KVM's layout), and what the page does not show. */
struct x86_apic_state {
	uint64_t base_msr;
	uint32_t reg[64];
	uint64_t tsc_deadline;
	uint64_t timer_start_ns; /* guest ns at which the initial count was written */
	uint64_t timer_next_ns;  /* guest ns of the next expiry; UINT64_MAX: stopped */
};

enum x86_activity { X86_RUNNING, X86_HALTED, X86_WAIT_FOR_SIPI, X86_SHUTDOWN };

/* An event that was accepted and not yet delivered (its delivery met no fault yet). */
struct x86_pending_event {
	uint8_t valid;
	uint8_t vector;
	uint8_t type; /* enum x86_event_type */
	uint8_t has_error;
	uint32_t error;
};

/* KVM's 0x4b564d02 to 06: asynchronous page faults, steal time, PV EOI, poll control, the first one's vector. vm/paravirt.c */
#define X86_PARAVIRT_MSRS 5

struct x86_state {
	uint64_t gpr[16];
	uint64_t rip;
	uint64_t rflags;
	struct x86_segment segment[6]; /* ES CS SS DS FS GS: the encoding's order */
	struct x86_segment ldtr, tr;
	struct x86_table gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t pdpte[4]; /* PAE: loaded with CR3 */
	uint64_t dr[4], dr6, dr7;
	uint64_t xcr0;
	/* MSRs */
	uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, tsc_adjust, misc_enable, mtrr_def_type, spec_ctrl;
	uint64_t mtrr_fixed[11], mtrr_variable[16];
	uint64_t mcg_status, mcg_ctl, mc[16];
	uint64_t debugctl, xss;
	uint64_t amd_hwcr; /* c0010015 */
	uint64_t msr_reserved[7];
	uint64_t pvclock_msr; /* kvmclock system time, 0: off */
	uint64_t paravirt_msr[X86_PARAVIRT_MSRS];
	/* x87, SSE, AVX */
	struct x86_x87 x87;
	struct x86_vector vector[16];
	uint32_t pkru;
	uint32_t activity;        /* enum x86_activity */
	uint8_t interrupt_shadow; /* X86_SHADOW_STI, X86_SHADOW_MOV_SS */
	uint8_t nmi_masked;
	uint8_t nmi_pending;
	uint8_t sipi_vector;
	uint32_t reserved;
	uint64_t pending_debug; /* DR6 bits of a trap not yet delivered */
	struct x86_pending_event pending;
	struct x86_apic_state apic;
};

#endif
