// SPDX-License-Identifier: Apache-2.0
#include "zoq/estimate/spsa.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "estimate/plain_function.hpp"
#include "io/temporary_folder.hpp"
#include "random_values.hpp"
#include "zoq/estimate/probes.hpp"
#include "zoq/random/gaussian.hpp"
#include "zoq/random/rademacher.hpp"
#include "zoq/random/seeds.hpp"

using namespace zoq::test;
using zoq::gaussian;
using zoq::rademacher;
using zoq::spsa;
using zoq::spsa_one_sided;
using zoq::step_info;

namespace {

// f(x) = sum_i a_i x_i^2 / 2 + b_i x_i, with its gradient.
struct quadratic {
  std::vector<float> a, b;
  explicit quadratic(zoq::index_t n) : a(uniform(n, 1, 0, 2)), b(uniform(n, 2)) {}

  double operator()(const std::vector<double>& x) const {
    double f = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      f += (static_cast<double>(a[i]) * x[i] / 2 + static_cast<double>(b[i])) * x[i];
    }
    return f;
  }
  [[nodiscard]] std::vector<double> gradient_at(const std::vector<double>& x) const {
    std::vector<double> g;
    for (std::size_t i = 0; i < x.size(); ++i) {
      g.push_back(static_cast<double>(a[i]) * x[i] + static_cast<double>(b[i]));
    }
    return g;
  }
  [[nodiscard]] double curvature_along(const std::vector<double>& z) const {
    double c = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
      c += static_cast<double>(a[i]) * z[i] * z[i];
    }
    return c;
  }
};

double product(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

std::vector<double> start(zoq::index_t n) {
  const std::vector<float> x = uniform(n, 3);
  return {x.begin(), x.end()};
}

step_info step(std::uint64_t number) {
  return {
      .step = number, .seed = zoq::derive_seed(5, zoq::purpose::directions, number), .order = {}};
}

}  // namespace

TEST_CASE("probe_seed: the step's own first, all others different") {
  const step_info at = step(3);
  CHECK(zoq::probe_seed(at, 0) == at.seed);
  std::set<zoq::seed_t> seen;
  for (std::uint64_t s = 0; s < 100; ++s) {
    for (int p = 0; p < 20; ++p) {
      seen.insert(zoq::probe_seed(step(s), p));
    }
  }
  CHECK(seen.size() == 2000);
}

TEST_CASE("R1: 2 q losses two-sided, q + 1 one-sided, in one round") {
  const auto any = [](const std::vector<double>&) { return 1.0; };
  for (const int q : {1, 2, 5}) {
    const exchange two = estimate<gaussian>(spsa{.probes = q}, step(0), {1, 2}, any);
    CHECK(two.asked.size() == static_cast<std::size_t>(2 * q));
    CHECK(two.rounds == 1);
    const exchange one = estimate<gaussian>(spsa_one_sided{.probes = q}, step(0), {1, 2}, any);
    CHECK(one.asked.size() == static_cast<std::size_t>(q + 1));
    CHECK(one.rounds == 1);
  }
}

TEST_CASE("spsa: on a linear function in exact numbers the slope is g . z, to the bit") {
  // Whole coefficients, plus and minus one, epsilon a power of two: nothing is rounded.
  const std::vector<float> g = whole_numbers(21, 7, 9);
  const auto linear = [&](const std::vector<double>& x) {
    double f = 3;
    for (std::size_t i = 0; i < x.size(); ++i) {
      f += static_cast<double>(g[i]) * x[i];
    }
    return f;
  };
  const std::vector<double> x(21, 0.5);
  for (std::uint64_t s = 0; s < 20; ++s) {
    const double wanted = product(field_values<rademacher>(step(s).seed, 21), {g.begin(), g.end()});
    const exchange two = estimate<rademacher>(spsa{.epsilon = 0x1p-8}, step(s), x, linear);
    REQUIRE(two.estimate.terms.size() == 1);
    CHECK(two.estimate.terms[0].seed == step(s).seed);
    CHECK(two.estimate.terms[0].weight == wanted);
    CHECK(two.estimate.slope == wanted);
    CHECK(two.estimate.loss == linear(x));
    const exchange one =
        estimate<rademacher>(spsa_one_sided{.epsilon = 0x1p-8}, step(s), x, linear);
    REQUIRE(one.estimate.terms.size() == 1);
    CHECK(one.estimate.terms[0].weight == wanted);
    CHECK(one.estimate.loss == linear(x));
  }
}

TEST_CASE_TEMPLATE(
    "spsa: on a quadratic, two-sided slopes are exact, one-sided err by epsilon / 2 "
    "of the curvature",
    Z, gaussian, rademacher) {
  // Losses of about 30 in doubles, 37 sums each: 1e-13, over 2 epsilon = 0.02.
  constexpr double rounding = 1e-11;
  const quadratic f(37);
  const std::vector<double> x = start(37);
  constexpr double epsilon = 0.01;
  constexpr int probes = 3;
  for (std::uint64_t s = 0; s < 20; ++s) {
    const exchange two = estimate<Z>(spsa{epsilon, probes}, step(s), x, f);
    const exchange one = estimate<Z>(spsa_one_sided{epsilon, probes}, step(s), x, f);
    REQUIRE(two.estimate.terms.size() == probes);
    REQUIRE(one.estimate.terms.size() == probes);
    CHECK(one.estimate.loss == f(x));
    double mean_loss = 0;
    for (int p = 0; p < probes; ++p) {
      const auto i = static_cast<std::size_t>(p);
      const std::vector<double> z = field_values<Z>(zoq::probe_seed(step(s), p), x.size());
      const double slope = product(f.gradient_at(x), z);
      const double bend = epsilon / 2 * f.curvature_along(z);
      CHECK(two.estimate.terms[i].seed == zoq::probe_seed(step(s), p));
      CHECK(two.estimate.terms[i].seed == one.estimate.terms[i].seed);
      CHECK(std::fabs(two.estimate.terms[i].weight * probes - slope) < rounding);
      CHECK(std::fabs(one.estimate.terms[i].weight * probes - slope - bend) < rounding);
      mean_loss += (two.answers[2 * i].loss + two.answers[2 * i + 1].loss) / (2 * probes);
      if (p == probes - 1) {
        CHECK(std::fabs(two.estimate.slope - slope) < rounding);
      }
    }
    CHECK(std::fabs(two.estimate.loss - mean_loss) < rounding);
  }
}

TEST_CASE_TEMPLATE("spsa: the estimate's mean is the gradient", Z, gaussian, rademacher) {
  // The variance of element i is at most |g|^2 + g_i^2 for one direction; bounds are 4 standard
  // deviations of the mean over all directions, and the seeds are fixed.
  const quadratic f(5);
  const std::vector<double> x = start(5);
  const std::vector<double> wanted = f.gradient_at(x);
  constexpr int steps = 2000, probes = 10;
  const auto check = [&](auto estimator) {
    std::vector<double> mean(5);
    for (std::uint64_t s = 0; s < steps; ++s) {
      const std::vector<double> g =
          gradient_of<Z>(estimate<Z>(estimator, step(s), x, f).estimate, 5);
      for (std::size_t i = 0; i < 5; ++i) {
        mean[i] += g[i] / steps;
      }
    }
    for (std::size_t i = 0; i < 5; ++i) {
      const double variance = product(wanted, wanted) + wanted[i] * wanted[i];
      CHECK(std::fabs(mean[i] - wanted[i]) < 4 * std::sqrt(variance / (steps * probes)));
    }
  };
  check(spsa{1e-3, probes});
  // The curvature's part is odd in z, so it has mean 0, and a standard deviation of epsilon.
  check(spsa_one_sided{1e-4, probes});
}

TEST_CASE_TEMPLATE("spsa: settings that make no sense are refused", E, spsa, spsa_one_sided) {
  const std::string name(E::name);
  const auto any = [](const std::vector<double>&) { return 1.0; };
  const auto error_of = [&](E e) {
    return message_of([&] { estimate<gaussian>(e, step(0), {1}, any); });
  };
  CHECK(error_of({.epsilon = 0}) == name + ": epsilon is 0, wanted a positive number");
  CHECK(error_of({.epsilon = -1}) == name + ": epsilon is -1, wanted a positive number");
  CHECK(error_of({.epsilon = std::nan("")}) == name + ": epsilon is nan, wanted a positive number");
  CHECK(error_of({.epsilon = HUGE_VAL}) == name + ": epsilon is inf, wanted a positive number");
  CHECK(error_of({.probes = 0}) == name + ": 0 probes, wanted at least 1");
}

TEST_CASE_TEMPLATE("spsa: a loss that is not finite is refused, with step and place", E, spsa,
                   spsa_one_sided) {
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    int calls = 0;
    const auto f = [&](const std::vector<double>&) { return calls++ == 1 ? bad : 1.0; };
    CHECK(message_of([&] { estimate<gaussian>(E{}, step(7), {1}, f); }) ==
          zoq::text("step 7: loss 1 of 2 is ", bad));
  }
}
