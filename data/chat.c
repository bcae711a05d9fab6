/*
Conversations: what a model learns from to answer (supervised fine-tuning), pairs of answers of
which one is preferred (DPO), and the chat itself. #included by train_olmo.c; to its training loop,
conversations and pairs are Rows like any other.

    chat.jsonl     {"messages": [{"role": "user", "content": "Hi there"},
                                 {"role": "assistant", "content": "Hello!"}]}
    pairs.jsonl    {"chosen": [messages], "rejected": [messages]}

A conversation becomes one text, as OLMo-7B-Instruct saw it (open-instruct's finetune.py; ADAPT_SPEC
2). EOS is the id that ends a document, and as OLMo has no other special id, it begins one, too:

    EOS<|user|>
    Hi there
    <|assistant|>
    Hello!EOS

The role markers are plain text. Contents are stripped of white space. Labels, the tokens that the
model is asked for, are what it will have to write itself: the answer, its EOS, and the newline
behind that where another message follows. Nothing else.

The text is tokenized piece by piece, with a flag for each piece, and many conversations at a time by
all threads. That gives the ids of the whole, because the pieces meet where no token reaches across:
at EOS, and behind a newline that something other than white space follows.

A model of bytes has no tokenizer, and no id to spare: there, byte 0 is EOS.
*/

// ---- the template, for others --------------------------------------------------------------------
// transformers renders the same with apply_chat_template. It is saved in the model's
// tokenizer_config.json, and says to --chat that a model has learned to answer.

static const char *const chat_template =
    "{{ eos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + "
    "message['content'].strip() }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% if not loop.last or add_generation_prompt %}{{ '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";

static const char **config_file(Companions *with, size_t **size) {
    int i = 0;
    while (strcmp(companion_names[i], "tokenizer_config.json")) i++;
    *size = &with->size[i];
    return (const char **)&with->bytes[i];
}
// The members of tokenizer_config.json, or NULL.
static const char *config_object(const char *text) {
    const char *start = text ? json_space(text) : NULL;
    return start && *start == '{' && json_skip(start, 0) ? start : NULL;
}
static int has_chat_template(Companions *with) {
    size_t *size;
    const char *object = config_object(*config_file(with, &size));
    return object && json_get(object, "chat_template");
}

// Puts ours into tokenizer_config.json, in place of any other; and the text of EOS, if it does not
// say.
static void set_chat_template(Companions *with, const Tokenizer *t, int eos) {
    size_t *size;
    const char **bytes = config_file(with, &size), *object = config_object(*bytes), *key;
    char *text = NULL, eos_token[LONGEST_TOKEN + 1] = "";
    size_t length;
    FILE *file = open_memstream(&text, &length);
    CHECK(file, "not enough memory for tokenizer_config.json");
    fprintf(file, "{");
    for (const char *value = object ? json_first(object, &key) : NULL; value;
         value = json_next(value, &key))
        if (!json_is(key, "chat_template"))
            fprintf(file, "\n  %.*s,", (int)(json_skip(value, 0) - key), key);
    if (t && eos < t->vocab && t->size[eos] > 0)
        snprintf(eos_token, sizeof eos_token, "%.*s", t->size[eos], t->token[eos]);
    if (*eos_token && (!object || !json_get(object, "eos_token"))) {
        fprintf(file, "\n  \"eos_token\": ");
        write_json_string(file, eos_token);
        fprintf(file, ",");
    }
    fprintf(file, "\n  \"chat_template\": ");
    write_json_string(file, chat_template);
    fprintf(file, "\n}\n");
    fclose(file);
    char *copy = (char *)allocate(length + 1, 1, "tokenizer_config.json");
    memcpy(copy, text, length + 1);
    free(text);
    release((void *)(uintptr_t)*bytes);
    *bytes = copy, *size = length;
}

// ---- rendering -----------------------------------------------------------------------------------

// A piece is the text from the piece before it up to `end`, or (id >= 0) that id alone. label: is it one?
typedef struct { size_t end; int id, label; } TextPiece;

// A conversation: first its text, cut into pieces; then, of all of them, the ids.
typedef struct {
    int eos;
    char *text;
    TextPiece *piece;
    size_t size, text_room, pieces, piece_room;
    int *ids;
    unsigned char *labels;                                  // [n] is this id one?
    size_t n, id_room, label_room;
} Rendering;

static Rendering rendering_of(int eos) {
    Rendering r;
    memset(&r, 0, sizeof r);
    r.eos = eos;
    return r;
}
static void rendering_free(Rendering *r) {
    release(r->text), release(r->piece), release(r->ids), release(r->labels);
}

// data[0..used) in a block of at least `needed` items: the old one, or a larger one.
static void *with_room(void *data, size_t used, size_t needed, size_t *room, size_t size,
                       const char *what) {
    if (needed <= *room) return data;
    *room = needed + needed/2 + 16;
    void *larger = allocate(*room, size, what);
    if (used) memcpy(larger, data, used*size);
    release(data);
    return larger;
}

static void add_text(Rendering *r, const char *text, size_t n) {
    r->text = (char *)with_room(r->text, r->size, r->size + n, &r->text_room, 1, "a conversation's text");
    if (n) memcpy(r->text + r->size, text, n);
    r->size += n;
}
static void add_piece(Rendering *r, int id, int label) {
    const TextPiece p = { r->size, id, label };
    r->piece = (TextPiece *)with_room(r->piece, r->pieces, r->pieces + 1, &r->piece_room, sizeof p,
                                  "a conversation's pieces");
    r->piece[r->pieces++] = p;
}
// The text since the last piece is one.
static void end_piece(Rendering *r, int label) { add_piece(r, -1, label); }

// ids and labels of all pieces. encoder: this thread's; NULL: bytes.
static void find_ids(Rendering *r, Encoder *encoder) {
    size_t start = 0;
    r->n = 0;
    for (size_t i = 0; i < r->pieces; i++) {
        const TextPiece *p = &r->piece[i];
        const char *text = r->text + start;
        size_t n = p->end - start;                          // bytes, and then ids
        if (p->id >= 0) n = 1;
        else if (encoder) n = encode(encoder, text, n);
        r->ids = (int *)with_room(r->ids, r->n, r->n + n, &r->id_room, sizeof(int), "a conversation's ids");
        r->labels = (unsigned char *)with_room(r->labels, r->n, r->n + n, &r->label_room, 1,
                                               "a conversation's labels");
        for (size_t k = 0; k < n; k++) {
            r->ids[r->n] = p->id >= 0 ? p->id : encoder ? encoder->ids[k] : (unsigned char)text[k];
            r->labels[r->n++] = (unsigned char)p->label;
        }
        start = p->end;
    }
}

static void add_header(Rendering *r, const char *role) {
    add_text(r, "<|", 2), add_text(r, role, strlen(role)), add_text(r, "|>\n", 3);
}
static void begin_conversation(Rendering *r) { r->size = r->pieces = 0, add_piece(r, r->eos, 0); }

// Up to where the assistant has to speak.
static void begin_answer(Rendering *r, int label_header) {
    end_piece(r, 0);
    add_header(r, "assistant");
    end_piece(r, label_header);
}

// From the end of the answer before, or from the very start, up to where the assistant has to speak
// again: what the chat says next to the model.
static void user_turn(Rendering *r, int first, const char *text, size_t n) {
    r->size = r->pieces = 0;
    if (first) begin_conversation(r);
    else add_text(r, "\n", 1), end_piece(r, 0);
    add_header(r, "user");
    add_text(r, text, n), add_text(r, "\n", 1);
    begin_answer(r, 0);
}

// ---- .jsonl --------------------------------------------------------------------------------------

static const char *const roles[] = { "system", "user", "assistant" };

typedef struct { const char *path; size_t line; } ChatPlace;    // of a conversation, for sentences

// json_get, of a name that stands there once: of two, other readers take the second one.
static const char *get_once(const char *object, const char *name, const ChatPlace *at) {
    const char *value = json_get(object, name), *key;
    for (const char *other = value; other && (other = json_next(other, &key)); )
        CHECK(!json_is(key, name), "%s: line %zu: \"%s\" stands twice in one object", at->path,
              at->line, name);
    return value;
}

// The messages of a JSON array as pieces. as_released: with the labels that OLMo's released runs had
// (see shift_labels).
static void render(Rendering *r, const char *messages, const char *name, int as_released,
                   const ChatPlace *at) {
    const size_t line = at->line;
    CHECK(messages,
          "%s: line %zu: expected \"%s\", an array of messages, found none (data/tokenize makes "
          "tokens of documents)",
          at->path, line, name);
    CHECK(*messages == '[',
          "%s: line %zu: expected \"%s\" to be an array of messages, found %.40s", at->path, line,
          name, messages);
    const char *message = json_first_of(messages);
    CHECK(message, "%s: line %zu: \"%s\" holds no message", at->path, line, name);
    int speaker = -1, number = 1;                           // of the message before
    begin_conversation(r);
    for (const char *next; message; message = next, number++) {
        CHECK(*message == '{',
              "%s: line %zu: expected message %d of \"%s\" to be an object, found %.40s", at->path,
              line, number, name, message);
        const char *role = get_once(message, "role", at), *content = get_once(message, "content", at);
        int who = 0;
        next = json_next_of(message);
        while (role && who < 3 && !json_is(role, roles[who])) who++;
        CHECK(role && who < 3,
              "%s: line %zu: expected message %d to have the \"role\" system, user or assistant, "
              "found %.40s",
              at->path, line, number, role ? role : "none");
        CHECK(content && *content == '"',
              "%s: line %zu: expected message %d to have a string \"content\", found %.40s",
              at->path, line, number, content ? content : "none");
        size_t room = (size_t)(json_skip(content, 0) - content) + 8;
        char *buffer = (char *)allocate(room, 1, "a message");
        int size = json_unescape(buffer, (int)room, content);
        CHECK(size >= 0,
              "%s: line %zu: the content of message %d holds half a character: a lone surrogate, "
              "or a \\u without four digits",
              at->path, line, number);
        size_t n = (size_t)size;
        const char *text = strip(buffer, &n);
        CHECK(n, "%s: line %zu: message %d (%s) says nothing: its content is empty", at->path,
              line, number, roles[who]);
        if (who == 2) {
            begin_answer(r, as_released && (speaker == 2 || speaker < 0));
            add_text(r, text, n);
            end_piece(r, 1);
            add_piece(r, r->eos, 1);
            if (next) add_text(r, "\n", 1), end_piece(r, 1);
        } else {
            add_header(r, roles[who]);
            add_text(r, text, n);
            if (next) add_text(r, "\n", 1);
        }
        speaker = who;
        release(buffer);
    }
    end_piece(r, 0);
}

// The released runs measured their mask on a text without the leading EOS: every label moved one
// place to the left. So the newline of the header was learned, the one behind EOS was not; and the
// last id is a label if the assistant spoke last.
static void shift_labels(Rendering *r) {
    int last = r->labels[r->n - 1];
    for (size_t i = 0; i + 1 < r->n; i++) r->labels[i] = r->labels[i + 1];
    r->labels[r->n - 1] = (unsigned char)last;
}

// ---- progress -----------------------------------------------------------------------------------

// Work that takes long shows its progress, a line every two seconds:
//     reference: 1,200 of 5,000 pairs, 40 per second, 1:35 left
typedef struct { const char *what, *unit; double total, first, began, shown; } Meter;

static Meter meter_of(const char *what, const char *unit, double total, double first) {
    const Meter m = { what, unit, total, first, seconds(), seconds() };
    return m;
}
static void meter_show(Meter *m, double done) {
    const double now = seconds(), rate = (done - m->first)/(now - m->began + 1e-9);
    char a[48], b[48], c[48];
    if (now - m->shown < 2 || rate <= 0) return;
    const int left = (int)fmin((m->total - done)/rate, 1e9);
    printf("%s: %s of %s %s, %s per second, %d:%02d left\n", m->what, with_commas(done, a),
           with_commas(m->total, b), m->unit, with_commas(rate, c), left/60, left % 60);
    m->shown = now;
}

// ---- conversations as rows -----------------------------------------------------------------------

typedef struct {
    int group;                                              // 2: pairs, the chosen side first
    int T;                                                  // rows are cut here
    int *ids;                                               // a label as it is, another id as ~id
    size_t n, room;
    size_t *start;                                          // [rows + 1] where each row begins
    size_t rows, start_room;
    int files;
    size_t first;                                           // the row that is number 0 to Rows
    size_t dropped, cut;                                    // groups without a label; rows beyond T
} Conversations;

static void add_row(Conversations *c, const Rendering *r) {
    const size_t n = zmin(r->n, (size_t)c->T);
    c->ids = (int *)with_room(c->ids, c->n, c->n + n, &c->room, sizeof(int), "the conversations");
    c->start = (size_t *)with_room(c->start, c->rows + 1, c->rows + 2, &c->start_room,
                                   sizeof(size_t), "the conversations");
    for (size_t i = 0; i < n; i++) c->ids[c->n + i] = r->labels[i] ? r->ids[i] : ~r->ids[i];
    c->start[++c->rows] = c->n += n;
}
// The first id is never asked for, so a label there is none.
static int has_label(const Conversations *c, size_t row) {
    for (size_t i = c->start[row] + 1; i < c->start[row + 1]; i++) if (c->ids[i] >= 0) return 1;
    return 0;
}

// What has been read and waits for its ids: many conversations, so that every thread has work.
typedef struct {
    Rendering *side;                                        // [CROWD]
    int sides, as_released;
    Encoder **encoder;                                      // [threads]; NULL: bytes
    int threads;
    size_t waiting;                                         // bytes of their lines
    double done;                                            // ... and of all that has been read
    Meter meter;
} ChatReader;

enum { CROWD = 512, CROWD_BYTES = 8 << 20, LONGEST_LINE = 64 << 20 };

// Conversations become rows in the order of the files, whoever has found their ids.
static void add_waiting(Conversations *c, ChatReader *r) {
    #pragma omp parallel for schedule(dynamic, 4)
    for (int i = 0; i < r->sides; i++) {
        find_ids(&r->side[i], r->encoder ? r->encoder[omp_get_thread_num()] : NULL);
        if (r->as_released) shift_labels(&r->side[i]);
    }
    for (int i = 0; i < r->sides; i += c->group) {
        int labels = 1, cut = 0;
        for (int side = i; side < i + c->group; side++) {
            add_row(c, &r->side[side]);
            labels &= has_label(c, c->rows - 1), cut += r->side[side].n > (size_t)c->T;
        }
        if (labels) c->cut += cut;
        else c->rows -= (size_t)c->group, c->n = c->start[c->rows], c->dropped++;
    }
    r->done += (double)r->waiting;
    r->sides = 0, r->waiting = 0;
    meter_show(&r->meter, 1e-6*r->done);
}

// One line of a file: a conversation, or a pair of them.
static void read_group(const Conversations *c, ChatReader *r, const char *json, const ChatPlace *at) {
    static const char *const names[2][2] = { { "messages", NULL }, { "chosen", "rejected" } };
    const char *start = json_space(json), *end = *start == '{' ? json_skip(start, 0) : NULL;
    CHECK(end && !*json_space(end),
          "%s: line %zu: expected one JSON object; this is none, or it is cut off, or too deep: "
          "%.40s",
          at->path, at->line, start);
    for (int side = 0; side < c->group; side++) {
        const char *name = names[c->group - 1][side];
        render(&r->side[r->sides++], get_once(start, name, at), name, r->as_released, at);
    }
}

static void read_chat_file(Conversations *c, ChatReader *r, const char *path) {
    size_t size;
    const char *text = (const char *)map_file(path, &size), *end = text + size;
    ChatPlace at = { path, 0 };
    char *line = NULL;
    size_t room = 0;
    CHECK(ends_with(path, ".jsonl"),
          "%s: expected a name that ends in .jsonl: conversations, one per line", path);
    const int mark = size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;           // of the byte order
    for (const char *p = text + mark, *next; p < end; p = next) {
        const char *newline = (const char *)memchr(p, '\n', (size_t)(end - p));
        const size_t n = (size_t)((newline ? newline : end) - p),
                     valid = utf8_valid(p, zmin(n, LONGEST_LINE));
        const size_t number = ++at.line;
        next = newline ? newline + 1 : end;
        CHECK(n < LONGEST_LINE, "%s: line %zu: %zu MB in one line; expected a conversation", path,
              number, n >> 20);
        CHECK(valid == n, "%s: line %zu: expected UTF-8, found another byte at byte %zu", path,
              number, valid);
        CHECK(!memchr(p, 0, n), "%s: line %zu: expected text, found a NUL byte", path, number);
        line = (char *)with_room(line, 0, n + 1, &room, 1, "a line");
        memcpy(line, p, n), line[n] = 0;
        if (*json_space(line)) read_group(c, r, line, &at);
        r->waiting += (size_t)(next - p);
        if (r->sides == CROWD || r->waiting > CROWD_BYTES) add_waiting(c, r);
    }
    release(line);
    munmap((void *)(uintptr_t)text, size);
}

static ChatReader chat_reader(const char *flag, const char *paths, const Tokenizer *tokenizer, int eos,
                              int as_released) {
    ChatReader r;
    char path[PATH];
    struct stat s;
    double bytes = 0;
    memset(&r, 0, sizeof r);
    for (int i = 0; list_item(flag, paths, i, path); i++) bytes += stat(path, &s) ? 0 : (double)s.st_size;
    r.as_released = as_released, r.meter = meter_of("tokenizing", "MB", 1e-6*bytes, 0);
    r.side = (Rendering *)allocate(CROWD, sizeof *r.side, "the conversations");
    for (int i = 0; i < CROWD; i++) r.side[i] = rendering_of(eos);
    if (!tokenizer) return r;
    r.threads = omp_get_max_threads();
    r.encoder = (Encoder **)allocate((size_t)r.threads, sizeof *r.encoder, "the encoders");
    for (int i = 0; i < r.threads; i++) r.encoder[i] = encoder_new(tokenizer);
    return r;
}
static void chat_reader_free(ChatReader *r) {
    for (int i = 0; i < CROWD; i++) rendering_free(&r->side[i]);
    for (int i = 0; i < r->threads; i++) encoder_free(r->encoder[i]);
    release(r->side), release(r->encoder);
}

// The conversations (group 1) or pairs (2) of comma-separated .jsonl files; groups without a label
// are left out. eos: the id that begins a conversation and ends an answer. T: tokens a row is cut
// at. Any number of threads gives the same rows.
static Conversations *conversations_open(const char *flag, const char *paths, int group,
                                         const Tokenizer *tokenizer, int eos, int T,
                                         int as_released) {
    Conversations *c = (Conversations *)allocate(1, sizeof *c, "the conversations");
    ChatReader r = chat_reader(flag, paths, tokenizer, eos, as_released);
    char path[PATH];
    c->group = group, c->T = T;
    c->start = (size_t *)with_room(NULL, 0, 1, &c->start_room, sizeof(size_t), "the conversations");
    for (; list_item(flag, paths, c->files, path); c->files++) read_chat_file(c, &r, path);
    add_waiting(c, &r);
    chat_reader_free(&r);
    CHECK(c->rows,
          "%s: no conversation in it has anything to learn within %d tokens (%zu have none)",
          paths, T, c->dropped);
    CHECK(c->rows <= UINT32_MAX, "%s: more than 2^32 conversations", paths);
    return c;
}
static void conversations_free(Conversations *c) {
    if (c) release(c->ids), release(c->start), release(c);
}

static int read_conversation(const void *source, size_t i, int vocab, int *tokens, int *targets) {
    const Conversations *c = (const Conversations *)source;
    const size_t row = c->first + i;
    const int *ids = c->ids + c->start[row], n = (int)(c->start[row + 1] - c->start[row]);
    for (int t = 0; tokens && t < n; t++) {
        tokens[t] = ids[t] < 0 ? ~ids[t] : ids[t];
        targets[t] = t + 1 < n && ids[t + 1] >= 0 ? ids[t + 1] : IGNORE;
        CHECK(tokens[t] < vocab,
              "a conversation has the token %d, the model's vocabulary ends at %d", tokens[t],
              vocab - 1);
    }
    return n;
}
static Rows conversation_rows(const Conversations *c) {
    const size_t groups = (c->rows - c->first)/c->group;
    Rows rows = { c->group == 2 ? "pairs" : "conversations",
                  c->files,
                  groups,
                  c->group,
                  c->T,
                  1,
                  NULL,
                  c,
                  read_conversation };
    return rows;
}

// Takes the last groups out of `train`, for validation.
static Rows hold_out_conversations(Rows *train, Conversations *view) {
    const size_t held = held_out(train->groups);
    *view = *(const Conversations *)train->source;
    train->groups -= held;
    view->first += train->groups*train->group;
    return conversation_rows(view);
}

// A fingerprint of all rows.
static uint64_t conversations_hash(const Conversations *c) {
    uint64_t hash = fnv1a(fnv1a_start, (const unsigned char *)c->ids, c->n*sizeof *c->ids);
    return fnv1a(hash, (const unsigned char *)c->start, (c->rows + 1)*sizeof *c->start);
}

// ---- the chat ------------------------------------------------------------------------------------

// Prints text as it comes, a few bytes at a time: a character that is not complete yet waits in
// pending[0..*n).
static void print_piece(char *pending, size_t *n, const char *more, size_t m, int last) {
    char whole[3*(LONGEST_TOKEN + 8)];
    memcpy(pending + *n, more, m);
    *n += m;
    size_t good = utf8_valid(pending, *n);
    if (last || *n - good > 3) { // no character is longer: these bytes are none
        print_text(whole, utf8_repair(whole, pending, *n));
        good = *n;
    } else print_text(pending, good);
    memmove(pending, pending + good, *n -= good);
    fflush(stdout);
}

// The model's turn: tokens[0..n) end with the header of its answer, and the first `past` of them
// have been decoded. Prints and appends up to `most` tokens (0: as many as fit), and EOS. Returns
// the new n; *past follows.
static int reply(Model m, const Tokenizer *tokenizer, int *tokens, int n, int *past, int most, Sampling how,
                 uint64_t seed) {
    const Config *c = m.config;
    real *logits = (real *)allocate((size_t)c->vocab, sizeof(real), "the logits");
    Candidate *candidate =
        (Candidate *)allocate((size_t)c->vocab, sizeof(Candidate), "the candidates");
    char pending[LONGEST_TOKEN + 8], piece[LONGEST_TOKEN];
    size_t waiting = 0;
    const int start = n, limit = most && most < c->seq_len - n ? n + most : c->seq_len;
    while (n < limit) {
        m.device->decode(m.handle, logits, tokens + *past, n - *past, *past);
        *past = n;
        tokens[n] =
            sample(logits, c->vocab, how, uniform(hash64(hash64(seed) + (uint64_t)n)), candidate);
        if (tokens[n++] == c->eos) break;
        *piece = (char)tokens[n - 1];
        size_t size = tokenizer ? decode(tokenizer, piece, tokens + n - 1, 1) : 1;
        print_piece(pending, &waiting, piece, size, 0);
    }
    print_piece(pending, &waiting, "", 0, 1);
    printf("\n");
    if (n < c->seq_len && (n == start || tokens[n - 1] != c->eos))
        tokens[n++] = c->eos; // a turn that was cut ends, too
    release(logits), release(candidate);
    return n;
}

// One line of standard input is one turn of the user. The cache keeps the conversation, so that
// only what is new is decoded.
static void chat(Model m, const Tokenizer *tokenizer, Sampling how, int most, uint64_t seed) {
    Config c = *m.config;
    m.config = &c;
    if (!tokenizer && c.vocab == 256 && c.eos < 0) c.eos = 0;
    CHECK(tokenizer || c.vocab == 256,
          "--chat: this model's vocabulary of %d is not bytes; give --tokenizer FILE", c.vocab);
    CHECK(c.eos >= 0,
          "--chat: every turn ends with the id that ends a document; name it with --eos");
    Encoder *encoder = tokenizer ? encoder_new(tokenizer) : NULL;
    Rendering r = rendering_of(c.eos);
    int *tokens = (int *)allocate((size_t)c.seq_len, sizeof(int), "a conversation"), n = 0, past = 0;
    const int terminal = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t capacity = 0;
    if (terminal) printf("Say something; Ctrl-D ends the conversation.\n");
    for (;;) {
        if (terminal) printf("> "), fflush(stdout);
        const ssize_t got = getline(&line, &capacity, stdin);
        if (got < 0) break;
        size_t size = (size_t)got;
        const int readable = utf8_valid(line, size) == size;
        const char *text = readable ? strip(line, &size) : line;
        if (!readable) fprintf(stderr, "note: expected UTF-8; this line is left out\n");
        if (!readable) continue;
        if (!size) continue;
        user_turn(&r, n == 0, text, size), find_ids(&r, encoder);
        if (r.n < (size_t)(c.seq_len - n)) {
            memcpy(tokens + n, r.ids, r.n*sizeof *tokens);
            n = reply(m, tokenizer, tokens, n + (int)r.n, &past, most, how, seed);
        } else n = c.seq_len;
        if (n < c.seq_len) continue;
        printf("(the context of %d tokens is full: the conversation ends here)\n", c.seq_len);
        break;
    }
    free(line), release(tokens), rendering_free(&r), encoder_free(encoder);
}
