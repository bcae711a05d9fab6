// What a run takes and uses: energy, as the paper reports it (arXiv 2402.00838, section 4.4), and MFU.
// Included by train_olmo.c.
//
//     energy [kWh] = mean power [W]*hours/1000      CO2e [kg] = energy*PUE*carbon intensity [kg/kWh]
//
// Cards (NVML) and processors (RAPL) count the joules that they take: the counters are read after
// every step, and between two steps nothing is missed. Nobody counts fans and power supplies: --watts X
// takes a power for measured, say that of the whole node. PUE is what a computing centre takes for
// each watt of its computers, 1.1 in the paper. Each rank counts its own card, and the first one of
// each machine the rest of that.
#include <dlfcn.h>

typedef struct {
    void *card;                                             // NVML's; NULL: a directory of RAPL's
    char path[PATH];
    double joules;                                          // per count
    double range, last;                                     // where it begins again; what it showed
} Gauge;

enum { MAX_GAUGES = 64 };
typedef struct {
    Gauge gauge[MAX_GAUGES];
    int n;
    int (*millijoules)(void *card, unsigned long long *out);
    double watts;                                           // that are taken for measured; 0: none
    double begun, read, joules;                             // seconds; what was taken in between
    double since, before, power;                            // power [W] was last known at `since`
} Energy;

// The number in DIRECTORY/NAME, or NAN: there is none, or we may not read it.
static double number_in(const char *directory, const char *name) {
    char path[PATH];
    double x = NAN;
    path_join(path, directory, name);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%lf", &x) != 1) x = NAN;
    if (file) fclose(file);
    return x;
}

static double gauge_shows(const Energy *e, const Gauge *m) {
    unsigned long long count;
    if (!m->card) return number_in(m->path, "energy_uj");
    return e->millijoules(m->card, &count) ? NAN : (double)count;
}

static void add_gauge(Energy *e, Gauge *m) {
    m->last = gauge_shows(e, m);
    if (!isnan(m->last) && e->n < MAX_GAUGES) e->gauge[e->n++] = *m;
}

// Linux has a directory for each package of processors, of AMD as well. (Within it are its parts.)
static void find_processors(Energy *e, const char *powercap) {
    for (int i = 0; i < MAX_GAUGES; i++) {
        Gauge m = { NULL, "", 1e-6, 0, 0 };
        snprintf(m.path, sizeof m.path, "%s/intel-rapl:%d", powercap, i);
        m.range = number_in(m.path, "max_energy_range_uj");
        if (!isnan(m.range)) add_gauge(e, &m);
    }
}

// A card by CUDA's number of it, or by the name that CUDA_VISIBLE_DEVICES has for it. (NVML's numbers are
// CUDA's where all cards are alike.) NVML is loaded where it is installed: nothing needs it to run.
static void find_card(Energy *e, const char *library, int card) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    char item[PATH], *name = list_item("CUDA_VISIBLE_DEVICES", visible, card, item);
    const int numbered = !name || strspn(name, "0123456789") == strlen(name);
    Gauge m = { NULL, "", 1e-3, 0, 0 };
    void *nvml = dlopen(library, RTLD_NOW);
    int (*init)(void), (*by_index)(unsigned index, void **card), (*by_name)(const char *name, void **card);
    if (!nvml) return;
    *(void **)&init = dlsym(nvml, "nvmlInit_v2");
    *(void **)&by_index = dlsym(nvml, "nvmlDeviceGetHandleByIndex_v2");
    *(void **)&by_name = dlsym(nvml, "nvmlDeviceGetHandleByUUID");
    *(void **)&e->millijoules = dlsym(nvml, "nvmlDeviceGetTotalEnergyConsumption");
    if (!init || !by_index || !by_name || !e->millijoules || init()) return;
    const unsigned number = name ? (unsigned)atoi(name) : (unsigned)card;
    if (!(numbered ? by_index(number, &m.card) : by_name(name, &m.card))) add_gauge(e, &m);
}

// card: of this rank, -1: none; watts: a power of this machine that is taken for measured, or 0.
static void energy_begin(Energy *e, const char *powercap, const char *nvml, int card, double watts) {
    memset(e, 0, sizeof *e);
    e->watts = ranks.local ? 0 : watts;
    if (watts == 0 && card >= 0) find_card(e, nvml, card);
    CHECK(watts > 0 || card < 0 || e->n,
          "--energy: %s tells nothing of this card's energy; expected --watts X, the power of this machine",
          nvml);
    if (watts == 0 && !ranks.local) find_processors(e, powercap);
    CHECK(watts > 0 || ranks.local || e->n,
          "--energy: %s tells nothing of the processors' energy (it may be that root alone can read it); "
          "expected --watts X, the power of this machine", powercap);
    e->begun = e->read = e->since = seconds();
}

// Reads the counters, of all ranks. Returns the power in watts, as the mean of the last two seconds or
// more: a card's counter goes on about ten times per second, and by one step of the training it may show
// half as much again as the card took.
static double energy_read(Energy *e) {
    const double time = seconds() - e->read;
    double joules = e->watts*time;
    for (int i = 0; i < e->n; i++) {
        Gauge *m = &e->gauge[i];
        const double count = gauge_shows(e, m);
        if (isnan(count)) continue;
        joules += m->joules*(count - m->last + (count < m->last ? m->range : 0));
        m->last = count;
    }
    ranks_sum(&joules, 1);
    e->joules += joules, e->read += time;
    const double span = e->read - e->since;
    if (span >= 2 || e->since == e->begun) e->power = (e->joules - e->before)/span;
    if (span >= 2) e->since = e->read, e->before = e->joules;
    return e->power;
}

static double kwh(const Energy *e) { return e->joules/3.6e6; }
static double co2e(double energy, const Options *o) { return energy*o->pue*o->carbon_intensity; }

static void energy_metrics(Energy *e, const Options *o, Metrics *m) {
    metric(m, energy_read(e), "watts", "energy/watts");
    metric(m, kwh(e), NULL, "energy/kWh");
    if (o->carbon_intensity > 0) metric(m, co2e(kwh(e), o), NULL, "energy/kg_CO2e");
}

static void print_energy(Energy *e, const Options *o) {
    energy_read(e);
    const double hours = (e->read - e->begun)/3600;
    printf("energy %.6g kWh: %.6g W for %.6g hours", kwh(e), 1000*kwh(e)/hours, hours);
    printf("%s", e->n ? ", measured" : ", by --watts");
    if (o->carbon_intensity > 0)
        printf("; %.6g kg CO2e (PUE %g, %g kg per kWh)", co2e(kwh(e), o), o->pue, o->carbon_intensity);
    printf("\n");
}

// ---- MFU: a model's arithmetic over what its device could do -----------------------------------

// bf16 products without sparsity, in TFLOP/s, as NVIDIA's data sheets have them; 0: not known.
static double peak_tflops(const char *device) {
    static const struct { const char *name; double tflops; } cards[] = {         // the first that fits
        { "H100 PCIe", 756.5 }, { "H100 NVL", 835.5 }, { "H100", 989.4 }, { "H200", 989.4 }, { "B200", 2250 },
        { "A100", 312 }, { "A40", 149.7 }, { "L40S", 362 }, { "RTX 4090", 165.2 }, { "RTX 3090", 71 },
    };
    for (size_t i = 0; i < sizeof cards/sizeof *cards && strstr(device, "(bf16)"); i++)
        if (strstr(device, cards[i].name)) return cards[i].tflops;
    return 0;
}

// In two conventions. Both count 6 FLOP per token and matrix element (to look a row up takes none), and
// for attention either 12LdT, its whole square (PaLM, arXiv 2204.02311, appendix B: what most numbers
// are), or 6Ld(T+1), the half of it that a causal mask leaves.
static void mfu_metrics(const Config *c, size_t params, double tflops, double tokens_per_second, Metrics *m) {
    const double d = c->d_model, L = c->n_layers, T = c->seq_len, share = tokens_per_second/(tflops*1e12);
    const double matrices = 6*((double)params - (c->tied ? 0 : d*c->vocab));
    if (tflops <= 0) return;
    metric(m, share*(matrices + 12*L*d*T), "MFU(PaLM)", "throughput/device/mfu_palm");
    metric(m, share*(matrices + 6*L*d*(T + 1)), "MFU(causal)", "throughput/device/mfu_causal");
}
