// What --json has written, side by side and over training: `eval compare`, `eval curves`. #included by
// eval.c.

// ---- tables with paired tests -------------------------------------------------------------------------

enum { MOST_FILES = 64, MOST_ROWS = 4096 };

typedef struct { const char *path, *root, *sources, *tasks; } Results;

static Results read_results(const char *path) {
    char *text = read_text(path);
    Results r = { path, json_root(text, path), NULL, NULL };
    r.sources = json_get(r.root, "sources"), r.tasks = json_get(r.root, "tasks");
    CHECK((r.sources && *r.sources == '{') || (r.tasks && *r.tasks == '{'),
          "%s: expected \"tasks\" or \"sources\", as --json writes them", path);
    return r;
}

// The member of an object whose name is spelled like this one (as JSON, quotes included), or NULL.
static const char *member_like(const char *object, const char *name) {
    const char *key, *value;
    const size_t n = (size_t)(json_skip(name, 0) - name);
    if (!object || *object != '{') return NULL;
    for (value = json_first(object, &key); value; value = json_next(value, &key))
        if (!strncmp(key, name, n)) return value;
    return NULL;
}

// A figure of a task or source; NAN where there is none.
static double figure_in(const char *object, const char *name) {
    const char *value = object && *object == '{' ? json_get(object, name) : NULL;
    return value && (*value == '-' || (*value >= '0' && *value <= '9')) ? strtod(value, NULL) : NAN;
}

// McNemar's test, exact: of the questions that only one of two models answers rightly (b and c of them),
// each would fall to either like a coin. The probability of a split at least as uneven, both ways.
static double mcnemar(int b, int c) {
    const int n = b + c, low = imin(b, c);
    double sum = 0;
    for (int k = 0; k <= low; k++) sum += exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n*M_LN2);
    return fmin(1, 2*sum);
}

// Of the same questions: those that a alone, and b alone, has right. 0 if they are not the same.
static int disagreements(const char *a, const char *b, int *only_a, int *only_b) {
    const char *x = a ? json_get(a, "right") : NULL, *y = b ? json_get(b, "right") : NULL;
    if (!x || !y || *x != '"' || *y != '"' || json_skip(x, 0) - x != json_skip(y, 0) - y) return 0;
    *only_a = *only_b = 0;
    for (x++, y++; *x != '"'; x++, y++) *only_a += *x > *y, *only_b += *x < *y;
    return 1;
}

// The mean of a's minus b's bits per byte over the domains that both have, and its standard error by these.
static int paired_domains(const char *a, const char *b, double *mean, double *error) {
    const char *x = a ? json_get(a, "domains") : NULL, *y = b ? json_get(b, "domains") : NULL, *key, *value;
    double sum = 0, squares = 0, n = 0;
    if (!x || *x != '{') return 0;
    for (value = json_first(x, &key); value; value = json_next(value, &key)) {
        double d = figure_in(value, "bits_per_byte") - figure_in(member_like(y, key), "bits_per_byte");
        if (!isnan(d)) sum += d, squares += d*d, n++;
    }
    *mean = sum/n, *error = sqrt(fmax(0, squares/n - *mean**mean)/(n - 1));
    return n > 1;
}

static void print_files(int n, const char *what) {
    printf("\n%-32s", what);
    for (int i = 0; i < n; i++) printf(" %17c", 'A' + i);
    printf("\n");
}

// All names that any file has in this object, once each, as JSON spells them.
static int all_names(const char **name, const Results *r, int n, int sources) {
    int found = 0;
    for (int i = 0; i < n; i++) {
        const char *object = sources ? r[i].sources : r[i].tasks, *key, *value;
        if (!object || *object != '{') continue;
        for (value = json_first(object, &key); value; value = json_next(value, &key)) {
            int known = 0;
            const size_t size = (size_t)(json_skip(key, 0) - key);
            for (int k = 0; k < found; k++) known |= !strncmp(name[k], key, size);
            if (!known && found < MOST_ROWS) name[found++] = key;
        }
    }
    return found;
}

static void print_name(const char *name) {
    printf("%-32.*s", imin(32, (int)(json_skip(name, 0) - name) - 2), name + 1);
}

static void compare_tasks(const Results *r, int n) {
    static const char *name[MOST_ROWS];
    const int rows = all_names(name, r, n, 0);
    if (!rows) return;
    print_files(n, "accuracy (primary metric), %");
    for (int k = 0; k < rows; k++) {
        const char *first = member_like(r[0].tasks, name[k]);
        print_name(name[k]);
        for (int i = 0; i < n; i++) {
            const char *task = member_like(r[i].tasks, name[k]);
            const double share = figure_in(task, "primary"), error = figure_in(task, "stderr");
            int only_a, only_b;
            char text[64] = "-";
            if (!isnan(share)) snprintf(text, sizeof text, isnan(error) ? "%.1f" : "%.1f+-%.1f", 100*share,
                                        100*error);
            printf(" %11s", text);
            if (i && disagreements(first, task, &only_a, &only_b)) printf(" %5.3f", mcnemar(only_a, only_b));
            else printf(" %5s", "");
        }
        printf("\n");
    }
    if (n > 1) printf("behind +-: McNemar's p against A, where the questions are the same\n");
}

static void compare_sources(const Results *r, int n) {
    static const char *name[MOST_ROWS];
    const int rows = all_names(name, r, n, 1);
    if (!rows) return;
    print_files(n, "bits per byte");
    for (int k = 0; k < rows; k++) {
        const char *first = member_like(r[0].sources, name[k]);
        print_name(name[k]);
        for (int i = 0; i < n; i++) {
            const char *source = member_like(r[i].sources, name[k]);
            double mean, error;
            printf(" %9.4f", figure_in(source, "bits_per_byte"));
            if (i && paired_domains(source, first, &mean, &error)) printf(" %+.3f+-%.3f", mean, error);
            else printf(" %7s", "");
        }
        printf("\n");
    }
    if (n > 1) printf("behind it: the difference from A, +- its standard error over the domains, where "
                      "there are several\n");
}

// Published figures of the same eight tasks (arXiv 2402.00838, tables 6 and 3 of its versions), measured
// as the paper does.
static void compare_paper(const Results *r, int n) {
    static const char *const core[] = { "\"arc_challenge\"", "\"arc_easy\"", "\"boolq\"", "\"hellaswag\"",
                                        "\"openbookqa\"", "\"piqa\"", "\"sciq\"", "\"winogrande\"" };
    static const struct { const char *name; double score[8]; } published[] = {
        { "Pythia 1B", { 33.1, 50.2, 61.8, 44.7, 37.8, 69.1, 86.0, 53.3 } },
        { "TinyLlama 1.1B", { 34.8, 53.2, 64.6, 58.7, 43.6, 71.1, 90.5, 58.9 } },
        { "OLMo-1B", { 34.5, 58.1, 60.7, 62.5, 46.4, 73.7, 88.1, 58.9 } },
        { "StableLM2 1.6B", { 43.8, 63.7, 76.6, 68.2, 45.8, 74.0, 94.7, 64.9 } },
        { "Pythia 6.9B", { 44.1, 61.9, 61.1, 63.8, 45.0, 75.1, 91.1, 62.0 } },
        { "Llama 2 7B", { 48.5, 69.5, 80.2, 76.8, 48.4, 76.7, 94.5, 69.4 } },
        { "OLMo-7B", { 48.5, 65.4, 73.4, 76.4, 50.4, 78.4, 93.8, 67.9 } },
    };
    int any = 0;
    for (int i = 0; i < n; i++) for (int k = 0; k < 8; k++)
        any |= !isnan(figure_in(member_like(r[i].tasks, core[k]), "paper"));
    if (!any) return;
    printf("\n%-20s %8s %8s %8s %8s %8s %8s %8s %8s %6s\n", "as the paper, %", "arc_c", "arc_e", "boolq",
           "hella", "obqa", "piqa", "sciq", "wino", "mean");
    for (int i = 0; i < n; i++) {
        double sum = 0;
        printf("%-20c", 'A' + i);
        for (int k = 0; k < 8; k++) {
            const double share = 100*figure_in(member_like(r[i].tasks, core[k]), "paper");
            sum += share;
            if (isnan(share)) printf(" %8s", "-"); else printf(" %8.1f", share);
        }
        if (isnan(sum)) printf(" %6s\n", "-"); else printf(" %6.1f\n", sum/8);
    }
    for (size_t i = 0; i < sizeof published/sizeof *published; i++) {
        double sum = 0;
        printf("%-20s", published[i].name);
        for (int k = 0; k < 8; k++) printf(" %8.1f", published[i].score[k]), sum += published[i].score[k];
        printf(" %6.1f\n", sum/8);
    }
    printf("the paper asks at most 1000 questions (--sample 1000); its openbookqa and piqa have other "
           "words around them\n");
}

static void compare_main(const Command *c) {
    static Results r[MOST_FILES];
    CHECK(c->n >= 1 && c->n <= 26, "compare: expected 1 to 26 files that --json has written, found %d", c->n);
    for (int i = 0; i < c->n; i++) r[i] = read_results(c->files[i]);
    for (int i = 0; i < c->n; i++) {
        const char *model = json_get(r[i].root, "model");
        const char *directory = model ? json_get(model, "directory") : NULL;
        printf("%c  %s", 'A' + i, r[i].path);
        if (directory) printf("  %.*s", (int)(json_skip(directory, 0) - directory), directory);
        printf("\n");
    }
    compare_tasks(r, c->n);
    compare_sources(r, c->n);
    compare_paper(r, c->n);
}

// ---- curves over training -----------------------------------------------------------------------------
// A point is a figure of one checkpoint: from --json files of several, or from the lines of a
// metrics.jsonl.

// value: bits per byte, or (bits 0) accuracy
typedef struct { char name[96]; int bits; double tokens, value, chance; } Point;

typedef struct { Point *list; size_t n, room; } Points;

static void add_point(Points *p, const char *name, size_t size, int bits, double tokens, double value,
                      double chance) {
    if (isnan(value)) return;
    p->list = (Point *)with_room(p->list, p->n, p->n + 1, &p->room, sizeof *p->list, "the curves");
    Point *new_one = &p->list[p->n++];
    memset(new_one, 0, sizeof *new_one);
    snprintf(new_one->name, sizeof new_one->name, "%.*s", (int)size, name);
    for (char *s = new_one->name; *s; s++) if (strchr("'\\\"", *s) || (unsigned char)*s < ' ') *s = '_';
    new_one->bits = bits, new_one->tokens = tokens, new_one->value = value, new_one->chance = chance;
}

static void points_of_json(Points *p, const char *path) {
    const Results r = read_results(path);
    const double tokens = figure_in(json_get(r.root, "model"), "training_tokens");
    const char *key, *value;
    CHECK(!isnan(tokens),
          "%s: does not tell how many tokens its model was trained on; only checkpoints of train_olmo "
          "do", path);
    for (int sources = 0; sources < 2; sources++) {
        const char *object = sources ? r.sources : r.tasks;
        if (!object || *object != '{') continue;
        for (value = json_first(object, &key); value; value = json_next(value, &key))
            add_point(p, key + 1, (size_t)(json_skip(key, 0) - key) - 2, sources, tokens,
                      figure_in(value, sources ? "bits_per_byte" : "primary"), figure_in(value, "chance"));
    }
}

// eval/downstream/<task>_acc_v2, _len_norm_v2 or _f1_v2
static void points_of_line(Points *p, const char *o) {
    static const char *const ends[] = { "_acc_v2\"", "_len_norm_v2\"", "_f1_v2\"" };
    const double tokens = figure_in(o, "throughput/total_tokens");
    const char *key, *value, *prefix = "\"eval/downstream/";
    for (value = json_first(o, &key); value; value = json_next(value, &key)) for (int i = 0; i < 3; i++) {
        const size_t size = (size_t)(json_skip(key, 0) - key), front = strlen(prefix), end = strlen(ends[i]);
        if (size < front + end || strncmp(key, prefix, front)) continue;
        if (strncmp(key + size - end, ends[i], end)) continue;
        char chance[256];
        snprintf(chance, sizeof chance, "%.*s_chance", imin(200, (int)(size - end) - 1), key + 1);
        add_point(p, key + front, size - front - end, 0, tokens, strtod(value, NULL), figure_in(o, chance));
    }
}

static int by_curve(const void *a, const void *b) {
    const Point *x = (const Point *)a, *y = (const Point *)b;
    const int order = strcmp(x->name, y->name);
    if (x->bits != y->bits || order) return x->bits != y->bits ? x->bits - y->bits : order;
    return (x->tokens > y->tokens) - (x->tokens < y->tokens);
}
static int same_curve(const Point *a, const Point *b) {
    return a->bits == b->bits && !strcmp(a->name, b->name);
}

// One panel as gnuplot's commands: a line for each name, its chance dashed, and for accuracies the ceiling.
static void plot_panel(FILE *gnuplot, const Points *p, int bits) {
    const char *comma = "plot ", *grey = "with lines dashtype 2 linecolor 'grey' notitle";
    fprintf(gnuplot, "set ylabel '%s'\n", bits ? "bits per byte" : "accuracy");
    if (!bits) fprintf(gnuplot, "set yrange [0:1.05]\n"); else fprintf(gnuplot, "set yrange [0:*]\n");
    for (int chance = 0; chance < 2 - bits; chance++) for (size_t i = 0; i < p->n; i++) {
        const Point *one = &p->list[i];
        if (one->bits != bits || (i && same_curve(one, one - 1)) || (chance && isnan(one->chance))) continue;
        if (chance) fprintf(gnuplot, "%s%.6g %s", comma, one->chance, grey);
        else fprintf(gnuplot, "%s'-' with linespoints pointtype 7 title '%s'", comma, one->name);
        comma = ", ";
    }
    if (!bits) fprintf(gnuplot, ", 1 %s", grey);
    fprintf(gnuplot, "\n");
    for (size_t i = 0; i < p->n; i++) {
        const Point *one = &p->list[i];
        if (one->bits != bits) continue;
        fprintf(gnuplot, "%.9g %.9g\n", one->tokens*1e-6, one->value);
        if (i + 1 == p->n || !same_curve(one, one + 1)) fprintf(gnuplot, "e\n");
    }
}

static void plot_points(const Points *p, const char *terminal, const char *output) {
    int panels[2] = { 0, 0 };
    for (size_t i = 0; i < p->n; i++) panels[p->list[i].bits] = 1;
    signal(SIGPIPE, SIG_IGN);                               // gnuplot's failure has a sentence of its own
    FILE *gnuplot = popen("gnuplot", "w");
    CHECK(gnuplot, "gnuplot cannot be started: %s", strerror(errno));
    fprintf(gnuplot, "set terminal %s\nset termoption noenhanced\n", terminal);
    if (output) fprintf(gnuplot, "set output '%s'\n", output);
    fprintf(gnuplot, "set xlabel 'million tokens of training'\nset key outside\nset multiplot layout "
            "%d,1\n", panels[0] + panels[1]);
    for (int bits = 0; bits < 2; bits++) if (panels[bits]) plot_panel(gnuplot, p, bits);
    fprintf(gnuplot, "unset multiplot\n");
    CHECK(pclose(gnuplot) == 0,
          "gnuplot failed; it is needed for curves (Debian, Ubuntu: apt install gnuplot-nox)");
}

static void curves_main(const Command *c) {
    Points p = { NULL, 0, 0 };
    CHECK(c->n, "curves: expected files that --json has written, or a metrics.jsonl");
    for (int i = 0; i < c->n; i++) {
        if (!ends_with(c->files[i], ".jsonl")) { points_of_json(&p, c->files[i]); continue; }
        Lines *l = lines_open(c->files[i]);
        for (char *line; (line = lines_next(l)) != NULL; ) points_of_line(&p, json_root(line, l->place));
        lines_close(l);
    }
    CHECK(p.n, "curves: there is no accuracy and no bits per byte in these files; a run writes them into its "
          "metrics.jsonl if it is asked questions: ./train_olmo --eval-tasks DIR");
    qsort(p.list, p.n, sizeof *p.list, by_curve);
    fflush(stdout);
    if (c->png) {
        CHECK(!strchr(c->png, '\''), "%s: expected a name without a quotation mark", c->png);
        Whole *w = whole_begin(c->png);
        plot_points(&p, "pngcairo size 1000,640", w->temporary);
        whole_end_png(w);
    }
    plot_points(&p, "dumb 110 32", NULL);
    release(p.list);
}
