// DPO compares the model with its reference, the model that training starts from (arXiv 2305.18290). Included
// by train_olmo.c.
//
// The reference gives log p of every row, the sum over its labels, once before training: OLMo has no
// dropout, so one pass is enough. The numbers lie in OUT/reference.safetensors. A NaN marks one that is
// still missing, so the pass can be interrupted. The header names the weights and the data that the numbers
// belong to.

// The file: the length of the header in 8 bytes; the header, padded with blanks; the numbers, aligned.
enum { REFERENCE_AT = 1024, REFERENCE_HEADER = REFERENCE_AT - 8 };
static const char *const reference_begins = "{\"__metadata__\":{\"params\":\"";

// The header that this file must have. params: the weights' hash, 16 digits.
static void reference_header(char header[REFERENCE_HEADER + 1], const Run *run, const char *params) {
    const size_t train = run->train.groups, val = run->val.groups;
    const uint64_t judged = run->val_text ? hash64(conversations_hash(run->val_text)) : 0;
    const uint64_t data = conversations_hash(run->train_text) ^ judged;
    int n = snprintf(header, REFERENCE_HEADER + 1, "%s%.16s\",\"data\":\"%016llx\"},"
                     "\"train\":{\"dtype\":\"F64\",\"shape\":[%zu,2],\"data_offsets\":[0,%zu]},"
                     "\"validation\":{\"dtype\":\"F64\",\"shape\":[%zu,2],\"data_offsets\":[%zu,%zu]}}",
                     reference_begins, params, (unsigned long long)data, train, 16*train, val, 16*train,
                     16*(train + val));
    memset(header + n, ' ', (size_t)(REFERENCE_HEADER - n));
    header[REFERENCE_HEADER] = 0;
}

// The header of an open file; returns 0 if it has none.
static int reference_found(FILE *file, char header[REFERENCE_HEADER + 1]) {
    header[REFERENCE_HEADER] = 0;
    return fseeko(file, 8, SEEK_SET) == 0 && fread(header, 1, REFERENCE_HEADER, file) == REFERENCE_HEADER;
}

// Makes the file, all of whose numbers still have to be computed.
static void reference_make(const char *path, const char *header, size_t numbers) {
    const double unknown = NAN;
    const size_t length = REFERENCE_HEADER;
    FILE *file = open_to_write(path);
    fwrite(&length, 8, 1, file);
    fwrite(header, 1, REFERENCE_HEADER, file);
    for (size_t i = 0; i < numbers; i++) fwrite(&unknown, 8, 1, file);
    close_written(file, path);
}

// Maps the file, which is made first if it is not there: the numbers of train, then those of val. A run
// that goes on has other weights by now, so it takes the hash of the first ones from the file.
static void reference_open(Run *run) {
    const size_t numbers = 2*(run->train.groups + run->val.groups), size = REFERENCE_AT + 8*numbers;
    char path[PATH], header[REFERENCE_HEADER + 1], found[REFERENCE_HEADER + 1], params[17];
    struct stat is;
    path_join(path, run->o.out, "reference.safetensors");
    FILE *file = fopen(path, "r+b");
    const int has_header = file && reference_found(file, found);
    snprintf(params, sizeof params, "%016llx", (unsigned long long)params_hash(run));
    if (has_header && run->at.step) memcpy(params, found + strlen(reference_begins), 16);
    reference_header(header, run, params);
    const int ours = has_header && !memcmp(found, header, REFERENCE_HEADER)
                   && fstat(fileno(file), &is) == 0 && (size_t)is.st_size == size;
    CHECK(ours || !run->at.step,
          "%s: expected the reference of this run's pairs, found %s; without it the run cannot go "
          "on", path, file ? "another file" : "none");
    if (!ours) {
        if (file) fclose(file);
        reference_make(path, header, numbers);
        file = fopen(path, "r+b");
        CHECK(file, "%s: cannot be read: %s", path, strerror(errno));
    }
    unsigned char *start = map_open_file(file, path, size, PROT_READ | PROT_WRITE);
    run->reference = (double *)(void *)(start + REFERENCE_AT);
}
static void reference_sync(Run *run) {
    CHECK(msync((char *)run->reference - REFERENCE_AT, REFERENCE_AT +
                16*(run->train.groups + run->val.groups), MS_SYNC) == 0,
          "%s/reference.safetensors: writing failed: %s", run->o.out, strerror(errno));
}

// Computes the numbers that are missing in the reference of one set of rows.
static void reference_pass(Run *run, Rows *rows, double *reference, const char *what) {
    const Config *c = &run->o.config;
    const int micro = run->o.recipe.micro_batch, some = 8*micro*ranks.world;
    double *part = (double *)allocate(2*(size_t)some, sizeof *part, "a reference");
    Meter meter = meter_of(what, rows->unit, (double)rows->groups, 0);
    Batch b = batch_of(rows, some, micro);
    for (size_t g = 0; g < rows->groups; g += some) {
        const int n = (int)zmin((size_t)some, rows->groups - g);
        double *const here = reference + 2*g;
        int missing = 0;
        ranks_sum(here, 2*n);                               // rank 0 has the file, the others have zeros
        for (int i = 0; i < 2*n; i++) missing |= isnan(here[i]);
        if (!missing) { meter.first += n; continue; }       // an earlier, interrupted pass has it
        CHECK(!run->at.step, "%s/reference.safetensors: numbers are missing, and the weights that they come "
              "from are %d steps away; without them the run cannot go on", run->o.out, run->at.step);
        batch_read(&b, rows, NULL, g, n, c->vocab, c->eos);
        if (agreed_to_stop() || !batch_through(run, &b, 0)) break;
        memset(part, 0, 2*(size_t)n*sizeof *part);
        for (int i = 0; i < b.n; i++) if (!b.row[i].filler) part[b.row[i].index - 2*g] = -b.row[i].loss;
        ranks_sum(part, 2*n);
        memcpy(here, part, 2*(size_t)n*sizeof *part);
        meter_show(&meter, (double)g + n);
    }
    batch_free(&b);
    release(part);
    rows->reference = reference;
}

static void compute_reference(Run *run) {
    const size_t train = 2*run->train.groups, val = 2*run->val.groups;
    by_rank_0(run, reference_open);
    if (!run->reference)                                    // zeros, until rank 0 tells
        run->reference = (double *)allocate(train + val, sizeof(double), "the reference");
    reference_pass(run, &run->train, run->reference, "reference");
    if (val) reference_pass(run, &run->val, run->reference + train, "reference for validation");
    by_rank_0(run, reference_sync);                         // before the first checkpoint that needs it
}
