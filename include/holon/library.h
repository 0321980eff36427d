/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library.h - shared libraries that are loaded when they are needed first: what brings a dozen others along should be carried by those VMs alone that use it. Hosted folders only.
 *
 * A library is a struct of function pointers, each of the type and the name that the library's own header gives it, and made from one list of names:
 *
 *	#define NBD_FUNCTIONS(row) row(nbd, create) row(nbd, close)
 *	struct nbd_library { NBD_FUNCTIONS(LIBRARY_POINTER) };
 *	static const char *const names[] = {NBD_FUNCTIONS(LIBRARY_NAME)};
 */
#ifndef HOLON_LIBRARY_H
#define HOLON_LIBRARY_H

#include <holon/status.h>

#define LIBRARY_POINTER(prefix, name) __typeof__(&prefix##_##name) name;
#define LIBRARY_NAME(prefix, name) #prefix "_" #name,

struct library {
	const char *file[3]; /* that the dynamic linker knows it by, the first that is there; ended by NULL */
	const char *package; /* Debian's, for the message */
	const char *const *function;
	unsigned functions;
};

/*
 * Loads it, for good, and sets the `functions` pointers at `pointers` in the order of their names. STATUS_UNSUPPORTED: it is not installed, or lacks one; `why` begins with `what`, which
 * needs it.
 */
enum status library_load(const struct library *library, void *pointers, const char *what, struct reason *why) must_check;

#endif
