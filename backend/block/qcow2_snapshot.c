/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_snapshot.c - the table of snapshots, and making, applying and deleting them: see qcow2_snapshot.h.
 */
#include "qcow2_snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "qcow2.h"
#include "qcow2_image.h"
#include "qcow2_turn.h"

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
#define NAME_MAX_BYTES 255 /* QEMU shows no more of a name */

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
	uint64_t at = q->snapshots_offset, room = 0, l1_bytes;
	enum status status = image_file_length(&q->file, &room);

	*list = (struct qcow2_snapshots){.snapshot = calloc(q->snapshots ? q->snapshots : 1, sizeof(struct qcow2_snapshot))};
	if (!list->snapshot)
		return reason_give(why, STATUS_NO_MEMORY, "disk %s: out of memory", q->file.path);
	if (status)
		status = reason_give(why, status, "disk %s: its length cannot be found", q->file.path);
	while (!status && list->count < q->snapshots) {
		status = record_read(q, &at, &list->snapshot[list->count++], why);
		list->bytes = at - q->snapshots_offset;
		if (!status && list->bytes > QCOW2_SNAPSHOT_TABLE_BYTES_MAX)
			status = table_broken(q, why);
		/* Each has an L1 table to itself. Where they must lie on each other, nobody is to walk them all. */
		l1_bytes = status ? 0 : (uint64_t)list->snapshot[list->count - 1].l1_size * 8;
		if (l1_bytes > room)
			status = table_broken(q, why);
		room -= l1_bytes;
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

/* Adds a snapshot to the list that has the active L1 table as it is: the active disk gets a new one. */
static enum status snapshot_add(struct qcow2 *q, struct qcow2_snapshots *list, const char *name)
{
	struct qcow2_snapshot *grown = realloc(list->snapshot, (list->count + (size_t)1) * sizeof(*grown));
	uint64_t highest = 0;
	char id[24];

	if (!grown)
		return STATUS_NO_MEMORY;
	list->snapshot = grown;
	for (uint32_t i = 0; i < list->count; i++) {
		uint64_t number = strtoull(list->snapshot[i].id, NULL, 10);

		highest = number > highest && number < UINT64_MAX ? number : highest;
	}
	snprintf(id, sizeof(id), "%llu", (unsigned long long)highest + 1);
	return record_make(q, &list->snapshot[list->count++], id, name, q->l1_offset) ? STATUS_OK : STATUS_NO_MEMORY;
}

static enum status active_turn(struct qcow2 *q, const uint64_t *l1, uint32_t l1_size, uint64_t size,
			       const struct qcow2_snapshots *list, struct reason *why)
{
	struct qcow2_next next = {l1, l1_size, size, list};

	return qcow2_turn(q, &next, why);
}

static enum status snapshot_failed(const struct qcow2 *q, const char *what, enum status status, struct reason *why)
{
	if (!status || why->text[0])
		return status;
	return reason_give(why, status, "disk %s: the snapshot cannot be %s: %s%s", q->file.path, what, status_name(status),
			   status == STATUS_NO_SPACE && q->refcount_order < 4 ? " (or its refcounts have too few bits)" : "");
}

static enum status snapshot_missing(const struct qcow2 *q, const char *name, struct reason *why)
{
	return reason_give(why, STATUS_NOT_FOUND, "disk %s: it has no snapshot %s; holon disk snapshot list %s shows them",
			   q->file.path, name, q->file.path);
}

/* Anything but controls, as long as QEMU lets them be. */
static bool name_good(const char *name)
{
	const char *at;

	for (at = name; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 127)
			return false;
	return at != name && at - name <= NAME_MAX_BYTES;
}

enum status qcow2_snapshot_create(struct qcow2 *q, const char *name, struct reason *why)
{
	struct qcow2_snapshots list;
	enum status status;

	if (!name_good(name))
		return reason_give(why, STATUS_USAGE,
				   "disk %s: a snapshot's name has from 1 to %d bytes and no control characters; choose another",
				   q->file.path, NAME_MAX_BYTES);
	status = qcow2_snapshots_read(q, &list, why);
	if (status)
		return status;
	if (snapshot_find(&list, name))
		status = reason_give(why, STATUS_USAGE, "disk %s: a snapshot %s is there already; choose another name",
				     q->file.path, name);
	else if (list.count == QCOW2_SNAPSHOTS_MAX)
		status = reason_give(why, STATUS_USAGE, "disk %s: %s", q->file.path, "it has no room for such a snapshot");
	if (status) {
		qcow2_snapshots_free(&list);
		return status;
	}
	status = snapshot_add(q, &list, name);
	if (!status)
		status = active_turn(q, q->l1, q->l1_size, q->size, &list, why);
	qcow2_snapshots_free(&list);
	return snapshot_failed(q, "made", status, why);
}

enum status qcow2_snapshot_delete(struct qcow2 *q, const char *name, struct reason *why)
{
	struct qcow2_snapshots list;
	struct qcow2_snapshot *found, gone;
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
	status = active_turn(q, q->l1, q->l1_size, q->size, &list, why);
	snapshot_free(&gone);
	qcow2_snapshots_free(&list);
	return snapshot_failed(q, "deleted", status, why);
}

/* The active tables become a snapshot's, reaching as far as its disk. */
static enum status snapshot_turn(struct qcow2 *q, const struct qcow2_snapshot *snapshot, const struct qcow2_snapshots *list,
				 struct reason *why)
{
	uint64_t reach = UINT64_C(1) << (q->cluster_bits + q->l2_bits), *l1 = NULL, *entries = NULL;
	uint64_t needed = snapshot->disk_size / reach + (snapshot->disk_size % reach != 0);
	enum status status = qcow2_snapshot_l1(q, snapshot, &l1);

	if (needed < snapshot->l1_size)
		needed = snapshot->l1_size;
	if (!status && needed > QCOW2_L1_BYTES_MAX / 8)
		status = STATUS_INVALID; /* the size that the image claims for it */
	if (!status && !(entries = calloc(needed + 1, 8)))
		status = STATUS_NO_MEMORY;
	if (!status) {
		memcpy(entries, l1, (uint64_t)snapshot->l1_size * 8);
		status = active_turn(q, entries, (uint32_t)needed, snapshot->disk_size, list, why);
	}
	free(l1);
	free(entries);
	return status;
}

enum status qcow2_snapshot_apply(struct qcow2 *q, const char *name, struct reason *why)
{
	struct qcow2_snapshots list;
	struct qcow2_snapshot *found;
	enum status status = qcow2_snapshots_read(q, &list, why);

	if (status)
		return status;
	found = snapshot_find(&list, name);
	if (!found) {
		qcow2_snapshots_free(&list);
		return snapshot_missing(q, name, why);
	}
	status = snapshot_turn(q, found, &list, why);
	qcow2_snapshots_free(&list);
	return snapshot_failed(q, "applied", status, why);
}
