// QKeras's quantizers: how one value is mapped and how its gradient passes, a case per family of quantizers, with the
// scales and draws that were found before.
//
// Plain C, so that the same text is compiled for a GPU and, with loops in place of the grid, for a CPU to be tested.
// Every operation is rounded for itself: it has to be compiled without fused multiply-adds.

// A family with its numbers; what each family makes of them is said where the CPU's element of the same name is.
struct Map {
    // Value i is of group i / inner % count.
    long long inner, count;
    int family, option, flag, drawn, straight;
    float codes, codes_inverse, unit, unit_inverse, low, high, noise, slope, bound, most, parameter;
    // A hard swish before the quantizer; none with a bound of 0.
    float swish_shift, swish_bound;
};

// What a group has found: its scale (step), and what else its family needs.
struct Found {
    float scale, second;
};

enum {
    FIXED = 0,
    ONE_BIT = 1,
    SCALED = 2,
    CURVE = 3,
    ULAW = 4,
    PO2 = 5,
    RELU_PO2 = 6,
    RELU = 7,
    FAST_RELU = 8,
    SIGN = 9,
    THRESHOLD = 10,
    REFINED = 11,
    LINEAR = 12,
    TWO_VALUED = 13,
    THREE_VALUED = 14
};

enum { TANH = 0, HARD_TANH = 1, SIGMOID = 2, HARD_SIGMOID = 3 };
enum { NEAREST_POWER = 0, LOWER_POWER = 1, DRAWN_POWER = 2 };

// Comparisons rather than fminf and fmaxf, which would turn NaN into an end.
static __device__ float clip(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

static __device__ float sign(float x)
{
    return (float)((x > 0.0f) - (x < 0.0f));
}

static __device__ float sign_of(float x)
{
    return x < 0.0f ? -1.0f : 1.0f;
}

static __device__ float hard_sigmoid(float x)
{
    return clip(0.5f * x + 0.5f, 0.0f, 1.0f);
}

static __device__ float real_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static __device__ float round_drawn(float x, float steps, float draw)
{
    const float y = x * steps, low = floorf(y);
    const float up = y - low > 0.0f && y - low >= draw ? 1.0f : 0.0f;
    return (low + up) / steps;
}

// Half to even, or at random.
static __device__ float rounded(struct Map m, float x, float steps, float draw)
{
    return m.drawn ? round_drawn(x, steps, draw) : rintf(x);
}

static __device__ float mix(struct Map m, float x, float quantized)
{
    return m.straight ? x + m.noise * (quantized - x) : (1.0f - m.noise) * x + m.noise * quantized;
}

static __device__ float mixed_slope(struct Map m)
{
    return m.straight ? 1.0f : 1.0f - m.noise;
}

static __device__ float power_of_two(float exponent)
{
    return exponent != exponent ? exponent : ldexpf(1.0f, (int)clip(exponent, -160.0f, 160.0f));
}

static __device__ float logarithm(float x)
{
    return (float)log2((double)x);
}

static __device__ float power(struct Map m, float magnitude, float draw)
{
    const float epsilon = 1e-7f;
    if (magnitude < epsilon) {
        return power_of_two(m.low);
    }
    const float capped = magnitude > m.most ? m.most : magnitude;
    const float y = m.flag ? sqrtf(capped) : capped;
    float exponent;
    if (m.option == DRAWN_POWER) {
        const float nearest = rintf(logarithm(y + epsilon));
        const float low = power_of_two(nearest) > y ? nearest - 1.0f : nearest;
        const float least = power_of_two(low), most = power_of_two(low + 1.0f);
        exponent = y < draw * (most - least) + least ? low : low + 1.0f;
    } else {
        exponent = m.option == LOWER_POWER ? floorf(logarithm(y)) : rintf(logarithm(y));
    }
    exponent = clip(exponent, m.low, m.high);
    return power_of_two(m.flag ? 2.0f * exponent : exponent);
}

static __device__ float leaky(struct Map m, float x)
{
    const float value = x > 0.0f ? x : m.slope * x;
    return x <= m.bound ? value : m.bound;
}

static __device__ float leaky_slope(struct Map m, float x)
{
    const float slope = x > 0.0f ? 1.0f : m.slope;
    return x <= m.bound ? slope : 0.0f;
}

static __device__ float spread(struct Map m, float share)
{
    return m.option ? 2.0f * share - 1.0f : share;
}

static __device__ float relu(struct Map m, float x, float draw, float draw_below)
{
    const float steps = m.option ? hard_sigmoid(x * m.unit_inverse) * m.codes : x * m.codes * m.unit_inverse;
    const float above = spread(m, rounded(m, steps, m.parameter, draw) * m.codes_inverse);
    float quantized = m.unit * clip(above, 0.0f, 1.0f - m.codes_inverse);
    if (m.slope > 0.0f) {
        const float share = rounded(m, steps * m.slope, m.parameter, draw_below) * (m.codes_inverse / m.slope);
        quantized += (m.unit * m.slope) * clip(spread(m, share), -1.0f, 0.0f);
    }
    return quantized > m.most ? m.most : quantized;
}

// Where a hard sigmoid grows, its ends included.
static __device__ float grows(float x)
{
    const float line = 0.5f * x + 0.5f;
    return line >= 0.0f && line <= 1.0f ? 1.0f : 0.0f;
}

static __device__ float curve(int which, float x)
{
    switch (which) {
    case TANH:
        return tanhf(x);
    case HARD_TANH:
        return 2.0f * hard_sigmoid(x) - 1.0f;
    case SIGMOID:
        return real_sigmoid(x);
    default:
        return hard_sigmoid(x);
    }
}

static __device__ float curve_slope(int which, float x)
{
    const float value = curve(which, x);
    switch (which) {
    case TANH:
        return 1.0f - value * value;
    case HARD_TANH:
        return grows(x);
    case SIGMOID:
        return value * (1.0f - value);
    default:
        return 0.5f * grows(x);
    }
}

static __device__ float ulaw_share(struct Map m, float x)
{
    const float steps = hard_sigmoid(x * m.unit_inverse) * m.codes;
    return 2.0f * (rintf(steps) / m.codes) - 1.0f;
}

static __device__ float companded(struct Map m, float share)
{
    return sign(share) * logf(1.0f + m.parameter * fabsf(share)) / logf(1.0f + m.parameter);
}

// The magnitude of a scaled code before it is cut off: half away from zero.
static __device__ float scaled_magnitude(struct Map m, float scale, float x)
{
    return floorf(fabsf(x * m.unit_inverse) / scale + 0.5f);
}

static __device__ float scaled(struct Map m, float scale, float x)
{
    const float in_units = x * m.unit_inverse, magnitude = scaled_magnitude(m, scale, x);
    // Of the two, NaN takes the second.
    const float code = sign(in_units) * (magnitude < m.high ? magnitude : m.high);
    return mix(m, m.unit * in_units, (scale * m.codes) * ((m.unit * code) * m.codes_inverse));
}

static __device__ float chance(struct Map m, float x)
{
    return m.flag ? real_sigmoid(m.parameter * x) : hard_sigmoid(m.parameter * x);
}

// -1 and 1, or 0 and 1.
static __device__ float code_of(struct Map m, float side)
{
    return m.option ? (side + 1.0f) / 2.0f : side;
}

static __device__ float surrogate(struct Map m, float x)
{
    return m.flag ? tanhf(x) : x;
}

static __device__ float drawn_sign(struct Map m, struct Found f, float x, float draw, float draw_zero)
{
    const float twice = 2.0f * f.second;
    if (m.drawn && twice > 0.0f) {
        x = twice * round_drawn(x / twice, 8.0f, draw);
    }
    const float side = m.drawn && x == 0.0f ? 2.0f * rintf(draw_zero) - 1.0f : sign_of(x);
    const float value = surrogate(m, x);
    return value + (f.scale * code_of(m, side) - value);
}

static __device__ float refined(struct Map m, struct Found f, float x, float draw)
{
    const float steps = rounded(m, x / f.second, 3.0f, draw);
    const float code = (fabsf(f.second * steps) >= f.second / 2.0f ? 1.0f : 0.0f) * sign(x);
    return x + (f.scale * code - x);
}

static __device__ float three_valued(struct Map m, struct Found f, float x, float below, float above)
{
    const float normal = x / f.second, threshold = f.scale / (2.0f * f.second);
    const float low = sign_of(chance(m, normal - threshold) - below);
    const float high = sign_of(chance(m, normal + threshold) - above);
    return x + (f.scale * ((low + high) / 2.0f) - x);
}

static __device__ float mapped(struct Map m, struct Found f, float x, float draw, float second)
{
    float code, value;
    switch (m.family) {
    case FIXED:
        code = clip(rounded(m, x * m.codes * m.unit_inverse, 1.0f, draw), m.low, m.high);
        return mix(m, x, f.scale * (m.unit * code * m.codes_inverse));
    case ONE_BIT:
        return mix(m, x, f.scale * sign_of(x));
    case SCALED:
        return scaled(m, f.scale, x);
    case CURVE:
        return clip(rounded(m, curve(m.option, x) * m.codes, 1.0f, draw) * m.codes_inverse, m.low, m.high);
    case ULAW:
        return m.unit * clip(companded(m, ulaw_share(m, x)), m.low, m.high);
    case PO2:
        return mix(m, x, sign_of(x) * power(m, fabsf(x), draw));
    case RELU_PO2:
        value = x >= 0.0f || m.slope == 0.0f ? power(m, x > 0.0f ? x : 0.0f, draw) : -power(m, m.slope * -x, second);
        return mix(m, leaky(m, x), value);
    case RELU:
        return mix(m, leaky(m, x), relu(m, x, draw, second));
    case FAST_RELU:
        return m.unit * clip(rintf(x * m.codes) * m.codes_inverse, 0.0f, 1.0f - m.codes_inverse);
    case SIGN:
        return drawn_sign(m, f, x, draw, second);
    case THRESHOLD:
        value = surrogate(m, x);
        return value + (f.scale * ((fabsf(x) >= m.parameter ? 1.0f : 0.0f) * sign(x)) - value);
    case REFINED:
        return refined(m, f, x, draw);
    case LINEAR:
        code = rounded(m, clip(x / f.scale, m.low, m.high) - m.parameter, 1.0f, draw) + m.parameter;
        return x + m.noise * (f.scale * code - x);
    case TWO_VALUED:
        return x + (f.scale * code_of(m, sign_of(chance(m, x / f.second) - draw)) - x);
    default:
        return three_valued(m, f, x, draw, second);
    }
}

static __device__ float ulaw_slope(struct Map m, float x)
{
    const float share = ulaw_share(m, x), value = companded(m, share);
    const float inside = value >= m.low && value <= m.high ? 1.0f : 0.0f;
    const float steep = m.parameter / (1.0f + m.parameter * fabsf(share)) / logf(1.0f + m.parameter);
    return inside * steep * fabsf(sign(share)) * grows(x * m.unit_inverse);
}

static __device__ float mapped_slope(struct Map m, struct Found f, float x)
{
    float value, inside;
    switch (m.family) {
    case FIXED:
        value = rintf(x * m.codes * m.unit_inverse);
        inside = !m.flag || (value >= m.low && value <= m.high) ? 1.0f : 0.0f;
        return mixed_slope(m) * inside;
    case SCALED:
        inside = !m.flag || scaled_magnitude(m, f.scale, x) <= m.high ? 1.0f : 0.0f;
        return mixed_slope(m) * inside;
    case ONE_BIT:
    case PO2:
        return mixed_slope(m);
    case CURVE:
        value = rintf(curve(m.option, x) * m.codes) * m.codes_inverse;
        inside = value >= m.low && value <= m.high ? 1.0f : 0.0f;
        return curve_slope(m.option, x) * inside;
    case ULAW:
        return ulaw_slope(m, x);
    case RELU_PO2:
    case RELU:
        return mixed_slope(m) * leaky_slope(m, x);
    case FAST_RELU:
        return 0.0f;
    case SIGN:
    case THRESHOLD:
        return m.flag ? 1.0f - tanhf(x) * tanhf(x) : 1.0f;
    case LINEAR:
        inside = x / f.scale >= m.low && x / f.scale <= m.high ? 1.0f : 0.0f;
        return 1.0f + m.noise * (inside - 1.0f);
    default:
        return 1.0f;
    }
}

static __device__ float swish(struct Map m, float x)
{
    return m.swish_bound == 0.0f ? x : x * clip(x + m.swish_shift, 0.0f, m.swish_bound) / m.swish_bound;
}

static __device__ float swish_slope(struct Map m, float x)
{
    const float gate = x + m.swish_shift;
    const float grows = gate > 0.0f && gate < m.swish_bound ? 1.0f : 0.0f;
    return clip(gate, 0.0f, m.swish_bound) / m.swish_bound + x * grows / m.swish_bound;
}

// `draws` holds so many tensors of draws as are drawn: none, one or two.
#ifdef __cplusplus
extern "C"
#endif
__global__ void qkeras_forward(
    const float *x, const struct Found *found, const float *draws, int drawn, float *y, long long values, struct Map m)
{
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < values; i += step) {
        const float draw = drawn > 0 ? draws[i] : 0.0f, second = drawn > 1 ? draws[values + i] : 0.0f;
        y[i] = mapped(m, found[i / m.inner % m.count], swish(m, x[i]), draw, second);
    }
}

#ifdef __cplusplus
extern "C"
#endif
__global__ void qkeras_backward(
    const float *x, const struct Found *found, const float *gradient, float *passed, long long values, struct Map m)
{
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < values; i += step) {
        const float slope = gradient[i] * mapped_slope(m, found[i / m.inner % m.count], swish(m, x[i]));
        passed[i] = m.swish_bound == 0.0f ? slope : slope * swish_slope(m, x[i]);
    }
}
