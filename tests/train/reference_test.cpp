// SPDX-License-Identifier: Apache-2.0
#include "zoq/train/reference.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "tiny_task.hpp"
#include "zoq/objective/objectives.hpp"

using zoq::example;
using namespace zoq::test;

TEST_CASE_TEMPLATE("set_references: the untuned model loses log 2 on every row", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama({.format = "q4_0"}).model();
  const zoq::mask places = large_weights(model);
  auto view = zoq::sparse_view(exec, model.tensors(), places);
  std::vector<example> rows = tiny_task(9, 0);
  zoq::trainer run(exec, model, view, zoq::any_objective(zoq::dpo{}), zoq::spsa{},
                   zoq::sgd{.rate = 0.05});
  CHECK(message_of([&] { run.run(rows, {.steps = 1}); }).find("set_references") !=
        std::string::npos);
  run.set_references(rows);
  for (const example& e : rows) {
    REQUIRE(e.reference.size() == 2);
  }
  const auto mean = [&] {
    return run.measure(rows, [](const zoq::evaluation&) { return true; }).branch[0].mean();
  };
  // Each row's log 2 is rounded to 2^-40; other cuts into passes change no bit of a score.
  CHECK(mean() == doctest::Approx(std::log(2.0)).epsilon(1e-12));
  run.run(rows, {.steps = 20, .batch_size = 9, .seed = 2});
  CHECK(mean() < std::log(2.0));
  // They stay the untuned model's, also when they are read again after the run.
  const std::vector<example> before = rows;
  run.set_references(rows);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    CHECK(rows[r].reference == before[r].reference);
  }
}

TEST_CASE("set_references: nothing is read for objectives that refer to nothing") {
  struct never {
    void score(const zoq::packing&, const zoq::branch_parts&, std::span<double>) {
      FAIL("a forward");
    }
  } pass;
  std::vector<example> rows = tiny_task(3);
  zoq::set_references(pass, zoq::option_likelihood{}, rows);
  zoq::set_references(pass, zoq::any_objective(zoq::option_likelihood{}), rows);
  CHECK(rows[0].reference.empty());
}
