// A budget of entries over tensors: how many each gets of k, by a score of each tensor.
//
//     k_t = k * s_t / sum s,   s_t = entries_t * max(score_t, 0)^power,   0 <= k_t <= entries_t
//
//     auto counts = zoq::tensor_budget(traces.of_tensors(), k);
//     auto mask = zoq::top_k(scores, {.per = zoq::scope::tensor, .counts = counts});
//
// The score says how many entries a tensor gets, another one says which. score_t is per entry: a mean,
// as a Hessian's mean eigenvalue. Power 1/2 spreads the budget more evenly, power 0 evenly. Whole
// numbers come by the largest remainders, so the sum is k exactly.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "zoq/core/config.hpp"

namespace zoq {

/// A tensor that competes for entries.
struct tensor_score {
  std::string tensor;   // its name
  index_t entries = 0;  // of the whole tensor
  double score = 0;     // of one entry
};

/// What a tensor gets of the budget.
struct tensor_count {
  std::string tensor;  // its name
  index_t count = 0;   // entries, 0 or more
};

/// Counts in the order of `tensors`; their sum is k. Where all weights are 0 the entries alone count. A
/// tensor that is full leaves the rest to the others. Throws when k is more than all entries, and on
/// scores that are not finite.
std::vector<tensor_count> tensor_budget(std::span<const tensor_score> tensors, index_t k,
                                        double power = 1);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY std::vector<tensor_count> tensor_budget(std::span<const tensor_score> tensors, index_t k,
                                                 double power) {
  index_t entries = 0;
  std::vector<double> weight;
  for (const tensor_score& t : tensors) {
    require(std::isfinite(t.score), "tensor budget: the score of ", t.tensor, " is ", t.score);
    entries += t.entries;
    weight.push_back(static_cast<double>(t.entries) * std::pow(std::fmax(t.score, 0.0), power));
  }
  require(k >= 0 && k <= entries, "tensor budget: ", k, " of ", entries, " entries");
  require(power >= 0, "tensor budget: power ", power);
  std::vector<double> share(tensors.size(), 0.0);  // before rounding
  std::vector<bool> full(tensors.size(), false);
  double left = static_cast<double>(k);
  for (bool changed = true; changed;) {
    changed = false;
    double all = 0;
    for (std::size_t t = 0; t < weight.size(); ++t) {
      all += full[t] ? 0.0 : weight[t];
    }
    if (all <= 0) {  // what is left goes by size
      for (std::size_t t = 0; t < weight.size(); ++t) {
        weight[t] = static_cast<double>(tensors[t].entries);
        all += full[t] ? 0.0 : weight[t];
      }
    }
    const double now = left;
    for (std::size_t t = 0; t < weight.size(); ++t) {
      if (!full[t]) {
        share[t] = all > 0 ? now * weight[t] / all : 0.0;
      }
    }
    for (std::size_t t = 0; t < weight.size(); ++t) {
      const auto most = static_cast<double>(tensors[t].entries);
      if (!full[t] && share[t] >= most) {
        full[t] = changed = true;
        share[t] = most;
        left -= most;
      }
    }
  }
  std::vector<tensor_count> out;
  index_t given = 0;
  for (std::size_t t = 0; t < share.size(); ++t) {
    const auto whole = std::clamp<index_t>(static_cast<index_t>(share[t]), 0, tensors[t].entries);
    out.push_back({tensors[t].tensor, whole});
    given += whole;
  }
  std::vector<std::size_t> order(share.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return share[a] - std::floor(share[a]) > share[b] - std::floor(share[b]);
  });
  for (bool more = given < k; more; more = given < k) {  // one round, but for tensors that are full
    for (const std::size_t t : order) {
      if (given < k && out[t].count < tensors[t].entries) {
        ++out[t].count;
        ++given;
      }
    }
  }
  for (auto t = order.rbegin(); given > k; ++t) {  // only if sums of doubles rounded upwards
    const index_t taken = std::min(out[*t].count, given - k);
    out[*t].count -= taken;
    given -= taken;
  }
  return out;
}

}  // namespace zoq

#endif
