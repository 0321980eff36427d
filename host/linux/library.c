/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library.c - loads shared libraries when they are needed: include/holon/library.h.
 */
#include <dlfcn.h>
#include <string.h>

#include <holon/library.h>

enum status library_load(const struct library *library, void *pointers, const char *what, struct reason *why)
{
	void *loaded = NULL;

	for (unsigned i = 0; !loaded && library->file[i]; i++)
		loaded = dlopen(library->file[i], RTLD_NOW | RTLD_LOCAL);
	if (!loaded)
		return reason_give(why, STATUS_UNSUPPORTED,
				   "%s: its library cannot be loaded (%s); if it is not installed: apt-get install %s", what,
				   dlerror(), library->package);
	for (unsigned i = 0; i < library->functions; i++) {
		void *function = dlsym(loaded, library->function[i]);

		if (!function)
			return reason_give(why, STATUS_UNSUPPORTED,
					   "%s: the %s installed here has no %s, it is too old; apt-get install %s", what,
					   library->file[0], library->function[i], library->package);
		memcpy((char *)pointers + i * sizeof(function), &function, sizeof(function));
	}
	return STATUS_OK;
}
