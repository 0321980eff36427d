/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_state_apic.c - the local APIC's registers and timer from and to the kernel.
 *
 * The page has one layout on both sides. The timer does not: KVM has a count that runs (or a deadline in an MSR), we have two times on the guest's clock. While the vcpu is
 * not in vcpu_run the clock may stand, and no timer must run out meanwhile. On the way out both are noted (hold). A deadline is taken from KVM and given back on the way
 * in (go). A count cannot be stopped in the kernel; it runs on there and is set back on the way in if the clock has stood. What it did in between leaves no
 * trace: a count that ends becomes an interrupt at the next KVM_RUN only, and setting it drops that.
 *
 * Setting a count is KVM_SET_LAPIC of the whole page, and an interrupt that arrived since KVM_GET_LAPIC would be lost. So it is done while no vcpu is in the guest,
 * whose IPIs need nobody's leave, and no message is under way.
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm_engine.h"

enum { ID = 0x2, LVT_TIMER = 0x32, INITIAL_COUNT = 0x38, CURRENT_COUNT = 0x39, DIVIDE = 0x3e }; /* register numbers: offsets / 16 */
#define LVT_TIMER_MODE 0x60000u
#define LVT_TIMER_DEADLINE 0x40000u
/* A count is never set to less: where the processor delivers interrupts itself (APICv), some kernels lose one that is due before KVM_SET_LAPIC is over. */
#define COUNT_LEAST_NS UINT64_C(50000)

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
		return result < 0 ? result : 0;
	result = kvm_state_msr_get_one(self, X86_MSR_TSC_ADJUST, &adjust);
	if (result >= 0)
		result = deadline_set(self, 0);
	self->tsc_deadline = deadline - adjust;
	self->timer_next_ns = vm_clock_tsc_to_ns(&self->vcpu->vm->clock, self->tsc_deadline);
	return result < 0 ? result : 0;
}

static int count_hold(struct kvm_vcpu *self, const struct kvm_lapic_state *lapic, uint64_t begin_ns)
{
	uint64_t unit = divisor(reg_get(lapic, DIVIDE)), current = reg_get(lapic, CURRENT_COUNT),
		 initial = reg_get(lapic, INITIAL_COUNT);

	self->tsc_deadline = 0;
	self->timer_next_ns = UINT64_MAX;
	if (!initial || !current)
		return initial != 0;
	self->timer_next_ns = vm_clock_ns(&self->vcpu->vm->clock) + current * unit;
	self->timer_start_ns = self->timer_next_ns > initial * unit ? self->timer_next_ns - initial * unit : 0;
	return (initial - current) * unit <= host_time_ns() - begin_ns;
}

int kvm_state_timer_hold(struct kvm_vcpu *self, uint64_t begin_ns)
{
	struct kvm_lapic_state lapic;
	int result;

	result = kvm_call_pointer(self->fd, KVM_GET_LAPIC, &lapic);
	if (result < 0)
		return result;
	self->timer_start_ns = 0;
	if (mode_is_deadline(reg_get(&lapic, LVT_TIMER)))
		result = deadline_hold(self);
	else
		result = count_hold(self, &lapic, begin_ns);
	self->timer_held = true;
	return result;
}

/* What is left of a count that ends at next_ns, in its units; 0 is KVM's word for a count that has ended. */
static uint32_t count_left(const struct kvm_vcpu *self, uint64_t next_ns, uint32_t divide, uint32_t initial)
{
	uint64_t unit = divisor(divide), now = vm_clock_ns(&self->vcpu->vm->clock);
	uint64_t ns = next_ns > now + COUNT_LEAST_NS ? next_ns - now : COUNT_LEAST_NS, left = (ns + unit - 1) / unit;

	return left < initial ? (uint32_t)left : initial;
}

struct count_set {
	struct kvm_vcpu *self;
	int result;
};

/* In an exclusive section. */
static void count_set_back(void *argument)
{
	struct count_set *set = argument;
	struct kvm_vcpu *self = set->self;
	struct kvm_lapic_state lapic;

	kvm_irq_messages_stop(self->vm);
	set->result = kvm_call_pointer(self->fd, KVM_GET_LAPIC, &lapic);
	if (set->result >= 0 && !mode_is_deadline(reg_get(&lapic, LVT_TIMER)) && reg_get(&lapic, INITIAL_COUNT)) {
		reg_set(&lapic, CURRENT_COUNT,
			count_left(self, self->timer_next_ns, reg_get(&lapic, DIVIDE), reg_get(&lapic, INITIAL_COUNT)));
		set->result = kvm_call_pointer(self->fd, KVM_SET_LAPIC, &lapic);
	}
	kvm_irq_messages_go(self->vm);
}

int kvm_state_timer_go(struct kvm_vcpu *self, bool stood)
{
	struct count_set set = {.self = self};
	uint64_t adjust = 0;
	int result = 0;

	if (!self->timer_held)
		return 0;
	if (self->tsc_deadline) {
		result = kvm_state_msr_get_one(self, X86_MSR_TSC_ADJUST, &adjust);
		if (result >= 0)
			result = deadline_set(self, self->tsc_deadline + adjust);
	} else if (stood && self->timer_next_ns != UINT64_MAX) {
		exclusive_run(self->vcpu->vm, self->vcpu, count_set_back, &set);
		result = set.result;
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
	int result = kvm_call_pointer(self->fd, KVM_GET_LAPIC, &lapic);

	if (result < 0)
		return result;
	for (unsigned i = 0; i < 64; i++)
		out->apic.reg[i] = reg_get(&lapic, i);
	/* In the middle of vcpu_run, for kvm_emulate, the timer is KVM's and goes on. */
	if (!self->timer_held)
		return 0;
	out->apic.reg[CURRENT_COUNT] = count_held(self, out);
	out->apic.tsc_deadline = self->tsc_deadline;
	out->apic.timer_start_ns = self->timer_start_ns;
	out->apic.timer_next_ns = self->timer_next_ns;
	return 0;
}

/* KVM starts the count from CURRENT_COUNT, and takes 0 there for a count that ends now: so a one-shot count that has ended is written as none at all. */
static void count_write(struct kvm_vcpu *self, const struct x86_apic_state *in, struct kvm_lapic_state *lapic)
{
	if (in->timer_next_ns == UINT64_MAX) {
		reg_set(lapic, INITIAL_COUNT, 0);
		reg_set(lapic, CURRENT_COUNT, 0);
		return;
	}
	reg_set(lapic, CURRENT_COUNT, count_left(self, in->timer_next_ns, in->reg[DIVIDE], in->reg[INITIAL_COUNT]));
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
