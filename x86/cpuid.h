/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.h - CPU models: what CPUID says, and so which instructions, MSRs and CR4 bits exist.
 *
 * A model is a table of CPUID leaves, computed once at VM creation from its name, masked to what Holon implements and, for
 * instructions that run on the host's processor, to what the host has. The vendor is part of the model: a named model is the same on every host.
 */
#ifndef HOLON_X86_CPUID_H
#define HOLON_X86_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/status.h>

struct x86_cpuid_leaf {
	uint32_t leaf, subleaf;
	uint32_t eax, ebx, ecx, edx;
};

/* The features that change behaviour elsewhere; a bit each, so that decode and CR4 checks need no leaf arithmetic. */
/* clang-format off */
enum x86_feature {
	X86_FEATURE_SSE3, X86_FEATURE_PCLMULQDQ, X86_FEATURE_SSSE3, X86_FEATURE_FMA, X86_FEATURE_CX16, X86_FEATURE_PCID, X86_FEATURE_SSE41,
	X86_FEATURE_SSE42, X86_FEATURE_X2APIC, X86_FEATURE_MOVBE, X86_FEATURE_POPCNT, X86_FEATURE_TSC_DEADLINE, X86_FEATURE_AES,
	X86_FEATURE_XSAVE, X86_FEATURE_AVX, X86_FEATURE_F16C, X86_FEATURE_RDRAND, X86_FEATURE_FSGSBASE, X86_FEATURE_BMI1, X86_FEATURE_AVX2,
	X86_FEATURE_SMEP, X86_FEATURE_BMI2, X86_FEATURE_ERMS, X86_FEATURE_INVPCID, X86_FEATURE_RDSEED, X86_FEATURE_ADX, X86_FEATURE_SMAP,
	X86_FEATURE_CLFLUSHOPT, X86_FEATURE_CLWB, X86_FEATURE_SHA, X86_FEATURE_UMIP, X86_FEATURE_PKU, X86_FEATURE_LA57, X86_FEATURE_RDPID,
	X86_FEATURE_LZCNT, X86_FEATURE_3DNOWPREFETCH, X86_FEATURE_RDTSCP, X86_FEATURE_NX, X86_FEATURE_PAGE1GB,
	X86_FEATURE_LM, X86_FEATURE_SYSCALL, X86_FEATURE_LAHF64, X86_FEATURE_XSAVEOPT, X86_FEATURE_XSAVEC, X86_FEATURE_XGETBV1,
	X86_FEATURE_VAES, X86_FEATURE_VPCLMULQDQ, X86_FEATURE_FSRM, X86_FEATURE_CLZERO,
	X86_FEATURES
};
/* clang-format on */

#define X86_SPECULATION_SPEC_CTRL 1u
#define X86_SPECULATION_PRED_CMD 2u
#define X86_SPECULATION_FLUSH_CMD 4u

/* Bits of CPUID.40000001:EAX that KVM may have and Holon offers with it; vm/paravirt.c. */
#define X86_PARAVIRT_ASYNC_PF (1u << 4)
#define X86_PARAVIRT_STEAL_TIME (1u << 5)
#define X86_PARAVIRT_EOI (1u << 6)
#define X86_PARAVIRT_UNHALT (1u << 7)
#define X86_PARAVIRT_TLB_FLUSH (1u << 9)
#define X86_PARAVIRT_SEND_IPI (1u << 11)
#define X86_PARAVIRT_POLL_CONTROL (1u << 12)
#define X86_PARAVIRT_SCHED_YIELD (1u << 13)
#define X86_PARAVIRT_ASYNC_PF_INT (1u << 14)
#define X86_PARAVIRT                                                                                                         \
	(X86_PARAVIRT_ASYNC_PF | X86_PARAVIRT_STEAL_TIME | X86_PARAVIRT_EOI | X86_PARAVIRT_UNHALT | X86_PARAVIRT_TLB_FLUSH | \
	 X86_PARAVIRT_SEND_IPI | X86_PARAVIRT_POLL_CONTROL | X86_PARAVIRT_SCHED_YIELD | X86_PARAVIRT_ASYNC_PF_INT)

#define X86_CPUID_LEAVES 64
struct x86_cpu_model {
	char name[32];
	bool intel;        /* vendor: GenuineIntel, else AuthenticAMD: SYSCALL/SYSENTER and canonical checks differ */
	uint64_t features; /* 1 << enum x86_feature; fewer than 64 of them */
	uint64_t features_high;
	unsigned physical_bits, linear_bits;
	uint64_t cr4_allowed, xcr0_allowed, efer_allowed;
	uint64_t arch_capabilities; /* IA32_ARCH_CAPABILITIES, where CPUID has it */
	uint32_t speculation;       /* X86_SPECULATION_*: MSRs against speculation that there are */
	uint32_t paravirt;          /* X86_PARAVIRT_*: 0 unless an engine has them */
	unsigned cpus;
	uint32_t tsc_khz;
	unsigned leaves;
	struct x86_cpuid_leaf leaf[X86_CPUID_LEAVES];
};

/* Names: x86-64-v2, x86-64-v3, host, max. STATUS_NOT_FOUND lists them in `why`; STATUS_UNSUPPORTED: the host lacks what the model needs. */
enum status x86_cpu_model_find(struct x86_cpu_model *model, const char *name, unsigned cpus, uint32_t tsc_khz, struct reason *why);
/*
 * For an engine that runs the guest on the host's processor: takes away what `cpuid` (the engine's own CPUID on this host) does not have. The identity
 * becomes the host's, with its controls of speculation: a guest must see what it has to protect itself from. KVM's paravirtual features come with it. `arch_capabilities`: the host's.
 */
void x86_cpu_model_mask(struct x86_cpu_model *model,
			struct x86_cpuid_leaf (*cpuid)(const void *owner, uint32_t leaf, uint32_t subleaf), const void *owner,
			uint64_t arch_capabilities);
static inline bool x86_has(const struct x86_cpu_model *model, enum x86_feature feature)
{
	return model->features >> feature & 1;
}

struct x86_cpu;
/* What CPUID with this EAX and ECX gives on this cpu now (APIC ID, OSXSAVE, XSAVE sizes by XCR0). */
struct x86_cpuid_leaf x86_cpuid(const struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf);

#endif
