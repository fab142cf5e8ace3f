// Memory by part: what a plan is a list of, beforehand.
//
//     std::vector<zoq::memory_part> parts = {{"values", zoq::buffer_bytes<float>(k)}};
//     zoq::bytes_of(parts);  zoq::bytes_of(parts, "values");
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/tensor/buffer.hpp"

namespace zoq {

struct memory_part {
  std::string name;   // a few plain words, once in a list
  index_t bytes = 0;  // at its largest
  std::string what;   // its shape or its format, for people
};

/// "98.4 MB", of a million bytes.
[[nodiscard]] inline std::string in_megabytes(index_t bytes) {
  std::array<char, 32> out{};
  std::snprintf(out.data(), out.size(), "%.1f MB", static_cast<double>(bytes) / 1e6);
  return out.data();
}

/// What buffer<T>(n).byte_count() is, without the memory.
template <class T>
[[nodiscard]] constexpr index_t buffer_bytes(index_t n) {
  return (n * static_cast<index_t>(sizeof(T)) + alignment - 1) / alignment * alignment;
}

/// The sum of all parts.
[[nodiscard]] inline index_t bytes_of(std::span<const memory_part> parts) {
  index_t bytes = 0;
  for (const memory_part& p : parts) {
    bytes += p.bytes;
  }
  return bytes;
}

/// The part of this name. Throws when there is none.
[[nodiscard]] inline index_t bytes_of(std::span<const memory_part> parts, std::string_view name) {
  const auto at = std::find_if(parts.begin(), parts.end(),
                               [&](const memory_part& p) { return p.name == name; });
  require(at != parts.end(), "memory: there is no part \"", name, "\"");
  return at->bytes;
}

/// Makes every part of `parts` at least as large as the same part of `others`: reused buffers grow
/// and never shrink. Both lists have the same parts in the same order.
inline void grow(std::vector<memory_part>& parts, std::span<const memory_part> others) {
  require(parts.size() == others.size(), "memory: ", parts.size(), " and ", others.size(),
          " parts");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    require(parts[i].name == others[i].name, "memory: part ", parts[i].name, " and ",
            others[i].name);
    if (others[i].bytes > parts[i].bytes) {
      parts[i] = others[i];
    }
  }
}

}  // namespace zoq
