/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multiboot.c - the boot loader's information (multiboot2, 3.6), checked and in our words. Called from start.c, on the first page tables, which
 * reach all that lies below 4 GiB. Strings stay where they are: frame.c keeps the information's memory.
 */
#include "host/metal/internal.h"

#define TAG_END 0u
#define TAG_WORDS 1u
#define TAG_LOADER 2u
#define TAG_MODULE 3u
#define TAG_MEMORY_MAP 6u
#define TAG_SCREEN 8u
#define TAG_RSDP_1 14u
#define TAG_RSDP_2 15u

#define SCREEN_RGB 1u
#define SCREEN_TEXT 2u

static uint32_t read32(const uint8_t *bytes)
{
	uint32_t value;

	__builtin_memcpy(&value, bytes, sizeof(value));
	return value;
}

static uint64_t read64(const uint8_t *bytes)
{
	uint64_t value;

	__builtin_memcpy(&value, bytes, sizeof(value));
	return value;
}

/* The string at `offset` in a tag; empty where it does not end within it. */
static const char *string_at(const uint8_t *tag, uint32_t length, uint32_t offset)
{
	for (uint32_t i = offset; i < length; i++) {
		if (!tag[i])
			return (const char *)tag + offset;
	}
	return "";
}

static void module_read(struct multiboot *out, const uint8_t *tag, uint32_t length)
{
	struct metal_boot *boot = &out->boot;
	uint32_t begin, end;

	if (length < 17)
		return;
	begin = read32(tag + 8);
	end = read32(tag + 12);
	if (boot->modules == METAL_MODULES_MAX) {
		boot->modules_left_out++;
		return;
	}
	if (end <= begin)
		return;
	out->module_address[boot->modules] = begin;
	boot->module[boot->modules++] = (struct metal_module){string_at(tag, length, 16), page_direct(begin), end - begin};
}

static void memory_map_read(struct multiboot *out, const uint8_t *tag, uint32_t length)
{
	uint32_t size = length >= 16 ? read32(tag + 8) : 0;

	if (size < 20 || size > length)
		return;
	for (uint32_t at = 16; at <= length - size && out->ranges < MULTIBOOT_RANGES; at += size) {
		struct multiboot_range *range = &out->range[out->ranges];

		*range = (struct multiboot_range){read64(tag + at), read64(tag + at + 8), read32(tag + at + 16)};
		if (range->length && range->base + range->length > range->base)
			out->ranges++;
	}
}

static void screen_read(struct multiboot *out, const uint8_t *tag, uint32_t length)
{
	struct multiboot_screen screen;

	if (length < 31 || (tag[29] != SCREEN_TEXT && tag[29] != SCREEN_RGB))
		return;
	screen = (struct multiboot_screen){tag[29] == SCREEN_TEXT, read64(tag + 8),  read32(tag + 16),
					   read32(tag + 20),       read32(tag + 24), tag[28]};
	out->screen = screen;
}

static void tag_read(struct multiboot *out, const uint8_t *tag, uint32_t type, uint32_t length)
{
	switch (type) {
	case TAG_WORDS: out->boot.words = string_at(tag, length, 8); break;
	case TAG_LOADER: out->boot.loader = string_at(tag, length, 8); break;
	case TAG_MODULE: module_read(out, tag, length); break;
	case TAG_MEMORY_MAP: memory_map_read(out, tag, length); break;
	case TAG_SCREEN: screen_read(out, tag, length); break;
	case TAG_RSDP_1:
	case TAG_RSDP_2:
		/* The newer one is the longer one, and wins. */
		if (length - 8 > out->rsdp_length) {
			out->rsdp = tag + 8;
			out->rsdp_length = length - 8;
		}
		break;
	default: break;
	}
}

bool multiboot_read(struct multiboot *multiboot, const uint8_t *bytes, uint64_t physical)
{
	uint32_t total = read32(bytes), at = 8;

	multiboot->boot.words = multiboot->boot.loader = "";
	multiboot->information = physical;
	multiboot->information_length = total;
	while (at + 8 <= total) {
		uint32_t type = read32(bytes + at), length = read32(bytes + at + 4);

		if (length < 8 || length > total - at)
			return false;
		if (type == TAG_END)
			return multiboot->ranges != 0;
		tag_read(multiboot, bytes + at, type, length);
		at += (length + 7) & ~7u;
	}
	return false;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

const char *words_find(const char *words, const char *word, size_t *length)
{
	while (*words) {
		size_t i = 0, end;

		while (word[i] && words[i] == word[i])
			i++;
		for (end = i; words[end] && !is_space(words[end]); end++)
			;
		if (!word[i] && words[i] == '=') {
			*length = end - i - 1;
			return words + i + 1;
		}
		for (words += end; is_space(*words); words++)
			;
	}
	return NULL;
}

bool words_is(const char *value, size_t length, const char *word)
{
	size_t i = 0;

	while (value && i < length && word[i] && word[i] == value[i])
		i++;
	return value && i == length && !word[i];
}

static unsigned digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	return c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10 : 99;
}

bool words_number(const char *text, size_t length, uint64_t *number)
{
	static const char units[] = "KMGT";
	unsigned base = 10, shift = 0;
	size_t at = 0;

	if (length > 2 && text[0] == '0' && text[1] == 'x') {
		base = 16;
		at = 2;
	}
	for (unsigned i = 0; base == 10 && i < 4 && length; i++) {
		if (text[length - 1] == units[i])
			shift = 10 * (i + 1);
	}
	if (shift)
		length--;
	if (at >= length)
		return false;
	for (*number = 0; at < length; at++) {
		if (digit_of(text[at]) >= base || *number > (UINT64_MAX - 15) / base)
			return false;
		*number = *number * base + digit_of(text[at]);
	}
	if (shift && *number >> (64 - shift))
		return false;
	*number <<= shift;
	return true;
}
