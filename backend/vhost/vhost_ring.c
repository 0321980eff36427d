/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost_ring.c - the rings that lie between the guest's and the process that serves a device: what goes in, and the thread that takes out.
 *
 * They are in memory of our own, which the other process maps beside the guest's RAM. Each request has a slot: a descriptor that leads to a table of as many
 * descriptors as the request has segments. The other process is believed no more than a guest: what it hands back is checked, and nonsense ends the
 * connection.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <holon/host.h>

#include "backend/vhost/vhost_internal.h"

#define DESCRIPTOR_NEXT 1u
#define DESCRIPTOR_WRITE 2u
#define DESCRIPTOR_INDIRECT 4u
#define USED_NO_NOTIFY 1u
#define RINGS_GPA (UINT64_C(1) << 46) /* as the other process sees it: behind any RAM */

enum status vhost_rings_create(struct vhost_user *vhost, struct reason *why)
{
	size_t size = vhost->peer.queues * sizeof(struct vhost_ring_memory);
	void *memory;

	vhost->ring_fd = memfd_create("vhost-rings", MFD_CLOEXEC);
	if (vhost->ring_fd < 0 || ftruncate(vhost->ring_fd, (off_t)size))
		return reason_give(why, STATUS_NO_MEMORY, "%s: no memory for its rings: %s", vhost->path, strerror(errno));
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vhost->ring_fd, 0);
	if (memory == MAP_FAILED)
		return reason_give(why, STATUS_NO_MEMORY, "%s: no memory for its rings: %s", vhost->path, strerror(errno));
	vhost->rings = memory;
	for (unsigned i = 0; i < vhost->peer.queues; i++) {
		struct vhost_ring *ring = &vhost->ring[i];

		ring->memory = &vhost->rings[i];
		ring->gpa = RINGS_GPA + i * sizeof(struct vhost_ring_memory);
		ring->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ring->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (ring->kick < 0 || ring->call < 0)
			return reason_give(why, STATUS_NO_MEMORY, "%s: no eventfd: %s; raise the limit on open files (ulimit -n)",
					   vhost->path, strerror(errno));
		while (ring->frees < PEER_QUEUE_SIZE) {
			ring->free[ring->frees] = (uint16_t)ring->frees;
			ring->frees++;
		}
	}
	return STATUS_OK;
}

static void descriptor_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

void vhost_rings_destroy(struct vhost_user *vhost)
{
	for (unsigned i = 0; i < PEER_QUEUES_MAX; i++) {
		descriptor_close(vhost->ring[i].kick);
		descriptor_close(vhost->ring[i].call);
	}
	if (vhost->rings)
		munmap(vhost->rings, vhost->peer.queues * sizeof(struct vhost_ring_memory));
	descriptor_close(vhost->ring_fd);
}

/* --- in --- */

static void slot_fill(const struct vhost_user *vhost, struct vhost_ring *ring, unsigned slot, const struct peer_request *request)
{
	struct vhost_descriptor *table = ring->memory->table[slot];
	uint64_t at = ring->gpa + offsetof(struct vhost_ring_memory, table) + slot * sizeof(ring->memory->table[0]);

	for (unsigned i = 0; i < request->segments; i++)
		table[i] = (struct vhost_descriptor){
			.address = (uint64_t)((const uint8_t *)request->segment[i].base - vhost->ram),
			.length = (uint32_t)request->segment[i].length,
			.flags = (uint16_t)((i + 1 < request->segments ? DESCRIPTOR_NEXT : 0) |
					    (i >= request->readable ? DESCRIPTOR_WRITE : 0)),
			.next = (uint16_t)(i + 1),
		};
	ring->memory->descriptor[slot] =
		(struct vhost_descriptor){at, request->segments * (uint32_t)sizeof(table[0]), DESCRIPTOR_INDIRECT, 0};
	ring->slot[slot] = (struct peer_request *)request;
}

static void request_offer_locked(struct vhost_user *vhost, struct peer_request *request)
{
	struct vhost_ring *ring = &vhost->ring[request->queue];
	unsigned slot;

	bug_on(!ring->frees); /* the device has no more requests than a ring has slots */
	slot = ring->free[--ring->frees];
	slot_fill(vhost, ring, slot, request);
	ring->memory->available.ring[ring->next_available++ % PEER_QUEUE_SIZE] = (uint16_t)slot;
	vhost->under_way++;
}

/* The index last, then the look at what the other side asks for, which it writes in the other order. */
static void rings_publish_locked(struct vhost_user *vhost)
{
	for (unsigned i = 0; i < vhost->peer.queues; i++) {
		struct vhost_ring *ring = &vhost->ring[i];

		if (ring->memory->available.index == ring->next_available)
			continue;
		__atomic_store_n(&ring->memory->available.index, ring->next_available, __ATOMIC_RELEASE);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!(__atomic_load_n(&ring->memory->used.flags, __ATOMIC_RELAXED) & USED_NO_NOTIFY))
			eventfd_write(ring->kick, 1);
	}
}

/* What cannot be offered is done at once: a chain without any memory, or after the other process has gone. */
static bool request_offerable(const struct vhost_user *vhost, const struct peer_request *request)
{
	return !vhost->gone && request->segments;
}

void vhost_submit(struct peer *peer, struct peer_request *list)
{
	struct vhost_user *vhost = vhost_of(peer);
	struct peer_request *answered = NULL;
	bool gone;

	pthread_mutex_lock(&vhost->lock);
	gone = vhost->gone;
	while (list) {
		struct peer_request *request = list;

		list = request->next;
		if (request_offerable(vhost, request)) {
			request_offer_locked(vhost, request);
		} else {
			request->next = answered;
			answered = request;
		}
	}
	if (!gone)
		rings_publish_locked(vhost);
	pthread_mutex_unlock(&vhost->lock);
	while (answered) {
		struct peer_request *request = answered;

		answered = request->next;
		request->done(request, 0, gone ? STATUS_IO : STATUS_OK);
	}
}

/* --- out --- */

static void requests_ended(struct vhost_user *vhost, unsigned count)
{
	pthread_mutex_lock(&vhost->lock);
	vhost->under_way -= count;
	if (!vhost->under_way)
		pthread_cond_broadcast(&vhost->idle);
	pthread_mutex_unlock(&vhost->lock);
}

/* The next answer of a ring. false: there is none; *broken: it makes no sense. */
static bool used_take(struct vhost_user *vhost, struct vhost_ring *ring, struct peer_request **request, uint32_t *written,
		      bool *broken)
{
	uint16_t index = __atomic_load_n(&ring->memory->used.index, __ATOMIC_ACQUIRE);
	uint32_t id;

	if (index == ring->next_used)
		return false;
	id = __atomic_load_n(&ring->memory->used.ring[ring->next_used % PEER_QUEUE_SIZE].id, __ATOMIC_RELAXED);
	*written = __atomic_load_n(&ring->memory->used.ring[ring->next_used % PEER_QUEUE_SIZE].length, __ATOMIC_RELAXED);
	pthread_mutex_lock(&vhost->lock);
	*request = id < PEER_QUEUE_SIZE ? ring->slot[id] : NULL;
	*broken = !*request;
	if (*request) {
		ring->slot[id] = NULL;
		ring->free[ring->frees++] = (uint16_t)id;
		ring->next_used++;
	}
	pthread_mutex_unlock(&vhost->lock);
	return *request != NULL;
}

/* Returns whether the ring makes sense. */
static bool ring_serve(struct vhost_user *vhost, struct vhost_ring *ring)
{
	struct peer_request *request;
	eventfd_t count;
	uint32_t written;
	bool broken = false;

	eventfd_read(ring->call, &count);
	while (used_take(vhost, ring, &request, &written, &broken)) {
		request->done(request, written, STATUS_OK);
		requests_ended(vhost, 1);
	}
	return !broken;
}

static void peer_gone(struct vhost_user *vhost)
{
	pthread_mutex_lock(&vhost->lock);
	vhost->gone = true;
	pthread_mutex_unlock(&vhost->lock);
	for (unsigned i = 0; i < vhost->peer.queues; i++) {
		for (unsigned slot = 0; slot < PEER_QUEUE_SIZE; slot++) {
			struct peer_request *request;

			pthread_mutex_lock(&vhost->lock);
			request = vhost->ring[i].slot[slot];
			vhost->ring[i].slot[slot] = NULL;
			pthread_mutex_unlock(&vhost->lock);
			if (!request)
				continue;
			request->done(request, 0, STATUS_IO);
			requests_ended(vhost, 1);
		}
	}
}

/* The thread. Ends when the other process goes, or it is told to; what is under way then is done with STATUS_IO. */
void *vhost_main(void *argument)
{
	struct vhost_user *vhost = argument;
	struct pollfd poll_fd[2 + PEER_QUEUES_MAX] = {{.fd = vhost->stop, .events = POLLIN},
						      {.fd = vhost->socket, .events = POLLIN}};
	bool good = true;

	for (unsigned i = 0; i < vhost->peer.queues; i++)
		poll_fd[2 + i] = (struct pollfd){.fd = vhost->ring[i].call, .events = POLLIN};
	while (good) {
		if (poll(poll_fd, 2 + vhost->peer.queues, -1) < 0)
			continue; /* EINTR */
		for (unsigned i = 0; good && i < vhost->peer.queues; i++)
			good = !poll_fd[2 + i].revents || ring_serve(vhost, &vhost->ring[i]);
		if (!good)
			host_log(HOST_LOG_ERROR, "%s: the process behind it answers what nobody asked; it is disconnected",
				 vhost->path);
		if (poll_fd[0].revents)
			break;
		if (good && poll_fd[1].revents) {
			host_log(HOST_LOG_ERROR,
				 "%s: the process behind it has gone, and with it the guest's device; start it and the VM again",
				 vhost->path);
			good = false;
		}
	}
	peer_gone(vhost);
	return NULL;
}
