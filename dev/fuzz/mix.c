// Lines: the rules of a stream, its span replacements, then documents, each of which is also the line of an attribute file about
// itself: data/mix.c has to refuse them, or to leave a document whose text is UTF-8.
#include "fuzz.c"
#include "../../data/words.c"
#include "../../data/dedupe.c"
#include "../../data/mix.c"

static void fuzz_start(void) {}
static void fuzz(const unsigned char *data, size_t size) {
    Stream *s = (Stream *)allocate(1, sizeof *s, "a stream");
    Tally *tally = (Tally *)allocate(1, sizeof *tally, "a tally");
    json_t *part[2] = { NULL, NULL };
    Document d;
    const char *path = as_file(data, size);
    Reader *r = reader_open(path), *attributes = reader_open(path);
    if (!r || !attributes) return;
    r->line.json = attributes->line.json = 1, r->separator = attributes->separator = "\n";
    for (int i = 0; i < 2; i++) if (!reader_line(r) || !reader_line(attributes) || !(part[i] = json_loadb(r->line.text, r->line.size, 0, NULL))) return;
    stream_rules(s, part[0], "rules");
    stream_replacements(s, part[1], "replacements");
    s->rate = 1;
    while (document_read(r, &d)) {
        int whole = document_json(&d) != NULL;
        if (size & 1) merge_attributes(&d, attributes);
        if (!whole) continue;
        for (int as_released = 0; as_released < 2; as_released++) {
            Document copy = d;
            copy.json = json_deep_copy(d.json);
            mix_document(s, &copy, as_released, tally, NULL);
            if (utf8_valid(copy.text, copy.size) != copy.size) abort();
        }
    }
    reader_close(r), reader_close(attributes);
}
