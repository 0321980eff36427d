/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_format.h - what a qcow2 image looks like on disk: names, bits and places, as in QEMU's docs/interop/qcow2.txt. All numbers are big-endian.
 */
#ifndef HOLON_BLOCK_QCOW2_FORMAT_H
#define HOLON_BLOCK_QCOW2_FORMAT_H

#include <stdint.h>
#include <string.h>

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */

/* Places in the header. */
#define QCOW2_HEADER_VERSION 4
#define QCOW2_HEADER_BACKING_OFFSET 8
#define QCOW2_HEADER_BACKING_LENGTH 16
#define QCOW2_HEADER_CLUSTER_BITS 20
#define QCOW2_HEADER_SIZE 24
#define QCOW2_HEADER_CRYPT_METHOD 32
#define QCOW2_HEADER_L1_SIZE 36
#define QCOW2_HEADER_L1_OFFSET 40
#define QCOW2_HEADER_REFCOUNT_TABLE_OFFSET 48
#define QCOW2_HEADER_REFCOUNT_TABLE_CLUSTERS 56
#define QCOW2_HEADER_SNAPSHOTS 60
#define QCOW2_HEADER_SNAPSHOTS_OFFSET 64
#define QCOW2_HEADER_V2_LENGTH 72
#define QCOW2_HEADER_INCOMPATIBLE 72
#define QCOW2_HEADER_COMPATIBLE 80
#define QCOW2_HEADER_AUTOCLEAR 88
#define QCOW2_HEADER_REFCOUNT_ORDER 96
#define QCOW2_HEADER_LENGTH 100
#define QCOW2_HEADER_V3_LENGTH 104
#define QCOW2_HEADER_COMPRESSION_TYPE 104
#define QCOW2_HEADER_OUR_LENGTH 112
#define QCOW2_HEADER_MAX 4096 /* header_length; extensions go on to the end of the first cluster */

#define QCOW2_INCOMPATIBLE_DIRTY (UINT64_C(1) << 0)
#define QCOW2_INCOMPATIBLE_CORRUPT (UINT64_C(1) << 1)
#define QCOW2_INCOMPATIBLE_DATA_FILE (UINT64_C(1) << 2)
#define QCOW2_INCOMPATIBLE_COMPRESSION (UINT64_C(1) << 3)
#define QCOW2_INCOMPATIBLE_EXTENDED_L2 (UINT64_C(1) << 4)
#define QCOW2_COMPATIBLE_LAZY_REFCOUNTS (UINT64_C(1) << 0)
#define QCOW2_AUTOCLEAR_BITMAPS (UINT64_C(1) << 0)

#define QCOW2_EXTENSION_END 0u
#define QCOW2_EXTENSION_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXTENSION_FEATURE_NAMES 0x6803f857u
#define QCOW2_EXTENSION_BITMAPS 0x23852875u
#define QCOW2_EXTENSION_ENCRYPTION 0x0537be77u
#define QCOW2_EXTENSION_DATA_FILE 0x44415441u
#define QCOW2_FEATURE_NAME_LENGTH 48 /* type, bit, 46 bytes of name */

/* Bounds, QEMU's own. */
#define QCOW2_CLUSTER_BITS_MIN 9
#define QCOW2_CLUSTER_BITS_MAX 21
#define QCOW2_CLUSTER_BITS_EXTENDED_MIN 14
#define QCOW2_L1_BYTES_MAX (32u << 20)
#define QCOW2_REFCOUNT_TABLE_BYTES_MAX (8u << 20)
#define QCOW2_SNAPSHOTS_MAX 65536
#define QCOW2_SNAPSHOT_TABLE_BYTES_MAX (16u << 20)
#define QCOW2_BACKING_NAME_MAX 1023
#define QCOW2_OFFSET_MAX (UINT64_C(1) << 56)

/* Table entries. */
#define QCOW2_ENTRY_OFFSET UINT64_C(0x00fffffffffffe00)
#define QCOW2_ENTRY_COPIED (UINT64_C(1) << 63) /* refcount is exactly one */
#define QCOW2_ENTRY_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_ENTRY_ZERO (UINT64_C(1) << 0)
#define QCOW2_ENTRY_RESERVED_L1 UINT64_C(0x7f000000000001ff)
#define QCOW2_ENTRY_RESERVED_L2 UINT64_C(0x3f000000000001fe)
#define QCOW2_REFCOUNT_TABLE_RESERVED UINT64_C(0x1ff)
#define QCOW2_SUBCLUSTERS 32 /* of a cluster, with extended L2 entries: 32 bits allocated, then 32 bits zero */

#define QCOW2_COMPRESSION_ZLIB 0
#define QCOW2_COMPRESSION_ZSTD 1
#define QCOW2_SECTOR 512

static inline uint16_t qcow2_get16(const void *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return __builtin_bswap16(value);
}

static inline uint32_t qcow2_get32(const void *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return __builtin_bswap32(value);
}

static inline uint64_t qcow2_get64(const void *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return __builtin_bswap64(value);
}

static inline void qcow2_put16(void *at, uint16_t value)
{
	value = __builtin_bswap16(value);
	memcpy(at, &value, sizeof(value));
}

static inline void qcow2_put32(void *at, uint32_t value)
{
	value = __builtin_bswap32(value);
	memcpy(at, &value, sizeof(value));
}

static inline void qcow2_put64(void *at, uint64_t value)
{
	value = __builtin_bswap64(value);
	memcpy(at, &value, sizeof(value));
}

#endif
