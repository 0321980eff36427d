/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_choice.h - which engine a VM gets: `--engine NAME`, or what `--engine auto` takes and why. For program/run.c and `holon doctor`.
 *
 * Nothing is kept from one call to the next: a device node, a permission or a module that has come or gone since is seen.
 */
#ifndef HOLON_CONTROL_ENGINE_CHOICE_H
#define HOLON_CONTROL_ENGINE_CHOICE_H

#include <holon/engine.h>

#define ENGINE_FINDINGS_MAX 8 /* as many rows of engines[] are looked at */

/* What an engine's probe said. */
struct engine_finding {
	const struct engine *engine;
	enum status status;
	struct reason why; /* "NAME: ..." */
};

/*
 * Of findings in the order of engines[], best first: the first that is good, or NULL. `choice` gets one line: "NAME: what its probe said; not OTHER: why
 * the better one cannot".
 */
const struct engine *engine_choose(const struct engine_finding *finding, unsigned findings, struct reason *choice);

struct engine_choice {
	const struct engine *engine; /* what was taken */
	bool automatic;
	bool counting;                                      /* only engines that count instructions */
	struct reason line;                                 /* automatic: engine_choose's line; otherwise empty */
	struct engine_finding finding[ENGINE_FINDINGS_MAX]; /* automatic: those asked, the last one taken */
	unsigned findings;
};

/*
 * `name` as --engine takes it; `table` is engines[]. Probes one engine, or under auto one after the other until one is good. STATUS_USAGE: there is no such
 * engine, or it does not count and `counting` wants that. *choice is filled anew.
 */
enum status engine_pick(struct engine_choice *choice, const struct engine *const *table, const char *name, bool counting,
			struct reason *why) must_check;
/* Under auto: the engine that was taken failed after its probe. Takes the next that is good; false: there is none, or nobody said auto. */
bool engine_pick_next(struct engine_choice *choice, const struct engine *const *table, const struct reason *failed);

#endif
