#ifndef FXP_LAYERS_H_
#define FXP_LAYERS_H_

// Layers of fxp that hls4ml does not have. C++11, for every compiler that hls4ml supports.
// A result is assigned once, from an exact value, so that its type rounds and saturates it once.

namespace fxp {

// What a position beyond the image reads; -1 stands for nothing of the image.
inline int zero(int i, int size) { return i < 0 || i >= size ? -1 : i; }
inline int replicate(int i, int size) { return i < 0 ? 0 : i >= size ? size - 1 : i; }
inline int reflect(int i, int size) {
    int j = i < 0 ? -i : i;
    return j >= size ? 2 * (size - 1) - j : j;
}
inline int symmetric(int i, int size) {
    int j = i % (2 * size);
    j = j < 0 ? j + 2 * size : j;
    return j < size ? j : 2 * size - 1 - j;
}

// The bits of a value as an unsigned integer, in AMD's and in Siemens' types.
template <class T> auto bits(const T &x) -> decltype(x.range().to_uint()) { return x.range().to_uint(); }
template <class T> auto bits(const T &x) -> decltype(x.template slc<T::width>(0).to_uint()) {
    return x.template slc<T::width>(0).to_uint() & ((1u << T::width) - 1);
}

// Pixel by pixel: every result pixel depends on the pixels at the same place, and on an array of
// constants (0 if there is none).
template <class res_T, class CONFIG_T, class res_S, class const_T, class data_S>
void each_pixel(res_S &res, const_T constants, data_S &data) {
    for (int i = 0; i < CONFIG_T::pixels; i++) {
        #pragma HLS PIPELINE
        res_T out;
        CONFIG_T::pixel(out, constants, data.read());
        res.write(out);
    }
}

template <class res_T, class CONFIG_T, class res_S, class const_T, class data_S, class other_S>
void each_pixel(res_S &res, const_T constants, data_S &data, other_S &other) {
    for (int i = 0; i < CONFIG_T::pixels; i++) {
        #pragma HLS PIPELINE
        res_T out;
        CONFIG_T::pixel(out, constants, data.read(), other.read());
        res.write(out);
    }
}

// Sums or maxima of pixels that follow each other. In each of `runs`, `pixels` pixels are gathered into
// `groups` totals, and then every total becomes a pixel of the result.
template <class res_T, class CONFIG_T, class res_S, class const_T, class data_S>
void reduce_stream(res_S &res, const_T constants, data_S &data) {
    static typename CONFIG_T::accum_t totals[CONFIG_T::groups][CONFIG_T::channels];
    #pragma HLS ARRAY_PARTITION variable=totals complete dim=2
    for (int run = 0; run < CONFIG_T::runs; run++) {
        for (int i = 0; i < CONFIG_T::pixels; i++) {
            #pragma HLS PIPELINE
            CONFIG_T::gather(totals[CONFIG_T::group(i)], CONFIG_T::first(i), data.read());
        }
        for (int i = 0; i < CONFIG_T::groups; i++) {
            #pragma HLS PIPELINE
            res_T out;
            CONFIG_T::finish(out, totals[i], constants, run * CONFIG_T::groups + i);
            res.write(out);
        }
    }
}

template <class CONFIG_T, class res_T, class const_T, class data_T>
void reduce_parallel(res_T *res, const_T constants, data_T *data) {
    typename CONFIG_T::accum_t totals[CONFIG_T::groups][CONFIG_T::channels];
    for (int run = 0; run < CONFIG_T::runs; run++) {
        for (int i = 0; i < CONFIG_T::pixels; i++, data += CONFIG_T::in_channels)
            CONFIG_T::gather(totals[CONFIG_T::group(i)], CONFIG_T::first(i), data);
        for (int i = 0; i < CONFIG_T::groups; i++, res += CONFIG_T::channels)
            CONFIG_T::finish(res, totals[i], constants, run * CONFIG_T::groups + i);
    }
}

// Moves values: result (c, y, x) is data (channel(c, y, x), row(c, y), column(c, x)). Keeps as many
// rows as lie between the earliest and the latest one that is needed.
template <class data_T, class res_T, class CONFIG_T, class data_S, class res_S>
void move_stream(data_S &data, res_S &res) {
    typedef typename data_T::value_type value_T;
    // Static: a few rows of a wide image are too much for the stack.
    static value_T lines[CONFIG_T::lines][CONFIG_T::in_width][CONFIG_T::in_channels];
    #pragma HLS ARRAY_PARTITION variable=lines complete dim=3
    int next = 0;
Rows:
    for (int y = 0; y < CONFIG_T::out_height; y++) {
        int needed = CONFIG_T::last_row(y);
    Fetch:
        for (; next <= needed; next++) {
            for (int x = 0; x < CONFIG_T::in_width; x++) {
                #pragma HLS PIPELINE
                data_T pack = data.read();
                for (int c = 0; c < CONFIG_T::in_channels; c++) {
                    #pragma HLS UNROLL
                    lines[next % CONFIG_T::lines][x][c] = pack[c];
                }
            }
        }
    Columns:
        for (int x = 0; x < CONFIG_T::out_width; x++) {
            #pragma HLS PIPELINE
            res_T out;
            for (int c = 0; c < CONFIG_T::out_channels; c++) {
                #pragma HLS UNROLL
                int row = CONFIG_T::row(c, y), column = CONFIG_T::column(c, x);
                if (row < 0 || column < 0)
                    out[c] = CONFIG_T::outside();
                else
                    out[c] = lines[row % CONFIG_T::lines][column][CONFIG_T::channel(c, y, x)];
            }
            res.write(out);
        }
    }
    // What no result reads must leave the stream before the next frame.
Drain:
    for (; next < CONFIG_T::in_height; next++) {
        for (int x = 0; x < CONFIG_T::in_width; x++) {
            #pragma HLS PIPELINE
            data.read();
        }
    }
}

template <class data_T, class res_T, class CONFIG_T> void move_parallel(data_T *data, res_T *res) {
    for (int y = 0; y < CONFIG_T::out_height; y++) {
        for (int x = 0; x < CONFIG_T::out_width; x++) {
            for (int c = 0; c < CONFIG_T::out_channels; c++) {
                #pragma HLS UNROLL
                int row = CONFIG_T::row(c, y), column = CONFIG_T::column(c, x);
                int to = (y * CONFIG_T::out_width + x) * CONFIG_T::out_channels + c;
                int from = (row * CONFIG_T::in_width + column) * CONFIG_T::in_channels;
                if (row < 0 || column < 0)
                    res[to] = CONFIG_T::outside();
                else
                    res[to] = data[from + CONFIG_T::channel(c, y, x)];
            }
        }
    }
}

} // namespace fxp

#endif
