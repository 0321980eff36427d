/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_test.c - the words of `holon run` become a config, or one line that names the thing, the reason and the next step.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <limits.h>
#include <unistd.h>

#include "control/config.h"
#include "control/size.h"

static struct vm_config config;
static struct reason why;

/* Words in one string, split at blanks; good for the next call of parse only. */
static enum status parse(const char *line)
{
	static char text[4096];
	char *words[64], *word, *rest;
	int count = 0;

	strcpy(text, line);
	for (word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		words[count++] = word;
	why.text[0] = 0;
	config_free(&config); /* of the case before */
	return config_parse(&config, count, words, &why);
}

static void defaults_are_a_small_machine(void **state)
{
	(void)state;
	assert_int_equal(parse("--kernel vmlinuz"), STATUS_OK);
	assert_string_equal(config.kernel, "vmlinuz");
	assert_string_equal(config.engine, "auto");
	assert_string_equal(config.cmdline, "");
	assert_int_equal(config.cpus, 1);
	assert_int_equal(config.memory, UINT64_C(1) << 30);
	assert_int_equal(config.debug_exit_port, -1);
	assert_int_equal(config.console, CONSOLE_STDIO);
	assert_false(config.no_reboot || config.overcommit || config.deterministic);
	config_free(&config);
}

static void random_numbers_have_a_rate(void **state)
{
	(void)state;
	assert_int_equal(parse("--kernel k"), STATUS_OK);
	assert_int_equal(config.rng.second, 1 << 20);
	assert_int_equal(config.rng.burst, 64 << 10);
	assert_int_equal(parse("--kernel k --rng bps=10K,bps-burst=1M"), STATUS_OK);
	assert_int_equal(config.rng.second, 10 << 10);
	assert_int_equal(config.rng.burst, 1 << 20);
	assert_int_equal(parse("--kernel k --rng bps=2M"), STATUS_OK);
	assert_int_equal(config.rng.burst, 0);
	assert_int_equal(parse("--kernel k --rng unlimited"), STATUS_OK);
	assert_int_equal(config.rng.second, 0);
	assert_int_equal(parse("--kernel k --rng bps=2"), STATUS_USAGE);
	assert_int_equal(parse("--kernel k --rng bps=2T"), STATUS_USAGE);
	assert_int_equal(parse("--kernel k --rng bps-burst=1M"), STATUS_USAGE);
	assert_int_equal(parse("--kernel k --rng bps=1M,"), STATUS_USAGE);
	assert_int_equal(parse("--kernel k --rng bps=1M,bps-burst=1M,x"), STATUS_USAGE);
	assert_non_null(strstr(why.text, "--rng"));
}

static void every_option_lands_in_its_field(void **state)
{
	(void)state;
	assert_int_equal(parse("--engine interp --kernel=k --initrd i --cmdline=a=b --cpus 64 --memory 2G --cpu max --debug-exit "
			       "0xf4 --no-reboot "
			       "--console file=out --overcommit --stats s --deterministic --jit-cache 32M --jit-dump d "
			       "--engine-switch-every 20 --rebuild-every 3600000 --check-dirty-every 7"),
			 STATUS_OK);
	assert_string_equal(config.engine, "interp");
	assert_string_equal(config.kernel, "k");
	assert_string_equal(config.initrd, "i");
	assert_string_equal(config.cmdline, "a=b");
	assert_int_equal(config.cpus, 64);
	assert_int_equal(config.memory, UINT64_C(2) << 30);
	assert_string_equal(config.cpu_model, "max");
	assert_int_equal(config.debug_exit_port, 0xf4);
	assert_true(config.no_reboot && config.overcommit && config.deterministic);
	assert_int_equal(config.console, CONSOLE_FILE);
	assert_string_equal(config.console_path, "out");
	assert_string_equal(config.stats_path, "s");
	assert_int_equal(config.jit_cache, 32 << 20);
	assert_string_equal(config.jit_dump_path, "d");
	assert_int_equal(config.engine_switch_ms, 20);
	assert_int_equal(config.rebuild_ms, 3600000);
	assert_int_equal(config.check_dirty_ms, 7);
	config_free(&config);
}

static void sizes_have_a_number_and_a_unit(void **state)
{
	static const char *const bad[] = {"",
					  "0",
					  "0M",
					  "512",
					  "M",
					  "-1M",
					  "+1M",
					  " 1M",
					  "1.5G",
					  "1MM",
					  "1MB",
					  "1Q",
					  "99999999999999999999G",
					  "18446744073709551615K"};
	uint64_t bytes;
	unsigned i;

	(void)state;
	assert_int_equal(size_parse(&bytes, "64k"), STATUS_OK);
	assert_int_equal(bytes, 65536);
	assert_int_equal(size_parse(&bytes, "512M"), STATUS_OK);
	assert_int_equal(bytes, 512 << 20);
	assert_int_equal(size_parse(&bytes, "1T"), STATUS_OK);
	assert_true(bytes == UINT64_C(1) << 40);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(size_parse(&bytes, bad[i]), STATUS_USAGE);
}

static void disks_have_properties_and_doubled_commas(void **state)
{
	(void)state;
	assert_int_equal(parse("--kernel k --disk a.img --disk dir,,with,,commas.img,readonly --disk=c.img,format=raw,readonly"),
			 STATUS_OK);
	assert_int_equal(config.disks, 3);
	assert_string_equal(config.disk[0].path, "a.img");
	assert_false(config.disk[0].readonly);
	assert_string_equal(config.disk[1].path, "dir,with,commas.img");
	assert_true(config.disk[1].readonly);
	assert_string_equal(config.disk[2].path, "c.img");
	assert_true(config.disk[2].readonly);
	assert_string_equal(config.disk[2].format, "raw");
	assert_int_equal(strlen(config.disk[0].serial), 18);
	assert_string_not_equal(config.disk[0].serial, config.disk[1].serial);
	config_free(&config);
}

/* However it is written, and wherever one is when one writes it. */
static void a_disk_keeps_its_serial_number(void **state)
{
	static const char *const words[] = {"--kernel k --disk /proc/self/a.img", "--kernel k --disk /proc/./self/../self/a.img",
					    "--kernel k --disk a.img"};
	char first[sizeof(config.disk[0].serial)], here[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(here, sizeof(here)));
	assert_int_equal(chdir("/proc/self"), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(parse(words[i]), STATUS_OK);
		if (!i)
			strcpy(first, config.disk[0].serial);
		assert_string_equal(config.disk[0].serial, first);
		config_free(&config);
	}
	assert_int_equal(chdir("/proc"), 0);
	assert_int_equal(parse(words[2]), STATUS_OK);
	assert_string_not_equal(config.disk[0].serial, first);
	config_free(&config);
	assert_int_equal(chdir(here), 0);
}

static void disks_have_limits_and_looks(void **state)
{
	const struct disk_config *disk = config.disk;

	(void)state;
	assert_int_equal(
		parse("--kernel k --disk a.img,serial=ABC-1,block-size=4096,iops=500,iops-burst=1000,bps=20M,bps-burst=1G"),
		STATUS_OK);
	assert_string_equal(disk->serial, "ABC-1");
	assert_int_equal(disk->block_size, 4096);
	assert_int_equal(disk->rate.second, 500);
	assert_int_equal(disk->rate.burst, 1000);
	assert_int_equal(disk->byte_rate.second, 20 << 20);
	assert_int_equal(disk->byte_rate.burst, 1 << 30);
	config_free(&config);
}

static void disks_are_files_servers_sockets_and_discs(void **state)
{
	const struct disk_config *disk = config.disk;

	(void)state;
	assert_int_equal(
		parse("--kernel k --disk a.img,bus=nvme,onerror=pause --disk nbd://host/name,readonly --disk vhost-user=/run/s "
		      "--cdrom d,i.iso --disk b,bus=sata --share /srv/a:b:work,readonly --share /x:y"),
		STATUS_OK);
	assert_int_equal(disk[0].bus, DISK_NVME);
	assert_true(disk[0].pause_on_error);
	assert_int_equal(disk[1].source, DISK_NBD);
	assert_string_equal(disk[1].path, "nbd://host/name");
	assert_int_equal(disk[2].source, DISK_VHOST_USER);
	assert_string_equal(disk[2].path, "/run/s");
	assert_true(disk[3].cdrom && disk[3].readonly && disk[3].bus == DISK_SATA);
	assert_string_equal(disk[3].path, "d,i.iso");
	assert_int_equal(disk[4].bus, DISK_SATA);
	assert_int_equal(config.shares, 2);
	assert_string_equal(config.share[0].path, "/srv/a:b");
	assert_string_equal(config.share[0].tag, "work");
	assert_true(config.share[0].readonly);
	assert_string_equal(config.share[1].tag, "y");
	assert_false(config.share[1].readonly);
	config_free(&config);
}

static void mistakes_are_one_line_that_names_them(void **state)
{
	static const struct {
		const char *line, *names, *step;
	} mistakes[] = {
		{"", "--kernel", "--kernel FILE"},
		{"--kernel k --bogus", "--bogus", "holon help run"},
		{"--kernel k --bogus=3", "--bogus", "holon help run"},
		{"--kernel k disk.img", "disk.img", "holon help run"},
		{"--kern k", "--kern", "holon help run"},
		{"--kernel k --kernel l", "--kernel", "once"},
		{"--kernel k --memory", "--memory", "holon help run"},
		{"--kernel=", "--kernel", "holon help run"},
		{"--kernel k --memory 0", "--memory 0", "512M"},
		{"--kernel k --memory 0M", "--memory 0M", "512M"},
		{"--kernel k --memory 15M", "15M", "16M to 512G"},
		{"--kernel k --memory 513G", "513G", "16M to 512G"},
		{"--kernel k --memory 20000K", "20000K", "multiple of 1M"},
		{"--kernel k --cpus 0", "--cpus 0", "1 to 64"},
		{"--kernel k --name a\x1b[1m", "--name", "control characters"},
		{"--kernel k --name 12345678901234567890123456789012345678901234567890123456789012345", "--name", "64 bytes"},
		{"--kernel k --net user,pps-burst=5", "pps-burst=5", "pps=N"},
		{"--kernel k --net none,mtu=1400", "none,mtu=1400", "--net none"},
		{"--kernel k --cpus 65", "--cpus 65", "1 to 64"},
		{"--kernel k --cpus two", "--cpus two", "1 to 64"},
		{"--kernel k --debug-exit 0x10000", "0x10000", "0xf4"},
		{"--kernel k --debug-exit -1", "-1", "0xf4"},
		{"--kernel k --console tty", "tty", "file=PATH"},
		{"--kernel k --console file=", "file=", "file=PATH"},
		{"--kernel k --no-reboot=yes", "--no-reboot", "without"},
		{"--kernel k --disk ,readonly", "names no file", "--disk PATH"},
		{"--kernel k --disk a.img,format=qcow9", "qcow9", "raw"},
		{"--kernel k --disk a.img,ro", "'ro'", "readonly"},
		{"--kernel k --disk a.img --disk a.img,readonly", "a.img", "once"},
		{"--kernel k --disk a.img,readonly=1", "readonly=1", "holon help run"},
		{"--kernel k --disk a.img,serial", "'serial'", "holon help run"},
		{"--kernel k --disk a.img,serial=123456789012345678901", "serial=", "1 to 20"},
		{"--kernel k --disk a.img,block-size=1024", "block-size=1024", "4096"},
		{"--kernel k --disk a.img,iops=fast", "iops=fast", "iops=1000"},
		{"--kernel k --disk a.img,iops=0", "iops=0", "iops=1000"},
		{"--kernel k --disk a.img,bus=ide", "bus=ide", "nvme"},
		{"--kernel k --disk a.img,onerror=stop", "onerror=stop", "report"},
		{"--kernel k --disk a.img,cache=some", "cache=some", "none"},
		{"--kernel k --disk nbd://host/name,cache=none", "server", "leave out"},
		{"--kernel k --disk vhost-user=s,readonly", "vhost-user=s", "process"},
		{"--kernel k --disk nbd://h/e,format=raw", "nbd://h/e", "format="},
		{"--kernel k --share /srv", "/srv", "DIR:TAG"},
		{"--kernel k --share /srv:", "/srv:", "DIR:TAG"},
		{"--kernel k --share /srv:t,ro", "'ro'", "readonly"},
		{"--kernel k --share /srv:t --share /usr:t", "twice", "own"},
		{"--kernel k --cdrom 1 --cdrom 2 --cdrom 3 --cdrom 4 --cdrom 5 --cdrom 6 --cdrom 7", "7", "SATA"},
		{"--kernel k --disk a.img,bps=10", "bps=10", "bps=20M"},
		{"--kernel k --disk a.img,bps-burst=1M", "burst", "bps=SIZE"},
		{"--kernel k --jit-cache 3G", "3G", "64M"},
		{"--kernel k --engine-switch-every 0", "--engine-switch-every 0", "from 1 to 3600000"},
		{"--kernel k --engine-switch-every 20ms", "20ms", "--engine-switch-every 100"},
		{"--kernel k --rebuild-every -1", "--rebuild-every -1", "from 1 to 3600000"},
		{"--kernel k --rebuild-every 99999999999999999999", "99999999999999999999", "--rebuild-every 100"},
	};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		assert_int_equal(parse(mistakes[i].line), STATUS_USAGE);
		assert_non_null(strstr(why.text, mistakes[i].names));
		assert_non_null(strstr(why.text, mistakes[i].step));
		assert_null(strchr(why.text, '\n'));
	}
}

static void too_many_disks_are_refused(void **state)
{
	char line[2048] = "--kernel k";
	unsigned i;

	(void)state;
	for (i = 0; i <= VM_DISKS_MAX; i++)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), " --disk %u.img", i);
	assert_int_equal(parse(line), STATUS_USAGE);
	assert_non_null(strstr(why.text, "16"));
}

static void memory_beyond_the_host_needs_overcommit(void **state)
{
	(void)state;
	assert_int_equal(parse("--kernel k --memory 8G"), STATUS_OK);
	assert_int_equal(config_memory_check(&config, UINT64_C(8) << 30, &why), STATUS_OK);
	assert_int_equal(config_memory_check(&config, UINT64_C(4) << 30, &why), STATUS_USAGE);
	assert_non_null(strstr(why.text, "--overcommit"));
	assert_non_null(strstr(why.text, "4096M"));
	assert_int_equal(parse("--kernel k --memory 8G --overcommit"), STATUS_OK);
	assert_int_equal(config_memory_check(&config, UINT64_C(4) << 30, &why), STATUS_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_a_small_machine),
		cmocka_unit_test(every_option_lands_in_its_field),
		cmocka_unit_test(random_numbers_have_a_rate),
		cmocka_unit_test(sizes_have_a_number_and_a_unit),
		cmocka_unit_test(disks_have_properties_and_doubled_commas),
		cmocka_unit_test(a_disk_keeps_its_serial_number),
		cmocka_unit_test(disks_have_limits_and_looks),
		cmocka_unit_test(disks_are_files_servers_sockets_and_discs),
		cmocka_unit_test(mistakes_are_one_line_that_names_them),
		cmocka_unit_test(too_many_disks_are_refused),
		cmocka_unit_test(memory_beyond_the_host_needs_overcommit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
