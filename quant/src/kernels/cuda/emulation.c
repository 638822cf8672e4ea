// Runs the kernels beside this file on a CPU, thread after thread: cases come in on stdin, results go out on stdout.
// Built and driven by `tests.rs`, which says how a case is written.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define __global__
#define __device__

struct Index {
    unsigned int x, y;
};
static struct Index gridDim, blockDim, blockIdx, threadIdx;

#include "depthwise.cu"
#include "qkeras.cu"
#include "quantize.cu"

// Reads exactly as much as is needed, so that a sanitizer sees every access beyond it.
static void *read_bytes(size_t bytes)
{
    void *values = malloc(bytes);
    if (values == NULL || fread(values, 1, bytes, stdin) != bytes) {
        fprintf(stderr, "the case is cut short\n");
        exit(1);
    }
    return values;
}

static long long read_count(void)
{
    long long *read = read_bytes(sizeof *read);
    const long long count = *read;
    free(read);
    return count;
}

static float *unwritten(long long count)
{
    float *values = malloc((size_t)count * sizeof *values);
    for (long long i = 0; i < count; ++i) {
        // No case has such a result: what no thread writes is found.
        values[i] = 12345.0f;
    }
    return values;
}

static void write_all(float *values, long long count)
{
    fwrite(values, sizeof *values, (size_t)count, stdout);
    free(values);
}

#define EACH_THREAD(call)                                                                                      \
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)                                                 \
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)                                             \
            for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)                                     \
                for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x)                                 \
    call

static void run_depthwise(void)
{
    struct Extents *extents = read_bytes(sizeof *extents);
    const long long values = read_count(), weights = read_count(), biases = read_count(), outputs = read_count();
    float *x = read_bytes((size_t)values * sizeof *x);
    float *weight = read_bytes((size_t)weights * sizeof *weight);
    float *bias = read_bytes((size_t)biases * sizeof *bias);
    float *y = unwritten(outputs);
    EACH_THREAD(depthwise(x, weight, bias, y, *extents));
    free(extents);
    free(x);
    free(weight);
    free(bias);
    write_all(y, outputs);
}

static void run_quantize(void)
{
    const int output = (int)read_count();
    const long long channels = read_count(), values = read_count();
    struct Channel *grids = read_bytes((size_t)channels * sizeof *grids);
    float *x = read_bytes((size_t)values * sizeof *x);
    float *y = unwritten(values);
    if (channels == 1) {
        EACH_THREAD(quantize_tensor(x, y, values, *grids, output));
    } else {
        EACH_THREAD(quantize_channels(x, y, values, grids, values / channels, output));
    }
    free(grids);
    free(x);
    write_all(y, values);
}

static void run_qkeras(int backward)
{
    struct Map *map = read_bytes(sizeof *map);
    const int drawn = (int)read_count();
    const long long groups = read_count(), values = read_count();
    struct Found *found = read_bytes((size_t)groups * sizeof *found);
    float *x = read_bytes((size_t)values * sizeof *x);
    float *y = unwritten(values);
    if (backward) {
        float *gradient = read_bytes((size_t)values * sizeof *gradient);
        EACH_THREAD(qkeras_backward(x, found, gradient, y, values, *map));
        free(gradient);
    } else {
        float *draws = read_bytes((size_t)drawn * (size_t)values * sizeof *draws);
        EACH_THREAD(qkeras_forward(x, found, draws, drawn, y, values, *map));
        free(draws);
    }
    free(map);
    free(found);
    free(x);
    write_all(y, values);
}

int main(void)
{
    for (int kind = getchar(); kind != EOF; kind = getchar()) {
        unsigned int *launch = read_bytes(4 * sizeof *launch);
        gridDim = (struct Index){launch[0], launch[1]};
        blockDim = (struct Index){launch[2], launch[3]};
        free(launch);
        if (kind == 'd') {
            run_depthwise();
        } else if (kind == 'f' || kind == 'b') {
            run_qkeras(kind == 'b');
        } else {
            run_quantize();
        }
    }
    return 0;
}
