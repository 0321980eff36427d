/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_disks.h - the disks and shared folders of the board: rows of pc.c's table.
 */
#ifndef HOLON_BOARD_PC_DISKS_H
#define HOLON_BOARD_PC_DISKS_H

#include <holon/status.h>

struct board;

enum status pc_disks_create(struct board *board, struct reason *why) must_check;
void pc_disks_destroy(struct board *board);
enum status pc_shares_create(struct board *board, struct reason *why) must_check;
void pc_shares_destroy(struct board *board);

#endif
