/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_snapshot_cut.c - making, applying and deleting snapshots, with the power cut at every instant: `qcow2_snapshot_cut [SEED]`.
 *
 * The host's calls on the file are logged (qcow2_crash_log.c). For each instant there are files in which what no flush covered is there in part. Each must be whole but for
 * leaks, and hold the old image or the new one: the disk and every snapshot.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/block/image_change.h"
#include "backend/block/qcow2_check.h"
#include "backend/block/qcow2_snapshot.h"
#include "disk.h"
#include "qcow2_crash_log.h"

#define SIZE ((size_t)3 << 20)
#define SNAPSHOTS 3
#define PARTS 1 /* files for each instant */

struct contents {
	uint8_t *disk;
	unsigned snapshots;
	char name[SNAPSHOTS][8];
	uint8_t *snapshot[SNAPSHOTS];
};

static char folder[64], path[96], copy[96];
static struct disk_random dice;

static struct image *image_get(const char *file)
{
	struct image_options options = {.readonly = false};
	struct reason why = {""};
	struct image *image;

	if (image_open(&image, file, IMAGE_QCOW2, &options, &why))
		disk_die("%s", why.text);
	return image;
}

static void image_put(struct image *image)
{
	if (image_close(image))
		disk_die("it cannot be closed");
}

static uint8_t *disk_read(const char *when, struct image *image)
{
	uint8_t *bytes = malloc(SIZE);

	if (!bytes || image_read_bytes(image, 0, SIZE, bytes))
		disk_die("%s: it cannot be read", when);
	return bytes;
}

static void whole(const char *when, struct image *image)
{
	struct qcow2_check check = {.quiet = true};
	struct reason why = {""};

	if (qcow2_check(image->qcow2, &check, &why) || check.corruptions)
		disk_die("%s: %llu corruptions %s", when, (unsigned long long)check.corruptions, why.text);
}

/* The snapshots are read by applying them: the file is of no use afterwards. */
static void contents_read(const char *when, const char *file, struct contents *contents)
{
	struct image *image = image_get(file);
	struct qcow2_snapshots list;
	struct reason why = {""};

	whole(when, image);
	contents->disk = disk_read(when, image);
	if (qcow2_snapshots_read(image->qcow2, &list, &why) || list.count > SNAPSHOTS)
		disk_die("%s: %u snapshots %s", when, list.count, why.text);
	contents->snapshots = list.count;
	for (unsigned i = 0; i < list.count; i++) {
		snprintf(contents->name[i], sizeof(contents->name[i]), "%s", list.snapshot[i].name);
		if (qcow2_snapshot_apply(image->qcow2, contents->name[i], &why))
			disk_die("%s: %s", when, why.text);
		contents->snapshot[i] = disk_read(when, image);
	}
	qcow2_snapshots_free(&list);
	whole(when, image);
	image_put(image);
}

static void contents_free(struct contents *contents)
{
	free(contents->disk);
	for (unsigned i = 0; i < contents->snapshots; i++)
		free(contents->snapshot[i]);
}

static bool contents_same(const struct contents *one, const struct contents *other)
{
	if (memcmp(one->disk, other->disk, SIZE) != 0 || one->snapshots != other->snapshots)
		return false;
	for (unsigned i = 0; i < one->snapshots; i++)
		if (strcmp(one->name[i], other->name[i]) != 0 || memcmp(one->snapshot[i], other->snapshot[i], SIZE) != 0)
			return false;
	return true;
}

static void file_copy(const char *from, const char *to)
{
	static uint8_t bytes[1 << 16];
	FILE *in = fopen(from, "re"), *out = fopen(to, "we");
	size_t got;

	while (in && out && (got = fread(bytes, 1, sizeof(bytes), in)) > 0)
		if (fwrite(bytes, 1, got, out) != got)
			disk_die("%s: cannot be written", to);
	if (!in || !out || fclose(out))
		disk_die("%s: cannot be copied to %s", from, to);
	fclose(in);
}

static void contents_copy(const char *when, struct contents *contents)
{
	file_copy(path, copy);
	contents_read(when, copy, contents);
}

static enum status operate(const char *what, struct image *image, const char *name, struct reason *why)
{
	if (!strcmp(what, "create"))
		return qcow2_snapshot_create(image->qcow2, name, why);
	return (strcmp(what, "apply") ? qcow2_snapshot_delete : qcow2_snapshot_apply)(image->qcow2, name, why);
}

static unsigned operation_cut(const char *what, const char *name)
{
	struct contents before, after, seen;
	struct reason why = {""};
	struct image *image;
	unsigned old = 0, new = 0, part;
	uint64_t at, end;
	char when[96];

	contents_copy(what, &before);
	crash_log_begin(path);
	image = image_get(path);
	if (operate(what, image, name, &why))
		disk_die("%s %s: %s", what, name, why.text);
	image_put(image);
	end = crash_log_now();
	crash_log_end(4);
	contents_copy(what, &after);
	for (at = 0; at <= end; at++) {
		for (part = 0; part < PARTS; part++) {
			bool is_old, is_new;

			crash_log_replay(copy, at, &dice);
			snprintf(when, sizeof(when), "%s %s, cut at %llu of %llu", what, name, (unsigned long long)at,
				 (unsigned long long)end);
			contents_read(when, copy, &seen);
			is_old = contents_same(&seen, &before);
			is_new = contents_same(&seen, &after);
			if (!is_old && !is_new)
				disk_die("%s: neither the old image nor the new one", when);
			old += is_old;
			new += is_new;
			contents_free(&seen);
		}
	}
	if (!old || !new)
		disk_die("%s %s: %u times the old image, %u times the new one: both must be", what, name, old, new);
	contents_free(&before);
	contents_free(&after);
	return (unsigned)end * PARTS;
}

/* Data, zeroes, holes. */
static void image_write_some(unsigned count)
{
	struct image *image = image_get(path);
	static uint8_t bytes[1 << 17];

	while (count--) {
		uint64_t length = (1 + disk_random(&dice, sizeof(bytes) / 512)) * 512;
		uint64_t offset = disk_random(&dice, (SIZE - length) / 512) * 512;
		enum status status;

		disk_pattern(bytes, length, &dice);
		if (disk_random(&dice, 5))
			status = image_write_bytes(image, offset, length, bytes);
		else
			status = image_write_zeroes(image, offset, length);
		if (status)
			disk_die("it cannot be written");
	}
	image_put(image);
}

static unsigned shape_cut(unsigned cluster_bits, bool extended, unsigned version)
{
	static const struct {
		const char *what, *name;
	} step[] = {{"create", "a"}, {"create", "b"}, {"apply", "a"}, {"create", "c"},
		    {"delete", "b"}, {"apply", "c"},  {"delete", "a"}};
	struct qcow2_format format = qcow2_format_default;
	struct reason why = {""};
	unsigned cuts = 0, i;

	unlink(path);
	format.cluster_bits = cluster_bits;
	format.extended_l2 = extended;
	format.version = version;
	if (image_create(path, IMAGE_QCOW2, &format, SIZE, &why))
		disk_die("%s", why.text);
	for (i = 0; i < sizeof(step) / sizeof(step[0]); i++) {
		image_write_some(12);
		cuts += operation_cut(step[i].what, step[i].name);
	}
	return cuts;
}

int main(int argc, char **argv)
{
	unsigned cuts = 0;

	dice.state = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	/* In memory if that can be: what is stable is the log's to say, not the host's disk's. */
	snprintf(folder, sizeof(folder), "%s/holon-cut-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(folder))
		disk_die("%s: cannot be made", folder);
	snprintf(path, sizeof(path), "%s/a.qcow2", folder);
	snprintf(copy, sizeof(copy), "%s/copy.qcow2", folder);
	cuts += shape_cut(16, false, 3);
	cuts += shape_cut(12, false, 2);
	cuts += shape_cut(14, true, 3);
	printf("%u cuts of snapshot operations: the old image or the new one, whole\n", cuts);
	unlink(path);
	unlink(copy);
	rmdir(folder);
	return 0;
}
