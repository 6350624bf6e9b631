// Shards whose bytes are whole but whose HDF5 content is not what a writer makes: every liberty
// that the format offers is refused. The files are made here with HDF5 itself, in memory.
#include "tests/canto_test.h"

#include "runtime/store_shard.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 6, STEP = 4 };

static const canto_image_piece piece = {
    .name = "a/t", .dtype = CANTO_F32, .begin = 10, .count = COUNT};
#define DATASET "a:t@10"

// What differs from a writer's shard.
typedef struct {
    const char *what;
    const char *words; // in the refusal
    void (*change)(hid_t file, hid_t *type, hid_t *space, hid_t how);
    void (*after)(hid_t file);
} variant;

// --- changes before the dataset is made ---

static void chunked(hid_t file, hid_t *type, hid_t *space, hid_t how)
{
    (void)file, (void)type, (void)space;
    H5Pset_chunk(how, 1, (const hsize_t[]){2});
}

static void compressed(hid_t file, hid_t *type, hid_t *space, hid_t how)
{
    chunked(file, type, space, how);
    H5Pset_shuffle(how);
}

static void compact(hid_t file, hid_t *type, hid_t *space, hid_t how)
{
    (void)file, (void)type, (void)space;
    H5Pset_layout(how, H5D_COMPACT);
}

static void external(hid_t file, hid_t *type, hid_t *space, hid_t how)
{
    (void)file, (void)type, (void)space;
    H5Pset_external(how, "/dev/zero", 0, H5F_UNLIMITED);
}

static void virtual(hid_t file, hid_t *type, hid_t *space, hid_t how)
{
    (void)file, (void)type;
    H5Pset_virtual(how, *space, "other.h5", "t", *space);
}

static void big_endian(hid_t file, hid_t *type, hid_t *space, hid_t how)
{
    (void)file, (void)space, (void)how;
    *type = H5T_IEEE_F32BE;
}

static void integers(hid_t file, hid_t *type, hid_t *space, hid_t how)
{
    (void)file, (void)space, (void)how;
    *type = H5T_STD_I32LE;
}

static void named_type(hid_t file, hid_t *type, hid_t *space, hid_t how)
{
    (void)space, (void)how;
    *type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tcommit_anon(file, *type, H5P_DEFAULT, H5P_DEFAULT);
}

static void longer(hid_t file, hid_t *type, hid_t *space, hid_t how)
{
    (void)file, (void)type, (void)how;
    H5Sset_extent_simple(*space, 1, (const hsize_t[]){COUNT + 1}, NULL);
}

static void two_dimensions(hid_t file, hid_t *type, hid_t *space, hid_t how)
{
    (void)file, (void)type, (void)how;
    H5Sset_extent_simple(*space, 2, (const hsize_t[]){2, 3}, NULL);
}

// --- changes afterwards ---

static void put_attribute(hid_t file, const char *object, const char *name, hid_t type,
                          int64_t value)
{
    hid_t at = H5Oopen(file, object, H5P_DEFAULT);
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, H5T_NATIVE_INT64, &value);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Oclose(at);
}

static void more_attributes(hid_t file)
{
    put_attribute(file, DATASET, "more", H5T_STD_I64LE, 1);
}

static void more_root_attributes(hid_t file)
{
    put_attribute(file, "/", "more", H5T_STD_I64LE, 1);
}

static void no_attribute(hid_t file)
{
    H5Adelete_by_name(file, DATASET, "begin", H5P_DEFAULT);
}

static void other_begin(hid_t file)
{
    no_attribute(file);
    put_attribute(file, DATASET, "begin", H5T_STD_I64LE, 11);
}

static void other_begin_type(hid_t file)
{
    no_attribute(file);
    put_attribute(file, DATASET, "begin", H5T_STD_I32LE, 10);
}

static void other_step(hid_t file)
{
    H5Adelete(file, "step");
    put_attribute(file, "/", "step", H5T_STD_I64LE, STEP + 1);
}

static void more_objects(hid_t file)
{
    H5Gclose(H5Gcreate2(file, "more", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void group_instead(hid_t file)
{
    H5Ldelete(file, DATASET, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, DATASET, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void other_name(hid_t file)
{
    H5Lmove(file, DATASET, file, "a:t@11", H5P_DEFAULT, H5P_DEFAULT);
}

static void soft_link(hid_t file)
{
    H5Ldelete(file, DATASET, H5P_DEFAULT);
    H5Lcreate_soft("/other", file, DATASET, H5P_DEFAULT, H5P_DEFAULT);
}

static void external_link(hid_t file)
{
    H5Ldelete(file, DATASET, H5P_DEFAULT);
    H5Lcreate_external("other.h5", "/t", file, DATASET, H5P_DEFAULT, H5P_DEFAULT);
}

static const variant variants[] = {
    {"chunks", "is not stored contiguously", chunked, NULL},
    {"a filter", "is not stored contiguously", compressed, NULL},
    {"compact data", "is not stored contiguously", compact, NULL},
    {"another file's data", "is stored in another file", external, NULL},
    {"virtual data", "is not stored contiguously", virtual, NULL},
    {"big-endian numbers", "has another type or length", big_endian, NULL},
    {"integers", "has another type or length", integers, NULL},
    {"a named type", "has another type or length", named_type, NULL},
    {"more elements", "has another type or length", longer, NULL},
    {"two dimensions", "has another type or length", two_dimensions, NULL},
    {"two attributes", "does not begin where", NULL, more_attributes},
    {"no attribute", "does not begin where", NULL, no_attribute},
    {"another begin", "does not begin where", NULL, other_begin},
    {"a short begin", "does not begin where", NULL, other_begin_type},
    {"attributes of the root", "its step is not", NULL, more_root_attributes},
    {"another step", "its step is not", NULL, other_step},
    {"a group more", "its list of datasets is not", NULL, more_objects},
    {"a group", "is not a dataset", NULL, group_instead},
    {"another name", "is missing", NULL, other_name},
    {"a soft link", "is a link", NULL, soft_link},
    {"an external link", "is a link", NULL, external_link},
};

// The bytes of a file with one dataset; caller frees. *offset of its data.
static void *make_file(const variant *v, size_t *bytes, int64_t *offset)
{
    const float data[2 * COUNT] = {1, 2, 3, 4, 5, 6};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(access, 4096, 0);
    hid_t file = H5Fcreate("/dev/null/test", H5F_ACC_EXCL, H5P_DEFAULT, access);
    put_attribute(file, "/", "step", H5T_STD_I64LE, STEP);
    hid_t how = H5Pcreate(H5P_DATASET_CREATE);
    hid_t type = H5T_IEEE_F32LE;
    hid_t space = H5Screate_simple(1, (const hsize_t[]){COUNT}, NULL);
    if (v && v->change) v->change(file, &type, &space, how);
    hid_t set = H5Dcreate2(file, DATASET, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    if (set < 0) fail_msg("HDF5 cannot make a file with %s", v ? v->what : "plain data");
    H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    *offset = (int64_t)H5Dget_offset(set);
    H5Dclose(set);
    if (H5Tcommitted(type) > 0) H5Tclose(type);
    put_attribute(file, DATASET, "begin", H5T_STD_I64LE, piece.begin);
    if (v && v->after) v->after(file);
    H5Fflush(file, H5F_SCOPE_LOCAL);
    *bytes = (size_t)H5Fget_file_image(file, NULL, 0);
    void *image = malloc(*bytes);
    H5Fget_file_image(file, image, *bytes);
    H5Fclose(file);
    H5Sclose(space);
    H5Pclose(how);
    H5Pclose(access);
    return image;
}

static canto_status check(void *bytes, size_t n, int64_t offset)
{
    canto_image *image;
    CANTO_TRY(canto_image_open("the file", bytes, n, &image));
    canto_status status = canto_image_check(image, STEP, 1);
    if (status == CANTO_OK) status = canto_image_check_piece(image, &piece, offset);
    canto_image_close(&image);
    return status;
}

static void test_plain_file_is_taken(void **state)
{
    (void)state;
    size_t bytes;
    int64_t offset;
    void *file = make_file(NULL, &bytes, &offset);
    CANTO_TEST_OK(check(file, bytes, offset));
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "is not at the place", check(file, bytes, offset + 4));
    free(file);
}

static void test_liberties_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        size_t bytes;
        int64_t offset;
        void *file = make_file(&variants[i], &bytes, &offset);
        canto_status status = check(file, bytes, offset);
        const char *message = canto_error_message();
        if (status != CANTO_ERROR_CHECKPOINT || !strstr(message, variants[i].words) ||
            !strstr(message, "the file")) {
            fail_msg("%s: '%s' (%s)", variants[i].what, canto_status_name(status), message);
        }
        canto_error_clear();
        free(file);
    }
}

static void test_no_hdf5_at_all(void **state)
{
    (void)state;
    char text[600] = "not HDF5";
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT,
                     "HDF5 cannot open the file: ", check(text, sizeof text, 0));
}

int main(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_file_is_taken),
        cmocka_unit_test(test_liberties_are_refused),
        cmocka_unit_test(test_no_hdf5_at_all),
    };
    return cmocka_run_group_tests_name("runtime.store_hdf5", tests, NULL, NULL);
}
