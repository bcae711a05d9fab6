/*
How often does a model answer exactly?

    make dev/answers && dev/answers --load out/latest data/stories_pairs_val.jsonl

Takes pairs, as --dpo does, in which both answers are right: the preferred form and another one. The
model is given each question and answers greedily. Its answer is exact if it is one of the two, to
the last byte and with the end of its turn behind it.

    exact match 97.3% of 256 answers: 50.8% as chosen, 46.5% as rejected

(the share of the preferred form is that of all answers: a wrong one counts against it).
*/
#define OLMO_LIBRARY
#include "../train_olmo.c"

// Are the labels of row i what follows tokens[0..start), n ids in all?
static int is_answer(const int *tokens, int start, int n, const int *row, const int *targets,
                     int length) {
    int labels = 0;
    for (int t = start - 1; t < length && targets[t] >= 0; t++) labels++;
    if (n - start != labels) return 0;
    for (int t = start; t < n; t++) if (tokens[t] != row[t]) return 0;
    return 1;
}

int main(int argc, char **argv) {
    const char *load = "out/latest", *tokenizer = NULL,
               **files = (const char **)allocate((size_t)argc, sizeof *files, "the arguments");
    int threads = 0, show = 0, help = 0;
    begin_program();
    const Option table[] = {
        { "--load", TEXT, &load, "a Hugging Face directory" },
        { "--tokenizer", TEXT, &tokenizer, "tokenizer.json (without it: bytes)" },
        { "--show", WHOLE, &show, "print so many of the answers that were not exact" },
        { "--threads", WHOLE, &threads, "threads (0: all)" },
        { "--help", FLAG, &help, "this text" },
    };
    const int n_files = parse_options(table, 5, argc, argv, files, NULL);
    if (help) {
        printf("usage: dev/answers [options] PAIRS.jsonl      how often does a model answer exactly?\n");
        print_options(table, 5);
        return finished();
    }
    CHECK(n_files == 1, "expected the pairs to be asked for: dev/answers [options] PAIRS.jsonl");
    use_threads(threads);

    Config c = config_read(load);
    const int T = c.seq_len, eos = imax(0, c.eos);
    Tokenizer *t = tokenizer ? tokenizer_load(tokenizer) : NULL;
    CHECK(t || c.vocab == 256, "%s: a vocabulary of %d is not bytes; give --tokenizer FILE", load,
          c.vocab);
    Olmo *m = olmo_build(&c, 0);
    const Model model = { &cpu_device, m, &c, &m->layout };
    weights_read(load, model);
    Conversations *pairs = conversations_open("PAIRS.jsonl", files[0], 2, t, eos, T, 0);
    const Rows rows = conversation_rows(pairs);
    int *tokens = (int *)allocate(5 * (size_t)T, sizeof(int), "a row"),
        *row[2] = { tokens + T, tokens + 2 * T };
    int *targets[2] = { tokens + 3*T, tokens + 4*T }, length[2];
    const Sampling greedy = { 0, 1, 0 };
    double right[2] = { 0, 0 };
    c.eos = eos;
    for (uint64_t g = 0; g < rows.groups; g++) {
        int start = 0, is[2];
        for (int k = 0; k < 2; k++)
            length[k] = rows.read(rows.source, 2 * g + (uint64_t)k, c.vocab, row[k], targets[k]);
        while (targets[0][start] < 0) start++; // the first label is the token after this one
        start++;
        memcpy(tokens, row[0], (size_t)start*sizeof *tokens);
        const int n = generate(model, tokens, start, T, greedy, 0);
        for (int k = 0; k < 2; k++)
            right[k] += is[k] = is_answer(tokens, start, n, row[k], targets[k], length[k]);
        if (is[0] || is[1] || t || show-- <= 0) continue;
        for (int i = 1; i < n; i++) putchar(tokens[i] ? tokens[i] : '$');
        printf("\n  expected: ");
        for (int i = start; i < length[0]; i++) putchar(row[0][i] ? row[0][i] : '$');
        printf("\n");
    }
    const double all = (double)rows.groups;
    printf("exact match %.1f%% of %.0f answers: %.1f%% as chosen, %.1f%% as rejected\n",
           100 * (right[0] + right[1]) / all, all, 100 * right[0] / all, 100 * right[1] / all);
    return finished();
}
