/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paravirt.c - KVM's paravirtual features beyond the clock, for a guest that met them under the KVM engine and goes on under one of this process
 * (Linux, Documentation/virt/kvm/x86/msr.rst, hypercalls.rst). Called from vcpu.c; vcpu_state.c calls paravirt_moved.
 *
 * CPUID offers them only where the CPU model was fitted to KVM (x86_cpu_model.paravirt), whose kernel serves them. Here the MSRs are kept, and for most that is all: who
 * finds no bit in its PV EOI word writes EOI as ever, whose steal time does not grow has lost none, and where no vcpu is said to be preempted the guest sends its
 * TLB shootdowns itself. What a guest cannot do without is done: the hypercalls that wake a vcpu and send interrupts.
 *
 * What was under way in the kernel when its vcpus went is answered by too much, never by too little: each vcpu is woken once (the guest looks
 * again why it waits), and all tasks are that wait for a page of the host's (token ~0, as KVM does it after a migration).
 */
#include <stdatomic.h>

#include "vm/vm_internal.h"
#include "x86/cpuid.h"
#include "x86/state.h"

#define MSR_FIRST 0x4b564d02u
#define MSR_ASYNC_PF_ACK 0x4b564d07u
enum { ASYNC_PF, STEAL_TIME, PV_EOI, POLL_CONTROL, ASYNC_PF_INT };

#define ASYNC_PF_ENABLED X86_BIT(0)
#define ASYNC_PF_BY_INTERRUPT X86_BIT(3)
#define ASYNC_PF_AREA 64u /* its alignment */
#define ASYNC_PF_TOKEN 4u /* offset in it */

enum { HC_KICK_CPU = 5, HC_SEND_IPI = 10, HC_SCHED_YIELD = 11 };
#define KVM_EINVAL 22
#define KVM_ENOSYS 1000
#define ICR_VECTOR_AND_MODE 0x7ffu
#define ICR_LOGICAL_OR_SHORTHAND 0xc0800u
#define MSI_ADDRESS UINT64_C(0xfee00000)

/* By MSR: the feature that it belongs to, and the bits that must be 0. */
static const struct {
	uint32_t feature;
	uint64_t reserved;
} msrs[] = {
	[ASYNC_PF] = {X86_PARAVIRT_ASYNC_PF, 0x30},
	[STEAL_TIME] = {X86_PARAVIRT_STEAL_TIME, 0x3e},
	[PV_EOI] = {X86_PARAVIRT_EOI, 0x2},
	[POLL_CONTROL] = {X86_PARAVIRT_POLL_CONTROL, ~UINT64_C(1)},
	[ASYNC_PF_INT] = {X86_PARAVIRT_ASYNC_PF_INT, ~UINT64_C(0xff)},
};
#define MSRS (sizeof(msrs) / sizeof(msrs[0]))
_Static_assert(MSRS == X86_PARAVIRT_MSRS, "struct x86_state has them all");
_Static_assert(MSRS == VCPU_PARAVIRT_MSRS, "struct vcpu has them all");

static bool offers(const struct vcpu *vcpu, uint32_t feature)
{
	const struct x86_cpu_model *model = vcpu->vm->cpu_model;

	return model && model->paravirt & feature;
}

static void message_send(struct vcpu *to, uint32_t data)
{
	irq_msi(&to->vm->irq, MSI_ADDRESS | (uint64_t)to->id << 12, data);
}

/* If the guest has not taken the last token yet, its acknowledgment brings it here again. */
static void async_pf_wake_all(struct vcpu *vcpu)
{
	uint64_t enable = vcpu->paravirt_msr[ASYNC_PF], at = (enable & ~(uint64_t)(ASYNC_PF_AREA - 1)) + ASYNC_PF_TOKEN;
	struct guest_memory *memory = &vcpu->vm->memory;
	uint32_t token, all = UINT32_MAX;

	vcpu->async_pf_due = false;
	if (!(enable & ASYNC_PF_ENABLED) || !(enable & ASYNC_PF_BY_INTERRUPT) ||
	    guest_memory_read(memory, at, &token, sizeof(token)))
		return;
	if (token)
		vcpu->async_pf_due = true;
	else if (!guest_memory_write(memory, at, &all, sizeof(all)))
		message_send(vcpu, (uint8_t)vcpu->paravirt_msr[ASYNC_PF_INT]);
}

void paravirt_moved(struct vcpu *vcpu)
{
	if (offers(vcpu, X86_PARAVIRT_UNHALT))
		atomic_fetch_or(&vcpu->requests, VCPU_UNHALT);
	if (offers(vcpu, X86_PARAVIRT_ASYNC_PF_INT) && !vcpu->vm->engine->serves_paravirt)
		async_pf_wake_all(vcpu);
}

bool paravirt_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	uint32_t index = msr - MSR_FIRST;

	*value = 0;
	if (msr == MSR_ASYNC_PF_ACK)
		return offers(vcpu, X86_PARAVIRT_ASYNC_PF_INT);
	if (index >= MSRS || !offers(vcpu, msrs[index].feature))
		return false;
	*value = vcpu->paravirt_msr[index];
	return true;
}

bool paravirt_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	uint32_t index = msr - MSR_FIRST;

	if (msr == MSR_ASYNC_PF_ACK) {
		if (value & 1 && vcpu->async_pf_due)
			async_pf_wake_all(vcpu);
		return offers(vcpu, X86_PARAVIRT_ASYNC_PF_INT);
	}
	if (index >= MSRS || !offers(vcpu, msrs[index].feature) || value & msrs[index].reserved)
		return false;
	vcpu->paravirt_msr[index] = value;
	return true;
}

void paravirt_reset(uint64_t msr[X86_PARAVIRT_MSRS])
{
	for (unsigned i = 0; i < MSRS; i++)
		msr[i] = i == POLL_CONTROL; /* the host may poll before it lets a halted vcpu sleep */
}

/* Bit i of the two words of `width` bits is the vcpu whose APIC ID is `first` + i. How many there were. */
static int64_t ipis_send(struct vm *vm, unsigned width, const uint64_t *words, uint64_t first, uint64_t icr)
{
	int64_t sent = 0;

	if (icr & ICR_LOGICAL_OR_SHORTHAND)
		return -KVM_EINVAL;
	for (unsigned i = 0; i < 2 * width && first < vm->vcpus && i < vm->vcpus - first; i++) {
		if (!(words[i / width] >> i % width & 1))
			continue;
		message_send(vm->vcpu[first + i], (uint32_t)icr & ICR_VECTOR_AND_MODE);
		sent++;
	}
	return sent;
}

int64_t paravirt_hypercall(struct vcpu *vcpu, bool wide, uint64_t number, const uint64_t argument[4])
{
	struct vm *vm = vcpu->vm;

	switch (number) {
	case HC_KICK_CPU:
		if (!offers(vcpu, X86_PARAVIRT_UNHALT))
			break;
		if (argument[1] < vm->vcpus)
			vcpu_request(vm->vcpu[argument[1]], VCPU_UNHALT);
		return 0;
	case HC_SEND_IPI:
		if (!offers(vcpu, X86_PARAVIRT_SEND_IPI))
			break;
		return ipis_send(vm, wide ? 64 : 32, argument, argument[2], argument[3]);
	case HC_SCHED_YIELD:
		if (!offers(vcpu, X86_PARAVIRT_SCHED_YIELD))
			break;
		host_yield();
		return 0;
	default: break;
	}
	return -KVM_ENOSYS;
}
