// SPDX-License-Identifier: Apache-2.0
#include "zoq/score/hessian_trace.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "model/tiny_llama.hpp"
#include "score/moved_losses.hpp"
#include "zoq/score/simple.hpp"
#include "zoq/sparse/top_k.hpp"

using zoq::index_t;
using zoq::llama;
using namespace zoq::test;

namespace {

double slope(std::size_t t, index_t i) {
  return std::sin(static_cast<double>(i) + static_cast<double>(t));
}
double curvature(std::size_t t, index_t i) {
  return static_cast<double>(t % 5) + static_cast<double>(i % 7) / 7;
}

}  // namespace

TEST_CASE_TEMPLATE("hessian_trace: one probe gives the trace of a diagonal Hessian", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const llama model = tiny_llama().model();
  index_t last = 0, all = 0;
  const zoq::hessian_trace traces(exec, model.tensors(),
                                  quadratic_loss{model.tensors(), slope, curvature, 5.0},
                                  {.probes = 1}, [&](index_t done, index_t of) {
                                    CHECK(done == last + 1);
                                    last = done;
                                    all = of;
                                  });
  const auto got = traces.of_tensors();
  REQUIRE(got.size() == 14);
  CHECK(last == 14);
  CHECK(all == 14);
  for (const zoq::tensor_score& s : got) {
    CAPTURE(s.tensor);
    const auto t = at(zoq::find_tensor(model.tensors(), s.tensor));
    const zoq::any_packed& w = model.tensors()[t].weight;
    CHECK(s.entries == w.rows() * w.columns());
    double trace = 0;
    for (index_t i = 0; i < s.entries; ++i) {
      trace += curvature(t, i);
    }
    // Sums near 5 round by 1e-15, over epsilon^2 = 1e-4.
    CHECK(std::fabs(s.score * static_cast<double>(s.entries) - trace) <=
          1e-4 * std::fmax(trace, 1));
  }
}

TEST_CASE("hessian_trace: as a budget, curved tensors get more entries, by another score") {
  const zoq::serial exec;
  const llama model = tiny_llama().model();
  const auto flat = [](std::size_t, index_t) { return 0.0; };
  const auto by_tensor = [](std::size_t t, index_t) { return t < 10 ? 3.0 : 1.0; };
  const zoq::hessian_trace traces(exec, model.tensors(),
                                  quadratic_loss{model.tensors(), flat, by_tensor, 0.0});
  const auto scores = traces.of_tensors();
  const index_t k = 500;
  const auto counts = zoq::tensor_budget(scores, k);
  const zoq::mask m =
      zoq::top_k(zoq::magnitude(model.tensors()), {.per = zoq::scope::tensor, .counts = counts});
  CHECK(m.count() == k);
  for (const zoq::tensor_mask& t : m.tensors) {
    const index_t number = zoq::find_tensor(model.tensors(), t.tensor);
    const double share =
        static_cast<double>(t.index.size()) / static_cast<double>(t.rows * t.columns);
    // Both layers have the same sizes: of 500 entries 3 / 4 and 1 / 4, to a whole entry a tensor.
    const auto layer = static_cast<double>(model.config().linear_weights()) / 2;
    const double wanted = (number < 10 ? 375 : 125) / layer;
    CHECK(std::fabs(share - wanted) * static_cast<double>(t.rows * t.columns) <= 1);
  }
}

TEST_CASE("hessian_trace: settings without sense are refused") {
  const zoq::serial exec;
  const llama model = tiny_llama().model();
  const auto error = [&](const zoq::hessian_trace_options& options) {
    return message_of([&] {
      zoq::hessian_trace(
          exec, model.tensors(), [](const zoq::branch_parts&) { return 0.0; }, options);
    });
  };
  CHECK(error({.probes = 0}) == "hessian-trace: 0 probes, wanted at least 1");
  CHECK(error({.epsilon = 0}) == "hessian-trace: epsilon is 0, wanted a positive number");
}
