/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_turn.c - see qcow2_turn.h.
 *
 * A snapshot changes counts, and the COPIED bits of the active tables, which say the same: who has a cluster alone. Nothing on a disk changes both in one instant. So nothing is changed in
 * place: all references are counted as they will be; the active tables are copied to free clusters with the bits that these counts want; list, L1 and a new refcount
 * structure are written beside the old ones; and when all that is stable, the header turns to it in one write of a sector. Until then the image is the old one, and the clusters
 * written are free in it. What only the old image needed is free in the new one.
 */
#include "qcow2_turn.h"

#include <stdlib.h>

#include "qcow2_repair.h"
#include "qcow2_snapshot.h"

struct turn {
	struct qcow2 *q;
	const struct qcow2_next *next;
	struct qcow2_check check;
	struct qcow2_counts old, new;
	struct qcow2_frees frees; /* clusters that only the old image has */
	uint64_t *l1;             /* the new one's entries */
	uint64_t l1_offset, list_offset, list_bytes;
	struct qcow2_structure structure;
};

static uint64_t record_room(const struct qcow2_snapshot *snapshot)
{
	return (snapshot->record_bytes + 7) & ~UINT64_C(7);
}

/* Places that neither image uses, for L2 tables, L1 and the list. */
static enum status places_choose(struct turn *turn)
{
	const struct qcow2_next *next = turn->next;
	uint64_t from = 0, offset = 0;
	enum status status = STATUS_OK;

	for (uint32_t i = 0; i < next->list->count; i++)
		turn->list_bytes += record_room(&next->list->snapshot[i]);
	if (turn->list_bytes > QCOW2_SNAPSHOT_TABLE_BYTES_MAX)
		return STATUS_NO_SPACE;
	for (uint32_t i = 0; !status && i < next->l1_size; i++) {
		if (!(next->l1[i] & QCOW2_ENTRY_OFFSET))
			continue;
		status = qcow2_place_find(&turn->old, &from, 1, &offset);
		turn->l1[i] = offset | QCOW2_ENTRY_COPIED;
	}
	if (!status && next->l1_size)
		status =
			qcow2_place_find(&turn->old, &from, qcow2_clusters(turn->q, (uint64_t)next->l1_size * 8), &turn->l1_offset);
	if (!status && turn->list_bytes)
		status = qcow2_place_find(&turn->old, &from, qcow2_clusters(turn->q, turn->list_bytes), &turn->list_offset);
	return status;
}

/* Data of the active disk: it stays where it is, its tables do not. */
static enum status data_visited(void *context, const struct qcow2_visit *visit)
{
	return visit->kind == QCOW2_VISIT_TABLE ? STATUS_OK : qcow2_visited(context, visit);
}

static enum status snapshot_count(struct turn *turn, const struct qcow2_snapshot *snapshot)
{
	uint64_t *l1 = NULL;
	enum status status = qcow2_snapshot_l1(turn->q, snapshot, &l1);

	qcow2_refer(&turn->new, snapshot->l1_offset, (uint64_t)snapshot->l1_size * 8, "a snapshot's L1 table");
	if (!status)
		status = qcow2_walk(turn->q, l1, snapshot->l1_size, qcow2_visited, &turn->new);
	free(l1);
	return status;
}

static enum status next_count(struct turn *turn)
{
	const struct qcow2_next *next = turn->next;
	struct qcow2 *q = turn->q;
	enum status status;

	turn->new.clusters = turn->old.clusters; /* with the new places */
	qcow2_refer(&turn->new, 0, q->cluster_size, "the header");
	qcow2_refer(&turn->new, turn->l1_offset, (uint64_t)next->l1_size * 8, "the L1 table");
	qcow2_refer(&turn->new, turn->list_offset, turn->list_bytes, "the table of snapshots");
	for (uint32_t i = 0; i < next->l1_size; i++)
		if (turn->l1[i])
			qcow2_refer(&turn->new, turn->l1[i] & QCOW2_ENTRY_OFFSET, q->cluster_size, "an L2 table");
	status = qcow2_walk(q, next->l1, next->l1_size, data_visited, &turn->new);
	for (uint32_t i = 0; !status && i < next->list->count; i++)
		status = snapshot_count(turn, &next->list->snapshot[i]);
	for (uint64_t i = 0; !status && i < turn->new.used; i++)
		if (turn->new.count[i] > q->refcount_max)
			status = STATUS_NO_SPACE;
	return status;
}

/* A copy of an L2 table with the bits that the new counts want. */
static enum status table_copy(struct turn *turn, uint64_t from, uint64_t to, uint8_t *table)
{
	struct qcow2 *q = turn->q;
	enum status status = image_file_read(&q->file, from, table, q->cluster_size);

	for (uint64_t at = 0; !status && at < q->cluster_size; at += q->entry_bytes) {
		uint64_t word = qcow2_get64(table + at), offset = word & QCOW2_ENTRY_OFFSET;

		if (word & QCOW2_ENTRY_COMPRESSED)
			continue;
		word &= ~QCOW2_ENTRY_COPIED;
		if (offset && turn->new.count[offset >> q->cluster_bits] == 1)
			word |= QCOW2_ENTRY_COPIED;
		qcow2_put64(table + at, word);
	}
	return status ? status : image_file_write(&q->file, to, table, q->cluster_size);
}

static enum status tables_write(struct turn *turn)
{
	const struct qcow2_next *next = turn->next;
	struct qcow2 *q = turn->q;
	uint8_t *table = malloc(q->cluster_size), *raw = calloc(next->l1_size + (size_t)1, 8);
	enum status status = table && raw ? STATUS_OK : STATUS_NO_MEMORY;

	for (uint32_t i = 0; !status && i < next->l1_size; i++) {
		qcow2_put64(raw + (uint64_t)i * 8, turn->l1[i]);
		if (turn->l1[i])
			status = table_copy(turn, next->l1[i] & QCOW2_ENTRY_OFFSET, turn->l1[i] & QCOW2_ENTRY_OFFSET, table);
	}
	if (!status && next->l1_size)
		status = image_file_write(&q->file, turn->l1_offset, raw, (uint64_t)next->l1_size * 8);
	free(table);
	free(raw);
	return status;
}

static enum status list_write(struct turn *turn)
{
	const struct qcow2_snapshots *list = turn->next->list;
	uint8_t *bytes;
	uint64_t at = 0;
	enum status status;

	if (!turn->list_bytes)
		return STATUS_OK;
	bytes = calloc(1, turn->list_bytes);
	if (!bytes)
		return STATUS_NO_MEMORY;
	for (uint32_t i = 0; i < list->count; i++) {
		memcpy(bytes + at, list->snapshot[i].record, list->snapshot[i].record_bytes);
		at += record_room(&list->snapshot[i]);
	}
	status = image_file_write(&turn->q->file, turn->list_offset, bytes, turn->list_bytes);
	free(bytes);
	return status;
}

/* The new refcount structure, kept off what the old image has. */
static enum status structure_make(struct turn *turn)
{
	struct qcow2_counts *new = &turn->new;
	enum status status;

	for (uint64_t i = 0; i < turn->old.clusters; i++) {
		if (new->count[i] || !turn->old.count[i])
			continue;
		new->count[i] = 1;
		qcow2_frees_add(&turn->frees, i, 1);
	}
	if (new->used < turn->old.used)
		new->used = turn->old.used;
	status = qcow2_structure_place(new, &turn->structure);
	for (uint64_t i = 0; i < turn->frees.count; i++)
		memset(&new->count[turn->frees.run[i].first], 0, turn->frees.run[i].count * sizeof(*new->count));
	return status ? status : qcow2_structure_write(new, &turn->structure);
}

struct numbers {
	uint64_t size, l1_offset, table_offset, snapshots_offset, snapshots_bytes;
	uint32_t l1_size, table_clusters, snapshots;
};

static struct numbers numbers_swap(struct qcow2 *q, const struct numbers *now)
{
	struct numbers before = {q->size,    q->l1_offset,      q->table_offset, q->snapshots_offset, q->snapshots_bytes,
				 q->l1_size, q->table_clusters, q->snapshots};

	pthread_mutex_lock(&q->lock);
	q->size = now->size;
	q->l1_offset = now->l1_offset;
	q->table_offset = now->table_offset;
	q->snapshots_offset = now->snapshots_offset;
	q->snapshots_bytes = now->snapshots_bytes;
	q->l1_size = now->l1_size;
	q->table_clusters = now->table_clusters;
	q->snapshots = now->snapshots;
	pthread_mutex_unlock(&q->lock);
	return before;
}

static enum status header_turn(struct turn *turn)
{
	const struct qcow2_next *next = turn->next;
	struct numbers now = {next->size,
			      turn->l1_offset,
			      turn->structure.offset,
			      turn->list_offset,
			      turn->list_bytes,
			      next->l1_size,
			      (uint32_t)turn->structure.clusters,
			      next->list->count};
	struct numbers before = numbers_swap(turn->q, &now);
	enum status status = qcow2_header_update(turn->q);

	if (status)
		numbers_swap(turn->q, &before);
	return status;
}

/* In memory; and what is free now goes back to the host. */
static void image_take(struct turn *turn)
{
	struct qcow2 *q = turn->q;
	uint64_t *old;

	qcow2_structure_take(&turn->new, &turn->structure);
	pthread_mutex_lock(&q->lock);
	old = q->l1;
	q->l1 = turn->l1;
	q->l1_dirty = (struct qcow2_span){0, 0};
	qcow2_cache_limit(&q->l2, qcow2_l2_cache_bytes(q));
	pthread_mutex_unlock(&q->lock);
	turn->l1 = NULL;
	free(old);
	q->packed_at = 0;
	qcow2_cache_forget(&q->l2, 0, UINT64_MAX, &q->lock);
	qcow2_inflated_forget(q);
	for (uint64_t i = 0; i < turn->frees.count; i++)
		image_file_punch(&q->file, turn->frees.run[i].first << q->cluster_bits,
				 turn->frees.run[i].count << q->cluster_bits);
}

/* Under mutate, with everything written back. */
static enum status turn_run(struct turn *turn, struct reason *why)
{
	struct qcow2 *q = turn->q;
	enum status status = qcow2_counts_make(&turn->old, q, &turn->check, why);

	if (!status)
		status = qcow2_counts_make(&turn->new, q, &turn->check, why);
	if (!status)
		status = qcow2_references_count(&turn->old);
	if (status)
		return status;
	qcow2_structure_count(&turn->old);
	if (turn->check.corruptions)
		return reason_give(why, STATUS_INVALID, "disk %s: it is damaged; run: holon disk check --repair %s", q->file.path,
				   q->file.path);
	turn->l1 = calloc(turn->next->l1_size + (size_t)1, 8);
	status = turn->l1 ? places_choose(turn) : STATUS_NO_MEMORY;
	if (!status)
		status = next_count(turn);
	if (!status)
		status = tables_write(turn);
	if (!status)
		status = list_write(turn);
	if (!status)
		status = structure_make(turn);
	if (!status)
		status = header_turn(turn);
	if (!status)
		image_take(turn);
	return status;
}

enum status qcow2_turn(struct qcow2 *q, const struct qcow2_next *next, struct reason *why)
{
	struct turn turn = {.q = q, .next = next};
	enum status status = STATUS_OK;

	for (unsigned i = 0; !status && i < 2; i++) /* again for what the first set free */
		status = qcow2_commit(q, true);
	pthread_mutex_lock(&q->mutate);
	if (!status)
		status = turn_run(&turn, why);
	pthread_mutex_unlock(&q->mutate);
	qcow2_counts_drop(&turn.old);
	qcow2_counts_drop(&turn.new);
	free(turn.frees.run);
	free(turn.structure.table);
	free(turn.l1);
	return status;
}
