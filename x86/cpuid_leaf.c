/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid_leaf.c - the contents of CPUID's leaves for a model (SDM vol. 2, CPUID; APM vol. 3, E), and the answer on a running cpu.
 *
 * Leaves are made once, when the model is; only what depends on the cpu asked (APIC ID, CR4, XCR0) is patched in x86_cpuid().
 */
#include "x86/cpuid_leaf.h"

#include "x86/cpu.h"

#define SIGNATURE_SALTWELL 0x00030661u /* family 6, model 0x36, stepping 1: see cpuid.c */
#define BUS_KHZ 1000000u               /* the local APIC's timer counts nanoseconds */

/* FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 */
#define LEAF1_EDX 0x078bfbfdu
#define LEAF1_EDX_APIC X86_BIT(9)
#define LEAF1_EDX_HTT X86_BIT(28)
#define LEAF1_ECX_OSXSAVE X86_BIT(27)
#define LEAF1_ECX_HYPERVISOR X86_BIT(31)
#define LEAF7_EBX_TSC_ADJUST X86_BIT(1)
#define LEAF7_EBX_NO_FCS_FDS X86_BIT(13)
#define LEAF7_ECX_OSPKE X86_BIT(4)
#define LEAF7_EDX_ARCH_CAPABILITIES X86_BIT(29)
#define LEAF7_EDX_IBRS_IBPB X86_BIT(26)
#define LEAF7_EDX_L1D_FLUSH X86_BIT(28)
#define LEAF7_EDX_SPEC_CTRL_MSR (LEAF7_EDX_IBRS_IBPB | X86_BIT(27) /* STIBP */ | X86_BIT(31) /* SSBD */)
#define LEAF7_EDX_SPECULATION (LEAF7_EDX_SPEC_CTRL_MSR | LEAF7_EDX_L1D_FLUSH | X86_BIT(10) /* MD_CLEAR */)
#define EXT8_EBX_IBPB X86_BIT(12)
#define EXT8_EBX_SPEC_CTRL_MSR (X86_BIT(14) /* IBRS */ | X86_BIT(15) /* STIBP */ | X86_BIT(24) /* SSBD */)
/* And that IBRS or STIBP are best left on, that IBRS holds over a change of mode, SSB_NO, BTC_NO, IBPB_RET. */
#define EXT8_EBX_SPECULATION                                                                                            \
	(EXT8_EBX_IBPB | EXT8_EBX_SPEC_CTRL_MSR | X86_BIT(16) | X86_BIT(17) | X86_BIT(18) | X86_BIT(19) | X86_BIT(26) | \
	 X86_BIT(29) | X86_BIT(30))
#define EXT21_EAX_SPECULATION \
	(X86_BIT(27) /* SBPB */ | X86_BIT(28) /* IBPB_BRTYPE */ | X86_BIT(29) /* SRSO_NO */ | X86_BIT(30) /* SRSO_USER_KERNEL_NO */)
#define EXT1_EDX_AMD_ALIASES 0x0183f3ffu /* leaf 1's bits that AMD repeats */
#define EXT1_ECX_CMP_LEGACY X86_BIT(1)
#define EXT1_ECX_TOPOEXT X86_BIT(22)
#define EXT7_EDX_INVARIANT_TSC X86_BIT(8)
#define EXT21_EAX_LFENCE_SERIALISING X86_BIT(2)
#define EXT21_EAX_NULL_CLEARS_BASE X86_BIT(6)
#define KVM_CLOCKSOURCE2 X86_BIT(3)
#define KVM_NOP_IO_DELAY X86_BIT(1)
#define KVM_CLOCKSOURCE_STABLE X86_BIT(24)

struct x86_cpuid_leaf x86_cpuid_host(uint32_t leaf, uint32_t subleaf)
{
	struct x86_cpuid_leaf out = {.leaf = leaf, .subleaf = subleaf};

	__asm__ volatile("cpuid" : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx) : "a"(leaf), "c"(subleaf));
	return out;
}

uint64_t x86_cpuid_host_xcr0(void)
{
	uint32_t low, high;

	if (!(x86_cpuid_host(1, 0).ecx & LEAF1_ECX_OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

bool x86_cpuid_host_amd(void)
{
	struct x86_cpuid_leaf leaf = x86_cpuid_host(0, 0);

	return leaf.ebx == 0x68747541 && leaf.edx == 0x69746e65 && leaf.ecx == 0x444d4163; /* AuthenticAMD */
}

static void leaf_add(struct x86_cpu_model *model, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
		     uint32_t edx)
{
	model->leaf[model->leaves++] = (struct x86_cpuid_leaf){leaf, subleaf, eax, ebx, ecx, edx};
}

/* Bits that an APIC ID needs to tell the cpus apart. */
static unsigned id_bits(const struct x86_cpu_model *model)
{
	unsigned bits = 0;

	while (1u << bits < model->cpus)
		bits++;
	return bits;
}

/* Caches as leaf 4 and leaf 0x8000001d describe them: the same bits. `sharing`: cpus minus one. */
static void caches_add(struct x86_cpu_model *model, uint32_t leaf)
{
	static const struct {
		uint32_t type, level, ways, sets;
	} caches[] = {{1, 1, 8, 64}, {2, 1, 8, 64}, {3, 2, 16, 1024}, {3, 3, 16, 16384}};
	uint32_t all = (1u << id_bits(model)) - 1;

	for (unsigned i = 0; i < 4; i++) {
		uint32_t eax = caches[i].type | caches[i].level << 5 | 1u << 8;

		if (caches[i].level == 3)
			eax |= all << 14;
		if (leaf == 4)
			eax |= (all > 63 ? 63 : all) << 26;
		leaf_add(model, leaf, i, eax, (caches[i].ways - 1) << 22 | 63, caches[i].sets - 1, 0);
	}
	leaf_add(model, leaf, 4, 0, 0, 0, 0);
}

static void topology_add(struct x86_cpu_model *model, uint32_t leaf)
{
	leaf_add(model, leaf, 0, 0, 1, 1 << 8, 0);                            /* one thread a core */
	leaf_add(model, leaf, 1, id_bits(model), model->cpus, 1 | 2 << 8, 0); /* one package */
	leaf_add(model, leaf, 2, 0, 0, 2, 0);
}

/* Offsets of the XSAVE area's components: the standard form's, which the SDM leaves to the processor and every processor has. */
static uint32_t xsave_size(uint64_t components, bool compacted)
{
	uint32_t size = 576;

	if (components & X86_XCR0_AVX)
		size = 576 + 256;
	if (components & X86_XCR0_PKRU)
		size = compacted ? size + 8 : 2688 + 8;
	return size;
}

static void xsave_add(struct x86_cpu_model *model)
{
	uint64_t all = model->xcr0_allowed;

	if (!x86_has(model, X86_FEATURE_XSAVE))
		return;
	leaf_add(model, 0xd, 0, (uint32_t)all, 0, xsave_size(all, false), 0);
	leaf_add(model, 0xd, 1, x86_cpuid_feature_bits(model, CPUID_XSAVE_1, EAX), 0, 0, 0);
	if (all & X86_XCR0_AVX)
		leaf_add(model, 0xd, 2, 256, 576, 0, 0);
	if (all & X86_XCR0_PKRU)
		leaf_add(model, 0xd, 9, 8, 2688, 0, 0);
}

#define NUMERATOR_LIMIT (UINT32_MAX / BUS_KHZ)

/* How far n / d is from tsc_khz / BUS_KHZ, times d and BUS_KHZ. */
static uint64_t fraction_error(uint32_t tsc_khz, uint64_t n, uint64_t d)
{
	uint64_t a = n * BUS_KHZ, b = d * tsc_khz;

	return a > b ? a - b : b - a;
}

/*
 * TSC = crystal * numerator / denominator. The crystal is the APIC timer's clock (guests take it for that), and Linux multiplies crystal kHz by the
 * numerator in 32 bits, so the numerator must stay below 4295. This is the best such fraction (the last convergent of the continued fraction, or the
 * semiconvergent after it): mostly good to 1 ppm, at worst, right beside a small fraction, to 120. Leaf 0x40000010 has the exact frequency.
 */
static void tsc_fraction(uint32_t tsc_khz, uint32_t *numerator, uint32_t *denominator)
{
	uint64_t n = tsc_khz, d = BUS_KHZ, h0 = 0, h1 = 1, k0 = 1, k1 = 0;

	while (d) {
		uint64_t whole = n / d, rest = n % d, h = whole * h1 + h0, k = whole * k1 + k0;

		if (h >= NUMERATOR_LIMIT) {
			whole = (NUMERATOR_LIMIT - 1 - h0) / h1;
			h = whole * h1 + h0;
			k = whole * k1 + k0;
			if (k && k1 && fraction_error(tsc_khz, h, k) * k1 < fraction_error(tsc_khz, h1, k1) * k) {
				h1 = h;
				k1 = k;
			}
			break;
		}
		h0 = h1;
		h1 = h;
		k0 = k1;
		k1 = k;
		n = d;
		d = rest;
	}
	*numerator = k1 ? (uint32_t)h1 : 0;
	*denominator = (uint32_t)k1;
}

static void basic_add(struct x86_cpu_model *model, uint32_t signature)
{
	uint32_t edx = (uint32_t)(LEAF1_EDX | (model->cpus > 1 ? LEAF1_EDX_HTT : 0));
	/* Selectors are not kept (x87_environment.c), FDP always is (x87.c): no FDP_EXCPTN_ONLY. AMD has no bit for either. */
	uint32_t leaf7_ebx = x86_cpuid_feature_bits(model, 7, EBX) | (uint32_t)LEAF7_EBX_TSC_ADJUST |
			     (model->intel ? (uint32_t)LEAF7_EBX_NO_FCS_FDS : 0);
	uint32_t numerator, denominator;

	leaf_add(model, 1, 0, signature, 8 << 8 | (1u << id_bits(model)) << 16,
		 x86_cpuid_feature_bits(model, 1, ECX) | (uint32_t)LEAF1_ECX_HYPERVISOR, edx);
	leaf_add(model, 6, 0, 1 << 2, 0, 0, 0); /* ARAT: the APIC timer never stops */
	leaf_add(model, 7, 0, 0, leaf7_ebx, x86_cpuid_feature_bits(model, 7, ECX),
		 x86_cpuid_feature_bits(model, 7, EDX) | (model->intel ? (uint32_t)LEAF7_EDX_ARCH_CAPABILITIES : 0));
	topology_add(model, 0xb);
	xsave_add(model);
	if (!model->intel)
		return;
	leaf_add(model, 2, 0, 0x0000ff01, 0, 0, 0); /* caches are in leaf 4 */
	caches_add(model, 4);
	tsc_fraction(model->tsc_khz, &numerator, &denominator);
	leaf_add(model, 0x15, 0, denominator, numerator, numerator ? BUS_KHZ * 1000 : 0, 0);
	leaf_add(model, 0x16, 0, (model->tsc_khz / 1000) & 0xffff, (model->tsc_khz / 1000) & 0xffff, 100, 0);
	topology_add(model, 0x1f);
}

static void hypervisor_add(struct x86_cpu_model *model)
{
	leaf_add(model, 0x40000000, 0, 0x40000010, 0x4b4d564b, 0x564b4d56, 0x0000004d); /* "KVMKVMKVM" */
	leaf_add(model, 0x40000001, 0, (uint32_t)(KVM_NOP_IO_DELAY | KVM_CLOCKSOURCE2 | KVM_CLOCKSOURCE_STABLE) | model->paravirt,
		 0, 0, 0);
	leaf_add(model, 0x40000010, 0, model->tsc_khz, BUS_KHZ, 0, 0);
}

static void brand_add(struct x86_cpu_model *model, const char *brand)
{
	uint32_t word[12] = {0};

	for (unsigned i = 0; brand && brand[i] && i < 47; i++)
		word[i / 4] |= (uint32_t)(uint8_t)brand[i] << i % 4 * 8;
	for (uint32_t i = 0; i < 3; i++) {
		struct x86_cpuid_leaf host = x86_cpuid_host(0x80000002 + i, 0);

		if (brand)
			leaf_add(model, 0x80000002 + i, 0, word[i * 4], word[i * 4 + 1], word[i * 4 + 2], word[i * 4 + 3]);
		else
			leaf_add(model, 0x80000002 + i, 0, host.eax, host.ebx, host.ecx, host.edx);
	}
}

static void extended_add(struct x86_cpu_model *model, uint32_t signature, const char *brand)
{
	uint32_t ecx = x86_cpuid_feature_bits(model, 0x80000001, ECX), edx = x86_cpuid_feature_bits(model, 0x80000001, EDX);
	uint32_t bits = id_bits(model);

	if (!model->intel) {
		ecx |= (uint32_t)(EXT1_ECX_TOPOEXT | (model->cpus > 1 ? EXT1_ECX_CMP_LEGACY : 0));
		edx |= LEAF1_EDX & EXT1_EDX_AMD_ALIASES;
	}
	leaf_add(model, 0x80000001, 0, model->intel ? 0 : signature, 0, ecx, edx);
	brand_add(model, brand);
	if (!model->intel)
		leaf_add(model, 0x80000005, 0, 0, 0, 32u << 24 | 8 << 16 | 1 << 8 | 64, 32u << 24 | 8 << 16 | 1 << 8 | 64);
	leaf_add(model, 0x80000006, 0, 0, 0, 1024u << 16 | 8 << 12 | 64, model->intel ? 0 : 32u << 18 | 8 << 12 | 1 << 8 | 64);
	leaf_add(model, 0x80000007, 0, 0, 0, 0, (uint32_t)EXT7_EDX_INVARIANT_TSC);
	leaf_add(model, 0x80000008, 0, model->physical_bits | model->linear_bits << 8,
		 x86_cpuid_feature_bits(model, 0x80000008, EBX), model->intel ? 0 : bits << 12 | (model->cpus - 1), 0);
	if (model->intel)
		return;
	caches_add(model, 0x8000001d);
	leaf_add(model, 0x8000001e, 0, 0, 0, 0, 0);
	leaf_add(model, 0x80000021, 0, (uint32_t)(EXT21_EAX_LFENCE_SERIALISING | EXT21_EAX_NULL_CLEARS_BASE), 0, 0, 0);
}

void x86_cpuid_leaves_make(struct x86_cpu_model *model, const char *brand)
{
	uint32_t signature = brand ? SIGNATURE_SALTWELL : x86_cpuid_host(1, 0).eax;

	if (model->intel)
		leaf_add(model, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69); /* GenuineIntel */
	else
		leaf_add(model, 0, 0, 0xd, 0x68747541, 0x444d4163, 0x69746e65); /* AuthenticAMD */
	basic_add(model, signature);
	hypervisor_add(model);
	leaf_add(model, 0x80000000, 0, model->intel ? 0x80000008 : 0x80000021, model->intel ? 0 : 0x68747541,
		 model->intel ? 0 : 0x444d4163, model->intel ? 0 : 0x69746e65);
	extended_add(model, signature, brand);
}

static struct x86_cpuid_leaf *leaf_of(struct x86_cpu_model *model, uint32_t leaf)
{
	for (unsigned i = 0; i < model->leaves; i++)
		if (model->leaf[i].leaf == leaf && !model->leaf[i].subleaf)
			return &model->leaf[i];
	return 0;
}

void x86_cpuid_speculation_add(struct x86_cpu_model *model,
			       struct x86_cpuid_leaf (*cpuid)(const void *owner, uint32_t leaf, uint32_t subleaf),
			       const void *owner)
{
	struct x86_cpuid_leaf *leaf7 = leaf_of(model, 7), *leaf8 = leaf_of(model, 0x80000008), *leaf21 = leaf_of(model, 0x80000021);
	struct x86_cpuid_leaf host7 = cpuid(owner, 7, 0), host8 = cpuid(owner, 0x80000008, 0), host21 = cpuid(owner, 0x80000021, 0);

	if (!(host7.edx & LEAF7_EDX_ARCH_CAPABILITIES))
		leaf7->edx &= ~(uint32_t)LEAF7_EDX_ARCH_CAPABILITIES;
	leaf7->edx |= host7.edx & (uint32_t)LEAF7_EDX_SPECULATION;
	leaf8->ebx |= host8.ebx & (uint32_t)EXT8_EBX_SPECULATION;
	if (leaf21)
		leaf21->eax = (leaf21->eax & host21.eax) | (host21.eax & (uint32_t)EXT21_EAX_SPECULATION);
	leaf_of(model, 0x80000007)->edx &= cpuid(owner, 0x80000007, 0).edx;
	if (leaf7->edx & LEAF7_EDX_SPEC_CTRL_MSR || leaf8->ebx & EXT8_EBX_SPEC_CTRL_MSR)
		model->speculation |= X86_SPECULATION_SPEC_CTRL;
	if (leaf7->edx & LEAF7_EDX_IBRS_IBPB || leaf8->ebx & EXT8_EBX_IBPB)
		model->speculation |= X86_SPECULATION_PRED_CMD;
	if (leaf7->edx & LEAF7_EDX_L1D_FLUSH)
		model->speculation |= X86_SPECULATION_FLUSH_CMD;
}

/* Leaves whose ECX selects something. */
static bool has_subleaves(uint32_t leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x1f || leaf == 0x8000001d;
}

#define APIC_BASE_ENABLED X86_BIT(11)

static bool apic_enabled(const struct x86_cpu *cpu)
{
	uint64_t base;

	return !cpu->apic_ops || !cpu->apic_ops->msr_read(cpu->apic, X86_MSR_APIC_BASE, &base) || base & APIC_BASE_ENABLED;
}

static void patch(const struct x86_cpu *cpu, struct x86_cpuid_leaf *leaf)
{
	switch (leaf->leaf) {
	case 1:
		leaf->ebx |= cpu->id << 24;
		if (!apic_enabled(cpu))
			leaf->edx &= ~(uint32_t)LEAF1_EDX_APIC;
		if (cpu->s.cr4 & X86_CR4_OSXSAVE)
			leaf->ecx |= (uint32_t)LEAF1_ECX_OSXSAVE;
		break;
	case 7:
		if (leaf->subleaf == 0 && cpu->s.cr4 & X86_CR4_PKE)
			leaf->ecx |= (uint32_t)LEAF7_ECX_OSPKE;
		break;
	case 0xb:
	case 0x1f: leaf->edx = cpu->id; break;
	case 0xd:
		if (leaf->subleaf == 0)
			leaf->ebx = xsave_size(cpu->s.xcr0, false);
		else if (leaf->subleaf == 1 && x86_has(cpu->model, X86_FEATURE_XSAVEC))
			leaf->ebx = xsave_size(cpu->s.xcr0, true);
		break;
	case 0x80000001:
		if (!apic_enabled(cpu))
			leaf->edx &= ~(uint32_t)LEAF1_EDX_APIC; /* AMD's alias */
		break;
	case 0x8000001e:
		leaf->eax = cpu->id;
		leaf->ebx = cpu->id & 0xff;
		break;
	}
}

struct x86_cpuid_leaf x86_cpuid(const struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
	const struct x86_cpu_model *model = cpu->model;
	struct x86_cpuid_leaf answer = {.leaf = leaf, .subleaf = subleaf};
	uint32_t highest = model->leaf[0].eax;

	/* Intel answers an undefined leaf with its highest basic one, AMD with zeros. */
	if (model->intel && leaf > highest && (leaf < 0x40000000 || leaf > 0x40000010) && (leaf < 0x80000000 || leaf > 0x80000008))
		answer.leaf = leaf = highest;
	if (!has_subleaves(leaf))
		answer.subleaf = subleaf = 0;
	for (unsigned i = 0; i < model->leaves; i++)
		if (model->leaf[i].leaf == leaf && model->leaf[i].subleaf == subleaf) {
			answer = model->leaf[i];
			patch(cpu, &answer);
			return answer;
		}
	/* Past the last level these leaves still name themselves and the cpu. */
	if (leaf == 0xb || leaf == 0x1f) {
		answer.ecx = subleaf & 0xff;
		answer.edx = cpu->id;
	}
	return answer;
}
