/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector_shape.h - random instructions of a row of the vector tables: as bytes, and as the decoder should see them.
 */
#ifndef HOLON_TEST_VECTOR_SHAPE_H
#define HOLON_TEST_VECTOR_SHAPE_H

#include "x86/vector.h"
#include "x86/vector_table.h"

struct vector_map {
	const struct vector_table *table;
	uint8_t map;
};
extern const struct vector_map vector_maps[3];

/* Memory is [rsi], or [rsi + index * scale] of a gather. */
struct shape {
	uint8_t map, opcode, pp, vex, l, w, imm;
	uint8_t reg, rm, vvvv, index, scale;
	bool memory, has_imm, vsib;
};

/* Without a ModRM byte (no MODRM trait) the caller leaves out the last one. */
unsigned shape_bytes(const struct shape *s, uint8_t *bytes, uint8_t *modrm);
void shape_insn(const struct shape *s, struct x86_insn *insn, unsigned length);
void shape_describe(const struct shape *s, const char *name);
struct shape row_shape(const struct vector_row *row, uint8_t map, bool memory);

#endif
