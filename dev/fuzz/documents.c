// Any bytes as a file of documents: plain, gzip or zstd; JSON lines or text. What is read is
// encoded, and must come back.
#include "fuzz.c"

static Tokenizer *tokenizer;
static void fuzz_start(void) { tokenizer = tokenizer_load("dev/fuzz/seeds/tokenizer/small.json"); }

// The other reader has to find the same; and the members, as they stand, are JSON.
static void same_as_jansson(const Document *d) {
    const int flags = JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY;
    json_error_t error;
    json_t *tree = json_loadb(d->from->text, d->from->size, flags, &error);
    if (!tree && json_error_code(&error) == json_error_null_byte_in_key) return;
    const json_t *text = json_object_get(tree, "text");
    if (text_field[0] != 't') text = json_object_get(json_object_get(tree, "metadata"), "url");
    if (json_string_length(text) != d->size || memcmp(json_string_value(text), d->text, d->size))
        abort();
    size_t members = 0;
    const char *at = object_of(d->from);
    for (Member m; next_member(&at, &m); members++) {
        json_t *value = json_loadb(m.value, m.size, flags, NULL);
        if (!value) abort();
        json_decref(value);
    }
    if (members < json_object_size(tree)) abort();          // more, where a name comes twice
    json_decref(tree);
}

static void fuzz(const unsigned char *data, size_t size) {
    if (!size) return;
    text_field = "text";
    Encoder *e = encoder_new(tokenizer);
    separator = data[0] & 2 ? "\n\n" : NULL;
    Reader *r = reader_open(as_file(data + 1, size - 1));
    if (!r) return;
    if (data[0] & 1) r->line.json = 1, r->separator = "\n";
    if (data[0] & 4) text_field = "metadata.url";
    for (Document d; document_read(r, &d); document_free(&d)) {
        if (utf8_valid(d.text, d.size) != d.size) abort();
        if (d.from->json) same_as_jansson(&d);
        size_t n = encode(e, d.text, d.size), m = d.size;
        char *raw = (char *)allocate(n*(size_t)tokenizer->longest + 1, 1, "an input");
        const char *normal = normal_form(e, d.text, &m);
        if (decode(tokenizer, raw, e->ids, n) != m || memcmp(raw, normal, m)) {
            // a character may be split by an added token: then only the ids must return
            Encoder *f = encoder_new(tokenizer);
            size_t k = utf8_valid(raw, m) == m ? encode(f, raw, decode(tokenizer, raw, e->ids, n)) : n;
            if (k > n + m) abort();
        }
        release(raw);
    }
    reader_close(r);
}
