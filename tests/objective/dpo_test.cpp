// SPDX-License-Identifier: Apache-2.0
#include "zoq/objective/dpo.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "io/temporary_folder.hpp"

using zoq::dpo;
using zoq::example;
using zoq::test::message_of;

namespace {

// A chosen text of two tokens, a rejected one of three.
example row(std::vector<double> reference) {
  return {{1, 2}, {{3, 4}, {5, 6, 7}}, 0, std::move(reference)};
}
const std::vector<double> scores = {-1, -0.5, -2, -0.25, -0.75};  // sums -1.5 and -3

}  // namespace

TEST_CASE("dpo: the reference is what the scores of both texts sum to") {
  CHECK(dpo::reference(row({}), scores) == std::vector<double>{-1.5, -3});
}

TEST_CASE("dpo: minus log sigmoid of beta times the differences from the reference") {
  // (-1.5 - -2) - (-3 - -4) = -0.5
  CHECK(dpo{.beta = 2}.loss(row({-2, -4}), scores) ==
        doctest::Approx(-std::log(1 / (1 + std::exp(1)))).epsilon(1e-15));
  CHECK(dpo{.beta = 0.1}.loss(row({-2, -4}), scores) ==
        doctest::Approx(-std::log(1 / (1 + std::exp(0.05)))).epsilon(1e-15));
  CHECK(dpo{}.choice(row({-2, -4}), scores) == 1);
  CHECK(dpo{}.choice(row({-2, -3}), scores) == 0);
}

TEST_CASE("dpo: the untuned model itself loses log 2, at any beta, and prefers nothing") {
  for (const double beta : {0.01, 0.1, 10.0}) {
    CHECK(dpo{.beta = beta}.loss(row({-1.5, -3}), scores) == std::log(2.0));
    CHECK(dpo{.beta = beta}.choice(row({-1.5, -3}), scores) == 1);
  }
}

TEST_CASE("dpo: weights of reads are the loss's derivatives") {
  const dpo o{.beta = 0.5};
  std::vector<double> weights(5);
  o.read_weights(row({-2, -4}), scores, weights);
  for (std::size_t i = 0; i < 5; ++i) {
    std::vector<double> up = scores, down = scores;
    up[i] += 1e-4;
    down[i] -= 1e-4;
    // Central differences: 1e-8 of a third derivative below 1, and 1e-16 / 1e-4 of rounding.
    CHECK(weights[i] ==
          doctest::Approx((o.loss(row({-2, -4}), up) - o.loss(row({-2, -4}), down)) / 2e-4)
              .epsilon(1e-7));
  }
}

TEST_CASE("dpo: far margins neither overflow nor vanish too early") {
  CHECK(dpo{.beta = 1}.loss(row({-1.5 + 5000, -3}), scores) == 5000);
  CHECK(dpo{.beta = 1}.loss(row({-1.5 - 5000, -3}), scores) == 0);
  CHECK(dpo{.beta = 1}.loss(row({-1.5 - 40, -3}), scores) ==
        doctest::Approx(std::exp(-40.0)).epsilon(1e-12));
}

TEST_CASE("dpo: settings and rows that do not suit are refused") {
  CHECK(message_of([] { (void)dpo{}.loss(row({}), scores); }) ==
        "dpo: a row has no log-likelihoods of the untuned model; set_references reads them");
  CHECK(message_of([] {
          (void)dpo{.beta = 0}.loss(row({0, 0}), scores);
        }) == "dpo: beta is 0, wanted a positive number");
  zoq::packing batch;
  CHECK(message_of([&] {
          dpo::pack({{1}, {{2}}, 0}, batch);
        }) == "a row has 1 continuations, wanted a chosen and a rejected one");
  dpo::pack(row({}), batch);
  CHECK(batch.tokens == std::vector<zoq::token_t>{1, 2, 3, 5, 6});  // the prompt once
  CHECK(batch.reads.size() == 5);
}
