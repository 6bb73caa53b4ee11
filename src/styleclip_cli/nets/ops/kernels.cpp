// The layers of a StyleGAN2 generator on CPUs; `cpu.py` builds this file and calls it.
//
// A 3x3 convolution of inputs that are scaled by styles, then demodulation, noise, bias, leaky ReLU, gain and
// clamp, in one pass over blocks that stay in the caches. Convolutions are Winograd's F(4x4, 3x3) (Lavin and
// Gray 2016): 36 multiplications for 16 results instead of 144. The interpolation points 0, +-3/4, +-3/2 and
// infinity keep float32's rounding about five times smaller than the usual 0, +-1, +-2 (measured: 1.2e-6
// instead of 2.6e-6 of the result's size on average, 2e-6 instead of 9e-6 at worst). Doubling the resolution
// is a convolution with four times the outputs, one for each of the four pixels that a pixel becomes
// ("phases"), with the low-pass filter merged into its weights.
//
// All arrays are dense; pictures have their channels last.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#ifdef _OPENMP
// Its header is missing where a compiler knows OpenMP and has no runtime (Apple's); torch has one.
extern "C" {
int omp_in_parallel(void);
int omp_get_max_threads(void);
}
#endif

namespace {

#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 12;
#elif defined(__AVX__)
constexpr int BYTES = 32, ROWS = 6;
#else
constexpr int BYTES = 16, ROWS = 6;
#endif

template <typename T> struct Wide {
    typedef T Vec __attribute__((vector_size(BYTES)));
    static constexpr int lanes = BYTES / sizeof(T);
    static constexpr int panel = 2 * lanes;  // columns that a kernel of the matrix product works on
};

template <typename T> inline typename Wide<T>::Vec load(const T* p) {
    typename Wide<T>::Vec v;
    std::memcpy(&v, p, BYTES);
    return v;
}
template <typename T> inline typename Wide<T>::Vec load(const T* p, int count) {
    typename Wide<T>::Vec v = {};
    std::memcpy(&v, p, count * sizeof(T));
    return v;
}
template <typename T> inline void store(T* p, typename Wide<T>::Vec v) { std::memcpy(p, &v, BYTES); }

inline int64_t up_to(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

int threads() {
#ifdef _OPENMP
    return omp_in_parallel() ? 1 : omp_get_max_threads();
#else
    return 1;
#endif
}

// Memory of one thread's own that is kept from call to call: getting it anew costs more than the work.
struct Scratch {
    char* data = nullptr;
    size_t size = 0;
    ~Scratch() { std::free(data); }
    template <typename T> T* get(size_t count) {
        const size_t bytes = up_to(count * sizeof(T), 64);
        if (bytes > size) {
            std::free(data);
            data = static_cast<char*>(std::aligned_alloc(64, bytes));
            size = data == nullptr ? 0 : bytes;
            if (data != nullptr) std::memset(data, 0, bytes);
        }
        return reinterpret_cast<T*>(data);
    }
};
thread_local Scratch scratch;

constexpr double A = 0.75, B = 1.5;  // the points, beside 0 and infinity
constexpr double A2 = A * A, B2 = B * B;

// Six numbers of a picture -> their values at the points.
template <typename T, typename V> inline void to_points(const V* d, V* r) {
    const V even_b = d[4] - T(B2) * d[2], odd_b = T(A) * (d[3] - T(B2) * d[1]);
    const V even_a = d[4] - T(A2) * d[2], odd_a = T(B) * (d[3] - T(A2) * d[1]);
    r[0] = T(A2 * B2) * d[0] - T(A2 + B2) * d[2] + d[4];
    r[1] = even_b + odd_b;
    r[2] = even_b - odd_b;
    r[3] = even_a + odd_a;
    r[4] = even_a - odd_a;
    r[5] = T(A2 * B2) * d[1] - T(A2 + B2) * d[3] + d[5];
}

// Products at the points -> four results.
template <typename T, typename V> inline void from_points(const V* m, V* y) {
    const V sum_a = m[1] + m[2], sum_b = m[3] + m[4], dif_a = m[1] - m[2], dif_b = m[3] - m[4];
    y[0] = m[0] + sum_a + sum_b;
    y[1] = T(A) * dif_a + T(B) * dif_b;
    y[2] = T(A2) * sum_a + T(B2) * sum_b;
    y[3] = T(A2 * A) * dif_a + T(B2 * B) * dif_b + m[5];
}

// Three weights -> their values at the points.
inline void weights_to_points(double w0, double w1, double w2, double* r) {
    const double fa = 2 * A2 * (A2 - B2), fb = 2 * B2 * (B2 - A2);
    r[0] = w0 / (A2 * B2);
    r[1] = (w0 + A * w1 + A2 * w2) / fa;
    r[2] = (w0 - A * w1 + A2 * w2) / fa;
    r[3] = (w0 + B * w1 + B2 * w2) / fb;
    r[4] = (w0 - B * w1 + B2 * w2) / fb;
    r[5] = w2;
}

// What a layer does; sizes are of the input grid.
template <typename T> struct Layer {
    const T* x;         // [n, height, width, inputs]
    const T* weight;    // [36, columns / panel, inputs, panel]
    const T* styles;    // [n, inputs] or null
    const T* scale;     // demodulation [n, outputs] or null: then the convolution alone
    const T* bias;      // [outputs]
    const T* noise;     // [side * height, side * width] or null
    T* y;               // [n, side * height, side * width, outputs]
    int n, height, width, inputs, outputs, side;
    T slope, gain, clamp;

    int phases() const { return side * side; }
    int padded() const { return up_to(outputs, Wide<T>::lanes); }
    int columns() const { return up_to(int64_t(phases()) * padded(), Wide<T>::panel); }
    int stride() const { return up_to(inputs, Wide<T>::lanes) + Wide<T>::lanes; }  // odd: spreads cache sets
    int down() const { return (height + 3) / 4; }
    int across() const { return (width + 3) / 4; }
    int tiles() const { return n * down() * across(); }
};

// A tile's 6x6 patch, scaled by the styles, at the 36 points: v[36][rows][stride].
template <typename T> void take(const Layer<T>& l, int tile, T* v, int64_t plane) {
    typedef typename Wide<T>::Vec V;
    constexpr int lanes = Wide<T>::lanes;
    const int image = tile / (l.down() * l.across()), place = tile % (l.down() * l.across());
    const int top = place / l.across() * 4 - 1, left = place % l.across() * 4 - 1;
    const T* base = l.x + int64_t(image) * l.height * l.width * l.inputs;
    const T* styles = l.styles == nullptr ? nullptr : l.styles + int64_t(image) * l.inputs;
    const bool inside = top >= 0 && left >= 0 && top + 6 <= l.height && left + 6 <= l.width;
    for (int c = 0; c < l.inputs; c += lanes) {
        const int count = std::min(lanes, l.inputs - c);
        V rows[6][6];  // [point of the row transform][column]
        for (int j = 0; j < 6; j++) {
            V d[6], r[6];
            for (int i = 0; i < 6; i++) {
                const int py = top + i, px = left + j;
                if (inside || (py >= 0 && px >= 0 && py < l.height && px < l.width)) {
                    const T* p = base + (int64_t(py) * l.width + px) * l.inputs + c;
                    d[i] = count == lanes ? load(p) : load(p, count);
                } else {
                    d[i] = V{};
                }
            }
            to_points<T>(d, r);
            for (int i = 0; i < 6; i++) rows[i][j] = r[i];
        }
        V s = V{} + T(1);
        if (styles != nullptr) s = count == lanes ? load(styles + c) : load(styles + c, count);
        for (int i = 0; i < 6; i++) {
            V r[6];
            to_points<T>(rows[i], r);
            for (int j = 0; j < 6; j++) store(v + (i * 6 + j) * plane + c, r[j] * s);
        }
    }
}

// rows x inputs times inputs x panel.
template <typename T, int COUNT>
inline void product(const T* a, int stride, const T* b, int inputs, T* m, int64_t columns) {
    typedef typename Wide<T>::Vec V;
    constexpr int lanes = Wide<T>::lanes;
    V left[COUNT] = {}, right[COUNT] = {};
    for (int k = 0; k < inputs; k++) {
        const V first = load(b + int64_t(k) * 2 * lanes), second = load(b + int64_t(k) * 2 * lanes + lanes);
#pragma GCC unroll 12
        for (int r = 0; r < COUNT; r++) {
            const T value = a[r * int64_t(stride) + k];
            left[r] += first * value;
            right[r] += second * value;
        }
    }
    for (int r = 0; r < COUNT; r++) {
        store(m + r * columns, left[r]);
        store(m + r * columns + lanes, right[r]);
    }
}

// All columns of one point: v[rows][stride] -> m[rows][columns]; `rows` is a multiple of ROWS.
template <typename T>
void multiply(const Layer<T>& l, int point, const T* v, T* m, int rows, int first_panel, int last_panel) {
    constexpr int panel = Wide<T>::panel;
    const int panels = l.columns() / panel;
    for (int p = first_panel; p < last_panel; p++) {
        const T* b = l.weight + (int64_t(point) * panels + p) * l.inputs * panel;
        for (int r = 0; r < rows; r += ROWS)
            product<T, ROWS>(v + int64_t(r) * l.stride(), l.stride(), b, l.inputs,
                             m + int64_t(r) * l.columns() + p * panel, l.columns());
    }
}

// A tile's products -> its 4x4 results (of each phase), finished.
template <typename T> void give(const Layer<T>& l, int tile, const T* m, int64_t plane) {
    typedef typename Wide<T>::Vec V;
    constexpr int lanes = Wide<T>::lanes;
    const int image = tile / (l.down() * l.across()), place = tile % (l.down() * l.across());
    const int top = place / l.across() * 4, left = place % l.across() * 4;
    const int rows = std::min(4, l.height - top), columns = std::min(4, l.width - left);
    const int64_t wide = int64_t(l.side) * l.width;
    T* base = l.y + int64_t(image) * l.side * l.height * wide * l.outputs;
    for (int phase = 0; phase < l.phases(); phase++) {
        for (int c = 0; c < l.outputs; c += lanes) {
            const int count = std::min(lanes, l.outputs - c);
            const T* products = m + phase * l.padded() + c;
            V half[4][6];
            for (int j = 0; j < 6; j++) {
                V d[6], r[4];
                for (int i = 0; i < 6; i++) d[i] = load(products + (i * 6 + j) * plane);
                from_points<T>(d, r);
                for (int i = 0; i < 4; i++) half[i][j] = r[i];
            }
            V scale = V{} + T(1), bias = V{};
            if (l.scale != nullptr) {
                scale = load(l.scale + int64_t(image) * l.outputs + c, count);
                bias = load(l.bias + c, count);
            }
            for (int i = 0; i < rows; i++) {
                V r[4];
                from_points<T>(half[i], r);
                const int64_t py = int64_t(l.side) * (top + i) + phase / l.side;
                for (int j = 0; j < columns; j++) {
                    const int64_t pixel = py * wide + int64_t(l.side) * (left + j) + phase % l.side;
                    V value = r[j];
                    if (l.scale != nullptr) {
                        value = value * scale + bias;
                        if (l.noise != nullptr) value += l.noise[pixel];
                        value = (value > T(0) ? value : value * l.slope) * l.gain;
                        if (l.clamp > 0) {
                            value = value > l.clamp ? V{} + l.clamp : value;
                            value = value < -l.clamp ? V{} - l.clamp : value;
                        }
                    }
                    T* out = base + pixel * l.outputs + c;
                    if (count == lanes) store(out, value);
                    else std::memcpy(out, &value, count * sizeof(T));
                }
            }
        }
    }
}

// Weights that do not stay in a core's cache are read once for many tiles, by all threads together;
// otherwise each thread takes blocks of tiles of its own from the picture to the result.
constexpr int64_t SHARED = 1 << 16;  // inputs x columns from which on
constexpr int TOGETHER = 120;        // tiles

template <typename T> bool layer(const Layer<T>& l) {
    const int tiles = l.tiles(), columns = l.columns(), stride = l.stride(), count = threads();
    bool enough = true;
    if (int64_t(l.inputs) * columns >= SHARED) {
        const int block = std::min<int64_t>(up_to(tiles, ROWS), TOGETHER);
        const int64_t v_plane = int64_t(block) * stride, m_plane = int64_t(block) * columns;
        T* v = scratch.get<T>(36 * (v_plane + m_plane));
        if (v == nullptr) return false;
        T* m = v + 36 * v_plane;
        const int panels = columns / Wide<T>::panel, parts = std::min(panels, 4);
#pragma omp parallel num_threads(count)
        for (int start = 0; start < tiles; start += block) {
            const int rows = std::min(block, tiles - start);
#pragma omp for schedule(static)
            for (int t = 0; t < rows; t++) take(l, start + t, v + int64_t(t) * stride, v_plane);
#pragma omp for schedule(dynamic)
            for (int job = 0; job < 36 * parts; job++) {
                const int point = job / parts, part = job % parts;
                multiply(l, point, v + point * v_plane, m + point * m_plane, int(up_to(rows, ROWS)),
                         panels * part / parts, panels * (part + 1) / parts);
            }
#pragma omp for schedule(static)
            for (int t = 0; t < rows; t++) give(l, start + t, m + int64_t(t) * columns, m_plane);
        }
        return true;
    }
    // A block's numbers fit into half of a large second-level cache.
    const int64_t fitting = (768 << 10) / (36 * int64_t(stride + columns) * int64_t(sizeof(T)));
    const int64_t each = up_to((tiles + count - 1) / count, ROWS);
    const int block = std::min(each, std::max<int64_t>(ROWS, fitting / ROWS * ROWS));
    const int blocks = (tiles + block - 1) / block;
#pragma omp parallel num_threads(count)
    {
        const int64_t v_plane = int64_t(block) * stride, m_plane = int64_t(block) * columns;
        T* v = scratch.get<T>(36 * (v_plane + m_plane));
        if (v == nullptr) enough = false;
        T* m = v + 36 * v_plane;
#pragma omp for schedule(dynamic)
        for (int b = 0; b < blocks; b++) {
            if (v == nullptr) continue;
            const int start = b * block, rows = std::min(block, tiles - start);
            for (int t = 0; t < rows; t++) take(l, start + t, v + int64_t(t) * stride, v_plane);
            for (int point = 0; point < 36; point++)
                multiply(l, point, v + point * v_plane, m + point * m_plane, int(up_to(rows, ROWS)), 0,
                         columns / Wide<T>::panel);
            for (int t = 0; t < rows; t++) give(l, start + t, m + int64_t(t) * columns, m_plane);
        }
    }
    return enough;
}

// What three weights in a row become at the points; for doubling, in the two phases that the low-pass filter
// 1, 3, 3, 1 over 4 makes of them: output 2 i + phase takes input i + d through filter[phase + 4 - 2 (d + 1) - j].
void at_points(int side, int phase, bool back, double (*matrix)[3]) {
    const double filter[4] = {0.25, 0.75, 0.75, 0.25};
    for (int j = 0; j < 3; j++) {
        double w[3] = {};
        for (int d = 0; d < 3; d++) {
            const int tap = phase + 4 - 2 * d - j;
            w[d] = side == 1 ? (d == j) : (tap >= 0 && tap < 4 ? filter[tap] : 0.0);
        }
        double r[6];
        weights_to_points(w[back ? 2 : 0], w[1], w[back ? 0 : 2], r);
        for (int i = 0; i < 6; i++) matrix[i][j] = r[i];
    }
}

// Weights [outputs, inputs, 3, 3] -> [36, columns / panel, rows, panel], where rows are the inputs and columns
// the phases' outputs; or turned around and upside down, as gradients flow: rows are the phases' outputs.
template <typename T> void prepare(const T* weight, T* packed, int outputs, int inputs, int side, bool back) {
    constexpr int panel = Wide<T>::panel;
    const int phases = side * side;
    double matrix[2][6][3];
    for (int phase = 0; phase < side; phase++) at_points(side, phase, back, matrix[phase]);
    const int rows = back ? phases * outputs : inputs;
    const int each = up_to(back ? inputs : outputs, Wide<T>::lanes);
    const int64_t columns = up_to(int64_t(back ? 1 : phases) * each, panel), plane = columns * rows;
#pragma omp parallel for schedule(dynamic)
    for (int64_t p = 0; p < columns / panel; p++) {
        double half[6][3][panel], w[9][panel];
        for (int k = 0; k < rows; k++) {
            int kinds[panel];
            for (int lane = 0; lane < panel; lane++) {
                const int64_t column = p * panel + lane;
                const int place = column % each;
                const int phase = back ? k / outputs : column / each;
                const int o = back ? k % outputs : place, i = back ? place : k;
                kinds[lane] = phase;
                const bool real = phase < phases && o < outputs && i < inputs && column / each < (back ? 1 : phases);
                for (int j = 0; j < 9; j++) w[j][lane] = real ? weight[(int64_t(o) * inputs + i) * 9 + j] : 0;
            }
            // Lanes of one panel lie in one phase, or in two halves of it.
            for (int first = 0; first < panel; first += Wide<T>::lanes) {
                const int phase = std::min(kinds[first], phases - 1);
                double down[6][3], across[6][3];
                for (int i = 0; i < 6; i++)
                    for (int j = 0; j < 3; j++) {
                        down[i][j] = matrix[phase / side][i][j];
                        across[i][j] = matrix[phase % side][i][j];
                    }
                const int last = first + Wide<T>::lanes;
                for (int i = 0; i < 6; i++)
                    for (int j = 0; j < 3; j++)
#pragma omp simd
                        for (int lane = first; lane < last; lane++)
                            half[i][j][lane] =
                                down[i][0] * w[j][lane] + down[i][1] * w[3 + j][lane] + down[i][2] * w[6 + j][lane];
                for (int i = 0; i < 6; i++)
                    for (int j = 0; j < 6; j++) {
                        T* out = packed + (i * 6 + j) * plane + (p * rows + k) * panel;
#pragma omp simd
                        for (int lane = first; lane < last; lane++)
                            out[lane] = T(across[j][0] * half[i][0][lane] + across[j][1] * half[i][1][lane] +
                                          across[j][2] * half[i][2][lane]);
                    }
            }
        }
    }
}

// From a gradient of a layer's result back to its convolution's: through clamp, gain, leaky ReLU and
// demodulation, whose own gradient is summed up. Phases are taken apart again: [n, h, w, phases * outputs].
template <typename T>
void before_activation(const T* gradient, const T* y, const T* scale, const T* bias, const T* noise, T* result,
                       double* of_scale, int n, int height, int width, int outputs, int side, T slope, T gain,
                       T clamp) {
    const int64_t wide = int64_t(side) * width, high = int64_t(side) * height;
#pragma omp parallel
    {
        double* own = new double[outputs];
        T* row_sum = new T[outputs];
        for (int image = 0; image < n; image++) {
            std::fill(own, own + outputs, 0.0);
            const T* s = scale + int64_t(image) * outputs;
#pragma omp for schedule(static) nowait
            for (int64_t py = 0; py < high; py++) {
                std::fill(row_sum, row_sum + outputs, T(0));
                for (int64_t px = 0; px < wide; px++) {
                    const int64_t pixel = py * wide + px;
                    const T* g = gradient + (image * high * wide + pixel) * outputs;
                    const T* v = y + (image * high * wide + pixel) * outputs;
                    const int64_t phase = py % side * side + px % side;
                    T* out = result + (((image * int64_t(height) + py / side) * width + px / side) * side * side + phase) * outputs;
                    const T shift = noise == nullptr ? T(0) : noise[pixel];
#pragma omp simd
                    for (int c = 0; c < outputs; c++) {
                        const T factor = v[c] > 0 ? gain : gain * slope;
                        T z = g[c] * factor;
                        if (clamp > 0) z = v[c] >= clamp || v[c] <= -clamp ? T(0) : z;
                        row_sum[c] += z * (v[c] / factor - bias[c] - shift);
                        out[c] = z * s[c];
                    }
                }
                for (int c = 0; c < outputs; c++) own[c] += row_sum[c];
            }
#pragma omp critical
            for (int c = 0; c < outputs; c++) of_scale[int64_t(image) * outputs + c] += own[c] / s[c];
        }
        delete[] own;
        delete[] row_sum;
    }
}

// From a gradient of scaled inputs (changed in place) back to that of the inputs, and of their scales.
template <typename T>
void before_styles(T* gradient, const T* x, const T* styles, double* of_styles, int n, int pixels, int inputs) {
#pragma omp parallel
    {
        double* own = new double[inputs];
        T* sum = new T[inputs];
        for (int image = 0; image < n; image++) {
            std::fill(own, own + inputs, 0.0);
            const T* s = styles + int64_t(image) * inputs;
#pragma omp for schedule(static) nowait
            for (int64_t chunk = 0; chunk < (pixels + 255) / 256; chunk++) {
                std::fill(sum, sum + inputs, T(0));
                for (int64_t p = chunk * 256; p < std::min<int64_t>(pixels, chunk * 256 + 256); p++) {
                    T* g = gradient + (int64_t(image) * pixels + p) * inputs;
                    const T* v = x + (int64_t(image) * pixels + p) * inputs;
#pragma omp simd
                    for (int c = 0; c < inputs; c++) {
                        sum[c] += g[c] * v[c];
                        g[c] *= s[c];
                    }
                }
                for (int c = 0; c < inputs; c++) own[c] += sum[c];
            }
#pragma omp critical
            for (int c = 0; c < inputs; c++) of_styles[int64_t(image) * inputs + c] += own[c];
        }
        delete[] own;
        delete[] sum;
    }
}

// Pictures [n, pixels, inputs] and weights [n, 3, inputs] -> colours [n, 3, pixels].
template <typename T>
void colours(const T* x, const T* weight, T* y, int n, int pixels, int inputs) {
    typedef typename Wide<T>::Vec V;
    constexpr int lanes = Wide<T>::lanes;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < int64_t(n) * pixels; p++) {
        const int64_t image = p / pixels, place = p % pixels;
        const T *v = x + p * inputs, *w = weight + image * 3 * inputs;
        V sum[3] = {};
        for (int c = 0; c < inputs; c += lanes) {
            const int count = std::min(lanes, inputs - c);
            const V value = count == lanes ? load(v + c) : load(v + c, count);
            for (int k = 0; k < 3; k++)
                sum[k] += value * (count == lanes ? load(w + k * inputs + c) : load(w + k * inputs + c, count));
        }
        for (int k = 0; k < 3; k++) {
            T total = 0;
            for (int lane = 0; lane < lanes; lane++) total += sum[k][lane];
            y[(image * 3 + k) * pixels + place] = total;
        }
    }
}

// From gradients of colours [n, 3, pixels] back to the pictures and the weights.
template <typename T>
void before_colours(const T* gradient, const T* x, const T* weight, T* of_x, double* of_weight, int n, int pixels,
                    int inputs) {
#pragma omp parallel
    {
        double* own = new double[3 * inputs];
        T* sum = new T[3 * inputs];
        for (int image = 0; image < n; image++) {
            std::fill(own, own + 3 * inputs, 0.0);
            const T *w = weight + int64_t(image) * 3 * inputs, *g = gradient + int64_t(image) * 3 * pixels;
#pragma omp for schedule(static) nowait
            for (int64_t chunk = 0; chunk < (pixels + 255) / 256; chunk++) {
                std::fill(sum, sum + 3 * inputs, T(0));
                for (int64_t p = chunk * 256; p < std::min<int64_t>(pixels, chunk * 256 + 256); p++) {
                    const T g0 = g[p], g1 = g[pixels + p], g2 = g[2 * int64_t(pixels) + p];
                    const T* v = x + (int64_t(image) * pixels + p) * inputs;
                    T* out = of_x + (int64_t(image) * pixels + p) * inputs;
#pragma omp simd
                    for (int c = 0; c < inputs; c++) {
                        out[c] = g0 * w[c] + g1 * w[inputs + c] + g2 * w[2 * inputs + c];
                        sum[c] += g0 * v[c];
                        sum[inputs + c] += g1 * v[c];
                        sum[2 * inputs + c] += g2 * v[c];
                    }
                }
                for (int c = 0; c < 3 * inputs; c++) own[c] += sum[c];
            }
#pragma omp critical
            for (int c = 0; c < 3 * inputs; c++) of_weight[int64_t(image) * 3 * inputs + c] += own[c];
        }
        delete[] own;
        delete[] sum;
    }
}

}  // namespace

#define FOR(T, NAME)                                                                                         \
    extern "C" int64_t packed_size_##NAME(int outputs, int inputs, int side, int back) {                     \
        const int phases = side * side;                                                                      \
        const int64_t each = up_to(back ? inputs : outputs, Wide<T>::lanes);                                 \
        return 36 * up_to((back ? 1 : phases) * each, Wide<T>::panel) * (back ? phases * outputs : inputs);  \
    }                                                                                                        \
    extern "C" void prepare_##NAME(const T* weight, T* packed, int outputs, int inputs, int side, int back) { \
        prepare<T>(weight, packed, outputs, inputs, side, back);                                             \
    }                                                                                                        \
    extern "C" int layer_##NAME(const T* x, const T* weight, const T* styles, const T* scale, const T* bias, \
                                const T* noise, T* y, int n, int height, int width, int inputs, int outputs, \
                                int side, T slope, T gain, T clamp) {                                        \
        return layer<T>({x, weight, styles, scale, bias, noise, y, n, height, width, inputs, outputs, side,  \
                         slope, gain, clamp});                                                               \
    }                                                                                                        \
    extern "C" void before_activation_##NAME(const T* gradient, const T* y, const T* scale, const T* bias,   \
                                             const T* noise, T* result, double* of_scale, int n, int height, \
                                             int width, int outputs, int side, T slope, T gain, T clamp) {   \
        before_activation<T>(gradient, y, scale, bias, noise, result, of_scale, n, height, width, outputs,   \
                             side, slope, gain, clamp);                                                      \
    }                                                                                                        \
    extern "C" void before_styles_##NAME(T* gradient, const T* x, const T* styles, double* of_styles, int n, \
                                         int pixels, int inputs) {                                           \
        before_styles<T>(gradient, x, styles, of_styles, n, pixels, inputs);                                 \
    }                                                                                                        \
    extern "C" void colours_##NAME(const T* x, const T* weight, T* y, int n, int pixels, int inputs) {       \
        colours<T>(x, weight, y, n, pixels, inputs);                                                         \
    }                                                                                                        \
    extern "C" void before_colours_##NAME(const T* gradient, const T* x, const T* weight, T* of_x,           \
                                          double* of_weight, int n, int pixels, int inputs) {                \
        before_colours<T>(gradient, x, weight, of_x, of_weight, n, pixels, inputs);                          \
    }

FOR(float, float)
FOR(double, double)
