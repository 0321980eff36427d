/* SPDX-License-Identifier: Apache-2.0 */
/*
 * screen.c - the same lines on the screen that the boot loader left: VGA's text mode, or a frame of 32-bit pixels, where each character is a cell of
 * dots that are one pixel or several, so that a line of 100 characters or more fits. Lines move down the screen and begin at the top again: nothing is
 * read back from a slow screen to scroll it. An empty line follows the newest one.
 */
#include "host/metal/internal.h"

#define TEXT_ATTRIBUTE 0x0700u /* light grey on black */
#define INK 0x00c0c0c0u        /* grey, however the colours are ordered */
#define CELL_WIDTH 6u          /* dots */
#define CELL_HEIGHT 9u
#define CELLS_WANTED 100u

static struct {
	volatile uint8_t *memory; /* NULL: no screen */
	bool text;
	uint32_t pitch, columns, rows;
	uint32_t scale; /* pixels a dot, either way */
	uint32_t column, row;
} screen;

static void text_put(uint32_t row, uint32_t column, char c)
{
	volatile uint16_t *cell = (volatile uint16_t *)(screen.memory + (size_t)row * screen.pitch) + column;

	*cell = (uint16_t)(TEXT_ATTRIBUTE | (uint8_t)c);
}

static bool dot_at(char c, uint32_t row, uint32_t column)
{
	unsigned index = (unsigned)((uint8_t)c - FONT_FIRST);

	return index < FONT_GLYPHS && row < FONT_ROWS && column < CELL_WIDTH - 1 && font[index][row] >> (4 - column) & 1;
}

static void pixels_put(uint32_t row, uint32_t column, char c)
{
	for (uint32_t y = 0; y < CELL_HEIGHT * screen.scale; y++) {
		volatile uint8_t *line = screen.memory + (size_t)(row * CELL_HEIGHT * screen.scale + y) * screen.pitch;
		volatile uint32_t *pixel = (volatile uint32_t *)line + column * CELL_WIDTH * screen.scale;

		for (uint32_t x = 0; x < CELL_WIDTH * screen.scale; x++)
			pixel[x] = dot_at(c, y / screen.scale, x / screen.scale) ? INK : 0;
	}
}

static void put(uint32_t row, uint32_t column, char c)
{
	if (screen.text)
		text_put(row, column, c);
	else
		pixels_put(row, column, c);
}

static void row_clear(uint32_t row)
{
	for (uint32_t column = 0; column < screen.columns; column++)
		put(row, column, ' ');
}

void screen_start(const struct multiboot *multiboot)
{
	const struct multiboot_screen *found = &multiboot->screen;
	uint32_t bytes = found->text ? 2 : 4;

	if (!found->width || !found->height || found->pitch / bytes < found->width || (!found->text && found->bits != 32))
		return;
	screen.row = screen.column = 0;
	screen.text = found->text;
	screen.pitch = found->pitch;
	screen.scale = found->text || found->width < 2 * CELLS_WANTED * CELL_WIDTH ? 1 : found->width / (CELLS_WANTED * CELL_WIDTH);
	screen.columns = found->text ? found->width : found->width / (CELL_WIDTH * screen.scale);
	screen.rows = found->text ? found->height : found->height / (CELL_HEIGHT * screen.scale);
	if (!screen.columns || screen.rows < 2)
		return;
	screen.memory = page_table_device(found->address, (uint64_t)found->pitch * found->height);
	for (uint32_t row = 0; screen.memory && row < screen.rows; row++)
		row_clear(row);
}

static void line_end(void)
{
	screen.column = 0;
	screen.row = (screen.row + 1) % screen.rows;
	row_clear(screen.row);
	row_clear((screen.row + 1) % screen.rows);
}

void screen_write(const char *text, size_t length)
{
	for (size_t i = 0; screen.memory && i < length; i++) {
		if (text[i] == '\n' || screen.column == screen.columns)
			line_end();
		if (text[i] != '\n' && text[i] != '\r')
			put(screen.row, screen.column++, text[i]);
	}
}
