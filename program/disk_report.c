/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_report.c - what `holon disk` prints: lines for people, JSON for programs.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "program/disk_words.h"

/* Names come from files: what is no text must not make JSON fail. */
static json_t *json_text(const char *text)
{
	json_t *string = text ? json_string(text) : json_null();

	return string ? string : json_string("?");
}

static bool json_print(json_t *object)
{
	bool good = object && !json_dumpf(object, stdout, JSON_INDENT(2)) && putchar('\n') == '\n';

	json_decref(object);
	return good;
}

static json_t *snapshots_json(const struct qcow2_snapshots *list)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < list->count; i++) {
		const struct qcow2_snapshot *snapshot = &list->snapshot[i];

		json_array_append_new(array,
				      json_pack("{s:o, s:o, s:I, s:I, s:I}", "id", json_text(snapshot->id), "name",
						json_text(snapshot->name), "date", (json_int_t)snapshot->date, "size",
						(json_int_t)snapshot->disk_size, "vm-state-size", (json_int_t)snapshot->vm_state));
	}
	return array;
}

static bool info_json(const char *path, enum image_format format, const struct image_info *info)
{
	json_t *object = json_pack("{s:o, s:s, s:I, s:I}", "file", json_text(path), "format", image_format_name(format), "size",
				   (json_int_t)info->size, "disk-size", (json_int_t)info->disk_size);

	if (object && format == IMAGE_QCOW2) {
		json_t *qcow2 = json_pack("{s:i, s:I, s:i, s:s, s:b, s:b, s:b, s:b, s:o, s:o, s:o}", "version", (int)info->version,
					  "cluster-size", (json_int_t)info->cluster_size, "refcount-bits", (int)info->refcount_bits,
					  "compression", info->compression, "extended-l2", info->extended_l2, "lazy-refcounts",
					  info->lazy_refcounts, "dirty", info->dirty, "corrupt", info->corrupt, "backing-file",
					  json_text(info->backing), "backing-format", json_text(info->backing_format), "snapshots",
					  snapshots_json(&info->snapshots));

		json_object_update(object, qcow2);
		json_decref(qcow2);
	}
	return json_print(object);
}

/* "10 GiB (10737418240 bytes)". */
static void size_print(const char *what, uint64_t bytes)
{
	static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	unsigned i = 0;

	while (value >= 1024 && i < 6) {
		value /= 1024;
		i++;
	}
	printf(i ? "%s: %.4g %s (%llu bytes)\n" : "%s: %.0f %s\n", what, value, unit[i], (unsigned long long)bytes);
}

/* A name from a file may hold what a terminal would obey. */
static void text_print(const char *text)
{
	for (; *text; text++)
		putchar((unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
}

static void snapshots_print(const struct qcow2_snapshots *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct qcow2_snapshot *snapshot = &list->snapshot[i];
		time_t date = snapshot->date;
		struct tm local;
		char when[32] = "?";

		if (localtime_r(&date, &local))
			strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &local);
		text_print(snapshot->id);
		printf("  %s  ", when);
		text_print(snapshot->name);
		putchar('\n');
	}
}

static void qcow2_print(const struct image_info *info)
{
	printf("version: %u, clusters of %llu bytes, refcounts of %u bits, %s%s%s\n", info->version,
	       (unsigned long long)info->cluster_size, info->refcount_bits, info->compression,
	       info->extended_l2 ? ", extended L2 entries" : "", info->lazy_refcounts ? ", lazy refcounts" : "");
	if (info->dirty)
		puts("state: it was not closed, or is in use; its refcounts are made anew when it is next opened for writing");
	if (info->corrupt)
		puts("state: marked as damaged; holon disk check --repair");
	if (info->backing) {
		fputs("backing file: ", stdout);
		text_print(info->backing);
		fputs(" (", stdout);
		text_print(info->backing_format ? info->backing_format : "format not said");
		puts(")");
	}
	if (info->snapshots.count)
		puts("snapshots:");
	snapshots_print(&info->snapshots);
}

bool disk_report_info(const char *path, enum image_format format, const struct image_info *info, bool json)
{
	if (json)
		return info_json(path, format, info);
	fputs("file: ", stdout);
	text_print(path);
	printf("\nformat: %s\n", image_format_name(format));
	size_print("size", info->size);
	size_print("on the host", info->disk_size);
	if (format == IMAGE_QCOW2)
		qcow2_print(info);
	return true;
}

bool disk_report_snapshots(const struct image_info *info, bool json)
{
	if (json)
		return json_print(snapshots_json(&info->snapshots));
	snapshots_print(&info->snapshots);
	return true;
}

bool disk_report_check(const char *path, const struct qcow2_check *check, bool json)
{
	uint64_t corruptions = check->corruptions - check->corruptions_fixed, leaks = check->leaks - check->leaks_fixed;

	if (json)
		return json_print(json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "file", json_text(path), "corruptions",
					    (json_int_t)corruptions, "leaks", (json_int_t)leaks, "corruptions-fixed",
					    (json_int_t)check->corruptions_fixed, "leaks-fixed", (json_int_t)check->leaks_fixed,
					    "clusters", (json_int_t)check->clusters, "allocated", (json_int_t)check->allocated,
					    "compressed", (json_int_t)check->packed, "end", (json_int_t)check->end));
	if (check->corruptions_fixed || check->leaks_fixed)
		printf("repaired: %llu corruptions, %llu leaked clusters\n", (unsigned long long)check->corruptions_fixed,
		       (unsigned long long)check->leaks_fixed);
	if (corruptions)
		printf("%llu corruptions: %s\n", (unsigned long long)corruptions,
		       check->repair ? "they cannot be repaired; copy what can be read: holon disk convert"
				     : "do not write to it before: holon disk check --repair");
	if (leaks)
		printf("%llu leaked clusters: they cost space and do no harm; holon disk check --repair frees them\n",
		       (unsigned long long)leaks);
	if (!corruptions && !leaks)
		puts("no errors");
	printf("%llu of %llu clusters are allocated, %llu of them compressed; the file is in use up to byte %llu\n",
	       (unsigned long long)check->allocated, (unsigned long long)check->clusters, (unsigned long long)check->packed,
	       (unsigned long long)check->end);
	return true;
}

bool disk_report_done(const struct disk_words *words, const char *path)
{
	return !words->json || json_print(json_pack("{s:s, s:o}", "done", words->verb, "file", json_text(path)));
}
