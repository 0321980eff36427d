/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nbd_library.c - loads libnbd: see nbd_library.h. Called by nbd.c.
 */
#include "nbd_library.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

enum status nbd_library_load(const struct nbd_library **lib, struct reason *why)
{
	static struct nbd_library loaded;
	static const struct {
		const char *name;
		size_t place;
	} functions[] = {
#define FUNCTION_ROW(name) {"nbd_" #name, offsetof(struct nbd_library, name)},
		NBD_FUNCTIONS(FUNCTION_ROW)};
	void *library = dlopen("libnbd.so.0", RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return reason_give(why, STATUS_UNSUPPORTED, "NBD: libnbd is not installed here (%s); apt-get install libnbd0",
				   dlerror());
	for (unsigned i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		void *function = dlsym(library, functions[i].name);

		if (!function)
			return reason_give(why, STATUS_UNSUPPORTED, "NBD: this libnbd has no %s; Holon needs 1.14 or newer",
					   functions[i].name);
		memcpy((uint8_t *)&loaded + functions[i].place, &function, sizeof(function));
	}
	*lib = &loaded;
	return STATUS_OK;
}
