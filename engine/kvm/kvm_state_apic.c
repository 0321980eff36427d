/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_state_apic.c - the local APIC's registers and timer from and to the kernel.
 *
 * The page has one layout on both sides. The timer does not: KVM has a count that runs (or a deadline in an MSR), we have two times on the guest's clock. While the vcpu is
 * not in vcpu_run the clock may stand, and the deadline must not pass meanwhile: on the way out it is taken from KVM (hold), on the way in it is given back
 * (go). A count goes on in the kernel: taking it out would mean KVM_SET_LAPIC, which loses interrupts that arrive at that moment. Linux, BSD and Windows
 * use the deadline wherever CPUID has it.
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm_engine.h"

enum { ID = 0x2, LVT_TIMER = 0x32, INITIAL_COUNT = 0x38, CURRENT_COUNT = 0x39, DIVIDE = 0x3e }; /* register numbers: offsets / 16 */
#define LVT_TIMER_MODE 0x60000u
#define LVT_TIMER_DEADLINE 0x40000u

_Static_assert(KVM_APIC_REG_SIZE == 64 * 16, "64 registers, 16 bytes apart");

static uint32_t reg_get(const struct kvm_lapic_state *lapic, unsigned number)
{
	uint32_t value;

	memcpy(&value, lapic->regs + number * 16, sizeof(value));
	return value;
}

static void reg_set(struct kvm_lapic_state *lapic, unsigned number, uint32_t value)
{
	memcpy(lapic->regs + number * 16, &value, sizeof(value));
}

static bool mode_is_deadline(uint32_t lvt_timer)
{
	return (lvt_timer & LVT_TIMER_MODE) == LVT_TIMER_DEADLINE;
}

/* SDM vol. 3, 11.5.4. The count's clock has 1 GHz. */
static uint64_t divisor(uint32_t divide)
{
	uint32_t code = (divide & 3) | (divide & 8) >> 1;

	return UINT64_C(1) << ((code + 1) & 7);
}

static int deadline_get(struct kvm_vcpu *self, uint64_t *deadline)
{
	*deadline = 0;
	return kvm_state_msr_get_one(self, X86_MSR_TSC_DEADLINE, deadline);
}

static int deadline_set(struct kvm_vcpu *self, uint64_t deadline)
{
	return kvm_state_msr_set_one(self, X86_MSR_TSC_DEADLINE, deadline);
}

/* The fields keep the deadline in the clock's TSC, KVM in the guest's; 0 stays 0. */
static int deadline_hold(struct kvm_vcpu *self)
{
	uint64_t deadline, adjust = 0;
	int result = deadline_get(self, &deadline);

	self->tsc_deadline = 0;
	self->timer_next_ns = UINT64_MAX;
	if (result <= 0 || !deadline)
		return result;
	result = kvm_state_msr_get_one(self, X86_MSR_TSC_ADJUST, &adjust);
	if (result >= 0)
		result = deadline_set(self, 0);
	self->tsc_deadline = deadline - adjust;
	self->timer_next_ns = vm_clock_tsc_to_ns(&self->vcpu->vm->clock, self->tsc_deadline);
	return result;
}

static void count_hold(struct kvm_vcpu *self, const struct kvm_lapic_state *lapic)
{
	uint64_t unit = divisor(reg_get(lapic, DIVIDE)), current = reg_get(lapic, CURRENT_COUNT),
		 initial = reg_get(lapic, INITIAL_COUNT);

	self->tsc_deadline = 0;
	self->timer_next_ns = UINT64_MAX;
	if (!initial || !current)
		return;
	self->timer_next_ns = vm_clock_ns(&self->vcpu->vm->clock) + current * unit;
	self->timer_start_ns = self->timer_next_ns > initial * unit ? self->timer_next_ns - initial * unit : 0;
}

int kvm_state_timer_hold(struct kvm_vcpu *self)
{
	struct kvm_lapic_state lapic;
	int result;

	if (self->timer_held)
		return 0;
	result = kvm_call_pointer(self->fd, KVM_GET_LAPIC, &lapic);
	if (result < 0)
		return result;
	self->timer_start_ns = 0;
	if (mode_is_deadline(reg_get(&lapic, LVT_TIMER)))
		result = deadline_hold(self);
	else
		count_hold(self, &lapic);
	self->timer_held = true;
	return result;
}

int kvm_state_timer_go(struct kvm_vcpu *self)
{
	uint64_t adjust = 0;
	int result = 0;

	if (self->timer_held && self->tsc_deadline) {
		result = kvm_state_msr_get_one(self, X86_MSR_TSC_ADJUST, &adjust);
		if (result >= 0)
			result = deadline_set(self, self->tsc_deadline + adjust);
	}
	self->timer_held = false;
	return result;
}

/* The count as the guest's clock has it: KVM's own goes on while that stands. */
static uint32_t count_held(const struct kvm_vcpu *self, const struct x86_state *out)
{
	uint64_t unit = divisor(out->apic.reg[DIVIDE]), now = vm_clock_ns(&self->vcpu->vm->clock), left;

	if (self->timer_next_ns == UINT64_MAX || self->timer_next_ns <= now || mode_is_deadline(out->apic.reg[LVT_TIMER]))
		return 0;
	left = (self->timer_next_ns - now + unit - 1) / unit;
	return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
}

int kvm_state_apic_read(struct kvm_vcpu *self, struct x86_state *out)
{
	struct kvm_lapic_state lapic;
	int result = kvm_state_timer_hold(self);

	if (result >= 0)
		result = kvm_call_pointer(self->fd, KVM_GET_LAPIC, &lapic);
	if (result < 0)
		return result;
	for (unsigned i = 0; i < 64; i++)
		out->apic.reg[i] = reg_get(&lapic, i);
	out->apic.reg[CURRENT_COUNT] = count_held(self, out);
	out->apic.tsc_deadline = self->tsc_deadline;
	out->apic.timer_start_ns = self->timer_start_ns;
	out->apic.timer_next_ns = self->timer_next_ns;
	return 0;
}

/*
 * KVM starts the count from CURRENT_COUNT, and takes 0 there for a count that ends now: so a one-shot count that has ended is written as none at all. The interrupt
 * that is due now, or was while the clock stood, comes at the next tick.
 */
static void count_write(struct kvm_vcpu *self, const struct x86_apic_state *in, struct kvm_lapic_state *lapic)
{
	uint64_t unit = divisor(in->reg[DIVIDE]), now = vm_clock_ns(&self->vcpu->vm->clock), left;

	if (in->timer_next_ns == UINT64_MAX) {
		reg_set(lapic, INITIAL_COUNT, 0);
		reg_set(lapic, CURRENT_COUNT, 0);
		return;
	}
	left = in->timer_next_ns > now ? (in->timer_next_ns - now + unit - 1) / unit : 1;
	reg_set(lapic, CURRENT_COUNT, left < UINT32_MAX ? (uint32_t)left : UINT32_MAX);
}

int kvm_state_apic_write(struct kvm_vcpu *self, const struct x86_state *in)
{
	struct kvm_lapic_state lapic;
	int result;

	memset(&lapic, 0, sizeof(lapic));
	for (unsigned i = 0; i < 64; i++)
		reg_set(&lapic, i, in->apic.reg[i]);
	if (!mode_is_deadline(in->apic.reg[LVT_TIMER]))
		count_write(self, &in->apic, &lapic);
	result = kvm_call_pointer(self->fd, KVM_SET_LAPIC, &lapic);
	if (result >= 0)
		result = deadline_set(self, 0);
	self->timer_start_ns = in->apic.timer_start_ns;
	self->timer_next_ns = in->apic.timer_next_ns;
	self->tsc_deadline = in->apic.tsc_deadline;
	self->timer_held = true;
	return result;
}
