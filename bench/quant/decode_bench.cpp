// Decoding of every format on one core: bytes of packed weights read a second, bytes of floats
// written, values a second.
//
//     decode_bench --benchmark_filter=q4_1
//
// `row` is zoq::decode_row, the definition of the format, one row after another into one buffer.
// `columns/SET` is what the matrix kernels of an instruction set do: as many rows as a vector has
// lanes, turned so that a vector holds one column, into a buffer that stays in the cache. Of formats
// without kernels of their own it is the step before, `rows/SET`: as many rows, as floats. Each once
// from a matrix of the size of a model's, which the caches hold, and once from 128 MB of them, which
// must come from memory. The values of both are those of decode_row, to the bit, before any is
// timed.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>
#include <zoq/exec/kernels.hpp>
#include <zoq/quant/formats.hpp>
#include <zoq/random/gaussian.hpp>

#include "exec/sets.hpp"
#include "program.hpp"

namespace {

using zoq::index_t;
using zoq::instruction_set;

constexpr index_t columns = 1536;
constexpr index_t few_rows = 576;
constexpr index_t many_bytes = index_t{128} << 20;
constexpr index_t depth = 768;  // columns decoded at a time, about as many as for a panel
constexpr index_t most_lanes = 16;

/// Rows of normal noise, encoded; more than `few_rows` are copies of these.
template <zoq::quant_scheme S>
struct encoded_rows {
  std::vector<typename S::block> blocks;
  std::vector<typename S::row> row_data;

  explicit encoded_rows(index_t rows);
  [[nodiscard]] zoq::packed_view<S> view(index_t rows) const {
    return {blocks.data(), zoq::row_bytes_of<S> == 0 ? nullptr : row_data.data(), {rows, columns}};
  }
};

template <zoq::quant_scheme S>
encoded_rows<S>::encoded_rows(index_t rows) : row_data(static_cast<std::size_t>(rows)) {
  const auto in_row = static_cast<std::size_t>(columns / S::block_size);
  std::vector<typename S::block>& out = blocks;
  out.resize(static_cast<std::size_t>(rows) * in_row);
  std::vector<float> values(static_cast<std::size_t>(columns));
  const auto field = zoq::gaussian::at(5, {});
  for (index_t r = 0; r < std::min(rows, few_rows); ++r) {
    for (index_t i = 0; i < columns; ++i) {
      const zoq::float4v four = field.four((r * columns + i) / 4);
      values[static_cast<std::size_t>(i)] = 0.05f * four.at[i % 4];
    }
    S::encode(values.data(), nullptr, columns, row_data[static_cast<std::size_t>(r)],
              &out[static_cast<std::size_t>(r) * in_row]);
  }
  for (std::size_t r = few_rows; r < row_data.size(); ++r) {
    row_data[r] = row_data[r - few_rows];
  }
  for (std::size_t at = static_cast<std::size_t>(few_rows) * in_row; at < out.size(); ++at) {
    out[at] = out[at - static_cast<std::size_t>(few_rows) * in_row];
  }
}

index_t lanes_of(instruction_set set) {
  switch (set) {
    case instruction_set::portable:
      return 4;
    case instruction_set::avx2:
      return 8;
    default:
      return 16;
  }
}

/// Columns [begin, begin + count) of the rows from `first` on, as the kernels of `set` decode them.
template <zoq::quant_scheme S>
void decode_columns(instruction_set set, const zoq::packed_view<S>& w, index_t first, index_t begin,
                    index_t count, float* out) {
  switch (set) {
    case instruction_set::portable:
      return zoq::detail::portable::decode_columns(w, first, begin, count, out, lanes_of(set));
    case instruction_set::avx2:
      return zoq::detail::avx2::decode_columns(w, first, begin, count, out, lanes_of(set));
    default:
      return zoq::detail::avx512::decode_columns(w, first, begin, count, out, lanes_of(set));
  }
}

/// The same as floats row by row: out[lane * count + c].
void decode_rows_of(instruction_set set, const zoq::any_packed& w, index_t first, index_t begin,
                    index_t count, float* out) {
  const index_t lanes = lanes_of(set);
  switch (set) {
    case instruction_set::portable:
      return zoq::detail::portable::decode_any_rows(w, first, lanes, begin, count, out);
    case instruction_set::avx2:
      return zoq::detail::avx2::decode_any_rows(w, first, lanes, begin, count, out);
    default:
      return zoq::detail::avx512::decode_any_rows(w, first, lanes, begin, count, out);
  }
}

/// A stretch in the way of the format's kernels.
template <zoq::quant_scheme S>
void decode_stretch(instruction_set set, const zoq::packed_view<S>& w, index_t first, index_t begin,
                    index_t count, float* out) {
  if constexpr (zoq::has_own_kernels<S>) {
    decode_columns(set, w, first, begin, count, out);
  } else {
    decode_rows_of(set, zoq::any_packed{w}, first, begin, count, out);
  }
}

/// True when what `set` decodes are the values of decode_row. w: a few rows.
template <zoq::quant_scheme S>
bool right(instruction_set set, const zoq::packed_view<S>& w) {
  const index_t lanes = lanes_of(set);
  std::vector<float> turned(static_cast<std::size_t>(lanes * columns));
  std::vector<float> row(static_cast<std::size_t>(columns));
  for (index_t first = 0; first < w.shape[0]; first += lanes) {
    decode_stretch(set, w, first, 0, columns, turned.data());
    for (index_t lane = 0; lane < lanes; ++lane) {
      zoq::decode_row(w, first + lane, row.data());
      for (index_t c = 0; c < columns; ++c) {
        const float found = turned[static_cast<std::size_t>(
            zoq::has_own_kernels<S> ? c * lanes + lane : lane * columns + c)];
        if (std::memcmp(&found, &row[static_cast<std::size_t>(c)], sizeof found) != 0) {
          return false;
        }
      }
    }
  }
  return true;
}

/// Times pass(w), which decodes the whole matrix once.
template <zoq::quant_scheme S, class Pass>
void time(benchmark::State& state, const zoq::packed_view<S>& w, const Pass& pass) {
  for (auto _ : state) {
    pass();
    benchmark::ClobberMemory();
  }
  const double values = static_cast<double>(w.shape[0] * w.shape[1]);
  const auto rate = [&](double amount) {
    return benchmark::Counter(amount / 1e9, benchmark::Counter::kIsIterationInvariantRate);
  };
  state.counters["read_GB"] = rate(static_cast<double>(w.byte_count()));
  state.counters["written_GB"] = rate(4 * values);
  state.counters["Gvalues"] = rate(values);
}

index_t rows_of(bool streaming, index_t row_bytes) {
  return streaming ? many_bytes / row_bytes / most_lanes * most_lanes : few_rows;
}

template <zoq::quant_scheme S>
void decode_rows(benchmark::State& state, bool streaming) {
  const index_t rows = rows_of(streaming, zoq::info_of<S>().bytes(1, columns));
  const encoded_rows<S> encoded(rows);
  const zoq::packed_view<S> w = encoded.view(rows);
  alignas(64) float out[columns];
  time(state, w, [&] {
    for (index_t r = 0; r < rows; ++r) {
      zoq::decode_row(w, r, out);
      benchmark::DoNotOptimize(out[0]);
    }
  });
}

template <zoq::quant_scheme S>
void decode_turned(benchmark::State& state, instruction_set set, bool streaming) {
  const index_t rows = rows_of(streaming, zoq::info_of<S>().bytes(1, columns));
  const encoded_rows<S> encoded(rows);
  if (!right(set, encoded.view(64))) {
    state.SkipWithError("the values are not those of decode_row");
    return;
  }
  const zoq::packed_view<S> w = encoded.view(rows);
  alignas(64) float out[static_cast<std::size_t>(most_lanes * depth)];
  time(state, w, [&] {
    for (index_t first = 0; first < rows; first += lanes_of(set)) {
      for (index_t begin = 0; begin < columns; begin += depth) {
        decode_stretch(set, w, first, begin, depth, out);
        benchmark::DoNotOptimize(out[0]);
      }
    }
  });
}

void register_all() {
  const auto add = [](const std::string& name, const auto& body) {
    benchmark::RegisterBenchmark(name.c_str(), body)->Unit(benchmark::kMicrosecond);
  };
  zoq::formats::for_each([&]<class S>(S) {
    for (const bool streaming : {false, true}) {
      const std::string format(S::name);
      const std::string where = streaming ? "/memory" : "/cache";
      add(format + "/row" + where,
          [streaming](benchmark::State& s) { decode_rows<S>(s, streaming); });
      for (const instruction_set set : zoq::bench::instruction_sets()) {
        add(format + (zoq::has_own_kernels<S> ? "/columns/" : "/rows/") +
                std::string(zoq::name_of(set)) + where,
            [set, streaming](benchmark::State& s) { decode_turned<S>(s, set, streaming); });
      }
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  return zoq::bench::run_benchmarks("decode_bench", argc, argv, [](int& count, char** all) {
    const zoq::bench::arguments none("decode_bench", count, all, {});
    register_all();
  });
}
