/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.c - what --stats (stats.c) and the control socket (api.c) both tell.
 */
#include "control/json.h"

void json_count(json_t *object, const char *name, uint64_t value)
{
	json_object_set_new(object, name, json_integer((json_int_t)value));
}

json_t *balloon_json(const struct balloon_report *report)
{
	static const char *const names[BALLOON_STATS] = {
		"swap_in", "swap_out",  "major_faults", "minor_faults",        "free",
		"total",   "available", "disk_caches",  "hugetlb_allocations", "hugetlb_failures"};
	json_t *balloon = json_object(), *guest = json_object();
	unsigned i;

	json_count(balloon, "target", report->target);
	json_count(balloon, "actual", report->actual);
	json_count(balloon, "discarded", report->discarded);
	json_count(balloon, "reported_free", report->reported);
	for (i = 0; i < BALLOON_STATS; i++)
		if (report->stat[i] != BALLOON_STAT_UNKNOWN)
			json_count(guest, names[i], report->stat[i]);
	json_object_set_new(balloon, "guest", guest);
	return balloon;
}
