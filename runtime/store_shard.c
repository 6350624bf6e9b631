// Shards as HDF5 images: written with the core driver without a backing file and taken out as
// bytes; read back from verified bytes and trusted with nothing that the manifest does not confirm.
#include "runtime/store_shard.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGE_GROWTH = 1 << 20, DATASET_NAME_MAX = 256 };

struct canto_image {
    hid_t file;       // owned
    const char *name; // borrowed; stands in messages
};

// --- errors ---

static herr_t first_error(unsigned depth, const H5E_error2_t *error, void *text)
{
    if (depth == 0) snprintf(text, 160, "%s in %s", error->desc, error->func_name);
    return 0;
}

// The deepest entry of HDF5's error stack tells the cause.
static canto_status hdf5_failed(canto_status code, const char *what, const char *name)
{
    char reason[160] = "no reason given";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_error, reason);
    H5Eclear2(H5E_DEFAULT);
    CANTO_FAIL(code, "HDF5 cannot %s %s: %s", what, name, reason);
}

static canto_status refused(const canto_image *image, const char *object, const char *why)
{
    H5Eclear2(H5E_DEFAULT);
    CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s is refused: %s %s", image->name, object, why);
}

// --- properties ---

static hid_t stored_type(canto_dtype dtype)
{
    switch (dtype) {
    case CANTO_F32:
        return H5T_IEEE_F32LE;
    case CANTO_F64:
        return H5T_IEEE_F64LE;
    case CANTO_I32:
        return H5T_STD_I32LE;
    case CANTO_I64:
        return H5T_STD_I64LE;
    case CANTO_U8:
        return H5T_STD_U8LE;
    case CANTO_BF16: // no tensor of a checkpoint has it
        break;
    }
    return H5I_INVALID_HID;
}

// Memory only, no locks, readable by HDF5 1.8 and later. `data` NULL: an image to be written.
// The low bound stays at the earliest format: HDF5 1.10.8 clears the mark "open for writing" in the
// image of a newer one without renewing the superblock's checksum, so that nothing can open it.
static hid_t access_properties(void *data, size_t bytes)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL); // failures are told in our own sentences
    H5PLset_loading_state(0);
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    if (list < 0) return list;
    bool set = H5Pset_fapl_core(list, IMAGE_GROWTH, 0) >= 0 &&
               H5Pset_libver_bounds(list, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18) >= 0 &&
               H5Pset_file_locking(list, 0, 1) >= 0 &&
               (!data || H5Pset_file_image(list, data, bytes) >= 0);
    if (set) return list;
    H5Pclose(list);
    return H5I_INVALID_HID;
}

// HDF5 takes two files of one name for the same file, and looks on disk whether there is one: a
// name of its own for every image, which no file can have.
static void image_path(const canto_image *image, char path[64])
{
    snprintf(path, 64, "/dev/null/canto-image-%p", (const void *)image);
}

static canto_image *image_alloc(const char *name)
{
    canto_image *image = calloc(1, sizeof *image);
    if (image) {
        image->name = name;
        image->file = H5I_INVALID_HID;
    }
    return image;
}

static bool dataset_name(const canto_image_piece *piece, char name[DATASET_NAME_MAX])
{
    int n = snprintf(name, DATASET_NAME_MAX, "%s@%lld", piece->name, (long long)piece->begin);
    for (char *c = name; *c; c++) {
        if (*c == '/') *c = ':';
    }
    return n > 0 && n < DATASET_NAME_MAX;
}

// --- writing ---

static herr_t write_attribute(hid_t object, const char *name, int64_t value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t result = attribute < 0 ? -1 : H5Awrite(attribute, H5T_NATIVE_INT64, &value);
    if (attribute >= 0 && H5Aclose(attribute) < 0) result = -1;
    if (space >= 0) H5Sclose(space);
    return result;
}

canto_status canto_image_create(int64_t step, canto_image **out)
{
    canto_image *image = image_alloc("a new shard");
    if (!image) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for a shard");
    char path[64];
    image_path(image, path);
    hid_t access = access_properties(NULL, 0);
    if (access >= 0) image->file = H5Fcreate(path, H5F_ACC_EXCL, H5P_DEFAULT, access);
    canto_status status = CANTO_OK;
    if (image->file < 0 || write_attribute(image->file, "step", step) < 0)
        status = hdf5_failed(CANTO_ERROR_MEMORY, "begin", image->name);
    if (access >= 0) H5Pclose(access);
    if (status != CANTO_OK) canto_image_close(&image);
    *out = image;
    return status;
}

static hid_t create_dataset(const canto_image *image, const char *name, canto_dtype dtype,
                            int64_t count)
{
    const hsize_t dims[1] = {(hsize_t)count};
    hid_t space = H5Screate_simple(1, dims, NULL);
    hid_t how = H5Pcreate(H5P_DATASET_CREATE);
    hid_t dataset = H5I_INVALID_HID;
    // Without times in the objects, equal tensors make equal files.
    if (space >= 0 && how >= 0 && H5Pset_layout(how, H5D_CONTIGUOUS) >= 0 &&
        H5Pset_alloc_time(how, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(how, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_obj_track_times(how, 0) >= 0) {
        dataset =
            H5Dcreate2(image->file, name, stored_type(dtype), space, H5P_DEFAULT, how, H5P_DEFAULT);
    }
    if (how >= 0) H5Pclose(how);
    if (space >= 0) H5Sclose(space);
    return dataset;
}

canto_status canto_image_add(canto_image *image, const canto_image_piece *piece, const void *data,
                             int64_t *offset)
{
    char name[DATASET_NAME_MAX];
    CANTO_CHECK(dataset_name(piece, name), "the name %s is too long", piece->name);
    if (H5Lexists(image->file, name, H5P_DEFAULT) > 0) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "tensor %s: element %lld is written twice", piece->name,
                   (long long)piece->begin);
    }
    hid_t dataset = create_dataset(image, name, piece->dtype, piece->count);
    if (dataset < 0) return hdf5_failed(CANTO_ERROR_MEMORY, "make room for tensor", piece->name);
    hid_t type = stored_type(piece->dtype); // bytes are stored as they are: all machines we run on
                                            // are little-endian
    herr_t result = H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    if (result >= 0) result = write_attribute(dataset, "begin", piece->begin);
    haddr_t place = H5Dget_offset(dataset);
    *offset = (int64_t)place;
    if (H5Dclose(dataset) < 0 || result < 0 || place == HADDR_UNDEF)
        return hdf5_failed(CANTO_ERROR_MEMORY, "keep tensor", piece->name);
    return CANTO_OK;
}

canto_status canto_image_bytes(canto_image *image, void **data, size_t *bytes)
{
    *data = NULL;
    if (H5Fflush(image->file, H5F_SCOPE_LOCAL) < 0)
        return hdf5_failed(CANTO_ERROR_MEMORY, "finish", image->name);
    ssize_t size = H5Fget_file_image(image->file, NULL, 0);
    if (size <= 0) return hdf5_failed(CANTO_ERROR_MEMORY, "measure", image->name);
    void *copy = malloc((size_t)size);
    if (!copy) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for a shard of %zd bytes", size);
    if (H5Fget_file_image(image->file, copy, (size_t)size) != size) {
        free(copy);
        return hdf5_failed(CANTO_ERROR_MEMORY, "copy", image->name);
    }
    *data = copy;
    *bytes = (size_t)size;
    return CANTO_OK;
}

void canto_image_close(canto_image **image)
{
    if (!*image) return;
    if ((*image)->file >= 0) H5Fclose((*image)->file);
    free(*image);
    *image = NULL;
}

// --- reading ---

canto_status canto_image_open(const char *file, void *data, size_t bytes, canto_image **out)
{
    canto_image *image = image_alloc(file);
    if (!image) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory to look into %s", file);
    char path[64];
    image_path(image, path);
    hid_t access = access_properties(data, bytes);
    if (access >= 0) image->file = H5Fopen(path, H5F_ACC_RDONLY, access);
    canto_status status =
        image->file < 0 ? hdf5_failed(CANTO_ERROR_CHECKPOINT, "open", file) : CANTO_OK;
    if (access >= 0) H5Pclose(access);
    if (status != CANTO_OK) canto_image_close(&image);
    *out = image;
    return status;
}

// The object has this one attribute, a scalar of the exact type, with this value.
static bool has_only_attribute(hid_t object, const char *name, int64_t expected)
{
    H5O_info_t info;
    if (H5Oget_info2(object, &info, H5O_INFO_NUM_ATTRS) < 0 || info.num_attrs != 1) return false;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return false;
    hid_t type = H5Aget_type(attribute);
    hid_t space = H5Aget_space(attribute);
    int64_t value = ~expected;
    bool same = type >= 0 && H5Tequal(type, H5T_STD_I64LE) > 0 && space >= 0 &&
                H5Sget_simple_extent_type(space) == H5S_SCALAR &&
                H5Aread(attribute, H5T_NATIVE_INT64, &value) >= 0 && value == expected;
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    H5Aclose(attribute);
    return same;
}

canto_status canto_image_check(canto_image *image, int64_t step, int64_t pieces)
{
    H5G_info_t info;
    if (H5Gget_info(image->file, &info) < 0)
        return hdf5_failed(CANTO_ERROR_CHECKPOINT, "list", image->name);
    if ((int64_t)info.nlinks != pieces)
        return refused(image, "its list of datasets", "is not the manifest's");
    hid_t root = H5Gopen2(image->file, "/", H5P_DEFAULT);
    bool marked = root >= 0 && has_only_attribute(root, "step", step);
    if (root >= 0) H5Gclose(root);
    return marked ? CANTO_OK : refused(image, "its step", "is not the manifest's");
}

static const char *wrong_storage(hid_t dataset, int64_t offset)
{
    hid_t how = H5Dget_create_plist(dataset);
    const char *wrong = NULL;
    if (how < 0 || H5Pget_layout(how) != H5D_CONTIGUOUS)
        wrong = "is not stored contiguously";
    else if (H5Pget_external_count(how) != 0)
        wrong = "is stored in another file";
    else if (H5Pget_nfilters(how) != 0)
        wrong = "is filtered";
    else if (H5Dget_offset(dataset) != (haddr_t)offset)
        wrong = "is not at the place the manifest tells";
    if (how >= 0) H5Pclose(how);
    return wrong;
}

static bool has_shape(hid_t dataset, const canto_image_piece *piece)
{
    hid_t type = H5Dget_type(dataset);
    hid_t space = H5Dget_space(dataset);
    hsize_t dims[1] = {0};
    bool same = type >= 0 && H5Tequal(type, stored_type(piece->dtype)) > 0 &&
                H5Tcommitted(type) == 0 && space >= 0 && H5Sget_simple_extent_ndims(space) == 1 &&
                H5Sget_simple_extent_dims(space, dims, NULL) == 1 &&
                dims[0] == (hsize_t)piece->count;
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return same;
}

canto_status canto_image_check_piece(canto_image *image, const canto_image_piece *piece,
                                     int64_t offset)
{
    char name[DATASET_NAME_MAX];
    H5L_info_t link;
    if (!dataset_name(piece, name) || H5Lget_info(image->file, name, &link, H5P_DEFAULT) < 0)
        return refused(image, piece->name, "is missing");
    if (link.type != H5L_TYPE_HARD) return refused(image, name, "is a link");
    hid_t dataset = H5Dopen2(image->file, name, H5P_DEFAULT);
    if (dataset < 0) return refused(image, name, "is not a dataset");
    const char *wrong = wrong_storage(dataset, offset);
    if (!wrong && !has_shape(dataset, piece))
        wrong = "has another type or length than the manifest";
    if (!wrong && !has_only_attribute(dataset, "begin", piece->begin))
        wrong = "does not begin where the manifest says";
    H5Dclose(dataset);
    return wrong ? refused(image, name, wrong) : CANTO_OK;
}

canto_status canto_image_read(canto_image *image, const canto_image_piece *piece, void *data)
{
    char name[DATASET_NAME_MAX];
    hid_t dataset =
        dataset_name(piece, name) ? H5Dopen2(image->file, name, H5P_DEFAULT) : H5I_INVALID_HID;
    if (dataset < 0 ||
        H5Dread(dataset, stored_type(piece->dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        if (dataset >= 0) H5Dclose(dataset);
        return hdf5_failed(CANTO_ERROR_CHECKPOINT, "read a dataset of", image->name);
    }
    H5Dclose(dataset);
    return CANTO_OK;
}
