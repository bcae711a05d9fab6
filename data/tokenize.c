/*
Text to tokens: documents become the token files that train_olmo reads, as `dolma tokens` makes them
(DATA_SPEC 6).

    data/tokenize --tokenizer FILE --out tokens documents/ more.jsonl.gz book.txt
    ./train_olmo --data tokens/part-0-00000.npy --vocab 50304
    data/tokenize --tokenizer FILE --print < docs.jsonl > ids.jsonl      a line {"id": ..., "ids": [...]} each
    data/tokenize --tokenizer FILE --decode < ids.jsonl                   and back
    data/tokenize --help

Each document is stripped of white space at its ends, encoded, and followed by the id that ends
documents (--eos). Token files hold nothing else: little-endian uint16 (or uint32), no header, no
padding. Beside each stands a .csv.gz with a row start,end,id,source file,line for each document:
where its tokens are, and where it came from.

Training reads tokens in windows, so documents that stand together in a file would be learned from
together. They are mixed in three steps: the input files are permuted; 8 of them are open at a time,
and give a document in turn; 10,000 documents are shuffled and written. Order and files depend on the
inputs, --seed and the options, never on --threads.

How the work is done in parallel: documents go through the program in batches, and three batches are
on their way. While one is encoded, the next is read (each file by a thread of its own) and the one
before is written.

How it survives: a file has its name only when it is whole, and DIR/tokenize.json then records the
point in the input up to which everything is in such files. The same command goes on from there, and
ends with the bytes of an undisturbed run.
*/
#ifndef OLMO_LIBRARY                                       // dev/fuzz includes these in its own way
#define OLMO_LIBRARY
#include "../train_olmo.c"
#include "documents.c"
#endif

enum { MAX_RING = 64, MAX_BATCH = 1 << 20 };
static const size_t batch_bytes = 256 << 20;    // of documents in a batch: three batches must fit in memory

typedef struct {
    const char *tokenizer, *out, *dtype, *on_error;
    int print, decode, eos, bos, seed, groups, ring, batch, no_shuffle, as_released, threads, help;
    double file_tokens;
} Settings;

// ---- one document -----------------------------------------------------------------------------------

typedef struct {
    Line line;                                              // with a copy of its text
    char *out;                                    // what is to be written: tokens, or a line; NULL: nothing
    size_t out_size, text_size;
    char *id;                                               // [id_size]
    size_t id_size;
} Item;

typedef struct {                                            // how items are worked on
    Settings set;
    const Tokenizer *tokenizer;
    Encoder **encoder;                                      // one for each thread
    size_t width;                                           // bytes a token is stored in
} Work;

static void item_free(Item *item) {
    release((char *)item->line.text), release(item->out), release(item->id);
    memset(item, 0, sizeof *item);
}

static char *put_token(char *out, int id, size_t width) {              // little-endian
    for (size_t byte = 0; byte < width; byte++) *out++ = (char)(id >> 8*byte);
    return out;
}
static void item_tokens(const Work *w, Encoder *e, Item *item) {
    Document d;
    if (!document_parse(&item->line, &d)) return;
    size_t size = d.size;
    const char *text = strip(d.text, &size);
    if (size) {
        size_t n = encode(e, text, size);
        item->out = (char *)allocate(n + 2, w->width, "a document's tokens");
        char *p = item->out;
        if (w->set.bos >= 0 && e->ids[0] != w->set.bos) p = put_token(p, w->set.bos, w->width);
        for (size_t i = 0; i < n; i++) p = put_token(p, e->ids[i], w->width);
        if (e->ids[n - 1] != w->set.eos) p = put_token(p, w->set.eos, w->width);
        item->out_size = (size_t)(p - item->out), item->text_size = size;
        item->id_size = d.id_size;
        item->id = (char *)allocate(item->id_size + 1, 1, "a document's id");
        memcpy(item->id, d.id, item->id_size);
    }
    document_free(&d);
}

static void item_print(const Work *w, Encoder *e, Item *item) {
    (void)w;
    Document d;
    if (!document_parse(&item->line, &d)) return;
    size_t n = encode(e, d.text, d.size);
    json_t *string = json_stringn(d.id, d.id_size);
    char *id = json_dumps(string, JSON_ENCODE_ANY | JSON_COMPACT);
    CHECK(id, "%s:%llu: not enough memory for its id", d.path, (unsigned long long)d.line);
    item->out = (char *)allocate(strlen(id) + 32 + 12*n, 1, "a line of ids");
    char *p = item->out + sprintf(item->out, "{\"id\":%s,\"ids\":[", id);
    for (size_t i = 0; i < n; i++) {
        if (i) *p++ = ',';
        p = put_digits(p, e->ids[i]);
    }
    memcpy(p, "]}\n", 3);
    item->out_size = (size_t)(p + 3 - item->out), item->text_size = d.size;
    free(id), json_decref(string);
    document_free(&d);
}

// The ids of a line {"id": ..., "ids": [...]} and the bytes they stand for; NULL, with a sentence,
// if it is no such line.
static int *line_ids(const Work *w, const Line *line, const json_t *json, size_t *n, size_t *bytes) {
    const Tokenizer *t = w->tokenizer;
    const json_t *list = json_object_get(json, "ids");
    if (!json_is_array(list)) {
        problem(line->origin, line->number, "expected an object with an array \"ids\"");
        return NULL;
    }
    *n = json_array_size(list), *bytes = 0;
    int *ids = (int *)allocate(*n + 1, sizeof *ids, "a line's ids");
    for (size_t i = 0; i < *n; i++) {
        const json_t *value = json_array_get(list, i);
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value))
            problem(line->origin, line->number, "expected item %zu of \"ids\" to be a whole number", i);
        else if (id < 0 || id >= t->vocab || t->size[id] < 0)
            problem(line->origin, line->number,
                    "item %zu of \"ids\" is %lld, which is no token; ids are 0 to %d", i,
                    (long long)id, t->vocab - 1);
        else { ids[i] = (int)id, *bytes += (size_t)t->size[id]; continue; }
        release(ids);
        return NULL;
    }
    return ids;
}
static void item_decode(const Work *w, Encoder *e, Item *item) {
    (void)e;
    const Line *line = &item->line;
    json_error_t error;
    json_t *json = json_loadb(line->text, line->size, JSON_ALLOW_NUL, &error);
    size_t n = 0, bytes = 0;
    if (!json)
        problem(line->origin, line->number, "not JSON at byte %d: %s", error.position, error.text);
    int *ids = json ? line_ids(w, line, json, &n, &bytes) : NULL;
    if (ids) {
        origin_gave(line->origin);
        char *raw = (char *)allocate(bytes + 1, 1, "a text");
        char *text = (char *)allocate(3*bytes + 1, 1, "a text");
        size_t size = utf8_repair(text, raw, decode(w->tokenizer, raw, ids, n));
        json_t *id = line_id(line, json), *result = json_object();
        char place[PLACE];
        if (!id) id = json_stringn(place, put_place(place, below_documents(line->path), line->number));
        json_object_set_new(result, "id", id);
        json_object_set_new(result, "text", json_stringn(text, size));
        char *dump = json_dumps(result, JSON_COMPACT);
        CHECK(dump, "%s:%llu: not enough memory for its text", line->path,
              (unsigned long long)line->number);
        item->out_size = strlen(dump) + 1, item->text_size = size;
        item->out = (char *)allocate(item->out_size, 1, "a line of text");
        memcpy(item->out, dump, item->out_size - 1);
        item->out[item->out_size - 1] = '\n';
        free(dump), json_decref(result), release(raw), release(text), release(ids);
    }
    json_decref(json);
}

// ---- reading: the ring ------------------------------------------------------------------------------
// Some files are open at a time and give a document each in turn; when one ends, the next takes its
// place (DATA_SPEC 6.3).

typedef struct {
    Reader *reader;                                         // NULL: the file has ended
    int file;                                               // its number, in the order of reading
    Item *item;                                             // [n] what it has read for this batch
    int n;
} Slot;

typedef struct {                                // where the reading stands, so that it can go on from there
    int batch, next, n;                                     // batches so far; the next file; open files ...
    int file[MAX_RING];                                     // ... and the lines read of each
    uint64_t line[MAX_RING];
} Place;

typedef struct {
    char **path;                                            // in the order of reading
    int next, end;                                          // files not yet opened
    int size, n;                                            // slots, and those in use: the first n
    int batch, batches;                                     // documents in a batch; batches so far
    int silent;                                             // no progress bar
    Slot slot[MAX_RING];
} Ring;

typedef struct {
    Place from;                                             // where the ring stood before it
    Item *item;                                             // [n]
    int n, taken;                                           // the first `taken` are being encoded, or are
} Portion;

static Place ring_place(const Ring *ring) {
    Place p;
    memset(&p, 0, sizeof p);
    p.batch = ring->batches, p.next = ring->next, p.n = ring->n;
    for (int k = 0; k < ring->n; k++)
        p.file[k] = ring->slot[k].file, p.line[k] = ring->slot[k].reader->line.number;
    return p;
}

// Opens file number `file` in the last slot. A file that cannot be read has had its sentence, and
// takes no slot.
static int ring_open(Ring *ring, int file) {
    Slot *slot = &ring->slot[ring->n];
    slot->file = file, slot->n = 0;
    slot->reader = reader_open(ring->path[file]);
    if (slot->reader) ring->n++;
    return slot->reader != NULL;
}
// The ring as it was at a place: what was read then is read over.
static void ring_go_to(Ring *ring, const Place *p) {
    ring->batches = p->batch, ring->next = p->next;
    for (int k = 0; k < p->n; k++) {
        CHECK(ring_open(ring, p->file[k]), "%s: was read before, and cannot be read now",
              ring->path[p->file[k]]);
        Reader *r = ring->slot[k].reader;
        while (r->line.number < p->line[k])
            CHECK(reader_line(r),
                  "%s: ended before line %llu, which was read before; has it changed?", r->line.path,
                  (unsigned long long)p->line[k]);
    }
}

// Up to `share` documents of a slot's file, and not many more than `bytes`.
static void slot_read(Slot *slot, int share, size_t bytes, int silent) {
    Reader *r = slot->reader;
    size_t held = 0;
    for (slot->n = 0; slot->n < share && held < bytes; ) {
        if (!reader_line(r)) { slot->reader = NULL; break; }
        if (line_is_blank(&r->line)) continue;
        Item *item = &slot->item[slot->n++];
        char *copy = (char *)allocate(r->line.size + PADDING, 1, "a document");
        memcpy(copy, r->line.text, r->line.size);
        memset(item, 0, sizeof *item);
        item->line = r->line, item->line.text = copy;
        held += r->line.size;
    }
    if (!silent) bar_add(r, 0);
    if (!slot->reader) reader_close(r);
}

// The next batch: rounds of the ring, until it is full or nothing is left. In a round every file is
// read by a thread of its own, as many documents as it may give; then they are put in the order of
// turns.
static void portion_read(Portion *b, Ring *ring) {
    size_t held = 0;
    b->from = ring_place(ring), b->n = b->taken = 0;
    while (b->n < ring->batch && held < batch_bytes) {
        while (ring->n < ring->size && ring->next < ring->end) ring_open(ring, ring->next++);
        int open = imin(ring->n, ring->batch - b->n), share = open ? (ring->batch - b->n)/open : 0;
        if (!open) break;
        for (int k = 0; k < open; k++) {
            #pragma omp task
            slot_read(&ring->slot[k], share, (batch_bytes - held)/(size_t)open, ring->silent);
        }
        #pragma omp taskwait
        for (int i = 0; i < share; i++) for (int k = 0; k < open; k++) if (i < ring->slot[k].n) {
            b->item[b->n] = ring->slot[k].item[i];
            held += b->item[b->n++].line.size;
        }
        int left = 0;
        for (int k = 0; k < ring->n; k++) if (ring->slot[k].reader) {              // close the ranks
            Slot s = ring->slot[left];
            ring->slot[left++] = ring->slot[k], ring->slot[k] = s;
        }
        ring->n = left;
    }
    ring->batches += b->n > 0;
}

// ---- three batches on their way ---------------------------------------------------------------------

typedef void Encode(const Work *, Encoder *, Item *);       // item_tokens, item_print or item_decode
typedef void Write(void *to, Portion *);                   // all items of a batch, in its order or shuffled

// One thread's part in encoding a batch: the next item that nobody has taken, until none is left.
static void portion_encode(Portion *b, const Work *w, Encode *encode_item) {
    for (int i;;) {
        #pragma omp atomic capture
        i = b->taken++;
        if (i >= b->n) return;
        encode_item(w, w->encoder[omp_get_thread_num()], &b->item[i]);
        release((char *)b->item[i].line.text);
        b->item[i].line.text = NULL;
    }
}

// Everything in the ring through `encode_item` and `write`, unless asked to stop.
static void run_batches(Ring *ring, const Work *w, Encode *encode_item, Write *write, void *to) {
    Portion batch[3];
    memset(batch, 0, sizeof batch);
    for (int i = 0; i < 3; i++)
        batch[i].item = (Item *)allocate((size_t)ring->batch, sizeof(Item), "a batch");
    for (int k = 0; k < ring->size; k++)
        ring->slot[k].item = (Item *)allocate((size_t)ring->batch, sizeof(Item), "a batch");
    #pragma omp parallel
    #pragma omp single
    for (int i = 0, busy = 1; busy && !asked_to_stop; i++) {
        Portion *reading = &batch[i % 3], *encoding = &batch[(i + 2) % 3];
        Portion *writing = &batch[(i + 1) % 3];
        #pragma omp task
        portion_read(reading, ring);
        #pragma omp task
        write(to, writing);
        for (int t = 0; t < omp_get_max_threads(); t++) {
            #pragma omp task
            portion_encode(encoding, w, encode_item);
        }
        #pragma omp taskwait
        for (int k = 0; k < writing->n; k++) item_free(&writing->item[k]);
        writing->n = 0;
        busy = reading->n || encoding->n;
    }
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < batch[i].n; k++) item_free(&batch[i].item[k]);
        release(batch[i].item);
    }
    for (int k = 0; k < ring->n; k++) reader_close(ring->slot[k].reader);
    for (int k = 0; k < ring->size; k++) release(ring->slot[k].item);
}

static void write_lines(void *to, Portion *b) {
    for (int i = 0; i < b->n; i++) writer_put((Writer *)to, b->item[i].out, b->item[i].out_size);
}

// ---- token files ------------------------------------------------------------------------------------

typedef struct {
    const Work *work;
    int groups;
    uint64_t most;                                          // tokens in a file
    int group, shard;                                       // of the next file to be finished
    Writer *tokens, *rows;                                  // that file, if it has been begun
    uint64_t written, documents;                            // in it
    uint64_t text;                                          // bytes of text in all that has been written
    Place place;                                 // the finished files hold everything before this place ...
    int done;                                    // ... and so many documents of the batch that begins there
    json_t *recipe, *files;                      // what DIR was made from; [[name, tokens, documents], ...]
} Output;

static const char *part_name(const Output *o, const char *end, char *name) {
    int digits = snprintf(name, PATH, "%d", o->groups);     // as many as Dolma's ceil(log10(groups + 1))
    snprintf(name, PATH, "part-%0*d-%05d%s", digits, o->group, o->shard, end);
    return name;
}

static void state_write(const Output *o) {
    char path[PATH];
    json_t *open = json_array();
    for (int k = 0; k < o->place.n; k++)
        json_array_append_new(open, json_pack("[i,I]", o->place.file[k], (json_int_t)o->place.line[k]));
    json_t *state = json_pack("{s:O, s:O, s:{s:i, s:i, s:i, s:i, s:i, s:o, s:I}}", "recipe",
                              o->recipe, "files", o->files, "next", "group", o->group, "shard",
                              o->shard, "batch", o->place.batch, "document", o->done, "file",
                              o->place.next, "open", open, "text_bytes", (json_int_t)o->text);
    CHECK(state, "not enough memory for the state of the run");
    path_join(path, o->work->set.out, "tokenize.json");
    sync_directory(o->work->set.out);                       // the files it speaks of come first
    Writer *w = writer_open(path);
    writer_json(w, state), writer_text(w, "\n");
    writer_close(w);
    json_decref(state);
}

static void shard_begin(Output *o) {
    char name[PATH], path[PATH];
    path_join(path, o->work->set.out, part_name(o, ".npy", name));
    o->tokens = writer_open(path);
    path_join(path, o->work->set.out, part_name(o, ".csv.gz", name));
    o->rows = writer_open(path);
}
static void shard_close(Output *o) {
    char name[PATH];
    writer_close(o->rows), writer_close(o->tokens);
    json_array_append_new(o->files,
                          json_pack("[s,I,I]", part_name(o, ".npy", name), (json_int_t)o->written,
                                    (json_int_t)o->documents));
    o->tokens = o->rows = NULL, o->written = o->documents = 0;
}

// A field as Python's csv module writes it: in quotes, its own quotes doubled, if it has a comma, a
// quote or a line's end.
static char *csv_field(char *out, const char *s, size_t n) {
    int quotes = 0;
    for (size_t i = 0; i < n; i++) quotes |= s[i] == ',' || s[i] == '"' || s[i] == '\r' || s[i] == '\n';
    if (quotes) *out++ = '"';
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"') *out++ = '"';
        *out++ = s[i];
    }
    if (quotes) *out++ = '"';
    return out;
}
static void shard_put(Output *o, const Item *item) {
    char path[PLACE];
    size_t n = item->out_size/o->work->width, path_size = put_place(path, item->line.path, 0);
    char *row = (char *)allocate(2*(item->id_size + path_size) + 128, 1, "a row"), *p = row;
    p += sprintf(p, "%llu,%llu,", (unsigned long long)o->written, (unsigned long long)(o->written + n));
    p = csv_field(p, item->id, item->id_size);
    *p++ = ',';
    p = csv_field(p, path, path_size);
    p += sprintf(p, ",%llu\r\n", (unsigned long long)item->line.number);
    writer_put(o->rows, row, (size_t)(p - row));
    writer_put(o->tokens, item->out, item->out_size);
    o->written += n, o->documents++, o->text += item->text_size;
    release(row);
}

// The documents of a batch, shuffled, from the first on that is in no finished file.
static void write_tokens(void *to, Portion *b) {
    Output *o = (Output *)to;
    const Settings *set = &o->work->set;
    uint32_t *order = (uint32_t *)allocate((size_t)b->n + 1, sizeof *order, "the order of a batch");
    int n = 0, first = b->from.batch == o->place.batch ? o->done : 0;
    for (int i = 0; i < b->n; i++) if (b->item[i].out) b->item[n++] = b->item[i];
    else item_free(&b->item[i]);
    b->n = n;
    uint64_t which[3] = { (uint64_t)set->seed, (uint64_t)o->group, (uint64_t)b->from.batch };
    epoch_order(order, (uint32_t)n, XXH3_64bits(which, sizeof which));
    for (int i = first; i < n; i++) {
        const Item *item = &b->item[set->no_shuffle || set->as_released ? (uint32_t)i : order[i]];
        uint64_t tokens = item->out_size/o->work->width;
        if (tokens > o->most) {
            problem(item->line.origin, item->line.number,
                    "a document of %llu tokens does not fit into a file of at most %llu "
                    "(--shard-tokens)", (unsigned long long)tokens, (unsigned long long)o->most);
            origin_lost(item->line.origin);
            continue;
        }
        if (o->tokens && o->written + tokens > o->most) {
            shard_close(o);
            o->shard++, o->place = b->from, o->done = i;
            state_write(o);
        }
        if (!o->tokens) shard_begin(o);
        shard_put(o, item);
    }
    bar_add(NULL, (uint64_t)imax(0, n - first));
    release(order);
}

// ---- going on after an interruption -----------------------------------------------------------------

// All that the files in DIR depend on.
static json_t *make_recipe(const Settings *s, const Files *files) {
    char hash[32];
    json_t *inputs = json_array();
    for (int i = 0; i < files->n; i++) {
        struct stat st;
        CHECK(strcmp(files->path[i], "-"),
              "-: standard input cannot be read twice, so a run could not go on after an "
              "interruption; expected files (or --print)");
        CHECK(stat(files->path[i], &st) == 0, "%s: cannot be read: %s", files->path[i], strerror(errno));
        char name[PLACE];
        json_t *path = json_stringn(name, put_place(name, files->path[i], 0));
        json_array_append_new(inputs, json_pack("[o,I,I,I]", path, (json_int_t)st.st_size,
                                                (json_int_t)st.st_mtim.tv_sec,
                                                (json_int_t)st.st_mtim.tv_nsec));
    }
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)hash_file(s->tokenizer));
    json_t *recipe = json_pack("{s:s, s:i, s:i, s:s, s:I, s:i, s:b, s:i, s:i, s:i, s:b, s:s, s:o}",
                               "tokenizer_xxh3", hash, "eos", s->eos, "bos", s->bos, "dtype",
                               s->dtype, "shard_tokens", (json_int_t)s->file_tokens, "seed", s->seed,
                               "no_shuffle", s->no_shuffle, "groups", s->groups, "ring", s->ring,
                               "batch", s->batch, "as_released", s->as_released, "separator",
                               separator ? separator : "", "inputs", inputs);
    int fields = recipe && !json_object_set_new(recipe, "text_field", json_string(text_field)) &&
                 !json_object_set_new(recipe, "id_field", json_string(id_field));
    CHECK(fields, "--separator, --text-field, --id-field, --dtype: expected UTF-8");
    return recipe;
}

// The same recipe, or a sentence about the first thing that differs.
static void check_same(const char *path, const char *what, const json_t *was, const json_t *is) {
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_object(was) && json_is_object(is))
        json_object_foreach((json_t *)is, key, value)
            check_same(path, key, json_object_get(was, key), value);
    else if (json_is_string(json_array_get(is, 0)) &&
             json_equal(json_array_get(was, 0), json_array_get(is, 0)))
        CHECK(json_equal(was, is),
              "%s: the files beside it were made with another recipe: the input %s has changed "
              "since; choose another --out, or remove this one", path,
              json_string_value(json_array_get(is, 0)));
    else if (json_is_array(was) && json_is_array(is) && json_array_size(was) == json_array_size(is))
        json_array_foreach(is, i, value) check_same(path, what, json_array_get(was, i), value);
    else if (!json_equal(was, is)) {
        char *before = was ? json_dumps(was, JSON_ENCODE_ANY) : NULL;
        char *now = json_dumps(is, JSON_ENCODE_ANY);
        die("%s: the files beside it were made with another recipe: \"%s\" was %.120s and is now "
            "%.120s; choose another --out, or the command of then", path, what,
            before ? before : "absent", now);
    }
}

// A whole number of the state: from 0 to `most`.
static json_int_t state_number(const char *path, const json_t *value, const char *what,
                               json_int_t most) {
    json_int_t x = json_integer_value(value);
    CHECK(json_is_integer(value) && x >= 0 && x <= most,
          "%s: expected \"%s\" to be a whole number from 0 to %lld; is the file damaged? Remove the "
          "directory and start again", path, what, (long long)most);
    return x;
}
// Reads DIR/tokenize.json into *o. The files it calls finished must be there.
static void state_read(Output *o, const char *path, int n_files) {
    json_error_t error;
    const Settings *set = &o->work->set;
    json_t *state = json_load_file(path, 0, &error), *next = json_object_get(state, "next");
    json_t *open = json_object_get(next, "open"), *file;
    CHECK(state, "%s: not JSON at line %d: %s; remove the directory and start again", path,
          error.line, error.text);
    check_same(path, "recipe", json_object_get(state, "recipe"), o->recipe);
    o->group = (int)state_number(path, json_object_get(next, "group"), "group", o->groups);
    o->shard = (int)state_number(path, json_object_get(next, "shard"), "shard", INT32_MAX - 1);
    o->done = (int)state_number(path, json_object_get(next, "document"), "document", set->batch);
    o->text = (uint64_t)state_number(path, json_object_get(next, "text_bytes"), "text_bytes", INT64_MAX);
    o->place.batch = (int)state_number(path, json_object_get(next, "batch"), "batch", INT32_MAX - 1);
    o->place.next = (int)state_number(path, json_object_get(next, "file"), "file", n_files);
    o->place.n = (int)json_array_size(open);
    CHECK(json_is_array(open) && o->place.n <= set->ring &&
          json_is_array(json_object_get(state, "files")),
          "%s: expected \"files\" and \"open\" to be lists, of no more than --ring files; remove "
          "the directory and start again", path);
    for (int k = 0; k < o->place.n; k++) {
        o->place.file[k] = (int)state_number(path,
                                             json_array_get(json_array_get(open, (size_t)k), 0),
                                             "open", n_files - 1);
        o->place.line[k] = (uint64_t)state_number(path,
                                                  json_array_get(json_array_get(open, (size_t)k), 1),
                                                  "open", INT64_MAX);
    }
    json_decref(o->files);
    o->files = json_incref(json_object_get(state, "files"));
    size_t i;
    json_array_foreach(o->files, i, file) {
        char name[PATH];
        struct stat s;
        const char *base = json_string_value(json_array_get(file, 0));
        json_int_t tokens = state_number(path, json_array_get(file, 1), "files", INT64_MAX/8);
        CHECK(base && !strchr(base, '/') && strlen(base) < 256 && ends_with(base, ".npy"),
              "%s: expected \"files\" to name files that end in .npy; remove the directory and "
              "start again", path);
        path_join(name, set->out, base);
        CHECK(stat(name, &s) == 0 && s.st_size == tokens*(json_int_t)o->work->width,
              "%s: was finished with %lld tokens, and is now %s; remove the directory and start "
              "again", name, (long long)tokens, stat(name, &s) ? "missing" : "of another size");
        strcpy(strrchr(name, '.'), ".csv.gz");
        CHECK(file_exists(name),
              "%s: was finished, and is now missing; remove the directory and start again", name);
    }
    json_decref(state);
}

// DIR becomes ours: new, or as an earlier run of the same recipe left it.
static void output_open(Output *o, int n_files) {
    char path[PATH];
    const char *out = o->work->set.out;
    path_join(path, out, "tokenize.json");
    make_directory(out);
    int fd = open(out, O_RDONLY);
    // until this program ends
    CHECK(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0, "%s: another run is writing to it", out);
    if (file_exists(path)) { state_read(o, path, n_files); return; }
    DIR *directory = opendir(out);
    CHECK(directory, "%s: cannot be read: %s", out, strerror(errno));
    for (struct dirent *entry; (entry = readdir(directory)) != NULL; )
        CHECK(strncmp(entry->d_name, "part-", 5),
              "%s: holds %s, but no tokenize.json that says what it was made from; choose another "
              "directory", out, entry->d_name);
    closedir(directory);
    state_write(o);
}

// ---- main -------------------------------------------------------------------------------------------

// The files in the order of reading: permuted, or as given.
static void order_files(Files *files, const Settings *set) {
    size_t n = (size_t)files->n;
    uint32_t *order = (uint32_t *)allocate(n, sizeof *order, "the order of the files");
    char **path = (char **)allocate(n, sizeof *path, "the order of the files");
    epoch_order(order, (uint32_t)n, (uint64_t)set->seed);
    memcpy(path, files->path, n*sizeof *path);
    for (size_t i = 0; i < n && !set->no_shuffle; i++) files->path[i] = path[order[i]];
    release(order), release(path);
}

// Bytes of the input files that are still to be read.
static uint64_t bytes_left(const Output *o) {
    const json_t *inputs = json_object_get(o->recipe, "inputs");
    uint64_t bytes = 0;
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        int left = (int)i >= o->place.next;
        for (int k = 0; k < o->place.n; k++) left |= (int)i == o->place.file[k];
        if (left) bytes += (uint64_t)json_integer_value(json_array_get(json_array_get(inputs, i), 1));
    }
    return bytes;
}

// Returns how many documents there are.
static double print_result(const Output *o, uint64_t text_before, double past) {
    double tokens = 0, documents = 0, text = (double)o->text;
    double speed = 1e-6*(double)(o->text - text_before)/past;
    size_t i;
    json_t *file;
    json_array_foreach(o->files, i, file) {
        tokens += (double)json_integer_value(json_array_get(file, 1));
        documents += (double)json_integer_value(json_array_get(file, 2));
    }
    char a[48], b[48], c[48];
    printf("%s: %zu file%s, %s documents, %s tokens, %s bytes of text", o->work->set.out, i,
           i == 1 ? "" : "s", with_commas(documents, a), with_commas(tokens, b), with_commas(text, c));
    if (tokens > 0) printf(" (%.2f a token)", text/tokens);
    if (speed > 0)
        printf("; %.1f MB of text a second, %.1f a thread", speed, speed/omp_get_max_threads());
    printf("\n");
    return documents;
}

// Vocabularies differ in what ends a document: in the one that OLMo was trained with, 50279 is also
// a masked IP address (DATA_SPEC 6.2, T1). So say what it is.
static void print_eos(const Work *w) {
    char *raw = (char *)allocate((size_t)w->tokenizer->longest, 4, "a token");
    char *text = raw + w->tokenizer->longest;
    size_t size = utf8_repair(text, raw, decode(w->tokenizer, raw, &w->set.eos, 1));
    printf("documents end with id %d, which is \"%.*s\"\n", w->set.eos, (int)size, text);
    release(raw);
}

// What cannot be read is no part of the recipe: when it can be, the recipe is another.
static void drop_unreadable(Files *files) {
    int n = 0;
    for (int i = 0; i < files->n; i++)
        if (strcmp(files->path[i], "-") && access(files->path[i], R_OK))
            problem(origin_new(files->path[i]), 0, "cannot be read: %s", strerror(errno));
        else files->path[n++] = files->path[i];
    CHECK(n, "none of the files can be read");
    files->n = n;
}

// Where DIR lies in a directory that is read, what an earlier run has written there is no input.
static void drop_own_output(Files *files, const char *out) {
    struct stat ours, theirs;
    char directory[PATH];
    int n = 0;
    for (int i = 0; i < files->n; i++) {
        char *path = files->path[i], *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        int written = !strncmp(name, "part-", 5) && (ends_with(name, ".npy") || ends_with(name, ".csv.gz"));
        written |= !strcmp(name, "tokenize.json");
        snprintf(directory, sizeof directory, "%.*s", (int)(name - path), path);
        if (written && !stat(out, &ours) && !stat(*directory ? directory : ".", &theirs) &&
            ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev) free(path);
        else files->path[n++] = path;
    }
    CHECK(n, "%s: holds what this program has written, and no documents", out);
    files->n = n;
}

// Returns how many documents they hold.
static double write_token_files(const Work *w, Files *files, Ring *ring) {
    const Settings *set = &w->set;
    drop_own_output(files, set->out);
    drop_unreadable(files);
    Output o;
    memset(&o, 0, sizeof o);
    order_files(files, set);
    o.work = w, o.groups = imin(set->groups, files->n);
    o.most = (uint64_t)set->file_tokens - (uint64_t)set->as_released;
    o.recipe = make_recipe(set, files), o.files = json_array();
    output_open(&o, files->n);
    print_eos(w);
    size_t finished = json_array_size(o.files);
    if (o.group >= o.groups) printf("was finished before: nothing is left to do\n");
    else if (finished) printf("going on after %zu finished file%s\n", finished, finished > 1 ? "s" : "");
    fflush(stdout);

    uint64_t text_before = o.text;
    double start = seconds();
    signal(SIGINT, on_signal), signal(SIGTERM, on_signal);
    bar_begin("tokenize", bytes_left(&o));
    while (o.group < o.groups && !asked_to_stop) {
        ring->end = (int)((int64_t)(o.group + 1)*files->n/o.groups);
        ring_go_to(ring, &o.place);
        run_batches(ring, w, item_tokens, write_tokens, &o);
        if (asked_to_stop) break;
        if (o.tokens) shard_close(&o);
        o.group++, o.shard = 0, o.done = 0;
        o.place.batch = 0, o.place.next = ring->end, o.place.n = 0;     // the next group's beginning
        state_write(&o);
    }
    bar_end();
    double documents = 0;
    if (asked_to_stop)
        printf("stopped as asked; the same command goes on after the %zu files that are finished\n",
               json_array_size(o.files));
    else documents = print_result(&o, text_before, seconds() - start);
    json_decref(o.recipe), json_decref(o.files);
    return documents;
}

static void check_settings(Settings *s) {
    CHECK(s->tokenizer, "--tokenizer: expected a tokenizer.json; data/tokenizers.sh fetches OLMo's");
    CHECK((s->out != NULL) + s->print + s->decode == 1,
          "expected one of --out DIR, --print and --decode; --help explains");
    CHECK(!strcmp(s->dtype, "uint16") || !strcmp(s->dtype, "uint32"),
          "--dtype %s: expected uint16 or uint32", s->dtype);
    CHECK(s->groups > 0, "--groups: expected at least 1");
    CHECK(s->ring > 0 && s->ring <= MAX_RING, "--ring %d: expected 1 to %d", s->ring, MAX_RING);
    CHECK(s->batch > 0 && s->batch <= MAX_BATCH, "--batch %d: expected 1 to %d", s->batch, MAX_BATCH);
    CHECK(s->file_tokens == floor(s->file_tokens) && s->file_tokens >= 2 && s->file_tokens < 1e15,
          "--shard-tokens %g: expected a whole number from 2", s->file_tokens);
    choose_on_error(s->on_error);
    if (s->no_shuffle || !s->out) s->ring = 1;              // one file after the other
}

int main(int argc, char **argv) {
    static Work w;
    static Ring ring;
    Settings *s = &w.set;
    begin_program();
    s->dtype = "uint16", s->on_error = "skip", s->file_tokens = 1e9;
    s->eos = 50279, s->bos = -1, s->seed = 3920, s->groups = 1, s->ring = 8, s->batch = 10000;
    const Option table[] = {
        { "what to do", GROUP, NULL, "" },
        { "--tokenizer", TEXT, &s->tokenizer, "tokenizer.json (data/tokenizers.sh fetches OLMo's)" },
        { "--out", TEXT, &s->out, "directory to write token files to" },
        { "--print", FLAG, &s->print,
          "or: write a line {\"id\", \"ids\"} for each document, of all its text and nothing else" },
        { "--decode", FLAG, &s->decode, "or: turn such lines into lines {\"id\", \"text\"}" },
        { "documents", GROUP, NULL, "" },
        READING_OPTIONS,
        { "--on-error", TEXT, &s->on_error,
          "what to do about documents that cannot be used: skip or stop" },
        { "token files", GROUP, NULL, "" },
        { "--eos", WHOLE, &s->eos,
          "id that ends a document; not repeated where a document ends with it" },
        { "--bos", WHOLE, &s->bos, "id that begins a document (-1: none)" },
        { "--dtype", TEXT, &s->dtype, "uint16 or uint32: what a token is stored as" },
        { "--shard-tokens", NUMBER, &s->file_tokens, "tokens a file holds at most" },
        { "order", GROUP, NULL, "" },
        { "--seed", WHOLE, &s->seed, "of the order of files and documents" },
        { "--no-shuffle", FLAG, &s->no_shuffle,
          "files and documents in the order in which they are given" },
        { "--groups", WHOLE, &s->groups,
          "cut the input files into so many groups; part-<i>-<n>.npy holds group i" },
        { "--ring", WHOLE, &s->ring, "input files that are open at a time" },
        { "--batch", WHOLE, &s->batch, "documents that are shuffled together" },
        { "--as-released", FLAG, &s->as_released,
          "as OLMo's data was made: documents of a batch not shuffled, files never quite full" },
        { "run", GROUP, NULL, "" },
        { "--threads", WHOLE, &s->threads, "threads (0: all); the result does not depend on it" },
        { "--help", FLAG, &s->help, "this text" },
    };
    int n;
    const char **named =
        command_line("data/tokenize --tokenizer FILE (--out DIR | --print | --decode) [options] "
                     "FILES-OR-DIRECTORIES...", NULL, table, (int)(sizeof table/sizeof *table),
                     &s->help, argc, argv, &n);
    check_settings(s);
    if (!n && !s->out) named[n++] = "-";
    Files files = files_named(named, n);
    use_threads(s->threads);
    Tokenizer *t = tokenizer_load(s->tokenizer);
    w.tokenizer = t, w.width = !strcmp(s->dtype, "uint16") ? 2 : 4;
    w.encoder = (Encoder **)allocate((size_t)omp_get_max_threads(), sizeof *w.encoder, "the encoders");
    for (int i = 0; i < omp_get_max_threads(); i++) w.encoder[i] = encoder_new(t);

    double documents = 1;
    ring.batch = s->batch, ring.size = s->ring;
    ring.path = files.path, ring.end = files.n;
    if (s->out) {
        CHECK(s->eos < t->vocab && s->bos < t->vocab, "--eos %d --bos %d: the ids of %s end at %d",
              s->eos, s->bos, s->tokenizer, t->vocab - 1);
        CHECK(w.width == 4 || t->vocab <= 65536,
              "%s: has %d ids, more than uint16 can tell apart; use --dtype uint32", s->tokenizer,
              t->vocab);
        documents = write_token_files(&w, &files, &ring);
    } else {
        Writer *out = writer_open("-");
        ring.silent = 1;
        run_batches(&ring, &w, s->print ? item_print : item_decode, write_lines, out);
        writer_close(out);
    }
    for (int i = 0; i < omp_get_max_threads(); i++) encoder_free(w.encoder[i]);
    tokenizer_free(t), release(w.encoder), release(named);
    for (int i = 0; i < files.n; i++) free(files.path[i]);
    free(files.path);
    if (asked_to_stop) return 130;                   // so that `tokenize && train` does not train on a part
    int code = documents_finished();
    CHECK(code != EXIT_SUCCESS || documents > 0,
          "%s: no input gave a document with text, so there are no tokens", s->out);
    return code;
}
