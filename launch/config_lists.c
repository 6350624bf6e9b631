// The two keys whose values are lists: numbers, and model.mixers.
#include "launch/config_reader.h"

#include <string.h>

static canto_status expect_list(const canto_reader *in, const canto_key *key,
                                const canto_config_place *named)
{
    if (in->node == CANTO_NODE_LIST) return CANTO_OK;
    if (canto_reader_null(in)) return canto_reader_scalar(in, key, named, NULL);
    return canto_config_fail(&in->place, "%s must be %s", key->name, canto_key_type_name(key));
}

canto_status canto_config_ints(canto_reader *in, const canto_key *key,
                               const canto_config_place *named, canto_config *config)
{
    CANTO_TRY(expect_list(in, key, named));
    const int most = (int)(key->size / sizeof(int));
    canto_key item = *key;
    item.type = CANTO_KEY_INT;
    item.size = sizeof(int);
    int count = 0;
    CANTO_TRY(canto_reader_next(in));
    for (; in->node != CANTO_NODE_LIST_END; count++) {
        if (count == most) {
            return canto_config_fail(&in->place, "%s must have at most %d entries", key->name,
                                     most);
        }
        item.offset = key->offset + (size_t)count * sizeof(int);
        CANTO_TRY(canto_reader_scalar(in, &item, &in->place, config));
        CANTO_TRY(canto_reader_next(in));
    }
    *(int *)((char *)config + key->count) = count;
    // What an earlier, longer list left behind must not make equal configurations differ.
    memset((char *)config + key->offset + (size_t)count * sizeof(int), 0,
           (size_t)(most - count) * sizeof(int));
    return CANTO_OK;
}

static uint32_t key_bit(const char *name)
{
    return 1u << (canto_key_find(canto_mixer_keys, "", name) - canto_mixer_keys);
}

// What the kind decides where the entry is silent.
static canto_status complete_mixer(uint32_t seen, const canto_config_place *place,
                                   canto_mixer_config *mixer)
{
    if (!(seen & key_bit("letter"))) {
        return canto_config_fail(place, "a mixer needs a letter: write letter: X");
    }
    if (!(seen & key_bit("kind"))) {
        return canto_config_fail(place, "mixer %c needs a kind: write kind: softmax, for example",
                                 mixer->letter);
    }
    if (!(seen & key_bit("decay"))) mixer->decay = mixer->kind->decay;
    if (!(seen & key_bit("normaliser"))) mixer->normaliser = mixer->kind->ones;
    if (!(seen & key_bit("rope"))) mixer->rope = mixer->kind->rope;
    return CANTO_OK;
}

static canto_status read_mixer(canto_reader *in, canto_mixer_config *out)
{
    const canto_config_place start = in->place;
    if (in->node != CANTO_NODE_MAPPING) {
        return canto_config_fail(&start, "a mixer must be written {letter: X, kind: ...}");
    }
    memset(out, 0, sizeof *out);
    uint32_t seen = 0;
    CANTO_TRY(canto_reader_next(in));
    while (in->node != CANTO_NODE_MAPPING_END) {
        char name[sizeof(canto_quote)];
        const canto_config_place place = in->place;
        CANTO_TRY(canto_reader_name(in, sizeof name, name));
        const canto_key *key = canto_key_find(canto_mixer_keys, "", name);
        if (!key) return canto_config_fail_unknown(canto_mixer_keys, "", name, "a mixer", &place);
        if (seen & key_bit(name)) {
            return canto_config_fail(&place, "%s is given twice in this mixer", name);
        }
        seen |= key_bit(name);
        CANTO_TRY(canto_reader_next(in));
        CANTO_TRY(canto_reader_scalar(in, key, &place, out));
        CANTO_TRY(canto_reader_next(in));
    }
    return complete_mixer(seen, &start, out);
}

// Adds a mixer, or puts it in the place of the one with its letter.
static canto_status put_mixer(canto_model_config *model, const canto_mixer_config *mixer,
                              const canto_config_place *place)
{
    int at = 0;
    while (at < model->mixers_n && model->mixers[at].letter != mixer->letter) at++;
    if (at == CANTO_MIXERS_MAX) {
        return canto_config_fail(
            place, "model.mixers must have at most %d letters, predefined ones included",
            CANTO_MIXERS_MAX);
    }
    if (at == model->mixers_n) model->mixers_n++;
    model->mixers[at] = *mixer;
    return CANTO_OK;
}

canto_status canto_config_mixers(canto_reader *in, const canto_key *key,
                                 const canto_config_place *named, bool predefined,
                                 canto_config *config)
{
    CANTO_TRY(expect_list(in, key, named));
    canto_model_config *model = &config->model;
    memset(model->mixers, 0, sizeof model->mixers);
    model->mixers_n = 0;
    if (!predefined) CANTO_TRY(canto_config_yaml_list(key, named, true, key->initial, config));
    bool given[256] = {false};
    CANTO_TRY(canto_reader_next(in));
    while (in->node != CANTO_NODE_LIST_END) {
        const canto_config_place place = in->place;
        canto_mixer_config mixer;
        CANTO_TRY(read_mixer(in, &mixer));
        if (given[(unsigned char)mixer.letter]) {
            return canto_config_fail(&place, "model.mixers has letter %c twice", mixer.letter);
        }
        given[(unsigned char)mixer.letter] = true;
        CANTO_TRY(put_mixer(model, &mixer, &place));
        CANTO_TRY(canto_reader_next(in));
    }
    return CANTO_OK;
}
