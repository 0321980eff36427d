/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_crash.c - what a flush has promised is there after a crash, and the image is whole but for leaks: `qcow2_crash kill|power ROUNDS [SEED]`.
 *
 * Every sector that is written holds its own number and the number of the write (its generation). A ledger has, for each sector, the newest generation that was submitted and
 * the newest that a completed flush covers; what is read later must lie between the two.
 *
 * kill: a child writes, and is killed (SIGKILL) in the middle; the next child goes on with what is left. power: the host's calls on the file are
 * logged (qcow2_crash_log.c) and played again up to a random instant. What a host flush covers is there; of the rest a random part of the sectors is.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend/block/image_change.h"
#include "backend/block/qcow2_block.h"
#include "backend/block/qcow2_check.h"
#include "backend/block/qcow2_snapshot.h"
#include "disk.h"
#include "qcow2_crash_log.h"

#define SECTOR 512u
#define SECTORS 24576u /* 12 MiB */
#define BATCH 6
#define PIECE 256u /* sectors at most */

struct ledger {
	uint32_t generation;
	uint32_t started; /* the child writes */
	struct sector {
		uint32_t submitted, flushed;
		uint32_t zero; /* the newest generation that may have left zeroes */
	} sector[SECTORS];
};

static struct ledger *ledger;
static char folder[64], path[96];
static struct disk_random dice;

static void sector_fill(uint8_t *bytes, uint32_t sector, uint32_t generation)
{
	uint64_t word = (uint64_t)sector << 32 | generation;

	for (unsigned i = 0; i < SECTOR; i += 8) {
		memcpy(bytes + i, &word, 8);
		word = word * UINT64_C(6364136223846793005) + 1442695040888963407u;
	}
}

/* The generation that a sector holds, 0 for zeroes. */
static uint32_t sector_read(const uint8_t *bytes, uint32_t sector)
{
	static const uint8_t zero[SECTOR];
	uint8_t wanted[SECTOR];
	uint64_t word;

	if (!memcmp(bytes, zero, SECTOR))
		return 0;
	memcpy(&word, bytes, 8);
	sector_fill(wanted, sector, (uint32_t)word);
	if (memcmp(bytes, wanted, SECTOR) != 0)
		disk_die("sector %u holds what was never written there", sector);
	return (uint32_t)word;
}

/* The writer */

static struct block *image_open_block(void)
{
	struct reason why = {""};
	struct block *block;

	if (block_qcow2_open(&block, path, false, &why))
		disk_die("%s", why.text);
	return block;
}

/* Fills a request with the next generation; it lies in a lane of its own, so that no two of a batch meet. */
static void request_make(struct block_request *request, struct block_segment *segment, uint8_t *bytes, unsigned lane)
{
	uint32_t lane_sectors = SECTORS / BATCH, length = 1 + (uint32_t)disk_random(&dice, disk_random(&dice, 4) ? 24 : PIECE);
	uint32_t first = lane * lane_sectors + (uint32_t)disk_random(&dice, lane_sectors - length),
		 generation = ++ledger->generation;
	uint64_t kind = disk_random(&dice, 8);

	*segment = (struct block_segment){bytes, length * SECTOR};
	*request = (struct block_request){.operation = kind == 0   ? BLOCK_DISCARD
						       : kind == 1 ? BLOCK_WRITE_ZEROES
								   : BLOCK_WRITE,
					  .may_unmap = generation & 1,
					  .offset = (uint64_t)first * SECTOR,
					  .length = length * SECTOR,
					  .segment = segment,
					  .segments = 1};
	for (uint32_t i = 0; i < length; i++) {
		struct sector *sector = &ledger->sector[first + i];

		sector_fill(bytes + (size_t)i * SECTOR, first + i, generation);
		if (kind < 2)
			__atomic_store_n(&sector->zero, generation, __ATOMIC_SEQ_CST);
		if (kind != 0)
			__atomic_store_n(&sector->submitted, generation, __ATOMIC_SEQ_CST);
	}
}

static void flushed_all(void)
{
	for (uint32_t i = 0; i < SECTORS; i++)
		__atomic_store_n(&ledger->sector[i].flushed, ledger->sector[i].submitted, __ATOMIC_SEQ_CST);
}

static void batch_write(struct block *block)
{
	static uint8_t bytes[BATCH][PIECE * SECTOR];
	struct block_request request[BATCH + 1];
	struct block_segment segment[BATCH];
	unsigned count = 1 + (unsigned)disk_random(&dice, BATCH), i;

	for (i = 0; i < count; i++)
		request_make(&request[i], &segment[i], bytes[i], i);
	if (disk_random(&dice, 4) == 0) /* in the middle of writes: promises nothing about them */
		request[count++] = (struct block_request){.operation = BLOCK_FLUSH};
	for (i = 0; i + 1 < count; i++)
		request[i].next = &request[i + 1];
	if (disk_batch(block, request))
		disk_die("a request failed");
	if (disk_random(&dice, 4))
		return;
	if (disk_run(block, BLOCK_FLUSH, 0, 0, NULL))
		disk_die("a flush failed");
	flushed_all();
}

/* Afterwards */

static void image_verify(const char *when, const char *file, const struct sector *promise)
{
	struct image_options options = {.readonly = true};
	struct qcow2_check check = {.quiet = true};
	struct reason why = {""};
	struct image *image;
	uint8_t *bytes = malloc((size_t)SECTORS * SECTOR);

	if (!bytes || image_open(&image, file, IMAGE_QCOW2, &options, &why) || qcow2_check(image->qcow2, &check, &why))
		disk_die("%s: %s", when, why.text);
	if (check.corruptions)
		disk_die("%s: %llu corruptions", when, (unsigned long long)check.corruptions);
	if (image_read_bytes(image, 0, (uint64_t)SECTORS * SECTOR, bytes))
		disk_die("%s: it cannot be read", when);
	for (uint32_t i = 0; i < SECTORS; i++) {
		uint32_t seen = sector_read(bytes + (size_t)i * SECTOR, i);
		bool good = seen ? seen >= promise[i].flushed && seen <= ledger->sector[i].submitted
				 : ledger->sector[i].zero >= promise[i].flushed;

		if (!good)
			disk_die("%s: sector %u has generation %u; flushed was %u, submitted %u, zero %u", when, i, seen,
				 promise[i].flushed, ledger->sector[i].submitted, ledger->sector[i].zero);
	}
	free(bytes);
	if (image_close(image))
		disk_die("%s: it cannot be closed", when);
}

/* What is there now is what there is to lose: it is in the host's page cache, which a killed process does not take along. */
static void ledger_settle(void)
{
	struct block *block = image_open_block();
	uint8_t *bytes = malloc((size_t)SECTORS * SECTOR);

	if (!bytes || disk_run(block, BLOCK_READ, 0, (uint64_t)SECTORS * SECTOR, bytes))
		disk_die("it cannot be read");
	for (uint32_t i = 0; i < SECTORS; i++) {
		uint32_t seen = sector_read(bytes + (size_t)i * SECTOR, i);

		ledger->sector[i].flushed = ledger->sector[i].submitted = seen;
		if (!seen)
			ledger->sector[i].zero = ledger->generation;
	}
	free(bytes);
	block->close(block);
}

/* An image with data that a snapshot shares, so that there is much to copy and to allocate. */
static void image_make(unsigned cluster_bits, bool extended)
{
	struct qcow2_format format = qcow2_format_default;
	struct image_options options = {.readonly = false};
	struct reason why = {""};
	struct image *image;
	struct block *block;

	unlink(path);
	format.cluster_bits = cluster_bits;
	format.extended_l2 = extended;
	memset(ledger, 0, sizeof(*ledger));
	if (image_create(path, IMAGE_QCOW2, &format, (uint64_t)SECTORS * SECTOR, &why))
		disk_die("%s", why.text);
	block = image_open_block();
	for (unsigned i = 0; i < 20; i++)
		batch_write(block);
	block->close(block);
	flushed_all();
	if (image_open(&image, path, IMAGE_QCOW2, &options, &why) || qcow2_snapshot_create(image->qcow2, "one", &why) ||
	    image_close(image))
		disk_die("%s", why.text);
}

static void wait_ms(uint64_t ms)
{
	struct timespec time = {0, (long)ms * 1000000};

	nanosleep(&time, NULL);
}

static void kill_round(unsigned number)
{
	pid_t child;
	char when[32];

	ledger->started = 0;
	child = fork();
	if (child == 0) {
		struct block *block = image_open_block();

		dice.state += number;
		__atomic_store_n(&ledger->started, 1, __ATOMIC_SEQ_CST);
		for (;;)
			batch_write(block);
	}
	while (!__atomic_load_n(&ledger->started, __ATOMIC_SEQ_CST) && !waitpid(child, NULL, WNOHANG))
		wait_ms(1);
	wait_ms(disk_random(&dice, 80));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	snprintf(when, sizeof(when), "kill %u", number);
	image_verify(when, path, ledger->sector);
	ledger_settle();
}

static void kill_rounds(unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		if (i % 25 == 0)
			image_make(i / 25 % 3 ? 16 : 12, i / 25 % 3 == 2);
		kill_round(i);
	}
}

/* One life of an image, logged; then many ends of it. */
static void power_rounds(unsigned rounds)
{
	enum { BATCHES = 120, CUTS = 40 };
	struct sector *promise = calloc(BATCHES + 1, sizeof(ledger->sector));
	uint64_t *instant = calloc(BATCHES + 1, sizeof(*instant));
	char copy[112], when[64];

	snprintf(copy, sizeof(copy), "%s/cut", folder);
	for (unsigned life = 0; life * CUTS < rounds; life++) {
		struct block *block;
		uint64_t end;

		image_make(life % 3 == 0 ? 12 : 16, life % 3 == 2);
		crash_log_begin(path);
		block = image_open_block();
		for (unsigned i = 0; i < BATCHES; i++) {
			memcpy(&promise[(size_t)i * SECTORS], ledger->sector, sizeof(ledger->sector));
			instant[i] = crash_log_now();
			batch_write(block);
		}
		end = crash_log_now();
		block->close(block);
		crash_log_end(100);
		for (unsigned cut = 0; cut < CUTS; cut++) {
			uint64_t at = disk_random(&dice, end + 1);
			unsigned i = 0;

			while (i + 1 < BATCHES && instant[i + 1] <= at)
				i++;
			crash_log_replay(copy, at, &dice);
			snprintf(when, sizeof(when), "life %u, cut at %llu of %llu", life, (unsigned long long)at,
				 (unsigned long long)end);
			image_verify(when, copy, &promise[(size_t)i * SECTORS]);
		}
	}
	unlink(copy);
	free(promise);
	free(instant);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 0;

	if (!rounds)
		disk_die("qcow2_crash kill|power ROUNDS [SEED]");
	dice.state = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
	snprintf(folder, sizeof(folder), "%s/holon-crash-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(folder))
		disk_die("%s: cannot be made", folder);
	snprintf(path, sizeof(path), "%s/a.qcow2", folder);
	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ledger == MAP_FAILED)
		disk_die("out of memory");
	setenv("HOLON_LOG", "error", 1);
	if (!strcmp(argv[1], "kill")) {
		kill_rounds(rounds);
	} else {
		setenv("HOLON_NO_IO_URING", "1", 1); /* the log sees the C library's calls */
		power_rounds(rounds);
	}
	printf("%u %s: nothing lost\n", rounds, argv[1]);
	unlink(path);
	rmdir(folder);
	return 0;
}
