/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_backlog.c - see net_backlog.h. Used by net_user.c and net_switch.c.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/net/net_backlog.h"

#define BACKLOG_BYTES (512u << 10)
#define BATCH 64u

struct entry {
	uint32_t length;
	struct net_header header;
};

enum status net_backlog_make(struct net_backlog *backlog)
{
	*backlog = (struct net_backlog){.bytes = malloc(BACKLOG_BYTES)};
	return backlog->bytes ? STATUS_OK : STATUS_NO_MEMORY;
}

void net_backlog_free(struct net_backlog *backlog)
{
	free(backlog->bytes);
	backlog->bytes = NULL;
}

static void backlog_add(struct net_backlog *backlog, const struct net_header *header, const uint8_t *frame, size_t length)
{
	struct entry entry = {(uint32_t)length, *header};
	size_t waiting = backlog->end - backlog->first;

	if (waiting + sizeof(entry) + length > BACKLOG_BYTES)
		return;
	if (backlog->end + sizeof(entry) + length > BACKLOG_BYTES) {
		memmove(backlog->bytes, backlog->bytes + backlog->first, waiting);
		backlog->first = 0;
		backlog->end = waiting;
	}
	memcpy(backlog->bytes + backlog->end, &entry, sizeof(entry));
	memcpy(backlog->bytes + backlog->end + sizeof(entry), frame, length);
	backlog->end += sizeof(entry) + length;
}

void net_backlog_give(struct net_backlog *backlog, const struct net_frontend *frontend, const struct net_header *header,
		      const uint8_t *frame, size_t length)
{
	if (!frontend || !net_backlog_empty(backlog) || !frontend->give(frontend->device, 0, header, frame, length))
		backlog_add(backlog, header, frame, length);
}

bool net_backlog_deliver(struct net_backlog *backlog, const struct net_frontend *frontend)
{
	unsigned left = BATCH;
	struct entry entry;

	if (!frontend)
		return false;
	while (!net_backlog_empty(backlog)) {
		if (!left--)
			return true;
		memcpy(&entry, backlog->bytes + backlog->first, sizeof(entry));
		if (!frontend->give(frontend->device, 0, &entry.header, backlog->bytes + backlog->first + sizeof(entry),
				    entry.length))
			return false;
		backlog->first += sizeof(entry) + entry.length;
	}
	backlog->first = backlog->end = 0;
	return false;
}
