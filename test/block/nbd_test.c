/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd_test.c - an NBD disk whose server (Debian's nbdkit, on a file) grows the disk, or is killed and started again while requests are under way.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/block/nbd.h"
#include "backend/block/retry.h"
#include "disk.h"
#include "nbd_place.h"

#define SIZE (UINT64_C(4) << 20)
#define PIECE 8192u

static char file[96];
static const char *program;
static pid_t server;

static void pause_ms(long ms)
{
	struct timespec time = {0, ms * 1000000};

	nanosleep(&time, NULL);
}

static bool server_answers(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool there;

	strcpy(address.sun_path, nbd_place.path);
	there = !connect(fd, (const struct sockaddr *)&address, sizeof(address));
	close(fd);
	return there;
}

static void server_start(void)
{
	unlink(nbd_place.path);
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(program, "nbdkit", "-f", "-U", nbd_place.path, "file", file, (char *)NULL);
		_exit(1);
	}
	for (unsigned i = 0; i < 1000 && !server_answers(); i++)
		pause_ms(10);
	assert_true(server_answers());
}

static void server_kill(void)
{
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}

static struct block *disk_open(void)
{
	struct reason why = {""};
	struct block *block;

	if (block_nbd_open(&block, nbd_place.uri, false, &why))
		fail_msg("%s", why.text);
	return block;
}

static int fresh_server(void **state)
{
	int fd;

	(void)state;
	if (!program)
		return 0;
	unlink(file);
	fd = open(file, O_RDWR | O_CREAT, 0600);
	if (ftruncate(fd, (off_t)SIZE))
		return -1;
	close(fd);
	server_start();
	return 0;
}

static int no_server(void **state)
{
	(void)state;
	if (program)
		server_kill();
	return 0;
}

/* A thread that writes the pieces of a part of the disk again and again, each with its number of the round. */
struct writer {
	pthread_t thread;
	struct block *block;
	atomic_bool end;
	atomic_uint rounds;
	atomic_uint failures;
};

static void piece_fill(uint8_t *bytes, unsigned piece, unsigned round)
{
	struct disk_random dice = {piece * 1000003u + round};

	disk_pattern(bytes, PIECE, &dice);
}

static void *writer_main(void *argument)
{
	static uint8_t bytes[PIECE];
	struct writer *writer = argument;

	while (!atomic_load(&writer->end)) {
		unsigned round = atomic_load(&writer->rounds);

		for (unsigned piece = 0; piece < 32; piece++) {
			piece_fill(bytes, piece, round);
			if (disk_run(writer->block, BLOCK_WRITE, (uint64_t)piece * PIECE, PIECE, bytes))
				atomic_fetch_add(&writer->failures, 1);
		}
		if (disk_run(writer->block, BLOCK_FLUSH, 0, 0, NULL))
			atomic_fetch_add(&writer->failures, 1);
		atomic_store(&writer->rounds, round + 1);
	}
	return NULL;
}

static void writer_start(struct writer *writer, struct block *block)
{
	writer->block = block;
	assert_int_equal(pthread_create(&writer->thread, NULL, writer_main, writer), 0);
	while (!atomic_load(&writer->rounds))
		pause_ms(1);
}

/* All of the last round is there. */
static void writer_verify(struct writer *writer)
{
	uint8_t bytes[PIECE], wanted[PIECE];

	atomic_store(&writer->end, true);
	pthread_join(writer->thread, NULL);
	assert_int_equal(atomic_load(&writer->failures), 0);
	for (unsigned piece = 0; piece < 32; piece++) {
		piece_fill(wanted, piece, atomic_load(&writer->rounds) - 1);
		assert_int_equal(disk_run(writer->block, BLOCK_READ, (uint64_t)piece * PIECE, PIECE, bytes), STATUS_OK);
		assert_memory_equal(bytes, wanted, PIECE);
	}
}

static void a_disk_grows_as_far_as_the_server_has_grown_it(void **state)
{
	struct writer writer = {.end = false};
	uint8_t bytes[PIECE], seen[PIECE];
	struct reason why = {""};
	struct block *block;

	(void)state;
	if (!program)
		skip();
	block = disk_open();
	writer_start(&writer, block);
	assert_int_equal(block_resize(block, 2 * SIZE, &why), STATUS_RANGE);
	assert_non_null(strstr(why.text, "enlarge the disk there first"));
	assert_int_equal(block->size, SIZE);
	assert_int_equal(truncate(file, 3 * (off_t)SIZE), 0);
	for (unsigned i = 1; i <= 8; i++)
		assert_int_equal(block_resize(block, SIZE + i * SIZE / 8, &why), STATUS_OK);
	assert_int_equal(block->size, 2 * SIZE);
	piece_fill(bytes, 99, 99);
	assert_int_equal(disk_run(block, BLOCK_WRITE, 2 * SIZE - PIECE, PIECE, bytes), STATUS_OK);
	assert_int_equal(disk_run(block, BLOCK_READ, 2 * SIZE - PIECE, PIECE, seen), STATUS_OK);
	assert_memory_equal(bytes, seen, PIECE);
	assert_int_equal(disk_run(block, BLOCK_READ, 2 * SIZE, PIECE, seen), STATUS_RANGE);
	writer_verify(&writer);
	block->close(block);
}

static atomic_int waits;

static void waiting(void *object, bool yes)
{
	(void)object;
	atomic_fetch_add(&waits, yes);
}

static void a_server_that_was_killed_is_connected_to_again_and_nothing_is_lost(void **state)
{
	static const struct block_retry_owner owner = {waiting, NULL};
	struct writer writer = {.end = false};
	struct reason why = {""};
	struct block *block;

	(void)state;
	if (!program)
		skip();
	block = disk_open();
	assert_int_equal(block_retry_add(&block, &owner, &why), STATUS_OK);
	writer_start(&writer, block);
	for (int i = 0; i < 3; i++) {
		unsigned round = atomic_load(&writer.rounds);

		server_kill();
		while (atomic_load(&waits) <= i)
			pause_ms(1);
		server_start();
		while (atomic_load(&writer.rounds) < round + 2)
			pause_ms(1);
	}
	writer_verify(&writer);
	block->close(block);
}

static void without_onerror_pause_the_guest_is_told_and_the_next_request_connects(void **state)
{
	uint8_t bytes[PIECE] = {0};
	struct block *block;

	(void)state;
	if (!program)
		skip();
	block = disk_open();
	assert_int_equal(disk_run(block, BLOCK_WRITE, 0, PIECE, bytes), STATUS_OK);
	server_kill();
	assert_int_equal(disk_run(block, BLOCK_WRITE, 0, PIECE, bytes), STATUS_IO);
	server_start();
	assert_int_equal(disk_run(block, BLOCK_WRITE, 0, PIECE, bytes), STATUS_OK);
	block->close(block);
}

static int folder_make(void **state)
{
	static const char *const places[] = {"/usr/sbin/nbdkit", "/usr/bin/nbdkit"};

	(void)state;
	for (unsigned i = 0; i < 2 && !program; i++)
		program = access(places[i], X_OK) ? NULL : places[i];
	if (nbd_place_make())
		return -1;
	snprintf(file, sizeof(file), "%s/disk", nbd_place.folder);
	return 0;
}

static int folder_remove(void **state)
{
	(void)state;
	unlink(file);
	return nbd_place_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_disk_grows_as_far_as_the_server_has_grown_it, fresh_server, no_server),
		cmocka_unit_test_setup_teardown(a_server_that_was_killed_is_connected_to_again_and_nothing_is_lost, fresh_server,
						no_server),
		cmocka_unit_test_setup_teardown(without_onerror_pause_the_guest_is_told_and_the_next_request_connects, fresh_server,
						no_server),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
