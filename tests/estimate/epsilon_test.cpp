// SPDX-License-Identifier: Apache-2.0
#include "zoq/estimate/epsilon.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "zoq/random/gaussian.hpp"

using zoq::choose_epsilon;
using zoq::epsilon_choice;
using zoq::query;
using zoq::test::message_of;

namespace {

// A loss along any direction: value + slope t + bend t^2 + cubic t^3 + noise, new at each call.
struct noisy_cubic {
  double slope = 2, bend = 5, cubic = 40, noise = 1e-7;
  zoq::seed_t seed = 1;
  zoq::index_t calls = 0;
  int batches = 0;

  double at(double t) {
    const double n = static_cast<double>(zoq::gaussian::at(seed, {}).four(calls++).at[0]);
    return 0.7 + t * (slope + t * (bend + t * cubic)) + noise * n;
  }
  std::vector<double> operator()(std::span<const query> asked) {
    ++batches;
    std::vector<double> out;
    for (const query& q : asked) {
      out.push_back(at(q.scale));
    }
    return out;
  }
};

double best_epsilon(double noise, double cubic) {
  return std::pow(noise * noise / (4 * cubic * cubic), 1.0 / 6);
}

}  // namespace

TEST_CASE("choose_epsilon: finds noise, bias, slope, and the epsilon between noise and bias") {
  for (const double noise : {1e-8, 1e-7, 1e-6}) {
    for (const double cubic : {10.0, 40.0, 160.0}) {
      noisy_cubic f{.cubic = cubic, .noise = noise};
      const epsilon_choice c = choose_epsilon(f, {.directions = 128});
      // Two squares for each direction, which share a quotient: the deviation has a relative error of
      // about 0.06. The cubic term adds 3 * 160 * (2e-5)^2 = 2e-7 to a difference of quotients, at most
      // a few thousandths of what noise does: 1e-8 / 2e-5 = 5e-4.
      CHECK(c.noise > 0.85 * noise);
      CHECK(c.noise < 1.15 * noise);
      // Differences at 0.02 and 0.04 carry noise / 0.03, over 3 * 0.02^2: at most 0.03 of 10.
      CHECK(std::fabs(c.bias - cubic) < 0.01 * cubic);
      // The quotient at 0.02 errs by cubic * 0.02^2.
      CHECK(std::fabs(c.slope - (2 + cubic * 4e-4)) < 1e-3);
      // The cube root of the noise's factor, and of the bias's.
      CHECK(c.epsilon > best_epsilon(noise, cubic) / 1.06);
      CHECK(c.epsilon < best_epsilon(noise, cubic) * 1.06);
    }
  }
}

TEST_CASE("choose_epsilon: the predicted error is the one that is met") {
  noisy_cubic f{.noise = 1e-6};
  const epsilon_choice c = choose_epsilon(f, {.directions = 32});
  double squares = 0;
  constexpr int trials = 1000;
  for (int i = 0; i < trials; ++i) {
    const double quotient = (f.at(c.epsilon) - f.at(-c.epsilon)) / (2 * c.epsilon);
    squares += (quotient - f.slope) * (quotient - f.slope) / trials;
  }
  // 0.1 from the measured noise, 0.02 from this one, 0.01 from the bias in the measured slope.
  CHECK(std::sqrt(squares) / f.slope == doctest::Approx(c.relative_error).epsilon(0.2));
}

TEST_CASE("choose_epsilon: asks five pairs along each direction, different ones") {
  std::vector<query> asked;
  const auto note = [&](std::span<const query> wanted) {
    CHECK(wanted.size() == 10);
    for (std::size_t i = 0; i < wanted.size();
         i += 2) {  // what is rounded together stands together
      CHECK(zoq::opposite(wanted[i], wanted[i + 1]));
    }
    for (const query& q : wanted) {
      CHECK(q.seed == wanted[0].seed);
      CHECK(q.batch == query::this_batch);
      CHECK(q.origin == nullptr);
    }
    asked.push_back(wanted[0]);
    return std::vector<double>(10, 1.0);
  };
  CHECK(choose_epsilon(note, {.seed = 3, .directions = 3}).losses == 30);
  REQUIRE(asked.size() == 3);
  CHECK(asked[0].seed != asked[1].seed);
  CHECK(asked[1].seed != asked[2].seed);
  CHECK(asked[0].seed != asked[2].seed);
}

TEST_CASE("choose_epsilon: stays within its limits") {
  // No noise at all: the smallest is best. The loss is linear, and its values are exact.
  const auto linear = [](std::span<const query> wanted) {
    return std::vector<double>(wanted.size(), 1.0);
  };
  CHECK(choose_epsilon(linear, {.smallest = 1e-4}).epsilon == 1e-4);
  CHECK(choose_epsilon(linear).relative_error == 0);
  noisy_cubic straight{.bend = 0, .cubic = 0, .noise = 1e-6};
  CHECK(choose_epsilon(straight, {.largest = 1e-2}).epsilon == 1e-2);
  noisy_cubic bent{.cubic = 1e9, .noise = 1e-9};
  CHECK(choose_epsilon(bent, {.smallest = 1e-4}).epsilon == 1e-4);
}

TEST_CASE("choose_epsilon: a function of its losses and options") {
  noisy_cubic f, g;
  CHECK(choose_epsilon(f).epsilon == choose_epsilon(g).epsilon);
}

TEST_CASE("choose_epsilon: slips are named") {
  const auto of = [](double loss, std::size_t count) {
    return [=](std::span<const query>) { return std::vector<double>(count, loss); };
  };
  CHECK(message_of([&] { choose_epsilon(of(std::nan(""), 10)); }) ==
        "choose_epsilon: a loss is nan");
  CHECK(message_of([&] { choose_epsilon(of(1, 12)); }) ==
        "choose_epsilon: 12 losses for 10 points");
  const std::string wanted = "choose_epsilon: wanted at least one direction and 0 < near < far";
  CHECK(message_of([&] { choose_epsilon(of(1, 9), {.directions = 0}); }) == wanted);
  CHECK(message_of([&] { choose_epsilon(of(1, 9), {.near = 0}); }) == wanted);
  CHECK(message_of([&] { choose_epsilon(of(1, 9), {.near = 0.1}); }) == wanted);
  CHECK(message_of([&] { choose_epsilon(of(1, 9), {.smallest = 0.1, .largest = 0.01}); }) ==
        "choose_epsilon: epsilon between 0.1 and 0.01, wanted 0 < smallest <= largest");
  CHECK(message_of([&] { choose_epsilon(of(1, 9), {.smallest = 0}); }) ==
        "choose_epsilon: epsilon between 0 and 0.02, wanted 0 < smallest <= largest");
}

TEST_CASE("measure_noise: the noise of losses, from pairs alone") {
  for (const double noise : {1e-9, 1e-7, 1e-5}) {
    CAPTURE(noise);
    double squares = 0;
    for (zoq::seed_t seed = 1; seed <= 20; ++seed) {
      noisy_cubic f{.noise = noise, .seed = seed};
      const double s = zoq::measure_noise([&](std::span<const query> asked) {
        CHECK(asked.size() == 2);
        CHECK(zoq::opposite(asked[0], asked[1]));
        return f(asked);
      });
      CHECK(f.calls == 24);
      squares += s * s / 20;
    }
    // 160 terms of chi-squared: 11 % of the square.
    CHECK(std::fabs(std::sqrt(squares) - noise) < 0.2 * noise);
  }
  CHECK(message_of([] {
          static_cast<void>(zoq::measure_noise([](std::span<const query>) {
            return std::vector<double>{1, std::nan("")};
          }));
        }) == "measure_noise: a loss is nan");
}
