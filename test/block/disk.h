/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.h - what the disk tests share: requests that one thread waits for, patterns, random numbers that repeat.
 */
#ifndef HOLON_TEST_BLOCK_DISK_H
#define HOLON_TEST_BLOCK_DISK_H

#include <stddef.h>
#include <stdint.h>

#include <holon/block.h>

/* Submits the list as one batch and waits. The last status that was not OK. */
enum status disk_batch(struct block *block, struct block_request *list);
enum status disk_run(struct block *block, enum block_operation operation, uint64_t offset, uint64_t length, void *buffer);

struct disk_random {
	uint64_t state;
};
uint64_t disk_random(struct disk_random *random, uint64_t below);
void disk_pattern(uint8_t *bytes, size_t length, struct disk_random *random);

/* Ends the program with a line. */
_Noreturn void disk_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
