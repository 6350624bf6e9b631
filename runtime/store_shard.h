// One rank's shard: an HDF5 file made and read in memory only. Internal to the store; local.
//
//     /NAME@BEGIN     one contiguous, unfiltered, one-dimensional little-endian dataset per piece,
//     '/'
//                     in NAME written as ':', with one attribute "begin"
//     /               one attribute "step"
//
// HDF5 is used by one thread of a process at a time: the library that Debian ships is not safe for
// more. Its file locks and plugins are off, and it never opens a file itself.
#ifndef CANTO_RUNTIME_STORE_SHARD_H
#define CANTO_RUNTIME_STORE_SHARD_H

#include "runtime/status.h"
#include "runtime/tensor.h"

#include <stddef.h>

typedef struct canto_image canto_image;

typedef struct canto_image_piece {
    const char *name; // borrowed: the tensor's
    canto_dtype dtype;
    int64_t begin, count;
} canto_image_piece;

canto_status canto_image_create(int64_t step, canto_image **out);
// Copies the piece into the image; *offset is the place of its first byte in the file to be.
canto_status canto_image_add(canto_image *image, const canto_image_piece *piece, const void *data,
                             int64_t *offset);
// The bytes of the file; the caller frees them.
canto_status canto_image_bytes(canto_image *image, void **data, size_t *bytes);
void canto_image_close(canto_image **image);

// Opens the bytes of a file whose checksum has been verified; they are copied. `file` stands in
// messages and is borrowed. A damaged or foreign file is CANTO_ERROR_CHECKPOINT, here and below.
canto_status canto_image_open(const char *file, void *data, size_t bytes, canto_image **out);
// There are exactly `pieces` objects in the root group and the one attribute, with this step.
canto_status canto_image_check(canto_image *image, int64_t step, int64_t pieces);
// The piece's dataset is of the form above, and its data begin at `offset`.
canto_status canto_image_check_piece(canto_image *image, const canto_image_piece *piece,
                                     int64_t offset);
// Reads a piece through HDF5.
canto_status canto_image_read(canto_image *image, const canto_image_piece *piece, void *data);

#endif
