// SPDX-License-Identifier: Apache-2.0
#include "zoq/optim/optimizers.hpp"
#include "zoq/core/choice.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "executors.hpp"
#include "io/temporary_folder.hpp"
#include "ops/samples.hpp"

using zoq::any_optimizer;
using zoq::index_t;
using namespace zoq::test;

namespace {

const zoq::extent extents[] = {{0, 3, 4}, {12, 1, 5}};
const zoq::value_order order{extents, 2, 17};

/// Some steps of an optimizer: values, then its state.
template <class X, class O>
std::vector<float> after_steps(const X& exec, const O& o) {
  std::vector<float> w = uniform(17, 1), state(at(zoq::state_size_of(o, order)));
  for (std::uint64_t t = 0; t < 5; ++t) {
    const std::vector<float> g = uniform(17, 10 + t);
    zoq::apply_optimizer(exec, o, order, {.step = t, .schedule = 0.5, .loss = 2}, g.data(),
                         state.data(), w.data());
  }
  w.insert(w.end(), state.begin(), state.end());
  return w;
}

}  // namespace

TEST_CASE_TEMPLATE("any_optimizer: moves values and state as the chosen one does, to the bit", X,
                   ZOQ_TEST_EXECUTORS) {
  const X exec;
  const zoq::serial oracle;
  for (const std::string& name : zoq::names_of<any_optimizer::list>()) {
    CAPTURE(name);
    any_optimizer any = zoq::optimizer_named(name, {.rate = 0.01});
    CHECK(any.chosen() == name);
    const std::vector<float> got = after_steps(exec, any);
    any.visit([&](const auto& o) {
      CHECK(same_bits(got, after_steps(exec, o)));
      CHECK(same_bits(got, after_steps(oracle, o)));  // as a replay on another executor needs
      CHECK_FALSE(std::string(o.summary).empty());
      CHECK_FALSE(std::string(o.cost).empty());
    });
    CHECK(got.size() == at(17 + any.state_size(order)));
    CHECK_FALSE(same_bits({got.begin(), got.begin() + 17}, uniform(17, 1)));
  }
}

TEST_CASE("any_optimizer: state is counted as each keeps it") {
  const auto floats = [](const char* name) {
    return zoq::optimizer_named(name, {}).state_size(order);
  };
  CHECK(floats("sgd") == 0);
  CHECK(floats("momentum") == 17);
  CHECK(floats("adam") == 34);
  CHECK(floats("adamax") == 34);
  CHECK(floats("normalised") == 0);
  CHECK(floats("polyak") == 17);
  CHECK(floats("adalomo") == 3 + 4 + 1 + 5);
  CHECK(floats("sign") == 0);
}

TEST_CASE("optimizer_named: by name, with the rate where there is one") {
  any_optimizer o = zoq::optimizer_named("adam", {.rate = 0.125});
  double rate = 0;
  std::vector<std::string> names;
  o.visit([&]<class O>(O& one) {
    O::settings(one, [&](const char* name, auto& value) {
      names.emplace_back(name);
      if (names.size() == 1) {
        rate = static_cast<double>(value);
      }
    });
  });
  CHECK(rate == 0.125);
  CHECK(names == std::vector<std::string>{"rate", "beta1", "beta2", "epsilon", "weight_decay"});
  CHECK(zoq::optimizer_named("polyak", {.rate = 0.125}).chosen() == "polyak");
  CHECK(message_of([] { (void)zoq::optimizer_named("newton", {}); }) ==
        "unknown optimizer \"newton\": sgd, momentum, adam, adamax, normalised, polyak, adalomo, "
        "sign");
}
