// SPDX-License-Identifier: Apache-2.0
#include "zoq/objective/objectives.hpp"
#include "zoq/core/choice.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "io/temporary_folder.hpp"

using zoq::test::message_of;

TEST_CASE("objectives: the chosen one packs, scores and chooses as it does alone") {
  const zoq::example row{{1, 2, 3}, {{4}, {5, 6}}, 1};
  const std::vector<double> scores = {-1.0, -0.5, -0.25};
  const zoq::any_objective options = zoq::option_likelihood{zoq::option_score::sum};
  CHECK(options.chosen() == "option_likelihood");
  CHECK(options.chooses());
  CHECK(options.loss(row, scores) ==
        zoq::option_likelihood{zoq::option_score::sum}.loss(row, scores));
  CHECK(options.choice(row, scores) == 1);
  zoq::packing packed, directly;
  options.pack(row, packed);
  zoq::option_likelihood::pack(row, directly);
  CHECK(packed.tokens == directly.tokens);
  CHECK(packed.reads.size() == directly.reads.size());
}

TEST_CASE("objectives: one that only has a loss chooses nothing") {
  const zoq::example row{{1, 2, 3}, {{4, 5}}, 0};
  const std::vector<double> scores = {-1.0, -2.0};
  const zoq::any_objective next = zoq::next_token{};
  CHECK(!next.chooses());
  CHECK(next.loss(row, scores) == zoq::next_token::loss(row, scores));
  CHECK(next.choice(row, scores) == -1);
}

TEST_CASE("objectives: the chosen one's read weights") {
  const zoq::example row{{1, 2, 3}, {{4}, {5, 6}}, 1};
  const std::vector<double> scores = {-1.0, -0.5, -0.25};
  std::vector<double> chosen(3), alone(3);
  zoq::any_objective(zoq::option_likelihood{}).read_weights(row, scores, chosen);
  zoq::option_likelihood{}.read_weights(row, scores, alone);
  CHECK(chosen == alone);
  CHECK(message_of([&] {
          zoq::any_objective(zoq::accuracy{}).read_weights(row, scores, chosen);
        }) == "accuracy has no derivatives: no gradient can be scored");
}

TEST_CASE("objectives: what the chosen one needs is known beforehand") {
  const auto row = zoq::example{{1}, {{4, 5}}, 0};
  const std::vector<zoq::token_t> best = {4, 5}, other = {4, 4};
  const zoq::any_objective match = zoq::exact_match{};
  CHECK(match.wants_best());
  CHECK(match.chooses());
  CHECK(!match.refers());
  CHECK(match.loss(row, {}, best) == 0);
  CHECK(match.loss(row, {}, other) == 1);
  CHECK(match.choice(row, {}, other) == -1);
  CHECK(zoq::any_objective(zoq::f1{}).loss(row, {}, other) == 0.5);
  CHECK(!zoq::any_objective(zoq::f1{}).chooses());
  const zoq::any_objective pairs = zoq::dpo{};
  CHECK(pairs.refers());
  CHECK(!pairs.wants_best());
  CHECK(pairs.reference({{1}, {{2}, {3}}, 0}, std::vector<double>{-1, -2}) ==
        std::vector<double>{-1, -2});
  CHECK(zoq::any_objective(zoq::accuracy{}).reference(row, {}).empty());
}

TEST_CASE("objective_named: by name and kind of rows, and a wrong pairing is refused") {
  using zoq::objective_named;
  using zoq::row_kind;
  CHECK(objective_named("accuracy", row_kind::choice).chosen() == "accuracy");
  CHECK(objective_named("next_token", row_kind::text).chosen() == "next_token");
  CHECK(objective_named("f1", row_kind::completion).chosen() == "f1");
  double beta = 0;
  objective_named("dpo:beta=0.25", row_kind::preference).visit([&]<class O>(const O& o) {
    if constexpr (requires { o.beta; }) {
      beta = o.beta;
    }
  });
  CHECK(beta == 0.25);
  const auto error = [](const char* name, row_kind kind) {
    return message_of([&] { (void)objective_named(name, kind); });
  };
  CHECK(error("accuracy", row_kind::completion) ==
        "objective accuracy is for rows with \"choices\", not for rows with \"completion\"");
  CHECK(error("next_token", row_kind::choice) ==
        "objective next_token is for rows with \"completion\" or \"text\", not for rows with "
        "\"choices\"");
  CHECK(error("dpo", row_kind::choice) ==
        "objective dpo is for rows with \"chosen\", not for rows with \"choices\"");
  CHECK(
      error("bleu", row_kind::text) ==
      "unknown objective \"bleu\": option_likelihood, next_token, accuracy, exact_match, f1, dpo");
}

TEST_CASE("default_objective: every kind of rows has one that serves it") {
  const char* wanted[] = {"option_likelihood", "next_token", "next_token", "dpo"};
  for (std::size_t k = 0; k < 4; ++k) {
    const zoq::any_objective o = zoq::default_objective(zoq::row_kinds[k]);
    CHECK(o.chosen() == wanted[k]);
    CHECK(o.serves(zoq::row_kinds[k]));
  }
}

TEST_CASE("objectives: each says what it does and what it costs") {
  for (const std::string& name : zoq::names_of<zoq::any_objective::list>()) {
    zoq::any_objective(zoq::choice_named<zoq::any_objective::list>("objective", name))
        .visit([&](const auto& o) {
          CHECK(o.name == name);
          CHECK_FALSE(o.summary.empty());
          CHECK_FALSE(o.cost.empty());
        });
  }
}
