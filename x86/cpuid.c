/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.c - CPU models: which features each has, from a table, and how CPUID answers on a running cpu. The leaves' contents are in cpuid_leaf.c.
 *
 * Models. x86-64-v2 and x86-64-v3 are the levels of the x86-64 psABI plus what Holon does in software (so that every host has it); they are the
 * same on every host. `host` is the host's processor, less what we do not implement. `max` is everything that we implement and the host can run.
 *
 * Identity. v2, v3 and max say GenuineIntel, family 6, model 0x36: Saltwell, the last in-order Atom. A guest kernel chooses its mitigations by
 * family and model, and Holon's own engines do not speculate on the guest's behalf. Linux (arch/x86/kernel/cpu/common.c, cpu_vuln_whitelist, the
 * same from 4.15 to today) lists this model as NO_SPECULATION | NO_ITLB_MULTIHIT: cpu_set_bug_bits() returns at once, every file under
 * /sys/devices/system/cpu/vulnerabilities says "Not affected", and there is no page-table isolation, no retpoline, no return thunk that untrains,
 * no buffer clearing, no RSB stuffing on a context switch. The alternatives cost: AMD family 19h gets retpolines and, from 6.1.44 on,
 * SRSO's safe-ret on every return; a recent Intel model gets eIBRS with RSB stuffing, LFENCE after SWAPGS and, without BHI_NO, a branch-history loop on
 * every system call. Model 0x36 is not among the models for which Linux reads Atom clock MSRs (tsc_msr.c: 0x27, 0x35, 0x37...), has no errata checks there, and
 * falls through to the generic path of every BSD. IA32_ARCH_CAPABILITIES says RDCL_NO and its siblings for systems that decide by that
 * (FreeBSD, OpenBSD, Windows). Engines that run guest code on the host's own processor (KVM) must not offer this identity where the
 * host's processor is vulnerable and isolation inside the guest counts: that is what `host` is for.
 */
#include "x86/cpuid.h"

#include <holon/host.h>

#include "x86/cpuid_leaf.h"
#include "x86/registers.h"

/* None of the known flaws are in a processor that does not speculate. SDM vol. 4, IA32_ARCH_CAPABILITIES. */
#define ARCH_CAPABILITIES_NO_SPECULATION                                                                                           \
	(X86_BIT(0) /* RDCL_NO */ | X86_BIT(3) /* SKIP_L1DFL_VMENTRY */ | X86_BIT(4) /* SSB_NO */ | X86_BIT(5) /* MDS_NO */ |      \
	 X86_BIT(6) /* PSCHANGE_MC_NO */ | X86_BIT(8) /* TAA_NO */ | X86_BIT(13) /* SBDR_SSDP_NO */ | X86_BIT(14) /* FBSDP_NO */ | \
	 X86_BIT(15) /* PSDP_NO */ | X86_BIT(20) /* BHI_NO */ | X86_BIT(24) /* PBRSB_NO */ | X86_BIT(26) /* GDS_NO */ |            \
	 X86_BIT(27) /* RFDS_NO */ | X86_BIT(62) /* ITS_NO */)

#define LEVEL_V2 1u
#define LEVEL_V3 2u
#define LEVEL_MAX 4u
#define ALL (LEVEL_V2 | LEVEL_V3 | LEVEL_MAX)
#define V3 (LEVEL_V3 | LEVEL_MAX)

enum runs_on {
	SOFTWARE,
	HOST,
	LOCAL_APIC
}; /* who executes it: ours in C, the host's processor, or a local APIC that no host's processor has to have */

/* `levels`: the named models that have it. SOFTWARE features are there whatever the host has (but `host` shows only what its host shows), LOCAL_APIC ones always. */
static const struct feature_row {
	enum x86_feature feature;
	const char *name;
	uint32_t leaf;
	enum cpuid_register reg;
	uint8_t bit;
	enum runs_on runs_on;
	unsigned levels;
} features[] = {
	{X86_FEATURE_SSE3, "sse3", 1, ECX, 0, HOST, ALL},
	{X86_FEATURE_PCLMULQDQ, "pclmulqdq", 1, ECX, 1, HOST, V3},
	{X86_FEATURE_SSSE3, "ssse3", 1, ECX, 9, HOST, ALL},
	{X86_FEATURE_FMA, "fma", 1, ECX, 12, HOST, V3},
	{X86_FEATURE_CX16, "cx16", 1, ECX, 13, HOST, ALL},
	{X86_FEATURE_PCID, "pcid", 1, ECX, 17, SOFTWARE, ALL},
	{X86_FEATURE_SSE41, "sse4.1", 1, ECX, 19, HOST, ALL},
	{X86_FEATURE_SSE42, "sse4.2", 1, ECX, 20, HOST, ALL},
	{X86_FEATURE_X2APIC, "x2apic", 1, ECX, 21, LOCAL_APIC, ALL},
	{X86_FEATURE_MOVBE, "movbe", 1, ECX, 22, SOFTWARE, V3},
	{X86_FEATURE_POPCNT, "popcnt", 1, ECX, 23, HOST, ALL},
	{X86_FEATURE_TSC_DEADLINE, "tsc-deadline", 1, ECX, 24, LOCAL_APIC, ALL},
	{X86_FEATURE_AES, "aes", 1, ECX, 25, HOST, V3},
	{X86_FEATURE_XSAVE, "xsave", 1, ECX, 26, HOST, V3},
	{X86_FEATURE_AVX, "avx", 1, ECX, 28, HOST, V3},
	{X86_FEATURE_F16C, "f16c", 1, ECX, 29, HOST, V3},
	{X86_FEATURE_RDRAND, "rdrand", 1, ECX, 30, SOFTWARE, ALL},
	{X86_FEATURE_FSGSBASE, "fsgsbase", 7, EBX, 0, SOFTWARE, ALL},
	{X86_FEATURE_BMI1, "bmi1", 7, EBX, 3, HOST, V3},
	{X86_FEATURE_AVX2, "avx2", 7, EBX, 5, HOST, V3},
	{X86_FEATURE_SMEP, "smep", 7, EBX, 7, SOFTWARE, ALL},
	{X86_FEATURE_BMI2, "bmi2", 7, EBX, 8, HOST, V3},
	{X86_FEATURE_ERMS, "erms", 7, EBX, 9, SOFTWARE, ALL},
	{X86_FEATURE_INVPCID, "invpcid", 7, EBX, 10, SOFTWARE, ALL},
	{X86_FEATURE_RDSEED, "rdseed", 7, EBX, 18, SOFTWARE, ALL},
	{X86_FEATURE_ADX, "adx", 7, EBX, 19, HOST, LEVEL_MAX},
	{X86_FEATURE_SMAP, "smap", 7, EBX, 20, SOFTWARE, ALL},
	{X86_FEATURE_CLFLUSHOPT, "clflushopt", 7, EBX, 23, SOFTWARE, LEVEL_MAX},
	{X86_FEATURE_CLWB, "clwb", 7, EBX, 24, SOFTWARE, LEVEL_MAX},
	{X86_FEATURE_SHA, "sha", 7, EBX, 29, HOST, LEVEL_MAX},
	{X86_FEATURE_UMIP, "umip", 7, ECX, 2, SOFTWARE, ALL},
	{X86_FEATURE_PKU, "pku", 7, ECX, 3, SOFTWARE, LEVEL_MAX},
	{X86_FEATURE_VAES, "vaes", 7, ECX, 9, HOST, LEVEL_MAX},
	{X86_FEATURE_VPCLMULQDQ, "vpclmulqdq", 7, ECX, 10, HOST, LEVEL_MAX},
	{X86_FEATURE_LA57, "la57", 7, ECX, 16, SOFTWARE, LEVEL_MAX},
	{X86_FEATURE_RDPID, "rdpid", 7, ECX, 22, SOFTWARE, LEVEL_MAX},
	{X86_FEATURE_FSRM, "fsrm", 7, EDX, 4, SOFTWARE, ALL},
	{X86_FEATURE_LAHF64, "lahf-lm", 0x80000001, ECX, 0, SOFTWARE, ALL},
	{X86_FEATURE_LZCNT, "lzcnt", 0x80000001, ECX, 5, HOST, V3},
	{X86_FEATURE_3DNOWPREFETCH, "3dnowprefetch", 0x80000001, ECX, 8, SOFTWARE, V3},
	{X86_FEATURE_SYSCALL, "syscall", 0x80000001, EDX, 11, SOFTWARE, ALL},
	{X86_FEATURE_NX, "nx", 0x80000001, EDX, 20, SOFTWARE, ALL},
	{X86_FEATURE_PAGE1GB, "pdpe1gb", 0x80000001, EDX, 26, SOFTWARE, ALL},
	{X86_FEATURE_RDTSCP, "rdtscp", 0x80000001, EDX, 27, SOFTWARE, ALL},
	{X86_FEATURE_LM, "lm", 0x80000001, EDX, 29, SOFTWARE, ALL},
	{X86_FEATURE_XSAVEOPT, "xsaveopt", CPUID_XSAVE_1, EAX, 0, SOFTWARE, V3},
	{X86_FEATURE_XSAVEC, "xsavec", CPUID_XSAVE_1, EAX, 1, SOFTWARE, V3},
	{X86_FEATURE_XGETBV1, "xgetbv1", CPUID_XSAVE_1, EAX, 2, SOFTWARE, V3},
	{X86_FEATURE_CLZERO, "clzero", 0x80000008, EBX, 0, SOFTWARE, LEVEL_MAX},
};
#define FEATURE_ROWS (sizeof(features) / sizeof(features[0]))

static const struct model_row {
	const char *name;
	unsigned level; /* 0: `host` */
	const char *brand;
} models[] = {
	{"x86-64-v2", LEVEL_V2, "Holon x86-64-v2 virtual processor"},
	{"x86-64-v3", LEVEL_V3, "Holon x86-64-v3 virtual processor"},
	{"host", 0, 0},
	{"max", LEVEL_MAX, "Holon virtual processor"},
};

static bool text_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* Does the host's processor have it, with its registers enabled by the host's kernel? */
static bool host_has(const struct feature_row *row)
{
	struct x86_cpuid_leaf leaf;
	uint32_t reg[4];

	if ((row->leaf & 0x80000000 ? x86_cpuid_host(0x80000000, 0).eax : x86_cpuid_host(0, 0).eax) <
	    (row->leaf == CPUID_XSAVE_1 ? 0xd : row->leaf))
		return false;
	leaf = row->leaf == CPUID_XSAVE_1 ? x86_cpuid_host(0xd, 1) : x86_cpuid_host(row->leaf, 0);
	reg[EAX] = leaf.eax;
	reg[EBX] = leaf.ebx;
	reg[ECX] = leaf.ecx;
	reg[EDX] = leaf.edx;
	if (!(reg[row->reg] >> row->bit & 1))
		return false;
	switch (row->feature) {
	case X86_FEATURE_AVX:
	case X86_FEATURE_AVX2:
	case X86_FEATURE_FMA:
	case X86_FEATURE_F16C:
	case X86_FEATURE_VAES:
	case X86_FEATURE_VPCLMULQDQ:
		return (x86_cpuid_host_xcr0() & (X86_XCR0_SSE | X86_XCR0_AVX)) == (X86_XCR0_SSE | X86_XCR0_AVX);
	case X86_FEATURE_XSAVE: return x86_cpuid_host_xcr0() & X86_XCR0_SSE;
	default: return true;
	}
}

/* Features that mean nothing without another. */
static uint64_t features_closed(uint64_t set)
{
	static const struct {
		enum x86_feature feature, needs;
	} rules[] = {
		{X86_FEATURE_AVX, X86_FEATURE_XSAVE},      {X86_FEATURE_AVX2, X86_FEATURE_AVX},
		{X86_FEATURE_FMA, X86_FEATURE_AVX},        {X86_FEATURE_F16C, X86_FEATURE_AVX},
		{X86_FEATURE_VAES, X86_FEATURE_AVX},       {X86_FEATURE_VAES, X86_FEATURE_AES},
		{X86_FEATURE_VPCLMULQDQ, X86_FEATURE_AVX}, {X86_FEATURE_PKU, X86_FEATURE_XSAVE},
		{X86_FEATURE_XSAVEOPT, X86_FEATURE_XSAVE}, {X86_FEATURE_XSAVEC, X86_FEATURE_XSAVE},
		{X86_FEATURE_XGETBV1, X86_FEATURE_XSAVE},
	};

	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (!(set >> rules[i].needs & 1))
			set &= ~(UINT64_C(1) << rules[i].feature);
	return set;
}

static enum status features_choose(struct x86_cpu_model *model, unsigned level, struct reason *why)
{
	char lacking[256];
	size_t length = 0;

	for (unsigned i = 0; i < FEATURE_ROWS; i++) {
		const struct feature_row *row = &features[i];
		bool wanted = level == 0 || row->levels & level;
		bool there = (row->runs_on == SOFTWARE && level) || row->runs_on == LOCAL_APIC || host_has(row);

		if (wanted && there)
			model->features |= UINT64_C(1) << row->feature;
		else if (wanted && level && level != LEVEL_MAX && length < sizeof(lacking))
			length += (size_t)host_format(lacking + length, sizeof(lacking) - length, " %s", row->name);
	}
	model->features = features_closed(model->features);
	if (length)
		return reason_give(why, STATUS_UNSUPPORTED,
				   "--cpu %s: this host's processor lacks%s: choose another model (host always works)", model->name,
				   lacking);
	return STATUS_OK;
}

static void limits_compute(struct x86_cpu_model *model)
{
	static const struct {
		enum x86_feature feature;
		uint64_t cr4;
	} bits[] = {
		{X86_FEATURE_UMIP, X86_CR4_UMIP},  {X86_FEATURE_LA57, X86_CR4_LA57},     {X86_FEATURE_FSGSBASE, X86_CR4_FSGSBASE},
		{X86_FEATURE_PCID, X86_CR4_PCIDE}, {X86_FEATURE_XSAVE, X86_CR4_OSXSAVE}, {X86_FEATURE_SMEP, X86_CR4_SMEP},
		{X86_FEATURE_SMAP, X86_CR4_SMAP},  {X86_FEATURE_PKU, X86_CR4_PKE},
	};

	model->physical_bits = CPUID_PHYSICAL_BITS;
	model->linear_bits = x86_has(model, X86_FEATURE_LA57) ? 57 : 48;
	model->cr4_allowed = X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE |
			     X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
	for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		if (x86_has(model, bits[i].feature))
			model->cr4_allowed |= bits[i].cr4;
	model->efer_allowed = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
	model->xcr0_allowed = X86_XCR0_X87;
	if (x86_has(model, X86_FEATURE_XSAVE))
		model->xcr0_allowed |= X86_XCR0_SSE;
	if (x86_has(model, X86_FEATURE_AVX))
		model->xcr0_allowed |= X86_XCR0_AVX;
	if (x86_has(model, X86_FEATURE_PKU))
		model->xcr0_allowed |= X86_XCR0_PKRU;
}

static uint32_t leaf_register(const struct x86_cpuid_leaf *leaf, enum cpuid_register reg)
{
	switch (reg) {
	case EAX: return leaf->eax;
	case EBX: return leaf->ebx;
	case ECX: return leaf->ecx;
	default: return leaf->edx;
	}
}

void x86_cpu_model_mask(struct x86_cpu_model *model,
			struct x86_cpuid_leaf (*cpuid)(const void *owner, uint32_t leaf, uint32_t subleaf), const void *owner,
			uint64_t arch_capabilities)
{
	unsigned physical = cpuid(owner, 0x80000008, 0).eax & 0xff;

	for (unsigned i = 0; i < FEATURE_ROWS; i++) {
		const struct feature_row *row = &features[i];
		struct x86_cpuid_leaf leaf = row->leaf == CPUID_XSAVE_1 ? cpuid(owner, 0xd, 1) : cpuid(owner, row->leaf, 0);

		if (!(leaf_register(&leaf, row->reg) >> row->bit & 1))
			model->features &= ~(UINT64_C(1) << row->feature);
	}
	model->features = features_closed(model->features);
	limits_compute(model);
	if (physical && physical < model->physical_bits)
		model->physical_bits = physical;
	model->intel = !x86_cpuid_host_amd();
	model->arch_capabilities = arch_capabilities;
	model->paravirt = cpuid(owner, 0x40000001, 0).eax & X86_PARAVIRT;
	model->leaves = 0;
	x86_cpuid_leaves_make(model, 0);
	x86_cpuid_speculation_add(model, cpuid, owner);
}

uint32_t x86_cpuid_feature_bits(const struct x86_cpu_model *model, uint32_t leaf, enum cpuid_register reg)
{
	uint32_t bits = 0;

	for (unsigned i = 0; i < FEATURE_ROWS; i++)
		if (features[i].leaf == leaf && features[i].reg == reg && x86_has(model, features[i].feature))
			bits |= UINT32_C(1) << features[i].bit;
	return bits;
}

enum status x86_cpu_model_find(struct x86_cpu_model *model, const char *name, unsigned cpus, uint32_t tsc_khz, struct reason *why)
{
	const struct model_row *row = 0;
	enum status status;

	for (unsigned i = 0; i < sizeof(models) / sizeof(models[0]); i++)
		if (text_equal(name, models[i].name))
			row = &models[i];
	if (!row)
		return reason_give(why, STATUS_NOT_FOUND, "--cpu %s: no such model: choose x86-64-v2, x86-64-v3, host or max",
				   name);
	__builtin_memset(model, 0, sizeof(*model));
	host_format(model->name, sizeof(model->name), "%s", row->name);
	model->cpus = cpus;
	model->tsc_khz = tsc_khz;
	model->intel = row->level || !x86_cpuid_host_amd();
	status = features_choose(model, row->level, why);
	if (status != STATUS_OK)
		return status;
	limits_compute(model);
	model->arch_capabilities = ARCH_CAPABILITIES_NO_SPECULATION;
	x86_cpuid_leaves_make(model, row->brand);
	return STATUS_OK;
}
