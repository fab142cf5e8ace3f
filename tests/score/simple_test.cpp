// SPDX-License-Identifier: Apache-2.0
#include "zoq/score/simple.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/tiny_llama.hpp"
#include "zoq/sparse/top_k.hpp"

using zoq::index_t;
using zoq::llama;
using namespace zoq::test;

namespace {

struct scores {
  std::vector<std::string> order;
  std::map<std::string, std::vector<float>> of;

  template <class Score>
  explicit scores(const Score& from) {
    index_t all = 0;
    from.visit([&](std::string_view name, index_t rows, index_t columns, std::span<const float> s) {
      CHECK(rows * columns == static_cast<index_t>(s.size()));
      order.emplace_back(name);
      of[order.back()].assign(s.begin(), s.end());
      all += rows * columns;
    });
    CHECK(from.entries() == all);
  }
};

std::vector<std::string> linear_names(const llama& model) {
  std::vector<std::string> out;
  for (const zoq::model_tensor& t : model.tensors()) {
    if (t.role == zoq::tensor_role::linear) {
      out.push_back(t.name);
    }
  }
  return out;
}

}  // namespace

TEST_CASE("magnitude: the size of every decoded weight of the linear layers, in any format") {
  for (const auto format : format_names()) {
    CAPTURE(format);
    const tiny_llama tiny({.format = format});
    const llama model = tiny.model();
    const scores got{zoq::magnitude(model.tensors())};
    CHECK(got.order == linear_names(model));
    for (const auto& t : tiny.tensors) {
      if (t.role != zoq::tensor_role::linear) {
        continue;
      }
      std::vector<float> wanted = t.weight.decoded();
      for (float& w : wanted) {
        w = std::fabs(w);
      }
      CHECK(same_bits(got.of.at(t.name), wanted));
    }
  }
}

TEST_CASE("magnitude_smallest: the same with the other sign, so the smallest come first") {
  const llama model = tiny_llama({.format = "q8_0"}).model();
  const scores large{zoq::magnitude(model.tensors())};
  const scores small{zoq::magnitude_smallest(model.tensors())};
  CHECK(small.order == large.order);
  for (const auto& tensor : large.of) {
    std::vector<float> turned = tensor.second;
    for (float& s : turned) {
      s = -s;
    }
    CHECK(same_bits(small.of.at(tensor.first), turned));
  }
  const auto of = [](const auto& score) { return zoq::top_k(score, {.density = 0.4}); };
  CHECK(zoq::jaccard(of(zoq::magnitude(model.tensors())),
                     of(zoq::magnitude_smallest(model.tensors()))) == 0);
}

TEST_CASE("random_score: a function of seed, tensor and element, uniform in 0 to 1") {
  const llama model = tiny_llama({.config = small_config()}).model();
  const scores first{zoq::random_score(model.tensors(), 1)};
  const scores same{zoq::random_score(model.tensors(), 1)};
  const scores other{zoq::random_score(model.tensors(), 2)};
  CHECK(first.order == linear_names(model));
  CHECK(first.of == same.of);
  double sum = 0, squares = 0, n = 0;
  bool inside = true;
  for (const auto& [name, s] : first.of) {
    CHECK_FALSE(same_bits(s, other.of.at(name)));
    for (const float x : s) {
      inside = inside && x >= 0 && x < 1;
      sum += static_cast<double>(x);
      squares += static_cast<double>(x) * static_cast<double>(x);
      n += 1;
    }
  }
  CHECK(inside);
  // 4 standard errors of the mean of n uniform numbers, and of their squares (variance 4 / 45).
  CHECK(std::fabs(sum / n - 0.5) <= 4 * std::sqrt(1 / (12 * n)));
  CHECK(std::fabs(squares / n - 1.0 / 3) <= 4 * std::sqrt(4 / (45 * n)));
  CHECK_FALSE(same_bits(first.of.at("blk.0.attn_k.weight"), first.of.at("blk.0.attn_v.weight")));
}

TEST_CASE("scores make masks: of the largest weights, or of any") {
  const tiny_llama tiny;
  const llama model = tiny.model();
  const zoq::mask large = zoq::top_k(zoq::magnitude(model.tensors()), {.density = 0.1});
  CHECK(large.tensors.size() == 14);
  for (const zoq::tensor_mask& t : large.tensors) {
    const auto& tensor =
        tiny.tensors[at(zoq::find_tensor(model.tensors(), t.tensor))].weight.decoded();
    float smallest = 1;
    for (const auto i : t.index) {
      smallest = std::fmin(smallest, std::fabs(tensor[at(i)]));
    }
    index_t above = 0;
    for (const float w : tensor) {
      above += std::fabs(w) > smallest ? 1 : 0;
    }
    CHECK(above < static_cast<index_t>(t.index.size()));
  }
  const zoq::mask any = zoq::top_k(zoq::random_score(model.tensors(), 1), {.density = 0.1});
  CHECK(any.count() == large.count());
  // Two choices of a tenth that know nothing of each other share a tenth of it, 1 / 19 of both
  // together; 1,800 entries keep chance well below 0.03.
  CHECK(std::fabs(zoq::jaccard(any, large) - 1.0 / 19) < 0.03);
}
