// Any bytes as a file of documents: plain, gzip or zstd; JSON lines or text. What is read is encoded, and must come back.
#include "fuzz.c"

static Tokenizer *tokenizer;
static void fuzz_start(void) { tokenizer = tokenizer_load("dev/fuzz/seeds/tokenizer/small.json"); }

static void fuzz(const unsigned char *data, size_t size) {
    if (!size) return;
    Encoder *e = encoder_new(tokenizer);
    separator = data[0] & 2 ? "\n\n" : NULL;
    Reader *r = reader_open(as_file(data + 1, size - 1));
    if (!r) return;
    if (data[0] & 1) r->line.json = 1, r->separator = "\n";
    for (Document d; document_read(r, &d); document_free(&d)) {
        if (utf8_valid(d.text, d.size) != d.size) abort();
        const json_t *text = json_object_get(document_json(&d), "text");        // the other reader has to find the same
        if (text && (json_string_length(text) != d.size || memcmp(json_string_value(text), d.text, d.size))) abort();
        size_t n = encode(e, d.text, d.size), m = d.size;
        char *raw = (char *)allocate(n*(size_t)tokenizer->longest + 1, 1, "an input");
        const char *normal = normal_form(e, d.text, &m);
        if (decode(tokenizer, raw, e->ids, n) != m || memcmp(raw, normal, m)) {
            Encoder *f = encoder_new(tokenizer);            // a character may be split by an added token: then only the ids must return
            size_t k = utf8_valid(raw, m) == m ? encode(f, raw, decode(tokenizer, raw, e->ids, n)) : n;
            if (k > n + m) abort();
        }
        release(raw);
    }
    reader_close(r);
}
