/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_inflate.c - compressed clusters: raw deflate with a 4 KiB window, or zstd. A few of those last read stay decompressed, so that a
 * guest that reads one piece by piece does not make us decompress it each time.
 */
#define ZLIB_CONST
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include <holon/host.h>

#include "qcow2_image.h"

#define DEFLATE_WINDOW (-12) /* QEMU's: raw, 4 KiB */
#define DEFLATE_MEMORY 9

static bool zlib_inflate(const uint8_t *packed, size_t bytes, uint8_t *cluster, size_t size)
{
	z_stream stream = {.next_in = packed, .avail_in = (uInt)bytes, .next_out = cluster, .avail_out = (uInt)size};
	int result;

	if (inflateInit2(&stream, DEFLATE_WINDOW) != Z_OK)
		return false;
	result = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	/* What follows in the last sector is not ours; a stream that fills the cluster is enough. */
	return (result == Z_STREAM_END || result == Z_BUF_ERROR) && !stream.avail_out;
}

static bool zstd_inflate(const uint8_t *packed, size_t bytes, uint8_t *cluster, size_t size)
{
	ZSTD_DStream *stream = ZSTD_createDStream();
	ZSTD_inBuffer in = {packed, bytes, 0};
	ZSTD_outBuffer out = {cluster, size, 0};
	bool good = stream != NULL;

	while (good && out.pos < size) {
		size_t before = in.pos + out.pos;

		good = !ZSTD_isError(ZSTD_decompressStream(stream, &out, &in)) && in.pos + out.pos != before;
	}
	ZSTD_freeDStream(stream);
	return good;
}

static bool inflated_find(struct qcow2 *q, uint64_t host, uint64_t within, uint64_t length, struct image_cursor *to)
{
	bool found = false;

	pthread_mutex_lock(&q->inflated_lock);
	for (unsigned i = 0; !found && i < QCOW2_INFLATED; i++) {
		if (q->inflated[i].bytes && q->inflated[i].host == host) {
			image_cursor_fill(to, q->inflated[i].bytes + within, length);
			found = true;
		}
	}
	pthread_mutex_unlock(&q->inflated_lock);
	return found;
}

/* Unless clusters have been freed since `generation`. Takes `bytes` over. */
static void inflated_keep(struct qcow2 *q, uint64_t host, uint8_t *bytes, unsigned generation)
{
	pthread_mutex_lock(&q->inflated_lock);
	if (generation == q->inflated_generation) {
		struct qcow2_inflated *place = &q->inflated[q->inflated_next++ % QCOW2_INFLATED];
		uint8_t *old = place->bytes;

		*place = (struct qcow2_inflated){host, bytes};
		bytes = old;
	}
	pthread_mutex_unlock(&q->inflated_lock);
	free(bytes);
}

void qcow2_inflated_forget(struct qcow2 *q)
{
	pthread_mutex_lock(&q->inflated_lock);
	q->inflated_generation++;
	for (unsigned i = 0; i < QCOW2_INFLATED; i++) {
		free(q->inflated[i].bytes);
		q->inflated[i].bytes = NULL;
	}
	pthread_mutex_unlock(&q->inflated_lock);
}

enum status qcow2_inflate(struct qcow2 *q, const struct qcow2_extent *extent, uint64_t within, uint64_t length,
			  struct image_cursor *to)
{
	uint8_t *packed, *cluster;
	unsigned generation;
	enum status status;
	bool good;

	if (inflated_find(q, extent->host, within, length, to))
		return STATUS_OK;
	pthread_mutex_lock(&q->inflated_lock);
	generation = q->inflated_generation;
	pthread_mutex_unlock(&q->inflated_lock);
	packed = malloc(extent->packed_bytes);
	cluster = malloc(q->cluster_size);
	status = packed && cluster ? image_file_read(&q->file, extent->host, packed, extent->packed_bytes) : STATUS_NO_MEMORY;
	if (!status) {
		good = q->compression == QCOW2_COMPRESSION_ZSTD
			       ? zstd_inflate(packed, extent->packed_bytes, cluster, q->cluster_size)
			       : zlib_inflate(packed, extent->packed_bytes, cluster, q->cluster_size);
		if (!good) {
			host_log(HOST_LOG_WARN, "disk %s: the compressed cluster at %llx cannot be decompressed", q->file.path,
				 (unsigned long long)extent->host);
			status = STATUS_IO;
		}
	}
	free(packed);
	if (status) {
		free(cluster);
		return status;
	}
	image_cursor_fill(to, cluster + within, length);
	inflated_keep(q, extent->host, cluster, generation);
	return STATUS_OK;
}

static size_t zlib_deflate(const uint8_t *cluster, size_t size, uint8_t *packed, size_t room)
{
	z_stream stream = {.next_in = cluster, .avail_in = (uInt)size, .next_out = packed, .avail_out = (uInt)room};
	int result;

	if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, DEFLATE_WINDOW, DEFLATE_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	result = deflate(&stream, Z_FINISH);
	deflateEnd(&stream);
	return result == Z_STREAM_END ? room - stream.avail_out : 0;
}

enum status qcow2_deflate(struct qcow2 *q, const uint8_t *cluster, uint8_t *packed, size_t *bytes)
{
	size_t size = q->cluster_size, used;

	if (q->compression == QCOW2_COMPRESSION_ZSTD) {
		used = ZSTD_compress(packed, *bytes, cluster, size, ZSTD_CLEVEL_DEFAULT);
		used = ZSTD_isError(used) ? 0 : used;
	} else {
		used = zlib_deflate(cluster, size, packed, *bytes);
	}
	*bytes = used;
	return used && used < size ? STATUS_OK : STATUS_RANGE;
}
