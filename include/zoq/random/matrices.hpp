// What low-rank directions need to know of an order: which matrix an element of the field belongs to.
//
//     std::vector<extent> matrices = zoq::matrices_of(order, "lozo");
//     const extent* t = zoq::matrix_at(matrices.data(), count, element);     // none: null
//
// A tensor of one row or one column (a norm, a bias, the values of a sparse mask) has no low rank:
// there such a direction is standard normal.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/random/direction.hpp"

namespace zoq {

/// The matrix that the element belongs to, or null; `matrices` is sorted by its first. Cost: log2.
ZOQ_HD inline const extent* matrix_at(const extent* matrices, index_t count, index_t element) {
  index_t low = 0;
  for (index_t high = count; high - low > 1;) {
    const index_t middle = low + (high - low) / 2;
    (matrices[middle].first <= element ? low : high) = middle;
  }
  const index_t place = element - matrices[low].first;
  return place >= 0 && place < matrices[low].rows * matrices[low].columns ? matrices + low
                                                                          : nullptr;
}

/// The matrices of an order, `first` being an element of the field: with keys, where the matrix lies
/// among all values, those that the view leaves out included. So what is left out changes nothing for
/// the others. Throws, naming the direction and what to use instead, when there is no matrix, when the
/// values of one are a selection, and when the loops cannot read the host's memory.
std::vector<extent> matrices_of(const value_order& order, std::string_view direction);

}  // namespace zoq

#if ZOQ_BODIES

#include "zoq/core/error.hpp"

namespace zoq {

ZOQ_BODY std::vector<extent> matrices_of(const value_order& order, std::string_view direction) {
  constexpr const char* instead = "; use gaussian, rademacher or sphere";
  require(order.on_host, direction, ": its tables are in the host's memory, the values on a device",
          instead);
  std::vector<extent> out;
  for (index_t i = 0; i < order.count; ++i) {
    extent t = order.tensors[i];
    if (t.rows > 1 && t.columns > 1) {
      if (order.key != nullptr) {
        const index_t last = t.first + t.rows * t.columns - 1;
        require(order.key[last] - order.key[t.first] == last - t.first, direction,
                ": the values of a matrix are a selection, which has no low rank", instead);
        t.first = order.key[t.first];
      }
      require(out.empty() || out.back().first < t.first, direction,
              ": the matrices of the view are ", "not in the order of their elements", instead);
      out.push_back(t);
    }
  }
  require(!out.empty(), direction, ": none of the ", order.count,
          " tensors of the view is a matrix (a sparse mask's values are single rows)", instead);
  return out;
}

}  // namespace zoq

#endif
