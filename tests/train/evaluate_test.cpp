// SPDX-License-Identifier: Apache-2.0
#include "zoq/train/evaluate.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "tiny_task.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/objective/next_token.hpp"
#include "zoq/objective/objectives.hpp"

using zoq::evaluation;
using zoq::example;
using zoq::index_t;
using zoq::packing;
using namespace zoq::test;

namespace {

std::vector<const example*> pointers(const std::vector<example>& rows) {
  std::vector<const example*> out;
  for (const example& e : rows) {
    out.push_back(&e);
  }
  return out;
}

/// Stands for a model: log p(target) is a function of the token before, the target and the branch.
struct table {
  std::vector<index_t> batches{};  // stacked rows of every forward pass

  static double score_of(zoq::token_t before, zoq::token_t target, index_t branch) {
    return -0.01 * static_cast<double>((before * 31 + target * 17) % 101) -
           0.125 * static_cast<double>(branch);
  }
  void score(const packing& batch, const zoq::branch_parts& branches, std::span<double> scores) {
    batches.push_back(batch.rows() * branches.count);
    for (index_t b = 0; b < branches.count; ++b) {
      for (std::size_t r = 0; r < batch.reads.size(); ++r) {
        const zoq::token_read& read = batch.reads[r];
        scores[at(b) * batch.reads.size() + r] =
            score_of(batch.tokens[at(read.row)], read.target, b);
      }
    }
  }
};

const std::vector<example> rows = tiny_task(13);

}  // namespace

TEST_CASE("evaluate: every branch's losses are those of its rows, one by one") {
  table pass;
  const evaluation all =
      zoq::evaluate(pass, {3, {}}, zoq::option_likelihood{}, pointers(rows), {.stacked_rows = 40});
  CHECK(all.rows == 13);
  REQUIRE(all.branch.size() == 3);
  index_t right = 0, tokens = 0;
  for (index_t b = 0; b < 3; ++b) {
    zoq::total sum;
    for (const example& e : rows) {
      const zoq::token_t last = e.prompt.back();
      const std::vector<double> scores = {table::score_of(last, 11, b),
                                          table::score_of(last, 23, b), table::score_of(23, 24, b)};
      sum.add(zoq::option_likelihood{}.loss(e, scores));
      right += b == 0 && zoq::option_likelihood{}.choice(e, scores) == e.answer ? 1 : 0;
      tokens += static_cast<index_t>(e.prompt.size()) + 1;  // of 24 nothing is computed
    }
    CHECK(all.branch[at(b)] == sum);
  }
  CHECK(all.right == right);
  CHECK(all.accuracy() == static_cast<double>(right) / 13);
  CHECK(all.tokens == tokens);
}

TEST_CASE("evaluate: no forward pass is larger than asked for, but for a single row") {
  for (const index_t limit : {1, 10, 25, 60, 100000}) {
    CAPTURE(limit);
    table pass;
    const evaluation e = zoq::evaluate(pass, {2, {}}, zoq::option_likelihood{}, pointers(rows),
                                       {.stacked_rows = limit});
    index_t sum = 0;
    for (const index_t n : pass.batches) {
      CHECK(n <= std::max<index_t>(limit, 2 * 7));  // the longest row has 7 tokens
      sum += n;
    }
    CHECK(sum == e.tokens);
    CHECK((limit > 1 || pass.batches.size() == rows.size()));
    CHECK((limit < 100000 || pass.batches.size() == 1));
  }
  table pass;
  zoq::evaluate(pass, {2, {}}, zoq::option_likelihood{}, pointers(rows), {.batch_rows = 5});
  CHECK(pass.batches.size() == 3);
}

TEST_CASE_TEMPLATE("evaluate: cuts into micro-batches change no bit", X, ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  zoq::llama_forward<X> pass(exec, model);
  const auto at_limit = [&](index_t limit) {
    return zoq::evaluate(pass, {}, zoq::option_likelihood{}, pointers(rows),
                         {.stacked_rows = limit});
  };
  const evaluation whole = at_limit(1 << 20);
  CHECK(whole.branch[0].mean() > 0);
  for (const index_t limit : {1, 20, 50}) {
    const evaluation parts = at_limit(limit);
    CHECK(parts.branch == whole.branch);
    CHECK(parts.right == whole.right);
  }
}

TEST_CASE("evaluate: stops when it is told to") {
  table pass;
  index_t calls = 0;
  const evaluation e = zoq::evaluate(pass, {}, zoq::option_likelihood{}, pointers(rows),
                                     {.batch_rows = 2}, [&](const evaluation& so_far) {
                                       CHECK(so_far.rows == 2 * ++calls);
                                       return calls < 3;
                                     });
  CHECK(e.rows == 6);
  CHECK(e.branch[0].weight == 6);
  CHECK(zoq::evaluate(pass, {}, zoq::option_likelihood{}, {}).rows == 0);
  CHECK(evaluation{}.accuracy() == 0);
  CHECK(evaluation{}.tokens_per_second() == 0);
}

TEST_CASE("evaluate: rows that do not suit and losses that are no numbers, naming the row") {
  table pass;
  std::vector<example> bad = rows;
  bad[4].continuations.pop_back();
  const auto error = [&](const zoq::evaluate_options& options) {
    return message_of(
        [&] { zoq::evaluate(pass, {}, zoq::option_likelihood{}, pointers(bad), options); });
  };
  CHECK(error({}) == "row 5: a row has 1 options, wanted at least 2");
  CHECK(error({.stacked_rows = 1}) == "row 5: a row has 1 options, wanted at least 2");
  // A batch of rows from all over the data: messages name the rows of the data.
  std::vector<index_t> numbers(rows.size());
  numbers[4] = 99;
  CHECK(error({.numbers = numbers}) == "row 100: a row has 1 options, wanted at least 2");

  struct lost : table {
    void score(const packing& batch, const zoq::branch_parts& branches, std::span<double> scores) {
      table::score(batch, branches, scores);
      scores.back() = std::nan("");
    }
  };
  lost broken;
  const auto loss_error = [&](const zoq::evaluate_options& options) {
    return message_of([&] {
      zoq::evaluate(broken, {2, {}}, zoq::option_likelihood{}, pointers(rows), options);
    });
  };
  CHECK(loss_error({}) == "row 13, branch 1: the loss is nan");
  CHECK(loss_error({.batch_rows = 3, .numbers = numbers}) == "row 1, branch 1: the loss is nan");
}

namespace {

/// The same, and the likeliest token: one more than the token before.
struct guessing_table : table {
  using table::score;
  index_t asked_for_best = 0;
  void score(const packing& batch, const zoq::branch_parts& branches, std::span<double> scores,
             std::span<zoq::token_t> best) {
    ++asked_for_best;
    REQUIRE(best.size() == scores.size());
    table::score(batch, branches, scores);
    for (index_t b = 0; b < branches.count; ++b) {
      for (std::size_t r = 0; r < batch.reads.size(); ++r) {
        best[at(b) * batch.reads.size() + r] =
            batch.tokens[at(batch.reads[r].row)] + 1 + static_cast<zoq::token_t>(b);
      }
    }
  }
};

// Texts that count on, and one that does not.
const std::vector<example> counting_rows = {
    {{1, 2}, {{3, 4, 5}}, 0}, {{7}, {{8}}, 0}, {{7}, {{8, 8}}, 0}, {{1, 2, 3}, {{4, 5}}, 0}};

}  // namespace

TEST_CASE("evaluate: objectives that look at the likeliest tokens are given those of their row") {
  for (const index_t limit : {1, 1000}) {
    guessing_table pass;
    const evaluation match = zoq::evaluate(pass, {2, {}}, zoq::exact_match{},
                                           pointers(counting_rows), {.stacked_rows = limit});
    CHECK(match.branch[0].mean() == 0.25);
    CHECK(match.branch[1].mean() == 1);
    CHECK(match.accuracy() == 0.75);
    const evaluation shared =
        zoq::evaluate(pass, {2, {}}, zoq::f1{}, pointers(counting_rows), {.stacked_rows = limit});
    CHECK(shared.branch[0].mean() == 0.125);  // of 8, 8 the guesses are 8, 9
    // In branch 1 a guess is one too high: 4, 5, 6 of 3, 4, 5, 5, 6 of 4, 5; nothing of the others.
    CHECK(shared.branch[1].mean() == doctest::Approx((1.0 / 3 + 1 + 1 + 0.5) / 4).epsilon(1e-11));
    CHECK(pass.asked_for_best == (limit == 1 ? 8 : 2));
  }
}

TEST_CASE("evaluate: the likeliest tokens are only asked for where the objective looks at them") {
  guessing_table pass;
  zoq::evaluate(pass, {}, zoq::any_objective(zoq::next_token{}), pointers(counting_rows));
  zoq::evaluate(pass, {}, zoq::next_token{}, pointers(counting_rows));
  CHECK(pass.asked_for_best == 0);
  const evaluation any =
      zoq::evaluate(pass, {}, zoq::any_objective(zoq::exact_match{}), pointers(counting_rows));
  CHECK(pass.asked_for_best == 1);
  CHECK(any.branch[0].mean() == 0.25);
  CHECK(any.right == 3);
  table without;
  CHECK(message_of([&] {
          zoq::evaluate(without, {}, zoq::exact_match{}, pointers(counting_rows));
        }) == "this model's pass does not find the likeliest tokens, which the objective reads");
}

TEST_CASE_TEMPLATE("evaluate: of all completions exactly one is what greedy decoding gives", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::llama model = tiny_llama({.format = "q4_1"}).model();
  auto pass = forward_of(exec, model);
  const zoq::token_t vocabulary = static_cast<zoq::token_t>(model.config().vocabulary);
  std::vector<zoq::token_t> decoded;
  for (int n = 0; n < 3; ++n) {
    std::vector<example> all;
    for (zoq::token_t v = 0; v < vocabulary; ++v) {
      std::vector<zoq::token_t> completion = decoded;
      completion.push_back(v);
      all.push_back({{1, 2, 3}, {completion}, 0});
    }
    const zoq::any_objective match = zoq::exact_match{};
    zoq::token_t found = -1;
    for (zoq::token_t v = 0; v < vocabulary; ++v) {
      const example* one[] = {&all[at(v)]};
      found = zoq::evaluate(pass, {}, match, one).right == 1 ? v : found;
    }
    CHECK(zoq::evaluate(pass, {}, match, pointers(all), {.stacked_rows = 50}).right == 1);
    REQUIRE(found >= 0);
    decoded.push_back(found);
  }
}
