/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console_output.h - the ring and the writer thread behind a console; for the files of this folder.
 */
#ifndef HOLON_CONSOLE_OUTPUT_H
#define HOLON_CONSOLE_OUTPUT_H

#include <stdbool.h>

#include <holon/host.h>

#define CONSOLE_RING_BYTES 65536u

struct console_output {
	int fd;                   /* owned */
	struct host_mutex lock;   /* all below */
	struct host_event filled; /* for the writer: bytes or the end */
	struct host_event freed;  /* for who waits for room */
	struct host_thread *thread;
	uint64_t in, out; /* bytes ever put in and taken out */
	uint64_t dropped;
	bool stalled; /* the host took nothing for a while: drop at once until it takes something */
	int broken;   /* nobody will ever read it: why, an errno */
	bool closing;
	uint64_t closing_deadline_ns;
	uint8_t ring[CONSOLE_RING_BYTES];
};

/* Takes `fd` over, on success. */
enum status console_output_open(struct console_output *output, int fd) must_check;
/* Any thread. Waits for room half a second once, then drops. */
void console_output_write(struct console_output *output, const uint8_t *bytes, size_t length);
void console_output_close(struct console_output *output);

#endif
