// Mistakes in configuration files and on the command line: each with its exact place and a sentence
// that helps.
#define _POSIX_C_SOURCE 200809L
#include "tests/canto_test.h"
#include "tests/launch/configs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    {"constant decay of gates", TEXT("model:\n  mixers: [{letter: W, kind: gla, decay: alibi}]\n"),
     2, 11, "model.mixers W|decays as its input decides"},
    {"retention too wide", TEXT("model: {pattern: R, heads: 1}\n"), 1, 28,
     "model.mixers R: key_dim 256 or value_dim 512 is above 256"},
    {"odd width of gates", TEXT("model: {pattern: G, d_model: 12}\n"), 1, 30,
     "model.mixers G: model.heads = 4 does not divide model.d_model = 12 into even widths"},
    {"decay of softmax", TEXT("model:\n  mixers: [{letter: W, kind: softmax, decay: alibi}]\n"), 2,
     11, "model.mixers W|decay"},
    {"heads not divisible by kv_heads", TEXT("model:\n  heads: 4\n  kv_heads: 3\n"), 3, 13,
     "model.kv_heads|3|4"},
    {"d_model not divisible by heads", TEXT("model:\n  d_model: 250\n  heads: 4\n"), 3, 10,
     "model.d_model|250|4"},
    {"fewer sequences than replicas", TEXT("train: {batch: 6}\nparallel: {dp: 7}\n"), 1, 16,
     "train.batch 6 is less than parallel.dp 7"},
    {"too few documents", TEXT("train: {batch: 8}\nparallel: {dp: 2}\ndata: {max_documents: 3}\n"),
     3, 23, "data.max_documents 3|4 sequences"},
    {"too few documents for uneven replicas",
     TEXT("train: {batch: 8}\nparallel: {dp: 3}\ndata: {max_documents: 2}\n"), 3, 23,
     "data.max_documents 2|3 sequences"},
    {"eot outside of the vocabulary", TEXT("model: {vocab: 300}\ndata: {eot: 300}\n"), 2, 13,
     "data.eot 300|model.vocab 300"},
    {"no such order", TEXT("data: {order: sorted}\n"), 1, 15, "windows|packed|cut"},
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
        wrong += configs_wrong(bad->what, configs_parse(bad->text, bad->length, &config), prefix,
                               bad->words);
    }
    assert_int_equal(wrong, 0);
}

static void test_windows_line_ends_count_once(void **state)
{
    (void)state;
    canto_config config;
    const char good[] = "train:\r\n  lr: 2e-3\r\n  batch: 3\r\n";
    CANTO_TEST_OK(configs_parse(good, sizeof good - 1, &config));
    assert_true(config.train.optimizer.lr == 2e-3);
    const char bad[] = "train:\r\n  lr: 2e-3\r\n  b\xFF: 3\r\n";
    configs_check("line ends", configs_parse(bad, sizeof bad - 1, &config),
                  "bad.yaml:3:4: ", "0xFF");
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
    CANTO_TEST_OK(configs_parse(text, strlen(text), &config));
    assert_int_equal(config.parallel.weights_n, CANTO_WEIGHTS_MAX);
    free(text);
    text = repeated("parallel: {layout: uneven, weights: [", "1,", CANTO_WEIGHTS_MAX, "1]}");
    configs_check("weights", configs_parse(text, strlen(text), &config),
                  "bad.yaml:1:550: ", "parallel.weights must have at most 256 entries");
    free(text);
    char list[1024] = "model: {mixers: [\n";
    for (char letter = 'a'; letter < 'a' + CANTO_MIXERS_MAX - 1; letter++) {
        snprintf(list + strlen(list), sizeof list - strlen(list), "{letter: %c, kind: basic},\n",
                 letter);
    }
    strcat(list, "]}");
    configs_check("mixers", configs_parse(list, strlen(list), &config), "bad.yaml:14:1: ",
                  "model.mixers must have at most 16 letters, predefined ones included");
    text = repeated("train: {", "long", 100, ": 1}");
    configs_check("name", configs_parse(text, strlen(text), &config),
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
    configs_check("large", configs_parse(text, length, &config),
                  "bad.yaml: ", "more than 1048576 bytes");
    memset(text, '[', length);
    configs_check("deep", configs_parse(text, length - 1, &config), "bad.yaml:1:1: ", "sections");
    memcpy(text, "run: {dir: ", 11);
    memset(text + 11, 'x', 1024);
    configs_check("long", configs_parse(text, 11 + 1024, &config), "bad.yaml:", "");
    text[11 + 1024] = '}';
    configs_check("long", configs_parse(text, 11 + 1025, &config),
                  "bad.yaml:1:12: ", "run.dir must be at most 1023 bytes long, not 1024");
    text[11 + 1023] = '}';
    CANTO_TEST_OK(configs_parse(text, 11 + 1024, &config));
    free(text);
}

static void test_files_that_cannot_be_read(void **state)
{
    (void)state;
    canto_config config;
    canto_config_source *source = (canto_config_source *)&config;
    configs_check("absent", canto_config_read("/nowhere/x.yaml", 0, NULL, &config, &source),
                  "/nowhere/x.yaml: ", "cannot be opened|No such file");
    assert_null(source);
    configs_check("folder", canto_config_read("/tmp", 0, NULL, &config, NULL),
                  "/tmp: ", "cannot be read|directory");
    configs_check("endless", canto_config_read("/dev/zero", 0, NULL, &config, NULL),
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
    {"run.device=tpu", "run.device must be one of cpu"},
    {"run.device=cuda", "run.device must be one of cpu|'cuda' needs a build with -DCANTO_CUDA=ON"},
    {"run.device=shadow",
     "run.device must be one of cpu|'shadow' needs a build with -DCANTO_SHADOW=ON"},
    {"parallel.weights=1", "must be a list of integers"},
    {"parallel.weights=", "no value"},
    {"parallel.weights=[1, x]", "must be an integer"},
    {"model.mixers=[{letter: W}]", "mixer W needs a kind"},
    {"model.mixers=[{letter: W", "not valid YAML"},
};

static bool is_built_device(const char *argument)
{
    const char *key = "run.device=";
    return strncmp(argument, key, strlen(key)) == 0 && canto_backend_find(argument + strlen(key));
}

static void test_bad_overrides(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_overrides / sizeof *bad_overrides; i++) {
        const char *argument = bad_overrides[i].argument;
        char prefix[128];
        canto_config config;
        if (is_built_device(argument)) continue;
        snprintf(prefix, sizeof prefix,
                 "command line: %s: ", strchr(argument, '\xFF') ? "run.dir=?" : argument);
        configs_check(argument, configs_override(argument, &config), prefix,
                      bad_overrides[i].words);
    }
    canto_config config;
    configs_check("two keys", configs_override("train.lr=1e-5", &config),
                  "command line: ", "train.min_lr 0.0001 is above train.lr 1e-05");
    configs_check("heads", configs_override("model.heads=3", &config),
                  "command line: ", "model.heads = 3 does not divide model.d_model = ");
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
    };
    return cmocka_run_group_tests_name("launch.config_mistakes", tests, NULL, NULL);
}
