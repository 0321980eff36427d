/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msr.c - model-specific registers: those of the CPU itself, and those that Linux, Windows and the BSDs expect to find (SDM vol. 4; APM vol. 2, A).
 *
 * Order of a lookup: the CPU's own here, the local APIC's (apic_ops), a table of registers that read a constant and ignore writes, then the
 * machine's (platform->msr_*: the paravirtual clock). What nobody knows is #GP(0).
 */
#include "x86/control.h"
#include "x86/memory.h"

#define MSR_PLATFORM_ID 0x17u
#define MSR_EBL_CR_POWERON 0x2au
#define MSR_FEATURE_CONTROL 0x3au
#define MSR_SPEC_CTRL 0x48u
#define MSR_PRED_CMD 0x49u
#define MSR_BIOS_SIGN 0x8bu
#define MSR_PLATFORM_INFO 0xceu
#define MSR_MPERF 0xe7u
#define MSR_APERF 0xe8u
#define MSR_MTRR_CAP 0xfeu
#define MSR_FLUSH_CMD 0x10bu
#define MSR_BBL_CR_CTL3 0x11eu
#define MSR_MCG_CAP 0x179u
#define MSR_MCG_STATUS 0x17au
#define MSR_MCG_CTL 0x17bu
#define MSR_PERF_STATUS 0x198u
#define MSR_PERF_CTL 0x199u
#define MSR_DEBUGCTL 0x1d9u
#define MSR_LASTBRANCH 0x1dbu
#define MSR_MTRR_VARIABLE 0x200u
#define MSR_MTRR_FIXED_64K 0x250u
#define MSR_MTRR_FIXED_16K 0x258u
#define MSR_MTRR_FIXED_4K 0x268u
#define MSR_MC0_CTL 0x400u
#define MSR_AMD_SYSCFG 0xc0010010u
#define MSR_AMD_HWCR 0xc0010015u
#define MSR_AMD_NB_CFG 0xc001001fu
#define MSR_AMD_PATCH_LOADER 0xc0010020u
#define MSR_AMD_DE_CFG 0xc0011029u
#define MSR_AMD_MPERF_RO 0xc00000e7u
#define MSR_AMD_APERF_RO 0xc00000e8u

#define MTRR_VARIABLE_PAIRS 8
#define MTRR_CAP_FIXED X86_BIT(8)
#define MTRR_CAP_WC X86_BIT(10)
#define MTRR_DEF_DEFINED UINT64_C(0xcff)
#define MC_BANKS 4
#define MCG_CTL_P X86_BIT(8)
#define MCG_STATUS_DEFINED UINT64_C(7)
#define FEATURE_CONTROL_LOCKED X86_BIT(0)
#define MISC_ENABLE_WRITABLE UINT64_C(0x400c51889) /* what Intel defines there; BTS and PEBS unavailable stay set */
#define MISC_ENABLE_FIXED UINT64_C(0x1800)
#define DEBUGCTL_WRITABLE UINT64_C(3) /* LBR, BTF: kept, without effect */
#define DE_CFG_LFENCE_SERIALISING X86_BIT(1)
#define MICROCODE_REVISION 1
#define SPEC_CTRL_DEFINED UINT64_C(7)   /* IBRS, STIBP, SSBD */
#define PRED_CMD_DEFINED UINT64_C(0x81) /* IBPB, SBPB */
#define FLUSH_CMD_DEFINED UINT64_C(1)

/* Registers that read `value` and take any write without effect. Performance counters and thermal sensors that are not there, and the like. */
enum vendor { ANY, INTEL, AMD };
static const struct msr_constant {
	uint32_t first, last;
	enum vendor vendor;
	bool writable;
	uint64_t value;
} constants[] = {
	{MSR_PLATFORM_ID, MSR_PLATFORM_ID, INTEL, false, 0},
	{MSR_EBL_CR_POWERON, MSR_EBL_CR_POWERON, INTEL, true, 0},
	{0x34, 0x34, INTEL, false, 0}, /* SMI_COUNT */
	{MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL, INTEL, false, FEATURE_CONTROL_LOCKED},
	{0x79, 0x79, INTEL, true, 0},                                 /* BIOS_UPDT_TRIG */
	{0xc1, 0xc2, INTEL, true, 0},                                 /* PERFCTR0-1 */
	{0xcd, 0xcd, INTEL, false, 0},                                /* FSB_FREQ */
	{MSR_BBL_CR_CTL3, MSR_BBL_CR_CTL3, INTEL, false, 0xbe702111}, /* L2 enabled, as P6 tools expect */
	{0x186, 0x187, INTEL, true, 0},                               /* EVNTSEL0-1 */
	{MSR_PERF_STATUS, MSR_PERF_STATUS, INTEL, false, (UINT64_C(1) << 40) | (4 << 8)},
	{MSR_PERF_CTL, MSR_PERF_CTL, INTEL, true, 0},
	{0x19a, 0x19c, INTEL, true, 0},                     /* CLOCK_MODULATION, THERM_INTERRUPT, THERM_STATUS */
	{0x1ad, 0x1ad, INTEL, false, 0},                    /* TURBO_RATIO_LIMIT */
	{MSR_LASTBRANCH, MSR_LASTBRANCH + 3, ANY, true, 0}, /* LASTBRANCH and LASTINT from, to */
	{0xc0010000, 0xc0010007, AMD, true, 0},             /* PERF_CTL0-3, PERF_CTR0-3 */
	{MSR_AMD_SYSCFG, MSR_AMD_SYSCFG, AMD, true, 0},
	{0xc0010016, 0xc0010019, AMD, true, 0},                 /* IORRs */
	{0xc001001a, 0xc001001a, AMD, true, UINT64_C(4) << 30}, /* TOP_MEM */
	{0xc001001d, 0xc001001d, AMD, true, 0},                 /* TOP_MEM2 */
	{MSR_AMD_NB_CFG, MSR_AMD_NB_CFG, AMD, true, 0},
	{MSR_AMD_PATCH_LOADER, MSR_AMD_PATCH_LOADER, AMD, true, 0},
	{0xc0010055, 0xc0010058, AMD, true, 0},    /* interrupt pending, SMI triggers, MMIO configuration base */
	{0xc0010061, 0xc0010063, AMD, true, 0},    /* P-state limit, control, status */
	{0xc0010064, 0xc001006b, AMD, true, 0},    /* P-state definitions: none enabled */
	{0xc0010111, 0xc0010113, AMD, true, 0},    /* SMM base, address, mask */
	{0xc0010114, 0xc0010114, AMD, true, 0x18}, /* VM_CR: SVM disabled and locked */
	{0xc0010117, 0xc0010117, AMD, true, 0},    /* VM_HSAVE_PA */
	{0xc0010140, 0xc0010141, AMD, true, 0},    /* OSVW: no erratum needs a workaround */
	{0xc0010200, 0xc001020b, AMD, true, 0},    /* PERF_CTL0-5, PERF_CTR0-5 */
	{0xc0011020, 0xc0011023, AMD, true, 0},    /* LS_CFG, IC_CFG, DC_CFG, BU_CFG */
	{MSR_AMD_DE_CFG, MSR_AMD_DE_CFG, AMD, true, DE_CFG_LFENCE_SERIALISING},
	{0xc001102a, 0xc001102d, AMD, true, 0}, /* BU_CFG2 and its neighbours */
	{0xc0011030, 0xc001103d, AMD, true, 0}, /* instruction-based sampling: nothing is sampled */
};

static const struct msr_constant *constant_find(const struct x86_cpu *cpu, uint32_t msr)
{
	enum vendor vendor = cpu->model->intel ? INTEL : AMD;

	for (unsigned i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
		if (msr >= constants[i].first && msr <= constants[i].last &&
		    (constants[i].vendor == ANY || constants[i].vendor == vendor))
			return &constants[i];
	return 0;
}

static bool memory_type_valid(unsigned type, bool pat)
{
	return type == 0 || type == 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static bool types_valid(uint64_t value, bool pat)
{
	for (unsigned i = 0; i < 64; i += 8)
		if (!memory_type_valid(value >> i & 0xff, pat))
			return false;
	return true;
}

static bool mtrr_variable_valid(const struct x86_cpu *cpu, unsigned index, uint64_t value)
{
	if (value >> cpu->model->physical_bits)
		return false;
	return index & 1 ? !(value & 0x7ff) : !(value & 0xf00) && memory_type_valid(value & 0xff, false);
}

static bool mtrr_def_valid(uint64_t value)
{
	return !(value & ~MTRR_DEF_DEFINED) && memory_type_valid(value & 0xff, false);
}

bool x86_msr_memory_types_valid(const struct x86_cpu *cpu, const struct x86_state *s)
{
	for (unsigned i = 0; i < 11; i++)
		if (!types_valid(s->mtrr_fixed[i], false))
			return false;
	for (unsigned i = 0; i < 2 * MTRR_VARIABLE_PAIRS; i++)
		if (!mtrr_variable_valid(cpu, i, s->mtrr_variable[i]))
			return false;
	return types_valid(s->pat, true) && mtrr_def_valid(s->mtrr_def_type);
}

/* The place of a fixed-range MTRR, or NULL. */
static uint64_t *mtrr_fixed(struct x86_cpu *cpu, uint32_t msr)
{
	if (msr == MSR_MTRR_FIXED_64K)
		return &cpu->s.mtrr_fixed[0];
	if (msr == MSR_MTRR_FIXED_16K || msr == MSR_MTRR_FIXED_16K + 1)
		return &cpu->s.mtrr_fixed[1 + msr - MSR_MTRR_FIXED_16K];
	if (msr >= MSR_MTRR_FIXED_4K && msr < MSR_MTRR_FIXED_4K + 8)
		return &cpu->s.mtrr_fixed[3 + msr - MSR_MTRR_FIXED_4K];
	return 0;
}

static bool is_apic(uint32_t msr)
{
	return msr == X86_MSR_APIC_BASE || msr == X86_MSR_TSC_DEADLINE || (msr >= X86_MSR_X2APIC && msr < X86_MSR_X2APIC + 0x100);
}

/* The APIC keeps the deadline in the platform's TSC, where 0 means disarmed and 1 is always past. */
static bool deadline_read(struct x86_cpu *cpu, uint64_t *value)
{
	if (!cpu->apic_ops->msr_read(cpu->apic, X86_MSR_TSC_DEADLINE, value))
		return false;
	if (*value)
		*value += cpu->s.tsc_adjust;
	return true;
}

static bool deadline_write(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t platform = cpu->platform->tsc(cpu->machine), now = platform + cpu->s.tsc_adjust;

	if (value && value <= now)
		value = 1;
	else if (value)
		value = value - now < UINT64_MAX - platform ? platform + (value - now) : UINT64_MAX;
	return cpu->apic_ops->msr_write(cpu->apic, X86_MSR_TSC_DEADLINE, value);
}

/* A deadline that is armed is a value of the TSC that the guest sees: it moves with that (SDM vol. 3, 11.5.4.1). */
static void tsc_adjust_set(struct x86_cpu *cpu, uint64_t adjust)
{
	uint64_t deadline = 0;

	if (cpu->apic_ops && !deadline_read(cpu, &deadline))
		deadline = 0;
	cpu->s.tsc_adjust = adjust;
	if (deadline)
		(void)deadline_write(cpu, deadline); /* what can be read can be written */
	x86_attention(cpu, X86_ATTENTION_EVENT);
}

static bool apic_read(struct x86_cpu *cpu, uint32_t msr, uint64_t *value)
{
	if (!cpu->apic_ops)
		return false;
	return msr == X86_MSR_TSC_DEADLINE ? deadline_read(cpu, value) : cpu->apic_ops->msr_read(cpu->apic, msr, value);
}

static bool apic_write(struct x86_cpu *cpu, uint32_t msr, uint64_t value)
{
	if (!cpu->apic_ops)
		return false;
	return msr == X86_MSR_TSC_DEADLINE ? deadline_write(cpu, value) : cpu->apic_ops->msr_write(cpu->apic, msr, value);
}

/* MSRs whose value is a word of the state and whose writes need no check beyond these. */
enum check { ANYTHING, CANONICAL, LOW_HALF };
static uint64_t *plain_word(struct x86_cpu *cpu, uint32_t msr, enum check *check)
{
	struct x86_state *s = &cpu->s;

	*check = ANYTHING;
	switch (msr) {
	case X86_MSR_STAR: return &s->star;
	case MSR_MCG_CTL: return &s->mcg_ctl;
	}
	*check = CANONICAL;
	switch (msr) {
	case X86_MSR_SYSENTER_ESP: return &s->sysenter_esp;
	case X86_MSR_SYSENTER_EIP: return &s->sysenter_eip;
	case X86_MSR_LSTAR: return &s->lstar;
	case X86_MSR_CSTAR: return &s->cstar;
	case X86_MSR_FS_BASE: return &s->segment[X86_FS].base;
	case X86_MSR_GS_BASE: return &s->segment[X86_GS].base;
	case X86_MSR_KERNEL_GS_BASE: return &s->kernel_gs_base;
	}
	*check = LOW_HALF;
	switch (msr) {
	case X86_MSR_SYSENTER_CS: return &s->sysenter_cs;
	case X86_MSR_SFMASK: return &s->sfmask;
	case X86_MSR_TSC_AUX:
		return x86_has(cpu->model, X86_FEATURE_RDTSCP) || x86_has(cpu->model, X86_FEATURE_RDPID) ? &s->tsc_aux : 0;
	}
	return 0;
}

static bool own_read(struct x86_cpu *cpu, uint32_t msr, uint64_t *value)
{
	const struct x86_state *s = &cpu->s;
	enum check check;
	uint64_t *word = plain_word(cpu, msr, &check);

	if (!word)
		word = mtrr_fixed(cpu, msr);
	if (!word && msr - MSR_MTRR_VARIABLE < 2 * MTRR_VARIABLE_PAIRS)
		word = &cpu->s.mtrr_variable[msr - MSR_MTRR_VARIABLE];
	if (!word && msr - MSR_MC0_CTL < 4 * MC_BANKS)
		word = &cpu->s.mc[msr - MSR_MC0_CTL];
	if (word) {
		*value = *word;
		return true;
	}
	switch (msr) {
	case X86_MSR_TSC_ADJUST: *value = s->tsc_adjust; return true;
	case X86_MSR_TSC:
	case MSR_MPERF:
	case MSR_APERF:
	case MSR_AMD_MPERF_RO:
	case MSR_AMD_APERF_RO: *value = x86_tsc(cpu); return true; /* the clock never slows down: both count like the TSC */
	case X86_MSR_EFER: *value = s->efer; return true;
	case X86_MSR_PAT: *value = s->pat; return true;
	case X86_MSR_MTRR_DEF_TYPE: *value = s->mtrr_def_type; return true;
	case MSR_MTRR_CAP: *value = MTRR_VARIABLE_PAIRS | MTRR_CAP_FIXED | MTRR_CAP_WC; return true;
	case X86_MSR_MISC_ENABLE: *value = s->misc_enable; return cpu->model->intel;
	case MSR_MCG_CAP: *value = MC_BANKS | MCG_CTL_P; return true;
	case MSR_MCG_STATUS: *value = s->mcg_status; return true;
	case MSR_DEBUGCTL: *value = s->debugctl; return true;
	case MSR_BIOS_SIGN: *value = cpu->model->intel ? (uint64_t)MICROCODE_REVISION << 32 : MICROCODE_REVISION; return true;
	case MSR_PLATFORM_INFO: /* the ratio of the base frequency to 100 MHz */
		*value = (uint64_t)(cpu->model->tsc_khz / 100000 & 0xff) << 8;
		return cpu->model->intel;
	case X86_MSR_ARCH_CAPABILITIES: *value = cpu->model->arch_capabilities; return cpu->model->intel;
	case MSR_AMD_HWCR: *value = s->amd_hwcr; return !cpu->model->intel;
	case MSR_SPEC_CTRL: *value = s->spec_ctrl; return cpu->model->speculation & X86_SPECULATION_SPEC_CTRL;
	default: return false;
	}
}

bool x86_msr_read(struct x86_cpu *cpu, uint32_t msr, uint64_t *value)
{
	const struct msr_constant *constant;

	if (is_apic(msr))
		return apic_read(cpu, msr, value);
	if (own_read(cpu, msr, value))
		return true;
	constant = constant_find(cpu, msr);
	if (constant) {
		*value = constant->value;
		return true;
	}
	return cpu->platform->msr_read(cpu->machine, msr, value);
}

static bool efer_write(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = (cpu->s.efer ^ value) & ~X86_EFER_LMA;

	if (value & ~cpu->model->efer_allowed || (changed & X86_EFER_LME && cpu->s.cr0 & X86_CR0_PG))
		return false;
	cpu->s.efer = (value & ~X86_EFER_LMA) | (cpu->s.efer & X86_EFER_LMA);
	if (changed & X86_EFER_NXE)
		x86_tlb_flush_all(cpu);
	x86_cpu_mode_changed(cpu);
	return true;
}

/* Takes the value if it is allowed. */
static bool word_write(uint64_t *word, uint64_t value, bool allowed)
{
	if (allowed)
		*word = value;
	return allowed;
}

/* Control registers take anything; status, address and misc only 0 (SDM vol. 3, 16.3.2). */
static bool machine_check_write(struct x86_cpu *cpu, unsigned index, uint64_t value)
{
	return word_write(&cpu->s.mc[index], value, !(index & 3) || !value);
}

static bool own_write(struct x86_cpu *cpu, uint32_t msr, uint64_t value, bool *known)
{
	struct x86_state *s = &cpu->s;
	enum check check;
	uint64_t *word = plain_word(cpu, msr, &check);

	*known = true;
	if (word)
		return word_write(word, value,
				  check == CANONICAL ? x86_canonical(cpu, value) : check != LOW_HALF || !(value >> 32));
	word = mtrr_fixed(cpu, msr);
	if (word)
		return word_write(word, value, types_valid(value, false));
	if (msr - MSR_MTRR_VARIABLE < 2 * MTRR_VARIABLE_PAIRS)
		return word_write(&s->mtrr_variable[msr - MSR_MTRR_VARIABLE], value,
				  mtrr_variable_valid(cpu, msr - MSR_MTRR_VARIABLE, value));
	if (msr - MSR_MC0_CTL < 4 * MC_BANKS)
		return machine_check_write(cpu, msr - MSR_MC0_CTL, value);
	switch (msr) {
	case X86_MSR_TSC: tsc_adjust_set(cpu, s->tsc_adjust + value - x86_tsc(cpu)); return true;
	case X86_MSR_TSC_ADJUST: tsc_adjust_set(cpu, value); return true;
	case MSR_MPERF:
	case MSR_APERF: return true;
	case X86_MSR_EFER: return efer_write(cpu, value);
	case X86_MSR_PAT: return word_write(&s->pat, value, types_valid(value, true));
	case X86_MSR_MTRR_DEF_TYPE: return word_write(&s->mtrr_def_type, value, mtrr_def_valid(value));
	case X86_MSR_MISC_ENABLE:
		return word_write(&s->misc_enable, (value & MISC_ENABLE_WRITABLE) | MISC_ENABLE_FIXED, cpu->model->intel);
	case MSR_MCG_STATUS: return word_write(&s->mcg_status, value, !(value & ~MCG_STATUS_DEFINED));
	case MSR_DEBUGCTL: return word_write(&s->debugctl, value & DEBUGCTL_WRITABLE, true);
	case MSR_BIOS_SIGN:
		return true; /* Intel's protocol for reading the revision writes 0 first */
	/* Nothing speculates here: the controls are kept, or have nothing to do. Only models for KVM have them. */
	case MSR_SPEC_CTRL:
		return word_write(&s->spec_ctrl, value,
				  !(value & ~SPEC_CTRL_DEFINED) && cpu->model->speculation & X86_SPECULATION_SPEC_CTRL);
	case MSR_PRED_CMD: return !(value & ~PRED_CMD_DEFINED) && cpu->model->speculation & X86_SPECULATION_PRED_CMD;
	case MSR_FLUSH_CMD: return !(value & ~FLUSH_CMD_DEFINED) && cpu->model->speculation & X86_SPECULATION_FLUSH_CMD;
	case MSR_AMD_HWCR: return word_write(&s->amd_hwcr, value, !cpu->model->intel);
	case MSR_MTRR_CAP:
	case MSR_MCG_CAP:
	case MSR_PLATFORM_INFO:
	case X86_MSR_ARCH_CAPABILITIES:
	case MSR_AMD_MPERF_RO:
	case MSR_AMD_APERF_RO: return false; /* read-only */
	default: *known = false; return false;
	}
}

bool x86_msr_write(struct x86_cpu *cpu, uint32_t msr, uint64_t value)
{
	const struct msr_constant *constant;
	bool known, good;

	if (is_apic(msr)) {
		good = apic_write(cpu, msr, value);
		if (msr == X86_MSR_APIC_BASE && good)
			x86_tlb_flush_all(cpu); /* its page has moved over, or off, what was mapped */
		x86_attention(cpu, X86_ATTENTION_EVENT);
		return good;
	}
	good = own_write(cpu, msr, value, &known);
	if (known)
		return good;
	constant = constant_find(cpu, msr);
	if (constant)
		return constant->writable;
	return cpu->platform->msr_write(cpu->machine, msr, value);
}
