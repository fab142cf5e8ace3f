// SPDX-License-Identifier: Apache-2.0
#include "zoq/score/neuron.hpp"

#include <doctest/doctest.h>

#include <map>
#include <vector>

#include "model/tiny_llama.hpp"
#include "score/reference_gradients.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/model/llama_reverse.hpp"
#include "zoq/score/fisher.hpp"
#include "zoq/score/simple.hpp"
#include "zoq/sparse/top_k.hpp"

using zoq::index_t;
using zoq::llama;
using namespace zoq::test;

TEST_CASE(
    "neuron: every entry has its row's mean, and sums over rows are those of the score inside") {
  const zoq::serial exec;
  const llama model = tiny_llama().model();
  const zoq::fisher inner(exec, model, {some_tokens(12, 1, 96)});
  const visited each(inner), rows(zoq::neuron{inner});
  CHECK(rows.order == each.order);
  CHECK(rows.loss == each.loss);
  for (const std::string& name : each.order) {
    const auto columns =
        model.tensors()[at(zoq::find_tensor(model.tensors(), name))].weight.columns();
    const std::vector<float>& of = each.of.at(name);
    for (std::size_t first = 0; first < of.size(); first += at(columns)) {
      double sum = 0;
      for (std::size_t i = first; i < first + at(columns); ++i) {
        sum += static_cast<double>(of[i]);
      }
      const auto mean = static_cast<float>(sum / static_cast<double>(columns));
      for (std::size_t i = first; i < first + at(columns); ++i) {
        REQUIRE(rows.of.at(name)[i] == mean);
      }
    }
  }
}

TEST_CASE("neuron: rows are taken whole, all but the last one") {
  const llama model = tiny_llama({.config = small_config()}).model();
  const zoq::neuron score{zoq::magnitude(model.tensors())};
  CHECK(score.entries() == model.config().linear_weights());
  for (const auto per : {zoq::scope::matrix, zoq::scope::global}) {
    index_t parts = 0;
    for (const zoq::tensor_mask& t : zoq::top_k(score, {.density = 0.1, .per = per}).tensors) {
      std::map<index_t, index_t> of_row;
      for (const auto i : t.index) {
        ++of_row[i / t.columns];
      }
      index_t here = 0;
      for (const auto& [row, count] : of_row) {
        here += count == t.columns ? 0 : 1;
      }
      CHECK(here <= 1);
      parts += here;
    }
    CHECK((per == zoq::scope::matrix || parts <= 1));
  }
}
