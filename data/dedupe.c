/*
curate dedupe: marks what has been seen before, by URL, document, paragraph or n-gram, with a Bloom filter.
curate decontaminate: marks training documents in which a paragraph of evaluation text stands.
(DATA_SPEC 4 and 7.)

    curate dedupe --by paragraph --expected 1e6 --bloom seen.bloom --name duplicate_paragraphs wiki/documents
    curate decontaminate --against evaluation/documents wiki/documents

Documents stay as they are: beside wiki/documents/x.jsonl.gz appears wiki/attributes/NAME/x.jsonl.gz
with a line for each, {"id": ..., "attributes": {"NAME": [[start, end, 1], ...]}}: what `curate mix`
then drops or cuts out.

The first occurrence is kept, in the order of the files on the command line: threads read and hash
the files of a group side by side, but the filter meets their keys file after file. So the result
does not depend on the number of threads.

An interrupted run goes on where it was: the filter's file is a checkpoint, made between two groups
of files, and it names the files whose keys it holds. It is written beside the old one and renamed.
The same command, started again, passes over those files and does the others once more, with the same
bits as at the first time: no document meets its own key.
*/
typedef XXH128_hash_t Key;           // of a URL, text, paragraph or n-gram; 128 bits: never equal by chance

// ---- the Bloom filter -------------------------------------------------------------------------------
// m bits, of which a key sets k (Bloom 1970). A key whose k bits are all set is taken for an old
// one; after n keys that is wrong for a new one with probability  p = (1 - (1 - 1/m)^(kn))^k,  least
// where k = m/n ln 2.

static double filter_rate(double bits, double k, double n) { return pow(-expm1(k*n*log1p(-1/bits)), k); }
static double filter_best_k(double bits, double n) { return ceil(bits/n*log(2)); }

// Dolma's sizing: 1 MiB, doubled until p is reached.
static uint64_t filter_bytes(double n, double p) {
    uint64_t bytes = 1 << 20;
    while (filter_rate(8.0*(double)bytes, filter_best_k(8.0*(double)bytes, n), n) > p &&
           bytes < 1ull << 50)
        bytes *= 2;
    return bytes;
}

// The best k makes p far smaller than asked, where doubling went far beyond the need (k = 5815 for
// 1000 keys in 1 MiB). But each bit is a visit to memory, and ceil(log2(1/p)) are enough: at most
// half of the bits are set, so p <= 2^-k.
static int filter_k(double bits, double n, double p) {
    double k = fmin(filter_best_k(bits, n), ceil(-log2(p)));
    return k < 1 ? 1 : (int)k;
}

typedef struct {                                            // how a filter's file begins; all little-endian
    char magic[8];
    uint64_t bytes, k;                                      // of bits, which follow; a power of two
    double expected, rate;                                  // what it was sized for
    uint64_t keys, names;                        // held; bytes of the list of input files, which comes last
    char what[64], options[80];                             // kind of key; the options that choose keys
    uint64_t check;                                         // XXH3 of what stands before
} FilterHeader;
static const char filter_magic[8] = "OLMOblo2";

typedef struct {
    FilterHeader header;
    uint64_t *bits;                                         // [header.bytes/8]
    int shift;                                              // 64 - log2 of the number of bits
    char *names;                       // of the input files whose keys it holds, a line for each: file_mark
    size_t names_room;
    struct stat on_disk;              // its file, as it was read, or last written; st_ino 0: there was none
} Filter;

static Filter filter_new(double expected, double rate, const char *what, const char *options) {
    Filter f;
    memset(&f, 0, sizeof f);
    memcpy(f.header.magic, filter_magic, 8);
    f.header.expected = expected, f.header.rate = rate;
    f.header.bytes = filter_bytes(expected, rate);
    f.header.k = (uint64_t)filter_k(8.0*(double)f.header.bytes, expected, rate);
    snprintf(f.header.what, sizeof f.header.what, "%s", what);
    snprintf(f.header.options, sizeof f.header.options, "%s", options);
    f.shift = 64 - __builtin_ctzll(8*f.header.bytes);
    char name[128];
    snprintf(name, sizeof name, "a filter of %.4g keys with %g false positives", expected, rate);
    check_memory((double)f.header.bytes, name,
                 "take a smaller --expected, or a larger --false-positives");
    void *bits = mmap(NULL, f.header.bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(bits != MAP_FAILED, "not enough memory for a filter of %.2f GB", 1e-9*(double)f.header.bytes);
    // visits are random: small pages would each cost a walk of the page table
    madvise(bits, f.header.bytes, MADV_HUGEPAGE);
    f.bits = (uint64_t *)bits;
    f.names = (char *)with_room(NULL, 0, 1, &f.names_room, 1, "the names of the files");
    return f;
}
static void filter_free(Filter *f) { munmap(f->bits, f->header.bytes), release(f->names); }

static uint64_t filter_check(const FilterHeader *h) {
    return XXH3_64bits(h, offsetof(FilterHeader, check));
}

// Complete under its name, or not at all.
static void filter_save(Filter *f, const char *path) {
    Whole *w = whole_begin(path);
    struct stat now;
    int is_there = !stat(path, &now);
    CHECK(is_there == (f->on_disk.st_ino != 0) &&
          (!is_there || (now.st_ino == f->on_disk.st_ino && !time_order(&now, &f->on_disk))),
          "%s: another run has written this filter since we read it, so the keys of one would be "
          "lost; run one after the other", path);
    f->header.names = strlen(f->names), f->header.check = filter_check(&f->header);
    CHECK(fwrite(&f->header, sizeof f->header, 1, w->file) == 1 &&
          fwrite(f->bits, 1, f->header.bytes, w->file) == f->header.bytes &&
          fwrite(f->names, 1, f->header.names, w->file) == f->header.names,
          "%s: writing failed: %s; is the disk full?", path, strerror(errno));
    whole_end(w);
    CHECK(stat(path, &f->on_disk) == 0, "%s: was written, and is gone", path);
}

// options: those that its keys must have been chosen by, or NULL.
static Filter filter_load(const char *path, const char *what, const char *options) {
    uint64_t size;
    FilterHeader h;
    FILE *file = open_to_read(path, &size);
    CHECK(fread(&h, sizeof h, 1, file) == 1 && !memcmp(h.magic, filter_magic, 8),
          "%s: expected a Bloom filter of `curate`", path);
    CHECK(h.check == filter_check(&h), "%s: the filter's header is damaged", path);
    CHECK(!h.what[sizeof h.what - 1] && !h.options[sizeof h.options - 1] && h.expected > 0 &&
          h.rate > 0 && h.rate < 1 && h.k > 0 && h.k <= 1100 &&
          h.bytes == filter_bytes(h.expected, h.rate) && h.names < size,
          "%s: the filter's header makes no sense", path);
    CHECK(size == sizeof h + h.bytes + h.names,
          "%s: expected %llu bytes, as its header says, found %llu", path,
          (unsigned long long)(sizeof h + h.bytes + h.names), (unsigned long long)size);
    CHECK(!strcmp(h.what, what), "%s: this filter holds %s, not %s; choose another --bloom", path,
          h.what, what);
    CHECK(!options || !strcmp(h.options, options),
          "%s: this filter's keys were chosen with the options `%s`, not `%s`; choose another "
          "--bloom", path, h.options, options);
    Filter f = filter_new(h.expected, h.rate, h.what, h.options);
    f.header = h;
    CHECK(fstat(fileno(file), &f.on_disk) == 0, "%s: cannot be read: %s", path, strerror(errno));
    f.names = (char *)with_room(f.names, 0, h.names + 1, &f.names_room, 1, "the names of the files");
    CHECK(fread(f.bits, 1, h.bytes, file) == h.bytes && fread(f.names, 1, h.names, file) == h.names,
          "%s: cannot be read", path);
    fclose(file);
    return f;
}

// Bit i of a key. (Kirsch and Mitzenmacher 2008 take low + i*high itself; then two keys of about the
// same low and high share all k bits, and p stays above 1e-12. Mixed once more, the k bits are as
// good as independent.)
static inline uint64_t filter_bit(const Filter *f, Key key, int i) {
    return hash64(key.low64 + (uint64_t)i*key.high64) >> f->shift;
}

static int filter_has(const Filter *f, Key key) {
    for (int i = 0; i < (int)f->header.k; i++) {
        uint64_t bit = filter_bit(f, key, i);
        if (!(f->bits[bit/64] >> bit % 64 & 1)) return 0;
    }
    return 1;
}
// Returns whether it was there. Without a branch the k visits to memory overlap: that is what the
// speed comes from.
static int filter_add(Filter *f, Key key) {
    uint64_t there = 1;
    for (int i = 0; i < (int)f->header.k; i++) {
        uint64_t bit = filter_bit(f, key, i), *word = &f->bits[bit/64];
        there &= *word >> bit % 64;
        *word |= 1ull << bit % 64;
    }
    f->header.keys += !there;
    return (int)there;
}

// The probability that a new key is taken for an old one now: all its k bits are set.
static double filter_rate_now(const Filter *f) {
    uint64_t set = 0;
    for (uint64_t i = 0; i < f->header.bytes/8; i++) set += (uint64_t)__builtin_popcountll(f->bits[i]);
    return pow((double)set/(8.0*(double)f->header.bytes), (double)f->header.k);
}

// ---- the exact set ----------------------------------------------------------------------------------
// What the filter approximates: all keys, in a table with open addressing. For --exact, and for the
// names of files.

typedef struct { Key *slot; size_t used, room; } KeySet;    // room: a power of two; a slot of zeros is free

static int set_add(KeySet *s, Key key);
static void set_grow(KeySet *s) {
    KeySet old = *s;
    s->room = old.room ? 2*old.room : 1024, s->used = 0;
    s->slot = (Key *)allocate(s->room, sizeof(Key), "the exact set of keys");
    for (size_t i = 0; i < old.room; i++)
        if (old.slot[i].low64 | old.slot[i].high64) set_add(s, old.slot[i]);
    release(old.slot);
}
static Key *set_slot(const KeySet *s, Key key) {
    size_t i = key.high64 & (s->room - 1);
    while ((s->slot[i].low64 | s->slot[i].high64) && !XXH128_isEqual(s->slot[i], key))
        i = (i + 1) & (s->room - 1);
    return &s->slot[i];
}
static int set_has(const KeySet *s, Key key) {
    const Key *slot = s->room ? set_slot(s, key) : NULL;
    return slot && (slot->low64 | slot->high64);
}
// Returns whether it was there.
static int set_add(KeySet *s, Key key) {
    if (!(key.low64 | key.high64)) key.low64 = 1;
    if (4*s->used >= 3*s->room) set_grow(s);
    Key *slot = set_slot(s, key);
    if (slot->low64 | slot->high64) return 1;
    *slot = key, s->used++;
    return 0;
}

// ---- text -------------------------------------------------------------------------------------------

// No letter, digit or mark: dashes, rules, smileys.
static int is_punctuation(const char *text, size_t size) {
    for (size_t i = 0; i < size; ) {
        int length, code = utf8_decode(text + i, size - i, &length);
        if (U_MASK(u_charType(code)) & (U_GC_L_MASK | U_GC_N_MASK | U_GC_M_MASK)) return 0;
        i += (size_t)length;
    }
    return 1;
}

// The words of UAX 29 (words.c; punctuation marks among them, blanks not): hash[i] is that of the
// i-th. Returns how many.
typedef struct { uint64_t *hash; size_t room; } WordHashes;

static size_t word_hashes(WordHashes *w, const char *text, size_t length) {
    size_t n = 0, size;
    for (const char *word = text, *end = text + length; (word = unicode_word(word, end, &size));
         word += size) {
        w->hash = (uint64_t *)room_for_one(w->hash, &w->room, n, sizeof *w->hash);
        w->hash[n++] = XXH3_64bits(word, size);
    }
    return n;
}

static int has_words(const char *text, size_t length, int least) {
    size_t size;
    for (const char *word = text, *end = text + length;
         least > 0 && (word = unicode_word(word, end, &size)); word += size)
        least--;
    return least <= 0;
}

// ---- from documents to keys -------------------------------------------------------------------------

typedef enum { DOCUMENT, PARAGRAPH, NGRAM } Unit;
typedef struct {
    Unit unit;
    const char *field[2];                     // of a DOCUMENT: where its key is, or else is; NULL: its text
    int min_length, min_words, skip_empty, skip_punctuation;        // units that are left out
    int ngram, stride, skip_short;   // of a paragraph's words; skip_short: too few of them are not compared
    double overlap;                              // share of a paragraph's n-grams that makes it a duplicate
    int as_released;
    const char *name;                                       // of the attribute
} Dedupe;

// code points; a duplicate if enough of these keys are old
typedef struct { size_t start, end, key, keys; } Passage;
typedef struct { size_t id, id_size, passages; } Record;    // id: in ids; passages: it ends before this one
typedef struct {                                            // all of one input file
    Key *key;
    unsigned char *old;                                     // [keys] has it been seen before?
    Passage *passage;
    Record *record;
    char *ids;
    size_t keys, passages, records, ids_size, key_room, passage_room, record_room, ids_room;
    uint64_t bytes, without;                                // of text; documents that lack the field
    WordHashes words;
} Portion;

static void add_key(Portion *b, Key key) {
    b->key = (Key *)room_for_one(b->key, &b->key_room, b->keys, sizeof *b->key);
    b->key[b->keys++] = key;
}
static void add_passage(Portion *b, size_t start, size_t end, size_t key) {     // of the keys from `key` on
    b->passage = (Passage *)room_for_one(b->passage, &b->passage_room, b->passages, sizeof *b->passage);
    Passage passage = { start, end, key, b->keys - key };
    b->passage[b->passages++] = passage;
}

static int is_left_out(const Dedupe *how, const char *text, size_t size) {
    size_t length = how->as_released ? size : how->min_length ? code_points(text, size) : 0;
    return (how->min_length && length < (size_t)how->min_length) ||
           (how->skip_empty && all_unicode_space(text, text + size)) ||
           (how->skip_punctuation && is_punctuation(text, size)) ||
           (how->min_words && !has_words(text, size, how->min_words));
}

// The n-grams that start at words 0, stride, 2 stride ... As released, at 0, 1, 1 + stride ...
// (quirk B2). A paragraph with fewer than two n-grams is compared whole.
static void add_ngrams(Portion *b, const Dedupe *how, const char *text, size_t size, size_t start,
                       size_t end) {
    size_t n = (size_t)how->ngram, words = word_hashes(&b->words, text, size), first = b->keys;
    for (size_t i = 0; i + n <= words; i += how->as_released && !i ? 1 : (size_t)imax(how->stride, 1))
        add_key(b, XXH3_128bits(b->words.hash + i, n*sizeof *b->words.hash));
    if (b->keys - first < 2 && !how->skip_short) {
        first = b->keys;
        add_key(b, XXH3_128bits(text, size));
    }
    if (b->keys > first) add_passage(b, start, end, first);
}

// A paragraph's key is the text before its newline, LF or CR LF; its span covers that. As released,
// an empty one follows the last newline, and whether a span grows by the newline is asked of bytes
// instead of code points (quirk B1).
static void add_paragraphs(Portion *b, const Dedupe *how, const char *text, size_t size) {
    for (size_t at = 0, start = 0, end;
         at < size || (how->as_released && size && text[size - 1] == '\n' && at == size); start = end) {
        const char *newline = (const char *)memchr(text + at, '\n', size - at);
        size_t length = newline ? (size_t)(newline - text) - at : size - at;
        end = start + code_points(text + at, length);
        if (how->as_released ? end < size - 1 : newline != NULL) end++;
        size_t size_of_key = length - (!how->as_released && length && text[at + length - 1] == '\r');
        if (!is_left_out(how, text + at, size_of_key)) {
            if (how->unit == NGRAM) add_ngrams(b, how, text + at, size_of_key, start, end);
            else {
                add_key(b, XXH3_128bits(text + at, size_of_key));
                add_passage(b, start, end, b->keys - 1);
            }
        }
        at += length + 1;
    }
}

static void add_document(Portion *b, const Dedupe *how, const Document *d) {
    int which = d->extra[0] ? 0 : 1;
    const char *key = how->field[0] ? d->extra[which] : d->text;
    size_t size = how->field[0] ? d->extra_size[which] : d->size;
    if (how->unit != DOCUMENT) add_paragraphs(b, how, d->text, d->size);
    else if (!key) b->without++;
    else if (!is_left_out(how, key, size)) {
        add_key(b, XXH3_128bits(key, size));
        add_passage(b, 0, how->as_released ? size : code_points(d->text, d->size), b->keys - 1);
    }
    Record record = { b->ids_size, d->id_size, b->passages };
    b->record = (Record *)room_for_one(b->record, &b->record_room, b->records, sizeof record);
    b->record[b->records++] = record;
    b->ids = (char *)with_room(b->ids, b->ids_size, b->ids_size + record.id_size, &b->ids_room, 1,
                               "a file's ids");
    memcpy(b->ids + record.id, d->id, record.id_size);
    b->ids_size += record.id_size, b->bytes += d->size;
}

// 0, with a sentence, if the file cannot be read.
static int portion_read(Portion *b, const Dedupe *how, const char *path) {
    memset(b, 0, sizeof *b);
    Reader *r = reader_open(path);
    if (!r) return 0;
    r->line.extra[0] = how->field[0], r->line.extra[1] = how->field[1];
    for (Document d; document_read(r, &d); document_free(&d)) add_document(b, how, &d);
    b->old = (unsigned char *)allocate(b->keys + 1, 1, "a file's keys");
    bar_add(r, b->records);
    reader_close(r);
    return 1;
}
static void portion_free(Portion *b) {
    release(b->key), release(b->old), release(b->passage), release(b->record);
    release(b->ids), release(b->words.hash);
}

// ---- attributes -------------------------------------------------------------------------------------

static int is_duplicate(const Portion *b, const Passage *s, double overlap, double *score) {
    size_t old = 0;
    for (size_t i = 0; i < s->keys; i++) old += b->old[s->key + i];
    *score = (double)old/(double)s->keys;
    return *score >= overlap;
}

// Returns how many passages are duplicates.
static uint64_t attributes_write(const Portion *b, const Dedupe *how, const char *path) {
    uint64_t duplicates = 0;
    Writer *w = writer_open(path);
    for (size_t i = 0, s = 0; i < b->records; i++) {
        const char *comma = "";
        double score;
        writer_text(w, "{\"id\":");
        writer_json_string(w, b->ids + b->record[i].id, b->record[i].id_size);
        writer_text(w, ",\"attributes\":{\""), writer_text(w, how->name), writer_text(w, "\":[");
        for (; s < b->record[i].passages; s++) {
            if (!is_duplicate(b, &b->passage[s], how->overlap, &score)) continue;
            writer_text(w, comma), writer_span(w, b->passage[s].start, b->passage[s].end, score);
            comma = ",", duplicates++;
        }
        writer_text(w, "]}}\n");
    }
    writer_close(w);
    return duplicates;
}

// ---- a run ------------------------------------------------------------------------------------------

typedef struct {
    Filter filter;
    int read_only, exact;                              // exact: the set decides, and the filter is measured
    KeySet set;
    uint64_t documents, bytes, keys, passages, duplicates, without, new_keys, false_positives;
    double began, filtering;                                // seconds
} Marking;

// Has this key been seen before? The exact set knows; without it, the filter is believed.
static int is_old(Marking *m, Key key, int insert) {
    int old = insert ? filter_add(&m->filter, key) : filter_has(&m->filter, key);
    if (!m->exact) return old;
    int in_set = insert ? set_add(&m->set, key) : set_has(&m->set, key);
    m->new_keys += !in_set, m->false_positives += !in_set && old;
    return in_set;
}
// All keys of a file, one after the other: looked up, and inserted. But the n-grams of a paragraph
// are inserted when all of them have been looked up, so that it does not meet its own. (As released,
// it does.) Not called by two threads at a time, if m changes.
static void batch_mark(Portion *b, Marking *m, const Dedupe *how) {
    double began = seconds();
    for (size_t i = 0, p = 0, n; i < b->keys; i += n) {
        n = p < b->passages && b->passage[p].key == i ? b->passage[p++].keys : 1;
        int together = n > 1 && !how->as_released;
        for (size_t k = i; k < i + n; k++)
            b->old[k] = (unsigned char)is_old(m, b->key[k], !m->read_only && !together);
        for (size_t k = i; k < i + n && together && !m->read_only; k++) {
            filter_add(&m->filter, b->key[k]);
            if (m->exact) set_add(&m->set, b->key[k]);
        }
    }
    double filtering = seconds() - began;
    #pragma omp critical (marking)
    m->filtering += filtering;
}

// An input file as the filter remembers it, in a line: size, time of change and path; one that has
// changed is another. A newline in the path is noted as /./, for no real path has a directory of
// that name.
static char *file_mark(const char *path) {
    struct stat s;
    char *real = realpath(path, NULL);
    CHECK(real && !stat(real, &s), "%s: cannot be read: %s", path, strerror(errno));
    char *mark = (char *)allocate(3*strlen(real) + 64, 1, "the names of the files");
    char *out = mark + sprintf(mark, "%lld %lld.%09ld ", (long long)s.st_size,
                               (long long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    for (const char *c = real; *c; c++) {
        if (*c == '\n') memcpy(out, "/./", 3), out += 3;
        else *out++ = *c;
    }
    free(real);
    return mark;
}
// The path in [from, end), as the file system has it: the caller's to release.
static char *marked_path(const char *from, const char *end) {
    char *path = (char *)allocate((size_t)(end - from) + 1, 1, "the names of the files"), *out = path;
    while (from < end) {
        int newline = end - from >= 3 && !memcmp(from, "/./", 3);
        *out++ = newline ? '\n' : *from;
        from += newline ? 3 : 1;
    }
    return path;
}
static void name_append(Filter *f, const char *path) {
    size_t n = strlen(path);
    f->names = (char *)with_room(f->names, f->header.names, f->header.names + n + 2, &f->names_room, 1,
                                 "the names of the files");
    memcpy(f->names + f->header.names, path, n), memcpy(f->names + f->header.names + n, "\n", 2);
    f->header.names += n + 1;
}

// One file: read, mark, write. Called in a loop with `ordered`: only the insertions wait for each other.
static void mark_file(Marking *m, const Dedupe *how, const char *path, const char *mark) {
    Portion b;
    char attributes[PATH];
    struct stat documents;
    int known = !stat(path, &documents), fine = portion_read(&b, how, path);
    if (m->read_only) batch_mark(&b, m, how);
    #pragma omp ordered
    {
        if (!m->read_only) batch_mark(&b, m, how);
        if (!m->read_only && fine) name_append(&m->filter, mark);
    }
    attributes_path(attributes, path, how->name);
    uint64_t duplicates = fine ? attributes_write(&b, how, attributes) : 0;
    if (fine && known) set_time_of(attributes, &documents);
    #pragma omp critical (marking)
    {
        m->documents += b.records, m->bytes += b.bytes, m->keys += b.keys, m->passages += b.passages;
        m->duplicates += duplicates, m->without += b.without;
    }
    portion_free(&b);
}

// Files whose keys the filter holds leave the list. Returns the marks of the others.
static char **files_to_mark(const Marking *m, const Dedupe *how, Files *files) {
    // marks; paths; sizes and times of files that are gone
    KeySet held = { NULL, 0, 0 }, paths = { NULL, 0, 0 }, times = { NULL, 0, 0 };
    char **mark = (char **)allocate((size_t)files->n + 1, sizeof *mark, "the names of the files");
    char (*attributes)[PATH] = (char (*)[PATH])allocate((size_t)files->n, sizeof *attributes,
            "the names of the files");
    int left = 0, kept = 0;
    for (const char *s = m->filter.names, *end; *s && !m->read_only; s = end + 1) {
        end = s + strcspn(s, "\n");
        const char *path = (const char *)memchr(s, '/', (size_t)(end - s));
        set_add(&held, XXH3_128bits(s, (size_t)(end - s)));
        char *name = path ? marked_path(path, end) : NULL;
        if (name) set_add(&paths, XXH3_128bits(path, (size_t)(end - path)));
        if (name && !file_exists(name)) set_add(&times, XXH3_128bits(s, (size_t)(path - s)));
        release(name);
        if (!*end) break;
    }
    for (int i = 0; i < files->n; i++) attributes_path(attributes[i], files->path[i], how->name);
    check_different(attributes, files->n);
    for (int i = 0; i < files->n; i++) {
        char *now = file_mark(files->path[i]);
        const char *path = strchr(now, '/');
        if (set_has(&held, XXH3_128bits(now, strlen(now)))) {
            CHECK(file_exists(attributes[i]),
                  "%s: the filter holds its keys already, but %s is missing; give the --name of "
                  "then, or begin with a new filter", files->path[i], attributes[i]);
            release(now), kept++;
            continue;
        }
        CHECK(!set_has(&paths, XXH3_128bits(path, strlen(path))),
              "%s: has changed since the filter took its keys; begin with a new filter", files->path[i]);
        CHECK(!set_has(&times, XXH3_128bits(now, (size_t)(path - now))),
              "%s: the filter holds the keys of a file of the same size and time that is gone: has "
              "it been moved? Begin with a new filter; or, if this is another file, `touch` it",
              files->path[i]);
        mark[left] = now, files->path[left++] = files->path[i];
    }
    if (kept) fprintf(stderr, "%d of %d files were done before: kept\n", kept, files->n);
    files->n = left;
    release(held.slot), release(paths.slot), release(times.slot), release(attributes);
    return mark;
}

// save: the filter's file, or NULL.
static void mark_files(Marking *m, const Dedupe *how, const char *command, Files files,
                       const char *save, double save_every) {
    char **mark = files_to_mark(m, how, &files);
    for (int i = 0; i < files.n; i++) note_command(command, files.path[i], how->name);
    int group = 8*omp_get_max_threads();
    double saved = seconds();
    m->began = saved;
    bar_begin(how->name, files_bytes(files.path, files.n));
    for (int first = 0; first < files.n; first += group) {
        int last = imin(first + group, files.n);
        #pragma omp parallel for ordered schedule(dynamic, 1)
        for (int i = first; i < last; i++) mark_file(m, how, files.path[i], mark[i]);
        if (save && (last == files.n || (!m->exact && seconds() - saved >= save_every)))
            filter_save(&m->filter, save), saved = seconds();
    }
    bar_end();
    for (int i = 0; i < files.n; i++) release(mark[i]);
    release(mark);
}

static void print_marking(const Marking *m, const Dedupe *how) {
    char a[64], b[64];
    double past = seconds() - m->began, documents = (double)m->documents + (m->documents == 0);
    double bytes = (double)m->filter.header.bytes;
    double rate_now = filter_rate_now(&m->filter);          // which reads all of the filter
    const FilterHeader *h = &m->filter.header;
    printf("documents        %s (%s a second), %.1f MB of text\n", with_commas((double)m->documents, a),
           with_commas((double)m->documents/past, b),
           1e-6*(double)m->bytes);
    if (m->without)
        printf("                 %s of them have no %s%s%s: they are not compared\n",
               with_commas((double)m->without, a), how->field[0], how->field[1] ? ", nor " : "",
               how->field[1] ? how->field[1] : "");
    printf("duplicates       %s of %s %s\n", with_commas((double)m->duplicates, a),
           with_commas((double)m->passages, b), h->what);
    printf("filter           %.1f MiB, %d bits a key: %.2f bytes a document; %s keys held, made for "
           "%.3g\n", bytes/0x1p20, (int)h->k, bytes/documents, with_commas((double)h->keys, a),
           h->expected);
    printf("                 %s keys a second went through it\n",
           with_commas((double)m->keys/(m->filtering + 1e-9), a));
    printf("false positives  at most %g asked for, %.3g at the filter's fill now\n", h->rate, rate_now);
    if (m->exact)
        printf("                 measured while it filled: %s of %s new keys: %.3g (exact set: %.2f "
               "bytes a document)\n", with_commas((double)m->false_positives, a),
               with_commas((double)m->new_keys, b),
               (double)m->false_positives/((double)m->new_keys + (m->new_keys == 0)),
               16.0*(double)m->set.room/documents);
    if (!m->exact && rate_now > h->rate)
        fprintf(stderr, "warning: the filter holds more keys than it was made for: more than %g of "
                        "new ones are now taken for duplicates; make it with a larger --expected\n",
                h->rate);
}

// ---- the two commands -------------------------------------------------------------------------------

static Filter filter_of_options(const Marking *m, const char *path, double expected, double rate,
                                const char *what, const char *options) {
    int exists = path && file_exists(path);
    CHECK(exists || !m->read_only, "--read-only: expected --bloom with a filter that exists");
    CHECK(!exists || !m->exact,
          "%s: exists already; --exact measures a new filter: remove it, or choose another --bloom",
          path);
    if (!exists) {
        CHECK(expected >= 1 && expected < 1e15,
              "--expected %g: expected the number of keys that the filter will hold, from 1 to 1e15",
              expected);
        if (!rate) rate = 1e-6;
        CHECK(rate > 1e-300 && rate < 1,
              "--false-positives %g: expected a probability between 0 and 1", rate);
        whole_check(path);
        return filter_new(expected, rate, what, options);
    }
    Filter f = filter_load(path, what, m->read_only ? NULL : options);
    CHECK(!expected || expected == f.header.expected,
          "%s: was made for %g keys, not %g; leave --expected out, or choose another --bloom", path,
          f.header.expected, expected);
    CHECK(!rate || rate == f.header.rate,
          "%s: was made for a rate of false positives of %g, not %g; leave --false-positives out, "
          "or choose another --bloom", path, f.header.rate, rate);
    return f;
}

static int dedupe_command(int argc, char **argv) {
    const char *by = NULL, *bloom = NULL, *on_error = "skip";
    double expected = 0, rate = 0, save_every = 600;
    int threads = 0, help = 0;
    Dedupe how = { .ngram = 13, .stride = 1, .overlap = 1 };
    Marking m = { .read_only = 0 };
    const Option table[] = {
        { "what", GROUP, NULL, "" },
        { "--by", TEXT, &by, "url, document, paragraph or ngram: what must not occur twice" },
        { "--field", TEXT, &how.field[0],
          "by url and document: the string to compare (default: metadata.url, or else url; text)" },
        { "--ngram", WHOLE, &how.ngram, "by ngram: words in one" },
        { "--stride", WHOLE, &how.stride, "by ngram: words from one to the next" },
        { "--overlap", NUMBER, &how.overlap,
          "by ngram: share of a paragraph's n-grams that makes it a duplicate" },
        { "--skip-short", FLAG, &how.skip_short,
          "by ngram: leave out paragraphs with fewer than two (else: compare them whole)" },
        { "--min-length", WHOLE, &how.min_length, "leave out what has fewer code points" },
        { "--min-words", WHOLE, &how.min_words, "leave out what has fewer words (Unicode's)" },
        { "--skip-empty", FLAG, &how.skip_empty, "leave out what is blank" },
        { "--name", TEXT, &how.name, "of the attribute, and of its directory" },
        { "filter", GROUP, NULL, "" },
        { "--bloom", TEXT, &bloom,
          "its file: read if it exists, saved every --save-every seconds and at the end (default: "
          "not kept)" },
        { "--expected", NUMBER, &expected, "keys that a new one is made for" },
        { "--false-positives", NUMBER, &rate,
          "of a new one: probability that a new key is taken for an old one, once it holds them all "
          "(0: 1e-6)" },
        { "--read-only", FLAG, &m.read_only, "compare with it, add nothing" },
        { "--exact", FLAG, &m.exact,
          "keep all keys as well: they decide, and the filter's false positives are counted" },
        { "--save-every", NUMBER, &save_every,
          "seconds between checkpoints: what an interruption costs at most" },
        { "run", GROUP, NULL, "" },
        READING_OPTIONS,
        { "--as-released", FLAG, &how.as_released,
          "as Dolma's code: lengths in bytes, quirks B1 and B2 (DATA_SPEC 4.2), paragraphs that "
          "meet their own n-grams" },
        { "--threads", WHOLE, &threads, "threads (0: all); the result does not depend on it" },
        { "--on-error", TEXT, &on_error, "skip what cannot be read, or stop" },
        { "--help", FLAG, &help, "this text" },
    };
    int names;
    const char **name =
        command_line("curate dedupe --by ... --name ATTRIBUTE --expected N [options] FILES AND "
                     "DIRECTORIES", NULL, table, (int)(sizeof table/sizeof *table), &help, argc,
                     argv, &names);
    char what[sizeof m.filter.header.what], options[sizeof m.filter.header.options], command[256];
    CHECK(by, "--by: is missing; expected url, document, paragraph or ngram");
    int url = !strcmp(by, "url"), written;
    how.unit = !strcmp(by, "paragraph") ? PARAGRAPH : !strcmp(by, "ngram") ? NGRAM : DOCUMENT;
    CHECK(how.unit != DOCUMENT || url || !strcmp(by, "document"),
          "--by %s: expected url, document, paragraph or ngram", by);
    CHECK(how.ngram >= 1 && how.stride >= 1, "--ngram %d, --stride %d: expected at least one word",
          how.ngram, how.stride);
    CHECK(how.overlap > 0 && how.overlap <= 1,
          "--overlap %g: expected a share, more than 0, at most 1", how.overlap);
    int as_always = how.ngram == 13 && how.stride == 1 && how.overlap == 1 && !how.skip_short;
    CHECK(how.unit == NGRAM || as_always,
          "--by %s: --ngram, --stride, --overlap and --skip-short are for --by ngram", by);
    CHECK(how.unit == DOCUMENT || !how.field[0],
          "--by %s: --field is for --by url and --by document", by);
    CHECK(!m.exact || !m.read_only, "--exact and --read-only: choose one");
    check_name("--name", how.name), choose_on_error(on_error);
    if (how.field[0]) how.field[0] = field_path("--field", how.field[0]);
    if (how.field[0] && !strcmp(how.field[0], text_field)) how.field[0] = NULL;           // the text itself
    else if (url) how.field[0] = "metadata.url", how.field[1] = "url";
    if (how.unit == DOCUMENT)
        written = snprintf(what, sizeof what, "documents by %s", how.field[0] ? how.field[0] : "text");
    else if (how.unit == PARAGRAPH) written = snprintf(what, sizeof what, "paragraphs");
    else
        written = snprintf(what, sizeof what, "paragraphs by %d-grams, stride %d%s", how.ngram,
                           how.stride, how.skip_short ? ", not whole" : "");
    CHECK(written < (int)sizeof what, "--field %s: this path is too long", how.field[0]);
    snprintf(options, sizeof options, "--min-length %d --min-words %d%s%s", how.min_length,
             how.min_words, how.skip_empty ? " --skip-empty" : "",
             how.as_released ? " --as-released" : "");
    snprintf(command, sizeof command, "curate dedupe: %s, %s --overlap %g", what, options, how.overlap);
    use_threads(threads);
    m.filter = filter_of_options(&m, bloom, expected, rate, what, options);
    mark_files(&m, &how, command, files_named(name, names), m.read_only ? NULL : bloom, save_every);
    print_marking(&m, &how);
    filter_free(&m.filter), release(m.set.slot), release(name);
    return documents_finished();
}

// A filter of the evaluation text's paragraphs, but for short ones and punctuation. Now their number
// is known before.
static Filter filter_of_evaluation(const char *against, const Dedupe *how, double rate) {
    char path[PATH];
    Portion b;
    memset(&b, 0, sizeof b);
    for (int i = 0; list_item("--against", against, i, path); i++) {
        const char *name = path;
        Files files = files_named(&name, 1);
        for (int f = 0; f < files.n; f++) {
            Reader *r = reader_open(files.path[f]);
            if (!r) continue;
            for (Document d; document_read(r, &d); document_free(&d)) add_document(&b, how, &d);
            reader_close(r);
        }
    }
    CHECK(b.keys, "--against %s: no paragraph has %d words or more", against, how->min_words);
    Filter f = filter_new((double)b.keys, rate, "paragraphs", "");
    for (size_t i = 0; i < b.keys; i++) filter_add(&f, b.key[i]);
    portion_free(&b);
    return f;
}

static int decontaminate_command(int argc, char **argv) {
    const char *against = NULL, *on_error = "skip";
    double rate = 1e-15;
    int threads = 0, help = 0;
    Dedupe evaluation = { .unit = PARAGRAPH, .min_words = 13, .skip_punctuation = 1 };
    Dedupe training = { .unit = PARAGRAPH, .overlap = 1,
                        .name = "bff_duplicate_paragraph_spans_decontamination" };
    Marking m = { .read_only = 1 };
    char command[256];
    const Option table[] = {
        { "options", GROUP, NULL, "" },
        READING_OPTIONS,
        { "--against", TEXT, &against, "PATH[,PATH]: files or directories of evaluation documents" },
        { "--min-words", WHOLE, &evaluation.min_words,
          "words (Unicode's) that one of their paragraphs must have to count" },
        { "--false-positives", NUMBER, &rate,
          "probability that another paragraph is taken for one of theirs" },
        { "--name", TEXT, &training.name, "of the attribute, and of its directory" },
        { "--threads", WHOLE, &threads, "threads (0: all); the result does not depend on it" },
        { "--on-error", TEXT, &on_error, "skip what cannot be read, or stop" },
        { "--help", FLAG, &help, "this text" },
    };
    int names;
    const char **name =
        command_line("curate decontaminate --against EVALUATION [options] FILES AND DIRECTORIES",
                     NULL, table, (int)(sizeof table/sizeof *table), &help, argc, argv, &names);
    CHECK(against, "expected --against, with evaluation text");
    CHECK(rate > 1e-300 && rate < 1, "--false-positives %g: expected a probability between 0 and 1",
          rate);
    check_name("--name", training.name), choose_on_error(on_error);
    use_threads(threads);
    m.filter = filter_of_evaluation(against, &evaluation, rate);
    snprintf(command, sizeof command,
             "curate decontaminate: against %llu paragraphs of at least %d words, whose hash is "
             "%016llx", (unsigned long long)m.filter.header.keys, evaluation.min_words,
             (unsigned long long)XXH3_64bits(m.filter.bits, m.filter.header.bytes));
    mark_files(&m, &training, command, files_named(name, names), NULL, 0);
    print_marking(&m, &training);
    filter_free(&m.filter), release(name);
    return documents_finished();
}
