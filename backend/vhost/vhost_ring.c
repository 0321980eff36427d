/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost_ring.c - the rings that lie between the guest's and the process that serves a device: what goes in, and the thread that takes out.
 *
 * They are in memory of our own, which the other process maps beside the guest's RAM. Each request has a slot: a descriptor that leads to a table of as many
 * descriptors as the request has segments. The other process is believed no more than a guest: what it hands back is checked, and nonsense ends the
 * connection.
 *
 * A process that serves a disk may end and be started again. What it had and had not answered is known here, for the rings are ours and hold nothing but requests that a slot
 * names: so no record of the other process's (VHOST_USER_GET_INFLIGHT_FD) is needed. The next one gets new rings, which the last one cannot reach
 * should it still live, and all of those requests. Some may be done a second time. That changes nothing: reads, writes, zeroes, discards and flushes can be repeated, and
 * a guest that has several under way at once relies on no order among them. A file system's cannot (renames, opens), and its server knows things that no
 * other one does: when virtiofsd goes, requests are refused.
 */
#include <errno.h>
#include <fcntl.h>
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
#define RECONNECT_MS 100
#define RINGS_GPA (UINT64_C(1) << 46) /* as the other process sees it: behind any RAM */

/* Memory and events; which slots are free stays as it is. */
static enum status rings_make(struct vhost_user *vhost, struct reason *why)
{
	size_t size = vhost->peer.queues * sizeof(struct vhost_ring_memory);
	void *memory;

	vhost->ring_fd = memfd_create("vhost-rings", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (vhost->ring_fd < 0 || ftruncate(vhost->ring_fd, (off_t)size) ||
	    fcntl(vhost->ring_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) /* by the other process */
		return reason_give(why, STATUS_NO_MEMORY, "%s: no memory for its rings: %s", vhost->path, strerror(errno));
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vhost->ring_fd, 0);
	if (memory == MAP_FAILED)
		return reason_give(why, STATUS_NO_MEMORY, "%s: no memory for its rings: %s", vhost->path, strerror(errno));
	vhost->rings = memory;
	for (unsigned i = 0; i < vhost->peer.queues; i++) {
		struct vhost_ring *ring = &vhost->ring[i];

		ring->memory = &vhost->rings[i];
		ring->next_available = ring->next_used = 0;
		ring->gpa = RINGS_GPA + i * sizeof(struct vhost_ring_memory);
		ring->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ring->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (ring->kick < 0 || ring->call < 0)
			return reason_give(why, STATUS_NO_MEMORY, "%s: no eventfd: %s; raise the limit on open files (ulimit -n)",
					   vhost->path, strerror(errno));
	}
	return STATUS_OK;
}

enum status vhost_rings_create(struct vhost_user *vhost, struct reason *why)
{
	for (unsigned i = 0; i < vhost->peer.queues; i++) {
		struct vhost_ring *ring = &vhost->ring[i];

		while (ring->frees < PEER_QUEUE_SIZE) {
			ring->free[ring->frees] = (uint16_t)ring->frees;
			ring->frees++;
		}
	}
	return rings_make(vhost, why);
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
		vhost->ring[i].kick = vhost->ring[i].call = -1;
	}
	if (vhost->rings)
		munmap(vhost->rings, vhost->peer.queues * sizeof(struct vhost_ring_memory));
	vhost->rings = NULL;
	descriptor_close(vhost->ring_fd);
	vhost->ring_fd = -1;
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
}

static void slot_offer_locked(struct vhost_user *vhost, struct vhost_ring *ring, unsigned slot)
{
	slot_fill(vhost, ring, slot, ring->slot[slot]);
	ring->memory->available.ring[ring->next_available++ % PEER_QUEUE_SIZE] = (uint16_t)slot;
}

static void request_offer_locked(struct vhost_user *vhost, struct peer_request *request)
{
	struct vhost_ring *ring = &vhost->ring[request->queue];
	unsigned slot;

	bug_on(!ring->frees); /* the device has no more requests than a ring has slots */
	slot = ring->free[--ring->frees];
	ring->slot[slot] = request;
	vhost->under_way++;
	if (!vhost->away)
		slot_offer_locked(vhost, ring, slot);
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

/* The other process has gone for good. */
static void request_abandon(const struct vhost_user *vhost, struct peer_request *request)
{
	if (vhost->refuses)
		request->done(request, vhost_fuse_refuse(request), STATUS_OK);
	else
		request->done(request, 0, STATUS_IO);
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
	if (!gone && !vhost->away)
		rings_publish_locked(vhost);
	pthread_mutex_unlock(&vhost->lock);
	while (answered) {
		struct peer_request *request = answered;

		answered = request->next;
		if (gone)
			request_abandon(vhost, request);
		else
			request->done(request, 0, STATUS_OK);
	}
}

enum status vhost_rings_renew(struct vhost_user *vhost, struct reason *why)
{
	enum status status;

	pthread_mutex_lock(&vhost->lock);
	vhost_rings_destroy(vhost);
	status = rings_make(vhost, why);
	pthread_mutex_unlock(&vhost->lock);
	return status;
}

void vhost_rings_resume(struct vhost_user *vhost)
{
	pthread_mutex_lock(&vhost->lock);
	for (unsigned i = 0; i < vhost->peer.queues; i++)
		for (unsigned slot = 0; slot < PEER_QUEUE_SIZE; slot++)
			if (vhost->ring[i].slot[slot])
				slot_offer_locked(vhost, &vhost->ring[i], slot);
	host_log(HOST_LOG_WARN, "%s: served again; %u requests that had no answer are made once more", vhost->path,
		 vhost->under_way);
	vhost->away = false;
	rings_publish_locked(vhost);
	pthread_mutex_unlock(&vhost->lock);
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
			request_abandon(vhost, request);
			requests_ended(vhost, 1);
		}
	}
}

/* Takes all answers that are there. Returns whether they made sense. */
static bool rings_serve(struct vhost_user *vhost)
{
	bool good = true;

	for (unsigned i = 0; good && i < vhost->peer.queues; i++)
		good = ring_serve(vhost, &vhost->ring[i]);
	if (!good)
		host_log(HOST_LOG_ERROR, "%s: the process behind it answers what nobody asked; it is disconnected", vhost->path);
	return good;
}

/* Until an event. Returns false when told to stop; *lost: the other process has ended the connection. */
static bool events_wait(struct vhost_user *vhost, bool *lost)
{
	struct pollfd poll_fd[2 + PEER_QUEUES_MAX] = {{.fd = vhost->stop, .events = POLLIN},
						      {.fd = vhost->socket, .events = POLLIN}};

	for (unsigned i = 0; i < vhost->peer.queues; i++)
		poll_fd[2 + i] = (struct pollfd){.fd = vhost->ring[i].call, .events = POLLIN};
	*lost = false;
	if (poll(poll_fd, 2 + vhost->peer.queues, -1) < 0)
		return true; /* EINTR */
	*lost = poll_fd[1].revents;
	return !poll_fd[0].revents;
}

/* The other process has gone: waits for the next one. Returns false when told to stop. */
static bool peer_await(struct vhost_user *vhost)
{
	struct pollfd stop = {.fd = vhost->stop, .events = POLLIN};
	struct reason why = {""}, said = {""};

	host_log(HOST_LOG_WARN, "%s: the process behind it has gone; requests wait until one serves it again", vhost->path);
	pthread_mutex_lock(&vhost->lock);
	vhost->away = true;
	pthread_mutex_unlock(&vhost->lock);
	while (poll(&stop, 1, RECONNECT_MS) <= 0) {
		enum status status = vhost_reconnect(vhost, &why);

		if (!status)
			return true;
		/* Nobody there is what we expect; all else is said, once. */
		if (status != STATUS_NOT_FOUND && strcmp(why.text, said.text) != 0)
			host_log(HOST_LOG_WARN, "%s", why.text);
		if (status != STATUS_NOT_FOUND)
			said = why;
	}
	return false;
}

/* The thread. Ends when it is told to, or the other process goes for good; what is under way then is done with STATUS_IO. */
void *vhost_main(void *argument)
{
	struct vhost_user *vhost = argument;
	bool lost;

	while (events_wait(vhost, &lost) && rings_serve(vhost)) {
		if (!lost)
			continue;
		if (!rings_serve(vhost)) /* its last answers */
			break;
		if (!vhost->reconnects) {
			host_log(
				HOST_LOG_ERROR,
				"%s: virtiofsd has gone: what the guest does with the folder fails from now on; start the VM again",
				vhost->path);
			break;
		}
		if (!peer_await(vhost))
			break;
	}
	peer_gone(vhost);
	return NULL;
}
