// SPDX-License-Identifier: Apache-2.0
#include "zoq/score/fisher_task.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "score/reference_gradients.hpp"
#include "zoq/model/llama_reverse.hpp"
#include "zoq/objective/next_token.hpp"
#include "zoq/objective/objectives.hpp"
#include "zoq/sparse/top_k.hpp"

using zoq::example;
using zoq::index_t;
using zoq::llama;
using zoq::option_likelihood;
using zoq::option_score;
using namespace zoq::test;

namespace {

// Prompts of different lengths; two or three options, of one to three tokens.
std::vector<example> rows() {
  return {{some_tokens(5, 1, 96), {{11}, {23, 24}}, 1},
          {some_tokens(3, 2, 96), {{7, 8, 9}, {7, 30}, {41}}, 0},
          {some_tokens(8, 3, 96), {{11}, {12}}, 0}};
}

/// Mean squares and squared means of the rows' gradients in double, by tensor name.
struct by_hand {
  double loss = 0;
  std::map<std::string, std::vector<double>> squares, mean;

  by_hand(const tiny_llama& tiny, const std::vector<example>& of, option_score score) {
    const auto n = static_cast<double>(of.size());
    for (const example& row : of) {
      const gradients g = task_gradients(tiny.config, tiny.decoded(), row, score);
      loss += g.loss / n;
      for (std::size_t t = 0; t < tiny.tensors.size(); ++t) {
        auto& square = squares[tiny.tensors[t].name];
        auto& sum = mean[tiny.tensors[t].name];
        square.resize(g.tensor[t].size());
        sum.resize(g.tensor[t].size());
        for (std::size_t i = 0; i < sum.size(); ++i) {
          square[i] += g.tensor[t][i] * g.tensor[t][i] / n;
          sum[i] += g.tensor[t][i] / n;
        }
      }
    }
  }
};

// Float gradients through two layers err by some 1e-6 of their norm, squares by twice that.
constexpr double tolerance = 2e-5;

}  // namespace

TEST_CASE_TEMPLATE("fisher_task: the mean squared gradient of the options' loss", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const tiny_llama tiny({.format = "q8_0"});
  const llama model = tiny.model();
  for (const option_score how : {option_score::mean, option_score::sum}) {
    const by_hand wanted(tiny, rows(), how);
    const option_likelihood objective{how};
    const visited got{zoq::fisher_task(exec, model, rows(), objective)};
    CHECK(std::fabs(got.loss - wanted.loss) <= 1e-5);
    REQUIRE(got.order.size() == 14);
    for (const std::string& name : got.order) {
      CAPTURE(name);
      CHECK(relative_error(got.of.at(name), wanted.squares.at(name)) <= tolerance);
    }
    const zoq::fisher_task mean(exec, model, rows(), objective, [](index_t, index_t) {},
                                {.square_of_mean = true});
    CHECK(mean.entries() == model.config().linear_weights());
    for (const auto& tensor : visited(mean).of) {
      CAPTURE(tensor.first);
      std::vector<double> square = wanted.mean.at(tensor.first);
      for (double& g : square) {
        g *= g;
      }
      CHECK(relative_error(tensor.second, square) <= tolerance);
    }
  }
}

TEST_CASE("fisher_task: a completion after one token is a window of text") {
  const zoq::serial exec;
  const llama model = tiny_llama({.format = "q4_1"}).model();
  std::vector<std::vector<zoq::token_t>> windows;
  std::vector<example> completions;
  for (const index_t length : {9, 14, 2}) {
    const auto tokens = some_tokens(length, static_cast<zoq::seed_t>(length), 96);
    windows.push_back(tokens);
    completions.push_back({{tokens[0]}, {{tokens.begin() + 1, tokens.end()}}, 0});
  }
  const visited text{zoq::fisher(exec, model, windows)};
  const visited task{zoq::fisher_task(exec, model, completions, zoq::next_token{})};
  CHECK(std::fabs(text.loss - task.loss) <= 1e-6);
  CHECK(text.order == task.order);
  for (const auto& tensor : text.of) {
    // The same sums with one row less in each, and keys in another order.
    CHECK(relative_error(task.of.at(tensor.first), tensor.second) <= 5e-6);
  }
}

TEST_CASE("fisher_task: two equal options have no gradient") {
  const zoq::serial exec;
  const llama model = tiny_llama().model();
  // The answer is compared with itself: the loss is log 2 whatever the weights.
  const std::vector<example> same = {{some_tokens(6, 1, 96), {{5, 6}, {5, 6}}, 0}};
  for (const auto& tensor : visited(zoq::fisher_task(exec, model, same, option_likelihood{})).of) {
    for (const float s : tensor.second) {
      // Each option's part cancels the other's but for rounding: gradients of 1e-3, squares of 1e-20.
      REQUIRE(s <= 1e-14f);
    }
  }
}

TEST_CASE(
    "fisher_task: the objective may be chosen at run time, and rows that do not suit are named") {
  const zoq::serial exec;
  const llama model = tiny_llama().model();
  const visited chosen{
      zoq::fisher_task(exec, model, rows(), zoq::any_objective(option_likelihood{}))};
  const visited plain{zoq::fisher_task(exec, model, rows(), option_likelihood{})};
  for (const auto& tensor : plain.of) {
    CHECK(same_bits(chosen.of.at(tensor.first), tensor.second));
  }
  std::vector<example> broken = rows();
  broken[1].continuations.pop_back();
  broken[1].continuations.pop_back();
  CHECK(message_of([&] {
          zoq::top_k(zoq::fisher_task(exec, model, broken, option_likelihood{}));
        }) == "row 2: a row has 1 options, wanted at least 2");
}
