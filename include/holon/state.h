/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - saved state: a device says which of its fields outlive it, vm/state.c writes and reads them.
 *
 * A table row is a field with a stable name. On load, fields are found by name: one that the stream lacks keeps its
 * reset value, one that the table lacks is refused unless its name starts with '?'. The stream is attacker's input: sizes and checksums are
 * checked before any byte lands; `after_load` checks what the fields mean (indices, sizes) and refuses what a guest could not have produced.
 */
#ifndef HOLON_STATE_H
#define HOLON_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holon/status.h>

enum state_kind {
	STATE_U8 = 1,
	STATE_U16 = 2,
	STATE_U32 = 4,
	STATE_U64 = 8,
	STATE_BYTES = 16, /* opaque bytes; size counts them */
	STATE_BOOL = 17,  /* a byte, 0 or 1: anything else is refused */
};

struct state_field {
	const char *name;
	uint32_t offset;
	uint16_t kind;
	uint16_t stride; /* bytes between elements */
	uint32_t count;  /* elements */
};

/* clang-format off */
#define STATE_KIND_OF(scalar) _Generic((scalar), bool: STATE_BOOL, default: sizeof(scalar))
/* A scalar, an array of scalars, and a member of each element of an array of structs. */
#define STATE_FIELD(type, member) \
	{ #member, offsetof(type, member), STATE_KIND_OF(((type *)0)->member), sizeof(((type *)0)->member), 1 }
#define STATE_ARRAY(type, member) \
	{ #member, offsetof(type, member), STATE_KIND_OF(((type *)0)->member[0]), sizeof(((type *)0)->member[0]), \
	  sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]) }
#define STATE_EACH(type, array, member) \
	{ #array "." #member, offsetof(type, array[0].member), STATE_KIND_OF(((type *)0)->array[0].member), \
	  sizeof(((type *)0)->array[0]), sizeof(((type *)0)->array) / sizeof(((type *)0)->array[0]) }
#define STATE_BLOB(type, member) \
	{ #member, offsetof(type, member), STATE_BYTES, 1, sizeof(((type *)0)->member) }
/* clang-format on */

struct state_table {
	const char *name; /* "serial" */
	uint32_t version; /* stepped when a field changes its meaning */
	const struct state_field *field;
	unsigned fields;
	/* Optional. before_save folds live things (timers) into fields; after_load is the reverse and the check. */
	void (*before_save)(void *object);
	enum status (*after_load)(void *object, uint32_t version, struct reason *why);
};
#define STATE_TABLE_FIELDS(array) .field = (array), .fields = sizeof(array) / sizeof((array)[0])

/* The owner's memory. What does not fit is counted and not written; capacity 0 with bytes NULL only measures. */
struct state_writer {
	uint8_t *bytes;
	size_t capacity;
	size_t length; /* what was, or would have been, written */
};
struct state_reader {
	const uint8_t *bytes;
	size_t length;
	size_t position;
};

/* One section: tag, name, instance, version, fields, CRC-32C. Written field by field; little-endian. */
void state_save(struct state_writer *writer, const struct state_table *table, unsigned instance, void *object);
#define STATE_FIELDS_MAX 256 /* rows of one table */

/* Reads the section at the reader's position; the object changes only if the whole section was good (before after_load). */
enum status state_load(struct state_reader *reader, const struct state_table *table, unsigned instance, void *object,
		       struct reason *why) must_check;

#endif
