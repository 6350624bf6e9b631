// A small checkpoint for the tests of the store: tensors of every dtype whose bytes are a function
// of tensor, generation and place, written in several ways and compared bit by bit.
#ifndef CANTO_TESTS_RUNTIME_STORE_CASE_H
#define CANTO_TESTS_RUNTIME_STORE_CASE_H

#include "tests/canto_test.h"

#include "runtime/store.h"

typedef struct store_case_tensor {
    const char *name;
    canto_dtype dtype;
    int dims_n;
    int64_t dims[CANTO_DIMS_MAX];
} store_case_tensor;

enum { STORE_CASE_TENSORS = 7, STORE_CASE_BYTES_MAX = 256 };
extern const store_case_tensor store_case_tensors[STORE_CASE_TENSORS];

typedef enum store_case_cut {
    STORE_CASE_EVEN,  // rank r of W writes elements [n r / W, n (r+1) / W)
    STORE_CASE_ODD,   // runs of 1, 2, 3, 1, 2, 3, ... elements, dealt to the ranks in turn
    STORE_CASE_FIRST, // rank 0 writes everything
    STORE_CASE_LAST,  // the last rank writes everything
} store_case_cut;
enum { STORE_CASE_CUTS = 4 };

int64_t store_case_count(int tensor);
size_t store_case_bytes(int tensor);
void store_case_fill(int tensor, int generation, char *data);

// Elements [begin, begin + count) of a tensor into the checkpoint.
canto_status store_case_write(canto_store_writer *writer, int tensor, int generation, int64_t begin,
                              int64_t count);
// begin, write, commit of everything, generation = step.
canto_status store_case_save(canto_comm *comm, const char *dir, int64_t step, store_case_cut cut,
                             int keep_last);
// Fails the test unless every tensor, read whole and in `parts` runs, is of this generation.
void store_case_expect(canto_store_reader *reader, int generation, int parts);
// Opens (step < 0: the newest) and expects generation = step; returns the step.
int64_t store_case_load(canto_comm *comm, const char *dir, int64_t step);

// A new directory under TMPDIR, /dev/shm or /tmp; removed with all that is in it.
void store_case_directory(char path[256]);
void store_case_remove(const char *path);
// A file of a checkpoint: into memory (caller frees), and back.
char *store_case_read_file(const char *path, size_t *bytes);
void store_case_write_file(const char *path, const char *data, size_t bytes);

#endif
