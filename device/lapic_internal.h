/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic_internal.h - what lapic.c (registers), lapic_timer.c and lapic_route.c (messages) share. SDM vol. 3, 11.
 */
#ifndef HOLON_DEVICE_LAPIC_INTERNAL_H
#define HOLON_DEVICE_LAPIC_INTERNAL_H

#include "device/lapic.h"

/* Register offsets of the xAPIC page (table 11-1); MSR 0x800 + offset / 16 in x2APIC mode. */
#define LAPIC_ID 0x020u
#define LAPIC_VERSION 0x030u
#define LAPIC_TPR 0x080u
#define LAPIC_APR 0x090u
#define LAPIC_PPR 0x0a0u
#define LAPIC_EOI 0x0b0u
#define LAPIC_RRD 0x0c0u
#define LAPIC_LDR 0x0d0u
#define LAPIC_DFR 0x0e0u
#define LAPIC_SVR 0x0f0u
#define LAPIC_ISR 0x100u
#define LAPIC_TMR 0x180u
#define LAPIC_IRR 0x200u
#define LAPIC_ESR 0x280u
#define LAPIC_ICR 0x300u
#define LAPIC_ICR_HIGH 0x310u
#define LAPIC_LVT_TIMER 0x320u
#define LAPIC_LVT_ERROR 0x370u
#define LAPIC_INITIAL_COUNT 0x380u
#define LAPIC_CURRENT_COUNT 0x390u
#define LAPIC_DIVIDE_CONFIGURATION 0x3e0u
#define LAPIC_SELF_IPI 0x3f0u

/* The LVT in the order of its registers. */
enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_ENTRIES };

#define LAPIC_BASE_BSP 0x100u
#define LAPIC_BASE_EXTD 0x400u
#define LAPIC_BASE_EN 0x800u

#define LAPIC_VERSION_NUMBER 0x14u
#define LAPIC_VERSION_EOI_SUPPRESSION 0x01000000u

#define LAPIC_SVR_ENABLE 0x100u
#define LAPIC_SVR_FOCUS 0x200u
#define LAPIC_SVR_SUPPRESS_EOI 0x1000u

#define LAPIC_LVT_MASKED 0x10000u
#define LAPIC_LVT_LEVEL 0x8000u
#define LAPIC_LVT_REMOTE_IRR 0x4000u
#define LAPIC_LVT_POLARITY 0x2000u
#define LAPIC_LVT_TIMER_MODE 0x60000u
#define LAPIC_LVT_TIMER_PERIODIC 0x20000u
#define LAPIC_LVT_TIMER_DEADLINE 0x40000u

#define LAPIC_ESR_SEND_ILLEGAL_VECTOR 0x20u
#define LAPIC_ESR_RECEIVE_ILLEGAL_VECTOR 0x40u
#define LAPIC_ESR_ILLEGAL_REGISTER 0x80u

enum lapic_delivery {
	DELIVERY_FIXED = 0,
	DELIVERY_LOWEST = 1,
	DELIVERY_SMI = 2,
	DELIVERY_NMI = 4,
	DELIVERY_INIT = 5,
	DELIVERY_SIPI = 6,
	DELIVERY_EXTINT = 7,
};

/* Bits that the ICR and an MSI's data have in common. */
#define LAPIC_MESSAGE_VECTOR 0xffu
#define LAPIC_MESSAGE_DELIVERY_SHIFT 8
#define LAPIC_MESSAGE_ASSERT 0x4000u
#define LAPIC_MESSAGE_LEVEL 0x8000u
#define LAPIC_ICR_LOGICAL 0x800u
#define LAPIC_ICR_SELF 0x40000u
#define LAPIC_ICR_BUSY 0x1000u
#define LAPIC_ICR_WRITABLE 0xccfffu /* what x2APIC mode does not reserve; BUSY is ignored */

static inline uint64_t lapic_base(const struct lapic *lapic)
{
	return __atomic_load_n(&lapic->base_msr, __ATOMIC_RELAXED);
}
static inline bool lapic_enabled(const struct lapic *lapic)
{
	return lapic_base(lapic) & LAPIC_BASE_EN;
}
static inline bool lapic_x2apic(const struct lapic *lapic)
{
	return (lapic_base(lapic) & (LAPIC_BASE_EN | LAPIC_BASE_EXTD)) == (LAPIC_BASE_EN | LAPIC_BASE_EXTD);
}
/* Enabled by hardware and by software (11.4.3, 11.4.7). */
static inline bool lapic_accepting(const struct lapic *lapic)
{
	return lapic_enabled(lapic) && (__atomic_load_n(&lapic->svr, __ATOMIC_RELAXED) & LAPIC_SVR_ENABLE);
}
static inline uint32_t lapic_load(const uint32_t *reg)
{
	return __atomic_load_n(reg, __ATOMIC_RELAXED);
}
static inline void lapic_store(uint32_t *reg, uint32_t value)
{
	__atomic_store_n(reg, value, __ATOMIC_RELAXED);
}

/* lapic.c. Any thread. */
/* A fixed interrupt arrives: IRR, TMR, wake. Vectors below 16 become an error. */
void lapic_accept_vector(struct lapic *lapic, uint8_t vector, bool level);
void lapic_error(struct lapic *lapic, uint32_t esr_bit);
/* Delivers what an LVT entry says, unless it is masked. */
void lapic_lvt_deliver(struct lapic *lapic, enum lapic_lvt entry);

/* lapic_route.c. On the sender's thread. */
void lapic_icr_send(struct lapic *lapic, uint32_t low, uint32_t destination);

/* lapic_timer.c. On the owner's thread. */
void lapic_timer_init(struct lapic *lapic, struct vm_clock *clock);
void lapic_timer_reset(struct lapic *lapic);
void lapic_timer_lvt_write(struct lapic *lapic, uint32_t value);
void lapic_timer_initial_write(struct lapic *lapic, uint32_t value);
void lapic_timer_divide_write(struct lapic *lapic, uint32_t value);
uint32_t lapic_timer_current(struct lapic *lapic);
uint64_t lapic_timer_deadline_read(struct lapic *lapic);
void lapic_timer_deadline_write(struct lapic *lapic, uint64_t tsc);
/* After the fields were loaded from a saved state: arms. */
void lapic_timer_arm(struct lapic *lapic);

#endif
