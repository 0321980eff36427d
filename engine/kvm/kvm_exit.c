/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_exit.c - why KVM_RUN returned, and what is done about it. On the vcpu's thread.
 *
 * An access to a port, to memory that is no RAM, or to one of our MSRs is served here and finished by KVM at the next KVM_RUN (completion_due).
 */
#include <string.h>

#include "engine/kvm/kvm_engine.h"

/* A string instruction comes as one exit with many items. */
static void port_serve(struct kvm_vcpu *self)
{
	struct kvm_run *run = self->run;
	struct bus *ports = &self->vcpu->vm->ports;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	self->counts.port++;
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		uint64_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, run->io.size);
			bus_write(ports, run->io.port, run->io.size, value);
		} else {
			bus_read(ports, run->io.port, run->io.size, &value);
			memcpy(data, &value, run->io.size);
		}
	}
}

/* An access over the end of a page comes in parts, whose lengths may be odd. */
static void mmio_serve(struct kvm_vcpu *self)
{
	struct bus *mmio = &self->vcpu->vm->mmio;
	struct kvm_run *run = self->run;
	uint64_t gpa = run->mmio.phys_addr;
	uint8_t *data = run->mmio.data;
	uint32_t left = run->mmio.len < sizeof(run->mmio.data) ? run->mmio.len : sizeof(run->mmio.data);

	self->counts.mmio++;
	while (left) {
		unsigned size = left == 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
		uint64_t value = 0;

		if (run->mmio.is_write) {
			memcpy(&value, data, size);
			bus_write(mmio, gpa, size, value);
		} else {
			bus_read(mmio, gpa, size, &value);
			memcpy(data, &value, size);
		}
		gpa += size;
		data += size;
		left -= size;
	}
}

/* Only the paravirtual clock's come here (kvm.c). */
static void msr_serve(struct kvm_vcpu *self, bool is_write)
{
	struct kvm_run *run = self->run;
	uint64_t value = run->msr.data;
	bool good = is_write ? pvclock_msr_write(self->vcpu, run->msr.index, value)
			     : pvclock_msr_read(self->vcpu, run->msr.index, &value);

	self->counts.other++;
	run->msr.error = !good;
	if (!is_write)
		run->msr.data = value;
}

static bool internal_error_serve(struct kvm_vcpu *self, enum run_end *end)
{
	const struct kvm_run *run = self->run;
	char line[96];

	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && kvm_emulate(self)) {
		self->counts.fallback++;
		return true;
	}
	host_format(line, sizeof(line), "KVM_EXIT_INTERNAL_ERROR, suberror %u", run->internal.suberror);
	kvm_dump(self, HOST_LOG_ERROR, line);
	*end = RUN_FAILED;
	return false;
}

static bool failed(struct kvm_vcpu *self, enum run_end *end, const char *name, unsigned long long detail)
{
	char line[96];

	host_format(line, sizeof(line), "%s 0x%llx", name, detail);
	kvm_dump(self, HOST_LOG_ERROR, line);
	*end = RUN_FAILED;
	return false;
}

bool kvm_exit_serve(struct kvm_vcpu *self, enum run_end *end)
{
	struct kvm_run *run = self->run;

	self->completion_due = false;
	kvm_posted_drain(self);
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		port_serve(self);
		self->completion_due = true;
		return true;
	case KVM_EXIT_MMIO:
		mmio_serve(self);
		self->completion_due = true;
		return true;
	case KVM_EXIT_X86_RDMSR:
	case KVM_EXIT_X86_WRMSR:
		msr_serve(self, run->exit_reason == KVM_EXIT_X86_WRMSR);
		self->completion_due = true;
		return true;
	case KVM_EXIT_IOAPIC_EOI:
		self->counts.interrupt++;
		irq_eoi(&self->vcpu->vm->irq, run->eoi.vector);
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN: return true;
	case KVM_EXIT_SHUTDOWN:
		kvm_dump(self, HOST_LOG_WARN, "triple fault");
		self->shutdown = true;
		*end = RUN_SHUTDOWN;
		return false;
	case KVM_EXIT_INTERNAL_ERROR: return internal_error_serve(self, end);
	case KVM_EXIT_FAIL_ENTRY:
		return failed(self, end, "KVM_EXIT_FAIL_ENTRY, hardware's reason", run->fail_entry.hardware_entry_failure_reason);
	default: return failed(self, end, "an exit that Holon does not know, reason", run->exit_reason);
	}
}
