// YAML text as a row of nodes with places. What no part of a configuration may have (tags, anchors,
// aliases, directives' effects, broken syntax) ends here. Private to launch/config*.c.
#ifndef CANTO_LAUNCH_CONFIG_READER_H
#define CANTO_LAUNCH_CONFIG_READER_H

#include "launch/config_keys.h"

typedef enum canto_node {
    CANTO_NODE_SCALAR,
    CANTO_NODE_LIST,
    CANTO_NODE_LIST_END,
    CANTO_NODE_MAPPING,
    CANTO_NODE_MAPPING_END,
    CANTO_NODE_DOCUMENT,
    CANTO_NODE_DOCUMENT_END,
    CANTO_NODE_END, // of the text
} canto_node;

typedef struct canto_reader {
    canto_node node; // current
    canto_config_place place;
    const char *text; // borrowed until the next node; of a scalar, ended by NUL
    size_t length;
    bool plain;                // not quoted
    canto_config_place origin; // of the whole text; with a line, nodes have their own
    void *yaml;                // owned: libyaml's parser and event
} canto_reader;

// `text` must stay until the close. The first canto_reader_next gives the first node.
canto_status canto_reader_open(canto_reader *in, const canto_config_place *origin, const char *text,
                               size_t length);
canto_status canto_reader_next(canto_reader *in);
// A value that was left out, or null.
bool canto_reader_null(const canto_reader *in);
void canto_reader_close(canto_reader *in);

// Text in `size` bytes; the current node is a key.
canto_status canto_reader_name(const canto_reader *in, size_t size, char *name);
// Sets the field of a scalar key in `base`; `named`: where the key stands, for a missing value.
canto_status canto_reader_scalar(const canto_reader *in, const canto_key *key,
                                 const canto_config_place *named, void *base);

// Sets a list in `config`; the current node is its value.
canto_status canto_config_ints(canto_reader *in, const canto_key *key,
                               const canto_config_place *named, canto_config *config);
canto_status canto_config_mixers(canto_reader *in, const canto_key *key,
                                 const canto_config_place *named, bool predefined,
                                 canto_config *config);
// An unknown key of `table`, with the nearest name; `where`: "section train".
canto_status canto_config_fail_unknown(const canto_key *table, const char *section,
                                       const char *name, const char *where,
                                       const canto_config_place *place);

#endif
