/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_header.c - the header: read with every field checked, written back whole or its numbers only. What Holon does not know of it stays as it is.
 *
 * The numbers that change in a running image are all in the first sector and go there in one write, so a crash leaves the old ones or the new ones.
 */
#include <stdio.h>
#include <stdlib.h>

#include <holon/host.h>

#include "qcow2_image.h"

static enum status refuse(const struct qcow2 *q, struct reason *why, const char *what)
{
	return reason_give(why, STATUS_INVALID, "disk %s: %s; qcow2 images are examined by: holon disk check %s", q->file.path,
			   what, q->file.path);
}

static enum status unsupported(const struct qcow2 *q, struct reason *why, const char *what)
{
	return reason_give(why, STATUS_UNSUPPORTED,
			   "disk %s: it uses %s, which Holon does not have; convert it with: qemu-img convert", q->file.path, what);
}

/* One after another: `bytes` of type `type` at `at`; false at the end. */
static bool extension_next(const uint8_t *cluster, uint64_t end, uint64_t *at, uint32_t *type, uint32_t *bytes)
{
	if (*at + 8 > end)
		return false;
	*type = qcow2_get32(cluster + *at);
	*bytes = qcow2_get32(cluster + *at + 4);
	*at += 8;
	return *type != QCOW2_EXTENSION_END && *bytes <= end - *at;
}

static uint64_t extension_after(uint64_t at, uint32_t bytes)
{
	return at + ((uint64_t)bytes + 7) / 8 * 8;
}

static uint64_t extensions_end(const struct qcow2 *q, const uint8_t *cluster)
{
	uint64_t backing = qcow2_get64(cluster + QCOW2_HEADER_BACKING_OFFSET);

	return backing && backing < q->cluster_size ? backing : q->cluster_size;
}

/* The name that the image itself gives to an incompatible feature that we do not know. */
static enum status feature_refuse(const struct qcow2 *q, const uint8_t *cluster, unsigned bit, struct reason *why)
{
	uint64_t at = q->header_length, end = extensions_end(q, cluster);
	char name[64], text[80];
	uint32_t type, bytes;

	snprintf(name, sizeof(name), "bit %u", bit);
	for (; extension_next(cluster, end, &at, &type, &bytes); at = extension_after(at, bytes)) {
		if (type != QCOW2_EXTENSION_FEATURE_NAMES)
			continue;
		for (uint64_t row = at; row + QCOW2_FEATURE_NAME_LENGTH <= at + bytes; row += QCOW2_FEATURE_NAME_LENGTH) {
			if (cluster[row] == 0 && cluster[row + 1] == bit)
				snprintf(name, sizeof(name), "%.46s", (const char *)cluster + row + 2);
		}
	}
	for (char *c = name; *c; c++)
		*c = *c >= ' ' && *c < 127 ? *c : '?';
	snprintf(text, sizeof(text), "the feature '%s'", name);
	return unsupported(q, why, text);
}

static enum status features_check(struct qcow2 *q, const uint8_t *cluster, struct reason *why)
{
	uint64_t known = QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT | QCOW2_INCOMPATIBLE_COMPRESSION |
			 QCOW2_INCOMPATIBLE_EXTENDED_L2;
	uint64_t unknown = q->incompatible & ~known;

	if (qcow2_get32(cluster + QCOW2_HEADER_CRYPT_METHOD))
		return unsupported(q, why, "encryption");
	if (q->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)
		return unsupported(q, why, "an external data file");
	if (unknown)
		return feature_refuse(q, cluster, (unsigned)__builtin_ctzll(unknown), why);
	if (q->compression > QCOW2_COMPRESSION_ZSTD)
		return unsupported(q, why, "an unknown kind of compression");
	if ((q->compression != 0) != ((q->incompatible & QCOW2_INCOMPATIBLE_COMPRESSION) != 0))
		return refuse(q, why, "its header contradicts itself about compression");
	return STATUS_OK;
}

static enum status version3_read(struct qcow2 *q, const uint8_t *cluster, struct reason *why)
{
	q->refcount_order = 4;
	q->header_length = QCOW2_HEADER_V2_LENGTH;
	if (q->version == 2)
		return STATUS_OK;
	q->incompatible = qcow2_get64(cluster + QCOW2_HEADER_INCOMPATIBLE);
	q->compatible = qcow2_get64(cluster + QCOW2_HEADER_COMPATIBLE);
	q->autoclear = qcow2_get64(cluster + QCOW2_HEADER_AUTOCLEAR);
	q->refcount_order = qcow2_get32(cluster + QCOW2_HEADER_REFCOUNT_ORDER);
	q->header_length = qcow2_get32(cluster + QCOW2_HEADER_LENGTH);
	if (q->header_length < QCOW2_HEADER_V3_LENGTH || q->header_length > q->cluster_size || q->header_length > QCOW2_HEADER_MAX)
		return refuse(q, why, "its header has an impossible length");
	if (q->header_length > QCOW2_HEADER_COMPRESSION_TYPE)
		q->compression = cluster[QCOW2_HEADER_COMPRESSION_TYPE];
	if (q->refcount_order > 6)
		return refuse(q, why, "its refcounts are wider than 64 bits");
	return STATUS_OK;
}

/* What follows from the header's numbers. */
static enum status shape_derive(struct qcow2 *q, struct reason *why)
{
	bool extended = q->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2;

	if (extended && q->cluster_bits < QCOW2_CLUSTER_BITS_EXTENDED_MIN)
		return refuse(q, why, "its clusters are too small for extended L2 entries");
	q->entry_bytes = extended ? 16 : 8;
	q->l2_bits = q->cluster_bits - (extended ? 4 : 3);
	q->units = extended ? QCOW2_SUBCLUSTERS : 1;
	q->unit_size = q->cluster_size / q->units;
	q->block_bits = q->cluster_bits + 3 - q->refcount_order;
	q->refcount_max = q->refcount_order == 6 ? UINT64_MAX : (UINT64_C(1) << (1u << q->refcount_order)) - 1;
	return STATUS_OK;
}

static char *text_of(const uint8_t *bytes, uint64_t length)
{
	return memchr(bytes, 0, length) ? NULL : strndup((const char *)bytes, length);
}

static enum status backing_name_read(struct qcow2 *q, const uint8_t *cluster, struct reason *why)
{
	uint64_t offset = qcow2_get64(cluster + QCOW2_HEADER_BACKING_OFFSET);
	uint32_t length = qcow2_get32(cluster + QCOW2_HEADER_BACKING_LENGTH);

	if (!offset || !length)
		return STATUS_OK;
	if (length > QCOW2_BACKING_NAME_MAX || offset >= q->cluster_size || length > q->cluster_size - offset)
		return refuse(q, why, "the name of its backing file is not in its header");
	q->backing_path = text_of(cluster + offset, length);
	return q->backing_path ? STATUS_OK : refuse(q, why, "the name of its backing file is no text");
}

static enum status extensions_read(struct qcow2 *q, const uint8_t *cluster, struct reason *why)
{
	uint64_t at = q->header_length, end = extensions_end(q, cluster);
	uint32_t type = QCOW2_EXTENSION_END, bytes = 0;

	for (; extension_next(cluster, end, &at, &type, &bytes); at = extension_after(at, bytes)) {
		if (type == QCOW2_EXTENSION_BACKING_FORMAT && !q->backing_format) {
			q->backing_format = text_of(cluster + at, bytes);
			if (!q->backing_format)
				return refuse(q, why, "the format of its backing file is no text");
		} else if (type == QCOW2_EXTENSION_BITMAPS && bytes >= 24) {
			q->bitmaps = qcow2_get32(cluster + at);
			q->bitmaps_bytes = qcow2_get64(cluster + at + 8);
			q->bitmaps_offset = qcow2_get64(cluster + at + 16);
		} else if (type == QCOW2_EXTENSION_ENCRYPTION) {
			return unsupported(q, why, "encryption");
		} else if (type == QCOW2_EXTENSION_DATA_FILE) {
			return unsupported(q, why, "an external data file");
		}
	}
	if (at + 8 <= end && type != QCOW2_EXTENSION_END)
		return refuse(q, why, "an extension of its header is longer than the header");
	return STATUS_OK;
}

static enum status tables_check(struct qcow2 *q, const uint8_t *cluster, bool damaged, struct reason *why)
{
	uint64_t reach = UINT64_C(1) << (q->cluster_bits + q->l2_bits), bytes;

	q->l1_size = qcow2_get32(cluster + QCOW2_HEADER_L1_SIZE);
	q->l1_offset = qcow2_get64(cluster + QCOW2_HEADER_L1_OFFSET);
	q->table_offset = qcow2_get64(cluster + QCOW2_HEADER_REFCOUNT_TABLE_OFFSET);
	q->table_clusters = qcow2_get32(cluster + QCOW2_HEADER_REFCOUNT_TABLE_CLUSTERS);
	q->snapshots = qcow2_get32(cluster + QCOW2_HEADER_SNAPSHOTS);
	q->snapshots_offset = qcow2_get64(cluster + QCOW2_HEADER_SNAPSHOTS_OFFSET);
	if (q->l1_size > QCOW2_L1_BYTES_MAX / 8 || q->size / reach + (q->size % reach != 0) > q->l1_size)
		return refuse(q, why, "its L1 table and its size do not agree");
	if (q->l1_size && (!q->l1_offset || !qcow2_aligned(q, q->l1_offset) || q->l1_offset >= QCOW2_OFFSET_MAX))
		return refuse(q, why, "its L1 table has an impossible place");
	if (!q->l1_size)
		q->l1_offset = 0;
	bytes = (uint64_t)q->table_clusters << q->cluster_bits;
	if (!q->table_clusters || bytes > QCOW2_REFCOUNT_TABLE_BYTES_MAX || !q->table_offset ||
	    !qcow2_aligned(q, q->table_offset) || q->table_offset >= QCOW2_OFFSET_MAX) {
		if (!damaged)
			return refuse(q, why, "its refcount table has an impossible place");
		q->table_clusters = 0;
		q->table_offset = 0;
	}
	if (q->snapshots > QCOW2_SNAPSHOTS_MAX)
		return refuse(q, why, "it has more snapshots than there can be");
	if (q->snapshots &&
	    (!q->snapshots_offset || !qcow2_aligned(q, q->snapshots_offset) || q->snapshots_offset >= QCOW2_OFFSET_MAX))
		return refuse(q, why, "its table of snapshots has an impossible place");
	return STATUS_OK;
}

static enum status table_load(struct qcow2 *q, uint64_t offset, uint64_t entries, uint64_t **out)
{
	uint64_t *table = calloc(entries ? entries : 1, 8);
	enum status status = table ? image_file_read(&q->file, offset, table, entries * 8) : STATUS_NO_MEMORY;

	for (uint64_t i = 0; !status && i < entries; i++)
		table[i] = qcow2_get64(&table[i]);
	*out = table;
	return status;
}

static enum status tables_load(struct qcow2 *q, struct reason *why)
{
	enum status status = table_load(q, q->l1_offset, q->l1_size, &q->l1);

	q->table_size = ((uint64_t)q->table_clusters << q->cluster_bits) / 8;
	if (!status)
		status = table_load(q, q->table_offset, q->table_size, &q->table);
	return status ? reason_give(why, status, "disk %s: its tables cannot be read: %s", q->file.path, status_name(status))
		      : STATUS_OK;
}

static enum status cluster_parse(struct qcow2 *q, const uint8_t *cluster, bool damaged, struct reason *why)
{
	enum status status = version3_read(q, cluster, why);

	if (!status)
		status = features_check(q, cluster, why);
	if (!status)
		status = shape_derive(q, why);
	q->size = qcow2_get64(cluster + QCOW2_HEADER_SIZE);
	if (!status && q->size > INT64_MAX)
		status = refuse(q, why, "its size is impossible");
	if (!status)
		status = tables_check(q, cluster, damaged, why);
	q->size -= q->size % QCOW2_SECTOR;
	if (!status)
		status = backing_name_read(q, cluster, why);
	if (!status)
		status = extensions_read(q, cluster, why);
	return status;
}

enum status qcow2_header_read(struct qcow2 *q, bool damaged, struct reason *why)
{
	uint8_t start[QCOW2_HEADER_V3_LENGTH], *cluster;
	enum status status = image_file_read(&q->file, 0, start, sizeof(start));

	if (status)
		return reason_give(why, status, "disk %s: its header cannot be read: %s", q->file.path, status_name(status));
	if (qcow2_get32(start) != QCOW2_MAGIC)
		return reason_give(why, STATUS_INVALID, "disk %s: it is no qcow2 image; if it is a raw one, say format=raw",
				   q->file.path);
	q->version = qcow2_get32(start + QCOW2_HEADER_VERSION);
	if (q->version != 2 && q->version != 3)
		return unsupported(q, why, "a version of qcow2 other than 2 and 3");
	q->cluster_bits = qcow2_get32(start + QCOW2_HEADER_CLUSTER_BITS);
	if (q->cluster_bits < QCOW2_CLUSTER_BITS_MIN || q->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return refuse(q, why, "its clusters have an impossible size");
	q->cluster_size = UINT64_C(1) << q->cluster_bits;
	cluster = malloc(q->cluster_size);
	status = cluster ? image_file_read(&q->file, 0, cluster, q->cluster_size) : STATUS_NO_MEMORY;
	if (status)
		reason_give(why, status, "disk %s: its header cannot be read: %s", q->file.path, status_name(status));
	if (!status)
		status = cluster_parse(q, cluster, damaged, why);
	free(cluster);
	return status ? status : tables_load(q, why);
}

static void numbers_put(const struct qcow2 *q, uint8_t *header)
{
	uint64_t corrupt = atomic_load(&q->corrupt) ? QCOW2_INCOMPATIBLE_CORRUPT : 0;

	qcow2_put64(header + QCOW2_HEADER_SIZE, q->size);
	qcow2_put32(header + QCOW2_HEADER_L1_SIZE, q->l1_size);
	qcow2_put64(header + QCOW2_HEADER_L1_OFFSET, q->l1_offset);
	qcow2_put64(header + QCOW2_HEADER_REFCOUNT_TABLE_OFFSET, q->table_offset);
	qcow2_put32(header + QCOW2_HEADER_REFCOUNT_TABLE_CLUSTERS, q->table_clusters);
	qcow2_put32(header + QCOW2_HEADER_SNAPSHOTS, q->snapshots);
	qcow2_put64(header + QCOW2_HEADER_SNAPSHOTS_OFFSET, q->snapshots_offset);
	if (q->version < 3)
		return;
	qcow2_put64(header + QCOW2_HEADER_INCOMPATIBLE, q->incompatible | corrupt);
	qcow2_put64(header + QCOW2_HEADER_COMPATIBLE, q->compatible);
	qcow2_put64(header + QCOW2_HEADER_AUTOCLEAR, q->autoclear);
}

enum status qcow2_header_update(struct qcow2 *q)
{
	uint8_t header[QCOW2_HEADER_V3_LENGTH];
	size_t bytes = q->version < 3 ? QCOW2_HEADER_V2_LENGTH : QCOW2_HEADER_V3_LENGTH;
	enum status status = image_file_read(&q->file, 0, header, bytes);

	if (!status) {
		numbers_put(q, header);
		status = image_file_write(&q->file, 0, header, bytes);
	}
	return status ? status : image_file_sync(&q->file);
}

/* The extensions but that of the backing file's format, into `to`. Returns where they end; 0: they do not fit. */
static uint64_t extensions_copy(const struct qcow2 *q, const uint8_t *from, uint8_t *to, uint64_t room)
{
	uint64_t at = q->header_length, end = extensions_end(q, from), out = q->header_length;
	uint32_t type, bytes;

	for (; extension_next(from, end, &at, &type, &bytes); at = extension_after(at, bytes)) {
		uint64_t whole = extension_after(0, bytes) + 8;

		if (type == QCOW2_EXTENSION_BACKING_FORMAT)
			continue;
		if (out + whole > room)
			return 0;
		memcpy(to + out, from + at - 8, 8 + (size_t)bytes);
		out += whole;
	}
	return out;
}

/* The header with the backing file that *q has now. false: it does not fit into a cluster. */
static bool header_build(const struct qcow2 *q, const uint8_t *old, uint8_t *header)
{
	uint64_t format = q->backing_format ? strlen(q->backing_format) : 0, path = q->backing_path ? strlen(q->backing_path) : 0,
		 at;

	memcpy(header, old, q->header_length);
	numbers_put(q, header);
	at = extensions_copy(q, old, header, q->cluster_size);
	if (!at || at + 8 + extension_after(0, (uint32_t)format) + 8 + path > q->cluster_size)
		return false;
	if (format) {
		qcow2_put32(header + at, QCOW2_EXTENSION_BACKING_FORMAT);
		qcow2_put32(header + at + 4, (uint32_t)format);
		memcpy(header + at + 8, q->backing_format, format);
		at = extension_after(at + 8, (uint32_t)format);
	}
	at += 8; /* the extension of type END is zeroes */
	qcow2_put64(header + QCOW2_HEADER_BACKING_OFFSET, path ? at : 0);
	qcow2_put32(header + QCOW2_HEADER_BACKING_LENGTH, (uint32_t)path);
	if (path)
		memcpy(header + at, q->backing_path, path);
	return true;
}

enum status qcow2_header_write(struct qcow2 *q)
{
	uint8_t *old = malloc(q->cluster_size), *header = calloc(1, q->cluster_size);
	enum status status = old && header ? image_file_read(&q->file, 0, old, q->cluster_size) : STATUS_NO_MEMORY;

	if (!status && !header_build(q, old, header))
		status = STATUS_NO_SPACE;
	if (!status)
		status = image_file_write(&q->file, 0, header, q->cluster_size);
	if (!status)
		status = image_file_sync(&q->file);
	free(old);
	free(header);
	return status;
}
