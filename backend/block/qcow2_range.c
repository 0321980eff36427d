/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_range.c - keeps requests apart that would change clusters under each other.
 *
 * Reads, and writes in place, share a range. What allocates, copies, zeroes or discards has it alone: so nobody reads a cluster that is given away
 * meanwhile, and two writes to one new cluster do not both allocate it. Each waits for those that came before it, so nobody waits for ever.
 */
#include "qcow2_image.h"

static bool list_overlaps(const struct qcow2_range *list, const struct qcow2_range *range, uint64_t before)
{
	for (; list; list = list->next)
		if (list->ticket < before && list->from < range->to && range->from < list->to)
			return true;
	return false;
}

static void range_insert(struct qcow2 *q, struct qcow2_range *range)
{
	struct qcow2_range **list = range->alone ? &q->alone : &q->shared;

	range->ticket = q->ticket++;
	range->next = *list;
	range->link = list;
	if (range->next)
		range->next->link = &range->next;
	*list = range;
}

static void range_fill(const struct qcow2 *q, struct qcow2_range *range, uint64_t offset, uint64_t length, bool alone)
{
	range->alone = alone;
	range->from = offset & ~(q->cluster_size - 1);
	range->to = (offset + length + q->cluster_size - 1) & ~(q->cluster_size - 1);
}

bool qcow2_range_try(struct qcow2 *q, struct qcow2_range *range, uint64_t offset, uint64_t length)
{
	range_fill(q, range, offset, length, false);
	if (list_overlaps(q->alone, range, UINT64_MAX))
		return false;
	range_insert(q, range);
	return true;
}

void qcow2_range_enter(struct qcow2 *q, struct qcow2_range *range, uint64_t offset, uint64_t length, bool alone)
{
	range_fill(q, range, offset, length, alone);
	pthread_mutex_lock(&q->lock);
	range_insert(q, range);
	while (list_overlaps(q->alone, range, range->ticket) || (alone && list_overlaps(q->shared, range, range->ticket)))
		pthread_cond_wait(&q->ranges_changed, &q->lock);
	pthread_mutex_unlock(&q->lock);
}

void qcow2_range_leave(struct qcow2 *q, struct qcow2_range *range)
{
	bool wake;

	pthread_mutex_lock(&q->lock);
	*range->link = range->next;
	if (range->next)
		range->next->link = range->link;
	wake = q->alone || range->alone;
	pthread_mutex_unlock(&q->lock);
	if (wake)
		pthread_cond_broadcast(&q->ranges_changed);
}
