/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_net.c - parses --net KIND[=NAME][,PROPERTY]... (one row a kind, one row a property) and -p. Called from config.c.
 */
#include "control/config_net.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <holon/net.h>

#include "control/config.h"
#include "control/hash.h"
#include "control/size.h"

#define PORT_MAX 65535u
#define SWITCH_NAME_MAX 32u

static bool number_parse(unsigned long long *number, const char *text, unsigned long long low, unsigned long long high)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*number = strtoull(text, &end, 10);
	return !*end && *number >= low && *number <= high;
}

/* Without brackets IPv4, with them IPv6. */
static bool address_parse(struct net_address *address, char *text)
{
	size_t length = strlen(text);

	memset(address, 0, sizeof(*address));
	if (*text != '[')
		return inet_pton(AF_INET, text, address->byte) == 1;
	if (text[length - 1] != ']')
		return false;
	text[length - 1] = 0;
	address->ip6 = true;
	return inet_pton(AF_INET6, text + 1, address->byte) == 1;
}

/* Properties */

static enum status property_mac(struct net_config *net, char *value, struct reason *why)
{
	char rest;

	if (sscanf(value, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &net->mac[0], &net->mac[1], &net->mac[2], &net->mac[3],
		   &net->mac[4], &net->mac[5], &rest) != 6 ||
	    strlen(value) != 17)
		return reason_give(why, STATUS_USAGE, "--net: mac=%s: no MAC address; write mac=02:00:00:00:00:01", value);
	if (!memcmp(net->mac, (const uint8_t[6]){0}, 6))
		return reason_give(why, STATUS_USAGE, "--net: mac=%s: that is no card's address; leave it out, or write another",
				   value);
	if (net->mac[0] & 1)
		return reason_give(why, STATUS_USAGE, "--net: mac=%s: that is a group's address; make its first number even",
				   value);
	net->mac_given = true;
	return STATUS_OK;
}

static enum status property_mtu(struct net_config *net, char *value, struct reason *why)
{
	unsigned long long mtu;

	if (!number_parse(&mtu, value, NET_MTU_MIN, NET_MTU_MAX))
		return reason_give(why, STATUS_USAGE, "--net: mtu=%s: not a number from %u to %u; write mtu=1500", value,
				   NET_MTU_MIN, NET_MTU_MAX);
	net->mtu = (uint16_t)mtu;
	return STATUS_OK;
}

static enum status property_queues(struct net_config *net, char *value, struct reason *why)
{
	unsigned long long queues;

	if (!number_parse(&queues, value, 1, NET_PAIRS_MAX))
		return reason_give(why, STATUS_USAGE, "--net: queues=%s: not a number from 1 to %u; write queues=2", value,
				   NET_PAIRS_MAX);
	net->queues = (unsigned)queues;
	return STATUS_OK;
}

static enum status size_property(uint64_t *bytes, const char *name, const char *value, struct reason *why)
{
	if (size_parse(bytes, value))
		return reason_give(why, STATUS_USAGE, "--net: %s=%s: not a size; write a number and a unit: %s=10M", name, value,
				   name);
	return STATUS_OK;
}

static enum status count_property(uint64_t *count, const char *name, const char *value, struct reason *why)
{
	unsigned long long number;

	if (!number_parse(&number, value, 1, UINT32_MAX))
		return reason_give(why, STATUS_USAGE, "--net: %s=%s: not a number from 1 to %u; write %s=10000", name, value,
				   UINT32_MAX, name);
	*count = number;
	return STATUS_OK;
}

static enum status property_bps(struct net_config *net, char *value, struct reason *why)
{
	return size_property(&net->bytes.second, "bps", value, why);
}

static enum status property_bps_burst(struct net_config *net, char *value, struct reason *why)
{
	return size_property(&net->bytes.burst, "bps-burst", value, why);
}

static enum status property_pps(struct net_config *net, char *value, struct reason *why)
{
	return count_property(&net->frames.second, "pps", value, why);
}

static enum status property_pps_burst(struct net_config *net, char *value, struct reason *why)
{
	return count_property(&net->frames.burst, "pps-burst", value, why);
}

static enum status property_host(struct net_config *net, char *value, struct reason *why)
{
	(void)value, (void)why;
	net->no_host = false;
	return STATUS_OK;
}

static enum status property_nohost(struct net_config *net, char *value, struct reason *why)
{
	(void)value, (void)why;
	net->no_host = true;
	return STATUS_OK;
}

static enum status property_restrict(struct net_config *net, char *value, struct reason *why)
{
	(void)value, (void)why;
	net->restricted = true;
	return STATUS_OK;
}

static struct net_allow *allow_add(struct net_config *net)
{
	net->restricted = true;
	return net->allows < NET_ALLOW_MAX ? &net->allow[net->allows++] : NULL;
}

/* The name servers of the user network. */
static bool allow_dns(struct net_config *net)
{
	struct net_allow *four = allow_add(net), *six = allow_add(net);

	if (!four || !six)
		return false;
	*four = (struct net_allow){.address = {false, {10, 0, 2, 3}}, .bits = 32, .first = 53, .last = 53};
	*six = (struct net_allow){.address = {true, {0xfe, 0xc0, [15] = 3}}, .bits = 128, .first = 53, .last = 53};
	return true;
}

/* [/tcp|/udp] at the end, and cut off. */
static uint8_t protocol_cut(char *text)
{
	char *slash = strrchr(text, '/');
	uint8_t protocol = 0;

	if (slash && !strcmp(slash, "/tcp"))
		protocol = IPPROTO_TCP;
	else if (slash && !strcmp(slash, "/udp"))
		protocol = IPPROTO_UDP;
	if (protocol)
		*slash = 0;
	return protocol;
}

/* `*`, `PORT` or `PORT-PORT`. */
static bool ports_parse(struct net_allow *allow, char *text)
{
	unsigned long long first, last;
	char *dash = strchr(text, '-');

	if (!strcmp(text, "*")) {
		allow->last = PORT_MAX;
		allow->everything = !allow->protocol;
		return true;
	}
	if (dash)
		*dash = 0;
	if (!number_parse(&first, text, 1, PORT_MAX) || !number_parse(&last, dash ? dash + 1 : text, first, PORT_MAX))
		return false;
	allow->first = (uint16_t)first;
	allow->last = (uint16_t)last;
	return true;
}

/* ADDRESS[/BITS][:PORTS][/tcp|/udp]; IPv6 addresses with their bits in brackets. */
static bool allow_rule_parse(struct net_allow *allow, char *text)
{
	char all[] = "*", *ports, *bits, *close = strchr(text, ']');
	unsigned long long number;

	*allow = (struct net_allow){.protocol = protocol_cut(text)};
	ports = strrchr(close ? close : text, ':');
	if (ports)
		*ports++ = 0;
	bits = strchr(text, '/');
	if (bits && close && bits < close) {
		memmove(close, "", 1);
		*bits++ = 0;
		if (*text++ != '[' || inet_pton(AF_INET6, text, allow->address.byte) != 1)
			return false;
		allow->address.ip6 = true;
	} else {
		if (bits)
			*bits++ = 0;
		if (!address_parse(&allow->address, text))
			return false;
	}
	number = allow->address.ip6 ? 128 : 32;
	if (bits && !number_parse(&number, bits, 0, number))
		return false;
	allow->bits = (uint8_t)number;
	return ports_parse(allow, ports ? ports : all);
}

/* Who lists the router means the host's loopback behind it. */
static bool allow_is_router(const struct net_allow *allow)
{
	static const struct net_address router[] = {{false, {10, 0, 2, 2}}, {true, {0xfe, 0xc0, [15] = 2}}};
	const uint8_t *is = router[allow->address.ip6].byte;
	unsigned bytes = allow->bits / 8, rest = allow->bits % 8;

	/* Wider rules do not cover it (net_filter.c). */
	return allow->bits >= (allow->address.ip6 ? 64 : 24) && !memcmp(allow->address.byte, is, bytes) &&
	       (!rest || !((allow->address.byte[bytes] ^ is[bytes]) >> (8 - rest)));
}

static enum status property_allow(struct net_config *net, char *value, struct reason *why)
{
	struct net_allow *allow;
	char said[80];

	snprintf(said, sizeof(said), "%s", value);
	if (net->allows + 2 > NET_ALLOW_MAX)
		return reason_give(why, STATUS_USAGE, "--net: allow=%s: there are %u already, which is all; join some", said,
				   net->allows);
	if (!strcmp(value, "dns") && allow_dns(net))
		return STATUS_OK;
	allow = allow_add(net);
	if (allow && allow_rule_parse(allow, value)) {
		if (allow_is_router(allow))
			net->no_host = false;
		return STATUS_OK;
	}
	return reason_give(why, STATUS_USAGE,
			   "--net: allow=%s: no target; write allow=192.0.2.0/24:443, allow=[2001:db8::/32]:80-90/tcp or allow=dns",
			   said);
}

#define KIND(kind) (1u << (kind))
#define EVERY_KIND (KIND(NET_USER) | KIND(NET_TAP) | KIND(NET_BRIDGE) | KIND(NET_SWITCH))

static const struct {
	const char *name;
	bool takes_value;
	unsigned kinds;
	enum status (*parse)(struct net_config *net, char *value, struct reason *why);
} properties[] = {
	{"mac", true, EVERY_KIND, property_mac},
	{"mtu", true, EVERY_KIND, property_mtu},
	{"bps", true, EVERY_KIND, property_bps},
	{"bps-burst", true, EVERY_KIND, property_bps_burst},
	{"pps", true, EVERY_KIND, property_pps},
	{"pps-burst", true, EVERY_KIND, property_pps_burst},
	{"queues", true, KIND(NET_TAP) | KIND(NET_BRIDGE), property_queues},
	{"host", false, KIND(NET_USER), property_host},
	{"nohost", false, KIND(NET_USER), property_nohost},
	{"restrict", false, KIND(NET_USER), property_restrict},
	{"allow", true, KIND(NET_USER), property_allow},
};

static const struct {
	const char *name;
	enum net_kind kind;
	unsigned name_max; /* 0: it has none */
} kinds[] = {
	{"user", NET_USER, 0},
	{"tap", NET_TAP, IFNAMSIZ - 1},
	{"bridge", NET_BRIDGE, IFNAMSIZ - 1},
	{"switch", NET_SWITCH, SWITCH_NAME_MAX},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static enum status property_parse(struct net_config *net, char *word, struct reason *why)
{
	char *value = strchr(word, '=');
	unsigned i;

	if (value)
		*value++ = 0;
	for (i = 0; i < sizeof(properties) / sizeof(properties[0]); i++) {
		if (strcmp(properties[i].name, word) != 0 || !(properties[i].kinds & KIND(net->kind)))
			continue;
		if (!value == properties[i].takes_value)
			return reason_give(why, STATUS_USAGE, "--net: property %s: it takes %s; `holon help run` shows which", word,
					   value ? "no value" : "a value");
		return properties[i].parse(net, value, why);
	}
	return reason_give(why, STATUS_USAGE, "--net: property '%s' is unknown, or not for --net %s; `holon help run` lists them",
			   word, kinds[net->kind].name);
}

/* Names become interfaces or file names. */
static bool name_plausible(const char *name, unsigned longest)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");

	return length && length <= longest && !name[length] && name[0] != '.' && name[0] != '-';
}

static enum status kind_parse(struct net_config *net, char *word, struct reason *why)
{
	char *name = strchr(word, '=');
	unsigned i;

	if (name)
		*name++ = 0;
	for (i = 0; i < KINDS && strcmp(kinds[i].name, word) != 0; i++)
		;
	if (i == KINDS)
		return reason_give(why, STATUS_USAGE,
				   "--net %s: unknown kind; there are user, none, tap=NAME, bridge=NAME and switch=NAME", word);
	net->kind = kinds[i].kind;
	net->name = name;
	net->no_host = true; /* unless it is asked for */
	if (!kinds[i].name_max)
		return name ? reason_give(why, STATUS_USAGE, "--net %s=%s: it has no name; write --net %s", word, name, word)
			    : STATUS_OK;
	if (!name || !name_plausible(name, kinds[i].name_max))
		return reason_give(why, STATUS_USAGE,
				   "--net %s=%s: not a name of 1 to %u letters, digits, '_', '.' or '-'; write --net %s=NAME", word,
				   name ? name : "", kinds[i].name_max, word);
	return STATUS_OK;
}

/* An item that continues a list of allowed targets: allow=A,B. */
static bool continues_allow(const char *word)
{
	return (*word >= '0' && *word <= '9') || *word == '[';
}

enum status config_net_parse(struct vm_config *config, const char *value, struct reason *why)
{
	struct net_config *net = &config->net[config->nets];
	char *text, *rest, *word;
	enum status status;
	bool allows = false;

	if (config->no_net || (!strcmp(value, "none") && config->nets))
		return reason_give(why, STATUS_USAGE, "--net none: there is another --net; leave one of them out");
	if (!strcmp(value, "none")) {
		config->no_net = true;
		return STATUS_OK;
	}
	if (!strncmp(value, "none,", 5))
		return reason_give(why, STATUS_USAGE,
				   "--net %s: where there is no network, nothing can be said of it; write --net none", value);
	if (config->nets == VM_NETS_MAX)
		return reason_give(why, STATUS_USAGE, "--net %s: a VM has at most %u networks; leave one out", value, VM_NETS_MAX);
	rest = text = strdup(value);
	if (!text)
		return reason_give(why, STATUS_NO_MEMORY, "--net %s: out of memory; free some", value);
	*net = (struct net_config){.queues = 1, .text = text};
	config->nets++; /* config_nets_free frees the text from here on */
	status = kind_parse(net, strsep(&rest, ","), why);
	while (!status && (word = strsep(&rest, ",")) != NULL) {
		allows = !strncmp(word, "allow=", 6) || (allows && continues_allow(word));
		status = allows && continues_allow(word) ? property_allow(net, word, why) : property_parse(net, word, why);
	}
	if (!status && ((net->bytes.burst && !net->bytes.second) || (net->frames.burst && !net->frames.second)))
		return reason_give(why, STATUS_USAGE, "--net %s: a burst without a rate; add bps=SIZE or pps=N", value);
	return status;
}

enum status config_publish_parse(struct vm_config *config, const char *value, struct reason *why)
{
	struct net_publish *publish = &config->publish[config->publishes];
	unsigned long long host, guest;
	char text[96], *colon, *ports;
	uint8_t protocol;

	if (config->publishes == NET_PUBLISH_MAX)
		return reason_give(why, STATUS_USAGE, "-p %s: there are %u already, which is all", value, NET_PUBLISH_MAX);
	snprintf(text, sizeof(text), "%s", value);
	*publish = (struct net_publish){.udp = false};
	protocol = protocol_cut(text);
	publish->udp = protocol == IPPROTO_UDP;
	colon = strrchr(text, ':');
	if (!colon || !number_parse(&guest, colon + 1, 1, PORT_MAX))
		goto wrong;
	*colon = 0;
	colon = strrchr(text, ':');
	ports = colon ? colon + 1 : text;
	if (!number_parse(&host, ports, 1, PORT_MAX))
		goto wrong;
	if (colon)
		*colon = 0;
	if (!address_parse(&publish->address, colon ? text : "127.0.0.1"))
		goto wrong;
	publish->host = (uint16_t)host;
	publish->guest = (uint16_t)guest;
	config->publishes++;
	return STATUS_OK;
wrong:
	return reason_give(why, STATUS_USAGE, "-p %s: not [ADDRESS:]HOST:GUEST[/udp]; write -p 8080:80, or -p 0.0.0.0:5353:53/udp",
			   value);
}

/* With its end, so that "a" "b" is not "ab". */
static uint64_t text_hash(uint64_t hash, const char *text)
{
	return hash_add(hash, text, strlen(text) + 1);
}

/* The same VM has the same address at every start: made of its name and its disks, locally administered (IEEE 802c). */
static void mac_derive(struct vm_config *config, unsigned index)
{
	uint64_t hash = text_hash(HASH_BEGIN, config->name);
	uint8_t *mac = config->net[index].mac;
	unsigned i;

	for (i = 0; i < config->disks; i++)
		hash = text_hash(hash, config->disk[i].serial);
	hash = hash_add(hash, &(uint8_t){(uint8_t)index}, 1);
	hash ^= hash >> 29;
	mac[0] = 0x02;
	for (i = 1; i < NET_MAC_LENGTH; i++)
		mac[i] = (uint8_t)(hash >> (8 * i));
}

static enum status ports_publish(struct vm_config *config, struct reason *why)
{
	unsigned i;

	if (!config->publishes)
		return STATUS_OK;
	for (i = 0; i < config->nets; i++) {
		if (config->net[i].kind == NET_USER) {
			memcpy(config->net[i].publish, config->publish, sizeof(config->publish));
			config->net[i].publishes = config->publishes;
			return STATUS_OK;
		}
	}
	return reason_give(why, STATUS_USAGE, "-p: this VM has no user network, whose ports are published; add --net user");
}

enum status config_nets_finish(struct vm_config *config, struct reason *why)
{
	enum status status = STATUS_OK;
	unsigned i, j;

	/* What comes from outside comes at no fixed instruction. */
	if (!config->nets && !config->no_net && !config->deterministic)
		status = config_net_parse(config, "user", why);
	if (!status)
		status = ports_publish(config, why);
	for (i = 0; !status && i < config->nets; i++) {
		if (!config->net[i].mac_given)
			mac_derive(config, i);
		for (j = 0; j < i; j++)
			if (!memcmp(config->net[i].mac, config->net[j].mac, NET_MAC_LENGTH))
				status =
					reason_give(why, STATUS_USAGE, "--net: two networks have the same mac=; give each its own");
	}
	return status;
}

void config_nets_free(struct vm_config *config)
{
	while (config->nets)
		free(config->net[--config->nets].text);
}
