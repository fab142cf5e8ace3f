// SPDX-License-Identifier: Apache-2.0
#include "zoq/model/decoder_forward.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "counting.hpp"
#include "executors.hpp"
#include "golden.hpp"
#include "io/temporary_folder.hpp"
#include "pass_results.hpp"
#include "reference_llama.hpp"
#include "tiny_llama.hpp"
#include "zoq/model/llama_reverse.hpp"

using zoq::decoder;
using zoq::index_t;
using zoq::packing;
using zoq::token_t;
using namespace zoq::test;

namespace {

// Against a pass in double: float sums through two layers leave some 1e-6 of logits of size 2.
constexpr double logit_tolerance = 1e-5;

struct family_case {
  std::string name;
  zoq::llama_config config;
};
std::vector<family_case> all_families() {
  return {
      {"llama", tiny_config()}, {"gpt2", tiny_gpt2_config()}, {"openelm", tiny_openelm_config()}};
}

/// Offsets on every entry of every tensor that `wanted` says, in every branch: what a dense view adds.
struct offsets {
  index_t branches, k = 0;
  std::vector<float> values;  // [branches, k]
  std::vector<zoq::parts> parts;

  template <class Wanted>
  offsets(const decoder& model, index_t branch_count, const Wanted& wanted)
      : branches(branch_count), parts(model.tensors().size()) {
    for (std::size_t t = 0; t < parts.size(); ++t) {
      const zoq::model_tensor& tensor = model.tensors()[t];
      if (wanted(tensor)) {
        parts[t].offset = zoq::offset_part{{{}, k}};
        k += tensor.weight.rows() * tensor.weight.columns();
      }
    }
    values = uniform(branches * k, 5, -0.02, 0.02);
    for (zoq::parts& p : parts) {
      if (p.offset) {
        p.offset->offset.all = {values.data(), {branches, k}};
      }
    }
  }
  offsets(const offsets&) = delete;

  [[nodiscard]] zoq::branch_parts all(bool pairs = false) const { return {branches, parts, pairs}; }
  /// The parts of branch b alone.
  [[nodiscard]] std::vector<zoq::parts> of(index_t b) const {
    std::vector<zoq::parts> out = parts;
    for (zoq::parts& p : out) {
      if (p.offset) {
        p.offset->offset.all = p.offset->offset.all.rows(b, 1);
      }
    }
    return out;
  }
};

bool every_tensor(const zoq::model_tensor&) { return true; }

/// Branch b of results for several.
template <class T>
std::vector<T> branch_of(const std::vector<T>& all, index_t branches, index_t b) {
  const auto each = static_cast<std::ptrdiff_t>(all.size()) / branches;
  return {all.begin() + b * each, all.begin() + (b + 1) * each};
}

/// Rows of the embedding in float: what a soft prompt of these tokens is.
std::vector<float> embedded(const decoder& model, const std::vector<token_t>& tokens) {
  const zoq::any_packed& table = model.tensor(model.embedding()).weight;
  std::vector<float> out(tokens.size() * at(table.columns()));
  table.visit([&](const auto& w) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      decode_row(w, tokens[i], out.data() + i * at(table.columns()));
    }
  });
  return out;
}

/// A text behind another one, with its rows read as in `read_all`.
packing behind(const std::vector<token_t>& before, const std::vector<token_t>& tokens) {
  packing p;
  const index_t s = p.add(tokens, p.add(before));
  for (const zoq::token_read& r : read_all(tokens).reads) {
    p.read(s, r.row, r.target);
  }
  return p;
}

/// A prefix for every layer from values [branches, n]: keys and values in turn, `size` each.
struct prefix_of {
  std::vector<zoq::prefix_part> layers;
  prefix_of(const float* values, index_t branches, index_t n, index_t size, index_t rows) {
    for (index_t first = 0; layers.size() < 2; first += 2 * size) {
      const zoq::tensor_view<const float, 2> all{values, {branches, n}};
      layers.push_back({rows, {all, first}, {all, first + size}});
    }
  }
};

/// Keys, before they are turned, and values of a text in every layer of a Llama: [P, K * D] each.
std::vector<std::pair<std::vector<float>, std::vector<float>>> keys_and_values(
    const tiny_llama& tiny, const std::vector<token_t>& tokens) {
  std::vector<std::vector<double>> weights;
  for (const auto& w : tiny.decoded()) {
    weights.emplace_back(w.begin(), w.end());
  }
  const auto streams = reference_llama<double>(tiny.config, weights).streams(tokens);
  std::vector<std::pair<std::vector<float>, std::vector<float>>> out;
  for (index_t l = 0; l < tiny.config.layers; ++l) {
    const zoq::layer_numbers n = zoq::llama_layer(l);
    out.emplace_back();
    for (const std::vector<double>& x : streams[at(l)]) {
      double squares = 0;
      for (const double v : x) {
        squares += v * v;
      }
      const double scale = std::sqrt(squares / static_cast<double>(x.size()) +
                                     static_cast<double>(tiny.config.norm_epsilon));
      const auto product = [&](index_t tensor, std::vector<float>& to) {
        const std::vector<double>& w = weights[at(tensor)];
        const std::vector<double>& gain = weights[at(n.attention_norm)];
        for (std::size_t o = 0; o < w.size() / x.size(); ++o) {
          double sum = 0;
          for (std::size_t i = 0; i < x.size(); ++i) {
            sum += w[o * x.size() + i] * x[i] / scale * gain[i];
          }
          to.push_back(static_cast<float>(sum));
        }
      };
      product(n.key, out.back().first);
      product(n.value, out.back().second);
    }
  }
  return out;
}

/// Where row r of a query or key with heads of 8 goes: 2 i, 2 i + 1 of a head to i, i + 4.
index_t row_in_halves(index_t r) { return r - r % 8 + r % 8 / 2 + r % 2 * 4; }

/// The tiny Llama with its rows of queries and keys in the order of halves.
tiny_llama in_halves() {
  tiny_llama out;
  out.config.rotary_halves = true;
  for (index_t l = 0; l < out.config.layers; ++l) {
    for (const index_t t : {zoq::llama_layer(l).query, zoq::llama_layer(l).key}) {
      const auto from = out.tensors[at(t)].weight.decoded();
      auto to = from;
      const index_t rows = out.tensors[at(t)].weight.view.rows();
      for (index_t r = 0; r < rows; ++r) {
        std::copy_n(from.begin() + r * 32, 32, to.begin() + row_in_halves(r) * 32);
      }
      out.tensors[at(t)].weight = pack("f32", to, rows, 32);
    }
  }
  return out;
}

}  // namespace

TEST_CASE("tiny models: the formula gives the golden files' weights, of every family") {
  for (const family_case& one_family : all_families()) {
    const auto& name = one_family.name;
    const auto& config = one_family.config;
    CAPTURE(name);
    const tiny_llama tiny({.config = config, .tied = name != "llama"});
    const auto wanted = golden_of(name)["tensors"];
    REQUIRE(wanted.size() == tiny.tensors.size());
    for (std::size_t t = 0; t < wanted.size(); ++t) {
      CHECK(tiny.tensors[t].name == wanted[t]["name"]);
      const std::vector<float> values = tiny.tensors[t].weight.decoded();
      double sum = 0;
      for (const float v : values) {
        sum += static_cast<double>(v);
      }
      // The file's numbers have 9 digits.
      CHECK(sum == doctest::Approx(wanted[t]["sum"].get<double>()).epsilon(1e-7));
      const std::vector<float> first = wanted[t]["first"];
      CHECK(std::vector<float>(values.begin(), values.begin() + 4) == first);
    }
  }
}

TEST_CASE_TEMPLATE("R21: logits and loss of every family equal the reference framework's", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const temporary_folder folder;
  for (const family_case& one_family : all_families()) {
    const auto& name = one_family.name;
    const auto& config = one_family.config;
    CAPTURE(name);
    const tiny_llama tiny({.config = config, .tied = name != "llama"});
    tiny.write(folder / "m.gguf");
    const auto wanted = golden_of(name)["next_token"];
    const std::vector<token_t> ids = wanted["ids"];
    const auto last = static_cast<index_t>(ids.size()) - 1;
    for (const decoder& model : {tiny.model(), decoder::open(folder / "m.gguf")}) {
      packing batch;
      const index_t s = batch.add(ids);
      batch.read(s, last, 0);
      batch.read(s, 5, 0);
      const std::vector<float> got = logits_of(exec, model, batch);  // in the order of the rows
      const std::vector<double> at_5 = wanted["logits_5"], at_last = wanted["logits_last"];
      CHECK(largest_difference(branch_of(got, 2, 0), at_5) <= logit_tolerance);
      CHECK(largest_difference(branch_of(got, 2, 1), at_last) <= logit_tolerance);
      packing text;
      const index_t all = text.add(ids);
      for (index_t t = 0; t < last; ++t) {
        text.read(all, t, ids[at(t + 1)]);
      }
      double loss = 0;
      for (const double score : scores_of(exec, model, text)) {
        loss -= score / static_cast<double>(last);
      }
      const double wanted_loss = wanted["loss"];
      CHECK(std::fabs(loss - wanted_loss) <= logit_tolerance);
    }
  }
}

TEST_CASE_TEMPLATE("forward: rotary by halves is rotary of neighbours with rows in another order",
                   X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const packing batch = read_all(some_tokens(20, 3, 96));
  // Products of queries and keys have their sums in another order.
  CHECK(largest_difference(logits_of(exec, in_halves().model(), batch),
                           logits_of(exec, tiny_llama().model(), batch)) <= 5e-6);
}

TEST_CASE("reverse: rotary by halves gives the gradients of neighbours") {
  const zoq::cpu exec;
  const std::vector<std::vector<token_t>> windows = {some_tokens(20, 3, 96),
                                                     some_tokens(20, 4, 96)};
  const auto squares_of = [&](const decoder& model, const std::string& wanted) {
    std::vector<float> out;
    zoq::llama_reverse<zoq::cpu>(exec, model)
        .squared_gradients(
            windows,
            [&](std::string_view name, index_t, index_t, std::span<const float> squares) {
              if (name == wanted) {
                out.assign(squares.begin(), squares.end());
              }
            },
            [](index_t, index_t) {});
    return out;
  };
  const decoder neighbours = tiny_llama().model(), halves = in_halves().model();
  for (const char* name : {"blk.0.ffn_up.weight", "blk.0.attn_v.weight"}) {
    const auto wanted = squares_of(neighbours, name);
    CHECK(relative_error(squares_of(halves, name),
                         std::vector<double>(wanted.begin(), wanted.end())) <= 1e-5);
  }
  const auto wanted = squares_of(neighbours, "blk.0.attn_q.weight");
  const auto found = squares_of(halves, "blk.0.attn_q.weight");
  std::vector<double> moved(found.size());
  for (index_t r = 0; r < 32; ++r) {
    std::copy_n(wanted.begin() + r * 32, 32, moved.begin() + row_in_halves(r) * 32);
  }
  CHECK(relative_error(found, moved) <= 1e-5);
}

TEST_CASE_TEMPLATE(
    "forward: stacked branches equal branches alone, every tensor of every family moved", X,
    ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const family_case& one_family : all_families()) {
    const auto& name = one_family.name;
    const auto& config = one_family.config;
    for (const bool tied : {false, true}) {
      CAPTURE(name);
      CAPTURE(tied);
      const decoder model = tiny_llama({.config = config, .tied = tied}).model();
      const offsets moved(model, 4, every_tensor);
      packing batch = read_all(some_tokens(23, 9, 96));
      batch.reads.erase(batch.reads.begin() + 2, batch.reads.begin() + 5);
      const auto stacked = scores_of(exec, model, batch, moved.all());
      CHECK(same_bits(scores_of(exec, model, batch, moved.all(true)), stacked));
      for (index_t b = 0; b < 4; ++b) {
        const auto parts = moved.of(b);
        CHECK(same_bits(scores_of(exec, model, batch, {1, parts}), branch_of(stacked, 4, b)));
      }
      CHECK(stacked[0] != stacked[batch.reads.size()]);
    }
  }
}

TEST_CASE_TEMPLATE("forward: offsets on every tensor equal a model with the values put in", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const family_case& one_family : all_families()) {
    const auto& name = one_family.name;
    const auto& config = one_family.config;
    CAPTURE(name);
    tiny_llama tiny({.config = config});
    const decoder model = tiny.model();
    const offsets moved(model, 2, every_tensor);
    const packing batch = read_all(some_tokens(9, 11, 96));
    const auto got = logits_of(exec, model, batch, moved.all());
    for (index_t b = 0; b < 2; ++b) {
      tiny_llama other({.config = config});
      std::size_t next = at(b * moved.k);
      for (auto& t : other.tensors) {
        std::vector<float> values = t.weight.decoded();
        for (float& v : values) {
          v += moved.values[next++];
        }
        t.weight = pack("f32", values, t.weight.view.rows(), t.weight.view.columns());
      }
      CHECK(largest_difference(branch_of(got, 2, b), logits_of(exec, other.model(), batch)) <=
            5e-6);
    }
  }
}

TEST_CASE("forward: each kind of tensor alone moves the branches apart") {
  const zoq::cpu exec;
  for (const family_case& one_family : all_families()) {
    const auto& name = one_family.name;
    const auto& config = one_family.config;
    const decoder model = tiny_llama({.config = config}).model();
    const packing batch = read_all(some_tokens(9, 12, 96));
    for (const zoq::model_tensor& one : model.tensors()) {
      CAPTURE(name);
      CAPTURE(one.name);
      const offsets moved(model, 2, [&](const zoq::model_tensor& t) { return t.name == one.name; });
      const auto stacked = scores_of(exec, model, batch, moved.all());
      CHECK(branch_of(stacked, 2, 0) != branch_of(stacked, 2, 1));
      for (index_t b = 0; b < 2; ++b) {
        const auto parts = moved.of(b);
        CHECK(same_bits(scores_of(exec, model, batch, {1, parts}), branch_of(stacked, 2, b)));
      }
    }
  }
}

TEST_CASE_TEMPLATE("forward: parts that are not there change no bit, of any family", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const family_case& one_family : all_families()) {
    const auto& name = one_family.name;
    const auto& config = one_family.config;
    CAPTURE(name);
    const decoder model = tiny_llama({.config = config, .format = "q4_1"}).model();
    const std::vector<zoq::parts> none(model.tensors().size());
    const packing batch = read_all(some_tokens(9, 12, 96));
    const auto plain = logits_of(exec, model, batch);
    const auto twice = logits_of(exec, model, batch, {2, none});
    CHECK(same_bits(branch_of(twice, 2, 0), plain));
    CHECK(same_bits(branch_of(twice, 2, 1), plain));
  }
}

TEST_CASE_TEMPLATE(
    "forward: a sequence piece by piece equals the whole, bit for bit, of every family", X,
    ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const family_case& one_family : all_families()) {
    const auto& name = one_family.name;
    const auto& config = one_family.config;
    CAPTURE(name);
    const decoder model = tiny_llama({.config = config, .tied = true}).model();
    const offsets moved(model, 1, every_tensor);
    const std::vector<token_t> tokens = some_tokens(20, 18, 96);
    const auto all = logits_of(exec, model, read_all(tokens), moved.all());
    zoq::decoder_forward<X> pass(exec, model);
    pass.start_sequence(20);
    index_t done = 0;
    for (const index_t piece : {5, 1, 1, 11, 2}) {
      std::vector<float> logits;
      pass.extend(std::span(tokens).subspan(at(done), at(piece)), moved.all(), logits);
      done += piece;
      CHECK(same_bits(logits, branch_of(all, 20, done - 1)));
    }
  }
}

TEST_CASE_TEMPLATE(
    "forward: a soft prompt of real tokens' embeddings equals the text behind these tokens", X,
    ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const family_case& one_family : all_families()) {
    const auto& name = one_family.name;
    const auto& config = one_family.config;
    CAPTURE(name);
    const decoder model = tiny_llama({.config = config, .format = "q4_1"}).model();
    const std::vector<token_t> texts[2] = {some_tokens(5, 20, 96), some_tokens(5, 21, 96)};
    std::vector<float> values = {1, 2, 3};  // of other parts
    values.reserve(3 + 2 * 5 * 32);
    std::vector<float> both;
    for (const auto& text : texts) {
      const auto rows = embedded(model, text);
      both.insert(both.end(), values.begin(), values.end());
      both.insert(both.end(), rows.begin(), rows.end());
    }
    const std::vector<token_t> tokens = some_tokens(9, 22, 96);
    zoq::branch_parts branches{2, {}};
    branches.prompt =
        zoq::prompt_part{5, {{both.data(), {2, static_cast<index_t>(both.size()) / 2}}, 3}};
    const auto got = scores_of(exec, model, read_all(tokens), branches);
    const auto logits = logits_of(exec, model, read_all(tokens), branches);
    for (index_t b = 0; b < 2; ++b) {
      const packing wanted = behind(texts[b], tokens);
      CHECK(same_bits(branch_of(got, 2, b), scores_of(exec, model, wanted)));
      CHECK(same_bits(branch_of(logits, 2, b), logits_of(exec, model, wanted)));
    }
    // Piece by piece too: the prompt's rows come with the first piece.
    zoq::branch_parts one{1, {}};
    one.prompt = branches.prompt;
    one.prompt->x.all = one.prompt->x.all.rows(1, 1);
    zoq::decoder_forward<X> pass(exec, model);
    pass.start_sequence(9, 5);
    std::vector<float> last;
    for (const index_t first : {0, 4, 5}) {
      pass.extend(std::span(tokens).subspan(at(first), first == 0   ? 4
                                                       : first == 4 ? 1
                                                                    : 4),
                  one, last);
    }
    CHECK(same_bits(last, branch_of(branch_of(logits, 2, 1), 9, 8)));
  }
}

TEST_CASE_TEMPLATE(
    "forward: a prefix of real tokens' keys and values equals the text behind these tokens", X,
    ZOQ_TEST_EXECUTORS) {
  const X exec;
  const tiny_llama tiny;
  const decoder model = tiny.model();
  const std::vector<token_t> texts[2] = {some_tokens(5, 20, 96), some_tokens(5, 21, 96)};
  std::vector<float> values[2];
  for (index_t b = 0; b < 2; ++b) {
    for (const auto& [k, v] : keys_and_values(tiny, texts[b])) {
      values[b].insert(values[b].end(), k.begin(), k.end());
      values[b].insert(values[b].end(), v.begin(), v.end());
    }
  }
  const auto n = static_cast<index_t>(values[0].size());
  std::vector<float> both = values[0];
  both.insert(both.end(), values[1].begin(), values[1].end());
  const std::vector<token_t> tokens = some_tokens(9, 22, 96);
  zoq::branch_parts branches{2, {}};
  const prefix_of prefix(both.data(), 2, n, 5 * 16, 5);
  branches.prefix = prefix.layers;
  const auto logits = logits_of(exec, model, read_all(tokens), branches);
  for (index_t b = 0; b < 2; ++b) {
    // The prefix was computed in double and rounded.
    CHECK(largest_difference(branch_of(logits, 2, b),
                             logits_of(exec, model, behind(texts[b], tokens))) <= 5e-6);
  }
  zoq::branch_parts one{1, {}};
  const prefix_of second(values[1].data(), 1, n, 5 * 16, 5);
  one.prefix = second.layers;
  CHECK(same_bits(logits_of(exec, model, read_all(tokens), one), branch_of(logits, 2, 1)));
  zoq::decoder_forward<X> pass(exec, model);
  pass.start_sequence(9, 5);
  std::vector<float> last;
  pass.extend(std::span(tokens).subspan(0, 3), one, last);
  pass.extend(std::span(tokens).subspan(3, 6), one, last);
  CHECK(same_bits(last, branch_of(branch_of(logits, 2, 1), 9, 8)));
}

TEST_CASE("forward: leading rows that make no sense are refused") {
  const zoq::serial exec;
  const decoder model = tiny_llama().model();
  zoq::decoder_forward<zoq::serial> pass(exec, model);
  const std::vector<float> values(60 * 32);
  zoq::branch_parts branches{1, {}};
  branches.prompt = zoq::prompt_part{60, {{values.data(), {1, 60 * 32}}, 0}};
  std::vector<double> scores(5);
  const packing batch = read_all({1, 2, 3, 4, 5});
  CHECK(message_of([&] { pass.score(batch, branches, scores); }) ==
        "forward: a sequence of 65 tokens is longer than the model's context of 64");
  branches.prompt->rows = 8;
  const prefix_of prefix(values.data(), 1, 60 * 32, 8 * 16, 8);
  branches.prefix = prefix.layers;
  CHECK(message_of([&] { pass.score(batch, branches, scores); }) ==
        "forward: a soft prompt and a prefix at the same time");
  branches.prompt.reset();
  branches.prefix = std::span(prefix.layers).first(1);
  CHECK(message_of([&] { pass.score(batch, branches, scores); }) ==
        "forward: a prefix of 1 layers, the model has 2");
  branches.prefix = prefix.layers;
  CHECK(message_of([&] { pass.start_sequence(60, 8); }) ==
        "forward: a sequence of 68 tokens, the model's context is 64");
  std::vector<float> logits;
  pass.start_sequence(4);
  CHECK(message_of([&] { pass.extend(batch.tokens, {}, logits); }) ==
        "forward: 5 tokens are more than the sequence has room for");
  CHECK(message_of([&] { pass.extend(std::span(batch.tokens).first(2), branches, logits); }) ==
        "forward: the sequence began behind 0 rows of a prompt or prefix, found 8");
}

TEST_CASE_TEMPLATE("forward: the best token of every read, with its score", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const decoder model = tiny_llama({.config = tiny_gpt2_config(), .tied = true}).model();
  const offsets moved(model, 2, every_tensor);
  packing batch;
  for (const index_t n : {70, 40}) {
    const auto tokens = some_tokens(std::min<index_t>(n, 64), 30, 96);
    const index_t s = batch.add(tokens);
    for (index_t t = static_cast<index_t>(tokens.size()) - 1; t >= 0; --t) {
      batch.read(s, t, 5);
      batch.read(s, t, 6);
    }
  }
  for (const bool pairs : {false, true}) {
    for (const auto& branches : {moved.all(pairs), zoq::branch_parts{2, {}, pairs}}) {
      zoq::decoder_forward<X> pass(exec, model);
      std::vector<double> scores(2 * batch.reads.size());
      std::vector<token_t> best(scores.size());
      pass.score(batch, branches, scores, best);
      CHECK(same_bits(scores, scores_of(exec, model, batch, branches)));
      const auto logits = logits_of(exec, model, batch, branches);  // every row is read
      for (std::size_t i = 0; i < best.size(); ++i) {
        const std::size_t b = i / batch.reads.size();
        const index_t row = batch.reads[i % batch.reads.size()].row;
        const auto first = logits.begin() + (static_cast<index_t>(b) * batch.rows() + row) * 96;
        CHECK(best[i] == std::max_element(first, first + 96) - first);
      }
      CHECK(message_of([&] { pass.score(batch, branches, scores, std::span(best).first(3)); }) ==
            "forward: 3 places for the best tokens of 416 reads");
    }
  }
}

TEST_CASE("R8: byte_count is what was allocated, whatever was moved") {
  const counting exec;
  for (const family_case& one_family : all_families()) {
    const auto& name = one_family.name;
    const auto& config = one_family.config;
    CAPTURE(name);
    const decoder model = tiny_llama({.config = config}).model();
    const offsets moved(model, 2, [](const zoq::model_tensor& t) {
      return t.role == zoq::tensor_role::norm || t.role == zoq::tensor_role::bias;
    });
    const index_t before = counted_space::live;
    zoq::decoder_forward<counting> pass(exec, model);
    const packing batch = read_all(some_tokens(30, 16, 96));
    std::vector<double> scores(2 * batch.reads.size());
    std::vector<token_t> best(scores.size());
    pass.score(batch, moved.all(), scores, best);
    CHECK(pass.byte_count() == counted_space::live - before);
    pass.start_sequence(10, 3);
    CHECK(pass.byte_count() == counted_space::live - before);
  }
}

TEST_CASE("reverse: another family than llama is refused, with what needs no reverse pass") {
  const zoq::serial exec;
  const decoder model = tiny_llama({.config = tiny_gpt2_config()}).model();
  CHECK(
      message_of([&] { zoq::llama_reverse<zoq::serial>(exec, model); }) ==
      "reverse: built for the llama family, the model is a gpt2. Of scores, random, magnitude and "
      "those by second differences need no reverse pass");
}
