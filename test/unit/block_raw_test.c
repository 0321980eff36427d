/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block_raw_test.c - raw disks, each test through io_uring (where the host has it), through threads, and past the page cache (where the file system lets it).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/block/raw.h"
#include "backend/block/raw_disk.h"

#define SIZE (UINT64_C(8) << 20)
#define SYS_CACHESTAT 451 /* the C library has no name for it yet */

static char folder[64], path[96];
/* 0: through the page cache; else past it, where the host wants multiples of this many bytes at least. */
static uint32_t direct_blocks;

/* Requests that one thread waits for. */
struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned left;
	enum status status; /* the last that was not OK */
};

static void waiter_done(struct block_request *request, enum status status)
{
	struct waiter *waiter = request->device;

	pthread_mutex_lock(&waiter->lock);
	if (status)
		waiter->status = status;
	waiter->left--;
	pthread_cond_broadcast(&waiter->changed);
	pthread_mutex_unlock(&waiter->lock);
}

static enum status list_run(struct block *block, struct block_request *list)
{
	struct waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, STATUS_OK};

	for (struct block_request *request = list; request; request = request->next) {
		request->device = &waiter;
		request->done = waiter_done;
		waiter.left++;
	}
	block_submit(block, list);
	pthread_mutex_lock(&waiter.lock);
	while (waiter.left)
		pthread_cond_wait(&waiter.changed, &waiter.lock);
	pthread_mutex_unlock(&waiter.lock);
	return waiter.status;
}

static enum status run(struct block *block, enum block_operation operation, uint64_t offset, uint64_t length, void *buffer)
{
	struct block_segment segment = {buffer, length};
	struct block_request request = {
		.operation = operation, .offset = offset, .length = length, .segment = &segment, .segments = 1};

	return list_run(block, &request);
}

static struct block *disk_open(bool readonly)
{
	struct block *block;
	struct reason why = {""};
	struct raw_disk *disk;
	enum status status;

	if (!direct_blocks) {
		if (block_raw_open(&block, path, readonly, &why) != STATUS_OK)
			fail_msg("%s", why.text);
		return block;
	}
	status = block_raw_open_direct(&block, path, readonly, &why);
	if (status == STATUS_UNSUPPORTED)
		skip();
	if (status)
		fail_msg("%s", why.text);
	disk = (struct raw_disk *)block;
	if (disk->direct_offset < direct_blocks)
		disk->direct_offset = direct_blocks;
	return block;
}

static const char *open_fails(const char *name, bool readonly, enum status status)
{
	static struct reason why;
	struct block *block;

	why.text[0] = 0;
	assert_int_equal(block_raw_open(&block, name, readonly, &why), status);
	assert_null(block);
	assert_non_null(strstr(why.text, name));
	assert_null(strchr(why.text, '\n'));
	return why.text;
}

static void file_make(uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static void pattern_fill(uint8_t *bytes, size_t length, uint64_t seed)
{
	for (size_t i = 0; i < length; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (uint8_t)(seed >> 56);
	}
}

static bool file_holds(uint64_t offset, const uint8_t *bytes, size_t length)
{
	uint8_t *seen = malloc(length);
	int fd = open(path, O_RDONLY);
	bool same;

	assert_int_equal(pread(fd, seen, length, (off_t)offset), length);
	close(fd);
	same = memcmp(seen, bytes, length) == 0;
	free(seen);
	return same;
}

static int with_io_uring(void **state)
{
	(void)state;
	direct_blocks = 0;
	unsetenv("HOLON_NO_IO_URING");
	file_make(SIZE);
	return 0;
}

static int past_the_cache(void **state)
{
	with_io_uring(state);
	direct_blocks = 1;
	return 0;
}

static int in_large_blocks(void **state)
{
	with_io_uring(state);
	direct_blocks = 4096;
	return 0;
}

static int in_large_blocks_by_threads(void **state)
{
	in_large_blocks(state);
	setenv("HOLON_NO_IO_URING", "1", 1);
	return 0;
}

static int with_threads(void **state)
{
	(void)state;
	direct_blocks = 0;
	setenv("HOLON_NO_IO_URING", "1", 1);
	file_make(SIZE);
	return 0;
}

static void the_variable_chooses_threads(void **state)
{
	struct block *block = disk_open(false);

	(void)state;
	assert_string_equal(((struct raw_disk *)block)->io->name, "threads");
	block->close(block);
}

static void what_is_written_is_read_and_in_the_file(void **state)
{
	struct block *block = disk_open(false);
	uint8_t *bytes = malloc(3 << 20), *seen = calloc(1, 3 << 20);

	(void)state;
	assert_int_equal(block->size, SIZE);
	pattern_fill(bytes, 3 << 20, 1);
	assert_int_equal(run(block, BLOCK_WRITE, 512, 3 << 20, bytes), STATUS_OK);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, NULL), STATUS_OK);
	assert_true(file_holds(512, bytes, 3 << 20));
	assert_int_equal(run(block, BLOCK_READ, 512, 3 << 20, seen), STATUS_OK);
	assert_memory_equal(seen, bytes, 3 << 20);
	block->close(block);
	free(bytes);
	free(seen);
}

static void segments_of_any_length_are_put_together(void **state)
{
	struct block *block = disk_open(false);
	uint8_t bytes[16384], seen[16384] = {0};
	struct block_segment segment[40];
	struct block_request request = {.operation = BLOCK_WRITE, .offset = 4096, .length = sizeof(bytes), .segment = segment};
	size_t at = 0;

	(void)state;
	pattern_fill(bytes, sizeof(bytes), 2);
	for (unsigned i = 0; i < 40; i++) {
		size_t length = i == 39 ? sizeof(bytes) - at : i * 17 % 700; /* the first is empty */

		segment[i] = (struct block_segment){bytes + at, length};
		at += length;
	}
	request.segments = 40;
	assert_int_equal(list_run(block, &request), STATUS_OK);
	assert_true(file_holds(4096, bytes, sizeof(bytes)));
	for (unsigned i = 0; i < 40; i++)
		segment[i].base = seen + ((uint8_t *)segment[i].base - bytes);
	request.operation = BLOCK_READ;
	request.next = NULL;
	assert_int_equal(list_run(block, &request), STATUS_OK);
	assert_memory_equal(seen, bytes, sizeof(bytes));
	block->close(block);
}

/* The kernel's short answers, played one by one: the next step always starts where the last ended. */
static void short_transfers_are_continued(void **state)
{
	struct raw_disk disk = {.path = path};
	uint8_t bytes[1000];
	struct block_segment segment[3] = {{bytes, 300}, {bytes + 300, 0}, {bytes + 300, 724}};
	struct block_request request = {.operation = BLOCK_READ, .offset = 512, .length = 1024, .segment = segment, .segments = 3};
	struct raw_step step;
	enum status status;

	(void)state;
	raw_step_begin(&request);
	raw_step_next(&disk, &request, &step);
	assert_true(step.call == RAW_READV && step.offset == 512 && step.vectors == 3);
	assert_false(raw_step_result(&disk, &request, -EINTR, &status));
	assert_false(raw_step_result(&disk, &request, -EAGAIN, &status));
	assert_false(raw_step_result(&disk, &request, 100, &status));
	raw_step_next(&disk, &request, &step);
	assert_true(step.offset == 612 && step.vectors == 1 && step.vector->iov_base == bytes + 100 && step.vector->iov_len == 200);
	assert_false(raw_step_result(&disk, &request, 200, &status));
	raw_step_next(&disk, &request, &step);
	assert_true(step.offset == 812 && step.vectors == 1 && step.vector->iov_base == bytes + 300 && step.vector->iov_len == 724);
	assert_true(raw_step_result(&disk, &request, 724, &status));
	assert_int_equal(status, STATUS_OK);
	raw_step_begin(&request);
	assert_true(raw_step_result(&disk, &request, 0, &status)); /* the file has shrunk */
	assert_int_equal(status, STATUS_IO);
	raw_step_begin(&request);
	assert_true(raw_step_result(&disk, &request, -ENOSPC, &status));
	assert_int_equal(status, STATUS_NO_SPACE);
}

static void discard_makes_holes_and_zeroes_are_zero(void **state)
{
	struct block *block = disk_open(false);
	uint8_t *bytes = malloc(1 << 20), *zeroes = calloc(1, 1 << 20);
	struct block_request request = {.operation = BLOCK_WRITE_ZEROES, .offset = 512, .length = 700 << 10};
	struct stat before, after;

	(void)state;
	pattern_fill(bytes, 1 << 20, 3);
	/* Holes, zeroed ranges, written zeroes: what a file system lacks must not show. */
	for (unsigned way = 0; way < 3; way++) {
		struct raw_disk *disk = (struct raw_disk *)block;

		assert_int_equal(run(block, BLOCK_WRITE, 0, 1 << 20, bytes), STATUS_OK);
		request.may_unmap = way == 0;
		request.next = NULL;
		if (way == 2) {
			disk->no_punch = true;
			disk->no_zero_range = true;
		}
		assert_int_equal(list_run(block, &request), STATUS_OK);
		assert_true(file_holds(0, bytes, 512));
		assert_true(file_holds(512, zeroes, 700 << 10));
		assert_true(file_holds(512 + (700 << 10), bytes + 512 + (700 << 10), (1 << 20) - 512 - (700 << 10)));
		disk->no_punch = disk->no_zero_range = false;
	}
	assert_int_equal(run(block, BLOCK_WRITE, 0, 1 << 20, bytes), STATUS_OK);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, NULL), STATUS_OK);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(run(block, BLOCK_DISCARD, 0, 1 << 20, NULL), STATUS_OK);
	assert_int_equal(stat(path, &after), 0);
	if (block->discard_granularity) {
		assert_true(after.st_blocks < before.st_blocks);
		assert_true(file_holds(0, zeroes, 1 << 20));
	}
	assert_int_equal(after.st_size, SIZE);
	block->close(block);
	free(bytes);
	free(zeroes);
}

static void file_systems_without_holes_get_the_plainer_call(void **state)
{
	struct raw_disk disk = {.path = path};
	struct block_request request = {.operation = BLOCK_WRITE_ZEROES, .may_unmap = true, .length = 1 << 20};
	struct raw_step step;
	enum status status;
	uint64_t written = 0;

	(void)state;
	raw_step_begin(&request);
	raw_step_next(&disk, &request, &step);
	assert_true(step.call == RAW_FALLOCATE && step.length == 1 << 20);
	assert_false(raw_step_result(&disk, &request, -EOPNOTSUPP, &status));
	raw_step_next(&disk, &request, &step);
	assert_int_equal(step.call, RAW_FALLOCATE);
	assert_false(raw_step_result(&disk, &request, -EOPNOTSUPP, &status));
	do {
		raw_step_next(&disk, &request, &step);
		assert_true(step.call == RAW_WRITEV && step.offset == written);
		written += step.vector->iov_len;
	} while (!raw_step_result(&disk, &request, (int)step.vector->iov_len, &status));
	assert_int_equal(status, STATUS_OK);
	assert_int_equal(written, 1 << 20);
	request.operation = BLOCK_DISCARD;
	raw_step_begin(&request);
	assert_true(raw_step_result(&disk, &request, -EOPNOTSUPP, &status));
	assert_int_equal(status, STATUS_OK);
}

/* Refused before any backend sees them; the good ones of the same batch are served. */
static void requests_out_of_bounds_are_answered(void **state)
{
	struct block *block = disk_open(false);
	uint8_t bytes[1024];
	struct block_segment segment = {bytes, 512};
	struct block_request good = {.operation = BLOCK_WRITE, .offset = 512, .length = 512, .segment = &segment, .segments = 1};
	struct block_request bad = {
		.operation = BLOCK_WRITE, .offset = SIZE, .length = 512, .segment = &segment, .segments = 1, .next = &good};

	(void)state;
	pattern_fill(bytes, sizeof(bytes), 4);
	assert_int_equal(list_run(block, &bad), STATUS_RANGE);
	assert_true(file_holds(512, bytes, 512));
	assert_int_equal(run(block, BLOCK_READ, SIZE - 512, 1024, bytes), STATUS_RANGE);
	assert_int_equal(run(block, BLOCK_READ, UINT64_MAX - 511, 512, bytes), STATUS_RANGE);
	assert_int_equal(run(block, BLOCK_READ, 1, 512, bytes), STATUS_RANGE);
	assert_int_equal(run(block, BLOCK_READ, 0, 513, bytes), STATUS_RANGE);
	assert_int_equal(run(block, BLOCK_DISCARD, SIZE, 512, NULL), STATUS_RANGE);
	assert_int_equal(run(block, BLOCK_READ, SIZE, 0, bytes), STATUS_OK);
	segment.length = 511; /* the segments do not make up the length */
	good.next = NULL;
	assert_int_equal(list_run(block, &good), STATUS_RANGE);
	block->close(block);
}

static void readonly_disks_are_not_written(void **state)
{
	struct block *block = disk_open(true);
	uint8_t bytes[512] = {1};

	(void)state;
	assert_true(block->readonly);
	assert_int_equal(run(block, BLOCK_WRITE, 0, 512, bytes), STATUS_PERMISSION);
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, 0, 512, NULL), STATUS_PERMISSION);
	assert_int_equal(run(block, BLOCK_DISCARD, 0, 512, NULL), STATUS_PERMISSION);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, NULL), STATUS_OK);
	assert_int_equal(run(block, BLOCK_READ, 0, 512, bytes), STATUS_OK);
	assert_int_equal(bytes[0], 0);
	block->close(block);
}

#define WORKERS 4
#define ROUNDS 60
#define BATCH 24

struct worker {
	pthread_t thread;
	struct block *block;
	unsigned number;
	bool good;
};

/* Batches of writes into a part of its own, flushed, read back and compared. */
static void *worker_main(void *argument)
{
	static uint8_t bytes[WORKERS][BATCH][2048], seen[WORKERS][BATCH][2048];
	struct worker *worker = argument;
	struct block_segment segment[BATCH];
	struct block_request request[BATCH];

	worker->good = true;
	for (unsigned round = 0; round < (direct_blocks ? ROUNDS / 6 : ROUNDS) && worker->good; round++) {
		for (unsigned pass = 0; pass < 2; pass++) {
			for (unsigned i = 0; i < BATCH; i++) {
				uint64_t slot = (i * 7 + round) % BATCH;

				if (pass == 0)
					pattern_fill(bytes[worker->number][i], 2048, round * 1000u + i * 10 + worker->number);
				segment[i] =
					(struct block_segment){pass ? seen[worker->number][i] : bytes[worker->number][i], 2048};
				request[i] = (struct block_request){.operation = pass ? BLOCK_READ : BLOCK_WRITE,
								    .offset = (slot * WORKERS + worker->number) * 2048,
								    .length = 2048,
								    .segment = &segment[i],
								    .segments = 1,
								    .next = i + 1 < BATCH ? &request[i + 1] : NULL};
			}
			worker->good = worker->good && list_run(worker->block, request) == STATUS_OK;
			if (round % 20 == 0)
				worker->good = worker->good && run(worker->block, BLOCK_FLUSH, 0, 0, NULL) == STATUS_OK;
		}
		worker->good = worker->good && memcmp(bytes[worker->number], seen[worker->number], sizeof(bytes[0])) == 0;
	}
	return NULL;
}

static void many_threads_share_one_disk(void **state)
{
	struct block *block = disk_open(false);
	struct worker worker[WORKERS];

	(void)state;
	for (unsigned i = 0; i < WORKERS; i++) {
		worker[i] = (struct worker){.block = block, .number = i};
		assert_int_equal(pthread_create(&worker[i].thread, NULL, worker_main, &worker[i]), 0);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_join(worker[i].thread, NULL);
		assert_true(worker[i].good);
	}
	block->drain(block);
	block->close(block);
}

/* More at once than the ring holds; drain returns when all have been answered. */
static void a_flood_is_served_and_drained(void **state)
{
	enum { FLOOD = 400 };
	struct block *block = disk_open(false);
	struct block_request *request = calloc(FLOOD, sizeof(*request));
	struct block_segment *segment = calloc(FLOOD, sizeof(*segment));
	uint8_t(*bytes)[512] = calloc(FLOOD, 512);
	struct waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, FLOOD, STATUS_OK};

	(void)state;
	for (unsigned i = 0; i < FLOOD; i++) {
		pattern_fill(bytes[i], 512, i);
		segment[i] = (struct block_segment){bytes[i], 512};
		request[i] = (struct block_request){.operation = BLOCK_WRITE,
						    .offset = 512 * i,
						    .length = 512,
						    .segment = &segment[i],
						    .segments = 1,
						    .done = waiter_done,
						    .device = &waiter,
						    .next = i + 1 < FLOOD ? &request[i + 1] : NULL};
	}
	block_submit(block, request);
	block->drain(block);
	assert_int_equal(waiter.left, 0);
	assert_int_equal(waiter.status, STATUS_OK);
	assert_true(file_holds(0, bytes[0], FLOOD * 512));
	block->close(block);
	free(request);
	free(segment);
	free(bytes);
}

static void a_file_grows_in_use(void **state)
{
	struct block *block = disk_open(false);
	struct reason why = {""};
	struct stat stat_now;

	(void)state;
	assert_int_equal(block_resize(block, 2 * SIZE, &why), STATUS_OK);
	assert_int_equal(block->size, 2 * SIZE);
	assert_int_equal(stat(path, &stat_now), 0);
	assert_int_equal(stat_now.st_size, 2 * SIZE);
	/* The owner made it longer on the host: the guest gets as much of that as is asked for. */
	assert_int_equal(block_host_size(block), 2 * SIZE);
	assert_int_equal(truncate(path, 8 * SIZE + 100), 0);
	assert_int_equal(block_host_size(block), 8 * SIZE);
	assert_int_equal(truncate(path, 8 * SIZE), 0);
	assert_int_equal(block_resize(block, 4 * SIZE, &why), STATUS_OK);
	assert_int_equal(stat(path, &stat_now), 0);
	assert_int_equal(stat_now.st_size, 8 * SIZE);
	assert_int_equal(block_resize(block, SIZE, &why), STATUS_RANGE);
	assert_non_null(strstr(why.text, "grow"));
	block->close(block);
	file_make(SIZE);
}

/* How many pages of the disk's first bytes nobody has begun to write to the host's disk; -1 where the kernel does not tell (before 6.5). */
static long pages_dirty(uint64_t length)
{
	const struct {
		uint64_t offset, length;
	} range = {0, length};
	struct {
		uint64_t cached, dirty, writeback, evicted, recently_evicted;
	} found;
	int fd = open(path, O_RDONLY);
	long result;

	assert_true(fd >= 0);
	result = syscall(SYS_CACHESTAT, fd, &range, &found, 0u);
	close(fd);
	return result ? -1 : (long)found.dirty;
}

static void streams_are_written_behind_the_guest(void **state)
{
	static uint8_t buffer[64 << 10];
	const unsigned pieces = 3 * SIZE / 4 / sizeof(buffer);
	struct block *block = disk_open(false);
	struct raw_disk *disk = (struct raw_disk *)block;

	(void)state;
	memset(buffer, 0x5a, sizeof(buffer));
	disk->in_memory = false; /* whatever /tmp is */
	/* Backwards: no stream. */
	for (unsigned i = pieces; i-- > 0;)
		assert_int_equal(run(block, BLOCK_WRITE, i * sizeof(buffer), sizeof(buffer), buffer), STATUS_OK);
	block->drain(block);
	assert_int_equal(disk->behind.request.length, 0);
	/* Two at a time, one in the other half. What waits is less than begins a piece. */
	for (unsigned i = 0; i < pieces; i++) {
		assert_int_equal(run(block, BLOCK_WRITE, i * sizeof(buffer), sizeof(buffer), buffer), STATUS_OK);
		if (i % 3 == 0)
			assert_int_equal(run(block, BLOCK_WRITE, SIZE - SIZE / 4 + i / 3 * sizeof(buffer), sizeof(buffer), buffer),
					 STATUS_OK);
	}
	block->drain(block);
	assert_false(disk->behind.under_way);
	assert_int_equal(disk->behind.request.offset, 0);
	assert_true(disk->behind.request.length >= SIZE / 2);
	assert_true(pages_dirty(SIZE / 2) <= 0);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, NULL), STATUS_OK);
	assert_true(pages_dirty(SIZE) <= 0);
	block->close(block);
	file_make(SIZE);
}

static void two_opens_lock_each_other_out(void **state)
{
	struct block *first = disk_open(false), *second;

	(void)state;
	assert_non_null(strstr(open_fails(path, false, STATUS_BUSY), "locked by another VM"));
	assert_non_null(strstr(open_fails(path, true, STATUS_BUSY), "locked by another VM"));
	first->close(first);
	first = disk_open(true);
	second = disk_open(true); /* readers share */
	open_fails(path, false, STATUS_BUSY);
	first->close(first);
	second->close(second);
	first = disk_open(false);
	first->close(first);
}

static void what_cannot_be_a_disk_is_refused_in_one_line(void **state)
{
	char name[128];

	(void)state;
	snprintf(name, sizeof(name), "%s/none", folder);
	assert_non_null(strstr(open_fails(name, false, STATUS_NOT_FOUND), "no such file"));
	assert_non_null(strstr(open_fails(folder, false, STATUS_INVALID), "directory"));
	assert_non_null(strstr(open_fails(folder, true, STATUS_INVALID), "directory"));
	open_fails("/dev/null", false, STATUS_INVALID);
	snprintf(name, sizeof(name), "%s/fifo", folder);
	assert_int_equal(mkfifo(name, 0600), 0);
	open_fails(name, true, STATUS_INVALID); /* and does not wait for a writer */
	unlink(name);
	file_make(511);
	assert_non_null(strstr(open_fails(path, false, STATUS_INVALID), "shorter than a sector"));
	file_make(0);
	open_fails(path, false, STATUS_INVALID);
	file_make(SIZE);
	if (geteuid() == 0) { /* root may do anything: ask as nobody */
		pid_t child = fork();
		int status;

		if (child == 0) {
			struct block *block;
			struct reason why;

			_exit(seteuid(65534) || block_raw_open(&block, path, false, &why) != STATUS_PERMISSION);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	} else {
		chmod(path, 0);
		open_fails(path, false, STATUS_PERMISSION);
		chmod(path, 0600);
	}
}

static void a_tail_that_is_no_sector_is_left_alone(void **state)
{
	struct block *block;
	uint8_t bytes[512] = {0};

	(void)state;
	file_make(1024 + 100);
	block = disk_open(false);
	assert_int_equal(block->size, 1024);
	assert_int_equal(run(block, BLOCK_WRITE, 512, 512, bytes), STATUS_OK);
	assert_int_equal(run(block, BLOCK_WRITE, 1024, 512, bytes), STATUS_RANGE);
	block->close(block);
}

/* A sparse file, and a limit on how far it may be written: the guest gets an error, the process no signal. */
static void a_full_disk_is_no_space_and_no_death(void **state)
{
	struct rlimit before, limit;
	struct block *block = disk_open(false);
	uint8_t bytes[4096] = {7};
	enum status within, beyond;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 1 << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	within = run(block, BLOCK_WRITE, (1 << 20) - 4096, 4096, bytes);
	beyond = run(block, BLOCK_WRITE, 1 << 20, 4096, bytes);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(within, STATUS_OK);
	assert_int_equal(beyond, STATUS_NO_SPACE);
	assert_int_equal(run(block, BLOCK_WRITE, 1 << 20, 4096, bytes), STATUS_OK);
	block->close(block);
}

static pthread_t done_by;
static atomic_bool done_at_all;

static void note_thread(struct block_request *request, enum status status)
{
	(void)request;
	assert_int_equal(status, STATUS_OK);
	done_by = pthread_self();
	atomic_store(&done_at_all, true);
}

static bool done_by_submitter(struct block *block, bool elsewhere)
{
	static uint8_t bytes[4096];
	struct block_segment segment = {bytes, sizeof(bytes)};
	struct block_request request = {.operation = BLOCK_READ,
					.elsewhere = elsewhere,
					.length = sizeof(bytes),
					.segment = &segment,
					.segments = 1,
					.done = note_thread};

	atomic_store(&done_at_all, false);
	block_submit(block, &request);
	block->drain(block);
	assert_true(atomic_load(&done_at_all));
	return pthread_equal(done_by, pthread_self());
}

/* A thread that has served others' requests for long enough asks for them to be done elsewhere (block_rounds_bound). */
static void what_is_cached_is_answered_by_who_asks(void **state)
{
	struct block *block = disk_open(false);
	uint8_t bytes[4096] = {1};

	(void)state;
	assert_int_equal(run(block, BLOCK_WRITE, 0, sizeof(bytes), bytes), STATUS_OK);
	assert_false(done_by_submitter(block, true));
	if (done_by_submitter(block, false))
		assert_false(((struct raw_disk *)block)->no_nowait_read);
	else
		assert_true(((struct raw_disk *)block)->no_nowait_read); /* this file system cannot say what is cached */
	block->close(block);
}

/* What lies beside a request in the same block of the host's stays as it is, wherever the guest's memory is. */
static void what_does_not_fit_goes_through_a_buffer(void **state)
{
	struct block *block = disk_open(false);
	uint8_t *model = malloc(1 << 20), *seen = malloc(1 << 20), *memory = malloc((1 << 20) + 4096);
	uint64_t dice = 1;

	(void)state;
	pattern_fill(model, 1 << 20, 5);
	assert_int_equal(run(block, BLOCK_WRITE, 0, 1 << 20, model), STATUS_OK);
	for (unsigned i = 0; i < 200; i++) {
		uint64_t offset, length;
		uint8_t *bytes;

		dice = dice * 6364136223846793005u + 1442695040888963407u;
		offset = (dice >> 20) % 2000 * 512;
		length = (1 + (dice >> 40) % (i % 20 ? 20 : 1400)) * 512;
		if (length > (1 << 20) - offset)
			length = (1 << 20) - offset;
		bytes = memory + (i % 3 ? 0 : (dice >> 50) % 4096); /* at any address */
		if (i % 4 == 3) {
			assert_int_equal(run(block, BLOCK_READ, offset, length, bytes), STATUS_OK);
			assert_memory_equal(bytes, model + offset, length);
			continue;
		}
		pattern_fill(bytes, length, i);
		memcpy(model + offset, bytes, length);
		assert_int_equal(run(block, BLOCK_WRITE, offset, length, bytes), STATUS_OK);
	}
	assert_int_equal(run(block, BLOCK_READ, 0, 1 << 20, seen), STATUS_OK);
	assert_memory_equal(seen, model, 1 << 20);
	assert_true(file_holds(0, model, 1 << 20));
	block->close(block);
	free(model);
	free(seen);
	free(memory);
}

static void the_page_cache_stays_empty(void **state)
{
	struct block *block = disk_open(false);

	(void)state;
	assert_true(((struct raw_disk *)block)->direct);
	assert_true(fcntl(((struct raw_disk *)block)->fd, F_GETFL) & O_DIRECT);
	assert_false(done_by_submitter(block, false)); /* nobody but the disk has it */
	block->close(block);
}

static void file_systems_that_refuse_are_named(void **state)
{
	static const char file[] = "/sys/kernel/mm/transparent_hugepage/enabled"; /* of 4096 bytes, they say */
	struct reason why = {""};
	struct block *block;

	(void)state;
	if (access(file, R_OK))
		skip();
	assert_int_equal(block_raw_open_direct(&block, file, true, &why), STATUS_UNSUPPORTED);
	assert_null(block);
	assert_non_null(strstr(why.text, file));
	assert_non_null(strstr(why.text, "leave out cache=none"));
	assert_null(strchr(why.text, '\n'));
}

static int folder_make(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/holon-raw-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	chmod(folder, 0755);
	snprintf(path, sizeof(path), "%s/disk", folder);
	return 0;
}

static int folder_remove(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

#define PAST(test)                                                                                   \
	cmocka_unit_test_setup(test, past_the_cache), cmocka_unit_test_setup(test, in_large_blocks), \
		cmocka_unit_test_setup(test, in_large_blocks_by_threads)
#define BOTH(test) cmocka_unit_test_setup(test, with_io_uring), cmocka_unit_test_setup(test, with_threads)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_variable_chooses_threads, with_threads),
		cmocka_unit_test(short_transfers_are_continued),
		cmocka_unit_test(file_systems_without_holes_get_the_plainer_call),
		BOTH(what_is_written_is_read_and_in_the_file),
		BOTH(segments_of_any_length_are_put_together),
		BOTH(discard_makes_holes_and_zeroes_are_zero),
		BOTH(requests_out_of_bounds_are_answered),
		BOTH(readonly_disks_are_not_written),
		BOTH(many_threads_share_one_disk),
		BOTH(a_flood_is_served_and_drained),
		BOTH(a_file_grows_in_use),
		BOTH(what_is_cached_is_answered_by_who_asks),
		BOTH(streams_are_written_behind_the_guest),
		BOTH(two_opens_lock_each_other_out),
		BOTH(what_cannot_be_a_disk_is_refused_in_one_line),
		BOTH(a_tail_that_is_no_sector_is_left_alone),
		BOTH(a_full_disk_is_no_space_and_no_death),
		PAST(what_does_not_fit_goes_through_a_buffer),
		PAST(what_is_written_is_read_and_in_the_file),
		PAST(segments_of_any_length_are_put_together),
		PAST(discard_makes_holes_and_zeroes_are_zero),
		PAST(readonly_disks_are_not_written),
		PAST(many_threads_share_one_disk),
		PAST(a_flood_is_served_and_drained),
		PAST(a_file_grows_in_use),
		cmocka_unit_test_setup(the_page_cache_stays_empty, past_the_cache),
		cmocka_unit_test(file_systems_that_refuse_are_named),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
