/*
All of OLMo in plain loops: forward pass, backward pass, AdamW. No tiles, no threads, no tricks.

    make plain          builds this file, and trains the model of ./train_olmo for 300 steps: three or
                        four minutes

train_olmo.c has the same functions under the same names, and makes them fast. It has clipping of
q, k, v besides, which OLMo-1B and 7B do not use. `make test` compares the two function by function.
This file is also the solution of most exercises up to 10. If you want to write these yourself, read
only the comments and the pass over the model (olmo_forward) before.

The model (arXiv 2402.00838, section 2.1) for tokens t_1..t_T:

    x  <- embed(t)
    x  <- x + attention(norm(x))        in every layer,
    x  <- x + swiglu(norm(x))           then
    loss_i = -log softmax(head . norm(x_i))[t_{i+1}]                    the cross entropy

Shapes. B sequences of T tokens are N = B*T rows of C = d_model numbers. H query heads and G key/value
heads have D = C/H numbers each; a row q|k|v has Q = (H + 2G)*D. V is the size of the vocabulary. All
matrices are stored row by row. The MLP makes 2F numbers of a row, up|gate, and F of these, h: OLMo's
settings name the first width, so F = mlp_hidden/2. (In attention, a loop's h counts heads.)

Arguments come in the order: outputs, what is kept for the backward pass, inputs, weights, sizes.
Gradients are d + name: dx is the derivative of the loss with respect to x, and has the shape of x.
"=" overwrites the output, "+=" adds to it. In formulas, [i = j] is 1 where i = j, and 0 elsewhere;
d y/d x, with blanks, is a derivative.
*/
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

// ---- linear layer ------------------------------------------------------------------------------
// out = inp . weight^T, or += if add                      out: [N, O], inp: [N, C], weight: [O, C]
void matmul_forward(real *out, const real *inp, const real *weight, int N, int C, int O, int add) {
    for (int n = 0; n < N; n++) for (int o = 0; o < O; o++) {
        real sum = 0;
        for (int c = 0; c < C; c++) sum += inp[(size_t)n*C + c]*weight[(size_t)o*C + c];
        real *to = out + (size_t)n*O + o;
        *to = sum + (add ? *to : 0);
    }
}

// out_no = sum_c inp_nc weight_oc. Each input meets every output of its row:
//     dinp_nc = sum_o dout_no weight_oc
void matmul_backward_input(real *dinp, const real *dout, const real *weight, int N, int C, int O) {
    memset(dinp, 0, sizeof(real)*N*C);
    for (int n = 0; n < N; n++) for (int o = 0; o < O; o++) for (int c = 0; c < C; c++) {
        dinp[(size_t)n*C + c] += dout[(size_t)n*O + o]*weight[(size_t)o*C + c];
    }
}

// ... and each weight meets every row, n = 0 .. B*T-1:
//     dweight_oc += sum_n dout_no inp_nc
// It is told B and T, not N, because train_olmo.c adds up one sequence after another.
void matmul_backward_weight(real *dweight, const real *dout, const real *inp, int B, int T, int C, int O) {
    for (int n = 0; n < B*T; n++) for (int o = 0; o < O; o++) for (int c = 0; c < C; c++) {
        dweight[(size_t)o*C + c] += dout[(size_t)n*O + o]*inp[(size_t)n*C + c];
    }
}

// ---- embedding ---------------------------------------------------------------------------------
// x_n = wte[tokens_n]                                                       x: [N, C], wte: [V, C]
void embed_forward(real *x, const int *tokens, const real *wte, int N, int C) {
    for (int n = 0; n < N; n++) for (int c = 0; c < C; c++) {
        x[(size_t)n*C + c] = wte[(size_t)tokens[n]*C + c];
    }
}

// dwte[tokens_n] += dx_n: a token that occurs twice adds twice.
void embed_backward(real *dwte, const real *dx, const int *tokens, int N, int C) {
    for (int n = 0; n < N; n++) for (int c = 0; c < C; c++) {
        dwte[(size_t)tokens[n]*C + c] += dx[(size_t)n*C + c];
    }
}

// ---- layer norm without parameters -------------------------------------------------------------
// y = (x - mean)*rstd,   rstd = 1/sqrt(variance + 1e-5), for every row        y, x: [N, C], rstd: [N]
void norm_forward(real *y, real *rstd, const real *x, int N, int C) {
    for (int n = 0; n < N; n++) {
        const real *in = x + (size_t)n*C;
        real *out = y + (size_t)n*C, mean = 0, variance = 0;
        for (int c = 0; c < C; c++) mean += in[c]/C;
        for (int c = 0; c < C; c++) variance += (in[c] - mean)*(in[c] - mean)/C;
        rstd[n] = 1/(real)sqrt(variance + (real)1e-5);
        for (int c = 0; c < C; c++) out[c] = (in[c] - mean)*rstd[n];
    }
}

// x_j moves y_i in three ways: directly (i = j), through the mean, and through rstd:
//     d y_i/d x_j = rstd*([i = j] - 1/C - y_i y_j/C)
// Summed over i with dy_i:
//     dx_j += rstd*(dy_j - average(dy) - y_j average(dy y))
// "+=", for x goes around the norm as well as through it.
void norm_backward(real *dx, const real *dy, const real *y, const real *rstd, int N, int C) {
    for (int n = 0; n < N; n++) {
        const real *g = dy + (size_t)n*C, *out = y + (size_t)n*C;
        real *d = dx + (size_t)n*C, average = 0, average_y = 0;
        for (int c = 0; c < C; c++) average += g[c]/C;
        for (int c = 0; c < C; c++) average_y += g[c]*out[c]/C;
        for (int c = 0; c < C; c++) d[c] += rstd[n]*(g[c] - average - out[c]*average_y);
    }
}

// ---- rotary position embeddings (RoPE: Su et al. 2021) -----------------------------------------
// table[t] = cos(t w_0) .. cos(t w_{D/2-1}), sin(t w_0) .. sin(t w_{D/2-1})          table: [T, D]
// with w_i = theta^(-2i/D); in float, as OLMo's own code in PyTorch computes it
void rope_table(real *table, double theta, int T, int D) {
    for (int t = 0; t < T; t++) for (int i = 0; i < D/2; i++) {
        float angle = (float)t*(1.0f/powf((float)theta, (float)(2*i)/(float)D));
        table[(size_t)t*D + i] = cosf(angle);
        table[(size_t)t*D + D/2 + i] = sinf(angle);
    }
}

// The halves a, b of each of the first `heads` heads of a row are turned by the angle of the row's
// position past + n % T, in place:
//     a' = a cos - b sin,   b' = b cos + a sin                                        qkv: [N, Q]
// past: how many positions came before these rows. In training 0; in generation, the tokens whose keys
// and values lie in the cache.
void rope_forward(real *qkv, const real *table, int N, int T, int past, int heads, int D, int Q) {
    for (int n = 0; n < N; n++) for (int h = 0; h < heads; h++) for (int i = 0; i < D/2; i++) {
        const real *at = table + (size_t)(past + n % T)*D, cosine = at[i], sine = at[D/2 + i];
        real *a = qkv + (size_t)n*Q + h*D + i, *b = a + D/2;
        real first = *a, second = *b;
        *a = first*cosine - second*sine;
        *b = second*cosine + first*sine;
    }
}

// A rotation's transpose is the rotation back: the sine changes its sign.
void rope_backward(real *dqkv, const real *table, int N, int T, int heads, int D, int Q) {
    for (int n = 0; n < N; n++) for (int h = 0; h < heads; h++) for (int i = 0; i < D/2; i++) {
        const real *at = table + (size_t)(n % T)*D, cosine = at[i], sine = at[D/2 + i];
        real *a = dqkv + (size_t)n*Q + h*D + i, *b = a + D/2;
        real first = *a, second = *b;
        *a = first*cosine + second*sine;
        *b = second*cosine - first*sine;
    }
}

// ---- causal attention --------------------------------------------------------------------------
// For query i of head h, with the keys and values j <= i of head g = h/(H/G):
//     S_j = q_i.k_j/sqrt(D),   P = softmax(S),   att_i = sum_j P_j v_j,   lse_i = log sum_j exp(S_j)
//
// q: [B, T] rows, q_width apart; kv: [B, past + T] rows of k and v heads, kv_width apart. In training
// both lie in qkv, and past is 0; in generation kv is a cache.
// att: [B, T, H*D], lse: [B, H, T]; P: [past + T], scratch
void attention_forward(real *att, real *lse, real *P, const real *q, int q_width,
                       const real *kv, int kv_width, int B, int T, int past, int H, int G, int D) {
    real scale = 1/(real)sqrt((real)D);
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int t = 0; t < T; t++) {
        const real *query = q + ((size_t)b*T + t)*q_width + h*D;
        const real *k = kv + (size_t)b*(past + T)*kv_width + h/(H/G)*D, *v = k + G*D;
        real *out = att + ((size_t)b*T + t)*H*D + h*D, most = -INFINITY, sum = 0;
        int seen = past + t + 1;

        for (int j = 0; j < seen; j++) {
            P[j] = 0;
            for (int d = 0; d < D; d++) P[j] += query[d]*k[(size_t)j*kv_width + d]*scale;
            most = P[j] > most ? P[j] : most;
        }
        for (int j = 0; j < seen; j++) {
            P[j] = (real)exp(P[j] - most);                                      // never overflows
            sum += P[j];
        }
        lse[((size_t)b*H + h)*T + t] = most + (real)log(sum);

        for (int d = 0; d < D; d++) out[d] = 0;
        for (int j = 0; j < seen; j++) for (int d = 0; d < D; d++) {
            out[d] += P[j]/sum*v[(size_t)j*kv_width + d];
        }
    }
}

// att = sum_j P_j v_j gives      dv_j += P_j datt  and  dP_j = datt.v_j.
// Through the softmax, where a score moves all P_k:
//     dS_j = sum_k dP_k (d P_k/d S_j) = sum_k dP_k P_k ([k = j] - P_j) = P_j (dP_j - sum_k P_k dP_k)
// and the sum over k is the same for every j: sum_k P_k datt.v_k = datt.att. Then
//     dq += dS_j k_j/sqrt(D),      dk_j += dS_j q/sqrt(D)
//
// dqkv, qkv: [B, T, Q], datt, att: [B, T, H*D], lse: [B, H, T]. "=": all of dqkv is overwritten.
void attention_backward(real *dqkv, real *work, const real *datt, const real *att, const real *lse,
                        const real *qkv, int B, int T, int H, int G, int D) {
    int Q = (H + 2*G)*D;
    real scale = 1/(real)sqrt((real)D);
    (void)work;                                 // train_olmo.c's tiles need scratch; single queries do not
    memset(dqkv, 0, sizeof(real)*B*T*Q);
    for (int b = 0; b < B; b++) for (int h = 0; h < H; h++) for (int i = 0; i < T; i++) {
        size_t query = ((size_t)b*T + i)*Q + h*D, head = ((size_t)b*T + i)*H*D + h*D;
        const real *q = qkv + query, *dout = datt + head, *out = att + head;
        real *dq = dqkv + query, dot = 0;
        for (int d = 0; d < D; d++) dot += dout[d]*out[d];

        for (int j = 0; j <= i; j++) {
            size_t key = ((size_t)b*T + j)*Q + (H + h/(H/G))*D;
            const real *k = qkv + key, *v = k + G*D;
            real *dk = dqkv + key, *dv = dk + G*D, S = 0, dP = 0;
            for (int d = 0; d < D; d++) {
                S += q[d]*k[d]*scale;
                dP += dout[d]*v[d];
            }
            real P = (real)exp(S - lse[((size_t)b*H + h)*T + i]), dS = P*(dP - dot);
            for (int d = 0; d < D; d++) {
                dv[d] += P*dout[d];
                dq[d] += dS*k[d]*scale;
                dk[d] += dS*q[d]*scale;
            }
        }
    }
}

// ---- SwiGLU (Shazeer 2020) ---------------------------------------------------------------------
// h = up*silu(gate),   silu(z) = z*sigma(z),   sigma(z) = 1/(1 + exp(-z))
// ug: [N, 2F] holds up | gate in each row; h: [N, F]
static real sigma_of(real z) { return 1/(1 + (real)exp(-z)); }

void swiglu_forward(real *h, const real *ug, int N, int F) {
    for (int n = 0; n < N; n++) for (int f = 0; f < F; f++) {
        real up = ug[(size_t)n*2*F + f], gate = ug[(size_t)n*2*F + F + f];
        h[(size_t)n*F + f] = up*gate*sigma_of(gate);
    }
}

// With sigma' = sigma(1 - sigma):
//     dup = dh gate sigma,   dgate = dh up (sigma + gate sigma(1 - sigma))
// and h once more, which the forward pass did not keep. dug may be ug itself.
void swiglu_backward(real *dug, real *h, const real *dh, const real *ug, int N, int F) {
    for (int n = 0; n < N; n++) for (int f = 0; f < F; f++) {
        size_t u = (size_t)n*2*F + f, g = u + F;
        real up = ug[u], gate = ug[g], sigma = sigma_of(gate), d = dh[(size_t)n*F + f];
        h[(size_t)n*F + f] = up*gate*sigma;
        dug[u] = d*gate*sigma;
        dug[g] = d*up*(sigma + gate*sigma*(1 - sigma));
    }
}

// ---- softmax cross entropy ---------------------------------------------------------------------
// losses_n = -log p(target_n) = lse_n - logits[n, target_n],   lse_n = log sum_v exp(logits[n, v])
// Adding one number to all logits of a row changes no probability, but moves lse by that number:
// zlosses_n = z lse_n^2 keeps it near 0.
// Both are 0 if target_n < 0.                       losses, zlosses, lse: [N], logits: [N, V]
void crossentropy_forward(real *losses, real *zlosses, real *lse, const real *logits,
                          const int *targets, double z, int N, int V) {
    for (int n = 0; n < N; n++) {
        const real *row = logits + (size_t)n*V;
        real most = row[0], sum = 0;
        for (int v = 1; v < V; v++) most = row[v] > most ? row[v] : most;
        for (int v = 0; v < V; v++) sum += (real)exp(row[v] - most);
        lse[n] = most + (real)log(sum);
        losses[n] = targets[n] < 0 ? 0 : lse[n] - row[targets[n]];
        zlosses[n] = targets[n] < 0 ? 0 : (real)z*lse[n]*lse[n];
    }
}

// d(loss_n + zloss_n)/d logit_v = (1 + 2 z lse_n) p_v - [v is the target], times weights_n, the weight
// that row n has in the total. dlogits may be logits.
void crossentropy_backward(real *dlogits, const real *weights, const real *lse, const real *logits,
                           const int *targets, double z, int N, int V) {
    for (int n = 0; n < N; n++) for (int v = 0; v < V; v++) {
        real p = (real)exp(logits[(size_t)n*V + v] - lse[n]);
        real d = (1 + 2*(real)z*lse[n])*p - (v == targets[n]);
        dlogits[(size_t)n*V + v] = targets[n] < 0 ? 0 : weights[n]*d;
    }
}

// ================================================================================================
// The model: parameters, what the forward pass keeps, the two passes
// ================================================================================================
enum { MAX_LAYERS = 32 };
typedef struct {
    int d_model, n_layers, n_heads, n_kv_heads, mlp_hidden, vocab, tied;
    double rope_theta, z_loss;
} Config;

typedef struct { real *att_proj, *attn_out, *ff_proj, *ff_out; } Layer;     // [Q, C], [C, C], [2F, C], [C, F]
typedef struct { real *wte, *head; Layer layer[MAX_LAYERS]; } Weights;      // [V, C], [V, C]
typedef struct { real *xn1, *rstd1, *qkv, *att, *lse, *xn2, *rstd2, *ug; } Acts;    // what a layer keeps

typedef struct {
    Config config;
    size_t size;                                // parameters
    real *params, *grads, *moment1, *moment2;   // [size] each, in the order of layout()
    Weights weight, grad;                       // pointers into params and grads
    int B, T, *tokens, *targets;
    Acts layer[MAX_LAYERS];
    real *x, *h, *rope, *P, *xnf, *rstdf, *logits, *zlosses, *lse;
    real *dx, *dxn, *dqkv, *datt, *dh, *dug;
} Olmo;

// The next rows*cols numbers behind p (NULL: they are only counted).
static real *tensor(real *p, size_t *used, size_t rows, size_t cols) {
    real *at = p ? p + *used : NULL;
    *used += rows*cols;
    return at;
}

// Points w into p, one tensor behind the other; returns how many numbers that takes.
static size_t layout(Weights *w, real *p, const Config *c) {
    size_t C = c->d_model, D = C/c->n_heads, Q = (c->n_heads + 2*c->n_kv_heads)*D, F = c->mlp_hidden/2;
    size_t used = 0;
    w->wte = tensor(p, &used, c->vocab, C);
    for (int l = 0; l < c->n_layers; l++) {
        w->layer[l].att_proj = tensor(p, &used, Q, C);
        w->layer[l].attn_out = tensor(p, &used, C, C);
        w->layer[l].ff_proj = tensor(p, &used, 2*F, C);
        w->layer[l].ff_out = tensor(p, &used, C, F);
    }
    w->head = c->tied ? w->wte : tensor(p, &used, c->vocab, C);
    return used;
}

static real *reals(size_t n) {
    real *p = (real *)calloc(n, sizeof(real));
    if (!p) fprintf(stderr, "error: not enough memory\n"), exit(1);
    return p;
}

Olmo *olmo_build(const Config *c, int B, int T) {
    Olmo *m = (Olmo *)calloc(1, sizeof *m);
    if (!m) fprintf(stderr, "error: not enough memory\n"), exit(1);
    size_t N = (size_t)B*T, C = c->d_model, H = c->n_heads, D = C/H;
    size_t Q = (H + 2*c->n_kv_heads)*D, F = c->mlp_hidden/2, V = c->vocab;
    m->config = *c, m->B = B, m->T = T;
    m->size = layout(&m->weight, NULL, c);
    m->params = reals(m->size), m->grads = reals(m->size);
    m->moment1 = reals(m->size), m->moment2 = reals(m->size);
    layout(&m->weight, m->params, c);
    layout(&m->grad, m->grads, c);
    for (int l = 0; l < c->n_layers; l++) {
        Acts *a = &m->layer[l];
        a->xn1 = reals(N*C), a->rstd1 = reals(N);
        a->qkv = reals(N*Q), a->att = reals(N*C), a->lse = reals(N*H);
        a->xn2 = reals(N*C), a->rstd2 = reals(N), a->ug = reals(N*2*F);
    }
    m->x = reals(N*C), m->h = reals(N*F), m->xnf = reals(N*C), m->rstdf = reals(N);
    m->P = reals(T), m->rope = reals(T*D);
    m->logits = reals(N*V), m->zlosses = reals(N), m->lse = reals(N);
    m->dx = reals(N*C), m->dxn = reals(N*C), m->dqkv = reals(N*Q);
    m->datt = reals(N*C), m->dh = reals(N*F), m->dug = reals(N*2*F);
    m->tokens = (int *)calloc(2*N, sizeof(int)), m->targets = m->tokens + N;
    rope_table(m->rope, c->rope_theta, T, (int)D);
    return m;
}

// tokens, targets: [B, T] -> losses: [B, T]
void olmo_forward(Olmo *m, real *losses, const int *tokens, const int *targets) {
    const Config *c = &m->config;
    const int B = m->B, T = m->T, N = B*T, C = c->d_model, F = c->mlp_hidden/2, V = c->vocab;
    const int H = c->n_heads, G = c->n_kv_heads, D = C/H, Q = (H + 2*G)*D;
    memcpy(m->tokens, tokens, sizeof(int)*N);
    memcpy(m->targets, targets, sizeof(int)*N);

    embed_forward(m->x, tokens, m->weight.wte, N, C);
    for (int l = 0; l < c->n_layers; l++) {
        Layer *w = &m->weight.layer[l];
        Acts *a = &m->layer[l];
        norm_forward(a->xn1, a->rstd1, m->x, N, C);
        matmul_forward(a->qkv, a->xn1, w->att_proj, N, C, Q, 0);
        rope_forward(a->qkv, m->rope, N, T, 0, H + G, D, Q);            // queries and keys, not values
        attention_forward(a->att, a->lse, m->P, a->qkv, Q, a->qkv + C, Q, B, T, 0, H, G, D);
        matmul_forward(m->x, a->att, w->attn_out, N, C, C, 1);          // x += att . attn_out^T
        norm_forward(a->xn2, a->rstd2, m->x, N, C);
        matmul_forward(a->ug, a->xn2, w->ff_proj, N, C, 2*F, 0);
        swiglu_forward(m->h, a->ug, N, F);
        matmul_forward(m->x, m->h, w->ff_out, N, F, C, 1);              // x += h . ff_out^T
    }
    norm_forward(m->xnf, m->rstdf, m->x, N, C);
    matmul_forward(m->logits, m->xnf, m->weight.head, N, C, V, 0);
    crossentropy_forward(losses, m->zlosses, m->lse, m->logits, targets, c->z_loss, N, V);
}

// grads += the gradient of sum_n row_weights_n (losses_n + zlosses_n): the forward pass from bottom to
// top.
void olmo_backward(Olmo *m, const real *row_weights) {
    const Config *c = &m->config;
    const int B = m->B, T = m->T, N = B*T, C = c->d_model, F = c->mlp_hidden/2, V = c->vocab;
    const int H = c->n_heads, G = c->n_kv_heads, D = C/H, Q = (H + 2*G)*D;

    real *dlogits = m->logits;                                          // in place
    crossentropy_backward(dlogits, row_weights, m->lse, m->logits, m->targets, c->z_loss, N, V);
    matmul_backward_weight(m->grad.head, dlogits, m->xnf, B, T, C, V);
    matmul_backward_input(m->dxn, dlogits, m->weight.head, N, C, V);
    memset(m->dx, 0, sizeof(real)*N*C);
    norm_backward(m->dx, m->dxn, m->xnf, m->rstdf, N, C);
    for (int l = c->n_layers - 1; l >= 0; l--) {
        Layer *w = &m->weight.layer[l], *dw = &m->grad.layer[l];
        Acts *a = &m->layer[l];
        matmul_backward_input(m->dh, m->dx, w->ff_out, N, F, C);
        swiglu_backward(m->dug, m->h, m->dh, a->ug, N, F);              // makes h again
        matmul_backward_weight(dw->ff_out, m->dx, m->h, B, T, F, C);
        matmul_backward_weight(dw->ff_proj, m->dug, a->xn2, B, T, C, 2*F);
        matmul_backward_input(m->dxn, m->dug, w->ff_proj, N, C, 2*F);
        norm_backward(m->dx, m->dxn, a->xn2, a->rstd2, N, C);
        matmul_backward_weight(dw->attn_out, m->dx, a->att, B, T, C, C);
        matmul_backward_input(m->datt, m->dx, w->attn_out, N, C, C);
        attention_backward(m->dqkv, m->P, m->datt, a->att, a->lse, a->qkv, B, T, H, G, D);
        rope_backward(m->dqkv, m->rope, N, T, H + G, D, Q);
        matmul_backward_weight(dw->att_proj, m->dqkv, a->xn1, B, T, C, Q);
        matmul_backward_input(m->dxn, m->dqkv, w->att_proj, N, C, Q);
        norm_backward(m->dx, m->dxn, a->xn1, a->rstd1, N, C);
    }
    embed_backward(m->grad.wte, m->dx, m->tokens, N, C);
}

// ================================================================================================
// AdamW (Loshchilov and Hutter 2019), its operations in the order of torch.optim.AdamW
// ================================================================================================
//     g *= min(1, clip/(norm of all gradients + 1e-6))
//     p *= 1 - lr decay
//     first += (1 - beta1)(g - first)                          the average of the latest gradients,
//     second = beta2 second + (1 - beta2) g^2                  and of their squares
//     p -= lr/(1 - beta1^t) first/(sqrt(second)/sqrt(1 - beta2^t) + eps)               t = 1, 2, ...
// The root of `second` is the usual size of this parameter's gradient. Divided by it, a step is about
// lr, whether the gradients are large or small. Decay stands apart from the gradient ("decoupled"): in it,
// the division would weaken the decay of parameters with large gradients.
//
// All matrices decay, the embedding (the first tensor) does not. Clears the gradients; returns their
// norm.
double olmo_update(Olmo *m, double lr, double beta1, double beta2, double eps, double weight_decay,
                   double clip, int t) {
    size_t embedding = (size_t)m->config.vocab*(size_t)m->config.d_model;
    double squares = 0;
    for (size_t i = 0; i < m->size; i++) squares += (double)m->grads[i]*(double)m->grads[i];
    double norm = sqrt(squares), factor = clip > 0 ? fmin(1, clip/(norm + 1e-6)) : 1;

    for (size_t i = 0; i < m->size; i++) {
        double g = factor*(double)m->grads[i], first = (double)m->moment1[i], second = (double)m->moment2[i];
        double p = (double)m->params[i]*(1 - (i < embedding ? 0 : lr*weight_decay));
        first += (1 - beta1)*(g - first);
        second = beta2*second + (1 - beta2)*g*g;
        p -= lr/(1 - pow(beta1, t))*first/(sqrt(second)/sqrt(1 - pow(beta2, t)) + eps);
        m->moment1[i] = (real)first;
        m->moment2[i] = (real)second;
        m->params[i] = (real)p;
        m->grads[i] = 0;
    }
    return norm;
}

// ================================================================================================
// Training the model of `./train_olmo`, on the bytes of a file
// ================================================================================================
#ifndef OLMO_LIBRARY                            // tests include the functions above, without this program
static uint64_t hash64(uint64_t x) {            // our random numbers: splitmix64 (Steele et al., 2014)
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30))*0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27))*0x94d049bb133111ebu;
    return x ^ (x >> 31);
}
static double uniform(uint64_t i) { return ((double)(hash64(i) >> 11) + 0.5)*0x1p-53; }

// Normal numbers (Box and Muller), clamped at three deviations (train_olmo.c draws again)
static void normal(real *p, size_t n, double std, uint64_t stream) {
    for (size_t i = 0; i < n; i++) {
        double radius = sqrt(-2*log(uniform(stream*1000003 + 2*i)));
        double z = radius*cos(2*3.14159265358979*uniform(stream*1000003 + 2*i + 1));
        p[i] = (real)(std*fmax(-3, fmin(3, z)));
    }
}

// OLMo-1's "mitchell" init: 1/sqrt(C); what writes to the residual stream 1/sqrt(2 fan_in (layer + 1))
static void olmo_init(Olmo *m) {
    const Config *c = &m->config;
    size_t C = c->d_model, Q = C + 2*(size_t)c->n_kv_heads*(C/c->n_heads), F = c->mlp_hidden/2;
    double std = 1/sqrt((double)C);
    normal(m->weight.wte, (size_t)c->vocab*C, std, 1);
    if (!c->tied) normal(m->weight.head, (size_t)c->vocab*C, std, 2);
    for (int l = 0; l < c->n_layers; l++) {
        Layer *w = &m->weight.layer[l];
        normal(w->att_proj, Q*C, std, 4*l + 3);
        normal(w->attn_out, C*C, 1/sqrt(2.0*C*(l + 1)), 4*l + 4);
        normal(w->ff_proj, 2*F*C, std, 4*l + 5);
        normal(w->ff_out, C*F, 1/sqrt(2.0*F*(l + 1)), 4*l + 6);
    }
}

static int failed(const char *sentence, const char *about) {
    fprintf(stderr, "error: %s: %s\n", about, sentence);
    return 1;
}

int main(int argc, char **argv) {
    enum { B = 4, T = 256, N = B*T, WARMUP = 100 };
    const Config tiny = { .d_model = 64, .n_layers = 4, .n_heads = 4, .n_kv_heads = 4, .mlp_hidden = 512,
                          .vocab = 256, .tied = 1, .rope_theta = 10000, .z_loss = 0 };
    static int tokens[N], targets[N];
    static real losses[N], row_weights[N];
    const int steps = argc > 2 ? atoi(argv[2]) : 300;
    if (argc < 2 || steps < 1) return failed("plain FILE [STEPS] learns the bytes of a file", "usage");
    FILE *file = fopen(argv[1], "rb");
    if (!file) return failed("cannot be read", argv[1]);
    fseek(file, 0, SEEK_END);
    const long windows = ftell(file)/T;
    if (windows < 1) return failed("is shorter than the 256 bytes of one window", argv[1]);

    Olmo *m = olmo_build(&tiny, B, T);
    olmo_init(m);
    for (int step = 1; step <= steps; step++) {
        for (int b = 0; b < B; b++) {           // windows drawn at random; token t predicts token t + 1
            unsigned char window[T];
            const uint64_t drawn = hash64((uint64_t)step*B + b) % (uint64_t)windows;
            fseek(file, (long)drawn*T, SEEK_SET);
            if (fread(window, 1, T, file) != T) return failed("cannot be read to its end", argv[1]);
            for (int t = 0; t < T; t++) {
                tokens[b*T + t] = window[t];
                targets[b*T + t] = t + 1 < T ? window[t + 1] : -1;
            }
        }
        double mean = 0, lr = 6e-3*fmin(1, (double)step/WARMUP);
        // the mean over the B*(T - 1) rows with a target; the others' losses are 0, with any weight
        for (int n = 0; n < N; n++) row_weights[n] = 1/(real)(B*(T - 1));
        olmo_forward(m, losses, tokens, targets);
        olmo_backward(m, row_weights);
        for (int n = 0; n < N; n++) mean += (double)losses[n]/(B*(T - 1));
        double norm = olmo_update(m, lr, 0.9, 0.95, 1e-5, 0.1, 1, step);
        if (step % 10 == 0 || step == 1) {
            printf("step %d  loss %.4f  gradient norm %.3f\n", step, mean, norm);
            fflush(stdout);
        }
    }
    return 0;
}
#endif
