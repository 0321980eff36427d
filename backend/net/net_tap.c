/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_tap.c - a tap device of the host's kernel (--net tap=NAME), and one that is a port of a bridge (--net bridge=NAME).
 *
 * The kernel takes and gives frames with their virtio header (IFF_VNET_HDR): offloads pass through as they are. Each pair of queues is a queue of the
 * tap device with a descriptor and a thread of its own. A tap device that was there before keeps its settings and outlives us; one that we made
 * is the kernel's to remove when the last descriptor closes, so that also a killed VM leaves none behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

#include <holon/host.h>

#include "backend/net/net_backend.h"

#define BATCH 64u

struct tap;

struct tap_pair {
	struct tap *tap;
	unsigned number;
	int fd;
	int wake_fd;
	atomic_bool kicked;
	struct host_thread *thread;
	/* The thread's: a header and the frame behind it, in each direction. */
	uint8_t *in, *out;
	size_t in_length; /* read, and not yet taken by the guest */
	bool dead;        /* the device was removed under us */
};

struct tap {
	struct net net;
	const struct net_config *config;
	char device[IFNAMSIZ];
	bool made; /* by us */
	atomic_bool stopping;
	struct tap_pair pair[NET_PAIRS_MAX];
};

_Static_assert(sizeof(struct net_header) == 12, "the kernel is told that headers have this length");
#define TAP_BUFFER (sizeof(struct net_header) + NET_FRAME_MAX)

static struct tap *tap_of(struct net *net)
{
	return (struct tap *)(void *)net;
}

/* --- a pair's thread --- */

static void pair_dead(struct tap_pair *pair)
{
	if (!pair->dead)
		host_log(HOST_LOG_WARN, "--net: tap device %s is gone: %s; the guest's cable is out", pair->tap->device,
			 strerror(errno));
	pair->dead = true;
}

/* Frames of the kernel for the guest. Returns whether there may be more at once. */
static bool pair_receive(struct tap_pair *pair, const struct net_frontend *frontend)
{
	unsigned left = BATCH;

	while (frontend && left--) {
		struct net_header header;

		if (!pair->in_length) {
			ssize_t got = read(pair->fd, pair->in, TAP_BUFFER);

			if (got < 0 && errno != EAGAIN && errno != EINTR)
				pair_dead(pair);
			if (got < (ssize_t)(sizeof(header) + NET_ETHERNET_HEADER))
				return false;
			pair->in_length = (size_t)got;
		}
		memcpy(&header, pair->in, sizeof(header));
		if (!frontend->give(frontend->device, pair->number, &header, pair->in + sizeof(header),
				    pair->in_length - sizeof(header)))
			return false;
		pair->in_length = 0;
	}
	return frontend;
}

/* Frames of the guest for the kernel, which drops what it has no room for, as a wire does. */
static bool pair_send(struct tap_pair *pair, const struct net_frontend *frontend)
{
	unsigned left = BATCH;
	struct net_header header;

	while (frontend && left--) {
		size_t length = frontend->take(frontend->device, pair->number, &header, pair->out + sizeof(header));

		if (!length)
			return false;
		memcpy(pair->out, &header, sizeof(header));
		if (write(pair->fd, pair->out, sizeof(header) + length) < 0 && errno == EBADFD)
			pair_dead(pair);
	}
	return frontend;
}

static void pair_main(void *argument)
{
	struct tap_pair *pair = argument;
	struct net *net = &pair->tap->net;
	bool again = true, told = false;

	while (!atomic_load(&pair->tap->stopping)) {
		/* With a frame in hand that the guest has no room for, only a kick helps. */
		struct pollfd poll_for[2] = {{.fd = pair->wake_fd, .events = POLLIN},
					     {.fd = pair->in_length || pair->dead ? -1 : pair->fd, .events = POLLIN}};
		const struct net_frontend *frontend;
		uint64_t count;

		if (poll(poll_for, 2, again ? 0 : -1) > 0 && poll_for[0].revents) {
			while (read(pair->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
				;
			atomic_store(&pair->kicked, false);
		}
		frontend = net_enter(net, pair->number);
		again = pair_receive(pair, frontend);
		again |= pair_send(pair, frontend);
		net_leave(net, pair->number);
		if (pair->dead && !told)
			net_link_set(net, false);
		told = pair->dead;
		again = again && !pair->dead;
	}
}

/* --- struct net --- */

static void tap_kick(struct net *net, unsigned number)
{
	struct tap_pair *pair = &tap_of(net)->pair[number];
	uint64_t one = 1;

	if (atomic_exchange(&pair->kicked, true))
		return;
	while (write(pair->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void tap_receives(struct net *net, unsigned offloads)
{
	struct tap *tap = tap_of(net);
	unsigned long flags = 0;

	if (offloads & NET_OFFLOAD_CHECKSUM)
		flags |= TUN_F_CSUM;
	if (offloads & NET_OFFLOAD_TSO4)
		flags |= TUN_F_TSO4;
	if (offloads & NET_OFFLOAD_TSO6)
		flags |= TUN_F_TSO6;
	if (offloads & NET_OFFLOAD_ECN && offloads & (NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6))
		flags |= TUN_F_TSO_ECN;
	/* Of the device, not of a queue. */
	if (ioctl(tap->pair[0].fd, TUNSETOFFLOAD, flags))
		host_log(HOST_LOG_WARN, "--net: tap device %s: offloads: %s", tap->device, strerror(errno));
}

/* The kernel spreads flows over the queues that are attached. */
static void tap_pairs_set(struct net *net, unsigned pairs)
{
	struct tap *tap = tap_of(net);

	for (unsigned i = 1; i < net->pairs; i++) {
		struct ifreq request = {.ifr_flags = i < pairs ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

		/* EINVAL: it is so already. */
		ioctl(tap->pair[i].fd, TUNSETQUEUE, &request);
	}
}

static void tap_stop(struct net *net)
{
	struct tap *tap = tap_of(net);

	atomic_store(&tap->stopping, true);
	for (unsigned i = 0; i < net->pairs; i++) {
		if (!tap->pair[i].thread)
			continue;
		tap_kick(net, i);
		host_thread_join(tap->pair[i].thread);
		tap->pair[i].thread = NULL;
	}
}

static enum status tap_start(struct net *net, struct reason *why)
{
	struct tap *tap = tap_of(net);
	enum status status = STATUS_OK;

	for (unsigned i = 0; !status && i < net->pairs; i++)
		status = host_thread_start(&tap->pair[i].thread, "net-tap", pair_main, &tap->pair[i]);
	if (status)
		return reason_give(why, status, "--net: no thread: %s; raise the limit on threads", status_name(status));
	return STATUS_OK;
}

static void tap_close(struct net *net)
{
	struct tap *tap = tap_of(net);

	tap_stop(net);
	for (unsigned i = 0; i < NET_PAIRS_MAX; i++) {
		if (tap->pair[i].fd >= 0)
			close(tap->pair[i].fd);
		if (tap->pair[i].wake_fd >= 0)
			close(tap->pair[i].wake_fd);
		free(tap->pair[i].in);
		free(tap->pair[i].out);
	}
	free(tap);
}

/* --- opening --- */

static enum status tap_refused(const struct tap *tap, struct reason *why)
{
	const char *kind = tap->config->kind == NET_TAP ? "tap" : "bridge", *name = tap->config->name;

	switch (errno) {
	case EPERM:
	case EACCES:
		if (tap->config->kind == NET_TAP)
			return reason_give(
				why, STATUS_PERMISSION,
				"--net tap=%s: not permitted; let root make it yours: ip tuntap add %s mode tap user $USER%s", name,
				name, tap->net.pairs > 1 ? " multi_queue" : "");
		return reason_give(why, STATUS_PERMISSION,
				   "--net bridge=%s: not permitted to make a tap device; run it as root, or use --net tap=NAME",
				   name);
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return reason_give(why, STATUS_NOT_FOUND, "--net %s=%s: this host has no /dev/net/tun; load the module tun", kind,
				   name);
	case EBUSY: return reason_give(why, STATUS_BUSY, "--net %s=%s: another program has it; stop that one first", kind, name);
	case EINVAL:
		return reason_give(why, STATUS_UNSUPPORTED,
				   "--net %s=%s: it is no tap device of this kind; queues=N above 1 needs one with multi_queue, "
				   "and 1 one without",
				   kind, name);
	default: return reason_give(why, STATUS_IO, "--net %s=%s: %s", kind, name, strerror(errno));
	}
}

static enum status pair_open(struct tap *tap, struct tap_pair *pair, struct reason *why)
{
	struct ifreq request = {.ifr_flags =
					(short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (tap->net.pairs > 1 ? IFF_MULTI_QUEUE : 0))};
	int header = sizeof(struct net_header);

	pair->in = malloc(TAP_BUFFER);
	pair->out = malloc(TAP_BUFFER);
	pair->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!pair->in || !pair->out || pair->wake_fd < 0)
		return reason_give(why, STATUS_NO_MEMORY, "--net: no memory or no descriptor for a tap device; free some");
	pair->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (pair->fd < 0)
		return tap_refused(tap, why);
	memcpy(request.ifr_name, tap->device, sizeof(request.ifr_name));
	if (ioctl(pair->fd, TUNSETIFF, &request) || ioctl(pair->fd, TUNSETVNETHDRSZ, &header))
		return tap_refused(tap, why);
	memcpy(tap->device, request.ifr_name, sizeof(tap->device));
	return STATUS_OK;
}

static enum status device_ioctl(struct tap *tap, int socket, unsigned long number, struct ifreq *request, const char *what,
				struct reason *why)
{
	if (!ioctl(socket, number, request))
		return STATUS_OK;
	return reason_give(why, errno == EPERM ? STATUS_PERMISSION : STATUS_IO, "--net: tap device %s: %s: %s", tap->device, what,
			   strerror(errno));
}

static enum status bridge_join(struct tap *tap, int socket, struct reason *why)
{
	struct ifreq request = {.ifr_ifindex = (int)if_nametoindex(tap->device)};

	memcpy(request.ifr_name, tap->config->name, strlen(tap->config->name) + 1);
	if (!ioctl(socket, SIOCBRADDIF, &request))
		return STATUS_OK;
	return reason_give(why, errno == EPERM ? STATUS_PERMISSION : STATUS_IO,
			   "--net bridge=%s: %s cannot become its port: %s; is it a bridge?", tap->config->name, tap->device,
			   strerror(errno));
}

/* Of a device that we made: its MTU, its bridge, and up. Of any: the MTU that it has. */
static enum status device_set_up(struct tap *tap, struct reason *why)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {0};
	enum status status = STATUS_OK;

	if (fd < 0)
		return reason_give(why, STATUS_IO, "--net: no socket: %s; raise the limit on open files", strerror(errno));
	memcpy(request.ifr_name, tap->device, sizeof(request.ifr_name));
	if (tap->made && tap->config->mtu) {
		request.ifr_mtu = tap->config->mtu;
		status = device_ioctl(tap, fd, SIOCSIFMTU, &request, "its MTU", why);
	}
	if (!status && tap->config->kind == NET_BRIDGE)
		status = bridge_join(tap, fd, why);
	if (!status && tap->made)
		status = device_ioctl(tap, fd, SIOCGIFFLAGS, &request, "its flags", why);
	request.ifr_flags |= IFF_UP;
	if (!status && tap->made)
		status = device_ioctl(tap, fd, SIOCSIFFLAGS, &request, "up", why);
	tap->net.mtu = tap->config->mtu ? tap->config->mtu : NET_MTU_DEFAULT;
	if (!tap->config->mtu && !ioctl(fd, SIOCGIFMTU, &request) && request.ifr_mtu >= (int)NET_MTU_MIN)
		tap->net.mtu = (uint16_t)(request.ifr_mtu < (int)NET_MTU_MAX ? request.ifr_mtu : (int)NET_MTU_MAX);
	close(fd);
	return status;
}

static enum status tap_make(struct tap *tap, struct reason *why)
{
	const struct net_config *config = tap->config;
	enum status status = STATUS_OK;

	if (config->kind == NET_BRIDGE) {
		if (!if_nametoindex(config->name))
			return reason_give(why, STATUS_NOT_FOUND,
					   "--net bridge=%s: there is no such bridge; make it: ip link add %s type bridge",
					   config->name, config->name);
		snprintf(tap->device, sizeof(tap->device), "holon%%d"); /* the kernel numbers it */
		tap->made = true;
	} else {
		snprintf(tap->device, sizeof(tap->device), "%s", config->name);
		tap->made = !if_nametoindex(config->name);
	}
	for (unsigned i = 0; !status && i < tap->net.pairs; i++)
		status = pair_open(tap, &tap->pair[i], why);
	return status ? status : device_set_up(tap, why);
}

enum status net_tap_open(struct net **net, const struct net_config *config, struct reason *why)
{
	struct tap *tap = calloc(1, sizeof(*tap));
	const unsigned offloads = NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
	enum status status;

	*net = NULL;
	if (!tap)
		return reason_give(why, STATUS_NO_MEMORY, "--net tap=%s: out of memory; free some", config->name);
	tap->config = config;
	for (unsigned i = 0; i < NET_PAIRS_MAX; i++)
		tap->pair[i] = (struct tap_pair){.tap = tap, .number = i, .fd = -1, .wake_fd = -1};
	tap->net = (struct net){
		.kick = tap_kick,
		.receives = tap_receives,
		.pairs_set = config->queues > 1 ? tap_pairs_set : NULL,
		.start = tap_start,
		.stop = tap_stop,
		.close = tap_close,
		.offloads = offloads,
		.gives = offloads,
		.pairs = config->queues,
	};
	status = tap_make(tap, why);
	if (status) {
		tap_close(&tap->net);
		return status;
	}
	*net = &tap->net;
	return STATUS_OK;
}
