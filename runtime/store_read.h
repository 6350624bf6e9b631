// One committed step as it lies on disk. Internal to the store; local.
#ifndef CANTO_RUNTIME_STORE_READ_H
#define CANTO_RUNTIME_STORE_READ_H

#include "runtime/store_dir.h"
#include "runtime/store_manifest.h"

// DIR/step-N
canto_status canto_step_path(const char *dir, int64_t step, canto_path *out);
// Text of the manifest; the caller frees it. A step that is not there is CANTO_ERROR_CHECKPOINT.
canto_status canto_step_read_manifest(const canto_path *path, char **text, size_t *bytes);
// Decodes it and checks that it is this step's and that its pieces cover every tensor.
canto_status canto_step_decode_manifest(const canto_path *path, int64_t step, const char *text,
                                        size_t bytes, canto_manifest *out);
// One shard: size and checksum of the file, then, inside HDF5, every dataset and attribute against
// the manifest; with `data` also the bytes of every dataset, read through HDF5, against their
// checksum.
canto_status canto_step_check_shard(const canto_path *path, const canto_manifest *manifest,
                                    int64_t shard, bool data);

#endif
