/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_doorbell.c - doorbells without a way back: the guest's write to a virtqueue's notify place ends in the kernel as an eventfd (KVM_IOEVENTFD), the vcpu goes on at
 * once, and a thread here does what the write would have done: bus_region.write.
 *
 * Regions with doorbells are announced by the bus (bus_observe). Lock order: bus.lock or none, then doorbell_lock, which is held around the device's write; devices take
 * their own locks inside. A region that goes away waits for a write that is under way by taking doorbell_lock.
 *
 * A vcpu that leaves vcpu_run drains first: when all vcpus stand, no doorbell is rung and none is being served, as if each vcpu had served its own.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "engine/kvm/kvm_engine.h"

#define STOP_INDEX UINT32_MAX
#define EVENTS 8
#define POSTED_TICK_MS 1000 /* how long a posted write may wait (bus.h) */

static int ioeventfd_set(struct kvm_vm *self, const struct kvm_doorbell *doorbell, uint32_t flags)
{
	struct kvm_ioeventfd ioeventfd = {
		.addr = doorbell->gpa,
		.len = self->ioeventfd_any_length ? 0 : 2, /* virtio drivers write 16 bits; other sizes then take the long way */
		.fd = doorbell->event,
		.flags = flags,
	};

	return kvm_call_pointer(self->fd, KVM_IOEVENTFD, &ioeventfd);
}

static bool doorbell_open_locked(struct kvm_vm *self, unsigned index)
{
	struct kvm_doorbell *doorbell = &self->doorbell[index];
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};

	doorbell->event = kvm_call_eventfd();
	if (doorbell->event < 0)
		return false;
	if (epoll_ctl(self->doorbell_poll, EPOLL_CTL_ADD, doorbell->event, &event) == 0 && ioeventfd_set(self, doorbell, 0) >= 0)
		return true;
	close(doorbell->event);
	return false;
}

/* Where there is no room or the host refuses, the guest's write takes the long way: nothing but time is lost. */
static void doorbell_add_locked(struct kvm_vm *self, struct bus_region *region, uint32_t offset)
{
	unsigned index = 0;

	while (index < KVM_DOORBELLS_MAX && self->doorbell[index].region)
		index++;
	if (index == KVM_DOORBELLS_MAX)
		return;
	self->doorbell[index] = (struct kvm_doorbell){.region = region, .offset = offset, .gpa = region->base + offset};
	if (!doorbell_open_locked(self, index))
		self->doorbell[index].region = NULL;
}

static bool doorbell_rung(const struct kvm_doorbell *doorbell)
{
	uint64_t times;

	return read(doorbell->event, &times, sizeof(times)) == sizeof(times);
}

static void doorbell_serve_locked(const struct kvm_doorbell *doorbell)
{
	if (doorbell->region && doorbell_rung(doorbell))
		doorbell->region->write(doorbell->region->device, doorbell->offset, 2, 0);
}

static void doorbell_close_locked(struct kvm_vm *self, struct kvm_doorbell *doorbell)
{
	if (ioeventfd_set(self, doorbell, KVM_IOEVENTFD_FLAG_DEASSIGN) < 0)
		host_log(HOST_LOG_WARN, "kvm: a doorbell at 0x%llx could not be taken back", (unsigned long long)doorbell->gpa);
	/* Closing takes it out of epoll: nobody else has the file. */
	close(doorbell->event);
	doorbell->region = NULL;
}

/* What was rung before the region went is dropped with it, as a write is that comes after. */
static void region_observed(void *observer, struct bus_region *region, bool enabled)
{
	struct kvm_vm *self = observer;

	kvm_posted_region(self, region, false, enabled);
	host_mutex_lock(&self->doorbell_lock);
	for (uint32_t i = 0; enabled && i < region->doorbells; i++)
		doorbell_add_locked(self, region, region->doorbell_offset + i * BUS_DOORBELL_STRIDE);
	for (unsigned i = 0; !enabled && i < KVM_DOORBELLS_MAX; i++)
		if (self->doorbell[i].region == region)
			doorbell_close_locked(self, &self->doorbell[i]);
	host_mutex_unlock(&self->doorbell_lock);
}

static void doorbell_main(void *argument)
{
	struct kvm_vm *self = argument;
	struct epoll_event event[EVENTS];

	for (;;) {
		int count = epoll_wait(self->doorbell_poll, event, EVENTS, POSTED_TICK_MS);

		if (count == 0)
			kvm_posted_tick(self);

		for (int i = 0; i < count; i++) {
			if (event[i].data.u32 == STOP_INDEX)
				return;
			host_mutex_lock(&self->doorbell_lock);
			doorbell_serve_locked(&self->doorbell[event[i].data.u32]);
			host_mutex_unlock(&self->doorbell_lock);
		}
		bug_on(count < 0 && errno != EINTR);
	}
}

void kvm_doorbell_drain(struct kvm_vm *self)
{
	host_mutex_lock(&self->doorbell_lock);
	for (unsigned i = 0; i < KVM_DOORBELLS_MAX; i++)
		doorbell_serve_locked(&self->doorbell[i]);
	host_mutex_unlock(&self->doorbell_lock);
}

enum status kvm_doorbell_attach(struct kvm_vm *self, struct reason *why)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = STOP_INDEX};
	enum status status;

	self->doorbell_poll = kvm_call_epoll();
	if (self->doorbell_poll < 0)
		return kvm_failed(why, "epoll for doorbells", self->doorbell_poll);
	self->doorbell_stop = kvm_call_eventfd();
	if (self->doorbell_stop < 0)
		return kvm_failed(why, "eventfd for doorbells", self->doorbell_stop);
	if (epoll_ctl(self->doorbell_poll, EPOLL_CTL_ADD, self->doorbell_stop, &event) < 0)
		return kvm_failed(why, "epoll for doorbells", -errno);
	status = host_thread_start(&self->doorbell_thread, "doorbells", doorbell_main, self);
	if (status)
		return reason_give(why, status, "kvm: thread for doorbells: %s; raise the limit on threads", status_name(status));
	bus_observe(&self->vm->mmio, region_observed, self);
	self->observing = true;
	return STATUS_OK;
}

void kvm_doorbell_detach(struct kvm_vm *self)
{
	static const uint64_t one = 1;

	if (self->observing)
		bus_observe(&self->vm->mmio, NULL, NULL);
	self->observing = false;
	if (self->doorbell_thread) {
		bug_on(write(self->doorbell_stop, &one, sizeof(one)) != sizeof(one));
		host_thread_join(self->doorbell_thread);
		self->doorbell_thread = NULL;
	}
	for (unsigned i = 0; i < KVM_DOORBELLS_MAX; i++)
		if (self->doorbell[i].region)
			doorbell_close_locked(self, &self->doorbell[i]);
	if (self->doorbell_stop >= 0)
		close(self->doorbell_stop);
	if (self->doorbell_poll >= 0)
		close(self->doorbell_poll);
	self->doorbell_stop = self->doorbell_poll = -1;
}
