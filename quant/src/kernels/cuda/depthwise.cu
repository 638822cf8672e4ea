// Convolution in which every channel is filtered by itself, then bias and limits. One thread computes one output pixel
// of one or more planes; a plane is one channel of one image.
//
// Plain C, so that the same text is compiled for a GPU and, with loops in place of the grid, for a CPU to be tested.

// Counts fit in 31 bits; offsets into tensors take 64.
struct Extents {
    // Output channels times images.
    int planes;
    int out_channels;
    // Output channels per input channel.
    int multiplier;
    int height, width;
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride_down, stride_right;
    int dilation_down, dilation_right;
    // Rows above and columns to the left that are zero.
    int top, left;
    // Limits of the output; infinite if there are none.
    float lower, upper;
};

#ifdef __cplusplus
extern "C"
#endif
__global__ void depthwise(
    const float *x, const float *weight, const float *bias, float *y, struct Extents e)
{
    const int positions = e.out_height * e.out_width;
    const int position = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (position >= positions) {
        return;
    }
    const int first_row = position / e.out_width * e.stride_down - e.top;
    const int first_column = position % e.out_width * e.stride_right - e.left;
    const int step = (int)(gridDim.y * blockDim.y);
    for (int plane = (int)(blockIdx.y * blockDim.y + threadIdx.y); plane < e.planes; plane += step) {
        const int channel = plane % e.out_channels;
        // As output channels are a multiple of input channels, this counts the input's planes.
        const float *source = x + (long long)(plane / e.multiplier) * e.height * e.width;
        const float *taps = weight + (long long)channel * e.kernel_height * e.kernel_width;
        float sum = 0.0f;
        for (int down = 0; down < e.kernel_height; ++down) {
            const int row = first_row + down * e.dilation_down;
            if (row < 0 || row >= e.height) {
                continue;
            }
            for (int right = 0; right < e.kernel_width; ++right) {
                const int column = first_column + right * e.dilation_right;
                if (column >= 0 && column < e.width) {
                    const float tap = taps[down * e.kernel_width + right];
                    sum = fmaf(tap, source[(long long)row * e.width + column], sum);
                }
            }
        }
        sum += bias[channel];
        // Comparisons rather than fminf and fmaxf, which would turn NaN into a limit.
        sum = sum < e.lower ? e.lower : sum;
        sum = sum > e.upper ? e.upper : sum;
        y[(long long)plane * positions + position] = sum;
    }
}
