/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic.c - the local APIC's registers: priorities, EOI, local vector table, xAPIC page and x2APIC MSRs.
 *
 * Called by the CPU core through lapic_ops on the vcpu's own thread; interrupts from elsewhere come in through lapic_accept_vector
 * (an atomic OR into IRR, then a wake). Messages are routed in lapic_route.c, time is in lapic_timer.c. Accept, EOI and the test for something
 * pending run once an interrupt or oftener: only IRR takes a locked operation.
 */
#include "device/lapic_internal.h"

#include "x86/state.h"

#define LAPIC_EXTINT_PENDING 256 /* what pending says of an ExtINT: no vector is known before the acknowledge cycle */

static const uint32_t lvt_writable[LVT_ENTRIES] = {
	[LVT_TIMER] = LAPIC_MESSAGE_VECTOR | LAPIC_LVT_MASKED | LAPIC_LVT_TIMER_MODE,
	[LVT_THERMAL] = LAPIC_MESSAGE_VECTOR | 0x700u | LAPIC_LVT_MASKED,
	[LVT_PERFORMANCE] = LAPIC_MESSAGE_VECTOR | 0x700u | LAPIC_LVT_MASKED,
	[LVT_LINT0] = LAPIC_MESSAGE_VECTOR | 0x700u | LAPIC_LVT_POLARITY | LAPIC_LVT_LEVEL | LAPIC_LVT_MASKED,
	[LVT_LINT1] = LAPIC_MESSAGE_VECTOR | 0x700u | LAPIC_LVT_POLARITY | LAPIC_LVT_LEVEL | LAPIC_LVT_MASKED,
	[LVT_ERROR] = LAPIC_MESSAGE_VECTOR | LAPIC_LVT_MASKED,
};

static int highest_bit(uint64_t word3, uint64_t word2, uint64_t word1, uint64_t word0)
{
	if (word3)
		return 255 - __builtin_clzll(word3);
	if (word2)
		return 191 - __builtin_clzll(word2);
	if (word1)
		return 127 - __builtin_clzll(word1);
	return word0 ? 63 - __builtin_clzll(word0) : -1;
}

static int irr_highest(const struct lapic *lapic)
{
	return highest_bit(__atomic_load_n(&lapic->irr[3], __ATOMIC_ACQUIRE), __atomic_load_n(&lapic->irr[2], __ATOMIC_ACQUIRE),
			   __atomic_load_n(&lapic->irr[1], __ATOMIC_ACQUIRE), __atomic_load_n(&lapic->irr[0], __ATOMIC_ACQUIRE));
}

static int isr_highest(const struct lapic *lapic)
{
	return highest_bit(lapic->isr[3], lapic->isr[2], lapic->isr[1], lapic->isr[0]);
}

/* 11.8.3.1: the higher class of task and interrupt in service; the low bits count only where the task's is. */
static void ppr_update(struct lapic *lapic)
{
	int in_service = isr_highest(lapic);
	uint32_t tpr = lapic_load(&lapic->tpr);
	uint32_t class = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;

	lapic_store(&lapic->ppr, (tpr & 0xf0) >= class ? tpr : class);
}

/* Does the PIC interrupt through LINT0 (virtual wire), or straight because the APIC is switched off (11.4.3)? */
static bool extint_wanted(const struct lapic *lapic)
{
	uint32_t lvt = lapic_load(&lapic->lvt[LVT_LINT0]);

	if (!__atomic_load_n(&lapic->lint0, __ATOMIC_ACQUIRE))
		return false;
	return !lapic_enabled(lapic) || (lvt & (LAPIC_LVT_MASKED | 0x700u)) == DELIVERY_EXTINT << LAPIC_MESSAGE_DELIVERY_SHIFT;
}

static int vector_pending(const struct lapic *lapic)
{
	int vector = irr_highest(lapic);

	if (vector < 0 || ((uint32_t)vector & 0xf0) <= (lapic_load(&lapic->ppr) & 0xf0) || !lapic_enabled(lapic))
		return -1;
	return vector;
}

static int lapic_pending(void *apic)
{
	const struct lapic *lapic = apic;

	return extint_wanted(lapic) ? LAPIC_EXTINT_PENDING : vector_pending(lapic);
}

static int lapic_accept(void *apic)
{
	struct lapic *lapic = apic;
	const struct lapic_wiring *wiring = &lapic->set->wiring;
	int vector;

	if (extint_wanted(lapic) && wiring->extint_pending(wiring->pic))
		return wiring->extint_accept(wiring->pic);
	vector = vector_pending(lapic);
	if (vector < 0)
		return -1;
	__atomic_fetch_and(&lapic->irr[vector >> 6], ~(UINT64_C(1) << (vector & 63)), __ATOMIC_ACQ_REL);
	lapic->isr[vector >> 6] |= UINT64_C(1) << (vector & 63);
	/* Its class is above the old PPR's, so above the TPR's. */
	lapic_store(&lapic->ppr, (uint32_t)vector & 0xf0);
	return vector;
}

/* After a change that may have made something deliverable on the owner's own thread. */
static void pending_recheck(struct lapic *lapic)
{
	if (lapic_pending(lapic) >= 0)
		lapic->set->wiring.interrupt(lapic->vcpu);
}

void lapic_accept_vector(struct lapic *lapic, uint8_t vector, bool level)
{
	unsigned word = vector >> 6;
	uint64_t bit = UINT64_C(1) << (vector & 63);

	if (vector < 16) {
		lapic_error(lapic, LAPIC_ESR_RECEIVE_ILLEGAL_VECTOR);
		return;
	}
	if (!!(__atomic_load_n(&lapic->tmr[word], __ATOMIC_RELAXED) & bit) != level) {
		if (level)
			__atomic_fetch_or(&lapic->tmr[word], bit, __ATOMIC_RELAXED);
		else
			__atomic_fetch_and(&lapic->tmr[word], ~bit, __ATOMIC_RELAXED);
	}
	/* Where the bit was set already, whoever set it woke the vcpu. */
	if (!(__atomic_fetch_or(&lapic->irr[word], bit, __ATOMIC_SEQ_CST) & bit))
		lapic->set->wiring.interrupt(lapic->vcpu);
}

/* 11.5.3: the first error since ESR was written interrupts. */
void lapic_error(struct lapic *lapic, uint32_t esr_bit)
{
	if (!__atomic_fetch_or(&lapic->esr_pending, esr_bit, __ATOMIC_ACQ_REL))
		lapic_lvt_deliver(lapic, LVT_ERROR);
}

/* A level-triggered LINT holds Remote IRR from acceptance to EOI. */
static void lint_deliver_fixed(struct lapic *lapic, enum lapic_lvt entry, uint32_t lvt)
{
	if (!(lvt & LAPIC_LVT_LEVEL)) {
		lapic_accept_vector(lapic, (uint8_t)lvt, false);
		return;
	}
	if (!(__atomic_fetch_or(&lapic->lvt[entry], LAPIC_LVT_REMOTE_IRR, __ATOMIC_ACQ_REL) & LAPIC_LVT_REMOTE_IRR))
		lapic_accept_vector(lapic, (uint8_t)lvt, true);
}

void lapic_lvt_deliver(struct lapic *lapic, enum lapic_lvt entry)
{
	const struct lapic_wiring *wiring = &lapic->set->wiring;
	uint32_t lvt = lapic_load(&lapic->lvt[entry]);

	if ((lvt & LAPIC_LVT_MASKED) || !lapic_enabled(lapic))
		return;
	if (entry == LVT_TIMER || entry == LVT_ERROR) {
		lapic_accept_vector(lapic, (uint8_t)lvt, false);
		return;
	}
	switch (lvt >> LAPIC_MESSAGE_DELIVERY_SHIFT & 7) {
	case DELIVERY_FIXED: lint_deliver_fixed(lapic, entry, lvt); break;
	case DELIVERY_NMI: wiring->request(lapic->vcpu, LAPIC_REQUEST_NMI, 0); break;
	case DELIVERY_INIT: wiring->request(lapic->vcpu, LAPIC_REQUEST_INIT, 0); break;
	default: /* ExtINT follows the wire (extint_wanted); there is no SMM */ break;
	}
}

void lapic_set_lint0(void *owner, bool level)
{
	struct lapic_set *set = owner;
	struct lapic *bsp = &set->lapic[0];
	bool before = __atomic_exchange_n(&bsp->lint0, level, __ATOMIC_SEQ_CST);

	if (!level || before)
		return;
	if (extint_wanted(bsp))
		set->wiring.interrupt(bsp->vcpu);
	else
		lapic_lvt_deliver(bsp, LVT_LINT0);
}

/* The EOI of a level-triggered LINT0: interrupts again while the wire is still high. */
static void lint_eoi(struct lapic *lapic, uint8_t vector)
{
	uint32_t lvt = lapic_load(&lapic->lvt[LVT_LINT0]);

	if (!(lvt & LAPIC_LVT_REMOTE_IRR) || (uint8_t)lvt != vector)
		return;
	__atomic_fetch_and(&lapic->lvt[LVT_LINT0], ~LAPIC_LVT_REMOTE_IRR, __ATOMIC_ACQ_REL);
	if (__atomic_load_n(&lapic->lint0, __ATOMIC_ACQUIRE))
		lapic_lvt_deliver(lapic, LVT_LINT0);
}

/* 11.8.5 */
static void eoi_write(struct lapic *lapic)
{
	int vector = isr_highest(lapic);
	uint64_t bit;

	if (vector < 0)
		return;
	bit = UINT64_C(1) << (vector & 63);
	lapic->isr[vector >> 6] &= ~bit;
	ppr_update(lapic);
	if (__atomic_load_n(&lapic->tmr[vector >> 6], __ATOMIC_RELAXED) & bit) {
		lint_eoi(lapic, (uint8_t)vector);
		if (!(lapic_load(&lapic->svr) & LAPIC_SVR_SUPPRESS_EOI))
			irq_eoi(lapic->set->wiring.irq, (uint8_t)vector);
	}
	pending_recheck(lapic);
}

static void tpr_write(struct lapic *lapic, uint32_t value)
{
	uint32_t before = lapic_load(&lapic->tpr);

	lapic_store(&lapic->tpr, value & 0xff);
	ppr_update(lapic);
	if ((value & 0xff) < before)
		pending_recheck(lapic);
}

static void lvt_write(struct lapic *lapic, enum lapic_lvt entry, uint32_t value)
{
	uint32_t old = lapic_load(&lapic->lvt[entry]);

	value &= lvt_writable[entry];
	if (!(lapic_load(&lapic->svr) & LAPIC_SVR_ENABLE))
		value |= LAPIC_LVT_MASKED; /* 11.4.7.2 */
	if (entry == LVT_TIMER) {
		lapic_timer_lvt_write(lapic, value);
		return;
	}
	/* The PIC's thread may set Remote IRR meanwhile. */
	while (!__atomic_compare_exchange_n(&lapic->lvt[entry], &old,
					    value | (value & LAPIC_LVT_LEVEL ? old & LAPIC_LVT_REMOTE_IRR : 0), false,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
	if (entry == LVT_LINT0 && __atomic_load_n(&lapic->lint0, __ATOMIC_ACQUIRE)) {
		if (value & LAPIC_LVT_LEVEL)
			lapic_lvt_deliver(lapic, LVT_LINT0);
		pending_recheck(lapic);
	}
}

static void svr_write(struct lapic *lapic, uint32_t value)
{
	lapic_store(&lapic->svr, value & (0xffu | LAPIC_SVR_ENABLE | LAPIC_SVR_FOCUS | LAPIC_SVR_SUPPRESS_EOI));
	if (!(value & LAPIC_SVR_ENABLE))
		for (unsigned i = 0; i < LVT_ENTRIES; i++)
			__atomic_fetch_or(&lapic->lvt[i], LAPIC_LVT_MASKED, __ATOMIC_ACQ_REL);
}

static uint32_t logical_id_read(const struct lapic *lapic)
{
	return lapic_x2apic(lapic) ? (lapic->id >> 4) << 16 | 1u << (lapic->id & 15) : lapic_load(&lapic->ldr);
}

/* One 32-bit register; false: there is none that can be read. `offset` is a multiple of 16 below 0x400. */
static bool register_read(struct lapic *lapic, unsigned offset, uint32_t *value)
{
	unsigned index = offset >> 4 & 7;
	unsigned shift = (index & 1) * 32;

	switch (offset) {
	case LAPIC_ID: *value = lapic_x2apic(lapic) ? lapic->id : lapic->id << 24; break;
	case LAPIC_VERSION: *value = LAPIC_VERSION_NUMBER | (LVT_ENTRIES - 1) << 16 | LAPIC_VERSION_EOI_SUPPRESSION; break;
	case LAPIC_TPR: *value = lapic_load(&lapic->tpr); break;
	case LAPIC_APR:
	case LAPIC_RRD: *value = 0; break;
	case LAPIC_PPR: *value = lapic_load(&lapic->ppr); break;
	case LAPIC_LDR: *value = logical_id_read(lapic); break;
	case LAPIC_DFR: *value = lapic_load(&lapic->dfr); break;
	case LAPIC_SVR: *value = lapic_load(&lapic->svr); break;
	case LAPIC_ISR ... LAPIC_ISR + 0x70: *value = (uint32_t)(lapic->isr[index >> 1] >> shift); break;
	case LAPIC_TMR ... LAPIC_TMR + 0x70:
		*value = (uint32_t)(__atomic_load_n(&lapic->tmr[index >> 1], __ATOMIC_RELAXED) >> shift);
		break;
	case LAPIC_IRR ... LAPIC_IRR + 0x70:
		*value = (uint32_t)(__atomic_load_n(&lapic->irr[index >> 1], __ATOMIC_RELAXED) >> shift);
		break;
	case LAPIC_ESR: *value = lapic->esr; break;
	case LAPIC_ICR: *value = lapic->icr_low; break;
	case LAPIC_ICR_HIGH: *value = lapic->icr_high; break;
	case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR: *value = lapic_load(&lapic->lvt[(offset - LAPIC_LVT_TIMER) >> 4]); break;
	case LAPIC_INITIAL_COUNT: *value = lapic->initial_count; break;
	case LAPIC_CURRENT_COUNT: *value = lapic_timer_current(lapic); break;
	case LAPIC_DIVIDE_CONFIGURATION: *value = lapic->divide_configuration; break;
	default: return false;
	}
	return true;
}

/* Likewise; what only one of the two modes has is the caller's affair. Read-only registers swallow the write. */
static bool register_write(struct lapic *lapic, unsigned offset, uint32_t value)
{
	switch (offset) {
	case LAPIC_TPR: tpr_write(lapic, value); break;
	case LAPIC_EOI: eoi_write(lapic); break;
	case LAPIC_LDR: lapic_store(&lapic->ldr, value & 0xff000000u); break;
	case LAPIC_DFR: lapic_store(&lapic->dfr, value | 0x0fffffffu); break;
	case LAPIC_SVR: svr_write(lapic, value); break;
	case LAPIC_ESR: lapic->esr = __atomic_exchange_n(&lapic->esr_pending, 0, __ATOMIC_ACQ_REL); break;
	case LAPIC_ICR:
		lapic->icr_low = value & LAPIC_ICR_WRITABLE;
		lapic_icr_send(lapic, lapic->icr_low, lapic_x2apic(lapic) ? lapic->icr_high : lapic->icr_high >> 24);
		break;
	case LAPIC_ICR_HIGH: lapic->icr_high = value & 0xff000000u; break;
	case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR: lvt_write(lapic, (enum lapic_lvt)((offset - LAPIC_LVT_TIMER) >> 4), value); break;
	case LAPIC_INITIAL_COUNT: lapic_timer_initial_write(lapic, value); break;
	case LAPIC_DIVIDE_CONFIGURATION: lapic_timer_divide_write(lapic, value); break;
	case LAPIC_ID:
	case LAPIC_VERSION:
	case LAPIC_APR:
	case LAPIC_PPR:
	case LAPIC_RRD:
	case LAPIC_ISR ... LAPIC_IRR + 0x70:
	case LAPIC_CURRENT_COUNT: break;
	default: return false;
	}
	return true;
}

/* 11.4.1: registers are 32 bits wide at multiples of 16. A narrow read inside the word works as on hardware; others read as 0. */
static uint64_t lapic_mmio_read(void *apic, uint64_t offset, unsigned size)
{
	struct lapic *lapic = apic;
	unsigned within = (unsigned)offset & 15;
	uint32_t value = 0;

	if (within + size > 4 && !(size == 8 && within == 0))
		return 0;
	if (offset >= 0x400 || !register_read(lapic, (unsigned)offset & ~15u, &value))
		lapic_error(lapic, LAPIC_ESR_ILLEGAL_REGISTER);
	return value >> (8 * within);
}

static void lapic_mmio_write(void *apic, uint64_t offset, unsigned size, uint64_t value)
{
	struct lapic *lapic = apic;

	if (size < 4 || (offset & 15))
		return;
	if (offset >= 0x400 || !register_write(lapic, (unsigned)offset, (uint32_t)value))
		lapic_error(lapic, LAPIC_ESR_ILLEGAL_REGISTER);
}

/* Table 11-6: the bits that may be set in a write of an x2APIC register; false: it cannot be written. */
static bool x2apic_writable(unsigned offset, uint64_t *bits)
{
	switch (offset) {
	case LAPIC_TPR:
	case LAPIC_SELF_IPI: *bits = 0xff; break;
	case LAPIC_EOI:
	case LAPIC_ESR: *bits = 0; break;
	case LAPIC_SVR: *bits = 0xffu | LAPIC_SVR_ENABLE | LAPIC_SVR_FOCUS | LAPIC_SVR_SUPPRESS_EOI; break;
	case LAPIC_ICR: *bits = UINT64_C(0xffffffff) << 32 | LAPIC_ICR_WRITABLE | LAPIC_ICR_BUSY; break;
	case LAPIC_LVT_TIMER ... LAPIC_LVT_ERROR: /* delivery status and Remote IRR are read-only, not reserved */
		*bits = lvt_writable[(offset - LAPIC_LVT_TIMER) >> 4] | LAPIC_ICR_BUSY | LAPIC_LVT_REMOTE_IRR;
		break;
	case LAPIC_INITIAL_COUNT: *bits = 0xffffffff; break;
	case LAPIC_DIVIDE_CONFIGURATION: *bits = 0xb; break;
	default: return false;
	}
	return true;
}

static bool x2apic_read(struct lapic *lapic, unsigned offset, uint64_t *value)
{
	uint32_t word;

	switch (offset) {
	case LAPIC_APR:
	case LAPIC_RRD:
	case LAPIC_DFR:
	case LAPIC_ICR_HIGH: return false; /* not in this mode */
	case LAPIC_ICR: *value = (uint64_t)lapic->icr_high << 32 | lapic->icr_low; return true;
	default: break;
	}
	if (offset >= 0x400 || !register_read(lapic, offset, &word))
		return false;
	*value = word;
	return true;
}

static bool x2apic_write(struct lapic *lapic, unsigned offset, uint64_t value)
{
	uint64_t bits;

	if (!x2apic_writable(offset, &bits) || (value & ~bits))
		return false;
	if (offset == LAPIC_ICR)
		lapic->icr_high = (uint32_t)(value >> 32);
	if (offset == LAPIC_SELF_IPI) {
		lapic_icr_send(lapic, LAPIC_ICR_SELF | (uint32_t)value, 0);
		return true;
	}
	return register_write(lapic, offset, (uint32_t)value);
}

static void registers_reset(struct lapic *lapic)
{
	for (unsigned i = 0; i < 4; i++) {
		__atomic_store_n(&lapic->irr[i], 0, __ATOMIC_RELAXED);
		__atomic_store_n(&lapic->tmr[i], 0, __ATOMIC_RELAXED);
		lapic->isr[i] = 0;
	}
	lapic_store(&lapic->esr_pending, 0);
	lapic_store(&lapic->svr, 0xff);
	lapic_store(&lapic->ldr, 0);
	lapic_store(&lapic->dfr, 0xffffffffu);
	lapic_store(&lapic->tpr, 0);
	lapic_store(&lapic->ppr, 0);
	lapic->esr = 0;
	lapic->icr_low = 0;
	lapic->icr_high = 0;
	for (unsigned i = 0; i < LVT_ENTRIES; i++)
		lapic_store(&lapic->lvt[i], LAPIC_LVT_MASKED);
	/* Firmware puts the BSP's LINT0 into virtual wire mode; a kernel that is booted without firmware finds it so. */
	if (lapic->id == 0)
		lapic_store(&lapic->lvt[LVT_LINT0], DELIVERY_EXTINT << LAPIC_MESSAGE_DELIVERY_SHIFT);
	lapic_timer_reset(lapic);
}

static void lapic_init(void *apic)
{
	registers_reset(apic);
}

static void lapic_power_on(struct lapic *lapic)
{
	__atomic_store_n(&lapic->base_msr, LAPIC_PAGE_BASE | LAPIC_BASE_EN | (lapic->id == 0 ? LAPIC_BASE_BSP : 0),
			 __ATOMIC_RELAXED);
	registers_reset(lapic);
}

/* 11.12.1.1 and figure 11-27: which changes of mode there are. The BSP flag is as it was at reset. */
static bool base_write(struct lapic *lapic, uint64_t value)
{
	uint64_t old = lapic_base(lapic);
	unsigned from = (unsigned)(old >> 10) & 3, to = (unsigned)(value >> 10) & 3;
	enum { DISABLED = 0, INVALID = 1, XAPIC = 2, X2APIC = 3 };

	if ((value & 0x2ff) || value >> lapic->set->wiring.physical_bits)
		return false;
	if (to == INVALID || (from == X2APIC && to == XAPIC) || (from == DISABLED && to == X2APIC))
		return false;
	value = (value & ~(uint64_t)LAPIC_BASE_BSP) | (old & LAPIC_BASE_BSP);
	__atomic_store_n(&lapic->base_msr, value, __ATOMIC_RELAXED);
	if (to == DISABLED && from != DISABLED)
		registers_reset(lapic);
	pending_recheck(lapic);
	return true;
}

static bool lapic_msr_read(void *apic, uint32_t msr, uint64_t *value)
{
	struct lapic *lapic = apic;

	if (msr == X86_MSR_TSC_DEADLINE) {
		*value = lapic_timer_deadline_read(lapic);
		return true;
	}
	if (msr == X86_MSR_APIC_BASE) {
		*value = lapic_base(lapic);
		return true;
	}
	if (msr - X86_MSR_X2APIC > 0xff || !lapic_x2apic(lapic))
		return false;
	return x2apic_read(lapic, (msr - X86_MSR_X2APIC) << 4, value);
}

static bool lapic_msr_write(void *apic, uint32_t msr, uint64_t value)
{
	struct lapic *lapic = apic;

	if (msr == X86_MSR_TSC_DEADLINE) {
		lapic_timer_deadline_write(lapic, value);
		return true;
	}
	if (msr == X86_MSR_APIC_BASE)
		return base_write(lapic, value);
	if (msr - X86_MSR_X2APIC > 0xff || !lapic_x2apic(lapic))
		return false;
	return x2apic_write(lapic, (msr - X86_MSR_X2APIC) << 4, value);
}

static uint8_t lapic_tpr_get(void *apic)
{
	struct lapic *lapic = apic;

	return (uint8_t)(lapic_load(&lapic->tpr) >> 4);
}

static void lapic_tpr_set(void *apic, uint8_t cr8)
{
	tpr_write(apic, (uint32_t)(cr8 & 15) << 4);
}

static uint64_t lapic_page(void *apic)
{
	uint64_t base = lapic_base(apic);

	return (base & (LAPIC_BASE_EN | LAPIC_BASE_EXTD)) == LAPIC_BASE_EN ? base & ~UINT64_C(0xfff) : UINT64_MAX;
}

/* Registers that no read shows: the errors that no write of ESR has latched yet stand in the reserved word 1. */
#define STATE_ESR_PENDING 1

static void lapic_get(void *apic, struct x86_apic_state *out)
{
	struct lapic *lapic = apic;

	__builtin_memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < 64; i++)
		if (!register_read(lapic, i << 4, &out->reg[i]))
			out->reg[i] = 0;
	out->reg[STATE_ESR_PENDING] = lapic_load(&lapic->esr_pending);
	out->base_msr = lapic_base(lapic);
	host_mutex_lock(&lapic->timer_lock);
	out->tsc_deadline = lapic->tsc_deadline;
	out->timer_start_ns = lapic->timer_start_ns;
	out->timer_next_ns = lapic->timer_next_ns;
	host_mutex_unlock(&lapic->timer_lock);
}

static uint64_t vectors_load(const uint32_t *reg, unsigned word)
{
	uint64_t bits = reg[2 * word] | (uint64_t)reg[2 * word + 1] << 32;

	return word == 0 ? bits & ~UINT64_C(0xffff) : bits; /* vectors below 16 are never accepted */
}

/* What `in` says comes from a snapshot: only what a guest could have brought about gets in. */
static void lapic_set(void *apic, const struct x86_apic_state *in)
{
	struct lapic *lapic = apic;
	uint64_t base = in->base_msr & ((UINT64_C(1) << lapic->set->wiring.physical_bits) - 1) & ~UINT64_C(0x3ff);

	if (!(base & LAPIC_BASE_EN))
		base &= ~(uint64_t)LAPIC_BASE_EXTD;
	__atomic_store_n(&lapic->base_msr, base | (lapic->id == 0 ? LAPIC_BASE_BSP : 0), __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 4; i++) {
		__atomic_store_n(&lapic->irr[i], vectors_load(&in->reg[LAPIC_IRR >> 4], i), __ATOMIC_RELAXED);
		__atomic_store_n(&lapic->tmr[i], vectors_load(&in->reg[LAPIC_TMR >> 4], i), __ATOMIC_RELAXED);
		lapic->isr[i] = vectors_load(&in->reg[LAPIC_ISR >> 4], i);
	}
	lapic_store(&lapic->esr_pending, in->reg[STATE_ESR_PENDING] & 0xff);
	lapic->esr = in->reg[LAPIC_ESR >> 4] & 0xff;
	lapic_store(&lapic->tpr, in->reg[LAPIC_TPR >> 4] & 0xff);
	lapic_store(&lapic->dfr, in->reg[LAPIC_DFR >> 4] | 0x0fffffffu);
	lapic_store(&lapic->ldr, lapic_x2apic(lapic) ? 0 : in->reg[LAPIC_LDR >> 4] & 0xff000000u);
	lapic->icr_low = in->reg[LAPIC_ICR >> 4] & LAPIC_ICR_WRITABLE;
	lapic->icr_high = lapic_x2apic(lapic) ? in->reg[LAPIC_ICR_HIGH >> 4] : in->reg[LAPIC_ICR_HIGH >> 4] & 0xff000000u;
	for (unsigned i = 0; i < LVT_ENTRIES; i++)
		lapic_store(&lapic->lvt[i], in->reg[(LAPIC_LVT_TIMER >> 4) + i] & (lvt_writable[i] | LAPIC_LVT_REMOTE_IRR));
	svr_write(lapic, in->reg[LAPIC_SVR >> 4]);
	if (lapic->id == 0 && !(in->reg[LAPIC_SVR >> 4] & LAPIC_SVR_ENABLE)) /* as reset leaves it, see registers_reset */
		lapic_store(&lapic->lvt[LVT_LINT0], in->reg[(LAPIC_LVT_TIMER >> 4) + LVT_LINT0] & lvt_writable[LVT_LINT0]);
	ppr_update(lapic);
	host_mutex_lock(&lapic->timer_lock);
	lapic->initial_count = in->reg[LAPIC_INITIAL_COUNT >> 4];
	lapic->divide_configuration = in->reg[LAPIC_DIVIDE_CONFIGURATION >> 4] & 0xb;
	lapic->tsc_deadline = in->tsc_deadline;
	lapic->timer_start_ns = in->timer_start_ns;
	lapic->timer_next_ns = in->timer_next_ns;
	host_mutex_unlock(&lapic->timer_lock);
	lapic_timer_arm(lapic);
}

static void set_reset(void *object)
{
	struct lapic_set *set = object;

	for (unsigned i = 0; i < set->cpus; i++)
		lapic_power_on(&set->lapic[i]);
}

static void set_destroy(void *object)
{
	struct lapic_set *set = object;

	for (unsigned i = 0; i < set->cpus; i++)
		timer_cancel_wait(&set->lapic[i].timer);
	host_free(set->lapic, set->cpus * sizeof(*set->lapic));
	set->lapic = NULL;
	set->cpus = 0;
}

enum status lapic_set_init(struct lapic_set *set, unsigned cpus, const struct lapic_wiring *wiring)
{
	bug_on(cpus == 0 || cpus > LAPIC_CPUS_MAX);
	__builtin_memset(set, 0, sizeof(*set));
	set->lapic = host_allocate(cpus * sizeof(*set->lapic));
	if (!set->lapic)
		return STATUS_NO_MEMORY;
	set->wiring = *wiring;
	set->cpus = cpus;
	set->device = (struct device){.name = "lapic", .reset = set_reset, .destroy = set_destroy, .object = set};
	for (unsigned i = 0; i < cpus; i++) {
		struct lapic *lapic = &set->lapic[i];

		lapic->set = set;
		lapic->id = i;
		lapic_timer_init(lapic, wiring->clock);
		lapic_power_on(lapic);
	}
	return STATUS_OK;
}

struct lapic *lapic_set_attach(struct lapic_set *set, unsigned id, void *vcpu)
{
	bug_on(id >= set->cpus);
	set->lapic[id].vcpu = vcpu;
	return &set->lapic[id];
}

const struct local_apic_ops lapic_ops = {
	.pending = lapic_pending,
	.accept = lapic_accept,
	.tpr_get = lapic_tpr_get,
	.tpr_set = lapic_tpr_set,
	.msr_read = lapic_msr_read,
	.msr_write = lapic_msr_write,
	.mmio_read = lapic_mmio_read,
	.mmio_write = lapic_mmio_write,
	.base = lapic_page,
	.init = lapic_init,
	.get = lapic_get,
	.set = lapic_set,
};
