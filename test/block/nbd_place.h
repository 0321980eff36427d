/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd_place.h - where the servers of the NBD tests listen: a socket in a folder of its own.
 */
#ifndef HOLON_TEST_BLOCK_NBD_PLACE_H
#define HOLON_TEST_BLOCK_NBD_PLACE_H

extern struct nbd_place {
	char folder[64], path[96], uri[160];
} nbd_place;

/* 0, as cmocka wants it of a group's fixtures. Also leaves only errors to the log. */
int nbd_place_make(void);
/* The folder has nothing but the socket in it any more. */
int nbd_place_remove(void);

#endif
