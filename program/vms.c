/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vms.c - the verbs `list`, `show` and `set`: finds the VMs of this user that run, and asks them by their control sockets (control.c). Called from holon.c.
 *
 * A VM's process may have been taken over by its guest, so its answers are believed as little as a guest is: they are bounded, waited for with a deadline, and made
 * harmless before a terminal gets them.
 */
#include "program/vms.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <holon/host.h>

#include "control/client.h"
#include "control/plain_text.h"
#include "program/control.h"
#include "program/exit.h"

#define ASK_SECONDS 3u      /* what a VM answers at once */
#define CHANGE_SECONDS 60u  /* a disk that grows may take a while */
#define PLACE_MAX 108       /* of a socket's path */
#define BEGINNING_SECONDS 5 /* between the name of a socket and its listening: far less */
#define SUFFIX ".sock"

/* --- which VM --- */

/* What the user's VMs are asked for, one after the other. */
struct visit {
	int folder;
	/* false: enough. `vm` is what GET / answers; NULL: it does not, and `why` says why. */
	bool (*meet)(void *visitor, int pid, const char *place, json_t *vm, const struct reason *why);
	void *visitor;
};

/* The number in PID.sock; 0: it is no such name. */
static int pid_of(const char *name)
{
	char *end;
	long pid = name[0] >= '1' && name[0] <= '9' ? strtol(name, &end, 10) : 0;

	return pid > 0 && pid <= INT32_MAX && !strcmp(end, SUFFIX) ? (int)pid : 0;
}

static int is_socket(const struct dirent *entry)
{
	return pid_of(entry->d_name) != 0;
}

/* Nobody listens there: a killed VM's, unless it is one that just begins. */
static void leftover_remove(const char *place)
{
	struct stat stat;

	if (!lstat(place, &stat) && time(NULL) - stat.st_mtime > BEGINNING_SECONDS)
		unlink(place);
}

/* STATUS_UNSUPPORTED: no library to ask anybody. */
static enum status vm_visit(const struct visit *visit, int pid, bool *more, struct reason *why)
{
	struct reason cause = {""};
	char place[PLACE_MAX];
	json_t *vm = NULL;
	enum status status;

	snprintf(place, sizeof(place), "/proc/self/fd/%d/%d" SUFFIX, visit->folder, pid);
	status = client_ask(place, "GET", "/", NULL, ASK_SECONDS, &vm, &cause);
	if (status == STATUS_UNSUPPORTED)
		return reason_give(why, status, "%s", cause.text);
	if (status == STATUS_NOT_FOUND)
		leftover_remove(place);
	else
		*more = visit->meet(visit->visitor, pid, place, vm, &cause);
	json_decref(vm);
	return STATUS_OK;
}

static enum status vms_visit(const struct visit *visit, struct reason *why)
{
	enum status status = STATUS_OK;
	struct dirent **entry;
	bool more = true;
	int count = scandirat(visit->folder, ".", &entry, is_socket, versionsort);

	if (count < 0)
		return reason_give(why, STATUS_IO, "the folder of running VMs cannot be read: %s", strerror(errno));
	for (int i = 0; i < count; i++) {
		if (!status && more)
			status = vm_visit(visit, pid_of(entry[i]->d_name), &more, why);
		free(entry[i]);
	}
	free(entry);
	return status;
}

struct search {
	const char *name;
	char place[PLACE_MAX];
	int pid; /* 0: none found yet */
	int other;
	int silent; /* one that does not answer; 0: all do */
};

static bool search_meet(void *visitor, int pid, const char *place, json_t *vm, const struct reason *why)
{
	struct search *search = visitor;
	const char *name = json_string_value(json_object_get(vm, "name"));

	(void)why;
	if (!vm)
		search->silent = pid;

	if (!name || strcmp(name, search->name) != 0)
		return true;
	if (search->pid) {
		search->other = pid;
		return false;
	}
	search->pid = pid;
	snprintf(search->place, sizeof(search->place), "%s", place);
	return true;
}

/* The socket of the VM that `word` means: a name, a pid, or the path of a socket (with a slash). `folder` stays open while the place is used. */
static enum status vm_find(char place[PLACE_MAX], int folder, const char *word, struct reason *why)
{
	struct search search = {.name = word};
	const struct visit visit = {folder, search_meet, &search};
	enum status status;
	bool path = strchr(word, '/');

	if (path && strlen(word) >= PLACE_MAX)
		return reason_give(why, STATUS_USAGE, "%s: too long for a socket's path; use a relative one", word);
	if (path) {
		snprintf(place, PLACE_MAX, "%s", word);
		return STATUS_OK;
	}
	if (folder < 0)
		return reason_give(why, STATUS_NOT_FOUND,
				   "the folder of running VMs in $XDG_RUNTIME_DIR (or /tmp) cannot be used: %s", strerror(errno));
	if (word[0] && strspn(word, "0123456789") == strlen(word)) {
		snprintf(place, PLACE_MAX, "/proc/self/fd/%d/%.12s" SUFFIX, folder, word);
		if (!access(place, F_OK))
			return STATUS_OK;
	}
	status = vms_visit(&visit, why);
	if (status)
		return status;
	if (!search.pid && search.silent)
		return reason_give(why, STATUS_NOT_FOUND,
				   "%s: no VM of yours says that this is its name, and the one with pid %d says nothing", word,
				   search.silent);
	if (!search.pid)
		return reason_give(why, STATUS_NOT_FOUND,
				   "%s: no running VM of yours has that name or pid; `holon list` names them", word);
	if (search.other)
		return reason_give(why, STATUS_USAGE,
				   "%s: several VMs have that name, with the pids %d and %d; say which by its pid", word,
				   search.pid, search.other);
	memcpy(place, search.place, PLACE_MAX);
	return STATUS_OK;
}

/* --- printing --- */

static void text_print(const char *text)
{
	char *plain = strdup(text);

	if (!plain)
		return;
	plain_text(plain);
	fputs(plain, stdout);
	free(plain);
}

/* A number of bytes as `holon set` takes it: with the largest unit that loses nothing. */
static void size_print(json_int_t bytes)
{
	static const char units[] = "\0KMGT";
	unsigned unit = 0;

	while (bytes && !(bytes % 1024) && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	printf("%lld%.1s", (long long)bytes, &units[unit]);
}

static bool is_size(const char *name)
{
	static const char *const sizes[] = {"memory",        "size", "target", "actual",    "discarded",
					    "reported_free", "free", "total",  "available", "disk_caches"};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		if (!strcmp(sizes[i], name))
			return true;
	return false;
}

static void value_print(const char *name, const json_t *value)
{
	if (json_is_string(value))
		text_print(json_string_value(value));
	else if (json_is_integer(value) && is_size(name))
		size_print(json_integer_value(value));
	else if (json_is_integer(value))
		printf("%lld", (long long)json_integer_value(value));
	else if (json_is_boolean(value))
		fputs(json_is_true(value) ? "yes" : "no", stdout);
	else
		putchar('?');
}

#define DEPTH_MAX 3
#define NAME_COLUMN 24

/* A line each: disk0.size and so on. */
static void lines_print(const json_t *object, const char *before, unsigned depth)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)object, name, value)
	{
		char whole[128];

		snprintf(whole, sizeof(whole), "%s%s%s", before, *before ? "." : "", name);
		if (json_is_object(value)) {
			if (depth < DEPTH_MAX)
				lines_print(value, whole, depth + 1);
			continue;
		}
		text_print(whole);
		printf("%*s", (int)(strlen(whole) < NAME_COLUMN ? NAME_COLUMN - strlen(whole) : 1), "");
		value_print(name, value);
		putchar('\n');
	}
}

static void json_print(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	putchar('\n');
}

/* --- the verbs --- */

static unsigned things_named(const json_t *vm, const char *kind)
{
	char name[16];
	unsigned count = 0;

	do
		snprintf(name, sizeof(name), "%s%u", kind, count);
	while (json_object_get(vm, name) && count++ < 64);
	return count;
}

static bool list_meet(void *visitor, int pid, const char *place, json_t *vm, const struct reason *why)
{
	json_t *listed = vm ? json_incref(vm) : json_pack("{s:s}", "error", why->text);

	(void)place;
	json_object_set_new(listed, "pid", json_integer(pid)); /* whatever it says itself */
	json_array_append_new(visitor, listed);
	return true;
}

static void table_print(const json_t *list)
{
	static const char *const columns[] = {"pid", "engine", "cpus", "memory"};
	size_t i;
	json_t *vm;

	if (json_array_size(list))
		printf("PID\tENGINE\tCPUS\tMEMORY\tDISKS\tNETS\tNAME\n");
	json_array_foreach((json_t *)list, i, vm)
	{
		for (unsigned column = 0; column < sizeof(columns) / sizeof(columns[0]); column++) {
			value_print(columns[column], json_object_get(vm, columns[column]));
			putchar('\t');
		}
		printf("%u\t%u\t", things_named(vm, "disk"), things_named(vm, "net"));
		value_print("name", json_object_get(vm, json_object_get(vm, "error") ? "error" : "name"));
		putchar('\n');
	}
}

/* The words of a verb that takes --json; it is taken out of them. */
static bool json_wanted(int *count, char **arguments)
{
	int kept = 0;

	for (int i = 0; i < *count; i++)
		if (strcmp(arguments[i], "--json") != 0)
			arguments[kept++] = arguments[i];
	if (kept == *count)
		return false;
	*count = kept;
	return true;
}

int vms_list(int count, char **arguments)
{
	bool json = json_wanted(&count, arguments);
	struct reason why = {""};
	struct visit visit = {-1, list_meet, json_array()};
	enum status status;
	int result;

	if (count)
		status = reason_give(&why, STATUS_USAGE, "%s: list takes --json or nothing", arguments[0]);
	else if ((visit.folder = control_folder_open()) < 0)
		status = reason_give(&why, STATUS_PERMISSION,
				     "the folder of running VMs in $XDG_RUNTIME_DIR (or /tmp) cannot be used: %s", strerror(errno));
	else
		status = vms_visit(&visit, &why);
	if (!status && json)
		json_print(visit.visitor);
	else if (!status)
		table_print(visit.visitor);
	result = exit_with(status, &why);
	if (visit.folder >= 0)
		close(visit.folder);
	json_decref(visit.visitor);
	return result;
}

int vms_show(int count, char **arguments)
{
	bool json = json_wanted(&count, arguments);
	int folder = control_folder_open(), result;
	char place[PLACE_MAX];
	struct reason why = {""}, cause = {""};
	json_t *vm = NULL;
	enum status status;

	if (count != 1)
		status = reason_give(&why, STATUS_USAGE, "show: name one VM; `holon list` lists them");
	else
		status = vm_find(place, folder, arguments[0], &why);
	if (!status) {
		status = client_ask(place, "GET", "/", NULL, ASK_SECONDS, &vm, &cause);
		if (status)
			reason_give(&why, status, "%s: %s", arguments[0], cause.text);
	}
	if (!status && json)
		json_print(vm);
	else if (!status)
		lines_print(vm, "", 0);
	result = exit_with(status, &why);
	if (folder >= 0)
		close(folder);
	json_decref(vm);
	return result;
}

/* THING.PROPERTY=VALUE, as disk0.size=20G. */
static enum status change(const char *place, const char *vm, const char *word, struct reason *why)
{
	size_t thing = strcspn(word, ".="), property = word[thing] == '.' ? strcspn(word + thing + 1, ".=") : 0;
	const char *equals = word + thing + 1 + property;
	struct reason cause = {""};
	json_t *body, *answer = NULL;
	enum status status;
	char path[64];

	if (!thing || !property || *equals != '=' || thing >= sizeof(path) - 1 ||
	    strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789") != thing)
		return reason_give(why, STATUS_USAGE,
				   "%s: write THING.PROPERTY=VALUE, as disk0.size=20G; `holon show %s` names them", word, vm);
	snprintf(path, sizeof(path), "/%.*s", (int)thing, word);
	body = json_pack("{s%:s}", word + thing + 1, property, equals + 1);
	if (!body)
		return reason_give(why, STATUS_USAGE, "%s: it is no text", word);
	status = client_ask(place, "PATCH", path, body, CHANGE_SECONDS, &answer, &cause);
	json_decref(body);
	json_decref(answer);
	return status ? reason_give(why, status, "%s: %.64s: %s%s", vm, word, cause.text,
				    status == STATUS_TIMEOUT ? "; it may still happen: `holon show` says" : "")
		      : STATUS_OK;
}

int vms_set(int count, char **arguments)
{
	int folder = control_folder_open();
	char place[PLACE_MAX];
	struct reason why = {""};
	enum status status;

	if (count < 2)
		status = reason_give(&why, STATUS_USAGE, "set: name a VM and what is to change: holon set VM disk0.size=20G");
	else
		status = vm_find(place, folder, arguments[0], &why);
	for (int i = 1; !status && i < count; i++)
		status = change(place, arguments[0], arguments[i], &why);
	if (folder >= 0)
		close(folder);
	return exit_with(status, &why);
}
