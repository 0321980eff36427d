/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_unix.h - the host's side of the guest's sockets: Unix sockets, with no kernel module and no privilege.
 *
 * Host to guest: a program connects to PATH, writes "CONNECT PORT\n" and reads "OK PORT\n" once the guest has accepted; then the stream is the guest's.
 * Where the guest refuses, the connection is closed. Guest to host: what the guest connects to at (2, PORT) is the Unix socket PATH_PORT.
 */
#ifndef HOLON_BACKEND_VSOCK_UNIX_H
#define HOLON_BACKEND_VSOCK_UNIX_H

#include <holon/vsock.h>

/* Listens at `path`, which must not be there, or be a socket that nobody listens at any more. Removes it when closed. */
enum status vsock_unix_open(struct vsock **out, const char *path, uint64_t guest_cid, struct reason *why) must_check;

#endif
