/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold_test.c - a VM in the hands of one thread at a time, moved between engines and rebuilt, while others kick, pause, reset and end it. The engines are stand-ins
 * that keep a state and spin; what they get wrong by being used after their end is the sanitizers' to see.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vm/vm_internal.h"
#include "x86/cpuid.h"
#include "x86/state.h"

#define CPUS 3
#define RAM (UINT64_C(1) << 20)

struct stand_in {
	_Atomic unsigned kicks;
	struct x86_state state;
};

static unsigned create_budget; /* vcpus that may still be created */
static bool takes_states;

static enum status stand_in_create(struct vcpu *vcpu, struct reason *why)
{
	if (!create_budget)
		return reason_give(why, STATUS_NO_MEMORY, "stand-in: enough of vcpus");
	create_budget--;
	vcpu->engine = calloc(1, sizeof(struct stand_in));
	return STATUS_OK;
}

static void stand_in_destroy(struct vcpu *vcpu)
{
	free(vcpu->engine);
	vcpu->engine = NULL;
}

static enum run_end stand_in_run(struct vcpu *vcpu)
{
	while (!(atomic_load(&vcpu->requests) & ~VCPU_INTERRUPT))
		host_yield();
	atomic_fetch_and(&vcpu->requests, ~(VCPU_INTERRUPT | VCPU_NMI));
	return RUN_KICKED;
}

static void stand_in_kick(struct vcpu *vcpu)
{
	atomic_fetch_add(&((struct stand_in *)vcpu->engine)->kicks, 1);
}

static enum status stand_in_get(struct vcpu *vcpu, struct x86_state *out)
{
	*out = ((struct stand_in *)vcpu->engine)->state;
	return STATUS_OK;
}

static enum status stand_in_set(struct vcpu *vcpu, const struct x86_state *in)
{
	((struct stand_in *)vcpu->engine)->state = *in;
	return takes_states ? STATUS_OK : STATUS_INVALID;
}

#define STAND_IN(text)                                                                                                      \
	{                                                                                                                   \
		.name = (text), .vcpu_create = stand_in_create, .vcpu_destroy = stand_in_destroy, .vcpu_run = stand_in_run, \
		.vcpu_kick = stand_in_kick, .vcpu_get = stand_in_get, .vcpu_set = stand_in_set                              \
	}
static const struct engine first = STAND_IN("first"), second = STAND_IN("second");

/* A device that knows whether it may be called. */
struct gadget {
	struct device device;
	bool quiet, resumed;
	uint32_t value;
};

static struct vm_config config;
static struct vm vm;
static struct x86_cpu_model model;
static struct gadget gadget;
static uint8_t *ram;
static bool remake_fails;

static void gadget_quiesce(void *object)
{
	struct gadget *self = object;

	assert_false(self->quiet);
	self->quiet = true;
}

static void gadget_resume(void *object)
{
	struct gadget *self = object;

	assert_true(self->quiet);
	self->quiet = false;
	self->resumed = true;
}

static const struct state_field gadget_fields[] = {STATE_FIELD(struct gadget, value)};
static const struct state_table gadget_state = {.name = "gadget", .version = 1, STATE_TABLE_FIELDS(gadget_fields)};

static void gadget_make(void)
{
	gadget = (struct gadget){.quiet = true};
	gadget.device = (struct device){
		.name = "gadget", .state = &gadget_state, .quiesce = gadget_quiesce, .resume = gadget_resume, .object = &gadget};
	vm_device_add(&vm, &gadget.device);
}

static enum status remake(void *board, struct reason *why)
{
	(void)board;
	if (remake_fails)
		return reason_give(why, STATUS_NO_MEMORY, "no devices today");
	vm.pvclock_device.next = NULL;
	vm.devices_end = &vm.pvclock_device.next;
	gadget_make();
	return STATUS_OK;
}

static int setup(void **state)
{
	struct reason why = {""};

	(void)state;
	config = (struct vm_config){
		.name = "test", .engine = "first", .cpu_model = "max", .cpus = CPUS, .memory = RAM, .cmdline = ""};
	create_budget = UINT32_MAX;
	takes_states = true;
	remake_fails = false;
	ram = aligned_alloc(4096, RAM);
	memset(ram, 0, RAM);
	assert_int_equal(vm_create(&vm, &config, &first, ram, &why), STATUS_OK);
	strcpy(model.name, "model");
	vm.cpu_model = &model;
	vm.devices_remake = remake;
	gadget_make();
	assert_int_equal(vm_vcpus_create(&vm, &why), STATUS_OK);
	assert_int_equal(vm_start(&vm, &why), STATUS_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_destroy(&vm);
	free(ram);
	return 0;
}

static _Atomic unsigned inside, holds;
static _Atomic bool over;

static void *hold_main(void *unused)
{
	(void)unused;
	while (vm_hold(&vm)) {
		assert_int_equal(atomic_fetch_add(&inside, 1), 0);
		assert_true(gadget.quiet);
		assert_int_equal(vm.stopped_vcpus, CPUS);
		atomic_fetch_sub(&inside, 1);
		atomic_fetch_add(&holds, 1);
		vm_release(&vm);
	}
	return NULL;
}

static void *pause_main(void *unused)
{
	(void)unused;
	while (!over) {
		vm_pause(&vm);
		vm_resume(&vm);
	}
	return NULL;
}

static void *reset_main(void *unused)
{
	(void)unused;
	while (!over) {
		vm_reset_request(&vm);
		host_yield();
	}
	return NULL;
}

static void *kick_main(void *unused)
{
	(void)unused;
	for (unsigned i = 0; !over; i++)
		vcpu_request(vm.vcpu[i % CPUS], i % 7 ? VCPU_INTERRUPT : VCPU_NMI);
	return NULL;
}

static void *end_when_held_often(void *unused)
{
	(void)unused;
	while (holds < 200)
		host_yield();
	over = true;
	vm_end_request(&vm, VM_END_POWER_OFF);
	return NULL;
}

static void one_thread_at_a_time_holds_a_vm_that_is_paused_and_reset(void **state)
{
	static void *(*const mains[])(void *) = {hold_main, hold_main, pause_main, reset_main, end_when_held_often};
	pthread_t thread[5];

	(void)state;
	holds = 0;
	over = false;
	for (unsigned i = 0; i < 5; i++)
		pthread_create(&thread[i], NULL, mains[i], NULL);
	assert_int_equal(vm_wait(&vm), VM_END_POWER_OFF);
	for (unsigned i = 0; i < 5; i++)
		pthread_join(thread[i], NULL);
	assert_false(vm_hold(&vm)); /* it has ended */
}

static void *switch_main(void *unused)
{
	struct reason why = {""};

	(void)unused;
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(vm_engine_switch(&vm, i % 2 ? &first : &second, &why), STATUS_OK);
		assert_int_equal(vm_rebuild(&vm, &why), STATUS_OK);
	}
	over = true;
	vm_end_request(&vm, VM_END_POWER_OFF);
	return NULL;
}

static void engines_change_under_kicks_from_anywhere(void **state)
{
	static void *(*const mains[])(void *) = {switch_main, kick_main, kick_main};
	pthread_t thread[3];

	(void)state;
	over = false;
	assert_true(vm_hold(&vm));
	gadget.value = 0x1234;
	for (unsigned i = 0; i < CPUS; i++)
		((struct stand_in *)vm.vcpu[i]->engine)->state.gpr[1] = 77 + i;
	vm_release(&vm);
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, mains[i], NULL);
	assert_int_equal(vm_wait(&vm), VM_END_POWER_OFF);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(vm.engine_switches, 100);
	assert_int_equal(vm.rebuilds, 100);
	assert_int_equal(gadget.value, 0x1234);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(((struct stand_in *)vm.vcpu[i]->engine)->state.gpr[1], 77 + i);
}

static void an_engine_that_cannot_leaves_the_old_one_in_charge(void **state)
{
	struct reason why = {""};

	(void)state;
	/* One short: then the old engine needs them all. */
	create_budget = CPUS - 1;
	assert_int_equal(vm_engine_switch(&vm, &second, &why), STATUS_NO_MEMORY);
	assert_int_equal(vm.end, VM_END_FAILURE);
	assert_non_null(strstr(why.text, "enough"));
}

static enum status refuse(struct vcpu *vcpu, const struct x86_state *in)
{
	(void)vcpu, (void)in;
	return STATUS_INVALID;
}

static void an_engine_that_refuses_a_state_is_left_again(void **state)
{
	struct engine picky = second;
	struct reason why = {""};

	(void)state;
	picky.vcpu_set = refuse;
	assert_int_equal(vm_engine_switch(&vm, &picky, &why), STATUS_INVALID);
	assert_ptr_equal(vm.engine, &first);
	assert_int_equal(vm.end, VM_END_NONE);
	assert_non_null(strstr(why.text, "second"));
	assert_int_equal(vm_rebuild(&vm, &why), STATUS_OK); /* and it lives */
}

static void what_cannot_be_rebuilt_ends_and_is_not_resumed(void **state)
{
	struct reason why = {""};

	(void)state;
	remake_fails = true;
	gadget.resumed = false;
	assert_int_equal(vm_rebuild(&vm, &why), STATUS_NO_MEMORY);
	assert_int_equal(vm.end, VM_END_FAILURE);
	assert_false(gadget.resumed);
	assert_int_equal(vm_rebuild(&vm, &why), STATUS_CANCELLED);
}

static void refused(const uint8_t *bytes, size_t length, const char *names)
{
	struct state_reader reader = {.bytes = bytes, .length = length};
	struct reason why = {""};

	assert_int_not_equal(vm_load(&vm, &reader, &why), STATUS_OK);
	assert_true(why.text[0] && !strchr(why.text, '\n'));
	if (names && !strstr(why.text, names))
		fail_msg("'%s' does not say '%s'", why.text, names);
}

static void what_is_not_this_machine_s_state_is_refused(void **state)
{
	static uint8_t bytes[1 << 16];
	struct state_writer measure = {.bytes = NULL}, writer = {.bytes = bytes, .capacity = sizeof(bytes)};
	struct state_reader reader = {.bytes = bytes};
	struct reason why = {""};

	(void)state;
	assert_true(vm_hold(&vm));
	assert_int_equal(vm_save(&vm, &measure, &why), STATUS_OK);
	assert_int_equal(vm_save(&vm, &writer, &why), STATUS_OK);
	assert_int_equal(measure.length, writer.length);
	for (size_t length = 0; length < writer.length; length++)
		refused(bytes, length, NULL);
	refused(bytes, writer.length + 1, "left over");
	vm.vcpus--;
	refused(bytes, writer.length, "3 vcpus");
	vm.vcpus++;
	vm.memory.size -= 4096;
	refused(bytes, writer.length, "RAM");
	vm.memory.size += 4096;
	model.leaves = 1;
	refused(bytes, writer.length, "CPU model");
	model.leaves = 0;
	takes_states = false;
	refused(bytes, writer.length, "no guest could");
	takes_states = true;
	reader.length = writer.length;
	assert_int_equal(vm_load(&vm, &reader, &why), STATUS_OK);
	vm_release(&vm);
}

static void a_device_that_cannot_move_is_named(void **state)
{
	struct reason why = {""};

	(void)state;
	assert_int_equal(vm_movable(&vm, &why), STATUS_OK);
	gadget.device.obstacle = "its other half is elsewhere";
	assert_int_equal(vm_movable(&vm, &why), STATUS_UNSUPPORTED);
	assert_string_equal(why.text, "gadget: this VM cannot be saved or moved: its other half is elsewhere");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(one_thread_at_a_time_holds_a_vm_that_is_paused_and_reset),
		TEST(engines_change_under_kicks_from_anywhere),
		TEST(an_engine_that_cannot_leaves_the_old_one_in_charge),
		TEST(an_engine_that_refuses_a_state_is_left_again),
		TEST(what_cannot_be_rebuilt_ends_and_is_not_resumed),
		TEST(what_is_not_this_machine_s_state_is_refused),
		TEST(a_device_that_cannot_move_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
