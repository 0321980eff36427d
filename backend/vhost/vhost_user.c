/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost_user.c - finds out what the process behind a socket offers, and starts it on a VM's memory; the next one too, if it was a disk's and has ended.
 * vhost_ring.c goes on from there.
 */
#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "backend/vhost/vhost_internal.h"

#define F_INDIRECT (UINT64_C(1) << 28)
#define F_PROTOCOL (UINT64_C(1) << 30)
#define F_VERSION_1 (UINT64_C(1) << 32)
#define PROTOCOL_MQ (UINT64_C(1) << 0)
#define PROTOCOL_REPLY_ACK (UINT64_C(1) << 3)
#define PROTOCOL_CONFIG (UINT64_C(1) << 9)
#define ANSWER_SECONDS 10
#define GIVE_UP_SECONDS 5
#define THREAD_STACK (64u << 10)

/* virtio-blk (virtio 1.2, 5.2) as far as it is the other process's. */
#define BLK_TYPE 2
#define BLK_CONFIG_LENGTH 60
#define BLK_SEG_MAX 12 /* places in its configuration */
#define BLK_BLOCK_SIZE 20
#define BLK_NUM_QUEUES 34
#define BLK_F_MQ (UINT64_C(1) << 12)
/* SEG_MAX, RO, BLK_SIZE, FLUSH, TOPOLOGY, DISCARD, WRITE_ZEROES: what leaves the configuration as it is. */
#define BLK_FEATURES (UINT64_C(1) << 2 | 1u << 5 | 1u << 6 | 1u << 9 | 1u << 10 | 1u << 13 | 1u << 14)

/* virtio-fs (5.11): a tag and the number of request queues; there is one for urgent ones besides. */
#define FS_TYPE 26
#define FS_TAG_LENGTH 36
#define FS_CONFIG_LENGTH 40
#define FS_QUEUES 2

static void vhost_drain(struct peer *peer)
{
	struct vhost_user *vhost = vhost_of(peer);

	pthread_mutex_lock(&vhost->lock);
	while (vhost->under_way)
		pthread_cond_wait(&vhost->idle, &vhost->lock);
	pthread_mutex_unlock(&vhost->lock);
}

void vhost_user_give_up(struct peer *peer)
{
	struct vhost_user *vhost = vhost_of(peer);
	struct timespec until;

	if (!vhost->started)
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += GIVE_UP_SECONDS;
	pthread_mutex_lock(&vhost->lock);
	while (vhost->under_way && !vhost->away && pthread_cond_clockwait(&vhost->idle, &vhost->lock, CLOCK_MONOTONIC, &until) == 0)
		;
	pthread_mutex_unlock(&vhost->lock);
	eventfd_write(vhost->stop, 1);
}

static void rings_stop(struct vhost_user *vhost)
{
	struct reason ignored;

	for (unsigned i = 0; vhost->socket >= 0 && i < vhost->peer.queues; i++) {
		struct vhost_message message = {.type = VHOST_GET_VRING_BASE, .ring = {i, 0}};

		if (vhost_ask(vhost, &message, sizeof(message.ring), &ignored))
			return; /* it has gone */
	}
}

static void vhost_close(struct peer *peer)
{
	struct vhost_user *vhost = vhost_of(peer);

	if (vhost->started) {
		eventfd_write(vhost->stop, 1);
		pthread_join(vhost->thread, NULL);
		rings_stop(vhost);
	}
	vhost_rings_destroy(vhost);
	if (vhost->stop >= 0)
		close(vhost->stop);
	if (vhost->socket >= 0)
		close(vhost->socket);
	pthread_cond_destroy(&vhost->idle);
	pthread_mutex_destroy(&vhost->lock);
	free(vhost->path);
	free(vhost);
}

static void socket_patience_set(int socket)
{
	struct timeval timeout = {.tv_sec = ANSWER_SECONDS};

	setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

static struct vhost_user *vhost_make(int socket, const char *path, struct reason *why)
{
	struct vhost_user *vhost = calloc(1, sizeof(*vhost));

	if (!vhost || !(vhost->path = strdup(path))) {
		free(vhost);
		if (socket >= 0)
			close(socket);
		reason_give(why, STATUS_NO_MEMORY, "%s: out of memory", path);
		return NULL;
	}
	pthread_mutex_init(&vhost->lock, NULL);
	pthread_cond_init(&vhost->idle, NULL);
	vhost->ring_fd = vhost->stop = -1;
	vhost->socket = socket;
	for (unsigned i = 0; i < PEER_QUEUES_MAX; i++)
		vhost->ring[i].kick = vhost->ring[i].call = -1;
	socket_patience_set(socket);
	vhost->peer = (struct peer){
		.path = vhost->path, .config = vhost->config, .submit = vhost_submit, .drain = vhost_drain, .close = vhost_close};
	return vhost;
}

static enum status number_get(struct vhost_user *vhost, enum vhost_message_type type, uint64_t *number, struct reason *why)
{
	struct vhost_message message = {.type = type};
	enum status status = vhost_ask(vhost, &message, 0, why);

	if (!status)
		status = vhost_number_whole(vhost, &message, why);
	*number = message.number;
	return status;
}

static enum status number_set(struct vhost_user *vhost, enum vhost_message_type type, uint64_t number, struct reason *why)
{
	struct vhost_message message = {.type = type, .number = number};

	return vhost_send(vhost, &message, sizeof(number), NULL, 0, why);
}

/* Features, protocol features, and how many queues there may be. */
static enum status features_agree(struct vhost_user *vhost, uint64_t *queues, struct reason *why)
{
	struct vhost_message owner = {.type = VHOST_SET_OWNER};
	uint64_t protocol = 0;
	enum status status = number_get(vhost, VHOST_GET_FEATURES, &vhost->offered, why);

	*queues = 1;
	if (!status)
		status = vhost_send(vhost, &owner, 0, NULL, 0, why);
	if (status)
		return status;
	if ((vhost->offered & (F_INDIRECT | F_VERSION_1 | F_PROTOCOL)) != (F_INDIRECT | F_VERSION_1 | F_PROTOCOL))
		return reason_give(
			why, STATUS_UNSUPPORTED,
			"%s: the process behind it lacks virtio 1.0, indirect descriptors or protocol features (it has 0x%llx)",
			vhost->path, (unsigned long long)vhost->offered);
	status = number_get(vhost, VHOST_GET_PROTOCOL_FEATURES, &protocol, why);
	if (!status)
		status = number_set(vhost, VHOST_SET_PROTOCOL_FEATURES,
				    protocol & (PROTOCOL_MQ | PROTOCOL_REPLY_ACK | PROTOCOL_CONFIG), why);
	vhost->protocol = protocol & (PROTOCOL_MQ | PROTOCOL_REPLY_ACK | PROTOCOL_CONFIG);
	if (!status && protocol & PROTOCOL_MQ)
		status = number_get(vhost, VHOST_GET_QUEUE_NUM, queues, why);
	return status;
}

static enum status config_get(struct vhost_user *vhost, uint8_t *config, uint32_t length, struct reason *why)
{
	struct vhost_message message = {.type = VHOST_GET_CONFIG, .config = {.offset = 0, .size = length}};
	enum status status;

	if (!(vhost->protocol & PROTOCOL_CONFIG))
		return reason_give(why, STATUS_UNSUPPORTED,
				   "%s: the process behind it does not tell its disk's size; is it a vhost-user-blk?", vhost->path);
	status = vhost_ask(vhost, &message, offsetof(struct vhost_message, config.bytes) - VHOST_HEADER + length, why);
	if (!status && (message.size < 12 + length || message.config.size != length))
		status =
			reason_give(why, STATUS_INVALID,
				    "%s: the process behind it gives no whole configuration; is it a vhost-user-blk?", vhost->path);
	if (!status)
		memcpy(config, message.config.bytes, length);
	return status;
}

static enum status socket_connect(int *out, const char *path, struct reason *why)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return reason_give(why, STATUS_USAGE, "%s: a socket's path has at most %zu bytes; choose a shorter one", path,
				   sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socket_patience_set(fd);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
		enum status status = errno == ENOENT || errno == ECONNREFUSED ? STATUS_NOT_FOUND
				     : errno == EACCES                        ? STATUS_PERMISSION
									      : STATUS_IO;

		reason_give(why, status, "%s: cannot be connected to: %s; start the process that serves it first", path,
			    strerror(errno));
		if (fd >= 0)
			close(fd);
		return status;
	}
	*out = fd;
	return STATUS_OK;
}

enum status vhost_user_disk_connect(struct peer **peer, const char *path, unsigned queues, struct reason *why)
{
	struct vhost_user *vhost;
	uint64_t most = 0;
	uint32_t seg_max;
	enum status status;
	int socket = -1;

	*peer = NULL;
	status = socket_connect(&socket, path, why);
	if (status)
		return status;
	vhost = vhost_make(socket, path, why);
	if (!vhost)
		return STATUS_NO_MEMORY;
	status = features_agree(vhost, &most, why);
	if (!status)
		status = config_get(vhost, vhost->config, BLK_CONFIG_LENGTH, why);
	if (status) {
		vhost_close(&vhost->peer);
		return status;
	}
	queues = most < queues ? (most ? (unsigned)most : 1) : queues;
	queues = queues < PEER_QUEUES_MAX ? queues : PEER_QUEUES_MAX;
	vhost->reconnects = true;
	vhost->peer.name = "vhost-user-blk";
	vhost->peer.type = BLK_TYPE;
	vhost->peer.class_code = 0x010000;
	vhost->peer.queues = queues;
	vhost->peer.config_length = BLK_CONFIG_LENGTH;
	vhost->peer.features = vhost->offered & (BLK_FEATURES | (queues > 1 ? BLK_F_MQ : 0));
	/* Header, status, and what RAM's seams may cut need descriptors too. */
	memcpy(&seg_max, &vhost->config[BLK_SEG_MAX], 4);
	seg_max = seg_max && seg_max < 126 ? seg_max : 126;
	memcpy(&vhost->config[BLK_SEG_MAX], &seg_max, 4);
	vhost->config[BLK_NUM_QUEUES] = (uint8_t)queues;
	vhost->config[BLK_NUM_QUEUES + 1] = 0;
	*peer = &vhost->peer;
	return STATUS_OK;
}

enum status vhost_user_share_connect(struct peer **peer, int socket, const char *path, const char *tag, struct reason *why)
{
	struct vhost_user *vhost = vhost_make(socket, path, why);
	uint64_t queues;
	enum status status;

	*peer = NULL;
	if (!vhost)
		return STATUS_NO_MEMORY;
	status = features_agree(vhost, &queues, why);
	if (status) {
		vhost_close(&vhost->peer);
		return status;
	}
	vhost->refuses = true;
	vhost->peer.name = "virtio-fs";
	vhost->peer.type = FS_TYPE;
	vhost->peer.class_code = 0x018000;
	vhost->peer.queues = FS_QUEUES;
	vhost->peer.config_length = FS_CONFIG_LENGTH;
	vhost->peer.obstacle = "a shared folder: virtiofsd knows which files the guest has open, and cannot hand that over";
	memcpy(vhost->config, tag, strnlen(tag, FS_TAG_LENGTH));
	vhost->config[FS_TAG_LENGTH] = FS_QUEUES - 1;
	*peer = &vhost->peer;
	return STATUS_OK;
}

static enum status memory_give(struct vhost_user *vhost, struct reason *why)
{
	int descriptors[2] = {vhost->ram_fd, vhost->ring_fd};
	struct vhost_message message = {.type = VHOST_SET_MEM_TABLE};

	message.memory.regions = 2;
	message.memory.region[0] = (struct vhost_region){.gpa = 0, .size = vhost->ram_size, .user = (uintptr_t)vhost->ram};
	message.memory.region[1] = (struct vhost_region){.gpa = vhost->ring[0].gpa,
							 .size = vhost->peer.queues * sizeof(struct vhost_ring_memory),
							 .user = (uintptr_t)vhost->rings};
	return vhost_send(vhost, &message, sizeof(message.memory), descriptors, 2, why);
}

static enum status ring_number_set(struct vhost_user *vhost, enum vhost_message_type type, uint32_t index, uint32_t value,
				   struct reason *why)
{
	struct vhost_message message = {.type = type, .ring = {index, value}};

	return vhost_send(vhost, &message, sizeof(message.ring), NULL, 0, why);
}

static enum status ring_event_set(struct vhost_user *vhost, enum vhost_message_type type, uint32_t index, int fd,
				  struct reason *why)
{
	struct vhost_message message = {.type = type, .number = index};

	return vhost_send(vhost, &message, sizeof(message.number), &fd, 1, why);
}

static enum status ring_give(struct vhost_user *vhost, uint32_t index, struct reason *why)
{
	const struct vhost_ring *ring = &vhost->ring[index];
	struct vhost_message message = {.type = VHOST_SET_VRING_ADDR};
	enum status status = ring_number_set(vhost, VHOST_SET_VRING_NUM, index, PEER_QUEUE_SIZE, why);

	message.address.index = index;
	message.address.descriptors = (uintptr_t)ring->memory->descriptor;
	message.address.available = (uintptr_t)&ring->memory->available;
	message.address.used = (uintptr_t)&ring->memory->used;
	if (!status)
		status = ring_number_set(vhost, VHOST_SET_VRING_BASE, index, 0, why);
	if (!status)
		status = vhost_send(vhost, &message, sizeof(message.address), NULL, 0, why);
	if (!status)
		status = ring_event_set(vhost, VHOST_SET_VRING_CALL, index, ring->call, why);
	if (!status)
		status = ring_event_set(vhost, VHOST_SET_VRING_KICK, index, ring->kick, why);
	if (!status)
		status = ring_number_set(vhost, VHOST_SET_VRING_ENABLE, index, 1, why);
	return status;
}

static enum status thread_start(struct vhost_user *vhost, struct reason *why)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int error;

	vhost->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vhost->stop < 0)
		return reason_give(why, STATUS_NO_MEMORY, "%s: no eventfd: %s; raise the limit on open files (ulimit -n)",
				   vhost->path, strerror(errno));
	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, THREAD_STACK);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&vhost->thread, &attributes, vhost_main, vhost);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (error)
		return reason_give(why, STATUS_NO_MEMORY, "%s: no thread could be started for it; check ulimit -u", vhost->path);
	pthread_setname_np(vhost->thread, "vhost-user");
	vhost->started = true;
	return STATUS_OK;
}

/* What was found out goes into force: features, memory, rings. */
static enum status process_start(struct vhost_user *vhost, struct reason *why)
{
	enum status status =
		number_set(vhost, VHOST_SET_FEATURES, vhost->peer.features | F_INDIRECT | F_VERSION_1 | F_PROTOCOL, why);

	if (!status)
		status = memory_give(vhost, why);
	for (unsigned i = 0; !status && i < vhost->peer.queues; i++)
		status = ring_give(vhost, i, why);
	return status;
}

enum status vhost_user_start(struct peer *peer, uint8_t *ram, int fd, uint64_t size, struct reason *why)
{
	struct vhost_user *vhost = vhost_of(peer);
	enum status status;

	vhost->ram = ram;
	vhost->ram_fd = fd;
	vhost->ram_size = size;
	status = vhost_rings_create(vhost, why);
	if (!status)
		status = process_start(vhost, why);
	return status ? status : thread_start(vhost, why);
}

/* The guest knows its disk: the next process must serve that one. It may have grown. */
static enum status disk_recognize(struct vhost_user *vhost, uint64_t queues, struct reason *why)
{
	uint8_t config[BLK_CONFIG_LENGTH];
	uint64_t sectors, known;
	enum status status = config_get(vhost, config, BLK_CONFIG_LENGTH, why);

	if (status)
		return status;
	memcpy(&sectors, config, sizeof(sectors));
	memcpy(&known, vhost->config, sizeof(known));
	if (le64toh(sectors) >= le64toh(known) && !memcmp(&config[BLK_BLOCK_SIZE], &vhost->config[BLK_BLOCK_SIZE], 4) &&
	    queues >= vhost->peer.queues && !(vhost->peer.features & ~vhost->offered))
		return STATUS_OK;
	return reason_give(why, STATUS_INVALID,
			   "%s: another disk is served there now (%llu sectors, %llu queues); start one as the first was",
			   vhost->path, (unsigned long long)le64toh(sectors), (unsigned long long)queues);
}

enum status vhost_reconnect(struct vhost_user *vhost, struct reason *why)
{
	uint64_t queues = 0;
	enum status status;

	if (vhost->socket >= 0)
		close(vhost->socket);
	vhost->socket = -1;
	vhost->protocol = 0;
	status = socket_connect(&vhost->socket, vhost->path, why);
	if (!status)
		status = features_agree(vhost, &queues, why);
	if (!status)
		status = disk_recognize(vhost, queues, why);
	if (!status)
		status = vhost_rings_renew(vhost, why);
	if (!status)
		status = process_start(vhost, why);
	if (!status)
		vhost_rings_resume(vhost);
	return status;
}
