// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/lora.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "view/view_case.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/view/dense.hpp"
#include "zoq/view/laid_out.hpp"
#include "zoq/view/view.hpp"

using zoq::index_t;
using namespace zoq::test;

namespace {

template <class X>
using lora_view = zoq::laid_out_view<X, zoq::lora_layout<X>>;
template <class X>
using lora_b_view = zoq::laid_out_view<X, zoq::lora_b_layout<X>>;
static_assert(zoq::parameter_view<lora_view<zoq::cpu>, zoq::cpu>);
static_assert(zoq::parameter_view<lora_b_view<zoq::cpu>, zoq::cpu>);

template <class X>
lora_view<X> lora(const X& exec, const zoq::view_target& target, const zoq::lora_settings& how) {
  return {exec, zoq::lora_layout<X>(exec, target, how)};
}

}  // namespace

TEST_CASE_TEMPLATE("lora: at its start the logits are the model's, to the bit", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  for (const char* format : {"f32", "q4_1"}) {
    const zoq::llama model = tiny_llama({.format = format}).model();
    const std::vector<float> base = logits_of(exec, model, {});
    const auto view = lora(exec, target_of(model), {.rank = 4});
    CHECK(same_bits(logits_of(exec, model, view.branches()), base));
    const lora_b_view<X> fixed(exec, zoq::lora_b_layout<X>(exec, target_of(model), {.rank = 4}));
    CHECK(same_bits(logits_of(exec, model, fixed.branches()), base));
  }
}

TEST_CASE_TEMPLATE("lora: the same logits as offsets of alpha / rank * B A", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama().model();
  auto view = lora(exec, target_of(model), {.rank = 3, .alpha = 6});
  const std::vector<float> values = uniform(view.order().size, 3, -0.2, 0.2);
  set_values(exec, view, values);
  zoq::laid_out_view dense(exec, zoq::dense_layout<X>(exec, target_of(model), {.roles = "linear"}));
  std::vector<float> offsets;
  for (index_t t = 0; t < view.order().count; t += 2) {
    const zoq::extent &a = view.order().tensors[t], &b = view.order().tensors[t + 1];
    REQUIRE((a.rows == 3 && b.columns == 3));
    for (index_t o = 0; o < b.rows; ++o) {
      for (index_t c = 0; c < a.columns; ++c) {
        double sum = 0;
        for (index_t j = 0; j < 3; ++j) {
          sum += static_cast<double>(values[at(b.first + o * 3 + j)]) *
                 static_cast<double>(values[at(a.first + j * a.columns + c)]);
        }
        offsets.push_back(static_cast<float>(2 * sum));
      }
    }
  }
  REQUIRE(static_cast<index_t>(offsets.size()) == dense.order().size);
  set_values(exec, dense, offsets);
  // Sums in float, in other orders.
  CHECK(relative_error(logits_of(exec, model, view.branches()),
                       logits_of(exec, model, dense.branches())) <= 1e-5);
}

TEST_CASE_TEMPLATE("lora-b: lora with the A that was drawn", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  lora_b_view<X> fixed(exec, zoq::lora_b_layout<X>(exec, target_of(model), {.rank = 4, .seed = 9}));
  auto view = lora(exec, target_of(model), {.rank = 4, .seed = 9});
  const std::vector<float> b = uniform(fixed.order().size, 3, -0.2, 0.2);
  std::vector<float> values = view.to_host();
  index_t from = 0;
  for (index_t t = 1; t < view.order().count; t += 2) {
    const zoq::extent& e = view.order().tensors[t];
    std::copy_n(b.begin() + from, e.rows * e.columns, values.begin() + e.first);
    from += e.rows * e.columns;
  }
  CHECK(from == fixed.order().size);
  set_values(exec, fixed, b);
  set_values(exec, view, values);
  CHECK(
      same_bits(logits_of(exec, model, fixed.branches()), logits_of(exec, model, view.branches())));
}

TEST_CASE_TEMPLATE("lora: stacked branches have the bits of single ones", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  auto view = lora(exec, target_of(model), {.rank = 4});
  CHECK(same_bits(stacked(exec, model, view, two_pairs()),
                  one_by_one(exec, model, view, two_pairs())));
}

TEST_CASE("lora: A has variance 1 / C, and leaving out tensors changes no other's") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama({.config = small_config()}).model();
  const auto all = lora(exec, target_of(model), {.rank = 32, .seed = 5});
  zoq::view_target target = target_of(model);
  target.selection = zoq::select("1", "attn");
  const auto some = lora(exec, target, {.rank = 32, .seed = 5});
  CHECK(some.layout().blocks().names()[0] == "blk.1.ffn_gate.weight.lora_a");
  const index_t gate = model.layer(1).gate, n = 32 * 96;
  const std::vector<float> a = values_of(all.branches().on(gate).low_rank->a, n);
  CHECK(same_bits(values_of(some.branches().on(gate).low_rank->a, n), a));
  CHECK_FALSE(same_bits(values_of(all.branches().on(model.layer(1).up).low_rank->a, n), a));
  CHECK_FALSE(some.branches().on(model.layer(1).query).low_rank.has_value());
  CHECK_FALSE(some.branches().on(model.layer(0).gate).low_rank.has_value());
  double squares = 0;
  for (const float value : a) {
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  // 3072 squares: their mean errs by sqrt(2 / 3072) of it, 2.6 %; four times that.
  CHECK(std::fabs(squares / static_cast<double>(n) * 96 - 1) <= 0.1);
}

TEST_CASE("lora: ranks and factors that make no sense, and nothing to tune, are refused") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  CHECK(message_of([&] { lora(exec, target_of(model), {.rank = 0}); }) ==
        "lora: rank is 0, wanted 1 to 1048576");
  // Sizes are products with the rank.
  CHECK(message_of([&] {
          lora(exec, target_of(model), {.rank = std::numeric_limits<index_t>::max()});
        }) == "lora: rank is 9223372036854775807, wanted 1 to 1048576");
  CHECK(message_of([&] { lora(exec, target_of(model), {.alpha = std::nan("")}); }) ==
        "lora: alpha is nan, wanted a finite number");
  zoq::view_target target = target_of(model);
  target.selection = zoq::select("2-");
  CHECK(message_of([&] { lora(exec, target, {}); }) ==
        "lora: no matrix of a linear layer is selected (layers \"2-\", exclude \"\")");
}
