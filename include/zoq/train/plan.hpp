// plan: the peak memory of a tuning run, by part, before anything is run.
//
//     zoq::memory_plan p = zoq::plan_tuning(config, zoq::weights_of(config, formats), {.length = 64});
//     p.total();  p.bytes("logits");
//     zoq::require_fits(p, 256 << 20);     // throws: needs 552.7 MB, the budget is 268.4 MB: ...
//
// A run takes steps with a mask that is there, and may measure rows and choose epsilon. Its memory
// is the model's file, whole, because every byte is read; the buffers that grow to their largest
// pass; k values in a few copies; and the program. The reverse pass of the fisher score is not in it.
// Of a run on a device the plan is of that device's memory, beside what the driver takes: a copy of
// the weights, packed as they are; the same buffers and values; and the executor's workspaces.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zoq/core/config.hpp"
#include "zoq/core/error.hpp"
#include "zoq/data/example.hpp"
#include "zoq/estimate/epsilon.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/estimate/query.hpp"
#include "zoq/estimate/rounds.hpp"
#include "zoq/exec/compute.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/instruction_set.hpp"
#include "zoq/exec/thrust_tasks.hpp"
#include "zoq/model/llama_config.hpp"
#include "zoq/model/llama_memory.hpp"
#include "zoq/tensor/executor.hpp"
#include "zoq/tensor/memory_part.hpp"
#include "zoq/train/trainer.hpp"

namespace zoq {

/// What the memory of a run depends on, beside the model. The defaults are those of `zoq finetune`.
struct plan_request {
  index_t batch_size = 16;    // rows of data in a step
  index_t length = 128;       // tokens of a row, all of its options included: the mean
  index_t longest = 0;        // of the longest row; 0: all rows have `length`
  index_t options = 2;        // texts that may follow a prompt
  index_t option_tokens = 1;  // of each; the last is only predicted
  double density = 0.001;     // of each linear matrix
  any_estimator estimator = spsa{.probes = 3};       // how many losses at a time, and its state
  index_t state_floats = 0;                          // of the optimizer, for each value
  bool measures_epsilon = true;                      // --epsilon auto
  index_t measured_rows = 1000;                      // of a measurement between steps; 0: none
  index_t data_rows = 10000;                         // of all files, kept as tokens
  instruction_set kernels = best_instruction_set();  // of the CPU
  /// Of linear layers.
  compute products = compute_for_tuning(kernels, asks_for_pairs(estimator));
  int threads = 1;  // of the executor
  /// The run is on an executor on Thrust, such as `cuda`, with f32 or bf16 products. Then kernels,
  /// threads, and all that follows `limits` are of no account.
  std::optional<workspace_limits> device{};
  train_options limits{};      // stacked_rows and stacked_branches
  index_t metadata_bytes = 0;  // of the model's file, beside tensors
  /// Of the tokenizer; 0: there is none.
  index_t tokens = 0, merges = 0;     // of the tokenizer, likewise
  index_t program_bytes = 8'000'000;  // code and libraries in memory; measured: x86-64, g++ 12
};

/// The peak memory of a run, and the sizes that it follows from.
struct memory_plan {
  std::vector<memory_part> parts;  // all in memory at once
  index_t trainable = 0;           // k
  index_t branches = 0;            // of the largest pass of a step
  index_t rows = 0;                // stacked in it

  /// Bytes of all parts.
  [[nodiscard]] index_t total() const { return bytes_of(parts); }
  /// Of the part of this name. Throws when there is none.
  [[nodiscard]] index_t bytes(std::string_view part) const { return bytes_of(parts, part); }
};

/// k at this density of each linear matrix, rounded down as top_k does.
[[nodiscard]] index_t planned_places(const llama_config& c, double density);

/// The peak memory of tuning a sparse view of a model: the host's, or that of the device of a run on
/// one. Throws on a request that makes no sense. Cost: none to speak of.
[[nodiscard]] memory_plan plan_tuning(const llama_config& c, const llama_weights& weights,
                                      const plan_request& how);

/// Throws when the plan's total is above `budget` bytes, naming both and the largest parts.
void require_fits(const memory_plan& plan, index_t budget);

}  // namespace zoq

#if ZOQ_BODIES

#include <algorithm>
#include <cstddef>

namespace zoq {

ZOQ_BODY index_t planned_places(const llama_config& c, double density) {
  require(density > 0 && density <= 1, "plan: density ", density, " is outside (0, 1]");
  index_t k = 0;
  for (const expected_tensor& m : layer_matrices(c)) {
    const auto n = static_cast<double>(m.rows * m.columns);
    k += std::min(m.rows * m.columns, static_cast<index_t>(density * n * (1 + 1e-12)));
  }
  return k;
}

namespace detail {

// The longest row of data.
ZOQ_BODY index_t longest_of(const plan_request& how) { return std::max(how.longest, how.length); }

// The largest pass over `rows` rows of data, as evaluate() cuts them. Rows of one length fill it
// whole; of rows that differ some fill it to the limit.
ZOQ_BODY pass_shape largest_pass(const plan_request& how, index_t rows, index_t branches,
                                 bool pairs) {
  const index_t longest = longest_of(how);
  const index_t after = how.options * (how.option_tokens - 1);  // rows behind the prompt's
  const index_t limit = how.limits.stacked_rows / branches;
  const index_t fullest = longest == how.length ? limit / longest * longest : limit;
  pass_shape out;
  out.branches = branches;
  out.pairs = pairs;
  out.rows = std::min(rows * longest, std::max(fullest, longest));
  const index_t together = std::min(rows, (out.rows + how.length - 1) / how.length);
  out.read_rows = together * (1 + after);
  out.reads = together * how.options * how.option_tokens;
  out.segments = together * (1 + (how.option_tokens > 1 ? how.options : 0));
  out.positions = longest - after + how.option_tokens - 1;
  return out;
}

// The passes that answer these queries on a batch, in the runs that the trainer cuts them into.
ZOQ_BODY void add_passes(const plan_request& how, std::span<const query> asked,
                         std::vector<pass_shape>& passes) {
  const auto most = static_cast<std::size_t>(how.limits.stacked_branches);
  while (!asked.empty()) {
    const std::size_t n = evaluated_together(asked, most);
    const bool pairs = n > 1 && opposite(asked[0], asked[1]);
    passes.push_back(largest_pass(how, how.batch_size, static_cast<index_t>(n), pairs));
    asked = asked.subspan(n);
  }
}

// All passes of a step.
ZOQ_BODY std::vector<pass_shape> passes_of_step(const plan_request& how) {
  std::vector<pass_shape> out;
  for_each_round(how.estimator, [&](std::span<const query> asked) { add_passes(how, asked, out); });
  return out;
}

// The model: in its mapped file, or as a device keeps it.
ZOQ_BODY std::vector<memory_part> weight_parts(const llama_weights& w, const plan_request& how) {
  const bool device = how.device.has_value();
  const char* where = device ? "a copy, packed" : "in the mapped file";
  return {{"linear weights", w.linear, where},
          {"embedding and head", w.embedding, where},
          device ? memory_part{"norms", w.norms + w.padding, "a copy; and all copies' padding"}
                 : memory_part{"norms and metadata", w.norms + how.metadata_bytes, where}};
}

// What the executor keeps for the products of a pass.
ZOQ_BODY std::vector<memory_part> workspaces_of(const llama_config& c, const pass_shape& pass,
                                                const plan_request& how) {
  if (how.device.has_value()) {
    return device_workspaces(c, pass, how.products, *how.device);
  }
  return {{"workspace", workspace_memory(c, pass, how.products, how.kernels),
           "inputs of a product, rounded and turned"}};
}

// What the tokenizer keeps: a string for each token, a node and its bucket for each merge.
ZOQ_BODY index_t tokenizer_bytes(index_t tokens, index_t merges) {
  return tokens * 32 + merges * 44;
}

// What it gives back to the heap once the merges are read: a node and its bucket for each token.
ZOQ_BODY index_t tokenizer_scratch(index_t tokens) { return tokens * 56; }

// Rows as tokens: an `example` in a vector that has grown, its prompt, and its continuations.
ZOQ_BODY index_t row_bytes(const plan_request& how) {
  constexpr index_t block = 16;  // what the heap adds, rounding included
  const auto row = static_cast<index_t>(2 * sizeof(example));
  const auto list = static_cast<index_t>(sizeof(std::vector<token_t>));
  return row + how.length * static_cast<index_t>(sizeof(token_t)) + block +
         how.options * (list + 2 * block);
}

ZOQ_BODY void validate(const llama_config& c, const plan_request& how) {
  require(how.batch_size > 0 && how.length > 0 && how.options > 0 && how.option_tokens > 0,
          "plan: batch size, length, options and their tokens must be positive");
  constexpr index_t most = index_t{1} << 31;  // products of two stay below 2^62
  for (const index_t n : {how.batch_size, how.length, how.longest, how.options, how.option_tokens,
                          how.measured_rows, how.data_rows}) {
    require(n <= most, "plan: ", n, " rows or tokens, at most 2^31");
  }
  require(how.length > how.options * (how.option_tokens - 1), "plan: ", how.length,
          " tokens of a row leave none for a prompt before ", how.options, " options of ",
          how.option_tokens);
  require(longest_of(how) <= c.context, "plan: rows of ", longest_of(how),
          " tokens are longer than the model's context of ", c.context);
  require(!how.device.has_value() || how.products != compute::i8,
          "plan: products are f32 or bf16 on a device, i8 is for CPUs only");
  require(how.longest >= 0 && how.measured_rows >= 0 && how.data_rows >= 0 && how.threads > 0,
          "plan: rows must not be negative, threads must be positive");
}

}  // namespace detail

ZOQ_BODY memory_plan plan_tuning(const llama_config& c, const llama_weights& weights,
                                 const plan_request& how) {
  c.validate("plan");
  detail::validate(c, how);
  memory_plan out;
  const index_t k = out.trainable = planned_places(c, how.density);
  require(k > 0, "plan: density ", how.density, " leaves nothing to tune");
  std::vector<pass_shape> passes = detail::passes_of_step(how);
  for (const pass_shape& pass : passes) {
    out.branches = std::max(out.branches, pass.branches);
    out.rows = std::max(out.rows, pass.branches * pass.rows);
  }
  if (how.measures_epsilon) {
    choose_epsilon([&](std::span<const query> asked) {
      detail::add_passes(how, asked, passes);
      return std::vector<double>(asked.size(), 1.0);
    });
  }
  index_t moved = 0;
  for (const pass_shape& pass : passes) {
    moved = std::max(moved, pass.branches);
  }
  if (how.measured_rows > 0) {
    passes.push_back(detail::largest_pass(how, how.measured_rows, 1, false));
  }
  std::vector<memory_part> forward = forward_memory(c, passes.front());
  std::vector<memory_part> workspaces = detail::workspaces_of(c, passes.front(), how);
  for (const pass_shape& pass : passes) {
    grow(forward, forward_memory(c, pass));
    grow(workspaces, detail::workspaces_of(c, pass, how));
  }
  const auto values = [&](index_t each) { return buffer_bytes<float>(k * each); };
  const auto of_k = [&](index_t each) { return text(each, " bytes x ", k, " values"); };
  const auto append = [&](const std::vector<memory_part>& parts) {
    out.parts.insert(out.parts.end(), parts.begin(), parts.end());
  };
  append(detail::weight_parts(weights, how));
  append({{"places", 2 * buffer_bytes<std::int32_t>(k), of_k(8)},
          {"values", values(1), of_k(4)},
          {"branches", values(moved), text(moved, " branches, ", of_k(4))},
          {"gradient", values(1), of_k(4)},
          {"optimizer state", values(how.state_floats), of_k(4 * how.state_floats)}});
  if (const index_t bytes = how.estimator.state_bytes(k); bytes > 0) {
    append({{"estimator state", bytes, of_k(bytes / k)}});
  }
  append(forward);
  append(workspaces);
  if (how.device.has_value()) {
    append(
        {{"partial sums", buffer_bytes<double>(detail::chunks_of_sum(k)), "over all values"},
         {"library workspace", buffer_bytes<std::byte>(how.device->library_bytes), "of cuBLAS"}});
    return out;
  }
  // A mask keeps an index for each value. Saving copies index, row, column and value to the host.
  const index_t copied = 4 + 16 + 4 * how.state_floats;
  const index_t copies = k * copied;
  const index_t rows = how.data_rows * detail::row_bytes(how);
  // Copies and rows go where the tokenizer's reading was. A buffer that grows leaves a hole behind
  // that others only partly fill: about as much as one buffer of the stream.
  const bool alike = passes.size() == 1 && detail::longest_of(how) == how.length;
  const index_t heap = std::max<index_t>(0, detail::tokenizer_scratch(how.tokens) - copies - rows) +
                       (alike ? 0 : bytes_of(forward, "streams") / 3);
  // Each further thread has a stack with a panel of weights on it, and its share of the heap.
  constexpr index_t thread_bytes = 1 << 20;
  append({{"mask and copies", copies, "of the mask, and while saving: " + of_k(copied)},
          {"rows of data", rows, text(how.data_rows, " rows")},
          {"tokenizer", detail::tokenizer_bytes(how.tokens, how.merges),
           text(how.tokens, " tokens, ", how.merges, " merges")},
          {"threads", (how.threads - 1) * thread_bytes, text(how.threads, " threads")},
          {"heap", heap, "given back, and not used again"},
          {"program", how.program_bytes, "code and libraries"}});
  return out;
}

ZOQ_BODY void require_fits(const memory_plan& plan, index_t budget) {
  const index_t total = plan.total();
  if (total <= budget) {
    return;
  }
  std::vector<memory_part> parts = plan.parts;
  std::stable_sort(parts.begin(), parts.end(),
                   [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  constexpr std::size_t named = 5;
  std::string list;
  index_t rest = total;
  for (std::size_t i = 0; i < std::min(named, parts.size()); ++i) {
    list += parts[i].name + " " + in_megabytes(parts[i].bytes) + ", ";
    rest -= parts[i].bytes;
  }
  fail("needs ", in_megabytes(total), ", the budget is ", in_megabytes(budget), ": ", list,
       "all else ", in_megabytes(rest));
}

}  // namespace zoq

#endif
