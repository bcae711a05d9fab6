// dev/class/plain.c behind one function, built as a shared library: it has train_olmo.c's names, so
// the two cannot stand in one program otherwise. `grade witness` compares their losses and gradients.
#define OLMO_LIBRARY
#include "plain.c"

// sizes: d_model, n_layers, n_heads, n_kv_heads, mlp_hidden, vocab, tied, B, T. params, grads: all
// tensors in their order.
void plain_gradients(real *losses, real *grads, const real *params, const int *tokens,
    const int *targets, const real *weights,
                     const int *sizes, double rope_theta, double z_loss) {
    Config c = { sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], rope_theta,
        z_loss };
    Olmo *m = olmo_build(&c, sizes[7], sizes[8]);
    memcpy(m->params, params, sizeof(real)*m->size);
    olmo_forward(m, losses, tokens, targets);
    olmo_backward(m, weights);
    memcpy(grads, m->grads, sizeof(real)*m->size);
}
