/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_words.c - parses the words of a `holon disk` command. One row an option.
 */
#include "program/disk_words.h"

#include <stdlib.h>
#include <string.h>

#include "control/size.h"

static enum status json_set(struct disk_words *words, const char *value, struct reason *why)
{
	if (strcmp(value, "json") != 0)
		return reason_give(why, STATUS_USAGE, "-o %s: unknown output; there is json", value);
	words->json = true;
	return STATUS_OK;
}

static enum status cluster_size_set(struct disk_words *words, const char *value, struct reason *why)
{
	uint64_t size = size_or_bytes(value);

	if (size & (size - 1) || size < 512 || size > UINT64_C(2) << 20)
		return reason_give(why, STATUS_USAGE,
				   "--cluster-size %s: not a power of two from 512 to 2M; write --cluster-size 64K", value);
	words->cluster_size = size;
	return STATUS_OK;
}

/* An option puts its value into a string, sets a flag, or calls a function. */
static const struct option {
	const char *name;
	size_t text, flag; /* offsets in struct disk_words; 0: not that */
	enum status (*set)(struct disk_words *words, const char *value, struct reason *why);
} options[] = {
	{"-f", offsetof(struct disk_words, format), 0, NULL},
	{"-O", offsetof(struct disk_words, output_format), 0, NULL},
	{"-b", offsetof(struct disk_words, backing), 0, NULL},
	{"-F", offsetof(struct disk_words, backing_format), 0, NULL},
	{"--compression", offsetof(struct disk_words, compression), 0, NULL},
	{"--cluster-size", 0, 0, cluster_size_set},
	{"-o", 0, 0, json_set},
	{"--extended-l2", 0, offsetof(struct disk_words, extended_l2), NULL},
	{"-c", 0, offsetof(struct disk_words, packed), NULL},
	{"--repair", 0, offsetof(struct disk_words, repair), NULL},
	{"--shrink", 0, offsetof(struct disk_words, shrink), NULL},
	{"-u", 0, offsetof(struct disk_words, blind), NULL},
	{"--keep", 0, offsetof(struct disk_words, keep), NULL},
};

static bool option_allowed(const char *allowed, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = allowed; (at = strstr(at, name)) != NULL; at += length)
		if ((at == allowed || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
			return true;
	return false;
}

static const struct option *option_find(const char *allowed, const char *word, size_t length)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (strlen(options[i].name) == length && !strncmp(options[i].name, word, length))
			return option_allowed(allowed, options[i].name) ? &options[i] : NULL;
	return NULL;
}

/* One option at arguments[*at]; steps *at behind it. */
static enum status option_parse(struct disk_words *words, const char *allowed, int count, char **arguments, int *at,
				struct reason *why)
{
	const char *word = arguments[(*at)++], *equals = word[1] == '-' ? strchr(word, '=') : NULL,
		   *value = equals ? equals + 1 : NULL;
	const struct option *option = option_find(allowed, word, equals ? (size_t)(equals - word) : strlen(word));

	if (!option)
		return reason_give(why, STATUS_USAGE, "%s: disk %s takes no such option; `holon help disk` lists them", word,
				   words->verb);
	if (option->flag) {
		if (value)
			return reason_give(why, STATUS_USAGE, "%s: it takes no value; write it without '='", option->name);
		*(bool *)((char *)words + option->flag) = true;
		return STATUS_OK;
	}
	if (!value && *at == count)
		return reason_give(why, STATUS_USAGE, "%s: its value is missing; `holon help disk` shows what it takes",
				   option->name);
	if (!value)
		value = arguments[(*at)++];
	if (option->set)
		return option->set(words, value, why);
	*(const char **)(void *)((char *)words + option->text) = value;
	return STATUS_OK;
}

static enum status format_check(const char *option, const char *name, struct reason *why)
{
	enum image_format format;

	if (!name || image_format_parse(name, &format))
		return STATUS_OK;
	return reason_give(why, STATUS_USAGE, "%s %s: unknown format; there are raw and qcow2", option, name);
}

enum status disk_words_parse(struct disk_words *words, const char *allowed, unsigned words_min, unsigned words_max, int count,
			     char **arguments, struct reason *why)
{
	enum status status = STATUS_OK;
	bool only_words = false; /* behind `--` */
	int at = 0;

	while (!status && at < count) {
		const char *word = arguments[at];

		if (!only_words && !strcmp(word, "--")) {
			only_words = true;
			at++;
		} else if (!only_words && word[0] == '-' && word[1]) {
			status = option_parse(words, allowed, count, arguments, &at, why);
		} else if (words->words == words_max) {
			status = reason_give(why, STATUS_USAGE, "%s: one word too many for disk %s; see `holon help disk`", word,
					     words->verb);
		} else {
			words->word[words->words++] = word;
			at++;
		}
	}
	if (!status && words->words < words_min)
		status = reason_give(why, STATUS_USAGE, "disk %s: a word is missing; `holon help disk` shows what it takes",
				     words->verb);
	if (!status)
		status = format_check("-f", words->format, why);
	if (!status)
		status = format_check("-O", words->output_format, why);
	if (!status)
		status = format_check("-F", words->backing_format, why);
	if (!status && words->compression && strcmp(words->compression, "zlib") != 0 && strcmp(words->compression, "zstd") != 0)
		status = reason_give(why, STATUS_USAGE, "--compression %s: unknown kind; there are zlib and zstd",
				     words->compression);
	return status;
}
