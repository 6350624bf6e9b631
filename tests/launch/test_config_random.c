// Random configurations are written and read back to the same bits; damaged files end in a
// sentence.
#define _POSIX_C_SOURCE 200809L
#include "runtime/rng.h"
#include "tests/canto_test.h"
#include "tests/launch/configs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- text that reads back ---

typedef struct draw {
    uint64_t seed, index;
} draw;

static int64_t below(draw *from, int64_t n)
{
    return canto_rng_below(from->seed, CANTO_RNG_TEST, from->index++, n);
}

static double uniform(draw *from)
{
    return canto_rng_uniform(from->seed, CANTO_RNG_TEST, from->index++);
}

static void random_text(draw *from, size_t size, char *out)
{
    static const char *const pieces[] = {
        "a",        "B", " ",  "\n", "\t",           "\"",           "\\",
        "'",        "#", ": ", "- ", "\x01",         "\x7F",         "\xC2\x85",
        "\xC3\xA9", "%", "{",  "]",  "\xE2\x80\xA8", "\xEF\xBB\xBF", "\xF0\x9F\x98\x80",
        "null"};
    out[0] = 'x';
    out[1] = '\0';
    for (int64_t n = below(from, 12); n > 0; n--) {
        const char *piece = pieces[below(from, sizeof pieces / sizeof *pieces)];
        if (strlen(out) + strlen(piece) < size) strcat(out, piece);
    }
}

static double random_float(draw *from, const canto_key *key)
{
    double x = key->min + (key->max - key->min) * uniform(from);
    if (below(from, 2)) x = key->min + (x - key->min) * 1e-7 * uniform(from);
    return x < key->min ? key->min : x > key->max ? key->max : x;
}

// A value in the range of its key; what keys demand of each other is put right afterwards.
static void random_value(draw *from, const canto_key *key, canto_config *config)
{
    char *field = (char *)config + key->offset;
    double high = key->max < 1e15 ? key->max : 1e15;
    int64_t whole = (int64_t)key->min + below(from, (int64_t)(high - key->min) + 1);
    int choices = 0;
    switch (key->type) {
    case CANTO_KEY_INT:
        if (key->size == sizeof(int))
            *(int *)field = (int)whole;
        else
            *(int64_t *)field = whole;
        break;
    case CANTO_KEY_FLOAT:
        *(double *)field = random_float(from, key);
        break;
    case CANTO_KEY_BOOL:
        *(bool *)field = below(from, 2);
        break;
    case CANTO_KEY_TEXT:
        memset(field, 0, key->size);
        random_text(from, key->size, field);
        break;
    case CANTO_KEY_CHOICE:
        while (key->choices->name(choices)) choices++;
        key->choices->set(field, (int)below(from, choices));
        break;
    default:
        break;
    }
}

static void random_config(draw *from, canto_config *c)
{
    CANTO_TEST_OK(canto_config_read(NULL, 0, NULL, c, NULL));
    for (const canto_key *key = canto_keys; key->name; key++) random_value(from, key, c);
    static const char letters[] = "LSGW";
    c->model.kv_heads = 1 << below(from, 3);
    c->model.heads = c->model.kv_heads << below(from, 3);
    c->model.d_model = c->model.heads * 2 * (1 + (int)below(from, 32));
    c->model.mixers_n = 4;
    memset(c->model.mixers, 0, sizeof c->model.mixers);
    for (int i = 0; i < 4; i++) {
        canto_mixer_config *mixer = &c->model.mixers[i];
        mixer->letter = letters[i];
        mixer->kind = &canto_mixer_kinds[below(from, 3)];
        if (mixer->kind->softmax) mixer->window = below(from, 100);
        if (!mixer->kind->softmax) mixer->decay = (canto_decay)below(from, 4);
        if (!mixer->kind->softmax) mixer->normaliser = below(from, 2);
        if (!mixer->normaliser) mixer->rope = below(from, 2);
    }
    memset(c->model.pattern, 0, sizeof c->model.pattern);
    for (int64_t i = below(from, 9); i >= 0; i--) c->model.pattern[i] = letters[below(from, 4)];
    bool uneven = c->parallel.layout == CANTO_LAYOUT_UNEVEN;
    c->parallel.weights_n = uneven ? 1 + (int)below(from, CANTO_WEIGHTS_MAX) : 0;
    for (int i = 0; i < c->parallel.weights_n; i++)
        c->parallel.weights[i] = 1 + (int)below(from, 9);
    c->parallel.cp = 0;
    c->parallel.dp = (int)below(from, 3);
    c->train.batch = 12;
    c->data.max_documents = 12;
    c->data.eot = below(from, c->model.vocab + 1) - 1;
    c->train.optimizer.min_lr = c->train.optimizer.lr * uniform(from);
    c->data.held_out = uniform(from) * 0.5 + 0.01;
}

static void test_round_trip(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 300; i++) {
        draw from = {.seed = 100 + i};
        canto_config drawn, first, second;
        random_config(&from, &drawn);
        char *text = canto_config_text(&drawn);
        CANTO_TEST_OK(canto_config_parse("first", text, strlen(text), &first, NULL));
        char *resolved = canto_config_text(&first);
        CANTO_TEST_OK(canto_config_parse("second", resolved, strlen(resolved), &second, NULL));
        assert_memory_equal(&first, &second, sizeof first); // every bit of every key
        for (const canto_key *key = canto_keys; key->name; key++) {
            if (key->type == CANTO_KEY_MIXERS || strcmp(key->name, "model.d_mlp") == 0) continue;
            assert_memory_equal((char *)&drawn + key->offset, (char *)&first + key->offset,
                                key->size);
        }
        free(text);
        free(resolved);
    }
}

static void test_floats_are_short(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.1, "0.1"}, {1e-8, "1e-08"}, {1.0 / 3, "0.3333333333333333"}, {300, "300"}, {0, "0"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64] = "";
        FILE *stream = fmemopen(text, sizeof text, "w");
        canto_float_write(cases[i].value, stream);
        fclose(stream);
        assert_string_equal(text, cases[i].text);
    }
}

// --- damaged files ---

static const char *const seeds[] = {
    "run:\n  dir: runs/a\n  seed: 7\ntrain:\n  lr: 3e-4\n  steps: 100\n  batch: 8\n",
    "model: {pattern: LLLS, d_model: 64, heads: 4, tied: false}\ndata: {separator: \"\\n\\n\"}\n",
    "model:\n  pattern: WG\n  mixers:\n    - {letter: W, kind: softmax, window: 16}\n"
    "    - letter: G\n      kind: basic\n      decay: none\n",
    "parallel:\n  layout: uneven\n  weights: [1, 2, 3]\n  softmax: gather # why\n  check: true\n",
    "---\n%YAML 1.1\nstore: {every: &a 3, keep_last: *a}\n? x\n: !!int 3\n",
};

static const char *const inserts[] = {
    "\n",   "  ",       "\t",  ": ",         "- ", "[",   "]",    "{",  "}",     "\"",
    "'",    "#",        "&a ", "*a",         "!",  "|\n", ">-\n", "%",  "---\n", "...\n",
    "\xFF", "\xC3\xA9", "0",   "9999999999", "e",  ".",   "null", "? ", ",",     "<<"};

static size_t mutate(draw *from, size_t length, size_t size, char *text)
{
    size_t at = (size_t)below(from, (int64_t)length + 1);
    if (at < length && below(from, 3) == 0) {
        text[at] = (char)below(from, 256);
    } else if (below(from, 2) == 0) {
        size_t cut = (size_t)below(from, 1 + (int64_t)(length - at < 20 ? length - at : 20));
        memmove(text + at, text + at + cut, length - at - cut);
        length -= cut;
    } else {
        const char *piece = inserts[below(from, sizeof inserts / sizeof *inserts)];
        size_t n = strlen(piece);
        if (length + n > size) return length;
        memmove(text + at + n, text + at, length - at);
        memcpy(text + at, piece, n);
        length += n;
    }
    return length;
}

// CANTO_TEST_ROUNDS multiplies the number of damaged files.
static uint64_t files_n(void)
{
    const char *rounds = getenv("CANTO_TEST_ROUNDS");
    return 20000 * (rounds ? strtoull(rounds, NULL, 10) : 1);
}

static void test_damaged_files_end_in_a_sentence(void **state)
{
    (void)state;
    int refused = 0, accepted = 0;
    canto_config valid;
    for (size_t i = 0; i + 1 < sizeof seeds / sizeof *seeds; i++) {
        CANTO_TEST_OK(
            configs_parse(seeds[i], strlen(seeds[i]), &valid)); // the last one has every mistake
    }
    for (uint64_t i = 0, files = files_n(); i < files; i++) {
        draw from = {.seed = i};
        char buffer[1024];
        const char *seed = seeds[below(&from, sizeof seeds / sizeof *seeds)];
        size_t length = strlen(seed);
        memcpy(buffer, seed, length);
        for (int64_t n = below(&from, 2) * below(&from, 4); n >= 0; n--) {
            length = mutate(&from, length, sizeof buffer, buffer);
        }
        char *text = malloc(length ? length : 1); // exact, so that reading past the end is seen
        memcpy(text, buffer, length);
        canto_config config;
        canto_config_source *source = NULL;
        canto_status status = canto_config_parse("fuzz", text, length, &config, &source);
        if (status == CANTO_OK) {
            accepted++;
            assert_non_null(source);
            char *again = canto_config_text(&config);
            canto_config second;
            CANTO_TEST_OK(canto_config_parse("again", again, strlen(again), &second, NULL));
            free(again);
        } else {
            refused++;
            assert_int_equal(status, CANTO_ERROR_CONFIG);
            assert_null(source);
            assert_int_equal(strncmp(canto_error_message(), "fuzz:", 5), 0);
            assert_true(strlen(canto_error_message()) > 15);
        }
        canto_error_clear();
        canto_config_source_destroy(&source);
        free(text);
    }
    assert_true(refused > 5000 && accepted > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_floats_are_short),
        cmocka_unit_test(test_damaged_files_end_in_a_sentence),
    };
    return cmocka_run_group_tests_name("launch.config_random", tests, NULL, NULL);
}
