/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_machine.h - what the KVM engine's tests share: a VM on a kernel that the test plays (fake_kvm.h), with RAM in two slots and a device that notes what it is
 * asked, a state for its vcpus, and a guest that leaves once. What a real KVM makes of it all is test/kvm's to show.
 */
#ifndef HOLON_TEST_ENGINE_KVM_MACHINE_H
#define HOLON_TEST_ENGINE_KVM_MACHINE_H

#include <holon/vm.h>

#include "test/engine/fake_kvm.h"
#include "x86/cpuid.h"
#include "x86/execute.h"
#include "x86/state.h"

extern const struct engine engine_kvm;

#define RAM_SIZE (UINT64_C(16) << 20)
#define DEVICE_GPA UINT64_C(0xd0000000)
#define DEVICE_PORT 0x700

extern struct vm vm;
extern struct x86_cpu_model model;
extern uint8_t *ram;

/* A device in both spaces that notes what it is asked. */
struct noting_device {
	struct bus_region memory, port;
	unsigned reads, writes, writes_at_read;
	uint64_t offset[16], value[16];
	unsigned size[16];
	_Atomic unsigned rung;
};

extern struct noting_device device;

/* A VM without vcpus; create: a new fake, and with vcpus. */
void machine_describe(unsigned cpus);
void machine_create(unsigned cpus);
void machine_end(void);

/* Something in every field; count: the APIC's timer counts in nanoseconds, in `mode`. */
void state_make(struct x86_state *s);
void count_make(struct x86_state *s, uint32_t mode);
void state_set(unsigned cpu, const struct x86_state *s);

/* fake.guest: exits as exit_make makes them, exits_left of them, then a pause. */
extern unsigned exits_left;
extern void (*exit_make)(struct kvm_run *run);
extern uint64_t deadline_at_pause;
int guest_once(struct fake_vcpu *vcpu, unsigned index);
/* A new machine, whose guest has one such exit. */
enum run_end run_exit(void (*make)(struct kvm_run *run));
/* The guest reads the device's port. */
void exit_in(struct kvm_run *run);

int teardown(void **unused);

#define TEST(name) cmocka_unit_test_teardown(test_##name, teardown)

#endif
