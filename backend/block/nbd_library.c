/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd_library.c - loads libnbd: see nbd_library.h. Called by nbd.c.
 */
#include "nbd_library.h"

enum status nbd_library_load(const struct nbd_library **lib, struct reason *why)
{
	static struct nbd_library loaded;
	static const char *const names[] = {NBD_FUNCTIONS(LIBRARY_NAME)};
	static const struct library libnbd = {{"libnbd.so.0"}, "libnbd0", names, sizeof(names) / sizeof(names[0])};

	*lib = &loaded;
	return library_load(&libnbd, &loaded, "NBD", why);
}
