// Ladder: causal attention, forward, B = 4, T = 2,048, 16 heads of 128, bf16.
// What is it waiting for? First for memory, in the end for the tensor cores.
//
//   rung 1  a warp per query, keys one after the other: a T x T matrix is never stored, but each
//           key is read once per query, and nothing is multiplied on tensor cores (the mixture is
//           rescaled when a larger score comes: "online softmax")
//   rung 2  train_olmo.cu on any card: tiles of 256 queries; their scores by a library product,
//           softmax, another product
//   rung 3  train_olmo.cu on Hopper: one kernel; tiles of keys and values come by the copy engine
//           while the tensor cores multiply the last ones, and the scores never leave the registers
//           (after FlashAttention-2 and -3: Dao 2023, 2024)
//
// On an H100 (80 GB, HBM3; CUDA 13.0; copies 3.00 TB/s, product of 8192^3 763 TFLOP/s), milliseconds:
//     rung 1   rung 2   rung 3             at the product's rate    PyTorch 2.11: flash, cuDNN
//     14.376    1.190    0.125                    0.090             0.291, 0.186
//
// Operations: 4 B H D T T/2. What would you try next? Reading rung 3: train_olmo.cu, section 5.

// D = 128: a lane holds four numbers of the query, and of its mixture.
static __global__ void attention_rung1(elem *att, const elem *qkv, int T, int H, int Q) {
    enum { D = 128, W = D/32 };
    const int t = (blockIdx.x*blockDim.x + threadIdx.x)/32, first = threadIdx.x % 32*W;
    const int h = blockIdx.y, b = blockIdx.z;
    if (t >= T) return;
    const elem *rows = qkv + (size_t)b*T*Q, *k = rows + (H + h)*D, *v = k + H*D;
    float q[W], out[W] = {}, x[W], most = -INFINITY, sum = 0;
    load(q, rows + (size_t)t*Q + h*D + first);
    for (int j = 0; j <= t; j++) {
        float score = 0;
        load(x, k + (size_t)j*Q + first);
        for (int i = 0; i < W; i++) score += q[i]*x[i];
        score = warp_sum(score)/sqrtf(D);
        const float now = fmaxf(most, score), p = __expf(score - now), shrink = __expf(most - now);
        load(x, v + (size_t)j*Q + first);
        for (int i = 0; i < W; i++) out[i] = out[i]*shrink + p*x[i];
        sum = sum*shrink + p;
        most = now;
    }
    for (int i = 0; i < W; i++) out[i] /= sum;
    store(att + ((size_t)b*T + t)*H*D + h*D + first, out);
}

static void attention_ladder() {
    enum { B = 4, T = 2048, H = 16, D = 128, Q = 3*H*D };
    const size_t size = (size_t)B*T*H*D;
    elem *qkv = on_card<elem>((size_t)B*T*Q), *att = on_card<elem>(size);
    float *lse = on_card<float>((size_t)B*H*T);
    AttentionWork unused;
    char *tiles = on_card<char>(attention_layout(&unused, NULL, T, T, H, D, 0));
    char *work = on_card<char>(attention_work(B, T, H, H, D, 0));
    std::vector<float> host = fill(qkv, (size_t)B*T*Q, 1, 10), right((size_t)T*H*D);
    std::vector<float> host_lse((size_t)H*T), scratch(attention_forward_work(T));
    attention_forward(right.data(), host_lse.data(), scratch.data(), host.data(), Q, host.data() + H*D,
                      Q, 1, T, 0, H, H, D);                         // the CPU's, of the first sequence

    Ladder ladder = { "attention: B 4, T 2048, 16 heads of 128, causal, bf16", 0,
                      4.0*B*H*D*T*T/2, 6e-3 };
    ladder.restore = [&] { poison(att, size); };
    ladder.error = [&] { return distance(att, right); };
    ladder.rung("1  a warp per query", [&] {
        attention_rung1<<<dim3(T/8, H, B), 256, 0, card.stream>>>(att, qkv, T, H, Q);
    });
    ladder.rung("2  train_olmo.cu, any card: tiles", [&] {
        card.plain_attention = 1;
        attention_forward(att, lse, tiles, qkv, Q, qkv + H*D, Q, B, T, 0, H, H, D, card.stream);
        card.plain_attention = 0;
    });
    if (on_hopper(D)) ladder.rung("3  train_olmo.cu, Hopper: one kernel", [&] {
        attention_forward(att, lse, work, qkv, Q, qkv + H*D, Q, B, T, 0, H, H, D, card.stream);
    });
    gpu_release(qkv), gpu_release(att), gpu_release(lse), gpu_release(tiles), gpu_release(work);
}
