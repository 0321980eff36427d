/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd_place.c - nbd_place.h's.
 */
#include "nbd_place.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct nbd_place nbd_place;

int nbd_place_make(void)
{
	snprintf(nbd_place.folder, sizeof(nbd_place.folder), "/tmp/holon-nbd-XXXXXX");
	if (!mkdtemp(nbd_place.folder))
		return -1;
	snprintf(nbd_place.path, sizeof(nbd_place.path), "%s/socket", nbd_place.folder);
	snprintf(nbd_place.uri, sizeof(nbd_place.uri), "nbd+unix:///?socket=%s", nbd_place.path);
	setenv("HOLON_LOG", "error", 1);
	return 0;
}

int nbd_place_remove(void)
{
	unlink(nbd_place.path);
	return rmdir(nbd_place.folder);
}
