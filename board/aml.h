/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aml.h - writes ACPI Machine Language (ACPI 6.4, chapter 20) into a buffer, object after object.
 *
 * What has a body (scope, device, method, package, buffer, if) is opened by a function that returns a mark and closed by
 * aml_close(), which puts the package length in. Names are written as in ASL: "\\_SB.PCI0", "^ISA", "_HID". A buffer that is too
 * small makes `failed` true, and every later call harmless.
 */
#ifndef HOLON_BOARD_AML_H
#define HOLON_BOARD_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *bytes;
	size_t capacity;
	size_t length;
	bool failed;
};

/* Opcodes without operands of their own kind to encode, for aml_op(): what follows are their operands (20.2.5). */
enum aml_opcode {
	AML_LOCAL0 = 0x60,
	AML_ARG0 = 0x68,
	AML_ARG1,
	AML_ARG2,
	AML_ARG3,
	AML_STORE = 0x70,
	AML_AND = 0x7b,
	AML_OR = 0x7d,
	AML_SHIFT_LEFT = 0x79,
	AML_FIND_SET_RIGHT_BIT = 0x82,
	AML_SUBTRACT = 0x74,
	AML_CREATE_WORD_FIELD = 0x8b,
	AML_CREATE_DWORD_FIELD = 0x8a,
	AML_LNOT = 0x92,
	AML_LEQUAL = 0x93,
	AML_RETURN = 0xa4,
};

enum aml_space { AML_SYSTEM_IO = 1, AML_PCI_CONFIG = 2 };
#define AML_SERIALIZED true

void aml_byte(struct aml *aml, uint8_t byte);
void aml_bytes(struct aml *aml, const void *bytes, size_t length);
void aml_op(struct aml *aml, enum aml_opcode opcode);
/* A null target: the result is not stored. */
void aml_nowhere(struct aml *aml);
/* A name where it is used. */
void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *string);
/* "PNP0A08" as the 32-bit number that EisaId() gives. */
void aml_eisa_id(struct aml *aml, const char *id);
/* 16 bytes in a buffer, in the order that ToUUID() gives. */
void aml_uuid(struct aml *aml, const char *uuid);

/* Name(name, object): the object follows. The other three bring theirs. */
void aml_name_object(struct aml *aml, const char *name);
void aml_name_integer(struct aml *aml, const char *name, uint64_t value);
void aml_name_string(struct aml *aml, const char *name, const char *string);
void aml_name_eisa_id(struct aml *aml, const char *name, const char *id);

size_t aml_scope(struct aml *aml, const char *name);
size_t aml_device(struct aml *aml, const char *name);
size_t aml_method(struct aml *aml, const char *name, unsigned arguments, bool serialized);
size_t aml_package(struct aml *aml, unsigned elements);
size_t aml_if(struct aml *aml); /* the condition follows, then the body */
size_t aml_else(struct aml *aml);
void aml_close(struct aml *aml, size_t mark);

void aml_operation_region(struct aml *aml, const char *name, enum aml_space space, uint64_t offset, uint64_t length);
/* Fields of 8 bits that follow one another; name NULL: skips 8 bits. */
size_t aml_field_bytes(struct aml *aml, const char *region);
void aml_field_byte(struct aml *aml, const char *name);

/* Resource descriptors (6.4) between these two; the buffer's size is written at the end. */
size_t aml_resources(struct aml *aml);
void aml_resources_close(struct aml *aml, size_t mark);
void aml_resource_io(struct aml *aml, uint16_t base, uint8_t length);
void aml_resource_irq(struct aml *aml, uint16_t mask);                     /* edge, active high, exclusive */
void aml_resource_irq_shared(struct aml *aml, uint16_t mask);              /* level, active low, shared */
void aml_resource_memory(struct aml *aml, uint32_t base, uint32_t length); /* fixed, writable */
void aml_resource_bus_window(struct aml *aml, uint16_t first, uint16_t last);
void aml_resource_io_window(struct aml *aml, uint16_t first, uint16_t last);
void aml_resource_memory_window32(struct aml *aml, uint32_t first, uint32_t last);
void aml_resource_memory_window64(struct aml *aml, uint64_t first, uint64_t last);

#endif
