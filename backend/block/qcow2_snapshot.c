/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_snapshot.c - the table of snapshots, and making, applying and deleting them: see qcow2_snapshot.h.
 */
#include "qcow2_snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "qcow2.h"
#include "qcow2_walk.h"

/* Places in a record of the table. */
#define RECORD_L1_OFFSET 0
#define RECORD_L1_SIZE 8
#define RECORD_ID_LENGTH 12
#define RECORD_NAME_LENGTH 14
#define RECORD_DATE 16
#define RECORD_DATE_NS 20
#define RECORD_VM_CLOCK 24
#define RECORD_VM_STATE 32
#define RECORD_EXTRA_LENGTH 36
#define RECORD_FIXED 40
#define EXTRA_VM_STATE 0
#define EXTRA_DISK_SIZE 8
#define EXTRA_LENGTH 24 /* what we write: with the instruction count, of which there is none */
#define EXTRA_MAX 1024

static enum status table_broken(const struct qcow2 *q, struct reason *why)
{
	return reason_give(why, STATUS_INVALID, "disk %s: its table of snapshots makes no sense", q->file.path);
}

static void snapshot_free(struct qcow2_snapshot *snapshot)
{
	free(snapshot->id);
	free(snapshot->name);
	free(snapshot->record);
}

void qcow2_snapshots_free(struct qcow2_snapshots *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		snapshot_free(&list->snapshot[i]);
	free(list->snapshot);
	*list = (struct qcow2_snapshots){0};
}

static bool record_parse(const struct qcow2 *q, struct qcow2_snapshot *snapshot)
{
	const uint8_t *record = snapshot->record, *extra = record + RECORD_FIXED;
	uint32_t extra_bytes = qcow2_get32(record + RECORD_EXTRA_LENGTH);
	unsigned id = qcow2_get16(record + RECORD_ID_LENGTH), name = qcow2_get16(record + RECORD_NAME_LENGTH);

	snapshot->l1_offset = qcow2_get64(record + RECORD_L1_OFFSET);
	snapshot->l1_size = qcow2_get32(record + RECORD_L1_SIZE);
	snapshot->date = qcow2_get32(record + RECORD_DATE);
	snapshot->date_ns = qcow2_get32(record + RECORD_DATE_NS);
	snapshot->vm_clock_ns = qcow2_get64(record + RECORD_VM_CLOCK);
	snapshot->vm_state =
		extra_bytes >= EXTRA_VM_STATE + 8 ? qcow2_get64(extra + EXTRA_VM_STATE) : qcow2_get32(record + RECORD_VM_STATE);
	snapshot->disk_size = extra_bytes >= EXTRA_DISK_SIZE + 8 ? qcow2_get64(extra + EXTRA_DISK_SIZE) : q->size;
	snapshot->id = strndup((const char *)extra + extra_bytes, id);
	snapshot->name = strndup((const char *)extra + extra_bytes + id, name);
	return (snapshot->l1_offset || !snapshot->l1_size) && snapshot->l1_size <= QCOW2_L1_BYTES_MAX / 8 &&
	       snapshot->l1_offset < QCOW2_OFFSET_MAX && qcow2_aligned(q, snapshot->l1_offset) &&
	       snapshot->disk_size <= INT64_MAX && snapshot->id && snapshot->name;
}

/* One record at *at of the file; steps *at behind it. */
static enum status record_read(struct qcow2 *q, uint64_t *at, struct qcow2_snapshot *snapshot, struct reason *why)
{
	uint8_t fixed[RECORD_FIXED];
	enum status status = image_file_read(&q->file, *at, fixed, sizeof(fixed));
	uint32_t extra = qcow2_get32(fixed + RECORD_EXTRA_LENGTH);

	if (status)
		return reason_give(why, status, "disk %s: its table of snapshots cannot be read", q->file.path);
	if (extra > EXTRA_MAX)
		return table_broken(q, why);
	snapshot->record_bytes =
		RECORD_FIXED + extra + qcow2_get16(fixed + RECORD_ID_LENGTH) + (size_t)qcow2_get16(fixed + RECORD_NAME_LENGTH);
	snapshot->record = malloc(snapshot->record_bytes);
	status = snapshot->record ? image_file_read(&q->file, *at, snapshot->record, snapshot->record_bytes) : STATUS_NO_MEMORY;
	if (status)
		return reason_give(why, status, "disk %s: its table of snapshots cannot be read", q->file.path);
	*at += (snapshot->record_bytes + 7) & ~UINT64_C(7);
	return record_parse(q, snapshot) ? STATUS_OK : table_broken(q, why);
}

enum status qcow2_snapshots_read(struct qcow2 *q, struct qcow2_snapshots *list, struct reason *why)
{
	uint64_t at = q->snapshots_offset;
	enum status status = STATUS_OK;

	*list = (struct qcow2_snapshots){.snapshot = calloc(q->snapshots ? q->snapshots : 1, sizeof(struct qcow2_snapshot))};
	if (!list->snapshot)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", q->file.path);
	while (!status && list->count < q->snapshots) {
		status = record_read(q, &at, &list->snapshot[list->count++], why);
		list->bytes = at - q->snapshots_offset;
		if (!status && list->bytes > QCOW2_SNAPSHOT_TABLE_BYTES_MAX)
			status = table_broken(q, why);
	}
	if (status)
		qcow2_snapshots_free(list);
	return status;
}

enum status qcow2_snapshots_measure(struct qcow2 *q, struct reason *why)
{
	struct qcow2_snapshots list;
	enum status status = qcow2_snapshots_read(q, &list, why);

	q->snapshots_bytes = status ? 0 : list.bytes;
	if (!status)
		qcow2_snapshots_free(&list);
	return status;
}

enum status qcow2_snapshot_l1(struct qcow2 *q, const struct qcow2_snapshot *snapshot, uint64_t **out)
{
	uint64_t bytes = (uint64_t)snapshot->l1_size * 8, *l1 = malloc(bytes ? bytes : 1);
	enum status status = l1 ? image_file_read(&q->file, snapshot->l1_offset, l1, bytes) : STATUS_NO_MEMORY;

	for (uint32_t i = 0; !status && i < snapshot->l1_size; i++)
		l1[i] = qcow2_get64(&l1[i]);
	*out = l1;
	return status;
}

static struct qcow2_snapshot *snapshot_find(struct qcow2_snapshots *list, const char *name)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (!strcmp(list->snapshot[i].name, name))
			return &list->snapshot[i];
	for (uint32_t i = 0; i < list->count; i++)
		if (!strcmp(list->snapshot[i].id, name))
			return &list->snapshot[i];
	return NULL;
}

/* Writes the list as a new table and turns the header to it. Under mutate. */
static enum status table_replace(struct qcow2 *q, const struct qcow2_snapshots *list)
{
	uint64_t old = q->snapshots_offset, old_bytes = q->snapshots_bytes, at = 0, bytes = 0;
	uint32_t old_count = q->snapshots;
	struct qcow2_run run = {0};
	enum status status = STATUS_OK;
	uint8_t *table;

	for (uint32_t i = 0; i < list->count; i++)
		bytes += (list->snapshot[i].record_bytes + 7) & ~UINT64_C(7);
	if (bytes > QCOW2_SNAPSHOT_TABLE_BYTES_MAX)
		return STATUS_NO_SPACE;
	table = calloc(1, bytes ? bytes : 1);
	if (!table)
		return STATUS_NO_MEMORY;
	for (uint32_t i = 0; i < list->count; i++) {
		memcpy(table + at, list->snapshot[i].record, list->snapshot[i].record_bytes);
		at += (list->snapshot[i].record_bytes + 7) & ~UINT64_C(7);
	}
	if (bytes)
		status = qcow2_allocate(q, qcow2_clusters(q, bytes), true, &run);
	if (!status && bytes)
		status = image_file_write(&q->file, run.offset, table, bytes);
	free(table);
	if (!status) {
		pthread_mutex_unlock(&q->mutate);
		status = qcow2_commit(q, true);
		pthread_mutex_lock(&q->mutate);
	}
	if (status)
		return status;
	q->snapshots = list->count;
	q->snapshots_offset = run.offset;
	q->snapshots_bytes = bytes;
	status = qcow2_header_update(q);
	if (status) {
		q->snapshots = old_count;
		q->snapshots_offset = old;
		q->snapshots_bytes = old_bytes;
		return status;
	}
	if (old)
		qcow2_free_later(q, old, old_bytes);
	return STATUS_OK;
}

struct counting {
	struct qcow2 *q;
	bool look; /* only whether there is room for one more */
	int change;
};

static enum status counted(void *context, const struct qcow2_visit *visit)
{
	struct counting *counting = context;
	struct qcow2 *q = counting->q;
	uint64_t first = visit->offset >> q->cluster_bits, clusters = qcow2_clusters(q, visit->offset + visit->bytes) - first,
		 count;
	enum status status = STATUS_OK;

	if (visit->kind == QCOW2_VISIT_WRONG)
		return qcow2_corrupt(q, "the entry %llx makes no sense", (unsigned long long)visit->word);
	if (counting->change < 0) {
		qcow2_free_later(q, visit->offset, visit->bytes);
		return STATUS_OK;
	}
	if (!counting->look)
		return qcow2_refcount_add(q, first, clusters, 1);
	for (uint64_t i = 0; !status && i < clusters; i++) {
		status = qcow2_refcount_get(q, first + i, &count);
		/* Compressed clusters share clusters: as many references as there are may come on top. */
		if (!status && (count == q->refcount_max || (visit->kind == QCOW2_VISIT_PACKED && count > q->refcount_max / 2)))
			status = STATUS_NO_SPACE;
	}
	return status;
}

/* One reference more, or less, on all that an L1 table refers to; written back and stable. Under mutate. */
static enum status references_change(struct qcow2 *q, const uint64_t *l1, uint32_t l1_size, int change)
{
	struct counting counting = {q, true, change};
	enum status status = STATUS_OK;

	if (change > 0)
		status = qcow2_walk(q, l1, l1_size, counted, &counting);
	counting.look = false;
	if (!status)
		status = qcow2_walk(q, l1, l1_size, counted, &counting);
	pthread_mutex_unlock(&q->mutate);
	for (unsigned i = 0; !status && i < 2; i++) /* again for what the first set free */
		status = qcow2_commit(q, true);
	pthread_mutex_lock(&q->mutate);
	return status;
}

static enum status nothing_counted(void *context, uint64_t cluster, uint64_t *count)
{
	(void)context, (void)cluster;
	*count = 2;
	return STATUS_OK;
}

/* From here on nothing is written in place. */
static enum status copied_clear(struct qcow2 *q)
{
	struct qcow2_counter counter = {nothing_counted, NULL};
	uint64_t wrong = 0;
	enum status status = qcow2_copied_pass(q, &counter, QCOW2_COPIED_CLEAR, &wrong);

	return status ? status : image_file_sync(&q->file);
}

static enum status copied_set(struct qcow2 *q)
{
	enum status status = qcow2_copied_fix(q);

	return status ? status : image_file_sync(&q->file);
}

static bool record_make(const struct qcow2 *q, struct qcow2_snapshot *snapshot, const char *id, const char *name,
			uint64_t l1_offset)
{
	size_t id_bytes = strlen(id), name_bytes = strlen(name);
	struct timespec now;
	uint8_t *record;

	*snapshot = (struct qcow2_snapshot){.record_bytes = RECORD_FIXED + EXTRA_LENGTH + id_bytes + name_bytes};
	record = snapshot->record = calloc(1, snapshot->record_bytes);
	if (!record)
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	qcow2_put64(record + RECORD_L1_OFFSET, l1_offset);
	qcow2_put32(record + RECORD_L1_SIZE, q->l1_size);
	qcow2_put16(record + RECORD_ID_LENGTH, (uint16_t)id_bytes);
	qcow2_put16(record + RECORD_NAME_LENGTH, (uint16_t)name_bytes);
	qcow2_put32(record + RECORD_DATE, (uint32_t)now.tv_sec);
	qcow2_put32(record + RECORD_DATE_NS, (uint32_t)now.tv_nsec);
	qcow2_put32(record + RECORD_EXTRA_LENGTH, EXTRA_LENGTH);
	qcow2_put64(record + RECORD_FIXED + EXTRA_DISK_SIZE, q->size);
	memset(record + RECORD_FIXED + 16, 0xff, 8); /* no instruction count */
	memcpy(record + RECORD_FIXED + EXTRA_LENGTH, id, id_bytes);
	memcpy(record + RECORD_FIXED + EXTRA_LENGTH + id_bytes, name, name_bytes);
	return record_parse(q, snapshot);
}

/* Adds a snapshot to the list whose L1 table is a copy of the active one. Under mutate. */
static enum status snapshot_add(struct qcow2 *q, struct qcow2_snapshots *list, const char *name)
{
	uint64_t bytes = (uint64_t)q->l1_size * 8, highest = 0;
	struct qcow2_snapshot *grown = realloc(list->snapshot, (list->count + (size_t)1) * sizeof(*grown));
	uint8_t *raw = malloc(bytes ? bytes : 1);
	struct qcow2_run run = {0};
	char id[24];
	enum status status = STATUS_NO_MEMORY;

	if (grown)
		list->snapshot = grown;
	for (uint32_t i = 0; i < list->count; i++) {
		uint64_t number = strtoull(list->snapshot[i].id, NULL, 10);

		highest = number > highest && number < UINT64_MAX ? number : highest;
	}
	snprintf(id, sizeof(id), "%llu", (unsigned long long)highest + 1);
	for (uint32_t i = 0; raw && i < q->l1_size; i++)
		qcow2_put64(raw + (uint64_t)i * 8, q->l1[i]);
	if (grown && raw)
		status = bytes ? qcow2_allocate(q, qcow2_clusters(q, bytes), true, &run) : STATUS_OK;
	if (!status && bytes)
		status = image_file_write(&q->file, run.offset, raw, bytes);
	if (!status && !record_make(q, &list->snapshot[list->count++], id, name, run.offset))
		status = STATUS_NO_MEMORY;
	free(raw);
	return status;
}

static enum status snapshot_failed(const struct qcow2 *q, const char *what, enum status status, struct reason *why)
{
	if (!status)
		return STATUS_OK;
	return reason_give(why, status, "disk %s: the snapshot cannot be %s: %s%s", q->file.path, what, status_name(status),
			   status == STATUS_NO_SPACE && q->refcount_order < 4 ? " (or its refcounts have too few bits)" : "");
}

static enum status snapshot_missing(const struct qcow2 *q, const char *name, struct reason *why)
{
	return reason_give(why, STATUS_NOT_FOUND, "disk %s: it has no snapshot %s; holon disk snapshot list %s shows them",
			   q->file.path, name, q->file.path);
}

enum status qcow2_snapshot_create(struct qcow2 *q, const char *name, struct reason *why)
{
	struct qcow2_snapshots list;
	enum status status = qcow2_snapshots_read(q, &list, why);

	if (status)
		return status;
	if (snapshot_find(&list, name))
		status = reason_give(why, STATUS_USAGE, "disk %s: a snapshot %s is there already; choose another name",
				     q->file.path, name);
	else if (list.count == QCOW2_SNAPSHOTS_MAX || strlen(name) > UINT16_MAX)
		status = reason_give(why, STATUS_USAGE, "disk %s: %s", q->file.path, "it has no room for such a snapshot");
	if (status) {
		qcow2_snapshots_free(&list);
		return status;
	}
	status = qcow2_commit(q, true);
	pthread_mutex_lock(&q->mutate);
	if (!status)
		status = copied_clear(q);
	if (!status)
		status = references_change(q, q->l1, q->l1_size, 1);
	if (!status)
		status = snapshot_add(q, &list, name);
	if (!status)
		status = table_replace(q, &list);
	if (status && copied_set(q)) /* what failed may have been the disk itself */
		status = STATUS_IO;
	pthread_mutex_unlock(&q->mutate);
	qcow2_snapshots_free(&list);
	if (!status)
		status = qcow2_commit(q, true);
	return snapshot_failed(q, "made", status, why);
}

enum status qcow2_snapshot_delete(struct qcow2 *q, const char *name, struct reason *why)
{
	struct qcow2_snapshots list;
	struct qcow2_snapshot *found, gone;
	uint64_t *l1 = NULL;
	enum status status = qcow2_snapshots_read(q, &list, why);

	if (status)
		return status;
	found = snapshot_find(&list, name);
	if (!found) {
		qcow2_snapshots_free(&list);
		return snapshot_missing(q, name, why);
	}
	gone = *found;
	memmove(found, found + 1, (size_t)(&list.snapshot[list.count] - (found + 1)) * sizeof(*found));
	list.count--;
	status = qcow2_snapshot_l1(q, &gone, &l1);
	if (!status)
		status = qcow2_commit(q, true);
	pthread_mutex_lock(&q->mutate);
	if (!status)
		status = table_replace(q, &list);
	if (!status && gone.l1_size)
		qcow2_free_later(q, gone.l1_offset, (uint64_t)gone.l1_size * 8);
	if (!status)
		status = references_change(q, l1, gone.l1_size, -1);
	if (!status)
		status = copied_set(q);
	pthread_mutex_unlock(&q->mutate);
	free(l1);
	snapshot_free(&gone);
	qcow2_snapshots_free(&list);
	return snapshot_failed(q, "deleted", status, why);
}

/* The active tables become a snapshot's. Under mutate. */
static enum status tables_turn(struct qcow2 *q, const struct qcow2_snapshot *snapshot, const uint64_t *l1)
{
	uint64_t reach = UINT64_C(1) << (q->cluster_bits + q->l2_bits), old_size = q->size;
	uint64_t needed = snapshot->disk_size / reach + (snapshot->disk_size % reach != 0), old_entries = q->l1_size;
	uint64_t *old, *entries;
	enum status status = STATUS_NO_MEMORY;

	if (needed < snapshot->l1_size)
		needed = snapshot->l1_size;
	if (needed > QCOW2_L1_BYTES_MAX / 8)
		return STATUS_INVALID; /* the size that the image claims for it */
	old = malloc(old_entries * 8 + 1);
	entries = calloc(needed ? needed : 1, 8);
	if (old && entries) {
		memcpy(old, q->l1, old_entries * 8);
		for (uint32_t i = 0; i < snapshot->l1_size; i++)
			entries[i] = l1[i] & ~QCOW2_ENTRY_COPIED;
		status = references_change(q, l1, snapshot->l1_size, 1);
		if (!status) {
			q->size = snapshot->disk_size;
			status = qcow2_l1_move(q, entries, (uint32_t)needed);
			if (status)
				q->size = old_size;
		}
		qcow2_cache_forget(&q->l2, 0, UINT64_MAX, &q->lock);
		if (!status)
			status = references_change(q, old, (uint32_t)old_entries, -1);
	}
	free(old);
	free(entries);
	return status;
}

enum status qcow2_snapshot_apply(struct qcow2 *q, const char *name, struct reason *why)
{
	struct qcow2_snapshots list;
	struct qcow2_snapshot *found;
	uint64_t *l1 = NULL;
	enum status status = qcow2_snapshots_read(q, &list, why);

	if (status)
		return status;
	found = snapshot_find(&list, name);
	if (!found) {
		qcow2_snapshots_free(&list);
		return snapshot_missing(q, name, why);
	}
	status = qcow2_snapshot_l1(q, found, &l1);
	if (!status)
		status = qcow2_commit(q, true);
	pthread_mutex_lock(&q->mutate);
	if (!status)
		status = tables_turn(q, found, l1);
	if (!status)
		status = copied_set(q);
	pthread_mutex_unlock(&q->mutate);
	free(l1);
	qcow2_snapshots_free(&list);
	return snapshot_failed(q, "applied", status, why);
}
