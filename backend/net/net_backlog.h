/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_backlog.h - frames for a guest that has no room for them now. Bounded: what does not fit is lost. One thread's.
 */
#ifndef HOLON_NET_BACKLOG_H
#define HOLON_NET_BACKLOG_H

#include <holon/net.h>

struct net_backlog {
	uint8_t *bytes; /* each frame behind its header and length */
	size_t first, end;
};

enum status net_backlog_make(struct net_backlog *backlog) must_check;
void net_backlog_free(struct net_backlog *backlog);
static inline bool net_backlog_empty(const struct net_backlog *backlog)
{
	return backlog->first == backlog->end;
}

/* To the guest, behind what waits already; into the backlog where that or the guest's lack of room, or the frontend's (NULL), holds it up. */
void net_backlog_give(struct net_backlog *backlog, const struct net_frontend *frontend, const struct net_header *header,
		      const uint8_t *frame, size_t length);
/* Gives what waits, some frames at most. Returns whether it should be called again at once. */
bool net_backlog_deliver(struct net_backlog *backlog, const struct net_frontend *frontend);

#endif
