/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_memory.c - the guest's RAM in KVM's slots, and who has written it.
 *
 * A slot of struct guest_memory is a slot of KVM's with the same number. Devices and vcpus write the same pages, so a dirty page is one that either noted:
 * the guest's writes are in KVM's bitmaps, a slot each, the host's in guest_memory's.
 */
#include <errno.h>
#include <sys/mman.h>

#include "engine/kvm/kvm_engine.h"

static int slot_set(struct kvm_vm *self, const struct memory_slot *slot, uint64_t length, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot->id,
		.flags = flags | (slot->readonly ? KVM_MEM_READONLY : 0),
		.guest_phys_addr = slot->gpa,
		.memory_size = length,
		.userspace_addr = (uintptr_t)slot->hva,
	};

	return kvm_call_pointer(self->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

enum status kvm_memory_attach(struct kvm_vm *self, struct reason *why)
{
	struct guest_memory *memory = &self->vm->memory;

	/* Best effort: most hosts keep huge pages of shared memory off (/sys/kernel/mm/transparent_hugepage/shmem_enabled). */
	madvise(memory->base, memory->size, MADV_HUGEPAGE);
	for (; self->slots < memory->slots; self->slots++) {
		const struct memory_slot *slot = &memory->slot[self->slots];
		int result = slot_set(self, slot, slot->length, 0);

		if (result < 0)
			return kvm_failed(why, "KVM_SET_USER_MEMORY_REGION", result);
	}
	return STATUS_OK;
}

static void bitmap_free(struct kvm_vm *self)
{
	if (self->slot_bitmap)
		host_free(self->slot_bitmap, self->slot_bitmap_size);
	self->slot_bitmap = NULL;
}

/* The slots go with KVM's VM. */
void kvm_memory_detach(struct kvm_vm *self)
{
	bitmap_free(self);
}

static bool bitmap_allocate(struct kvm_vm *self)
{
	const struct guest_memory *memory = &self->vm->memory;
	uint64_t longest = 0;

	for (unsigned i = 0; i < memory->slots; i++)
		if (memory->slot[i].length > longest)
			longest = memory->slot[i].length;
	self->slot_bitmap_size = ((longest >> GUEST_PAGE_SHIFT) + 63) / 64 * sizeof(uint64_t);
	self->slot_bitmap = host_allocate(self->slot_bitmap_size);
	return self->slot_bitmap;
}

/* Logging on or off, everywhere. KVM forgets a slot's bitmap when it goes off. */
static int logging_set(struct kvm_vm *self, bool on)
{
	const struct guest_memory *memory = &self->vm->memory;
	int worst = 0;

	for (unsigned i = 0; i < memory->slots && (worst >= 0 || !on); i++) {
		int result = memory->slot[i].readonly
				     ? 0
				     : slot_set(self, &memory->slot[i], memory->slot[i].length, on ? KVM_MEM_LOG_DIRTY_PAGES : 0);

		if (result < 0)
			worst = result;
	}
	return worst;
}

enum status kvm_memory_dirty_start(struct vm *vm)
{
	struct kvm_vm *self = kvm_vm_of(vm);
	enum status status;

	if (!bitmap_allocate(self))
		return STATUS_NO_MEMORY;
	status = guest_memory_dirty_start(&vm->memory);
	if (!status && logging_set(self, true) >= 0)
		return STATUS_OK;
	if (!status)
		kvm_memory_dirty_stop(vm);
	else
		bitmap_free(self);
	return status ? status : STATUS_IO;
}

/* A bit a page of the slot becomes a bit a RAM page. Slots begin anywhere in RAM. */
static void slot_merge(const struct kvm_vm *self, const struct memory_slot *slot, uint64_t *bitmap)
{
	uint64_t first = guest_memory_page(&self->vm->memory, slot->hva), pages = slot->length >> GUEST_PAGE_SHIFT;
	unsigned shift = first % 64;

	for (uint64_t word = 0; word * 64 < pages; word++) {
		uint64_t bits = self->slot_bitmap[word], *to = bitmap + first / 64 + word;

		if (!bits)
			continue;
		to[0] |= bits << shift;
		if (shift && bits >> (64 - shift))
			to[1] |= bits >> (64 - shift);
	}
}

/* KVM_GET_DIRTY_LOG protects what it reports, so a write after it is in the next collection. */
enum status kvm_memory_dirty_collect(struct vm *vm, uint64_t *bitmap)
{
	struct kvm_vm *self = kvm_vm_of(vm);

	guest_memory_dirty_collect(&vm->memory, bitmap);
	for (unsigned i = 0; i < vm->memory.slots; i++) {
		struct kvm_dirty_log log = {.slot = vm->memory.slot[i].id, .dirty_bitmap = self->slot_bitmap};

		if (vm->memory.slot[i].readonly)
			continue;
		if (kvm_call_pointer(self->fd, KVM_GET_DIRTY_LOG, &log) < 0)
			return STATUS_IO;
		slot_merge(self, &vm->memory.slot[i], bitmap);
	}
	return STATUS_OK;
}

void kvm_memory_dirty_stop(struct vm *vm)
{
	struct kvm_vm *self = kvm_vm_of(vm);

	if (logging_set(self, false) < 0)
		host_log(HOST_LOG_WARN, "kvm: dirty logging could not be switched off: the guest runs more slowly");
	guest_memory_dirty_stop(&vm->memory);
	bitmap_free(self);
}
