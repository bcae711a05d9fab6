/*
curate: Dolma's stages over files of documents, one subcommand each.

    curate tag --taggers gopher_v1,c4_v1 wiki/documents         what each document is like, beside it: wiki/attributes/tags
    curate dedupe ...                                           what has been seen before             (data/dedupe.c)
    curate decontaminate ...                                    what stands in evaluation text        (data/dedupe.c)
    curate mix config.json                                      from both to a corpus                 (data/mix.c)
    curate train ...                                            a classifier for `tag`                (data/classifier.c)

Below: the table of the taggers, `tag`, and the table of the subcommands.
*/
#define OLMO_LIBRARY
#include "../train_olmo.c"
#include "documents.c"
#include "words.c"
#include "dedupe.c"
#include "taggers.c"
#include "classifier.c"
#include "mix.c"

// ---- the taggers -----------------------------------------------------------------------------------------------------

typedef struct {
    const char *name, *about;
    void (*tag)(Tags *out, View *v);
    void (*prepare)(void);                                  // before the first document, on one thread: loads, compiles; or NULL
} Tagger;

static const Tagger taggers[] = {
};
