// top_k: the entries of largest score, per matrix or over all, from scores that come one matrix at
// a time, so that no buffer of the model's size is needed.
//
//     zoq::mask m = zoq::top_k(scores, {.density = 0.001, .per = zoq::scope::matrix});
//
// `scores` is anything with entries(), the number of all scores, and visit(f), which calls
// f(tensor, rows, columns, span of floats) for each matrix. k = floor(density * entries), of each
// matrix or of all together; or the counts of a tensor budget say how many each matrix gets. Of equal
// scores the earlier matrix and the smaller index win, so a mask is a function of its scores.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/sparse/mask.hpp"
#include "zoq/sparse/tensor_budget.hpp"

namespace zoq {

/// What k is taken of: a share of each matrix, a budget for each, a share of all together.
enum class scope { matrix, tensor, global };

/// How many entries are chosen, and among which.
struct top_k_options {
  double density = 0.001;              // k over the number of entries, in (0, 1]
  scope per = scope::matrix;           // what k is taken of
  std::vector<tensor_count> counts{};  // for scope::tensor, which the density does not matter to
};

/// The scope of this name. Throws, naming the choices.
scope scope_named(std::string_view name);

/// Takes scores matrix by matrix. Memory: the result, and at most 2^20 + k candidates meanwhile.
class top_k_selector {
 public:
  /// `entries` of all the matrices that will come. Throws unless the density is in (0, 1].
  top_k_selector(const top_k_options& options, index_t entries);

  /// scores: [rows * columns]. Throws on a NaN, naming tensor and index.
  void add(std::string_view tensor, index_t rows, index_t columns, std::span<const float> scores);

  /// The mask. The selector is used up. Throws when scores were announced that never came.
  mask finish();

 private:
  struct candidate {
    float score;
    std::int32_t tensor, index;
    bool operator<(const candidate& other) const {  // the better one comes first
      if (score != other.score) {
        return score > other.score;
      }
      return tensor != other.tensor ? tensor < other.tensor : index < other.index;
    }
  };

  // floor(density * n): the tiny excess keeps 0.001 * 1000 from falling below 1.
  [[nodiscard]] index_t share(index_t n) const;

  // The budget of this tensor.
  [[nodiscard]] index_t count_of(std::string_view tensor, index_t entries) const;

  void keep_best(index_t k);

  void hand_over();

  top_k_options options_;
  index_t entries_ = 0, seen_ = 0;
  std::vector<candidate> candidates_;
  std::optional<candidate> dropped_;  // the best of those that were left out
  mask chosen_;
};

/// The mask of these scores. Throws as top_k_selector does.
template <class Scores>
mask top_k(const Scores& scores, const top_k_options& options = {}) {
  top_k_selector selector(options, scores.entries());
  scores.visit([&](std::string_view tensor, index_t rows, index_t columns,
                   std::span<const float> values) { selector.add(tensor, rows, columns, values); });
  return selector.finish();
}

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cmath>
#include <limits>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY scope scope_named(std::string_view name) {
  require(name == "matrix" || name == "tensor" || name == "global", "unknown scope \"", name,
          "\": matrix, tensor or global");
  return name == "matrix" ? scope::matrix : name == "tensor" ? scope::tensor : scope::global;
}

ZOQ_BODY top_k_selector::top_k_selector(const top_k_options& options, index_t entries)
    : options_(options), entries_(entries) {
  require(options.density > 0 && options.density <= 1, "density ", options.density,
          " is outside (0, 1]");
}

ZOQ_BODY void top_k_selector::add(std::string_view tensor, index_t rows, index_t columns,
                                  std::span<const float> scores) {
  constexpr index_t most = std::numeric_limits<std::int32_t>::max();
  require(rows > 0 && columns > 0 && rows <= most / columns &&
              static_cast<index_t>(scores.size()) == rows * columns,
          "top_k: ", tensor, " has ", scores.size(), " scores for ", rows, " x ", columns);
  const auto number = static_cast<std::int32_t>(chosen_.tensors.size());
  chosen_.tensors.push_back({std::string(tensor), rows, columns, {}});
  seen_ += rows * columns;
  require(seen_ <= entries_, "top_k: ", seen_, " scores and more, ", entries_, " were announced");
  const index_t wanted = options_.per == scope::tensor
                             ? count_of(tensor, rows * columns)
                             : share(options_.per == scope::matrix ? rows * columns : entries_);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    require(!std::isnan(scores[i]), "top_k: score ", i, " of ", tensor, " is NaN");
    const candidate next{scores[i], number, static_cast<std::int32_t>(i)};
    if (dropped_.has_value() && !(next < *dropped_)) {
      continue;  // as many as are wanted are better
    }
    candidates_.push_back(next);
    if (candidates_.size() >= (std::size_t{1} << 20) + static_cast<std::size_t>(wanted)) {
      keep_best(wanted);
    }
  }
  keep_best(wanted);
  if (options_.per != scope::global) {
    hand_over();
  }
}

ZOQ_BODY mask top_k_selector::finish() {
  require(seen_ == entries_, "top_k: ", seen_, " scores, ", entries_, " were announced");
  if (options_.per == scope::global) {
    hand_over();
  }
  return std::move(chosen_);
}

ZOQ_BODY index_t top_k_selector::share(index_t n) const {
  return std::min(n, static_cast<index_t>(options_.density * static_cast<double>(n) * (1 + 1e-12)));
}

ZOQ_BODY index_t top_k_selector::count_of(std::string_view tensor, index_t entries) const {
  for (const tensor_count& c : options_.counts) {
    if (c.tensor == tensor) {
      require(c.count >= 0 && c.count <= entries, "top_k: a budget of ", c.count, " for ", tensor,
              " of ", entries, " entries");
      return c.count;
    }
  }
  fail("top_k: the budget has no count for ", tensor);
}

ZOQ_BODY void top_k_selector::keep_best(index_t k) {
  const auto wanted = static_cast<std::size_t>(k);
  if (candidates_.size() > wanted) {
    std::nth_element(candidates_.begin(), candidates_.begin() + k, candidates_.end());
    dropped_ = candidates_[wanted];
    candidates_.resize(wanted);
  }
}

ZOQ_BODY void top_k_selector::hand_over() {
  for (const candidate& c : candidates_) {
    chosen_.tensors[static_cast<std::size_t>(c.tensor)].index.push_back(c.index);
  }
  for (tensor_mask& t : chosen_.tensors) {
    if (!std::is_sorted(t.index.begin(), t.index.end())) {
      std::sort(t.index.begin(), t.index.end());
    }
  }
  candidates_.clear();
  dropped_.reset();
}

}  // namespace zoq

#endif
