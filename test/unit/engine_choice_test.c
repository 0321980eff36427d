/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_choice_test.c - --engine auto takes the first engine that works and says in one line why not the better ones; --engine NAME takes that or none.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "control/engine_choice.h"

static enum status best_status;
static unsigned probes;

static enum status best_probe(struct reason *why)
{
	probes++;
	return reason_give(why, best_status, best_status ? "kvm: no node: make one" : "kvm: runs guests");
}

static enum status second_probe(struct reason *why)
{
	probes++;
	return reason_give(why, STATUS_OK, "interp: runs anywhere");
}

static enum status never_probe(struct reason *why)
{
	probes++;
	return reason_give(why, STATUS_UNSUPPORTED, "interp: broken");
}

static const struct engine best = {.name = "kvm", .probe = best_probe},
			   second = {.name = "interp", .probe = second_probe, .counts = true},
			   never = {.name = "interp", .probe = never_probe};
static const struct engine *const both[] = {&best, &second, NULL}, *const bad[] = {&best, &never, NULL};

static struct engine_choice choice;
static struct reason why;
static bool counting;

static enum status pick(const struct engine *const *table, const char *name)
{
	why.text[0] = 0;
	probes = 0;
	return engine_pick(&choice, table, name, counting, &why);
}

static void auto_takes_the_best_and_asks_no_further(void **state)
{
	(void)state;
	best_status = STATUS_OK;
	assert_int_equal(pick(both, "auto"), STATUS_OK);
	assert_ptr_equal(choice.engine, &best);
	assert_int_equal(probes, 1);
	assert_string_equal(choice.line.text, "kvm: runs guests");
}

static void auto_falls_back_and_says_why(void **state)
{
	(void)state;
	best_status = STATUS_PERMISSION;
	assert_int_equal(pick(both, "auto"), STATUS_OK);
	assert_ptr_equal(choice.engine, &second);
	assert_string_equal(choice.line.text, "interp: runs anywhere; not kvm: no node: make one");
}

static void auto_looks_anew_each_time(void **state)
{
	(void)state;
	best_status = STATUS_PERMISSION;
	assert_int_equal(pick(both, "auto"), STATUS_OK);
	assert_ptr_equal(choice.engine, &second);
	best_status = STATUS_OK;
	assert_int_equal(pick(both, "auto"), STATUS_OK);
	assert_ptr_equal(choice.engine, &best);
}

static void auto_without_any_names_all(void **state)
{
	(void)state;
	best_status = STATUS_PERMISSION;
	assert_int_equal(pick(bad, "auto"), STATUS_UNSUPPORTED);
	assert_null(choice.engine);
	assert_string_equal(why.text, "--engine auto: none works on this host; not kvm: no node: make one; not interp: broken");
}

static void a_name_never_falls_back(void **state)
{
	(void)state;
	best_status = STATUS_PERMISSION;
	assert_int_equal(pick(both, "kvm"), STATUS_PERMISSION);
	assert_null(choice.engine);
	assert_string_equal(why.text, "--engine kvm: no node: make one; --engine auto takes one that works here");
	assert_string_equal(choice.line.text, "");
	best_status = STATUS_OK;
	assert_int_equal(pick(both, "kvm"), STATUS_OK);
	assert_ptr_equal(choice.engine, &best);
	assert_int_equal(pick(both, "warp"), STATUS_USAGE);
	assert_non_null(strstr(why.text, "warp"));
	assert_int_equal(pick(both, "jit"), STATUS_USAGE);
	assert_non_null(strstr(why.text, "not built"));
}

static void counting_passes_over_those_that_cannot(void **state)
{
	(void)state;
	best_status = STATUS_OK;
	counting = true;
	assert_int_equal(pick(both, "auto"), STATUS_OK);
	assert_ptr_equal(choice.engine, &second);
	assert_int_equal(probes, 1);
	assert_int_equal(pick(both, "kvm"), STATUS_USAGE);
	assert_non_null(strstr(why.text, "--deterministic"));
	counting = false;
}

static void one_that_fails_after_its_probe_gives_way_under_auto_only(void **state)
{
	struct reason failed;

	(void)state;
	best_status = STATUS_OK;
	assert_int_equal(pick(both, "auto"), STATUS_OK);
	reason_give(&failed, STATUS_IO, "kvm: out of slots");
	assert_true(engine_pick_next(&choice, both, &failed));
	assert_ptr_equal(choice.engine, &second);
	assert_string_equal(choice.line.text, "interp: runs anywhere; not kvm: out of slots");
	assert_false(engine_pick_next(&choice, both, &failed));
	assert_int_equal(pick(both, "kvm"), STATUS_OK);
	assert_false(engine_pick_next(&choice, both, &failed));
}

static void long_reasons_are_cut_and_stay_text(void **state)
{
	struct engine_finding finding[2] = {{.engine = &best, .status = STATUS_IO}, {.engine = &second}};

	(void)state;
	memset(finding[0].why.text, 'x', sizeof(finding[0].why.text) - 1);
	memset(finding[1].why.text, 'y', sizeof(finding[1].why.text) - 1);
	assert_ptr_equal(engine_choose(finding, 2, &choice.line), &second);
	assert_int_equal(strlen(choice.line.text), sizeof(choice.line.text) - 1);
	finding[1].why.text[100] = 0;
	assert_ptr_equal(engine_choose(finding, 2, &choice.line), &second);
	assert_int_equal(strlen(choice.line.text), sizeof(choice.line.text) - 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(auto_takes_the_best_and_asks_no_further),
		cmocka_unit_test(auto_falls_back_and_says_why),
		cmocka_unit_test(auto_looks_anew_each_time),
		cmocka_unit_test(auto_without_any_names_all),
		cmocka_unit_test(a_name_never_falls_back),
		cmocka_unit_test(counting_passes_over_those_that_cannot),
		cmocka_unit_test(one_that_fails_after_its_probe_gives_way_under_auto_only),
		cmocka_unit_test(long_reasons_are_cut_and_stay_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
