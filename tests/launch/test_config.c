// Configurations: defaults, origins, the exact place of every kind of mistake, text that reads back
// to the same bits, what a resumed run may change, and damaged files.
#define _POSIX_C_SOURCE 200809L
#include "launch/config_keys.h"
#include "parallel/scan.h"
#include "parallel/strategy.h"
#include "runtime/rng.h"
#include "tests/canto_test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static canto_status parse(const char *text, size_t length, canto_config *out)
{
    return canto_config_parse("bad.yaml", text, length, out, NULL);
}

static canto_status override(const char *argument, canto_config *out)
{
    char *list[] = {(char *)argument};
    return canto_config_read(NULL, 1, list, out, NULL);
}

static char *make_file(const char *text)
{
    char *path = strdup("/tmp/canto_config_XXXXXX");
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    close(file);
    return path;
}

// --- mistakes in files ---

typedef struct bad_file {
    const char *what;
    const char *text;
    size_t length;
    int line, column;  // 0: the message has no place, only the file
    const char *words; // all of these, separated by '|'
} bad_file;

#define TEXT(literal) (literal), sizeof(literal) - 1

static const bad_file bad_files[] = {
    {"unknown key, first", TEXT("train:\n  lrr: 1\n  batch: 2\n"), 2, 3,
     "unknown key 'lrr'|section train|did you mean train.lr?"},
    {"unknown key, second", TEXT("train:\n  batch: 2\n  stepz: 1\n  lr: 1e-3\n"), 3, 3,
     "unknown key 'stepz'|did you mean train.steps?"},
    {"unknown key, last", TEXT("train: {batch: 2, lr: 1e-3, warmupp: 3}\n"), 1, 29,
     "unknown key 'warmupp'|did you mean train.warmup?"},
    {"key of another section", TEXT("model:\n  lr: 1e-3\n"), 2, 3,
     "unknown key 'lr' in section model|did you mean train.lr?"},
    {"unknown key, nothing near", TEXT("model:\n  zzzzzz: 1\n"), 2, 3, "unknown key 'zzzzzz'"},
    {"unknown section", TEXT("# comment\ntrian:\n  lr: 1\n"), 2, 1,
     "unknown section 'trian'|did you mean train?"},
    {"key without its section", TEXT("lr: 1e-3\n"), 1, 1, "unknown section 'lr'|train.lr?"},
    {"number with text after it", TEXT("train:\n  lr: 3e-4x\n"), 2, 7,
     "train.lr must be a number|'3e-4x'|'x' after the number"},
    {"fraction for an integer", TEXT("train:\n  steps: 5.5\n"), 2, 10,
     "train.steps must be an integer|5.5"},
    {"exponent for an integer", TEXT("train:\n  steps: 1e3\n"), 2, 10,
     "train.steps must be an integer|1e3"},
    {"word for an integer", TEXT("train:\n  steps: many\n"), 2, 10, "must be an integer|many"},
    {"hexadecimal", TEXT("train:\n  steps: 0x10\n"), 2, 10, "'x10' after the number"},
    {"octal", TEXT("train:\n  steps: 010\n"), 2, 10, "010|begins with 0"},
    {"underscore", TEXT("train:\n  steps: 1_000\n"), 2, 10, "'_000' after the number"},
    {"quoted number", TEXT("train:\n  lr: \"3e-4\"\n"), 2, 7,
     "must be a number|quoted text '3e-4'"},
    {"out of range, integer", TEXT("model:\n  layers: 0\n"), 2, 11,
     "model.layers must lie between 1 and 1024, not 0"},
    {"out of range, float", TEXT("train:\n  beta1: 1.5\n"), 2, 10,
     "train.beta1 must lie between 0 and 0.999999, not 1.5"},
    {"negative", TEXT("store:\n  keep_last: -1\n"), 2, 14,
     "store.keep_last must lie between 0 and 1000000, not -1"},
    {"empty sequences", TEXT("train:\n  seq_len: 0\n"), 2, 12, "train.seq_len must lie between 1"},
    {"integer too large for 64 bits", TEXT("train:\n  steps: 99999999999999999999\n"), 2, 10,
     "train.steps must lie between|99999999999999999999"},
    {"integer too large for its field", TEXT("model:\n  d_model: 4294967552\n"), 2, 12,
     "model.d_model must lie between 1 and 65536"},
    {"float too large", TEXT("train:\n  clip: 1e999\n"), 2, 9, "must lie between|1e999"},
    {"not a number", TEXT("train:\n  lr: .nan\n"), 2, 7, "must be a finite number|.nan"},
    {"infinite", TEXT("train:\n  lr: -.inf\n"), 2, 7, "must be a finite number|-.inf"},
    {"duplicate key", TEXT("train:\n  lr: 1e-3\n  batch: 2\n  lr: 2e-3\n"), 4, 3,
     "train.lr is given twice|first in line 2"},
    {"duplicate section", TEXT("train:\n  lr: 1e-3\nlog: {every: 1}\ntrain:\n  batch: 2\n"), 4, 1,
     "section train is given twice"},
    {"alias", TEXT("train:\n  lr: *rate\n"), 2, 7, "anchors and aliases"},
    {"anchor", TEXT("train:\n  lr: &rate 1e-3\n"), 2, 7, "anchors and aliases"},
    {"anchor on a section", TEXT("train: &t\n  lr: 1e-3\n"), 1, 8, "anchors and aliases"},
    {"merge key", TEXT("train:\n  <<: {lr: 1}\n"), 2, 3, "unknown key '<<'"},
    {"tag", TEXT("train:\n  steps: !!int 5\n"), 2, 10, "tags are not used"},
    {"tab", TEXT("train:\n\tlr: 1e-3\n"), 2, 1, "a tab in the indentation"},
    {"tab after spaces", TEXT("train:\n  lr: 1e-3\n \tbatch: 2\n"), 3, 2, "a tab"},
    {"empty file", TEXT(""), 1, 1, "the file is empty"},
    {"only a comment", TEXT("# nothing\n"), 2, 1, "the file is empty"},
    {"only a document start", TEXT("---\n"), 2, 1, "the file is empty"},
    {"byte order mark", TEXT("\xEF\xBB\xBFtrain:\n  lr: 1e-3\n"), 1, 1, "byte order mark"},
    {"UTF-16", TEXT("\xFF\xFEt\0r\0"), 1, 1, "byte 0xFF is not UTF-8"},
    {"not UTF-8", TEXT("run:\n  dir: caf\xE9\n"), 2, 11, "byte 0xE9 is not UTF-8"},
    {"not UTF-8 after UTF-8", TEXT("run:\n  dir: \xC3\xA9\xC3\n"), 2, 9, "byte 0xC3"},
    {"long form of a character", TEXT("run:\n  dir: \xC0\xAF\n"), 2, 8, "byte 0xC0 is not UTF-8"},
    {"surrogate", TEXT("run:\n  dir: \xED\xA0\x80\n"), 2, 8, "byte 0xED is not UTF-8"},
    {"control character", TEXT("run:\n  dir: a\001b\n"), 2, 9, "control character U+0001"},
    {"NUL", TEXT("run:\n  dir: a\0b\n"), 2, 9, "control character U+0000"},
    {"escaped NUL", TEXT("run:\n  dir: \"a\\0b\"\n"), 2, 8, "run.dir must not contain a NUL"},
    {"two documents", TEXT("train:\n  lr: 1e-3\n---\ntrain:\n  lr: 1\n"), 3, 1, "second document"},
    {"list for a value", TEXT("train:\n  lr: [1e-3]\n"), 2, 7, "must be a number, not a list"},
    {"block list for a value", TEXT("train:\n  lr:\n    - 1e-3\n"), 3, 5, "not a list"},
    {"mapping for a value", TEXT("train:\n  lr: {max: 1e-3}\n"), 2, 7, "not a mapping of keys"},
    {"too deep", TEXT("parallel:\n  layout: uneven\n  weights: [1, [2]]\n"), 3, 16, "not a list"},
    {"value for a list", TEXT("parallel:\n  weights: 3\n"), 2, 12, "must be a list of integers"},
    {"list for a section", TEXT("train:\n  - lr: 1\n"), 2, 3, "section train must consist of keys"},
    {"no value", TEXT("train:\n  lr:\n  batch: 2\n"), 2, 3, "train.lr has no value"},
    {"null", TEXT("train:\n  lr: null\n"), 2, 3, "train.lr has no value"},
    {"tilde", TEXT("data:\n  path: ~\n"), 2, 3, "data.path has no value"},
    {"empty section", TEXT("log:\ntrain:\n  lr: 1e-3\n"), 1, 1, "section log has no keys"},
    {"list of sections", TEXT("- train\n"), 1, 1, "must consist of sections"},
    {"bare word", TEXT("train\n"), 1, 1, "must consist of sections"},
    {"yes", TEXT("model:\n  tied: yes\n"), 2, 9, "must be true or false, not 'yes'"},
    {"True", TEXT("model:\n  tied: True\n"), 2, 9, "must be true or false, not 'True'"},
    {"on", TEXT("parallel:\n  check: on\n"), 2, 10, "must be true or false, not 'on'"},
    {"unknown strategy", TEXT("parallel:\n  softmax: rign\n"), 2, 12,
     "parallel.softmax must be one of|serial|ring|gather|not 'rign'"},
    {"unknown transport", TEXT("parallel:\n  linear: lasp3\n"), 2, 11,
     "parallel.linear must be one of|lasp1|lasp2|not 'lasp3'"},
    {"unknown layout", TEXT("parallel:\n  layout: zig\n"), 2, 11, "contiguous, zigzag, uneven"},
    {"unknown letter", TEXT("model:\n  layers: 2\n  pattern: LX\n"), 3, 12,
     "model.pattern has the letter 'X' at its place 2|there are L, S"},
    {"empty pattern", TEXT("model:\n  pattern: ''\n"), 2, 12, "model.pattern must not be empty"},
    {"mixer without a letter", TEXT("model:\n  mixers:\n    - {kind: softmax}\n"), 3, 7,
     "needs a letter"},
    {"mixer without a kind", TEXT("model:\n  mixers:\n    - {letter: W}\n"), 3, 7,
     "mixer W needs a kind"},
    {"mixer of unknown kind", TEXT("model:\n  mixers: [{letter: W, kind: soft}]\n"), 2, 30,
     "kind must be one of|softmax|lightning|not 'soft'"},
    {"mixer with unknown key", TEXT("model:\n  mixers: [{letter: W, windw: 3}]\n"), 2, 24,
     "unknown key 'windw' in a mixer|did you mean window?"},
    {"mixer with a key twice", TEXT("model:\n  mixers: [{letter: W, letter: V}]\n"), 2, 24,
     "letter is given twice"},
    {"mixer with two letters", TEXT("model:\n  mixers: [{letter: WW, kind: basic}]\n"), 2, 21,
     "letter must be a letter"},
    {"mixer letter twice",
     TEXT("model:\n  mixers:\n    - {letter: W, kind: basic}\n    - {letter: W, kind: basic}\n"), 4,
     7, "letter W twice"},
    {"mixer that is no mapping", TEXT("model:\n  mixers: [W]\n"), 2, 12, "must be written {letter"},
    {"mixers that are a mapping", TEXT("model:\n  mixers: {letter: W}\n"), 2, 11,
     "model.mixers must be a list of mixers"},
    {"window of a linear mixer", TEXT("model:\n  mixers: [{letter: W, kind: basic, window: 4}]\n"),
     2, 11, "model.mixers W|window"},
    {"decay of softmax", TEXT("model:\n  mixers: [{letter: W, kind: softmax, decay: alibi}]\n"), 2,
     11, "model.mixers W|decay"},
    {"heads not divisible by kv_heads", TEXT("model:\n  heads: 4\n  kv_heads: 3\n"), 3, 13,
     "model.kv_heads|3|4"},
    {"d_model not divisible by heads", TEXT("model:\n  d_model: 250\n  heads: 4\n"), 2, 12,
     "model.d_model|250|4"},
    {"batch not divisible by dp", TEXT("train: {batch: 6}\nparallel: {dp: 4}\n"), 1, 16,
     "train.batch 6 is not divisible by parallel.dp 4"},
    {"too few documents", TEXT("train: {batch: 8}\nparallel: {dp: 2}\ndata: {max_documents: 3}\n"),
     3, 23, "data.max_documents 3|4 sequences"},
    {"weights for another layout", TEXT("parallel:\n  weights: [1, 2]\n"), 2, 12,
     "only for parallel.layout uneven"},
    {"uneven without weights", TEXT("parallel:\n  layout: uneven\n"), 2, 11,
     "needs parallel.weights"},
    {"weights all 0", TEXT("parallel: {layout: uneven, weights: [0, 0]}\n"), 1, 20, "are all 0"},
    {"weights for another number of ranks",
     TEXT("parallel: {layout: uneven, weights: [1, 2], cp: 3}\n"), 1, 37, "2 shares|parallel.cp 3"},
    {"lowest rate above the highest", TEXT("train:\n  lr: 1e-5\n"), 2, 7,
     "train.min_lr 0.0001 is above train.lr 1e-05"},
    {"evaluation without held-out text", TEXT("train: {eval_every: 5}\ndata: {held_out: 0}\n"), 1,
     21, "train.eval_every|data.held_out is 0"},
    {"unclosed bracket", TEXT("train: {lr: 1e-3\n"), 2, 1, "not valid YAML"},
    {"unclosed quote", TEXT("run:\n  dir: \"abc\n"), 3, 1, "not valid YAML|in line 2"},
    {"no colon", TEXT("train:\n  lr 1e-3\n  batch: 2\n"), 2, 3,
     "section train must consist of keys"},
    {"list as a key", TEXT("train:\n  ? [lr]\n  : 1\n"), 2, 5, "a key must be a word"},
};

// What is wrong with the sentence of a refusal, "" if nothing.
static void judge(canto_status status, const char *prefix, const char *words, size_t size,
                  char *out)
{
    const char *message = canto_error_message();
    out[0] = '\0';
    if (status != CANTO_ERROR_CONFIG) snprintf(out, size, "status %s", canto_status_name(status));
    if (strncmp(message, prefix, strlen(prefix)) != 0)
        snprintf(out, size, "does not begin %s", prefix);
    char list[512];
    snprintf(list, sizeof list, "%s", words);
    char *rest = list;
    for (char *word = strtok_r(rest, "|", &rest); word; word = strtok_r(NULL, "|", &rest)) {
        if (!strstr(message, word)) snprintf(out, size, "no \"%s\"", word);
    }
}

static int wrong_sentence(const char *what, canto_status status, const char *prefix,
                          const char *words)
{
    char wrong[256];
    judge(status, prefix, words, sizeof wrong, wrong);
    if (wrong[0]) print_error("%s: %s: %s\n", what, wrong, canto_error_message());
    canto_error_clear();
    return wrong[0] != '\0';
}

static void check_sentence(const char *what, canto_status status, const char *prefix,
                           const char *words)
{
    assert_int_equal(wrong_sentence(what, status, prefix, words), 0);
}

static void test_bad_files(void **state)
{
    (void)state;
    const size_t n = sizeof bad_files / sizeof *bad_files;
    int wrong = 0;
    for (size_t i = 0; i < n; i++) {
        const bad_file *bad = &bad_files[i];
        char prefix[64];
        canto_config config;
        snprintf(prefix, sizeof prefix, "bad.yaml:%d:%d: ", bad->line, bad->column);
        wrong +=
            wrong_sentence(bad->what, parse(bad->text, bad->length, &config), prefix, bad->words);
    }
    assert_int_equal(wrong, 0);
}

static void test_windows_line_ends_count_once(void **state)
{
    (void)state;
    canto_config config;
    const char good[] = "train:\r\n  lr: 2e-3\r\n  batch: 3\r\n";
    CANTO_TEST_OK(parse(good, sizeof good - 1, &config));
    assert_true(config.train.optimizer.lr == 2e-3);
    const char bad[] = "train:\r\n  lr: 2e-3\r\n  b\xFF: 3\r\n";
    check_sentence("line ends", parse(bad, sizeof bad - 1, &config), "bad.yaml:3:4: ", "0xFF");
}

static char *repeated(const char *before, const char *piece, int n, const char *after)
{
    char *text = calloc(1, strlen(before) + (size_t)n * strlen(piece) + strlen(after) + 1);
    strcat(text, before);
    for (int i = 0; i < n; i++) strcat(text, piece);
    return strcat(text, after);
}

static void test_too_many(void **state)
{
    (void)state;
    canto_config config;
    char *text = repeated("parallel: {layout: uneven, weights: [", "1,", CANTO_WEIGHTS_MAX, "]}");
    CANTO_TEST_OK(parse(text, strlen(text), &config));
    assert_int_equal(config.parallel.weights_n, CANTO_WEIGHTS_MAX);
    free(text);
    text = repeated("parallel: {layout: uneven, weights: [", "1,", CANTO_WEIGHTS_MAX, "1]}");
    check_sentence("weights", parse(text, strlen(text), &config),
                   "bad.yaml:1:550: ", "parallel.weights must have at most 256 entries");
    free(text);
    char list[1024] = "model: {mixers: [\n";
    for (char letter = 'a'; letter < 'a' + CANTO_MIXERS_MAX - 1; letter++) {
        snprintf(list + strlen(list), sizeof list - strlen(list), "{letter: %c, kind: basic},\n",
                 letter);
    }
    strcat(list, "]}");
    check_sentence("mixers", parse(list, strlen(list), &config), "bad.yaml:16:1: ",
                   "model.mixers must have at most 16 letters, L and S included");
    text = repeated("train: {", "long", 100, ": 1}");
    check_sentence("name", parse(text, strlen(text), &config),
                   "bad.yaml:1:9: ", "unknown key 'longlong|longl...' in section train");
    free(text);
}

static void test_size_limits(void **state)
{
    (void)state;
    canto_config config;
    size_t length = CANTO_CONFIG_FILE_MAX + 1;
    char *text = malloc(length);
    memset(text, '#', length);
    check_sentence("large", parse(text, length, &config), "bad.yaml: ", "more than 1048576 bytes");
    memset(text, '[', length);
    check_sentence("deep", parse(text, length - 1, &config), "bad.yaml:1:1: ", "sections");
    memcpy(text, "run: {dir: ", 11);
    memset(text + 11, 'x', 1024);
    check_sentence("long", parse(text, 11 + 1024, &config), "bad.yaml:", "");
    text[11 + 1024] = '}';
    check_sentence("long", parse(text, 11 + 1025, &config),
                   "bad.yaml:1:12: ", "run.dir must be at most 1023 bytes long, not 1024");
    text[11 + 1023] = '}';
    CANTO_TEST_OK(parse(text, 11 + 1024, &config));
    free(text);
}

static void test_files_that_cannot_be_read(void **state)
{
    (void)state;
    canto_config config;
    canto_config_source *source = (canto_config_source *)&config;
    check_sentence("absent", canto_config_read("/nowhere/x.yaml", 0, NULL, &config, &source),
                   "/nowhere/x.yaml: ", "cannot be opened|No such file");
    assert_null(source);
    check_sentence("folder", canto_config_read("/tmp", 0, NULL, &config, NULL),
                   "/tmp: ", "cannot be read|directory");
    check_sentence("endless", canto_config_read("/dev/zero", 0, NULL, &config, NULL),
                   "/dev/zero: ", "more than 1048576 bytes");
}

// --- mistakes on the command line ---

static const struct {
    const char *argument;
    const char *words;
} bad_overrides[] = {
    {"train.lr=3e-4x", "train.lr must be a number|'x' after the number"},
    {"train.steps=5.5", "train.steps must be an integer"},
    {"train.steps= 5", "train.steps must be an integer"},
    {"train.steps=", "train.steps must be an integer"},
    {"train.lrr=1", "unknown key 'train.lrr'|did you mean train.lr?"},
    {"trian.lr=1", "unknown key 'trian.lr'|did you mean train.lr?"},
    {"lr=1", "unknown key 'lr'|did you mean train.lr?"},
    {"model.lr=1", "unknown key 'model.lr'|did you mean train.lr?"},
    {"train.lr", "SECTION.KEY=VALUE"},
    {"=5", "unknown key ''"},
    {"", "SECTION.KEY=VALUE"},
    {"model.tied=yes", "must be true or false"},
    {"parallel.layout=spiral", "must be one of contiguous, zigzag, uneven"},
    {"run.dir=\xFF", "not UTF-8"},
    {"parallel.weights=1", "must be a list of integers"},
    {"parallel.weights=", "no value"},
    {"parallel.weights=[1, x]", "must be an integer"},
    {"model.mixers=[{letter: W}]", "mixer W needs a kind"},
    {"model.mixers=[{letter: W", "not valid YAML"},
};

static void test_bad_overrides(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_overrides / sizeof *bad_overrides; i++) {
        const char *argument = bad_overrides[i].argument;
        char prefix[128];
        canto_config config;
        snprintf(prefix, sizeof prefix,
                 "command line: %s: ", strchr(argument, '\xFF') ? "run.dir=?" : argument);
        check_sentence(argument, override(argument, &config), prefix, bad_overrides[i].words);
    }
    canto_config config;
    check_sentence("two keys", override("train.lr=1e-5", &config),
                   "command line: ", "train.min_lr 0.0001 is above train.lr 1e-05");
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
    assert_int_equal(c.model.mixers_n, 2);
    assert_int_equal(c.model.mixers[0].letter, 'L');
    assert_string_equal(c.model.mixers[0].kind->name, "lightning");
    assert_int_equal(c.model.mixers[0].decay, CANTO_DECAY_ALIBI_LAYERED);
    assert_int_equal(c.model.mixers[1].letter, 'S');
    assert_true(c.model.mixers[1].kind->softmax && c.model.mixers[1].rope);
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
    assert_int_equal(c.data.max_documents, c.train.batch); // resolved
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
    CANTO_TEST_OK(parse(text, sizeof text - 1, &c));
    assert_int_equal(c.model.mixers_n, 4);
    assert_int_equal(c.model.mixers[0].letter, 'L'); // redefined where it was
    assert_int_equal(c.model.mixers[0].decay, CANTO_DECAY_NONE);
    assert_int_equal(c.model.mixers[1].letter, 'S');
    assert_int_equal(c.model.mixers[2].window, 16);
    assert_true(c.model.mixers[2].rope);
    assert_true(c.model.mixers[3].normaliser && !c.model.mixers[3].rope);
    assert_int_equal(c.model.mixers[3].kv_heads, 1);
    CANTO_TEST_OK(override("model.mixers=[{letter: W, kind: basic}]", &c));
    assert_int_equal(c.model.mixers_n, 3);
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
    assert_int_equal(json_array_size(mixers), 3);
    const json_t *kind = json_object_get(json_array_get(mixers, 2), "kind");
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
    check_sentence("required", canto_config_require(&c, source, "data.path"),
                   "run.yaml: ", "data.path is required");
    canto_config_source_destroy(&source);
    CANTO_TEST_OK(override("data.path=x", &c));
    CANTO_TEST_OK(canto_config_require(&c, NULL, "data.path"));
}

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
    static const char *const free_keys[] = {
        "parallel.", "store.", "log.", "run.dir", "train.stop_after", "train.eval_", "train.steps"};
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
        check_sentence(key->name, status, "runs/default", words);
        free(before);
        free(after);
    }
    canto_config now = stored;
    now.train.steps--;
    check_sentence("fewer steps", canto_config_compatible(&stored, &now), "runs/default",
                   "train.steps was 1000 and is now 999");
}

static void test_horizon_is_settled_once(void **state)
{
    (void)state;
    canto_config stored, longer;
    CANTO_TEST_OK(override("train.steps=50", &stored));
    CANTO_TEST_OK(canto_config_settle(NULL, &stored));
    assert_int_equal(stored.train.optimizer.horizon, 50);
    CANTO_TEST_OK(override("train.steps=80", &longer));
    CANTO_TEST_OK(canto_config_settle(&stored, &longer));
    assert_int_equal(longer.train.optimizer.horizon, 50);
    CANTO_TEST_OK(override("train.horizon=60", &longer));
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "train.horizon was 50",
                     canto_config_settle(&stored, &longer));
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
        CANTO_TEST_OK(parse(seeds[i], strlen(seeds[i]), &valid)); // the last one has every mistake
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
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_windows_line_ends_count_once),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_size_limits),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_bad_overrides),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_table_of_keys),
        cmocka_unit_test(test_mixers),
        cmocka_unit_test(test_overrides_win_and_origins_show),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_help_names_every_key),
        cmocka_unit_test(test_required),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_floats_are_short),
        cmocka_unit_test(test_what_a_resumed_run_may_change),
        cmocka_unit_test(test_horizon_is_settled_once),
        cmocka_unit_test(test_damaged_files_end_in_a_sentence),
    };
    return cmocka_run_group_tests_name("launch.config", tests, NULL, NULL);
}
