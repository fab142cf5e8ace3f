// One tensor of a model on its way to another format: rows in GGUF's order, and values that are kept.
//
//     zoq::requantizer work(w, after, "blk.0.attn_q.weight", "m.gguf: tensor blk.0.attn_q.weight");
//     work.keep = &places;                          // of a mask: these do not take part in the fit
//     work.run([&](auto bytes) { put(bytes); }, [](index_t rows) {});
//     work.kept;   work.offsets;   work.error;      // offset = old value - decoded new value
//
// Kept values are what "dense-and-sparse" formats keep beside: Kim et al., SqueezeLLM, arXiv 2306.07629.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/quant/requantize.hpp"
#include "zoq/sparse/mask.hpp"

namespace zoq {

/// The row of a Hugging Face Llama's query or key (or the value of their biases) that is row `o` of a
/// GGUF file's: coordinates that turn together are D / 2 apart there, and neighbours here.
constexpr index_t halves_row(index_t o, index_t head_size) {
  const index_t in_head = o % head_size;
  return o - in_head + in_head / 2 + in_head % 2 * (head_size / 2);
}

class requantizer {
 public:
  /// Of `old`, whose memory must outlive it, to `wanted`, as `new_name`; `source` starts messages.
  requantizer(const any_packed& old, const format_info& wanted, std::string new_name,
              std::string source)
      : from(old), after(wanted), name(std::move(new_name)), where(std::move(source)) {}

  any_packed from;    // [O, C]
  format_info after;  // whose block divides C
  std::string name;   // in the new file
  std::string where;  // starts messages

  index_t halves = 0;  // head size of rows that halves_row puts in order; 0: as they are
  const tensor_mask* keep = nullptr;  // places in `from`, or none
  std::span<const float> importance;  // [O, C] in the order of `from`, or empty: all 1

  // Results of `run`.
  tensor_mask kept = {};                 // the places kept, in the new order
  std::vector<float> offsets = {};       // [kept]
  std::vector<std::byte> row_data = {};  // what the new rows own
  encoding_error error = {};             // of the new values
  encoding_error error_with_kept = {};   // of the new values, with the offsets added

  /// Encodes all rows, about a megabyte at a time, and gives their blocks to put(bytes); `done(rows)`
  /// follows each piece. A matrix that has the format already is copied. Throws as `requantize` does,
  /// on importance that is negative or not finite, and what the two throw.
  void run(const std::function<void(std::span<const std::byte>)>& put,
           const std::function<void(index_t)>& done);

 private:
  // Rows o to o + n - 1 of the new matrix.
  void encode(index_t o, index_t n, std::span<std::byte> out);
  [[nodiscard]] std::span<const std::int32_t> places(index_t first, index_t end) const;

  // Weights of rows `first` to first + n - 1 of the old matrix: none when they are all 1.
  void weigh(index_t first, index_t n);

  // What is kept of row `old` of the old matrix, which is row r of `made` and row o of the new one.
  void keep_row(const any_packed& made, index_t r, index_t o, index_t old);

  std::vector<float> weights_ = {};
};

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cmath>

#include "zoq/core/error.hpp"
#include "zoq/quant/packed_view.hpp"

namespace zoq {

ZOQ_BODY void requantizer::run(const std::function<void(std::span<const std::byte>)>& put,
                               const std::function<void(index_t)>& done) {
  const index_t rows = from.rows(), columns = from.columns(), stride = after.bytes(1, columns);
  kept = {name, rows, columns, {}};
  row_data.resize(static_cast<std::size_t>(rows * after.row_bytes));
  const index_t some = std::clamp<index_t>((index_t{1} << 20) / stride, 1, rows);
  std::vector<std::byte> blocks(static_cast<std::size_t>(some * stride));
  for (index_t o = 0; o < rows; o += some) {
    const index_t n = std::min(some, rows - o);
    const std::span<std::byte> out = std::span(blocks).first(static_cast<std::size_t>(n * stride));
    const index_t run = halves > 0 ? 1 : n;  // rows that follow one another in both
    for (index_t r = 0; r < n; r += run) {
      encode(o + r, run,
             out.subspan(static_cast<std::size_t>(r * stride),
                         static_cast<std::size_t>(run * stride)));
    }
    put(out);
    done(n);
  }
}

ZOQ_BODY void requantizer::encode(index_t o, index_t n, std::span<std::byte> out) {
  const index_t first = halves > 0 ? halves_row(o, halves) : o, columns = from.columns();
  const auto own = std::span(row_data).subspan(static_cast<std::size_t>(o * after.row_bytes),
                                               static_cast<std::size_t>(n * after.row_bytes));
  encoding_error others;
  if (from.format().name == after.name) {
    std::copy_n(from.bytes() + first * after.bytes(1, columns), out.size(), out.begin());
    if (!own.empty()) {
      std::copy_n(from.row_data() + first * after.row_bytes, own.size(), own.begin());
    }
  } else {
    weigh(first, n);
    requantize(from, after, first, n, where, out, own, weights_, others);
  }
  error += others;
  error_with_kept += others;
  if (keep != nullptr) {
    const any_packed made =
        packed_as(after.name, out.data(), own.empty() ? nullptr : own.data(), n, columns, where);
    for (index_t r = 0; r < n; ++r) {
      keep_row(made, r, o + r, first + r);
    }
  }
}

ZOQ_BODY std::span<const std::int32_t> requantizer::places(index_t first, index_t end) const {
  const auto& all = keep->index;
  const auto begin = std::lower_bound(all.begin(), all.end(), first);
  return {begin, std::lower_bound(begin, all.end(), end)};
}

ZOQ_BODY void requantizer::weigh(index_t first, index_t n) {
  const index_t columns = from.columns(), begin = first * columns, size = n * columns;
  weights_.clear();
  const auto out = keep == nullptr ? std::span<const std::int32_t>() : places(begin, begin + size);
  if (importance.empty() && out.empty()) {
    return;
  }
  weights_.assign(static_cast<std::size_t>(size), 1.0f);
  for (index_t i = 0; i < size && !importance.empty(); ++i) {
    const float w = importance[static_cast<std::size_t>(begin + i)];
    require(std::isfinite(w) && w >= 0, where, ": the importance at row ", first + i / columns,
            ", column ", i % columns, " is ", w);
    weights_[static_cast<std::size_t>(i)] = w;
  }
  for (const std::int32_t place : out) {
    weights_[static_cast<std::size_t>(place - begin)] = 0;
  }
}

ZOQ_BODY void requantizer::keep_row(const any_packed& made, index_t r, index_t o, index_t old) {
  const index_t columns = from.columns();
  const auto all = places(old * columns, (old + 1) * columns);
  if (all.empty()) {
    return;
  }
  std::vector<float> was(static_cast<std::size_t>(columns)), is(was.size());
  from.visit([&](const auto& w) { decode_row(w, old, was.data()); });
  made.visit([&](const auto& w) { decode_row(w, r, is.data()); });
  for (const std::int32_t place : all) {
    const index_t column = place - old * columns;
    const auto c = static_cast<std::size_t>(column);
    const double offset = static_cast<double>(was[c]) - static_cast<double>(is[c]);
    kept.index.push_back(static_cast<std::int32_t>(o * columns + column));
    offsets.push_back(static_cast<float>(offset));
    const double square = static_cast<double>(was[c]) * static_cast<double>(was[c]);
    error.squares += square;
    error.difference_squares += offset * offset;
    error_with_kept.squares += square;
  }
}

}  // namespace zoq

#endif
