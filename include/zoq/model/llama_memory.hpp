// What a model and its forward pass take in memory, from sizes alone: also for a model that is too
// large to be here. Of any family; a view's own additions are the view's to count.
//
//     zoq::llama_weights w = zoq::weights_of(config, {.linear = q4_1, .rest = q8_0});
//     auto parts = zoq::forward_memory(config, {.branches = 2, .rows = 384, .read_rows = 16});
//
// The same sizes as decoder_forward takes: a test compares them with its byte_count().
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/exec/compute.hpp"
#include "zoq/exec/instruction_set.hpp"
#include "zoq/model/decoder_config.hpp"
#include "zoq/model/family.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/memory_part.hpp"

namespace zoq {

struct workspace_limits;

/// The matrices of all layers, in their order.
[[nodiscard]] std::vector<expected_tensor> layer_matrices(const decoder_config& c);

/// Bytes of a model's tensors as they are stored.
struct llama_weights {
  index_t linear = 0;     // the matrices of all layers
  index_t embedding = 0;  // and the head, once when they are one tensor; and learned positions
  index_t norms = 0;      // and biases
  index_t padding = 0;    // of a copy on a device: every tensor's, up to a multiple of `alignment`
  /// Without padding.
  [[nodiscard]] constexpr index_t total() const { return linear + embedding + norms; }
};

/// The formats of a model that is planned.
struct weight_formats {
  format_info linear;  // of the matrices of linear layers
  format_info rest;    // of embedding, positions and head; norms and biases are f32
  bool tied = false;   // the head is the embedding
};

/// One forward pass, by what decides its memory.
struct pass_shape {
  index_t branches = 1;   // both of a pair counted
  bool pairs = false;     // of opposite branches: see branch_stack
  index_t rows = 1;       // T of the packing: tokens of one branch
  index_t read_rows = 1;  // Q of them, where answers are read
  index_t reads = 1;      // answers of one branch
  index_t segments = 1;   // S of the packing
  index_t positions = 1;  // of the longest sequence
};

/// Of a model of these sizes. Throws, naming the matrix, when a format's block does not fit it.
[[nodiscard]] llama_weights weights_of(const decoder_config& c, const weight_formats& in);

/// Of a model that is here, its linear matrices in `linear` instead of their own format, if given.
/// Throws, naming the tensor, when a format's block does not fit it.
[[nodiscard]] llama_weights weights_of(std::span<const model_tensor> tensors,
                                       const std::optional<format_info>& linear = {});

/// The buffers of a forward pass, each at its size: what decoder_forward::byte_count() sums up
/// after passes without a view's prompt, prefix, gains or biases.
[[nodiscard]] std::vector<memory_part> forward_memory(const decoder_config& c,
                                                      const pass_shape& pass);

/// What the executor `cpu` keeps of the inputs of its widest product: rounded for the product, and
/// turned for the view's part.
[[nodiscard]] index_t workspace_memory(const decoder_config& c, const pass_shape& pass,
                                       compute products, instruction_set kernels);

/// What an executor on Thrust keeps for the products of a pass, f32 or bf16, with a part of a view on
/// every matrix of a layer: the largest slice of decoded weights, and the inputs of the widest layer.
[[nodiscard]] std::vector<memory_part> device_workspaces(const decoder_config& c,
                                                         const pass_shape& pass, compute products,
                                                         const workspace_limits& limits);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "zoq/core/error.hpp"
#include "zoq/core/half.hpp"
#include "zoq/exec/products.hpp"
#include "zoq/exec/thrust_tasks.hpp"
#include "zoq/model/families.hpp"
#include "zoq/model/head_runs.hpp"
#include "zoq/ops/loss.hpp"
#include "zoq/tensor/segment.hpp"

namespace zoq {

namespace detail {

ZOQ_BODY index_t planned_bytes(const format_info& format, const std::string& name, index_t rows,
                               index_t columns) {
  require(columns % format.block_size == 0, name, ": ", columns, " columns are no multiple of ",
          format.name, "'s block of ", format.block_size);
  return format.bytes_with_rows(rows, columns);
}

// A tensor of these bytes, to the part of `to` that its role says.
ZOQ_BODY void add_tensor(llama_weights& to, tensor_role role, index_t bytes) {
  const bool is_vector = role == tensor_role::norm || role == tensor_role::bias;
  (role == tensor_role::linear ? to.linear : is_vector ? to.norms : to.embedding) += bytes;
  to.padding += buffer_bytes<std::byte>(bytes) - bytes;
}

// The rows of logits that stand in memory at the same time.
ZOQ_BODY index_t logit_rows(const pass_shape& pass) {
  const auto runs = head_runs({pass.branches, pass.pairs}, pass.read_rows, most_head_rows);
  return runs.empty() ? 0 : runs.front().rows;  // none has more than the first
}

}  // namespace detail

ZOQ_BODY std::vector<expected_tensor> layer_matrices(const decoder_config& c) {
  std::vector<expected_tensor> out = tensors_of(c).all();
  std::erase_if(out, [](const expected_tensor& t) { return t.role != tensor_role::linear; });
  return out;
}

ZOQ_BODY llama_weights weights_of(const decoder_config& c, const weight_formats& in) {
  llama_weights out;
  for (const expected_tensor& t : tensors_of(c).all()) {
    if (t.role == tensor_role::head && in.tied) {
      continue;
    }
    const bool is_vector = t.role == tensor_role::norm || t.role == tensor_role::bias;
    const format_info format = is_vector                       ? info_of<f32_format>()
                               : t.role == tensor_role::linear ? in.linear
                                                               : in.rest;
    detail::add_tensor(out, t.role, detail::planned_bytes(format, t.name, t.rows, t.columns));
  }
  return out;
}

ZOQ_BODY llama_weights weights_of(std::span<const model_tensor> tensors,
                                  const std::optional<format_info>& linear) {
  llama_weights out;
  for (const model_tensor& t : tensors) {
    const any_packed& w = t.weight;
    const bool other = t.role == tensor_role::linear && linear.has_value();
    detail::add_tensor(
        out, t.role,
        other ? detail::planned_bytes(*linear, t.name, w.rows(), w.columns()) : w.byte_count());
  }
  return out;
}

ZOQ_BODY std::vector<memory_part> forward_memory(const decoder_config& c, const pass_shape& pass) {
  const index_t rows = pass.branches * pass.rows, logit_rows = detail::logit_rows(pass);
  const index_t q = c.query_columns(), kv = c.kv_columns();
  const index_t widest = std::max(q, c.hidden);
  const auto floats = [](index_t n) { return buffer_bytes<float>(n); };
  const auto shape = [](index_t r, index_t n) { return text("[", r, ", ", n, "] floats"); };
  const index_t per_row =
      4 * buffer_bytes<std::int32_t>(pass.rows) + 3 * buffer_bytes<std::int32_t>(pass.read_rows);
  const index_t reads = pass.branches * pass.reads;
  index_t vectors = 0, vector_bytes = 0;
  bool fused = false;
  for (const expected_tensor& t : tensors_of(c).all()) {
    const bool is_vector = t.role == tensor_role::norm || t.role == tensor_role::bias;
    vectors += is_vector ? 1 : 0;
    vector_bytes += is_vector ? floats(t.columns) : 0;
    fused = fused || t.in_layer == &layer_numbers::query_key_value;
  }
  const index_t inputs = fused ? q + 2 * kv : 0;
  const index_t units = c.activation == activation_kind::swiglu ? 2 : 1;
  const index_t turns = c.positions == position_kind::rotary ? c.head_size : 0;
  return {{"norm gains", vector_bytes, text("and biases, ", vectors, " in all")},
          {"streams", 3 * floats(rows * widest), "3 x " + shape(rows, widest)},
          {"queries", floats(rows * q) + floats(rows * inputs), shape(rows, q + inputs)},
          {"keys and values", 2 * floats(rows * kv), "2 x " + shape(rows, kv)},
          {"gated units", units * floats(rows * c.feed_forward),
           text(units, " x ", shape(rows, c.feed_forward))},
          {"logits", floats(logit_rows * c.vocabulary) + buffer_bytes<double>(most_head_rows),
           shape(logit_rows, c.vocabulary)},
          {"rotary table", floats(pass.positions * turns), shape(pass.positions, turns)},
          // These two are largest in different passes.
          {"token batch", per_row + buffer_bytes<segment>(pass.segments),
           text(pass.rows, " tokens in ", pass.segments, " segments")},
          {"likelihoods", buffer_bytes<likelihood_place>(reads) + buffer_bytes<double>(reads),
           text("of ", reads, " answers")}};
}

ZOQ_BODY index_t workspace_memory(const decoder_config& c, const pass_shape& pass, compute products,
                                  instruction_set kernels) {
  const index_t columns = std::max({c.hidden, c.query_columns(), c.feed_forward});
  const detail::workspace_bytes widest =
      detail::workspace_of(kernels, products, pass.rows, pass.branches, columns);
  return buffer_bytes<std::byte>(widest.rounded) + buffer_bytes<std::byte>(widest.turned);
}

ZOQ_BODY std::vector<memory_part> device_workspaces(const decoder_config& c, const pass_shape& pass,
                                                    compute products,
                                                    const workspace_limits& limits) {
  const bool rounds = products == compute::bf16;
  const auto each = static_cast<index_t>(rounds ? sizeof(bf16) : sizeof(float));
  index_t slice = 0, rounded = 0, turned = 0;
  const auto add = [&](index_t branches, index_t rows, index_t outputs, index_t columns) {
    const detail::round_inputs inputs{nullptr, nullptr, branches, rows * columns, false};
    rounded = std::max(rounded, rounds ? inputs.values() : 0);
    if (branches * rows > limits.packed_rows) {
      const index_t line = columns * each;
      const index_t lines = detail::lines_in_slice(limits.slice_bytes, line, outputs);
      slice = std::max(slice, lines * line);
    }
  };
  for (const expected_tensor& m : layer_matrices(c)) {
    add(pass.branches, pass.rows, m.rows, m.columns);
    const detail::turn_inputs turn{nullptr, nullptr, pass.branches, pass.rows, m.columns};
    turned = std::max(turned, turn.items());
  }
  add(1, detail::logit_rows(pass), c.vocabulary, c.hidden);  // the head: all its rows at once
  return {{"decoded weights", buffer_bytes<std::byte>(slice), "a slice, of all layers in turn"},
          {"rounded inputs", buffer_bytes<bf16>(rounded), "of a product"},
          {"turned inputs", buffer_bytes<float>(turned), "of a product, for the view's part"}};
}

}  // namespace zoq

#endif
