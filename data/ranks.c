// Several ranks (train_olmo.c, section 5): how they start, meet, agree, and end together. Included by
// train_olmo.c.
//
// They are started by --gpus N, which forks them on this machine, or by another launcher, whose variables
// say which rank a process is (ranks_start). Rank 0 waits at MASTER_ADDR and MASTER_PORT, and every other
// rank keeps two sockets to it:
//     talk    what the hosts must agree on: sums of losses, a wish to stop, how the devices find each other
//     life    every second that a rank lives. One that fails sends its sentence, one that is killed closes
//             its socket, one that is stopped or without power falls silent: rank 0 says so, and all end.
// What the devices have, gradients and weights, they exchange themselves, by other means.
//
// All ranks make the same calls in the same order. Three things see to that: what could make them differ is
// compared before the first step (ranks_must_agree), they stop at the same moment (agreed_to_stop), and
// what rank 0 does alone, it does while the others wait for its questions (by_rank_0, in train_olmo.c).
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { MAX_RANKS = 4096 };
static int patience = 50;                                   // seconds for a rank to come, or to be silent
static int talk[MAX_RANKS], life[MAX_RANKS];                // rank 0: to rank r; others: to rank 0, in [0]
static int leaving;                                         // the run is over: sockets may close
static int ending;                                          // it has failed, and a thread is saying so
static int silent[MAX_RANKS];                               // seconds since that rank was heard
static void (*check_links)(void) = NULL;                    // dies if what the devices talk by has failed

// ---- how they end ------------------------------------------------------------------------------
// Only one thread speaks, and ends the process: any other that comes here waits for that.
static void only_one_speaks(void) {
    if (__atomic_exchange_n(&ending, 1, __ATOMIC_SEQ_CST)) for (;;) pause();
}

// Says the sentence of a run that failed, once, and ends this rank. Rank 0 says it; if that has died, rank 1
// and the first rank of every other machine.
static void __attribute__((noreturn)) end_of_run(int failed, const char *sentence) {
    only_one_speaks();
    if (ranks.rank <= 1 || ranks.local == 0)
        dprintf(error_output, "error: rank %d of %d: %s\n", failed, ranks.world, sentence);
    for (int r = 1; r < ranks.world && !ranks.rank; r++)
        if (life[r]) (void)send(life[r], ".", 1, MSG_NOSIGNAL);
    remove_half_written();
    _exit(EXIT_FAILURE);                                    // not exit: a device may be waiting for others
}

// What die() does in a run of several ranks.
static void send_last_words(const char *sentence) {
    char heard;
    if (ranks.rank == 0) end_of_run(0, sentence);
    only_one_speaks();
    (void)send(life[0], sentence, strlen(sentence), MSG_NOSIGNAL);
    while (recv(life[0], &heard, 1, 0) == 1)
        if (heard != '\n') _exit(EXIT_FAILURE);             // rank 0 has said it
    dprintf(error_output, "error: rank %d of %d: %s\n", ranks.rank, ranks.world, sentence);
    _exit(EXIT_FAILURE);
}

// Every second a rank sends the end of a line, which no sentence holds: it lives. A rank counts its own
// seconds: if all are stopped for a while, and go on, nobody has been silent.
static void say_alive(int r) {
    (void)send(life[r], "\n", 1, MSG_NOSIGNAL);
    if (silent[r]++ == patience) end_of_run(r, "has fallen silent: stopped, or its machine is gone");
}
// What rank r has sent; or it has closed its socket. Returns 0 if the run is over.
static int hear(int r) {
    static char words[4096];
    const ssize_t n = recv(life[r], words, sizeof words - 1, 0);
    words[n > 0 ? n : 0] = 0;
    const char *sentence = strtok(words, "\n");
    silent[r] = 0;
    if (n > 0 && !sentence) return 1;
    if (__atomic_load_n(&leaving, __ATOMIC_SEQ_CST)) return 0;
    if (sentence && ranks.rank) _exit(EXIT_FAILURE);        // rank 0 has said why
    end_of_run(r, sentence ? sentence : "has died without a word: killed, or its machine is gone");
}

// Waits for a rank to end, in a thread of its own: the first thread may be waiting for a device, which waits
// for a rank that is no more, or for a link that has failed.
static void *watch(void *unused) {
    static struct pollfd line[MAX_RANKS];
    const int begin = !ranks.rank, end = ranks.rank ? 1 : ranks.world;
    for (int r = begin; r < end; r++) {
        line[r].fd = life[r];
        line[r].events = POLLIN;
        silent[r] = -patience;                              // rank 0 speaks when all have come
    }
    for (double next = 0; ; ) {
        if (seconds() >= next) {
            void (*const check)(void) = __atomic_load_n(&check_links, __ATOMIC_SEQ_CST);
            next = seconds() + 1;
            for (int r = begin; r < end; r++) say_alive(r);
            if (check) check();
        }
        if (poll(line + begin, (nfds_t)(end - begin), 1000) <= 0) continue;
        for (int r = begin; r < end; r++) if (line[r].revents && !hear(r)) return unused;
    }
}

// ---- what they tell each other -----------------------------------------------------------------
// All n bytes go to, or come from, another rank. If it is gone, the watching thread ends us while we pause;
// at the end of a run nobody watches any more.
static void nobody_there(void) {
    CHECK(!__atomic_load_n(&leaving, __ATOMIC_SEQ_CST), "another rank has died at the very end");
    for (;;) pause();
}
static void send_all(int line, const void *bytes, size_t n) {
    const char *at = (const char *)bytes;
    for (ssize_t k; n > 0; at += k, n -= (size_t)k)
        if ((k = send(line, at, n, MSG_NOSIGNAL)) <= 0) nobody_there();
}
static void receive_all(int line, void *bytes, size_t n) {
    char *at = (char *)bytes;
    for (ssize_t k; n > 0; at += k, n -= (size_t)k)
        if ((k = recv(line, at, n, MSG_WAITALL)) <= 0) nobody_there();
}

// x[0..n) becomes the sum of all ranks' x. It is taken in the order of the ranks, so all have the same bits.
static void ranks_sum(double *x, int n) {
    enum { MOST = 512 };                                    // numbers at a time
    double part[MOST];
    for (int k; ranks.world > 1 && n > 0; x += k, n -= k) {
        k = imin(n, MOST);
        const size_t bytes = (size_t)k*sizeof *x;
        if (ranks.rank) {
            send_all(talk[0], x, bytes);
            receive_all(talk[0], x, bytes);
        } else {
            for (int r = 1; r < ranks.world; r++) {
                receive_all(talk[r], part, bytes);
                for (int i = 0; i < k; i++) x[i] += part[i];
            }
            for (int r = 1; r < ranks.world; r++) send_all(talk[r], x, bytes);
        }
    }
}

// Returns when all ranks are here.
static void ranks_wait(void) {
    double nothing = 0;
    ranks_sum(&nothing, 1);
}

// Rank 0's bytes become those of all.
void ranks_share(void *bytes, size_t n) {
    for (int r = 1; r < ranks.world && !ranks.rank; r++) send_all(talk[r], bytes, n);
    if (ranks.rank) receive_all(talk[0], bytes, n);
}

// Whether any rank has been asked to stop. All learn it at the same moment.
static int agreed_to_stop(void) {
    double asked = asked_here;
    ranks_sum(&asked, 1);
    asked_to_stop = asked > 0;
    return asked_to_stop;
}

// ---- what must be the same for all -------------------------------------------------------------
// A rank lists what it is and what it reads, a line each: the program, every option, every file. All lists
// must be that of rank 0. (Not listed: files that only lie beside a checkpoint. Rank 0 alone copies them.)
static char *own_lines;
static size_t own_length;
static FILE *own_list;                                      // writes them

// A file, known by its size and fingerprint.
static void list_bytes(const char *name, const char *path) {
    size_t size;
    const uint64_t hash = file_hash(path, &size);
    fprintf(own_list, "%s of %zu bytes, fingerprint 0x%016llx\n", name, size, (unsigned long long)hash);
}
// open_to_read calls this: on_reading.
static void list_file(const char *path) {
    on_reading = NULL;                                      // file_hash opens it, too
    list_bytes(path, path);
    on_reading = list_file;
}

// The program, and its options but two: threads and watts are each machine's own affair. Begins the list.
static void list_options(Options *o) {
    Option table[MAX_OPTIONS];
    char program[PATH], value[128];
    const int n = option_table(o, table);
    own_list = open_memstream(&own_lines, &own_length);
    CHECK(own_list, "not enough memory for the list of options");
    if (*own_path(program)) list_bytes("a program", program);
    for (int i = 0; i < n; i++)
        if (!is_heading(&table[i]) && table[i].value != &o->threads && table[i].value != &o->watts)
            fprintf(own_list, "%s %s\n", table[i].name, option_text(&table[i], value, sizeof value));
    on_reading = list_file;
}

// Ends the run if a rank's list is not that of rank 0. Otherwise such ranks would wait for each other for
// ever, or learn from different things.
static void ranks_must_agree(void) {
    if (ranks.world == 1) return;
    fflush(own_list);
    uint64_t size = own_length + 1, line = 0, at = 0;
    ranks_share(&size, sizeof size);
    char *first = (char *)allocate(size, 1, "what rank 0 has"), *mine = own_lines;
    if (ranks.rank == 0) memcpy(first, mine, size);
    ranks_share(first, size);
    for (; first[at] && first[at] == mine[at]; at++)
        if (mine[at] == '\n') line = at + 1;                // where the line begins in which they differ
    const int mine_ends = (int)strcspn(mine + line, "\n"), first_ends = (int)strcspn(first + line, "\n");
    CHECK(first[at] == mine[at],
          "here is %.*s, but on rank 0 %.*s; the ranks of a run need the same program, options and files",
          mine_ends, mine + line, first_ends, first + line);
    release(first);
}

// ---- what one rank does for all ----------------------------------------------------------------
// Rank 0 writes a checkpoint, but its device has only its own pieces, and device->get is a call that all
// ranks make together. So rank 0 asks for what it gets next, and all get it.
typedef struct { Space space; size_t offset, count; } Wanted;
static const Device *own_device;

static void ask(void *model, Space space, size_t offset, size_t count, real *host) {
    Wanted wanted = { space, offset, count };
    ranks_share(&wanted, sizeof wanted);
    own_device->get(model, space, offset, count, host);
}
// Rank 0 has no more questions: it asks for nothing.
static void ranks_dismiss(void) {
    Wanted none = { PARAMS, 0, 0 };
    ranks_share(&none, sizeof none);
}
// What the others do until they are dismissed.
static void ranks_answer(void *model) {
    static real unused[CHUNK];
    for (;;) {
        Wanted wanted;
        ranks_share(&wanted, sizeof wanted);
        if (!wanted.count) return;
        own_device->get(model, wanted.space, wanted.offset, wanted.count, unused);
    }
}
// The device of a run of several ranks. Its get asks the others, so it is for rank 0 alone.
static const Device *ranks_device(const Device *device) {
    static Device asking;
    if (ranks.world == 1) return device;
    own_device = device;
    asking = *device;
    asking.get = ask;
    return &asking;
}

// ---- how they meet -----------------------------------------------------------------------------
// Returns a socket at which rank 0 waits: at all addresses of this machine, IPv6 and IPv4, or at 127.0.0.1
// alone. If *port is 0, it becomes that of a free one.
static int listen_at(int any, int *port) {
    const int yes = 1, no = 0, soon = 5, old = !any || access("/proc/net/if_inet6", F_OK);
    const int line = socket(old ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; } at;
    socklen_t size = sizeof at;
    memset(&at, 0, sizeof at);                              // in both families 0 is any address
    at.any.sa_family = old ? AF_INET : AF_INET6;
    at.v4.sin_port = htons((uint16_t)*port);                // which is where v6 has it
    if (!any) at.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(line, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(line, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    setsockopt(line, IPPROTO_TCP, TCP_DEFER_ACCEPT, &soon, sizeof soon);     // not before they speak
    CHECK(bind(line, &at.any, size) == 0 && listen(line, 2*MAX_RANKS) == 0
          && getsockname(line, &at.any, &size) == 0,
          "port %d: rank 0 cannot wait there for the others: %s; choose another MASTER_PORT", *port,
          strerror(errno));
    *port = ntohs(at.v4.sin_port);
    return line;
}

// How long a call may wait for the other end (0: for ever). What is sent never waits for more to send.
static void be_patient(int line, double seconds) {
    const struct timeval most = { (time_t)seconds, (suseconds_t)(1e6*(seconds - floor(seconds))) };
    const int yes = 1;
    setsockopt(line, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    setsockopt(line, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

// What both ends of a socket say first. Whoever does not say it is no rank.
typedef struct { char program[8]; int32_t rank, world, is_life; } Hello;
static Hello hello(int is_life) {
    Hello h = { { 0 }, ranks.rank, ranks.world, is_life };
    memcpy(h.program, "OLMo in C", sizeof h.program);
    return h;
}
static int hears_hello(int line, Hello *h) {
    const Hello ours = hello(0);
    const ssize_t n = recv(line, h, sizeof *h, MSG_WAITALL);
    return n == (ssize_t)sizeof *h && !memcmp(h->program, ours.program, sizeof ours.program);
}

// Rank 0 takes two sockets from each of the others. Whoever else knocks is sent away.
static void receive_ranks(int door, int port) {
    const double begun = seconds();
    for (int there = 0; there < 2*(ranks.world - 1); ) {
        struct pollfd wait = { door, POLLIN, 0 };
        const double left = begun + patience - seconds();
        CHECK(left > 0, "only %d of %d ranks have come to port %d within %d seconds; have all been started, "
              "with this machine's address in MASTER_ADDR?", 1 + there/2, ranks.world, port, patience);
        if (poll(&wait, 1, (int)(1000*left) + 1) <= 0) continue;
        const int line = accept4(door, NULL, NULL, SOCK_CLOEXEC);
        Hello h, ours = hello(0);
        if (line < 0) continue;
        be_patient(line, 0.1);                              // it has come with its first bytes
        if (!hears_hello(line, &h)) { close(line); continue; }
        (void)send(line, &ours, sizeof ours, MSG_NOSIGNAL);
        CHECK(h.world == ranks.world && h.rank > 0 && h.rank < ranks.world,
              "rank %d of %d has come to port %d, where ranks of %d meet; has another run this MASTER_PORT?",
              h.rank, h.world, port, ranks.world);
        int *const known = h.is_life ? &life[h.rank] : &talk[h.rank];
        CHECK(!*known, "two processes are rank %d of %d; each must have a rank of its own", h.rank, h.world);
        be_patient(line, 0);
        *known = line;
        there++;
    }
    close(door);
}

// Returns a socket to rank 0, if this address leads to it; else -1, and in *reason why not.
static int try_address(const struct addrinfo *at, int is_life, const char **reason) {
    Hello h, ours = hello(is_life);
    const int line = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    be_patient(line, imin(10, patience));                   // connect would wait for two minutes
    const int reached = connect(line, at->ai_addr, at->ai_addrlen) == 0;
    *reason = reached ? "something else is there" : errno == EINPROGRESS ? "no answer" : strerror(errno);
    be_patient(line, patience);
    if (!reached || send(line, &ours, sizeof ours, MSG_NOSIGNAL) < 0 || !hears_hello(line, &h)) {
        close(line);
        return -1;
    }
    CHECK(h.world == ranks.world,
          "at MASTER_PORT ranks of %d meet, not of %d; is that another run's?", h.world, ranks.world);
    be_patient(line, is_life ? patience : 0);
    return line;
}

// The others go to rank 0, whose name may have several addresses. At first it may not be there yet. When
// they come with their second socket it has been there: if it is not there any more, it has ended.
static int reach_rank_0(const char *host, int port, int is_life) {
    const int most = is_life ? 1 : patience;
    const struct addrinfo kind = { 0, AF_UNSPEC, SOCK_STREAM, 0, 0, NULL, NULL, NULL };
    char digits[16];
    const char *reason = "";
    snprintf(digits, sizeof digits, "%d", port);
    for (const double begun = seconds(); seconds() - begun < most; usleep(100000)) {
        struct addrinfo *all = NULL;
        const int unknown = getaddrinfo(host, digits, &kind, &all);
        int line = -1;
        if (unknown) reason = gai_strerror(unknown);
        for (struct addrinfo *at = all; at && line < 0; at = at->ai_next)
            line = try_address(at, is_life, &reason);
        if (all) freeaddrinfo(all);
        if (line >= 0) return line;
    }
    die("rank %d of %d: rank 0 is not to be found at %s:%d (%s); MASTER_ADDR and MASTER_PORT say where it is",
        ranks.rank, ranks.world, host, port, reason);
}

// door: where rank 0 waits; -1 for the others. From here on all share one fate, and rank 0 speaks for them.
static void ranks_meet(int door, const char *host, int port) {
    pthread_t watching;
    if (ranks.rank == 0) {
        last_words = send_last_words;
        receive_ranks(door, port);
    } else {
        talk[0] = reach_rank_0(host, port, 0);
        life[0] = reach_rank_0(host, port, 1);
        last_words = send_last_words;
    }
    CHECK(pthread_create(&watching, NULL, watch, NULL) == 0, "no thread can be started");
    if (ranks.rank) {                                       // only rank 0 is heard
        const int nowhere = open("/dev/null", O_WRONLY);
        error_output = dup(2);
        fflush(stdout);
        dup2(nowhere, 1);
        dup2(nowhere, 2);
        close(nowhere);
    }
}

// Ends a run that went well: all ranks have done their work.
static void ranks_part(void) {
    if (ranks.world == 1) return;
    __atomic_store_n(&leaving, 1, __ATOMIC_SEQ_CST);
    ranks_wait();
}

// ---- launching them ----------------------------------------------------------------------------
static pid_t child[MAX_RANKS];                              // 0: it has ended
static void on_parents_signal(int number) {
    for (int r = 0; r < MAX_RANKS; r++) if (child[r]) kill(child[r], number == SIGALRM ? SIGKILL : number);
}

// Waits for all ranks, passing signals on; those that outlive another's failure by ten seconds are killed.
// Returns the exit code of the run.
static int wait_for_ranks(int n) {
    const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGALRM };
    int failed = 0, said = 0, killed = 0, killed_by = 0, status;
    for (int i = 0; i < 4; i++)
        if (signal(numbers[i], on_parents_signal) == SIG_IGN) signal(numbers[i], SIG_IGN);
    for (int left = n; left > 0; ) {
        const pid_t ended = waitpid(-1, &status, 0);
        if (ended < 0 && errno == EINTR) continue;
        int r = 0;
        while (r < n && child[r] != ended) r++;
        if (r == n) continue;                               // a child of the shell that we were
        child[r] = 0;
        left--;
        if (status == 0) continue;
        if (!failed++) alarm((unsigned)imin(10, patience));
        if (WIFEXITED(status) && r <= 1) said = 1;          // end_of_run
        else if (WIFSIGNALED(status) && !killed_by) {
            killed = r;
            killed_by = WTERMSIG(status);
        }
    }
    if (failed && !said)
        fprintf(stderr, "error: rank %d of %d was ended by signal %d (%s)\n", killed, n, killed_by,
                strsignal(killed_by));
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

// --gpus N: forks the ranks, each of which returns; this process only waits for them. (No device has been
// touched yet: CUDA does not survive a fork.)
static void ranks_fork(int n) {
    int port = 0;
    const int door = listen_at(0, &port);
    const pid_t parent = getpid();
    for (int r = 0; r < n; r++) {
        const pid_t pid = fork();
        CHECK(pid >= 0, "--gpus %d: a process cannot be started: %s", n, strerror(errno));
        child[r] = pid;
        if (pid) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);                   // no rank outlives its parent
        if (getppid() != parent) _exit(EXIT_FAILURE);
        ranks.rank = ranks.local = r;
        ranks.world = n;
        ranks.forked = 1;
        omp_set_num_threads(imax(1, omp_get_max_threads()/n));
        if (r) close(door);
        ranks_meet(r ? -1 : door, "127.0.0.1", port);
        return;
    }
    close(door);
    exit(wait_for_ranks(n));
}

// Returns a whole number in the environment, or -1: it is not there.
static int environment(const char *name, int least, int most) {
    const char *text = getenv(name);
    char *end;
    if (!text || !*text) return -1;
    const long x = strtol(text, &end, 10);
    CHECK(!*end && x >= least && x <= most, "%s=%s: expected a whole number from %d to %d", name, text, least,
          most);
    return (int)x;
}

// Starts the ranks, or finds out which one this is. They meet, and compare their programs and options.
static void ranks_start(Options *o, const Device *device) {
    // SLURM_NTASKS would not do: a job's script has it as well, and only what srun starts there is a rank.
    static const char *const names[][3] = {
        { "RANK", "WORLD_SIZE", "LOCAL_RANK" },             // torchrun
        { "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK" },   // Open MPI
        { "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID" },      // MPICH, Intel MPI
        { "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID" },        // srun
    };
    const int gpus = o->gpus;
    CHECK(gpus <= MAX_RANKS, "--gpus %d: expected at most %d", gpus, MAX_RANKS);
    CHECK(gpus < 2 || !device->alone, "--gpus %d: %s", gpus, device->alone);
    if (gpus > 1) ranks_fork(gpus);
    for (int i = 0; i < 4 && !gpus && ranks.world == 1; i++) {
        const int world = environment(names[i][1], 1, MAX_RANKS);
        if (world < 2) continue;
        ranks.world = world;
        ranks.rank = environment(names[i][0], 0, world - 1);
        CHECK(ranks.rank >= 0, "%s=%d, but there is no %s; --gpus 1 is a run of its own", names[i][1], world,
              names[i][0]);
        ranks.local = -1;                                   // srun --mpi=pmi2 sets PMI_RANK and SLURM_LOCALID
        for (int k = i; k < 4 && ranks.local < 0; k++) ranks.local = environment(names[k][2], 0, MAX_RANKS);
        if (ranks.local < 0) ranks.local = ranks.rank;
    }
    if (ranks.world == 1) return;
    CHECK(!device->alone, "rank %d of %d: %s; --gpus 1 makes each a run of its own", ranks.rank, ranks.world,
          device->alone);
    if (!ranks.forked) {
        const char *host = getenv("MASTER_ADDR"), *taken = getenv("TORCHELASTIC_USE_AGENT_STORE");
        int port = environment("MASTER_PORT", 1, 65534);
        if (port < 0) port = 29500;
        if (taken && !strcmp(taken, "True")) port++;        // torchrun itself waits at MASTER_PORT
        ranks_meet(ranks.rank ? -1 : listen_at(1, &port), host ? host : "127.0.0.1", port);
    }
    list_options(o);
    ranks_must_agree();
}
