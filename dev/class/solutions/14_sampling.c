// Exercise 14, solved, and wrongly solved: -DWRONG=k builds a solution with one mistake.
// WRONG 1: logits are multiplied by the temperature
// WRONG 2: top_k is ignored
// WRONG 3: top_p is ignored
// WRONG 4: top_p keeps one candidate too few
// WRONG 5: top_p is taken of all probabilities, not of what top_k left
// WRONG 6: the largest logit is not subtracted before exp
// WRONG 7: what is left is not normalized again
// WRONG 8: temperature 0 takes the last of the sorted candidates
// WRONG 9: of equal logits, the larger id comes first
#include <math.h>

#ifndef REAL
#define REAL float
#endif
#ifndef WRONG
#define WRONG 0
#endif
typedef REAL real;

int sample_top(const real *logits, int V, double temperature, int top_k, double top_p, double u) {
    int id[512], n = top_k > 0 && top_k < V && WRONG != 2 ? top_k : V, top = 0;
    double p[512], total = 0, all = 0, kept = 0, sum = 0;
    for (int v = 0; v < V; v++) id[v] = v;
    // the largest first; equal ones by id
    for (int i = 0; i < V; i++) for (int j = i + 1; j < V; j++) {
        int a = id[i], b = id[j], first = WRONG == 9 ? b > a : b < a;
        if (logits[b] > logits[a] || (logits[b] == logits[a] && first)) id[i] = b, id[j] = a;
    }
    if (temperature == 0) return id[WRONG == 8 ? V - 1 : 0];
    double best = WRONG == 6 ? -700*temperature : logits[id[0]];
    double scale = WRONG == 1 ? temperature : 1/temperature;
    for (int i = 0; i < V; i++) {
        p[i] = exp((logits[id[i]] - best)*scale);
        all += p[i];
        if (i < n) total += p[i];
    }
    if (WRONG == 3) top = n;
    else while (top < n && kept < top_p*(WRONG == 5 ? all : total)) kept += p[top++];
    if (WRONG == 3) kept = total;
    if (WRONG == 4 && top > 1 && top_p < 1) kept -= p[--top];
    for (int i = 0; i < top; i++) if ((sum += p[i]) >= u*(WRONG == 7 ? all : kept)) return id[i];
    return id[top - 1];
}
