/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks_guest.c - for properties_test, in the guest: `blocks_guest zero|unmap|discard DEVICE OFFSET LENGTH` has a block device write zeroes, write zeroes
 * where holes are welcome, or discard. In MiB. What the device does not do fails: the kernel writes no zeroes in its place for `unmap` and `discard`.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(int count, char **words)
{
	uint64_t range[2];
	int fd, result;

	if (count != 5)
		return 64;
	fd = open(words[2], O_RDWR);
	range[0] = strtoull(words[3], NULL, 10) << 20;
	range[1] = strtoull(words[4], NULL, 10) << 20;
	if (!strcmp(words[1], "zero"))
		result = fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)range[0], (off_t)range[1]);
	else if (!strcmp(words[1], "unmap"))
		result = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)range[0], (off_t)range[1]);
	else
		result = ioctl(fd, BLKDISCARD, range);
	if (result || fsync(fd)) {
		perror(words[1]);
		return 1;
	}
	return 0;
}
