// A mask: which entries of which matrices are tuned, as sorted flat indices (row * columns +
// column).
//
//     zoq::mask m;   m.tensors.push_back({"blk.0.attn_q.weight", 576, 576, {17, 404}});
//     m.validate();  m.count();  zoq::jaccard(m, other);
//
// A mask carries the hash of the model that it was made for, and what it was made from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "zoq/core/config.hpp"

namespace zoq {

/// The chosen entries of one matrix.
struct tensor_mask {
  std::string tensor;               // by its name in GGUF files
  index_t rows = 0;                 // of the matrix
  index_t columns = 0;              // of the matrix
  std::vector<std::int32_t> index;  // ascending, in [0, rows * columns)

  bool operator==(const tensor_mask&) const = default;  // the same entries of the same matrix
};

struct mask {
  std::vector<tensor_mask> tensors;          // each once; without entries it counts as not there
  std::string model_hash;                    // empty: not bound to a model
  std::map<std::string, std::string> about;  // what it was made from, for people and tools

  /// Entries in all tensors: k.
  [[nodiscard]] index_t count() const;

  /// Names the choice of entries, whatever is said about it; a matrix without entries counts as not
  /// there.
  [[nodiscard]] std::string hash() const;

  /// Throws, naming tensor and place, unless every tensor comes once and its indices ascend
  /// strictly within the matrix.
  void validate() const;
};

/// |a and b| / |a or b| over all tensors; 1 for two empty masks. Tensors are matched by name.
double jaccard(const mask& a, const mask& b);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <limits>
#include <span>

#include "zoq/core/error.hpp"
#include "zoq/core/hash.hpp"

namespace zoq {

ZOQ_BODY index_t mask::count() const {
  index_t n = 0;
  for (const tensor_mask& t : tensors) {
    n += static_cast<index_t>(t.index.size());
  }
  return n;
}

ZOQ_BODY std::string mask::hash() const {
  content_hash h;
  for (const tensor_mask& t : tensors) {
    if (t.index.empty()) {
      continue;
    }
    h.add(t.tensor).add(static_cast<std::uint64_t>(t.rows));
    h.add(static_cast<std::uint64_t>(t.columns));
    h.add(std::as_bytes(std::span<const std::int32_t>(t.index)));
  }
  return h.hex();
}

ZOQ_BODY void mask::validate() const {
  std::vector<std::string> names;
  for (const tensor_mask& t : tensors) {
    names.push_back(t.tensor);
    require(t.rows > 0 && t.columns > 0 &&
                t.rows <= std::numeric_limits<std::int32_t>::max() / t.columns,
            "mask: ", t.tensor, " of ", t.rows, " x ", t.columns,
            " has no entries or more than 2^31");
    index_t before = -1;
    for (std::size_t i = 0; i < t.index.size(); ++i) {
      require(t.index[i] > before, "mask: ", t.tensor, ": index ", t.index[i], " at place ", i,
              " does not ascend from ", before);
      require(t.index[i] < t.rows * t.columns, "mask: ", t.tensor, ": index ", t.index[i],
              " at place ", i, " is outside ", t.rows, " x ", t.columns);
      before = t.index[i];
    }
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  require(twice == names.end(), "mask: ", twice == names.end() ? "" : *twice, " comes twice");
}

ZOQ_BODY double jaccard(const mask& a, const mask& b) {
  index_t both = 0;
  for (const tensor_mask& t : a.tensors) {
    for (const tensor_mask& u : b.tensors) {
      if (t.tensor == u.tensor) {
        std::vector<std::int32_t> common;
        std::set_intersection(t.index.begin(), t.index.end(), u.index.begin(), u.index.end(),
                              std::back_inserter(common));
        both += static_cast<index_t>(common.size());
      }
    }
  }
  const index_t either = a.count() + b.count() - both;
  return either == 0 ? 1.0 : static_cast<double>(both) / static_cast<double>(either);
}

}  // namespace zoq

#endif
