// A direction without a field.
// wanted: direction
// SPDX-License-Identifier: Apache-2.0
#include "zoq/random/direction.hpp"

struct still {
  static constexpr std::string_view name = "still";
  int at(zoq::seed_t, zoq::value_order) const { return 0; }
};

static_assert(zoq::direction<still>);
