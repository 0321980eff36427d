/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h - where the guest's serial port leads on the host: the terminal (or pipes) of `holon run`, or a file.
 *
 * Output goes through a bounded ring to a writer thread, so that a slow reader never stalls a vcpu for long. On a terminal, stdin is raw,
 * and Ctrl-] is the way out: q leaves, a second Ctrl-] sends one.
 */
#ifndef HOLON_CONSOLE_H
#define HOLON_CONSOLE_H

#include <holon/chardev.h>
#include <holon/status.h>

/* Stdin and stdout. `leave` runs on the reader's thread when the user asks to leave. */
enum status console_stdio_open(struct chardev **chardev, void (*leave)(void *argument), void *argument,
			       struct reason *why) must_check;
/* Output only, to a file that is made, or to a terminal or FIFO. A file that is there keeps what it has until console_start. */
enum status console_file_open(struct chardev **chardev, const char *path, struct reason *why) must_check;
/* Either of them, or NULL: the VM is about to run. */
enum status console_start(struct chardev *chardev, struct reason *why) must_check;
/* Likewise: when this returns the device is not called any more. Before the device is destroyed. */
void console_stop(struct chardev *chardev);
/* Stops it, gets out what was written, for two seconds at most, and frees it. After the device was destroyed: it may still write, or let go. */
void console_close(struct chardev *chardev);

/* Puts the terminal back as it was found. In signal context too; harmless when there is nothing to put back. */
void console_terminal_restore(void);
/* After SIGCONT: whoever stopped us has changed the terminal's mode. */
void console_terminal_continue(void);

#endif
