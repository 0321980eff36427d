/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_test.c - saved state: what was saved comes back, and no stream of bytes, however made, does anything else but be refused.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <holon/state.h>

struct channel {
	uint16_t count;
	uint8_t mode;
};

struct gadget {
	uint8_t a;
	bool on;
	uint16_t b;
	uint32_t c;
	uint64_t d;
	uint32_t list[3];
	struct channel channel[2];
	uint8_t blob[5];
	int loads;
	bool refuse;
};

static enum status gadget_after_load(void *object, uint32_t version, struct reason *why)
{
	struct gadget *gadget = object;

	(void)version;
	gadget->loads++;
	return gadget->refuse ? reason_give(why, STATUS_INVALID, "refused") : STATUS_OK;
}

static const struct state_field fields[] = {
	STATE_FIELD(struct gadget, a),
	STATE_FIELD(struct gadget, on),
	STATE_FIELD(struct gadget, b),
	STATE_FIELD(struct gadget, c),
	STATE_FIELD(struct gadget, d),
	STATE_ARRAY(struct gadget, list),
	STATE_EACH(struct gadget, channel, count),
	STATE_BLOB(struct gadget, blob),
};
static const struct state_table table = {
	.name = "gadget", .version = 3, STATE_TABLE_FIELDS(fields), .after_load = gadget_after_load};

static const struct gadget sample = {.a = 0x12,
				     .on = true,
				     .b = 0x3456,
				     .c = 0x789abcde,
				     .d = UINT64_C(0x1122334455667788),
				     .list = {1, 2, 3},
				     .channel = {{7, 1}, {8, 2}},
				     .blob = "abcd"};

static uint8_t stream[1024];

static size_t save(const struct state_table *with, unsigned instance, const struct gadget *gadget)
{
	struct state_writer writer = {stream, sizeof(stream), 0};
	struct gadget copy = *gadget;

	state_save(&writer, with, instance, &copy);
	assert_true(writer.length <= sizeof(stream));
	return writer.length;
}

static enum status load(const struct state_table *with, unsigned instance, size_t length, struct gadget *gadget, struct reason *why)
{
	struct state_reader reader = {stream, length, 0};

	return state_load(&reader, with, instance, gadget, why);
}

/* CRC-32C bit by bit, as its definition has it. */
static uint32_t crc_by_definition(const uint8_t *bytes, size_t length)
{
	uint32_t crc = UINT32_MAX;
	size_t i;
	int bit;

	for (i = 0; i < length; i++) {
		crc ^= bytes[i];
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static void crc_fix(size_t length)
{
	uint32_t crc = crc_by_definition(stream, length - 4);

	memcpy(stream + length - 4, &crc, 4);
}

static void what_was_saved_comes_back(void **state)
{
	struct gadget gadget = {.channel = {{0, 9}, {0, 9}}};
	struct reason why;
	size_t length = save(&table, 2, &sample);
	uint32_t crc;

	(void)state;
	assert_int_equal(load(&table, 2, length, &gadget, &why), STATUS_OK);
	assert_int_equal(gadget.a, sample.a);
	assert_true(gadget.on);
	assert_int_equal(gadget.b, sample.b);
	assert_int_equal(gadget.c, sample.c);
	assert_true(gadget.d == sample.d);
	assert_memory_equal(gadget.list, sample.list, sizeof(sample.list));
	assert_int_equal(gadget.channel[1].count, 8);
	assert_int_equal(gadget.channel[1].mode, 9); /* not in the table */
	assert_memory_equal(gadget.blob, "abcd", 5);
	assert_int_equal(gadget.loads, 1);
	memcpy(&crc, stream + length - 4, 4);
	assert_int_equal(crc, crc_by_definition(stream, length - 4));
}

static void measuring_writes_nothing(void **state)
{
	struct state_writer writer = {NULL, 0, 0};
	struct gadget gadget = sample;

	(void)state;
	state_save(&writer, &table, 2, &gadget);
	assert_int_equal(writer.length, save(&table, 2, &sample));
}

static void sections_follow_one_another(void **state)
{
	struct state_writer writer = {stream, sizeof(stream), 0};
	struct gadget one = sample, two = sample, out = {0};
	struct state_reader reader = {stream, 0, 0};

	(void)state;
	two.a = 0x99;
	state_save(&writer, &table, 0, &one);
	state_save(&writer, &table, 1, &two);
	reader.length = writer.length;
	assert_int_equal(state_load(&reader, &table, 0, &out, NULL), STATUS_OK);
	assert_int_equal(out.a, 0x12);
	assert_int_equal(state_load(&reader, &table, 1, &out, NULL), STATUS_OK);
	assert_int_equal(out.a, 0x99);
	assert_int_equal(reader.position, reader.length);
	assert_int_equal(state_load(&reader, &table, 2, &out, NULL), STATUS_INVALID);
}

static void every_flipped_bit_is_refused_and_changes_nothing(void **state)
{
	size_t length = save(&table, 2, &sample), i;
	struct gadget untouched = {0}, gadget = {0};
	unsigned bit;

	(void)state;
	for (i = 0; i < length; i++) {
		for (bit = 0; bit < 8; bit++) {
			stream[i] ^= (uint8_t)(1 << bit);
			assert_int_not_equal(load(&table, 2, length, &gadget, NULL), STATUS_OK);
			assert_memory_equal(&gadget, &untouched, sizeof(gadget));
			stream[i] ^= (uint8_t)(1 << bit);
		}
	}
	for (i = 0; i < length; i++)
		assert_int_equal(load(&table, 2, i, &gadget, NULL), STATUS_INVALID);
}

/* Whoever makes a stream can make its checksum too. */
static void malformed_streams_with_good_checksums_do_no_harm(void **state)
{
	size_t length = save(&table, 2, &sample), i;
	uint8_t good[sizeof(stream)];
	struct gadget gadget;
	unsigned n;

	(void)state;
	memcpy(good, stream, length);
	srand(1);
	for (n = 0; n < 200000; n++) {
		memcpy(stream, good, length);
		for (i = (size_t)rand() % 3 + 1; i; i--)
			stream[8 + (size_t)rand() % (length - 12)] = (uint8_t)(rand() % 3 ? rand() : rand() % 2 * 255);
		crc_fix(length);
		gadget = (struct gadget){0};
		(void)!load(&table, 2, length, &gadget, NULL);
		assert_true(*(uint8_t *)&gadget.on <= 1);
	}
}

static void the_wrong_section_is_refused(void **state)
{
	static const struct state_table other = {.name = "gadgets", .version = 3, STATE_TABLE_FIELDS(fields)};
	static const struct state_table older = {.name = "gadget", .version = 2, STATE_TABLE_FIELDS(fields)};
	struct gadget gadget = {0};
	struct reason why;
	size_t length = save(&table, 2, &sample);

	(void)state;
	assert_int_equal(load(&table, 1, length, &gadget, &why), STATUS_INVALID);
	assert_int_equal(load(&other, 2, length, &gadget, &why), STATUS_INVALID);
	assert_int_equal(load(&older, 2, length, &gadget, &why), STATUS_UNSUPPORTED);
	length = save(&older, 2, &sample);
	assert_int_equal(load(&table, 2, length, &gadget, &why), STATUS_OK);
}

static void fields_are_found_by_name(void **state)
{
	static const struct state_field fewer_fields[] = {STATE_FIELD(struct gadget, d), STATE_FIELD(struct gadget, a)};
	static const struct state_table fewer = {.name = "gadget", .version = 3, STATE_TABLE_FIELDS(fewer_fields)};
	static const struct state_field optional_fields[] = {STATE_FIELD(struct gadget, a),
							     {"?hint", offsetof(struct gadget, c), STATE_U32, 4, 1}};
	static const struct state_table optional = {.name = "gadget", .version = 3, STATE_TABLE_FIELDS(optional_fields)};
	static const struct state_field other_size_fields[] = {{"a", offsetof(struct gadget, c), STATE_U32, 4, 1}};
	static const struct state_table other_size = {.name = "gadget", .version = 3, STATE_TABLE_FIELDS(other_size_fields)};
	struct gadget gadget = {.c = 77};
	struct reason why;
	size_t length;

	(void)state;
	length = save(&fewer, 2, &sample);
	assert_int_equal(load(&table, 2, length, &gadget, &why), STATUS_OK);
	assert_true(gadget.d == sample.d && gadget.a == sample.a && gadget.c == 77); /* what lacks keeps its value */
	length = save(&table, 2, &sample);
	assert_int_equal(load(&fewer, 2, length, &gadget, &why), STATUS_UNSUPPORTED);
	length = save(&optional, 2, &sample);
	assert_int_equal(load(&fewer, 2, length, &gadget, &why), STATUS_OK);
	length = save(&other_size, 2, &sample);
	assert_int_equal(load(&table, 2, length, &gadget, &why), STATUS_INVALID);
}

static void after_load_has_the_last_word(void **state)
{
	struct gadget gadget = {.refuse = true};
	struct reason why;
	size_t length = save(&table, 2, &sample);

	(void)state;
	assert_int_equal(load(&table, 2, length, &gadget, &why), STATUS_INVALID);
	assert_string_equal(why.text, "refused");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_saved_comes_back),
		cmocka_unit_test(measuring_writes_nothing),
		cmocka_unit_test(sections_follow_one_another),
		cmocka_unit_test(every_flipped_bit_is_refused_and_changes_nothing),
		cmocka_unit_test(malformed_streams_with_good_checksums_do_no_harm),
		cmocka_unit_test(the_wrong_section_is_refused),
		cmocka_unit_test(fields_are_found_by_name),
		cmocka_unit_test(after_load_has_the_last_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
