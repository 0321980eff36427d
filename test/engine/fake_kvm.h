/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_kvm.h - a kernel's KVM in the test's process, behind kvm_call_hook: it keeps what it is told, answers as KVM would, and can fail any call. For tests that
 * must run where there is no /dev/kvm, or one that nobody may trust. File descriptors are real ones, so that a leak shows.
 */
#ifndef HOLON_TEST_ENGINE_FAKE_KVM_H
#define HOLON_TEST_ENGINE_FAKE_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_VCPUS 2
#define FAKE_MSRS 96
#define FAKE_EVENTS 128
#define FAKE_RUN_SIZE 12288
#define FAKE_RING 8192 /* the ring of posted writes */

struct fake_vcpu {
	int fd;
	struct kvm_run *run; /* the engine's mapping */
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_lapic_state lapic;
	bool takes_interrupts; /* what KVM_RUN says of an injection as it returns */
	/* A waiting signal ends KVM_RUN before the guest, and KVM then deals with these; 0: nothing. */
	bool signals_open;
	uint8_t timer_due; /* the vector */
	uint8_t eoi_due;
	bool emulation_due; /* the rest of an access is an instruction that KVM gives up */
	struct kvm_msr_entry msr[FAKE_MSRS];
	unsigned msrs;
	uint64_t tsc_offset;
	struct kvm_cpuid_entry2 cpuid[256];
	unsigned cpuids;
};

struct fake_kvm {
	/* What it is to do. */
	int fail_at;          /* the call with this number (from 0 on) gets -EIO; -1: none */
	bool interrupts;      /* a signal ends every other call (but KVM_RUN) with -EINTR */
	unsigned long refuse; /* every call of this request gets -EPERM; 0: none */
	int open_error, api_version;
	int capability_lacking; /* -1: none */
	uint32_t msr_refused;   /* KVM_SET_MSRS and KVM_GET_MSRS stop there; 0: none */
	/* The guest: fills in vcpu->run and returns KVM_RUN's result. */
	int (*guest)(struct fake_vcpu *vcpu, unsigned index);
	struct kvm_cpuid_entry2 supported[64];
	unsigned supporteds;
	uint64_t arch_capabilities;
	uint64_t dirty[8]; /* the next KVM_GET_DIRTY_LOG, by slot: its first word */
	/* What it was told. */
	int calls;
	unsigned runs, nmis, gsi_routings, msis;
	unsigned turned_back; /* runs that a waiting signal ended before the guest */
	struct kvm_msi last_msi;
	struct kvm_userspace_memory_region slot[8];
	struct kvm_irq_routing_entry route[128];
	unsigned routes;
	struct kvm_irqfd irqfd[FAKE_EVENTS];
	unsigned irqfds;
	struct kvm_ioeventfd ioeventfd[FAKE_EVENTS];
	unsigned ioeventfds;
	struct kvm_coalesced_mmio_zone zone[2]; /* of memory, of ports: the last one */
	struct fake_vcpu vcpu[FAKE_VCPUS];
	unsigned vcpus;
};

extern struct fake_kvm fake;

/* From now on the engine talks to a new fake; `off` gives the kernel back. */
void fake_kvm_on(void);
void fake_kvm_off(void);
uint64_t *fake_kvm_msr(struct fake_vcpu *vcpu, uint32_t msr);
uint32_t *fake_kvm_lapic(struct fake_vcpu *vcpu, unsigned reg); /* offset / 16 */

/* To find leaks by: file descriptors of this process, and the engine's mappings of vcpus, less the fake's own. */
int fake_kvm_fds(void);
int fake_kvm_maps(void);

#endif
