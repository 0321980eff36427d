/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decompress.h - unpacks a kernel's payload on the host, for the board (include/holon/board.h, struct board_backends).
 */
#ifndef HOLON_CONTROL_DECOMPRESS_H
#define HOLON_CONTROL_DECOMPRESS_H

#include <stdint.h>

#include <holon/status.h>

#define DECOMPRESS_MAX (UINT64_C(512) << 20) /* no kernel is larger: what claims to be is a bomb */

enum status decompress(const uint8_t *in, uint64_t in_length, uint8_t **out, uint64_t *out_length, struct reason *why) must_check;
/* The same with a limit of whole pages. */
enum status decompress_bounded(const uint8_t *in, uint64_t in_length, uint64_t limit, uint8_t **out, uint64_t *out_length,
			       struct reason *why) must_check;
void decompress_free(uint8_t *out, uint64_t out_length);

#endif
