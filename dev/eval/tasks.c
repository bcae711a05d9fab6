// Questions with choices: `eval tasks` and `eval mmlu`. #included by eval.c; data/requests.c does the work.

// ---- which questions ----------------------------------------------------------------------------------

// Python's random.Random(seed): the Mersenne Twister (Matsumoto and Nishimura, 1998), seeded by an array
// of one.
typedef struct { uint32_t state[624]; int used; } Twister;

static Twister twister_of(uint32_t seed) {
    Twister r;
    uint32_t *s = r.state;
    int i = 1;
    s[0] = 19650218u;
    for (int k = 1; k < 624; k++) s[k] = 1812433253u*(s[k - 1] ^ s[k - 1] >> 30) + (uint32_t)k;
    for (int k = 0; k < 624; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30)*1664525u) + seed;
        if (++i == 624) s[0] = s[623], i = 1;
    }
    for (int k = 0; k < 623; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30)*1566083941u) - (uint32_t)i;
        if (++i == 624) s[0] = s[623], i = 1;
    }
    s[0] = 0x80000000u;
    r.used = 624;
    return r;
}
static uint32_t twister_next(Twister *r) {
    uint32_t *s = r->state, x;
    if (r->used == 624) {
        for (int i = 0; i < 624; i++) {
            uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % 624] & 0x7fffffffu);
            s[i] = s[(i + 397) % 624] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        r->used = 0;
    }
    x = s[r->used++];
    x ^= x >> 11, x ^= x << 7 & 0x9d2c5680u, x ^= x << 15 & 0xefc60000u;
    return x ^ x >> 18;
}
static int twister_below(Twister *r, int n) {       // as many high bits as n has, until they are below n
    int bits = 0, x;
    while (n >> bits) bits++;
    do x = (int)(twister_next(r) >> (32 - bits)); while (x >= n);
    return x;
}

// random.Random(seed).sample(range(n), k) into out[0..k), which Catwalk takes its questions by (EVAL_SPEC
// 3.4): from a pool where k is much of n; elsewhere drawing again what was drawn before.
static void python_sample(int *out, int n, int k, uint32_t seed) {
    Twister r = twister_of(seed);
    int set_size = 21, *pool = (int *)allocate((size_t)n, sizeof *pool, "a sample");
    if (k > 5) set_size += 1 << 2*(int)ceil(log(3.0*k)/log(4));
    const int small = n <= set_size;
    for (int i = 0; small && i < n; i++) pool[i] = i;
    for (int i = 0, j; i < k; i++) {
        do j = twister_below(&r, small ? n - i : n); while (!small && pool[j]);
        out[i] = small ? pool[j] : j;
        pool[j] = small ? pool[n - i - 1] : 1;
    }
    release(pool);
}

static void task_free(Task *t) {
    for (int i = 0; i < t->n; i++) request_release(&t->request[i]);
    for (int i = 0; i < t->questions; i++) release(t->question[i].ask);
    release(t->request), release(t->question), release(t);
}

// Of the questions only those with the numbers keep[0..n) stay, in that order.
static void task_keep(Task *t, const int *keep, int n) {
    char *wanted = (char *)allocate(TWINS, 1, "the questions");
    Question *kept = (Question *)allocate((size_t)n, sizeof *kept, "the questions");
    for (int i = 0; i < n; i++) kept[i] = t->question[keep[i]], wanted[kept[i].doc] = 1;
    for (int i = 0; i < t->questions; i++) if (!wanted[t->question[i].doc]) release(t->question[i].ask);
    for (int i = 0; i < t->n; i++) t->request[i].skip = !wanted[t->request[i].doc % TWINS];
    release(t->question), release(wanted);
    t->question = kept, t->questions = n;
}

static void choose_questions(Task *t, const Command *c) {
    const int most = c->limit ? c->limit : c->sample;
    if (!most || t->questions <= most) return;
    int *keep = (int *)allocate((size_t)most, sizeof *keep, "a sample");
    for (int i = 0; i < most; i++) keep[i] = i;
    if (c->sample) python_sample(keep, t->questions, most, 1234);
    task_keep(t, keep, most);
    release(keep);
}

static Tasks open_tasks(const Command *c, int twins) {
    Tasks tasks = { NULL, 0, 0 };
    CHECK(c->n, "expected the directories of tasks on the command line");
    for (int i = 0; i < c->n; i++) find_tasks(&tasks, c->files[i], twins);
    for (size_t i = 0; i < tasks.n; i++) {
        (void)task_way(tasks.task[i]);                      // says so if its metric is none
        choose_questions(tasks.task[i], c);
    }
    return tasks;
}

// ---- the file of scores -------------------------------------------------------------------------------
// One line per request: in the order of scoring while a run goes on, at its end in the requests' own.

static void put_score(FILE *f, const Task *t, const Request *r) {
    fprintf(f, "{\"task\": \"%s\", \"doc_id\": %d, \"idx\": %d, \"logprob\": %.17g, ",
            t->name, r->doc, r->choice, r->span.logprob);
    fprintf(f, "\"tokens\": %d, \"bytes\": %d}\n", r->span.scored, r->bytes);
}

static void write_scores(const Tasks *tasks, const char *path) {
    Whole *w = whole_begin(path);
    for (size_t i = 0; i < tasks->n; i++) for (int k = 0; k < tasks->task[i]->lines; k++) {
        const Request *r = &tasks->task[i]->request[k];
        if (r->span.known && !r->skip) put_score(w->file, tasks->task[i], r);
    }
    whole_end(w);
}

// order[i]: the lines of task i, sorted by question and choice
typedef struct { Tasks *tasks; int **order; } ScoresOf;

// One line of the file into the request it is about.
static void read_score(void *context, const char *o, const char *place) {
    const ScoresOf *s = (const ScoresOf *)context;
    const Tasks *tasks = s->tasks;
    const char *name = json_get(o, "task");
    size_t i = 0;
    while (i < tasks->n && !(name && json_is(name, tasks->task[i]->name))) i++;
    CHECK(i < tasks->n, "%s: is the score of %s, which is not asked for now; choose another --scores",
          place, json_quoted(name));
    Task *t = tasks->task[i];
    const int doc = json_int(o, place, "doc_id", 0, 2*TWINS - 1, NAN);
    const int idx = json_int(o, place, "idx", 0, MOST_CHOICES - 1, NAN);
    int low = 0, high = t->lines;
    while (low < high) {
        int middle = (low + high)/2;
        const Request *m = &t->request[s->order[i][middle]];
        if (m->doc < doc || (m->doc == doc && m->choice < idx)) low = middle + 1; else high = middle;
    }
    Request *r = low < t->lines ? &t->request[s->order[i][low]] : NULL;
    const int found = r && r->doc == doc && r->choice == idx && !r->skip;
    const int tokens = json_int(o, place, "tokens", 0, INT32_MAX, NAN);
    const int bytes = json_int(o, place, "bytes", 0, INT32_MAX, NAN);
    CHECK(found && tokens == r->span.scored && bytes == r->bytes,
          "%s: was scored with %d tokens of %d bytes, but %s has %d of %d; are these other request files? "
          "Choose another --scores", place, tokens, bytes, t->path, found ? r->span.scored : 0,
          found ? r->bytes : 0);
    r->span.logprob = json_number(o, place, "logprob", -1e12, 1e12, NAN), r->span.known = 1;
}

static void read_scores(Tasks *tasks, const Command *c) {
    ScoresOf s = { tasks, (int **)allocate(tasks->n, sizeof(int *), "the requests") };
    for (size_t i = 0; i < tasks->n; i++) {
        const Task *t = tasks->task[i];
        s.order[i] = (int *)allocate((size_t)t->lines, sizeof(int), "the requests");
        for (int k = 0; k < t->lines; k++) s.order[i][k] = k;
        being_sorted = t->request;
        qsort(s.order[i], (size_t)t->lines, sizeof(int), by_question);
    }
    open_scores(c, read_score, &s);
    for (size_t i = 0; i < tasks->n; i++) release(s.order[i]);
    release(s.order);
}

// ---- scoring ------------------------------------------------------------------------------------------

// done: of this task. tokens, and those of them that were computed: of all; the others were shared.
static struct { const Task *task; double done, requests, tokens, computed; } scoring;

static int spans_scored(void *context, Span **span, size_t n) {
    (void)context;
    for (size_t i = 0; i < n; i++) {
        const Request *r = (const Request *)(const void *)((const char *)span[i] - offsetof(Request, span));
        if (scores_file && r->at >= 0) put_score(scores_file, scoring.task, r);
        scoring.done += span[i]->n, scoring.tokens += span[i]->n - 1, scoring.requests++;
        scoring.computed += span[i]->n - 1 - span[i]->shared;
    }
    flush_scores();
    bar_to(scoring.done, scoring.done);
    return !asked_to_stop;
}

static void score_task(Task *t, const Command *c) {
    Span **span = (Span **)allocate((size_t)t->n, sizeof *span, "the requests");
    size_t n = task_spans(t, span);
    double total = 0;
    scoring.task = t, scoring.done = 0;
    for (size_t i = 0; i < n; i++) total += span[i]->known ? 0 : span[i]->n;
    bar_begin(t->name, total);
    if (!score_spans(run.model, span, n, (size_t)c->pass, spans_scored, NULL)) stop_here(c);
    bar_end();
    release(span);
}

// ---- results ------------------------------------------------------------------------------------------

// The paper's way of measuring (EVAL_SPEC 3.3), by the task's name without its variant; or -1: the paper
// has no such task.
static int paper_way(const Task *t) {
    static const struct { const char *name; Way way; } paper[] = {
        { "arc_easy", UNCOND }, { "arc_challenge", UNCOND }, { "boolq", RAW }, { "hellaswag", PER_TOKEN },
        { "openbookqa", UNCOND }, { "piqa", PER_TOKEN }, { "sciq", RAW }, { "winogrande", PER_TOKEN },
        { "headqa_en", UNCOND }, { "logiqa", RAW }, { "mrpc", RAW }, { "qnli", RAW }, { "wic", RAW },
        { "wnli", RAW }, { "copa", RAW }, { "rte", RAW },
    };
    const size_t n = strcspn(t->name, ":");
    for (size_t i = 0; i < sizeof paper/sizeof *paper; i++)
        if (strlen(paper[i].name) == n && !strncmp(t->name, paper[i].name, n)) return paper[i].way;
    return -1;
}
static double task_paper(const Task *t) {
    return paper_way(t) < 0 ? NAN : task_accuracy(t, (Way)paper_way(t));
}

// The probability of all choices of a question together, in the mean: what the model gives to anything
// that is offered.
static double task_probability_mass(const Task *t) {
    double sum = 0;
    for (int i = 0; i < t->questions; i++)
        for (int c = 0; c < t->question[i].choices; c++) sum += exp(choice_score(t, &t->question[i], c, RAW));
    return sum/t->questions;
}

// What one scores by always giving the label that is right most often.
static double task_majority(const Task *t) {
    int count[MOST_CHOICES] = { 0 }, most = 0;
    for (int i = 0; i < t->questions; i++) most = imax(most, ++count[t->question[i].label]);
    return (double)most/t->questions;
}

static double task_primary(const Task *t) {
    return task_wants_f1(t) ? task_f1(t, RAW) : task_accuracy(t, task_way(t));
}

// The standard error of a share of n questions.
static double standard_error(double p, int n) { return sqrt(p*(1 - p)/n); }

static void put_task(FILE *f, const Task *t) {
    const double primary = task_primary(t);
    const double error = task_wants_f1(t) ? NAN : standard_error(primary, t->questions);
    const struct { const char *name; double value; } figures[] = {
        { "documents", (double)t->questions },
        { "acc_raw", task_accuracy(t, RAW) },
        { "acc_per_token", task_accuracy(t, PER_TOKEN) },
        { "acc_per_char", task_accuracy(t, PER_CHAR) },
        { "acc_uncond", task_accuracy(t, UNCOND) },
        { "ce_loss", task_ce_loss(t, 0) },
        { "bits_per_byte", task_bits_per_byte(t, 0) },
        { "probability_mass", task_probability_mass(t) },
        { "f1", task_wants_f1(t) ? task_f1(t, RAW) : NAN },
        { "primary", primary },
        { "paper", task_paper(t) },
        { "stderr", error },
        { "chance", task_chance(t) },
        { "majority", task_majority(t) },
        { "acc_per_char_v1", task_accuracy(t, PER_CHAR_V1) },
        { "ce_loss_v1", task_ce_loss(t, 1) },
        { "bits_per_byte_v1", task_bits_per_byte(t, 1) },
    };
    fprintf(f, "  \"%s\": {\"primary_metric\": \"%s\"", t->name, t->metric);
    for (size_t i = 0; i < sizeof figures/sizeof *figures; i++) {
        fprintf(f, ", ");
        put_number(f, figures[i].name, figures[i].value);
    }
    fprintf(f, ",\n    \"right\": \"");                   // question by question: paired tests need it
    for (int i = 0; i < t->questions; i++) {
        const Question *q = &t->question[i];
        fputc(answer(t, q, task_way(t)) == q->label ? '1' : '0', f);
    }
    fprintf(f, "\"}");
}

static void write_tasks_json(const Tasks *tasks, const Command *c) {
    Whole *w = whole_begin(c->json);
    FILE *f = w->file;
    put_model(f, c);
    fprintf(f, " \"tasks\": {\n");
    for (size_t i = 0; i < tasks->n; i++) fprintf(f, i ? ",\n" : ""), put_task(f, tasks->task[i]);
    fprintf(f, "}}\n");
    whole_end(w);
}

static void print_task_header(void) {
    printf("%-24s %6s  %-13s %7s %6s", "task", "asked", "metric", "primary", "+-");
    printf(" %6s %6s %6s %6s", "raw", "token", "char", "uncond");
    printf(" %6s %7s %6s %6s\n", "paper", "bits/B", "chance", "major");
}
static void print_task(const Task *t) {
    const double primary = task_primary(t), paper = task_paper(t);
    const double error = standard_error(primary, t->questions);
    char plus_minus[16] = "-", as_paper[16] = "-";
    if (!task_wants_f1(t)) snprintf(plus_minus, sizeof plus_minus, "%.1f", 100*error);
    if (!isnan(paper)) snprintf(as_paper, sizeof as_paper, "%.1f", 100*paper);
    printf("%-24s %6d  %-13s %7.1f %6s", t->name, t->questions, t->metric, 100*primary, plus_minus);
    for (int way = RAW; way <= UNCOND; way++) printf(" %6.1f", 100*task_accuracy(t, (Way)way));
    printf(" %6s %7.4f", as_paper, task_bits_per_byte(t, 0));
    printf(" %6.1f %6.1f\n", 100*task_chance(t), 100*task_majority(t));
    if (t->cut_contexts || t->cut_texts)
        printf("  (longer than the model's window: %d contexts, cut in front, and %d continuations)\n",
               t->cut_contexts, t->cut_texts);
    fflush(stdout);
}

// Scores all tasks, telling `print` of each as soon as it is done.
static void score_tasks(Tasks *tasks, const Command *c, void (*print)(const Task *t)) {
    char requests[48], tokens[48], computed[48];
    if (c->scores) read_scores(tasks, c);
    heed_signals();
    const double began = seconds();
    for (size_t i = 0; i < tasks->n; i++) {
        score_task(tasks->task[i], c);
        if (print) print(tasks->task[i]);
    }
    const double took = seconds() - began;
    fprintf(stderr, "scored: %s requests, each once, of %s tokens, of which %s were computed, "
            "in %.2f s: %.0f tokens/s\n", with_commas(scoring.requests, requests),
            with_commas(scoring.tokens, tokens), with_commas(scoring.computed, computed), took,
            scoring.tokens/took);
    if (c->scores) fclose(scores_file), write_scores(tasks, c->scores);
}

static void close_tasks(Tasks *tasks) {
    for (size_t i = 0; i < tasks->n; i++) task_free(tasks->task[i]);
    release(tasks->task);
    close_model();
}

static void tasks_main(const Command *c) {
    Tasks tasks = open_tasks(c, 1);
    open_model(c);
    for (size_t i = 0; i < tasks.n; i++) task_encode(tasks.task[i], &coder);
    print_task_header();
    score_tasks(&tasks, c, print_task);
    if (c->json) write_tasks_json(&tasks, c);
    close_tasks(&tasks);
}

// ---- MMLU ---------------------------------------------------------------------------------------------
// 0-shot, as open-instruct asks (ADAPT_SPEC 4): the question with its four choices, and which letter
// comes next. In a chat the question is a user's message, and the answer has begun: "The answer is:".

// The context's ids; of " A" the last id alone is asked about.
static Span letter_span(const Request *r, Rendering *chat) {
    static const char begun[] = "The answer is:";
    Span s = ask_about(&coder, r->context, r->context_size, r->text, r->size);
    const int letter = s.ids[s.n - 1];
    release(s.ids);
    size_t room = 0;
    memset(&s, 0, sizeof s);
    if (chat) {
        begin_conversation(chat);
        add_header(chat, "user");
        add_text(chat, r->context, r->context_size), add_text(chat, "\n", 1);
        begin_answer(chat, 0), find_ids(chat, coder.encoder);
        s.ids = (int *)with_room(s.ids, 0, chat->n + 1, &room, sizeof *s.ids, "the tokens of a text");
        memcpy(s.ids, chat->ids, chat->n*sizeof *s.ids), s.n = (int)chat->n;
        append_ids(&s, &room, &coder, begun, strlen(begun));
    } else append_ids(&s, &room, &coder, r->context, r->context_size);
    s.ids = (int *)with_room(s.ids, (size_t)s.n, (size_t)s.n + 1, &room, sizeof *s.ids,
                             "the tokens of a text");
    s.ids[s.n++] = letter, s.scored = 1;
    keep_last(&s, coder.T + 1);
    return s;
}

static void encode_letters(Task *t, const Command *c) {
    Rendering chat = rendering_of(coder.first);
    for (int i = 0; i < t->n; i++) if (!t->request[i].skip) {
        Request *r = &t->request[i];
        r->span = letter_span(r, c->chat ? &chat : NULL);
        r->bytes = (int)r->size, t->cut_contexts += r->span.cut > 0;
    }
    rendering_free(&chat);
}

static int is_right(const Task *t, int i) { return answer(t, &t->question[i], RAW) == t->question[i].label; }

// What `eval compare` reads of a subject, or of all of them.
static void put_shares(FILE *f, const char *name, const Tasks *tasks, size_t first, size_t end) {
    int n = 0, right = 0;
    for (size_t i = first; i < end; i++) for (int k = 0; k < tasks->task[i]->questions; k++)
        n++, right += is_right(tasks->task[i], k);
    const double share = (double)right/n;
    fprintf(f, "  \"%s\": {\"primary_metric\": \"acc_raw\", \"documents\": %d, ", name, n);
    put_number(f, "primary", share), fprintf(f, ", ");
    put_number(f, "stderr", standard_error(share, n)), fprintf(f, ", ");
    put_number(f, "chance", task_chance(tasks->task[first])), fprintf(f, ",\n    \"right\": \"");
    for (size_t i = first; i < end; i++)
        for (int k = 0; k < tasks->task[i]->questions; k++) fputc(is_right(tasks->task[i], k) ? '1' : '0', f);
    fprintf(f, "\"}");
}

static void mmlu_main(const Command *c) {
    Tasks tasks = open_tasks(c, 0);
    open_model(c);
    for (size_t i = 0; i < tasks.n; i++) encode_letters(tasks.task[i], c);
    score_tasks(&tasks, c, NULL);
    double macro = 0, right = 0, chance = 0, n = 0;
    int cut = 0;
    for (size_t i = 0; i < tasks.n; i++) {
        const Task *t = tasks.task[i];
        const double share = task_accuracy(t, RAW);
        printf("%-48s %6d %7.1f\n", t->name, t->questions, 100*share);
        macro += share/(double)tasks.n, right += share*t->questions, n += t->questions;
        chance += task_chance(t)*t->questions;
        cut += t->cut_contexts;
    }
    printf("%-48s %6.0f %7.1f +- %.1f   (mean of the subjects: %.1f; chance: %.1f)\n", "all questions", n,
           100*right/n, 100*standard_error(right/n, (int)n), 100*macro, 100*chance/n);
    if (cut) printf("(%d requests were longer than the model's window, and cut in front)\n", cut);
    if (c->json) {
        Whole *w = whole_begin(c->json);
        FILE *f = w->file;
        put_model(f, c);
        fprintf(f, " \"tasks\": {\n");
        put_shares(f, "mmlu", &tasks, 0, tasks.n);
        for (size_t i = 0; i < tasks.n; i++)
            fprintf(f, ",\n"), put_shares(f, tasks.task[i]->name, &tasks, i, i + 1);
        fprintf(f, "}}\n");
        whole_end(w);
    }
    close_tasks(&tasks);
}
