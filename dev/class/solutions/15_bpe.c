// Exercise 15, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: the leftmost pair is merged first, whatever its rank
// WRONG 2: only the last place of a pair is merged before all ranks are looked at again
// WRONG 3: pairs are found from right to left (aaa becomes a, aa)
// WRONG 4: a merged token takes part in the same round again (aaa becomes one too many)
// WRONG 5: the largest rank is merged first
// WRONG 6: the last pair is not looked at
// WRONG 7: the result keeps its old length
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

int bpe_merge(int *ids, int n, const int *left, const int *right, const int *merged, int merges) {
    for (int round = 0; ; round++) {                        // (only a wrong solution needs the round)
        int best = -1, kept = 0, only = -1;
        for (int i = 0; i + 1 < n - (WRONG == 6); i++)
            for (int r = 0; r < merges; r++) {
                if (ids[i] != left[r] || ids[i + 1] != right[r]) continue;
                if (WRONG == 1 ? best < 0 : WRONG == 5 ? r > best : best < 0 || r < best) best = r, only = i;
            }
        if (best < 0) return n;
        if (WRONG == 2) for (int i = 0; i + 1 < n; i++) {
            if (ids[i] == left[best] && ids[i + 1] == right[best]) only = i;
        }
        int length = n;
        for (int i = 0; i < length; kept++) {
            int pair = i + 1 < length && ids[i] == left[best] && ids[i + 1] == right[best];
            if (WRONG == 2) pair = pair && i == only;
            // a run of equal ids: an odd one comes first
            if (WRONG == 3 && pair && left[best] == right[best]) {
                int run = 1;
                while (i + run < length && ids[i + run] == ids[i]) run++;
                pair = run % 2 == 0;
            }
            int again = WRONG == 4 && !pair && kept > 0 && ids[kept - 1] == merged[best]
                && ids[i] == left[best];
            if (again) { i++, kept--; continue; }
            ids[kept] = pair ? merged[best] : ids[i];
            i += 1 + pair;
        }
        n = WRONG == 7 ? n : kept;
        if (WRONG == 7 && round > merges) return n;
    }
}
