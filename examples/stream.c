/* Runs a saved network from C: no Python, no PyTorch.

   cmake -S . -B build/c -DUNSPOOL_C=ON && cmake --build build/c
   build/c/stream DIR < inputs > outputs

   Each line of the input is one step: I numbers, or a token; each line of the output has the network's O numbers;
   a network with a stride of s has a line for the first step, and for every s-th after it. */
#include <stdio.h>
#include <stdlib.h>

#include "unspool.h"

static int step(unspool_stream* stream, float* x, float* y, char* error, size_t size) {
    long long token;
    int64_t i, inputs = unspool_inputs(stream);
    if (unspool_tokens(stream)) {
        if (scanf("%lld", &token) != 1) return 2;
        return unspool_step_token(stream, token, y, error, size);
    }
    for (i = 0; i < inputs; i++)
        if (scanf("%f", &x[i]) != 1) return 2;
    return unspool_step(stream, x, y, error, size);
}

int main(int argc, char** argv) {
    char error[256] = "usage: stream DIR < inputs > outputs";
    unspool_stream* stream = argc == 2 ? unspool_load(argv[1], error, sizeof error) : NULL;
    int status = -1;
    if (stream) {
        int64_t outputs = unspool_outputs(stream), o;
        float *x = malloc(sizeof *x * (size_t)unspool_inputs(stream)), *y = malloc(sizeof *y * (size_t)outputs);
        while ((status = step(stream, x, y, error, sizeof error)) == 0 || status == 1)
            for (o = 0; status == 0 && o < outputs; o++) printf("%.9g%c", y[o], o + 1 < outputs ? ' ' : '\n');
        free(x);
        free(y);
        unspool_free(stream);
    }
    if (status < 0) fprintf(stderr, "%s\n", error);
    return status < 0 ? 2 : 0;
}
