/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_walk.c - walks L1 and L2 tables on disk: see qcow2_walk.h.
 */
#include <stdlib.h>

#include "qcow2_walk.h"

static struct qcow2_visit entry_visit(const struct qcow2 *q, uint64_t guest, const struct qcow2_entry *entry)
{
	struct qcow2_visit visit = {
		.kind = QCOW2_VISIT_DATA, .bytes = q->cluster_size, .guest = guest, .word = entry->word, .bits = entry->bits};

	if (entry->word & QCOW2_ENTRY_COMPRESSED) {
		visit.kind = QCOW2_VISIT_PACKED;
		qcow2_packed_place(q, entry->word, &visit.offset, &visit.bytes);
		if (entry->word & QCOW2_ENTRY_COPIED)
			visit.kind = QCOW2_VISIT_WRONG;
		return visit;
	}
	visit.offset = entry->word & QCOW2_ENTRY_OFFSET;
	if (!qcow2_aligned(q, visit.offset) || entry->word & QCOW2_ENTRY_RESERVED_L2)
		visit.kind = QCOW2_VISIT_WRONG;
	if (entry->word & QCOW2_ENTRY_ZERO && (q->units > 1 || q->version < 3))
		visit.kind = QCOW2_VISIT_WRONG;
	if (q->units > 1 && (entry->bits & entry->bits >> 32 & UINT32_MAX || (entry->bits & UINT32_MAX && !visit.offset)))
		visit.kind = QCOW2_VISIT_WRONG;
	return visit;
}

/*
 * The L2 tables that an L1 table names, each once, in the order of the file. One that is named again belongs to an image that is damaged, or made to keep us busy: a few megabytes
 * can name one table millions of times. What is behind the file's end holds nothing.
 */
struct table {
	uint64_t offset;
	uint32_t first, times; /* the place in L1, of the first one; how many there are */
};

static int table_order(const void *left, const void *right)
{
	const struct table *a = left, *b = right;

	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return a->first < b->first ? -1 : 1;
}

static bool l1_entry_good(const struct qcow2 *q, uint64_t word)
{
	return qcow2_aligned(q, word & QCOW2_ENTRY_OFFSET) && !(word & QCOW2_ENTRY_RESERVED_L1);
}

static enum status tables_list(struct qcow2 *q, const uint64_t *l1, uint32_t l1_size, struct table **list, uint32_t *tables)
{
	struct table *table;
	uint64_t length = 0;
	uint32_t count = 0, kept = 0;
	enum status status = image_file_length(&q->file, &length);

	*list = NULL;
	*tables = 0;
	for (uint32_t i = 0; i < l1_size; i++)
		count += (l1[i] & QCOW2_ENTRY_OFFSET) != 0;
	if (status || !count)
		return status;
	*list = table = malloc(count * sizeof(*table));
	if (!table)
		return STATUS_NO_MEMORY;
	count = 0;
	for (uint32_t i = 0; i < l1_size; i++) {
		uint64_t offset = l1[i] & QCOW2_ENTRY_OFFSET;

		if (offset && offset < length && l1_entry_good(q, l1[i]))
			table[count++] = (struct table){offset, i, 1};
	}
	qsort(table, count, sizeof(*table), table_order);
	for (uint32_t i = 0; i < count; i++) {
		if (kept && table[kept - 1].offset == table[i].offset)
			table[kept - 1].times++;
		else
			table[kept++] = table[i];
	}
	*tables = kept;
	return STATUS_OK;
}

static enum status table_walk(struct qcow2 *q, const struct table *table, const uint8_t *bytes,
			      enum status (*visit)(void *context, const struct qcow2_visit *visit), void *context)
{
	uint64_t guest = (uint64_t)table->first << (q->cluster_bits + q->l2_bits);
	enum status status = STATUS_OK;

	for (uint64_t at = 0; !status && at < q->cluster_size; at += q->entry_bytes, guest += q->cluster_size) {
		struct qcow2_entry entry = qcow2_entry_read(q, bytes + at);
		struct qcow2_visit found = entry_visit(q, guest, &entry);

		found.times = table->times;
		if (found.offset || found.kind == QCOW2_VISIT_WRONG)
			status = visit(context, &found);
	}
	return status;
}

static enum status l1_walk(struct qcow2 *q, const uint64_t *l1, uint32_t l1_size,
			   enum status (*visit)(void *context, const struct qcow2_visit *visit), void *context)
{
	enum status status = STATUS_OK;

	for (uint64_t i = 0; !status && i < l1_size; i++) {
		struct qcow2_visit found = {.kind = l1_entry_good(q, l1[i]) ? QCOW2_VISIT_TABLE : QCOW2_VISIT_WRONG,
					    .offset = l1[i] & QCOW2_ENTRY_OFFSET,
					    .bytes = q->cluster_size,
					    .times = 1,
					    .guest = i << (q->cluster_bits + q->l2_bits),
					    .word = l1[i]};

		if (found.offset || found.kind == QCOW2_VISIT_WRONG)
			status = visit(context, &found);
	}
	return status;
}

enum status qcow2_walk(struct qcow2 *q, const uint64_t *l1, uint32_t l1_size,
		       enum status (*visit)(void *context, const struct qcow2_visit *visit), void *context)
{
	uint8_t *bytes = malloc(q->cluster_size);
	struct table *table = NULL;
	uint32_t tables = 0;
	enum status status = bytes ? l1_walk(q, l1, l1_size, visit, context) : STATUS_NO_MEMORY;

	if (!status)
		status = tables_list(q, l1, l1_size, &table, &tables);
	for (uint32_t i = 0; !status && i < tables; i++) {
		status = image_file_read(&q->file, table[i].offset, bytes, q->cluster_size);
		if (!status)
			status = table_walk(q, &table[i], bytes, visit, context);
	}
	free(table);
	free(bytes);
	return status;
}

/* What the word's COPIED bit should be; *word changes as `what` says. */
static enum status copied_word(struct qcow2 *q, const struct qcow2_counter *counter, enum qcow2_copied what, uint64_t *word,
			       uint64_t *wrong)
{
	uint64_t offset = *word & QCOW2_ENTRY_OFFSET, count = 0;
	bool set = *word & QCOW2_ENTRY_COPIED, right = false;
	enum status status = STATUS_OK;

	if (!(*word & QCOW2_ENTRY_COMPRESSED) && offset && qcow2_aligned(q, offset)) {
		status = counter->count(counter->context, offset >> q->cluster_bits, &count);
		right = count == 1;
	} else if (!set || offset) {
		return STATUS_OK; /* on nothing the bit means nothing, but must not be there; what makes no sense stays */
	}
	if (status || set == right)
		return status;
	++*wrong;
	if (what != QCOW2_COPIED_LOOK && set)
		*word &= ~QCOW2_ENTRY_COPIED;
	else if (what == QCOW2_COPIED_FIX)
		*word |= QCOW2_ENTRY_COPIED;
	return STATUS_OK;
}

static enum status copied_table(struct qcow2 *q, const struct qcow2_counter *counter, enum qcow2_copied what, uint64_t offset,
				uint8_t *table, uint64_t *wrong)
{
	enum status status = image_file_read(&q->file, offset, table, q->cluster_size);
	bool changed = false;

	for (uint64_t at = 0; !status && at < q->cluster_size; at += q->entry_bytes) {
		uint64_t old = qcow2_get64(table + at), word = old;

		status = copied_word(q, counter, what, &word, wrong);
		if (word == old)
			continue;
		qcow2_put64(table + at, word);
		changed = true;
	}
	return status || !changed ? status : image_file_write(&q->file, offset, table, q->cluster_size);
}

/* Tables that have been written behind the cache's back. */
static void caches_forget(struct qcow2 *q)
{
	qcow2_cache_forget(&q->l2, 0, UINT64_MAX, &q->lock);
}

enum status qcow2_copied_pass(struct qcow2 *q, const struct qcow2_counter *counter, enum qcow2_copied what, uint64_t *wrong)
{
	uint8_t *bytes = malloc(q->cluster_size), *raw = malloc((uint64_t)q->l1_size * 8 + 1);
	struct table *table = NULL;
	uint32_t tables = 0;
	uint64_t before = *wrong;
	enum status status = bytes && raw ? tables_list(q, q->l1, q->l1_size, &table, &tables) : STATUS_NO_MEMORY;

	for (uint32_t i = 0; !status && i < tables; i++)
		status = copied_table(q, counter, what, table[i].offset, bytes, wrong);
	for (uint32_t i = 0; !status && i < q->l1_size; i++) {
		uint64_t word = q->l1[i];

		if (l1_entry_good(q, word))
			status = copied_word(q, counter, what, &word, wrong);
		pthread_mutex_lock(&q->lock);
		q->l1[i] = word;
		pthread_mutex_unlock(&q->lock);
		qcow2_put64(raw + (uint64_t)i * 8, word);
	}
	if (!status && what != QCOW2_COPIED_LOOK && *wrong != before)
		status = image_file_write(&q->file, q->l1_offset, raw, (uint64_t)q->l1_size * 8);
	caches_forget(q);
	free(table);
	free(bytes);
	free(raw);
	return status;
}
