// Ladder: causal attention, forward, B = 4, T = 2,048, 16 heads of 128, bf16.      What is it
// waiting for? First for memory (T x T numbers that nobody wants), in the end for the tensor cores.
//
//   rung 1  a warp per query, keys one after the other: a T x T matrix is never stored, but each
//   key is read once per query, and
//           nothing is multiplied on tensor cores ("online softmax": the mixture is rescaled when a
//           larger score comes)
//   rung 2  train_olmo.cu on any card: tiles of 256 queries; their scores by a library product,
//   softmax, another product rung 3  train_olmo.cu on Hopper: one kernel; tiles of keys and values
//   come by the copy engine while the tensor cores
//           multiply the last ones, and the scores never leave the registers (after
//           FlashAttention-2 and -3: Dao 2023, 2024)
//
// Operations: 4 B H D T T/2. What would you try next? Reading rung 3: train_olmo.cu, section 5.

static __global__ void attention_rung1(elem *att, const elem *qkv, int T, int H, int D, int Q) {
    const int t = (blockIdx.x*blockDim.x + threadIdx.x)/32, lane = threadIdx.x % 32, h = blockIdx.y,
        b = blockIdx.z;
    if (t >= T) return;
    const elem *rows = qkv + (size_t)b*T*Q, *k = rows + (H + h)*D, *v = k + H*D;
    float q[4], out[4] = {}, most = -INFINITY, sum = 0;     // D = 128: four numbers per lane
    for (int i = 0; i < 4; i++) q[i] = (float)rows[(size_t)t*Q + h*D + lane*4 + i]/sqrtf((float)D);
    for (int j = 0; j <= t; j++) {
        float s = 0, x[4];
        load(x, k + (size_t)j*Q + lane*4);
        for (int i = 0; i < 4; i++) s += q[i]*x[i];
        s = warp_sum(s);
        const float now = fmaxf(most, s), p = __expf(s - now), shrink = __expf(most - now);
        load(x, v + (size_t)j*Q + lane*4);
        for (int i = 0; i < 4; i++) out[i] = out[i]*shrink + p*x[i];
        sum = sum*shrink + p;
        most = now;
    }
    for (int i = 0; i < 4; i++) out[i] /= sum;
    store(att + ((size_t)b*T + t)*H*D + h*D + lane*4, out);
}

static void attention_ladder() {
    enum { B = 4, T = 2048, H = 16, D = 128, Q = 3*H*D };
    elem *qkv = on_card<elem>((size_t)B*T*Q), *att = on_card<elem>((size_t)B*T*H*D);
    float *lse = on_card<float>((size_t)B*H*T);
    char *work = on_card<char>(attention_work(B, T, H, H, D, 0));
    AttentionWork unused;
    char *tiles = on_card<char>(attention_layout(&unused, NULL, T, T, H, D, 0));
    std::vector<float> host = fill(qkv, (size_t)B*T*Q, 1, 10), right((size_t)T*H*D), l((size_t)H*T);
    std::vector<float> scratch(attention_forward_work(T));
    // the CPU's
    attention_forward(right.data(), l.data(), scratch.data(), host.data(), Q, host.data() + H*D, Q, 1,
        T, 0, H, H, D);
    const double operations = 4.0*B*H*D*T*T/2;
    auto line = [&](const char *what, const std::function<void()> &run) {
        CUDA(cudaMemset(att, 255, sizeof(elem)*B*T*H*D));
        const float ms = milliseconds(run);
        rung(what, ms, 0, operations, distance(att, right), 6e-3);
    };
    ladder("attention: B 4, T 2048, 16 heads of 128, causal, bf16");
    line("1  a warp per query", [&] { attention_rung1<<<dim3(T/8, H, B), 256, 0, card.stream>>>(att,
        qkv, T, H, D, Q); });
    line("2  train_olmo.cu, any card: tiles", [&] {
        attention_forward_tiles(att, lse, tiles, qkv, Q, qkv + H*D, Q, B, T, 0, H, H, D, card.stream);
    });
    if (on_hopper(D)) line("3  train_olmo.cu, Hopper: one kernel", [&] {
        attention_forward(att, lse, work, qkv, Q, qkv + H*D, Q, B, T, 0, H, H, D, card.stream);
    });
    for (void *p : { (void *)qkv, (void *)att, (void *)lse, (void *)work,
        (void *)tiles }) gpu_release(p);
}
