/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pvclock.c - the paravirtual clock as Linux and the BSDs know it from KVM (Linux, Documentation/virt/kvm/x86/msr.rst): the guest names a place in its RAM
 * and reads there how its TSC becomes nanoseconds.
 *
 * Guest TSC and guest ns keep one relation for the whole life of a VM (include/holon/timer.h), so the page is the same for every
 * vcpu, is written once and never goes stale: ns = TSC * multiplier, from 0 on. Pauses stop both; a move to a host with another TSC
 * scales in vm/clock.c.
 */
#include <holon/vm.h>

#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00u
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u
#define SYSTEM_TIME_ENABLE 1u
#define PVCLOCK_TSC_STABLE_BIT 1u

struct pvclock_vcpu_time_info {
	uint32_t version; /* odd while the rest changes */
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
};

struct pvclock_wall_clock {
	uint32_t version;
	uint32_t sec;
	uint32_t nsec;
};

/* ns = (tsc << shift) * mul >> 32, with mul's top bit set: 32 bits of precision (shift < 0: to the right). */
static void scale_find(uint32_t tsc_khz, uint32_t *mul, int8_t *shift)
{
	uint64_t numerator = 1000000, denominator = tsc_khz; /* ns a tick */

	*shift = 0;
	while (numerator >= denominator) {
		denominator <<= 1;
		++*shift;
	}
	while (numerator << 1 < denominator) {
		numerator <<= 1;
		--*shift;
	}
	*mul = (uint32_t)((numerator << 32) / denominator);
}

/* The version protocol: odd, the body behind the version, even. Where the guest named no RAM nothing happens, as in KVM. */
static void versioned_write(struct vm *vm, uint64_t gpa, void *image, uint64_t length)
{
	uint32_t *version = image;

	if (guest_memory_read(&vm->memory, gpa, version, sizeof(*version)))
		return;
	*version |= 1;
	if (guest_memory_write(&vm->memory, gpa, version, sizeof(*version)))
		return;
	if (guest_memory_write(&vm->memory, gpa + sizeof(*version), version + 1, length - sizeof(*version)))
		return;
	++*version;
	if (guest_memory_write(&vm->memory, gpa, version, sizeof(*version)))
		return;
}

static void system_time_write(struct vcpu *vcpu)
{
	struct pvclock_vcpu_time_info info = {.flags = PVCLOCK_TSC_STABLE_BIT};

	if (!(vcpu->pvclock_msr & SYSTEM_TIME_ENABLE))
		return;
	scale_find(vcpu->vm->clock.tsc_khz, &info.tsc_to_system_mul, &info.tsc_shift);
	versioned_write(vcpu->vm, vcpu->pvclock_msr & ~(uint64_t)SYSTEM_TIME_ENABLE, &info, sizeof(info));
}

static void wall_clock_write(struct vm *vm)
{
	struct pvclock_wall_clock wall = {0};
	uint64_t ns = __atomic_load_n(&vm->clock.wall_offset_ns, __ATOMIC_RELAXED); /* the wall clock at guest ns 0 */

	wall.sec = (uint32_t)(ns / 1000000000);
	wall.nsec = (uint32_t)(ns % 1000000000);
	versioned_write(vm, vm->pvclock_wall_msr, &wall, sizeof(wall));
}

bool pvclock_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	switch (msr) {
	case MSR_KVM_WALL_CLOCK_NEW: *value = __atomic_load_n(&vcpu->vm->pvclock_wall_msr, __ATOMIC_RELAXED); return true;
	case MSR_KVM_SYSTEM_TIME_NEW: *value = vcpu->pvclock_msr; return true;
	default: return false;
	}
}

bool pvclock_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	switch (msr) {
	case MSR_KVM_WALL_CLOCK_NEW:
		__atomic_store_n(&vcpu->vm->pvclock_wall_msr, value, __ATOMIC_RELAXED);
		wall_clock_write(vcpu->vm);
		return true;
	case MSR_KVM_SYSTEM_TIME_NEW:
		vcpu->pvclock_msr = value;
		system_time_write(vcpu);
		return true;
	default: return false;
	}
}

/* Saved state. The pages are in guest RAM and stay right: the clock keeps the saved TSC frequency. The vcpus' MSRs are part of struct x86_state. */
static const struct state_field wall_fields[] = {STATE_FIELD(struct vm, pvclock_wall_msr)};
static const struct state_table wall_state = {.name = "pvclock-wall", .version = 1, STATE_TABLE_FIELDS(wall_fields)};

static void wall_reset(void *object)
{
	((struct vm *)object)->pvclock_wall_msr = 0;
}

void pvclock_add(struct vm *vm)
{
	vm->pvclock_device = (struct device){.name = "pvclock-wall", .state = &wall_state, .reset = wall_reset, .object = vm};
	vm_device_add(vm, &vm->pvclock_device);
}
