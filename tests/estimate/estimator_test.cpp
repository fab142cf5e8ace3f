// The seam itself: what any estimator may do, and what a record can rely on.
//
// SPDX-License-Identifier: Apache-2.0
#include "zoq/estimate/estimator.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <set>
#include <vector>

#include "estimate/plain_function.hpp"
#include "estimate/policies.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/estimate/spsa.hpp"

using namespace zoq::test;
using zoq::answer;
using zoq::query;
using zoq::step_info;
using zoq::term;

#define ZOQ_TEST_ESTIMATORS \
  zoq::spsa, zoq::spsa_one_sided, zoq::test::conservative, zoq::test::svrg, zoq::test::fzoo

namespace {

struct never_tells {
  static constexpr std::string_view name = "never_tells";
  using state = zoq::no_state;
  template <zoq::executor X>
  bool ask(const X&, const step_info&, state&, std::span<const answer>, std::vector<query>&) const {
    return false;
  }
};

constexpr zoq::extent whole{0, 1, 6};

step_info step(std::uint64_t number, const float* values) {
  return {.step = number, .seed = 100 + number, .values = values, .order = {&whole, 1, 6}};
}

// Some loss of a query: it depends on all that the query names.
double loss_of(const query& q) {
  const double from = q.origin == nullptr ? 1.0 : static_cast<double>(q.origin[0]);
  const auto batch = static_cast<double>(q.batch % 1000);
  return std::sin(from + batch + static_cast<double>(q.seed % 97) + 1000 * q.scale);
}

bool same_terms(const std::vector<term>& a, const std::vector<term>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(term)) == 0);
}

}  // namespace

static_assert(zoq::estimator<conservative, zoq::any_executor>);
static_assert(zoq::estimator<svrg, zoq::any_executor>);
static_assert(zoq::estimator<fzoo, zoq::any_executor>);
static_assert(!zoq::estimator<never_tells, zoq::any_executor>);
static_assert(!zoq::estimator<zoq::spsa, int>);

TEST_CASE_TEMPLATE("estimator: losses on record give the same questions and terms again", E,
                   ZOQ_TEST_ESTIMATORS) {
  const E e;
  std::vector<float> values(6, 0.5f);
  std::vector<exchange> record;
  typename E::state state{};
  for (std::uint64_t s = 0; s < 25; ++s) {  // svrg takes an anchor at 0, 10 and 20
    values[0] = static_cast<float>(s);
    record.push_back(converse(e, step(s, values.data()), state, loss_of));
  }
  typename E::state fresh{};
  for (std::uint64_t s = 0; s < 25; ++s) {
    values[0] = static_cast<float>(s);
    const exchange& before = record[s];
    std::size_t next = 0;
    const exchange again = converse(e, step(s, values.data()), fresh, [&](const query& q) {
      const query& asked = before.asked[next];
      CHECK(q.seed == asked.seed);
      CHECK(q.scale == asked.scale);
      CHECK(q.batch == asked.batch);
      CHECK((q.origin == nullptr) == (asked.origin == nullptr));
      return before.answers[next++].loss;
    });
    CHECK(next == before.asked.size());
    CHECK(same_terms(again.estimate.terms, before.estimate.terms));
    CHECK(again.estimate.loss == before.estimate.loss);
    CHECK(again.estimate.slope == before.estimate.slope);
  }
}

TEST_CASE_TEMPLATE("estimator: any can be one of a list of one's own, state and rounds included", E,
                   ZOQ_TEST_ESTIMATORS) {
  using any_of_mine = zoq::estimator_choice<ZOQ_TEST_ESTIMATORS>;
  const any_of_mine any = E{};
  std::vector<float> values(6, 0.5f);
  typename E::state state{};
  any_of_mine::state states{};
  for (std::uint64_t s = 0; s < 12; ++s) {
    values[0] = static_cast<float>(s);
    const exchange wanted = converse(E{}, step(s, values.data()), state, loss_of);
    const exchange found = converse(any, step(s, values.data()), states, loss_of);
    CHECK(found.rounds == wanted.rounds);
    CHECK(found.asked.size() == wanted.asked.size());
    CHECK(same_terms(found.estimate.terms, wanted.estimate.terms));
    CHECK(found.estimate.loss == wanted.estimate.loss);
  }
}

TEST_CASE_TEMPLATE("estimator: terms depend on the step's seed", E, ZOQ_TEST_ESTIMATORS) {
  const std::vector<float> values(6, 0.5f);
  typename E::state state{};
  std::set<zoq::seed_t> seen;
  std::size_t terms = 0;
  for (std::uint64_t s = 0; s < 5; ++s) {
    const exchange x = converse(E{}, step(10 * s, values.data()), state, loss_of);
    for (const term& t : x.estimate.terms) {
      seen.insert(t.seed);
      ++terms;
    }
  }
  CHECK(seen.size() == terms);
}

TEST_CASE("conservative: asks again when it knows the slope") {
  zoq::no_state state;
  const conservative e{.epsilon = 0.5, .rate = 0.25};
  const auto run = [&](double down, double up) {
    return converse(e, step(0, nullptr), state, [&](const query& q) {
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
  CHECK(x.asked[3].scale == -0.5);  // the slope is 2
  REQUIRE(x.estimate.terms.size() == 1);
}

TEST_CASE("fzoo: a loss times a power of two gives the same terms") {
  zoq::no_state state;
  const exchange one = converse(fzoo{}, step(0, nullptr), state, loss_of);
  const exchange more =
      converse(fzoo{}, step(0, nullptr), state, [](const query& q) { return 8 * loss_of(q); });
  CHECK(same_terms(one.estimate.terms, more.estimate.terms));
  CHECK(more.estimate.slope == 8 * one.estimate.slope);
}

TEST_CASE("svrg: names other batches and an absolute origin, with k floats of state") {
  std::vector<float> values(6, 0.5f);
  svrg::state state;
  const svrg e{.every = 3, .batches = 4};
  for (std::uint64_t s = 0; s < 6; ++s) {
    values[0] = static_cast<float>(s);
    const exchange x = converse(e, step(s, values.data()), state, loss_of);
    std::size_t others = 0, from_anchor = 0;
    for (const query& q : x.asked) {
      others += q.batch != query::this_batch;
      if (q.origin != nullptr) {
        ++from_anchor;
        CHECK(q.origin[0] == static_cast<float>(s / 3 * 3));  // the values of that step
        CHECK(q.batch == query::this_batch);
      }
    }
    CHECK(others == (s % 3 == 0 ? 8 : 0));
    CHECK(from_anchor == 2);
    CHECK(x.estimate.terms.size() == 5);
  }
  CHECK(state.anchor.size() == 6);
}
