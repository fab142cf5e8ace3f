// The reverse of a model's head: from the stream after the last layer to the likelihoods that are
// read, to the losses of the samples, and back to the gradient towards the stream.
//
//     double losses = zoq::reverse_head(exec, {weight, gain, epsilon}, group, batch, samples, stream);
//
// Only rows that are read go through the head. The logits of 64 of them exist at a time: once for the
// likelihoods, which the losses are made of, and, where there were more, once again for their reverse.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/model/batch.hpp"
#include "zoq/model/reverse_groups.hpp"
#include "zoq/ops/linear.hpp"
#include "zoq/ops/loss.hpp"
#include "zoq/ops/norm.hpp"
#include "zoq/ops/pointwise.hpp"
#include "zoq/ops/reverse.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/tensor_view.hpp"

namespace zoq {

/// What follows the last layer of a model, in the executor's memory.
struct head_weights {
  const any_packed& weight;          // [V, C]
  tensor_view<const float, 1> gain;  // [C] of the last norm
  float norm_epsilon;                // of the last norm
};

/// The sum of the losses of the samples of a group; weights <- the derivative towards every read, in
/// the order of `order`, as are the likelihoods.
double losses_of(samples_ref samples, const sample_group& group, const reads_by_row& order,
                 std::span<const double> likelihoods, std::vector<float>& weights);

/// stream: [rows, C], the output of the last layer -> the gradient of the losses' sum towards it, which
/// is 0 in rows that are not read. `batch` holds the group's packing. Returns the sum of the losses.
template <executor X>
double reverse_head(const X& exec, const head_weights& head, const sample_group& group,
                    const device_batch<X>& batch, samples_ref samples,
                    tensor_view<float, 2> stream) {
  using matrix = tensor_view<float, 2>;
  constexpr index_t piece = 64;  // rows whose logits exist at a time
  const index_t columns = stream.shape[1], vocabulary = head.weight.rows();
  const index_t all = batch.read_row_count();
  const auto reads = static_cast<index_t>(group.batch.reads.size());
  const auto x_memory = exec.template allocate<float>(all * columns);
  const auto h_memory = exec.template allocate<float>(all * columns);
  const auto dh_memory = exec.template allocate<float>(all * columns);
  const auto logits = exec.template allocate<float>(std::min(piece, all) * vocabulary);
  const auto normaliser = exec.template allocate<double>(all);
  const matrix x = x_memory.view(all, columns), h = h_memory.view(all, columns),
               dh = dh_memory.view(all, columns);
  gather_rows(exec, stream, batch.read_places(), 1, x);
  rms_norm(exec, x, head.gain, head.norm_epsilon, h);
  const auto logits_of = [&](index_t first) {
    const index_t n = std::min(piece, all - first);
    const matrix out = logits.view(n, vocabulary);
    linear(exec, h.rows(first, n), head.weight, {}, {}, out);
    return out;
  };

  const reads_by_row order =
      order_by_row(group.batch, all, [&](index_t row) { return batch.read_place(row); });
  std::vector<likelihood_place> place;
  for (index_t r = 0; r < all; ++r) {
    for (auto i = order.first[static_cast<std::size_t>(r)];
         i < order.first[static_cast<std::size_t>(r + 1)]; ++i) {
      place.push_back(
          {static_cast<std::int32_t>(r % piece), order.target[static_cast<std::size_t>(i)]});
    }
  }
  const auto places = exec.template allocate<likelihood_place>(reads);
  const auto likelihoods = exec.template allocate<double>(reads);
  exec.upload(place.data(), reads, places.data());
  for (index_t first = 0; first < all; first += piece) {
    const matrix out = logits_of(first);
    const index_t from = order.first[static_cast<std::size_t>(first)];
    const index_t n = order.first[static_cast<std::size_t>(first + out.shape[0])] - from;
    const auto sums = normaliser.view(all).rows(first, out.shape[0]);
    log_normalisers(exec, out, sums);
    log_likelihoods(exec, out, sums, places.view(reads).rows(from, n),
                    likelihoods.view(reads).rows(from, n));
  }
  std::vector<double> host(static_cast<std::size_t>(reads));
  exec.download(likelihoods.data(), reads, host.data());
  std::vector<float> weights;
  const double losses = losses_of(samples, group, order, host, weights);

  const auto weight_of_read = exec.template allocate<float>(reads);
  const auto first_read = exec.template allocate<std::int32_t>(all + 1);
  const auto target = exec.template allocate<token_t>(reads);
  exec.upload(weights.data(), reads, weight_of_read.data());
  exec.upload(order.first.data(), all + 1, first_read.data());
  exec.upload(order.target.data(), reads, target.data());
  for (index_t first = 0; first < all; first += piece) {
    const matrix out = all <= piece ? logits.view(all, vocabulary) : logits_of(first);
    exec.for_each(out.shape[0],
                  likelihood_reverse_row{out, normaliser.data() + first, first_read.data() + first,
                                         target.data(), weight_of_read.data()});
    exec.linear_to_input(out, head.weight, dh.rows(first, out.shape[0]));
  }
  const matrix dx = h;  // no longer needed
  clear(exec, dx);
  rms_norm_reverse(exec, x, head.gain, head.norm_epsilon, dh, dx);
  clear(exec, stream);
  exec.for_each(all, scatter_row{dx, batch.read_places().data, stream});
  return losses;
}

}  // namespace zoq

#if ZOQ_BODIES

namespace zoq {

ZOQ_BODY double losses_of(samples_ref samples, const sample_group& group, const reads_by_row& order,
                          std::span<const double> likelihoods, std::vector<float>& weights) {
  std::vector<double> scores(likelihoods.size()), derivatives(likelihoods.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    scores[order.order[i]] = likelihoods[i];
  }
  double sum = 0;
  for (index_t s = 0; s < group.samples(); ++s) {
    const std::size_t from = group.begin[static_cast<std::size_t>(s)].reads;
    const std::size_t n = group.begin[static_cast<std::size_t>(s + 1)].reads - from;
    sum += samples.loss(group.first + s, std::span<const double>(scores).subspan(from, n),
                        std::span<double>(derivatives).subspan(from, n));
  }
  weights.clear();
  for (const std::size_t r : order.order) {
    weights.push_back(static_cast<float>(derivatives[r]));
  }
  return sum;
}

}  // namespace zoq

#endif
