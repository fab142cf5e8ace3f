// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/prefix.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "view/view_case.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/view/laid_out.hpp"
#include "zoq/view/view.hpp"

using zoq::index_t;
using namespace zoq::test;

static_assert(
    zoq::parameter_view<zoq::laid_out_view<zoq::cpu, zoq::prefix_layout<zoq::cpu>>, zoq::cpu>);

TEST_CASE_TEMPLATE("prefix: keys and values of every layer, in every branch", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama().model();
  zoq::view_target target = target_of(model);
  target.key_columns = {16, 24};  // layers may differ
  zoq::laid_out_view view(exec, zoq::prefix_layout<X>(exec, target, {.rows = 3, .seed = 4}));
  CHECK(view.order().size == 2 * 3 * (16 + 24));
  view.move_to(exec, zoq::gaussian{}, two_pairs());
  const zoq::branch_parts all = view.branches();
  CHECK(all.leading_rows() == 3);
  REQUIRE(all.prefix.size() == 2);
  CHECK(all.prefix[0].key.first == 0);
  CHECK(all.prefix[0].value.first == 48);
  CHECK(all.prefix[1].key.first == 96);
  CHECK(all.prefix[1].value.first == 168);
  CHECK(all.prefix[1].value.all.shape[0] == 4);
  CHECK_FALSE(all.prompt.has_value());
  CHECK(view.layout().blocks().names()[3] == "blk.1.prefix_value");
}

TEST_CASE("prefix: starts at small random numbers, named by the seed") {
  const zoq::serial exec;
  const zoq::llama model = tiny_llama().model();
  const auto start = [&](const zoq::prefix_settings& how) {
    return zoq::laid_out_view(exec, zoq::prefix_layout<zoq::serial>(exec, target_of(model), how))
        .to_host();
  };
  const std::vector<float> values = start({.rows = 50, .deviation = 0.1});
  double squares = 0;
  for (const float value : values) {
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  // 3200 squares: their mean errs by 2.5 %; four times that.
  CHECK(std::fabs(squares / static_cast<double>(values.size()) / 0.01 - 1) <= 0.1);
  CHECK_FALSE(same_bits(start({.seed = 1}), start({.seed = 2})));
  CHECK(message_of([&] { start({.rows = 0}); }) == "prefix: rows is 0, wanted 1 to 1048576");
  CHECK(message_of([&] { start({.deviation = std::nan("")}); }) ==
        "prefix: deviation is nan, wanted a finite number");
  CHECK(message_of([&] {
          zoq::prefix_layout<zoq::serial>(exec, {.tensors = model.tensors()}, {});
        }) == "prefix: the columns of keys are not known");
}
