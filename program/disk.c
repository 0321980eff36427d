/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.c - the verb `disk`: everyday work on disk images. One row a command; the work itself is in backend/block. Called from holon.c.
 */
#include "program/disk.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "backend/block/image_change.h"
#include "backend/block/qcow2_format.h"
#include "control/size.h"
#include "host/linux/linux.h"
#include "program/disk_words.h"
#include "program/exit.h"

const char help_disk[] =
	"holon disk COMMAND [OPTION...] FILE...\n"
	"\n"
	"  create [-f FORMAT] [-b BASE [-F FORMAT]] FILE [SIZE]   a new image; SIZE may be left out over a BASE\n"
	"  info FILE                                      what it is; also while a VM uses it\n"
	"  check [--repair] FILE                          is a qcow2 image whole; frees what leaked, mends counts\n"
	"  convert [-f FORMAT] [-O FORMAT] [-c] SRC DST   copies what the guest sees into a new image; -c compresses\n"
	"  resize [--shrink] FILE SIZE                    SIZE as 20G, or +5G for that much more\n"
	"  rebase [-u] [-F FORMAT] -b BASE FILE           another backing file, and the guest sees no change; -b '' none;\n"
	"                                                 -u: only the name is written, for a base that has moved\n"
	"  commit [--keep] FILE                           writes an overlay into its backing file and empties it, or keeps it\n"
	"  snapshot list FILE\n"
	"  snapshot create|apply|delete FILE NAME         snapshots inside a qcow2 image\n"
	"\n"
	"Formats are raw and qcow2. Without -f an existing file is qcow2 only if its name ends in .qcow2 and its header agrees, "
	"else\n"
	"raw: a guest can write any header into a raw disk. A new file has the format of its name, unless -f or -O says another. "
	"A\n"
	"backing file has the format that the overlay names: create and rebase write it down, by -F or by the same rule.\n"
	"\n"
	"  -f, -O, -F FORMAT          the format of FILE or SRC, of DST, of BASE\n"
	"  --cluster-size SIZE        of a new qcow2 image, 512 to 2M; 64K if not given\n"
	"  --compression zlib|zstd    of a new qcow2 image's compressed clusters\n"
	"  --extended-l2              a new qcow2 image allocates 32nds of a cluster\n"
	"  -o json                    results on stdout for programs\n"
	"\n"
	"An image that a VM or another program (QEMU's too) writes is locked, and is refused; `holon set` makes the disk\n"
	"of a running VM larger. Progress goes to stderr where that is a terminal. Exit status: 0 done (check: no corruption\n"
	"is left), 64 usage or an image that makes no sense, 66 not found, 74 the host failed or the image is in use.\n";

struct command {
	const char *name;
	const char *options;
	unsigned words_min, words_max;
	enum status (*run)(struct disk_words *words, struct reason *why);
};

/* The signal that asked us to end. Long work stops at its next step, so that no half of a new image is left. */
static volatile sig_atomic_t ended_by;

static void end_wanted(int number)
{
	ended_by = number;
}

static bool progress_unseen(struct image_progress *progress, uint64_t done, uint64_t of)
{
	(void)progress;
	(void)done;
	(void)of;
	return !ended_by;
}

/* A line on the terminal that is overwritten. */
static bool progress_show(struct image_progress *progress, uint64_t done, uint64_t of)
{
	static int shown = -1;
	int percent = of ? (int)(100 * (double)done / (double)of) : 100;

	(void)progress;
	if (ended_by)
		fputc('\n', stderr);
	else if (percent != shown)
		fprintf(stderr, percent == 100 ? "\r100 %%\n" : "\r%d %%", percent);
	shown = percent;
	return !ended_by;
}

static struct image_progress *progress_start(const struct disk_words *words)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
	static struct image_progress progress;
	struct sigaction action = {.sa_handler = end_wanted, .sa_flags = SA_RESTART | (int)SA_RESETHAND}, now;

	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (!sigaction(ends[i], NULL, &now) && now.sa_handler != SIG_IGN) /* by nohup */
			sigaction(ends[i], &action, NULL);
	progress.step = isatty(STDERR_FILENO) && !words->json ? progress_show : progress_unseen;
	return &progress;
}

/* The format of an existing file. */
static enum status format_existing(const char *said, const char *path, enum image_format *format, struct reason *why)
{
	if (said && image_format_parse(said, format))
		return STATUS_OK;
	return image_format_of(path, format, why);
}

static enum status qcow2_wanted(const struct disk_words *words, struct reason *why)
{
	enum image_format format;
	enum status status = format_existing(words->format, words->word[0], &format, why);

	if (!status && format != IMAGE_QCOW2)
		status = reason_give(why, STATUS_USAGE, "disk %s: it is raw, and disk %s is for qcow2; if it is qcow2 say -f qcow2",
				     words->word[0], words->verb);
	return status;
}

/* By `said`, the value of `option`, or by the name, which may not promise what Holon cannot make. */
static enum status format_new(const char *option, const char *said, const char *path, enum image_format *format, struct reason *why)
{
	static const char *const others[] = {".vmdk", ".vdi", ".vhd", ".vhdx", ".qed", ".qcow"};
	size_t length = strlen(path);

	if (said && image_format_parse(said, format))
		return STATUS_OK;
	*format = image_format_of_name(path);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (length > strlen(others[i]) && !strcasecmp(path + length - strlen(others[i]), others[i]))
			return reason_give(
				why, STATUS_USAGE,
				"disk %s: its name is that of a format that Holon does not write; say %s raw or %s qcow2", path,
				option, option);
	return STATUS_OK;
}

/* What a new qcow2 image is like; nothing of that may be said for a raw one. */
static enum status shape_make(const struct disk_words *words, enum image_format format, struct qcow2_format *shape,
			      struct reason *why)
{
	*shape = qcow2_format_default;
	if (format == IMAGE_RAW &&
	    (words->backing || words->cluster_size || words->compression || words->extended_l2 || words->packed))
		return reason_give(why, STATUS_USAGE,
				   "disk %s: a raw image has no clusters, no compression and no backing file; say %s qcow2",
				   words->verb, strcmp(words->verb, "convert") ? "-f" : "-O");
	if (words->cluster_size)
		shape->cluster_bits = (unsigned)__builtin_ctzll(words->cluster_size);
	if (words->extended_l2 && shape->cluster_bits < QCOW2_CLUSTER_BITS_EXTENDED_MIN)
		return reason_give(why, STATUS_USAGE, "--extended-l2: clusters of at least 16K are needed; add --cluster-size 64K");
	shape->extended_l2 = words->extended_l2;
	if (words->compression && !strcmp(words->compression, "zstd"))
		shape->compression = QCOW2_COMPRESSION_ZSTD;
	return STATUS_OK;
}

/* BASE as seen from the overlay: it must be there, its format goes into the header, its size may be the overlay's. */
static enum status base_examine(const struct disk_words *words, enum image_format *format, uint64_t *size, struct reason *why)
{
	char *path = image_path_beside(words->word[0], words->backing);
	struct image_options options = {.readonly = true};
	struct image *base = NULL;
	enum status status;

	if (!path)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", words->word[0]);
	status = format_existing(words->backing_format, path, format, why);
	if (!status)
		status = image_open(&base, path, *format, &options, why);
	if (!status)
		*size = base->size;
	if (image_close(base) && !status)
		status = STATUS_IO;
	free(path);
	return status;
}

static enum status run_create(struct disk_words *words, struct reason *why)
{
	enum image_format format, base = IMAGE_RAW;
	struct qcow2_format shape;
	uint64_t size = 0;
	enum status status = format_new("-f", words->format, words->word[0], &format, why);

	if (!status)
		status = shape_make(words, format, &shape, why);
	if (!status && words->backing) {
		status = base_examine(words, &base, &size, why);
		shape.backing = words->backing;
		shape.backing_format = image_format_name(base);
	} else if (!status && words->backing_format) {
		status = reason_give(why, STATUS_USAGE, "-F %s: there is no backing file; add -b BASE", words->backing_format);
	}
	if (!status && words->words > 1)
		status = size_disk_parse(&size, words->word[1], 0, why);
	else if (!status && !words->backing)
		status = reason_give(why, STATUS_USAGE, "disk create %s: its size is missing; add one such as 8G", words->word[0]);
	return status ? status : image_create(words->word[0], format, &shape, size, why);
}

static enum status run_info(struct disk_words *words, struct reason *why)
{
	enum image_format format;
	struct image_info info;
	enum status status = format_existing(words->format, words->word[0], &format, why);

	if (!status)
		status = image_info_read(&info, words->word[0], format, why);
	if (status)
		return status;
	if (!disk_report_info(words->word[0], format, &info, words->json))
		status = STATUS_IO;
	image_info_free(&info);
	return status;
}

static enum status run_check(struct disk_words *words, struct reason *why)
{
	struct image_options options = {.readonly = !words->repair, .alone = true, .damaged = true};
	struct qcow2_check check = {.repair = words->repair};
	struct image *image = NULL;
	enum status status = qcow2_wanted(words, why);

	if (!status)
		status = image_open(&image, words->word[0], IMAGE_QCOW2, &options, why);
	if (!status)
		status = qcow2_check(image->qcow2, &check, why);
	if (image_close(image) && !status)
		status = reason_give(why, STATUS_IO, "disk %s: it could not be written to its end", words->word[0]);
	if (!status && !disk_report_check(words->word[0], &check, words->json))
		status = STATUS_IO;
	if (!status && check.corruptions != check.corruptions_fixed)
		status = reason_give(why, STATUS_INVALID, "disk %s: the image is damaged; %s", words->word[0],
				     words->repair ? "not all of it can be repaired"
						   : "holon disk check --repair mends what can be mended");
	return status;
}

static enum status run_convert(struct disk_words *words, struct reason *why)
{
	struct image_copying copying = {.source = words->word[0], .target = words->word[1], .packed = words->packed};
	struct qcow2_format shape;
	enum status status = format_existing(words->format, copying.source, &copying.source_format, why);

	if (!status)
		status = format_new("-O", words->output_format, copying.target, &copying.target_format, why);
	copying.shape = &shape;
	if (!status)
		status = shape_make(words, copying.target_format, &shape, why);
	return status ? status : image_convert(&copying, progress_start(words), why);
}

static enum status run_resize(struct disk_words *words, struct reason *why)
{
	enum image_format format;
	struct image_info info;
	uint64_t size;
	enum status status = format_existing(words->format, words->word[0], &format, why);

	if (!status)
		status = image_info_read(&info, words->word[0], format, why);
	if (status)
		return status;
	status = size_disk_parse(&size, words->word[1], info.size, why);
	image_info_free(&info);
	return status ? status : image_resize(words->word[0], format, size, words->shrink, why);
}

static enum status run_rebase(struct disk_words *words, struct reason *why)
{
	enum image_format base = IMAGE_RAW;
	uint64_t size;
	enum status status = qcow2_wanted(words, why);

	if (!status && !words->backing)
		status = reason_give(why, STATUS_USAGE, "disk rebase: -b is missing; write -b BASE, or -b '' for no backing file");
	if (status)
		return status;
	if (!words->backing[0])
		words->backing = NULL;
	if (words->backing && words->blind && words->backing_format)
		image_format_parse(words->backing_format, &base);
	else if (words->backing)
		status = base_examine(words, &base, &size, why);
	return status ? status : image_rebase(words->word[0], words->backing, base, words->blind, progress_start(words), why);
}

static enum status run_commit(struct disk_words *words, struct reason *why)
{
	enum status status = qcow2_wanted(words, why);

	return status ? status : image_commit(words->word[0], words->keep, progress_start(words), why);
}

static enum status snapshots_list(struct disk_words *words, struct reason *why)
{
	struct image_info info;
	enum status status = image_info_read(&info, words->word[0], IMAGE_QCOW2, why);

	if (status)
		return status;
	if (!disk_report_snapshots(&info, words->json))
		status = STATUS_IO;
	image_info_free(&info);
	return status;
}

/* `snapshot VERB FILE [NAME]`: the file is then the first word, as in the other commands. */
static enum status run_snapshot(struct disk_words *words, struct reason *why)
{
	static const struct {
		const char *name;
		enum status (*change)(struct qcow2 *q, const char *name, struct reason *why);
	} verb[] = {{"list", NULL},
		    {"create", qcow2_snapshot_create},
		    {"apply", qcow2_snapshot_apply},
		    {"delete", qcow2_snapshot_delete}};
	struct image_options options = {.alone = true};
	struct image *image = NULL;
	const char *wanted = words->word[0], *name = words->word[2];
	enum status status;
	unsigned i;

	for (i = 0; i < 4 && strcmp(verb[i].name, wanted) != 0; i++)
		;
	if (i == 4)
		return reason_give(why, STATUS_USAGE, "disk snapshot %s: no such command; there are list, create, apply and delete",
				   wanted);
	if ((name != NULL) != (verb[i].change != NULL))
		return reason_give(why, STATUS_USAGE, "disk snapshot %s: it takes a file%s", wanted,
				   name ? "" : " and the snapshot's name");
	words->word[0] = words->word[1];
	status = qcow2_wanted(words, why);
	if (status || !verb[i].change)
		return status ? status : snapshots_list(words, why);
	/* What is read through it does not matter, but a snapshot must be able to shrink the disk to its size. */
	status = image_open(&image, words->word[0], IMAGE_QCOW2, &options, why);
	if (!status)
		status = verb[i].change(image->qcow2, name, why);
	if (image_close(image) && !status)
		status = reason_give(why, STATUS_IO, "disk %s: it could not be written to its end", words->word[0]);
	return status;
}

static const struct command commands[] = {
	{"create", "-f -b -F -o --cluster-size --compression --extended-l2", 1, 2, run_create},
	{"info", "-f -o", 1, 1, run_info},
	{"check", "-f -o --repair", 1, 1, run_check},
	{"convert", "-f -O -o -c --cluster-size --compression --extended-l2", 2, 2, run_convert},
	{"resize", "-f -o --shrink", 2, 2, run_resize},
	{"rebase", "-f -b -F -o -u", 1, 1, run_rebase},
	{"commit", "-f -o --keep", 1, 1, run_commit},
	{"snapshot", "-f -o", 2, 3, run_snapshot},
};

static const struct command *command_find(const char *name)
{
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* These print a result themselves. */
static bool reports_itself(const struct disk_words *words)
{
	return !strcmp(words->verb, "info") || !strcmp(words->verb, "check") ||
	       (!strcmp(words->verb, "snapshot") && words->words == 2);
}

int disk(int count, char **arguments)
{
	const struct command *command = count ? command_find(arguments[0]) : NULL;
	struct disk_words words = {.verb = count ? arguments[0] : ""};
	struct reason why = {""};
	enum status status;
	int result;

	if (!command) {
		host_log(HOST_LOG_ERROR, "disk%s%s: %s; `holon help disk` lists the commands", count ? " " : "", words.verb,
			 count ? "no such command" : "a command is missing");
		return EXIT_USAGE;
	}
	status = disk_words_parse(&words, command->options, command->words_min, command->words_max, count - 1, arguments + 1, &why);
	if (!status)
		status = command->run(&words, &why);
	if (!status && !reports_itself(&words) && !disk_report_done(&words, words.word[0]))
		status = STATUS_IO;
	result = exit_with(status, &why);
	if (status == STATUS_CANCELLED)
		raise(ended_by); /* its action is the default again */
	return result;
}
