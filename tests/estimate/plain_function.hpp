// Estimates of a plain function's gradient, with points and losses in double.
//
//     auto g = zoq::test::estimate<zoq::gaussian>(zoq::spsa{}, at, x, f);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "zoq/estimate/query.hpp"
#include "zoq/exec/serial.hpp"

namespace zoq::test {

/// z(seed), n elements.
template <class Z>
std::vector<double> field_values(seed_t seed, std::size_t n) {
  const auto field = Z::at(seed, {});
  std::vector<double> out;
  for (std::size_t i = 0; i < n; ++i) {
    out.push_back(static_cast<double>(field.four(static_cast<index_t>(i / 4)).at[i % 4]));
  }
  return out;
}

/// x + scale * z(seed).
template <class Z>
std::vector<double> moved(const std::vector<double>& x, const query& q) {
  const std::vector<double> z = field_values<Z>(q.seed, x.size());
  std::vector<double> out = x;
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] += q.scale * z[i];
  }
  return out;
}

/// All that an exchange with an estimator was made of.
struct exchange {
  std::vector<query> asked;
  std::vector<answer> answers;
  gradient estimate;
  int rounds = 0;
};

/// One exchange; `answer_of(query)` gives the losses.
template <class E, class AnswerOf>
exchange converse(const E& e, const step_info& at, typename E::state& state, AnswerOf&& answer_of) {
  const serial exec;
  exchange out;
  std::vector<query> wanted;
  while (wanted.clear(), e.ask(exec, at, state, out.answers, wanted)) {
    for (const query& q : wanted) {
      out.asked.push_back(q);
      out.answers.push_back({answer_of(q)});
    }
    ++out.rounds;
  }
  e.tell(exec, at, state, out.asked, out.answers, out.estimate);
  return out;
}

/// The exchange about f(x), x in double.
template <class Z, class E, class F>
exchange estimate(const E& e, const step_info& at, const std::vector<double>& x, F&& f) {
  typename E::state state{};
  return converse(e, at, state, [&](const query& q) { return f(moved<Z>(x, q)); });
}

/// sum over terms of weight * z(seed).
template <class Z>
std::vector<double> gradient_of(const gradient& g, std::size_t n) {
  std::vector<double> out(n);
  for (const term& t : g.terms) {
    const std::vector<double> z = field_values<Z>(t.seed, n);
    for (std::size_t i = 0; i < n; ++i) {
      out[i] += t.weight * z[i];
    }
  }
  return out;
}

}  // namespace zoq::test
