// SPDX-License-Identifier: Apache-2.0
// The cases that devices must pass, on executors of the host: so they are run where there is no device.
#include <doctest/doctest.h>

#include <vector>

#include "cuda/operation_cases.hpp"
#include "cuda/pass_cases.hpp"
#include "exec/block_executor.hpp"
#include "executors.hpp"

using namespace zoq::test;

#ifdef ZOQ_TEST_OMP
#define ZOQ_CASE_EXECUTORS zoq::cpu, zoq::omp
#else
#define ZOQ_CASE_EXECUTORS zoq::cpu
#endif

TEST_CASE_TEMPLATE("cases: products of linear layers", X, ZOQ_CASE_EXECUTORS) {
  for (const zoq::compute products : {zoq::compute::f32, zoq::compute::bf16}) {
    CAPTURE(zoq::name_of(products));
    const X exec({.products = products});
    linear_agrees(exec, products);
    stacked_parts_agree(exec, products);
  }
  reverse_products_agree(X());
}

TEST_CASE_TEMPLATE("cases: attention, rows, directions and sums", X, zoq::serial, block_executor,
                   ZOQ_CASE_EXECUTORS) {
  const X exec;
  attention_agrees(exec);
  rows_agree(exec);
  directions_agree(exec);
  sums_agree(exec);
}

TEST_CASE_TEMPLATE("cases: scores, masks and tuning", X, block_executor, ZOQ_CASE_EXECUTORS) {
  const X exec;
  scores_agree(exec, 1e-4);
  masks_agree(exec);
  tuning_agrees(exec);
}
