// What a forward pass answers, of a fresh one: for tests that compare answers.
//
//     auto scores = zoq::test::scores_of(exec, model, zoq::test::read_all(tokens), branches);
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "ops/samples.hpp"
#include "zoq/model/llama_forward.hpp"
#include "zoq/tensor/packing.hpp"

namespace zoq::test {

/// One text; every row is read.
inline packing read_all(const std::vector<token_t>& tokens) {
  packing p;
  const index_t s = p.add(tokens);
  for (index_t t = 0; t < static_cast<index_t>(tokens.size()); ++t) {
    p.read(s, t, tokens[at((t + 1) % static_cast<index_t>(tokens.size()))]);
  }
  return p;
}

template <class X>
std::vector<float> logits_of(const X& exec, const llama& model, const packing& batch,
                             const branch_parts& branches = {}) {
  llama_forward<X> pass(exec, model);
  std::vector<float> out;
  pass.logits(batch, branches, out);
  return out;
}

template <class X>
std::vector<double> scores_of(const X& exec, const llama& model, const packing& batch,
                              const branch_parts& branches = {}) {
  llama_forward<X> pass(exec, model);
  std::vector<double> out(batch.reads.size() * at(branches.count), -1.0);
  pass.score(batch, branches, out);
  return out;
}

}  // namespace zoq::test
