// Lines: the rules of a stream, its span replacements, then documents, each of which is also the
// line of an attribute file about itself: data/mix.c has to refuse them, or to leave lines of JSON.
#include "fuzz.c"
#include "../../data/words.c"
#include "../../data/dedupe.c"
#include "../../data/mix.c"

static void fuzz_start(void) {}

// What is written of a document must be JSON, with its id, and a text in UTF-8.
static void mix_and_read(const Stream *s, Document *d, int as_released, Tally *tally) {
    char *written = NULL;
    size_t size = 0;
    Writer w = { .path = "the corpus", .file = open_memstream(&written, &size), .packing = PLAIN };
    w.packed = (unsigned char *)allocate(BLOCK, 1, "a file's bytes");
    w.held = (char *)allocate(BLOCK, 1, "a text");
    mix_document(s, d, as_released, tally, &w);
    writer_pack(&w, w.held, w.holds, 1), fclose(w.file);
    json_error_t error;
    json_t *line = json_loadb(written, size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    const json_t *id = json_object_get(line, "id");
    if (size && !line && json_error_code(&error) != json_error_null_byte_in_key) abort();
    if (line && (json_string_length(id) != d->id_size || !json_is_string(json_object_get(line, "text"))))
        abort();
    json_decref(line), free(written);
    release(w.packed), release(w.held);
}

static void fuzz(const unsigned char *data, size_t size) {
    Stream *s = (Stream *)allocate(1, sizeof *s, "a stream");
    Tally *tally = (Tally *)allocate(1, sizeof *tally, "a tally");
    json_t *part[2] = { NULL, NULL };
    Document d;
    const char *path = as_file(data, size);
    Reader *r = reader_open(path), *attributes = reader_open(path);
    if (!r || !attributes) return;
    r->line.json = attributes->line.json = 1, r->separator = attributes->separator = "\n";
    for (int i = 0; i < 2; i++)
        if (!reader_line(r) || !reader_line(attributes) ||
            !(part[i] = json_loadb(r->line.text, r->line.size, 0, NULL)))
            return;
    stream_rules(s, part[0], "rules");
    stream_replacements(s, part[1], "replacements");
    s->rate = 1;
    s->n_attributes = size & 1;
    while (document_read(r, &d)) {
        int whole = own_attributes(&d);
        if (size & 1) merge_attributes(&d, attributes);
        if (!whole) continue;
        for (int as_released = 0; as_released < 2; as_released++) {
            Document copy = d;
            mix_and_read(s, &copy, as_released, tally);
        }
    }
    reader_close(r), reader_close(attributes);
}
