/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.h - the other processes that serve a VM of the verb `run`: disks over vhost-user, virtiofsd for shared folders.
 */
#ifndef HOLON_PROGRAM_PEERS_H
#define HOLON_PROGRAM_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/board.h>
#include <holon/config.h>

/* Connects to those that are there and starts those that are ours. On failure what was made stays in `backends`, for peers_close. */
enum status peers_connect(struct board_backends *backends, const struct vm_config *config, struct reason *why) must_check;
bool peers_any(struct board_backends *backends, const struct vm_config *config);
/* Gives them the VM's RAM: config->memory bytes at `ram`, shown by `fd`. */
enum status peers_start(struct board_backends *backends, const struct vm_config *config, uint8_t *ram, int fd,
			struct reason *why) must_check;
/* The VM ends: what is under way has five seconds. */
void peers_give_up(struct board_backends *backends, const struct vm_config *config);
void peers_close(struct board_backends *backends, const struct vm_config *config);

#endif
