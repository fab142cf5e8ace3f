// SPDX-License-Identifier: Apache-2.0
#include "zoq/sparse/top_k.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "io/temporary_folder.hpp"
#include "random_values.hpp"

using zoq::index_t;
using zoq::mask;
using zoq::scope;
using zoq::top_k_options;
using zoq::test::message_of;

namespace {

struct matrix {
  std::string name;
  index_t rows, columns;
  std::vector<float> score;
};

// Scores that are all there: what `top_k` asks for.
struct in_memory {
  std::vector<matrix> matrices;

  [[nodiscard]] index_t entries() const {
    index_t n = 0;
    for (const matrix& m : matrices) {
      n += m.rows * m.columns;
    }
    return n;
  }
  template <class F>
  void visit(F&& f) const {
    for (const matrix& m : matrices) {
      f(m.name, m.rows, m.columns, std::span<const float>(m.score));
    }
  }
};

matrix random_matrix(const std::string& name, index_t rows, index_t columns, zoq::seed_t seed) {
  return {name, rows, columns, zoq::test::uniform(rows * columns, seed, 0, 1)};
}

// Whole numbers below `levels`: many scores are equal.
matrix coarse_matrix(const std::string& name, index_t rows, index_t columns, zoq::seed_t seed,
                     int levels) {
  matrix m = random_matrix(name, rows, columns, seed);
  for (float& s : m.score) {
    s = std::floor(s * static_cast<float>(levels));
  }
  return m;
}

// The definition: sort everything by score, the order of arrival breaking ties; take the first k.
mask sorted_choice(const in_memory& scores, index_t per_mille, scope per) {
  mask out;
  std::vector<std::tuple<float, std::size_t, std::int32_t>> all;
  const auto take = [&](index_t k) {
    std::stable_sort(all.begin(), all.end(),
                     [](const auto& a, const auto& b) { return std::get<0>(a) > std::get<0>(b); });
    for (index_t i = 0; i < k; ++i) {
      const auto& [score, tensor, index] = all[static_cast<std::size_t>(i)];
      out.tensors[tensor].index.push_back(index);
    }
    all.clear();
  };
  for (const matrix& m : scores.matrices) {
    for (std::size_t i = 0; i < m.score.size(); ++i) {
      all.emplace_back(m.score[i], out.tensors.size(), static_cast<std::int32_t>(i));
    }
    out.tensors.push_back({m.name, m.rows, m.columns, {}});
    if (per == scope::matrix) {
      take(m.rows * m.columns * per_mille / 1000);
    }
  }
  if (per == scope::global) {
    take(scores.entries() * per_mille / 1000);
  }
  for (zoq::tensor_mask& t : out.tensors) {
    std::sort(t.index.begin(), t.index.end());
  }
  return out;
}

}  // namespace

TEST_CASE("R5: 10, 1, 0.1 and 0.01 % are one argument, and the counts are exact") {
  // The matrices of one layer of SmolLM2-135M: 0.1 % of each are 3,534 (106,020 in 30 layers).
  const index_t shapes[7][2] = {{576, 576},  {192, 576},  {192, 576}, {576, 576},
                                {1536, 576}, {1536, 576}, {576, 1536}};
  in_memory layer;
  for (const auto& [rows, columns] : shapes) {
    const auto number = static_cast<zoq::seed_t>(layer.matrices.size());
    layer.matrices.push_back(random_matrix(std::to_string(number), rows, columns, number));
  }
  for (const auto& [density, divisor] :
       {std::pair<double, index_t>{0.1, 10}, {0.01, 100}, {0.001, 1000}, {0.0001, 10000}}) {
    const mask each = zoq::top_k(layer, {.density = density, .per = scope::matrix});
    each.validate();
    REQUIRE(each.tensors.size() == 7);
    index_t sum = 0;
    for (const zoq::tensor_mask& t : each.tensors) {
      CHECK(static_cast<index_t>(t.index.size()) == t.rows * t.columns / divisor);
      sum += t.rows * t.columns / divisor;
    }
    CHECK(each.count() == sum);
    if (divisor == 1000) {
      CHECK(sum == 3534);
    }
    const mask all = zoq::top_k(layer, {.density = density, .per = scope::global});
    all.validate();
    CHECK(all.count() == layer.entries() / divisor);
  }
}

TEST_CASE("top_k: the count is floor(density * n), though density is no binary fraction") {
  for (index_t n = 1; n <= 1000; ++n) {
    for (const index_t percent : {1, 7, 29, 57, 58, 99, 100}) {
      zoq::top_k_selector selector({.density = static_cast<double>(percent) / 100}, n);
      selector.add("w", 1, n, std::vector<float>(static_cast<std::size_t>(n)));
      const index_t count = selector.finish().count();
      if (count != n * percent / 100) {
        CHECK_MESSAGE(count == n * percent / 100, n, " entries, ", percent, " %");
      }
    }
  }
}

TEST_CASE("top_k: as a full sort, equal scores by order of matrix and index") {
  for (const int levels : {1, 2, 16, 1000}) {
    in_memory scores;
    scores.matrices.push_back(coarse_matrix("a", 30, 40, 1, levels));
    scores.matrices.push_back(coarse_matrix("b", 1, 7, 2, levels));
    scores.matrices.push_back(coarse_matrix("c", 64, 20, 3, levels));
    for (const index_t per_mille : {1, 10, 100, 500, 1000}) {
      for (const scope per : {scope::matrix, scope::global}) {
        const double density = static_cast<double>(per_mille) / 1000;
        const mask found = zoq::top_k(scores, {.density = density, .per = per});
        CHECK(found.tensors == sorted_choice(scores, per_mille, per).tensors);
      }
    }
  }
}

TEST_CASE("top_k: more scores than candidates are kept at a time") {
  in_memory scores;  // 2^20 candidates and k are kept: one matrix passes this, then two together
  scores.matrices.push_back(coarse_matrix("a", 1200, 1000, 1, 5000));
  scores.matrices.push_back(coarse_matrix("b", 800, 1000, 2, 5000));
  for (const scope per : {scope::matrix, scope::global}) {
    const mask found = zoq::top_k(scores, {.density = 0.001, .per = per});
    CHECK(found.tensors == sorted_choice(scores, 1, per).tensors);
  }
}

TEST_CASE("top_k: without equal scores, the order in which matrices arrive does not matter") {
  in_memory scores;
  index_t next = 0;
  for (const char* name : {"a", "b", "c"}) {
    matrix m{name, 20, 30, std::vector<float>(600)};
    for (float& s : m.score) {  // 1800 different numbers, mixed up
      s = static_cast<float>(next++ * 1009 % 1801);
    }
    scores.matrices.push_back(m);
  }
  for (const scope per : {scope::matrix, scope::global}) {
    const mask forward = zoq::top_k(scores, {.density = 0.05, .per = per});
    in_memory turned = scores;
    std::reverse(turned.matrices.begin(), turned.matrices.end());
    const mask backward = zoq::top_k(turned, {.density = 0.05, .per = per});
    CHECK(backward.tensors[0].tensor == "c");
    CHECK(zoq::jaccard(forward, backward) == 1);
  }
}

TEST_CASE("top_k: signs, zeros and infinities are ordinary scores") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const in_memory scores{{{"w", 1, 6, {-1, -0.0f, 0.0f, infinity, -infinity, 1}}}};
  CHECK(zoq::top_k(scores, {.density = 0.5}).tensors[0].index ==
        std::vector<std::int32_t>{1, 3, 5});  // -0 equals 0 and comes first
}

TEST_CASE("top_k: a tensor budget gives each matrix its own count, of its own best") {
  in_memory scores;
  for (const char* name : {"a", "b", "c"}) {
    scores.matrices.push_back(
        coarse_matrix(name, 20, 30, static_cast<zoq::seed_t>(scores.matrices.size()), 50));
  }
  const mask found =
      zoq::top_k(scores, {.per = scope::tensor, .counts = {{"c", 600}, {"a", 7}, {"b", 0}}});
  found.validate();
  CHECK(found.count() == 607);
  CHECK(found.tensors[1].index.empty());
  CHECK(found.tensors[2].index.size() == 600);
  const in_memory first{{scores.matrices[0]}};
  CHECK(found.tensors[0] == zoq::top_k(first, {.density = 7.0 / 600}).tensors[0]);
}

TEST_CASE("top_k: NaN is refused, with tensor and index") {
  in_memory scores{{{"blk.0.attn_q.weight", 1, 4, {1, 2, 3, std::nanf("")}}}};
  for (const scope per : {scope::matrix, scope::global}) {
    CHECK(message_of([&] { zoq::top_k(scores, {.density = 0.5, .per = per}); }) ==
          "top_k: score 3 of blk.0.attn_q.weight is NaN");
  }
}

TEST_CASE("top_k: settings and shapes that make no sense are refused") {
  const auto error_of = [](double density) {
    return message_of([&] { zoq::top_k_selector({.density = density}, 10); });
  };
  CHECK(error_of(0) == "density 0 is outside (0, 1]");
  CHECK(error_of(-0.1) == "density -0.1 is outside (0, 1]");
  CHECK(error_of(1.01) == "density 1.01 is outside (0, 1]");
  CHECK(error_of(std::nan("")) == "density nan is outside (0, 1]");
  CHECK(error_of(1).empty());

  zoq::top_k_selector selector({.density = 0.5}, 10);
  const std::vector<float> six(6);
  CHECK(message_of([&] { selector.add("w", 2, 4, six); }) == "top_k: w has 6 scores for 2 x 4");
  CHECK(message_of([&] { selector.add("w", 2, 0, {}); }) == "top_k: w has 0 scores for 2 x 0");
  CHECK(message_of([&] { selector.add("w", -2, -3, six); }) == "top_k: w has 6 scores for -2 x -3");
  selector.add("w", 2, 3, six);
  CHECK(message_of([&] { selector.add("v", 2, 3, six); }) ==
        "top_k: 12 scores and more, 10 were announced");
  CHECK(message_of([&] { selector.finish(); }) == "top_k: 12 scores, 10 were announced");
  zoq::top_k_selector early({.density = 0.5}, 10);
  early.add("w", 2, 3, six);
  CHECK(message_of([&] { early.finish(); }) == "top_k: 6 scores, 10 were announced");

  const in_memory one{{{"w", 2, 3, six}}};
  const auto budget = [&](std::vector<zoq::tensor_count> counts) {
    return message_of(
        [&] { zoq::top_k(one, {.per = scope::tensor, .counts = std::move(counts)}); });
  };
  CHECK(budget({{"v", 1}}) == "top_k: the budget has no count for w");
  CHECK(budget({{"w", 7}}) == "top_k: a budget of 7 for w of 6 entries");
}

TEST_CASE("scope_named: by name") {
  CHECK(zoq::scope_named("matrix") == scope::matrix);
  CHECK(zoq::scope_named("tensor") == scope::tensor);
  CHECK(zoq::scope_named("global") == scope::global);
  CHECK(message_of([] { zoq::scope_named("layer"); }) ==
        "unknown scope \"layer\": matrix, tensor or global");
}
