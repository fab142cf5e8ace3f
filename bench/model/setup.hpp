// What the benchmarks of a model share: the model, the rows, and the executor that the command line
// asks for.
//
//     zoq::bench::arguments given("step_bench", argc, argv, zoq::bench::model_options());
//     const zoq::llama model = zoq::bench::model_of(given);
//     const auto rows = zoq::bench::rows_of(given, model, 16);    // real with --data, else drawn
//     const zoq::cpu exec(zoq::bench::cpu_of(given));
//
// Without --model, and without the variable ZOQ_MODEL, the model is a synthetic one with the matrices
// of a SmolLM2-135M and fewer layers and tokens: its speed a layer is that of the real one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>
#include <zoq/io.hpp>
#include <zoq/random/philox.hpp>
#include <zoq/zoq.hpp>

#include "program.hpp"

namespace zoq::bench {

/// The options that all of these programs know, with their defaults, and `more`.
inline std::map<std::string, std::string> model_options(
    std::map<std::string, std::string> more = {}) {
  more.insert({{"--model", ""}, {"--threads", "0"}, {"--kernels", ""}});
  return more;
}

/// Tensors of a model that was not read from a file.
struct owned_tensors {
  std::vector<buffer<std::byte>> memory;
  std::vector<model_tensor> tensors;

  /// A tensor of `rows` x `columns` values in format S. fill(o, out) writes row o to out [columns].
  template <quant_scheme S, class Fill>
  void add(const std::string& name, tensor_role role, index_t rows, index_t columns, Fill&& fill) {
    memory.emplace_back(info_of<S>().bytes(rows, columns));
    auto* blocks = reinterpret_cast<typename S::block*>(memory.back().data());
    std::vector<float> values(static_cast<std::size_t>(columns));
    for (index_t o = 0; o < rows; ++o) {
      fill(o, values.data());
      typename S::row row;
      S::encode(values.data(), nullptr, columns, row, blocks + o * (columns / S::block_size));
    }
    tensors.push_back({name, any_packed{packed_view<S>{blocks, nullptr, {rows, columns}}}, role});
  }
};

/// Q4_1 matrices of normal noise, of the sizes of SmolLM2-135M but `layers` and 8192 tokens; a tied
/// head. The same every time.
inline llama synthetic_model(index_t layers = 6) {
  const llama_config c{.layers = layers,
                       .hidden = 576,
                       .heads = 9,
                       .kv_heads = 3,
                       .head_size = 64,
                       .feed_forward = 1536,
                       .vocabulary = 8192,
                       .context = 8192};
  auto owned = std::make_shared<owned_tensors>();
  const auto matrix = [&](const std::string& name, tensor_role role, index_t rows,
                          index_t columns) {
    const auto field = gaussian::at(owned->tensors.size(), {});
    const double size = 1 / std::sqrt(static_cast<double>(columns));
    const auto fill = [&](index_t o, float* out) {
      for (index_t i = 0; i < columns; ++i) {
        const auto at = (o * columns + i) / 4;
        out[i] = static_cast<float>(size * static_cast<double>(field.four(at).at[i % 4]));
      }
    };
    owned->add<q4_1>(name, role, rows, columns, fill);
  };
  const auto norm = [&](const std::string& name) {
    owned->add<f32_format>(name, tensor_role::norm, 1, c.hidden,
                           [&](index_t, float* out) { std::fill_n(out, c.hidden, 1.0f); });
  };
  matrix("token_embd.weight", tensor_role::embedding, c.vocabulary, c.hidden);
  for (index_t l = 0; l < layers; ++l) {
    const std::string block = "blk." + std::to_string(l) + ".";
    const index_t q = c.heads * c.head_size, kv = c.kv_heads * c.head_size;
    norm(block + "attn_norm.weight");
    matrix(block + "attn_q.weight", tensor_role::linear, q, c.hidden);
    matrix(block + "attn_k.weight", tensor_role::linear, kv, c.hidden);
    matrix(block + "attn_v.weight", tensor_role::linear, kv, c.hidden);
    matrix(block + "attn_output.weight", tensor_role::linear, c.hidden, q);
    norm(block + "ffn_norm.weight");
    matrix(block + "ffn_gate.weight", tensor_role::linear, c.feed_forward, c.hidden);
    matrix(block + "ffn_up.weight", tensor_role::linear, c.feed_forward, c.hidden);
    matrix(block + "ffn_down.weight", tensor_role::linear, c.hidden, c.feed_forward);
  }
  norm("output_norm.weight");
  return llama(c, owned->tensors, owned);
}

/// The path of the model that --model or the variable ZOQ_MODEL names; empty when neither does.
inline std::string model_path(const arguments& given) {
  const char* variable = std::getenv("ZOQ_MODEL");
  return !given.text("--model").empty() ? given.text("--model") : variable ? variable : "";
}
inline llama model_of(const arguments& given) {
  const std::string path = model_path(given);
  return path.empty() ? synthetic_model() : llama::open(path);
}

/// Threads, kernels and, where there is the option, compute policy as asked for. Throws on names that are not known.
inline cpu_options cpu_of(const arguments& given) {
  cpu_options out{.threads = static_cast<int>(given.number("--threads"))};
  if (given.has("--compute")) {
    out.products = compute_named(given.text("--compute"));
  }
  if (!given.text("--kernels").empty()) {
    out.kernels = instruction_set_named(given.text("--kernels"));
  }
  return out;
}

/// `n` tokens below `vocabulary`, the same for the same seed.
inline std::vector<token_t> some_tokens(index_t n, seed_t seed, index_t vocabulary) {
  std::vector<token_t> out;
  for (index_t i = 0; i < n; ++i) {
    const std::uint32_t word = philox(seed, static_cast<std::uint64_t>(i)).at[0];
    out.push_back(static_cast<token_t>(word % static_cast<std::uint64_t>(vocabulary)));
  }
  return out;
}

/// `count` rows of drawn tokens with two options of one token each. `tokens`: of every prompt; 0: of
/// lengths as in the movie reviews of the quick start, log-normal around 24, from 4 to 70.
inline std::vector<example> drawn_rows(index_t count, index_t tokens, index_t vocabulary) {
  std::vector<example> out;
  for (index_t r = 0; r < count; ++r) {
    index_t length = tokens;
    if (tokens == 0) {
      const double z = static_cast<double>(gaussian::at(11, {}).four(r).at[0]);
      length = std::clamp<index_t>(static_cast<index_t>(std::exp(3.2 + 0.48 * z)), 4, 70);
    }
    const auto seed = 100 + static_cast<seed_t>(r);
    out.push_back({some_tokens(length, seed, vocabulary), {{1}, {2}}, r % 2});
  }
  return out;
}

/// The first `count` rows of --data, which must have options; without it drawn rows of `tokens`.
inline std::vector<example> rows_of(const arguments& given, const llama& model, index_t count,
                                    index_t tokens = 0) {
  const std::string& data = given.text("--data");
  if (data.empty()) {
    return drawn_rows(count, tokens, model.config().vocabulary);
  }
  require(!model_path(given).empty(), "--data needs --model: the tokenizer is in its file");
  text_rows rows = read_rows(data);
  require(static_cast<index_t>(rows.size()) >= count, data, ": ", rows.size(), " rows, wanted ",
          count);
  rows.erase(rows.begin() + count, rows.end());
  require(std::holds_alternative<choice_row>(rows[0]), data, ": the rows have no choices");
  return encode_rows(tokenizer(open_gguf(model_path(given))), rows);
}

/// Pointers to rows, as zoq::evaluate wants them.
inline std::vector<const example*> all_of(std::span<const example> rows) {
  std::vector<const example*> out;
  for (const example& row : rows) {
    out.push_back(&row);
  }
  return out;
}

/// A view over random places, a share `density` of every matrix from layer `first_layer` on.
inline mask random_mask(const llama& model, double density, index_t first_layer = 0) {
  mask out = top_k(random_score(model.tensors(), 1), {.density = density});
  for (index_t l = 0; l < first_layer; ++l) {
    const std::string block = "blk." + std::to_string(l) + ".";
    std::erase_if(out.tensors, [&](const tensor_mask& t) { return t.tensor.starts_with(block); });
  }
  return out;
}

/// Names what is measured, for the first lines of a program's output.
inline std::string about(const arguments& given, const llama& model) {
  const std::string path = model_path(given);
  const std::string name = path.empty() ? "synthetic" : path.substr(path.find_last_of('/') + 1);
  return name + ", " + std::to_string(model.config().layers) + " layers, " +
         std::to_string(model.config().linear_weights()) + " linear weights";
}

}  // namespace zoq::bench
