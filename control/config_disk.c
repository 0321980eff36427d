/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_disk.c - parses --disk PATH[,PROPERTY]..., one row a property, --cdrom and --share. Called from config.c.
 */
#include "control/config_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/config.h"
#include "control/hash.h"
#include "control/size.h"

static enum status property_readonly(struct disk_config *disk, const char *value, struct reason *why)
{
	(void)value, (void)why;
	disk->readonly = true;
	return STATUS_OK;
}

static enum status property_format(struct disk_config *disk, const char *value, struct reason *why)
{
	if (strcmp(value, "raw") != 0 && strcmp(value, "qcow2") != 0)
		return reason_give(why, STATUS_USAGE, "--disk %s: format %s is unknown; there are raw and qcow2", disk->path,
				   value);
	disk->format = value;
	return STATUS_OK;
}

static enum status property_bus(struct disk_config *disk, const char *value, struct reason *why)
{
	static const char *const name[] = {[DISK_VIRTIO] = "virtio", [DISK_NVME] = "nvme", [DISK_SATA] = "sata"};
	unsigned i;

	for (i = 0; i < sizeof(name) / sizeof(name[0]); i++) {
		if (!strcmp(value, name[i])) {
			disk->bus = (enum disk_bus)i;
			return STATUS_OK;
		}
	}
	return reason_give(why, STATUS_USAGE, "--disk %s: bus=%s is unknown; there are virtio, nvme and sata", disk->path, value);
}

static enum status property_onerror(struct disk_config *disk, const char *value, struct reason *why)
{
	disk->pause_on_error = !strcmp(value, "pause");
	if (!disk->pause_on_error && strcmp(value, "report") != 0)
		return reason_give(why, STATUS_USAGE, "--disk %s: onerror=%s is unknown; there are pause and report", disk->path,
				   value);
	return STATUS_OK;
}

static enum status property_cache(struct disk_config *disk, const char *value, struct reason *why)
{
	disk->direct = !strcmp(value, "none");
	if (!disk->direct && strcmp(value, "host") != 0)
		return reason_give(why, STATUS_USAGE, "--disk %s: cache=%s is unknown; there are host and none", disk->path, value);
	return STATUS_OK;
}

static enum status property_serial(struct disk_config *disk, const char *value, struct reason *why)
{
	size_t length = strlen(value), i;

	for (i = 0; i < length && value[i] > ' ' && value[i] <= '~'; i++)
		;
	if (!length || length >= sizeof(disk->serial) || i < length)
		return reason_give(why, STATUS_USAGE,
				   "--disk %s: serial=%s: not from 1 to 20 letters, digits or signs without blanks", disk->path,
				   value);
	memcpy(disk->serial, value, length + 1);
	return STATUS_OK;
}

static enum status property_block_size(struct disk_config *disk, const char *value, struct reason *why)
{
	if (strcmp(value, "512") != 0 && strcmp(value, "4096") != 0)
		return reason_give(why, STATUS_USAGE, "--disk %s: block-size=%s: a disk has blocks of 512 or 4096 bytes",
				   disk->path, value);
	disk->block_size = (uint32_t)strtoul(value, NULL, 10);
	return STATUS_OK;
}

static enum status count_parse(struct disk_config *disk, const char *name, const char *value, uint64_t *count, struct reason *why)
{
	unsigned long long number;
	char *end;

	number = strtoull(value, &end, 10);
	if (*value < '0' || *value > '9' || *end || !number || number > UINT32_MAX)
		return reason_give(why, STATUS_USAGE, "--disk %s: %s=%s: not a number of requests; write %s=1000", disk->path, name,
				   value, name);
	*count = number;
	return STATUS_OK;
}

static enum status bytes_parse(struct disk_config *disk, const char *name, const char *value, uint64_t *bytes, struct reason *why)
{
	if (size_parse(bytes, value) || *bytes > (UINT64_C(1) << 40))
		return reason_give(why, STATUS_USAGE, "--disk %s: %s=%s: not a size from 1K to 1T; write %s=20M", disk->path, name,
				   value, name);
	return STATUS_OK;
}

static enum status property_iops(struct disk_config *disk, const char *value, struct reason *why)
{
	return count_parse(disk, "iops", value, &disk->rate.second, why);
}

static enum status property_iops_burst(struct disk_config *disk, const char *value, struct reason *why)
{
	return count_parse(disk, "iops-burst", value, &disk->rate.burst, why);
}

static enum status property_bps(struct disk_config *disk, const char *value, struct reason *why)
{
	return bytes_parse(disk, "bps", value, &disk->byte_rate.second, why);
}

static enum status property_bps_burst(struct disk_config *disk, const char *value, struct reason *why)
{
	return bytes_parse(disk, "bps-burst", value, &disk->byte_rate.burst, why);
}

static const struct property {
	const char *name;
	bool takes_value;
	enum status (*parse)(struct disk_config *disk, const char *value, struct reason *why);
} properties[] = {
	{"readonly", false, property_readonly},
	{"format", true, property_format},
	{"bus", true, property_bus},
	{"onerror", true, property_onerror},
	{"cache", true, property_cache},
	{"serial", true, property_serial},
	{"block-size", true, property_block_size},
	{"iops", true, property_iops},
	{"iops-burst", true, property_iops_burst},
	{"bps", true, property_bps},
	{"bps-burst", true, property_bps_burst},
};
#define PROPERTIES (sizeof(properties) / sizeof(properties[0]))

static enum status disk_property(struct disk_config *disk, char *word, struct reason *why)
{
	size_t length = strcspn(word, "="), i;
	bool has_value = word[length] != 0;

	for (i = 0; i < PROPERTIES; i++) {
		const struct property *property = &properties[i];

		if (strlen(property->name) == length && !strncmp(property->name, word, length) &&
		    property->takes_value == has_value)
			return property->parse(disk, word + length + has_value, why);
	}
	return reason_give(
		why, STATUS_USAGE,
		"--disk %s: property '%s' is unknown; there are readonly, format=raw|qcow2 and those that `holon help run` lists, "
		"and a comma in a path is written ,,",
		disk->path, word);
}

static uint64_t text_hash(uint64_t hash, const char *text)
{
	return hash_add(hash, text, strlen(text));
}

/*
 * The serial number that the guest reads: fixed for a place, so that the guest finds its disks again however the path is written, and disks of one name in two folders differ. A
 * link is not followed: those in /dev/disk stay, and what they lead to changes.
 */
static void serial_from_path(struct disk_config *disk)
{
	const char *slash = strrchr(disk->path, '/'), *name = slash ? slash + 1 : disk->path;
	char *folder = slash ? strndup(disk->path, slash == disk->path ? 1 : (size_t)(slash - disk->path)) : strdup("."),
	     *real = NULL;
	uint64_t hash = HASH_BEGIN;

	if (folder && disk->source == DISK_FILE)
		real = realpath(folder, NULL);
	if (real) {
		hash = text_hash(hash, real);
		hash = text_hash(text_hash(hash, real[1] ? "/" : ""), name);
	} else {
		hash = text_hash(hash, disk->path);
	}
	free(real);
	free(folder);
	snprintf(disk->serial, sizeof(disk->serial), "HL%016llx", (unsigned long long)hash);
}

/* Another process has the disk: what it is like is said there. */
static enum status vhost_user_check(const struct disk_config *disk, struct reason *why)
{
	if (disk->format || disk->bus != DISK_VIRTIO || disk->readonly || disk->pause_on_error || disk->direct ||
	    disk->block_size || disk->serial[0] || disk->rate.second || disk->byte_rate.second)
		return reason_give(why, STATUS_USAGE,
				   "--disk vhost-user=%s: it takes no properties; give them to the process that serves the socket",
				   disk->path);
	return STATUS_OK;
}

/* What no property can say of itself. */
static enum status disk_check(const struct vm_config *config, const struct disk_config *disk, struct reason *why)
{
	const struct disk_config *other;
	unsigned sata = 0;

	if ((disk->rate.burst && !disk->rate.second) || (disk->byte_rate.burst && !disk->byte_rate.second))
		return reason_give(why, STATUS_USAGE, "--disk %s: a burst without a rate; add iops=N or bps=SIZE", disk->path);
	for (other = config->disk; other <= disk; other++)
		sata += other->bus == DISK_SATA;
	if (sata > VM_SATA_MAX)
		return reason_give(why, STATUS_USAGE,
				   "--disk %s: a VM has at most %u SATA drives, CD-ROMs included; leave one out or choose "
				   "another bus",
				   disk->path, VM_SATA_MAX);
	for (other = config->disk; other < disk; other++)
		if (!strcmp(other->path, disk->path))
			return reason_give(why, STATUS_USAGE, "--disk %s: it is there twice; name each disk once", disk->path);
	return STATUS_OK;
}

/* A new disk of the config, whose path and properties are a copy of `value`, which starts at *path. */
static enum status disk_add(struct vm_config *config, const char *option, const char *value, struct disk_config **disk, char **path,
			    struct reason *why)
{
	if (config->disks == VM_DISKS_MAX)
		return reason_give(why, STATUS_USAGE, "%s %s: a VM has at most %u disks; leave one out", option, value,
				   VM_DISKS_MAX);
	*path = strdup(value);
	if (!*path)
		return reason_give(why, STATUS_NO_MEMORY, "%s %s: out of memory; free some", option, value);
	*disk = &config->disk[config->disks++]; /* config_disks_free frees the path from here on */
	**disk = (struct disk_config){.path = *path};
	return STATUS_OK;
}

static bool nbd_uri(const char *text)
{
	static const char *const scheme[] = {"nbd://", "nbds://", "nbd+unix://", "nbds+unix://"};
	unsigned i;

	for (i = 0; i < sizeof(scheme) / sizeof(scheme[0]); i++)
		if (!strncmp(text, scheme[i], strlen(scheme[i])))
			return true;
	return false;
}

enum status config_disk_parse(struct vm_config *config, const char *value, struct reason *why)
{
	static const char vhost_user[] = "vhost-user=";
	bool socket = !strncmp(value, vhost_user, sizeof(vhost_user) - 1);
	struct disk_config *disk = NULL;
	char *path, *rest;
	enum status status = disk_add(config, "--disk", socket ? value + sizeof(vhost_user) - 1 : value, &disk, &path, why);

	if (status)
		return status;
	disk->source = socket ? DISK_VHOST_USER : nbd_uri(value) ? DISK_NBD : DISK_FILE;
	rest = config_comma_split(path);
	if (!*path)
		return reason_give(why, STATUS_USAGE, "--disk %s: it names no file; write --disk PATH", value);
	while (!status && rest) {
		char *property = rest;

		rest = config_comma_split(property);
		status = disk_property(disk, property, why);
	}
	if (!status && socket)
		status = vhost_user_check(disk, why);
	if (!status && disk->source == DISK_NBD && disk->format)
		status = reason_give(why, STATUS_USAGE, "--disk %s: the server has the format; leave out format=", path);
	if (!status && disk->source == DISK_NBD && disk->direct)
		status = reason_give(why, STATUS_USAGE, "--disk %s: what is cached is the server's matter; leave out cache=none",
				     path);
	if (!status)
		status = disk_check(config, disk, why);
	if (!disk->serial[0])
		serial_from_path(disk);
	return status;
}

enum status config_cdrom_parse(struct vm_config *config, const char *value, struct reason *why)
{
	struct disk_config *disk = NULL;
	char *path;
	enum status status = disk_add(config, "--cdrom", value, &disk, &path, why);

	if (status)
		return status;
	disk->bus = DISK_SATA;
	disk->format = "raw"; /* as the ISO image that it is said to be, whatever its name */
	disk->cdrom = disk->readonly = true;
	serial_from_path(disk);
	return disk_check(config, disk, why);
}

/* DIR:TAG[,readonly]; the last colon counts, and a comma in the folder's path is written ,, as one in a disk's. */
enum status config_share_parse(struct vm_config *config, const char *value, struct reason *why)
{
	struct share_config *share = &config->share[config->shares];
	char *text, *rest, *tag;
	unsigned i;

	if (config->shares == VM_SHARES_MAX)
		return reason_give(why, STATUS_USAGE, "--share %s: a VM has at most %u shared folders; leave one out", value,
				   VM_SHARES_MAX);
	text = strdup(value);
	if (!text)
		return reason_give(why, STATUS_NO_MEMORY, "--share %s: out of memory; free some", value);
	*share = (struct share_config){.path = text};
	config->shares++; /* config_disks_free frees the path from here on */
	rest = config_comma_split(text);
	tag = strrchr(text, ':');
	if (!tag || tag == text || !tag[1] || strlen(tag + 1) > VM_TAG_MAX)
		return reason_give(why, STATUS_USAGE, "--share %s: write --share DIR:TAG, with a tag of at most %u bytes", value,
				   VM_TAG_MAX);
	*tag++ = 0;
	strcpy(share->tag, tag);
	share->readonly = rest && !strcmp(rest, "readonly");
	if (rest && !share->readonly)
		return reason_give(why, STATUS_USAGE, "--share %s: property '%s' is unknown; there is readonly", text, rest);
	for (i = 0; i + 1 < config->shares; i++)
		if (!strcmp(config->share[i].tag, tag))
			return reason_give(why, STATUS_USAGE, "--share %s: the tag %s is there twice; give each folder its own",
					   text, tag);
	return STATUS_OK;
}

void config_disks_free(struct vm_config *config)
{
	unsigned i;

	for (i = 0; i < config->shares; i++)
		free((char *)config->share[i].path);
	config->shares = 0;

	for (i = 0; i < config->disks; i++)
		free((char *)config->disk[i].path);
	config->disks = 0;
}
