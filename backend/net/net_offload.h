/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_offload.h - does in software what a frame's header leaves to be done: checksums, and segments of large TCP packets.
 *
 * Frames come from guests and from other processes: everything is checked against the frame's length.
 */
#ifndef HOLON_NET_OFFLOAD_H
#define HOLON_NET_OFFLOAD_H

#include <holon/net.h>

/* The Internet checksum's sum (RFC 1071) of bytes, not complemented, added to `sum`; in the byte order of the frame. */
uint32_t net_checksum_add(uint32_t sum, const uint8_t *bytes, size_t length);
/* Folded and complemented: what goes into the field. */
uint16_t net_checksum_finish(uint32_t sum);

/* Is the header one that the frame can have? Backends ask it of frames that are not from their own device. */
bool net_header_fits(const struct net_header *header, size_t length);

/*
 * Hands the frame on as one that needs nothing more, or as several. `frame` is changed. emit: false ends it. Returns false where the
 * frame is not what its header says, or would be more than a thousand; then nothing may have been emitted. `header` fits.
 */
bool net_offload_finish(const struct net_header *header, uint8_t *frame, size_t length,
			bool (*emit)(void *context, const uint8_t *frame, size_t length), void *context);

/* Only the checksum: what is left needs none. The header fits. */
void net_checksum_complete(struct net_header *header, uint8_t *frame, size_t length);

#endif
