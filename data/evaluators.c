// What else a run is measured on at every validation: --eval-set, more files of tokens, and --eval-tasks,
// questions with choices (requests.c). Included by train_olmo.c.

// Opens one item of --eval-set, NAME=PATH: a corpus of its own.
static EvalSet open_set(const Options *o, const char *item) {
    static const char *const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    EvalSet s;
    const size_t length = strspn(item, letters);
    const char *equals = strchr(item, '=');
    CHECK(equals && equals[1], "--eval-set %s: expected NAME=PATH", item);
    CHECK(length && length < sizeof s.name && item + length == equals,
          "--eval-set %s: expected a short name of letters, digits, _ and - before the =", item);
    snprintf(s.name, sizeof s.name, "%.*s", (int)length, item);
    s.files = corpus_open(equals + 1, NULL, token_width(o->dtype), o->config.seq_len);
    corpus_check(&s.files, o->config.vocab);
    return s;
}

// Opens all that --eval-set and --eval-tasks name. The texts of questions become tokens now.
static void open_evaluators(Run *run) {
    const Options *o = &run->o;
    const int bytes = o->config.vocab == 256 && !run->tokenizer, eos = o->config.eos;
    char item[PATH];
    int n = 0;
    while (list_item("--eval-set", o->eval_sets, n, item)) n++;
    run->set = (EvalSet *)allocate((size_t)n + 1, sizeof *run->set, "the evaluation sets");
    for (; run->sets < n; run->sets++) {
        EvalSet *s = &run->set[run->sets];
        *s = open_set(o, list_item("--eval-set", o->eval_sets, run->sets, item));
        s->rows = corpus_rows(&s->files);
        for (int i = 0; i < run->sets; i++)
            CHECK(strcmp(run->set[i].name, s->name), "--eval-set %s: this name is there twice", s->name);
    }
    for (n = 0; list_item("--eval-tasks", o->eval_tasks, n, item); n++) find_tasks(&run->tasks, item, 0);
    CHECK(!n || bytes || run->tokenizer,
          "--eval-tasks: expected --tokenizer FILE beside it; the %d tokens of this "
          "model are no bytes", o->config.vocab);
    Coder coder = { NULL, run->tokenizer, eos >= 0 ? eos : bytes ? '\n' : 0, o->config.seq_len };
    if (run->tokenizer) coder.encoder = encoder_new(run->tokenizer);
    for (size_t i = 0; i < run->tasks.n; i++) task_encode(run->tasks.task[i], &coder);
    encoder_free(coder.encoder);
}

// Appends a task's metrics, under the names of OLMo's evaluation. v1 divides by lengths without the
// leading space, v2 by lengths with it.
static void task_metrics(Metrics *m, const Task *t) {
    const int f1 = task_wants_f1(t), by_length = task_way(t) == PER_CHAR;
    const char *name = f1 ? "f1" : by_length ? "len_norm" : "acc";
    for (int v = 1; v <= 2; v++) {
        const Way way = !by_length ? RAW : v == 1 ? PER_CHAR_V1 : PER_CHAR;
        const double value = f1 ? task_f1(t, way) : task_accuracy(t, way);
        metric(m, value, v == 1 ? NULL : "", "eval/downstream/%s_%s_v%d", t->label, name, v);
        metric(m, task_ce_loss(t, v == 1), NULL, "eval/downstream/%s_ce_loss_v%d", t->label, v);
        metric(m, task_bits_per_byte(t, v == 1), NULL, "eval/downstream/%s_bpb_v%d", t->label, v);
    }
    metric(m, task_chance(t), NULL, "eval/downstream/%s_chance", t->label);
}

static int not_asked_to_stop(void *context, Span **span, size_t n) {
    (void)context, (void)span, (void)n;
    return !asked_to_stop;
}

// Scores all requests of a task, of which each rank takes a share. Returns 0 if it was asked to stop before
// the end.
static int ask_task(const Run *run, Task *t) {
    const size_t budget = (size_t)run->o.recipe.micro_batch*(size_t)run->o.config.seq_len;
    Span **span = (Span **)allocate(2*(size_t)t->n, sizeof *span, "the requests"), **mine = span + t->n;
    const size_t n = task_spans(t, span), world = (size_t)ranks.world, rank = (size_t)ranks.rank;
    const size_t first = n*rank/world, share = n*(rank + 1)/world - first;
    for (size_t k = 0; k < n; k++) {
        span[k]->known = 0;
        span[k]->logprob = 0;
    }
    memcpy(mine, span + first, share*sizeof *mine);         // in one piece: choices stay together
    const int all = score_spans(run->model, mine, share, budget, not_asked_to_stop, NULL);
    double *logprob = (double *)allocate(n, sizeof *logprob, "the answers");    // of all ranks, at once
    for (size_t k = 0; k < n; k++) logprob[k] = span[k]->logprob;
    ranks_sum(logprob, (int)n);
    for (size_t k = 0; k < n; k++) span[k]->logprob = logprob[k];
    release(logprob);
    release(span);
    return all;
}

// Measures the model on every set and every task, and appends their metrics.
static void ask_evaluators(const Run *run, Metrics *metrics) {
    const size_t wanted = (size_t)run->sets + run->tasks.n;
    size_t done = 0;
    double sums[MAX_SUMS];
    char name[80];
    for (int i = 0; i < run->sets && !agreed_to_stop(); i++) {
        double denominator = evaluate(run, &run->set[i].rows, &objectives[0], sums);
        snprintf(name, sizeof name, "eval/%s/", run->set[i].name);
        if (asked_to_stop) break;
        CHECK(isfinite(sums[0]), "step %d: the loss on --eval-set %s is %g; are the model's weights damaged?",
              run->at.step, run->set[i].name, sums[0]);
        metric_means(metrics, &objectives[0], name, sums, denominator);
        done++;
    }
    for (size_t i = 0; i < run->tasks.n && !agreed_to_stop(); i++) {
        if (!ask_task(run, run->tasks.task[i])) continue;
        task_metrics(metrics, run->tasks.task[i]);
        done++;
    }
    if (done < wanted)
        fprintf(stderr, "note: asked to stop after %zu of %zu evaluations: the line of step %d has no "
                        "others\n", done, wanted, run->at.step);
}
