/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aml.c - the AML encoder. board/acpi_dsdt.c is what uses it.
 *
 * A body is written behind room for the longest package length; closing it writes the length, as short as it can be, and moves the body up.
 * Marks are offsets, so bodies nest freely: closing an inner one only moves what lies behind its mark.
 */
#include "board/aml.h"

#define PACKAGE_LENGTH_ROOM 4u

#define OP_ZERO 0x00
#define OP_ONE 0x01
#define OP_NAME 0x08
#define OP_BYTE 0x0a
#define OP_WORD 0x0b
#define OP_DWORD 0x0c
#define OP_STRING 0x0d
#define OP_QWORD 0x0e
#define OP_SCOPE 0x10
#define OP_BUFFER 0x11
#define OP_PACKAGE 0x12
#define OP_METHOD 0x14
#define OP_DUAL_NAME 0x2e
#define OP_MULTI_NAME 0x2f
#define OP_EXTENDED 0x5b
#define OP_EXTENDED_REGION 0x80
#define OP_EXTENDED_FIELD 0x81
#define OP_EXTENDED_DEVICE 0x82
#define OP_IF 0xa0
#define OP_ELSE 0xa1

#define METHOD_SERIALIZED 0x08
#define FIELD_BYTE_ACCESS 0x01 /* no lock, other bits preserved */

/* Resource descriptor tags. */
#define RESOURCE_IRQ 0x23
#define RESOURCE_IRQ_EDGE_HIGH 0x01
#define RESOURCE_IRQ_LEVEL_LOW_SHARED 0x18
#define RESOURCE_IO 0x47
#define RESOURCE_IO_DECODES_16 0x01
#define RESOURCE_END 0x79
#define RESOURCE_MEMORY32_FIXED 0x86
#define RESOURCE_DWORD_SPACE 0x87
#define RESOURCE_WORD_SPACE 0x88
#define RESOURCE_QWORD_SPACE 0x8a
#define SPACE_MEMORY 0
#define SPACE_IO 1
#define SPACE_BUS 2
#define SPACE_FIXED 0x0c /* minimum and maximum are; positive decode, a producer */
#define SPACE_IO_ENTIRE 0x03
#define SPACE_MEMORY_WRITABLE 0x01 /* not cacheable */

void aml_byte(struct aml *aml, uint8_t byte)
{
	aml_bytes(aml, &byte, 1);
}

void aml_bytes(struct aml *aml, const void *bytes, size_t length)
{
	if (aml->failed || length > aml->capacity - aml->length) {
		aml->failed = true;
		return;
	}
	__builtin_memcpy(aml->bytes + aml->length, bytes, length);
	aml->length += length;
}

static void little_endian(struct aml *aml, uint64_t value, unsigned size)
{
	aml_bytes(aml, &value, size);
}

void aml_op(struct aml *aml, enum aml_opcode opcode)
{
	aml_byte(aml, (uint8_t)opcode);
}

void aml_nowhere(struct aml *aml)
{
	aml_byte(aml, OP_ZERO);
}

/* One name of a path, four characters, filled up with '_'. Returns how many there were. */
static unsigned name_segment(struct aml *aml, const char *name)
{
	char segment[4] = {'_', '_', '_', '_'};
	unsigned length = 0;

	while (length < 4 && name[length] && name[length] != '.') {
		segment[length] = name[length];
		length++;
	}
	aml_bytes(aml, segment, sizeof(segment));
	return length;
}

void aml_name(struct aml *aml, const char *name)
{
	unsigned segments = 1, i;

	while (*name == '\\' || *name == '^')
		aml_byte(aml, (uint8_t)*name++);
	for (i = 0; name[i]; i++)
		segments += name[i] == '.';
	if (segments == 2)
		aml_byte(aml, OP_DUAL_NAME);
	if (segments > 2) {
		aml_byte(aml, OP_MULTI_NAME);
		aml_byte(aml, (uint8_t)segments);
	}
	while (segments--)
		name += name_segment(aml, name) + 1;
}

void aml_integer(struct aml *aml, uint64_t value)
{
	if (value <= 1) {
		aml_byte(aml, value ? OP_ONE : OP_ZERO);
	} else if (value <= UINT8_MAX) {
		aml_byte(aml, OP_BYTE);
		little_endian(aml, value, 1);
	} else if (value <= UINT16_MAX) {
		aml_byte(aml, OP_WORD);
		little_endian(aml, value, 2);
	} else if (value <= UINT32_MAX) {
		aml_byte(aml, OP_DWORD);
		little_endian(aml, value, 4);
	} else {
		aml_byte(aml, OP_QWORD);
		little_endian(aml, value, 8);
	}
}

void aml_string(struct aml *aml, const char *string)
{
	size_t length = 0;

	while (string[length])
		length++;
	aml_byte(aml, OP_STRING);
	aml_bytes(aml, string, length + 1);
}

static unsigned hexadecimal(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

void aml_eisa_id(struct aml *aml, const char *id)
{
	/* Three letters of five bits and four digits, in big-endian order (6.1.5). */
	uint32_t letters = (uint32_t)(id[0] - '@') << 10 | (uint32_t)(id[1] - '@') << 5 | (uint32_t)(id[2] - '@');
	uint32_t digits = hexadecimal(id[3]) << 12 | hexadecimal(id[4]) << 8 | hexadecimal(id[5]) << 4 | hexadecimal(id[6]);

	aml_byte(aml, OP_DWORD);
	little_endian(aml, __builtin_bswap32(letters << 16 | digits), 4);
}

void aml_uuid(struct aml *aml, const char *uuid)
{
	/* Where the bytes of aabbccdd-eeff-gghh-iijj-kkllmmnnoopp stand in the text (19.6.142). */
	static const uint8_t place[16] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};
	uint8_t bytes[16];
	size_t mark;
	unsigned i;

	for (i = 0; i < 16; i++)
		bytes[i] = (uint8_t)(hexadecimal(uuid[place[i]]) << 4 | hexadecimal(uuid[place[i] + 1]));
	aml_byte(aml, OP_BUFFER);
	mark = aml->length;
	little_endian(aml, 0, PACKAGE_LENGTH_ROOM);
	aml_integer(aml, sizeof(bytes));
	aml_bytes(aml, bytes, sizeof(bytes));
	aml_close(aml, mark);
}

void aml_name_object(struct aml *aml, const char *name)
{
	aml_byte(aml, OP_NAME);
	aml_name(aml, name);
}

void aml_name_integer(struct aml *aml, const char *name, uint64_t value)
{
	aml_name_object(aml, name);
	aml_integer(aml, value);
}

void aml_name_string(struct aml *aml, const char *name, const char *string)
{
	aml_name_object(aml, name);
	aml_string(aml, string);
}

void aml_name_eisa_id(struct aml *aml, const char *name, const char *id)
{
	aml_name_object(aml, name);
	aml_eisa_id(aml, id);
}

static size_t body_open(struct aml *aml)
{
	size_t mark = aml->length;

	little_endian(aml, 0, PACKAGE_LENGTH_ROOM);
	return mark;
}

size_t aml_scope(struct aml *aml, const char *name)
{
	size_t mark;

	aml_byte(aml, OP_SCOPE);
	mark = body_open(aml);
	aml_name(aml, name);
	return mark;
}

size_t aml_device(struct aml *aml, const char *name)
{
	size_t mark;

	aml_byte(aml, OP_EXTENDED);
	aml_byte(aml, OP_EXTENDED_DEVICE);
	mark = body_open(aml);
	aml_name(aml, name);
	return mark;
}

size_t aml_method(struct aml *aml, const char *name, unsigned arguments, bool serialized)
{
	size_t mark;

	aml_byte(aml, OP_METHOD);
	mark = body_open(aml);
	aml_name(aml, name);
	aml_byte(aml, (uint8_t)(arguments | (serialized ? METHOD_SERIALIZED : 0)));
	return mark;
}

size_t aml_package(struct aml *aml, unsigned elements)
{
	size_t mark;

	aml_byte(aml, OP_PACKAGE);
	mark = body_open(aml);
	aml_byte(aml, (uint8_t)elements);
	return mark;
}

size_t aml_if(struct aml *aml)
{
	aml_byte(aml, OP_IF);
	return body_open(aml);
}

size_t aml_else(struct aml *aml)
{
	aml_byte(aml, OP_ELSE);
	return body_open(aml);
}

/* 20.2.4: the length counts itself; one byte holds 6 bits, more hold 4 bits in the first and 8 in each other. */
void aml_close(struct aml *aml, size_t mark)
{
	size_t body = aml->length - mark - PACKAGE_LENGTH_ROOM, total;
	unsigned size = 1, i;

	if (aml->failed)
		return;
	while (body + size >= (size == 1 ? 1u << 6 : 1u << (8 * size - 4)))
		size++;
	total = body + size;
	__builtin_memmove(aml->bytes + mark + size, aml->bytes + mark + PACKAGE_LENGTH_ROOM, body);
	aml->length = mark + total;
	if (size == 1) {
		aml->bytes[mark] = (uint8_t)total;
		return;
	}
	aml->bytes[mark] = (uint8_t)((size - 1) << 6 | (total & 0xf));
	for (i = 1; i < size; i++)
		aml->bytes[mark + i] = (uint8_t)(total >> (8 * i - 4));
}

void aml_operation_region(struct aml *aml, const char *name, enum aml_space space, uint64_t offset, uint64_t length)
{
	aml_byte(aml, OP_EXTENDED);
	aml_byte(aml, OP_EXTENDED_REGION);
	aml_name(aml, name);
	aml_byte(aml, (uint8_t)space);
	aml_integer(aml, offset);
	aml_integer(aml, length);
}

size_t aml_field_bytes(struct aml *aml, const char *region)
{
	size_t mark;

	aml_byte(aml, OP_EXTENDED);
	aml_byte(aml, OP_EXTENDED_FIELD);
	mark = body_open(aml);
	aml_name(aml, region);
	aml_byte(aml, FIELD_BYTE_ACCESS);
	return mark;
}

void aml_field_byte(struct aml *aml, const char *name)
{
	if (name)
		(void)name_segment(aml, name);
	else
		aml_byte(aml, 0);
	aml_byte(aml, 8);
}

/* Buffer(Word): the size of the resources is known at the end only, so its integer is always two bytes long. */
size_t aml_resources(struct aml *aml)
{
	size_t mark;

	aml_byte(aml, OP_BUFFER);
	mark = body_open(aml);
	aml_byte(aml, OP_WORD);
	little_endian(aml, 0, 2);
	return mark;
}

void aml_resources_close(struct aml *aml, size_t mark)
{
	uint16_t size;

	aml_byte(aml, RESOURCE_END);
	aml_byte(aml, 0); /* the checksum is not used */
	if (aml->failed)
		return;
	size = (uint16_t)(aml->length - mark - PACKAGE_LENGTH_ROOM - 3);
	__builtin_memcpy(aml->bytes + mark + PACKAGE_LENGTH_ROOM + 1, &size, sizeof(size));
	aml_close(aml, mark);
}

void aml_resource_io(struct aml *aml, uint16_t base, uint8_t length)
{
	aml_byte(aml, RESOURCE_IO);
	aml_byte(aml, RESOURCE_IO_DECODES_16);
	little_endian(aml, base, 2);
	little_endian(aml, base, 2);
	aml_byte(aml, 1); /* alignment */
	aml_byte(aml, length);
}

void aml_resource_irq(struct aml *aml, uint16_t mask)
{
	aml_byte(aml, RESOURCE_IRQ);
	little_endian(aml, mask, 2);
	aml_byte(aml, RESOURCE_IRQ_EDGE_HIGH);
}

void aml_resource_irq_shared(struct aml *aml, uint16_t mask)
{
	aml_byte(aml, RESOURCE_IRQ);
	little_endian(aml, mask, 2);
	aml_byte(aml, RESOURCE_IRQ_LEVEL_LOW_SHARED);
}

void aml_resource_memory(struct aml *aml, uint32_t base, uint32_t length)
{
	aml_byte(aml, RESOURCE_MEMORY32_FIXED);
	little_endian(aml, 9, 2);
	aml_byte(aml, 1); /* writable */
	little_endian(aml, base, 4);
	little_endian(aml, length, 4);
}

/* Granularity, minimum, maximum, translation offset and length, each of `size` bytes (6.4.3.5). */
static void space_window(struct aml *aml, uint8_t tag, unsigned size, uint8_t space, uint8_t flags, uint64_t first, uint64_t last)
{
	aml_byte(aml, tag);
	little_endian(aml, 3 + 5 * size, 2);
	aml_byte(aml, space);
	aml_byte(aml, SPACE_FIXED);
	aml_byte(aml, flags);
	little_endian(aml, 0, size);
	little_endian(aml, first, size);
	little_endian(aml, last, size);
	little_endian(aml, 0, size);
	little_endian(aml, last - first + 1, size);
}

void aml_resource_bus_window(struct aml *aml, uint16_t first, uint16_t last)
{
	space_window(aml, RESOURCE_WORD_SPACE, 2, SPACE_BUS, 0, first, last);
}

void aml_resource_io_window(struct aml *aml, uint16_t first, uint16_t last)
{
	space_window(aml, RESOURCE_WORD_SPACE, 2, SPACE_IO, SPACE_IO_ENTIRE, first, last);
}

void aml_resource_memory_window32(struct aml *aml, uint32_t first, uint32_t last)
{
	space_window(aml, RESOURCE_DWORD_SPACE, 4, SPACE_MEMORY, SPACE_MEMORY_WRITABLE, first, last);
}

void aml_resource_memory_window64(struct aml *aml, uint64_t first, uint64_t last)
{
	space_window(aml, RESOURCE_QWORD_SPACE, 8, SPACE_MEMORY, SPACE_MEMORY_WRITABLE, first, last);
}
