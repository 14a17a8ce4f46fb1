/*
 * file.h - small files that are replaced whole.
 */
#ifndef POSTHASTE_BASE_FILE_H
#define POSTHASTE_BASE_FILE_H

#include <stddef.h>

#include "base/attr.h"

/* The file at `path` has these bytes (mode 0600) and is on the disk: written beside it as PATH.new, synced, renamed,
 * the directory synced. Nobody sees half of it, over a power cut either. 0 or -errno; what was there stays then, unless
 * it was the directory that could not be synced. Blocks on the disk. Two threads do not replace the same file. */
int file_replace(const char *path, const void *bytes, size_t len) ATTR_MUSTCHECK;

#endif
