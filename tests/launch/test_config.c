// Configurations: defaults, origins, help, JSON, and what a resumed run may change.
#define _POSIX_C_SOURCE 200809L
#include "parallel/scan.h"
#include "parallel/strategy.h"
#include "tests/canto_test.h"
#include "tests/launch/configs.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *make_file(const char *text)
{
    char *path = strdup("/tmp/canto_config_XXXXXX");
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    close(file);
    return path;
}

// --- what is read ---

static void test_defaults(void **state)
{
    (void)state;
    canto_config c;
    CANTO_TEST_OK(canto_config_read(NULL, 0, NULL, &c, NULL));
    assert_string_equal(c.run.dir, "runs/default");
    assert_int_equal(c.run.seed, 1);
    assert_string_equal(c.model.pattern, "LLLS");
    assert_int_equal(c.model.layers, 4);
    assert_int_equal(c.model.d_model, 256);
    assert_int_equal(c.model.heads, 4);
    assert_int_equal(c.model.kv_heads, 4); // resolved
    assert_int_equal(c.model.vocab, 256);
    assert_true(c.model.tied);
    assert_true(c.model.norm_eps == 1e-5 && c.model.rope_base == 1e4 && c.model.init_std == 0.02);
    assert_int_equal(c.model.mixers_n, 4);
    assert_int_equal(c.model.mixers[0].letter, 'L');
    assert_string_equal(c.model.mixers[0].kind->name, "lightning");
    assert_int_equal(c.model.mixers[0].decay, CANTO_DECAY_ALIBI_LAYERED);
    assert_int_equal(c.model.mixers[1].letter, 'S');
    assert_true(c.model.mixers[1].kind->softmax && c.model.mixers[1].rope);
    assert_int_equal(c.model.mixers[2].letter, 'R');
    assert_string_equal(c.model.mixers[2].kind->name, "retention");
    assert_int_equal(c.model.mixers[2].decay, CANTO_DECAY_RETENTION);
    assert_true(c.model.mixers[2].rope);
    assert_int_equal(c.model.mixers[2].key_dim, 64);
    assert_int_equal(c.model.mixers[2].value_dim, 128);
    assert_int_equal(c.model.mixers[3].letter, 'G');
    assert_string_equal(c.model.mixers[3].kind->name, "gla");
    assert_false(c.model.mixers[3].rope);
    assert_int_equal(c.model.mixers[3].key_dim, 32);
    assert_int_equal(c.model.mixers[3].value_dim, 64);
    assert_string_equal(c.parallel.softmax->name, "ring");
    assert_string_equal(c.parallel.linear->name, "lasp2");
    assert_int_equal(c.parallel.layout, CANTO_LAYOUT_ZIGZAG);
    assert_true(c.parallel.timeout_s == 300 && !c.parallel.check);
    assert_int_equal(c.train.steps, 1000);
    assert_int_equal(c.train.seq_len, 1024);
    assert_int_equal(c.train.optimizer.horizon, 0); // settled at the first start
    assert_true(c.train.optimizer.lr == 1e-3 && c.train.optimizer.beta2 == 0.95);
    assert_string_equal(c.data.path, "");
    assert_true(c.data.held_out == 0.05);
    assert_int_equal(c.data.max_documents, 0); // whatever the data need
    assert_int_equal(c.store.keep_last, 2);
    assert_int_equal(c.log.every, 10);
}

static void test_table_of_keys(void **state)
{
    (void)state;
    int n = 0;
    for (const canto_key *key = canto_keys; key->name; key++, n++) {
        assert_true(canto_key_find(canto_keys, "", key->name) == key); // no name twice
        size_t length = strlen(key->help);
        assert_true(length > 10 && key->help[length - 1] == '.');
        assert_non_null(key->initial);
    }
    assert_true(n <= CANTO_KEYS_MAX);
}

static void test_mixers(void **state)
{
    (void)state;
    canto_config c;
    const char text[] = "model:\n"
                        "  pattern: LWSB\n"
                        "  mixers:\n"
                        "    - {letter: W, kind: softmax, window: 16}\n"
                        "    - letter: L\n"
                        "      decay: none\n"
                        "      kind: lightning\n"
                        "    - {kind: basic, letter: B, heads: 2, kv_heads: 1}\n";
    CANTO_TEST_OK(configs_parse(text, sizeof text - 1, &c));
    assert_int_equal(c.model.mixers_n, 6);
    assert_int_equal(c.model.mixers[0].letter, 'L'); // redefined where it was
    assert_int_equal(c.model.mixers[0].decay, CANTO_DECAY_NONE);
    assert_int_equal(c.model.mixers[1].letter, 'S');
    assert_int_equal(c.model.mixers[4].window, 16);
    assert_true(c.model.mixers[4].rope);
    assert_true(c.model.mixers[5].normaliser && !c.model.mixers[5].rope);
    assert_int_equal(c.model.mixers[5].kv_heads, 1);
    CANTO_TEST_OK(configs_override("model.mixers=[{letter: W, kind: basic}]", &c));
    assert_int_equal(c.model.mixers_n, 5);
}

// A mixer that nobody uses needs no room in the model, and stays as it was written.
static void test_unused_mixers(void **state)
{
    (void)state;
    canto_config c, again;
    const char text[] = "model: {pattern: LS, heads: 1}\n";
    CANTO_TEST_OK(configs_parse(text, sizeof text - 1, &c));
    assert_int_equal(c.model.mixers[2].value_dim, 0); // retention of 512
    assert_int_equal(c.model.mixers[3].key_dim, 128);
    char *written = canto_config_text(&c);
    CANTO_TEST_OK(configs_parse(written, strlen(written), &again));
    assert_int_equal(again.model.mixers[2].value_dim, 0);
    CANTO_TEST_OK(canto_config_same_model(&c, &again));
    free(written);
}

// The line of `table` that begins with `name`.
static void find_row(const char *table, const char *name, size_t size, char *row)
{
    const char *at = table;
    while (at && strncmp(at, name, strlen(name)) != 0) {
        at = strchr(at, '\n');
        if (at) at++;
    }
    if (!at) fail_msg("no row %s", name);
    snprintf(row, size, "%.*s", (int)strcspn(at, "\n"), at);
}

static char *show(const canto_config *config, const canto_config_source *source, bool json)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    canto_config_show(config, source, json, stream);
    fclose(stream);
    return text;
}

static void test_overrides_win_and_origins_show(void **state)
{
    (void)state;
    char *path = make_file("train:\n  lr: 2e-3\n  batch: 3\n  warmup: 7\n");
    char *overrides[] = {"train.batch=5",           "train.seq_len=11",
                         "train.batch=6",           "parallel.layout=uneven",
                         "parallel.weights=[1, 2]", "data.separator=\n\t"};
    canto_config config;
    canto_config_source *source;
    CANTO_TEST_OK(canto_config_read(path, 6, overrides, &config, &source));
    assert_true(config.train.optimizer.lr == 2e-3);
    assert_int_equal(config.train.batch, 6);
    assert_int_equal(config.train.seq_len, 11);
    assert_int_equal(config.parallel.weights_n, 2);
    assert_string_equal(config.data.separator, "\n\t");
    char *table = show(&config, source, false), row[256], expected[256];
    snprintf(expected, sizeof expected, "%-22s  %-24s  %s:2", "train.lr", "0.002", path);
    find_row(table, "train.lr ", sizeof row, row);
    assert_string_equal(row, expected);
    snprintf(expected, sizeof expected, "%-22s  %-24s  command line", "train.batch", "6");
    find_row(table, "train.batch ", sizeof row, row);
    assert_string_equal(row, expected);
    snprintf(expected, sizeof expected, "%-22s  %-24s  default", "train.min_lr", "0.0001");
    find_row(table, "train.min_lr ", sizeof row, row);
    assert_string_equal(row, expected);
    for (const canto_key *key = canto_keys; key->name; key++)
        find_row(table, key->name, sizeof row, row);
    free(table);
    canto_config_source_destroy(&source);
    assert_null(source);
    unlink(path);
    free(path);
}

static void test_json(void **state)
{
    (void)state;
    char *path = make_file("train: {lr: 0.1}\nmodel: {mixers: [{letter: W, kind: basic}]}\n");
    char *overrides[] = {"run.dir=a\"b\xC3\xA9"};
    canto_config config;
    canto_config_source *source;
    CANTO_TEST_OK(canto_config_read(path, 1, overrides, &config, &source));
    char *text = show(&config, source, true);
    json_t *all = json_loads(text, 0, NULL);
    assert_non_null(all);
    for (const canto_key *key = canto_keys; key->name; key++) {
        assert_non_null(json_object_get(json_object_get(all, key->name), "value"));
    }
    const json_t *lr = json_object_get(all, "train.lr");
    assert_true(json_real_value(json_object_get(lr, "value")) == 0.1);
    assert_non_null(strstr(json_string_value(json_object_get(lr, "origin")), ":1"));
    const json_t *dir = json_object_get(json_object_get(all, "run.dir"), "value");
    assert_string_equal(json_string_value(dir), "a\"b\xC3\xA9");
    const json_t *mixers = json_object_get(json_object_get(all, "model.mixers"), "value");
    assert_int_equal(json_array_size(mixers), 5);
    const json_t *kind = json_object_get(json_array_get(mixers, 4), "kind");
    assert_string_equal(json_string_value(kind), "basic");
    json_decref(all);
    free(text);
    canto_config_source_destroy(&source);
    unlink(path);
    free(path);
}

static void test_help_names_every_key(void **state)
{
    (void)state;
    for (int roff = 0; roff < 2; roff++) {
        char *text = NULL;
        size_t length = 0;
        FILE *stream = open_memstream(&text, &length);
        canto_config_help(stream, roff);
        fclose(stream);
        for (const canto_key *key = canto_keys; key->name; key++) {
            if (!strstr(text, key->name)) fail_msg("no %s", key->name);
        }
        assert_non_null(strstr(text, "serial, ring, gather"));
        assert_non_null(strstr(text, "normaliser"));
        free(text);
    }
}

static void test_required(void **state)
{
    (void)state;
    canto_config c;
    canto_config_source *source;
    CANTO_TEST_OK(canto_config_parse("run.yaml", "log: {every: 1}", 15, &c, &source));
    configs_check("required", canto_config_require(&c, source, "data.path"),
                  "run.yaml: ", "data.path is required");
    canto_config_source_destroy(&source);
    CANTO_TEST_OK(configs_override("data.path=x", &c));
    CANTO_TEST_OK(canto_config_require(&c, NULL, "data.path"));
}

// --- resuming ---

// Changes the value of a key to another legal one.
static void change(const canto_key *key, canto_config *c)
{
    char *field = (char *)c + key->offset;
    const char letter = 'G';
    switch (key->type) {
    case CANTO_KEY_INT:
        if (key->size == sizeof(int))
            ++*(int *)field;
        else
            ++*(int64_t *)field;
        break;
    case CANTO_KEY_FLOAT:
        *(double *)field = *(double *)field * 0.75 + 1e-12;
        break;
    case CANTO_KEY_BOOL:
        *(bool *)field = !*(bool *)field;
        break;
    case CANTO_KEY_TEXT:
        strcat(field, "x");
        break;
    case CANTO_KEY_CHOICE:
        key->choices->set(field, key->choices->get(field) == 0);
        break;
    case CANTO_KEY_INTS:
        c->parallel.weights[c->parallel.weights_n++] = 3;
        break;
    case CANTO_KEY_MIXERS:
        c->model.mixers[0].letter = letter;
        break;
    default:
        fail_msg("%s", key->name);
    }
}

static bool is_free(const char *name)
{
    static const char *const free_keys[] = {"parallel.",   "store.",
                                            "log.",        "run.dir",
                                            "run.device",  "train.stop_after",
                                            "train.eval_", "train.recompute",
                                            "train.steps", "data.max_documents"};
    for (size_t i = 0; i < sizeof free_keys / sizeof *free_keys; i++) {
        if (strncmp(name, free_keys[i], strlen(free_keys[i])) == 0) return true;
    }
    return false;
}

static void test_what_a_resumed_run_may_change(void **state)
{
    (void)state;
    canto_config stored;
    CANTO_TEST_OK(canto_config_read(NULL, 0, NULL, &stored, NULL));
    CANTO_TEST_OK(canto_config_settle(NULL, &stored));
    for (const canto_key *key = canto_keys; key->name; key++) {
        canto_config now = stored;
        change(key, &now);
        canto_status status = canto_config_compatible(&stored, &now);
        if (is_free(key->name)) {
            CANTO_TEST_OK(status);
            continue;
        }
        char words[512], *before = canto_value_text(key, &stored),
                         *after = canto_value_text(key, &now);
        snprintf(words, sizeof words, "%s was %.100s|is now %.100s", key->name, before, after);
        configs_check(key->name, status, "runs/default", words);
        free(before);
        free(after);
    }
    canto_config now = stored;
    now.train.steps--;
    configs_check("fewer steps", canto_config_compatible(&stored, &now), "runs/default",
                  "train.steps was 1000 and is now 999");
}

static void test_another_model_is_refused(void **state)
{
    (void)state;
    canto_config stored;
    CANTO_TEST_OK(canto_config_read(NULL, 0, NULL, &stored, NULL));
    for (const canto_key *key = canto_keys; key->name; key++) {
        canto_config now = stored;
        change(key, &now);
        const canto_status status = canto_config_same_model(&stored, &now);
        if (strncmp(key->name, "model.", 6) == 0)
            configs_check(key->name, status, "", key->name);
        else
            CANTO_TEST_OK(status);
    }
}

static void test_horizon_is_settled_once(void **state)
{
    (void)state;
    canto_config stored, longer;
    CANTO_TEST_OK(configs_override("train.steps=50", &stored));
    CANTO_TEST_OK(canto_config_settle(NULL, &stored));
    assert_int_equal(stored.train.optimizer.horizon, 50);
    CANTO_TEST_OK(configs_override("train.steps=80", &longer));
    CANTO_TEST_OK(canto_config_settle(&stored, &longer));
    assert_int_equal(longer.train.optimizer.horizon, 50);
    CANTO_TEST_OK(configs_override("train.horizon=60", &longer));
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "train.horizon was 50",
                     canto_config_settle(&stored, &longer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_table_of_keys),
        cmocka_unit_test(test_mixers),
        cmocka_unit_test(test_unused_mixers),
        cmocka_unit_test(test_overrides_win_and_origins_show),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_help_names_every_key),
        cmocka_unit_test(test_required),
        cmocka_unit_test(test_what_a_resumed_run_may_change),
        cmocka_unit_test(test_another_model_is_refused),
        cmocka_unit_test(test_horizon_is_settled_once),
    };
    return cmocka_run_group_tests_name("launch.config", tests, NULL, NULL);
}
