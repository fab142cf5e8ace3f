// Deltas and the values of all views, and whether they fit a model.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz/input.hpp"
#include "model/tiny_llama.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/exec/serial.hpp"
#include "zoq/model/target.hpp"
#include "zoq/view/delta.hpp"
#include "zoq/view/values_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const zoq::llama model = zoq::test::tiny_llama().model();
  const zoq::serial exec;
  const zoq::fuzz::file& input = zoq::fuzz::as_file({data, size});
  zoq::fuzz::read_or_refused([&] { (void)zoq::holds_values(input.path()); });
  zoq::fuzz::read_or_refused([&] { (void)zoq::read_delta(input.path()); });
  zoq::fuzz::read_or_refused([&] {
    const zoq::tuned_values values = zoq::read_values(input.path());
    (void)zoq::policy_text(values.how);
    const auto view = zoq::view_of(exec, zoq::target_of(model), values);
    (void)view.to_host();
  });
  return 0;
}
