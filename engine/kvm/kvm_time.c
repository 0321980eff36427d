/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_time.c - KVM's TSC offset follows the VM's clock (include/holon/timer.h), so that all that the guest sees of time has one source.
 *
 * While the clock runs, guest TSC = host TSC + base + IA32_TSC_ADJUST, with base = clock.stopped_tsc - clock.tsc_base. The base changes only while vcpus stand
 * (start, resume, load), so it is told anew when a vcpu begins to run. Where KVM has no attribute for the offset (before Linux 5.16), or the VM came from a host with another
 * TSC frequency, the TSC itself is written; KVM then sees to it that vcpus written within a second agree.
 */
#include <errno.h>

#include "engine/kvm/kvm_engine.h"
#include "x86/registers.h"

static int offset_write(struct kvm_vcpu *self, uint64_t offset)
{
	struct kvm_device_attr attr = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset};

	return kvm_call_pointer(self->fd, KVM_SET_DEVICE_ATTR, &attr);
}

static int tsc_write(struct kvm_vcpu *self, uint64_t adjust)
{
	struct vm_clock *clock = &self->vcpu->vm->clock;
	int result = 0;

	if (clock->tsc_khz != clock->host_khz)
		result = kvm_call(self->fd, KVM_SET_TSC_KHZ, clock->tsc_khz);
	if (result < 0)
		return result;
	result = kvm_state_msr_set_one(self, X86_MSR_TSC, vm_clock_tsc(clock) + adjust);
	return result == 0 ? -EINVAL : result;
}

int kvm_time_tell(struct kvm_vcpu *self)
{
	const struct vm_clock *clock = &self->vcpu->vm->clock;
	uint64_t base =
		__atomic_load_n(&clock->stopped_tsc, __ATOMIC_RELAXED) - __atomic_load_n(&clock->tsc_base, __ATOMIC_RELAXED);
	uint64_t adjust = 0;
	int result;

	if (self->clock_told && base == self->clock_base)
		return 0;
	result = kvm_state_msr_get_one(self, X86_MSR_TSC_ADJUST, &adjust);
	if (result < 0)
		return result;
	if (self->vm->has_tsc_offset && clock->tsc_khz == clock->host_khz)
		result = offset_write(self, base + adjust);
	else
		result = tsc_write(self, adjust);
	if (result >= 0) {
		self->clock_base = base;
		self->clock_told = true;
	}
	return result < 0 ? result : 1;
}
