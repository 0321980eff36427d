/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_exercise.c - random requests to a qcow2 disk, the same to a plain file: `qcow2_exercise IMAGE REFERENCE SEED ROUNDS`. Called by qcow2_qemu_test.
 *
 * REFERENCE has the disk's bytes when it begins and when it ends. Each round submits neighbouring requests as one batch, so that several are in one cluster at a time, and reads
 * something back. Exit status 1 and a line: something was not as it should be.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/block/qcow2_block.h"
#include "disk.h"

#define SECTOR 512u
#define BATCH 8
#define PIECE_MAX (UINT64_C(3) << 20)

struct exercise {
	struct block *block;
	uint8_t *reference;
	struct disk_random random;
	uint8_t *buffer; /* BATCH * PIECE_MAX */
};

static uint64_t sectors_choose(struct exercise *exercise)
{
	switch (disk_random(&exercise->random, 8)) {
	case 0: return 1 + disk_random(&exercise->random, PIECE_MAX / SECTOR);
	case 1:
	case 2: return UINT64_C(1) << disk_random(&exercise->random, 12);
	default: return 1 + disk_random(&exercise->random, 32);
	}
}

static enum block_operation operation_choose(struct exercise *exercise)
{
	static const enum block_operation operation[] = {BLOCK_READ,  BLOCK_WRITE,   BLOCK_WRITE,        BLOCK_WRITE,
							 BLOCK_WRITE, BLOCK_DISCARD, BLOCK_WRITE_ZEROES, BLOCK_WRITE_ZEROES};

	return operation[disk_random(&exercise->random, 8)];
}

/* What a discarded range is now: each sector as before or zero. The reference follows. */
static void discard_follow(struct exercise *exercise, uint64_t offset, uint64_t length)
{
	static const uint8_t zero[SECTOR];
	uint8_t *seen = exercise->buffer;

	if (disk_run(exercise->block, BLOCK_READ, offset, length, seen))
		disk_die("a read of %llu bytes at %llu failed", (unsigned long long)length, (unsigned long long)offset);
	for (uint64_t at = 0; at < length; at += SECTOR) {
		if (memcmp(seen + at, exercise->reference + offset + at, SECTOR) != 0 && memcmp(seen + at, zero, SECTOR) != 0)
			disk_die("the sector at %llu is neither discarded nor what it was", (unsigned long long)offset + at);
		memcpy(exercise->reference + offset + at, seen + at, SECTOR);
	}
}

static void compare(struct exercise *exercise, const uint8_t *seen, uint64_t offset, uint64_t length)
{
	for (uint64_t at = 0; at < length; at += SECTOR)
		if (memcmp(seen + at, exercise->reference + offset + at, SECTOR) != 0)
			disk_die("the sector at %llu is not what was written", (unsigned long long)offset + at);
}

static void read_back(struct exercise *exercise, uint64_t offset, uint64_t length)
{
	if (disk_run(exercise->block, BLOCK_READ, offset, length, exercise->buffer))
		disk_die("a read of %llu bytes at %llu failed", (unsigned long long)length, (unsigned long long)offset);
	compare(exercise, exercise->buffer, offset, length);
}

static void request_finish(struct exercise *exercise, const struct block_request *request)
{
	uint8_t *reference = exercise->reference + request->offset;

	switch (request->operation) {
	case BLOCK_READ: compare(exercise, request->segment->base, request->offset, request->length); break;
	case BLOCK_WRITE:
		for (unsigned i = 0; i < request->segments; i++) {
			memcpy(reference, request->segment[i].base, request->segment[i].length);
			reference += request->segment[i].length;
		}
		break;
	case BLOCK_WRITE_ZEROES: memset(reference, 0, request->length); break;
	default: break;
	}
}

/* Neighbouring requests, from a place that is often near the last one. */
static void round_run(struct exercise *exercise)
{
	static uint64_t near;
	struct block_request request[BATCH];
	struct block_segment segment[BATCH][2];
	uint64_t sectors = exercise->block->size / SECTOR, at;
	unsigned count = 0, wanted = 1 + (unsigned)disk_random(&exercise->random, BATCH);

	at = disk_random(&exercise->random, 3) ? near + disk_random(&exercise->random, 256)
					       : disk_random(&exercise->random, sectors);
	near = at % sectors;
	for (at = near; count < wanted && at < sectors; count++) {
		uint64_t length = sectors_choose(exercise), first;
		uint8_t *bytes = exercise->buffer + count * PIECE_MAX;

		length = (length < sectors - at ? length : sectors - at) * SECTOR;
		first = disk_random(&exercise->random, length);
		segment[count][0] = (struct block_segment){bytes, first};
		segment[count][1] = (struct block_segment){bytes + first, length - first};
		request[count] = (struct block_request){.operation = operation_choose(exercise),
							.may_unmap = disk_random(&exercise->random, 2),
							.offset = at * SECTOR,
							.length = length,
							.segment = segment[count],
							.segments = 2};
		if (request[count].operation == BLOCK_WRITE)
			disk_pattern(bytes, length, &exercise->random);
		if (count)
			request[count - 1].next = &request[count];
		at += length / SECTOR;
	}
	if (disk_batch(exercise->block, request))
		disk_die("a request failed");
	for (unsigned i = 0; i < count; i++) {
		segment[i][0].length += segment[i][1].length; /* they are neighbours in memory */
		request[i].segments = 1;
		request_finish(exercise, &request[i]);
	}
	for (unsigned i = 0; i < count; i++)
		if (request[i].operation == BLOCK_DISCARD)
			discard_follow(exercise, request[i].offset, request[i].length);
	read_back(exercise, near * SECTOR, (sectors - near < 64 ? sectors - near : 64) * SECTOR);
	if (disk_random(&exercise->random, 20) == 0 && disk_run(exercise->block, BLOCK_FLUSH, 0, 0, NULL))
		disk_die("a flush failed");
}

int main(int argc, char **argv)
{
	struct exercise exercise = {0};
	struct reason why = {""};
	unsigned long rounds;
	int fd;

	if (argc != 5)
		disk_die("qcow2_exercise IMAGE REFERENCE SEED ROUNDS");
	exercise.random.state = strtoull(argv[3], NULL, 0);
	rounds = strtoul(argv[4], NULL, 0);
	if (block_qcow2_open(&exercise.block, argv[1], rounds == 0, &why))
		disk_die("%s", why.text);
	fd = open(argv[2], O_RDWR);
	exercise.reference = mmap(NULL, exercise.block->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	exercise.buffer = malloc(BATCH * PIECE_MAX);
	if (fd < 0 || exercise.reference == MAP_FAILED || !exercise.buffer)
		disk_die("%s: cannot be mapped", argv[2]);
	for (unsigned long i = 0; i < rounds; i++)
		round_run(&exercise);
	for (uint64_t at = 0; at < exercise.block->size; at += PIECE_MAX)
		read_back(&exercise, at, exercise.block->size - at < PIECE_MAX ? exercise.block->size - at : PIECE_MAX);
	exercise.block->close(exercise.block);
	free(exercise.buffer);
	return 0;
}
