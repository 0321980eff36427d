/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd_hostile_test.c - an NBD disk whose server, a thread here, goes away at any byte, lies, or never answers; and in orders of events that need forcing.
 */
#include <endian.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/block/nbd.h"
#include "test/block/disk.h"
#include "test/block/nbd_place.h"

#define SIZE (UINT64_C(1) << 20)
#define PIECE 4096u
#define FOREVER UINT64_MAX
#define FLAG_HAS_FLAGS 1u
#define FLAG_SEND_FLUSH 4u
#define OPTION_GO 7u
#define REPLY_ACK 1u
#define REPLY_INFO 3u
#define REPLY_UNSUPPORTED 0x80000001u
#define REQUEST_MAGIC 0x25609513u
#define SIMPLE_REPLY_MAGIC 0x67446698u
#define COMMAND_READ 0
#define COMMAND_WRITE 1
#define COMMAND_DISCONNECT 2

/* What the server does; set before it is started. */
static struct server {
	pthread_t thread;
	int listener;
	_Atomic uint64_t budget; /* bytes that it sends before it hangs up; of each connection */
	uint64_t size;           /* of the disk, that it says */
	uint32_t reply_magic;
	uint64_t cookie_wrong; /* XORed into the cookie */
	uint32_t error;        /* of each answer */
	atomic_bool silent;    /* once it has said hello */
	atomic_uint unanswered;
	atomic_bool hang_up;   /* before it looks at the next request */
	atomic_int connection; /* the one at hand, -1: none */
	sem_t gone;            /* posted when a connection has been hung up on `hang_up` */
	atomic_bool end;
} server;

struct link {
	int fd;
	uint64_t left;
};

static bool say(struct link *link, const void *bytes, size_t length)
{
	size_t now = length < link->left ? length : (size_t)link->left;

	if (now && send(link->fd, bytes, now, MSG_NOSIGNAL) != (ssize_t)now)
		return false;
	link->left -= link->left == FOREVER ? 0 : now;
	return now == length;
}

static bool say16(struct link *link, uint16_t number)
{
	number = htobe16(number);
	return say(link, &number, sizeof(number));
}

static bool say32(struct link *link, uint32_t number)
{
	number = htobe32(number);
	return say(link, &number, sizeof(number));
}

static bool say64(struct link *link, uint64_t number)
{
	number = htobe64(number);
	return say(link, &number, sizeof(number));
}

static bool hear(const struct link *link, void *bytes, size_t length)
{
	return recv(link->fd, bytes, length, MSG_WAITALL) == (ssize_t)length;
}

static bool hear_away(const struct link *link, size_t length)
{
	uint8_t bytes[PIECE];

	for (; length; length -= length < sizeof(bytes) ? length : sizeof(bytes))
		if (!hear(link, bytes, length < sizeof(bytes) ? length : sizeof(bytes)))
			return false;
	return true;
}

static bool option_reply(struct link *link, uint32_t option, uint32_t kind, uint32_t length)
{
	return say64(link, UINT64_C(0x3e889045565a9)) && say32(link, option) && say32(link, kind) && say32(link, length);
}

/* Until the client has what it wants of the disk. */
static bool hello(struct link *link)
{
	struct {
		uint64_t magic;
		uint32_t option, length;
	} option;

	if (!say(link, "NBDMAGICIHAVEOPT", 16) || !say16(link, 3) || !hear_away(link, 4))
		return false;
	while (hear(link, &option, sizeof(option)) && hear_away(link, be32toh(option.length))) {
		if (be32toh(option.option) != OPTION_GO) {
			if (!option_reply(link, be32toh(option.option), REPLY_UNSUPPORTED, 0))
				return false;
			continue;
		}
		return option_reply(link, OPTION_GO, REPLY_INFO, 12) && say16(link, 0) && say64(link, server.size) &&
		       say16(link, FLAG_HAS_FLAGS | FLAG_SEND_FLUSH) && option_reply(link, OPTION_GO, REPLY_ACK, 0);
	}
	return false;
}

static bool request_serve(struct link *link)
{
	static uint8_t bytes[PIECE];
	struct {
		uint32_t magic;
		uint16_t flags, type;
		uint64_t cookie, offset;
		uint32_t length;
	} __attribute__((packed)) request;

	if (!hear(link, &request, sizeof(request)) || be32toh(request.magic) != REQUEST_MAGIC)
		return false;
	if (be16toh(request.type) == COMMAND_DISCONNECT)
		return false;
	if (be16toh(request.type) == COMMAND_WRITE && !hear_away(link, be32toh(request.length)))
		return false;
	if (atomic_load(&server.silent)) {
		atomic_fetch_add(&server.unanswered, 1);
		return true;
	}
	request.cookie ^= server.cookie_wrong;
	if (!say32(link, server.reply_magic) || !say32(link, server.error) || !say(link, &request.cookie, 8))
		return false;
	if (be16toh(request.type) != COMMAND_READ || server.error)
		return true;
	for (uint32_t left = be32toh(request.length); left; left -= left < PIECE ? left : PIECE)
		if (!say(link, bytes, left < PIECE ? left : PIECE))
			return false;
	return true;
}

static void *server_main(void *argument)
{
	(void)argument;
	while (!atomic_load(&server.end)) {
		struct link link = {.fd = accept(server.listener, NULL, NULL), .left = atomic_load(&server.budget)};
		bool good;

		if (link.fd < 0)
			break;
		atomic_store(&server.connection, link.fd);
		for (good = hello(&link); good && !atomic_load(&server.hang_up); good = request_serve(&link))
			;
		atomic_store(&server.connection, -1);
		close(link.fd);
		if (atomic_exchange(&server.hang_up, false))
			sem_post(&server.gone);
	}
	return NULL;
}

static int server_start(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)state;
	server = (struct server){.budget = FOREVER, .size = SIZE, .reply_magic = SIMPLE_REPLY_MAGIC, .connection = -1};
	sem_init(&server.gone, 0, 0);
	unlink(nbd_place.path);
	strcpy(address.sun_path, nbd_place.path);
	server.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(server.listener, (const struct sockaddr *)&address, sizeof(address)) || listen(server.listener, 8))
		return -1;
	return pthread_create(&server.thread, NULL, server_main, NULL);
}

static int server_stop(void **state)
{
	int connection = atomic_load(&server.connection);

	(void)state;
	atomic_store(&server.end, true);
	shutdown(server.listener, SHUT_RDWR);
	if (connection >= 0)
		shutdown(connection, SHUT_RDWR);
	pthread_join(server.thread, NULL);
	close(server.listener);
	sem_destroy(&server.gone);
	return 0;
}

static struct block *disk_open(void)
{
	struct reason why = {""};
	struct block *block;

	if (block_nbd_open(&block, nbd_place.uri, false, &why))
		fail_msg("%s", why.text);
	return block;
}

/* The connection ends behind every byte that the server says: while connecting, in an answer, in its data. Holon says so, and nothing is left of it. */
static void it_goes_away_at_any_byte(void **state)
{
	static uint8_t bytes[PIECE];
	unsigned refused = 0, failed = 0, good = 0;

	(void)state;
	for (uint64_t budget = 0; budget < 400; budget++) {
		struct reason why = {""};
		struct block *block;
		enum status status;

		atomic_store(&server.budget, budget);
		if (block_nbd_open(&block, nbd_place.uri, false, &why)) {
			assert_null(block);
			assert_non_null(strstr(why.text, "is the server there?"));
			refused++;
			continue;
		}
		status = disk_run(block, BLOCK_READ, 0, 128, bytes);
		assert_int_equal(status, STATUS_RANGE); /* no sector: of our own making, the server hears nothing */
		status = disk_run(block, BLOCK_READ, 512, 512, bytes);
		assert_true(status == STATUS_IO || (status == STATUS_OK && budget >= 512));
		failed += status == STATUS_IO;
		good += disk_run(block, BLOCK_FLUSH, 0, 0, NULL) == STATUS_OK;
		block->close(block);
	}
	assert_in_range(refused, 90, 200);
	assert_int_equal(refused + failed, 400);
	assert_in_range(good, 1, 400);
}

/*
 * The server has hung up, and nobody has noticed when several requests come: the first one's sending finds out, the next one connects anew while that
 * is still under way. The order is forced by submitting them from the thread that would notice.
 */
struct burst {
	struct block *block;
	struct block_request first, next[4];
	struct block_segment segment;
	atomic_uint left;
	sem_t done;
};

static void burst_part_done(struct block_request *request, enum status status)
{
	struct burst *burst = request->device;

	(void)status;
	if (atomic_fetch_sub(&burst->left, 1) == 1)
		sem_post(&burst->done);
}

static void burst_first_done(struct block_request *request, enum status status)
{
	struct burst *burst = request->device;

	assert_int_equal(status, STATUS_OK);
	/* The server waits for the next request: it is woken, and hangs up. */
	atomic_store(&server.hang_up, true);
	shutdown(atomic_load(&server.connection), SHUT_RDWR);
	while (sem_wait(&server.gone))
		;
	burst->block->submit(burst->block, &burst->next[0]);
}

static void no_slot_is_lost_when_a_request_finds_the_connection_dead(void **state)
{
	static uint8_t bytes[512];
	struct burst burst = {.block = disk_open(), .segment = {bytes, sizeof(bytes)}};
	struct timespec until;

	(void)state;
	sem_init(&burst.done, 0, 0);
	for (unsigned round = 0; round < 200; round++) {
		const struct block_request read = {.operation = BLOCK_READ,
						   .length = sizeof(bytes),
						   .segment = &burst.segment,
						   .segments = 1,
						   .done = burst_part_done,
						   .device = &burst};

		atomic_store(&burst.left, 4);
		for (unsigned i = 0; i < 4; i++) {
			burst.next[i] = read;
			burst.next[i].next = i < 3 ? &burst.next[i + 1] : NULL;
		}
		burst.first = read;
		burst.first.done = burst_first_done;
		burst.block->submit(burst.block, &burst.first);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 20;
		if (sem_timedwait(&burst.done, &until))
			fail_msg("round %u: requests are not answered", round);
		assert_int_equal(disk_run(burst.block, BLOCK_READ, 0, sizeof(bytes), bytes), STATUS_OK);
	}
	for (unsigned i = 0; i < 4; i++)
		burst.next[i].next = i < 3 ? &burst.next[i + 1] : NULL;
	/* As many as ever can be with the server at once. */
	atomic_store(&server.silent, true);
	atomic_store(&burst.left, 4);
	burst.block->submit(burst.block, &burst.next[0]);
	for (unsigned tries = 0; atomic_load(&server.unanswered) < 4 && tries < 5000; tries++)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	assert_int_equal(atomic_load(&server.unanswered), 4);
	shutdown(atomic_load(&server.connection), SHUT_RDWR);
	while (sem_wait(&burst.done))
		;
	burst.block->close(burst.block);
	sem_destroy(&burst.done);
}

static void it_answers_what_nobody_asked(void **state)
{
	uint8_t bytes[512];
	struct block *block = disk_open();

	(void)state;
	server.cookie_wrong = 0x5555;
	assert_int_equal(disk_run(block, BLOCK_READ, 0, sizeof(bytes), bytes), STATUS_IO);
	server.cookie_wrong = 0;
	server.reply_magic = 0x12345678;
	assert_int_equal(disk_run(block, BLOCK_WRITE, 0, sizeof(bytes), bytes), STATUS_IO);
	server.reply_magic = SIMPLE_REPLY_MAGIC;
	assert_int_equal(disk_run(block, BLOCK_READ, 0, sizeof(bytes), bytes), STATUS_OK);
	server.error = 28; /* ENOSPC */
	assert_int_equal(disk_run(block, BLOCK_WRITE, 0, sizeof(bytes), bytes), STATUS_NO_SPACE);
	server.error = 0x7fffffff;
	assert_int_equal(disk_run(block, BLOCK_WRITE, 0, sizeof(bytes), bytes), STATUS_IO);
	block->close(block);
}

static void it_lies_about_its_size(void **state)
{
	static const uint64_t sizes[] = {0, 1, 511, UINT64_C(1) << 63, UINT64_MAX};
	uint8_t bytes[512];
	struct reason why;
	struct block *block;

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		server.size = sizes[i];
		assert_int_not_equal(block_nbd_open(&block, nbd_place.uri, false, &why), STATUS_OK);
	}
	server.size = INT64_MAX;
	block = disk_open();
	assert_int_equal(block->size % 512, 0);
	assert_int_equal(disk_run(block, BLOCK_READ, block->size - 512, 512, bytes), STATUS_OK);
	/* Shorter at the next connection: a guest that knows more of the disk must not reach what is not there. */
	server.size = SIZE;
	server.reply_magic = 0;
	assert_int_equal(disk_run(block, BLOCK_READ, 0, sizeof(bytes), bytes), STATUS_IO);
	server.reply_magic = SIMPLE_REPLY_MAGIC;
	assert_int_equal(disk_run(block, BLOCK_READ, 0, sizeof(bytes), bytes), STATUS_IO);
	block->close(block);
}

static void *closer_main(void *block)
{
	((struct block *)block)->give_up(block);
	((struct block *)block)->close(block);
	return NULL;
}

static void late_done(struct block_request *request, enum status status)
{
	*(atomic_int *)request->device = (int)status;
}

/* A VM that ends does not wait for it for ever. */
static void it_never_answers(void **state)
{
	uint8_t bytes[512];
	struct block_segment segment = {bytes, sizeof(bytes)};
	atomic_int status = -1;
	struct block_request request = {
		.operation = BLOCK_READ, .length = 512, .segment = &segment, .segments = 1, .done = late_done, .device = &status};
	struct block *block = disk_open();
	pthread_t closer;

	(void)state;
	server.silent = true;
	block_submit(block, &request);
	assert_int_equal(pthread_create(&closer, NULL, closer_main, block), 0);
	pthread_join(closer, NULL);
	assert_int_equal(atomic_load(&status), STATUS_IO);
}

static int folder_make(void **state)
{
	(void)state;
	return nbd_place_make();
}

static int folder_remove(void **state)
{
	(void)state;
	return nbd_place_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_goes_away_at_any_byte, server_start, server_stop),
		cmocka_unit_test_setup_teardown(no_slot_is_lost_when_a_request_finds_the_connection_dead, server_start,
						server_stop),
		cmocka_unit_test_setup_teardown(it_answers_what_nobody_asked, server_start, server_stop),
		cmocka_unit_test_setup_teardown(it_lies_about_its_size, server_start, server_stop),
		cmocka_unit_test_setup_teardown(it_never_answers, server_start, server_stop),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
