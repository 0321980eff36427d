/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry.h - a disk in front of another that does not tell the guest of a full or failing host, but tries again until it works.
 */
#ifndef HOLON_BLOCK_RETRY_H
#define HOLON_BLOCK_RETRY_H

#include <holon/block.h>

/* Who hears that requests wait for the host (true), and that none does any more (false). Any thread; must not block. */
struct block_retry_owner {
	void (*waiting)(void *object, bool waiting);
	void *object;
};

/*
 * Puts the filter in front of *block, which it then owns: closing the filter closes both. `owner` must stay. On failure *block stays what
 * it was.
 */
enum status block_retry_add(struct block **block, const struct block_retry_owner *owner, struct reason *why) must_check;

#endif
