// dev/class/plain.c behind one function, built as a shared library: it has train_olmo.c's names, so
// the two cannot stand in one program otherwise. `grade witness` compares their losses and gradients.
#define OLMO_LIBRARY
#include "plain.c"

// sizes: d_model, n_layers, n_heads, n_kv_heads, mlp_hidden, vocab, tied, B, T. params, grads: all
// tensors in their order.
void plain_gradients(real *losses, real *grads, const real *params, const int *tokens,
                     const int *targets, const real *row_weights, const int *sizes,
                     double rope_theta, double z_loss) {
    Config c = { .d_model = sizes[0], .n_layers = sizes[1], .n_heads = sizes[2],
                 .n_kv_heads = sizes[3], .mlp_hidden = sizes[4], .vocab = sizes[5],
                 .tied = sizes[6], .rope_theta = rope_theta, .z_loss = z_loss };
    Olmo *m = olmo_build(&c, sizes[7], sizes[8]);
    memcpy(m->params, params, sizeof(real)*m->size);
    olmo_forward(m, losses, tokens, targets);
    olmo_backward(m, row_weights);
    memcpy(grads, m->grads, sizeof(real)*m->size);
}
