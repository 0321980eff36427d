/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_refusal.h - what a router says to who sends what it does not let through, so that a program in the guest hears of it at once.
 */
#ifndef HOLON_NET_REFUSAL_H
#define HOLON_NET_REFUSAL_H

#include <holon/net.h>

#define NET_REFUSAL_MAX 128u

/*
 * A frame of the guest was refused. Makes the answer in `answer` (NET_REFUSAL_MAX bytes) and returns its length; 0: there is none for such a
 * frame. TCP: RST (RFC 9293, 3.5.2). UDP and echo requests: "communication administratively prohibited" (RFC 1812, 5.2.7.1; RFC 4443, 3.1).
 */
size_t net_refusal_make(const uint8_t *frame, size_t length, uint8_t *answer);

#endif
