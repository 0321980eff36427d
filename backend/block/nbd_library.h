/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd_library.h - libnbd, loaded when the first disk needs it: it brings a dozen libraries along, which a VM without such a disk should not carry.
 */
#ifndef HOLON_BLOCK_NBD_LIBRARY_H
#define HOLON_BLOCK_NBD_LIBRARY_H

#include <libnbd.h>

#include <holon/status.h>

/* A row each; `lib->aio_pread` is nbd_aio_pread. */
#define NBD_FUNCTIONS(row)                                                                                                    \
	row(create) row(close) row(get_error) row(get_errno) row(set_strict_mode) row(get_strict_mode)                        \
		row(set_uri_allow_local_file) row(aio_connect_uri) row(aio_is_connecting) row(aio_is_ready) row(poll)         \
			row(get_block_size) row(can_trim) row(can_zero) row(can_flush) row(get_size) row(is_read_only)        \
				row(aio_disconnect) row(aio_pread) row(aio_pwrite) row(aio_flush) row(aio_trim) row(aio_zero) \
					row(aio_is_dead) row(aio_is_closed) row(aio_get_direction) row(aio_get_fd)            \
						row(aio_notify_read) row(aio_notify_write)

#define NBD_FUNCTION_POINTER(name) __typeof__(&nbd_##name) name;
struct nbd_library {
	NBD_FUNCTIONS(NBD_FUNCTION_POINTER)
};

/* STATUS_UNSUPPORTED: it is not installed, or too old. */
enum status nbd_library_load(const struct nbd_library **lib, struct reason *why) must_check;

#endif
