/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_fuzz.c - damaged qcow2 images: headers, L1, L2, refcount and snapshot tables with anything in them, opened, read, written, checked, repaired.
 *
 * The bytes of an input choose one of a few good images that are made at the start, then places in it and what is put there, then what is done with
 * the image. Nothing may crash, hang or grow, whatever it says; and what a repair has mended, the next check finds whole.
 *
 * Under clang it is a libFuzzer target (test/fuzz/device_fuzz.c says how to build one). Else it makes inputs itself: `qcow2_fuzz [--runs N] [--seed N]
 * [--seconds N]`, for two minutes under ASan and for a moment without; or it replays the files that it is given.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "backend/block/image_change.h"
#include "backend/block/qcow2_check.h"
#include "backend/block/qcow2_image.h"
#include "backend/block/qcow2_snapshot.h"
#include "host/linux/linux.h"

#define DISK (UINT64_C(512) << 10)
#define FILE_MAX (UINT64_C(16) << 20) /* of the host: beyond it a write fails */
#define PIECE 40000
#define DISK_LOOKED_AT (UINT64_C(4) << 20) /* a header may say any size */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct base {
	uint8_t *bytes;
	size_t size;
};
static struct base base[8];
static unsigned bases;
static int memory;
static char path[64];

static void must(enum status status, const struct reason *why)
{
	if (status) {
		fprintf(stderr, "qcow2_fuzz: %s: %s\n", status_name(status), why->text);
		abort();
	}
}

static void file_fill(const uint8_t *bytes, size_t size)
{
	if (ftruncate(memory, 0) || pwrite(memory, bytes, size, 0) != (ssize_t)size)
		abort();
}

static void base_keep(void)
{
	struct base *new = &base[bases++];

	new->size = (size_t)lseek(memory, 0, SEEK_END);
	new->bytes = malloc(new->size);
	if (!new->bytes || pread(memory, new->bytes, new->size, 0) != (ssize_t) new->size)
		abort();
}

/* A small image with data, zeroes, compressed clusters and a snapshot. */
static void base_make(unsigned version, unsigned cluster_bits, unsigned refcount_order, bool extended, unsigned compression)
{
	struct qcow2_format format = {version, cluster_bits, refcount_order, compression, extended, false, NULL, NULL};
	struct image_options options = {.readonly = false};
	struct image_file file = {.fd = memory, .path = path, .regular = true};
	struct reason why = {""};
	struct image *image;
	uint8_t bytes[6000];

	memset(bytes, 'x', sizeof(bytes));
	file_fill(bytes, 0);
	must(qcow2_create(&file, &format, DISK, &why), &why);
	must(image_open(&image, path, IMAGE_QCOW2, &options, &why), &why);
	for (unsigned i = 0; i < 6; i++)
		must(image_write_bytes(image, i * UINT64_C(70000) / 512 * 512, sizeof(bytes), bytes), &why);
	if (refcount_order)
		must(qcow2_snapshot_create(image->qcow2, "one", &why), &why);
	for (unsigned i = 0; i < 3; i++)
		must(image_write_bytes(image, i * UINT64_C(70000) / 512 * 512, sizeof(bytes), bytes), &why);
	must(image_write_zeroes(image, 140032, 66048), &why);
	if (cluster_bits <= 12)
		must(qcow2_write_packed(image->qcow2, DISK / 2 + 65536, bytes), &why);
	must(image_close(image), &why);
	base_keep();
}

static void bases_make(void)
{
	struct rlimit limit = {FILE_MAX, FILE_MAX};

	setenv("HOLON_LOG", "error", 1);
	host_log_start();
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	memory = memfd_create("qcow2", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	base_make(3, 9, 4, false, QCOW2_COMPRESSION_ZLIB);
	base_make(3, 12, 4, false, QCOW2_COMPRESSION_ZSTD);
	base_make(3, 14, 4, true, QCOW2_COMPRESSION_ZLIB);
	base_make(2, 9, 4, false, QCOW2_COMPRESSION_ZLIB);
	base_make(3, 9, 6, false, QCOW2_COMPRESSION_ZLIB);
	base_make(3, 10, 0, false, QCOW2_COMPRESSION_ZLIB);
	base_make(3, 12, 1, false, QCOW2_COMPRESSION_ZLIB);
}

/* The input, eaten from its beginning; zeroes follow its end. */
struct input {
	const uint8_t *data;
	size_t left;
};

static uint64_t take(struct input *input, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes--) {
		value = value << 8 | (input->left ? *input->data : 0);
		if (input->left) {
			input->data++;
			input->left--;
		}
	}
	return value;
}

static uint64_t number_of(const struct base *from, size_t at)
{
	return at + 8 <= from->size ? qcow2_get64(from->bytes + at) : 0;
}

/* Where a table begins in a good image. */
static uint64_t table_place(const struct base *from, unsigned which)
{
	uint64_t l1 = number_of(from, QCOW2_HEADER_L1_OFFSET), table = number_of(from, QCOW2_HEADER_REFCOUNT_TABLE_OFFSET);

	switch (which) {
	case 0: return 0;
	case 1: return l1;
	case 2: return number_of(from, l1) & QCOW2_ENTRY_OFFSET;
	case 3: return table;
	case 4: return number_of(from, table);
	case 5: return number_of(from, QCOW2_HEADER_SNAPSHOTS_OFFSET);
	case 6: return number_of(from, l1 + 8) & QCOW2_ENTRY_OFFSET;
	default: return number_of(from, number_of(from, QCOW2_HEADER_SNAPSHOTS_OFFSET));
	}
}

/* Eight bytes, or one, become another value: a changed bit, another place of the file, anything. */
static void damage(struct input *input, const struct base *from, uint8_t *bytes)
{
	uint64_t choice = take(input, 1), place = table_place(from, choice & 7) + take(input, 2) % (choice & 0x40 ? 4096 : 128),
		 value;

	if (choice & 0x80) {
		if (place < from->size)
			bytes[place] = (uint8_t)take(input, 1);
		return;
	}
	place &= ~UINT64_C(7);
	if (place + 8 > from->size)
		return;
	value = qcow2_get64(bytes + place);
	switch (choice >> 4 & 3) {
	case 0: value ^= UINT64_C(1) << (take(input, 1) & 63); break;
	case 1: value = (value & ~QCOW2_ENTRY_OFFSET) | (take(input, 2) * 512 & QCOW2_ENTRY_OFFSET); break;
	case 2: value = take(input, 8); break;
	default: value += take(input, 1) << (take(input, 1) & 63); break;
	}
	qcow2_put64(bytes + place, value);
}

static enum status step(struct image *image, struct input *input)
{
	static uint8_t bytes[PIECE + 512];
	uint64_t choice = take(input, 1), offset = take(input, 2) * 512, length = (take(input, 1) % (PIECE / 512) + 1) * 512;
	uint64_t size = image->size < DISK_LOOKED_AT ? image->size : DISK_LOOKED_AT;
	struct qcow2_check check = {.quiet = true};
	struct reason why;

	if (choice % 16 < 8 && (offset >= size || length > size - offset))
		offset = length > size ? 0 : (size - length) / 512 * 512;
	if (choice % 16 < 8 && length > size)
		return STATUS_OK;
	switch (choice % 16) {
	case 0:
	case 1: return image_read_bytes(image, offset, length, bytes);
	case 2:
	case 3:
	case 4: return image_write_bytes(image, offset, length, bytes);
	case 5: return qcow2_write_zeroes(image->qcow2, offset, length, choice & 16);
	case 6: return qcow2_discard(image->qcow2, offset, length);
	case 7: return image_flush(image);
	case 8: return qcow2_snapshot_create(image->qcow2, "two", &why);
	case 9: return qcow2_snapshot_apply(image->qcow2, choice & 16 ? "one" : "two", &why);
	case 10: return qcow2_snapshot_delete(image->qcow2, choice & 16 ? "one" : "two", &why);
	case 11: return qcow2_resize(image->qcow2, image->size = size / 2 + offset, &why);
	case 12:
		check.repair = !image->readonly && (choice & 16);
		return qcow2_flush(image->qcow2) ? STATUS_IO : qcow2_check(image->qcow2, &check, &why);
	default: return image_flush(image);
	}
}

/* A repair leaves nothing that it says it has mended. */
static void repair_holds(void)
{
	struct image_options options = {.alone = true, .damaged = true};
	struct qcow2_check check = {.repair = true, .quiet = true}, again = {.quiet = true};
	struct reason why;
	struct image *image;
	enum status status;

	if (image_open(&image, path, IMAGE_QCOW2, &options, &why))
		return;
	status = qcow2_check(image->qcow2, &check, &why);
	if (!status)
		status = qcow2_check(image->qcow2, &again, &why);
	/* Where something cannot be mended, tables may lie on top of one another: then mending one damages another. */
	if (!status && check.corruptions == check.corruptions_fixed && (again.leaks || again.corruptions))
		abort();
	if (image_close(image))
		return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct image_options options = {0};
	struct reason why;
	struct image *image;
	const struct base *from;
	uint8_t *bytes;
	uint64_t choice;

	if (!bases)
		bases_make();
	choice = take(&input, 1);
	from = &base[choice % bases];
	options.readonly = choice & 0x40;
	options.damaged = choice & 0x80;
	options.alone = true;
	bytes = malloc(from->size);
	if (!bytes)
		return 0;
	memcpy(bytes, from->bytes, from->size);
	for (uint64_t i = take(&input, 1) % 6; i; i--)
		damage(&input, from, bytes);
	file_fill(bytes, from->size);
	free(bytes);
	if (!image_open(&image, path, IMAGE_QCOW2, &options, &why)) {
		for (unsigned i = 0; i < 24 && input.left; i++)
			if (step(image, &input) && (choice & 0x20))
				break;
		if (image_close(image))
			choice |= 0x100; /* whatever it says, it has to be a good file or none */
	}
	if (choice & 0x10)
		repair_holds();
	return 0;
}

#ifndef HOLON_LIBFUZZER
static uint64_t state = 1;

static uint8_t random_byte(void)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint8_t)(state >> 56);
}

static void replay(const char *name)
{
	static uint8_t bytes[1 << 16];
	FILE *file = fopen(name, "re");
	size_t size = file ? fread(bytes, 1, sizeof(bytes), file) : 0;

	if (file)
		fclose(file);
	LLVMFuzzerTestOneInput(bytes, size);
}

int main(int argc, char **argv)
{
	unsigned long runs = 0, limit = 0;
	time_t begin = time(NULL), seconds = 3;
	uint8_t bytes[128];

#ifdef __SANITIZE_ADDRESS__
	seconds = 120;
#endif
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--runs") && i + 1 < argc) {
			limit = strtoul(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
			state = strtoull(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--seconds") && i + 1 < argc) {
			seconds = strtol(argv[++i], NULL, 0);
		} else {
			replay(argv[i]);
			limit = 1;
			runs = 1;
		}
	}
	for (; limit ? runs < limit : time(NULL) - begin < seconds; runs++) {
		size_t size = 20 + random_byte() % 100;

		for (size_t i = 0; i < size; i++)
			bytes[i] = random_byte();
		LLVMFuzzerTestOneInput(bytes, size);
	}
	printf("%lu images\n", runs);
	return 0;
}
#endif
