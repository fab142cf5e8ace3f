// One matrix of a model moved along a random direction of signs, all others as they are: what scores
// from forward passes alone look at.
//
//     zoq::moved_tensor<X> moved(exec, model.tensors());
//     double up = loss(moved.to(number, seed, +epsilon));    // W + epsilon * z(seed), z = +-1
//
// Rademacher signs, keyed by (seed, element). Memory: the offsets of one matrix, in float.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/ops/parts.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/random/rademacher.hpp"
#include "zoq/random/seeds.hpp"
#include "zoq/tensor/buffer.hpp"
#include "zoq/tensor/executor.hpp"

namespace zoq {

/// The seed of the signs of one probe of one tensor.
seed_t probe_seed(seed_t run, index_t tensor, index_t probe);

/// values[i] = scale * z[i], or values[i] += scale * z[i], four at a time.
struct signs_of_block {
  rademacher::field_type field;  // z
  float scale;                   // of the signs
  bool added;                    // to what stands in values
  float* values;                 // [n]
  index_t n;                     // entries of the tensor
  ZOQ_HD void operator()(index_t block) const {
    const float4v z = field.four(block);
    for (index_t j = 0; j < 4 && 4 * block + j < n; ++j) {
      float& v = values[4 * block + j];
      v = scale * z.at[j] + (added ? v : 0.0f);
    }
  }
};

/// values: [n], of the executor. Elements are numbered within the tensor.
template <executor X>
void place_signs(const X& exec, seed_t seed, float scale, bool added, float* values, index_t n) {
  exec.for_each((n + 3) / 4, signs_of_block{rademacher::at(seed, {}), scale, added, values, n});
}

template <executor X>
class moved_tensor {
 public:
  /// Keeps references: executor and tensors must outlive it.
  moved_tensor(const X& exec, std::span<const model_tensor> tensors)
      : exec_(exec), tensors_(tensors), parts_(tensors.size()) {}

  /// One branch, with tensor `number` at its base + scale * z(seed). Valid until the next call.
  branch_parts to(index_t number, seed_t seed, float scale);

 private:
  const X& exec_;
  std::span<const model_tensor> tensors_;
  std::vector<parts> parts_;
  buffer<float, typename X::space> offset_;  // [O * C] of the largest so far
};

template <executor X>
branch_parts moved_tensor<X>::to(index_t number, seed_t seed, float scale) {
  const any_packed& w = tensors_[static_cast<std::size_t>(number)].weight;
  const index_t n = w.rows() * w.columns();
  offset_.reserve(n);
  place_signs(exec_, seed, scale, false, offset_.data(), n);
  parts_.assign(tensors_.size(), parts{});
  parts_[static_cast<std::size_t>(number)].offset =
      offset_part{{tensor_view<const float, 2>{offset_.data(), {1, n}}, 0}};
  return {.count = 1, .tensor = parts_};
}

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY seed_t probe_seed(seed_t run, index_t tensor, index_t probe) {
  return derive_seed(derive_seed(run, purpose::masks, static_cast<std::uint64_t>(tensor)),
                     purpose::probes, static_cast<std::uint64_t>(probe));
}

}  // namespace zoq

#endif
