/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port_unix.h - a stream between a port of the guest's (device/virtio/virtio_port.c) and whoever connects to a Unix socket, one program at a time.
 */
#ifndef HOLON_CONSOLE_PORT_UNIX_H
#define HOLON_CONSOLE_PORT_UNIX_H

#include <holon/chardev.h>
#include <holon/status.h>

/* Makes the socket at `path`; one that a process left behind is replaced. */
enum status port_unix_open(struct chardev **chardev, const char *path, struct reason *why) must_check;
/* Its thread begins, or ends: then nobody is called any more. stop before the device is destroyed. */
enum status port_unix_start(struct chardev *chardev, struct reason *why) must_check;
void port_unix_stop(struct chardev *chardev);
/* Removes the socket. */
void port_unix_close(struct chardev *chardev);

#endif
