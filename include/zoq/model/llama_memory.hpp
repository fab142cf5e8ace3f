// What a Llama-family model and its forward pass take in memory, from sizes alone: also for a model
// that is too large to be here.
//
//     zoq::llama_weights w = zoq::weights_of(config, {.linear = q4_1, .rest = q8_0});
//     auto parts = zoq::forward_memory(config, {.branches = 2, .rows = 384, .read_rows = 16});
//
// The same sizes as llama_forward takes: a test compares them with its byte_count().
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/core/half.hpp"
#include "zoq/exec/compute.hpp"
#include "zoq/exec/instruction_set.hpp"
#include "zoq/exec/products.hpp"
#include "zoq/exec/thrust_tasks.hpp"
#include "zoq/model/head_runs.hpp"
#include "zoq/model/llama_config.hpp"
#include "zoq/ops/loss.hpp"
#include "zoq/ops/tensors.hpp"
#include "zoq/quant/formats.hpp"
#include "zoq/tensor/memory_part.hpp"
#include "zoq/tensor/segment.hpp"

namespace zoq {

struct matrix_shape {
  const char* name;
  index_t rows, columns;  // [O, C]
};

/// The matrices of one layer, in the order of the file.
[[nodiscard]] constexpr std::array<matrix_shape, 7> layer_matrices(const llama_config& c) {
  const index_t q = c.heads * c.head_size;
  const index_t kv = c.kv_heads * c.head_size;
  return {{{"attn_q", q, c.hidden},
           {"attn_k", kv, c.hidden},
           {"attn_v", kv, c.hidden},
           {"attn_output", c.hidden, q},
           {"ffn_gate", c.feed_forward, c.hidden},
           {"ffn_up", c.feed_forward, c.hidden},
           {"ffn_down", c.hidden, c.feed_forward}}};
}

/// Bytes of a model's tensors as they are stored.
struct llama_weights {
  index_t linear = 0;     // the matrices of all layers
  index_t embedding = 0;  // and the head: once when they are one tensor
  index_t norms = 0;
  index_t padding = 0;  // of a copy on a device: every tensor's, up to a multiple of `alignment`
  [[nodiscard]] constexpr index_t total() const { return linear + embedding + norms; }
};

struct weight_formats {
  format_info linear;  // of the matrices of linear layers
  format_info rest;    // of embedding and head; norms are f32
  bool tied = false;   // the head is the embedding
};

/// One forward pass, by what decides its memory.
struct pass_shape {
  index_t branches = 1;
  bool pairs = false;     // of opposite branches: see branch_stack
  index_t rows = 1;       // T of the packing: tokens of one branch
  index_t read_rows = 1;  // Q of them, where answers are read
  index_t reads = 1;      // answers of one branch
  index_t segments = 1;   // S of the packing
  index_t positions = 1;  // of the longest sequence
};

namespace detail {
inline index_t planned_bytes(const format_info& format, const char* name, index_t rows,
                             index_t columns) {
  require(columns % format.block_size == 0, name, ": ", columns, " columns are no multiple of ",
          format.name, "'s block of ", format.block_size);
  return format.bytes_with_rows(rows, columns);
}

// `count` tensors of these bytes, to a part of `to`.
inline void add_tensors(llama_weights& to, index_t& part, index_t count, index_t bytes) {
  part += count * bytes;
  to.padding += count * (buffer_bytes<std::byte>(bytes) - bytes);
}

// The rows of logits that stand in memory at the same time.
inline index_t logit_rows(const pass_shape& pass) {
  const auto runs = head_runs({pass.branches, pass.pairs}, pass.read_rows, most_head_rows);
  return runs.empty() ? 0 : runs.front().rows;  // none has more than the first
}
}  // namespace detail

/// Of a model of these sizes. Throws, naming the matrix, when a format's block does not fit it.
[[nodiscard]] inline llama_weights weights_of(const llama_config& c, const weight_formats& in) {
  llama_weights out;
  for (const matrix_shape& m : layer_matrices(c)) {
    detail::add_tensors(out, out.linear, c.layers,
                        detail::planned_bytes(in.linear, m.name, m.rows, m.columns));
  }
  detail::add_tensors(out, out.embedding, in.tied ? 1 : 2,
                      detail::planned_bytes(in.rest, "token_embd", c.vocabulary, c.hidden));
  detail::add_tensors(out, out.norms, 2 * c.layers + 1,
                      c.hidden * static_cast<index_t>(sizeof(float)));
  return out;
}

/// Of a model that is here, its linear matrices in `linear` instead of their own format, if given.
/// Throws, naming the tensor, when a format's block does not fit it.
[[nodiscard]] inline llama_weights weights_of(std::span<const model_tensor> tensors,
                                              const std::optional<format_info>& linear = {}) {
  llama_weights out;
  for (const model_tensor& t : tensors) {
    const any_packed& w = t.weight;
    if (t.role == tensor_role::linear) {
      detail::add_tensors(
          out, out.linear, 1,
          linear.has_value() ? detail::planned_bytes(*linear, t.name.c_str(), w.rows(), w.columns())
                             : w.byte_count());
    } else {
      detail::add_tensors(out, t.role == tensor_role::norm ? out.norms : out.embedding, 1,
                          w.byte_count());
    }
  }
  return out;
}

/// The buffers of a forward pass, each at its size: what llama_forward::byte_count() sums up.
[[nodiscard]] inline std::vector<memory_part> forward_memory(const llama_config& c,
                                                             const pass_shape& pass) {
  const index_t rows = pass.branches * pass.rows, logit_rows = detail::logit_rows(pass);
  const index_t q = c.heads * c.head_size;
  const index_t kv = c.kv_heads * c.head_size;
  const index_t widest = std::max(q, c.hidden);
  const auto floats = [](index_t n) { return buffer_bytes<float>(n); };
  const auto shape = [](index_t r, index_t n) { return text("[", r, ", ", n, "] floats"); };
  const index_t per_row =
      4 * buffer_bytes<std::int32_t>(pass.rows) + 3 * buffer_bytes<std::int32_t>(pass.read_rows);
  const index_t reads = pass.branches * pass.reads;
  return {
      {"norm gains", (2 * c.layers + 1) * floats(c.hidden),
       text(2 * c.layers + 1, " x ", c.hidden, " floats")},
      {"streams", 3 * floats(rows * widest), "3 x " + shape(rows, widest)},
      {"queries", floats(rows * q), shape(rows, q)},
      {"keys and values", 2 * floats(rows * kv), "2 x " + shape(rows, kv)},
      {"gated units", 2 * floats(rows * c.feed_forward), "2 x " + shape(rows, c.feed_forward)},
      {"logits", floats(logit_rows * c.vocabulary) + buffer_bytes<double>(most_head_rows),
       shape(logit_rows, c.vocabulary)},
      {"rotary table", floats(pass.positions * c.head_size), shape(pass.positions, c.head_size)},
      // These two are largest in different passes.
      {"token batch", per_row + buffer_bytes<segment>(pass.segments),
       text(pass.rows, " tokens in ", pass.segments, " segments")},
      {"likelihoods", buffer_bytes<likelihood_place>(reads) + buffer_bytes<double>(reads),
       text("of ", reads, " answers")}};
}

/// What the executor `cpu` keeps of the inputs of its widest product: rounded for the product, and
/// turned for the view's part.
[[nodiscard]] inline index_t workspace_memory(const llama_config& c, const pass_shape& pass,
                                              compute products, instruction_set kernels) {
  const index_t columns = std::max({c.hidden, c.heads * c.head_size, c.feed_forward});
  const detail::workspace_bytes widest =
      detail::workspace_of(kernels, products, pass.rows, pass.branches, columns);
  return buffer_bytes<std::byte>(widest.rounded) + buffer_bytes<std::byte>(widest.turned);
}

/// What an executor on Thrust keeps for the products of a pass, f32 or bf16, with a part of a view on
/// every matrix of a layer: the largest slice of decoded weights, and the inputs of the widest layer.
[[nodiscard]] inline std::vector<memory_part> device_workspaces(const llama_config& c,
                                                                const pass_shape& pass,
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
  for (const matrix_shape& m : layer_matrices(c)) {
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
