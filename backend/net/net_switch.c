/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_switch.c - a layer-2 switch among the VMs of one user on this host (--net switch=NAME), of which each VM's process is a part.
 *
 * There is no process in the middle, so none whose death would cut the others off: every VM has a socket (SOCK_SEQPACKET) to every other. They meet
 * in a folder, RUNTIME/holon/switch/NAME, where each listens on a socket named after its card's address. Who comes in connects to all that
 * are there and then listens; a lock on the folder's `lock` file makes that one step, so that any two are connected once. A killed VM's
 * sockets close by themselves: the others see that at once, and whoever comes next removes the name that it left.
 *
 * A message is a virtio header and a frame. What one guest's driver left undone (checksums, segments), the other's usually takes as it is; where it does
 * not, the receiving side finishes it (net_offload.c). Each part learns which addresses are behind which peer, and floods what it does
 * not know. A peer that reads nothing holds the sender up once, for HOLD_NS; from then on its frames are dropped until it reads again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <holon/host.h>

#include "backend/net/net_backend.h"
#include "backend/net/net_backlog.h"
#include "backend/net/net_offload.h"
#include "backend/own_folder.h"

#define PEERS_MAX 128u
#define ADDRESSES 1024u /* a power of two */
#define ADDRESS_AGE_NS UINT64_C(300000000000)
#define HOLD_NS UINT64_C(20000000)
#define BATCH 64u
#define BUFFER (sizeof(struct net_header) + NET_FRAME_MAX)
#define SEND_BUFFER (1 << 20)
/* Others are in the lock for some milliseconds; one that was stopped there must not stop us too. */
#define JOIN_TRIES 250u
#define JOIN_PAUSE_US 20000

enum { POLL_WAKE, POLL_LISTEN, POLL_PEERS };

struct peer {
	int fd;    /* -1: the place is free */
	bool full; /* it did not take the last frame: wait for POLLOUT */
	bool slow; /* and did not for HOLD_NS: frames are dropped */
};

/* Direct-mapped: two addresses in one place cost a flood now and then. */
struct address {
	uint8_t mac[NET_MAC_LENGTH];
	int16_t peer; /* -1: none */
	uint64_t seen_ns;
};

struct switch_part {
	struct net net;
	const struct net_config *config;
	struct net_backlog backlog;
	struct host_thread *thread;
	int folder_fd, listen_fd, wake_fd;
	char socket_name[64]; /* in the folder; empty: not bound */
	atomic_bool kicked;
	atomic_bool stopping;
	atomic_uint receives;
	/* The thread's. */
	const struct net_frontend *frontend;
	struct peer peer[PEERS_MAX];
	struct address address[ADDRESSES];
	struct pollfd poll[POLL_PEERS + PEERS_MAX];
	uint8_t *in, *out;
	size_t held; /* bytes in `out` that `held_for` has no room for; 0: none */
	unsigned held_for;
	uint64_t held_until_ns;
	bool again;
};

static struct switch_part *part_of(struct net *net)
{
	return (struct switch_part *)(void *)net;
}

/* --- who is where --- */

static struct address *address_place(struct switch_part *part, const uint8_t *mac)
{
	uint32_t hash = 2166136261u;

	for (unsigned i = 0; i < NET_MAC_LENGTH; i++)
		hash = (hash ^ mac[i]) * 16777619u;
	return &part->address[(hash ^ hash >> 15) & (ADDRESSES - 1)];
}

static void address_learn(struct switch_part *part, const uint8_t *mac, unsigned peer)
{
	struct address *address = address_place(part, mac);

	if (mac[0] & 1)
		return;
	memcpy(address->mac, mac, NET_MAC_LENGTH);
	address->peer = (int16_t)peer;
	address->seen_ns = host_time_ns();
}

/* The peer that has this address, or -1: all of them may have it. */
static int address_find(struct switch_part *part, const uint8_t *mac)
{
	const struct address *address = address_place(part, mac);

	if (mac[0] & 1 || address->peer < 0 || memcmp(address->mac, mac, NET_MAC_LENGTH) != 0 ||
	    host_time_ns() - address->seen_ns > ADDRESS_AGE_NS)
		return -1;
	return address->peer;
}

static bool peer_add(struct switch_part *part, int fd)
{
	int size = SEND_BUFFER;

	for (unsigned i = 0; i < PEERS_MAX; i++) {
		if (part->peer[i].fd >= 0)
			continue;
		/* As much as the host allows. */
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		part->peer[i] = (struct peer){.fd = fd};
		return true;
	}
	close(fd);
	return false;
}

static void peer_remove(struct switch_part *part, unsigned index)
{
	close(part->peer[index].fd);
	part->peer[index] = (struct peer){.fd = -1};
	for (unsigned i = 0; i < ADDRESSES; i++)
		if (part->address[i].peer == (int)index)
			part->address[i].peer = -1;
	if (part->held_for == index)
		part->held = 0;
}

/* All that wait to be let in; only the same user's processes are, as the folder's mode says already. */
static void peers_accept(struct switch_part *part)
{
	int fd;

	while ((fd = accept4(part->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		struct ucred peer = {.uid = (uid_t)-1};
		socklen_t length = sizeof(peer);

		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) || (peer.uid != geteuid() && peer.uid != 0))
			close(fd);
		else if (!peer_add(part, fd))
			host_log(HOST_LOG_WARN, "--net switch=%s: more than %u VMs: one is not heard here", part->config->name,
				 PEERS_MAX);
	}
}

/* --- frames of the guest --- */

enum sent { SENT, SENT_FULL, SENT_GONE };

static enum sent peer_send(struct switch_part *part, unsigned index, size_t length)
{
	if (send(part->peer[index].fd, part->out, length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return SENT;
	if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR) {
		part->peer[index].full = true;
		return SENT_FULL;
	}
	if (errno == EMSGSIZE) /* a host with tiny socket buffers: lost, as a frame above a switch's MTU is */
		return SENT;
	return SENT_GONE;
}

/* To one peer, waiting for it a little if it is behind; the frame stays in `out` meanwhile. */
static void unicast(struct switch_part *part, unsigned index, size_t length)
{
	struct peer *peer = &part->peer[index];

	if (peer->full && peer->slow)
		return;
	switch (peer_send(part, index, length)) {
	case SENT: break;
	case SENT_GONE: peer_remove(part, index); break;
	case SENT_FULL:
		part->held = length;
		part->held_for = index;
		part->held_until_ns = host_time_ns() + HOLD_NS;
		break;
	}
}

/* To those too who came in while this batch is under way. */
static void flood(struct switch_part *part, size_t length)
{
	peers_accept(part);
	for (unsigned i = 0; i < PEERS_MAX; i++)
		if (part->peer[i].fd >= 0 && !part->peer[i].full && peer_send(part, i, length) == SENT_GONE)
			peer_remove(part, i);
}

/* The frame that waits for its peer: sent, given up, or still waiting (true). */
static bool held_wait(struct switch_part *part)
{
	struct peer *peer = &part->peer[part->held_for];
	size_t length = part->held;

	if (!length)
		return false;
	if (peer->full && host_time_ns() < part->held_until_ns)
		return true;
	part->held = 0;
	if (peer->full)
		peer->slow = true;
	else
		unicast(part, part->held_for, length);
	return part->held;
}

static void guest_take(struct switch_part *part)
{
	const struct net_frontend *frontend = part->frontend;
	struct net_header header;
	unsigned left = BATCH;

	while (frontend && !held_wait(part)) {
		size_t length;
		int peer;

		if (!left--) {
			part->again = true;
			return;
		}
		length = frontend->take(frontend->device, 0, &header, part->out + sizeof(header));
		if (!length)
			return;
		memcpy(part->out, &header, sizeof(header));
		peer = address_find(part, part->out + sizeof(header));
		if (peer >= 0)
			unicast(part, (unsigned)peer, sizeof(header) + length);
		else
			flood(part, sizeof(header) + length);
	}
}

/* --- frames for the guest --- */

static bool finished_give(void *context, const uint8_t *frame, size_t length)
{
	struct switch_part *part = context;
	const bool valid = atomic_load_explicit(&part->receives, memory_order_relaxed) & NET_OFFLOAD_CHECKSUM;
	const struct net_header header = {.flags = valid ? NET_HEADER_DATA_VALID : 0};

	net_backlog_give(&part->backlog, part->frontend, &header, frame, length);
	return true;
}

/* Does the guest take what the header leaves to be done? */
static bool guest_takes(const struct switch_part *part, const struct net_header *header)
{
	unsigned receives = atomic_load_explicit(&part->receives, memory_order_relaxed);
	uint8_t kind = header->gso_type & (uint8_t)~NET_GSO_ECN;

	if (header->flags & NET_HEADER_NEEDS_CHECKSUM && !(receives & NET_OFFLOAD_CHECKSUM))
		return false;
	if (header->gso_type & NET_GSO_ECN && !(receives & NET_OFFLOAD_ECN))
		return false;
	return kind == NET_GSO_NONE || (kind == NET_GSO_TCP4 && receives & NET_OFFLOAD_TSO4) ||
	       (kind == NET_GSO_TCP6 && receives & NET_OFFLOAD_TSO6);
}

/* One message. false: there is none now. */
static bool peer_receive(struct switch_part *part, unsigned index)
{
	struct net_header header;
	ssize_t got = recv(part->peer[index].fd, part->in, BUFFER, MSG_DONTWAIT);
	uint8_t *frame = part->in + sizeof(header);
	size_t length;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		peer_remove(part, index);
		return false;
	}
	if ((size_t)got < sizeof(header) + NET_ETHERNET_HEADER)
		return true;
	length = (size_t)got - sizeof(header);
	memcpy(&header, part->in, sizeof(header));
	header.flags &= NET_HEADER_NEEDS_CHECKSUM;
	if (!net_header_fits(&header, length))
		return true;
	address_learn(part, frame + NET_MAC_LENGTH, index);
	if (guest_takes(part, &header))
		net_backlog_give(&part->backlog, part->frontend, &header, frame, length);
	else
		net_offload_finish(&header, frame, length, finished_give, part);
	return true;
}

/* A few of each in turn, as long as the guest has room. Places that were free when poll began have no events. */
static void peers_receive(struct switch_part *part)
{
	for (unsigned i = 0; i < PEERS_MAX; i++) {
		unsigned left = BATCH;

		if (part->peer[i].fd < 0 || !(part->poll[POLL_PEERS + i].revents & (POLLIN | POLLHUP | POLLERR)))
			continue;
		while (net_backlog_empty(&part->backlog) && peer_receive(part, i)) {
			if (!--left) {
				part->again = true;
				break;
			}
		}
	}
}

/* --- the thread --- */

static void poll_prepare(struct switch_part *part)
{
	const bool room = net_backlog_empty(&part->backlog);

	part->poll[POLL_WAKE] = (struct pollfd){.fd = part->wake_fd, .events = POLLIN};
	part->poll[POLL_LISTEN] = (struct pollfd){.fd = part->listen_fd, .events = POLLIN};
	for (unsigned i = 0; i < PEERS_MAX; i++) {
		const struct peer *peer = &part->peer[i];
		short events = (short)((room ? POLLIN : 0) | (peer->full ? POLLOUT : 0));

		part->poll[POLL_PEERS + i] = (struct pollfd){.fd = events ? peer->fd : -1, .events = events};
	}
}

static int poll_timeout(const struct switch_part *part)
{
	uint64_t now;

	if (part->again)
		return 0;
	if (!part->held)
		return -1;
	now = host_time_ns();
	return now < part->held_until_ns ? (int)((part->held_until_ns - now) / 1000000) + 1 : 0;
}

static void switch_main(void *argument)
{
	struct switch_part *part = argument;
	uint64_t count;

	while (!atomic_load(&part->stopping)) {
		poll_prepare(part);
		if (poll(part->poll, POLL_PEERS + PEERS_MAX, poll_timeout(part)) < 0)
			continue;
		part->again = false;
		if (part->poll[POLL_WAKE].revents) {
			while (read(part->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
				;
			atomic_store(&part->kicked, false);
		}
		for (unsigned i = 0; i < PEERS_MAX; i++)
			if (part->poll[POLL_PEERS + i].revents & POLLOUT)
				part->peer[i].full = part->peer[i].slow = false;
		if (part->poll[POLL_LISTEN].revents)
			peers_accept(part);
		part->frontend = net_enter(&part->net, 0);
		if (net_backlog_deliver(&part->backlog, part->frontend))
			part->again = true;
		peers_receive(part);
		guest_take(part);
		net_leave(&part->net, 0);
	}
}

/* --- struct net --- */

static void switch_kick(struct net *net, unsigned pair)
{
	struct switch_part *part = part_of(net);
	uint64_t one = 1;

	(void)pair;
	if (atomic_exchange(&part->kicked, true))
		return;
	while (write(part->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void switch_receives(struct net *net, unsigned offloads)
{
	atomic_store_explicit(&part_of(net)->receives, offloads, memory_order_relaxed);
}

static enum status switch_start(struct net *net, struct reason *why)
{
	struct switch_part *part = part_of(net);
	enum status status = host_thread_start(&part->thread, "net-switch", switch_main, part);

	if (status)
		return reason_give(why, status, "--net switch=%s: no thread: %s; raise the limit on threads", part->config->name,
				   status_name(status));
	return STATUS_OK;
}

static void switch_stop(struct net *net)
{
	struct switch_part *part = part_of(net);

	if (!part->thread)
		return;
	atomic_store(&part->stopping, true);
	switch_kick(net, 0);
	host_thread_join(part->thread);
	part->thread = NULL;
}

static void descriptor_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void switch_close(struct net *net)
{
	struct switch_part *part = part_of(net);

	switch_stop(net);
	if (part->socket_name[0])
		unlinkat(part->folder_fd, part->socket_name, 0);
	for (unsigned i = 0; i < PEERS_MAX; i++)
		descriptor_close(part->peer[i].fd);
	descriptor_close(part->listen_fd);
	descriptor_close(part->wake_fd);
	descriptor_close(part->folder_fd);
	net_backlog_free(&part->backlog);
	free(part->in);
	free(part->out);
	free(part);
}

/* --- joining --- */

static enum status switch_refuse(const struct switch_part *part, const char *what, struct reason *why)
{
	return reason_give(why, errno == EACCES || errno == EPERM ? STATUS_PERMISSION : STATUS_IO, "--net switch=%s: %s: %s",
			   part->config->name, what, strerror(errno));
}

/* Through the folder's descriptor: no path is too long, and nobody can put another folder in its place. */
static struct sockaddr_un socket_address(const struct switch_part *part, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", part->folder_fd, name);
	return address;
}

static int socket_make(void)
{
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Connects to one that is there; removes the name of one that died. */
static enum status neighbour_connect(struct switch_part *part, const char *name, const char *own, struct reason *why)
{
	struct sockaddr_un address = socket_address(part, name);
	int fd = socket_make();

	if (fd < 0)
		return switch_refuse(part, "no socket; raise the limit on open files", why);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		if (errno == ECONNREFUSED)
			unlinkat(part->folder_fd, name, 0);
		else
			host_log(HOST_LOG_WARN, "--net switch=%s: VM %s does not answer: %s", part->config->name, name,
				 strerror(errno));
		close(fd);
		return STATUS_OK;
	}
	if (!strncmp(name, own, 2 * NET_MAC_LENGTH)) {
		close(fd);
		return reason_give(
			why, STATUS_BUSY,
			"--net switch=%s: another VM there has the same address, %.12s; give this one a --name, or a mac=",
			part->config->name, name);
	}
	if (!peer_add(part, fd))
		return reason_give(why, STATUS_NO_SPACE, "--net switch=%s: it is full; at most %u VMs can be on it",
				   part->config->name, PEERS_MAX + 1);
	return STATUS_OK;
}

static enum status neighbours_connect(struct switch_part *part, const char *own, struct reason *why)
{
	int fd = openat(part->folder_fd, ".", O_DIRECTORY | O_CLOEXEC | O_RDONLY);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	enum status status = STATUS_OK;
	struct dirent *entry;

	if (!folder) {
		descriptor_close(fd);
		return switch_refuse(part, "its folder cannot be read", why);
	}
	while (!status && (entry = readdir(folder)) != NULL) {
		size_t length = strlen(entry->d_name);

		if (length > 5 && length < sizeof(part->socket_name) && !strcmp(entry->d_name + length - 5, ".sock"))
			status = neighbour_connect(part, entry->d_name, own, why);
	}
	closedir(folder);
	return status;
}

static enum status listen_begin(struct switch_part *part, const char *name, struct reason *why)
{
	struct sockaddr_un address = socket_address(part, name);

	part->listen_fd = socket_make();
	if (part->listen_fd < 0 || bind(part->listen_fd, (struct sockaddr *)&address, sizeof(address)))
		return switch_refuse(part, "no socket can be made in its folder", why);
	memcpy(part->socket_name, name, strlen(name) + 1);
	if (listen(part->listen_fd, (int)PEERS_MAX))
		return switch_refuse(part, "its socket cannot listen", why);
	return STATUS_OK;
}

static enum status switch_join(struct switch_part *part, struct reason *why)
{
	const uint8_t *mac = part->config->mac;
	char name[sizeof(part->socket_name)];
	uint32_t unique;
	unsigned tries = JOIN_TRIES;
	enum status status;
	int lock, locked = -1;

	host_random(&unique, sizeof(unique));
	snprintf(name, sizeof(name), "%02x%02x%02x%02x%02x%02x-%d-%08x.sock", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5],
		 (int)getpid(), unique);
	lock = openat(part->folder_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	while (lock >= 0 && (locked = flock(lock, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK && tries--)
		usleep(JOIN_PAUSE_US);
	if (locked) {
		descriptor_close(lock);
		return switch_refuse(part, "its folder cannot be locked", why);
	}
	status = neighbours_connect(part, name, why);
	if (!status)
		status = listen_begin(part, name, why);
	close(lock);
	return status;
}

static enum status switch_make(struct switch_part *part, struct reason *why)
{
	part->in = malloc(BUFFER);
	part->out = malloc(BUFFER);
	part->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!part->in || !part->out || part->wake_fd < 0 || net_backlog_make(&part->backlog))
		return reason_give(why, STATUS_NO_MEMORY, "--net switch=%s: no memory or no descriptor; free some",
				   part->config->name);
	part->folder_fd = own_folder_open("switch", part->config->name);
	if (part->folder_fd < 0)
		return switch_refuse(part, "its folder in $XDG_RUNTIME_DIR (or /tmp) cannot be used", why);
	return switch_join(part, why);
}

enum status net_switch_open(struct net **net, const struct net_config *config, struct reason *why)
{
	struct switch_part *part = calloc(1, sizeof(*part));
	const unsigned offloads = NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
	enum status status;

	*net = NULL;
	if (!part)
		return reason_give(why, STATUS_NO_MEMORY, "--net switch=%s: out of memory; free some", config->name);
	part->config = config;
	part->folder_fd = part->listen_fd = part->wake_fd = -1;
	for (unsigned i = 0; i < PEERS_MAX; i++)
		part->peer[i].fd = -1;
	for (unsigned i = 0; i < ADDRESSES; i++)
		part->address[i].peer = -1;
	part->net = (struct net){
		.kick = switch_kick,
		.receives = switch_receives,
		.start = switch_start,
		.stop = switch_stop,
		.close = switch_close,
		.offloads = offloads,
		.gives = offloads,
		.pairs = 1,
		.mtu = config->mtu ? config->mtu : NET_MTU_DEFAULT,
	};
	status = switch_make(part, why);
	if (status) {
		switch_close(&part->net);
		return status;
	}
	*net = &part->net;
	return STATUS_OK;
}
