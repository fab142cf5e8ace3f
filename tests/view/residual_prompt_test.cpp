// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/residual_prompt.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "view/view_case.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/view/laid_out.hpp"
#include "zoq/view/prompt.hpp"
#include "zoq/view/view.hpp"

using zoq::index_t;
using namespace zoq::test;

static_assert(zoq::parameter_view<
              zoq::laid_out_view<zoq::cpu, zoq::residual_prompt_layout<zoq::cpu>>, zoq::cpu>);

TEST_CASE_TEMPLATE("residual-prompt: starts at the prompt of the same tokens, to the bit", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama({.format = "q8_0"}).model();
  zoq::laid_out_view view(
      exec, zoq::residual_prompt_layout<X>(exec, target_of(model), {.rows = 6, .seed = 3}));
  const zoq::laid_out_view plain(
      exec, zoq::prompt_layout<X>(exec, target_of(model), {.rows = 6, .seed = 3}));
  const std::vector<float> frozen = values_of(plain.branches().prompt->x, 6 * 32);
  CHECK(same_bits(values_of(view.branches().prompt->x, 6 * 32), frozen));
  CHECK(view.branches().prompt->rows == 6);
  CHECK(
      same_bits(logits_of(exec, model, view.branches()), logits_of(exec, model, plain.branches())));
  view.move_to(exec, zoq::gaussian{}, two_pairs());
  CHECK_FALSE(same_bits(values_of(view.branches().prompt->x, 6 * 32, 0), frozen));
  view.move_to_values(exec);
  CHECK(same_bits(values_of(view.branches().prompt->x, 6 * 32), frozen));
}

TEST_CASE_TEMPLATE("residual-prompt: x = E + U relu(D E) in every branch", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t rows = 3, width = 5, columns = 32;
  const zoq::llama model = tiny_llama().model();
  zoq::laid_out_view view(
      exec, zoq::residual_prompt_layout<X>(exec, target_of(model), {.rows = rows, .width = width}));
  const std::vector<float> frozen = values_of(view.branches().prompt->x, rows * columns);
  set_values(exec, view, uniform(2 * width * columns, 4));
  const std::vector<float> values = view.to_host();
  std::vector<double> wanted;
  for (index_t p = 0; p < rows; ++p) {
    std::vector<double> h;
    for (index_t m = 0; m < width; ++m) {
      double sum = 0;
      for (index_t c = 0; c < columns; ++c) {
        sum += static_cast<double>(values[at(m * columns + c)]) *
               static_cast<double>(frozen[at(p * columns + c)]);
      }
      h.push_back(std::max(sum, 0.0));
    }
    for (index_t c = 0; c < columns; ++c) {
      double sum = static_cast<double>(frozen[at(p * columns + c)]);
      for (index_t m = 0; m < width; ++m) {
        sum += static_cast<double>(values[at(width * columns + c * width + m)]) * h[at(m)];
      }
      wanted.push_back(sum);
    }
  }
  CHECK(relative_error(values_of(view.branches().prompt->x, rows * columns), wanted) <= 1e-6);
  // A branch among others is what it is alone.
  const auto asked = two_pairs();
  view.move_to(exec, zoq::gaussian{}, asked);
  const std::vector<float> third = values_of(view.branches().prompt->x, rows * columns, 2);
  view.move_to(exec, zoq::gaussian{}, {&asked[2], 1});
  CHECK(same_bits(values_of(view.branches().prompt->x, rows * columns), third));
}

TEST_CASE("residual-prompt: sizes that are not positive are refused") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  CHECK(message_of([&] {
          zoq::residual_prompt_layout<zoq::serial>(exec, target_of(model), {.width = 0});
        }) == "residual-prompt: width is 0, wanted 1 to 1048576");
}
