// SPDX-License-Identifier: Apache-2.0
#include "zoq/estimate/estimators.hpp"
#include "zoq/core/choice.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "io/temporary_folder.hpp"

namespace {

// What an estimator asks for, and makes of losses 0, 1, 4, 9, ...
template <class Estimator>
std::pair<std::vector<zoq::query>, zoq::gradient> one_step(const Estimator& e) {
  const zoq::any_executor exec;
  typename Estimator::state state{};
  const zoq::step_info at{3, 17, nullptr, {}};
  std::vector<zoq::query> asked;
  std::vector<zoq::answer> answers;
  std::pair<std::vector<zoq::query>, zoq::gradient> out;
  while (asked.clear(), e.ask(exec, at, state, answers, asked)) {
    for (const zoq::query& q : asked) {
      const auto i = static_cast<double>(answers.size());
      answers.push_back({i * i});
      out.first.push_back(q);
    }
  }
  e.tell(exec, at, state, out.first, answers, out.second);
  return out;
}

template <class Estimator>
void check_equals(const zoq::any_estimator& chosen, const Estimator& direct) {
  const auto [asked, gradient] = one_step(chosen);
  const auto [asked_directly, gradient_directly] = one_step(direct);
  REQUIRE(asked.size() == asked_directly.size());
  for (std::size_t i = 0; i < asked.size(); ++i) {
    CHECK(asked[i].seed == asked_directly[i].seed);
    CHECK(asked[i].scale == asked_directly[i].scale);
  }
  CHECK(gradient.loss == gradient_directly.loss);
  CHECK(gradient.slope == gradient_directly.slope);
  REQUIRE(gradient.terms.size() == gradient_directly.terms.size());
  for (std::size_t i = 0; i < gradient.terms.size(); ++i) {
    CHECK(gradient.terms[i].weight == gradient_directly.terms[i].weight);
  }
}

}  // namespace

TEST_CASE("estimators: the chosen one asks and tells as it does alone") {
  check_equals(zoq::estimator_named("spsa", {.epsilon = 0.5, .probes = 3}),
               zoq::spsa{.epsilon = 0.5, .probes = 3});
  check_equals(zoq::estimator_named("spsa-one-sided", {.epsilon = 0.25, .probes = 2}),
               zoq::spsa_one_sided{.epsilon = 0.25, .probes = 2});
  check_equals(zoq::estimator_named("fzoo", {.epsilon = 0.5}), zoq::fzoo{.epsilon = 0.5});
  for (const std::string& name : zoq::names_of<zoq::any_estimator::list>()) {
    CHECK(zoq::estimator_named(name, {}).chosen() == name);
  }
  CHECK(zoq::estimator_named("svrg", {}).state_bytes(100) == 448);  // whole lines of 64 bytes
  CHECK(zoq::estimator_named("spsa", {}).state_bytes(10) == 0);
}

TEST_CASE("estimators: an unknown name is an error that lists the choices") {
  CHECK(zoq::test::message_of([] { zoq::estimator_named("newton", {}); }) ==
        "unknown estimator \"newton\": spsa, spsa-one-sided, leave-one-out, fzoo, hizoo, svrg, "
        "conservative, sign");
}
