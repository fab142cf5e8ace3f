// The relatives of spsa, each by the identity that defines it.
//
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "estimate/plain_function.hpp"
#include "io/temporary_folder.hpp"
#include "random_values.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/estimate/probes.hpp"
#include "zoq/random/directions.hpp"
#include "zoq/random/seeds.hpp"

using namespace zoq::test;
using zoq::conservative;
using zoq::fzoo;
using zoq::gaussian;
using zoq::hizoo;
using zoq::index_t;
using zoq::leave_one_out;
using zoq::query;
using zoq::rademacher;
using zoq::sign_spsa;
using zoq::spsa;
using zoq::step_info;
using zoq::svrg;

namespace {

constexpr index_t k = 12;
constexpr zoq::extent whole{0, 1, k};
const zoq::any_direction of_gaussian = gaussian{};
const zoq::any_direction of_rademacher = rademacher{};

step_info step(std::uint64_t number, const zoq::any_direction& z = of_gaussian,
               const float* values = nullptr) {
  return {.step = number,
          .seed = zoq::derive_seed(5, zoq::purpose::directions, number),
          .values = values,
          .order = {&whole, 1, k},
          .direction = &z,
          .rate = 0.25};
}

// Something smooth with slopes and curvature of about 1.
double loss_of(const std::vector<double>& x) {
  double f = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    f += std::sin(x[i] + static_cast<double>(i)) + 0.5 * x[i] * x[i];
  }
  return f;
}

std::vector<double> start() {
  const std::vector<float> x = uniform(k, 3);
  return {x.begin(), x.end()};
}

// A diagonal Hessian: sum h_i x_i^2 / 2, h from 0.5 to 6.
double diagonal(const std::vector<double>& x) {
  double f = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    f += 0.25 * static_cast<double>(i + 1) * x[i] * x[i];
  }
  return f;
}
constexpr double trace = 0.5 * (k * (k + 1) / 2);

double difference(const std::vector<double>& a, const std::vector<double>& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::fabs(a[i] - b[i]));
  }
  return most;
}

template <class E>
void check_terms_equal(const E& e, double (*f)(double)) {
  // Terms of the losses, and of what f makes of them.
  for (std::uint64_t s = 0; s < 10; ++s) {
    const exchange one = estimate<gaussian>(e, step(s), start(), loss_of);
    const exchange more = estimate<gaussian>(
        e, step(s), start(), [&](const std::vector<double>& x) { return f(loss_of(x)); });
    REQUIRE(one.estimate.terms.size() == more.estimate.terms.size());
    CHECK_FALSE(one.estimate.terms.empty());
    for (std::size_t t = 0; t < one.estimate.terms.size(); ++t) {
      CHECK(one.estimate.terms[t].weight == more.estimate.terms[t].weight);
    }
  }
}

}  // namespace

TEST_CASE("leave-one-out: q/(q-1) times the mean-centred estimate, to 1e-12") {
  for (const int q : {2, 3, 4, 9}) {
    const leave_one_out e{.epsilon = 1e-2, .probes = q};
    for (std::uint64_t s = 0; s < 10; ++s) {
      const exchange x = estimate<gaussian>(e, step(s), start(), loss_of);
      CHECK(x.asked.size() == static_cast<std::size_t>(q));
      CHECK(x.rounds == 1);
      const double mean = zoq::detail::mean_loss(x.answers);
      std::vector<double> wanted(k);
      for (std::size_t p = 0; p < x.answers.size(); ++p) {
        const std::vector<double> z = field_values<gaussian>(x.asked[p].seed, k);
        for (std::size_t i = 0; i < z.size(); ++i) {
          wanted[i] += q / (q - 1.0) * (x.answers[p].loss - mean) / (e.epsilon * q) * z[i];
        }
      }
      // Estimates are about 10; losses of about 10 over an epsilon of 1e-2 round to 1e-13.
      CHECK(difference(gradient_of<gaussian>(x.estimate, k), wanted) < 1e-12);
      CHECK(x.estimate.loss == mean);
    }
  }
}

TEST_CASE("fzoo: the paper's formula, and no step on a flat function") {
  const fzoo e{.epsilon = 1e-2, .probes = 5};
  const exchange x = estimate<rademacher>(e, step(1), start(), loss_of);
  REQUIRE(x.asked.size() == 6);
  double mean = 0, variance = 0;
  for (std::size_t p = 1; p < 6; ++p) {
    mean += x.answers[p].loss / 5;
  }
  for (std::size_t p = 1; p < 6; ++p) {
    variance += (x.answers[p].loss - mean) * (x.answers[p].loss - mean) / 4;
  }
  for (std::size_t p = 1; p < 6; ++p) {
    const double wanted =
        (x.answers[p].loss - x.answers[0].loss) / (e.epsilon * 5 * std::sqrt(variance));
    CHECK(x.estimate.terms[p - 1].weight == doctest::Approx(wanted).epsilon(1e-12));
  }
  const auto flat = [](const std::vector<double>&) { return 3.0; };
  CHECK(estimate<rademacher>(e, step(1), start(), flat).estimate.terms.empty());
}

TEST_CASE("fzoo: scaling the loss by a power of two changes no bit of a step") {
  check_terms_equal(fzoo{}, [](double loss) { return 8 * loss; });
  check_terms_equal(fzoo{}, [](double loss) { return loss / 1024; });
}

TEST_CASE("sign: scaling the loss, or any increasing function of it, changes no bit of a step") {
  check_terms_equal(sign_spsa{}, [](double loss) { return 7.3 * loss; });
  check_terms_equal(sign_spsa{.probes = 3}, [](double loss) { return std::exp(loss) - 4; });
  const exchange x = estimate<gaussian>(sign_spsa{.probes = 4}, step(0), start(), loss_of);
  for (std::size_t t = 0; t < 4; ++t) {
    const bool rises = x.answers[2 * t].loss > x.answers[2 * t + 1].loss;
    CHECK(x.estimate.terms[t].weight == (rises ? 0.25 : -0.25));
  }
}

TEST_CASE("curvature_along: one Rademacher probe gives the trace of a diagonal Hessian to 1e-4") {
  for (std::uint64_t s = 0; s < 20; ++s) {
    hizoo::state state;
    const std::vector<double> x = start();
    const exchange e = converse(hizoo{.epsilon = 1e-3}, step(s, of_rademacher), state,
                                [&](const query& q) { return diagonal(moved<rademacher>(x, q)); });
    REQUIRE(e.answers.size() == 3);
    const double found =
        zoq::curvature_along(e.answers[0].loss, e.answers[1].loss, e.answers[2].loss, 1e-3);
    CHECK(std::fabs(found - trace) < 1e-4);
  }
}

TEST_CASE("hizoo: three points, terms along the shape that was measured, the paper's average") {
  hizoo::state state;
  const hizoo e{.epsilon = 1e-2, .smooth = 0.3};
  const std::vector<double> x = start();
  std::vector<double> curvature(k, 1.0);  // 1 / Sigma
  for (std::uint64_t s = 0; s < 5; ++s) {
    std::vector<double> z;
    const exchange got = converse(e, step(s), state, [&](const query& q) {
      z = field_values<gaussian>(q.seed, k);
      std::vector<double> at = x;
      for (std::size_t i = 0; i < at.size(); ++i) {
        if (q.shape != nullptr) {
          CHECK(static_cast<double>(q.shape[i]) ==
                doctest::Approx(1 / std::sqrt(curvature[i])).epsilon(1e-6));
          at[i] += q.scale * static_cast<double>(q.shape[i]) * z[i];
        }
      }
      return diagonal(at);
    });
    REQUIRE(got.asked.size() == 3);
    CHECK(got.asked[0].scale == 0);
    CHECK(zoq::opposite(got.asked[1], got.asked[2]));
    CHECK(got.estimate.terms.at(0).shape == got.asked[1].shape);
    CHECK(zoq::evaluated_together(got.asked, 8) == 1);
    const double d = zoq::curvature_along(got.answers[0].loss, got.answers[1].loss,
                                          got.answers[2].loss, e.epsilon);
    for (std::size_t i = 0; i < curvature.size(); ++i) {
      curvature[i] =
          (1 - e.smooth) * curvature[i] + e.smooth * std::fabs(d) / 2 * z[i] * z[i] * curvature[i];
    }
  }
}

TEST_CASE("hizoo: steps are shorter where the loss is more curved") {
  // 4 flat and 8 steep coordinates: their shapes part, whatever the first guess.
  hizoo::state state;
  const hizoo e{.epsilon = 1e-2, .probes = 4, .smooth = 0.02};
  std::vector<float> shape(k);
  for (std::uint64_t s = 0; s < 300; ++s) {
    converse(e, step(s), state, [&](const query& q) {
      const std::vector<double> z = field_values<gaussian>(q.seed, k);
      double f = 0;
      for (std::size_t i = 0; i < z.size(); ++i) {
        const double move =
            q.shape == nullptr ? 0.0 : q.scale * static_cast<double>(q.shape[i]) * z[i];
        f += (i < 4 ? 0.1 : 10.0) * move * move / 2;
      }
      return f;
    });
  }
  double flat = 0, steep = 0;
  for (std::size_t i = 0; i < k; ++i) {
    (i < 4 ? flat : steep) += static_cast<double>(state.next.data()[i]) / (i < 4 ? 4 : 8);
  }
  CHECK(flat > 1.5 * steep);
}

TEST_CASE("conservative: asks again when it knows the slope, and takes the best of three") {
  zoq::no_state state;
  const conservative e{.epsilon = 0.5};
  const auto run = [&](double down, double up) {
    return converse(e, step(0), state, [&](const query& q) {
      return q.scale == 0.5    ? 3.0
             : q.scale == -0.5 ? 1.0
             : q.scale == 0    ? 2.0
             : q.scale < 0     ? down
                               : up;
    });
  };
  const exchange x = run(1, 5);
  CHECK(x.rounds == 2);
  REQUIRE(x.asked.size() == 5);
  CHECK(x.asked[3].scale == doctest::Approx(-0.25 * 2));  // the step's rate, a slope of 2
  CHECK(x.asked[4].scale == -x.asked[3].scale);
}

TEST_CASE("conservative: down, up, or no term") {
  zoq::no_state state;
  const conservative e{.epsilon = 0.5, .rate = 0.125};
  const auto weight = [&](double down, double up) {
    const double losses[] = {3, 1, 2, down, up};
    std::size_t next = 0;
    const exchange x = converse(e, step(0), state, [&](const query&) { return losses[next++]; });
    CHECK(x.asked[3].scale == -0.25);
    CHECK(x.estimate.loss == 2);
    return x.estimate.terms.empty() ? 0.0 : x.estimate.terms[0].weight;
  };
  CHECK(weight(1, 5) == 2);
  CHECK(weight(1.5, 1) == -2);
  CHECK(weight(2, 2) == 0);
  CHECK(weight(3, 5) == 0);
}

TEST_CASE("svrg: anchors of the coming batches, then two points a probe, and its own seeds again") {
  std::vector<float> values(k, 0.5f);
  svrg::state state;
  const svrg e{.probes = 2, .every = 3, .batches = 4};
  std::vector<zoq::term> full;
  for (std::uint64_t s = 0; s < 7; ++s) {
    values[0] = static_cast<float>(s);
    const exchange x = converse(e, step(s, of_gaussian, values.data()), state, [](const query& q) {
      return std::sin(1e3 * q.scale + static_cast<double>(q.seed % 97));
    });
    if (s % 3 == 0) {
      REQUIRE(x.asked.size() == 16);
      for (std::size_t i = 0; i < 16; ++i) {
        CHECK(x.asked[i].batch == s + i / 4);
        CHECK(x.asked[i].origin == nullptr);
      }
      full = x.estimate.terms;
      REQUIRE(full.size() == 8);
      for (const zoq::term& t : full) {
        CHECK(t.step == s);
      }
      continue;
    }
    REQUIRE(x.asked.size() == 8);
    for (std::size_t i = 0; i < 8; ++i) {
      CHECK(x.asked[i].batch == query::this_batch);
      CHECK((x.asked[i].origin != nullptr) == (i % 4 >= 2));
      if (x.asked[i].origin != nullptr) {
        CHECK(x.asked[i].origin[0] == static_cast<float>(s / 3 * 3));  // the values of that step
      }
    }
    REQUIRE(x.estimate.terms.size() == 10);
    for (std::size_t t = 0; t < 8; ++t) {
      CHECK(x.estimate.terms[t].seed == full[t].seed);
      CHECK(x.estimate.terms[t].weight == full[t].weight);
      CHECK(x.estimate.terms[t].step == s / 3 * 3);
    }
  }
}

TEST_CASE("svrg: near its anchor, estimates vary far less over batches than spsa's") {
  // Batch b adds a slope of its own, of length 4, to a bowl's of length 1. The estimates' variance about
  // their mean over 200 steps, near an anchor whose estimate is made of many probes.
  const auto f = [](const std::vector<double>& x, std::uint64_t batch) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto word = random_word(77, static_cast<index_t>(batch * k + i));
      sum += x[i] * x[i] / 2 + 0.3 * x[i] + (word % 2 == 0 ? 1.2 : -1.2) * x[i];
    }
    return sum;
  };
  const std::vector<float> values(k, 0.25f);
  std::vector<double> near(k, 0.26);
  svrg::state state;
  const svrg e{.probes = 4, .every = 1000, .batches = 8};
  const auto losses = [&](std::uint64_t now) {
    return [&, now](const query& q) {
      const std::vector<double> from =
          now == 0 || q.origin != nullptr ? std::vector<double>(k, 0.25) : near;
      return f(moved<rademacher>(from, q), q.batch == query::this_batch ? now : q.batch);
    };
  };
  const auto variance = [&](const auto& estimator, auto& s) {
    std::vector<std::vector<double>> all;
    std::vector<double> mean(k);
    for (std::uint64_t n = 1; n <= 200; ++n) {
      const exchange x = converse(estimator, step(n, of_rademacher, values.data()), s, losses(n));
      all.push_back(gradient_of<rademacher>(x.estimate, k));
      for (std::size_t i = 0; i < k; ++i) {
        mean[i] += all.back()[i] / 200;
      }
    }
    double out = 0;
    for (const auto& g : all) {
      for (std::size_t i = 0; i < k; ++i) {
        out += (g[i] - mean[i]) * (g[i] - mean[i]) / 200;
      }
    }
    return out;
  };
  converse(e, step(0, of_rademacher, values.data()), state, losses(0));
  zoq::no_state none;
  // Differences between the two points are 0.01 in each value, of a slope of about 4: seen 1e-5.
  CHECK(variance(e, state) < 1e-3 * variance(spsa{.probes = 4}, none));
}

TEST_CASE("svrg: a step between anchors without a restored state is refused") {
  svrg::state state;
  CHECK(message_of([&] {
          converse(svrg{.every = 4}, step(7), state, [](const query&) { return 1.0; });
        }) ==
        "svrg: step 7 needs the anchor of step 4; restore its state, or take the steps from there "
        "again");
}

TEST_CASE("states that are damaged are refused") {
  const zoq::serial exec;
  svrg::state s;
  hizoo::state h;
  const std::vector<float> short_one = {1, 0, 0}, bad_word = {0.5f, -1, 0, 0}, no_shape = {1, 0, 2},
                           more_terms = {200, 0, 0, 0, 0, 0, 0, 0, 1, 1};
  CHECK(message_of([&] { svrg{}.load(exec, short_one, s); }) == "state: it ends early");
  CHECK(message_of([&] { svrg{}.load(exec, bad_word, s); }) ==
        "state: -1 where a number from 0 to 65535 was wanted");
  CHECK(message_of([&] { svrg{}.load(exec, more_terms, s); }) ==
        "svrg: a saved state of 200 terms ends early");
  CHECK(message_of([&] { hizoo{}.load(exec, no_shape, h); }) == "hizoo: a saved shape is 0");
  hizoo{}.load(exec, std::vector<float>{1, 2, 3}, h);  // of another view
  CHECK(message_of([&] { converse(hizoo{}, step(3), h, [](const query&) { return 1.0; }); }) ==
        "hizoo: a shape of 3 values, the view has 12");
  zoq::no_state none;
  CHECK(message_of([&] { zoq::load_state(spsa{}, exec, short_one, none); }) ==
        "spsa: 3 floats of state, it has none");
}

TEST_CASE("relatives: settings that make no sense are refused") {
  const auto error_of = [](const auto& e) {
    return message_of([&] { estimate<gaussian>(e, step(0), start(), loss_of); });
  };
  CHECK(error_of(leave_one_out{.probes = 1}) == "leave-one-out: 1 probe, wanted at least 2");
  CHECK(error_of(fzoo{.probes = 1}) == "fzoo: 1 probe, wanted at least 2");
  CHECK(error_of(fzoo{.epsilon = 0}) == "fzoo: epsilon is 0, wanted a positive number");
  CHECK(error_of(hizoo{.smooth = 1}) == "hizoo: smooth is 1, wanted 0 to 1, without 1");
  CHECK(error_of(svrg{.every = 0}) == "svrg: every is 0 and batches 4, wanted at least 1");
  CHECK(error_of(conservative{.rate = -1}) ==
        "conservative: rate is -1, wanted 0 (the optimizer's) or a positive number");
  CHECK(error_of(sign_spsa{.probes = 0}) == "sign: 0 probes, wanted at least 1");
}

TEST_CASE_TEMPLATE("relatives: a loss that is not finite is refused, with step and place", E,
                   leave_one_out, fzoo, hizoo, svrg, conservative, sign_spsa) {
  const std::vector<float> values(k, 0.5f);
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    int calls = 0;
    typename E::state state{};
    const std::string message = message_of([&] {
      converse(E{}, step(20, of_gaussian, values.data()), state,
               [&](const query&) { return calls++ == 1 ? bad : 1.0; });
    });
    CHECK(message.rfind("step 20: loss 1 of ", 0) == 0);
  }
}

TEST_CASE("words: 64 bits and any double go through floats") {
  std::vector<float> saved;
  for (const std::uint64_t word :
       {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{0x0123456789abcdef}}) {
    zoq::append_word(word, saved);
  }
  zoq::append_word(-1.0 / 3, saved);
  std::span<const float> rest = saved;
  CHECK(zoq::take_word(rest) == 0);
  CHECK(zoq::take_word(rest) == ~std::uint64_t{0});
  CHECK(zoq::take_word(rest) == 0x0123456789abcdef);
  CHECK(std::bit_cast<double>(zoq::take_word(rest)) == -1.0 / 3);
  CHECK(rest.empty());
}
