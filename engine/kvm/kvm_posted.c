/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_posted.c - writes to index registers without an exit (KVM_REGISTER_COALESCED_MMIO): the kernel notes them in a ring, and whoever comes out of the guest next
 * does them first. A PCI configuration access by ports is one exit to us so, not two, and so is one to a register of the IOAPIC.
 *
 * Which places those are the buses say (bus_region.posted; that of memory through kvm_doorbell.c, which observes it). One ring a VM, behind the first vcpu's struct kvm_run. The thread of the doorbells looks once a second: a reset by
 * port 0xcf9, which lies inside CONFIG_ADDRESS, must not wait for a guest that halts right after it.
 */
#include <errno.h>

#include "engine/kvm/kvm_engine.h"

#define PAGE 4096u
#define RING_ENTRIES ((PAGE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

void kvm_posted_region(struct kvm_vm *self, const struct bus_region *region, bool ports, bool enabled)
{
	struct kvm_coalesced_mmio_zone zone = {.addr = region->base, .size = region->posted, .pio = ports};

	if (!self->ring_offset || !region->posted)
		return;
	/* Where the host refuses, each write is an exit as ever. */
	if (kvm_call_pointer(self->fd, enabled ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &zone) < 0)
		host_log(HOST_LOG_DEBUG, "kvm: %s: its posted writes cost an exit each", region->name);
}

static void ports_observed(void *observer, struct bus_region *region, bool enabled)
{
	kvm_posted_region(observer, region, true, enabled);
}

void kvm_posted_attach(struct kvm_vm *self)
{
	int page = kvm_call(self->kvm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);

	if (page <= 0 || ((size_t)page + 1) * PAGE > self->run_size ||
	    kvm_call(self->kvm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) <= 0)
		return;
	self->ring_offset = (size_t)page * PAGE;
	bus_observe(&self->vm->ports, ports_observed, self);
}

void kvm_posted_detach(struct kvm_vm *self)
{
	if (self->ring_offset)
		bus_observe(&self->vm->ports, NULL, NULL);
	self->ring_offset = 0;
}

void kvm_posted_ring_set(struct kvm_vm *self, struct kvm_run *run)
{
	host_mutex_lock(&self->posted_lock);
	self->ring = run && self->ring_offset ? (void *)((uint8_t *)run + self->ring_offset) : NULL;
	host_mutex_unlock(&self->posted_lock);
}

static void entry_serve(struct kvm_vm *self, const struct kvm_coalesced_mmio *entry)
{
	uint64_t value = 0;

	if (entry->len > sizeof(value))
		return;
	__builtin_memcpy(&value, entry->data, entry->len);
	bus_write(entry->pio ? &self->vm->ports : &self->vm->mmio, entry->phys_addr, entry->len, value);
}

static void drain(struct kvm_vm *self)
{
	struct kvm_coalesced_mmio_ring *ring;

	host_mutex_lock(&self->posted_lock);
	ring = self->ring;
	while (ring && ring->first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)) {
		struct kvm_coalesced_mmio entry = ring->coalesced_mmio[ring->first];

		entry_serve(self, &entry);
		__atomic_store_n(&ring->first, (ring->first + 1) % (uint32_t)RING_ENTRIES, __ATOMIC_RELEASE);
	}
	host_mutex_unlock(&self->posted_lock);
}

void kvm_posted_drain(struct kvm_vcpu *self)
{
	const struct kvm_coalesced_mmio_ring *ring = (const void *)((const uint8_t *)self->run + self->vm->ring_offset);

	/* Every vcpu sees the ring behind its own struct kvm_run. */
	if (self->vm->ring_offset &&
	    __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE) != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
		drain(self->vm);
}

void kvm_posted_tick(struct kvm_vm *self)
{
	drain(self);
}
