/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost_user.h - virtio devices served by another process over a socket: the front end of the vhost-user protocol.
 *
 * Two steps: connecting finds out what the other process offers, before there is a VM; starting gives it the VM's RAM and rings.
 */
#ifndef HOLON_BACKEND_VHOST_USER_H
#define HOLON_BACKEND_VHOST_USER_H

#include <stdint.h>

#include <holon/peer.h>
#include <holon/status.h>

/* A disk (vhost-user-blk), as qemu-storage-daemon serves one. `queues`: as many as wanted, one a vcpu. */
enum status vhost_user_disk_connect(struct peer **peer, const char *path, unsigned queues, struct reason *why) must_check;
/* A shared folder: `socket` leads to virtiofsd and becomes the peer's. `tag`, at most 36 bytes, is what the guest mounts; `path` the folder. */
enum status vhost_user_share_connect(struct peer **peer, int socket, const char *path, const char *tag,
				     struct reason *why) must_check;

/* RAM is `size` bytes at `ram`, and is what `fd` shows from offset 0. Before the device is created. */
enum status vhost_user_start(struct peer *peer, uint8_t *ram, int fd, uint64_t size, struct reason *why) must_check;
/* The VM ends: whatever is under way has five seconds. */
void vhost_user_give_up(struct peer *peer);

#endif
