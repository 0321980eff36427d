/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.h - between memory.c, which makes guest RAM, and view.c, which shows it elsewhere.
 */
#ifndef HOLON_HOST_LINUX_VIEW_H
#define HOLON_HOST_LINUX_VIEW_H

#include <stdint.h>

/* RAM of `size` bytes at `base` is all of the memfd; it takes the place of `old` (NULL: nothing's; base NULL: that goes). Without room it has no views. */
void view_source_set(const uint8_t *old, const uint8_t *base, uint64_t size, int fd);

#endif
