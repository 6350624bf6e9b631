#define _GNU_SOURCE
#include "tests/runtime/store_case.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const store_case_tensor store_case_tensors[STORE_CASE_TENSORS] = {
    {"blocks.0.mixer.wq", CANTO_F32, 2, {3, 5}}, {"optimizer/first-moment", CANTO_F64, 1, {7}},
    {"token_ids", CANTO_I32, 3, {2, 2, 3}},      {"position", CANTO_I64, 0, {0}},
    {"bytes", CANTO_U8, 4, {1, 11, 1, 2}},       {"nothing", CANTO_F32, 2, {0, 4}},
    {"optimizer", CANTO_I64, 1, {13}},
};

int64_t store_case_count(int tensor)
{
    canto_tensor view =
        canto_tensor_view(store_case_tensors[tensor].dtype, NULL, store_case_tensors[tensor].dims_n,
                          store_case_tensors[tensor].dims);
    return canto_tensor_count(&view);
}

size_t store_case_bytes(int tensor)
{
    return (size_t)store_case_count(tensor) * canto_dtype_bytes(store_case_tensors[tensor].dtype);
}

void store_case_fill(int tensor, int generation, char *data)
{
    uint32_t x = (uint32_t)(tensor * 1000003 + generation * 7919 + 12345);
    for (size_t i = 0; i < store_case_bytes(tensor); i++) {
        x = x * 1664525U + 1013904223U;
        data[i] = (char)(x >> 24);
    }
}

canto_status store_case_write(canto_store_writer *writer, int tensor, int generation, int64_t begin,
                              int64_t count)
{
    const store_case_tensor *t = &store_case_tensors[tensor];
    char data[STORE_CASE_BYTES_MAX];
    store_case_fill(tensor, generation, data);
    return canto_store_write(writer, t->name, t->dtype, t->dims_n, t->dims, begin, count,
                             data + (size_t)begin * canto_dtype_bytes(t->dtype));
}

static canto_status write_odd(canto_store_writer *writer, const canto_comm *comm, int tensor,
                              int generation)
{
    int64_t n = store_case_count(tensor);
    int turn = tensor; // so that not every tensor begins on rank 0
    for (int64_t at = 0, length = 1; at < n; length = length % 3 + 1, turn++) {
        int64_t count = n - at < length ? n - at : length;
        if (turn % comm->size == comm->rank) {
            CANTO_TRY(store_case_write(writer, tensor, generation, at, count));
        }
        at += count;
    }
    return store_case_write(writer, tensor, generation, 0, 0);
}

static canto_status write_tensor(canto_store_writer *writer, const canto_comm *comm, int tensor,
                                 int generation, store_case_cut cut)
{
    int64_t n = store_case_count(tensor);
    if (cut == STORE_CASE_ODD) return write_odd(writer, comm, tensor, generation);
    int64_t begin = n * comm->rank / comm->size;
    int64_t end = n * (comm->rank + 1) / comm->size;
    int only = cut == STORE_CASE_FIRST ? 0 : comm->size - 1;
    if (cut != STORE_CASE_EVEN) {
        begin = 0;
        end = comm->rank == only ? n : 0;
    }
    return store_case_write(writer, tensor, generation, begin, end - begin);
}

canto_status store_case_save(canto_comm *comm, const char *dir, int64_t step, store_case_cut cut,
                             int keep_last)
{
    canto_store_writer *writer;
    CANTO_TRY(canto_store_begin(comm, dir, step, &writer));
    // A failure is kept by the writer and told by the commit, which frees it.
    for (int i = 0; i < STORE_CASE_TENSORS; i++) {
        if (write_tensor(writer, comm, i, (int)step, cut) != CANTO_OK) break;
    }
    canto_store_write_text(writer, "config", "a: \"b\"\n\xc3\xa9");
    return canto_store_commit(&writer, keep_last);
}

static void expect_run(canto_store_reader *reader, int tensor, int generation, int64_t begin,
                       int64_t count)
{
    const store_case_tensor *t = &store_case_tensors[tensor];
    size_t width = canto_dtype_bytes(t->dtype);
    char expected[STORE_CASE_BYTES_MAX], data[STORE_CASE_BYTES_MAX + 1];
    store_case_fill(tensor, generation, expected);
    memset(data, 0x55, sizeof data);
    CANTO_TEST_OK(
        canto_store_read(reader, t->name, t->dtype, t->dims_n, t->dims, begin, count, data));
    assert_memory_equal(data, expected + (size_t)begin * width, (size_t)count * width);
    assert_int_equal(data[(size_t)count * width], 0x55); // nothing beyond
}

void store_case_expect(canto_store_reader *reader, int generation, int parts)
{
    for (int i = 0; i < STORE_CASE_TENSORS; i++) {
        int64_t n = store_case_count(i);
        expect_run(reader, i, generation, 0, n);
        for (int p = 0; p < parts; p++) {
            expect_run(reader, i, generation, n * p / parts, n * (p + 1) / parts - n * p / parts);
        }
    }
    assert_string_equal(canto_store_text(reader, "config"), "a: \"b\"\n\xc3\xa9");
}

int64_t store_case_load(canto_comm *comm, const char *dir, int64_t step)
{
    canto_store_reader *reader;
    CANTO_TEST_OK(canto_store_open(comm, dir, step, NULL, NULL, &reader));
    assert_non_null(reader);
    int64_t found = canto_store_step(reader);
    store_case_expect(reader, (int)found, 3);
    canto_store_close(&reader);
    assert_null(reader);
    return found;
}

void store_case_directory(char path[256])
{
    const char *parent = getenv("TMPDIR");
    // Thousands of small saves: in memory if that is possible.
    if (!parent) parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, 256, "%.200s/canto-store-XXXXXX", parent);
    assert_non_null(mkdtemp(path));
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

void store_case_remove(const char *path)
{
    assert_int_equal(nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

char *store_case_read_file(const char *path, size_t *bytes)
{
    struct stat info;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &info), 0);
    *bytes = (size_t)info.st_size;
    char *data = malloc(*bytes + 1);
    assert_int_equal(read(fd, data, *bytes), (ssize_t)*bytes);
    data[*bytes] = '\0';
    close(fd);
    return data;
}

void store_case_write_file(const char *path, const char *data, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), (ssize_t)bytes);
    assert_int_equal(close(fd), 0);
}
