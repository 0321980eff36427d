/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd_library.h - libnbd, loaded when the first disk needs it.
 */
#ifndef HOLON_BLOCK_NBD_LIBRARY_H
#define HOLON_BLOCK_NBD_LIBRARY_H

#include <libnbd.h>

#include <holon/library.h>

/* A row each; `lib->aio_pread` is nbd_aio_pread. */
#define NBD_FUNCTIONS(row)                                                                                                         \
	row(nbd, create) row(nbd, close) row(nbd, get_error) row(nbd, get_errno) row(nbd, set_strict_mode)                         \
		row(nbd, get_strict_mode) row(nbd, set_uri_allow_local_file) row(nbd, aio_connect_uri) row(nbd, aio_is_connecting) \
			row(nbd, aio_is_ready) row(nbd, poll) row(nbd, get_block_size) row(nbd, can_trim) row(nbd, can_zero)       \
				row(nbd, can_flush) row(nbd, get_size) row(nbd, is_read_only) row(nbd, aio_disconnect)             \
					row(nbd, aio_pread) row(nbd, aio_pwrite) row(nbd, aio_flush) row(nbd, aio_trim)            \
						row(nbd, aio_zero) row(nbd, aio_is_dead) row(nbd, aio_is_closed)                   \
							row(nbd, aio_get_direction) row(nbd, aio_get_fd) row(nbd, aio_notify_read) \
								row(nbd, aio_notify_write)

struct nbd_library {
	NBD_FUNCTIONS(LIBRARY_POINTER)
};

/* STATUS_UNSUPPORTED: it is not installed, or too old. */
enum status nbd_library_load(const struct nbd_library **lib, struct reason *why) must_check;

#endif
