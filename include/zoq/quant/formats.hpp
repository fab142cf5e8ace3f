// The list of formats, and a matrix in any one of them. This is the only place that names them all,
// and the only run-time switch on the format: one visit per call of an operation.
//
//     any_packed w = zoq::packed_as(gguf_type, bytes, rows, columns, "blk.0.attn_q.weight");
//     w.visit([&](const auto& packed) { zoq::decode_row(packed, 0, y); });
//     any_packed t = zoq::packed_as("lut4", bytes, tables, rows, columns, "blk.0.attn_q.weight");
//     std::optional<format_info> f = zoq::find_format(3);     // q4_1: 32 values in 20 bytes
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "zoq/core/config.hpp"
#include "zoq/quant/float_formats.hpp"
#include "zoq/quant/lut3.hpp"
#include "zoq/quant/lut4.hpp"
#include "zoq/quant/nf4.hpp"
#include "zoq/quant/packed_view.hpp"
#include "zoq/quant/q4_0.hpp"
#include "zoq/quant/q4_1.hpp"
#include "zoq/quant/q4_k.hpp"
#include "zoq/quant/q5_0.hpp"
#include "zoq/quant/q5_1.hpp"
#include "zoq/quant/q5_k.hpp"
#include "zoq/quant/q6_k.hpp"
#include "zoq/quant/q8_0.hpp"
#include "zoq/quant/scheme.hpp"

namespace zoq {

/// Formats among which one is chosen at run time.
template <quant_scheme... S>
struct format_list {
  using any = std::variant<packed_view<S>...>;  // a matrix in one of them
  /// Calls f(S{}) for every format in turn.
  template <class F>
  static constexpr void for_each(F&& f) {
    (f(S{}), ...);
  }
};

/// All formats, those of GGUF files and others. A new one is added here.
using formats = format_list<f32_format, f16_format, bf16_format, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k,
                            q5_k, q6_k, nf4, lut4, lut3>;

/// What a reader needs to know of a format.
struct format_info {
  std::string_view name;
  std::uint32_t gguf_type = no_gguf_type;
  int block_size = 1;                                // values
  index_t block_bytes = 0;                           // bytes of one block
  std::optional<std::uint32_t> gguf_file_type = {};  // of files made of this format, if it has one
  index_t row_bytes = 0;                             // that a row owns beside its blocks
  index_t alignment = 1;                             // of blocks, and of what rows own
  /// Bytes of the blocks of `rows` x `columns` values; columns must be a multiple of block_size.
  [[nodiscard]] constexpr index_t bytes(index_t rows, index_t columns) const {
    return rows * (columns / block_size) * block_bytes;
  }
  /// The same with what the rows own.
  [[nodiscard]] constexpr index_t bytes_with_rows(index_t rows, index_t columns) const {
    return bytes(rows, columns) + rows * row_bytes;
  }
};

/// Of the format S: what its members say.
template <quant_scheme S>
constexpr format_info info_of() {
  format_info out = {S::name, S::gguf_type, S::block_size,
                     static_cast<index_t>(sizeof(typename S::block))};
  if constexpr (requires { S::gguf_file_type; }) {
    out.gguf_file_type = S::gguf_file_type;
  }
  out.row_bytes = row_bytes_of<S>;
  out.alignment =
      static_cast<index_t>(std::max(alignof(typename S::block), alignof(typename S::row)));
  return out;
}

/// The format with this GGUF type id, if the list has it.
constexpr std::optional<format_info> find_format(std::uint32_t gguf_type) {
  std::optional<format_info> found;
  formats::for_each([&]<class S>(S) {
    if (S::gguf_type == gguf_type && gguf_type != no_gguf_type) {
      found = info_of<S>();
    }
  });
  return found;
}

/// The format of this name ("q4_1"), if the list has it.
constexpr std::optional<format_info> find_format(std::string_view name) {
  std::optional<format_info> found;
  formats::for_each([&]<class S>(S) {
    if (S::name == name) {
      found = info_of<S>();
    }
  });
  return found;
}

/// A matrix in any of the formats. Owns nothing.
struct any_packed {
  formats::any of;  // the matrix as its own type

  /// f(packed_view<S>) for the format S that it has; returns what f does.
  template <class F>
  decltype(auto) visit(F&& f) const {
    return std::visit(std::forward<F>(f), of);
  }
  /// O of [O, C].
  [[nodiscard]] index_t rows() const;
  /// C of [O, C], a multiple of the block.
  [[nodiscard]] index_t columns() const;
  /// Name and block of its format.
  [[nodiscard]] format_info format() const;
  /// Its blocks: format().bytes(rows(), columns()) bytes.
  [[nodiscard]] const std::byte* bytes() const;
  /// What the rows own beside their blocks: rows() * format().row_bytes bytes, or null.
  [[nodiscard]] const std::byte* row_data() const;
  /// Of blocks and of what the rows own.
  [[nodiscard]] index_t byte_count() const;
};

/// Floats [rows, columns] as a matrix of the format f32.
inline packed_view<f32_format> float_matrix(const float* values, index_t rows, index_t columns) {
  static_assert(sizeof(f32_format::block) == sizeof(float));
  return {reinterpret_cast<const f32_format::block*>(values), nullptr, {rows, columns}};
}

/// Views `blocks` as `rows` x `columns` values of the format of this name, and `row_data` as what its
/// rows own (null where they own nothing). The caller has checked that the bytes are there, and that
/// they are aligned as the format's types. `name` is used in messages. Throws on an unknown format, on
/// columns that are no multiple of its block, and on row data that is missing or too much.
any_packed packed_as(std::string_view format, const std::byte* blocks, const std::byte* row_data,
                     index_t rows, index_t columns, std::string_view name);

/// The same by GGUF id: formats of GGUF files, whose rows own nothing.
any_packed packed_as(std::uint32_t gguf_type, const std::byte* bytes, index_t rows, index_t columns,
                     std::string_view name);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY index_t any_packed::rows() const {
  return visit([](const auto& w) { return w.shape[0]; });
}

ZOQ_BODY index_t any_packed::columns() const {
  return visit([](const auto& w) { return w.shape[1]; });
}

ZOQ_BODY format_info any_packed::format() const {
  return visit([]<class S>(const packed_view<S>&) { return info_of<S>(); });
}

ZOQ_BODY const std::byte* any_packed::bytes() const {
  return visit([](const auto& w) { return reinterpret_cast<const std::byte*>(w.blocks); });
}

ZOQ_BODY const std::byte* any_packed::row_data() const {
  return visit([](const auto& w) { return reinterpret_cast<const std::byte*>(w.row_data); });
}

ZOQ_BODY index_t any_packed::byte_count() const {
  return visit([](const auto& w) { return w.byte_count(); });
}

ZOQ_BODY any_packed packed_as(std::string_view format, const std::byte* blocks,
                              const std::byte* row_data, index_t rows, index_t columns,
                              std::string_view name) {
  std::optional<any_packed> out;
  formats::for_each([&]<class S>(S) {
    if (S::name == format) {
      require(columns % S::block_size == 0, name, ": ", columns, " columns are no multiple of ",
              S::name, "'s block of ", S::block_size);
      require((row_data != nullptr) == (row_bytes_of<S> != 0) || rows == 0, name, ": rows of ",
              S::name, " own ", row_bytes_of<S>, " bytes each, ",
              row_data == nullptr ? "none are given" : "but some are given");
      out = any_packed{packed_view<S>{reinterpret_cast<const typename S::block*>(blocks),
                                      reinterpret_cast<const typename S::row*>(row_data),
                                      {rows, columns}}};
    }
  });
  require(out.has_value(), name, ": unknown format ", format);
  return *out;
}

ZOQ_BODY any_packed packed_as(std::uint32_t gguf_type, const std::byte* bytes, index_t rows,
                              index_t columns, std::string_view name) {
  const std::optional<format_info> format = find_format(gguf_type);
  require(format.has_value(), name, ": unknown format, GGUF type ", gguf_type);
  return packed_as(format->name, bytes, nullptr, rows, columns, name);
}

}  // namespace zoq

#endif
