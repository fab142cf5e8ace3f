// The seam itself: what any estimator may do, and what a record can rely on.
//
// SPDX-License-Identifier: Apache-2.0
#include "zoq/estimate/estimator.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "estimate/plain_function.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/exec/serial.hpp"

using namespace zoq::test;
using zoq::answer;
using zoq::conservative;
using zoq::fzoo;
using zoq::hizoo;
using zoq::leave_one_out;
using zoq::query;
using zoq::sign_spsa;
using zoq::step_info;
using zoq::svrg;
using zoq::term;

#define ZOQ_TEST_ESTIMATORS \
  zoq::spsa, zoq::spsa_one_sided, leave_one_out, fzoo, hizoo, svrg, conservative, sign_spsa

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
const zoq::any_direction normal = zoq::gaussian{};

step_info step(std::uint64_t number, const float* values) {
  return {.step = number,
          .seed = 100 + number,
          .values = values,
          .order = {&whole, 1, 6},
          .direction = &normal,
          .rate = 0.5};
}

// Some loss of a query: it depends on all that the query names.
double loss_of(const query& q) {
  const double from = q.origin == nullptr ? 1.0 : static_cast<double>(q.origin[0]);
  const auto batch = static_cast<double>(q.batch % 1000);
  return std::sin(from + batch + static_cast<double>(q.seed % 97) + 1000 * q.scale);
}

// But for shapes, which are pointers: of these only whether there is one.
bool same_terms(const std::vector<term>& a, const std::vector<term>& b) {
  bool same = a.size() == b.size();
  for (std::size_t i = 0; same && i < a.size(); ++i) {
    same = a[i].seed == b[i].seed && a[i].weight == b[i].weight && a[i].step == b[i].step &&
           (a[i].shape == nullptr) == (b[i].shape == nullptr);
  }
  return same;
}

}  // namespace

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

TEST_CASE_TEMPLATE("estimator: a saved and loaded state goes on to the same bits", E,
                   ZOQ_TEST_ESTIMATORS) {
  const E e;
  const zoq::serial exec;
  std::vector<float> values(6, 0.5f);
  for (const std::uint64_t saved_at : {0u, 1u, 10u, 13u}) {
    typename E::state state{}, loaded{};
    for (std::uint64_t s = 0; s < 25; ++s) {
      values[0] = static_cast<float>(s);
      if (s == saved_at) {
        const std::vector<float> saved = zoq::save_state(e, exec, state);
        CHECK(saved.empty() == (!zoq::saved_estimator<E, zoq::serial> || s == 0));
        zoq::load_state(e, exec, saved, loaded);
      }
      const exchange wanted = converse(e, step(s, values.data()), state, loss_of);
      if (s >= saved_at) {
        const exchange found = converse(e, step(s, values.data()), loaded, loss_of);
        CHECK(same_terms(found.estimate.terms, wanted.estimate.terms));
        REQUIRE(found.asked.size() == wanted.asked.size());
        for (std::size_t q = 0; q < found.asked.size(); ++q) {
          for (const auto& [a, b] : {std::pair(found.asked[q].shape, wanted.asked[q].shape),
                                     std::pair(found.asked[q].origin, wanted.asked[q].origin)}) {
            REQUIRE((a == nullptr) == (b == nullptr));
            for (std::size_t i = 0; a != nullptr && i < 6; ++i) {
              CHECK(a[i] == b[i]);
            }
          }
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("estimator: every one of the list says what it is, and has settings", E,
                   ZOQ_TEST_ESTIMATORS) {
  CHECK_FALSE(E::summary.empty());
  CHECK_FALSE(E::paper.empty());
  CHECK(E::cost.find("forwards") != std::string_view::npos);
  E e;
  CHECK(zoq::has_setting(e, "epsilon"));
  zoq::set_setting(e, "estimator", "epsilon", "0.25");
  CHECK(e.epsilon == 0.25);
}
