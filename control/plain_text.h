/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain_text.h - other processes' text, for this user's terminal.
 */
#ifndef HOLON_CONTROL_PLAIN_TEXT_H
#define HOLON_CONTROL_PLAIN_TEXT_H

/* In place: whatever a terminal might obey becomes '?': control characters, C1's too (ECMA-48), and on a terminal that is not for UTF-8, all that is not ASCII. `text` is UTF-8. */
void plain_text(char *text);

#endif
