/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_failure.c - says that a call on a disk's file failed: the same trouble of one disk once a minute. onerror=pause tries again each second, as long as
 * a full host stays full, and a guest may try as often as it likes. Called by raw_step.c, image_file.c and nbd.c.
 */
#include "disk_failure.h"

#include <pthread.h>
#include <string.h>

#include <holon/host.h>

#define SILENCE_NS (UINT64_C(60) * 1000000000)
#define TROUBLES 16u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* what follows; a leaf */
static struct {
	uint64_t key, said_ns;
} said[TROUBLES];

bool disk_failure_is_news(const char *text, int kind)
{
	uint64_t key = UINT64_C(0xcbf29ce484222325) ^ (unsigned)kind, now = host_time_ns();
	bool news;

	for (; *text; text++)
		key = (key ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	pthread_mutex_lock(&lock);
	news = said[key % TROUBLES].key != key || now - said[key % TROUBLES].said_ns >= SILENCE_NS;
	if (news) {
		said[key % TROUBLES].key = key;
		said[key % TROUBLES].said_ns = now;
	}
	pthread_mutex_unlock(&lock);
	return news;
}

void disk_failure_log(const char *path, const char *what, uint64_t offset, uint64_t length, int error)
{
	if (disk_failure_is_news(path, error))
		host_log(HOST_LOG_WARN, "disk %s: %s of %llu bytes at %llu failed: %s", path, what, (unsigned long long)length,
			 (unsigned long long)offset, strerror(error));
}
