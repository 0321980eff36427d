/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_choice.c - asks the engines' probes and takes one. Called from program/run.c and program/doctor.c.
 */
#include "control/engine_choice.h"

#include <stdio.h>
#include <string.h>

static const char *const engine_names[] = {"kvm", "jit", "interp"}; /* all that Holon will have */

const struct engine *engine_choose(const struct engine_finding *finding, unsigned findings, struct reason *choice)
{
	const struct engine *taken = NULL;
	size_t length = 0;
	unsigned i, good;

	for (good = 0; good < findings && finding[good].status; good++)
		continue;
	if (good < findings) {
		taken = finding[good].engine;
		length = (size_t)snprintf(choice->text, sizeof(choice->text), "%s", finding[good].why.text);
	} else {
		length = (size_t)snprintf(choice->text, sizeof(choice->text), "none works on this host");
	}
	for (i = 0; i < good && length < sizeof(choice->text); i++)
		length += (size_t)snprintf(choice->text + length, sizeof(choice->text) - length, "; not %s", finding[i].why.text);
	return taken;
}

static enum status engine_named(struct engine_choice *choice, const struct engine *const *table, const char *name,
				struct reason *why)
{
	struct reason found = {""};
	enum status status;
	unsigned i;

	for (i = 0; table[i]; i++) {
		if (strcmp(table[i]->name, name))
			continue;
		if (choice->counting && !table[i]->counts)
			return reason_give(why, STATUS_USAGE,
					   "--deterministic: engine %s cannot count instructions; use --engine jit or interp",
					   name);
		status = table[i]->probe(&found);
		if (status)
			return reason_give(why, status, "--engine %s; --engine auto takes one that works here", found.text);
		choice->engine = table[i];
		return STATUS_OK;
	}
	for (i = 0; i < sizeof(engine_names) / sizeof(engine_names[0]); i++)
		if (!strcmp(engine_names[i], name))
			return reason_give(why, STATUS_USAGE, "--engine %s: that engine is not built yet; use --engine auto", name);
	return reason_give(why, STATUS_USAGE, "--engine %s: unknown engine; there are auto, interp, jit and kvm", name);
}

/* Asks the rows of the table from `row` on. */
static bool engine_search(struct engine_choice *choice, const struct engine *const *table, unsigned row)
{
	struct engine_finding *finding;

	choice->engine = NULL;
	for (; table[row] && choice->findings < ENGINE_FINDINGS_MAX && !choice->engine; row++) {
		if (choice->counting && !table[row]->counts)
			continue;
		finding = &choice->finding[choice->findings++];
		finding->engine = table[row];
		finding->why.text[0] = 0;
		finding->status = table[row]->probe(&finding->why);
		if (!finding->status)
			choice->engine = table[row];
	}
	engine_choose(choice->finding, choice->findings, &choice->line);
	return choice->engine;
}

bool engine_pick_next(struct engine_choice *choice, const struct engine *const *table, const struct reason *failed)
{
	struct engine_finding *last;
	unsigned row = 0;

	if (!choice->automatic)
		return false;
	last = &choice->finding[choice->findings - 1];
	last->status = STATUS_UNSUPPORTED;
	last->why = *failed;
	while (table[row] != last->engine)
		row++;
	return engine_search(choice, table, row + 1);
}

enum status engine_pick(struct engine_choice *choice, const struct engine *const *table, const char *name, bool counting,
			struct reason *why)
{
	memset(choice, 0, sizeof(*choice));
	choice->automatic = !strcmp(name, "auto");
	choice->counting = counting;
	if (!choice->automatic)
		return engine_named(choice, table, name, why);
	if (engine_search(choice, table, 0))
		return STATUS_OK;
	return reason_give(why, STATUS_UNSUPPORTED, "--engine auto: %s", choice->line.text);
}
