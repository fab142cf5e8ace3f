// SPDX-License-Identifier: Apache-2.0
#include "zoq/ops/low_rank.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "exec/executors.hpp"
#include "executors.hpp"
#include "samples.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/ops/linear.hpp"

using zoq::index_t;
using namespace zoq::test;

namespace {

constexpr index_t outputs = 21, columns = 64, rows = 7, branches = 3;

struct factors {
  index_t rank;
  std::vector<float> values;  // [branches, 1 + R C + O R]
  index_t stride() const { return 1 + rank * (columns + outputs); }
  explicit factors(index_t r) : rank(r) { values = uniform(branches * stride(), 3); }
  zoq::parts part() const {
    const zoq::tensor_view<const float, 2> all{values.data(), {branches, stride()}};
    zoq::parts p;
    p.low_rank = zoq::low_rank_part{rank, 0.25f, {all, 1}, {all, 1 + rank * columns}};
    return p;
  }
};

template <class X>
std::vector<float> run(const X& exec, const std::vector<float>& x, const zoq::any_packed& w,
                       const zoq::parts& added, const zoq::branch_stack& stack) {
  const auto n = static_cast<index_t>(x.size()) / columns;
  std::vector<float> y(at(n * outputs), -1.0f);
  zoq::linear(exec, matrix(x, n, columns), w, added, stack, matrix(y, n, outputs));
  return y;
}

}  // namespace

TEST_CASE_TEMPLATE("linear: low-rank parts add scale B A, in every branch", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const std::vector<float> x = uniform(branches * rows * columns, 1);
  const packed_matrix w = pack("q4_1", uniform(outputs * columns, 2), outputs, columns);
  const std::vector<float> base = w.decoded();
  for (const index_t rank : {1, 4, 100}) {
    CAPTURE(rank);
    const factors f(rank);
    const std::vector<float> y = run(exec, x, w.view, f.part(), {.count = branches});
    std::vector<double> wanted;
    for (index_t r = 0; r < branches * rows; ++r) {
      const float* a = f.values.data() + r / rows * f.stride() + 1;
      const float* b = a + rank * columns;
      for (index_t o = 0; o < outputs; ++o) {
        double s = 0;
        for (index_t c = 0; c < columns; ++c) {
          double weight = static_cast<double>(base[at(o * columns + c)]);
          for (index_t j = 0; j < rank; ++j) {
            weight += 0.25 * static_cast<double>(b[o * rank + j]) *
                      static_cast<double>(a[j * columns + c]);
          }
          s += weight * static_cast<double>(x[at(r * columns + c)]);
        }
        wanted.push_back(s);
      }
    }
    CHECK(relative_error(y, wanted) <= 1e-6);  // sums in float
  }
}

TEST_CASE("linear: B of zeros changes no bit, whatever the policy") {
  const std::vector<float> x = uniform(2 * rows * columns, 1);
  const packed_matrix w = pack("q4_1", uniform(outputs * columns, 2), outputs, columns);
  factors f(8);
  for (index_t b = 0; b < branches; ++b) {
    std::fill_n(f.values.begin() + b * f.stride() + 1 + 8 * columns, 8 * outputs, 0.0f);
  }
  zoq::parts p = f.part();
  p.low_rank->a.all.shape[0] = p.low_rank->b.all.shape[0] = 2;
  const zoq::branch_stack pair{.count = 2, .pairs = true};
  for_each_policy([&](const zoq::cpu_options& options) {
    const zoq::cpu exec(options);
    CHECK(same_bits(run(exec, x, w.view, p, pair), run(exec, x, w.view, {}, pair)));
  });
}

TEST_CASE("linear: a low-rank branch has the same bits alone, stacked, and for any threads") {
  const std::vector<float> x = uniform(branches * rows * columns, 1);
  const packed_matrix w = pack("q4_1", uniform(outputs * columns, 2), outputs, columns);
  const factors f(5);
  const zoq::cpu exec{{.threads = 1}};
  const std::vector<float> y = run(exec, x, w.view, f.part(), {.count = branches});
  CHECK(same_bits(run(zoq::cpu{{.threads = 3}}, x, w.view, f.part(), {.count = branches}), y));
  for (index_t b = 0; b < branches; ++b) {
    zoq::parts p = f.part();
    for (zoq::part_values* of : {&p.low_rank->a, &p.low_rank->b}) {
      of->all = {of->all.data + b * f.stride(), {1, f.stride()}};
    }
    const auto part_of = [&](const std::vector<float>& all, index_t n) {
      return std::vector<float>(all.begin() + b * rows * n, all.begin() + (b + 1) * rows * n);
    };
    CHECK(same_bits(run(exec, part_of(x, columns), w.view, p, {}), part_of(y, outputs)));
  }
}
