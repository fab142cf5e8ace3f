// Rows of weights from one format to another, and how far the new values lie from the old.
//
//     std::vector<std::byte> out(to.bytes(rows, columns));
//     zoq::encoding_error error;
//     zoq::requantize(w, to, 0, rows, "blk.0.attn_q.weight", out, error);
//     error.relative();     // 0.08: root of sum (new - old)^2 / sum old^2
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq {

/// Sums over weights of what an encoding changed.
struct encoding_error {
  double squares = 0;             // of the old values
  double difference_squares = 0;  // of new - old

  encoding_error& operator+=(const encoding_error& other) {
    squares += other.squares;
    difference_squares += other.difference_squares;
    return *this;
  }
  /// Root of the mean square of new - old by that of the old values. 0 when nothing changed:
  /// also of no weights, or of zeros.
  [[nodiscard]] double relative() const {
    return difference_squares > 0 ? std::sqrt(difference_squares / squares) : 0.0;
  }
};

/// Encodes x [columns] as one row of the format, to `out`: to.bytes(1, columns) bytes, aligned as
/// the format's blocks. Unchecked: x is finite, columns a multiple of the block, and the format
/// one of the list whose rows own nothing beside their blocks.
inline void encode_row(const format_info& to, const float* x, index_t columns, std::byte* out) {
  formats::for_each([&]<class S>(S) {
    if (S::name == to.name) {
      typename S::row row{};
      S::encode(x, nullptr, columns, row, reinterpret_cast<typename S::block*>(out));
    }
  });
}

namespace detail {

// The largest value of a block is what its scale cannot hold; every value of it suffers.
[[noreturn]] inline void refuse_range(std::span<const float> x, std::size_t first,
                                      std::size_t block, const format_info& to,
                                      std::string_view name, index_t row) {
  std::size_t worst = first;
  for (std::size_t c = first; c < first + block; ++c) {
    worst = std::fabs(x[c]) > std::fabs(x[worst]) ? c : worst;
  }
  fail(name, ": the weight at row ", row, ", column ", worst, " is ", x[worst], ", too large for ",
       to.name);
}

}  // namespace detail

/// Encodes rows `first` to first + count - 1 of `from` in the format `to` and adds to `error`.
/// out: to.bytes(count, columns) bytes, aligned as the format's blocks. Throws, naming `name` and
/// the place, on columns that are no multiple of the format's block, a weight that is not finite,
/// and one that the format cannot hold (a scale beyond f16). Memory: two rows of floats.
inline void requantize(const any_packed& from, const format_info& to, index_t first, index_t count,
                       std::string_view name, std::span<std::byte> out, encoding_error& error) {
  const index_t columns = from.columns();
  require(to.gguf_type != no_gguf_type, name, ": ", to.name, " is no format of GGUF files");
  require(columns % to.block_size == 0, name, ": ", columns, " columns are no multiple of ",
          to.name, "'s block of ", to.block_size);
  require(first >= 0 && count >= 0 && first + count <= from.rows() &&
              static_cast<index_t>(out.size()) == to.bytes(count, columns),
          name, ": ", out.size(), " bytes for rows ", first, " to ", first + count - 1, " of ",
          from.rows(), ", wanted ", to.bytes(count, columns));
  std::vector<float> x(static_cast<std::size_t>(columns)), y(x.size());
  const auto block = static_cast<std::size_t>(to.block_size);
  const index_t stride = to.bytes(1, columns);
  const any_packed result = packed_as(to.gguf_type, out.data(), count, columns, name);
  for (index_t o = 0; o < count; ++o) {
    from.visit([&](const auto& w) { decode_row(w, first + o, x.data()); });
    for (index_t c = 0; c < columns; ++c) {
      const float v = x[static_cast<std::size_t>(c)];
      require(std::isfinite(v), name, ": the weight at row ", first + o, ", column ", c, " is ", v);
    }
    encode_row(to, x.data(), columns, out.data() + o * stride);
    result.visit([&](const auto& w) { decode_row(w, o, y.data()); });
    encoding_error row;
    for (std::size_t c = 0; c < x.size(); ++c) {
      const double old = static_cast<double>(x[c]);
      const double difference = static_cast<double>(y[c]) - old;
      if (!std::isfinite(difference)) {
        detail::refuse_range(x, c / block * block, block, to, name, first + o);
      }
      row.squares += old * old;
      row.difference_squares += difference * difference;
    }
    error += row;
  }
}

}  // namespace zoq
