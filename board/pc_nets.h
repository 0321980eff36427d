/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_nets.h - the network cards of the board: a row of pc.c's table.
 */
#ifndef HOLON_BOARD_PC_NETS_H
#define HOLON_BOARD_PC_NETS_H

#include <holon/status.h>

struct board;

enum status pc_nets_create(struct board *board, struct reason *why) must_check;
void pc_nets_destroy(struct board *board);

#endif
