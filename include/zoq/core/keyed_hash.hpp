// A hash for tables whose keys come from files. It depends on numbers that every process draws for itself,
// so no file can hold keys that all fall into one bucket, where each look-up would walk through all.
//
//     std::unordered_map<std::string, int, zoq::keyed_hash, std::equal_to<>> table;
//     table.find(std::string_view("key"));
//
// Nothing that is kept or compared between processes may depend on it: names of contents are those of
// core/hash.hpp. Crosby and Wallach, "Denial of Service via Algorithmic Complexity Attacks", 2003.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "zoq/core/config.hpp"

namespace zoq {

struct keyed_hash {
  using is_transparent = void;  // a table can look up a view, without a copy

  /// Different in every process, the same within one.
  std::size_t operator()(std::uint64_t key) const {
    const secrets& s = drawn();
    return fold(fold(key ^ s.start, s.factor) ^ s.start, s.factor);
  }
  /// Eight bytes at a time.
  std::size_t operator()(std::string_view key) const {
    const secrets& s = drawn();
    std::uint64_t h = s.start ^ key.size();
    for (; key.size() >= 8; key.remove_prefix(8)) {
      std::uint64_t word;
      std::memcpy(&word, key.data(), 8);
      h = fold(h ^ word, s.factor);
    }
    std::uint64_t word = 0;
    std::memcpy(&word, key.data(), key.size());
    return fold(fold(h ^ word, s.factor) ^ s.start, s.factor);
  }

 private:
  struct secrets {
    std::uint64_t start, factor;
  };
  static const secrets& drawn() {
    static const secrets once = draw();
    return once;
  }
  static secrets draw();
  // The upper half of the product depends on all bits of `a`; the sum keeps `a` when the product is zero.
  static std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
    __extension__ using wide = unsigned __int128;
    const wide product = static_cast<wide>(a) * b;
    return (static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64)) + a;
  }
};

}  // namespace zoq

#if ZOQ_BODIES

#include <random>

namespace zoq {

ZOQ_BODY keyed_hash::secrets keyed_hash::draw() {
  std::random_device source;
  const auto word = [&] { return std::uint64_t{source()} << 32 | source(); };
  return {word(), word() | 1};
}

}  // namespace zoq

#endif
