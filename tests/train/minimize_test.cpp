// SPDX-License-Identifier: Apache-2.0
#include "zoq/train/minimize.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "exec/executors.hpp"
#include "io/temporary_folder.hpp"

#include "random_values.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/optim/momentum.hpp"
#include "zoq/optim/sgd.hpp"
#include "zoq/random/seeds.hpp"

using namespace zoq::test;
using zoq::answer;
using zoq::any_direction;
using zoq::conservative;
using zoq::fzoo;
using zoq::gaussian;
using zoq::hizoo;
using zoq::index_t;
using zoq::leave_one_out;
using zoq::minimize;
using zoq::query;
using zoq::rademacher;
using zoq::recipe;
using zoq::serial;
using zoq::sgd;
using zoq::sign_spsa;
using zoq::spsa;
using zoq::spsa_one_sided;
using zoq::step_result;
using zoq::svrg;

namespace {

// A bowl: sum_i (1 + i mod 3) / 2 * (x_i - 1)^2, least at ones.
double bowl(std::span<const float> x) {
  double f = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = static_cast<double>(x[i]) - 1;
    f += (1.0 + static_cast<double>(i % 3)) / 2 * d * d;
  }
  return f;
}

std::vector<float> start(index_t n = 11) { return uniform(n, 4, -3, 3); }

bool equal(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Divides the estimate by its norm.
struct normalised {
  static constexpr std::string_view name = "normalised";
  static constexpr int state_floats = 0;
  static constexpr bool needs_norm = true;
  float rate = 0.1f;
  struct rule {
    float rate;
    float operator()(float value, float gradient, float*) const { return value - rate * gradient; }
  };
  [[nodiscard]] rule at(const zoq::step_facts& facts) const {
    return {static_cast<float>(static_cast<double>(rate) / std::sqrt(facts.gradient_norm2))};
  }
};

// One probe along shape * z, from an origin: what a curvature-aware estimator would ask for.
struct shaped {
  static constexpr std::string_view name = "shaped";
  using state = zoq::no_state;
  const float* shape = nullptr;
  const float* origin = nullptr;

  template <zoq::executor X>
  bool ask(const X&, const zoq::step_info& at, state&, std::span<const answer> got,
           std::vector<query>& wanted) const {
    if (got.empty()) {
      wanted.push_back({.seed = at.seed, .scale = 0.5, .shape = shape, .origin = origin});
    }
    return got.empty();
  }
  template <zoq::executor X>
  void tell(const X&, const zoq::step_info&, state&, std::span<const query> asked,
            std::span<const answer>, zoq::gradient& g) const {
    g.terms.push_back({asked[0].seed, 2, shape});
  }
};

// Each estimator with a rate that suits it: fzoo's estimates are about 1 / epsilon long, and svrg goes
// along the directions of an anchor ten times.
struct awkward_sgd {
  template <class E>
  static sgd of(const E&) {
    return {.rate = std::is_same_v<E, fzoo> ? 5e-4 : std::is_same_v<E, svrg> ? 5e-3 : 0.02};
  }
};

}  // namespace

TEST_CASE_TEMPLATE("minimize: every estimator reaches the bottom of a bowl, in every direction", E,
                   spsa, spsa_one_sided, leave_one_out, fzoo, hizoo, svrg, conservative,
                   sign_spsa) {
  // x is a matrix of 4 x 3, for low rank, of which a frame of 20 steps sees a part, and 5 single values.
  constexpr zoq::extent tensors[] = {{0, 4, 3}, {12, 1, 5}};
  for (const any_direction& direction :
       {any_direction(gaussian{}), any_direction(rademacher{}), any_direction(zoq::sphere{}),
        any_direction(zoq::lozo{.refresh = 20}),
        any_direction(zoq::subzero{.rank = 2, .refresh = 20})}) {
    CAPTURE(zoq::name_of(direction));
    std::vector<float> x = start(17);
    const double before = bowl(x);
    const E e;
    const step_result last = minimize(
        serial{}, x, bowl, e, awkward_sgd::of(e),
        {.steps = 1200, .seed = 2, .direction = direction, .schedule = zoq::linear_decay{}},
        tensors);
    CHECK(last.step == 1199);
    // Seen: from 1e-9 (spsa) to 1e-3 (fzoo and sign, whose steps do not shrink with the slope).
    CHECK(bowl(x) < 1e-2 * before);
    CHECK(last.loss < 2e-2 * before);
  }
}

TEST_CASE("minimize: spsa's steps are sgd along the step's own direction, to the bit") {
  // One step written out: slope from points in float, gradient and value rounded once each.
  const serial exec;
  const recipe how{.steps = 1, .seed = 9};
  std::vector<float> x = start();
  const std::vector<float> before = x;
  const step_result result =
      minimize(exec, x, bowl, spsa{.epsilon = 1e-2}, sgd{.rate = 0.125}, how);
  const auto z = gaussian::at(zoq::derive_seed(9, zoq::purpose::directions, 0), {});
  const auto noise = [&](std::size_t i) {
    return static_cast<double>(z.four(static_cast<index_t>(i / 4)).at[i % 4]);
  };
  std::vector<float> plus = before, minus = before;
  for (std::size_t i = 0; i < x.size(); ++i) {
    plus[i] = static_cast<float>(static_cast<double>(before[i]) + 1e-2 * noise(i));
    minus[i] = static_cast<float>(static_cast<double>(before[i]) - 1e-2 * noise(i));
  }
  REQUIRE(result.answers.size() == 2);
  CHECK(result.answers[0].loss == bowl(plus));
  CHECK(result.answers[1].loss == bowl(minus));
  const double slope = (bowl(plus) - bowl(minus)) / 2e-2;
  CHECK(result.slope == slope);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto g = static_cast<float>(slope * noise(i));
    CHECK(x[i] == std::fma(-0.125f, g, before[i]));
  }
}

TEST_CASE_TEMPLATE("minimize: every executor and number of threads gives serial's bits", E, spsa,
                   spsa_one_sided, leave_one_out, fzoo, hizoo, svrg, conservative, sign_spsa) {
  const recipe how{.steps = 8, .seed = 3, .schedule = zoq::cosine{}};
  std::vector<float> wanted = start(1501);
  // Small steps: 1501 values under one slope.
  minimize(serial{}, wanted, bowl, E{}, sgd{.rate = 1e-4}, how);
  for_each_cpu([&](const zoq::cpu& exec) {
    std::vector<float> x = start(1501);
    minimize(exec, x, bowl, E{}, sgd{.rate = 1e-4}, how);
    CHECK(equal(x, wanted));
  });
}

TEST_CASE("R1: two losses a step two-sided, q + 1 one-sided, and no other use of the function") {
  const auto losses = [](const auto& estimator) {
    int calls = 0;
    std::vector<float> x = start();
    minimize(serial{}, x,
             [&](std::span<const float> at) {
               ++calls;
               return bowl(at);
             },
             estimator, sgd{.rate = 1e-3}, {.steps = 10});
    return calls;
  };
  CHECK(losses(spsa{}) == 10 * 2);
  CHECK(losses(spsa{.probes = 3}) == 10 * 6);
  CHECK(losses(spsa_one_sided{}) == 10 * 2);
  CHECK(losses(spsa_one_sided{.probes = 3}) == 10 * 4);
}

TEST_CASE("minimize: conservative never climbs") {
  std::vector<float> x = start();
  double before = bowl(x);
  const serial exec;
  for (zoq::seed_t seed = 0; seed < 300; ++seed) {
    minimize(exec, x, bowl, conservative{}, sgd{.rate = 0.03}, {.steps = 1, .seed = seed});
    // The point that was tried is the point that is reached, but for a float's rounding.
    CHECK(bowl(x) <= before * (1 + 1e-5) + 1e-10);
    before = bowl(x);
  }
  CHECK(before < 1e-3);
}

TEST_CASE("stepper: svrg's other batches reach the evaluator, and lead to their mean's bottom") {
  // Batch b is a bowl around a point of its own; these points' mean is ones.
  const auto loss_on = [](std::uint64_t batch, std::span<const float> x) {
    const double around[4] = {-0.5, 0.5, 1.5, 2.5};
    double f = 0;
    for (const float v : x) {
      const double d = static_cast<double>(v) - around[batch % 4];
      f += d * d / 2;
    }
    return f;
  };
  std::vector<float> x = start(6);
  const serial exec;
  const zoq::extent whole{0, 1, 6};
  const zoq::value_order order{&whole, 1, 6};
  const recipe how{.steps = 400, .seed = 1, .schedule = zoq::linear_decay{}};
  zoq::stepper step(exec, order, svrg{.probes = 4}, sgd{.rate = 0.03}, how);
  std::size_t named = 0, from_anchor = 0;
  const double before = bowl(x);
  while (!step.done()) {
    const std::uint64_t now = step.next();
    step.advance(x.data(), [&](std::span<const query> asked, std::vector<answer>& answers) {
      for (const query& q : asked) {
        named += q.batch != query::this_batch;
        from_anchor += q.origin != nullptr;
        const std::uint64_t batch = q.batch == query::this_batch ? now : q.batch;
        answers.push_back({loss_on(batch, zoq::point_of(q, x, how.direction, order))});
      }
    });
  }
  CHECK(named == 40 * 4 * 4 * 2);
  CHECK(from_anchor == 360 * 4 * 2);
  CHECK(bowl(x) < 0.05 * before);
}

TEST_CASE("point_of: origin + scale * shape * z") {
  const std::vector<float> values = {1, 2, 3, 4, 5};
  const float shape[5] = {0, 1, 2, 4, 8};
  const float origin[5] = {10, 20, 30, 40, 50};
  const zoq::extent whole{0, 1, 5};
  const zoq::value_order order{&whole, 1, 5};
  const auto z = rademacher::at(7, order);
  const auto sign = [&](std::size_t i) { return z.four(static_cast<index_t>(i / 4)).at[i % 4]; };
  const auto at = [&](const query& q) { return zoq::point_of(q, values, rademacher{}, order); };
  CHECK(at({}) == values);
  CHECK(at({.seed = 7, .origin = origin}) == std::vector<float>(origin, origin + 5));
  const auto plain = at({.seed = 7, .scale = 0.5});
  const auto full = at({.seed = 7, .scale = 0.5, .shape = shape, .origin = origin});
  for (std::size_t i = 0; i < 5; ++i) {  // all numbers here are exact
    CHECK(plain[i] == values[i] + 0.5f * sign(i));
    CHECK(full[i] == origin[i] + 0.5f * shape[i] * sign(i));
  }
}

TEST_CASE("stepper: a term's shape multiplies its direction") {
  const std::vector<float> shape = {0, 1, 2, 4, 8, 16};
  std::vector<float> x(6, 1);
  const serial exec;
  minimize(exec, x, bowl, shaped{.shape = shape.data()}, sgd{.rate = 0.25},
           {.steps = 1, .seed = 1, .direction = rademacher{}});
  const auto z = rademacher::at(zoq::derive_seed(1, zoq::purpose::directions, 0), {});
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(x[i] == 1 - 0.25f * 2 * shape[i] * z.four(static_cast<index_t>(i / 4)).at[i % 4]);
  }
}

TEST_CASE("stepper: an optimizer has a state for each value, and its steps go on from it") {
  std::vector<float> x = start();
  minimize(serial{}, x, bowl, spsa{}, zoq::momentum{.rate = 3e-3}, {.steps = 800, .seed = 1});
  CHECK(bowl(x) < 1e-3);

  std::vector<float> parts = start();
  const serial exec;
  const zoq::extent whole{0, 1, 11};
  const zoq::value_order order{&whole, 1, 11};
  const recipe how{.steps = 800, .seed = 1};
  const auto evaluate = [&](std::span<const query> asked, std::vector<answer>& answers) {
    for (const query& q : asked) {
      answers.push_back({bowl(zoq::point_of(q, parts, how.direction, order))});
    }
  };
  zoq::stepper first(exec, order, spsa{}, zoq::momentum{.rate = 3e-3}, how);
  while (first.next() < 300) {
    first.advance(parts.data(), evaluate);
  }
  zoq::stepper second(exec, order, spsa{}, zoq::momentum{.rate = 3e-3}, how);
  second.skip_to(300);
  const auto from = first.optimizer_state();
  std::copy_n(from.data, from.size(), second.optimizer_state().data);
  while (!second.done()) {
    second.advance(parts.data(), evaluate);
  }
  CHECK(equal(parts, x));
}

TEST_CASE("stepper: an optimizer that asks for the estimate's norm gets it") {
  std::vector<float> x = start();
  const std::vector<float> before = x;
  minimize(serial{}, x, bowl, spsa{}, normalised{.rate = 0.5f}, {.steps = 1});
  double moved = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = static_cast<double>(x[i]) - static_cast<double>(before[i]);
    moved += d * d;
  }
  CHECK(std::sqrt(moved) == doctest::Approx(0.5).epsilon(1e-5));  // values near 3 round to 2^-23
}

TEST_CASE("minimize: no steps and a rate of 0 change nothing") {
  std::vector<float> x = start();
  int calls = 0;
  const auto counted = [&](std::span<const float> at) {
    ++calls;
    return bowl(at);
  };
  const step_result none = minimize(serial{}, x, counted, spsa{}, sgd{}, {.steps = 0});
  CHECK(calls == 0);
  CHECK(none.answers.empty());
  CHECK(equal(x, start()));
  minimize(serial{}, x, counted, spsa{}, sgd{.rate = 0}, {.steps = 5});
  CHECK(equal(x, start()));
}

TEST_CASE("minimize: the seed decides, and nothing else") {
  const auto run = [](zoq::seed_t seed) {
    std::vector<float> x = start();
    minimize(serial{}, x, bowl, spsa{}, sgd{.rate = 0.01}, {.steps = 5, .seed = seed});
    return x;
  };
  CHECK(equal(run(1), run(1)));
  CHECK_FALSE(equal(run(1), run(2)));
}

TEST_CASE("minimize: losses and settings that make no sense are refused, with the step") {
  const auto run = [](auto&& loss, sgd how, spsa e = {}) {
    std::vector<float> x = start();
    const std::string message =
        message_of([&] { minimize(serial{}, x, loss, e, how, {.steps = 9}); });
    return message;
  };
  int calls = 0;
  const auto fails_later = [&](std::span<const float> x) {
    return ++calls > 6 ? std::nan("") : bowl(x);
  };
  CHECK(run(fails_later, sgd{.rate = 1e-3}) == "step 3: loss 0 of 2 is nan");
  CHECK(run(bowl, sgd{.rate = -1}) == "sgd: the rate is -1, wanted a finite number of at least 0");
  CHECK(run(bowl, sgd{}, spsa{.epsilon = 0}) == "spsa: epsilon is 0, wanted a positive number");
  CHECK(run(bowl, sgd{.rate = 1e38}).rfind("step 0: the update made a value ", 0) == 0);
}

TEST_CASE_TEMPLATE("stepper: replayed, or resumed from a saved state, a run has the same bits", E,
                   spsa, spsa_one_sided, leave_one_out, fzoo, hizoo, svrg, conservative,
                   sign_spsa) {
  constexpr zoq::extent tensors[] = {{0, 4, 3}, {12, 1, 5}};
  const zoq::value_order order{tensors, 2, 17};
  const serial exec;
  for (const any_direction& direction :
       {any_direction(gaussian{}), any_direction(zoq::lozo{.refresh = 7}),
        any_direction(zoq::subzero{.rank = 2, .refresh = 7})}) {
    const recipe how{.steps = 24, .seed = 5, .direction = direction};
    const sgd rule{.rate = 1e-3};
    const auto run = [&](auto& step, std::vector<float>& x) {
      return step.advance(x.data(), [&](std::span<const query> asked, std::vector<answer>& out) {
        for (const query& q : asked) {
          out.push_back({bowl(zoq::point_of(q, x, step.direction(), order))});
        }
      });
    };
    std::vector<float> x = start(17), replayed = x, resumed;
    std::vector<float> saved;
    std::vector<step_result> record;
    zoq::stepper step(exec, order, E{}, rule, how);
    while (!step.done()) {
      if (step.next() == 13) {  // between two anchors, within a frame
        resumed = x;
        saved = step.saved_estimator();
      }
      record.push_back(run(step, x));
    }
    zoq::stepper again(exec, order, E{}, rule, how);
    for (const step_result& r : record) {
      again.replay(replayed.data(), r.answers);
    }
    CHECK(equal(replayed, x));
    zoq::stepper rest(exec, order, E{}, rule, how);
    rest.resume(13, {}, saved);
    while (!rest.done()) {
      run(rest, resumed);
    }
    CHECK(equal(resumed, x));
  }
}
