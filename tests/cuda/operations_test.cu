// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>

#include "cuda/operation_cases.hpp"
#include "zoq/exec/cuda.cuh"

using namespace zoq::test;

bool has_device() { return zoq::cuda::available(); }

TEST_CASE("cuda: products of linear layers in f32") {
  const zoq::cuda exec;
  linear_agrees(exec, zoq::compute::f32);
  stacked_parts_agree(exec, zoq::compute::f32);
  reverse_products_agree(exec);
}

TEST_CASE("cuda: products of linear layers in bf16") {
  const zoq::cuda exec({.products = zoq::compute::bf16});
  linear_agrees(exec, zoq::compute::bf16);
  stacked_parts_agree(exec, zoq::compute::bf16);
}

TEST_CASE("cuda: weights that do not fit a slice") {
  const zoq::cuda exec({.slice_bytes = 9000});
  linear_agrees(exec, zoq::compute::f32);
  reverse_products_agree(exec);
}

TEST_CASE("cuda: attention, rows, directions and sums") {
  const zoq::cuda exec;
  attention_agrees(exec);
  rows_agree(exec);
  directions_agree(exec);
  sums_agree(exec);
}

TEST_CASE("cuda: wrong use is refused with names and numbers") {
  const auto error = [](const zoq::cuda_options& options) {
    try {
      const zoq::cuda exec(options);
    } catch (const zoq::error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(error({.products = zoq::compute::i8}) ==
        "cuda: products are f32 or bf16, i8 is for CPUs only");
  CHECK(error({.device = 1000}).rfind("cuda: device 1000, there are ", 0) == 0);
}
