/*
Perplexity of documents, as Paloma measures it (EVAL_SPEC 2): `eval perplexity`. #included by eval.c.

A folder holds source/split/x.jsonl[.gz]; a line is a document {"text", "subdomain"}, whose subdomain
(none: "") is a domain of its source. Each document stands alone. Its tokens are predicted once each, in
windows of T; before the first stands the id that ends a document, before every other the last token of the
one before it:

    [EOS t0 .. tT-2] -> t0 .. tT-1        [tT-1 tT .. t2T-2] -> tT .. t2T-1        ...

Sums go over a domain: bits per byte = -sum log2 p/bytes of the text, perplexity = exp(-sum ln p/tokens). A
source's figures are the means of its domains'. Sums are kept in whole units of 2^-32 nat: so no order of
files, documents or batches changes a bit of them, and neither does an interruption.
*/

__extension__ typedef __int128 int128;

typedef struct {
    char *name;
    size_t size;                                // bytes of the name
    int128 units;                               // -log-likelihood, in 2^-32 nat
    double tokens, bytes, words, characters, documents;
} Domain;

typedef struct {
    char name[256];
    Domain *domain;
    size_t n, room;
    char **path;                                // of its files, below the folder
    size_t files, path_room;
} Source;

// Where a document stands: path below the folder, line; and its bytes.
typedef struct { const char *path; int line, bytes; } Place;

// Window number `number` of a document. domain: its number in the source; kept: its score is in --scores.
typedef struct { Span span; size_t domain; Place place; int number, kept; } Window;

// Windows that wait to be scored: the more there are, the fuller are the passes.
typedef struct { Window *window; size_t n, room, tokens; } Waiting;

// len(re.split(r'\s+', text)): one more than there are runs of white space; so an empty piece at an edge
// counts.
static double count_words(const char *text, size_t size) {
    double words = 1;
    int within = 0;
    for (size_t i = 0, space; i < size; i += space ? space : 1) {
        space = (size_t)space_at(text + i);
        words += space && !within, within = space > 0;
    }
    return words;
}

static Domain *find_domain(Source *s, const char *name, size_t size) {
    for (size_t i = 0; i < s->n; i++)
        if (s->domain[i].size == size && !memcmp(s->domain[i].name, name, size)) return &s->domain[i];
    s->domain = (Domain *)with_room(s->domain, s->n, s->n + 1, &s->room, sizeof *s->domain, "the domains");
    Domain *d = &s->domain[s->n++];
    memset(d, 0, sizeof *d);
    d->name = copy_of(name, size), d->size = size;
    return d;
}

// ---- the file of scores -------------------------------------------------------------------------------
// One line per window, in the order of scoring.

typedef struct { Place place; int number, tokens; double logprob; } Score;
static struct { Score *list; size_t n, room; } scores;       // those of an earlier run, sorted

static int by_place_and_number(const void *a, const void *b) {
    const Score *x = (const Score *)a, *y = (const Score *)b;
    const int path = strcmp(x->place.path, y->place.path);
    if (path) return path;
    return x->place.line != y->place.line ? x->place.line - y->place.line : x->number - y->number;
}

static void read_window_score(void *context, const char *o, const char *at) {
    (void)context;
    Score s;
    size_t size;
    char *path = text_member(o, "file", at, &size);
    const char *before = scores.n ? scores.list[scores.n - 1].place.path : "";
    const int again = !strcmp(path, before);                // few files, many windows
    if (again) release(path);
    s.place.path = again ? before : path;
    s.place.line = json_int(o, at, "line", 1, INT32_MAX, NAN);
    s.place.bytes = json_int(o, at, "bytes", 0, INT32_MAX, NAN);
    s.number = json_int(o, at, "window", 0, INT32_MAX, NAN);
    s.tokens = json_int(o, at, "tokens", 1, INT32_MAX, NAN);
    s.logprob = json_number(o, at, "logprob", -1e12, 1e12, NAN);
    const size_t n = scores.n;
    scores.list = (Score *)with_room(scores.list, n, n + 1, &scores.room, sizeof s, "the scores");
    scores.list[scores.n++] = s;
}

// What an earlier run has found for this window, if it did.
static void recall_score(Window *w, const Command *c) {
    const Score wanted = { w->place, w->number, 0, 0 };
    const Score *s = (const Score *)bsearch(&wanted, scores.list, scores.n, sizeof *s, by_place_and_number);
    if (!s) return;
    CHECK(s->tokens == w->span.scored && s->place.bytes == w->place.bytes,
          "%s: window %d of %s:%d was scored with %d tokens, in a document of %d bytes; now it has %d, of "
          "%d. Is this another folder? Choose another --scores", c->scores, w->number, w->place.path,
          w->place.line, s->tokens, s->place.bytes, w->span.scored, w->place.bytes);
    w->span.logprob = s->logprob, w->span.known = w->kept = 1;
}

static void put_window_score(Window *w) {
    if (!scores_file || w->kept) return;
    fprintf(scores_file, "{\"file\": ");
    put_string(scores_file, w->place.path, strlen(w->place.path));
    fprintf(scores_file, ", \"line\": %d, \"window\": %d, \"logprob\": %.17g, ",
            w->place.line, w->number, w->span.logprob);
    fprintf(scores_file, "\"tokens\": %d, \"bytes\": %d}\n", w->span.scored, w->place.bytes);
    w->kept = 1;
}

// ---- documents and their windows ----------------------------------------------------------------------

// A document's windows, to wait.
static void cut_windows(Waiting *w, size_t domain, Place place, const int *ids, size_t n, const Command *c) {
    int number = 0;
    for (size_t at = 0; at < n; ) {
        const int length = (int)zmin((size_t)coder.T, n - at);
        Window new_one;
        memset(&new_one, 0, sizeof new_one);
        Span *s = &new_one.span;
        s->ids = (int *)allocate((size_t)length + 1, sizeof(int), "a window");
        s->ids[0] = at ? ids[at - 1] : coder.first;
        memcpy(s->ids + 1, ids + at, (size_t)length*sizeof(int));
        s->n = length + 1, s->scored = length;
        new_one.domain = domain, new_one.place = place, new_one.number = number++;
        if (scores.n) recall_score(&new_one, c);
        w->window = (Window *)with_room(w->window, w->n, w->n + 1, &w->room, sizeof(Window), "the windows");
        w->window[w->n++] = new_one;
        w->tokens += (size_t)length, at += (size_t)length;
    }
}

static struct { double done, tokens; } reading;             // bytes of files; tokens scored

static int windows_scored(void *context, Span **span, size_t n) {
    (void)context;
    for (size_t i = 0; i < n; i++) {
        put_window_score((Window *)(void *)((char *)span[i] - offsetof(Window, span)));
        reading.tokens += span[i]->scored;
    }
    flush_scores();
    bar_to(reading.done, reading.tokens);
    return !asked_to_stop;
}

static void score_waiting(Waiting *w, Source *s, const Command *c) {
    Span **span = (Span **)allocate(w->n + 1, sizeof *span, "the windows");
    for (size_t i = 0; i < w->n; i++) span[i] = &w->window[i].span;
    int all = score_spans(run.model, span, w->n, (size_t)c->pass, windows_scored, NULL);
    for (size_t i = 0; i < w->n; i++)                       // those that are equal to others as well
        if (w->window[i].span.known) put_window_score(&w->window[i]);
    flush_scores();
    if (!all) stop_here(c);
    for (size_t i = 0; i < w->n; i++) {
        s->domain[w->window[i].domain].units += (int128)rint(ldexp(-w->window[i].span.logprob, 32));
        release(w->window[i].span.ids);
    }
    w->n = w->tokens = 0;
    release(span);
}

static void read_document(Waiting *w, Source *s, const Lines *l, const char *line, const char *path,
                          const Command *c) {
    const char *place = l->place;
    size_t size, name_size = 0, n;
    const char *o = json_root(line, place), *value = json_get(o, "subdomain");
    char *text = text_member(o, "text", place, &size);
    char *name = value && *value == '"' ? text_member(o, "subdomain", place, &name_size) : copy_of("", 0);
    Domain *d = find_domain(s, name, name_size);
    Span all;
    memset(&all, 0, sizeof all);
    size_t room = 0;
    append_ids(&all, &room, &coder, text, size);
    n = (size_t)all.n;
    d->documents++, d->tokens += (double)n, d->bytes += (double)size;
    d->characters += (double)code_points(text, size), d->words += count_words(text, size);
    const Place at = { path, (int)l->number, (int)size };
    cut_windows(w, (size_t)(d - s->domain), at, all.ids, n, c);
    release(text), release(name), release(all.ids);
}

static int is_document_file(const char *name) {
    return ends_with(name, ".jsonl") || ends_with(name, ".jsonl.gz");
}

// Calls `use` for every document file of a source's splits, in the order of their names; returns how many
// there are.
static int for_files(const char *source, const Command *c, void (*use)(const char *path, void *context),
                     void *context) {
    static const char *const splits[] = { "test", "val" };
    char directory[PATH], path[PATH];
    int files = 0;
    for (int i = 0; i < 2; i++) {
        path_join(directory, source, splits[i]);
        if ((c->split && strcmp(c->split, splits[i])) || !is_directory(directory)) continue;
        size_t n;
        char **entry = directory_entries(directory, &n);
        for (size_t k = 0; k < n; k++) {
            path_join(path, directory, entry[k]);
            if (is_document_file(entry[k])) files++, use(path, context);
            release(entry[k]);
        }
        release(entry);
    }
    return files;
}

static void add_bytes(const char *path, void *context) { *(double *)context += file_bytes(path); }

typedef struct { Source *source; Waiting *waiting; const Command *c; } Reading;

static const char *path_below_folder(Source *s, const char *path, const char *folder) {
    const size_t n = s->files;
    path += strlen(folder), path += strspn(path, "/");
    s->path = (char **)with_room(s->path, n, n + 1, &s->path_room, sizeof *s->path, "the paths");
    return s->path[s->files++] = copy_of(path, strlen(path));
}

static void read_documents(const char *path, void *context) {
    enum { MANY = 1 << 20 };                    // tokens: enough to fill passes evenly
    Reading *r = (Reading *)context;
    const char *below = path_below_folder(r->source, path, r->c->files[0]);
    Lines *l = lines_open(path);
    double before = reading.done;
    for (char *line; (line = lines_next(l)) != NULL; ) {
        read_document(r->waiting, r->source, l, line, below, r->c);
        if (r->waiting->tokens >= MANY) score_waiting(r->waiting, r->source, r->c);
    }
    lines_close(l);
    reading.done = before + file_bytes(path);
}

static double domain_nats(const Domain *d) { return ldexp((double)d->units, -32); }
static double domain_bits_per_byte(const Domain *d) { return domain_nats(d)/M_LN2/d->bytes; }
static double domain_perplexity(const Domain *d) { return exp(domain_nats(d)/d->tokens); }

// The mean over the domains for which there is such a figure.
static double mean_of(const Source *s, double (*figure)(const Domain *d)) {
    double sum = 0, n = 0;
    for (size_t i = 0; i < s->n; i++) if (isfinite(figure(&s->domain[i]))) sum += figure(&s->domain[i]), n++;
    return sum/n;
}

static void put_source(FILE *f, const Source *s) {
    fprintf(f, "  ");
    put_string(f, s->name, strlen(s->name));
    fprintf(f, ": {\"domains\": {\n");
    for (size_t i = 0; i < s->n; i++) {
        const Domain *d = &s->domain[i];
        fprintf(f, i ? ",\n    " : "    ");
        put_string(f, d->name, d->size);
        fprintf(f, ": {\"log_likelihood\": %.15g, \"tokens\": %.0f, \"bytes\": %.0f, \"words\": %.0f, ",
                0 - domain_nats(d), d->tokens, d->bytes, d->words);
        fprintf(f, "\"characters\": %.0f, \"documents\": %.0f, ", d->characters, d->documents);
        put_number(f, "bits_per_byte", domain_bits_per_byte(d)), fprintf(f, ", ");
        put_number(f, "perplexity", domain_perplexity(d)), fprintf(f, "}");
    }
    fprintf(f, "},\n    ");
    put_number(f, "bits_per_byte", mean_of(s, domain_bits_per_byte)), fprintf(f, ", ");
    put_number(f, "perplexity", mean_of(s, domain_perplexity)), fprintf(f, "}");
}

static void print_source(const Source *s) {
    double tokens = 0, bytes = 0, documents = 0;
    for (size_t i = 0; i < s->n; i++)
        tokens += s->domain[i].tokens, bytes += s->domain[i].bytes, documents += s->domain[i].documents;
    printf("%-32s %7zu %9.0f %11.0f %11.0f %8.4f %10.4g\n", s->name, s->n, documents, tokens, bytes,
           mean_of(s, domain_bits_per_byte), mean_of(s, domain_perplexity));
    fflush(stdout);
}

static Source score_source(const char *path, const char *name, const Command *c) {
    Source s;
    Waiting w;
    Reading r = { &s, &w, c };
    double total = 0;
    memset(&s, 0, sizeof s), memset(&w, 0, sizeof w);
    CHECK(snprintf(s.name, sizeof s.name, "%s", name) < (int)sizeof s.name,
          "%s: this name is too long", path);
    for_files(path, c, add_bytes, &total);
    reading.done = reading.tokens = 0;
    bar_begin(s.name, total);
    for_files(path, c, read_documents, &r);
    score_waiting(&w, &s, c);
    bar_end();
    release(w.window);
    print_source(&s);
    return s;
}

static void source_free(Source *s) {
    for (size_t i = 0; i < s->n; i++) release(s->domain[i].name);
    for (size_t i = 0; i < s->files; i++) release(s->path[i]);
    release(s->domain), release(s->path);
}

static void no_use(const char *path, void *context) { (void)path, (void)context; }

static void perplexity_main(const Command *c) {
    CHECK(c->n == 1, "expected one folder, with source/val/x.jsonl[.gz] or source/test/x.jsonl[.gz] in it");
    const char *folder = c->files[0];
    CHECK(is_directory(folder), "%s: expected a folder", folder);
    char path[PATH];
    size_t n, sources = 0;
    char **entry = directory_entries(folder, &n);
    for (size_t i = 0; i < n; i++) {
        path_join(path, folder, entry[i]);
        sources += is_directory(path) && for_files(path, c, no_use, NULL);
    }
    CHECK(sources,
          "%s: expected source/val/x.jsonl[.gz] or source/test/x.jsonl[.gz] in it, found none%s%s", folder,
          c->split ? " of --split " : "", c->split ? c->split : "");
    open_model(c);
    if (c->scores) open_scores(c, read_window_score, NULL);
    if (scores.n) qsort(scores.list, scores.n, sizeof *scores.list, by_place_and_number);
    heed_signals();
    printf("%-32s %7s %9s %11s %11s %8s %10s\n", "source", "domains", "documents", "tokens", "bytes",
           "bits/B", "perplexity");
    Source *source = (Source *)allocate(sources, sizeof *source, "the sources");
    sources = 0;
    for (size_t i = 0; i < n; i++) {
        path_join(path, folder, entry[i]);
        if (is_directory(path) && for_files(path, c, no_use, NULL))
            source[sources++] = score_source(path, entry[i], c);
        release(entry[i]);
    }
    release(entry);
    if (c->scores) close_written(scores_file, c->scores);
    if (c->json) {
        Whole *w = whole_begin(c->json);
        FILE *f = w->file;
        put_model(f, c), fprintf(f, " \"sources\": {\n");
        for (size_t i = 0; i < sources; i++) fprintf(f, i ? ",\n" : ""), put_source(f, &source[i]);
        fprintf(f, "}}\n"), whole_end(w);
    }
    for (size_t i = 0; i < sources; i++) source_free(&source[i]);
    release(source);
    close_model();
}
