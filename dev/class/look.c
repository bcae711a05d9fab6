/*
A look inside a model: one HTML file, which needs no network, about how it reads one text.

    make look && dev/class/look --load out/latest --prompt "One sunny Monday" --html look.html

It shows, for every token, how surprised the model was by it (as colour) and what it expected in its
place; where each head of each layer looks from there (attention); and what each layer would say, if
the rest of the layers were skipped and the last norm and the head read the residual stream as it
stands ("logit lens", nostalgebraist 2020).

The numbers come from train_olmo.c's own functions: the blocks are run one by one, and the residual
stream is read in between.
*/
#define OLMO_LIBRARY
#include "../../train_olmo.c"

enum { SHOWN = 5, LONGEST = 512 };
typedef struct { int id[SHOWN]; double p[SHOWN]; } Top;

// The SHOWN likeliest tokens of each row of logits[N, V], with their probabilities, and -log p of
// each row's target.
static void read_logits(Top *top, double *losses, const real *logits, const int *targets, int N,
    int V) {
    for (int n = 0; n < N; n++) {
        const real *row = logits + (size_t)n*V;
        double most = (double)row_max(row, V), sum = 0;
        for (int v = 0; v < V; v++) sum += exp((double)row[v] - most);
        for (int k = 0; k < SHOWN; k++) top[n].id[k] = -1;
        // insert v where it belongs among the best so far
        for (int v = 0; v < V; v++) {
            int k = SHOWN;
            while (k > 0 && (top[n].id[k - 1] < 0 || row[top[n].id[k - 1]] < row[v])) k--;
            if (k == SHOWN) continue;
            memmove(top[n].id + k + 1, top[n].id + k, sizeof(int)*(size_t)(SHOWN - 1 - k));
            top[n].id[k] = v;
        }
        for (int k = 0; k < SHOWN; k++) top[n].p[k] = top[n].id[k] < 0 ? 0
            : exp((double)row[top[n].id[k]] - most)/sum;
        if (losses) losses[n] = targets[n] < 0 ? NAN : most + log(sum) - (double)row[targets[n]];
    }
}

// A JSON string that may also stand inside an HTML script: `<` is escaped, and so is what is no UTF-8.
static void print_json_string(FILE *out, const char *text, size_t n) {
    fputc('"', out);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') fprintf(out, "\\%c", c);
        else if (c < ' ' || c == '<' || c == 127) fprintf(out, "\\u%04x", c);
        else fputc(c, out);
    }
    fputc('"', out);
}

static void print_token(FILE *out, const Tokenizer *tokenizer, const Config *c, int id) {
    char name[32];
    if (id < 0) { fputs("\"\"", out); return; }
    if (tokenizer) {
        size_t room = (size_t)tokenizer->longest;
        char *raw = (char *)allocate(room + 1, 1, "a token"), *text = (char *)allocate(3*room + 1, 1,
            "a token");
        print_json_string(out, text, utf8_repair(text, raw, decode(tokenizer, raw, &id, 1)));
        release(raw), release(text);
    } else if (c->vocab == 256 && id < 128) {
        char byte = (char)id;
        print_json_string(out, &byte, 1);
    } else {
        snprintf(name, sizeof name, c->vocab == 256 ? "\\x%02x" : "%d", id);
        print_json_string(out, name, strlen(name));
    }
}

static void print_top(FILE *out, const Top *t, const Tokenizer *tokenizer, const Config *c) {
    fputc('[', out);
    for (int k = 0; k < SHOWN && t->id[k] >= 0; k++) {
        fputs(k ? ",[" : "[", out);
        print_token(out, tokenizer, c, t->id[k]);
        fprintf(out, ",%.4f]", t->p[k]);
    }
    fputc(']', out);
}

// P = exp(q.k/sqrt(D) - lse) of one head, as the backward pass makes it again; printed as rows of
// thousandths.
static void print_attention(FILE *out, const LayerActs *s, int h, int T, int H, int G, int D) {
    int Q = (H + 2*G)*D;
    fputc('[', out);
    for (int i = 0; i < T; i++) {
        const real *q = s->qkv + (size_t)i*Q + h*D;
        fputs(i ? ",[" : "[", out);
        for (int j = 0; j <= i; j++) {
            const real *k = s->qkv + (size_t)j*Q + (H + h/(H/G))*D;
            double score = (double)row_dot(q, k, D)/sqrt((double)D);
            fprintf(out, "%s%d", j ? "," : "", (int)(1000*exp(score - (double)s->lse[(size_t)h*T + i])
                + 0.5));
        }
        fputc(']', out);
    }
    fputc(']', out);
}

// Everything the page shows, as one JSON object.
static void print_page_data(FILE *out, Olmo *m, const Tokenizer *tokenizer, const char *load,
    const int *tokens, int T) {
    const Config *c = &m->config;
    const int C = c->d_model, H = c->n_heads, G = c->n_kv_heads, D = C/H, V = c->vocab, L = c->n_layers;
    int targets[LONGEST];
    double losses[LONGEST];
    real *unused = (real *)allocate(2*(size_t)T, sizeof(real), "the losses"),
        *xn = (real *)allocate((size_t)T*C, sizeof(real), "a norm");
    real *logits = (real *)allocate((size_t)T*V, sizeof(real), "the logits"),
        *rstd = (real *)allocate(T, sizeof(real), "a norm");
    Top *top = (Top *)allocate((size_t)(L + 1)*T, sizeof(Top), "the likeliest tokens");
    for (int t = 0; t < T; t++) targets[t] = t + 1 < T ? tokens[t + 1] : IGNORE;

    // One pass for the attention of all layers (a model built for training keeps them apart), then
    // the blocks once more, one by one, with the last norm and the head read after each.
    olmo_forward(m, unused, unused + T, tokens, targets, NULL, 1, T);
    Acts *a = &m->acts;
    embed_forward(a->x, tokens, m->weight.wte, T, C);
    for (int l = 0; l <= L; l++) {
        norm_forward(xn, rstd, a->x, T, C);
        matmul_forward(logits, xn, m->weight.head, T, C, V, 0);
        read_logits(top + (size_t)l*T, l == L ? losses : NULL, logits, targets, T, V);
        if (l < L) block_forward(a, &a->layer[l], &m->weight.layer[l], NULL, c, 1, T);
    }

    fprintf(out, "{\"model\":");
    print_json_string(out, load, strlen(load));
    fprintf(out, ",\"layers\":%d,\"heads\":%d,\"width\":%d,\"vocabulary\":%d,\n\"tokens\":[", L, H, C,
        V);
    for (int t = 0; t < T; t++) { if (t) fputc(',', out); print_token(out, tokenizer, c, tokens[t]); }
    // losses[t]: of token t; the first was given
    fprintf(out, "],\n\"losses\":[");
    for (int t = 0; t < T; t++) fprintf(out, t ? ",%.4f" : "null", t ? losses[t - 1] : 0);
    // lens[l][t]: what layer l expects after token t; layer 0 is the embedding
    fprintf(out, "],\n\"lens\":[");
    for (int l = 0; l <= L; l++) {
        fputs(l ? ",\n[" : "[", out);
        for (int t = 0; t < T; t++) { if (t) fputc(',', out); print_top(out, &top[(size_t)l*T + t],
            tokenizer, c); }
        fputc(']', out);
    }
    fprintf(out, "],\n\"attention\":[");                    // attention[l][h][i][j], in thousandths
    for (int l = 0; l < L; l++) {
        fputs(l ? ",\n[" : "[", out);
        for (int h = 0; h < H; h++) { if (h) fputc(',', out); print_attention(out, &a->layer[l], h, T,
            H, G, D); }
        fputc(']', out);
    }
    fputs("]}", out);
    release(unused), release(xn), release(logits), release(rstd), release(top);
}

// The prompt as ids, by the tokenizer or as bytes; returns how many.
static int prompt_ids(const Tokenizer *tokenizer, const Config *c, const char *prompt, int *tokens) {
    size_t size = strlen(prompt), n = size, most = zmin(LONGEST, (size_t)c->seq_len);
    CHECK(tokenizer || c->vocab == 256,
        "--load: this model's vocabulary of %d is not bytes; give --tokenizer FILE", c->vocab);
    CHECK(utf8_valid(prompt, size) == size, "--prompt: expected UTF-8, found another byte at byte %zu",
        utf8_valid(prompt, size));
    Encoder *e = tokenizer ? encoder_new(tokenizer) : NULL;
    if (e) n = encode(e, prompt, size);
    CHECK(n >= 2, "--prompt: expected at least two tokens, found %zu", n);
    CHECK(n <= most, "--prompt: %zu tokens; a page holds at most %zu (the model's length, or %d)", n,
        most, LONGEST);
    for (size_t i = 0; i < n; i++) tokens[i] = e ? e->ids[i] : (unsigned char)prompt[i];
    encoder_free(e);
    return (int)n;
}

int main(int argc, char **argv) {
    const char *load = NULL, *prompt = NULL, *html = "look.html", *path = NULL;
    int help = 0, tokens[LONGEST];
    const Option table[] = {
        { "dev/class/look: a page about how a model reads a text", GROUP, NULL, "" },
        { "--load", TEXT, &load, "a Hugging Face directory: the model" },
        { "--prompt", TEXT, &prompt, "the text it reads" },
        { "--tokenizer", TEXT, &path, "tokenizer.json (default: the one beside the model, or bytes)" },
        { "--html", TEXT, &html, "the page to write" },
        { "--help", FLAG, &help, "this text" },
    };
    const int options = (int)(sizeof table/sizeof *table);
    char beside[PATH], template_path[PATH];
    parse_options(table, options, argc, argv, NULL, NULL);
    if (help) { print_options(table, options); return finished(); }
    CHECK(load && prompt, "expected --load DIR and --prompt TEXT; --help explains them");

    Config c = config_read(load);
    Layout layout;
    Weights unused;
    olmo_layout(&layout, &unused, NULL, &c);
    path_join(beside, load, "tokenizer.json");
    if (!path && c.vocab != 256 && file_exists(beside)) path = beside;
    Tokenizer *tokenizer = path ? tokenizer_load(path) : NULL;
    CHECK(!tokenizer || tokenizer->vocab <= c.vocab, "%s: has %d tokens, the model only %d", path,
        tokenizer->vocab, c.vocab);
    const int T = prompt_ids(tokenizer, &c, prompt, tokens);
    Olmo *m = olmo_build(&c, 1);
    const Model model = { &cpu_device, m, &c, &layout };
    weights_read(load, model);

    // The page is dev/class/look.html with the data in place of its mark.
    static const char mark[] = "/*DATA*/null";
    const char *slash = strrchr(argv[0], '/');
    snprintf(template_path, sizeof template_path, "%.*slook.html", slash ? (int)(slash - argv[0]) + 1
        : 0, argv[0]);
    char *page = read_text(template_path), *data = strstr(page, mark);
    CHECK(data, "%s: expected the mark %s, found none", template_path, mark);
    FILE *out = open_to_write(html);
    fwrite(page, 1, (size_t)(data - page), out);
    print_page_data(out, m, tokenizer, load, tokens, T);
    fputs(data + strlen(mark), out);
    close_written(out, html);
    printf("wrote %s: %d tokens, %d layers, %d heads\n", html, T, c.n_layers, c.n_heads);
    release(page), tokenizer_free(tokenizer), olmo_free(m);
    return finished();
}
