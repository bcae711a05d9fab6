// Any bytes as the file of a Bloom filter (data/dedupe.c): refused, or as good as one of ours.
#include "fuzz.c"
#include "../../data/words.c"
#include "../../data/dedupe.c"

static void fuzz_start(void) {}
static void fuzz(const unsigned char *data, size_t size) {
    Filter f = filter_load(as_file(data, size), "documents");
    Key key = XXH3_128bits("a", 1);
    if (!filter_has(&f, key)) filter_add(&f, key);
    if (!filter_has(&f, key)) abort();
}
