/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost_user_test.c - a process that serves a disk (a thread here) and means harm: it ends in mid-talk, answers wrong sizes and types or nothing, hands
 * back requests that it does not have, and would make memory shorter under our feet. And one that ends and comes back, as another disk first.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/vhost/vhost_internal.h"
#include "host/linux/linux.h"

#define RAM (UINT64_C(1) << 20)
#define QUEUES 2
#define TALK_MESSAGES 20 /* of connecting and starting, with two queues */
#define SECTORS UINT64_C(2048)
#define BLOCK_SIZE_PLACE 20 /* in a disk's configuration */
#define NEVER 1000
#define FLAG_REPLY 4u
#define FLAG_NEED_REPLY 8u
#define FEATURES (UINT64_C(1) << 28 | UINT64_C(1) << 30 | UINT64_C(1) << 32 | 1u << 12 | 1u << 9 | 1u << 6 | 1u << 2)
#define PROTOCOL_FEATURES (1u << 0 | 1u << 3 | 1u << 9)

/* What is wrong with the reply to message `liar.at`. */
enum lie { LIE_NONE, LIE_TYPE, LIE_NO_REPLY, LIE_HUGE, LIE_EMPTY, LIE_SHORT, LIE_LONG, LIES };

/* What becomes of requests in the rings. */
enum service { SERVE, HOLD, ANSWER_OUTSIDE, ANSWER_FREE_SLOT, ANSWER_TWICE, ANSWER_FAR_AHEAD, SERVICES };

static char folder[64], path[96];

static struct {
	pthread_t thread;
	int listener, connection;
	int memory[2]; /* RAM's and the rings' descriptors */
	struct vhost_ring_memory *rings;
	int kick[PEER_QUEUES_MAX], call[PEER_QUEUES_MAX];
	uint16_t taken[PEER_QUEUES_MAX];
	unsigned messages; /* of this connection */
	unsigned hang_up_at, silent_at, lie_at;
	enum lie lie;
	uint64_t sectors;
	uint8_t block_size; /* in pieces of 512 */
	_Atomic enum service service;
	atomic_uint held;
	atomic_int shortened; /* what came of making both memories shorter: how many refused */
	atomic_bool hang_up;
	atomic_bool end;
} process;

/* Ten seconds of patience are long for a test of silence. */
static bool hasty;
int __real_setsockopt(int socket, int level, int name, const void *value, socklen_t length);
int __wrap_setsockopt(int socket, int level, int name, const void *value, socklen_t length);
int __wrap_setsockopt(int socket, int level, int name, const void *value, socklen_t length)
{
	struct timeval patience = {.tv_usec = 50000};

	if (!hasty)
		return __real_setsockopt(socket, level, name, value, length);
	if (name == SO_RCVTIMEO || name == SO_SNDTIMEO) {
		assert_int_equal(length, sizeof(patience));
		value = &patience;
	}
	return __real_setsockopt(socket, level, name, value, length);
}

static void fd_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A message with its descriptors. false: the other side has hung up. */
static bool message_read(struct vhost_message *message, int fd[2])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec vector = {message, VHOST_HEADER};
	struct msghdr header = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control)};

	fd[0] = fd[1] = -1;
	if (recvmsg(process.connection, &header, MSG_WAITALL) != (ssize_t)VHOST_HEADER)
		return false;
	if (header.msg_controllen >= sizeof(struct cmsghdr))
		memcpy(fd, CMSG_DATA(&control.header), control.header.cmsg_len - CMSG_LEN(0));
	return !message->size || recv(process.connection, &message->number, message->size, MSG_WAITALL) == (ssize_t)message->size;
}

static void reply(struct vhost_message *message, uint32_t size)
{
	uint8_t bytes[1024] = {0};

	message->flags = 1 | FLAG_REPLY;
	message->size = size;
	if (process.messages - 1 == process.lie_at) {
		switch (process.lie) {
		case LIE_TYPE: message->type ^= 1; break;
		case LIE_NO_REPLY: message->flags = 1; break;
		case LIE_HUGE: message->size = UINT32_MAX; break;
		case LIE_EMPTY: message->size = size = 0; break;
		case LIE_SHORT: message->size = size = size - 4; break;
		case LIE_LONG: message->size = size = sizeof(*message) - VHOST_HEADER + 1; break;
		default: break;
		}
	}
	memcpy(bytes, message, sizeof(*message));
	send(process.connection, bytes, VHOST_HEADER + size, MSG_NOSIGNAL);
}

static void memory_take(const int fd[2])
{
	void *rings;

	process.memory[0] = fd[0];
	process.memory[1] = fd[1];
	process.shortened = 0;
	for (unsigned i = 0; i < 2; i++)
		process.shortened += ftruncate(fd[i], 0) < 0 && errno == EPERM;
	rings = mmap(NULL, QUEUES * sizeof(*process.rings), PROT_READ | PROT_WRITE, MAP_SHARED, fd[1], 0);
	process.rings = rings == MAP_FAILED ? NULL : rings;
}

static void message_answer(struct vhost_message *message, const int fd[2])
{
	switch (message->type) {
	case VHOST_GET_FEATURES: message->number = FEATURES; break;
	case VHOST_GET_PROTOCOL_FEATURES: message->number = PROTOCOL_FEATURES; break;
	case VHOST_GET_QUEUE_NUM: message->number = QUEUES; break;
	case VHOST_GET_CONFIG:
		memset(message->config.bytes, 0, sizeof(message->config.bytes));
		memcpy(message->config.bytes, &process.sectors, sizeof(process.sectors));
		message->config.bytes[BLOCK_SIZE_PLACE + 1] = (uint8_t)(process.block_size * 2);
		reply(message, message->size);
		return;
	case VHOST_GET_VRING_BASE: reply(message, sizeof(message->ring)); return;
	case VHOST_SET_MEM_TABLE: memory_take(fd); break;
	case VHOST_SET_VRING_KICK: process.kick[message->number & 3] = fd[0]; break;
	case VHOST_SET_VRING_CALL: process.call[message->number & 3] = fd[0]; break;
	default: break;
	}
	if (message->flags & FLAG_NEED_REPLY)
		message->number = 0;
	else if (message->type != VHOST_GET_FEATURES && message->type != VHOST_GET_PROTOCOL_FEATURES &&
		 message->type != VHOST_GET_QUEUE_NUM)
		return;
	reply(message, sizeof(message->number));
}

static void used_put(struct vhost_ring_memory *ring, uint32_t id)
{
	uint16_t at = ring->used.index;

	ring->used.ring[at % PEER_QUEUE_SIZE].id = id;
	ring->used.ring[at % PEER_QUEUE_SIZE].length = UINT32_MAX; /* more than there is room for */
	__atomic_store_n(&ring->used.index, (uint16_t)(at + 1), __ATOMIC_RELEASE);
}

static void ring_serve(unsigned index)
{
	struct vhost_ring_memory *ring = &process.rings[index];
	eventfd_t count;

	eventfd_read(process.kick[index], &count);
	while (process.taken[index] != __atomic_load_n(&ring->available.index, __ATOMIC_ACQUIRE)) {
		uint16_t id = ring->available.ring[process.taken[index]++ % PEER_QUEUE_SIZE];

		switch (atomic_load(&process.service)) {
		case HOLD: atomic_fetch_add(&process.held, 1); continue;
		case ANSWER_OUTSIDE: used_put(ring, PEER_QUEUE_SIZE + 5u); break;
		case ANSWER_FREE_SLOT: used_put(ring, id ^ 64u); break;
		case ANSWER_TWICE:
			used_put(ring, id);
			used_put(ring, id);
			break;
		case ANSWER_FAR_AHEAD:
			used_put(ring, id);
			__atomic_store_n(&ring->used.index, (uint16_t)(ring->used.index + 1000), __ATOMIC_RELEASE);
			break;
		default: used_put(ring, id); break;
		}
	}
	eventfd_write(process.call[index], 1);
}

/* false: it is over. */
static bool message_serve(void)
{
	struct vhost_message message;
	int fd[2];

	if (!message_read(&message, fd))
		return false;
	process.messages++;
	if (process.messages - 1 == process.hang_up_at || process.messages - 1 >= process.silent_at) {
		for (unsigned i = 0; i < 2; i++)
			fd_end(&fd[i]);
		return process.messages - 1 >= process.silent_at;
	}
	message_answer(&message, fd);
	return true;
}

static void connection_serve(void)
{
	bool good = true;

	while (good && !atomic_load(&process.hang_up)) {
		struct pollfd fds[1 + QUEUES] = {{.fd = process.connection, .events = POLLIN}};

		for (unsigned i = 0; i < QUEUES; i++)
			fds[1 + i] = (struct pollfd){.fd = process.rings ? process.kick[i] : -1, .events = POLLIN};
		poll(fds, 1 + QUEUES, 10);
		if (fds[0].revents)
			good = message_serve();
		for (unsigned i = 0; i < QUEUES; i++)
			if (fds[1 + i].revents)
				ring_serve(i);
	}
}

static void connection_clean(void)
{
	if (process.rings)
		munmap(process.rings, QUEUES * sizeof(*process.rings));
	process.rings = NULL;
	process.messages = 0;
	for (unsigned i = 0; i < 2; i++)
		fd_end(&process.memory[i]);
	for (unsigned i = 0; i < PEER_QUEUES_MAX; i++) {
		fd_end(&process.kick[i]);
		fd_end(&process.call[i]);
		process.taken[i] = 0;
	}
	fd_end(&process.connection);
}

static void *process_main(void *argument)
{
	(void)argument;
	while (!atomic_load(&process.end)) {
		process.connection = accept(process.listener, NULL, NULL);
		if (process.connection < 0)
			break;
		connection_serve();
		connection_clean();
		atomic_store(&process.hang_up, false);
	}
	return NULL;
}

/* As it is in the tests that do not say otherwise. */
static void process_set(void)
{
	process.hang_up_at = process.silent_at = process.lie_at = NEVER;
	process.lie = LIE_NONE;
	process.sectors = SECTORS;
	process.block_size = 1;
	atomic_store(&process.service, SERVE);
	atomic_store(&process.held, 0);
}

static void process_start(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	unlink(path);
	strcpy(address.sun_path, path);
	process.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(process.listener, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(process.listener, 8), 0);
	atomic_store(&process.end, false);
	atomic_store(&process.hang_up, false);
	assert_int_equal(pthread_create(&process.thread, NULL, process_main, NULL), 0);
}

static void process_stop(void)
{
	atomic_store(&process.end, true);
	atomic_store(&process.hang_up, true);
	shutdown(process.listener, SHUT_RDWR);
	pthread_join(process.thread, NULL);
	close(process.listener);
	unlink(path);
}

static int begin(void **state)
{
	(void)state;
	process_set();
	process.connection = process.memory[0] = process.memory[1] = -1;
	for (unsigned i = 0; i < PEER_QUEUES_MAX; i++)
		process.kick[i] = process.call[i] = -1;
	process_start();
	return 0;
}

static int end(void **state)
{
	(void)state;
	process_stop();
	return 0;
}

/* Our side. */

static struct {
	uint8_t *ram;
	int fd;
	struct peer *peer;
} vm;

/* What a VM does at its start. */
static enum status vm_begin(struct reason *why)
{
	enum status status;

	assert_int_equal(host_ram_create(&vm.ram, &vm.fd, RAM, true, why), STATUS_OK);
	status = vhost_user_disk_connect(&vm.peer, path, QUEUES, why);
	if (!status)
		status = vhost_user_start(vm.peer, vm.ram, vm.fd, RAM, why);
	return status;
}

static void vm_end(void)
{
	if (vm.peer)
		vm.peer->close(vm.peer);
	vm.peer = NULL;
	host_ram_destroy(vm.ram, vm.fd, RAM);
}

static struct answer {
	struct peer_request request;
	struct block_segment segment;
	sem_t done;
	enum status status;
	uint32_t written;
} answer[4];

static void request_done(struct peer_request *request, uint32_t written, enum status status)
{
	struct answer *one = request->device;

	one->written = written;
	one->status = status;
	sem_post(&one->done);
}

static void request_submit(unsigned i)
{
	struct answer *one = &answer[i];

	sem_init(&one->done, 0, 0);
	one->segment = (struct block_segment){vm.ram + i * 4096, 512};
	one->request = (struct peer_request){
		.queue = i % QUEUES, .segment = &one->segment, .segments = 1, .done = request_done, .device = one};
	vm.peer->submit(vm.peer, &one->request);
}

static enum status request_await(unsigned i)
{
	while (sem_wait(&answer[i].done))
		;
	sem_destroy(&answer[i].done);
	return answer[i].status;
}

static void a_good_one_serves(void **state)
{
	struct reason why = {""};

	(void)state;
	assert_int_equal(vm_begin(&why), STATUS_OK);
	for (unsigned round = 0; round < 300; round++) {
		request_submit(round % 4);
		assert_int_equal(request_await(round % 4), STATUS_OK);
	}
	vhost_user_give_up(vm.peer);
	vm_end();
}

static void it_may_end_at_any_message(void **state)
{
	(void)state;
	for (unsigned at = 0; at < TALK_MESSAGES; at++) {
		struct reason why = {""};

		process.hang_up_at = at;
		assert_int_equal(vm_begin(&why), STATUS_IO);
		assert_non_null(strstr(why.text, path));
		vm_end();
	}
}

static void it_may_fall_silent_at_any_message(void **state)
{
	(void)state;
	hasty = true;
	for (unsigned at = 0; at < TALK_MESSAGES; at++) {
		struct reason why = {""};

		process.silent_at = at;
		assert_int_equal(vm_begin(&why), STATUS_IO);
		assert_non_null(strstr(why.text, "does not answer"));
		vm_end();
	}
	hasty = false;
}

/* Messages 1 and 3, SET_OWNER and SET_PROTOCOL_FEATURES, have no replies that could lie. */
static void no_reply_is_believed_that_is_not_of_its_form(void **state)
{
	(void)state;
	for (enum lie lie = LIE_TYPE; lie < LIES; lie++) {
		for (unsigned at = 0; at < TALK_MESSAGES; at++) {
			struct reason why = {""};
			enum status status;

			process.lie = lie;
			process.lie_at = at;
			status = vm_begin(&why);
			if (at == 1 || at == 3)
				assert_int_equal(status, STATUS_OK);
			else if (status != STATUS_INVALID)
				fail_msg("lie %u in message %u: %s: %s", lie, at, status_name(status), why.text);
			vm_end();
		}
	}
}

static void it_cannot_make_memory_shorter(void **state)
{
	struct reason why = {""};

	(void)state;
	assert_int_equal(vm_begin(&why), STATUS_OK);
	assert_int_equal(process.shortened, 2);
	memset(vm.ram, 1, RAM);
	request_submit(0);
	assert_int_equal(request_await(0), STATUS_OK);
	vm_end();
}

static void what_it_does_not_have_it_cannot_hand_back(void **state)
{
	(void)state;
	for (enum service service = ANSWER_OUTSIDE; service < SERVICES; service++) {
		struct reason why = {""};

		assert_int_equal(vm_begin(&why), STATUS_OK);
		atomic_store(&process.service, HOLD);
		request_submit(0);
		while (atomic_load(&process.held) < 1)
			nanosleep(&(struct timespec){0, 1000000}, NULL);
		atomic_store(&process.held, 0);
		atomic_store(&process.service, service);
		request_submit(2);
		/* The answer to 2 may have been right before it was wrong. 0 had none. */
		request_await(2);
		assert_int_equal(request_await(0), STATUS_IO);
		request_submit(1);
		assert_int_equal(request_await(1), STATUS_IO);
		vm_end();
	}
}

static void when_it_comes_back_with_the_same_disk_requests_are_made_again(void **state)
{
	struct reason why = {""};

	(void)state;
	assert_int_equal(vm_begin(&why), STATUS_OK);
	atomic_store(&process.service, HOLD);
	for (unsigned i = 0; i < 3; i++)
		request_submit(i);
	while (atomic_load(&process.held) < 3)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	process_stop();
	for (unsigned wrong = 0; wrong < 2; wrong++) {
		process_set();
		if (wrong)
			process.block_size = 8;
		else
			process.sectors = SECTORS - 1;
		atomic_store(&process.service, HOLD);
		process_start();
		nanosleep(&(struct timespec){0, 300000000}, NULL); /* longer than it takes to be found */
		assert_int_equal(atomic_load(&process.held), 0);
		process_stop();
	}
	process_set();
	process.sectors = 2 * SECTORS;
	process_start();
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(request_await(i), STATUS_OK);
	vm_end();
}

/* A FUSE request: 16 bytes of its beginning over two segments, and room for the answer in two more. */
static struct block_segment fuse_segment[4];
static void fuse_submit(struct peer *share, struct answer *one, unsigned room)
{
	const struct {
		uint32_t length, opcode;
		uint64_t unique;
	} in = {40, 3, UINT64_C(0x1122334455667788)};

	sem_init(&one->done, 0, 0);
	memset(vm.ram, 0xaa, 4096);
	memcpy(vm.ram, &in, 10);
	memcpy(vm.ram + 100, (const uint8_t *)&in + 10, 6);
	fuse_segment[0] = (struct block_segment){vm.ram, 10};
	fuse_segment[1] = (struct block_segment){vm.ram + 100, 30};
	fuse_segment[2] = (struct block_segment){vm.ram + 200, 5};
	fuse_segment[3] = (struct block_segment){vm.ram + 300, 400};
	one->request = (struct peer_request){
		.segment = fuse_segment, .readable = 2, .segments = 2 + room, .done = request_done, .device = one};
	share->submit(share, &one->request);
}

static void fuse_refused(struct answer *one)
{
	static const uint8_t begin[] = {16, 0, 0, 0, 0x95},
			     end[] = {0xff, 0xff, 0xff, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xaa};

	while (sem_wait(&one->done))
		;
	sem_destroy(&one->done);
	assert_int_equal(one->status, STATUS_OK);
	assert_memory_equal(vm.ram + 200, begin, sizeof(begin));
	assert_memory_equal(vm.ram + 300, end, sizeof(end));
}

/* The guest's programs get an error instead of hanging for ever. */
static void without_its_server_a_shared_folder_refuses(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct reason why = {""};
	struct peer *share;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	strcpy(address.sun_path, path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(host_ram_create(&vm.ram, &vm.fd, RAM, true, &why), STATUS_OK);
	assert_int_equal(vhost_user_share_connect(&share, fd, "folder", "tag", &why), STATUS_OK);
	assert_int_equal(vhost_user_start(share, vm.ram, vm.fd, RAM, &why), STATUS_OK);
	atomic_store(&process.service, HOLD);
	fuse_submit(share, &answer[0], 2);
	while (atomic_load(&process.held) < 1)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	process_stop();
	fuse_refused(&answer[0]);
	fuse_submit(share, &answer[1], 2);
	fuse_refused(&answer[1]);
	fuse_submit(share, &answer[2], 0); /* nothing is answered to these */
	while (sem_wait(&answer[2].done))
		;
	sem_destroy(&answer[2].done);
	assert_int_equal(answer[2].written, 0);
	share->close(share);
	host_ram_destroy(vm.ram, vm.fd, RAM);
	process_start();
}

/* A disk's requests can be made again elsewhere; what virtiofsd knows of open files cannot. */
static void a_shared_folder_keeps_its_vm_from_moving(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct reason why = {""};
	struct peer *share;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	strcpy(address.sun_path, path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(vhost_user_share_connect(&share, fd, "folder", "tag", &why), STATUS_OK);
	assert_non_null(strstr(share->obstacle, "virtiofsd"));
	share->close(share);
	assert_int_equal(vm_begin(&why), STATUS_OK);
	assert_null(vm.peer->obstacle);
	vm_end();
}

static void it_may_never_answer_a_vm_that_ends(void **state)
{
	struct reason why = {""};

	(void)state;
	assert_int_equal(vm_begin(&why), STATUS_OK);
	atomic_store(&process.service, HOLD);
	request_submit(0);
	vhost_user_give_up(vm.peer);
	assert_int_equal(request_await(0), STATUS_IO);
	vm_end();
}

static int folder_make(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/holon-vhost-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/socket", folder);
	setenv("HOLON_LOG", "error", 1);
	return 0;
}

static int folder_remove(void **state)
{
	(void)state;
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_good_one_serves, begin, end),
		cmocka_unit_test_setup_teardown(it_may_end_at_any_message, begin, end),
		cmocka_unit_test_setup_teardown(it_may_fall_silent_at_any_message, begin, end),
		cmocka_unit_test_setup_teardown(no_reply_is_believed_that_is_not_of_its_form, begin, end),
		cmocka_unit_test_setup_teardown(it_cannot_make_memory_shorter, begin, end),
		cmocka_unit_test_setup_teardown(what_it_does_not_have_it_cannot_hand_back, begin, end),
		cmocka_unit_test_setup_teardown(when_it_comes_back_with_the_same_disk_requests_are_made_again, begin, end),
		cmocka_unit_test_setup_teardown(without_its_server_a_shared_folder_refuses, begin, end),
		cmocka_unit_test_setup_teardown(a_shared_folder_keeps_its_vm_from_moving, begin, end),
		cmocka_unit_test_setup_teardown(it_may_never_answer_a_vm_that_ends, begin, end),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
