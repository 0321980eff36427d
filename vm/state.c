/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - turns a device's table of fields into a section of a byte stream and back (include/holon/state.h).
 *
 * A section, little-endian:
 *	u32 tag "HOLS", u32 bytes behind this word, name, u32 instance, u32 version, u32 fields,
 *	then for each field: name, u16 kind, u32 count, count elements; at the end u32 CRC-32C of all before it.
 * A name is a length byte and so many characters. Loading reads a section twice: first all checks, then the fields.
 */
#include <holon/host.h>
#include <holon/state.h>

#define SECTION_TAG 0x534c4f48u
#define SECTION_HEAD 8u
#define CRC_BYTES 4u

static uint32_t crc32c(const uint8_t *bytes, size_t length)
{
	/* Castagnoli's polynomial, reflected, four bits a step. */
	static const uint32_t step[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};
	uint32_t crc = UINT32_MAX;
	size_t i;

	for (i = 0; i < length; i++) {
		crc ^= bytes[i];
		crc = crc >> 4 ^ step[crc & 15];
		crc = crc >> 4 ^ step[crc & 15];
	}
	return ~crc;
}

static unsigned element_size(unsigned kind)
{
	return kind == STATE_BYTES || kind == STATE_BOOL ? 1 : kind;
}

static bool names_equal(const char *a, const uint8_t *b, unsigned length)
{
	unsigned i;

	for (i = 0; i < length; i++)
		if (!a[i] || (uint8_t)a[i] != b[i])
			return false;
	return !a[length];
}

static size_t name_length(const char *name)
{
	size_t length = 0;

	while (name[length])
		length++;
	bug_on(length > 255);
	return length;
}

static void put_bytes(struct state_writer *writer, const void *bytes, size_t length)
{
	if (writer->length <= writer->capacity && length <= writer->capacity - writer->length)
		__builtin_memcpy(writer->bytes + writer->length, bytes, length);
	writer->length += length;
}

static void put_u16(struct state_writer *writer, uint16_t value)
{
	put_bytes(writer, &value, sizeof(value));
}

static void put_u32(struct state_writer *writer, uint32_t value)
{
	put_bytes(writer, &value, sizeof(value));
}

static void put_name(struct state_writer *writer, const char *name)
{
	size_t length = name_length(name);
	uint8_t byte = (uint8_t)length;

	put_bytes(writer, &byte, 1);
	put_bytes(writer, name, length);
}

static void put_field(struct state_writer *writer, const struct state_field *field, const uint8_t *object)
{
	unsigned size = element_size(field->kind);
	uint32_t i;

	put_name(writer, field->name);
	put_u16(writer, field->kind);
	put_u32(writer, field->count);
	for (i = 0; i < field->count; i++)
		put_bytes(writer, object + field->offset + (size_t)i * field->stride, size);
}

void state_save(struct state_writer *writer, const struct state_table *table, unsigned instance, void *object)
{
	size_t start = writer->length;
	uint32_t length, crc = 0;
	unsigned i;

	bug_on(table->fields > STATE_FIELDS_MAX);
	if (table->before_save)
		table->before_save(object);
	put_u32(writer, SECTION_TAG);
	put_u32(writer, 0);
	put_name(writer, table->name);
	put_u32(writer, instance);
	put_u32(writer, table->version);
	put_u32(writer, table->fields);
	for (i = 0; i < table->fields; i++)
		put_field(writer, &table->field[i], object);
	if (writer->length + CRC_BYTES <= writer->capacity) {
		length = (uint32_t)(writer->length - start - SECTION_HEAD + CRC_BYTES);
		__builtin_memcpy(writer->bytes + start + 4, &length, sizeof(length));
		crc = crc32c(writer->bytes + start, writer->length - start);
	}
	put_u32(writer, crc);
}

/* A cursor over bytes of which none is to be trusted. `bad` sticks; past the end everything reads as 0. */
struct cursor {
	const uint8_t *bytes;
	size_t length;
	size_t position;
	bool bad;
};

static const uint8_t *take(struct cursor *cursor, size_t length)
{
	const uint8_t *bytes = cursor->bytes + cursor->position;

	if (cursor->bad || length > cursor->length - cursor->position) {
		cursor->bad = true;
		return NULL;
	}
	cursor->position += length;
	return bytes;
}

static uint32_t take_u32(struct cursor *cursor)
{
	const uint8_t *bytes = take(cursor, 4);
	uint32_t value = 0;

	if (bytes)
		__builtin_memcpy(&value, bytes, sizeof(value));
	return value;
}

static uint16_t take_u16(struct cursor *cursor)
{
	const uint8_t *bytes = take(cursor, 2);
	uint16_t value = 0;

	if (bytes)
		__builtin_memcpy(&value, bytes, sizeof(value));
	return value;
}

struct name {
	const uint8_t *text;
	uint8_t length;
};

static struct name take_name(struct cursor *cursor)
{
	const uint8_t *length = take(cursor, 1);
	struct name name = {(const uint8_t *)"", 0};
	const uint8_t *text;

	if (!length)
		return name;
	text = take(cursor, *length);
	if (text) {
		name.text = text;
		name.length = *length;
	}
	return name;
}

/* Names come from a file and go to a log: nothing but printable characters, at most `size` - 1. */
static const char *name_for_people(struct name name, char *buffer, size_t size)
{
	size_t i;

	for (i = 0; i < name.length && i < size - 1; i++)
		buffer[i] = name.text[i] > ' ' && name.text[i] < 0x7f ? (char)name.text[i] : '?';
	buffer[i] = 0;
	return buffer;
}

static const struct state_field *field_find(const struct state_table *table, struct name name)
{
	unsigned i;

	for (i = 0; i < table->fields; i++)
		if (names_equal(table->field[i].name, name.text, name.length))
			return &table->field[i];
	return NULL;
}

static bool kind_valid(unsigned kind)
{
	return kind == STATE_U8 || kind == STATE_U16 || kind == STATE_U32 || kind == STATE_U64 || kind == STATE_BYTES ||
	       kind == STATE_BOOL;
}

static bool all_bool(const uint8_t *bytes, uint32_t count)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (bytes[i] > 1)
			return false;
	return true;
}

static void field_store(const struct state_field *field, uint8_t *object, const uint8_t *bytes)
{
	unsigned size = element_size(field->kind);
	uint32_t i;

	for (i = 0; i < field->count; i++)
		__builtin_memcpy(object + field->offset + (size_t)i * field->stride, bytes + (size_t)i * size, size);
}

/*
 * One field of the stream. object NULL: only checks, and notes in `seen` which rows came. Otherwise stores.
 */
static enum status field_load(struct cursor *cursor, const struct state_table *table, uint64_t *seen, uint8_t *object,
			      struct reason *why)
{
	struct name name = take_name(cursor);
	unsigned kind = take_u16(cursor), row;
	uint32_t count = take_u32(cursor);
	const struct state_field *field = field_find(table, name);
	const uint8_t *bytes;
	char text[40];

	name_for_people(name, text, sizeof(text));
	if (cursor->bad || !kind_valid(kind))
		return reason_give(why, STATUS_INVALID, "saved state of %s: field %s is malformed; the file is damaged",
				   table->name, text);
	bytes = take(cursor, (size_t)count * element_size(kind));
	if (!bytes)
		return reason_give(why, STATUS_INVALID, "saved state of %s: field %s is cut short; the file is damaged",
				   table->name, text);
	if (!field) {
		if (name.length && name.text[0] == '?')
			return STATUS_OK;
		return reason_give(why, STATUS_UNSUPPORTED, "saved state of %s: field %s is unknown; it needs a newer Holon",
				   table->name, text);
	}
	if (object) {
		field_store(field, object, bytes);
		return STATUS_OK;
	}
	row = (unsigned)(field - table->field);
	if (kind != field->kind || count != field->count || seen[row / 64] >> row % 64 & 1)
		return reason_give(why, STATUS_INVALID,
				   "saved state of %s: field %s has another shape; the file is damaged or from another version",
				   table->name, text);
	seen[row / 64] |= UINT64_C(1) << row % 64;
	if (kind == STATE_BOOL && !all_bool(bytes, count))
		return reason_give(why, STATUS_INVALID, "saved state of %s: field %s is neither yes nor no; the file is damaged",
				   table->name, text);
	return STATUS_OK;
}

static enum status fields_load(struct cursor cursor, const struct state_table *table, uint32_t fields, uint8_t *object,
			       struct reason *why)
{
	uint64_t seen[STATE_FIELDS_MAX / 64] = {0};
	enum status status;
	uint32_t i;

	for (i = 0; i < fields; i++) {
		status = field_load(&cursor, table, seen, object, why);
		if (status)
			return status;
	}
	if (cursor.position != cursor.length)
		return reason_give(why, STATUS_INVALID, "saved state of %s: %u fields leave bytes over; the file is damaged",
				   table->name, fields);
	return STATUS_OK;
}

/* The section's bytes between head and CRC, the CRC checked. */
static enum status section_open(struct state_reader *reader, struct cursor *section, const struct state_table *table,
				struct reason *why)
{
	struct cursor cursor = {reader->bytes, reader->length, reader->position, reader->position > reader->length};
	const uint8_t *start = cursor.bad ? NULL : cursor.bytes + cursor.position;
	uint32_t tag = take_u32(&cursor), length = take_u32(&cursor), crc;
	const uint8_t *body = take(&cursor, length);

	if (!body || tag != SECTION_TAG || length < CRC_BYTES)
		return reason_give(why, STATUS_INVALID,
				   "saved state of %s: no section where it should be; the file is cut short or damaged",
				   table->name);
	__builtin_memcpy(&crc, body + length - CRC_BYTES, sizeof(crc));
	if (crc != crc32c(start, SECTION_HEAD + length - CRC_BYTES))
		return reason_give(why, STATUS_INVALID, "saved state of %s: the checksum is wrong; the file is damaged",
				   table->name);
	*section = (struct cursor){body, length - CRC_BYTES, 0, false};
	reader->position = cursor.position;
	return STATUS_OK;
}

enum status state_load(struct state_reader *reader, const struct state_table *table, unsigned instance, void *object,
		       struct reason *why)
{
	struct cursor section = {0};
	struct name name;
	uint32_t its_instance, version, fields;
	enum status status;
	char text[40];

	bug_on(table->fields > STATE_FIELDS_MAX);
	status = section_open(reader, &section, table, why);
	if (status)
		return status;
	name = take_name(&section);
	its_instance = take_u32(&section);
	version = take_u32(&section);
	fields = take_u32(&section);
	if (section.bad || !names_equal(table->name, name.text, name.length) || its_instance != instance)
		return reason_give(why, STATUS_INVALID,
				   "saved state: found %s %u where %s %u should be; the machine was another one",
				   name_for_people(name, text, sizeof(text)), its_instance, table->name, instance);
	if (version > table->version)
		return reason_give(why, STATUS_UNSUPPORTED, "saved state of %s: version %u, known is %u; it needs a newer Holon",
				   table->name, version, table->version);
	status = fields_load(section, table, fields, NULL, why);
	if (status)
		return status;
	status = fields_load(section, table, fields, object, why);
	if (status)
		return status;
	return table->after_load ? table->after_load(object, version, why) : STATUS_OK;
}
