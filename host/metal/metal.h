/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metal.h - what host/metal offers to program/metal.c beyond include/holon/host.h: what the boot loader gave, memory, output, the end.
 *
 * One processor runs, with threads that a timer preempts. The order of locks: the ticket locks (lock.h) are leaves, taken with interrupts off in
 * this order: heap, frames; the scheduler's alone.
 */
#ifndef HOLON_HOST_METAL_H
#define HOLON_HOST_METAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holon/host.h>

#define METAL_MODULES_MAX 64

/* A file that the boot loader loaded, and the words behind its name in the loader's configuration. */
struct metal_module {
	const char *words;
	const uint8_t *bytes;
	uint64_t length;
};

struct metal_boot {
	const char *loader; /* its name; never NULL */
	const char *words;  /* Holon's own command line; never NULL */
	struct metal_module module[METAL_MODULES_MAX];
	unsigned modules;
	unsigned modules_left_out; /* there were more */
};

/* program/metal.c: on the first thread, with everything of host.h there. Its result goes to power_end. */
int metal_main(const struct metal_boot *boot);

/* `word=value` among words that spaces separate: the value, its length in *length. NULL: it is not there. */
const char *words_find(const char *words, const char *word, size_t *length);
/* Is this value, which may be NULL, `word`? */
bool words_is(const char *value, size_t length, const char *word);
/* "64M", "0x3f8", "12": false where it is no number. */
bool words_number(const char *text, size_t length, uint64_t *number);

/* Bytes of physical memory that nobody has or was promised. */
uint64_t host_memory_free(void);

/* Whole lines, newline included, to serial line and screen; lines of several threads do not mix. */
void log_write(const char *text, size_t length);

/*
 * The end of it all, as Holon's command line says: end=halt (the default), off, reset, or exit=PORT, which writes the status to QEMU's
 * isa-debug-exit. status 0: all is well.
 */
_Noreturn void power_end(int status);

#endif
