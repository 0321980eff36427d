/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd.c - a disk on an NBD server. libnbd speaks the protocol; one thread calls it, and nobody else.
 *
 * Submitted requests go onto a list, and an eventfd wakes the thread. It turns each into commands, sends them, and polls the
 * socket until their answers come. A request with one segment is one command on the guest's memory (cut where it is longer than the
 * server takes at once); one with several goes through a buffer, piece by piece, so that it does not become a command a segment. When the
 * connection breaks, the thread connects again with the next request; what was under way fails with STATUS_IO. A server that does not answer is waited
 * for, as a slow disk is, but not by a VM that ends (give_up).
 *
 * NBD cannot change a disk's size, and a client hears of it when it connects: to take over a new size the thread lets what is under way end, and connects anew.
 */
#include "nbd.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <holon/host.h>

#include "block_thread.h"
#include "disk_failure.h"
#include "nbd_library.h"

#define SECTOR 512u
#define COMMAND_MAX (1u << 20)                                /* of data, where the server says nothing smaller */
#define RANGE_MAX (UINT32_MAX & ~(uint32_t)(COMMAND_MAX - 1)) /* of a trim or zeroes */
#define REQUESTS_AT_ONCE 64
#define CONNECT_SECONDS 10
#define RENEWAL_SECONDS 20
#define GIVE_UP_SECONDS 3
#define LOOK_MS 100 /* how often somebody who waits for the server looks whether that has been given up */

/* A request that is with the server, one command of it at a time. */
struct nbd_work {
	struct nbd_work *next_free;
	struct nbd_disk *disk;
	struct block_request *request;
	uint64_t done;   /* bytes */
	uint32_t length; /* of the command under way */
	uint8_t *buffer; /* COMMAND_MAX bytes, where the request has several segments, or zeroes are to be written */
	struct nbd_work *next_answered;
	int error;
};

struct nbd_disk {
	struct block block;
	char *uri;
	struct nbd_handle *nbd; /* the thread's, once it runs; NULL: not connected */
	uint32_t command_max;
	bool can_trim, can_zero, can_flush;
	pthread_t thread;
	bool thread_runs;
	int wake;
	atomic_bool given_up;                   /* the server: nothing waits for it any more */
	struct nbd_work work[REQUESTS_AT_ONCE]; /* the thread's */
	struct nbd_work *free;
	struct nbd_work *answered; /* its command is, and nobody has looked at it yet */
	pthread_mutex_t lock;      /* what follows; a leaf */
	pthread_cond_t idle;
	struct block_request *waiting;
	struct block_request **waiting_end;
	unsigned under_way;
	bool stopping;
	enum { RENEWAL_NONE, RENEWAL_ASKED, RENEWAL_DONE } renewal; /* of the connection */
	enum status renewed;                                        /* how that went */
	struct reason renewed_why;
	uint64_t renewed_size;
};

static struct nbd_disk *nbd_of(struct block *block)
{
	return (struct nbd_disk *)(void *)((uint8_t *)block - offsetof(struct nbd_disk, block));
}

static const struct nbd_library *lib;

/* --- the disk's side, any thread --- */

static void nbd_submit(struct block *block, struct block_request *list)
{
	struct nbd_disk *disk = nbd_of(block);

	pthread_mutex_lock(&disk->lock);
	*disk->waiting_end = list;
	for (; list; list = list->next) {
		disk->under_way++;
		disk->waiting_end = &list->next;
	}
	pthread_mutex_unlock(&disk->lock);
	eventfd_write(disk->wake, 1);
}

static void nbd_drain(struct block *block)
{
	struct nbd_disk *disk = nbd_of(block);

	pthread_mutex_lock(&disk->lock);
	while (disk->under_way)
		pthread_cond_wait(&disk->idle, &disk->lock);
	pthread_mutex_unlock(&disk->lock);
}

/* Requests get some time to end; if they do not, or one comes later, they fail. */
static void nbd_give_up(struct block *block)
{
	struct nbd_disk *disk = nbd_of(block);
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += GIVE_UP_SECONDS;
	pthread_mutex_lock(&disk->lock);
	while (disk->under_way && !disk->given_up && !pthread_cond_clockwait(&disk->idle, &disk->lock, CLOCK_MONOTONIC, &until))
		;
	if (disk->under_way || disk->renewal == RENEWAL_ASKED)
		disk->given_up = true;
	pthread_cond_broadcast(&disk->idle);
	pthread_mutex_unlock(&disk->lock);
	eventfd_write(disk->wake, 1);
}

/* The server's new size: up to it the disk can grow. Nothing is asked of a server that has not answered what it was asked before; that is not waited for as long as requests are. */
static enum status nbd_extend(struct block *block, uint64_t size, struct reason *why)
{
	struct nbd_disk *disk = nbd_of(block);
	struct reason found = {""};
	uint64_t served = 0;
	enum status status;
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += RENEWAL_SECONDS;
	pthread_mutex_lock(&disk->lock);
	disk->renewal = RENEWAL_ASKED;
	eventfd_write(disk->wake, 1);
	while (disk->renewal != RENEWAL_DONE && !disk->given_up &&
	       !pthread_cond_clockwait(&disk->idle, &disk->lock, CLOCK_MONOTONIC, &until))
		;
	if (disk->renewal == RENEWAL_DONE) {
		status = disk->renewed;
		found = disk->renewed_why;
		served = disk->renewed_size;
	} else {
		status = reason_give(&found, STATUS_TIMEOUT, "disk %s: the server does not answer; is it there?", disk->uri);
	}
	disk->renewal = RENEWAL_NONE;
	pthread_mutex_unlock(&disk->lock);
	eventfd_write(disk->wake, 1); /* requests have waited for it */
	if (status)
		return reason_give(why, status, "%s", found.text);
	if (served < size)
		return reason_give(
			why, STATUS_RANGE,
			"disk %s: the server has %llu bytes, and NBD cannot ask it for more; enlarge the disk there first",
			disk->uri, (unsigned long long)served);
	return STATUS_OK;
}

/* --- the thread --- */

static void request_end(struct nbd_disk *disk, struct block_request *request, enum status status)
{
	request->done(request, status);
	pthread_mutex_lock(&disk->lock);
	if (--disk->under_way == 0)
		pthread_cond_broadcast(&disk->idle);
	pthread_mutex_unlock(&disk->lock);
}

static enum status status_of(int error)
{
	switch (error) {
	case 0: return STATUS_OK;
	case ENOSPC:
	case EFBIG:
	case EDQUOT: return STATUS_NO_SPACE;
	case EPERM: return STATUS_PERMISSION;
	case ENOTSUP: return STATUS_UNSUPPORTED;
	default: return STATUS_IO;
	}
}

static void work_end(struct nbd_work *work, enum status status)
{
	struct nbd_disk *disk = work->disk;
	struct block_request *request = work->request;

	free(work->buffer);
	work->buffer = NULL;
	work->request = NULL;
	work->next_free = disk->free;
	disk->free = work;
	if (status != STATUS_OK && disk_failure_is_news(disk->uri, -(int)status))
		host_log(HOST_LOG_WARN, "disk %s: a request at %llu failed: %s", disk->uri, (unsigned long long)request->offset,
			 status_name(status));
	request_end(disk, request, status);
}

/* Between the buffer and where byte `done` of the request is. */
static void buffer_copy(struct nbd_work *work, bool to_guest)
{
	const struct block_request *request = work->request;
	uint64_t skip = work->done;
	uint32_t copied = 0;

	for (unsigned i = 0; i < request->segments && copied < work->length; i++) {
		uint64_t length = request->segment[i].length, here;

		if (skip >= length) {
			skip -= length;
			continue;
		}
		here = length - skip < work->length - copied ? length - skip : work->length - copied;
		if (to_guest)
			memcpy((uint8_t *)request->segment[i].base + skip, work->buffer + copied, here);
		else
			memcpy(work->buffer + copied, (const uint8_t *)request->segment[i].base + skip, here);
		copied += (uint32_t)here;
		skip = 0;
	}
}

/* libnbd calls it with the handle locked: nothing is sent from here. 1: the command is retired. */
static int command_done(void *data, int *error)
{
	struct nbd_work *work = data;

	work->error = *error;
	work->next_answered = work->disk->answered;
	work->disk->answered = work;
	return 1;
}

static int command_send(struct nbd_work *work, uint8_t *memory)
{
	nbd_completion_callback done = {.callback = command_done, .user_data = work};
	struct nbd_handle *nbd = work->disk->nbd;
	const struct block_request *request = work->request;
	uint64_t offset = request->offset + work->done;

	switch (request->operation) {
	case BLOCK_READ: return (int)lib->aio_pread(nbd, memory, work->length, offset, done, 0);
	case BLOCK_WRITE: return (int)lib->aio_pwrite(nbd, memory, work->length, offset, done, 0);
	case BLOCK_FLUSH: return (int)lib->aio_flush(nbd, done, 0);
	case BLOCK_DISCARD: return (int)lib->aio_trim(nbd, work->length, offset, done, 0);
	default:
		if (work->buffer)
			return (int)lib->aio_pwrite(nbd, work->buffer, work->length, offset, done, 0);
		return (int)lib->aio_zero(nbd, work->length, offset, done,
					  request->may_unmap ? 0 : (uint32_t)LIBNBD_CMD_FLAG_NO_HOLE);
	}
}

/* Where the server has no command for it: nothing to do, or zeroes written. true: the request is done. */
static bool work_simple(struct nbd_work *work)
{
	const struct nbd_disk *disk = work->disk;
	enum block_operation operation = work->request->operation;

	return (operation == BLOCK_FLUSH && !disk->can_flush) || (operation == BLOCK_DISCARD && !disk->can_trim);
}

/* Sends the next command of a request. */
static void work_next(struct nbd_work *work)
{
	struct nbd_disk *disk = work->disk;
	struct block_request *request = work->request;
	bool zeroes = request->operation == BLOCK_WRITE_ZEROES && !disk->can_zero;
	bool data = request->operation == BLOCK_READ || request->operation == BLOCK_WRITE || zeroes;
	uint64_t left = request->length - work->done;
	uint8_t *memory = NULL;

	work->length = (uint32_t)(left < RANGE_MAX ? left : RANGE_MAX);
	if (data && work->length > disk->command_max)
		work->length = disk->command_max;
	if (data && request->segments != 1 && !work->buffer && !(work->buffer = calloc(1, COMMAND_MAX))) {
		work_end(work, STATUS_NO_MEMORY);
		return;
	}
	if (work->buffer && request->operation == BLOCK_WRITE)
		buffer_copy(work, false);
	if (data)
		memory = work->buffer ? work->buffer : (uint8_t *)request->segment[0].base + work->done;
	if (command_send(work, memory) < 0)
		work_end(work, status_of(lib->get_errno() ? lib->get_errno() : EIO));
}

/* Goes on with requests whose command is answered. Returns whether there were any. */
static bool answered_serve(struct nbd_disk *disk)
{
	struct nbd_work *list = disk->answered;
	bool any = list != NULL;

	disk->answered = NULL;
	while (list) {
		struct nbd_work *work = list;
		enum status status = status_of(work->error);

		list = work->next_answered;
		if (status == STATUS_OK && work->buffer && work->request->operation == BLOCK_READ)
			buffer_copy(work, true);
		work->done += work->length;
		if (status != STATUS_OK || work->done >= work->request->length)
			work_end(work, status);
		else if (!disk->nbd)
			work_end(work, STATUS_IO);
		else
			work_next(work);
	}
	return any;
}

static bool connection_alive(const struct nbd_disk *disk)
{
	return disk->nbd && !lib->aio_is_dead(disk->nbd) && !lib->aio_is_closed(disk->nbd);
}

static uint64_t seconds_from_now(unsigned seconds)
{
	return host_time_ns() + seconds * UINT64_C(1000000000);
}

/* The last error of this thread, without the name of libnbd's function. */
static const char *error_text(void)
{
	const char *text = lib->get_error(), *colon;

	if (!text)
		return "it hangs up";
	colon = strncmp(text, "nbd_", 4) ? NULL : strstr(text, ": ");
	return colon ? colon + 2 : text;
}

static enum status connection_await(struct nbd_disk *disk, struct reason *why)
{
	uint64_t until = seconds_from_now(CONNECT_SECONDS);
	int polled = lib->aio_connect_uri(disk->nbd, disk->uri);

	while (polled >= 0 && lib->aio_is_connecting(disk->nbd) == 1) {
		if (disk->given_up || host_time_ns() > until)
			return reason_give(why, STATUS_TIMEOUT, "disk %s: nobody answers there; is the server there?", disk->uri);
		polled = lib->poll(disk->nbd, LOOK_MS);
	}
	if (polled >= 0 && lib->aio_is_ready(disk->nbd) == 1)
		return STATUS_OK;
	return reason_give(why, lib->get_errno() == ENOENT || lib->get_errno() == ECONNREFUSED ? STATUS_NOT_FOUND : STATUS_IO,
			   "disk %s: %s; is the server there?", disk->uri, error_text());
}

/* Takes leave. Nothing is with the server. */
static void connection_leave(struct nbd_disk *disk)
{
	uint64_t until = seconds_from_now(GIVE_UP_SECONDS);

	if (connection_alive(disk) && !lib->aio_disconnect(disk->nbd, 0))
		while (connection_alive(disk) && !disk->given_up && host_time_ns() < until && lib->poll(disk->nbd, LOOK_MS) >= 0)
			;
	if (disk->nbd)
		lib->close(disk->nbd);
	disk->nbd = NULL;
}

static enum status connection_make(struct nbd_disk *disk, struct reason *why)
{
	enum status status;
	int64_t most;

	disk->nbd = lib->create();
	if (!disk->nbd)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: %s", disk->uri, lib->get_error());
	lib->set_strict_mode(disk->nbd, lib->get_strict_mode(disk->nbd) & ~(uint32_t)LIBNBD_STRICT_ALIGN);
	lib->set_uri_allow_local_file(disk->nbd, true);
	status = connection_await(disk, why);
	if (status) {
		lib->close(disk->nbd);
		disk->nbd = NULL;
		return status;
	}
	most = lib->get_block_size(disk->nbd, LIBNBD_SIZE_MAXIMUM);
	disk->command_max = most >= (int64_t)SECTOR && most < COMMAND_MAX ? (uint32_t)most & ~(SECTOR - 1) : COMMAND_MAX;
	disk->can_trim = lib->can_trim(disk->nbd) == 1;
	disk->can_zero = lib->can_zero(disk->nbd) == 1;
	disk->can_flush = lib->can_flush(disk->nbd) == 1;
	return STATUS_OK;
}

/* The server has gone, or said something else than NBD: all that is with it fails, and the next request connects anew. */
static void connection_end(struct nbd_disk *disk)
{
	if (!disk->nbd)
		return;
	host_log(HOST_LOG_WARN,
		 disk->given_up ? "disk %s: the server does not answer; requests fail"
				: "disk %s: the connection is lost; the next request tries again",
		 disk->uri);
	lib->close(disk->nbd); /* answers what is under way, or forgets it */
	disk->nbd = NULL;
	answered_serve(disk);
	for (unsigned i = 0; i < REQUESTS_AT_ONCE; i++)
		if (disk->work[i].request)
			work_end(&disk->work[i], STATUS_IO);
}

static bool disk_same(struct nbd_disk *disk)
{
	return lib->get_size(disk->nbd) >= (int64_t)disk->block.size;
}

static void connection_ensure(struct nbd_disk *disk)
{
	struct reason why = {""};

	if (connection_alive(disk) && !disk->given_up)
		return;
	connection_end(disk);
	if (disk->given_up)
		return;
	if (connection_make(disk, &why)) {
		if (disk_failure_is_news(why.text, 0))
			host_log(HOST_LOG_WARN, "%s", why.text);
	} else if (!disk_same(disk)) {
		host_log(HOST_LOG_ERROR, "disk %s: it has become shorter; it is not used", disk->uri);
		lib->close(disk->nbd);
		disk->nbd = NULL;
	}
}

static struct block_request *waiting_take(struct nbd_disk *disk)
{
	struct block_request *request;

	pthread_mutex_lock(&disk->lock);
	request = disk->waiting;
	if (request)
		disk->waiting = request->next;
	if (!disk->waiting)
		disk->waiting_end = &disk->waiting;
	pthread_mutex_unlock(&disk->lock);
	return request;
}

static void waiting_send(struct nbd_disk *disk)
{
	struct block_request *request;

	while (disk->free && (request = waiting_take(disk)) != NULL) {
		struct nbd_work *work;

		connection_ensure(disk); /* may free some */
		work = disk->free;
		disk->free = work->next_free;
		*work = (struct nbd_work){.disk = disk, .request = request};
		if (!disk->nbd)
			work_end(work, STATUS_IO);
		else if (work_simple(work))
			work_end(work, STATUS_OK);
		else
			work_next(work);
	}
}

static bool renewal_asked(struct nbd_disk *disk)
{
	bool asked;

	pthread_mutex_lock(&disk->lock);
	asked = disk->renewal == RENEWAL_ASKED;
	pthread_mutex_unlock(&disk->lock);
	return asked;
}

static bool server_busy(const struct nbd_disk *disk)
{
	for (unsigned i = 0; i < REQUESTS_AT_ONCE; i++)
		if (disk->work[i].request)
			return true;
	return false;
}

/* Nothing is with the server. */
static void connection_renew(struct nbd_disk *disk)
{
	struct reason why = {""};
	enum status status;
	int64_t size = 0;

	connection_leave(disk);
	status = connection_make(disk, &why);
	if (!status)
		size = lib->get_size(disk->nbd);
	pthread_mutex_lock(&disk->lock);
	disk->renewal = RENEWAL_DONE;
	disk->renewed = status;
	disk->renewed_why = why;
	disk->renewed_size = size > 0 ? (uint64_t)size : 0;
	pthread_cond_broadcast(&disk->idle);
	pthread_mutex_unlock(&disk->lock);
}

static bool stopping(struct nbd_disk *disk)
{
	bool stop;

	pthread_mutex_lock(&disk->lock);
	stop = disk->stopping;
	pthread_mutex_unlock(&disk->lock);
	return stop;
}

static void events_wait(struct nbd_disk *disk)
{
	unsigned direction = connection_alive(disk) ? lib->aio_get_direction(disk->nbd) : 0;
	struct pollfd fds[2] = {{.fd = disk->wake, .events = POLLIN},
				{.fd = connection_alive(disk) ? lib->aio_get_fd(disk->nbd) : -1,
				 .events = (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
						   (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0))}};
	eventfd_t count;

	if (poll(fds, 2, -1) < 0)
		return; /* EINTR */
	if (fds[0].revents)
		eventfd_read(disk->wake, &count);
	if (fds[1].revents & (POLLIN | POLLHUP | POLLERR) && direction & LIBNBD_AIO_DIRECTION_READ)
		lib->aio_notify_read(disk->nbd);
	else if (fds[1].revents & POLLOUT)
		lib->aio_notify_write(disk->nbd);
	answered_serve(disk);
	if (disk->nbd && !connection_alive(disk))
		connection_end(disk);
}

static void *nbd_main(void *argument)
{
	struct nbd_disk *disk = argument;

	while (!stopping(disk)) {
		bool renew = renewal_asked(disk);

		if (disk->given_up)
			connection_end(disk);
		if (renew && !server_busy(disk))
			connection_renew(disk);
		else if (!renew)
			waiting_send(disk);
		if (renew && !renewal_asked(disk))
			continue;
		if (!answered_serve(disk))
			events_wait(disk);
	}
	return NULL;
}

/* --- life --- */

static void nbd_free(struct nbd_disk *disk)
{
	if (disk->thread_runs) {
		pthread_mutex_lock(&disk->lock);
		disk->stopping = true;
		pthread_mutex_unlock(&disk->lock);
		eventfd_write(disk->wake, 1);
		pthread_join(disk->thread, NULL);
	}
	connection_leave(disk);
	if (disk->wake >= 0)
		close(disk->wake);
	pthread_cond_destroy(&disk->idle);
	pthread_mutex_destroy(&disk->lock);
	free(disk->uri);
	free(disk);
}

static void nbd_disk_close(struct block *block)
{
	nbd_drain(block);
	nbd_free(nbd_of(block));
}

static enum status disk_describe(struct nbd_disk *disk, bool readonly, struct reason *why)
{
	int64_t size = lib->get_size(disk->nbd), least = lib->get_block_size(disk->nbd, LIBNBD_SIZE_MINIMUM);

	if (size < (int64_t)SECTOR)
		return reason_give(why, STATUS_INVALID, "disk %s: it is shorter than a sector (512)", disk->uri);
	if (!readonly && lib->is_read_only(disk->nbd) == 1)
		return reason_give(why, STATUS_PERMISSION, "disk %s: the server lets nobody write it; add ,readonly", disk->uri);
	disk->block.block_size = least > (int64_t)SECTOR && least <= 4096 ? (uint32_t)least : SECTOR;
	if (least > 4096)
		return reason_give(why, STATUS_UNSUPPORTED, "disk %s: the server wants blocks of %lld bytes; 4096 is the most",
				   disk->uri, (long long)least);
	disk->block.size = (uint64_t)size - (uint64_t)size % disk->block.block_size;
	disk->block.discard_granularity = disk->can_trim && !readonly ? 4096 : 0;
	disk->block.discard_undefined = true; /* says the protocol of trim */
	return STATUS_OK;
}

enum status block_nbd_open(struct block **block, const char *uri, bool readonly, struct reason *why)
{
	struct nbd_disk *disk = calloc(1, sizeof(*disk));
	enum status status;

	*block = NULL;
	if (!disk || !(disk->uri = strdup(uri))) {
		free(disk);
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", uri);
	}
	pthread_mutex_init(&disk->lock, NULL);
	pthread_cond_init(&disk->idle, NULL);
	disk->waiting_end = &disk->waiting;
	for (unsigned i = 0; i < REQUESTS_AT_ONCE; i++) {
		disk->work[i].next_free = disk->free;
		disk->free = &disk->work[i];
	}
	disk->block = (struct block){.submit = nbd_submit,
				     .drain = nbd_drain,
				     .close = nbd_disk_close,
				     .extend = nbd_extend,
				     .give_up = nbd_give_up,
				     .readonly = readonly,
				     .path = disk->uri};
	disk->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	status = disk->wake < 0 ? reason_give(why, STATUS_NO_MEMORY, "disk %s: no eventfd: %s", uri, strerror(errno))
				: nbd_library_load(&lib, why);
	if (!status)
		status = connection_make(disk, why);
	if (!status)
		status = disk_describe(disk, readonly, why);
	if (!status && block_thread_start(&disk->thread, nbd_main, disk))
		status = reason_give(why, STATUS_NO_MEMORY, "disk %s: no thread could be started for it; check ulimit -u", uri);
	if (status) {
		nbd_free(disk);
		return status;
	}
	disk->thread_runs = true;
	*block = &disk->block;
	return STATUS_OK;
}
