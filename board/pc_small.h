/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_small.h - devices of the board that a VM has only if its owner asks: rows of pc.c's table.
 */
#ifndef HOLON_BOARD_PC_SMALL_H
#define HOLON_BOARD_PC_SMALL_H

#include <holon/status.h>

struct board;

enum status pc_watchdog_create(struct board *board, struct reason *why) must_check;
void pc_watchdog_destroy(struct board *board);
enum status pc_balloon_create(struct board *board, struct reason *why) must_check;
void pc_balloon_destroy(struct board *board);
enum status pc_vsock_create(struct board *board, struct reason *why) must_check;
void pc_vsock_destroy(struct board *board);
enum status pc_ports_create(struct board *board, struct reason *why) must_check;
void pc_ports_destroy(struct board *board);

#endif
