// Fake quantization of a whole tensor in one pass: per tensor, or along axis 0.
//
// Plain C, so that the same text is compiled for a GPU and, with loops in place of the grid, for a CPU to be tested.

// A quantizer: its scale, the ends of its grid with the offset added, and the offset.
struct Channel {
    float scale, low, high, offset;
};

// What a value is turned into.
enum { NEAREST = 0, CODE = 1, MASK = 2 };

static __device__ float quantized(float x, struct Channel c, int output)
{
    // To tell inside from outside, one step beyond the ends is enough.
    const float margin = output == MASK ? 1.0f : 0.0f;
    float steps = x / c.scale;
    // Comparisons rather than fminf and fmaxf, which would turn NaN into an end of the grid.
    steps = steps < c.low - margin ? c.low - margin : steps;
    steps = steps > c.high + margin ? c.high + margin : steps;
    // Half to even, as ONNX QuantizeLinear rounds.
    const float code = rintf(steps);
    if (output == NEAREST) {
        return code * c.scale;
    }
    if (output == CODE) {
        return code - c.offset;
    }
    return code >= c.low && code <= c.high ? 1.0f : 0.0f;
}

#ifdef __cplusplus
extern "C"
#endif
__global__ void quantize_tensor(
    const float *x, float *y, long long values, struct Channel channel, int output)
{
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < values; i += step) {
        y[i] = quantized(x[i], channel, output);
    }
}

#ifdef __cplusplus
extern "C"
#endif
__global__ void quantize_channels(
    const float *x, float *y, long long values, const struct Channel *channels, long long per_channel, int output)
{
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < values; i += step) {
        y[i] = quantized(x[i], channels[i / per_channel], output);
    }
}
