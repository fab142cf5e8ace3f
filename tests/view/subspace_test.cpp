// SPDX-License-Identifier: Apache-2.0
#include "zoq/view/subspace.hpp"

#include <doctest/doctest.h>

#include <Eigen/Dense>
#include <cmath>
#include <utility>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "view/view_case.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/view/laid_out.hpp"
#include "zoq/view/lora.hpp"
#include "zoq/view/view.hpp"

using zoq::index_t;
using namespace zoq::test;

namespace {

// n unknowns of a plain function: handed out as the offsets of one tensor.
struct unknowns {
  static constexpr std::string_view name = "unknowns";
  index_t n;
  double first_value = 0;
  zoq::value_blocks of = make();

  zoq::value_blocks make() const {
    zoq::value_blocks out;
    out.add("x", 1, n);
    return out;
  }
  const zoq::value_blocks& blocks() const { return of; }
  static index_t tensors() { return 1; }
  template <class X>
  void start(const X& exec, zoq::tensor_view<float, 1> values) const {
    const std::vector<float> all(static_cast<std::size_t>(n), static_cast<float>(first_value));
    exec.upload(all.data(), n, values.data);
  }
  template <class X>
  static void hand_out(const X&, const zoq::part_values& values, zoq::handed_parts& out) {
    out.tensor[0].offset = zoq::offset_part{values};
  }
  static index_t byte_count() { return 0; }
};

// Column j of P, as what a unit step along z[j] moves.
template <class X, class View>
std::vector<float> moved_by(const X& exec, View& view, const std::vector<float>& z) {
  set_values(exec, view, z);
  return values_of(view.branches().on(0).offset->offset, view.layout().inner().n);
}

template <class X>
auto view_of_unknowns(const X& exec, index_t n, index_t d, zoq::seed_t seed, double first = 0) {
  return zoq::laid_out_view(exec,
                            zoq::subspace_layout<X, unknowns>(exec, unknowns{n, first}, {d, seed}));
}

std::vector<float> unit(index_t d, index_t j) {
  std::vector<float> out(static_cast<std::size_t>(d));
  out[at(j)] = 1;
  return out;
}

// The least |A (x0 + P z) - b| over z, of n unknowns and `constraints` random equations.
double least_residual(index_t n, index_t constraints, index_t d) {
  const zoq::cpu exec;
  auto view = view_of_unknowns(exec, n, d, 7);
  const std::vector<float> a = uniform(constraints * n, 1), b = uniform(constraints, 2);
  Eigen::MatrixXd through(constraints, d);  // A P
  for (index_t j = 0; j < d; ++j) {
    const std::vector<float> column = moved_by(exec, view, unit(d, j));
    for (index_t c = 0; c < constraints; ++c) {
      double sum = 0;
      for (index_t i = 0; i < n; ++i) {
        sum += static_cast<double>(a[at(c * n + i)]) * static_cast<double>(column[at(i)]);
      }
      through(c, j) = sum;
    }
  }
  Eigen::VectorXd right(constraints);
  for (index_t c = 0; c < constraints; ++c) {
    right(c) = static_cast<double>(b[at(c)]);
  }
  const Eigen::VectorXd z = through.colPivHouseholderQr().solve(right);
  return (through * z - right).norm() / right.norm();
}

}  // namespace

TEST_CASE("subspace: 1000 unknowns under 10 constraints are solved at d = 10 and not at 9") {
  CHECK(least_residual(1000, 10, 10) <= 1e-9);
  CHECK(least_residual(1000, 10, 9) >= 1e-2);
  CHECK(least_residual(1000, 10, 20) <= 1e-9);
}

TEST_CASE_TEMPLATE("subspace: z = 0 is the other view's start, and steps add up column by column",
                   X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  constexpr index_t n = 333, d = 6;
  auto view = view_of_unknowns(exec, n, d, 3, 0.5);
  CHECK(view.order().size == d);
  CHECK(same_bits(values_of(view.branches().on(0).offset->offset, n), std::vector<float>(n, 0.5f)));
  const std::vector<float> z = uniform(d, 5);
  std::vector<double> wanted(n, 0.5);
  for (index_t j = 0; j < d; ++j) {
    const std::vector<float> column = moved_by(exec, view, unit(d, j));
    index_t positive = 0;
    for (index_t i = 0; i < n; ++i) {
      const double p = static_cast<double>(column[at(i)]) - 0.5;
      positive += p > 0 ? 1 : 0;
      CHECK(std::fabs(std::fabs(p) - 1 / std::sqrt(333.0)) <= 1e-7);
      wanted[at(i)] += p * static_cast<double>(z[at(j)]);
    }
    CHECK(std::abs(positive - n / 2) <= 40);  // four deviations of a fair coin
  }
  CHECK(relative_error(moved_by(exec, view, z), wanted) <= 1e-6);
  CHECK_FALSE(same_bits(moved_by(exec, view, unit(d, 0)), moved_by(exec, view, unit(d, 1))));
}

TEST_CASE_TEMPLATE("subspace: of lora, at its start and in stacked branches", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  zoq::laid_out_view view(
      exec, zoq::subspace_layout<X, zoq::lora_layout<X>>(
                exec, zoq::lora_layout<X>(exec, target_of(model), {.rank = 2}), {.dimension = 20}));
  static_assert(zoq::parameter_view<decltype(view), X>);
  CHECK(same_bits(logits_of(exec, model, view.branches()), logits_of(exec, model, {})));
  const auto asked = two_pairs(3);
  const std::vector<float> all = stacked(exec, model, view, asked);
  CHECK(same_bits(all, one_by_one(exec, model, view, asked)));
  CHECK_FALSE(same_bits(std::vector<float>(all.begin(), all.begin() + 96),
                        std::vector<float>(all.begin() + 96, all.begin() + 192)));
}

TEST_CASE("subspace: a dimension that is not positive is refused") {
  const zoq::serial exec;
  CHECK(message_of([&] { view_of_unknowns(exec, 10, 0, 1); }) ==
        "subspace: dimension is 0, wanted 1 to 2147483648");
}
