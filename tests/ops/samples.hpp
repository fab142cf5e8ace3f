// Matrices in any format for tests, and how results are compared.
//
//     std::vector<float> x = zoq::test::uniform(rows * columns, 7);
//     zoq::test::packed_matrix w = zoq::test::pack("q4_1", values, rows, columns);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "random_values.hpp"
#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq::test {

inline std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

/// A matrix in a format, with its memory, which lives as long as any copy.
struct packed_matrix {
  std::shared_ptr<std::vector<std::byte>> bytes;
  any_packed view;

  /// [rows, columns]
  [[nodiscard]] std::vector<float> decoded() const {
    std::vector<float> out(at(view.rows() * view.columns()));
    view.visit([&](const auto& w) {
      for (index_t o = 0; o < w.shape[0]; ++o) {
        decode_row(w, o, out.data() + o * w.shape[1]);
      }
    });
    return out;
  }
};

/// Encodes values [rows, columns] in the format of this name.
inline packed_matrix pack(std::string_view format, std::span<const float> values, index_t rows,
                          index_t columns) {
  packed_matrix out;
  formats::for_each([&]<class S>(S) {
    if (S::name != format) {
      return;
    }
    std::vector<typename S::block> blocks(at(rows * columns / S::block_size));
    std::vector<typename S::row> tables(at(rows));
    for (index_t o = 0; o < rows; ++o) {
      S::encode(values.data() + o * columns, nullptr, columns, tables[at(o)],
                blocks.data() + o * (columns / S::block_size));
    }
    const auto from = std::as_bytes(std::span<const typename S::block>(blocks));
    out.bytes = std::make_shared<std::vector<std::byte>>(from.begin(), from.end());
    const std::byte* row_data = nullptr;
    if constexpr (zoq::row_bytes_of<S> !=
                  0) {  // behind the blocks, whose bytes are a multiple of 4
      const auto own = std::as_bytes(std::span<const typename S::row>(tables));
      out.bytes->insert(out.bytes->end(), own.begin(), own.end());
      row_data = out.bytes->data() + from.size();
    }
    out.view = packed_as(S::name, out.bytes->data(), row_data, rows, columns, "test");
  });
  require(out.bytes != nullptr, "test: no format ", format);
  return out;
}

/// The names of all formats whose block divides rows of so many columns.
inline std::vector<std::string_view> format_names(index_t columns = 32) {
  std::vector<std::string_view> out;
  formats::for_each([&]<class S>(S) {
    if (columns % S::block_size == 0) {
      out.push_back(S::name);
    }
  });
  return out;
}
/// Those that GGUF files can hold.
inline std::vector<std::string_view> gguf_format_names(index_t columns = 32) {
  std::vector<std::string_view> out;
  formats::for_each([&]<class S>(S) {
    if (columns % S::block_size == 0 && S::gguf_type != no_gguf_type) {
      out.push_back(S::name);
    }
  });
  return out;
}

inline tensor_view<float, 2> matrix(std::vector<float>& x, index_t rows, index_t columns) {
  return {x.data(), {rows, columns}};
}
inline tensor_view<const float, 2> matrix(const std::vector<float>& x, index_t rows,
                                          index_t columns) {
  return {x.data(), {rows, columns}};
}

/// Equal to the bit, signs of zeros and NaN included.
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// ||a - b|| / ||b||, Euclidean.
template <class A, class B>
double relative_error(const std::vector<A>& a, const std::vector<B>& b) {
  double difference = a.size() == b.size() ? 0 : HUGE_VAL;
  double norm = 0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference / norm);
}

/// The largest |a[i] - b[i]|; infinite when the sizes differ or a difference is NaN.
template <class A, class B>
double largest_difference(const std::vector<A>& a, const std::vector<B>& b) {
  double largest = a.size() == b.size() ? 0 : HUGE_VAL;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    largest = d <= largest ? largest : std::isnan(d) ? HUGE_VAL : d;
  }
  return largest;
}

}  // namespace zoq::test
