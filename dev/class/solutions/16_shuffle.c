// Exercise 16, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: the output is taken before the state moves on
// WRONG 2: the high half of a 64-bit number comes first
// WRONG 3: each 32-bit number takes a 64-bit number of its own
// WRONG 4: numbers are reduced by % instead of by mask and rejection
// WRONG 5: the loop goes upwards
// WRONG 6: the output is rotated to the left
// WRONG 7: index 0 takes a number, too
// WRONG 8: the mask is one bit too wide
// WRONG 9: the second half of a number is left over for the next call
#include <math.h>
#include <stdint.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

__extension__ typedef unsigned __int128 uint128;
typedef struct { uint128 state, inc; uint32_t spare; int has_spare; } Pcg64;

static uint64_t next64(Pcg64 *r) {
    const uint128 multiplier = (uint128)2549297995355413924u << 64 | 4865540595714422341u;
    uint128 before = r->state;
    r->state = r->state*multiplier + r->inc;
    uint128 s = WRONG == 1 ? before : r->state;
    uint64_t x = (uint64_t)(s >> 64) ^ (uint64_t)s;
    int turn = (int)(s >> 122);
    if (WRONG == 6) turn = -turn & 63;
    return x >> turn | x << (-turn & 63);
}

static uint32_t next32(Pcg64 *r) {
    if (r->has_spare && WRONG != 3) { r->has_spare = 0; return r->spare; }
    uint64_t x = next64(r);
    r->has_spare = 1;
    r->spare = (uint32_t)(WRONG == 2 ? x : x >> 32);
    return (uint32_t)(WRONG == 2 ? x >> 32 : x);
}

static uint32_t below_or_equal(Pcg64 *r, uint32_t most) {
    uint32_t mask = most, x;
    if (WRONG == 4) return next32(r) % (most + 1);
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    if (WRONG == 8) mask = mask << 1 | 1;
    do x = next32(r) & mask; while (x > most);
    return x;
}

void pcg64_shuffle(uint32_t *order, uint32_t n, uint64_t state_high, uint64_t state_low,
                   uint64_t inc_high, uint64_t inc_low) {
    Pcg64 r = { (uint128)state_high << 64 | state_low, (uint128)inc_high << 64 | inc_low, 0, 0 };
    static uint32_t left_over;
    static int is_left_over;
    if (WRONG == 9) r.spare = left_over, r.has_spare = is_left_over;
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t step = 1; step < n + (WRONG == 7); step++) {
        uint32_t i = WRONG == 5 ? step : n - step, j = below_or_equal(&r, i), swap = order[i];
        order[i] = order[j], order[j] = swap;
        if (WRONG == 7 && step == 1) (void)next32(&r);
    }
    left_over = r.spare, is_left_over = r.has_spare;
}
