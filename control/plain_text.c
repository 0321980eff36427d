/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain_text.c - makes text of other processes harmless for a terminal. Called by client.c and program/vms.c.
 */
#include "control/plain_text.h"

#include <langinfo.h>
#include <locale.h>
#include <stdbool.h>
#include <string.h>

static bool terminal_is_utf8(void)
{
	static locale_t locale;

	if (!locale)
		locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
	return locale && !strcmp(nl_langinfo_l(CODESET, locale), "UTF-8");
}

void plain_text(char *text)
{
	bool wide = terminal_is_utf8();
	char *out = text;

	for (const unsigned char *in = (const unsigned char *)text; *in; in++) {
		if (in[0] == 0xc2 && in[1] >= 0x80 && in[1] < 0xa0) { /* U+0080 to U+009F */
			*out++ = '?';
			in++;
		} else {
			*out++ = *in < ' ' || *in == 0x7f || (*in >= 0x80 && !wide) ? '?' : (char)*in;
		}
	}
	*out = 0;
}
