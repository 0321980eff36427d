/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_user.c - the user network: libslirp is a router that turns the guest's packets into sockets of this process, and back.
 *
 * The guest has 10.0.2.15 by DHCP; 10.0.2.2 (fec0::2) is the router and, as a target, the host's loopback; 10.0.2.3 (fec0::3) is the host's name
 * server. libslirp knows no locks: whoever calls it is between net_enter and net_leave. One thread waits for sockets and moves frames in both directions; a vcpu that
 * sends little does so itself (user_serve), which saves waking the thread and interrupting a vcpu that has gone to sleep. Frames of the guest pass net_filter.c, then slirp_input; what libslirp sends is given to the
 * device, or waits in `backlog` where the guest has no room, and while anything waits there no socket is read. That is all the
 * backpressure there is: TCP then slows down its peer, and of the rest what does not fit is lost, as on any network.
 *
 * TCP offloads cost nothing: libslirp takes IPv4 packets of any size, so a TSO frame needs only its checksum. (An MTU near libslirp's window of 64 KiB, as
 * others use to the same end, was tried: the windows of a receiver that is busy then fall below a segment, and libslirp waits 5 s before it
 * looks again. At 1500 the guest's GRO makes up for it: 100 MB take 0.45 s either way, where an MTU of 16000 took from 0.46 s to 6.8 s.)
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <slirp/libslirp.h>

#include <holon/host.h>

#include "backend/net/net_backend.h"
#include "backend/net/net_backlog.h"
#include "backend/net/net_filter.h"
#include "backend/net/net_offload.h"
#include "backend/net/net_refusal.h"

#define BATCH 64u            /* packets that libslirp gets at once */
#define IP6_TCP_HEADERS 100u /* at most */
#define POLLS_ROOM 64u       /* at the beginning */
#define SOCKETS_MAX 2048u
#define SOCKETS_SPARE 64u /* of the host's limit, and for datagrams when there are no more for connections */
#define TIMERS 4u
#define SLIRP_MTU_MAX 65521u
#define SERVE_FRAMES 4u   /* packets that a vcpu moves itself */
#define SERVE_BYTES 4096u /* in one frame */
#define SERVE_BULK 64u    /* notifications that the thread gets after there was more */

struct user_timer {
	bool used;
	SlirpTimerId id;
	void *argument;
	int64_t expires_ms; /* INT64_MAX: not set */
};

struct poll_set {
	struct pollfd *poll;
	unsigned polls, room;
};

struct user {
	struct net net;
	const struct net_config *config;
	Slirp *slirp;
	struct net_filter filter;
	struct host_thread *thread;
	int wake_fd, timer_fd;
	atomic_bool kicked; /* wake_fd has been written */
	atomic_bool stopping;
	atomic_uint receives;
	/* From net_enter to net_leave. */
	const struct net_frontend *frontend;
	struct poll_set waits;   /* what the thread waits for: only that changes it */
	struct poll_set wanted;  /* what it should wait for, now that a vcpu has been in libslirp */
	struct poll_set *filled; /* the one that libslirp fills in now */
	bool stale;              /* `waits` no longer says what libslirp has sockets for */
	uint64_t wakes_ns;       /* until when the thread sleeps at most, by its own or by timer_fd */
	unsigned bulk;           /* how many notifications are left to the thread, because the guest sends much */
	unsigned sockets_max;
	bool again; /* libslirp has more to do at once */
	struct user_timer timer[TIMERS];
	struct net_backlog backlog;
	uint8_t *frame;
};

static struct user *user_of(struct net *net)
{
	return (struct user *)(void *)net;
}

/* --- what libslirp asks of us --- */

/* Checksums were computed here, over bytes that were in no wire since. */
static void guest_give(struct user *user, const uint8_t *frame, size_t length)
{
	const bool valid = atomic_load_explicit(&user->receives, memory_order_relaxed) & NET_OFFLOAD_CHECKSUM;
	const struct net_header header = {.flags = valid ? NET_HEADER_DATA_VALID : 0};

	net_backlog_give(&user->backlog, user->frontend, &header, frame, length);
}

static ssize_t slirp_sends(const void *frame, size_t length, void *opaque)
{
	struct user *user = opaque;

	if (length > NET_FRAME_MAX)
		return (ssize_t)length;
	net_filter_incoming(&user->filter, frame, length, host_time_ns());
	guest_give(user, frame, length);
	return (ssize_t)length;
}

static void slirp_complains(const char *message, void *opaque)
{
	(void)opaque;
	host_log(HOST_LOG_DEBUG, "user network: %s", message);
}

static int64_t slirp_clock(void *opaque)
{
	(void)opaque;
	return (int64_t)host_time_ns();
}

static void *slirp_timer_new(SlirpTimerId id, void *argument, void *opaque)
{
	struct user *user = opaque;

	for (unsigned i = 0; i < TIMERS; i++) {
		if (!user->timer[i].used) {
			user->timer[i] = (struct user_timer){true, id, argument, INT64_MAX};
			return &user->timer[i];
		}
	}
	bug_on(true); /* it has one */
}

static void slirp_timer_free(void *timer, void *opaque)
{
	(void)opaque;
	((struct user_timer *)timer)->used = false;
}

static void slirp_timer_set(void *timer, int64_t expires_ms, void *opaque)
{
	(void)opaque;
	((struct user_timer *)timer)->expires_ms = expires_ms;
}

static void slirp_fd_note(int fd, void *opaque)
{
	(void)fd, (void)opaque; /* poll looks at all of them each time */
}

static void slirp_notify(void *opaque)
{
	((struct user *)opaque)->again = true;
}

static const SlirpCb slirp_callbacks = {
	.send_packet = slirp_sends,
	.guest_error = slirp_complains,
	.clock_get_ns = slirp_clock,
	.timer_free = slirp_timer_free,
	.timer_mod = slirp_timer_set,
	.register_poll_fd = slirp_fd_note,
	.unregister_poll_fd = slirp_fd_note,
	.notify = slirp_notify,
	.timer_new_opaque = slirp_timer_new,
};

/* --- the thread --- */

static int poll_add(int fd, int events, void *opaque)
{
	struct user *user = opaque;
	struct poll_set *set = user->filled;
	struct pollfd *place;

	if (set->polls == set->room) {
		unsigned room = set->room * 2;
		struct pollfd *larger = realloc(set->poll, room * sizeof(*larger));

		if (!larger)
			return -1;
		set->poll = larger;
		set->room = room;
	}
	place = &set->poll[set->polls];
	*place = (struct pollfd){.fd = fd};
	if (events & SLIRP_POLL_OUT)
		place->events |= POLLOUT;
	/* The guest has no room: what is not read here does not pile up. */
	if (events & (SLIRP_POLL_IN | SLIRP_POLL_PRI) && net_backlog_empty(&user->backlog))
		place->events |= (short)((events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_PRI ? POLLPRI : 0));
	if (!place->events)
		place->fd = -1; /* poll would report a hang-up again and again */
	return (int)set->polls++;
}

static int poll_result(int index, void *opaque)
{
	static const struct {
		short host;
		int slirp;
	} event[] = {{POLLIN, SLIRP_POLL_IN},
		     {POLLOUT, SLIRP_POLL_OUT},
		     {POLLPRI, SLIRP_POLL_PRI},
		     {POLLERR, SLIRP_POLL_ERR},
		     {POLLHUP, SLIRP_POLL_HUP}};
	const struct user *user = opaque;
	int events = 0;

	if (index < 0)
		return 0;
	for (unsigned i = 0; i < sizeof(event) / sizeof(event[0]); i++)
		if (user->waits.poll[index].revents & event[i].host)
			events |= event[i].slirp;
	return events;
}

/* How many ms are left until the next timer, or -1. */
static int64_t timers_next(const struct user *user)
{
	int64_t now = (int64_t)(host_time_ns() / 1000000), next = INT64_MAX;

	for (unsigned i = 0; i < TIMERS; i++)
		if (user->timer[i].used && user->timer[i].expires_ms < next)
			next = user->timer[i].expires_ms;
	if (next == INT64_MAX)
		return -1;
	return next > now ? next - now : 0;
}

static void timers_run(struct user *user)
{
	int64_t now = (int64_t)(host_time_ns() / 1000000);

	for (unsigned i = 0; i < TIMERS; i++) {
		struct user_timer *timer = &user->timer[i];

		if (!timer->used || timer->expires_ms > now)
			continue;
		timer->expires_ms = INT64_MAX;
		slirp_handle_timer(user->slirp, timer->id, timer->argument);
	}
}

static void frame_refuse(struct user *user, const uint8_t *frame, size_t length)
{
	uint8_t answer[NET_REFUSAL_MAX];
	size_t answered = net_refusal_make(frame, length, answer);

	if (answered)
		guest_give(user, answer, answered);
}

static bool guest_frame_finished(void *context, const uint8_t *frame, size_t length)
{
	struct user *user = context;

	if (net_filter_outgoing(&user->filter, frame, length, host_time_ns()))
		slirp_input(user->slirp, frame, (int)length);
	else
		frame_refuse(user, frame, length);
	return true;
}

/*
 * libslirp refuses IPv6 packets that are longer than its MTU, and takes all others however large. It ends connections itself, so the MTU says how long segments are,
 * not the guest, which could want one a byte. Returns how many packets it was, or about that.
 */
static unsigned guest_frame(struct user *user, struct net_header *header, size_t length)
{
	if ((header->gso_type & ~NET_GSO_ECN) != NET_GSO_TCP6 || length <= NET_ETHERNET_HEADER + (size_t)user->net.mtu) {
		net_checksum_complete(header, user->frame, length);
		guest_frame_finished(user, user->frame, length);
		return 1;
	}
	header->gso_size = (uint16_t)(user->net.mtu - IP6_TCP_HEADERS);
	net_offload_finish(header, user->frame, length, guest_frame_finished, user);
	return (unsigned)(length / header->gso_size) + 1;
}

/* Until `left` packets are reached; a frame of more than `most` bytes is the last. Returns whether there may be more. */
static bool guest_take(struct user *user, unsigned left, size_t most)
{
	const struct net_frontend *frontend = user->frontend;
	struct net_header header;
	size_t length = 0;

	while (frontend && left && length <= most && (length = frontend->take(frontend->device, 0, &header, user->frame)) != 0) {
		unsigned packets = guest_frame(user, &header, length);

		left -= packets < left ? packets : left;
	}
	return frontend && length;
}

enum { POLL_WAKE, POLL_TIMER, POLLS_OWN };

/* What to wait for now, into `set`. Returns until when, by host_time_ns(). */
static uint64_t waits_find(struct user *user, struct poll_set *set)
{
	int64_t timer = timers_next(user);
	uint32_t timeout = timer < 0 || timer > INT32_MAX ? UINT32_MAX : (uint32_t)timer;

	set->poll[POLL_WAKE] = (struct pollfd){.fd = user->wake_fd, .events = POLLIN};
	set->poll[POLL_TIMER] = (struct pollfd){.fd = user->timer_fd, .events = POLLIN};
	set->polls = POLLS_OWN;
	user->filled = set;
	slirp_pollfds_fill(user->slirp, &timeout, poll_add, user);
	user->filter.new_flows_refused = set->polls >= user->sockets_max;
	return timeout > INT32_MAX ? UINT64_MAX : host_time_ns() + timeout * UINT64_C(1000000);
}

static void event_take(int fd)
{
	uint64_t count;

	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

/* poll's timeout: a millisecond that has begun is waited for to its end, so that a timer is never met too early. */
static int timeout_ms(uint64_t until_ns)
{
	uint64_t now = host_time_ns();

	if (until_ns == UINT64_MAX)
		return -1;
	return until_ns > now ? (int)((until_ns - now + 999999) / 1000000) : 0;
}

/* Between net_enter and net_leave, which it does meanwhile. Returns poll's result. */
static int sleep_until_event(struct user *user)
{
	int ready, timeout;

	user->wakes_ns = waits_find(user, &user->waits);
	user->stale = false;
	timeout = user->again ? 0 : timeout_ms(user->wakes_ns);
	user->again = false;
	net_leave(&user->net, 0);
	ready = poll(user->waits.poll, user->waits.polls, timeout);
	if (ready > 0 && user->waits.poll[POLL_WAKE].revents) {
		event_take(user->wake_fd);
		/* From here on a kick writes again; what came before it, the next look at the device sees. */
		atomic_store(&user->kicked, false);
	}
	if (ready > 0 && user->waits.poll[POLL_TIMER].revents)
		event_take(user->timer_fd);
	user->frontend = net_enter(&user->net, 0);
	return ready;
}

static void user_main(void *argument)
{
	struct user *user = argument;

	user->frontend = net_enter(&user->net, 0);
	while (!atomic_load(&user->stopping)) {
		int ready = sleep_until_event(user);

		timers_run(user);
		/* Events of sockets that libslirp has numbered anew meanwhile: poll tells them again. */
		if (!user->stale)
			slirp_pollfds_poll(user->slirp, ready < 0, poll_result, user);
		if (net_backlog_deliver(&user->backlog, user->frontend))
			user->again = true;
		if (guest_take(user, BATCH, NET_FRAME_MAX))
			user->again = true;
	}
	net_leave(&user->net, 0);
}

/* --- struct net --- */

static void user_kick(struct net *net, unsigned pair)
{
	struct user *user = user_of(net);
	uint64_t one = 1;

	(void)pair;
	if (atomic_exchange(&user->kicked, true))
		return;
	while (write(user->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* The thread sleeps too long for what libslirp wants next, as a late acknowledgement: timer_fd wakes it. */
static void thread_wake_at(struct user *user, uint64_t wakes_ns)
{
	const struct itimerspec at = {.it_value = {(time_t)(wakes_ns / 1000000000), (long)(wakes_ns % 1000000000)}};

	if (wakes_ns >= user->wakes_ns)
		return;
	user->wakes_ns = wakes_ns;
	timerfd_settime(user->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static bool waits_differ(const struct user *user)
{
	const struct poll_set *a = &user->waits, *b = &user->wanted;

	if (a->polls != b->polls)
		return true;
	for (unsigned i = 0; i < a->polls; i++)
		if (a->poll[i].fd != b->poll[i].fd || a->poll[i].events != b->poll[i].events)
			return true;
	return false;
}

/*
 * The thread sleeps in poll, or is about to enter: nobody else is in libslirp. It goes on sleeping if it waits for the right things for long enough. A guest that
 * sends much has the thread beside it do the work.
 */
static void user_serve(struct net *net, unsigned pair)
{
	struct user *user = user_of(net);
	bool more;

	if (!net_enter_try(net, pair)) {
		user_kick(net, pair);
		return;
	}
	if (user->bulk) {
		user->bulk--;
		host_mutex_unlock(&net->lock[pair]);
		user_kick(net, pair);
		return;
	}
	user->frontend = net->frontend;
	more = guest_take(user, SERVE_FRAMES, SERVE_BYTES);
	if (more)
		user->bulk = SERVE_BULK;
	thread_wake_at(user, waits_find(user, &user->wanted));
	if (waits_differ(user))
		user->stale = true;
	more = more || user->stale || user->again;
	net_leave(net, pair);
	if (more)
		user_kick(net, pair);
}

static void user_receives(struct net *net, unsigned offloads)
{
	atomic_store_explicit(&user_of(net)->receives, offloads, memory_order_relaxed);
}

static enum status user_start(struct net *net, struct reason *why)
{
	struct user *user = user_of(net);
	enum status status = host_thread_start(&user->thread, "net-user", user_main, user);

	if (status)
		return reason_give(why, status, "--net user: no thread: %s; raise the limit on threads", status_name(status));
	return STATUS_OK;
}

static void user_stop(struct net *net)
{
	struct user *user = user_of(net);

	if (!user->thread)
		return;
	atomic_store(&user->stopping, true);
	user_kick(net, 0);
	host_thread_join(user->thread);
	user->thread = NULL;
}

static void user_free(struct user *user)
{
	if (user->slirp)
		slirp_cleanup(user->slirp);
	if (user->wake_fd >= 0)
		close(user->wake_fd);
	if (user->timer_fd >= 0)
		close(user->timer_fd);
	free(user->waits.poll);
	free(user->wanted.poll);
	net_backlog_free(&user->backlog);
	free(user->frame);
	free(user);
}

static void user_close(struct net *net)
{
	user_stop(net);
	user_free(user_of(net));
}

/* --- opening --- */

static struct in_addr address4(const char *text)
{
	struct in_addr address = {0};

	inet_pton(AF_INET, text, &address);
	return address;
}

static struct in6_addr address6(const char *text)
{
	struct in6_addr address = {0};

	inet_pton(AF_INET6, text, &address);
	return address;
}

static enum status slirp_make(struct user *user, struct reason *why)
{
	const SlirpConfig config = {
		.version = 4,
		.in_enabled = true,
		.vnetwork = address4("10.0.2.0"),
		.vnetmask = address4("255.255.255.0"),
		.vhost = address4("10.0.2.2"),
		.vdhcp_start = address4("10.0.2.15"),
		.vnameserver = address4("10.0.2.3"),
		.in6_enabled = true,
		.vprefix_addr6 = address6("fec0::"),
		.vprefix_len = 64,
		.vhost6 = address6("fec0::2"),
		.vnameserver6 = address6("fec0::3"),
		.if_mtu = user->net.mtu,
		.if_mru = user->net.mtu,
	};

	if (user->net.mtu > SLIRP_MTU_MAX) /* libslirp would say so in its own way */
		return reason_give(why, STATUS_USAGE, "--net user: mtu=%u: a user network takes at most %u; write mtu=%u",
				   user->net.mtu, SLIRP_MTU_MAX, SLIRP_MTU_MAX);
	user->slirp = slirp_new(&config, &slirp_callbacks, user);
	if (!user->slirp)
		return reason_give(why, STATUS_UNSUPPORTED,
				   "--net user: libslirp %s refuses its configuration; leave out mtu=, or use libslirp 4.7",
				   slirp_version_string());
	return STATUS_OK;
}

static enum status publish(struct user *user, const struct net_publish *port, struct reason *why)
{
	struct sockaddr_in host4 = {.sin_family = AF_INET, .sin_port = htons(port->host)};
	struct sockaddr_in guest4 = {.sin_family = AF_INET, .sin_port = htons(port->guest)};
	struct sockaddr_in6 host6 = {.sin6_family = AF_INET6, .sin6_port = htons(port->host)};
	struct sockaddr_in6 guest6 = {.sin6_family = AF_INET6, .sin6_port = htons(port->guest)};
	const int flags = (port->udp ? SLIRP_HOSTFWD_UDP : 0) | (port->address.ip6 ? SLIRP_HOSTFWD_V6ONLY : 0);
	int failed;

	memcpy(&host4.sin_addr, port->address.byte, sizeof(host4.sin_addr));
	memcpy(&host6.sin6_addr, port->address.byte, sizeof(host6.sin6_addr));
	if (port->address.ip6)
		failed = slirp_add_hostxfwd(user->slirp, (struct sockaddr *)&host6, sizeof(host6), (struct sockaddr *)&guest6,
					    sizeof(guest6), flags);
	else
		failed = slirp_add_hostxfwd(user->slirp, (struct sockaddr *)&host4, sizeof(host4), (struct sockaddr *)&guest4,
					    sizeof(guest4), flags);
	if (!failed)
		return STATUS_OK;
	return reason_give(why,
			   errno == EADDRINUSE ? STATUS_BUSY
			   : errno == EACCES   ? STATUS_PERMISSION
					       : STATUS_IO,
			   "-p %u:%u%s: the host's port cannot be listened on: %s; %s", port->host, port->guest,
			   port->udp ? "/udp" : "", strerror(errno),
			   errno == EACCES ? "ports below 1024 need a privilege: choose a higher one" : "choose another");
}

static unsigned sockets_allowed(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= SOCKETS_MAX * 2)
		return SOCKETS_MAX;
	if (limit.rlim_max > limit.rlim_cur) { /* the soft one, often 1024, is for programs that call select(2) */
		limit.rlim_cur = limit.rlim_max < SOCKETS_MAX * 2 ? limit.rlim_max : SOCKETS_MAX * 2;
		if (setrlimit(RLIMIT_NOFILE, &limit) && getrlimit(RLIMIT_NOFILE, &limit))
			return SOCKETS_SPARE;
	}
	return (unsigned)limit.rlim_cur / 2 > SOCKETS_SPARE ? (unsigned)limit.rlim_cur / 2 : SOCKETS_SPARE;
}

static enum status user_make(struct user *user, struct reason *why)
{
	enum status status;

	user->waits.room = user->wanted.room = POLLS_ROOM;
	user->waits.poll = calloc(POLLS_ROOM, sizeof(struct pollfd));
	user->wanted.poll = calloc(POLLS_ROOM, sizeof(struct pollfd));
	user->frame = malloc(NET_FRAME_MAX);
	user->sockets_max = sockets_allowed();
	if (!user->waits.poll || !user->wanted.poll || !user->frame || net_backlog_make(&user->backlog))
		return reason_give(why, STATUS_NO_MEMORY, "--net user: out of memory; free some");
	user->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	user->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); /* host_time_ns()'s clock */
	if (user->wake_fd < 0 || user->timer_fd < 0)
		return reason_give(why, STATUS_IO, "--net user: eventfd or timerfd: %s; raise the limit on open files",
				   strerror(errno));
	status = slirp_make(user, why);
	for (unsigned i = 0; !status && i < user->config->publishes; i++)
		status = publish(user, &user->config->publish[i], why);
	return status;
}

enum status net_user_open(struct net **net, const struct net_config *config, struct reason *why)
{
	struct user *user = calloc(1, sizeof(*user));
	enum status status;

	*net = NULL;
	if (!user)
		return reason_give(why, STATUS_NO_MEMORY, "--net user: out of memory; free some");
	user->wake_fd = user->timer_fd = -1;
	user->config = config;
	user->net = (struct net){
		.kick = user_kick,
		.serve = user_serve,
		.receives = user_receives,
		.start = user_start,
		.stop = user_stop,
		.close = user_close,
		.offloads = NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN,
		.gives = NET_OFFLOAD_CHECKSUM,
		.pairs = 1,
		.mtu = config->mtu ? config->mtu : NET_MTU_DEFAULT,
	};
	net_filter_init(&user->filter, config);
	status = user_make(user, why);
	if (status) {
		user_free(user);
		return status;
	}
	*net = &user->net;
	return STATUS_OK;
}
