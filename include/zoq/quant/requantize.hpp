// Rows of weights from one format to another, and how far the new values lie from the old.
//
//     std::vector<std::byte> out(to.bytes(rows, columns)), tables(rows * to.row_bytes);
//     zoq::encoding_error error;
//     zoq::requantize(w, to, 0, rows, "blk.0.attn_q.weight", out, tables, importance, error);
//     error.relative();     // 0.08: root of sum (new - old)^2 / sum old^2
//
// `importance` says how much each weight matters. One of importance 0 does not: it may be kept beside.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "zoq/core/config.hpp"
#include "zoq/quant/formats.hpp"

namespace zoq {

/// Sums over the weights that matter of what an encoding changed.
struct encoding_error {
  double squares = 0;                      // of the old values
  double difference_squares = 0;           // of new - old
  double weighted_squares = 0;             // of the old values, each times its importance
  double weighted_difference_squares = 0;  // of new - old, each times its importance

  /// Adds the sums of other weights.
  encoding_error& operator+=(const encoding_error& other) {
    squares += other.squares;
    difference_squares += other.difference_squares;
    weighted_squares += other.weighted_squares;
    weighted_difference_squares += other.weighted_difference_squares;
    return *this;
  }
  /// Root of the mean square of new - old by that of the old values. 0 when nothing changed:
  /// also of no weights, or of zeros.
  [[nodiscard]] double relative() const;
  /// The same with each square times its importance.
  [[nodiscard]] double weighted() const;
};

/// Encodes x [columns] as one row of the format, to `out`: to.bytes(1, columns) bytes, aligned as
/// the format's blocks; and what the row owns to `row_out`: to.row_bytes bytes, unused where that is 0.
/// importance: [columns], or null. Unchecked: x is finite, columns a multiple of the block, and the
/// format one of the list.
void encode_row(const format_info& to, const float* x, const float* importance, index_t columns,
                std::byte* out, std::byte* row_out);

/// The same for a format whose rows own nothing; all values matter alike.
void encode_row(const format_info& to, const float* x, index_t columns, std::byte* out);

/// Encodes rows `first` to first + count - 1 of `from` in the format `to` and adds to `error`.
///
/// out: to.bytes(count, columns) bytes, out_rows: count * to.row_bytes bytes, each aligned as the
/// format's types. importance: [count, columns] of these rows, none negative, or empty: all 1. The
/// encoder gets 0 in the place of a weight of importance 0, and the errors leave it out: what it decodes
/// to means nothing.
///
/// Throws, naming `name` and the place, on columns that are no multiple of the format's block, a weight
/// that is not finite, and one that matters and that the format cannot hold (a scale beyond f16).
/// Memory: two rows of floats, and what the encoder needs.
void requantize(const any_packed& from, const format_info& to, index_t first, index_t count,
                std::string_view name, std::span<std::byte> out, std::span<std::byte> out_rows,
                std::span<const float> importance, encoding_error& error);

/// The same for a format whose rows own nothing, all weights alike: for GGUF files.
void requantize(const any_packed& from, const format_info& to, index_t first, index_t count,
                std::string_view name, std::span<std::byte> out, encoding_error& error);

}  // namespace zoq

#if ZOQ_BODIES

#include <cmath>
#include <cstring>
#include <vector>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY double encoding_error::relative() const {
  return difference_squares > 0 ? std::sqrt(difference_squares / squares) : 0.0;
}

ZOQ_BODY double encoding_error::weighted() const {
  return weighted_difference_squares > 0 ? std::sqrt(weighted_difference_squares / weighted_squares)
                                         : 0.0;
}

ZOQ_BODY void encode_row(const format_info& to, const float* x, const float* importance,
                         index_t columns, std::byte* out, std::byte* row_out) {
  formats::for_each([&]<class S>(S) {
    if (S::name == to.name) {
      typename S::row row{};
      S::encode(x, importance, columns, row, reinterpret_cast<typename S::block*>(out));
      if constexpr (row_bytes_of<S> != 0) {
        std::memcpy(row_out, &row, sizeof row);
      }
    }
  });
}

ZOQ_BODY void encode_row(const format_info& to, const float* x, index_t columns, std::byte* out) {
  encode_row(to, x, nullptr, columns, out, nullptr);
}

namespace detail {

// The largest value of a block is what its scale cannot hold; every value of it suffers.
[[noreturn]] ZOQ_BODY void refuse_range(std::span<const float> x, std::size_t first,
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

ZOQ_BODY void requantize(const any_packed& from, const format_info& to, index_t first,
                         index_t count, std::string_view name, std::span<std::byte> out,
                         std::span<std::byte> out_rows, std::span<const float> importance,
                         encoding_error& error) {
  const index_t columns = from.columns();
  require(columns % to.block_size == 0, name, ": ", columns, " columns are no multiple of ",
          to.name, "'s block of ", to.block_size);
  require(first >= 0 && count >= 0 && first + count <= from.rows() &&
              static_cast<index_t>(out.size()) == to.bytes(count, columns),
          name, ": ", out.size(), " bytes for rows ", first, " to ", first + count - 1, " of ",
          from.rows(), ", wanted ", to.bytes(count, columns));
  require(static_cast<index_t>(out_rows.size()) == count * to.row_bytes, name, ": ",
          out_rows.size(), " bytes for what ", count, " rows of ", to.name, " own, wanted ",
          count * to.row_bytes);
  require(importance.empty() || static_cast<index_t>(importance.size()) == count * columns, name,
          ": ", importance.size(), " values of importance for ", count, " x ", columns, " weights");
  std::vector<float> x(static_cast<std::size_t>(columns)), y(x.size());
  const auto block = static_cast<std::size_t>(to.block_size);
  const index_t stride = to.bytes(1, columns);
  const any_packed result = packed_as(
      to.name, out.data(), to.row_bytes == 0 ? nullptr : out_rows.data(), count, columns, name);
  for (index_t o = 0; o < count; ++o) {
    from.visit([&](const auto& w) { decode_row(w, first + o, x.data()); });
    const float* weight = importance.empty() ? nullptr : importance.data() + o * columns;
    for (index_t c = 0; c < columns; ++c) {
      float& v = x[static_cast<std::size_t>(c)];
      require(std::isfinite(v), name, ": the weight at row ", first + o, ", column ", c, " is ", v);
      v = weight == nullptr || weight[c] > 0 ? v : 0.0f;
    }
    encode_row(to, x.data(), weight, columns, out.data() + o * stride,
               out_rows.data() + o * to.row_bytes);
    result.visit([&](const auto& w) { decode_row(w, o, y.data()); });
    encoding_error row;
    for (std::size_t c = 0; c < x.size(); ++c) {
      const double matters = weight == nullptr ? 1.0 : static_cast<double>(weight[c]);
      if (!(matters > 0)) {
        continue;
      }
      const double old = static_cast<double>(x[c]);
      const double difference = static_cast<double>(y[c]) - old;
      if (!std::isfinite(difference)) {
        detail::refuse_range(x, c / block * block, block, to, name, first + o);
      }
      row.squares += old * old;
      row.difference_squares += difference * difference;
      row.weighted_squares += matters * (old * old);
      row.weighted_difference_squares += matters * (difference * difference);
    }
    error += row;
  }
}

ZOQ_BODY void requantize(const any_packed& from, const format_info& to, index_t first,
                         index_t count, std::string_view name, std::span<std::byte> out,
                         encoding_error& error) {
  require(to.gguf_type != no_gguf_type, name, ": ", to.name, " is no format of GGUF files");
  requantize(from, to, first, count, name, out, {}, {}, error);
}

}  // namespace zoq

#endif
