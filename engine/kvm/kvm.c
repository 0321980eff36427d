/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm.c - the KVM engine: the host's processor runs the guest, through /dev/kvm (Linux, Documentation/virt/kvm/api.rst).
 *
 * The kernel has the vcpus and their local APICs; PIC, PIT and IOAPIC stay ours (KVM_CAP_SPLIT_IRQCHIP). A vcpu's thread loops in kvm_vcpu.c: look at the requests,
 * KVM_RUN, serve the exit (kvm_exit.c). Halts stay inside the kernel. Where the files of this folder lead:
 *
 *   kvm_probe.c   may this host's KVM be trusted with a 64-bit guest?
 *   kvm_call.c    every call into the kernel
 *   kvm_cpuid.c   the CPU model, less what KVM cannot show
 *   kvm_memory.c  RAM slots and dirty logging
 *   kvm_irq.c     messages to the local APICs (irqfd, KVM_SIGNAL_MSI), the IOAPIC's routes, the PIC's wire
 *   kvm_doorbell.c  ioeventfd: the guest rings a virtqueue's doorbell without waiting for the device
 *   kvm_posted.c  writes to index registers that cost no exit
 *   kvm_state*.c  struct x86_state from and to KVM
 *   kvm_time.c    the guest's TSC
 *   kvm_emulate.c, kvm_dump.c  what KVM cannot execute: x86/ does; and what nobody can
 *
 * The paravirtual clock is vm/pvclock.c's, as under every engine: its MSRs are filtered out to us. So the clock page stays valid when a VM changes engines.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/kvm/kvm_engine.h"
#include "engine/kvm/kvm_probe.h"
#include "x86/cpuid.h"

/* Three pages that VMX without unrestricted guests needs for itself, and one: where nothing else is (board/pc_map.h), as in every PC under KVM. */
#define TSS_ADDRESS 0xfeffd000u
#define IDENTITY_MAP_ADDRESS UINT64_C(0xfeffc000)
#define MSR_PVCLOCK_FIRST 0x4b564d00u
#define MSR_PVCLOCK_COUNT 2u

enum status kvm_failed(struct reason *why, const char *what, int result)
{
	enum status status = STATUS_IO;

	switch (-result) {
	case EACCES:
	case EPERM: status = STATUS_PERMISSION; break;
	case ENOENT: status = STATUS_NOT_FOUND; break;
	case EBUSY: status = STATUS_BUSY; break;
	case EMFILE:
	case ENFILE: status = STATUS_NO_SPACE; break;
	case ENOMEM: status = STATUS_NO_MEMORY; break;
	case EINVAL:
	case ENOTTY:
	case ENOSYS:
	case EOPNOTSUPP: status = STATUS_UNSUPPORTED; break;
	default: break;
	}
	return reason_give(why, status, "kvm: %s: %s; %s", what, strerror(-result),
			   kvm_probe_step(-result, "see the host's kernel log, or use --engine auto"));
}

static enum status kvm_engine_probe(struct reason *why)
{
	return kvm_probe(NULL, why);
}

static bool has(struct kvm_vm *self, int capability)
{
	return kvm_call(self->kvm, KVM_CHECK_EXTENSION, (unsigned long)capability) > 0;
}

/* What a host's KVM may lack, and Holon does without. */
static void extras_find(struct kvm_vm *self)
{
	self->has_sregs2 = has(self, KVM_CAP_SREGS2);
	self->has_xcrs = has(self, KVM_CAP_XCRS);
	self->ioeventfd_any_length = has(self, KVM_CAP_IOEVENTFD_ANY_LENGTH);
}

static int cap_enable(struct kvm_vm *self, unsigned capability, uint64_t argument)
{
	struct kvm_enable_cap enable = {.cap = capability, .args = {argument}};

	return kvm_call_pointer(self->fd, KVM_ENABLE_CAP, &enable);
}

/* Accesses to the paravirtual clock's MSRs come to us; everything else is as without a filter. */
static int clock_msrs_filter(struct kvm_vm *self)
{
	uint8_t denied = 0;
	struct kvm_msr_filter filter = {.flags = KVM_MSR_FILTER_DEFAULT_ALLOW};

	filter.ranges[0].flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
	filter.ranges[0].base = MSR_PVCLOCK_FIRST;
	filter.ranges[0].nmsrs = MSR_PVCLOCK_COUNT;
	filter.ranges[0].bitmap = &denied;
	return kvm_call_pointer(self->fd, KVM_X86_SET_MSR_FILTER, &filter);
}

static enum status machine_create(struct kvm_vm *self, struct reason *why)
{
	uint64_t identity_map = IDENTITY_MAP_ADDRESS;
	int result;

	self->fd = kvm_call(self->kvm, KVM_CREATE_VM, 0);
	if (self->fd < 0)
		return kvm_failed(why, "KVM_CREATE_VM", self->fd);
	result = kvm_call_pointer(self->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	if (result < 0)
		return kvm_failed(why, "KVM_SET_IDENTITY_MAP_ADDR", result);
	result = kvm_call(self->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	if (result < 0)
		return kvm_failed(why, "KVM_SET_TSS_ADDR", result);
	result = cap_enable(self, KVM_CAP_SPLIT_IRQCHIP, IRQ_GSIS);
	if (result < 0)
		return kvm_failed(why, "KVM_CAP_SPLIT_IRQCHIP", result);
	result = cap_enable(self, KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
	if (result < 0)
		return kvm_failed(why, "KVM_CAP_X2APIC_API", result);
	result = cap_enable(self, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER);
	if (result < 0)
		return kvm_failed(why, "KVM_CAP_X86_USER_SPACE_MSR", result);
	result = clock_msrs_filter(self);
	if (result < 0)
		return kvm_failed(why, "KVM_X86_SET_MSR_FILTER", result);
	/* So that an instruction of the guest's user mode that KVM cannot emulate comes to us too, and does not end in #UD. Where it is there. */
	if (has(self, KVM_CAP_EXIT_ON_EMULATION_FAILURE))
		result = cap_enable(self, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
	return result < 0 ? kvm_failed(why, "KVM_CAP_EXIT_ON_EMULATION_FAILURE", result) : STATUS_OK;
}

static enum status limits_check(struct kvm_vm *self, struct reason *why)
{
	int most = kvm_call(self->kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	int size;

	if (most > 0 && self->vm->vcpus > (unsigned)most)
		return reason_give(why, STATUS_UNSUPPORTED, "kvm: this host's KVM has %d vcpus at most: use fewer (--cpus)", most);
	size = kvm_call(self->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return kvm_failed(why, "KVM_GET_VCPU_MMAP_SIZE", size < 0 ? size : -EINVAL);
	self->run_size = (size_t)size;
	return STATUS_OK;
}

static void kvm_vm_detach(struct vm *vm)
{
	struct kvm_vm *self = vm->engine_data;

	if (!self)
		return;
	kvm_posted_detach(self);
	kvm_doorbell_detach(self);
	kvm_irq_detach(self);
	kvm_memory_detach(self);
	if (self->fd >= 0)
		close(self->fd);
	if (self->kvm >= 0)
		close(self->kvm);
	host_free(self, sizeof(*self));
	vm->engine_data = NULL;
}

static enum status kvm_vm_attach(struct vm *vm, struct reason *why)
{
	struct kvm_vm *self = host_allocate(sizeof(*self));
	struct kvm_probe found = {.present = true};
	enum status status;

	if (!self)
		return reason_give(why, STATUS_NO_MEMORY, "kvm: no memory for the engine: free some on the host");
	self->vm = vm;
	self->fd = self->doorbell_poll = self->doorbell_stop = -1;
	vm->engine_data = self;
	self->kvm = kvm_call_open();
	if (self->kvm < 0)
		status = kvm_failed(why, "/dev/kvm", self->kvm);
	else
		status = kvm_probe_interface(self->kvm, &found, why);
	if (!status)
		status = limits_check(self, why);
	if (!status) {
		extras_find(self);
		status = machine_create(self, why);
	}
	if (!status)
		status = kvm_vcpu_signal_prepare(why);
	if (!status)
		status = kvm_memory_attach(self, why);
	if (!status)
		status = kvm_irq_attach(self, why);
	if (!status) {
		kvm_posted_attach(self);
		status = kvm_doorbell_attach(self, why);
	}
	if (status)
		kvm_vm_detach(vm);
	return status;
}

static void kvm_run_exclusive(struct vm *vm, void (*fn)(void *argument), void *argument)
{
	exclusive_run(vm, NULL, fn, argument);
}

static void kvm_stats(struct vm *vm, struct engine_stats *out)
{
	*out = (struct engine_stats){0};
	for (unsigned i = 0; i < vm->vcpus; i++) {
		const struct kvm_vcpu *self = vm->vcpu[i]->engine;

		if (!self)
			continue;
		out->exits_port += self->counts.port;
		out->exits_mmio += self->counts.mmio;
		out->exits_interrupt += self->counts.interrupt;
		out->exits_kick += self->counts.kick;
		out->exits_fallback += self->counts.fallback;
	}
}

const struct engine engine_kvm = {
	.name = "kvm",
	.maps_large_pages = true,
	.serves_paravirt = true,
	.probe = kvm_engine_probe,
	.model_fit = kvm_cpuid_fit,
	.vm_attach = kvm_vm_attach,
	.vm_detach = kvm_vm_detach,
	.vcpu_create = kvm_vcpu_create,
	.vcpu_destroy = kvm_vcpu_destroy,
	.vcpu_run = kvm_vcpu_run,
	.vcpu_kick = kvm_vcpu_kick,
	.run_exclusive = kvm_run_exclusive,
	.vcpu_get = kvm_state_get,
	.vcpu_set = kvm_state_set,
	.dirty_start = kvm_memory_dirty_start,
	.dirty_collect = kvm_memory_dirty_collect,
	.dirty_stop = kvm_memory_dirty_stop,
	.stats = kvm_stats,
};
