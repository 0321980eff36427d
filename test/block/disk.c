/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.c - requests to a disk backend from a test's thread: see disk.h.
 */
#include "disk.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned left;
	enum status status;
};

static void request_done(struct block_request *request, enum status status)
{
	struct waiter *waiter = request->device;

	pthread_mutex_lock(&waiter->lock);
	if (status)
		waiter->status = status;
	if (--waiter->left == 0)
		pthread_cond_broadcast(&waiter->changed);
	pthread_mutex_unlock(&waiter->lock);
}

enum status disk_batch(struct block *block, struct block_request *list)
{
	struct waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, STATUS_OK};

	for (struct block_request *request = list; request; request = request->next) {
		request->device = &waiter;
		request->done = request_done;
		waiter.left++;
	}
	block_submit(block, list);
	pthread_mutex_lock(&waiter.lock);
	while (waiter.left)
		pthread_cond_wait(&waiter.changed, &waiter.lock);
	pthread_mutex_unlock(&waiter.lock);
	return waiter.status;
}

enum status disk_run(struct block *block, enum block_operation operation, uint64_t offset, uint64_t length, void *buffer)
{
	struct block_segment segment = {buffer, length};
	struct block_request request = {
		.operation = operation, .offset = offset, .length = length, .segment = &segment, .segments = 1};

	return disk_batch(block, &request);
}

uint64_t disk_random(struct disk_random *random, uint64_t below)
{
	random->state = random->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint64_t)(((unsigned __int128)(random->state ^ random->state >> 29) * below) >> 64);
}

void disk_pattern(uint8_t *bytes, size_t length, struct disk_random *random)
{
	uint64_t word = disk_random(random, UINT64_MAX) | 1;

	/* Some of it can be compressed, none of it is zero. */
	for (size_t i = 0; i < length; i++) {
		if (i % 8 == 0 && i % 64 < 32)
			word = word * UINT64_C(6364136223846793005) + 1;
		bytes[i] = (uint8_t)(word >> (i % 8 * 8)) | 1;
	}
}

void disk_die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}
