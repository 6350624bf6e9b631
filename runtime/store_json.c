// A manifest as JSON.
//
//     {"xxh128": "<32 digits>",
//     "body": { ... }}
//
// The envelope has this exact form, and the checksum is that of the body's bytes: no byte of the
// file can change, not even white space, without being noticed before the JSON parser runs.
#include "runtime/store_manifest.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char envelope_begin[] = "{\"xxh128\": \"";
static const char envelope_middle[] = "\",\n\"body\": ";
static const char envelope_end[] = "}\n";

enum {
    BODY_AT = sizeof envelope_begin - 1 + CANTO_HASH_HEX - 1 + sizeof envelope_middle - 1,
    ENVELOPE_BYTES = BODY_AT + sizeof envelope_end - 1,
};

// --- writing ---

static canto_status encode_failed(void)
{
    CANTO_FAIL(CANTO_ERROR_MEMORY, "cannot describe the checkpoint as JSON: no memory");
}

static json_t *tensors_to_json(const canto_manifest *manifest)
{
    json_t *all = json_object();
    for (int64_t i = 0; i < manifest->tensors_n; i++) {
        const canto_manifest_tensor *tensor = &manifest->tensors[i];
        json_t *shape = json_array();
        for (int d = 0; d < tensor->dims_n; d++) {
            json_array_append_new(shape, json_integer(tensor->dims[d]));
        }
        json_t *entry =
            json_pack("{s:s, s:o}", "dtype", canto_dtype_name(tensor->dtype), "shape", shape);
        if (json_object_set_new(all, tensor->name, entry) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static json_t *piece_to_json(const canto_manifest *manifest, const canto_manifest_piece *piece)
{
    char hex[CANTO_HASH_HEX];
    canto_hash_hex(&piece->hash, hex);
    return json_pack("{s:s, s:I, s:I, s:I, s:s}", "tensor", manifest->tensors[piece->tensor].name,
                     "begin", (json_int_t)piece->begin, "count", (json_int_t)piece->count, "offset",
                     (json_int_t)piece->offset, "xxh128", hex);
}

static json_t *shards_to_json(const canto_manifest *manifest)
{
    json_t *all = json_array();
    for (int64_t i = 0; i < manifest->shards_n; i++) {
        const canto_manifest_shard *shard = &manifest->shards[i];
        char hex[CANTO_HASH_HEX];
        canto_hash_hex(&shard->hash, hex);
        json_array_append_new(all, json_pack("{s:s, s:I, s:s, s:[]}", "file", shard->file, "bytes",
                                             (json_int_t)shard->bytes, "xxh128", hex, "pieces"));
    }
    for (int64_t i = 0; i < manifest->pieces_n; i++) {
        const canto_manifest_piece *piece = &manifest->pieces[i];
        json_t *shard = json_array_get(all, (size_t)piece->shard);
        if (json_array_append_new(json_object_get(shard, "pieces"),
                                  piece_to_json(manifest, piece)) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static canto_status texts_to_json(const canto_manifest *manifest, json_t **out)
{
    json_t *all = json_object();
    for (int64_t i = 0; i < manifest->texts_n; i++) {
        const canto_manifest_text *text = &manifest->texts[i];
        if (json_object_set_new(all, text->name, json_string(text->text)) != 0) {
            json_decref(all);
            CANTO_FAIL(CANTO_ERROR_ARGUMENT, "the text %s is not valid UTF-8", text->name);
        }
    }
    *out = all;
    return CANTO_OK;
}

static canto_status enclose(const char *body, char **text, size_t *bytes)
{
    size_t body_bytes = strlen(body);
    if (body_bytes > CANTO_STORE_MANIFEST_MAX - ENVELOPE_BYTES) {
        CANTO_FAIL(CANTO_ERROR_UNSUPPORTED, "the manifest would be larger than %d bytes",
                   CANTO_STORE_MANIFEST_MAX);
    }
    char hex[CANTO_HASH_HEX];
    canto_hash hash = canto_hash_of(body, body_bytes);
    canto_hash_hex(&hash, hex);
    char *all = malloc(body_bytes + ENVELOPE_BYTES + 1);
    if (!all) return encode_failed();
    *bytes = (size_t)snprintf(all, body_bytes + ENVELOPE_BYTES + 1, "%s%s%s%s%s", envelope_begin,
                              hex, envelope_middle, body, envelope_end);
    *text = all;
    return CANTO_OK;
}

canto_status canto_manifest_encode(const canto_manifest *manifest, char **text, size_t *bytes)
{
    json_t *texts = NULL;
    CANTO_TRY(texts_to_json(manifest, &texts));
    json_t *body = json_pack("{s:s, s:i, s:I, s:s, s:o, s:o, s:o}", "format", "canto-checkpoint",
                             "version", CANTO_STORE_VERSION, "step", (json_int_t)manifest->step,
                             "time", manifest->time, "texts", texts, "tensors",
                             tensors_to_json(manifest), "shards", shards_to_json(manifest));
    char *printed = body ? json_dumps(body, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    json_decref(body);
    if (!printed) return encode_failed();
    canto_status status = enclose(printed, text, bytes);
    free(printed);
    return status;
}

// --- reading ---

// Everything below stands inside a body whose checksum is right, so a failure means that another
// program wrote it: one sentence for all of them, with what was wrong.
static canto_status foreign(const char *name, const char *what)
{
    CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s is not a manifest of this program: %.200s", name, what);
}

static canto_status open_envelope(const char *name, const char *text, size_t bytes,
                                  const char **body, size_t *body_bytes)
{
    size_t begin = sizeof envelope_begin - 1;
    size_t middle = sizeof envelope_middle - 1;
    size_t end = sizeof envelope_end - 1;
    char hex[CANTO_HASH_HEX];
    canto_hash stored;
    bool framed = bytes >= ENVELOPE_BYTES && memcmp(text, envelope_begin, begin) == 0 &&
                  memcmp(text + BODY_AT - middle, envelope_middle, middle) == 0 &&
                  memcmp(text + bytes - end, envelope_end, end) == 0;
    if (framed) {
        memcpy(hex, text + begin, CANTO_HASH_HEX - 1);
        hex[CANTO_HASH_HEX - 1] = '\0';
        framed = canto_hash_parse(hex, &stored);
    }
    if (!framed) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s is damaged or truncated: its frame is not there",
                   name);
    }
    *body = text + BODY_AT;
    *body_bytes = bytes - ENVELOPE_BYTES;
    canto_hash actual = canto_hash_of(*body, *body_bytes);
    if (!canto_hash_equal(&stored, &actual)) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s is damaged: its checksum does not match", name);
    }
    return CANTO_OK;
}

static bool dtype_parse(const char *name, canto_dtype *out)
{
    for (int i = CANTO_F32; i <= CANTO_U8; i++) {
        *out = (canto_dtype)i;
        if (strcmp(canto_dtype_name(*out), name) == 0) return true;
    }
    return false;
}

static canto_status tensor_from_json(const char *name, const char *key, json_t *entry,
                                     canto_manifest *out)
{
    const char *dtype_name;
    json_t *shape;
    json_error_t error;
    canto_dtype dtype;
    if (json_unpack_ex(entry, &error, JSON_STRICT, "{s:s, s:o}", "dtype", &dtype_name, "shape",
                       &shape) != 0)
        return foreign(name, error.text);
    if (!dtype_parse(dtype_name, &dtype)) return foreign(name, "a dtype is not known");
    size_t dims_n = json_array_size(shape);
    if (!json_is_array(shape) || dims_n > CANTO_DIMS_MAX) return foreign(name, "a shape is wrong");
    int64_t dims[CANTO_DIMS_MAX];
    for (size_t i = 0; i < dims_n; i++) {
        json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim)) return foreign(name, "a shape is wrong");
        dims[i] = json_integer_value(dim);
    }
    return canto_manifest_add_tensor(out, key, dtype, (int)dims_n, dims);
}

static canto_status tensors_from_json(const char *name, json_t *tensors, canto_manifest *out)
{
    if (!json_is_object(tensors)) return foreign(name, "'tensors' is not an object");
    const char *key;
    json_t *entry;
    json_object_foreach(tensors, key, entry)
    {
        CANTO_TRY(tensor_from_json(name, key, entry, out));
    }
    return canto_manifest_sort(out);
}

static canto_status piece_from_json(const char *name, json_t *entry, canto_manifest *out)
{
    const char *tensor_name, *hex;
    json_int_t begin, count, offset;
    json_error_t error;
    if (json_unpack_ex(entry, &error, JSON_STRICT, "{s:s, s:I, s:I, s:I, s:s}", "tensor",
                       &tensor_name, "begin", &begin, "count", &count, "offset", &offset, "xxh128",
                       &hex) != 0)
        return foreign(name, error.text);
    const canto_manifest_tensor *tensor = canto_manifest_find(out, tensor_name);
    if (!tensor) return foreign(name, "a piece names a tensor that is not there");
    canto_manifest_piece piece = {.tensor = tensor - out->tensors,
                                  .shard = out->shards_n - 1,
                                  .begin = begin,
                                  .count = count,
                                  .offset = offset};
    if (!canto_hash_parse(hex, &piece.hash)) return foreign(name, "a checksum is wrong");
    int64_t file_bytes = out->shards[piece.shard].bytes;
    // The tensor's bytes are countable, so the piece's are once add_piece has checked its range.
    int64_t index = out->pieces_n;
    CANTO_TRY(canto_manifest_add_piece(out, &piece));
    int64_t bytes = out->pieces[index].count * (int64_t)canto_dtype_bytes(tensor->dtype);
    if (offset < 0 || offset > file_bytes || bytes > file_bytes - offset)
        return foreign(name, "a piece lies outside its file");
    return CANTO_OK;
}

static canto_status shard_from_json(const char *name, json_t *entry, canto_manifest *out)
{
    const char *file, *hex;
    json_int_t bytes;
    json_t *pieces;
    json_error_t error;
    canto_hash hash;
    if (json_unpack_ex(entry, &error, JSON_STRICT, "{s:s, s:I, s:s, s:o}", "file", &file, "bytes",
                       &bytes, "xxh128", &hex, "pieces", &pieces) != 0)
        return foreign(name, error.text);
    if (!canto_manifest_file_ok(file)) return foreign(name, "a shard's file name is not allowed");
    if (!canto_hash_parse(hex, &hash)) return foreign(name, "a checksum is wrong");
    if (bytes < 0) return foreign(name, "a shard's size is negative");
    if (!json_is_array(pieces)) return foreign(name, "'pieces' is not a list");
    CANTO_TRY(canto_manifest_add_shard(out, file, bytes, &hash));
    size_t index;
    json_t *piece;
    json_array_foreach(pieces, index, piece)
    {
        CANTO_TRY(piece_from_json(name, piece, out));
    }
    return CANTO_OK;
}

static canto_status shards_from_json(const char *name, json_t *shards, canto_manifest *out)
{
    if (!json_is_array(shards)) return foreign(name, "'shards' is not a list");
    size_t index;
    json_t *entry;
    json_array_foreach(shards, index, entry)
    {
        CANTO_TRY(shard_from_json(name, entry, out));
    }
    return CANTO_OK;
}

static canto_status texts_from_json(const char *name, json_t *texts, canto_manifest *out)
{
    if (!json_is_object(texts)) return foreign(name, "'texts' is not an object");
    const char *key;
    json_t *text;
    json_object_foreach(texts, key, text)
    {
        if (!json_is_string(text)) return foreign(name, "a text is not a string");
        CANTO_TRY(canto_manifest_add_text(out, key, json_string_value(text)));
    }
    return CANTO_OK;
}

static canto_status check_version(const char *name, json_t *body)
{
    const char *format = json_string_value(json_object_get(body, "format"));
    if (!format || strcmp(format, "canto-checkpoint") != 0)
        return foreign(name, "its format is not 'canto-checkpoint'");
    json_int_t version = json_integer_value(json_object_get(body, "version"));
    if (version != CANTO_STORE_VERSION) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT,
                   "%s has format version %lld and this program reads version %d: use the program "
                   "that wrote it, or a newer one",
                   name, (long long)version, CANTO_STORE_VERSION);
    }
    return CANTO_OK;
}

static canto_status body_from_json(const char *name, json_t *body, canto_manifest *out)
{
    CANTO_TRY(check_version(name, body));
    json_int_t step;
    const char *format, *time;
    json_t *texts, *tensors, *shards;
    int version;
    json_error_t error;
    if (json_unpack_ex(body, &error, JSON_STRICT, "{s:s, s:i, s:I, s:s, s:o, s:o, s:o}", "format",
                       &format, "version", &version, "step", &step, "time", &time, "texts", &texts,
                       "tensors", &tensors, "shards", &shards) != 0)
        return foreign(name, error.text);
    if (strlen(time) >= sizeof out->time) return foreign(name, "its time is too long");
    out->step = step;
    strcpy(out->time, time);
    CANTO_TRY(texts_from_json(name, texts, out));
    CANTO_TRY(tensors_from_json(name, tensors, out));
    CANTO_TRY(shards_from_json(name, shards, out));
    return canto_manifest_sort(out);
}

// What would be a caller's mistake while writing is the file's fault here.
static canto_status blame_file(const char *name)
{
    char reason[CANTO_MESSAGE_MAX];
    snprintf(reason, sizeof reason, "%s", canto_error_message());
    canto_error_clear();
    return foreign(name, reason);
}

canto_status canto_manifest_decode(const char *name, const char *text, size_t bytes,
                                   canto_manifest *out)
{
    *out = (canto_manifest){0};
    const char *body_text = NULL;
    size_t body_bytes = 0;
    CANTO_TRY(open_envelope(name, text, bytes, &body_text, &body_bytes));
    json_error_t error;
    json_t *body = json_loadb(body_text, body_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!body) return foreign(name, error.text);
    canto_status status = body_from_json(name, body, out);
    json_decref(body);
    if (status == CANTO_ERROR_ARGUMENT) status = blame_file(name);
    if (status != CANTO_OK) canto_manifest_destroy(out);
    return status;
}
