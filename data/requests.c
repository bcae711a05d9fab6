/*
Requests: questions with choices, asked of a language model that can only say how likely a text is.
#included by train_olmo.c (--eval-tasks), and so by dev/eval/eval.c.

A task is a directory as AI2's evaluation code writes it: config.json, and requests.jsonl or
requests.jsonl.gz, where each line asks how likely one choice is after its question:

    {"request_type": "loglikelihood", "doc_id": 7, "idx": 0, "label": 3, "doc": {...},
     "request": {"context": "Question: ...\nAnswer:", "continuation": " first choice"}}

doc_id is the question, idx the choice, label the right one. (Lines from doc_id 1,000,000 on are unconditional
twins: the same choice after a bare "Answer:".) The model's answer is the choice that it finds likeliest; how
that is measured differs from task to task: choice_score has all the ways (EVAL_SPEC 3.2, 5).

    Task *t = task_read("arc_easy/rc_0shot", 1);            every line checked, or one sentence
    task_encode(t, &coder);                                 text to tokens, cut to what the model looks at
    n = task_spans(t, span);                                what it is asked
    score_spans(model, span, n, ...);                       its answers: sums of losses, in full passes
    task_accuracy(t, PER_CHAR), task_bits_per_byte(t, 0)    what they are worth
*/
#ifdef ZLIB
#include <zlib.h>
#endif

static char *copy_of(const char *text, size_t size) {
    char *copy = (char *)allocate(size + 1, 1, "a text");
    memcpy(copy, text, size);
    return copy;
}

// ---- lines of a file, plain or gzip -------------------------------------------------------------------

typedef struct {
    const char *path;
    void *file;                                         // zlib's, which reads both; without zlib: stdio's
    char *buffer;                                           // [room]; [at, end) has not been given out yet
    size_t at, end, room;
    uint64_t number;                                        // of the line given out last, from 1
    char place[PATH + 24];                                  // "path:number", for sentences
} Lines;

static Lines *lines_open(const char *path) {
    size_t size;
    FILE *file = open_to_read(path, &size);
    const int packed = fgetc(file) == 0x1f && fgetc(file) == 0x8b;
    Lines *l = (Lines *)allocate(1, sizeof *l, path);
    l->path = path;
    l->buffer = (char *)with_room(NULL, 0, 1 << 16, &l->room, 1, path);
    rewind(file);
#ifdef ZLIB
    (void)packed;
    l->file = gzdopen(dup(fileno(file)), "rb");
    CHECK(l->file, "%s: zlib cannot open it", path);
    fclose(file);
#else
    CHECK(!packed, "%s: is compressed, and this program was built without zlib; gunzip it, or install zlib "
          "(Debian, Ubuntu: apt install zlib1g-dev pkg-config), then make clean and make again", path);
    l->file = file;
#endif
    return l;
}

static void lines_close(Lines *l) {
#ifdef ZLIB
    gzclose((gzFile)l->file);
#else
    fclose((FILE *)l->file);
#endif
    release(l->buffer);
    release(l);
}

// Bytes of the file into out[0..room); returns how many, 0 at its end.
static size_t lines_read(Lines *l, char *out, size_t room) {
    const unsigned long long at = l->number;
#ifdef ZLIB
    int code = Z_OK, n = gzread((gzFile)l->file, out, (unsigned)room);
    const char *said = gzerror((gzFile)l->file, &code), *why = strstr(said, ": ");  // "<fd:4>: why", or "why"
    CHECK(n >= 0 && code == Z_OK, "%s: cannot be read behind line %llu: %s", l->path, at,
          why ? why + 2 : said);
#else
    size_t n = fread(out, 1, room, (FILE *)l->file);
    const char *why = strerror(errno);
    CHECK(!ferror((FILE *)l->file), "%s: cannot be read behind line %llu: %s", l->path, at, why);
#endif
    return (size_t)n;
}

// The next line that is not blank, as a string without its newline; NULL after the last.
static char *lines_next(Lines *l) {
    enum { LONGEST_LINE = 64 << 20 };
    for (size_t searched = l->at; ; ) {
        char *newline = (char *)memchr(l->buffer + searched, '\n', l->end - searched);
        if (!newline) {                                     // more of the file, behind what is left of it
            searched = l->end - l->at;
            memmove(l->buffer, l->buffer + l->at, searched);
            l->at = 0, l->end = searched;
            CHECK(searched < LONGEST_LINE, "%s:%llu: a line of more than %d MB", l->path,
                  (unsigned long long)l->number + 1, LONGEST_LINE >> 20);
            l->buffer = (char *)with_room(l->buffer, l->end, l->end + (1 << 15), &l->room, 1, l->path);
            size_t n = lines_read(l, l->buffer + l->end, l->room - 1 - l->end);
            l->end += n;
            if (n) continue;
            if (!l->end) return NULL;
            newline = l->buffer + l->end;                   // the last line may lack its newline
        }
        char *line = l->buffer + l->at;
        *newline = 0, l->number++;
        l->at = searched = zmin(l->end, (size_t)(newline - l->buffer) + 1);
        snprintf(l->place, sizeof l->place, "%s:%llu", l->path, (unsigned long long)l->number);
        CHECK(strlen(line) == (size_t)(newline - line), "%s: expected text, found a NUL byte", l->place);
        if (*json_space(line)) return line;
    }
}

// A string of a JSON object, in UTF-8, for the caller to release. *size counts NUL bytes, which there may
// be.
static char *text_member(const char *object, const char *name, const char *place, size_t *size) {
    const char *value = json_get(object, name);
    CHECK(value && *value == '"', "%s: expected a string \"%s\", found %s", place, name, json_quoted(value));
    int room = (int)(json_skip(value, 0) - value) + 8;
    char *text = (char *)allocate((size_t)room, 1, "a text");
    int n = json_unescape(text, room, value);
    CHECK(n >= 0 && utf8_valid(text, (size_t)n) == (size_t)n,
          "%s: \"%s\" is not UTF-8: %s", place, name, json_quoted(value));
    *size = (size_t)n;
    return text;
}

// ---- what a model is asked ----------------------------------------------------------------------------

typedef struct {
    int *ids, n;                                        // what the model reads, and the last id asked about
    int scored;                             // so many ids at the end are asked about; others stand before
    int cut, lost;                          // tokens in front that did not fit; those of them asked about
    int shared;                                         // so many ids in front the spans before have brought;
    size_t row;                                             // the others are fed in rows from here on
    double logprob;                                 // sum of log p(id | ids before it) over the scored ones
    int known;                                              // logprob has been computed
} Span;

// How text becomes tokens. Without an encoder a token is a byte.
typedef struct {
    Encoder *encoder;
    const Tokenizer *tokenizer;
    int first;                                      // stands before an empty context: a document has ended
    int T;                                                  // the model's window
} Coder;

static void append_ids(Span *s, size_t *room, const Coder *coder, const char *text, size_t size) {
    const size_t n = coder->encoder ? encode(coder->encoder, text, size) : size, all = (size_t)s->n + n;
    CHECK(all < INT32_MAX, "a text of %zu tokens is too long", n);
    s->ids = (int *)with_room(s->ids, (size_t)s->n, all, room, sizeof *s->ids, "the tokens of a text");
    for (size_t i = 0; i < n; i++)
        s->ids[s->n++] = coder->encoder ? coder->encoder->ids[i] : (unsigned char)text[i];
}

// Of more than `most` ids the last ones stay, in a block of their size.
static void keep_last(Span *s, int most) {
    s->cut = imax(0, s->n - most), s->n -= s->cut;
    int *ids = (int *)allocate((size_t)s->n, sizeof *ids, "the tokens of a text");
    memcpy(ids, s->ids + s->cut, (size_t)s->n*sizeof *ids);
    release(s->ids);
    s->ids = ids;
}

// context and continuation, encoded apart (so no token spans the border), as one row; of more than T + 1
// tokens the last T + 1, for T are fed, and the last is only asked about.
static Span ask_about(const Coder *coder, const char *context, size_t context_size,
                    const char *text, size_t size) {
    Span s;
    size_t room = 0;
    memset(&s, 0, sizeof s);
    append_ids(&s, &room, coder, context, context_size);
    if (!s.n) {
        s.ids = (int *)with_room(s.ids, 0, 1, &room, sizeof *s.ids, "the tokens of a text");
        s.ids[s.n++] = coder->first;
    }
    const int before = s.n;
    append_ids(&s, &room, coder, text, size);
    s.scored = imin(s.n - before, coder->T), s.lost = s.n - before - s.scored;
    keep_last(&s, coder->T + 1);
    return s;
}

// ---- its answers --------------------------------------------------------------------------------------
// The choices of a question begin alike: with the question, often with the same words of an answer. So the
// spans are sorted by their ids, and of each only what differs from the one before is fed: olmo_forward_tree
// computes every common beginning once, and nothing has to be padded. A device that has no such pass is given
// one span a row, in batches of about the same length. On the CPU a score has the same bits either way, in
// whatever company it is computed.

static int by_beginning(const void *a, const void *b) {
    const Span *x = *(Span *const *)a, *y = *(Span *const *)b;
    const int least = imin(x->n, y->n);
    for (int i = 0; i < least; i++) if (x->ids[i] != y->ids[i]) return x->ids[i] < y->ids[i] ? -1 : 1;
    return x->n != y->n ? x->n - y->n : y->scored - x->scored;
}
static int longest_first(const void *a, const void *b) {        // equal ones stand together as well
    const Span *x = *(Span *const *)a, *y = *(Span *const *)b;
    return x->n != y->n ? y->n - x->n : by_beginning(a, b);
}

// Of equal spans (in sorted order) what is known of one is known of all: " yes" after "Answer:" is asked
// thousands of times.
static void share_known(Span **span, size_t n) {
    for (size_t first = 0, end; first < n; first = end) {
        const Span *known = NULL;
        for (end = first; end < n && !by_beginning(&span[first], &span[end]); end++)
            if (span[end]->known) known = span[end];
        for (size_t i = first; known && i < end; i++) span[i]->logprob = known->logprob, span[i]->known = 1;
    }
}

// How many rows a span shares with the one before: those of the ids in common, but for the last of these.
// Behind it the two differ, and a row has one target. All that share a row go on from it with the same id.
static int shared_with(const Span *s, const Span *before) {
    const int least = imin(s->n, before->n);
    int n = 0;
    while (n < least && s->ids[n] == before->ids[n]) n++;
    return imax(0, n - 1);
}

// row[t] = the row in which id t is fed, for the ids that s brings. Where the span before has left its rows,
// these are now all of s.
static void rows_of(int *row, const Span *s) {
    for (int t = s->shared; t < s->n - 1; t++) row[t] = (int)s->row + (t - s->shared);
}

// The first spans that fit into a pass of `budget` rows, but at least one. In a tree each adds the ids that
// it does not share; otherwise all take as many rows as the first, which is the longest. Returns how many
// spans; *rows: how many rows.
static size_t plan_pass(Span **span, size_t n, size_t budget, int tree, size_t *rows) {
    size_t i = 0;
    for (*rows = 0; i < n; i++) {
        Span *s = span[i];
        s->shared = tree && i ? shared_with(s, span[i - 1]) : 0, s->row = *rows;
        const size_t more = (size_t)((tree ? s->n : span[0]->n) - 1 - s->shared);
        if (i && *rows + more > budget) break;
        *rows += more;
    }
    return i;
}

// n planned spans through the model. tokens, positions, targets, row: [4, rows]; losses: [2, rows]. What is
// shorter than its row is padded behind, where causal attention never looks.
static void score_pass(Model m, Span **span, size_t n, size_t rows, int *tokens, real *losses) {
    int *positions = tokens + rows, *targets = positions + rows, *row = targets + rows;
    const int N = (int)rows, T = span[0]->n - 1;
    for (size_t i = 0; i < rows; i++) tokens[i] = 0, targets[i] = IGNORE;
    for (size_t i = 0; i < n; i++) {
        const Span *s = span[i];
        rows_of(row, s);
        for (int t = s->shared; t < s->n - 1; t++) tokens[row[t]] = s->ids[t], positions[row[t]] = t;
        for (int t = s->n - 1 - s->scored; t < s->n - 1; t++) targets[row[t]] = s->ids[t + 1];
    }
    real *zlosses = losses + rows;
    const Device *device = m.device;
    if (device->forward_tree) device->forward_tree(m.handle, losses, zlosses, tokens, positions, targets, N);
    else device->forward(m.handle, losses, zlosses, tokens, targets, NULL, N/T, T);
    for (size_t i = 0; i < n; i++) {
        Span *s = span[i];
        double sum = 0;
        rows_of(row, s);
        for (int t = s->n - 1 - s->scored; t < s->n - 1; t++) sum += (double)losses[row[t]];
        CHECK(isfinite(sum), "the model gives a text the log-probability %g; are its weights damaged?", -sum);
        s->logprob = -sum, s->known = 1;
    }
}

// Told which spans have become known; returns 0 to stop.
typedef int Progressed(void *context, Span **span, size_t n);

// span[i]->logprob for all i < n, by forward passes of at most `budget` tokens, or one span; but not of
// what is known already. Reorders `span`. Returns whether all are known: not if `progressed` (it may be
// NULL) has said stop.
static int score_spans(Model m, Span **span, size_t n, size_t budget, Progressed *progressed, void *context) {
    const int tree = m.device->forward_tree != NULL;
    size_t left = 0, N = budget;
    int go_on = 1;
    if (!n) return 1;
    qsort(span, n, sizeof *span, tree ? by_beginning : longest_first);
    share_known(span, n);
    Span **fresh = (Span **)allocate(n, sizeof *fresh, "a list of requests");
    for (size_t i = 0; i < n; i++) {                        // one of each kind
        int again = left && !by_beginning(&fresh[left - 1], &span[i]);
        if (!span[i]->known && !again) fresh[left++] = span[i];
    }
    for (size_t i = 0; i < left; i++) N = zmax(N, (size_t)fresh[i]->n - 1);
    int *tokens = (int *)allocate(4*N, sizeof(int), "a pass");
    real *losses = (real *)allocate(2*N, sizeof(real), "the losses");
    for (size_t i = 0, some, rows; i < left && go_on; i += some) {
        some = plan_pass(fresh + i, left - i, budget, tree, &rows);
        score_pass(m, fresh + i, some, rows, tokens, losses);
        if (progressed) go_on = progressed(context, fresh + i, some);
    }
    share_known(span, n);
    release(fresh), release(tokens), release(losses);
    return go_on;
}

// ---- tasks --------------------------------------------------------------------------------------------

enum { TWINS = 1000000, MOST_CHOICES = 1000 };

typedef struct {
    int doc, choice, label;                                 // doc_id, idx, label
    int listed;                                 // choices that the line lists under "doc"; 0: it lists none
    int at;                                         // its line in the file, from 0; -1: we ask it ourselves
    int skip;                                               // not wanted: task_keep
    char *context, *text;                                   // UTF-8; text: the continuation
    size_t context_size, size;
    int bytes, characters, lead;            // of the text, as far as it is scored; of its first character
    Span span;
} Request;

typedef struct {
    int doc, label, choices;
    int at;                                                 // its first line
    int *ask, *twin;                            // [choices] which request asks for it; and after "Answer:"
} Question;

typedef struct {
    char path[PATH];
    char name[128];                         // arc_easy; unless its variant is rc_0shot, arc_easy:rc_5shot
    char label[128];                                        // OLMo's name in the loop: arc_easy_rc_0shot
    char metric[32];                                        // "primary_metric" of config.json
    Request *request;                                       // [n] in the file's order, then our own
    Question *question;                                     // [questions] likewise
    int n, lines, questions;
    int cut_contexts, cut_texts;                            // that were longer than the model's window
} Task;

// A short string that becomes part of a name and of a JSON key: what would trouble either is an underscore.
static int read_name_of(char *out, int room, const char *object, const char *name, const char *path) {
    const char *value = object && *object == '{' ? json_get(object, name) : NULL;
    int n = value ? json_unescape(out, room - 1, value) : -1;
    CHECK(n > 0, "%s: expected \"%s\" to be a short name, found %s", path, name, json_quoted(value));
    out[n] = 0;
    return n;
}
static void plain_name(char *s) {
    for (; *s; s++) if ((unsigned char)*s <= ' ' || strchr("\"\\/\177", *s)) *s = '_';
}

// config.json: name and metric. The directory itself is called as the variant, the one above it as OLMo
// calls the task.
static void read_task_config(Task *t, const char *directory) {
    char path[PATH], whole[PATH];
    path_join(path, directory, "config.json");
    char *text = read_text(path);
    const char *o = json_root(text, path);
    const int n = read_name_of(t->name, 60, o, "task_name", path);
    read_name_of(t->metric, sizeof t->metric, json_get(o, "task_config"), "primary_metric", path);
    CHECK(realpath(directory, whole), "%s: cannot be found: %s", directory, strerror(errno));
    char *variant = strrchr(whole, '/');
    *variant++ = 0;
    const char *above = strrchr(whole, '/') ? strrchr(whole, '/') + 1 : t->name;
    snprintf(t->label, sizeof t->label, "%.50s_%.30s", above, variant);
    if (strcmp(variant, "rc_0shot")) snprintf(t->name + n, sizeof t->name - (size_t)n, ":%.60s", variant);
    plain_name(t->name), plain_name(t->label);
    release(text);
}

static Request read_request(const Lines *l, const char *line) {
    const char *place = l->place, *o = json_root(line, place), *type = json_get(o, "request_type");
    const char *request = json_get(o, "request"), *doc = json_get(o, "doc");
    CHECK(type && json_is(type, "loglikelihood"),
          "%s: expected \"request_type\": \"loglikelihood\", found %s", place, json_quoted(type));
    CHECK(request && *request == '{',
          "%s: expected an object \"request\", found %s", place, json_quoted(request));
    Request r;
    memset(&r, 0, sizeof r);
    r.doc = json_int(o, place, "doc_id", 0, 2*TWINS - 1, NAN);
    r.choice = json_int(o, place, "idx", 0, MOST_CHOICES - 1, NAN);
    r.label = json_int(o, place, "label", 0, MOST_CHOICES - 1, NAN);
    r.context = text_member(request, "context", place, &r.context_size);
    r.text = text_member(request, "continuation", place, &r.size);
    CHECK(r.size, "%s: \"continuation\" is empty: there is nothing to ask about", place);
    const char *choices = doc && *doc == '{' ? json_get(doc, "choices") : NULL;
    if (choices && *choices == '[')
        for (const char *c = json_first_of(choices); c; c = json_next_of(c)) r.listed++;
    return r;
}
static void request_release(Request *r) {
    release(r->context), release(r->text), release(r->span.ids);
}

static void add_request(Task *t, size_t *room, const Request *r) {
    const size_t n = (size_t)t->n;
    t->request = (Request *)with_room(t->request, n, n + 1, room, sizeof *r, "the requests");
    t->request[t->n++] = *r;
}

static const Request *being_sorted;                         // qsort's callback has no argument of ours
static int by_question(const void *a, const void *b) {
    const Request *x = being_sorted + *(const int *)a, *y = being_sorted + *(const int *)b;
    if (x->doc != y->doc) return x->doc - y->doc;
    return x->choice != y->choice ? x->choice - y->choice : x->at - y->at;
}
static int by_place(const void *a, const void *b) {
    return ((const Question *)a)->at - ((const Question *)b)->at;
}

// request[order[0..n)], sorted by choice, as one question. Each of its choices must be there, and once: a
// loader that loses the last ones changes the score without a word (OLMo-core's issue 204).
static Question question_of(const Task *t, const int *order, int n) {
    const Request *r = &t->request[order[0]];
    Question q = { r->doc, r->label, n, r->at, NULL, NULL };
    q.ask = (int *)allocate(2*(size_t)n, sizeof(int), "a question"), q.twin = q.ask + n;
    const char *path = t->path;
    for (int c = 0; c < n; c++) {
        const Request *s = &t->request[order[c]];
        const int line = s->at + 1;
        q.ask[c] = order[c], q.at = imin(q.at, s->at);
        CHECK(s->label == q.label && s->listed == r->listed,
              "%s:%d: doc_id %d has another label or other choices than in line %d",
              path, line, q.doc, r->at + 1);
        CHECK(s->choice >= c, "%s:%d: choice %d of doc_id %d is there twice", path, line, s->choice, q.doc);
        CHECK(s->choice == c, "%s: doc_id %d lacks its choice %d", path, q.doc, c);
    }
    CHECK(n > q.label && n >= r->listed,
          "%s: doc_id %d lacks its choice %d; is the file cut off?", path, q.doc, n);
    CHECK(n == r->listed || !r->listed,
          "%s: doc_id %d lists %d choices, but there are requests for %d", path, q.doc, r->listed, n);
    return q;
}

static void find_questions(Task *t) {
    int *order = (int *)allocate((size_t)t->n + 1, sizeof *order, "the requests"), n = 0;
    for (int i = 0; i < t->n; i++) if (t->request[i].doc < TWINS) order[n++] = i;
    CHECK(n, "%s: there is no request in it", t->path);
    being_sorted = t->request;
    qsort(order, (size_t)n, sizeof *order, by_question);
    t->question = (Question *)allocate((size_t)n, sizeof *t->question, "the questions");
    for (int i = 0, end; i < n; i = end) {
        for (end = i; end < n && t->request[order[end]].doc == t->request[order[i]].doc; end++) {}
        t->question[t->questions++] = question_of(t, order + i, end - i);
    }
    qsort(t->question, (size_t)t->questions, sizeof *t->question, by_place);
    release(order);
}

// A task's directory, every line checked; any trouble is one sentence and the end. With `twins` each
// choice is asked after "Answer:", too, which acc_uncond subtracts; without them the twins in the file
// are left out as well.
static Task *task_read(const char *directory, int twins) {
    Task *t = (Task *)allocate(1, sizeof *t, "a task");
    size_t room = 0;
    read_task_config(t, directory);
    path_join(t->path, directory, "requests.jsonl");
    if (!file_exists(t->path)) path_join(t->path, directory, "requests.jsonl.gz");
    Lines *l = lines_open(t->path);
    for (char *line; (line = lines_next(l)) != NULL; ) {
        Request r = read_request(l, line);
        r.at = (int)l->number - 1;
        if (twins || r.doc < TWINS) add_request(t, &room, &r); else request_release(&r);
    }
    lines_close(l);
    t->lines = t->n;
    find_questions(t);
    for (int i = 0; twins && i < t->questions; i++) for (int c = 0; c < t->question[i].choices; c++) {
        Request twin = t->request[t->question[i].ask[c]];
        twin.context_size = strlen("Answer:"), twin.context = copy_of("Answer:", twin.context_size);
        twin.text = copy_of(twin.text, twin.size), twin.at = -1;
        t->question[i].twin[c] = t->n;
        add_request(t, &room, &twin);
    }
    return t;
}

// What is left of a text whose first tokens did not fit: what is divided by bytes must be of the same text.
static char *rest_of_text(const Coder *coder, const Span *s, size_t *size) {
    return decoded(coder->tokenizer, s->ids + s->n - s->scored, (size_t)s->scored, size);
}

// Text to tokens, for all requests that are wanted.
static void task_encode(Task *t, const Coder *coder) {
    for (int i = 0; i < t->n; i++) {
        Request *r = &t->request[i];
        if (r->skip) continue;
        r->span = ask_about(coder, r->context, r->context_size, r->text, r->size);
        const Span *s = &r->span;
        CHECK(s->scored, "%s:%d: the tokenizer makes no token of this continuation", t->path, r->at + 1);
        char *rest = s->lost ? rest_of_text(coder, s, &r->size) : NULL;
        if (rest) release(r->text), r->text = rest;
        r->bytes = (int)r->size, r->characters = (int)code_points(r->text, r->size);
        for (r->lead = 1; r->lead < r->bytes && (r->text[r->lead] & 0xc0) == 0x80; r->lead++) {}
        if (r->at >= 0) t->cut_contexts += s->cut > s->lost, t->cut_texts += s->lost > 0;
    }
}

// All spans of a task, for score_spans; span: room for t->n. Returns how many.
static size_t task_spans(Task *t, Span **span) {
    size_t n = 0;
    for (int i = 0; i < t->n; i++) if (!t->request[i].skip) span[n++] = &t->request[i].span;
    return n;
}

// ---- directories of tasks -----------------------------------------------------------------------------

typedef struct { Task **task; size_t n, room; } Tasks;

static int by_spelling(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// The entries of a directory in the order of their names, but for hidden ones. The caller releases them
// and the list.
static char **directory_entries(const char *path, size_t *n) {
    char **list = NULL;
    size_t room = 0;
    DIR *directory = opendir(path);
    CHECK(directory, "%s: cannot be read: %s", path, strerror(errno));
    *n = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL; ) {
        if (*entry->d_name == '.') continue;
        list = (char **)with_room(list, *n, *n + 1, &room, sizeof *list, "the names of files");
        list[(*n)++] = copy_of(entry->d_name, strlen(entry->d_name));
    }
    closedir(directory);
    if (*n) qsort(list, *n, sizeof *list, by_spelling);
    return list;
}
static int is_directory(const char *path) { struct stat s; return stat(path, &s) == 0 && S_ISDIR(s.st_mode); }

static int is_task(const char *directory) {
    char plain[PATH], packed[PATH];
    path_join(plain, directory, "requests.jsonl"), path_join(packed, directory, "requests.jsonl.gz");
    return file_exists(plain) || file_exists(packed);
}

static void find_tasks_below(Tasks *tasks, const char *path, int twins, int depth) {
    if (is_task(path)) {
        const size_t n = tasks->n, size = sizeof *tasks->task;
        tasks->task = (Task **)with_room(tasks->task, n, n + 1, &tasks->room, size, "the tasks");
        tasks->task[tasks->n++] = task_read(path, twins);
        return;
    }
    size_t n;
    char **entry = directory_entries(path, &n), inside[PATH];
    for (size_t i = 0; i < n; i++) {
        path_join(inside, path, entry[i]);
        if (depth < 8 && is_directory(inside)) find_tasks_below(tasks, inside, twins, depth + 1);
        release(entry[i]);
    }
    release(entry);
}

// Adds the task in this directory, or all tasks below it. Each name may be there once.
static void find_tasks(Tasks *tasks, const char *path, int twins) {
    const size_t before = tasks->n;
    CHECK(is_directory(path),
          "%s: expected the directory of a task, with config.json and requests.jsonl[.gz]", path);
    find_tasks_below(tasks, path, twins, 0);
    CHECK(tasks->n > before, "%s: there is no requests.jsonl or requests.jsonl.gz in it, or below it", path);
    for (size_t i = before; i < tasks->n; i++) for (size_t k = 0; k < i; k++) {
        const Task *a = tasks->task[k], *b = tasks->task[i];
        CHECK(strcmp(a->name, b->name), "%s and %s: both are called %s", a->path, b->path, a->name);
        CHECK(strcmp(a->label, b->label), "%s and %s: both would be %s in metrics.jsonl, by the names of "
              "these directories; rename one", a->path, b->path, a->label);
    }
}

// ---- what the answers are worth -----------------------------------------------------------------------

typedef enum { RAW, PER_TOKEN, PER_CHAR, UNCOND, PER_CHAR_V1 } Way;

// How a choice is measured, with s = log p(continuation | context):
//     RAW  s    PER_TOKEN  s/tokens    PER_CHAR  s/characters    UNCOND  s - log p(continuation | "Answer:")
// The leading space counts as a character of the continuation; but not in OLMo's older code: PER_CHAR_V1.
static double choice_score(const Task *t, const Question *q, int c, Way way) {
    const Request *r = &t->request[q->ask[c]];
    const double s = r->span.logprob;
    switch (way) {
    case PER_TOKEN:   return s/r->span.scored;
    case PER_CHAR:    return s/r->characters;
    case PER_CHAR_V1: return s/imax(1, r->characters - 1);
    case UNCOND:      return s - t->request[q->twin[c]].span.logprob;
    default:          return s;
    }
}

// The model's answer: the best choice, and of equals the first.
static int answer(const Task *t, const Question *q, Way way) {
    int best = 0;
    for (int c = 1; c < q->choices; c++)
        if (choice_score(t, q, c, way) > choice_score(t, q, best, way)) best = c;
    return best;
}

static double task_accuracy(const Task *t, Way way) {
    int right = 0;
    for (int i = 0; i < t->questions; i++) right += answer(t, &t->question[i], way) == t->question[i].label;
    return (double)right/t->questions;
}

// F1 = 2 TP/(2 TP + FP + FN), where choice 0 is what is looked for (in mrpc: "yes").
static double task_f1(const Task *t, Way way) {
    int hits = 0, wrong = 0;
    for (int i = 0; i < t->questions; i++) {
        int said = answer(t, &t->question[i], way) == 0, is = t->question[i].label == 0;
        hits += said && is, wrong += said != is;
    }
    return hits ? 2.0*hits/(2*hits + wrong) : 0;
}

static const Request *right_answer(const Task *t, int i) {
    return &t->request[t->question[i].ask[t->question[i].label]];
}

// What the right answers cost: nats per character (OLMo's ce_loss) and bits per byte, each the mean over
// the questions. v1 divides by lengths without the leading space, though the likelihood is of the text
// with it; v2 is a true rate.
static double task_ce_loss(const Task *t, int v1) {
    double sum = 0;
    for (int i = 0; i < t->questions; i++) {
        const Request *r = right_answer(t, i);
        sum -= r->span.logprob/imax(1, r->characters - v1);
    }
    return sum/t->questions;
}
static double task_bits_per_byte(const Task *t, int v1) {
    double sum = 0;
    for (int i = 0; i < t->questions; i++) {
        const Request *r = right_answer(t, i);
        sum -= r->span.logprob/M_LN2/imax(1, r->bytes - v1*r->lead);
    }
    return sum/t->questions;
}

// What one scores by guessing.
static double task_chance(const Task *t) {
    double sum = 0;
    for (int i = 0; i < t->questions; i++) sum += 1.0/t->question[i].choices;
    return sum/t->questions;
}

// "primary_metric" as a way of measuring choices; f1 goes by RAW.
static Way task_way(const Task *t) {
    static const char *const names[] = { "acc_raw", "acc_per_token", "acc_per_char", "acc_uncond" };
    for (int way = RAW; way <= UNCOND; way++) if (!strcmp(t->metric, names[way])) return (Way)way;
    CHECK(!strcmp(t->metric, "f1"), "%s: the \"primary_metric\" of its config.json is %s; "
          "expected acc_raw, acc_per_token, acc_per_char, acc_uncond or f1", t->path, t->metric);
    return RAW;
}
static int task_wants_f1(const Task *t) { return !strcmp(t->metric, "f1"); }
