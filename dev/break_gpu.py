#!/usr/bin/env python3
"""Breaks train_olmo.cu by hand, one fault at a time, and asks make test-gpu's programs whether they notice.

    dev/break_gpu.py                   all of them, on a machine with a GPU and nvcc; about ten minutes
    dev/break_gpu.py --list            what they are        dev/break_gpu.py hopper rope     those whose name has one of these words
    dev/break_gpu.py --on-cpu          without a card: dev/cuda_on_cpu runs the kernels, on three cards as well; Hopper's are left out

Faults in kernels are not those that dev/mutate.py draws in C: a barrier that is missing, a buffer that is overwritten
too early, a weight that was not cast again, the last partial tile. So these were chosen by hand, each a mistake that
somebody makes. Every fault is built in a copy of the repository, many at a time; then the tests run one after the other
on the card until one is red, or hangs, which is as good. The exit code is the verdict: 1 if one survives.

A missing barrier may do no harm on the card at hand: a fault that only races is marked so, and may survive.
"""
import argparse, concurrent.futures, os, shutil, subprocess, sys, tempfile, time

HANGS = 30      # seconds; no test takes that long on a card
RACES = "races"
# name, the text it replaces, what it puts there, and whether it only races
FAULTS = [
    ("embed backward: the last place of a token", "for (int i = first; i < end; i++) {", "for (int i = first; i < end - 1; i++) {"),
    ("norm forward: another epsilon", "squares)/C + 1e-5f", "squares)/C + 1e-6f"),
    ("norm backward: the part along y", "avg - out[w]*avg_y", "avg"),
    ("block_sum: no barrier behind the writes", "    if (lane == 0) part[warp] = x;\n    __syncthreads();\n", "    if (lane == 0) part[warp] = x;\n"),
    ("block_sum: no barrier before the writes", "    __syncthreads();                                    // the previous call's readers are done with part\n", "", RACES),
    ("clip: its gradient passes everywhere", "if (i < count && !pass[i])", "if (i < count && pass[i] > 1)"),
    ("rope: positions run on into the next sequence", "(past ? past[n/T] : 0) + n % T", "(past ? past[n/T] : 0) + n"),
    ("swiglu backward: sigma taken for a constant", "*sigma*(1 + z[w]*(1 - sigma))", "*sigma"),
    ("recompute: q, k, v and attention of another layer", "    if (a->recompute >= BLOCK) attend(", "    if (a->recompute > BLOCK) attend("),
    ("recompute: up and gate of another layer", "    if (a->recompute >= GATE_UP) matmul_forward(", "    if (a->recompute > GATE_UP) matmul_forward("),
    ("recompute: every layer has one h", "if (a->recompute == NOTHING) take(s->h, arena, N*F); else s->h = a->h;", "s->h = a->h;"),
    ("loss: the target is not taken away", "x[w] -= v + w == target ? weight : 0;", ";"),
    ("loss: z-loss without its factor 2", "(1 + 2*z*lse)", "(1 + z*lse)"),
    ("loss: ignored rows count", "weight = target < 0 ? 0 : weights[n]", "weight = weights[n]"),
    ("AdamW: the bf16 weight is stale", "        p.at[w] = upper(now);\n", ""),
    ("AdamW: the lower half is stale (bf16)", "        low.at[w] = lower(now);\n", ""),
    ("export: weights cut off, not rounded (bf16)", "((__float_as_uint(p) + 0x8000) >> 16)", "(__float_as_uint(p) >> 16)"),
    ("AdamW: no clipping", "grad[w] *= clip->factor;", ""),
    ("norm of the gradients: wrong stride", "i += NORM_PARTIALS*256)", "i += NORM_PARTIALS*255)"),
    ("dW: the second micro-batch overwrites the first", "O, C, N, add, stream);", "O, C, N, 0, stream);"),
    ("products: beta is always 0", "beta = plan->product.add ? 1.0f : 0.0f", "beta = 0.0f"),
    ("products: the clock chooses among all proposals", "alike[i] &= hash == first;", ""),
    ("products: their bits are compared in half of c", "(const unsigned short *)c, bytes/2);", "(const unsigned short *)c, bytes/4);"),
    ("products: a proposal that fails counts", "multiply(plan, &proposal[i].algo, c, x, x, stream) == CUBLAS_STATUS_SUCCESS;", "(multiply(plan, &proposal[i].algo, c, x, x, stream), 1);"),
    ("attention in tiles: dk and dv of the last tile alone", "add = seen < T || member > 0;", "add = member > 0;"),
    ("attention in tiles: the mask is one late", "    const int t = t0 + blockIdx.x, n = t + 1,", "    const int t = t0 + blockIdx.x, n = t + 2,"),
    ("attention of one query: no barrier", "score[key] = key < count ? scale*dot : -INFINITY;\n    __syncthreads();",
     "score[key] = key < count ? scale*dot : -INFINITY;"),
    ("attention of one query: splits combined unscaled", "sum += share*s[k], o += share*v[k];", "sum += share*s[k], o += v[k];"),
    ("attention of one query: sums do not shrink under a new maximum", "sum *= shrink, o *= shrink, most = now;", "most = now;"),
    ("attention of one query: a last round takes a split twice", "m[k] = i + k < splits ? at[0] : -INFINITY", "m[k] = at[0]"),
    ("attention of one query: a missing key counts", "score[key] = key < count ? scale*dot : -INFINITY;", "score[key] = scale*dot;"),
    ("KV cache: every token at its start", "cache + (size_t)(*past + n)*(Q - first*D)", "cache + (size_t)n*(Q - first*D)"),
    ("KV cache: keys without values", "(cache && head >= first)", "(cache && head >= first && head < heads)"),
    ("one row: the row is read before it is there", "    wait_for_inputs();\n    UNROLL for (int k = 0; k < AHEAD; k++) x[k]", "    UNROLL for (int k = 0; k < AHEAD; k++) x[k]", RACES),
    ("one row: one buffer of sums for two outputs", "&part)[8] = parts[turn];", "&part)[8] = parts[0];", RACES),
    ("one row: weights of the next output but one", "next += stride, row += (size_t)stride*C;", "next += stride, row += 2*(size_t)stride*C;"),
    ("one row: later pieces meet the row's first", "if (C > AHEAD*STEP) UNROLL", "if (C < 0) UNROLL"),
    ("one row: up and gate change places", "if (gated) total *= gate/(1 + exponential(-gate));", "if (gated) total = gate*total/(1 + exponential(-total));"),
    ("decode: the norm does not wait for the products before it", "norm_forward_kernel(elem *y, float *rstd, const float *x, int C) {\n    wait_for_inputs();\n", "norm_forward_kernel(elem *y, float *rstd, const float *x, int C) {\n"),
    ("decode: splits are combined before they are there", "    wait_for_inputs();\n    const float *in = partial", "    const float *in = partial"),
    ("decode: the graph of the first token for all", "    to_card(a->positions, &past, 1);\n", "    if (n > 1) to_card(a->positions, &past, 1);\n"),
    ("decode: logits after the first token", "a->x + (size_t)(n - 1)*C", "a->x"),
    ("attention in a tree: sums do not shrink", "o[w] = o[w]*shrink + p*v[w]", "o[w] += p*v[w]"),
    ("attention in a tree: heads read another group's keys", "(H + h/(H/G))*D", "(H + h % G)*D"),
    ("attention in a tree: every text goes on from the one before", "before[n] = p > 0 ? latest[p - 1] : -1;", "before[n] = p > 0 ? n - 1 : -1;"),
    ("tree: tokens stand at their rows' numbers", "cache || before ? a->positions", "cache ? a->positions"),
    ("head without training: losses stay in front", "    if (!m->training) put_back(p->place, losses, zlosses, asked, N);\n", ""),
    ("head without training: the second chunk is the first again", "embed_forward(a->h, a->tokens + n, a->xnf", "embed_forward(a->h, a->tokens, a->xnf"),
    ("head: a later chunk's gradient overwrites the first one's", "const int add = n > 0 || adds_to_grads(m);", "const int add = adds_to_grads(m);"),
    ("head: every chunk has the first one's weights", "dlogits, target, a->weights + n, c->z_loss", "dlogits, target, a->weights, c->z_loss"),
    ("head: float logits need the room of two", "m->training && !weights ? a->head_rows/2 : a->head_rows", "a->head_rows"),
    ("AdamW: the embedding never decays", "*decaying = decays(t, decay_embeddings);", "*decaying = decays(t, 0);"),
    ("AdamW: --clip 0 clips everything away", "    if (limit > 0) clip.factor", "    clip.factor"),
    ("AdamW: updates though the norm is not finite", "if (i >= count || !clip->finite) return;", "if (i >= count) return;"),
    ("attention in tiles: more key heads than are left", "const int heads = imin(w.heads, G - g), h = g*group", "const int heads = w.heads, h = g*group"),
    ("attention in tiles: dk and dv of the first key head alone", "launch(keys_values_kernel, dim3(T, heads)", "launch(keys_values_kernel, dim3(T, 1)"),
    ("decode: the graph is kept when memory moves", "        graph_drop(m);\n        gpu_release(m->arena);", "        gpu_release(m->arena);"),
    ("recompute: with gate-up h is not made again", "a->recompute >= SWIGLU ? s->h : NULL", "a->recompute == SWIGLU ? s->h : NULL"),
    ("offload: freed as the card's own", "(m->offload ? host_release : gpu_release)(p);", "gpu_release(p);"),
    ("ranks: a buffer is filled before it is reduced", "    if (shards_gradients()) computing_waits(talking.reduced[buffer_of(m, k)]);\n", ""),
    ("ranks: waits for the other buffer", "computing_waits(talking.reduced[buffer_of(m, k)]);", "computing_waits(talking.reduced[(k + 1) % 2]);"),
    ("ranks: updates before all is reduced", "    if (ranks.world > 1) computing_waits(talking.reduced[buffer_of(model, 0)]);", "    if (ranks.world > 1) computing_waits(talking.reduced[1]);"),
    ("ranks: reads weights that are on their way", "    if (m->gathering) computing_waits(talking.gathered[k]);", ""),
    ("ranks: waits for the weights of the segment before", "computing_waits(talking.gathered[k]);", "computing_waits(talking.gathered[k ? k - 1 : 0]);"),
    ("ranks: weights count as gathered too early", "    all_gather(m->weights + m->segments.begin[k], cut_of(&m->segments, k));\n    CUDA(cudaEventRecord(talking.gathered[k], talking.stream));\n",
     "    CUDA(cudaEventRecord(talking.gathered[k], talking.stream));\n    all_gather(m->weights + m->segments.begin[k], cut_of(&m->segments, k));\n"),
    ("ranks: the last weights are not gathered", "        gather_weights(model, k);\n    }\n    to_host(&clip", "        if (k + 1 < model->segments.n) gather_weights(model, k);\n    }\n    to_host(&clip"),
    ("ranks: reduces before it has computed", "    talking_waits();\n    reduce_scatter(x, cut);", "    reduce_scatter(x, cut);", RACES),
    ("ranks: tied weights have no buffer of their own", "return k == 0 && m->config.tied ? 2 : k % 2;", "return k % 2;"),
    ("ranks: the head's part of a tied gradient is lost", "    if (!add && !c->tied) CUDA(cudaMemsetAsync(m->wte.grad", "    if (!add) CUDA(cudaMemsetAsync(m->wte.grad"),
    ("ranks: later passes overwrite the sum", "sum, x + cut.mine, !m->grads_used);", "sum, x + cut.mine, 0);"),
    ("ranks: a segment's rest goes to the first rank", "TALK(ncclReduce(tail, tail, c.rest, ncclFloat, ncclSum, ranks.world - 1,", "TALK(ncclReduce(tail, tail, c.rest, ncclFloat, ncclSum, 0,"),
    ("ranks: a segment is one too short", "s->begin[k + 1] - s->begin[k] - all };", "s->begin[k + 1] - s->begin[k] - all - 1 };"),
    ("ranks: each clips by its own norm", "    ranks_sum(&clip.squares, 1);\n", ""),
    ("hopper forward: the output overwrites q too early", "        group_sync(1 + w, WARPGROUP);                   // all four warps are done with q:\n", "", RACES),
    ("hopper forward: the output leaves before it is written", "        fence_async();\n        group_sync(1 + w, WARPGROUP);\n        if (t > 0 ||",
     "        if (t > 0 ||", RACES),
    ("hopper forward: the mask is one early", "col_of(j) > row + row_of(j)) sc[j]", "col_of(j) >= row + row_of(j)) sc[j]"),
    ("hopper: tiles are overwritten too early", "        bar_wait(&empty[n%N], n/N%2 ^ 1);\n", ""),
    ("hopper forward: keys are read before they land", "            s.of_k.wait(kv);                            // S", "            // S"),
    ("hopper forward: values are read before they land", "                s.of_v.wait(kv - 1);\n", ""),
    ("hopper forward: o is not rescaled", "            if (move) UNROLL for (int j = 0; j < D/2; j++) o[j] *= shrink[j/2%2];\n", ""),
    ("hopper forward: later warpgroups' keys are not skipped", "for (; i > diagonal; i--, kv++)", "for (; i > T; i--, kv++)"),
    ("hopper forward: lse of rows before the first", "query >= 0 && query < T", "query < T"),
    ("hopper forward: rows before the first are stored", "if (t > 0 || first < 0) continue;", "if (t > 0) continue;"),
    ("hopper forward: lse without the scale", "m[r]*scale + logf(l[r])", "m[r] + logf(l[r])"),
    ("hopper forward: all warpgroups store to the same rows", "x.b, first, x.head*D + j*PANEL)", "x.b, first - w*64, x.head*D + j*PANEL)"),
    ("hopper backward: keys are read before they land", "    bar_wait(&s.full_kv, 0);\n", ""),
    ("hopper backward: nobody waits for his turn", "else turn_wait(turns + at, x.block), bulk_add", "else bulk_add"),
    ("hopper backward: the diagonal does not wait for the sum", "            turn_wait(turns + at, x.block);\n            bar_expect", "            bar_expect"),
    ("hopper backward: dS leaves without a fence", "        fence_async();\n        group_sync(1, 2*WARPGROUP);                     // both",
     "        group_sync(1, 2*WARPGROUP);                     // both", RACES),
    ("hopper backward: dS is read before it is written", "        group_sync(1, 2*WARPGROUP);                     // both warpgroups' dS^T is in place\n", ""),
    ("hopper backward: pairs meet before they are written", "    group_sync(1, 2*WARPGROUP);                             // both halves are there\n", ""),
    ("hopper backward: bf16 over sums still to be read", "    group_sync(1, 2*WARPGROUP);                             // both have read them\n", ""),
    ("hopper backward: turns of the last launch", "    if (row%64 == 0) turns[row/64] = 0;\n", ""),
    ("hopper backward: tickets of the last launch", "    if (i == 0) *tickets = 0;\n", ""),
    ("hopper backward: turned the wrong way", "b[0] = b[0]*cosine.x - a[0]*sine.x,", "b[0] = b[0]*cosine.x + a[0]*sine.x,"),
    ("hopper backward: dq is read while it is computed", "mma_wait<1>(dq); ", "mma_wait<2>(dq); ", RACES),
    ("hopper backward: the last block of keys starts first", "return {head/heads, head%heads, rest/size};", "return {head/heads, head%heads, blocks - 1 - rest/size};"),
    ("hopper backward: a second query head starts in the middle", "left = tiles - 1 - first;      // the next", "left = tiles - 2 - first;      // the next"),
]


def run(command, directory, seconds):
    """Exit code and output; None if it took too long."""
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=seconds)
        return done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        return None, ""


def build(fault, number):
    """The test program with this fault, in its own copy; its directory, or a sentence."""
    directory = f"{work}/{number}"
    shutil.copytree(".", directory, symlinks=True, ignore=shutil.ignore_patterns(".*", "build", "out*"))
    os.makedirs(f"{directory}/build/test")
    text = open("train_olmo.cu").read()
    if fault and text.count(fault[1]) < 1:
        return "", f"train_olmo.cu has no longer: {fault[1]!r}"
    open(f"{directory}/train_olmo.cu", "w").write(text.replace(fault[1], fault[2], 1) if fault else text)
    code, said = run(["make", "-s", PROGRAM, f"GPU_ARCH={options.arch}", "CFLAGS=-O2 -march=x86-64-v3"], directory, 500)
    return (directory, "") if code == 0 else ("", f"does not compile: {said[-300:]}")


def judge(directory, name):
    """The name of the first red test, or None. The likeliest comes first."""
    tests = run(["./" + PROGRAM, "--list"], directory, HANGS)[1].split()
    tests = [test for test in tests if test != "gpu_out_of_memory"]      # starts the program many times, for no kernel's sake
    for test in sorted(tests, key=lambda test: "attention" in test and name.startswith(("hopper", "attention in tiles"))
                       or "ranks" in test and name.startswith("ranks"), reverse=True):
        code, said = run(["./" + PROGRAM, test], directory, 10*HANGS if options.on_cpu else HANGS)
        if code != 0:
            red = [line[6:] for line in said.splitlines() if line.startswith("FAIL")]
            return f"{test}: " + ("hangs" if code is None else red[0][:110] if red else (said.strip().splitlines() or [f"code {code}"])[-1][:110])
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", default=[""], help="only faults whose name has one of them")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--on-cpu", action="store_true", help="no card: run the kernels by dev/cuda_on_cpu")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2)))
    parser.add_argument("--arch", default="90a", help="GPU_ARCH of the Makefile")
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if any(word in fault[0] for word in options.words)
              and not fault[0].startswith("hopper" if options.on_cpu else "ranks")]
    PROGRAM = "test_olmo_on_cpu" if options.on_cpu else "test_olmo_cu"
    if options.list:
        print("\n".join(f[0] for f in chosen))
        sys.exit()
    work = tempfile.mkdtemp()
    survived, sound = [], 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        built = list(pool.map(build, [None] + chosen, range(len(chosen) + 1)))       # before the tests want the CPU
        for n, (fault, (directory, problem)) in enumerate(zip([None] + chosen, built)):
            name = fault[0] if fault else "nothing broken"
            red = problem or judge(directory, name)
            if fault is None and red:
                sys.exit(f"error: the tests are red before anything is broken: {red}")
            if fault is None:
                print("nothing broken: all tests pass", flush=True)
            elif problem:
                print(f"?         {name}: {problem}", flush=True)
                survived.append(fault)
            elif red:
                print(f"seen      {name}   ({red})", flush=True)
                sound += 1
            else:
                print(f"{'may be' if len(fault) > 3 else 'NOT'} seen  {name}", flush=True)
                survived.append(fault)
            shutil.rmtree(f"{work}/{n}", ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)
    serious = [f for f in survived if len(f) < 4]
    print(f"{sound} of {len(chosen)} seen, {len(survived) - len(serious)} races did no harm here, {len(serious)} not seen")
    sys.exit(1 if serious else 0)
