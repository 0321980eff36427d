/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disks.c - opens what stands behind each disk, and puts filters in front of it where the owner asked for some. Called from run.c.
 */
#include "program/disks.h"

#include <holon/host.h>

#include "backend/block/image.h"
#include "backend/block/limit.h"
#include "backend/block/nbd.h"
#include "backend/block/qcow2_block.h"
#include "backend/block/raw.h"
#include "backend/block/retry.h"
#include "program/trouble.h"

/* The guest is to see larger blocks than the backend has. */
static enum status block_size_apply(struct block *block, const struct disk_config *config, struct reason *why)
{
	uint64_t size = block->size;

	if (!config->block_size || config->block_size == block->block_size)
		return STATUS_OK;
	if (config->block_size < block->block_size)
		return reason_give(why, STATUS_USAGE, "disk %s: it has blocks of %u bytes; leave out block-size", config->path,
				   block->block_size);
	if (size % config->block_size)
		return reason_give(why, STATUS_USAGE,
				   "disk %s: its %llu bytes are no whole blocks of %u; enlarge it: truncate -s %%%u %s",
				   config->path, (unsigned long long)size, config->block_size, config->block_size, config->path);
	block->block_size = config->block_size;
	return STATUS_OK;
}

/* The format that the owner named, or what is safe to believe. */
static enum status format_find(const struct disk_config *config, enum image_format *format, struct reason *why)
{
	if (config->format && image_format_parse(config->format, format))
		return STATUS_OK;
	return image_format_of(config->path, format, why);
}

static enum status disk_open(struct block **block, const struct disk_config *config, struct reason *why)
{
	enum image_format format = IMAGE_RAW;
	enum status status = STATUS_OK;

	if (config->source == DISK_FILE)
		status = format_find(config, &format, why);
	if (!status && config->direct && format != IMAGE_RAW)
		return reason_give(why, STATUS_USAGE, "disk %s: it is %s, and cache=none is for raw disks; leave it out",
				   config->path, image_format_name(format));
	if (!status && config->source == DISK_NBD)
		status = block_nbd_open(block, config->path, config->readonly, why);
	else if (!status && format == IMAGE_QCOW2)
		status = block_qcow2_open(block, config->path, config->readonly, why);
	else if (!status && config->direct)
		status = block_raw_open_direct(block, config->path, config->readonly, why);
	else if (!status)
		status = block_raw_open(block, config->path, config->readonly, why);
	if (!status)
		status = block_size_apply(*block, config, why);
	if (!status && (config->rate.second || config->byte_rate.second))
		status = block_limit_add(block, &config->rate, &config->byte_rate, why);
	if (!status && config->pause_on_error)
		status = block_retry_add(block, &trouble_owner, why);
	return status;
}

enum status disks_open(struct block **disk, const struct vm_config *config, struct reason *why)
{
	enum status status = STATUS_OK;
	unsigned i;

	for (i = 0; !status && i < config->disks; i++)
		if (config->disk[i].source != DISK_VHOST_USER) /* peers.c */
			status = disk_open(&disk[i], &config->disk[i], why);
	return status;
}

void disks_give_up(struct block **disk, const struct vm_config *config)
{
	unsigned i;

	for (i = 0; i < config->disks; i++)
		if (disk[i] && disk[i]->give_up)
			disk[i]->give_up(disk[i]);
}

void disks_drain(struct block **disk, const struct vm_config *config)
{
	unsigned i;

	for (i = 0; i < config->disks; i++)
		if (disk[i])
			disk[i]->drain(disk[i]);
}

void disks_close(struct block **disk, const struct vm_config *config)
{
	unsigned i;

	for (i = 0; i < config->disks; i++)
		if (disk[i])
			disk[i]->close(disk[i]);
}

void disks_look(struct block **disk, const struct vm_config *config)
{
	unsigned i;

	for (i = 0; i < config->disks; i++) {
		uint64_t was = disk[i] ? (uint64_t)disk[i]->size : 0, now = disk[i] ? block_host_size(disk[i]) : 0;
		struct reason why = {""};

		if (now < was)
			host_log(HOST_LOG_WARN,
				 "disk %s: it has become shorter on the host, %llu bytes of %llu: the guest's reads and writes "
				 "there fail",
				 disk[i]->path, (unsigned long long)now, (unsigned long long)was);
		if (now <= was)
			continue;
		if (block_resize(disk[i], now, &why))
			host_log(HOST_LOG_WARN, "%s", why.text);
		else
			host_log(HOST_LOG_INFO, "disk %s: it has grown on the host, from %llu to %llu bytes: the guest is told",
				 disk[i]->path, (unsigned long long)was, (unsigned long long)now);
	}
}
