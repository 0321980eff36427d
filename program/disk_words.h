/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_words.h - the words of a `holon disk` command, parsed; and its reports. Shared by disk.c, disk_words.c and disk_report.c.
 */
#ifndef HOLON_PROGRAM_DISK_WORDS_H
#define HOLON_PROGRAM_DISK_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/status.h>

#include "backend/block/image_info.h"
#include "backend/block/qcow2.h"
#include "backend/block/qcow2_check.h"

#define DISK_WORDS_MAX 3 /* that are no options */

struct disk_words {
	const char *verb;
	const char *word[DISK_WORDS_MAX];
	unsigned words;
	const char *format, *output_format; /* -f, -O; NULL: not said */
	const char *backing, *backing_format;
	const char *compression;
	uint64_t cluster_size;
	bool extended_l2, packed, json, repair, shrink, blind, keep;
};

/* `allowed` are the options that the verb takes, separated by blanks. */
enum status disk_words_parse(struct disk_words *words, const char *allowed, unsigned words_min, unsigned words_max, int count,
			     char **arguments, struct reason *why) must_check;

/* Each returns false when stdout cannot be written. */
bool disk_report_info(const char *path, enum image_format format, const struct image_info *info, bool json);
bool disk_report_check(const char *path, const struct qcow2_check *check, bool json);
bool disk_report_snapshots(const struct image_info *info, bool json);
/* A command that has done its work: nothing, or an object for programs. */
bool disk_report_done(const struct disk_words *words, const char *path);

#endif
