/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.c - see api.h. Called by http.c; `holon show` and `holon set` (program/vms.c) are its first users.
 *
 * A VM is a few things by name: disk0, net0, balloon. Each kind is a row of `kinds`, and each property that can be changed a row of its kind. What is
 * set is text in the end, read as the options of `holon run` are: "20G" from a shell, a number of bytes from a program.
 */
#include "control/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/json.h"
#include "control/size.h"

#define NAME_MAX_LENGTH 16
#define NUMBER_TEXT 24

static void text_put(json_t *object, const char *name, const char *text)
{
	json_object_set_new(object, name, json_string(text));
}

/* --- disks --- */

static unsigned disk_count(const struct api *api)
{
	return api->config->disks;
}

static json_t *disk_show(const struct api *api, unsigned i)
{
	static const char *const bus[] = {[DISK_VIRTIO] = "virtio", [DISK_NVME] = "nvme", [DISK_SATA] = "sata"};
	const struct disk_config *config = &api->config->disk[i];
	const struct block *block = api->backends->disk[i];
	json_t *disk = json_object();

	text_put(disk, "path", config->path);
	text_put(disk, "bus", config->source == DISK_VHOST_USER ? "vhost-user" : config->cdrom ? "cdrom" : bus[config->bus]);
	if (block) {
		json_count(disk, "size", block->size);
		json_object_set_new(disk, "readonly", json_boolean(block->readonly));
	}
	return disk;
}

static enum status disk_size_set(const struct api *api, unsigned i, const char *text, struct reason *why)
{
	struct block *block = api->backends->disk[i];
	uint64_t size;
	enum status status;

	if (!block)
		return reason_give(why, STATUS_UNSUPPORTED,
				   "disk %s: the process that serves it says how large it is; enlarge it there",
				   api->config->disk[i].path);
	if (api->config->grow_ms)
		return reason_give(why, STATUS_BUSY, "disk %s: --grow-every makes it longer", block->path);
	status = size_disk_parse(&size, text, block->size, why);
	return status ? status : board_disk_resize(api->vm->board, i, size, why);
}

/* --- networks --- */

static unsigned net_count(const struct api *api)
{
	return api->config->nets;
}

static json_t *net_show(const struct api *api, unsigned i)
{
	static const char *const kind[] = {
		[NET_USER] = "user", [NET_TAP] = "tap", [NET_BRIDGE] = "bridge", [NET_SWITCH] = "switch"};
	const struct net_config *config = &api->config->net[i];
	const uint8_t *mac = config->mac;
	json_t *net = json_object();
	char address[18];

	snprintf(address, sizeof(address), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	text_put(net, "kind", kind[config->kind]);
	if (config->name)
		text_put(net, "name", config->name);
	text_put(net, "mac", address);
	text_put(net, "link", net_link_up(api->backends->net[i]) ? "up" : "down");
	return net;
}

static enum status net_link_change(const struct api *api, unsigned i, const char *text, struct reason *why)
{
	bool up = !strcmp(text, "up");

	if (!up && strcmp(text, "down") != 0)
		return reason_give(why, STATUS_USAGE, "link %.64s: there are up and down", text);
	net_unplug(api->backends->net[i], !up);
	return STATUS_OK;
}

/* --- the balloon --- */

static unsigned balloon_count(const struct api *api)
{
	return api->config->balloon.present;
}

static json_t *balloon_show(const struct api *api, unsigned i)
{
	struct balloon_report report = {0};

	(void)i;
	vm_board_lock(api->vm);
	(void)board_balloon_report(api->vm->board, &report);
	vm_board_unlock(api->vm);
	return balloon_json(&report);
}

static enum status balloon_target_change(const struct api *api, unsigned i, const char *text, struct reason *why)
{
	uint64_t target = size_or_bytes(text);

	(void)i;
	if ((!target && strcmp(text, "0") != 0) || target >= api->config->memory)
		return reason_give(
			why, STATUS_USAGE,
			"target %.64s: not a size below the guest's memory, %lluM; write 0, or a number and a unit: 256M", text,
			(unsigned long long)(api->config->memory >> 20));
	vm_board_lock(api->vm);
	board_balloon_target_set(api->vm->board, target);
	vm_board_unlock(api->vm);
	return STATUS_OK;
}

/* --- all of them --- */

#define PROPERTIES_MAX 2

struct property {
	const char *name; /* NULL: no more */
	enum status (*set)(const struct api *api, unsigned i, const char *text, struct reason *why);
};

static const struct kind {
	const char *name;
	bool one; /* without a number */
	unsigned (*count)(const struct api *api);
	json_t *(*show)(const struct api *api, unsigned i);
	struct property property[PROPERTIES_MAX];
} kinds[] = {
	{"disk", false, disk_count, disk_show, {{"size", disk_size_set}}},
	{"net", false, net_count, net_show, {{"link", net_link_change}}},
	{"balloon", true, balloon_count, balloon_show, {{"target", balloon_target_change}}},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void thing_name(char name[NAME_MAX_LENGTH], const struct kind *kind, unsigned i)
{
	if (kind->one)
		snprintf(name, NAME_MAX_LENGTH, "%s", kind->name);
	else
		snprintf(name, NAME_MAX_LENGTH, "%s%u", kind->name, i);
}

static const struct kind *thing_find(const struct api *api, const char *wanted, unsigned *i)
{
	char name[NAME_MAX_LENGTH];

	for (unsigned k = 0; k < KINDS; k++) {
		for (*i = 0; *i < kinds[k].count(api); ++*i) {
			thing_name(name, &kinds[k], *i);
			if (!strcmp(name, wanted))
				return &kinds[k];
		}
	}
	return NULL;
}

/* What there is, for who asked for something else. */
static enum status thing_missing(const struct api *api, const char *wanted, struct reason *why)
{
	char names[sizeof(why->text) / 2] = "", name[NAME_MAX_LENGTH];

	for (unsigned k = 0; k < KINDS; k++) {
		for (unsigned i = 0; i < kinds[k].count(api); i++) {
			thing_name(name, &kinds[k], i);
			if (strlen(names) + strlen(name) + 3 < sizeof(names))
				snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", *names ? ", " : "", name);
		}
	}
	return reason_give(why, STATUS_NOT_FOUND, "%.32s: this VM has no such thing; it has %s", wanted, *names ? names : "none");
}

static json_t *vm_show(const struct api *api)
{
	const struct engine *engine;
	json_t *root = json_object();
	char name[NAME_MAX_LENGTH];

	vm_board_lock(api->vm);
	engine = api->vm->engine;
	vm_board_unlock(api->vm);
	text_put(root, "name", api->config->name);
	json_count(root, "pid", (uint64_t)getpid());
	text_put(root, "engine", engine->name);
	json_count(root, "cpus", api->vm->vcpus);
	json_count(root, "memory", api->config->memory);
	json_count(root, "clock_ns", vm_clock_ns(&api->vm->clock));
	for (unsigned k = 0; k < KINDS; k++) {
		for (unsigned i = 0; i < kinds[k].count(api); i++) {
			thing_name(name, &kinds[k], i);
			json_object_set_new(root, name, kinds[k].show(api, i));
		}
	}
	return root;
}

static enum status property_set(const struct api *api, const struct kind *kind, unsigned i, const char *name, const json_t *value,
				struct reason *why)
{
	const struct property *property = kind->property;
	char number[NUMBER_TEXT];
	const char *text = json_string_value(value);

	while (property < kind->property + PROPERTIES_MAX && property->name && strcmp(property->name, name) != 0)
		property++;
	if (property == kind->property + PROPERTIES_MAX || !property->name)
		return reason_give(why, STATUS_USAGE, "%.64s of a %s cannot be set; %s can", name, kind->name,
				   kind->property->name);
	if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		text = number;
	}
	if (!text)
		return reason_give(why, STATUS_USAGE, "%.64s: its value is no text and no whole number", name);
	return property->set(api, i, text, why);
}

static enum status thing_patch(const struct api *api, const struct kind *kind, unsigned i, const json_t *body, struct reason *why)
{
	enum status status = STATUS_OK;
	const char *name;
	json_t *value;

	if (!json_is_object(body))
		return reason_give(why, STATUS_USAGE, "PATCH: the body is not a JSON object, such as {\"%s\": ...}",
				   kind->property->name);
	json_object_foreach((json_t *)body, name, value) if (!status) status = property_set(api, kind, i, name, value, why);
	return status;
}

enum status api_answer(void *argument, const struct http_request *request, json_t **answer, struct reason *why)
{
	const struct api *api = argument;
	bool get = !strcmp(request->method, "GET"), all = !strcmp(request->path, "/");
	unsigned i = 0;
	const struct kind *kind = all || request->path[0] != '/' ? NULL : thing_find(api, request->path + 1, &i);
	enum status status = STATUS_OK;

	if (!all && !kind)
		return thing_missing(api, request->path + (request->path[0] == '/'), why);
	if (!get && (all || strcmp(request->method, "PATCH") != 0))
		return reason_give(why, STATUS_USAGE, "%.16s %.32s: not a method for it; there %s", request->method, request->path,
				   all ? "is GET" : "are GET and PATCH");
	if (!get)
		status = thing_patch(api, kind, i, request->body, why);
	if (!status)
		*answer = all ? vm_show(api) : kind->show(api, i);
	return status;
}
