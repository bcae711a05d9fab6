/*
The logits of our program, for check_hf.py to compare with transformers' OlmoForCausalLM.

    cc -O3 -march=native -ffp-contract=fast -fopenmp -Wno-unused-function -o build/logits \
        dev/reference/logits.c -lm -ldl
    build/logits DIR 1,2,3 logits.f32         writes [T, V] little-endian floats
    dev/reference/check_hf.sh                 does the whole exchange, both ways
*/
#define OLMO_LIBRARY
#include "../../train_olmo.c"

int main(int argc, char **argv) {
    static Run run;
    CHECK(argc == 4, "usage: logits DIRECTORY 1,2,3 OUTPUT");
    run.o = options_of_preset("tiny");
    run.o.config = config_read(argv[1]), run.o.prompt_ids = argv[2];
    const Config *c = &run.o.config;
    int *tokens = (int *)allocate(2*(size_t)c->seq_len, sizeof(int), "the ids");
    int *targets = tokens + c->seq_len, T = prompt_tokens(&run, tokens);
    real *losses = (real *)allocate(2*(size_t)T, sizeof(real), "the losses");
    Olmo *m = olmo_build(c, 1);                              // a training model keeps the logits of all rows
    for (int t = 0; t < T; t++) targets[t] = IGNORE;
    const Model model = { &cpu_device, m, c, &m->layout };
    weights_read(argv[1], model);
    olmo_forward(m, losses, losses + T, tokens, targets, NULL, 1, T);
    FILE *file = open_to_write(argv[3]);
    fwrite(m->acts.logits, sizeof(real), (size_t)T*c->vocab, file);
    close_written(file, argv[3]);
    printf("%s: logits of %d tokens, %d columns\n", argv[3], T, c->vocab);
    return EXIT_SUCCESS;
}
