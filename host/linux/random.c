/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random.c - the kernel's random bytes. getrandom(2) waits only until the kernel's generator is seeded, early in the host's boot.
 */
#include <errno.h>
#include <sys/random.h>

#include "host/linux/linux.h"

void host_random(void *buffer, size_t size)
{
	uint8_t *out = buffer;

	while (size) {
		ssize_t got = getrandom(out, size, 0);

		if (got < 0 && errno == EINTR)
			continue;
		bug_on(got <= 0);
		out += got;
		size -= (size_t)got;
	}
}
